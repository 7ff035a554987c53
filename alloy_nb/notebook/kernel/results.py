"""What came of a piece of code: told to the model by the data dial, shown to the person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from alloy_nb.engine.calls.tool import ToolOutput
from alloy_nb.errors import ToolError
from alloy_nb.messages import Image
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.kernel.capture import Captured, Output, shortened
from alloy_nb.notebook.kernel.images import MOST, SHOWN, fitted, picture_of

__all__ = ["Ran", "answered", "formatted"]

_MOST_ANSWERED = 19_500
_MOST_PRINTED = 12_000
_MOST_TRACEBACK = 8_000
_MOST_DISPLAYED = 4_000
# A text that is longer is not made into a repr first.
_LONG = 200_000


@dataclass(slots=True)
class Ran:
    """A piece of code and what came of it.

    Args:
        code: The code.
        filename: What stands for it in tracebacks.
    """

    code: str
    filename: str
    value: Any = None
    bundle: Output | None = None
    """The value's forms; without one, it has displayed itself or could not be shown."""
    trouble: str = ""
    error: BaseException | None = None
    traceback: str = ""
    notes: list[str] = field(default_factory=list)
    """What had to be put back."""


def formatted(shell: Any, value: Any) -> Output | None:
    """Return a value as the notebook would show it, in all its forms."""
    if type(value) in (str, bytes, bytearray) and len(value) > _LONG:
        head, tail = value[: _MOST_DISPLAYED // 2], value[-_MOST_DISPLAYED // 2 :]
        return Output({"text/plain": f"{head!r} ... {tail!r} ({len(value):,} in all)"}, {}, {})
    formatter = shell.display_formatter
    if not _is_told_by_repr(formatter.formatters["text/plain"], type(value)):
        data, metadata = formatter.format(value)
        return Output(data, metadata, {}) if data else None
    # IPython goes through such a text line by line, which takes long if it is long. It is the same.
    text = _repr_of(value, formatter)
    if text is not None and len(text) > _LONG:
        return Output({"text/plain": shortened(text, _MOST_PRINTED)}, {}, {})
    data, metadata = formatter.format(value, exclude={"text/plain"})
    if text is not None:
        data["text/plain"] = text
    return Output(data, metadata, {}) if data else None


def _is_told_by_repr(formatter: Any, kind: type) -> bool:
    """Tell whether IPython prints values of a type by their ``repr``, as it finds that out."""
    for cls in kind.__mro__:
        if cls in formatter.type_printers or "_repr_pretty_" in vars(cls):
            return False
        if (cls.__module__, cls.__name__) in formatter.deferred_printers:
            return False
        if cls is not object and "__repr__" in vars(cls):
            return "_ipython_display_" not in dir(kind)
    return False


def _repr_of(value: Any, formatter: Any) -> str | None:
    try:
        text = repr(value)
    except Exception:  # IPython says that it failed, in its own way
        data, _ = formatter.format(value, include={"text/plain"})
        return cast("str | None", data.get("text/plain"))
    return text


def answered(captured: Captured, ran: Ran, dial: Dial) -> str | ToolOutput:
    """Show what is to be shown, and return what the model is told.

    Raises:
        ToolError: The code failed; the text says how, for the model.
    """
    answer = _Answer(captured, dial)
    for text in captured.printed(_MOST_PRINTED):
        answer.tell(dial.printed(text), text)
    pictures = {answer.display(output) for output in captured.outputs}
    for text in captured.complaints:
        answer.tell(dial.displayed(text), text)
    if ran.trouble:
        answer.tell(dial.displayed(ran.trouble), ran.trouble)
    if ran.bundle is not None:
        answer.return_(ran.value, ran.bundle, pictures)
    if ran.notes:
        text = f"(put back when the code had ended: {', '.join(ran.notes)})"
        answer.tell(dial.displayed(text), text)
    if ran.error is not None:
        text = shortened(ran.traceback, _MOST_TRACEBACK)
        answer.tell(dial.failed(ran.error, text, ran.code), text)
    return answer.whole(failed=ran.error is not None)


class _Answer:
    def __init__(self, captured: Captured, dial: Dial) -> None:
        self._captured = captured
        self._dial = dial
        self._told: list[str] = []
        self._images: list[Image] = []

    def tell(self, told: str | None, text: str) -> None:
        """Tell the model; what it is not told whole, the person reads in the cell."""
        if told is not None:
            self._told.append(told)
        if told != text:
            self._captured.say(text)

    def display(self, output: Output) -> bytes | None:
        """Show what the code displayed, and return its picture."""
        self._captured.publish(output)
        text = shortened(output.plain, _MOST_DISPLAYED)
        told = self._dial.displayed(text)
        shown = f"[shown to the user: {text}]" if text else "[shown to the user]"
        picture, remark = self._pictured(output)
        self._told.append((shown if told == text else told) + remark)
        return picture

    def return_(self, value: Any, bundle: Output, shown: set[bytes | None]) -> None:
        """Tell the value of the last expression, and show it where it is more than a text."""
        rich = bool(bundle.data.keys() - {"text/plain"})
        picture = picture_of(bundle.data)
        if rich and (picture is None or picture[1] not in shown):
            self._captured.publish(bundle)
            remark = self._pictured(bundle)[1]
        else:
            remark = ""
        text = bundle.plain
        told = self._dial.value(value, text)
        if told is not None:
            self._told.append(shortened(told, _MOST_PRINTED) + remark)
        if told != text and not rich:
            self._captured.say(shortened(text, _MOST_PRINTED))

    def whole(self, *, failed: bool) -> str | ToolOutput:
        """Return all that the model is told."""
        lines = [text.rstrip("\n") for text in self._told if text.strip()]
        text = shortened("\n".join(lines), _MOST_ANSWERED) or "(no output)"
        if self._images:
            return ToolOutput([text, *self._images], data=SHOWN, is_error=failed)
        if failed:
            raise ToolError(text)
        return text

    def _pictured(self, output: Output) -> tuple[bytes | None, str]:
        """Take the picture of an output, and return its bytes and a remark if it is not sent."""
        found = picture_of(output.data)
        if found is None:
            return None, ""
        if not self._dial.images:
            return found[1], " (its picture is not sent)"
        if len(self._images) >= MOST:
            return found[1], f" (its picture is not sent: {MOST} are the most)"
        image = fitted(*found)
        if isinstance(image, str):
            return found[1], f" (its picture is not sent: {image})"
        self._images.append(image)
        return found[1], ""
