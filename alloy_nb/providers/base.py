"""The types that the engine and the wires share: a request, its options, a provider.

A *provider* turns a `ModelRequest` into a stream of `ModelEvent`. Nearly all of them are a *wire*
(a vendor's format, encoded and decoded without any networking) over the one transport; see
:mod:`alloy_nb.providers.vendor`.

The contract of ``Provider.stream``:

- It yields events in the order in which the vendor sent them, and `Stopped` exactly once, last but
  for usage.
- A reply that failed raises a `ProviderError`. A reply that ended without its terminal event
  raises `StreamTruncated`; it never passes for a whole one.
- It never waits and never retries: the engine owns both.
- Closing the iterator closes the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, runtime_checkable

from alloy_nb.events import ModelEvent
from alloy_nb.messages import Message

__all__ = ["Decoder", "Effort", "ModelOptions", "ModelRequest", "Provider", "ToolSpec"]

Effort = Literal["off", "low", "medium", "high", "max"]
EFFORTS: tuple[Effort, ...] = ("off", "low", "medium", "high", "max")


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a model is told about a tool: its name, its purpose, a JSON schema of its arguments.

    Args:
        name: What the model calls it.
        description: What it is for.
        input_schema: JSON schema of an object, the arguments.
        allowed_callers: ``human``, the model in its answer, and ``code_execution``, code that it
            runs at the vendor; empty leaves it to the vendor.
        strict: Whether the vendor holds the model to the schema.
        input_examples: Arguments that show how to call it.
        defer_loading: Whether the model hears of it only when it searches for tools.
        native: The definition by which a vendor knows the tool itself, by the vendor's name.
    """

    name: str
    description: str
    input_schema: Mapping[str, Any]
    allowed_callers: tuple[str, ...] = ()
    strict: bool | None = None
    input_examples: tuple[Mapping[str, Any], ...] = ()
    defer_loading: bool | None = None
    native: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How to answer; ``None`` leaves the choice to the vendor.

    Args:
        max_output_tokens: Upper limit of the reply, thinking included.
        effort: How much to think, in the words that every wire maps to its own.
        temperature: Randomness, in the vendor's range.
        tool_choice: ``auto``, ``any`` (must call one), ``none``, or a tool's name.
        stop: Texts at which to stop.
        thinking_budget: Tokens to think, for models that take a number instead of an effort.
        cache: Whether the vendor keeps what was sent for the next request, where it wants to be
            told: ``True`` or ``"5m"``, or ``"1h"``.
        web_search: A search of the web by the vendor; ``True``, or its settings.
        x_search: A search of X, at xAI only.
        code_execution: A sandbox at the vendor in which the model runs code.
        built_in_tools: Other tools of the vendor, in its own words.
        store: Whether the vendor keeps the replies, so that only what is newer is sent.
        include: What a Responses reply should hold besides.
        parallel_tool_calls: Whether one reply may call several tools.
        previous_response_id: A stored reply to go on from.
        extra_body: Merged over the request's body last, so that it can replace any field.
    """

    max_output_tokens: int | None = None
    effort: Effort | None = None
    temperature: float | None = None
    tool_choice: str | None = None
    stop: tuple[str, ...] = ()
    thinking_budget: int | None = None
    cache: bool | str | None = None
    web_search: bool | Mapping[str, Any] | None = None
    x_search: bool | Mapping[str, Any] | None = None
    code_execution: bool | None = None
    built_in_tools: tuple[Mapping[str, Any], ...] = ()
    store: bool | None = None
    include: tuple[str, ...] = ()
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def over(self, defaults: ModelOptions) -> ModelOptions:
        """Return these options, with `defaults` where they leave a choice open."""
        if defaults == _NONE:
            return self
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        # Empty means unset, but for an explicit no: False and 0 are choices.
        unset = {name for name, value in chosen.items() if value is None or value in ((), {})}
        chosen.update({name: getattr(defaults, name) for name in unset})
        chosen["extra_body"] = {**defaults.extra_body, **self.extra_body}
        return ModelOptions(**chosen)


_NONE = ModelOptions()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request: the whole conversation, what may be called, and how to answer.

    `memory` belongs to the conversation; a wire keeps there what it has encoded, so that each
    message is encoded once however often it is sent. `deadline` is a ``time.monotonic()``.
    `state` is what the newest reply's `Stopped` carried, of whichever vendor. `purpose` is
    ``"summary"`` where the engine asks for a summary of the conversation, and not for an answer.
    """

    messages: Sequence[Message]
    system: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    options: ModelOptions = field(default_factory=ModelOptions)
    deadline: float | None = None
    state: Mapping[str, Any] | None = None
    memory: dict[Any, Any] = field(default_factory=dict, repr=False)
    purpose: Literal["turn", "summary"] = "turn"


@runtime_checkable
class Provider(Protocol):
    """A model that can be asked. A double for tests needs no more than this."""

    @property
    def name(self) -> str:
        """The vendor, such as ``"anthropic"``; also the prefix in ``vendor/model``."""
        ...

    @property
    def model(self) -> str:
        """The model's id in the vendor's words."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send the request and yield what comes back (see the module's contract)."""
        ...


class Decoder(Protocol):
    """Turns the events of one reply into ours; it does no input or output.

    `ended` becomes true with the format's terminal event.
    """

    ended: bool

    def feed(self, name: str | None, data: dict[str, Any]) -> list[ModelEvent]:
        """Return what one vendor event means; unknown events mean nothing.

        Raises:
            ProviderError: The event says that the reply failed.
        """
        ...

    def close(self) -> list[ModelEvent]:
        """Return what is still open when the bytes end, for formats that end with the bytes."""
        ...
