"""``/cost``, ``/undo``, ``/fix``: the commands of ``%alloy``, typed into a panel.

They are the very same functions. What they show goes to the panel (`drawing.placing`), and a turn
that one of them asks for is a turn of the panel (`turns.asking.by_panel`). They run on a thread,
and those that touch variables on the main one, when no cell runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from alloy_nb.engine import portal
from alloy_nb.engine.agent import message_of
from alloy_nb.engine.run import Result, Run, RunStatus
from alloy_nb.errors import AlloyError, Interrupted, SessionError
from alloy_nb.markup.alongside import typed
from alloy_nb.messages import Image, Message
from alloy_nb.notebook.commands import commands
from alloy_nb.notebook.drawing.cards import publish_value
from alloy_nb.notebook.drawing.placing import placed
from alloy_nb.notebook.drawing.render import Bundle
from alloy_nb.notebook.grammar import COMMANDS
from alloy_nb.notebook.slash import ALIASES
from alloy_nb.notebook.turns.again import recalled
from alloy_nb.notebook.turns.asking import Asking, by_panel
from alloy_nb.notebook.words import Words, parse
from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.panel import Panel

__all__ = ["command_of", "done", "steered", "takes_a_while"]

log = logging.getLogger("alloy_nb")

_KNOWN = {command.name: command for command in COMMANDS}
_LINE = re.compile(r"\s*/(?P<name>[A-Za-z_][\w-]*)(?P<rest>.*)", re.S)
# Of these, what they do, they do to the person's variables.
_ON_MAIN = ("restore", "promote")
_LONG = ("compact", "doctor", "wait", "stop", *_ON_MAIN)
_IN_CELLS = {
    "key": "A key is typed where nobody sees it: %alloy key in a cell.",
    "panel": "This is the panel.",
    "wait": "A panel needs no waiting: what answers in the background shows where it was asked.",
}


def command_of(word: str) -> str | None:
    """Return the command that a word such as ``/usage`` stands for, if it is one."""
    name = word.strip().removeprefix("/")
    name = ALIASES.get(name, name)
    return name if word.strip().startswith("/") and name in _KNOWN else None


def takes_a_while(line: str) -> bool:
    """Tell whether a line does what nothing else should have to wait for."""
    found = _LINE.fullmatch(line)
    return found is not None and command_of(f"/{found['name']}") in _LONG


def done(panel: Panel, line: str, id_: str) -> None:
    """Do what a line says, and tell the front end what came of it."""
    shown: list[Bundle] = []
    wrong = ""
    token = by_panel.set(lambda asking: _asked(panel, asking))
    try:
        _done(panel, line, id_, shown)
    except (UsageError, AlloyError) as error:
        wrong = str(error)
    except Exception as error:  # whatever fails in it, the front end waits to be told
        log.warning("A command of the panel failed", exc_info=True)
        wrong = f"{type(error).__name__}: {error}"
    finally:
        by_panel.reset(token)
    html = "\n".join(bundle.html for bundle in shown if bundle.html)
    if html or not wrong:
        panel.tell("shown", title=redact(line.strip()), html=redact(html), id=id_)
    if wrong:
        panel.tell("notice", level="error", text=redact(wrong), id=id_)


def _done(panel: Panel, line: str, id_: str, shown: list[Bundle]) -> None:
    found = _LINE.fullmatch(line)
    name = command_of(f"/{found['name']}") if found is not None else None
    if found is None or name is None:
        panel.ask(line, id=id_)  # a skill, which is a prompt
        return
    if name in _IN_CELLS and found["rest"].split()[1:] != ["forget"]:
        raise UsageError(_IN_CELLS[name])
    words = _words(panel, name, found["rest"])
    if "help" in words.flags:
        words = Words({}, "help", (name,))
    if _own(panel, words):
        return

    def work() -> None:
        with placed(shown.append):
            value = commands(panel.desk)[words.command or name](words)
            if value is not None and not isinstance(value, Result):
                publish_value(value)

    if name in _ON_MAIN:
        _on_main(panel, work)
    else:
        work()
    _follow(panel, name)


def _words(panel: Panel, name: str, rest: str) -> Words:
    """Return what was typed as the words of ``%alloy``, about the panel's conversation."""
    words = parse(f"{name}{rest}")
    if "session" not in _KNOWN[name].flags:
        return words
    return replace(words, flags={"session": panel.key, **words.flags})


def _own(panel: Panel, words: Words) -> bool:
    """Do what means something else in a panel than in a cell; tell whether it was that."""
    first = words.arguments[0] if words.arguments else ""
    if words.command == "stop" and not first and panel.run is not None:
        panel.stop()
    elif words.command == "steer":
        if not words.prompt.strip():
            raise UsageError("Say what? /steer TEXT")
        steered(panel, words.prompt)
    elif words.command == "edit" and first.isdecimal() and not words.prompt.strip():
        before = recalled(panel.session, int(first), panel.desk.shell.user_ns)
        panel.tell("draft", text=f"/edit {first} {before.prompt}")
    else:
        return False
    return True


def _on_main(panel: Panel, work: Callable[[], None]) -> None:
    """Do something on the main thread, when no cell runs, and wait for it."""
    if panel.busy:
        panel.notice("This runs when the cell that runs now has ended.", level="info")
    context, future = contextvars.copy_context(), Future[None]()

    def call() -> None:
        try:
            context.run(work)
        except KeyboardInterrupt:
            future.set_exception(Interrupted("stopped"))
            raise
        except BaseException as error:  # raised where it is waited for
            future.set_exception(error)
        else:
            future.set_result(None)

    panel.on_main(call)
    future.result()


def _asked(panel: Panel, asking: Asking) -> Result:
    """Take the turn of a command in the panel, and wait for its outcome.

    Raises:
        SessionError: It was taken back, or could not be asked.
    """
    text = typed(asking.prompt.text)
    images = tuple(part for part in asking.prompt.media if isinstance(part, Image))
    result = panel.ask(text, media=images, asking=lambda: asking).result()
    if result is None:
        raise SessionError("That was not asked.")
    return result


def _follow(panel: Panel, name: str) -> None:
    """Show the conversation that the command has gone to."""
    desk = panel.desk
    if name in ("use", "resume"):
        now = desk.session()
    elif name == "forget" and panel.key not in desk.sessions:
        now = desk.session(panel.key)
    else:
        now = desk.sessions.get(panel.key, panel.session)
    if now is not panel.session:
        panel.went_to(now)
    panel.refresh()


# --- into the turn under way --------------------------------------------------------------------


def steered(panel: Panel, text: str) -> None:
    """Say something into the turn under way, with what it refers to; ask it where there is none."""
    run, session, desk = panel.run, panel.session, panel.desk
    words = Words({}, prompt=text)
    resolved = desk.data.resolved(session, words, dict(desk.shell.user_ns), desk.data.of(session))
    message = message_of(resolved.prompt)
    try:
        if run is None or message is None:
            raise SessionError("Nothing answers now.")
        run.steer(message)
    except SessionError:  # the answer is whole by now
        panel.ask(text)
    else:
        portal.spawn(_heard(panel, run, message, text))


async def _heard(panel: Panel, run: Run, message: Message, text: str) -> None:
    """Ask what a turn did not come to hear; where it was stopped, give it back to be sent anew."""
    try:
        is_stopped = (await run.result()).status is RunStatus.CANCELLED
    except asyncio.CancelledError:
        is_stopped = True
    if not any(one is message for one in run.steering.unheard):
        return
    if is_stopped:
        panel.tell("draft", text=redact(text))
    else:
        panel.ask(text)
