"""A conversation as a value that can be written down and read back.

The JSON has a version, and a reader refuses one that it does not know. What is read is data alone:
messages, counts, and what is known about them. No field of it names an address, a tool, a key or a
permission, and an unknown field is refused, so that a file from elsewhere changes none of these.
"""

from __future__ import annotations

import codecs
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
)

from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.messages import (
    Citation,
    Document,
    Image,
    Message,
    Opaque,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.secrets import redact
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.history import History
    from alloy_nb.engine.sessions.lifecycle import Running
    from alloy_nb.engine.sessions.session import Session

__all__ = ["VERSION", "Health", "SessionRecord", "TurnRecord", "session_id"]

VERSION = 1
# A longer conversation than any model reads, with pictures.
MAX_BYTES = 64_000_000
# Far more than a person says, and as much as is read within seconds.
MAX_MESSAGES = 100_000
MAX_OBJECTS = 400_000
MAX_LISTS = 2_000_000
MAX_AMOUNT = 10**15
# Also a topic, and the name of what is stored.
ID = r"[A-Za-z0-9_.:@-]{1,128}"


class TurnRecord(BaseModel):
    """What is known of one turn besides what was said.

    `first` and `count` are the place of its messages in the conversation, `replies` how many of
    them the model made, `status` how it ended, and `at` when.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)

    first: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=0)]
    replies: int = 0
    status: Annotated[str, StringConstraints(max_length=40)]
    error: str | None = None
    at: AwareDatetime
    seconds: float = 0.0
    usage: Usage
    cost: Cost
    decisions: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    """What a person decided about the calls of the turn, a line for each."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session at one moment.

    Args:
        id: The session's own id, which stays the same from export to export.
        messages: The conversation.
        usage: Tokens of all turns.
        cost: US dollars of all turns.
        metadata: What else is known: name, status, turns, model.
        created_at: When the session was made.
        updated_at: When it last changed.
        turns: What each turn used and cost, as far as it is known.
    """

    id: str
    messages: tuple[Message, ...]
    usage: Usage = field(default_factory=Usage)
    cost: Cost = field(default_factory=Cost)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    turns: tuple[TurnRecord, ...] = ()

    def to_json(self) -> str:
        """Return the record as JSON text, with every known key masked."""
        shape = _Shape(
            format="alloy_nb.session",
            version=VERSION,
            id=self.id,
            created_at=self.created_at,
            updated_at=self.updated_at,
            usage=self.usage,
            cost=self.cost,
            metadata=dict(self.metadata),
            messages=self.messages,
            turns=self.turns,
        )
        # Also what is ``None``: an argument that is null is not one that is missing.
        values = shape.model_dump(mode="json")
        text = json.dumps(values, ensure_ascii=False, indent=1)
        if redact(text) != text:
            text = json.dumps(_masked(values), ensure_ascii=False, indent=1)
        # Half a character, as a person may paste it, is none in UTF-8.
        return text.encode("utf-8", "replace").decode()

    @classmethod
    def from_json(cls, text: str | bytes, *, max_bytes: int = MAX_BYTES) -> SessionRecord:
        """Read what `to_json` wrote.

        Raises:
            SessionError: It is too large, no such record, or of a version that is not known.
        """
        data = _bytes(text, max_bytes)
        try:
            head = _Head.model_validate_json(data)
            if head.version != VERSION:
                raise SessionError(
                    f"This session has format version {head.version}, and this package reads "
                    f"version {VERSION}. Install a newer alloy-nb, or export the session again."
                )
            shape = _Shape.model_validate_json(data)
        except ValidationError as error:
            raise SessionError(f"This is no session that can be read: {_where(error)}.") from None
        _check_counts(shape)
        return cls(
            id=shape.id,
            messages=shape.messages,
            usage=shape.usage,
            cost=shape.cost,
            metadata=shape.metadata,
            created_at=shape.created_at,
            updated_at=shape.updated_at,
            turns=shape.turns,
        )


@dataclass(frozen=True, slots=True)
class Health:
    """How a session is, at one moment."""

    status: Literal["idle", "running", "stopped"]
    turns: int
    """Replies in the turn under way, or else in the last one."""
    message_count: int
    usage: Usage
    cost: Cost
    uptime: float
    """Seconds since it was made."""
    busy: bool
    pending_count: int
    """Requests that wait."""
    max_pending: int


def health_of(session: Session, running: Running | None) -> Health:
    """Return how a session is, with the run under way."""
    state, last = session._turns, session.results[-1:]
    return Health(
        status=state.status,
        turns=running.run.turn if running else sum(result.turns for result in last),
        message_count=len(session._messages),
        usage=session.usage,
        cost=session.cost,
        uptime=time.monotonic() - session._made,
        busy=state.status == "running",
        pending_count=state.pending,
        max_pending=session._inbox.limit,
    )


def record_of(session: Session, history: History) -> SessionRecord:
    """Return a session as a value, of one moment: a turn may end on another thread."""
    with history.lock:
        turns = tuple(history.turns)
        last = turns[-1] if turns else None
        return SessionRecord(
            id=session.id,
            messages=tuple(history.messages),
            usage=history.usage,
            cost=history.cost,
            metadata={
                "name": session.name,
                "model": f"{session.provider.name}/{session.provider.model}",
                "status": last.status if last else "idle",
                "turns": last.replies if last else 0,
            },
            created_at=history.created_at,
            updated_at=history.updated_at,
            turns=turns,
        )


class _Head(BaseModel):
    model_config = ConfigDict(strict=True, defer_build=True)

    format: Literal["alloy_nb.session"]
    version: int


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)

    format: Literal["alloy_nb.session"]
    version: int
    id: Annotated[str, StringConstraints(pattern=f"^{ID}$")]
    created_at: AwareDatetime
    updated_at: AwareDatetime
    usage: Usage
    cost: Cost
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    messages: Annotated[tuple[Message, ...], Field(max_length=MAX_MESSAGES)]
    turns: Annotated[tuple[TurnRecord, ...], Field(max_length=MAX_MESSAGES)] = ()


def session_id(given: str | None, context: Mapping[str, Any]) -> str:
    """Return the id that a session was given, by itself or as ``context["session_id"]``, or a new.

    Raises:
        ConfigError: It cannot be an id.
    """
    chosen = given if given is not None else context.get("session_id")
    if chosen is None:
        return secrets.token_urlsafe(16)
    if not isinstance(chosen, str) or not re.fullmatch(ID, chosen):
        raise ConfigError(
            f"{chosen!r} cannot be a session's id: use up to 128 letters, digits and _ . : @ -"
        )
    return chosen


# What has one of a few values: a password that is a word must not make a file that none can read.
_WORDS = frozenset({"format", "kind", "role", "stop", "type"})
_MODELS = (_Shape, TurnRecord, Usage, Cost, Message, Citation, Origin)
_BLOCKS = (Text, Thinking, ToolCall, ToolResult, Image, Document, Opaque)
_NAMES = frozenset(name for model in (*_MODELS, *_BLOCKS) for name in model.model_fields)


def _masked(value: Any, name: str = "") -> Any:
    """Return a value with each text in it masked; a picture may look like a key by chance."""
    if isinstance(value, str):
        return value if name in _WORDS else redact(value)
    if isinstance(value, list):
        return [_masked(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    media = value.get("type") in ("image", "document") and "media_type" in value
    return {
        redact(key) if key not in _NAMES else key: item
        if media and key == "data"
        else _masked(item, key)
        for key, item in value.items()
    }


def _bytes(text: str | bytes, limit: int) -> bytes:
    try:
        data = text if isinstance(text, bytes) else text.encode()
    except UnicodeEncodeError:
        raise SessionError("This is no session that can be read: it is not UTF-8.") from None
    if len(data) > limit:
        raise SessionError(
            f"This session has {len(data):,} bytes, and at most {limit:,} are read. Raise "
            "max_bytes if you trust it."
        )
    data = data.removeprefix(codecs.BOM_UTF8)  # editors of Windows put it there
    # Within a text few braces are followed so: there, a quotation mark is escaped.
    objects = sum(map(data.count, (b'{"', b"{}", b"{ ", b"{\n", b"{\r", b"{\t")))
    if objects > MAX_OBJECTS or data.count(b"[") > MAX_LISTS:
        raise SessionError(
            f"This session has more than {MAX_OBJECTS:,} objects, or {MAX_LISTS:,} lists: that is "
            "no conversation."
        )
    return data


def _check_counts(shape: _Shape) -> None:
    """Refuse amounts that nobody can have spent: written out, one may take a million digits."""
    costs = [shape.cost, *(turn.cost for turn in shape.turns)]
    usages = [shape.usage, *(turn.usage for turn in shape.turns)]
    amounts: list[Any] = [cost.known for cost in costs]
    amounts += [value for usage in usages for value in vars(usage).values()]
    numbers = [value for value in amounts if isinstance(value, (int, Decimal))]
    if not all(0 <= number < MAX_AMOUNT for number in numbers):
        raise SessionError("This is no session that can be read: what it used or cost is absurd.")


def _where(error: ValidationError) -> str:
    """Say where the first fault is, without repeating what stands there."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:200]
    message = str(first["msg"])[:200]
    return f"{place}: {message}" if place else message
