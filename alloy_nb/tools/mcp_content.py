r"""What MCP servers say, made fit for a model and a person. Pure; a server is not trusted.

- A tool's name becomes ``mcp__server__tool``, in letters that all vendors take.
- A description stays as it is, but for characters that hide or reorder others, and escape
  sequences: those are shown, as ``\u202e``.
- A definition has a digest; one that changed has another.
- A result is text without terminal escapes, pictures, and notes for what no model takes.

Source: https://modelcontextprotocol.io/specification/2025-11-25/server/tools, and the types of
mcp 2.3 (``mcp_types``), read 2026-11-21.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from alloy_nb.engine.calls.approval import escaped
from alloy_nb.engine.calls.tool import ToolOutput
from alloy_nb.markup.plain import without_escapes
from alloy_nb.messages import Document, Image
from alloy_nb.providers.wire_json import well_formed

__all__ = [
    "Definition",
    "definition_of",
    "fingerprint",
    "output_of",
    "plain",
    "tool_name",
    "visible",
]

# A definition goes to the model with each request.
_LONGEST_DESCRIPTION = 8_000
_LARGEST_SCHEMA = 64_000
_DEEPEST_SCHEMA = 60
_LONGEST_NAME = 64
# What vendors take of one picture (5 MB), as base64; and how many of one result.
_LARGEST_IMAGE = 6_900_000
_MOST_PARTS = 200
_MOST_IMAGES = 20
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@dataclass(frozen=True, slots=True)
class Definition:
    """A tool as its server describes it, and the digest by which it is known again."""

    name: str
    description: str
    schema: Mapping[str, Any]
    digest: str


def definition_of(name: str, description: str | None, schema: Any) -> Definition:
    """Return a server's definition with all that is hidden in it made visible.

    Raises:
        ValueError: It is too large or too deep, or has hidden characters where they cannot be
            replaced. The text says which, for a person.
    """
    try:
        written = json.dumps([name, description, schema], sort_keys=True, ensure_ascii=True)
    except (RecursionError, TypeError, ValueError):
        raise ValueError("its definition is no JSON, or nested too deeply") from None
    if len(written) > _LARGEST_SCHEMA:
        raise ValueError(f"its definition has over {_LARGEST_SCHEMA:,} characters")
    said = visible(description or "")
    if len(said) > _LONGEST_DESCRIPTION:
        raise ValueError(f"its description has over {_LONGEST_DESCRIPTION:,} characters")
    shown = _shown(schema, 0)
    shown["type"] = "object"
    return Definition(name, said, shown, hashlib.sha256(written.encode()).hexdigest())


def fingerprint(definitions: Iterable[Definition]) -> str:
    """Return one digest of all of a server's definitions."""
    digests = sorted(definition.digest for definition in definitions)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def tool_name(server: str, tool: str, taken: Container[str] = ()) -> str:
    """Return ``mcp__server__tool`` in at most 64 letters, digits, ``_`` and ``-``.

    A name that had to be changed, or is taken, ends in a digest of what it was.
    """
    wanted = f"mcp__{server}__{tool}"
    name = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)
    if name == wanted and len(name) <= _LONGEST_NAME and name not in taken:
        return name
    digest = wanted
    while True:
        digest = hashlib.sha256(digest.encode("utf-8", "replace")).hexdigest()
        changed = f"{name[: _LONGEST_NAME - 9]}_{digest[:8]}"
        if changed not in taken:
            return changed


def visible(text: str) -> str:
    r"""Return a text with characters that hide or reorder others as escapes, as ``\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_plain(c) else escaped(c) for c in text)


def plain(text: str) -> str:
    """Return a text without escape sequences and control characters, but for line ends and tabs."""
    text = without_escapes(well_formed(text)).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", text)


def output_of(result: Any) -> ToolOutput:
    """Return what a call came to: its parts for the model, its structured content as data."""
    parts = [_part(block) for block in result.content[:_MOST_PARTS]]
    images = 0
    for number, part in enumerate(parts):
        images += isinstance(part, Image)
        if isinstance(part, Image) and images > _MOST_IMAGES:
            parts[number] = "[a picture was left out: there are too many]"
    if left := len(result.content) - len(parts):
        parts.append(f"[{left:,} more parts were left out]")
    data = result.structured_content
    if not parts:
        parts = (
            [plain(json.dumps(data, ensure_ascii=False))] if data is not None else ["(no output)"]
        )
    if all(isinstance(part, str) for part in parts):
        return ToolOutput("\n".join(map(str, parts)), data=data, is_error=result.is_error)
    return ToolOutput(parts, data=data, is_error=result.is_error)


def _part(block: Any) -> str | Image | Document:
    match block.type:
        case "text":
            return plain(block.text)
        case "image":
            return _media(block.mime_type, block.data, "a picture")
        case "audio":
            return f"[a sound of {len(block.data) * 3 // 4:,} bytes, {visible(block.mime_type)}]"
        case "resource_link":
            name = visible(block.title or block.name)
            about = f": {plain(block.description)}" if block.description else ""
            return f"[resource {name} at {visible(str(block.uri))}{about}]"
        case "resource":
            return _resource(block.resource)
    return f"[{visible(str(block.type))}]"


def _resource(resource: Any) -> str | Image | Document:
    where = visible(str(resource.uri))
    text = getattr(resource, "text", None)
    if isinstance(text, str):
        return f"[resource {where}]\n{plain(text)}"
    return _media(resource.mime_type or "", resource.blob, f"resource {where}")


def _media(kind: str, data: str, what: str) -> str | Image | Document:
    size = f"[{what}, {visible(kind) or 'of an unknown kind'}, {len(data) * 3 // 4:,} bytes"
    if not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", data) or len(data) % 4 or not data:
        return f"{size}, which is no base64]"
    if len(data) > _LARGEST_IMAGE:
        return f"{size}, too large to be shown]"
    if kind in _IMAGES:
        return Image(media_type=kind, data=data)
    if kind == "application/pdf":
        return Document(media_type=kind, data=data)
    return f"{size}]"


def _shown(value: Any, depth: int, key: str = "") -> Any:
    if depth > _DEEPEST_SCHEMA:
        raise ValueError("its schema is nested too deeply")
    if isinstance(value, str):
        shown = visible(value)
        if shown != value and key not in ("description", "title", "$comment"):
            raise ValueError("its schema has hidden characters outside of descriptions")
        return shown
    if isinstance(value, list):
        return [_shown(item, depth + 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    out = {}
    for name, item in value.items():
        if visible(name) != name:
            raise ValueError("its schema has hidden characters in a name")
        out[name] = _shown(item, depth + 1, name)
    return out


def _is_plain(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) not in _HIDDEN
