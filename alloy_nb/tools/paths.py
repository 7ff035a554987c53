"""Where a path that a model wrote really leads, and whether a tool may go there.

`locate` answers with a `Place`: an allowed directory and the names below it, free of links and of
``..``. `alloy_nb.tools.files` walks these names one by one without following links, so that a
link put in between the answer and the walk leads nowhere.

What is refused, whatever is allowed:

- paths outside of the allowed directories, compared name by name on real paths;
- ``/proc``, ``/sys`` and ``/dev``, which show keys, block for ever or change the machine;
- for writing, files that some program runs on its own (`startup_kind`), unless the agent's
  context says ``allow_startup_files``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError

__all__ = ["Place", "locate", "locate_for_writing", "startup_kind"]

_SPECIAL = (Path("/proc"), Path("/sys"), Path("/dev"))
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # plain files live here, unlike elsewhere in /dev
# What Linux takes in one call. Walking name by name would go deeper, to where no other program can.
_LONGEST = 4000

_STARTUP_FOLDERS = {
    ".git": "git runs hooks and commands that it finds there",
    ".alloy": "it holds alloy's own settings and sessions",
    ".ipython": "IPython runs what it finds there",
    ".jupyter": "Jupyter runs what it finds there",
    ".ssh": "ssh takes its keys and commands from there",
}
_STARTUP_NAMES = {
    **dict.fromkeys(
        ("sitecustomize", "sitecustomize.py", "usercustomize", "usercustomize.py"),
        "every Python runs it when it starts",
    ),
    **dict.fromkeys(
        [
            *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases"),
            *(".profile", ".xprofile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout"),
            ".envrc",
        ],
        "a shell runs it when it starts",
    ),
    ".gitconfig": "git runs commands that it names",
    ".gitmodules": "git runs commands that it names",
    ".pdbrc": "the debugger runs it when it starts",
    "ipython_config.py": "IPython runs it when it starts",
    "ipython_kernel_config.py": "IPython runs it when it starts",
}


@dataclass(frozen=True, slots=True)
class Place:
    """A file in an allowed directory.

    Args:
        asked: The path as the model wrote it, safe to print.
        root: The real path of the allowed directory that holds the file.
        parts: The names from `root` to the file; empty where the path is `root` itself.
    """

    asked: str
    root: Path
    parts: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The real path of the file."""
        return self.root.joinpath(*self.parts)


def locate(file_path: str, context: ToolContext) -> Place:
    """Return where a path leads: absolute, from ``~``, or relative to the working directory.

    Raises:
        ToolError: The path is empty or impossible, or leads where tools may not go.
    """
    return _located(file_path, context)[0]


def locate_for_writing(file_path: str, context: ToolContext) -> Place:
    """Return where a path leads, for a tool that changes the file.

    Raises:
        ToolError: As `locate`, and for files that some program runs on its own, unless
            ``context.values["allow_startup_files"]`` is true.
    """
    place, spelled = _located(file_path, context)
    if context.values.get("allow_startup_files"):
        return place
    # Both spellings count: a link called .git may lead to a folder of another name, and a link
    # of another name to .git.
    reason = startup_kind(place.parts) or startup_kind(spelled)
    if reason:
        raise ToolError(
            f"{place.asked} was not written: {reason}. A person has to change it, or allow "
            "such files with allow_startup_files."
        )
    return place


def startup_kind(parts: Sequence[str]) -> str | None:
    """Return why the file at the end of these names is dangerous to write, or ``None``.

    Such files are run by git, Python, IPython, Jupyter or a shell without anyone asking for it.
    """
    # macOS and Windows ignore case; Windows drops dots and spaces at the end of a name.
    names = [part.casefold().rstrip(". ") or part for part in parts]
    for name in names:
        reason = _STARTUP_FOLDERS.get(name) or _STARTUP_NAMES.get(name)
        if reason:
            return reason
    if not names:
        return None
    last = names[-1]
    if last.startswith("jupyter_") and last.endswith(("config.py", "config.json")):
        return "Jupyter runs it when it starts"
    if last.endswith(".pth") and {"site-packages", "dist-packages"} & set(names):
        return "every Python runs it when it starts"
    for name, following in pairwise(names):
        if name.startswith("profile_") and following == "startup":
            return "IPython runs what it finds there"
    return None


def _located(file_path: str, context: ToolContext) -> tuple[Place, tuple[str, ...]]:
    """Return the place, and the names as they were spelled, before links were followed."""
    asked = file_path.encode("utf-8", "backslashreplace").decode()
    if not file_path:
        raise ToolError("The path is empty: give the path of a file.")
    try:
        file_path.encode()
        working = _absolute(context.working_directory)
        joined = working / Path(file_path).expanduser()
        # Not the real path of `spelled`: a name behind a link and `..` is beside the link's target.
        spelled, real = _absolute(joined), _real(joined)
        if max(len(os.fsencode(path)) for path in (joined, real)) > _LONGEST:
            raise ValueError("it is too long")
    except (ValueError, OSError, RuntimeError) as error:
        raise ToolError(f"{asked[:200]!r} cannot be a path: {error}.") from None
    if _is_special(spelled) or _is_special(real):
        raise ToolError(f"{asked} is not a file of a project: tools stay out of /proc, /sys, /dev.")
    roots = _roots(working, context, real)
    for root in roots:
        if real.is_relative_to(_real(root)):
            place = Place(asked, _real(root), real.relative_to(_real(root)).parts)
            return place, _below(spelled, root)
    leads = "" if real == spelled else f" (it leads to {_printable(real)})"
    raise ToolError(
        f"{asked} is outside the allowed directories{leads}; "
        f"allowed: {', '.join(map(_printable, roots))}."
    )


def _roots(working: Path, context: ToolContext, real: Path) -> list[Path]:
    """Return the allowed directories, the outermost first: it is the hardest one to swap."""
    if context.allowed_paths is None:
        return [working]
    if not context.allowed_paths:
        return [Path(real.anchor)]
    roots = [_absolute(working / root.expanduser()) for root in context.allowed_paths]
    return sorted(roots, key=lambda root: len(root.parts))


def _absolute(path: Path) -> Path:
    """Return the path without ``..``, spelled with one leading slash.

    POSIX keeps two leading slashes apart from one, which would hide ``//proc`` from comparisons.
    """
    text = os.path.abspath(path)  # noqa: PTH100  # Path.resolve would follow links
    return Path("/" + text.lstrip("/")) if text.startswith("//") else Path(text)


def _real(path: Path) -> Path:
    """Return the path with every link resolved, also where its last names do not exist yet."""
    return _absolute(Path(os.path.realpath(path)))


def _is_special(path: Path) -> bool:
    if os.name != "posix" or path.is_relative_to(_SHARED_MEMORY):
        return False
    return any(path.is_relative_to(special) for special in _SPECIAL)


def _below(path: Path, root: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts if path.is_relative_to(root) else path.parts


def _printable(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
