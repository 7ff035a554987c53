"""A conversation as a file, and back.

::

    .json   the session itself, to go on with: versioned, read strictly
    .md     to read where Markdown is shown            .ipynb  what the model ran, to run again
    .html   one page that opens from disk              .py     the same as a script

A document is written whole or not at all, and replaces nothing but an older one of ours: running a
cell again must not ask, and must not destroy what somebody else wrote.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from alloy_nb.engine.sessions.record import MAX_BYTES, SessionRecord
from alloy_nb.errors import ConfigError, SessionError

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.session import Session

__all__ = ["ENDINGS", "as_text", "name_in", "read", "write", "write_text"]

# Where each form is made; imported when it is wanted, with the parsers that it needs.
_FORMS = {".md": "paper", ".html": "page", ".ipynb": "cells", ".py": "script"}
ENDINGS = (".md", ".html", ".json", ".ipynb", ".py")
# What the first bytes of each form hold.
_MARKS = {
    ".json": b'"format": "alloy_nb.session"',
    ".md": b"<!-- alloy_nb -->",
    ".html": b'<meta name="generator" content="alloy_nb">',
    ".ipynb": b'"alloy_nb": {',
    ".py": b"# alloy_nb",
}
_HEAD = 1000
_BINARY = getattr(os, "O_BINARY", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def write(session: Session, path: Path, *, force: bool = False) -> Path:
    """Write a conversation in the form that the ending of `path` names.

    Raises:
        ConfigError: The ending is none of `ENDINGS`, the file cannot be written, or is there
            already and was not written by this function; with `force` it is replaced.
    """
    ending = _ending(path)
    _check_replaces(path, ending, force=force)
    return write_text(as_text(session.export_session(), ending), path, force=True)


def write_text(text: str, path: Path, *, force: bool = False) -> Path:
    """Write a document that is made already, by the same rules.

    Raises:
        ConfigError: As `write`.
    """
    _check_replaces(path, _ending(path), force=force)
    data = text.encode("utf-8", "replace")
    try:
        _replace(path, data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot write {path}: {_reason(error)}.") from None
    return path


def as_text(record: SessionRecord, ending: str) -> str:
    """Return the document of this ending, such as ``".md"``."""
    if ending == ".json":
        return record.to_json()
    from alloy_nb.engine.documents.story import story_of

    form = import_module(f"alloy_nb.engine.documents.{_FORMS[ending]}")
    text: str = form.tell(story_of(record))
    return text


def read(path: Path, *, max_bytes: int = MAX_BYTES) -> SessionRecord:
    """Read what was written to ``.json``: data alone; nothing in it runs or sets anything.

    Raises:
        SessionError: It cannot be read, is too large, or is no such file.
    """
    try:
        data = _bytes(path, max_bytes)
    except (OSError, ValueError) as error:
        raise SessionError(f"Cannot read {path}: {_reason(error)}.") from None
    return SessionRecord.from_json(data, max_bytes=max_bytes)


def name_in(record: SessionRecord) -> str:
    """Return the name of a recorded session, or ``main`` where that is none to be called by."""
    name = record.metadata.get("name")
    called = isinstance(name, str) and 0 < len(name) <= 80 and name.isprintable()
    return str(name) if called else "main"


def _check_replaces(path: Path, ending: str, *, force: bool) -> None:
    if not force and _is_foreign(path, ending):
        raise ConfigError(
            f"{path} exists and is no export: choose another name, or replace it with --force "
            "(force=True)."
        )


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(
            f"Cannot export to {ending or path.name!r}: use FILE{', '.join(ENDINGS[:-1])} or "
            f"{ENDINGS[-1]}."
        )
    return ending


def _is_foreign(path: Path, ending: str) -> bool:
    """Tell whether something is there that is no export of this form."""
    try:
        if not path.exists():
            return False
        return _MARKS[ending] not in _bytes(path, _HEAD, whole=False)
    except (OSError, ValueError):
        return True


def _bytes(path: Path, limit: int, *, whole: bool = True) -> bytes:
    """Return the content of a regular file, and one byte too many of one that is too large."""
    # A named pipe is opened without waiting for its other end, and then refused.
    handle = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is no regular file")
        return file.read(limit + 1 if whole else limit)


def _reason(error: Exception) -> str:
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        with contextlib.suppress(OSError):  # what is replaced keeps its mode
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException:  # raised again, without the half-written file
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
