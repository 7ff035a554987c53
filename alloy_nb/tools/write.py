"""The tool `write`: put a whole file in its place."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
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
from alloy_nb.tools.paths import locate_for_writing

__all__ = ["preview", "spelled", "write"]

# Past this a diff says nothing that a person reads.
_DIFF_BYTES = 512 * 1024


def _subject(arguments: Mapping[str, Any]) -> str:
    """Return the path and all of the content, as the diff of a file that was not there."""
    return unified(
        None, str(arguments.get("content", "")), spelled(arguments), context=0, limit=None
    )


def spelled(arguments: Mapping[str, Any]) -> str:
    """Return the path of a call on one line, so that it cannot pass for the lines below it."""
    path = str(arguments.get("file_path", ""))
    return path if path.isprintable() else json.dumps(path)


# Not concurrent: what a message writes is there before the commands beside it run.
@tool(risk="write", concurrent=False, subject=_subject)
def write(file_path: str, content: str, *, context: ToolContext) -> ToolOutput:
    """Write a text file: all of its content, in UTF-8. Missing directories are made.

    The file appears as a whole or not at all, and keeps the mode that it had.

    Raises:
        ToolError: The path is not allowed, or the file or its directory cannot be written.
    """
    place = locate_for_writing(file_path, context)
    data = encoded(content)
    try:
        with changing(place), folder_of(place, create=True) as folder:
            name = place.parts[-1]
            digest, diff = _compare(folder, name, content, place.asked)
            replace_file(folder, name, data, before=folder.status(name))
    except OSError as error:
        raise ToolError(f"Cannot write {place.asked}: {reason_of(error)}.") from None
    return ToolOutput(
        f"Wrote {len(data):,} bytes to {place.asked}",
        data={"path": os.fspath(place.path), "before": digest, "diff": diff},
    )


def preview(arguments: Mapping[str, Any], context: ToolContext) -> str:
    """Return the diff of what `write` would change in the file as it is now; nothing is changed.

    It is empty where the file is too long for a diff that a person reads.

    Raises:
        ToolError: It would fail.
    """
    content = str(arguments.get("content", ""))
    place = locate_for_writing(str(arguments.get("file_path", "")), context)
    try:
        with (
            folder_of(place) as folder,
            open_regular(folder, place.parts[-1]) as (file, status),
        ):
            if max(status.st_size, len(content)) > _DIFF_BYTES:
                return ""
            old = file.read(_DIFF_BYTES + 1)
    except FileNotFoundError:
        return unified(None, content, spelled(arguments), limit=None)
    except OSError as error:
        raise ToolError(f"Cannot write {place.asked}: {reason_of(error)}.") from None
    return unified(_as_text(old), content, spelled(arguments), limit=None)


def _compare(folder: Folder, name: str, content: str, asked: str) -> tuple[str | None, str]:
    """Return the SHA-256 of the file that is there, and a diff from it.

    Raises:
        OSError: Something is there that is no regular file or cannot be read.
    """
    if folder.status(name) is None:
        return None, unified(None, content, asked)
    with open_regular(folder, name) as (file, status):
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if max(status.st_size, len(content)) > _DIFF_BYTES:
            return digest, f"[no diff: {status.st_size:,} bytes were replaced]\n"
        file.seek(0)
        old = file.read(_DIFF_BYTES + 1)
    return digest, unified(_as_text(old), content, asked)


def _as_text(data: bytes) -> str:
    encoding = encoding_of(data)
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    return data.decode(encoding, errors)
