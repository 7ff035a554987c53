"""What failed, told whole: the traceback, the cell, and what its names stood for.

The error is the one that Python keeps (``sys.last_exc``, before 3.12 ``sys.last_value``), with its
frames; of older cells IPython keeps the text. No hook is installed: a debugger's stays in place.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any, Protocol

from alloy_nb.markup.alongside import reference
from alloy_nb.markup.plain import clean, middle_cut

__all__ = ["Failure", "Telling", "last_failure", "stored_failure", "told"]

_MOST_ERRORS = 4
_MOST_FRAMES = 30
_MOST_NAMES = 30
_MOST_CHARACTERS = 8_000
_IPYTHONS = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})


class Telling(Protocol):
    """What decides how much of the kernel is told; see `dial`."""

    def failed(self, error: BaseException, traceback_text: str, code: str) -> str:
        """Return an error as far as it may go."""

    def described(self, name: str, value: object) -> str:
        """Return a value as far as it may go."""

    def source(self, code: str) -> str:
        """Return code of the person's as far as it may go."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error and where it happened.

    Args:
        error: The error itself.
        traceback: It as text, with the person's frames.
        cell: The number of its cell, if it was one.
        source: The code of that cell or file.
        names: What the names of the failing frame stood for, when it failed.
        called: The code of the cell or file that it called, where it failed in there.
    """

    error: BaseException
    traceback: str
    cell: int | None = None
    source: str = ""
    names: Mapping[str, Any] = field(default_factory=dict)
    called: str = ""


def last_failure(shell: Any) -> Failure | None:
    """Return the last error of the kernel, or ``None`` where nothing failed yet."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if not isinstance(error, BaseException):
        return None
    cells = _cells(shell)
    frame = _failing(error.__traceback__, cells)
    filename = frame.f_code.co_filename if frame is not None else _of_syntax(error)
    cell = _first_cell(error.__traceback__, cells) or cells.get(filename)
    inner = cells.get(filename)
    return Failure(
        error,
        _text_of(error, cells),
        cell,
        _source(shell, cell, filename),
        _names(frame, error) if frame is not None else {},
        called=_source(shell, inner, filename) if inner != cell else "",
    )


def stored_failure(shell: Any, number: int) -> Failure | None:
    """Return the error of a cell as the text that IPython keeps, or ``None`` (8.34 and later)."""
    kept = getattr(getattr(shell, "history_manager", None), "exceptions", None) or {}
    found = kept.get(number)
    if not isinstance(found, Mapping):
        return None
    kind = type(str(found.get("ename") or "Error"), (Exception,), {})
    text = "\n".join(map(str, found.get("traceback") or ()))
    return Failure(
        kind(str(found.get("evalue") or "")),
        middle_cut(clean(text), _MOST_CHARACTERS),
        number,
        _source(shell, number, ""),
    )


def told(failure: Failure, dial: Telling) -> str:
    """Return what a model is told of it, as references of a prompt."""
    error = dial.failed(failure.error, failure.traceback, failure.source)
    parts = [reference("@error", error)]
    if failure.source.strip():
        name = f"In[{failure.cell}]" if failure.cell is not None else "@source"
        parts.append(
            reference(name, middle_cut(dial.source(failure.source.rstrip()), _MOST_CHARACTERS))
        )
    if failure.called.strip():
        parts.append(
            reference(
                "@the code that it called", middle_cut(failure.called.rstrip(), _MOST_CHARACTERS)
            )
        )
    described = [dial.described(name, value) for name, value in failure.names.items()]
    if any(described):
        parts.append(reference("@names where it failed", "\n".join(filter(None, described))))
    return "\n\n".join(parts)


# --- where it failed ----------------------------------------------------------------------------


def _cells(shell: Any) -> Mapping[str, int]:
    """Return the number of each cell by the file name that its code was compiled with."""
    found = getattr(getattr(shell, "compile", None), "_filename_map", None)
    return found if isinstance(found, Mapping) else {}


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _failing(trace: TracebackType | None, cells: Mapping[str, int]) -> FrameType | None:
    """Return the innermost frame of the person's own code."""
    mine = [frame for frame, _ in _frames(trace) if _is_mine(frame.f_code.co_filename, cells)]
    return mine[-1] if mine else None


def _first_cell(trace: TracebackType | None, cells: Mapping[str, int]) -> int | None:
    """Return the cell that was run, which may have called what another one defined."""
    names = (frame.f_code.co_filename for frame, _ in _frames(trace))
    return next((cells[name] for name in names if name in cells), None)


def _of_syntax(error: BaseException) -> str:
    return str(error.filename or "") if isinstance(error, SyntaxError) else ""


def _is_mine(filename: str, cells: Mapping[str, int]) -> bool:
    if filename in cells or filename.startswith(("<ipython-input", "<alloy python")):
        return True
    if filename.startswith("<") or _library(filename):
        return False
    try:
        return Path(filename).is_relative_to(Path.cwd())
    except OSError:  # the folder is gone
        return False


def _library(filename: str) -> str:
    """Return the package that a file belongs to, or ``""`` for what is no library."""
    parts = Path(filename).parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return parts[parts.index(folder) + 1].removesuffix(".py")
    if filename.startswith("<frozen "):
        return "Python"
    standard = sysconfig.get_path("stdlib")
    return "Python" if Path(filename).is_relative_to(standard) else ""


def _source(shell: Any, cell: int | None, filename: str) -> str:
    """Return a cell as it was typed; of a file, its text."""
    typed = shell.user_ns.get("In")
    if cell is not None and isinstance(typed, list) and 0 < cell < len(typed):
        history = getattr(shell.history_manager, "input_hist_raw", typed)
        return str(history[cell]) if cell < len(history) else str(typed[cell])
    return "".join(linecache.getlines(filename)) if filename else ""


# --- what its names stood for -------------------------------------------------------------------


def _names(frame: FrameType, error: BaseException) -> dict[str, Any]:
    """Return the locals of a frame, and what its code reads of the module around it."""
    here, around = dict(frame.f_locals), frame.f_globals
    read = dict.fromkeys(_read(frame.f_code))
    found = {} if frame.f_locals is around else here
    found = {**found, **{name: around[name] for name in read if name in around}}
    shown = {name: value for name, value in found.items() if _is_worth(name, value, error)}
    return dict(itertools.islice(shown.items(), _MOST_NAMES))


def _read(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _read(constant)


def _is_worth(name: str, value: object, error: BaseException) -> bool:
    return not (
        name.startswith("_")
        or name in _IPYTHONS
        or issubclass(type(value), ModuleType)
        or value is error
    )


# --- its text -----------------------------------------------------------------------------------


def _text_of(error: BaseException, cells: Mapping[str, int]) -> str:
    chain = list(itertools.islice(_chain(error), _MOST_ERRORS))
    parts = [_one(each, cells) for each in reversed(chain)]
    return middle_cut(
        "\n\nand then, because of it or while it was handled:\n\n".join(parts), _MOST_CHARACTERS
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)


def _one(error: BaseException, cells: Mapping[str, int]) -> str:
    lines = list(_lines(error.__traceback__, cells))
    if len(lines) > _MOST_FRAMES:
        left = len(lines) - _MOST_FRAMES
        lines = [*lines[:10], f"  ... {left} more frames", *lines[10 - _MOST_FRAMES :]]
    try:
        last = "".join(traceback.format_exception_only(error)).rstrip()
    except Exception:  # the error's own __str__ may fail
        last = type(error).__name__
    return "\n".join([*lines, last])


def _lines(trace: TracebackType | None, cells: Mapping[str, int]) -> Iterator[str]:
    """Yield a line or two for each frame of the person's; libraries are named and counted."""
    begun = False
    for package, group in itertools.groupby(
        _frames(trace), lambda each: _package(each[0].f_code.co_filename, cells)
    ):
        frames = list(group)
        if not package:
            begun = True
            yield from (_line(frame, number, cells) for frame, number in frames)
        elif begun:  # what called the person's code is the shell's
            name = frames[-1][0].f_code.co_name
            yield f"  {package}: {len(frames)} frame{'s' * (len(frames) != 1)}, down to {name}()"


def _package(filename: str, cells: Mapping[str, int]) -> str:
    return "" if _is_mine(filename, cells) else _library(filename) or filename


def _line(frame: FrameType, number: int, cells: Mapping[str, int]) -> str:
    filename = frame.f_code.co_filename
    where = f"In[{cells[filename]}]" if filename in cells else filename
    code = linecache.getline(filename, number, frame.f_globals).strip()
    name = frame.f_code.co_name
    inside = "" if name == "<module>" else f" in {name}()"
    return f"  {where}, line {number}{inside}: {code}"
