"""What stands above and below a panel's conversation: who answers, how, what it has cost.

::

    the session, the settings, the line  ─▶ head    at once, whenever something is different
    the disk, the keys, the catalog      ─▶ Known   on a thread, when they might be different

What has to be read or imported is never waited for: the head says what is known, and is drawn
again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.skills import skills
from alloy_nb.errors import AlloyError
from alloy_nb.markup.plain import one_line
from alloy_nb.notebook.approval import meaning
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.grammar import COMMANDS
from alloy_nb.providers import DEFAULT_MODELS, provider
from alloy_nb.providers.base import EFFORTS, Provider
from alloy_nb.providers.vendor import VendorProvider

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.panel import Panel

__all__ = ["DEFAULT", "LEVELS", "head", "provider_of"]

DEFAULT = "default"
"""The word for the model's own effort."""

LEVELS = ("none", "names", "schema", "sample:5", "full")

_MOST = 30
_LINE = 80
_COMMANDS = [
    {"name": command.name, "words": command.arguments, "help": command.meaning}
    for command in COMMANDS
]


@dataclass(frozen=True, slots=True)
class Known:
    """What was read for a head; `key` says for which state of things."""

    key: tuple[Any, ...] = ()
    models: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    skills: tuple[tuple[str, str], ...] = ()
    window: int | None = None


_known: WeakKeyDictionary[Panel, Known] = WeakKeyDictionary()
_answered: WeakKeyDictionary[Desk, dict[str, Provider]] = WeakKeyDictionary()
_lock = threading.Lock()


def head(panel: Panel) -> dict[str, Any]:
    """Return what stands around the conversation of a panel; it never waits."""
    session, known = panel.session, _read(panel)
    agent, journal, desk = session.agent, session.journal, panel.desk
    model = f"{agent.provider.name}/{agent.provider.model}"
    before = _remembered(desk, model, agent.provider)
    rules, _ = meaning(desk.approvals.rules_of(agent))
    level, budget = str(desk.settings.data), agent.budget
    effort = agent.options.effort or DEFAULT
    branch = journal.branch if journal is not None else ""
    return {
        "session": {"name": panel.key, "id": session.id, "branch": branch},
        "sessions": _with(panel.key, (*desk.sessions, *known.sessions)),
        "branches": list(known.branches),
        "model": model,
        "models": _with(model, (*before, *known.models)),
        "effort": effort,
        "efforts": _with(effort, (DEFAULT, *EFFORTS)),
        "data": level,
        "levels": _with(level, LEVELS),
        "approve": rules,
        "policies": _with(rules, POLICIES),
        "kernel": "busy" if panel.busy else "idle",
        "state": _state(panel),
        "context": {"tokens": session.context_tokens, "window": known.window},
        "spent": str(session.cost),
        "budget": None if budget is None else f"${budget.limit:.2f}",
        "queue": panel.queue,
        "kept": f"{branch} · .alloy" if journal is not None else None,
        "commands": [*_COMMANDS, *({"name": n, "words": "", "help": h} for n, h in known.skills)],
    }


def provider_of(desk: Desk, model: str) -> Provider | None:
    """Return the model of this name that has answered in this kernel, at its address."""
    with _lock:
        return _answered.get(desk, {}).get(model)


def _remembered(desk: Desk, model: str, answering: Provider) -> tuple[str, ...]:
    """Remember a model with its address and settings; return all, the latest first."""
    with _lock:
        models = _answered.setdefault(desk, {})
        models.pop(model, None)
        models[model] = answering
        while len(models) > _MOST:
            del models[next(iter(models))]
        return tuple(reversed(models))


def _state(panel: Panel) -> str:
    if panel.questions.is_asking:
        return "asking"
    return "idle" if panel.run is None else "running"


def _with(chosen: str, others: Sequence[str]) -> list[str]:
    """Return the choices, once each, with what is chosen among them."""
    there = dict.fromkeys(others)
    return list(there) if chosen in there else [chosen, *there]


# --- what has to be read ------------------------------------------------------------------------


def _read(panel: Panel) -> Known:
    """Return what is known, and have it read anew where it might be different by now."""
    key = _key(panel)
    with _lock:
        known = _known.get(panel, Known())
        if known.key == key:
            return known
        # Of another session's branches and window nothing is true here.
        same = known.key[:1] == key[:1]
        kept = known if same else Known(models=known.models, sessions=known.sessions)
        was = _known[panel] = Known(
            key, kept.models, kept.sessions, kept.branches, kept.skills, kept.window
        )
    panel.later(lambda: _reread(panel, key), in_order=False)
    return was


def _reread(panel: Panel, key: tuple[Any, ...]) -> None:
    session = panel.session
    read = Known(
        key,
        tuple(_models()),
        tuple(_kept_names(panel)),
        tuple(_branches(session)),
        tuple((one_line(s.name, _LINE), one_line(s.description, _LINE)) for s in skills()[:_MOST]),
        session.context_window,
    )
    with _lock:
        was = _known.get(panel, Known())
        if was.key != key:
            return  # something else is read for by now
        _known[panel] = read
    if was != read:
        panel.refresh()


def _key(panel: Panel) -> tuple[Any, ...]:
    """Return what decides what would be read."""
    session, journal = panel.session, panel.session.journal
    where = None if journal is None else (journal.branch, journal.head)
    model = (session.provider.name, session.provider.model)
    return session.id, where, model, tuple(panel.desk.sessions)


def _models() -> list[str]:
    """Return a model of each vendor that there is a key for, and the demo."""
    found = []
    for vendor, model in DEFAULT_MODELS.items():
        with contextlib.suppress(AlloyError):  # one that cannot be made is none to choose
            made = provider(f"{vendor}/{model}")
            if not isinstance(made, VendorProvider) or made.has_key:
                found.append(f"{vendor}/{model}")
    return [*found, "demo"]


def _kept_names(panel: Panel) -> list[str]:
    """Return the names of conversations that are on the disk."""
    try:
        infos = panel.desk.archive.all()
    except AlloyError:  # locked or damaged: those that are open are known all the same
        return []
    return list(dict.fromkeys(info.name for info in infos if info.turns))[:_MOST]


def _branches(session: Session) -> list[str]:
    if session.journal is None:
        return []
    try:
        return list(session.journal.branches())
    except AlloyError:
        return [session.journal.branch]
