"""Pictures that code made, on their way to the model: few, and no larger than it can see.

A picture that is too large is made smaller with Pillow, where that is installed; where not, the
model is told that there is one. What is cut away here, the person still sees in the cell.
"""

from __future__ import annotations

import base64
import binascii
import importlib.util
import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from alloy_nb.messages import Image

__all__ = ["MOST", "SHOWN", "fitted", "picture_of"]

MOST = 4
"""How many pictures of one call go to the model."""

SHOWN = {"pictures": "shown in the cell"}
"""What a tool returns for the program where its card has no pictures to draw."""

# Models scale down what is larger than this, and it costs the more the larger it is. As of
# 2026-11-21 Anthropic scales to 1568 pixels, and refuses over 5 MB or 8000 pixels.
_SIDE = 1568
_BYTES = 1_500_000
_KINDS = ("image/png", "image/jpeg")
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"


def picture_of(data: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """Return the kind and the bytes of the picture in a bundle of MIME types, if it has one."""
    for kind in _KINDS:
        given = data.get(kind)
        if isinstance(given, str):
            try:
                given = base64.b64decode("".join(given.split()), validate=True)
            except (binascii.Error, ValueError):
                continue
        if isinstance(given, bytes) and given.startswith((_PNG, _JPEG)):
            return ("image/png" if given.startswith(_PNG) else "image/jpeg"), given
    return None


def fitted(kind: str, data: bytes) -> Image | str:
    """Return the picture as the model gets it, or why it does not get it."""
    size = _size(kind, data)
    if size is not None and max(size) <= _SIDE and len(data) <= _BYTES:
        return _image(kind, data)
    if importlib.util.find_spec("PIL") is None:
        return f"{len(data):,} bytes, too large to be sent; Pillow would make it smaller"
    try:
        return _smaller(data)
    except Exception as error:  # a picture may be broken in any way, or a bomb
        return f"it could not be read: {type(error).__name__}"


def _smaller(data: bytes) -> Image | str:
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(data)) as opened:
        opened.thumbnail((_SIDE, _SIDE))
        for form, options in _forms(opened.mode):
            made = io.BytesIO()
            picture = opened if form == "PNG" else opened.convert("RGB")
            picture.save(made, form, **options)
            if made.tell() <= _BYTES:
                return _image(f"image/{form.lower()}", made.getvalue())
    return "too large to be sent"


def _forms(mode: str) -> Sequence[tuple[str, dict[str, Any]]]:
    lossy: list[tuple[str, dict[str, Any]]] = [("JPEG", {"quality": q}) for q in (85, 60)]
    # What a PNG cannot hold goes as a photograph at once.
    return lossy if mode in ("CMYK", "YCbCr", "F", "HSV", "LAB") else [("PNG", {}), *lossy]


def _image(kind: str, data: bytes) -> Image:
    return Image(media_type=kind, data=base64.b64encode(data).decode("ascii"))


def _size(kind: str, data: bytes) -> tuple[int, int] | None:
    """Return width and height of a picture, read from its head; ``None`` where it has none."""
    if kind == "image/png":
        if len(data) < 24 or data[12:16] != b"IHDR":
            return None
        width, height = struct.unpack(">II", data[16:24])
        return int(width), int(height)
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return int(width), int(height)
        place += 2 + length
    return None
