"""A provider that is a wire over the one transport; every vendor with an HTTP interface is one."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from alloy_nb import secrets
from alloy_nb.errors import (
    AuthFailed,
    BadRequest,
    ConfigError,
    ContextOverflow,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    ServerFault,
    StateLost,
    TimedOut,
)
from alloy_nb.events import ModelEvent
from alloy_nb.messages import Message
from alloy_nb.providers import keys
from alloy_nb.providers.address import signed_in, without_version
from alloy_nb.providers.base import Decoder, ModelOptions, ModelRequest
from alloy_nb.providers.decoding import ReplyDecoder
from alloy_nb.providers.handoff import EncodedHistory, Rules
from alloy_nb.providers.wire_json import dumps, loads

if TYPE_CHECKING:
    from alloy_nb.providers.http import Call, Failure

__all__ = ["VendorProvider"]

# Options that would change the answer if they were left out in silence.
_OPTIONAL = (
    "web_search",
    "x_search",
    "code_execution",
    "built_in_tools",
    "store",
    "include",
    "previous_response_id",
    "thinking_budget",
)

_NOT_JSON_BYTES = 300


class VendorProvider:
    """Settings of one model at one vendor, and how to ask it.

    Args:
        model: The model's id in the vendor's words.
        api_key: The key; without it the vendor's usual environment variable is read, when the
            first request is made. That key goes to the vendor alone, and to the address in the
            environment.
        base_url: Where the interface is, with or without a trailing ``/v1``; else the address in
            the environment (``ANTHROPIC_BASE_URL`` and the like), else the vendor's.
        options: Defaults of every request; what a request says itself goes before them.
        extra_headers: More headers.
        extra_body: Merged over every request's body last.
        timeout: Seconds during which nothing may move a reply on.
        http_client: A client with httpx's async interface, for proxies, certificates and tests.

    Raises:
        ConfigError: The model or the address is empty.
    """

    name: ClassVar[str] = ""
    key_variable: ClassVar[str | None] = None
    base_url_variable: ClassVar[str | None] = None
    default_base_url: ClassVar[str] = ""
    path: ClassVar[str] = ""
    history_field: ClassVar[str] = "messages"
    takes: ClassVar[frozenset[str]] = frozenset()
    """Which of the options that only some vendors have."""

    def __init__(
        self,
        model: str,
        *,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        options: ModelOptions | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        http_client: Any = None,
    ) -> None:
        if not model or not model.strip():
            raise ConfigError(f"{type(self).__name__} needs a model, such as model='...'.")
        if timeout <= 0:
            raise ConfigError(f"timeout must be a positive number of seconds, not {timeout!r}.")
        self.model = model
        told = _environment(self.base_url_variable)
        # Whoever set an address beside the key means the key for it.
        self._told_address = told is not None and base_url in (None, "", told)
        given = base_url or told or self.default_base_url
        named = self.base_url_variable if told and not base_url else None
        self.base_url = without_version(given, named=named)
        secrets.register(urlsplit(self.base_url).password or "")
        self.timeout = timeout
        self.options = options or ModelOptions()
        self.extra_headers = dict(extra_headers or {})
        self.extra_body = dict(extra_body or {})
        self._api_key = _secret(api_key)
        self._client = http_client
        self._heard: Callable[[Mapping[str, str]], object] | None = None

    def __repr__(self) -> str:
        shown = f"{type(self).__name__}(model={self.model!r}, base_url={self.base_url!r})"
        return secrets.redact(shown)

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send the request and yield its events (the contract is in `providers.base`)."""
        # httpx takes as long to import as all the rest of the package: the first request pays.
        from alloy_nb.providers.http import stream_events

        options = request.options.over(self.options)
        self.check(options)
        call = self.call(self.url, self.body(request), options, deadline=request.deadline)
        decoder = ReplyDecoder(self.decoder(), provider=self.name, model=self.model, host=self.host)
        return stream_events(call, decoder)

    def call(
        self, url: str, body: bytes, options: ModelOptions, *, deadline: float | None, **how: Any
    ) -> Call:
        """Return a request to this vendor, with its key; `how` are other fields of `Call`."""
        from alloy_nb.providers.http import Call

        call = Call(
            url=url,
            headers=self._all_headers(options),
            body=body,
            provider=self.name,
            model=self.model,
            progress_seconds=self.timeout,
            deadline=deadline,
            fail=self.error,
            client=self._client,
            heard=self._heard,
        )
        return replace(call, **how) if how else call

    def listened(self, heard: Callable[[Mapping[str, str]], object]) -> Self:
        """Return a copy that tells of the headers of each reply."""
        other = copy.copy(self)
        other._heard = heard
        return other

    def _all_headers(self, options: ModelOptions) -> dict[str, str]:
        # Here alone is the key a local variable: a traceback may print those of every frame.
        key = self._key()
        return {
            "content-type": "application/json",
            **signed_in(self.base_url),
            **{name.lower(): value for name, value in self.extra_headers.items()},
            **self.headers(key, options),
        }

    def body(self, request: ModelRequest) -> bytes:
        """Return the JSON body; messages that were encoded before are not encoded again."""
        history = request.memory.get(self._memory_key)
        if history is None:
            history = EncodedHistory(self.rules(), self.encode_message)
            request.memory[self._memory_key] = history
        messages = history.update(request.messages)
        if self.sends_newer_only(request):
            messages = history.newer()
        messages = self.finish(messages, request.options.over(self.options))
        fields = self.fields(request)
        fields.update(self.extra_body)
        fields.update(request.options.over(self.options).extra_body)
        if self.history_field in fields:  # extra_body replaced the conversation itself
            return dumps(fields)
        first = [dumps(message) for message in self.first_messages(request)]
        body = dumps(fields)[:-1] + (b"," if fields else b"")
        history_list = b",".join(first + messages)
        return body + f'"{self.history_field}":['.encode() + history_list + b"]}"

    @property
    def has_key(self) -> bool:
        """Whether a key is set, here or in the environment."""
        return bool(self._key_value())

    @property
    def key_source(self) -> str:
        """Where the key comes from, never the key."""
        if self._api_key is not None:
            return "api_key="
        key = None if self._is_elsewhere else keys.found(self.key_variable)
        if key is not None:
            return key.source
        if self.needs_key:
            return f"missing: set {self.key_variable}"
        return f"none: {self._withheld}" if self._withheld else "no key needed"

    @property
    def host(self) -> str:
        """Where requests go, without the path; what a vendor signed is sent back only there."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    # --- what a wire fills in ---------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where requests go; the key is never part of it."""
        return self.base_url + self.path

    def sends_newer_only(self, request: ModelRequest) -> bool:  # noqa: ARG002  # for wires
        """Return whether the vendor has the history up to the newest reply already."""
        return False

    @property
    def needs_key(self) -> bool:
        """Whether requests are refused without a key: a server of one's own may want none."""
        return self._is_vendors_own

    def headers(self, key: str | None, options: ModelOptions) -> dict[str, str]:  # noqa: ARG002  # for wires
        """Return the headers of this vendor; keys travel here only."""
        return {"authorization": f"Bearer {key}"} if key else {}

    def rules(self) -> Rules:
        """Return what this vendor accepts in a history."""
        raise NotImplementedError

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its messages."""
        raise NotImplementedError

    def first_messages(self, request: ModelRequest) -> list[dict[str, Any]]:  # noqa: ARG002  # for wires
        """Return what goes before the conversation, such as a system prompt."""
        return []

    def encode_message(self, message: Message) -> list[dict[str, Any]]:
        """Return one message in the vendor's words; some need several for one of ours."""
        raise NotImplementedError

    def finish(self, messages: list[bytes], options: ModelOptions) -> list[bytes]:  # noqa: ARG002  # for wires
        """Return the encoded history as it goes out."""
        return messages

    def decoder(self) -> Decoder:
        """Return a decoder for one reply."""
        raise NotImplementedError

    # --- errors -------------------------------------------------------------------------------

    def error(self, failure: Failure) -> ProviderError:
        """Name the error of a reply that is no stream of events."""
        kind, code, message = _described(failure.body)
        where = f"{self.name} ({self.base_url})"
        if failure.status == 200:
            return self._not_a_stream(failure, kind, code, message)
        about: dict[str, Any] = {
            "provider": self.name,
            "model": self.model,
            "status": failure.status,
            "request_id": failure.request_id,
            "retry_after": failure.retry_after,
        }
        cause = error_class(failure.status, kind, code, message)
        detail = message or f"HTTP {failure.status}"
        return cause(self._sentence(cause, failure.status, where, detail), **about)

    def stream_error(self, error: Any) -> ProviderError:
        """Name an error that came as an event of a reply that had begun well."""
        kind, code, message = _described(dumps({"error": error}))
        # OpenRouter and llama.cpp put the HTTP status that they could not send any more here.
        status = int(code) if re.fullmatch(r"[45]\d\d", code) else None
        cause = error_class(status or 0, kind, code, message)
        return cause(
            self._sentence(cause, status or 0, self.name, message or kind or "an error"),
            provider=self.name,
            model=self.model,
            status=status,
        )

    def _sentence(self, cause: type[ProviderError], status: int, where: str, detail: str) -> str:
        detail = detail.strip().rstrip(".")
        if cause is AuthFailed and self._withheld:
            return f"{where} wants a key: {detail}. No key was sent: {self._withheld}."
        if cause is AuthFailed:
            hint = (
                f"Check {self.key_variable or 'api_key='}" if self.needs_key else "Check api_key="
            )
            return f"{where} refused the key: {detail}. {hint} ({self.key_source})."
        if cause is RateLimited:
            return f"{where} is rate limiting: {detail}. Wait a little and ask again."
        if cause is Overloaded:
            return f"{where} is overloaded: {detail}. Wait a little and ask again."
        if cause is QuotaExceeded:
            return f"The account at {where} has no quota left: {detail}."
        if cause is ContextOverflow:
            return f"The conversation is too long for {self.model}: {detail}. Try %alloy reset."
        if status == 404:
            return (
                f"{where} does not know the model or the address ({self.model}): {detail}. "
                "Check the model's name and base_url=."
            )
        if 300 <= status < 400:
            return (
                f"{where} redirects elsewhere (HTTP {status}), which is not followed because the "
                "key would go along. Set base_url= to the final address."
            )
        if cause is ServerFault:
            return f"{where} failed: {detail}."
        return f"{where} refused the request: {detail}."

    def _not_a_stream(self, failure: Failure, kind: str, code: str, message: str) -> ProviderError:
        about: dict[str, Any] = {"provider": self.name, "model": self.model, "status": 200}
        if kind or code or (message and failure.body.lstrip().startswith((b"{", b"["))):
            cause = error_class(0, kind, code, message)
            return cause(self._sentence(cause, 0, self.name, message or kind), **about)
        got = "an empty reply" if not failure.body.strip() else "a reply that is no event stream"
        if b"<html" in failure.body[:1000].lower() or b"<!doctype" in failure.body[:1000].lower():
            got = "a web page"
        return ServerFault(
            f"{self.base_url} answered with {got} instead of an answer of {self.model}. "
            "Is base_url= the address of a model server?",
            **about,
        )

    def check(self, options: ModelOptions) -> None:
        """Refuse what this vendor cannot do, instead of leaving it out silently."""
        for name in _OPTIONAL:
            value = getattr(options, name)
            asked = value is not None and value is not False and value != ()
            if asked and name not in self.takes:
                raise ConfigError(
                    f"{self.name} has no {name.replace('_', ' ')}: leave {name}= out."
                )

    # --- keys ---------------------------------------------------------------------------------

    def _key(self) -> str | None:
        key = self._key_value()
        if not key and self.needs_key:
            raise ConfigError(
                f"No key for {self.name}: set the environment variable {self.key_variable}, or "
                f"pass api_key=; in a notebook, %alloy key {self.name} takes one that you type. "
                "Meanwhile the built-in demo answers: -m demo."
            )
        if key:
            secrets.register(key)
            if not key.isascii() or key.split() != [key]:
                raise ConfigError(
                    f"The key for {self.name} ({self.key_source}) holds a space or a character "
                    "that no key has. Copy it again."
                )
        return key

    def _key_value(self) -> str | None:
        if self._api_key is not None:
            return self._api_key.get_secret_value()
        key = None if self._is_elsewhere else keys.found(self.key_variable)
        return key.value if key is not None else None

    @property
    def _is_vendors_own(self) -> bool:
        """Whether requests go to the vendor: to its host or one below it, and encrypted."""
        own = urlsplit(self.default_base_url).hostname
        at = urlsplit(self.base_url)
        return bool(own) and at.scheme == "https" and f".{at.hostname}".endswith(f".{own}")

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the key in the environment is not meant for this address."""
        return bool(self.default_base_url) and not (self._is_vendors_own or self._told_address)

    @property
    def _withheld(self) -> str:
        """Say which key does not go to this address, or nothing where there is none."""
        if self._api_key is not None or not self._is_elsewhere:
            return ""
        if keys.found(self.key_variable) is None:
            return ""
        return (
            f"{self.key_variable} is for {self.name} alone, so pass api_key=, or set "
            f"{self.base_url_variable} to this address"
        )

    @property
    def _memory_key(self) -> tuple[str, str, str]:
        return (self.name, self.base_url, self.model)


def _secret(key: str | SecretStr | None) -> SecretStr | None:
    if key is None:
        return None
    secret = key if isinstance(key, SecretStr) else SecretStr(key.strip())
    secrets.register(secret.get_secret_value())
    return secret


def _environment(variable: str | None) -> str | None:
    value = os.environ.get(variable, "") if variable else ""
    return value.strip() or None


# --- naming errors ------------------------------------------------------------------------------

_BY_TYPE: dict[str, type[ProviderError]] = {
    # Anthropic: https://docs.anthropic.com/en/api/errors
    "authentication_error": AuthFailed,
    "permission_error": AuthFailed,
    "billing_error": QuotaExceeded,
    "rate_limit_error": RateLimited,
    "overloaded_error": Overloaded,
    "api_error": ServerFault,
    "timeout_error": TimedOut,
    "invalid_request_error": BadRequest,
    "not_found_error": BadRequest,
    "request_too_large": ContextOverflow,
    # OpenAI: https://platform.openai.com/docs/guides/error-codes
    "insufficient_quota": QuotaExceeded,
    "invalid_api_key": AuthFailed,
    "rate_limit_exceeded": RateLimited,
    "context_length_exceeded": ContextOverflow,
    "exceed_context_size_error": ContextOverflow,  # llama.cpp
    "previous_response_not_found": StateLost,
    "server_error": ServerFault,
    # Gemini: https://ai.google.dev/gemini-api/docs/troubleshooting, under error.status
    "UNAUTHENTICATED": AuthFailed,
    "PERMISSION_DENIED": AuthFailed,
    "RESOURCE_EXHAUSTED": RateLimited,
    "UNAVAILABLE": Overloaded,
    "INTERNAL": ServerFault,
    "DEADLINE_EXCEEDED": TimedOut,
    "INVALID_ARGUMENT": BadRequest,
    "NOT_FOUND": BadRequest,
    "FAILED_PRECONDITION": BadRequest,
    "service_unavailable_error": Overloaded,
}
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthFailed,
    402: QuotaExceeded,
    403: AuthFailed,
    408: TimedOut,
    413: ContextOverflow,
    425: ServerFault,
    429: RateLimited,
    504: TimedOut,
    529: Overloaded,
    503: Overloaded,
}
# Vendors report a prompt that is too long as a plain 400; only their words tell it apart.
_TOO_LONG = (
    "prompt is too long",
    "context length",
    "context_length",
    "context window",
    "maximum number of tokens",
    "exceeds the available context size",
    "input is too long",
)


def error_class(status: int, kind: str, code: str, message: str) -> type[ProviderError]:
    """Return the class of an error from its status, type and code, the most telling first."""
    named = _BY_TYPE.get(code) or _BY_TYPE.get(kind)
    if named in (QuotaExceeded, ContextOverflow, StateLost):
        return named
    if named in (None, BadRequest) and any(words in message.lower() for words in _TOO_LONG):
        return ContextOverflow
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return Overloaded if named is Overloaded else ServerFault
    if status >= 300:
        return named if named is not None and not named.retryable else BadRequest
    return named or ServerFault


def _described(body: bytes) -> tuple[str, str, str]:
    """Return type, code and message of an error body, in any of the shapes that servers send."""
    try:
        value = loads(body)
    except ValueError:
        text = body[:_NOT_JSON_BYTES].decode("utf-8", "replace").strip()
        return "", "", "" if text.lower().startswith(("<!doctype", "<html")) else text
    if isinstance(value, list):  # Gemini's compatible interface wraps the error in a list
        value = value[0] if value else {}
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, str):  # Ollama
        return "", "", error
    if not isinstance(error, dict):
        return "", "", ""
    kind = error.get("type") or error.get("status") or ""
    message = error.get("message") or error.get("detail") or ""
    return str(kind), str(error.get("code") or ""), str(message)
