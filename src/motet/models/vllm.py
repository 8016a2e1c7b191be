"""Language models in folders of transformers, played by vLLM in this process.

    vllm:folder

They are asked as those behind endpoints are (`mode: chat` or `completions`, `prompt`, `system`, `messages`, `schema`, `usage`,
`finish_reason`, `truncated`,
`temperature`, 0 by default, `top_p`, `max_tokens`, `seed`, `stop`, the penalties). Beside them:

    concurrency    rows at once, 64 by default; vLLM puts them together
    engine         arguments of vLLM's engine: {max_model_len: 8192, tensor_parallel_size: 2, gpu_memory_utilization: 0.8, ...}

A chat is put into words by the template of the folder's tokenizer. Rows share steps of the engine, so that their answers may differ by
the noise of floats. A row that nobody waits for any more is given up.

This is written after vLLM's documentation, and has not been run with it yet, for want of a GPU.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import queue
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from motet.errors import InputError, RequestError
from motet.models.common import check_options, declared_over, framework, load_error, place
from motet.models.handler import Handler, LoadedModel, ModelSource, TokenUsage
from motet.models.openai.calls import RowCalls
from motet.models.openai.events import AnswerParts
from motet.models.openai.options import EndpointOptions
from motet.models.openai.texts import TextModel
from motet.system.patience import check_waited_for
from motet.system.pieces import Say
from motet.tracebacks import summary
from motet.types import Signature

__all__ = ["VllmHandler"]

T = TypeVar("T")
_SAMPLING = (
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
)
_OPTIONS = (
    "mode", "prompt", "system", "messages", "schema", "usage", "finish_reason", "truncated", "price", "concurrency",
    "max_completion_tokens", *_SAMPLING, "engine",
)  # fmt: skip
_ROWS = 64
_CONFIG = "config.json"
_LOOK_S = 0.2
"""How often it is looked whether somebody still waits for a row of which nothing comes."""


class VllmHandler(Handler):
    """Loads folders of transformers into vLLM."""

    name: ClassVar[str] = "vllm"
    extra: ClassVar[str] = "vllm"
    folder_heads: ClassVar[tuple[str, ...]] = (_CONFIG,)
    code_suffixes: ClassVar[tuple[str, ...]] = (".bin", ".pt", ".pth", ".py")

    @staticmethod
    def folder_files(names: Sequence[str]) -> list[str]:
        """Which files of a folder are the model's: weights and what says how they are used."""
        return [name for name in names if name.endswith((".json", ".safetensors", ".model", ".txt", ".jinja"))]

    def signature(self, source: ModelSource) -> Signature:
        """What the options say that it takes and gives, with the declared types over it.

        Raises:
            ModelLoadError: when an option is wrong, or the folder is none of transformers.
        """
        check_options(source, _OPTIONS)
        if source.options.get("mode") == "embeddings":
            raise load_error(source, "vllm: answers in words alone", "embed by huggingface:FOLDER, or an endpoint")
        if not isinstance(source.options.get("engine", {}), Mapping):
            raise load_error(source, "engine is arguments of vLLM's engine by name")
        if not (_folder(source) / _CONFIG).is_file():
            raise load_error(source, f"the folder has no {_CONFIG}", "write it by model.save_pretrained(folder)")
        return declared_over(EndpointOptions.read(source).signature, source)

    def streams(self, source: ModelSource) -> bool:
        """Whether it answers texts, token by token."""
        return source.options.get("schema") is None

    def load(self, source: ModelSource) -> LoadedModel:
        """Load the folder; see `Handler.load`."""
        signature, options, where = self.signature(source), EndpointOptions.read(source), place(source)
        vllm = framework("vllm", "vllm", "vllm", source)
        try:
            calls = VllmCalls(vllm, str(_folder(source)), source, options, where)
        except Exception as error:
            raise load_error(source, f"vLLM cannot load it: {summary(error)}") from error
        return TextModel(source, signature, options, source.name, calls, where)


def _folder(source: ModelSource) -> Path:
    path = Path(source.location)
    return path.parent if path.name == _CONFIG else path


class VllmCalls(RowCalls):
    """Asks vLLM's engine, on an event loop in a thread of its own; see `LanguageCalls`.

    Args:
        vllm: the module.
        folder: of the model.
        source: for options.
        options: how it is asked.
        where: the model, for messages.

    Attributes:
        spend: told what each request used.
    """

    def __init__(self, vllm: Any, folder: str, source: ModelSource, options: EndpointOptions, where: str) -> None:
        super().__init__(source.options.get("concurrency", _ROWS))
        self._vllm, self._where, self._price, self._chat = vllm, where, options.price, options.mode == "chat"
        self._names = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="motet-vllm", daemon=True)
        self._thread.start()
        try:
            arguments = vllm.AsyncEngineArgs(model=folder, **source.options.get("engine", {}))
            self._engine = self._awaited(_made(vllm, arguments))
            self._tokenizer = self._awaited(_given(self._engine.get_tokenizer()))
        except BaseException:
            self._end_loop()
            raise

    def _awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives on the loop of the engine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def __call__(self, question: Mapping[str, Any], say: Say | None = None, /) -> tuple[dict[str, Any], TokenUsage]:
        """Ask.

        Raises:
            InputError: when vLLM does not take the question.
            RequestError: when it fails.
            DeadlineError: when nobody waits for the answer any more; it is written no further.
        """
        parts = AnswerParts(say, self._where, chat=self._chat)
        try:
            prompt, sampling = self._prompt(question), self._sampling(question)
        except (ValueError, TypeError) as error:
            raise InputError(f"vLLM does not take it: {summary(error)}", where=self._where) from error
        pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
        name = f"motet-{next(self._names)}"
        writing = asyncio.run_coroutine_threadsafe(self._write(prompt, sampling, name, pieces), self._loop)
        try:
            while (chunk := self._next(pieces)) is not None:
                parts.add(chunk)
        finally:
            writing.cancel()  # which has the engine give the row up
        if not parts.is_finished:
            raise RequestError("the answer ended before its end", where=self._where)
        answer = parts.whole()
        used = self._price.usage(answer["usage"])
        self.spend(used)
        return answer, used

    def _next(self, pieces: queue.SimpleQueue[Any]) -> dict[str, Any] | None:
        """The next part of an answer; None at its end."""
        found: Any = queue.Empty
        while found is queue.Empty:
            check_waited_for()
            with suppress(queue.Empty):
                found = pieces.get(timeout=_LOOK_S)
        if isinstance(found, ValueError):
            raise InputError(f"vLLM does not take it: {summary(found)}", where=self._where) from found
        if isinstance(found, Exception):
            raise RequestError(f"vLLM failed: {summary(found)}", where=self._where) from found
        return found  # type: ignore[no-any-return]

    async def _write(
        self, prompt: str | dict[str, Any], sampling: Any, name: str, pieces: queue.SimpleQueue[Any]
    ) -> None:
        """Put the parts of an answer into a queue, as OpenAI has them, then None; or what was raised."""
        written, asked = 0, 0
        try:
            async for got in self._engine.generate(prompt=prompt, sampling_params=sampling, request_id=name):
                told = got.outputs[0]
                written, asked = written + len(told.token_ids), len(got.prompt_token_ids or ()) or asked
                said = {"delta": {"content": told.text}} if self._chat else {"text": told.text}
                pieces.put({"choices": [{"index": 0, "finish_reason": told.finish_reason, **said}]})
            pieces.put({"usage": {"prompt_tokens": asked, "completion_tokens": written}})
            pieces.put(None)
        except Exception as error:  # noqa: BLE001 (raised where it is taken)
            pieces.put(error)

    def _prompt(self, question: Mapping[str, Any]) -> str | dict[str, Any]:
        """A text, or the tokens of a chat: its template has said what begins it, which vLLM would put before a text again."""
        if not self._chat:
            return str(question["prompt"])
        tokenizer = self._tokenizer
        text = tokenizer.apply_chat_template(question["messages"], tokenize=False, add_generation_prompt=True)
        return {"prompt_token_ids": tokenizer.encode(text, add_special_tokens=False)}

    def _sampling(self, question: Mapping[str, Any]) -> Any:
        sampling = self._vllm.sampling_params
        said = {
            "temperature": 0.0,
            "max_tokens": None,
            **{name: question[name] for name in _SAMPLING if name in question},
        }
        if "max_completion_tokens" in question:
            said["max_tokens"] = question["max_completion_tokens"]
        if (form := question.get("response_format")) is not None:
            said["structured_outputs"] = sampling.StructuredOutputsParams(json=form["json_schema"]["schema"])
        return sampling.SamplingParams(output_kind=sampling.RequestOutputKind.DELTA, **said)

    def close(self) -> None:
        """Give the memory back."""
        try:
            self._awaited(_given(self._engine.shutdown()))
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _made(vllm: Any, arguments: Any) -> Any:
    """The engine, which looks for the loop that it is made on."""
    return vllm.AsyncLLMEngine.from_engine_args(arguments)


async def _given(found: Any) -> Any:
    """A value, or what it is awaited for."""
    return await found if inspect.isawaitable(found) else found
