"""``%alloy`` and ``%%alloy``: parse, hand over, leave."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
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

from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import ConfigError, SessionError
from alloy_nb.notebook.commands import commands
from alloy_nb.notebook.commands.models import show_status
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.guide import usage, usage_of
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.kernel import nesting
from alloy_nb.notebook.prompt import SYSTEM
from alloy_nb.notebook.turns.prompts import answered
from alloy_nb.notebook.words import Words, parse
from alloy_nb.providers.base import EFFORTS

__all__ = ["Alloy"]


@magics_class
class Alloy(Magics):
    """Settings of the notebook's agent; they hold until the kernel ends."""

    model = Unicode(
        "", help="What answers, as vendor/model. Empty: whatever a key is found for."
    ).tag(config=True)
    effort = Enum(["", *EFFORTS], "", help="How much to think. Empty: the model's default.").tag(
        config=True
    )
    approve = Union(
        [Enum(list(POLICIES)), Callable()],
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

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self.desk = Desk(shell, self)
        self._commands = commands(self.desk)
        if self.nested_loop:
            nesting.allow_nested_loops()

    @no_var_expand
    @needs_local_scope
    @line_cell_magic
    def alloy(self, line: str, cell: str | None = None, local_ns: Any = None) -> object:  # noqa: D102  # set below
        words = parse(line, cell=cell)
        self.desk.said += self.desk.keychain.noticed(self.shell.user_ns.get("In"))
        try:
            if words.flags.get("help") or (cell is None and words.prompt == "?"):
                status.say(usage_of(words.command or "") or usage())
            elif words.command is not None:
                return self._commands[words.command](words)
            elif not words.prompt.strip():
                self._nothing_asked(words, cell)
            else:
                namespace = {**self.shell.user_ns, **(local_ns or {})}
                return answered(self.desk, words, namespace)
        except (ConfigError, SessionError) as error:
            # A mistake in the cell is IPython's own kind of error: one line, no traceback.
            raise UsageError(str(error)) from None
        return None

    # %alloy? shows this.
    alloy.__doc__ = usage()

    @property
    def sessions(self) -> dict[str, Session]:
        """The conversations that are open, by name."""
        return self.desk.sessions

    def session(self, name: str | None = None) -> Session:
        """Return the conversation of this name, begun when it is first used."""
        return self.desk.session(name)

    def close(self) -> None:
        """Let go of the conversations; the extension is being unloaded."""
        self.desk.close()

    def _nothing_asked(self, words: Words, cell: str | None) -> None:
        if cell is None and words.flags.keys() <= {"session"}:
            show_status(self.desk, words)
            return
        form = "%%alloy [FLAGS]\nPROMPT" if cell is not None else "%alloy [FLAGS] PROMPT"
        raise UsageError(f"There is no prompt. Write:\n{form}\nSee %alloy help.")

    @validate("data")
    def _check_data(self, proposal: Any) -> str:
        try:
            return str(Dial.parse(proposal["value"]))
        except ConfigError as error:
            raise TraitError(str(error)) from None

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
        desk: Desk | None = getattr(self, "desk", None)
        if desk is not None:
            desk.follow(change["name"], change["new"])
