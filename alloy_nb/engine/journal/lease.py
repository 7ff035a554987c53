"""The right to write to a session: one process at a time has it, and loses it when it dies.

It is a lock of the operating system on a small file. A lease with a heartbeat would have to be
waited out after ``kill -9``, could be lost while a laptop sleeps, and compares the clocks of two
machines. Such a lock ends with its process, and works over NFS (version 4, or 3 with lockd). Where
a file system has no locks SQLite cannot write either, so nothing would be won by another way.

POSIX locks belong to a process: a second one of the same process would be granted, and closing
any descriptor of the file drops the lock. So a process keeps a list of what it holds, and opens a
file only if it is not on it. A child made by ``fork`` holds nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Holder", "Lease", "Taken", "acquire"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who may write, and since when (seconds since the epoch)."""

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        where = "this kernel" if self.is_here else f"process {self.pid} on {self.host}"
        return f"{where} since {at}"

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return self.pid == os.getpid() and self.host == socket.gethostname()


class Taken(Exception):
    """Somebody else may write; `holder` is ``None`` where nobody can say who."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder) if holder is not None else "another process")
        self.holder = holder


class Lease:
    """The right itself; `release` gives it back, and so does the end of the process."""

    def __init__(self, path: Path, file: int, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self._file = file

    @property
    def is_valid(self) -> bool:
        """Whether it is this process's still, and the file that others would lock too."""
        return self.holder.pid == os.getpid() and _is_at(self.path, self._file)

    def release(self, *, remove: bool = False) -> None:
        """Give it back; with `remove`, take the file away too."""
        with _guard:
            if _held.get(self.path) is not self:
                return
            del _held[self.path]
            if self.holder.pid != os.getpid():
                return  # a fork's copy: the lock is the parent's
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)  # who comes next must not be taken for us
            if remove:
                with contextlib.suppress(OSError):
                    self.path.unlink()
            os.close(self._file)


# Who has just got a lock writes its name within microseconds, or when it is its turn to run again.
_ATTEMPTS = 40
# A lease may be given back while the garbage is collected, inside of what holds this.
_guard = threading.RLock()
_held: dict[Path, Lease] = {}


def acquire(path: Path) -> Lease:
    """Get the right that this file stands for.

    Raises:
        Taken: It is somebody else's, or another part of this process has it.
        OSError: The file cannot be made or locked.
    """
    path = path.parent.resolve() / path.name
    with _guard:
        mine = _held.get(path)
        if mine is not None and mine.is_valid:
            raise Taken(mine.holder)
        lease = _held[path] = _lock(path)
        return lease


def _lock(path: Path) -> Lease:
    for attempt in range(_ATTEMPTS):
        file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            _lock_file(file)
        except OSError as error:
            holder = _read(file)
            os.close(file)
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise
            if holder is not None or attempt == _ATTEMPTS - 1:
                raise Taken(holder) from None
            time.sleep(0.005)  # who has it has not yet written its name
            continue
        if _is_at(path, file):
            return Lease(path, file, _signed(file))
        os.close(file)  # it was taken away while we opened it
    raise Taken(None)


def _signed(file: int) -> Holder:
    """Write into a file that we hold who holds it."""
    holder = Holder(os.getpid(), socket.gethostname(), time.time())
    with contextlib.suppress(OSError):  # a full disk: the lock is held, and nobody can say by whom
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(asdict(holder)).encode())
    return holder


def _read(file: int) -> Holder | None:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        fields = json.loads(os.read(file, 1000))
        return Holder(int(fields["pid"]), str(fields["host"])[:100], float(fields["since"]))
    except (OSError, ValueError, TypeError, KeyError):  # just being written, or not by us
        return None


def _is_at(path: Path, file: int) -> bool:
    try:
        there, here = path.stat(), os.fstat(file)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


# No link is followed, and no line end is translated.
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

if sys.platform == "win32":
    import msvcrt

    # Beyond what is written: such a lock keeps others from reading the bytes that it covers.
    _FAR = 1 << 20

    def _lock_file(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock_file(file: int) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
