"""Model events folded into a message.

One builder makes the message of every reply, streamed or not:

1. `BlockStarted` opens a block, in the order in which blocks begin.
2. Deltas add pieces; nothing is joined before the end.
3. `BlockSealed` closes it, with what the vendor must get back.
4. `UsageReported` replaces what was reported before.
5. `Stopped` ends the reply. Without it, `partial` makes a message of what had arrived: text is
   kept, calls whose arguments may be cut are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    CitationAdded,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import (
    Block,
    Citation,
    Message,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
)
from alloy_nb.providers.wire_json import parse_arguments
from alloy_nb.usage import Usage

__all__ = ["Reply", "ReplyBuilder"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. `usage` is ``None`` where the vendor reported none."""

    message: Message
    stop: StopReason
    usage: Usage | None
    detail: str | None = None
    state: dict[str, Any] | None = None


@dataclass(slots=True)
class _Open:
    kind: str
    id: str = ""
    name: str = ""
    server: bool = False
    pieces: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    block: Block | None = None
    replay: dict[str, Any] | None = None
    sealed: bool = False

    def build(self) -> Block | None:
        """Return the block, or ``None`` where it is empty."""
        if self.block is not None:
            return self.block
        text = "".join(self.pieces)
        match self.kind:
            case "text":
                if not text and not self.citations:
                    return None
                return Text(text=text, citations=tuple(self.citations), replay=self.replay)
            case "thinking":
                if not text and self.replay is None:
                    return None
                return Thinking(text=text, replay=self.replay)
            case "tool_call":
                arguments, invalid = parse_arguments(text)
                return ToolCall(
                    id=self.id,
                    name=self.name,
                    input=arguments,
                    invalid=invalid,
                    server=self.server,
                    replay=self.replay,
                )
        return None


class ReplyBuilder:
    """Folds the events of one reply; `provider` and `model` become the message's origin."""

    def __init__(self, *, provider: str, model: str) -> None:
        self._provider = provider
        self._model = model
        self._blocks: dict[int, _Open] = {}
        self._started = ReplyStarted()
        self._host: str | None = None
        self._stopped: Stopped | None = None
        self.usage: Usage | None = None

    def feed(self, event: ModelEvent) -> None:
        """Take one event."""
        match event:
            case TextDelta() | ThinkingDelta():
                self._blocks[event.index].pieces.append(event.text)
            case ToolInputDelta():
                self._blocks[event.index].pieces.append(event.json)
            case BlockStarted():
                self._blocks[event.index] = _Open(
                    event.kind, event.id or "", event.name or "", event.server
                )
            case BlockSealed():
                block = self._blocks[event.index]
                block.sealed = True
                block.replay = event.replay
                block.block = event.block
            case CitationAdded():
                self._blocks[event.index].citations.append(event.citation)
            case UsageReported():
                self.usage = event.usage
            case Stopped():
                self._stopped = event
            case ReplyStarted():
                self._started = event
                self._host = event.host or self._host  # a reply may be renamed

    @property
    def has_output(self) -> bool:
        """Whether anything of the answer itself arrived."""
        return bool(self._blocks)

    def done(self, *, provider: str | None = None, model: str | None = None) -> Reply:
        """Return the whole reply; a fallback that answered is named here.

        Raises:
            ValueError: There was no `Stopped`.
        """
        if self._stopped is None:
            raise ValueError("the reply is not whole")
        self._provider, self._model = provider or self._provider, model or self._model
        blocks = [b for open_ in self._blocks.values() if (b := open_.build()) is not None]
        stop = self._stop_reason(self._stopped.reason, blocks)
        return Reply(
            message=self._message(blocks, stop),
            stop=stop,
            usage=self.usage,
            detail=self._stopped.detail,
            state=self._stopped.state,
        )

    def partial(self, *, provider: str | None = None, model: str | None = None) -> Message | None:
        """Return what had arrived when the reply was cut, or ``None`` where nothing had.

        Calls are left out, since one that was cut must not run. Thinking without its signature is
        kept for the reader; the hand-off does not send it.
        """
        self._provider, self._model = provider or self._provider, model or self._model
        blocks = [
            block
            for open_ in self._blocks.values()
            if (open_.kind != "tool_call" or (open_.sealed and open_.server))
            and (block := open_.build()) is not None
            and not (isinstance(block, Text) and not block.text.strip())
        ]
        return self._message(blocks, StopReason.INTERRUPTED) if blocks else None

    def _stop_reason(self, reason: StopReason, blocks: list[Block]) -> StopReason:
        """Settle contradictions: calls without ``tool_use`` count, and so does their absence."""
        calls = any(isinstance(b, ToolCall) and not b.server for b in blocks)
        if calls and reason in (StopReason.END_TURN, StopReason.STOP_SEQUENCE):
            return StopReason.TOOL_USE
        if not calls and reason is StopReason.TOOL_USE:
            return StopReason.END_TURN
        return reason

    def _message(self, blocks: list[Block], stop: StopReason) -> Message:
        origin = Origin(
            provider=self._provider,
            model=self._model,
            response_id=self._started.id,
            host=self._host,
        )
        return Message(role="assistant", content=tuple(blocks), origin=origin, stop=stop)
