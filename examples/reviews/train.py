"""Train the models of `sentiment.yaml`: `python examples/reviews/train.py [--output DIR] [--each N]`.

    language.joblib   which language a text is in, by its characters
    en.joblib         whether a text in English likes what it speaks of, by its words
    zh.joblib         the same in Chinese, by its characters
    any.joblib        the same in whatever language, by its characters

Sentences that neither like nor dislike teach no mood. A quarter of the reviews is kept for testing. It takes
about ten seconds of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from review_data import PackageError, Review, load

HERE = Path(__file__).parent.resolve()
MODELS: Final = HERE / "models"
EACH: Final = 6_000
"""How many reviews of a language are learnt from, and tested with; there are fewer in English."""
LIKED: Final = 0.5
"""Stars from which on a text likes something, and down from which, below none, it does not."""
_BY: Final[dict[str, dict[str, Any]]] = {
    "language": {"analyzer": "char", "ngram_range": (1, 2), "max_features": 20_000, "sublinear_tf": True},
    "en": {"ngram_range": (1, 2), "sublinear_tf": True},
    "zh": {"analyzer": "char", "ngram_range": (1, 2), "min_df": 2, "sublinear_tf": True},
    "any": {"analyzer": "char", "ngram_range": (1, 4), "min_df": 2, "max_features": 100_000, "sublinear_tf": True},
}


def split(reviews: Sequence[Review]) -> tuple[list[Review], list[Review]]:
    """Those to learn from, and the quarter to test with."""
    kept = np.random.default_rng(0).random(len(reviews)) < 0.25
    learn = [review for review, keep in zip(reviews, kept, strict=True) if not keep]
    return learn, [review for review, keep in zip(reviews, kept, strict=True) if keep]


def mood(review: Review) -> str:
    """`good` or `bad`; empty where it is neither."""
    return "good" if review.stars >= LIKED else "bad" if review.stars <= -LIKED else ""


def train(folder: Path, each: int = EACH) -> dict[str, float]:
    """Write the four models into a folder, and say how often each is right on reviews that it has not seen."""
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    folder.mkdir(parents=True, exist_ok=True)
    learn, test = split(load(each))
    right = {}
    for name, options in _BY.items():
        of = (lambda review: review.written_in) if name == "language" else mood
        mine = [
            [each for each in part if of(each) and name in (each.written_in, "language", "any")]
            for part in (learn, test)
        ]
        (texts, wanted), (tests, truth) = (([each.text for each in part], [of(each) for each in part]) for part in mine)
        model = make_pipeline(TfidfVectorizer(**options), LogisticRegression(C=10, max_iter=300)).fit(texts, wanted)
        part = folder / f"{name}.part"
        joblib.dump(model, part)
        part.replace(folder / f"{name}.joblib")
        right[name] = float(model.score(tests, truth))
    return right


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the models of sentiment.yaml.")
    parser.add_argument("--output", type=Path, default=MODELS, metavar="DIR", help="default: models/ of the example")
    parser.add_argument(
        "--each", type=int, default=EACH, metavar="N", help=f"how many reviews of each language; default: {EACH}"
    )
    given = parser.parse_args(arguments)
    try:
        right = train(given.output, given.each)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install 'motet[sklearn]'") from None
    except PackageError as error:
        raise SystemExit(str(error)) from None
    for name, share in right.items():
        print(f"{name:8} right on {share:.1%} of reviews that it has not seen")


if __name__ == "__main__":
    main()
