"""scikit-learn estimators from `.skops` files, which run no code: types that skops does not know to be harmless are refused.

Signature and options are those of `sklearn:`, and one more:

    trusted   the types that are let pass all the same, by their names: [sklearn.tree._tree.Tree]

The format: https://skops.readthedocs.io/en/stable/persistence.html
"""

from __future__ import annotations

from typing import Any, ClassVar

from motet.models.common import framework, load_error
from motet.models.handler import ModelSource
from motet.models.keep import LoadCache
from motet.models.sklearn import SklearnHandler
from motet.tracebacks import summary

__all__ = ["SkopsHandler"]


class SkopsHandler(SklearnHandler):
    """Loads `.skops` files."""

    name: ClassVar[str] = "skops"
    extra: ClassVar[str] = "skops"
    suffixes: ClassVar[tuple[str, ...]] = (".skops",)
    runs_code: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = (*SklearnHandler.options, "trusted")

    def __init__(self) -> None:
        super().__init__()
        self._kept = LoadCache(_loaded)

    def check(self, source: ModelSource) -> None:
        """See `SklearnHandler.check`; types that nobody trusts are refused, too."""
        super().check(source)
        trusted = source.options.get("trusted", [])
        if not isinstance(trusted, list) or not all(isinstance(each, str) for each in trusted):
            hint = "write them so: `with: {trusted: [sklearn.tree._tree.Tree]}`"
            raise load_error(source, f"trusted={trusted!r} is no list of names of types", hint)
        found = _read(source, "get_untrusted_types", {"file": source.location})
        if unknown := [each for each in found if each not in trusted]:
            hint = f"where you trust who made the file, say with: {{trusted: [{', '.join(unknown)}]}}"
            raise load_error(source, f"it has {', '.join(unknown)}, which skops does not trust", hint)


def _loaded(source: ModelSource) -> Any:
    return _read(source, "load", {"file": source.location, "trusted": source.options.get("trusted", [])})


def _read(source: ModelSource, name: str, given: dict[str, Any]) -> Any:
    """Call a function of skops on the file."""
    framework("sklearn", "scikit-learn", "sklearn", source)
    skops = framework("skops.io", "skops", "skops", source)
    try:
        return getattr(skops, name)(**given)
    except MemoryError:
        raise
    except Exception as error:
        hint = "write it by skops.io.dump, with the same versions of the packages that it uses"
        raise load_error(source, f"skops cannot read it: {summary(error)}", hint) from error
