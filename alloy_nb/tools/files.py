"""Opening, replacing and comparing files, for the tools that read and change them.

Three promises:

1. A file is reached by walking from an allowed directory one name at a time, through directory
   descriptors and without following links. A link that appears after `paths.locate` looked ends
   in an error, never outside. Where the platform has no such descriptors (Windows), the path is
   checked again right before use instead.
2. Nothing but a regular file is opened, and opening never waits: a named pipe, a device or a
   socket is refused.
3. A file is replaced as a whole or not at all: the new bytes are written beside it, to disk, and
   then renamed over it. Its mode, and where possible its owner, stay. Other hard links to the old
   file keep the old content.
"""

from __future__ import annotations

import difflib
import errno
import io
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from alloy_nb.errors import ToolError
from alloy_nb.tools.paths import Place

__all__ = [
    "Folder",
    "changing",
    "encoded",
    "encoding_of",
    "folder_of",
    "kind_of",
    "open_regular",
    "printable",
    "reason_of",
    "replace_file",
    "unified",
]

# Longer diffs are of no use to a person, and are saved with every result.
_DIFF_CHARS = 20_000
# difflib needs time in the square of the lines; a part of this size takes about a second at worst.
_DIFF_LINES = 2_000

_WALKS = (
    {os.open, os.mkdir, os.stat, os.rename, os.unlink} <= os.supports_dir_fd
    and hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# O_PATH needs no permission to list a directory, only to pass through it, like any path does.
_ENTER = getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW | getattr(os, "O_PATH", os.O_RDONLY)
_PLAIN = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)

# Two runs that edit one file must not lose one of the edits. A fixed number of locks, shared by
# hash, needs no bookkeeping; two files on one lock merely wait for each other.
_LOCKS = tuple(threading.Lock() for _ in range(64))


@dataclass(frozen=True, slots=True)
class Folder:
    """An open directory; its methods take the name of a file right inside it.

    Args:
        path: The real path.
        descriptor: The directory's descriptor, or ``None`` where the platform cannot use one.
    """

    path: Path
    descriptor: int | None

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        """Return a descriptor of the file; a link raises `OSError`."""
        flags |= _PLAIN | _NOFOLLOW
        return os.open(self.spell(name), flags, mode, dir_fd=self.descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """Return what is there, a link as a link, or ``None`` where nothing is."""
        try:
            return os.stat(self.spell(name), dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def writable(self, name: str) -> bool:
        """Return whether the file's mode lets us write it."""
        if os.access not in os.supports_dir_fd:
            return os.access(self.path / name, os.W_OK)
        return os.access(self.spell(name), os.W_OK, dir_fd=self.descriptor)

    def replace(self, source: str, target: str) -> None:
        """Rename a file over another."""
        where = self.descriptor
        os.replace(self.spell(source), self.spell(target), src_dir_fd=where, dst_dir_fd=where)

    def unlink(self, name: str) -> None:
        """Delete a file."""
        os.unlink(self.spell(name), dir_fd=self.descriptor)

    def spell(self, name: str) -> str:
        """Return a name as calls with this folder's descriptor take it, or without one."""
        return name if self.descriptor is not None else os.fspath(self.path / name)


@contextmanager
def folder_of(place: Place, *, create: bool = False) -> Iterator[Folder]:
    """Open the directory of a place without following links, and close it afterwards.

    Args:
        place: Where to go.
        create: Make the directories that are missing.

    Raises:
        OSError: A directory is missing, is none, or became a link.
        ToolError: With `create`, a directory cannot be made.
    """
    if not place.parts:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        folder = _walk(place, create) if _WALKS else _check_again(place, create)
    except OSError as error:
        if not create:
            raise
        parent = printable(os.fspath(place.path.parent))
        raise ToolError(f"Cannot create directory {parent}: {reason_of(error)}.") from None
    try:
        yield folder
    finally:
        if folder.descriptor is not None:
            os.close(folder.descriptor)


def _walk(place: Place, create: bool) -> Folder:
    if create:
        place.root.mkdir(parents=True, exist_ok=True)
    here = os.open(place.root, _ENTER)
    for part in place.parts[:-1]:
        try:
            inside = _enter(here, part, create)
        finally:
            os.close(here)
        here = inside
    return Folder(place.path.parent, here)


def _enter(here: int, name: str, create: bool) -> int:
    try:
        return os.open(name, _ENTER, dir_fd=here)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # somebody else made it in between, which is as good
        os.mkdir(name, dir_fd=here)
    return os.open(name, _ENTER, dir_fd=here)


def _check_again(place: Place, create: bool) -> Folder:
    parent = place.path.parent
    if create:
        parent.mkdir(parents=True, exist_ok=True)
    if os.path.realpath(parent) != os.fspath(parent):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not parent.is_dir():
        code = errno.ENOTDIR if parent.exists() else errno.ENOENT
        raise OSError(code, os.strerror(code))
    return Folder(parent, None)


@contextmanager
def open_regular(folder: Folder, name: str) -> Iterator[tuple[io.BufferedReader, os.stat_result]]:
    """Open a regular file for reading, and close it afterwards.

    Raises:
        OSError: There is none, it is something else, or it may not be read. The error's text says
            what is there instead.
    """
    before = folder.status(name)
    if before is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    # Looking before opening: to open some devices does something already, such as to rewind.
    _demand_regular(before)
    descriptor = folder.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _demand_regular(status)
        if folder.descriptor is None and not os.path.samestat(before, status):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        yield file, status


def _demand_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(status)}")


def replace_file(
    folder: Folder,
    name: str,
    content: bytes,
    *,
    before: os.stat_result | None,
    only_if_unchanged: bool = False,
) -> None:
    """Put a file with this content in the place of another, as a whole or not at all.

    Args:
        folder: Where the file is.
        name: Its name.
        content: All of its new bytes.
        before: The file that is replaced, whose mode and owner are kept; ``None`` for a new one.
        only_if_unchanged: Refuse where somebody changed the file since `before` was taken.

    Raises:
        OSError: It could not be written. The old file is as it was.
        ToolError: It changed in between.
    """
    # A rename would go past the mode of the file that it replaces.
    if before is not None and not folder.writable(name):
        raise PermissionError(errno.EACCES, "it is read-only")
    temporary = f".alloy-{secrets.token_hex(8)}.tmp"
    mode = 0o666 if before is None else 0o600  # the umask makes 0o666 what any new file gets
    descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if before is not None:
                _keep_owner_and_mode(descriptor, before)
            os.fsync(descriptor)
        if only_if_unchanged and _fingerprint(folder.status(name)) != _fingerprint(before):
            raise ToolError(f"{name} changed while it was being edited; read it again.")
        folder.replace(temporary, name)
    except BaseException:  # raised again, without the half-written file
        with suppress(OSError):
            folder.unlink(temporary)
        raise


def _keep_owner_and_mode(descriptor: int, before: os.stat_result) -> None:
    if hasattr(os, "fchown"):
        # Only root may give files away; for others the file becomes theirs, as with any editor.
        with suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _fingerprint(status: os.stat_result | None) -> tuple[int, ...] | None:
    return status and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextmanager
def changing(place: Place) -> Iterator[None]:
    """Let one change of a file at a time happen in this process."""
    with _LOCKS[hash(place.path) % len(_LOCKS)]:
        yield


def kind_of(status: os.stat_result) -> str:
    """Return what a thing in a directory is, in words."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFLNK: "a link that leads nowhere or that just appeared",
    }
    return kinds.get(stat.S_IFMT(status.st_mode), "something that is no file")


def reason_of(error: OSError) -> str:
    """Return the reason of a failure without the path, which the sentence around it names."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def encoding_of(head: bytes) -> str:
    """Return the encoding that the first bytes of a file announce; UTF-8 where they do not."""
    if head.startswith(b"\xff\xfe") and not head.startswith(b"\xff\xfe\0\0"):
        return "utf-16-le"
    if head.startswith(b"\xfe\xff"):
        return "utf-16-be"
    return "utf-8"


def encoded(text: str) -> bytes:
    """Return the bytes of a text that goes into a file.

    Raises:
        ToolError: The text holds half of a surrogate pair, which no file can hold.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ToolError("The text has an unpaired surrogate; no file was changed.") from None


def printable(text: str) -> str:
    r"""Return the text with bytes that are not UTF-8 (PEP 383) as ``\ufffd``, fit to be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def unified(
    before: str | None,
    after: str,
    name: str,
    *,
    context: int = 3,
    limit: int | None = _DIFF_CHARS,
) -> str:
    r"""Return a unified diff.

    Lines end at ``\n`` alone. Parts over 2,000 lines are shown as replaced in one piece.

    Args:
        before: The old text, or ``None`` where there was no file.
        after: The new text.
        name: The path in the header.
        context: How many unchanged lines to show around a change.
        limit: How many characters to return at most, with a note behind them; ``None`` for all.
    """
    old, new = _lines(before or ""), _lines(after)
    lines = [f"--- {'/dev/null' if before is None else name}\n", f"+++ {name}\n"]
    for hunk in _hunks(old, new, context):
        lines += hunk
    text = printable("".join(lines))
    if limit is None or len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{len(text) - limit:,} characters of the diff left out]\n"


def _lines(text: str) -> list[str]:
    # str.splitlines would also split at form feeds and U+2028, which no diff does.
    return list(io.StringIO(text, newline="\n"))


def _hunks(old: list[str], new: list[str], context: int) -> Iterator[list[str]]:
    """Compare only the part between the common beginning and end: most edits are small."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    first = max(0, head - context)
    old_part = old[first : len(old) - max(0, tail - context)]
    new_part = new[first : len(new) - max(0, tail - context)]
    groups: list[list[tuple[str, int, int, int, int]]]
    if max(len(old_part), len(new_part)) > _DIFF_LINES:
        groups = [[("replace", 0, len(old_part), 0, len(new_part))]]
    else:
        matcher = difflib.SequenceMatcher(None, old_part, new_part)
        groups = [list(group) for group in matcher.get_grouped_opcodes(context)]
    for group in groups:
        yield [_header(group, first), *_body(group, old_part, new_part)]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _header(group: list[tuple[str, int, int, int, int]], first: int) -> str:
    def span(start: int, stop: int) -> str:
        # An empty range is named by the line before it.
        return f"{first + start + (stop > start)},{stop - start}"

    old, new = span(group[0][1], group[-1][2]), span(group[0][3], group[-1][4])
    return f"@@ -{old} +{new} @@\n"


def _body(
    group: list[tuple[str, int, int, int, int]], old: list[str], new: list[str]
) -> Iterator[str]:
    for kind, old_start, old_stop, new_start, new_stop in group:
        if kind == "equal":
            yield from (_mark(" ", line) for line in old[old_start:old_stop])
            continue
        yield from (_mark("-", line) for line in old[old_start:old_stop])
        yield from (_mark("+", line) for line in new[new_start:new_stop])


def _mark(sign: str, line: str) -> str:
    return sign + line if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"
