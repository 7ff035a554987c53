"""What a front end may ask of a panel: one short function for each, in a table.

::

    {"do": "set", "what": "effort", "value": "high"} ─▶ ACTIONS["set"](panel, message, buffers)
                                                          ├ checked here, on the comm's thread
                                                          └ done on a thread, in order (`order`)

A message comes from a page, which may be of another version, or somebody's program: each field is
checked for its type, its length and, where it is a choice, against what there is. What is wrong is
raised, and told in the panel. Nothing waits here: a cell may run, and another message comes.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from IPython.core.error import UsageError
from traitlets import TraitError

from alloy_nb.engine import export
from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import AlloyError, ConfigError, SessionError
from alloy_nb.messages import Image
from alloy_nb.notebook.approval import named
from alloy_nb.notebook.completion import choices
from alloy_nb.notebook.desk import budget_within
from alloy_nb.notebook.panel import finding, running, slash
from alloy_nb.notebook.panel.attachments import KINDS, MOST_BYTES, Kind
from alloy_nb.notebook.panel.header import DEFAULT, provider_of
from alloy_nb.notebook.panel.turn import words_of
from alloy_nb.notebook.turns.again import recalled
from alloy_nb.notebook.turns.asking import Asking, prepared
from alloy_nb.notebook.turns.turn_settings import dollars
from alloy_nb.notebook.words import Words, parse
from alloy_nb.providers.base import EFFORTS
from alloy_nb.secrets import redact

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.panel import Panel

__all__ = ["ACTIONS", "Action"]

Fields = Mapping[str, Any]
Action = Callable[["Panel", Fields, Sequence[Any]], None]

_MOST_TEXT = 1_000_000
_MOST_NAME = 200
_ABOUT_CHIPS = "Look at what goes along with this."
_FORMS = tuple(ending.lstrip(".") for ending in export.ENDINGS)


# --- what stands in a message -------------------------------------------------------------------


def _text(fields: Fields, name: str, *, most: int = _MOST_TEXT, empty: bool = False) -> str:
    """Return a text of a message.

    Raises:
        ConfigError: It is none, too long, or empty.
    """
    value = fields.get(name, "" if empty else None)
    if not isinstance(value, str) or not (empty or value.strip()):
        raise ConfigError(f"The panel's message lacks its {name}.")
    if len(value) > most:
        raise ConfigError(f"That is too long: at most {most:,} characters.")
    return value


def _id(fields: Fields) -> str:
    return _text(fields, "id", most=_MOST_NAME, empty=True)


def _whole(fields: Fields, name: str, *, least: int = 0) -> int:
    """Return a whole number of a message.

    Raises:
        ConfigError: It is none.
    """
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"The panel's message lacks its {name}, a whole number from {least}.")
    return value


def _one_of(fields: Fields, name: str, there: Sequence[str]) -> str:
    """Return a choice of a message.

    Raises:
        ConfigError: There is no such choice.
    """
    value = _text(fields, name, most=_MOST_NAME)
    if value not in there:
        raise ConfigError(f"{name} is one of {', '.join(there)}.")
    return value


# --- asking -------------------------------------------------------------------------------------


def _ask(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Ask a prompt, with what is attached."""
    typed, id_ = _text(fields, "text", empty=True), _id(fields)
    if not typed.strip() and not panel.attachments.is_there:
        raise ConfigError("There is no prompt.")
    text = typed if typed.strip() else _ABOUT_CHIPS
    try:
        level = words_of(text, panel.key).flags.get("data")
        dial = panel.desk.data.of(panel.session, level)
    except (UsageError, ConfigError):
        panel.ask(text, id=id_)  # refused there, as in a cell; what is attached stays
        return
    taken = panel.attachments.take(dial)
    panel.ask(text, id=id_, inputs=taken.inputs, media=taken.media, chips=taken.chips)


def _steer(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Say something into the turn under way; where there is none, ask it."""
    text = _text(fields, "text")
    panel.later(lambda: slash.steered(panel, text))


def _unqueue(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Take back a prompt that waits; one whose turn has begun is told by its turn."""
    panel.unqueue(_id(fields))


def _stop(panel: Panel, _: Fields, __: Sequence[Any]) -> None:
    """Stop the turn under way."""
    panel.stop()


def _answer(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Answer a question about a call."""
    panel.desk.approvals.pending.answer(_text(fields, "call", most=_MOST_NAME), fields)


def _command(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Do what a line such as ``/cost`` says."""
    line, id_ = _text(fields, "line"), _id(fields)
    panel.later(lambda: slash.done(panel, line, id_), in_order=not slash.takes_a_while(line))


# --- settings -----------------------------------------------------------------------------------


def _set(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Change a setting of the header."""
    change = _SETTINGS[_one_of(fields, "what", tuple(_SETTINGS))]
    value = _text(fields, "value", most=_MOST_NAME, empty=True).strip()

    def work() -> None:
        try:
            change(panel, value)
        finally:
            panel.refresh()  # also where it failed: the page shows what was chosen

    panel.later(work)


def _set_model(panel: Panel, value: str) -> None:
    if not value:
        raise ConfigError("Name a model, such as anthropic/claude-sonnet-4-6.")
    known = provider_of(panel.desk, value)
    if known is not None:  # at the address that it had, which its name does not say
        panel.session.set_model(known)
        return
    words = parse(f"model {value}")  # with --base-url URL, as the command has it
    name = words.arguments[0] if words.arguments else ""
    panel.desk.set_model(name, words.flags.get("base_url"), named=panel.key)


def _set_effort(panel: Panel, value: str) -> None:
    if value not in ("", DEFAULT, *EFFORTS):
        raise ConfigError(f"effort is one of {', '.join((DEFAULT, *EFFORTS))}.")
    panel.session.configure(effort=value if value in EFFORTS else None)


def _set_data(panel: Panel, value: str) -> None:
    try:
        panel.desk.settings.data = value
    except TraitError as error:
        raise ConfigError(str(error)) from None


def _set_approve(panel: Panel, value: str) -> None:
    desk, agent = panel.desk, panel.session.agent
    rules = named(value, desk.shell.user_ns)
    if rules is None:
        raise ConfigError(f"approve is one of {', '.join(POLICIES)}, or the name of a function.")
    desk.settings.approve = rules
    if desk.approvals.rules_of(agent) != rules:  # the conversation has rules of its own
        panel.session.configure(approve=rules)


def _set_max_cost(panel: Panel, value: str) -> None:
    session = panel.session
    none = value.lower() in ("", "off", "0")
    limit = 0.0 if none else float(dollars(value))
    if limit < 0:
        raise ConfigError("A limit on cost is an amount of US dollars, such as 2.50.")
    session.configure(budget=budget_within(limit, session))


_SETTINGS: Mapping[str, Callable[[Panel, str], None]] = {
    "model": _set_model,
    "effort": _set_effort,
    "data": _set_data,
    "approve": _set_approve,
    "max_cost": _set_max_cost,
}


# --- what was said ------------------------------------------------------------------------------


def _edit(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Ask something else in the place of a turn; what was there stays on a branch."""
    turn, text, id_ = _whole(fields, "turn", least=1), _text(fields, "text"), _id(fields)
    _ask_at(panel, turn, text, id_=id_)


def _regenerate(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Ask a turn's prompt again; the answer that it had stays on a branch."""
    turn, id_ = _whole(fields, "turn", least=1), _id(fields)
    _ask_at(panel, turn, "", id_=id_)


def _ask_at(panel: Panel, turn: int, text: str, *, id_: str) -> None:
    """Ask in the place of a turn, with all that went along then; without a text the same again."""
    before = recalled(panel.session, turn, panel.desk.shell.user_ns)

    def asking() -> Asking:
        words = words_of(text, panel.key) if text else Words({"session": panel.key})
        flags = {**words.flags, "at": str(turn), "fresh": True}
        return prepared(
            panel.desk,
            before.words(flags, prompt=words.prompt),
            dict(panel.desk.shell.user_ns),
            key=f"panel:{secrets.token_hex(8)}",
        )

    images = tuple(block for block in before.along if isinstance(block, Image))
    panel.ask(text or before.prompt, id=id_, media=images, asking=asking)


def _marking(do: Callable[[Session, int], object]) -> Action:
    """Return what hides, shows, pins or lets go of a turn."""

    def mark(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
        turn = _whole(fields, "turn", least=1)
        panel.later(lambda: do(panel.session, turn))

    return mark


def _run(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Run a block of an answer's code in the kernel, when no cell runs."""
    turn, number = _whole(fields, "turn", least=1), _whole(fields, "number")
    panel.later(lambda: running.run(panel, turn, number))


# --- what goes along ----------------------------------------------------------------------------


def _attach(panel: Panel, fields: Fields, buffers: Sequence[Any]) -> None:
    """Attach a variable, a cell, a file or a picture."""
    kind = cast("Kind", _one_of(fields, "kind", KINDS))
    name = _text(fields, "name", most=500)
    if len(buffers) > 1:
        raise ConfigError("One thing is attached at a time.")
    if buffers and kind not in ("file", "image"):
        raise ConfigError("Only a file or a picture comes with its bytes.")
    if buffers and memoryview(buffers[0]).nbytes > MOST_BYTES:
        raise ConfigError(f"{name} is larger than {MOST_BYTES // 1_000_000} MB.")
    data = bytes(buffers[0]) if buffers else None
    panel.later(lambda: panel.attachments.attach(kind, name, data))


def _detach(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Take something off again."""
    id_ = _id(fields)
    panel.later(lambda: panel.attachments.detach(id_))


def _complete(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Tell what may stand where the cursor is."""
    id_, text = _id(fields), _text(fields, "text", empty=True)
    cursor = _whole(fields, "cursor")
    panel.later(lambda: _completed(panel, text, cursor, id_), in_order=False)


def _completed(panel: Panel, text: str, cursor: int, id_: str) -> None:
    # A page counts in halves of characters, as UTF-16 does.
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * cursor]
    before = units.decode("utf-16-le", "replace")
    name, space, rest = before.partition(" ")
    known = slash.command_of(name) if space and "\n" not in before else None
    line = f"%alloy {known} {rest}" if known is not None else f"%%alloy {before}"
    fragment, found = choices(panel.desk, line) or ("", [])
    end = len(units) // 2
    start = end - len(fragment.encode("utf-16-le", "surrogatepass")) // 2
    items = [{"text": one.text, "label": one.text, "kind": one.kind} for one in found]
    panel.tell("completions", id=id_, start=start, end=end, items=items)


# --- conversations ------------------------------------------------------------------------------


def _search(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Find words in all conversations."""
    id_, words = _id(fields), _text(fields, "words", most=1_000)
    panel.later(
        lambda: panel.tell("found", id=id_, hits=finding.found(panel.desk, words)), in_order=False
    )


def _switch(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Go on with another conversation, or with another branch of this one."""
    if "branch" in fields:
        branch = _text(fields, "branch", most=_MOST_NAME)
        panel.later(lambda: panel.session.use_branch(branch))
        return
    name = _text(fields, "session", most=_MOST_NAME)
    panel.later(lambda: panel.went_to(_opened(panel, name)))


def _opened(panel: Panel, name: str) -> Session:
    """Return a conversation of the notebook, or one from the disk.

    Raises:
        SessionError: There is none of this name.
    """
    desk = panel.desk
    if name in desk.sessions:
        return desk.sessions[name]
    info = desk.archive.found(name, {session.id for session in desk.sessions.values()})
    if info is None:
        raise SessionError(f"There is no session {name!r} here.")
    current = desk.current
    session = desk.adopt(desk.archive.resume(info.id))
    desk.current = current  # cells go on with theirs
    return session


def _new(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Begin a conversation."""
    name = " ".join(_text(fields, "name", most=80).split())
    if not name.isprintable():
        raise ConfigError("Choose a name of characters that one can see.")
    if name in panel.desk.sessions:
        raise SessionError(f"There is a session {name!r} already: choose it, or another name.")
    panel.later(lambda: panel.went_to(panel.desk.session(name)))


def _fork(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Begin a branch behind a turn, or here, and go on with it."""
    name = _text(fields, "name", most=80).strip()
    turn = None if fields.get("turn") is None else _whole(fields, "turn", least=1)
    panel.later(lambda: _forked(panel, name, turn))


def _forked(panel: Panel, name: str, turn: int | None) -> None:
    session = panel.session
    if turn is not None:
        session.first_of(turn)  # before there is a branch for it
    session.fork(name)
    if turn is not None and turn < len(session.export_session().turns):
        session.rewind(turn + 1)
    panel.notice(f"On the branch {name} from here.", level="info")
    panel.refresh()


def _export(panel: Panel, fields: Fields, _: Sequence[Any]) -> None:
    """Write the conversation to a file beside the notebook."""
    form = _one_of(fields, "form", _FORMS)
    panel.later(lambda: _exported(panel, form), in_order=False)


def _exported(panel: Panel, form: str) -> None:
    stem = re.sub(r"[^\w.-]+", "-", panel.key).strip("-.") or "conversation"
    path = panel.session.export(Path(f"{stem}.{form}"))
    panel.tell("saved", path=str(path))


def _naming(action: Action) -> Action:
    """Name the message in what is told of its failure: the page may wait for just that."""

    def act(panel: Panel, fields: Fields, buffers: Sequence[Any]) -> None:
        try:
            action(panel, fields, buffers)
        except (UsageError, AlloyError) as error:
            id_ = fields.get("id")
            if not isinstance(id_, str) or not id_ or len(id_) > _MOST_NAME:
                raise
            panel.tell("notice", level="error", text=redact(str(error)), id=id_)

    return act


_ACTIONS: Mapping[str, Action] = {
    "ask": _ask,
    "steer": _steer,
    "unqueue": _unqueue,
    "stop": _stop,
    "answer": _answer,
    "command": _command,
    "set": _set,
    "edit": _edit,
    "regenerate": _regenerate,
    "hide": _marking(lambda session, turn: session.hide(turn)),
    "unhide": _marking(lambda session, turn: session.hide(turn, hide=False)),
    "pin": _marking(lambda session, turn: session.pin(turn)),
    "unpin": _marking(lambda session, turn: session.pin(turn, pin=False)),
    "run": _run,
    "attach": _attach,
    "detach": _detach,
    "complete": _complete,
    "search": _search,
    "switch": _switch,
    "new": _new,
    "fork": _fork,
    "export": _export,
}

ACTIONS: Mapping[str, Action] = {name: _naming(action) for name, action in _ACTIONS.items()}
"""What each word of a message's ``do`` does; ``hello`` and ``older`` are the panel's own."""
