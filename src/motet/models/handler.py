"""The protocol of a handler: how one framework loads and calls its models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from motet.batch import Array
from motet.types import ColumnType, Signature

__all__ = ["Handler", "LoadedModel", "ModelSource", "TokenUsage"]


@dataclass(frozen=True)
class ModelSource:
    """Where a model is, once its URI has been resolved, and what was declared about it.

    Attributes:
        name: the model's name in its graph, for messages.
        location: a local path, or for handlers without files the part of the URI behind the scheme.
        options: keywords for the handler, from `with:` of the model.
        inputs: declared types of the inputs by name; empty where the model's own are to be used.
        outputs: declared types of the outputs by name; likewise.
        threads: how many threads one call may use.
        device: `cpu`, `cuda` or `cuda:N`.
    """

    name: str
    location: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, ColumnType] = field(default_factory=dict)
    outputs: Mapping[str, ColumnType] = field(default_factory=dict)
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What language models used.

    Attributes:
        prompt_tokens: of what was asked.
        completion_tokens: of the answers.
        cost: in the currency of the price; 0 where none is said.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        tokens = self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        return TokenUsage(*tokens, self.cost + other.cost)


class LoadedModel(Protocol):
    """A model in memory. It may be called from several threads at once.

    An attribute `batch_invariant`, where it has one, wins over its handler's. Where it has a method `need(outputs)`, it is told
    the names of the outputs that somebody needs, again when they become more; it may leave out the others. Where it has
    `fresh_outputs`, and that is true, each call gives arrays that it made for it, and writes to none of them later: they need
    not be looked at, and copied where it may still hold them. Where it has a method `spend_to(spend)`, it is told where to say what it
    used, a `TokenUsage` a request, within the call that it is for.
    """

    def __call__(self, columns: Mapping[str, Array]) -> Mapping[str, Any]:
        """Answer a batch.

        Args:
            columns: arrays `[rows, ...]` by the names of the signature's inputs, all rows of equal shape, which cannot be
                changed; strings and bytes are arrays of objects `[rows]`.

        Returns:
            By the names of the signature's outputs, arrays `[rows, ...]`, or lists of arrays, one a row, in the order
            of the rows. What it still holds, such as a buffer that it fills at each call, is copied. An exception in the place of
            a row's value fails that row.

        Raises:
            Exception: whatever the framework raises; the caller finds the rows at fault.
        """
        ...

    def close(self) -> None:
        """Give memory back; the model is not called again."""
        ...


class Handler(Protocol):
    """How one framework loads and calls its models. Handlers are found by a URI's scheme or suffix.

    More attributes are read where a handler has them: `remote`, whether its models are called over the network; `paid`,
    whether their calls cost money, so that none is made which need not be; `holds_lock`, whether its calls are mostly
    Python's own work, which the interpreter's lock lets one thread do at a time;
    `version(location)`, what to call the version of a model without files; `identity(source)`, of a model without files, equal
    where the same one would be loaded: it is loaded once for all graphs of a process then, as those of the same file are;
    `absolute(location, base)`, of a model without files, where it is as seen from anywhere, given the folder of the graph file;
    `code_file(location)`, of a model without files, the file that a process of its own would run;
    `safe_suffixes`, a tuple of the suffixes whose files carry no code although `runs_code`; `companions(path)`, which gives the
    relative paths of the files beside a model's own that belong to it, so that they are fetched and digested with it;
    `installed(location, base)`, of models that may be installed packages, their folder there, else the location as it is;
    `folder_heads`, `folder_files` and `code_suffixes`, of models that are folders, see `motet.models.folders`;
    `notes(source)`, sentences that `motet check` shows; and `program(source, most_bytes)`, what a model computes, a
    `motet.models.stacking.program.Program`, where models that differ in their weights alone may be played as one call.
    `streams(source)` says whether a model gives its texts piece by piece to whoever listens, see `motet.system.pieces`.
    """

    name: ClassVar[str]
    """The scheme that names it in a URI, for example `sklearn` in `sklearn:models/x.joblib`."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File suffixes that mean this handler, for example `(".onnx",)`."""
    has_file: ClassVar[bool] = True
    """Whether the URI names a file (or folder) to fetch."""
    extra: ClassVar[str] = ""
    """The extra of Motet that installs what it needs; empty where that is there anyway, or comes from another package."""
    runs_code: ClassVar[bool] = False
    """Whether loading a file can run code that it carries (unpickling): such files are not loaded from remote URIs."""
    batch_invariant: ClassVar[bool] = False
    """Whether a row's answer has the same bits whatever shares its batch."""

    @abstractmethod
    def signature(self, source: ModelSource) -> Signature:
        """What the model takes and gives, found as cheaply as the format allows; declared types win over its own.

        Raises:
            ModelLoadError: when the file is not such a model, or the model has no signature and none is declared.
        """
        ...

    @abstractmethod
    def load(self, source: ModelSource) -> LoadedModel:
        """Load the model for use.

        Raises:
            ModelLoadError: when it cannot be loaded; says the file and the framework's reason.
            MissingExtraError: when the framework is not installed.
        """
        ...
