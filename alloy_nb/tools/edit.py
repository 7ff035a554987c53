"""The tool `edit`: replace one piece of a text file and leave every other byte as it is."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alloy_nb.engine.calls.tool import ToolContext, ToolOutput, tool
from alloy_nb.errors import ToolError
from alloy_nb.tools.files import (
    Folder,
    changing,
    encoded,
    encoding_of,
    folder_of,
    open_regular,
    reason_of,
    replace_file,
    unified,
)
from alloy_nb.tools.paths import Place, locate_for_writing
from alloy_nb.tools.write import spelled

__all__ = ["edit", "preview"]

# An edit holds the file in memory a few times over.
_LARGEST = 32 * 1024 * 1024

_ERRORS = {
    "utf-8": "surrogateescape",
    "utf-16-le": "surrogatepass",
    "utf-16-be": "surrogatepass",
}
_BARE_NEWLINE = re.compile(r"(?<!\r)\n")


def _subject(arguments: Mapping[str, Any]) -> str:
    """Return the path, how often the edit applies, and the diff with all of both texts."""
    old, new = (str(arguments.get(key, "")) for key in ("old_string", "new_string"))
    times = " (every occurrence)" if arguments.get("replace_all") else ""
    # All lines are context: what is approved must be all of what is looked for.
    everything = len(old) + len(new)
    return unified(old, new, spelled(arguments) + times, context=everything, limit=None)


# Not concurrent: edits of one file in one message are made in their order.
@tool(risk="write", concurrent=False, subject=_subject)
def edit(
    file_path: str,
    old_string: str,
    new_string: str,
    replace_all: bool = False,
    *,
    context: ToolContext,
) -> ToolOutput:
    r"""Replace `old_string`, which must occur exactly once, with `new_string` in a text file.

    With `replace_all` every occurrence is replaced. Everything else in the file stays as it is,
    and ``\n`` stands for the line ends that the file has.

    Raises:
        ToolError: The path is not allowed, there is no such file, or the text is not found or is
            ambiguous. The file was not touched.
    """
    if not old_string:
        raise ToolError("old_string is empty: give the text to replace, or use write.")
    if old_string == new_string:
        raise ToolError("old_string and new_string are the same, so there is nothing to change.")
    # Half a surrogate pair in either would be taken for a byte of the file that is not UTF-8.
    encoded(old_string), encoded(new_string)
    place = locate_for_writing(file_path, context)
    try:
        with changing(place), folder_of(place) as folder:
            return _edited(folder, place, _Change(old_string, new_string, replace_all))
    except OSError as error:
        raise ToolError(f"Cannot read {place.asked}: {reason_of(error)}.") from None


def preview(arguments: Mapping[str, Any], context: ToolContext) -> str:
    """Return the diff of what `edit` would change in the file as it is now; nothing is changed.

    Raises:
        ToolError: It would fail.
    """
    old, new = (str(arguments.get(key, "")) for key in ("old_string", "new_string"))
    if not old:
        raise ToolError("old_string is empty.")
    place = locate_for_writing(str(arguments.get("file_path", "")), context)
    change = _Change(old, new, bool(arguments.get("replace_all")))
    try:
        with (
            folder_of(place) as folder,
            open_regular(folder, place.parts[-1]) as (file, status),
        ):
            if status.st_size > _LARGEST:
                raise ToolError(f"{place.asked} is over 32 MB.")
            data = file.read()
    except OSError as error:
        raise ToolError(f"Cannot read {place.asked}: {reason_of(error)}.") from None
    _, before = _decoded(data, change, place)
    after, _ = _replaced(before, change, place)
    return unified(before, after, spelled(arguments), limit=None)


@dataclass(frozen=True, slots=True)
class _Change:
    old: str
    new: str
    everywhere: bool


def _edited(folder: Folder, place: Place, change: _Change) -> ToolOutput:
    name = place.parts[-1]
    with open_regular(folder, name) as (file, status):
        if status.st_size > _LARGEST:
            raise ToolError(f"Cannot edit {place.asked}: it is over 32 MB; use bash, such as sed.")
        before = file.read()
    encoding, old = _decoded(before, change, place)
    new, count = _replaced(old, change, place)
    # The error handlers of both codecs give back every byte that they took in.
    after = new.encode(encoding, _ERRORS[encoding])
    try:
        replace_file(folder, name, after, before=status, only_if_unchanged=True)
    except OSError as error:
        raise ToolError(f"Cannot write {place.asked}: {reason_of(error)}.") from None
    return ToolOutput(
        f"Edited {place.asked}" + ("" if count == 1 else f" in {count:,} places"),
        data={
            "path": os.fspath(place.path),
            "before": hashlib.sha256(before).hexdigest(),
            "diff": unified(old, new, place.asked),
        },
    )


def _decoded(data: bytes, change: _Change, place: Place) -> tuple[str, str]:
    """Return the encoding of the file, and all of it as text that encodes to the same bytes."""
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding, _ERRORS[encoding])
    except UnicodeDecodeError:
        raise ToolError(f"Cannot edit {place.asked}: it begins like UTF-16 but is not.") from None
    if encoding == "utf-8" and not change.new.isascii() and not _is_utf8(data):
        # UTF-8 in the midst of Latin-1 would make a file that no program can read.
        raise ToolError(
            f"Cannot edit {place.asked}: it is not in UTF-8, so only ASCII can be put into it."
        )
    return encoding, text


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _replaced(text: str, change: _Change, place: Place) -> tuple[str, int]:
    """Return the new text and how often the old string occurred.

    Raises:
        ToolError: It did not occur, or more than once where once was meant.
    """
    old, new = _with_line_ends_of(text, change)
    if old == new:
        raise ToolError(f"{place.asked} has that text already, with CRLF line ends.")
    count = text.count(old)
    if not count:
        raise ToolError(
            f"No match found for old_string in {place.asked}; it must be exactly the file's text, "
            "with its spaces and without line numbers."
        )
    if count > 1 and not change.everywhere:
        raise ToolError(
            f"old_string is ambiguous: it occurs {count:,} times in {place.asked}. "
            "Give more of the text around it, or set replace_all."
        )
    return text.replace(old, new), count


def _with_line_ends_of(text: str, change: _Change) -> tuple[str, str]:
    r"""Spell ``\n`` in the change as ``\r\n`` where the file has that.

    In a file that ends every line so, always: a bare ``\n`` would match half of a line end. In a
    file that mixes both, only where the text as given does not occur.
    """
    if "\r\n" not in text or (_BARE_NEWLINE.search(text) and change.old in text):
        return change.old, change.new
    return _BARE_NEWLINE.sub("\r\n", change.old), _BARE_NEWLINE.sub("\r\n", change.new)
