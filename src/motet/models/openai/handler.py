"""Language models behind any endpoint that speaks OpenAI's protocol.

    openai+http://HOST:PORT/v1#MODEL        also openai+https; MODEL as the endpoint calls it

A row is a request; so many are under way at once. `mode` says what is asked for:

    chat           the default: `text: string`, or the properties of `schema`
    completions    the same of a plain text
    embeddings     `embedding: float32[N]`, many texts a request; N is declared (`outputs`) or asked for (`dimensions`)

Options (`with:` of the model):

    prompt         a text with the names of columns in braces, which are the model's inputs; `{text}` by default
    system         the same, said before
    messages       a list of {role, content}, each content such a text, before the prompt if there is one; or "{column}", a column of
                   conversations: lists of messages, or JSON of them
    schema         a JSON schema of an object: it is asked for, answers are checked, and its properties are the outputs
    usage          true for the outputs prompt_tokens and completion_tokens, and cost where there is a price
    price          {input: ..., output: ...}: of a million tokens, for reports and `cost`
    score          true for an output of how sure the model was of its words: the geometric mean of their probabilities (logprobs)
    tools          the tools that it may call, for the outputs tool_calls (a list, empty where it calls none) and finish_reason;
                   `tool_choice` and `parallel_tool_calls` beside it
    finish_reason  true for an output of why the answer ended: stop, length (with `truncated`), or what else it says
    truncated      true takes answers that were cut off (finish_reason: length), which fail their rows otherwise
    concurrency    requests at once, 16 by default
    texts          texts of a request for embeddings, 64 by default
    key_env        the environment variable that holds the key; `api_key: env:NAME` says the same
    body           what else is sent with each request, as the endpoint has it

`temperature`, `top_p`, `max_tokens`, `max_completion_tokens`, `seed`, `stop`, `presence_penalty`, `frequency_penalty`,
`logit_bias`, `reasoning_effort` and `user` are handed on. One of them, or of `body`, that is the name of a column in braces
(`temperature: "{heat}"`) is what the row says, and is not sent where that is missing. `timeout_s` (60 by default, for a row with all
its tries), `retries`, `headers`, `ca`, `certificate` and `certificate_key` are those of `oip+http:`. Rows of a call that nobody waits
for any more are not asked, and none takes longer than the call may.

A row that the endpoint refuses, answers wrongly or not in time fails alone; nothing that was answered is asked again. What is
refused for now (429, 503), or broke on its way, is asked again, no sooner than the endpoint says (Retry-After). Where no row is
at fault, and none of a batch is answered, since the endpoint cannot be reached, is too busy or refuses the key, the batch ends
with the error of the model.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

from motet.models.addressed import RemoteHandler
from motet.models.calling import Line, RemoteCaller, RemoteOptions, name_of
from motet.models.calling_http import http_line
from motet.models.common import ADDRESS_OPTIONS, check_options, declared_over, load_error
from motet.models.handler import LoadedModel, ModelSource
from motet.models.openai.calls import EndpointCalls
from motet.models.openai.embeddings import EmbeddingModel
from motet.models.openai.options import MODES, OPTIONS, EndpointOptions
from motet.models.openai.texts import TextModel
from motet.types import Signature

__all__ = ["OpenAIHttpHandler", "OpenAIHttpsHandler"]

TIMEOUT_S = 60.0
"""How long a row may take with all its tries, where nothing else is said."""
FIRST_WAIT_S = 0.5
"""The longest wait before the second try, as OpenAI's own client has it."""


class OpenAIHttpHandler(RemoteHandler):
    """Calls language models over HTTP."""

    name: ClassVar[str] = "openai+http"
    extra: ClassVar[str] = "openai"
    paid: ClassVar[bool] = True
    """Calls may cost money: none is made but for a row's answer."""
    location: ClassVar[re.Pattern[str]] = re.compile(r"//([^/?#]+)((?:/[^?#/]+)*)/?#(.+)")
    example: ClassVar[str] = "//localhost:8000/v1#MODEL"
    options: ClassVar[tuple[str, ...]] = OPTIONS

    def signature(self, source: ModelSource) -> Signature:
        """What the options say that it takes and gives, with the declared types over it; nobody is asked.

        Raises:
            ModelLoadError: when the URI or an option is wrong.
        """
        self._match(source)
        check_options(source, (*ADDRESS_OPTIONS, *self.options))
        return declared_over(EndpointOptions.read(source).signature, source)

    def streams(self, source: ModelSource) -> bool:
        """Whether it answers texts, which are asked for piece by piece where somebody listens."""
        return source.options.get("mode", "chat") != "embeddings" and source.options.get("schema") is None

    def load(self, source: ModelSource) -> LoadedModel:
        """Make ready to call it; no connection is made yet.

        Raises:
            ModelLoadError: as `signature`, and when the key is not there.
            MissingExtraError: when a package is not installed.
        """
        signature, options = self.signature(source), EndpointOptions.read(source)
        match, where = self._match(source), name_of(source)
        path, model = f"{match[2]}/{MODES[options.mode]}", match[3]
        chat, caller = options.mode == "chat", self._caller(source)
        calls = EndpointCalls(caller, path, options.at_once, options.price, where, chat=chat)
        if options.mode == "embeddings":
            asked = "dimensions" in source.options
            return EmbeddingModel(options, model, calls, where, asked=asked)
        return TextModel(source, signature, options, model, calls, where)

    def identity(self, source: ModelSource) -> str:
        """Equal where the same model of the same endpoint would be called; the key is no part of it."""
        return f"{self.name}:{source.location}"

    def _remote(self, source: ModelSource) -> RemoteOptions:
        remote = super()._remote(_with_key(source))
        timeout_s = remote.timeout_s if "timeout_s" in source.options else TIMEOUT_S
        return replace(remote, timeout_s=timeout_s, first_wait_s=FIRST_WAIT_S)

    def _line(self, source: ModelSource, remote: RemoteOptions) -> Line:
        options = EndpointOptions.read(source)
        return http_line(self._match(source)[1], remote, source, tls=self.tls, connections=options.at_once)

    def _read(self, source: ModelSource, caller: RemoteCaller) -> Signature:
        return EndpointOptions.read(source).signature


class OpenAIHttpsHandler(OpenAIHttpHandler):
    """Calls language models over HTTPS."""

    name: ClassVar[str] = "openai+https"
    tls: ClassVar[bool] = True


def _with_key(source: ModelSource) -> ModelSource:
    """The model with its key named as for all models behind an address.

    Raises:
        ModelLoadError: when it is said twice, or is in the graph itself.
    """
    options: dict[str, Any] = dict(source.options)
    name, key = options.pop("key_env", None), options.get("api_key")
    if name is not None and (key or not isinstance(name, str) or not name):
        raise load_error(source, "key_env is the name of one environment variable", "leave api_key out beside it")
    if key and not str(key).startswith("env:"):
        raise load_error(source, "the graph holds a key", "name the environment variable that holds it: key_env: NAME")
    return replace(source, options={**options, **({"api_key": f"env:{name}"} if name else {})})
