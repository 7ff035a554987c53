"""What a model is told of a cell or of an object that it is to explain."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.markup.alongside import reference
from alloy_nb.markup.plain import middle_cut
from alloy_nb.notebook.code.failure import stored_failure
from alloy_nb.notebook.inputs.dial import Dial

__all__ = ["cell_of", "object_of"]

_MOST_CHARACTERS = 6_000
_MOST_DOC = 2_000


def cell_of(shell: Any, number: int, dial: Dial) -> str:
    """Return the source of a cell and what came of it, as far as IPython keeps it.

    Raises:
        UsageError: There is no such cell.
    """
    typed = shell.user_ns.get("In") or [""]
    raw = getattr(shell.history_manager, "input_hist_raw", typed)
    if not 0 < number < len(typed):
        raise UsageError(f"There is no In[{number}]: cells 1 to {len(typed) - 1} have run.")
    source = raw[number] if number < len(raw) else typed[number]
    parts = [reference(f"In[{number}]", middle_cut(dial.source(str(source)), _MOST_CHARACTERS))]
    came = "\n".join(part for part in _came_of(shell, number, dial) if part and part.strip())
    if came:
        parts.append(reference(f"Out[{number}]", middle_cut(came, _MOST_CHARACTERS)))
    return "\n\n".join(parts)


def object_of(name: str, value: Any, dial: Dial) -> str:
    """Return what an object is: its outline, and for code its signature, its text and its doc."""
    lines = [dial.described(name, value)]
    if dial.level != "names" and (callable(value) or issubclass(type(value), ModuleType)):
        lines += [part for part in _of_code(value, dial) if part]
    return reference(name, "\n".join(lines))


def _of_code(value: Any, dial: Dial) -> Iterator[str]:
    yield _signature(value, dial)
    doc = _quietly(inspect.getdoc, value)
    # What the person wrote about their own code may hold values.
    if isinstance(doc, str) and (dial.level in ("sample", "full") or _is_of_library(value)):
        yield f"doc: {doc[:_MOST_DOC]}"
    # Source is read from a file or a cell; a module's would be long.
    if not issubclass(type(value), ModuleType) and not _is_of_library(value):
        source = _quietly(inspect.getsource, value)
        if isinstance(source, str):
            yield f"source:\n{middle_cut(dial.source(source), _MOST_CHARACTERS)}"


def _signature(value: Any, dial: Dial) -> str:
    signature = _quietly(inspect.signature, value)
    if not isinstance(signature, inspect.Signature):
        return ""
    if dial.level == "full":
        return f"signature: {str(signature)[:_MOST_DOC]}"
    # A default is a value.
    return f"parameters: {', '.join(signature.parameters)}"


def _is_of_library(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    return isinstance(module, str) and module != "__main__"


def _quietly(read: Any, value: Any) -> Any:
    try:
        return read(value)
    except Exception:  # a user's object may fail anywhere; then that part is left out
        return None


def _came_of(shell: Any, number: int, dial: Dial) -> Iterator[str | None]:
    """Yield what a cell printed, showed, returned and failed with.

    IPython keeps the outputs of each cell since 8.34 (``HistoryManager.outputs``, read in 9.18.1 on
    2026-11-21); of older ones there is the value alone.
    """
    value = (shell.user_ns.get("Out") or {}).get(number)
    told = False
    for output in (getattr(shell.history_manager, "outputs", None) or {}).get(number, ()):
        text = _text_of(output.bundle)
        match output.output_type:
            case "out_stream" | "err_stream":
                yield dial.printed(text)
            case "execute_result":
                told = True
                yield dial.value(value, text)
            case "display_data":
                yield dial.displayed(text)
    if value is not None and not told:
        yield dial.described(f"Out[{number}]", value)
    failure = stored_failure(shell, number)
    if failure is not None:
        yield dial.failed(failure.error, failure.traceback, failure.source)


def _text_of(bundle: Any) -> str:
    found = bundle.get("stream") or bundle.get("text/plain") or ""
    return "".join(map(str, found)) if isinstance(found, list) else str(found)
