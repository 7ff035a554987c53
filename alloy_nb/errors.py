"""What can go wrong, as types.

::

    AlloyError
      ConfigError              no key, unknown model, an option that the model cannot take
      ProviderError            the vendor or the way to it failed
        RateLimited            429 ─┐
        Overloaded             529  │
        ServerFault            5xx  ├ retryable
        ConnectionFailed            │
        TimedOut               ─────┘
        AuthFailed             401, 403
        QuotaExceeded          the account has no money left
        BadRequest             400, 404, 422
          ContextOverflow      the prompt is longer than the model's window
          StateLost            the vendor no longer knows the reply to go on from
        StreamTruncated        the stream ended without its terminal event
      ToolError                raised by tool authors; its text goes to the model
      Halted                   middleware or a guard ended the run, with a reason
      BudgetExceeded           the spend limit does not allow the next request
      SessionError             a session is busy, or its file cannot be read
      Interrupted              the person stopped the run (also a KeyboardInterrupt)

``str(error)`` is one sentence that a reader of a notebook can act on. No error holds an HTTP
request or response, because those print keys and a notebook saves what is printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.messages import Message

__all__ = [
    "AlloyError",
    "AuthFailed",
    "BadRequest",
    "BudgetExceeded",
    "ConfigError",
    "ConnectionFailed",
    "ContextOverflow",
    "Halted",
    "Interrupted",
    "Overloaded",
    "ProviderError",
    "QuotaExceeded",
    "RateLimited",
    "ServerFault",
    "SessionError",
    "StateLost",
    "StreamTruncated",
    "TimedOut",
    "ToolError",
]


class AlloyError(Exception):
    """The root: ``except AlloyError`` catches everything that this package raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))

    def _render_traceback_(self) -> list[str]:
        """Draw one line in IPython, which calls this hook instead of printing library frames."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(AlloyError):
    """A setting is wrong, and no request was sent."""


class ProviderError(AlloyError):
    """A request to a model failed.

    Args:
        message: One sentence that says what to do.
        provider: The vendor's name, such as ``"anthropic"``.
        model: The model that was asked.
        status: The HTTP status, or ``None`` where the failure was not an HTTP reply.
        request_id: The vendor's id of the request, for its support.
        retry_after: Seconds that the server asked us to wait.
        partial: What had arrived of the answer, or ``None``.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        model: str = "",
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        partial: Message | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.model = model
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.partial = partial


class RateLimited(ProviderError):
    """The vendor wants us to slow down; ``retry_after`` says for how long where it told."""

    retryable = True


class Overloaded(ProviderError):
    """The vendor has no capacity at the moment."""

    retryable = True


class ServerFault(ProviderError):
    """The vendor's side broke."""

    retryable = True


class ConnectionFailed(ProviderError):
    """No reply: the name did not resolve, nobody listened, or the connection broke."""

    retryable = True


class TimedOut(ProviderError):
    """Nothing that moves the answer on arrived within the limit."""

    retryable = True


class AuthFailed(ProviderError):
    """The key is missing, wrong, or may not use this model."""


class QuotaExceeded(ProviderError):
    """The account's money or quota is used up; waiting does not help."""


class BadRequest(ProviderError):
    """The vendor refused the request as it stands."""


class ContextOverflow(BadRequest):
    """The conversation is longer than the model can read."""


class StateLost(BadRequest):
    """The vendor does not have the stored reply any more; the whole history can be sent instead."""


class StreamTruncated(ProviderError):
    """The answer stopped without its terminal event; ``partial`` holds what had arrived.

    It is never retried: the reader has seen the first part already.
    """


class ToolError(AlloyError):
    """Raise this in a tool to tell the model, in one sentence, what went wrong."""


class Halted(AlloyError):
    """A middleware ended the run, or the guard against a model in a circle."""


class BudgetExceeded(AlloyError):
    """The next request could cost more than is left of the budget."""


class SessionError(AlloyError):
    """A session cannot do what was asked, in the state it is in."""


class Interrupted(AlloyError, KeyboardInterrupt):
    """The person stopped the run. Being a ``KeyboardInterrupt``, it also stops Run All."""

    def _render_traceback_(self) -> list[str]:
        return [f"alloy: {self}"]
