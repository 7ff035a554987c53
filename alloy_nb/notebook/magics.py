"""``%alloy`` and ``%%alloy``: parse, hand over, leave.

What does the work is imported when something is typed for the first time: a notebook that loads us
begins at once (`dispatch`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from traitlets import (
    Bool,
    Callable,
    Enum,
    Float,
    Int,
    TraitError,
    Unicode,
    Union,
    observe,
    validate,
)

from alloy_nb.errors import ConfigError
from alloy_nb.notebook.grammar import FLAGS
from alloy_nb.notebook.guide import usage
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.kernel import nesting
from alloy_nb.notebook.prompt import SYSTEM
from alloy_nb.notebook.words import parse

if TYPE_CHECKING:
    from alloy_nb.engine.sessions.session import Session
    from alloy_nb.notebook.desk import Desk
    from alloy_nb.notebook.dispatch import Dispatch

__all__ = ["Alloy"]

_CHOICES = {flag.key: flag.choices for flag in FLAGS}


@magics_class
class Alloy(Magics):
    """Settings of the notebook's agent; they hold until the kernel ends."""

    model = Unicode(
        "", help="What answers, as vendor/model. Empty: whatever a key is found for."
    ).tag(config=True)
    effort = Enum(
        ["", *_CHOICES["think"]], "", help="How much to think. Empty: the model's default."
    ).tag(config=True)
    approve = Union(
        [Enum(list(_CHOICES["approve"])), Callable()],
        default_value="ask",
        help="Which tools may run: all, those that read, none, or ask; or a function of a call and "
        "its tool that answers True, False or 'ask'.",
    ).tag(config=True)
    data = Unicode(
        "full",
        help="What may leave the kernel: none, names, schema (types, shapes and columns, never a "
        "value), sample:N (the first N rows, items or lines), full (what code prints and returns "
        "is sent). @name in a prompt sends the schema also with full.",
    ).tag(config=True)
    max_cost = Float(0.0, help="US dollars that a session may spend. 0: no limit.").tag(config=True)
    max_turns = Int(25, help="Replies of the model in one turn of yours, tool calls included.").tag(
        config=True
    )
    tool_timeout = Float(120.0, help="Seconds after which a tool is stopped.").tag(config=True)
    system_prompt = Unicode(SYSTEM, help="What the model is told about where it is.").tag(
        config=True
    )
    context_discovery = Bool(
        False,
        help="Tell the model what stands in .alloy/context/*.md, in your home, the repository and "
        "this folder.",
    ).tag(config=True)
    cache = Bool(
        True,
        help="Let the vendor keep what was sent for the next request, where it wants to be told "
        "(Anthropic). Reading it again costs a tenth.",
    ).tag(config=True)
    journal = Enum(
        ["auto", "on", "off"],
        "auto",
        help="Keep conversations in .alloy/sessions.db beside the notebook: on, off, or wherever "
        "there is a notebook.",
    ).tag(config=True)
    resume = Enum(
        ["ask", "auto", "off"],
        "ask",
        help="After the kernel's start: ask says that there is an earlier conversation "
        "(%alloy resume goes on with it), auto goes on with it.",
    ).tag(config=True)
    replay = Bool(
        False,
        help="Show the answer that the journal has, where prompt, references, model, settings and "
        "history are the same. Nothing is sent, and no tool runs again.",
    ).tag(config=True)
    nested_loop = Bool(
        False,
        help="Let cells run a loop inside the kernel's (asyncio.run). Patches asyncio; not undone.",
    ).tag(config=True)

    shell: Any  # IPython declares it optional; a magic that runs has one

    _dispatch: Dispatch | None = None  # settings are read before there is one

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        if self.nested_loop:
            nesting.allow_nested_loops()

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def alloy(self, line: str, cell: str | None = None, local_ns: Any = None) -> object:  # noqa: D102  # set below
        words = parse(line, cell=cell)
        return self._opened().run(words, cell=cell, local=local_ns)

    # %alloy? shows this.
    alloy.__doc__ = usage()

    @property
    def desk(self) -> Desk:
        """What the notebook has open."""
        return self._opened().desk

    @property
    def sessions(self) -> dict[str, Session]:
        """The conversations that are open, by name."""
        return self.desk.sessions

    def session(self, name: str | None = None) -> Session:
        """Return the conversation of this name, begun when it is first used."""
        return self.desk.session(name)

    def close(self) -> None:
        """Let go of the conversations; the extension is being unloaded."""
        if self._dispatch is not None:
            self._dispatch.close()

    def _opened(self) -> Dispatch:
        if self._dispatch is None:
            from alloy_nb.notebook.dispatch import Dispatch

            self._dispatch = Dispatch(self.shell, self)
        return self._dispatch

    @validate("data")
    def _check_data(self, proposal: Any) -> str:
        try:
            return str(Dial.parse(proposal["value"]))
        except ConfigError as error:
            raise TraitError(str(error)) from None

    @validate("max_cost", "max_turns", "tool_timeout")
    def _check_number(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        least = "more than 0" if name == "tool_timeout" else "0 or more"
        if not math.isfinite(value) or value < 0 or (name == "tool_timeout" and not value):
            raise TraitError(f"{name} is a number, {least}, not {value}. It stays as it was.")
        return value

    @validate("model")
    def _check_model(self, proposal: Any) -> str:
        if self._dispatch is not None:  # before, it is read when something is asked
            try:
                self._dispatch.desk.check_model(proposal["value"])
            except ConfigError as error:
                raise TraitError(str(error)) from None
        return str(proposal["value"])

    @observe("nested_loop")
    def _allow_nested_loops(self, change: Any) -> None:
        if change["new"]:
            nesting.allow_nested_loops()

    @observe(
        *("model", "effort", "max_cost", "max_turns", "tool_timeout"),
        *("system_prompt", "context_discovery"),
    )
    def _apply(self, change: Any) -> None:
        """Let the sessions that are open follow ``%config Alloy``."""
        if self._dispatch is not None:
            self._dispatch.desk.follow(change["name"], change["new"])
