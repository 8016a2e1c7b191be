"""Language models in GGUF files, played by llama.cpp in this process (the package xllamacpp).

    x.gguf, llama:x.gguf

They are asked as those behind endpoints are: `mode`, `prompt`, `system`, `messages`, `schema`, `usage`, `score`,
`tools`, `finish_reason`, `truncated`,
`temperature` (0 by default, so that a row's answer is the same each time), `top_p`, `max_tokens`, `seed`, `stop` and the other options of
`openai+http:` mean the same. Beside them:

    context        the most tokens of a row, its answer among them; 4096
    concurrency    rows at once, 1 by default; each has a context of its own
    chat_template  what makes one text of messages (Jinja), where the file's own is not wanted
    gpu_layers     layers on the GPU; none on the cpu, all on cuda
    pooling        of embeddings: mean, cls or last, where the file does not say it

A chat is put into words by the template of the file, which must tell of tools where there are any. Answers of a schema are written by
its grammar, so that they cannot be anything else.
How long embeddings are is declared (`outputs`).

Each row is a request of its own, whose answer is not that of what was asked before: nothing of other prompts is used again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from motet.errors import InputError, RequestError
from motet.models.common import check_options, declared_over, framework, load_error, place
from motet.models.handler import Handler, LoadedModel, ModelSource, TokenUsage
from motet.models.openai.calls import RowCalls
from motet.models.openai.embeddings import EmbeddingModel
from motet.models.openai.events import AnswerParts
from motet.models.openai.options import OPTIONS, EndpointOptions
from motet.models.openai.ranges import wrong_parameter
from motet.models.openai.texts import TextModel
from motet.system.patience import check_waited_for
from motet.system.pieces import Say
from motet.tracebacks import said, summary
from motet.types import Signature

__all__ = ["LlamaHandler"]

_MAGIC = b"GGUF"
_ELSEWHERE = ("key_env", "reasoning_effort", "user", "dimensions")
"""Options that mean something to endpoints alone."""
_OWN = ("context", "chat_template", "gpu_layers", "pooling")
_POOLINGS = ("mean", "cls", "last")
_CONTEXT = 4096
_ALL_LAYERS = 999


class LlamaHandler(Handler):
    """Loads GGUF files."""

    name: ClassVar[str] = "llama"
    extra: ClassVar[str] = "llama"
    suffixes: ClassVar[tuple[str, ...]] = (".gguf",)

    def signature(self, source: ModelSource) -> Signature:
        """What the options say that it takes and gives, with the declared types over it; the file's first bytes are looked at.

        Raises:
            ModelLoadError: when an option is wrong, or the file is none of GGUF.
        """
        check_options(source, (*(name for name in OPTIONS if name not in _ELSEWHERE), *_OWN))
        for name, least in (("context", 1), ("gpu_layers", 0)):
            value = source.options.get(name, least)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise load_error(source, f"{name} must be a whole number of at least {least}; got {value!r}")
        if not isinstance(source.options.get("chat_template", ""), str):
            raise load_error(source, "chat_template must be a text")
        pooling = source.options.get("pooling", _POOLINGS[0])
        if pooling not in _POOLINGS:
            raise load_error(source, f"pooling must be {', '.join(_POOLINGS)}; got {pooling!r}")
        with open(source.location, "rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise load_error(source, "this is no GGUF file", "convert it by llama.cpp's convert_hf_to_gguf.py")
        options = EndpointOptions.read(source)
        return declared_over(options.signature, source)

    def streams(self, source: ModelSource) -> bool:
        """Whether it answers texts, token by token."""
        return source.options.get("mode", "chat") != "embeddings" and source.options.get("schema") is None

    def load(self, source: ModelSource) -> LoadedModel:
        """Load the file; see `Handler.load`."""
        signature, options, where = self.signature(source), EndpointOptions.read(source), place(source)
        rows = source.options.get("concurrency", 1)
        server = _server(source, options, rows)
        if options.tools and not _tells_of_tools(server):
            hint = "say a template that does (Jinja): with: {chat_template: ...}"
            raise load_error(source, "its chat template tells the model of no tools", hint)
        calls = LlamaCalls(server, rows, options, where)
        found: TextModel | EmbeddingModel
        if options.mode == "embeddings":
            found = EmbeddingModel(options, source.name, calls, where, asked=False)
        else:
            found = TextModel(source, signature, options, source.name, calls, where)
        found.batch_invariant = rows == 1  # several are computed together
        return found


class LlamaCalls(RowCalls):
    """Asks a model in this process; see `LanguageCalls`.

    Args:
        server: of xllamacpp.
        rows: how many there are at once, whoever asks.
        options: how it is asked.
        where: the model, for messages.

    Attributes:
        spend: told what each request used.
    """

    def __init__(self, server: Any, rows: int, options: EndpointOptions, where: str) -> None:
        super().__init__(rows)
        self._server = server
        self._mode, self._price, self._where = options.mode, options.price, where

    def __call__(self, question: Mapping[str, Any], say: Say | None = None, /) -> tuple[dict[str, Any], TokenUsage]:
        """Ask.

        Raises:
            InputError: when it does not take the question.
            RequestError: when it fails.
            DeadlineError: when nobody waits for the answer any more; it is written no further.
        """
        if self._mode == "embeddings":
            answer = self._checked(self._asked(self._server.handle_embeddings, dict(question)))
        else:
            parts = AnswerParts(say, self._where, chat=self._mode == "chat")
            if wrong := wrong_parameter(question):
                raise InputError(wrong, where=self._where)
            answer = self._written({"temperature": 0.0, **question, "cache_prompt": False}, parts)
        used = self._price.usage(answer.get("usage"))
        self.spend(used)
        return answer, used

    def _written(self, question: dict[str, Any], parts: AnswerParts) -> dict[str, Any]:
        """An answer in words, as long as somebody waits for it."""
        raised: list[BaseException] = []

        def take(chunk: Any) -> bool:
            """Take a part; whether there is to be no more."""
            try:
                check_waited_for()
                parts.add(self._checked(chunk))
            except BaseException as error:  # noqa: BLE001 (raised below: nothing passes through llama.cpp)
                raised.append(error)
            return bool(raised)

        ask = self._server.handle_chat_completions if self._mode == "chat" else self._server.handle_completions
        told = self._asked(ask, {**question, "stream": True, "stream_options": {"include_usage": True}}, take)
        if raised:
            raise raised[0]
        if told is not None:
            self._checked(told)
        if not parts.is_finished:
            raise RequestError("the answer ended before its end", where=self._where)
        return _with_ids(parts.whole(), question)

    def _asked(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except ValueError as error:
            raise InputError(f"llama.cpp does not take it: {said(error)}", where=self._where) from error
        except RuntimeError as error:
            raise RequestError(f"llama.cpp failed: {said(error)}", where=self._where) from error

    def _checked(self, told: Any) -> dict[str, Any]:
        """What llama.cpp said, where that is no error."""
        error = told.get("error") if isinstance(told, dict) else None
        if isinstance(error, dict):
            kind = InputError if error.get("code") == 400 else RequestError
            message = str(error.get("message"))
            hint = "say how the vectors of tokens become one: with: {pooling: mean}" if "ooling type" in message else ""
            raise kind(f"llama.cpp says: {message}", where=self._where, hint=hint)
        if not isinstance(told, dict):
            raise RequestError(f"llama.cpp gave {type(told).__name__}", where=self._where)
        return told

    def close(self) -> None:
        """Give the memory back."""
        self._server = None


def _with_ids(answer: dict[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
    """The same with ids of calls that follow from what was asked, where llama.cpp makes some up: the answer is the same each time, and
    the next turn of a conversation has others.
    """
    message = answer["choices"][0].get("message", {})
    if calls := message.get("tool_calls"):
        asked = hashlib.sha256(msgspec.json.encode(question, order="deterministic")).hexdigest()[:24]
        message["tool_calls"] = [{**each, "id": f"call_{asked}_{place}"} for place, each in enumerate(calls)]
    return answer


def _tells_of_tools(server: Any) -> bool:
    """Whether the template makes something of tools, which llama.cpp passes over elsewhere: they make a question longer."""
    question = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "cache_prompt": False}
    tools = [{"type": "function", "function": {"name": "a", "parameters": {"type": "object", "properties": {}}}}]
    try:
        plain, told = (server.handle_chat_completions({**question, **more}) for more in ({}, {"tools": tools}))
    except (RuntimeError, ValueError):  # which rows are told
        return True
    return bool(plain.get("usage") != told.get("usage"))


def _server(source: ModelSource, options: EndpointOptions, rows: int) -> Any:
    """What plays the file."""
    llama = framework("xllamacpp", "xllamacpp", "llama", source)
    said, parameters = source.options, llama.CommonParams()
    parameters.model.path = source.location
    parameters.n_parallel, parameters.n_ctx = rows, said.get("context", _CONTEXT) * rows
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = max(1, source.threads)
    parameters.n_gpu_layers = said.get("gpu_layers", 0 if source.device == "cpu" else _ALL_LAYERS)
    parameters.embedding = options.mode == "embeddings"
    parameters.chat_template = said.get("chat_template", "")
    parameters.fit_params = parameters.warmup = parameters.ui = parameters.endpoint_slots = False
    parameters.cache_ram_mib, parameters.verbosity = 0, -1
    parameters.api_keys = [secrets.token_urlsafe(32)]  # of the port that it opens, at which nobody is to ask
    parameters.endpoint_metrics = True
    if "pooling" in said:
        parameters.pooling_type = getattr(llama.llama_pooling_type, f"LLAMA_POOLING_TYPE_{said['pooling'].upper()}")
    try:
        server = llama.Server(parameters)
        server.handle_metrics()  # it answers: one that is closed before it has begun with its work never ends
        return server
    except (RuntimeError, ValueError) as error:
        raise load_error(source, f"llama.cpp cannot load it: {summary(error)}") from error
