"""A file that a prompt refers to: its text, or a picture or document as the model takes it.

The rules are those of the tool `read`: inside of the working directory, no link out of it, nothing
but a regular file, and never more than a model reads.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.messages import Document, Image
from alloy_nb.tools.files import encoding_of, folder_of, open_regular, reason_of
from alloy_nb.tools.paths import locate

__all__ = ["Attached", "attached", "file_of"]

_MOST_TEXT = 250_000
# What Anthropic takes of a picture, and of a request with documents (platform.claude.com,
# 2026-11-21); the others take more.
_MOST_IMAGE = 5_000_000
_MOST_DOCUMENT = 20_000_000
_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.S), "image/webp"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)


@dataclass(frozen=True, slots=True)
class Attached:
    """A file as a prompt has it: `media`, or else `text`, and its bytes as they were read."""

    path: str
    kind: str
    size: int
    data: bytes
    text: str = ""
    media: Image | Document | None = None

    @property
    def outline(self) -> str:
        """What it is, without what is in it."""
        lines = f", {len(self.text.splitlines()):,} lines" if self.media is None else ""
        return f"{self.kind}{lines}, {self.size:,} bytes"


def attached(path: str, context: ToolContext) -> Attached:
    """Read a file.

    Raises:
        ToolError: It may not be read, there is none, or it is of a kind that no model takes.
    """
    place = locate(path, context)
    try:
        with folder_of(place) as folder, open_regular(folder, place.parts[-1]) as (file, status):
            data = file.read(_MOST_DOCUMENT + 1)
    except OSError as error:
        raise ToolError(
            f"it does not exist or is not a readable file ({reason_of(error)})"
        ) from None
    return file_of(path, data, size=status.st_size)


def file_of(path: str, data: bytes, *, size: int | None = None) -> Attached:
    """Return bytes as a prompt has them: those of a file, or of what was dropped or pasted.

    Raises:
        ToolError: They are of a kind that no model takes, or too many.
    """
    kind = next((kind for magic, kind in _MAGIC if magic.match(data)), "")
    if kind:
        return _media(path, kind, data)
    return _text(path, data, len(data) if size is None else size)


def _media(path: str, kind: str, data: bytes) -> Attached:
    most = _MOST_IMAGE if kind.startswith("image/") else _MOST_DOCUMENT
    if len(data) > most:
        raise ToolError(f"it is larger than {most // 1_000_000} MB")
    encoded = base64.b64encode(data).decode("ascii")
    if kind.startswith("image/"):
        return Attached(path, kind, len(data), data, media=Image(media_type=kind, data=encoded))
    name = path.replace("\\", "/").rpartition("/")[2]
    document = Document(media_type=kind, data=encoded, title=name)
    return Attached(path, kind, len(data), data, media=document)


def _text(path: str, data: bytes, size: int) -> Attached:
    encoding = encoding_of(data[:8192])
    kept = data[:_MOST_TEXT]
    text = kept.decode(encoding, "replace").removeprefix("\ufeff")
    if "\0" in text or text.count("\ufffd") > 1 + len(text) // 20:
        raise ToolError("it is neither text nor a picture nor a PDF")
    if size > len(kept):
        text += f"\n[{size - len(kept):,} of {size:,} bytes were left out]"
    return Attached(path, "text", size, data, text=text)
