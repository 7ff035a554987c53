"""What code may bend and may not leave bent: it is put back when the code has ended.

The model's code runs in the process of the notebook, and may do there what the person may. It is
no enemy, but it errs: it closes the standard output, names a variable ``len`` among the builtins,
deletes modules to load them anew. The kernel, IPython and this package would not work after that.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import gc
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["standing"]

_NOWHERE = object()

# IPython's own names among the person's variables; without them magics do not work.
_NAMES = ("_", "__", "___", "In", "Out", "_ih", "_oh", "_dh", "get_ipython", "exit", "quit")
_NAMES_TOLD = frozenset(("In", "Out", "get_ipython", "exit", "quit"))

# Without these modules there is no notebook; all others may be loaded anew.
_OURS = frozenset(
    (
        *("__main__", "alloy_nb", "IPython", "ipykernel", "ipywidgets", "anywidget", "traitlets"),
        *("jupyter_client", "jupyter_core", "comm", "zmq", "tornado", "matplotlib_inline"),
        *("httpx", "httpcore", "anyio", "h11", "certifi", "idna", "sniffio", "pydantic"),
        *("pydantic_core", "typing_extensions", "annotated_types", "markdown_it", "mdurl", "nh3"),
        "pygments",
    )
)

_Undo = Callable[[], list[str]]


@contextlib.contextmanager
def standing(shell: Any, notes: list[str]) -> Iterator[None]:
    """Put back what the code changed of the process; `notes` gets what that was.

    A child that the code forked and that comes out here is ended: it would go on as a second
    kernel at the sockets of the first.
    """
    process = os.getpid()
    undo = [
        _builtins(),
        _modules(),
        _attributes(),
        _names(shell),
        _descriptors(),
        _settings(),
        _loop(),
        _place(),
    ]
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(0)
        for each in undo:
            with contextlib.suppress(Exception):  # what cannot be put back stays as it is
                notes += each()


# Each of these notes how something is, and returns what puts it back and says what that was.


def _builtins() -> _Undo:
    before = dict(vars(builtins))

    def undo() -> list[str]:
        now = vars(builtins)
        changed = [n for n in before if n != "_" and now.get(n, _NOWHERE) is not before[n]]
        now.update({name: before[name] for name in changed})
        return [f"builtins.{name}" for name in changed]

    return undo


def _modules() -> _Undo:
    standard = sys.stdlib_module_names | _OURS
    table = sys.modules
    before = {name: m for name, m in table.items() if name.partition(".")[0] in standard}

    def undo() -> list[str]:
        sys.modules = table
        changed = [name for name, module in before.items() if table.get(name) is not module]
        table.update({name: before[name] for name in changed})
        return [f"sys.modules[{name!r}]" for name in changed[:5]]

    return undo


def _attributes() -> _Undo:
    """Functions and classes of this package; what is no code may change while it runs."""
    before: list[tuple[Any, str, Any]] = [
        (module, name, value)
        for module_name, module in list(sys.modules.items())
        if module_name.partition(".")[0] == "alloy_nb" and isinstance(module, types.ModuleType)
        for name, value in list(vars(module).items())
        if callable(value) or isinstance(value, types.ModuleType)
    ]
    own = {value for *_, value in before if isinstance(value, type)}
    inside: list[tuple[Any, str, Any]] = [
        (cls, name, value)
        for cls in own
        if cls.__module__.partition(".")[0] == "alloy_nb"
        for name, value in list(vars(cls).items())
        if isinstance(value, (types.FunctionType, property, staticmethod, classmethod))
    ]

    def undo() -> list[str]:
        changed = [
            (owner, name, value)
            for owner, name, value in (*before, *inside)
            if vars(owner).get(name, _NOWHERE) is not value
        ]
        for owner, name, value in changed:
            setattr(owner, name, value)
        return [f"{owner.__name__}.{name}" for owner, name, _ in changed[:5]]

    return undo


def _names(shell: Any) -> _Undo:
    namespace = shell.user_ns
    before = {name: namespace[name] for name in _NAMES if name in namespace}

    def undo() -> list[str]:
        changed = []
        for name in _NAMES:
            if namespace.get(name, _NOWHERE) is before.get(name, _NOWHERE):
                continue
            # IPython takes `_` away where a library has put it among the builtins.
            namespace.pop(name, None)
            if name in before:
                namespace[name] = before[name]
            changed.append(name)
        return [name for name in changed if name in _NAMES_TOLD]

    return undo


def _descriptors() -> _Undo:
    """Standard input, output and error of the process, which a kernel reads and writes."""
    kept: dict[int, tuple[int, tuple[int, int]]] = {}
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            # High, where no code would close it by counting up.
            kept[number] = os.dup(number), _file(number)

    def undo() -> list[str]:
        changed = []
        for number, (copy, file) in kept.items():
            with contextlib.suppress(OSError):
                try:
                    same = _file(number) == file
                except OSError:
                    same = False
                if not same:
                    os.dup2(copy, number)
                    changed.append(f"file descriptor {number}")
            with contextlib.suppress(OSError):
                os.close(copy)
        return changed

    return undo


def _file(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _settings() -> _Undo:
    trace, profile, hook = sys.gettrace(), sys.getprofile(), sys.displayhook
    depth, collects = sys.getrecursionlimit(), gc.isenabled()

    def undo() -> list[str]:
        changed = []
        if sys.gettrace() is not trace:
            sys.settrace(trace)
            changed.append("sys.settrace")
        if sys.getprofile() is not profile:
            sys.setprofile(profile)
            changed.append("sys.setprofile")
        if sys.displayhook is not hook:
            sys.displayhook = hook
            changed.append("sys.displayhook")
        if sys.getrecursionlimit() < depth:
            sys.setrecursionlimit(depth)
            changed.append("sys.setrecursionlimit")
        if collects and not gc.isenabled():
            gc.enable()
            changed.append("gc")
        return changed

    return undo


def _loop() -> _Undo:
    """The kernel's event loop, which code may tell to stop: then the kernel ends."""
    running: Any = asyncio._get_running_loop()
    stopping = getattr(running, "_stopping", None)

    def undo() -> list[str]:
        if stopping is False and running._stopping is True:
            running._stopping = False
            return ["the kernel's event loop"]
        return []

    return undo


def _place() -> _Undo:
    with contextlib.suppress(OSError):
        before = Path.cwd()

        def undo() -> list[str]:
            try:
                Path.cwd()
            except OSError:  # the folder that it went to is gone
                os.chdir(before)
                return ["the working directory"]
            return []

        return undo
    return list
