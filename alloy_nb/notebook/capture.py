"""What the model's code prints and displays, kept while it runs and shown afterwards.

IPython's own capture takes everything that any thread shows: also the frames of the answer, which
would be lost, and then be told to the model as the output of its code.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

__all__ = ["Captured"]

_MOST_PRINTED = 2_000_000
_MISSING = object()


@dataclass(frozen=True, slots=True)
class _Output:
    data: dict[str, Any]
    metadata: dict[str, Any]
    transient: dict[str, Any]
    update: bool


class Captured:
    """While it is entered, what the code prints and displays is kept, not shown.

    The portal's thread draws the answer in the meantime, and is let through. The code is also kept
    from what only the user may do.
    """

    def __init__(self, shell: Any) -> None:
        self.outputs: list[_Output] = []
        self._shell = shell
        self._publisher = shell.display_pub
        self._complaints: list[str] = []
        self._printed = _Printed(sys.stdout)
        self._warned = _Printed(sys.stderr)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Captured:
        replace = self._stack.enter_context
        publisher = _Publisher(self._publisher, self.outputs)
        replace(_replaced(self._shell, "display_pub", publisher))
        replace(_replaced(sys, "stdout", self._printed))
        replace(_replaced(sys, "stderr", self._warned))
        replace(_replaced(builtins, "input", _refuse_input))
        # exit() and quit() of IPython end the kernel without a SystemExit.
        replace(_replaced(self._shell, "ask_exit", _refuse_exit))
        # It would print in the user's cell that a repr failed.
        replace(_replaced(self._shell, "showtraceback", self._complain))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def show(self) -> None:
        """Show in the cell what was displayed; an update of an output updates it."""
        for output in self.outputs:
            self._publisher.publish(
                data=output.data,
                metadata=output.metadata,
                transient=output.transient,
                update=output.update,
            )

    def parts(self) -> list[str]:
        """Return the text of it all."""
        texts = [self._printed.getvalue(), self._warned.getvalue()]
        return [*texts, *map(_described, self.outputs), *self._complaints]

    def _complain(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
        error = exc_tuple[1] if exc_tuple else sys.exception()
        if error is not None:
            told = "".join(traceback.format_exception_only(error)).strip()
            self._complaints.append(f"(could not be shown: {told})")


def _refuse_input(*_: Any) -> str:
    raise RuntimeError("input() does not work in a tool; ask the user in your answer instead")


def _refuse_exit() -> None:
    raise SystemExit("a tool cannot end the user's kernel")


def _draws_the_answer() -> bool:
    return threading.current_thread().name == "alloy-loop"


class _Printed(io.StringIO):
    """Keeps what is printed, up to a size: a loop that prints must not fill the memory."""

    def __init__(self, behind: TextIO) -> None:
        super().__init__()
        self._behind = behind
        self._left = _MOST_PRINTED

    def write(self, text: str) -> int:
        if _draws_the_answer():
            return self._behind.write(text)
        if self._left > 0:
            cut = "\n[what was printed from here on was not kept]\n"
            super().write(text if len(text) <= self._left else text[: self._left] + cut)
            self._left -= len(text)
        return len(text)

    def flush(self) -> None:
        if _draws_the_answer():
            self._behind.flush()


class _Publisher:
    """Keeps what is displayed, for afterwards; all else is the publisher's behind it."""

    def __init__(self, behind: Any, outputs: list[_Output]) -> None:
        self._behind = behind
        self._outputs = outputs

    def publish(
        self, data: Any, metadata: Any = None, transient: Any = None, update: bool = False, **_: Any
    ) -> None:
        if _draws_the_answer():
            self._behind.publish(data=data, metadata=metadata, transient=transient, update=update)
        else:
            self._outputs.append(_Output(data, metadata or {}, transient or {}, update))

    def clear_output(self, wait: bool = False) -> None:  # noqa: ARG002  # IPython's signature
        self._outputs.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    kept = vars(owner).get(name, _MISSING)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if kept is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, kept)


def _described(output: _Output) -> str:
    text = output.data.get("text/plain", "")
    return f"[shown to the user: {text}]" if text else "[shown to the user]"
