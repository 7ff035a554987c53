"""A conversation as a document: Markdown to read, JSON to read back.

The JSON has a version; a reader refuses one that it does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from alloy_nb.errors import ConfigError
from alloy_nb.messages import Image, Message, Text, Thinking, ToolCall, ToolResult
from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.session import Session

__all__ = ["as_json", "as_markdown", "write"]


def write(session: Session, path: Path) -> Path:
    """Write a conversation to ``.md`` or ``.json``, whole or not at all.

    Raises:
        ConfigError: The ending is none of these, or the file cannot be written.
    """
    match path.suffix.lower():
        case ".md":
            text = as_markdown(session)
        case ".json":
            text = as_json(session)
        case ending:
            raise ConfigError(
                f"Cannot export to {ending or path.name!r}: use FILE.md or FILE.json."
            )
    data = redact(text).encode("utf-8", "replace")
    try:
        _replace(path, data)
    except OSError as error:
        raise ConfigError(
            f"Cannot write {path}: {(error.strerror or str(error)).lower()}."
        ) from None
    return path


def as_json(session: Session) -> str:
    """Return the conversation as JSON that `SessionRecord.from_json` reads."""
    return session.export_session().to_json()


def as_markdown(session: Session) -> str:
    """Return the conversation as Markdown, with thinking and tools folded."""
    head = [
        f"# {session.name}",
        f"{session.provider.name}/{session.provider.model} · {len(session.messages)} messages · "
        f"{session.usage.total_tokens:,} tokens · {session.cost}",
    ]
    return "\n\n".join([*head, *(_message(m) for m in session.messages if m.content)]) + "\n"


def _message(message: Message) -> str:
    blocks = [_block(block) for block in message.content]
    only_results = all(isinstance(block, ToolResult) for block in message.content)
    if only_results:
        return "\n\n".join(blocks)
    who = "You" if message.role == "user" else "Answer"
    if message.origin is not None:
        who += f" · {message.origin.provider}/{message.origin.model}"
    if message.stop in ("interrupted", "max_tokens"):
        who += f" · {message.stop.value}"
    return "\n\n".join([f"## {who}", *blocks])


def _block(block: object) -> str:
    match block:
        case Text():
            return block.text + _sources(block)
        case Thinking():
            return _folded("Thinking", block.text) if block.text else ""
        case ToolCall(name=name, input=arguments):
            code = arguments.get("code") or arguments.get("command")
            body = code if isinstance(code, str) else json.dumps(arguments, ensure_ascii=False)
            return _folded(f"Tool: {name}", body)
        case ToolResult():
            return _folded("Failed" if block.is_error else "Result", block.text)
        case Image():
            return "[image]"
    return f"[{getattr(block, 'type', 'block')}]"


def _sources(text: Text) -> str:
    if not text.citations:
        return ""
    lines = [
        f"{number}. {citation.title or citation.url or 'source'}"
        + (f" <{citation.url}>" if citation.url and citation.title else "")
        + (f": “{citation.quote}”" if citation.quote else "")
        for number, citation in enumerate(text.citations, 1)
    ]
    return "\n\nSources:\n\n" + "\n".join(lines)


def _folded(title: str, body: str) -> str:
    fence = "```"
    while fence in body:
        fence += "`"
    return f"<details><summary>{title}</summary>\n\n{fence}\n{body}\n{fence}\n\n</details>"


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:  # raised again, without the half-written file
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
