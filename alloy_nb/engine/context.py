"""Standing instructions: Markdown files that go into the system prompt of every conversation.

::

    ~/.alloy/context/*.md              yours, for all projects
    <repository>/.alloy/context/*.md   the project's: the nearest folder above that holds .git
    <folder>/.alloy/context/*.md       of the folder that the agent works in

They are read when an agent is made with ``context_discovery=True``, in this order, by the alphabet
within a folder. A repository that you did not write can put such files there too: they are
instructions to the model, with no more power than your own words, so look at them first.

Files that come from others are read with care. What is no plain file, leads out of its folder or is
too large is left out with a warning, and reading never waits.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alloy_nb.engine.calls.tool import Tool

__all__ = ["ContextFile", "compose", "discover", "list_tools"]

log = logging.getLogger("alloy_nb")

# A file of this size is some 30,000 tokens, which are paid with every request.
LONGEST_FILE = 128_000
LONGEST_FOLDER = 512_000
_MOST_FILES = 200
# Some system calls have no such flags on Windows, which has no named pipes in folders either.
_CAREFULLY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True)
class ContextFile:
    """One Markdown file: its name without the ending, its text, and where it is."""

    name: str
    text: str
    path: Path


def discover(
    directory: str | os.PathLike[str] = ".", *, home: str | os.PathLike[str] | None = None
) -> tuple[ContextFile, ...]:
    """Return the standing instructions for work in a folder.

    Args:
        directory: Where the agent works.
        home: The folder to take for the person's home.
    """
    found = tuple(
        file for folder in tiers(directory, "context", home=home) for file in read_folder(folder)
    )
    if found:
        size = sum(len(file.text) for file in found)
        names = ", ".join(_printable(file.path) for file in found)
        log.info("Context: %d files, %s characters: %s", len(found), f"{size:,}", names)
    return found


def compose(base: str | None, files: Iterable[ContextFile], *, tools: str = "") -> str | None:
    """Return the system prompt: the base, then each text, with a blank line in between.

    What is empty is left out; where all is, there is no system prompt.
    """
    parts = [base or "", *(file.text.strip() for file in files), tools]
    return "\n\n".join(part for part in parts if part.strip()) or None


def list_tools(tools: Iterable[Tool]) -> str:
    """Return a list of tools for a system prompt, for models that overlook their definitions."""
    lines = [f"- {tool.name}: {tool.description}".rstrip(": ") for tool in tools]
    return "\n".join(["## Available tools", "", *lines]) if lines else ""


def tiers(
    directory: str | os.PathLike[str], kind: str, *, home: str | os.PathLike[str] | None = None
) -> list[Path]:
    """Return the folders ``.alloy/<kind>`` of home, repository and directory that are there.

    A folder that is two of these is there once. One that leads out of the place that it belongs
    to is left out with a warning: a repository must not make the model read somebody's notes.
    """
    here = Path(directory).expanduser().absolute()
    owners = [_home() if home is None else Path(home), _repository(here), here]
    found: list[Path] = []
    for owner in owners:
        if owner is None:
            continue
        folder = owner / ".alloy" / kind
        real, root = Path(os.path.realpath(folder)), Path(os.path.realpath(owner))
        if not os.path.isdir(real) or real in found:  # noqa: PTH112  # Path's raises where one may not look
            continue
        if real.is_relative_to(root):
            found.append(real)
        else:
            where = _printable(folder), _printable(root), _printable(real)
            log.warning("%s is left out: it leads out of %s, to %s.", *where)
    return found


def read_folder(folder: Path) -> Iterator[ContextFile]:
    """Yield the Markdown files right in a folder, by the alphabet; what is left out is logged."""
    try:
        names = sorted(path.name for path in folder.iterdir() if _is_markdown(path.name))
    except OSError as error:
        log.warning("%s is left out: %s.", folder, _reason(error))
        return
    room = LONGEST_FOLDER
    for name in names[:_MOST_FILES]:
        path = folder / name
        try:
            text = _read(folder, name, min(LONGEST_FILE, room))
        except OSError as error:
            log.warning("%s is left out: %s.", _printable(path), _reason(error))
            continue
        room -= len(text)
        yield ContextFile(path.stem, text, path)
    if len(names) > _MOST_FILES:
        log.warning("%s: only the first %d of %d files are read.", folder, _MOST_FILES, len(names))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # a container's user may have none
        return None


def _repository(directory: Path) -> Path | None:
    # In a worktree and in a submodule .git is a file.
    for candidate in (directory, *directory.parents):
        if os.path.exists(candidate / ".git"):  # noqa: PTH110  # Path's raises where one may not look
            return candidate
    return None


def _is_markdown(name: str) -> bool:
    # What begins with a dot is an editor's: a lock, a copy of a file that is open.
    return name.endswith(".md") and not name.startswith(".")


def _read(folder: Path, name: str, longest: int) -> str:
    """Return the text of a plain file in this folder.

    Raises:
        OSError: It is something else, leads elsewhere, is too large, or cannot be read.
    """
    real = Path(os.path.realpath(folder / name))
    if real.parent != folder:
        raise OSError(f"it is a link that leads out of the folder, to {_printable(real)}")
    # Looking before opening: to open some devices does something already.
    if not stat.S_ISREG(os.lstat(real).st_mode):
        raise OSError("it is no plain file")
    with open(os.open(real, os.O_RDONLY | _CAREFULLY), "rb") as file:  # noqa: PTH123  # a descriptor
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no plain file")
        raw = file.read(longest + 1)
    if len(raw) > longest:
        size = max(status.st_size, len(raw))
        raise OSError(f"its {size:,} bytes are more than the {longest:,} that there is room for")
    text = raw.decode("utf-8-sig", "replace")
    if "\ufffd" in text:
        log.warning("%s is not all UTF-8; what is not is read as \\ufffd.", _printable(real))
    return text.replace("\r\n", "\n")


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _printable(path: Path) -> str:
    return ascii(os.fsdecode(path))[1:-1] if not str(path).isprintable() else str(path)
