"""The Tab key: what is typed after ``%alloy`` is completed, by `completion` once it is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.completer import CompletionContext, context_matcher

if TYPE_CHECKING:
    from alloy_nb.notebook.desk import Desk

__all__ = ["offer", "withdraw"]

_NAME = "alloy_nb.notebook.completion"
_NOTHING: Mapping[str, Any] = {"completions": [], "matched_fragment": "", "suppress": False}


def offer(shell: Any, desk: Callable[[], Desk]) -> None:
    """Complete what is typed after ``%alloy`` in this shell; `desk` is asked for at that time."""
    withdraw(shell)
    completer = getattr(shell, "Completer", None)
    if completer is None or not hasattr(completer, "custom_matchers"):
        return

    @context_matcher(identifier=_NAME)  # type: ignore[untyped-decorator]  # IPython's
    def complete(context: CompletionContext) -> Mapping[str, Any]:
        # A Tab that fails would print a traceback between the user's lines.
        with contextlib.suppress(Exception):
            if "%alloy" in context.full_text:
                from alloy_nb.notebook.completion import completed

                return completed(desk(), context)
        return _NOTHING

    completer.custom_matchers.append(complete)


def withdraw(shell: Any) -> None:
    """Undo `offer`, also after the package was reloaded."""
    matchers: list[Any] = getattr(getattr(shell, "Completer", None), "custom_matchers", [])
    for each in list(matchers):
        if getattr(each, "matcher_identifier", "") == _NAME:
            matchers.remove(each)
