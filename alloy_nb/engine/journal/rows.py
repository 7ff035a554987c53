"""Messages and events as rows of text, and back.

A long string (a picture, a large result, a signature) is stored once for the whole file, by its
hash, wherever it stands; the row holds ``{"$blob": hash}`` in its place. Known keys are masked
before anything is written. Writing never raises, whatever a tool or a model put into a message,
and what cannot be read is left out: a journal must end neither a turn nor a resumption.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from alloy_nb.messages import Block, Message, Text, ToolCall
from alloy_nb.providers.wire_json import dumps, well_formed
from alloy_nb.secrets import redact

__all__ = [
    "ROOT",
    "Blobs",
    "Statement",
    "chained",
    "digest",
    "hash_of",
    "line",
    "preview",
    "read_json",
    "read_message",
    "read_messages",
    "safe_settings",
    "write_json",
    "write_message",
]

log = logging.getLogger("alloy_nb")

Statement = tuple[str, tuple[Any, ...]]

ROOT = "0" * 32
"""The hash of an empty history."""

# Shorter ones cost more as rows of their own than they save.
_LONG = 4_096
# SQLite takes a billion bytes, and no vendor a message half as long as this.
_LONGEST = 256_000_000
_DEEPEST = 200
_PREVIEW = 120
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_BLOB, _PLAIN, _LOST = "$blob", "$plain", "$lost"
_OURS = frozenset((_BLOB, _PLAIN, _LOST))
_MARK = '{"$'
# So many rows are read as one text: one that is damaged makes only these slow.
_AT_ONCE = 1_000


class Blobs:
    """The long strings of what is about to be written."""

    def __init__(self) -> None:
        self._new: dict[str, tuple[str, bytes]] = {}

    def add(self, text: str) -> str:
        """Take a string and return its hash."""
        kind, data = _as_bytes(text)
        name = hashlib.sha256(kind.encode() + b":" + data).hexdigest()
        self._new[name] = (kind, data)
        return name

    def statements(self, turn: str) -> list[Statement]:
        """Return what stores them, as used by a turn."""
        out: list[Statement] = []
        for name, (kind, data) in self._new.items():
            out.append(("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (name, kind, data)))
            out.append(("INSERT OR IGNORE INTO uses VALUES (?, ?)", (name, turn)))
        return out


def text_of_blob(kind: str, data: bytes) -> str:
    """Return the string that a blob was made of."""
    return base64.b64encode(data).decode() if kind == "base64" else data.decode("utf-8", "replace")


def write_json(value: Any, blobs: Blobs) -> str:
    """Write JSON values.

    Raises:
        ValueError: They are no JSON, or nested too deeply.
    """
    return redact(dumps(_packed(value, blobs, 0)).decode())


def read_json(text: str, blob: Callable[[str], str | None]) -> Any:
    """Read what `write_json` wrote; `blob` returns the string of a hash, where it is there.

    Raises:
        ValueError: It is damaged.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _unpacked(value, blob, 0) if _MARK in text else value


def write_message(message: Message, blobs: Blobs) -> str:
    """Write a message; a block that is no JSON is replaced by a note."""
    try:
        return write_json(message.model_dump(mode="json"), blobs)
    except (ValueError, RecursionError):
        content = tuple(_writable(block) for block in message.content)
        mended = message.model_copy(update={"content": content})
        return write_json(mended.model_dump(mode="json"), blobs)


def read_message(text: str, blob: Callable[[str], str | None]) -> Message | None:
    """Read a message, or return ``None`` where it is damaged."""
    try:
        return Message.model_validate(read_json(text, blob))
    except (ValueError, ValidationError):
        log.warning("A message in the journal is damaged, and left out")
        return None


def read_messages(texts: Sequence[str], blob: Callable[[str], str | None]) -> list[Message | None]:
    """Read messages, each as `read_message` does, and many at once."""
    found: list[Message | None] = []
    for at in range(0, len(texts), _AT_ONCE):
        found += _read_some(texts[at : at + _AT_ONCE], blob)
    return found


def line(text: str) -> str:
    """Return a text that is no JSON as it may be written: without keys and halves of characters."""
    return redact(well_formed(text))


def digest(text: str) -> str:
    """Return the hash of a row's text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def chained(before: str, *bodies: str) -> str:
    """Return the hash of a history that goes on with these messages."""
    for body in bodies:
        before = digest(f"{before}{body}")
    return before


def hash_of(settings: Mapping[str, Any] | None) -> str:
    """Return a hash of what decides an answer; keys are in it as little as on the disk."""
    return digest(write_json(dict(sorted(safe_settings(settings or {}).items())), Blobs()))


def preview(prompt: Message) -> str:
    """Return the beginning of a prompt, on one line."""
    return " ".join(line(prompt.text[: 20 * _PREVIEW]).split())[:_PREVIEW]


_KEY_NAMES = re.compile(r"key|token|secret|password|credential|auth|header|cookie", re.I)


def safe_settings(settings: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return the settings that may be written down: plain values, and nothing named like a key."""
    safe: dict[str, str | int | float | bool] = {}
    for name, value in settings.items():
        counts = re.search(r"tokens?$", name) and isinstance(value, int)  # max_output_tokens
        if _KEY_NAMES.search(name) and not counts:
            continue
        if isinstance(value, str):
            safe[name] = line(_without_user(value))
        elif isinstance(value, (bool, int, float)):
            safe[name] = value
    return safe


def _without_user(text: str) -> str:
    """Take the user's name, the password and the query out of an address."""
    if "://" not in text:
        return text
    return re.sub(r"(://)[^/@\s]*@", r"\1", text).split("?")[0]


def _as_bytes(text: str) -> tuple[str, bytes]:
    if _BASE64.fullmatch(text) and len(text) % 4 == 0:
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error:
            data = b""
        if base64.b64encode(data).decode() == text:
            return "base64", data
    return "text", line(text).encode()


def _packed(value: Any, blobs: Blobs, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        if len(value) < _LONG:
            return value
        return {_BLOB: blobs.add(value)} if len(value) <= _LONGEST else {_LOST: len(value)}
    if isinstance(value, dict):
        packed = {str(k): _packed(v, blobs, depth + 1) for k, v in value.items()}
        return {_PLAIN: packed} if len(packed) == 1 and _OURS & packed.keys() else packed
    if isinstance(value, (list, tuple)):
        return [_packed(item, blobs, depth + 1) for item in value]
    return value


def _unpacked(value: Any, blob: Callable[[str], str | None], depth: int) -> Any:
    if depth > 2 * _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, list):
        return [_unpacked(item, blob, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        match value:
            case {"$blob": str(name)}:
                text = blob(name)
                return "(This was lost from the journal.)" if text is None else text
            case {"$lost": int(length)}:
                return f"({length:,} characters were too long to keep.)"
            case {"$plain": dict(plain)}:
                return {k: _unpacked(v, blob, depth + 1) for k, v in plain.items()}
    return {k: _unpacked(v, blob, depth + 1) for k, v in value.items()}


def _writable(block: Block) -> Block:
    try:
        write_json(block.model_dump(mode="json"), Blobs())
    except (ValueError, RecursionError):
        if isinstance(block, ToolCall):
            note = "(The arguments could not be kept.)"
            return block.model_copy(update={"input": {}, "invalid": note, "replay": None})
        return Text(text=f"(A block of the kind {block.type} could not be kept.)")
    return block


def _read_some(texts: Sequence[str], blob: Callable[[str], str | None]) -> Sequence[Message | None]:
    plain = [text for text in texts if _MARK not in text]
    try:
        read = _messages().validate_json(f"[{','.join(plain)}]")
    except ValidationError:
        read = []
    if len(read) != len(plain):  # one is damaged, or two of them made one message
        return [read_message(text, blob) for text in texts]
    if len(plain) == len(texts):
        return read
    rest = iter(read)
    return [read_message(text, blob) if _MARK in text else next(rest) for text in texts]


@cache
def _messages() -> TypeAdapter[list[Message]]:
    return TypeAdapter(list[Message])
