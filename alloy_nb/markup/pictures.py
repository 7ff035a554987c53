"""Pictures in a page: only those that are what they say, and never fetched from anywhere."""

from __future__ import annotations

import base64
import binascii

from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Image

__all__ = ["described", "embedded", "is_picture"]

# Larger pictures would make a document slow to open and to save; the message itself has them.
_IMAGE_BYTES = 4_000_000
_SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}


def embedded(image: Image) -> str | None:
    """Return the picture as a ``data:`` address, or ``None`` where it is none to be shown."""
    data = _data(image)
    return f"data:{image.media_type};base64,{data}" if is_picture(image.media_type, data) else None


def described(image: Image) -> str:
    """Return words that stand for the picture."""
    data = _data(image)
    if not data:
        return "[image: not shown]"
    return f"[image: {one_line(image.media_type, 40)}, {max(1, len(data) * 3 // 4096)} kB]"


def is_picture(kind: str, data: str) -> bool:
    """Tell whether base64 `data` is small enough, and begins as a picture of this kind does."""
    if kind not in _SIGNATURES or not 0 < len(data) <= _IMAGE_BYTES:
        return False
    try:
        return base64.b64decode(data, validate=True).startswith(_SIGNATURES[kind])
    except (binascii.Error, ValueError):
        return False


def _data(image: Image) -> str:
    return "".join((image.data or "").split())
