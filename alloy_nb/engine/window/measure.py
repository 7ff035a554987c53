"""How many tokens a conversation has, about: each message is measured once.

Two estimates, for two questions. *Likely* says when a conversation nears its window: a quarter of
its characters, more where they are not ASCII, since one of Chinese is a token or more. *Most* errs
on the dear side, for money that is set aside.

The likely one is corrected by what the vendor counted in the last request: that knows the
tokenizer, and what a system prompt and the tools' schemas really come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import Any

from alloy_nb.messages import (
    Block,
    Document,
    Image,
    Message,
    Opaque,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.providers.base import ToolSpec
from alloy_nb.providers.wire_json import dumps

__all__ = ["Measured", "fixed_at_most", "likely_tokens", "most_tokens"]

_IMAGE, _AUDIO, _VIDEO, _DOCUMENT = 1_000, 500, 2_000, 3_000
# A token is rarely shorter than this many bytes.
_BYTES_A_TOKEN = 3
_IMAGE_AT_MOST = 1_600
# What a vendor's own framing of a message may come to.
_FRAME = 16
# A count that differs from the estimate by more than this is a fault of the server, and is not
# believed further than this.
_LEAST_RATIO, _GREATEST_RATIO = 0.5, 3.0


class Measured:
    """A conversation as it is sent; `add` and `start` keep the sums, so that asking is free."""

    def __init__(self) -> None:
        self.ratio = 1.0
        self.floor = 0
        """What a shortened conversation came to: it is not shortened again before it has grown."""
        self._likely = 0
        self._most: list[int] = []  # of the first messages, as far as it was asked for
        self._fixed = 0
        self._fixed_most = 0
        self._fixed_told: tuple[str | None, tuple[ToolSpec, ...]] = (None, ())
        self._most_sum = 0
        self._made_of: tuple[object, ...] = ()
        self._messages: list[Message] = []
        self._sizes: list[int] = []

    @property
    def tokens(self) -> int:
        """About how many tokens the next request has."""
        return int((self._likely + self._fixed) * self.ratio)

    @property
    def most(self) -> int:
        """How many tokens the next request has, rather too many than too few."""
        if not self._fixed_most:
            self._fixed_most = fixed_at_most(*self._fixed_told)
        for message in self._messages[len(self._most) :]:
            size = most_tokens(message)
            self._most.append(size)
            self._most_sum += size
        return self._most_sum + self._fixed_most

    def start(self, messages: Sequence[Message]) -> None:
        """Measure a conversation; what was measured before is not measured again."""
        kept = _shared(self._messages, messages)
        while len(self._messages) > kept:
            self._messages.pop()
            self._likely -= self._sizes.pop()
            if len(self._most) > len(self._messages):
                self._most_sum -= self._most.pop()
        for message in messages[kept:]:
            self.add(message)

    def add(self, message: Message) -> None:
        """Measure one more message."""
        likely = likely_tokens(message)
        self._messages.append(message)
        self._sizes.append(likely)
        self._likely += likely

    def sizes(self) -> list[int]:
        """Return the likely size of each message, corrected as `tokens` is."""
        return [int(likely * self.ratio) for likely in self._sizes]

    def fix(
        self, made_of: tuple[object, ...], system: str | None, tools: Iterable[ToolSpec]
    ) -> None:
        """Measure the system prompt and the tools, which go with each request.

        What they are made of says whether they are the same as last time.
        """
        same = len(made_of) == len(self._made_of) and all(map(is_, made_of, self._made_of))
        if same:
            return
        self._made_of, self._fixed_told, self._fixed_most = made_of, (system, tuple(tools)), 0
        self._fixed = _text_tokens(system or "") + sum(map(_spec_tokens, self._fixed_told[1]))

    def correct(self, reported: int, sent: int) -> None:
        """Learn from a reply that `reported` tokens were sent, where `tokens` said `sent`."""
        if reported <= 0 or sent <= 0:
            return
        ratio = reported / (sent / self.ratio)
        self.ratio = min(max(ratio, _LEAST_RATIO), _GREATEST_RATIO)


def likely_tokens(message: Message) -> int:
    """Return about how many tokens a message has."""
    return sum(_likely(block) for block in message.content)


def most_tokens(message: Message) -> int:
    """Return how many tokens a message has, rather too many than too few."""
    return sum(_bytes_of(block) for block in message.content) // _BYTES_A_TOKEN + _FRAME


def fixed_at_most(system: str | None, tools: Iterable[ToolSpec]) -> int:
    """Return how many tokens go with each request besides its messages, rather too many."""
    size = _bytes(system or "")
    for tool in tools:
        size += _bytes(tool.name) + _bytes(tool.description) + _bytes(str(tool.input_schema))
    return size // _BYTES_A_TOKEN + _FRAME


def _shared(old: Sequence[Message], new: Sequence[Message]) -> int:
    """Return how many of the first messages are the very same."""
    if len(old) <= len(new) and all(map(is_, old, new)):
        return len(old)
    pairs = zip(old, new, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a is not b), min(len(old), len(new)))


# --- likely ---------------------------------------------------------------------------------------


def _likely(block: Block) -> int:
    match block:
        case Text():
            return _text_tokens(block.text)
        case Thinking():
            return _text_tokens(block.text)
        case ToolCall():
            arguments = block.invalid if block.invalid is not None else _json(block.input)
            return _text_tokens(block.name) + _text_tokens(arguments)
        case ToolResult():
            return sum(_likely(part) for part in block.content)
        case Image():
            return _IMAGE
        case Document():
            kind = block.media_type.partition("/")[0]
            return {"audio": _AUDIO, "video": _VIDEO, "image": _IMAGE}.get(kind, _DOCUMENT)
        case Opaque():
            # What a vendor's own tool brought is read again with each request.
            return _text_tokens(_json(block.raw))
    return 0


def _text_tokens(text: str) -> int:
    if text.isascii():
        return len(text) // 4
    extra = len(text.encode("utf-8", "surrogatepass")) - len(text)
    return (2 * len(text) + 3 * extra) // 8


def _spec_tokens(spec: ToolSpec) -> int:
    return _text_tokens(spec.name + spec.description) + _text_tokens(_json(spec.input_schema))


def _json(value: Mapping[str, Any]) -> str:
    try:
        return dumps(value).decode("utf-8", "replace")
    except (TypeError, ValueError):
        return str(value)


# --- at most --------------------------------------------------------------------------------------


def _bytes_of(block: Any) -> int:
    match block:
        case Text() | Thinking():
            return _bytes(block.text) + _bytes(str(block.replay or ""))
        case ToolCall():
            return _bytes(block.name) + _bytes(str(block.input)) + _bytes(block.invalid or "")
        case ToolResult():
            return sum(_bytes_of(part) for part in block.content)
        case Image():
            return _IMAGE_AT_MOST * _BYTES_A_TOKEN
        case Document():
            # What its pages hold cannot be seen from here.
            return len(block.data or "") + _IMAGE_AT_MOST * _BYTES_A_TOKEN
    return _bytes(str(block))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
