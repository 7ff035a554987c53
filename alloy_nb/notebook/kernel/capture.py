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
from typing import Any, Protocol, TextIO

__all__ = ["SCREEN", "Captured", "Output", "Screen", "shortened"]

SCREEN = "alloy_screen"
"""Where a run's ``context`` has its `Screen`, if it has one; else it is the cell that runs."""

# Of what is printed, this many characters of the beginning are kept, and as many of the end.
_MOST_PRINTED = 250_000
_MISSING = object()


def shortened(text: str, most: int, length: int | None = None) -> str:
    """Return `text`, or its head and its tail with how much is missing between them.

    Args:
        text: Of a text of which only head and tail were kept, these.
        most: How many characters may stay.
        length: How long the text was when it was whole.
    """
    length = len(text) if length is None else length
    if length <= most:
        return text
    # The beginning says what it is, the end how it came out.
    head = most * 3 // 5
    tail = most - head
    return f"{text[:head]}\n[... {length - most:,} characters left out ...]\n{text[-tail:]}"


@dataclass(frozen=True, slots=True)
class Output:
    """Something that was displayed, by MIME types; an `update` changes an earlier one."""

    data: dict[str, Any]
    metadata: dict[str, Any]
    transient: dict[str, Any]
    update: bool = False

    @property
    def plain(self) -> str:
        """Its text, where it has one."""
        text = self.data.get("text/plain", "")
        return text if isinstance(text, str) else ""


class Screen(Protocol):
    """Shows what code displayed where its turn is drawn; called on the main thread."""

    def show(self, output: Output) -> None:
        """Show an output, or change an earlier one of the same display id."""

    def say(self, text: str) -> None:
        """Show a text that was printed."""


class Captured:
    """While it is entered, what the code prints and displays is kept, not shown.

    The portal's thread draws the answer in the meantime, and is let through. The code is also kept
    from what only the user may do.

    Args:
        shell: Whose outputs they are.
        screen: Where they are shown afterwards; without one, in the cell that runs.
    """

    def __init__(self, shell: Any, screen: Screen | None = None) -> None:
        self.outputs: list[Output] = []
        self._screen = screen
        self._shell = shell
        self._publisher = shell.display_pub
        self.complaints: list[str] = []
        """What could not be shown, and why."""
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

    def publish(self, output: Output) -> None:
        """Show in the cell what was displayed; an update of an output updates it."""
        if self._screen is not None:
            self._screen.show(output)
            return
        self._publisher.publish(
            data=output.data,
            metadata=output.metadata,
            transient=output.transient,
            update=output.update,
        )

    def printed(self, most: int) -> list[str]:
        """Return what went to standard output and to standard error, each cut to a length."""
        texts = [self._printed.kept(most), self._warned.kept(most)]
        return [text for text in texts if text.strip()]

    def say(self, text: str) -> None:
        """Print a text in the cell, once the code has ended."""
        if self._screen is not None:
            self._screen.say(text)
            return
        out = self._printed.behind
        with contextlib.suppress(Exception):  # there may be nobody to read it any more
            out.write(text if text.endswith("\n") else f"{text}\n")
            out.flush()

    def _complain(self, exc_tuple: Any = None, *_: Any, **__: Any) -> None:
        error = exc_tuple[1] if exc_tuple else sys.exception()
        if error is not None:
            told = "".join(traceback.format_exception_only(error)).strip()
            complaint = f"(could not be shown: {shortened(told, 2_000)})"
            if complaint not in self.complaints:  # each form of a value may fail alike
                self.complaints.append(complaint)


def _refuse_input(*_: Any) -> str:
    raise RuntimeError("input() does not work in a tool; ask the user in your answer instead")


def _refuse_exit() -> None:
    raise SystemExit("a tool cannot end the user's kernel")


def _draws_the_answer() -> bool:
    return threading.current_thread().name == "alloy-loop"


class _Printed(io.TextIOBase):
    """Keeps the head and the tail of what is printed: a loop that prints must fill no memory."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, behind: TextIO) -> None:
        super().__init__()
        self.behind = behind
        self._head: list[str] = []
        self._tail: list[str] = []
        self._room = _MOST_PRINTED
        self._length = self._waiting = 0
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        if _draws_the_answer():
            return self.behind.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            self._length += len(text)
            if self._room > 0:
                self._head.append(text[: self._room])
            rest = text[self._room :][-_MOST_PRINTED:]
            self._room = max(0, self._room - len(text))
            if rest:
                self._tail.append(rest)
                self._waiting += len(rest)
                if self._waiting > 4 * _MOST_PRINTED or len(self._tail) > 20_000:
                    self._tail = ["".join(self._tail)[-_MOST_PRINTED:]]
                    self._waiting = len(self._tail[0])
        return len(text)

    def kept(self, most: int) -> str:
        """Return what was printed, cut to a length."""
        text = "".join(self._head) + "".join(self._tail)[-_MOST_PRINTED:]
        return shortened(text, most, self._length)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        if _draws_the_answer():
            self.behind.flush()


class _Publisher:
    """Keeps what is displayed, for afterwards; all else is the publisher's behind it."""

    def __init__(self, behind: Any, outputs: list[Output]) -> None:
        self._behind = behind
        self._outputs = outputs

    def publish(
        self, data: Any, metadata: Any = None, transient: Any = None, update: bool = False, **_: Any
    ) -> None:
        if _draws_the_answer():
            self._behind.publish(data=data, metadata=metadata, transient=transient, update=update)
        else:
            self._outputs.append(Output(dict(data), metadata or {}, transient or {}, update))

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
