"""The words of ``%alloy`` for conversations that are kept: resume, undo, fork, use, ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from IPython.core.error import UsageError

from alloy_nb.engine.journal import Node
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import SessionError
from alloy_nb.markup.alongside import beginning
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing import status
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_LINE = 60
_SNIPPET = 200


def commands(desk: Desk) -> Mapping[str, Callable[[Words], None]]:
    """Return what does each word."""
    words = _SessionWords(desk)
    return {
        "resume": words.resume,
        "undo": words.undo,
        "fork": words.fork,
        "use": words.use,
        "tree": words.tree,
        "sessions": words.sessions,
        "search": words.search,
        "sent": words.sent,
        "forget": words.forget,
        "reset": words.reset,
        "history": words.history,
    }


class _SessionWords:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def resume(self, words: Words) -> None:
        """Go on with a conversation from before."""
        name = words.arguments[0] if words.arguments else None
        info = self._desk.archive.found(name, self._open_ids())
        if info is None:
            which = f" {name!r}" if name else ""
            raise SessionError(
                f"There is no earlier conversation{which} here. See %alloy sessions."
            )
        self._resume(info.id)

    def undo(self, words: Words) -> None:
        """Go back a turn."""
        session = self._session(words)
        before = self._branches(session)
        undone = session.undo()
        asked = beginning(undone.prompt.text, _LINE) if undone.prompt else "a summary"
        left = sorted(self._branches(session) - before)
        where = f"%alloy use {_word(left[0])} goes back to it" if left else "%alloy tree shows it"
        kept = f" It is kept: {where}." if session.journal is not None else ""
        status.say(f"Undone: {asked!r}.{kept} {_length(session)}")

    def fork(self, words: Words) -> None:
        """Begin a branch."""
        if not words.arguments:
            raise UsageError("What is the branch called? %alloy fork NAME")
        session = self._session(words)
        was = session.journal.branch if session.journal else ""
        session.fork(words.arguments[0])
        back = f"%alloy use {_word(was)} goes back to {was}."
        status.say(f"On the branch {words.arguments[0]} from here. {back}")

    def use(self, words: Words) -> None:
        """Go on with another branch of the session, else with another session."""
        if not words.arguments:
            raise UsageError("Which? %alloy use NAME; see %alloy tree and %alloy sessions.")
        name = words.arguments[0]
        session = self._session(words)
        branches, here = self._branches(session), session.journal.branch if session.journal else ""
        if name in branches and name != here:
            session.use_branch(name)
            status.say(f"On the branch {name}. {_length(session)}")
        elif name in self._desk.sessions and name != session.name:
            self._desk.current = name
            status.say(f"Cells without -s go on with {name}. {_length(self._desk.sessions[name])}")
        else:
            self._use_earlier(name, session, is_here=name in (here, session.name))

    def tree(self, words: Words) -> None:
        """Show all turns."""
        session = self._session(words)
        if session.journal is None:
            raise SessionError("This conversation is not kept in a journal: it has no branches.")
        nodes = session.journal.tree()
        if not nodes:
            status.say(f"Nothing was asked in {session.name} yet.")
            return
        status.show(_tree(nodes))

    def sessions(self, _: Words) -> None:
        """Show what is kept here."""
        ids = {s.id: name for name, s in self._desk.sessions.items()}
        rows = [["session", "id", "notebook", "turns", "last used", "model", "cost", "began with"]]
        for info in self._desk.archive.all():
            mark = "● " if ids.get(info.id) == self._desk.current else "○ " * (info.id in ids)
            rows.append(
                [
                    *(f"{mark}{info.name}", info.id[:8], info.notebook, str(info.turns)),
                    *(_when(info.updated), info.model, status.dollars(info.cost)),
                    beginning(info.preview, _LINE),
                ]
            )
        if len(rows) == 1:
            status.say("No conversation is kept here yet.")
            return
        status.show(rows)

    def search(self, words: Words) -> None:
        """Show where words were said."""
        if not words.arguments:
            raise UsageError("What for? %alloy search WORDS")
        found = self._desk.archive.store.search(" ".join(words.arguments))
        if not found:
            status.say("Nothing was found.")
            return
        rows = [["session", "id", "when", "what was said"]]
        rows += [
            [hit.name, hit.session[:8], _when(hit.began), beginning(hit.snippet, _SNIPPET)]
            for hit in found
        ]
        status.show(rows)

    def sent(self, words: Words) -> None:
        """Show the last request: of all who were asked last, or of the session that is named."""
        named = "session" in words.flags
        asked = (self._session(words),) if named else self._desk.asked or (self._session(words),)
        sent = [text for session in asked if (text := session.sent())]
        status.say("\n\n".join(sent) or "Nothing was sent yet in this kernel.")

    def forget(self, words: Words) -> None:
        """Wipe a session."""
        name = words.arguments[0] if words.arguments else self._desk.current
        session = self._desk.sessions.get(name)
        if session is not None:
            if session.journal is None:
                raise SessionError("This conversation is not kept; %alloy reset forgets it.")
            del self._desk.sessions[name]  # first: the next cell begins anew, whatever happens here
            session.stop()
        found = [info for info in self._desk.archive.all() if name in (info.name, info.id)]
        if session is not None:
            found = [info for info in found if info.id == session.id]
        if not found and session is None:
            raise SessionError(f"There is no session {name!r} here. See %alloy sessions.")
        if not found:
            status.say(f"Nothing of {name} is on the disk. The conversation is forgotten.")
            return
        left = self._desk.archive.store.forget(found[0].id)
        paths = ", ".join(map(str, left))
        more = f" Damaged files may still hold parts of it: {paths}." if left else ""
        status.say(f"{name} is wiped from the disk.{more}")

    def reset(self, words: Words) -> None:
        """Begin anew."""
        session = self._session(words)
        session.reset()
        kept = "" if session.journal is None else " On the disk it is kept: %alloy tree shows it."
        status.say(f"The conversation is forgotten; settings and costs stay.{kept}")

    def history(self, words: Words) -> None:
        """Show what was said."""
        session = self._session(words)
        if not session.messages:
            status.say(f"The conversation {session.name} is empty.")
            return
        status.show(status.history(session.messages))

    # --- inside -----------------------------------------------------------------------------------

    def _session(self, words: Words) -> Session:
        return self._desk.session(words.flags.get("session"))

    def _open_ids(self) -> set[str]:
        return {session.id for session in self._desk.sessions.values()}

    def _branches(self, session: Session) -> set[str]:
        return set(session.journal.branches()) if session.journal else set()

    def _use_earlier(self, name: str, session: Session, *, is_here: bool) -> None:
        """Go on with an earlier conversation of a name; one that is open and not empty stays."""
        is_empty = not (is_here and session.messages)
        info = self._desk.archive.found(name, self._open_ids()) if is_empty else None
        if info is not None:
            self._resume(info.id)
        elif is_here:
            status.say(f"You are on {name} already. {_length(session)}")
        else:
            raise SessionError(
                f"There is no branch and no session {name!r}. %alloy fork {_word(name)} begins a "
                f"branch, and -s {_word(name)} a session."
            )

    def _resume(self, session_id: str) -> None:
        session = self._desk.adopt(self._desk.archive.resume(session_id))
        lost = self._desk.lost(session)
        gone = f" Gone from memory: {', '.join(lost)}." if lost else ""
        status.say(
            f"{session.name} goes on. {_length(session)} The kernel is fresh: nothing was run "
            f"again.{gone}"
        )


def _word(name: str) -> str:
    """Return a name as it is written after %alloy."""
    return repr(name) if " " in name else name


def _length(session: Session) -> str:
    count = len(session.messages)
    cost = status.dollars(session.cost)
    cost = "its cost is unknown" if cost == "unknown" else f"it cost {cost}"
    return f"The conversation has {count} message{'s' * (count != 1)}; {cost}."


def _tree(nodes: Sequence[Node]) -> list[list[str]]:
    """Return a row for each turn, numbered as they began; what a branch holds is set in."""
    children: dict[str | None, list[Node]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    numbers = {node.id: number for number, node in enumerate(nodes, 1)}
    rows = [["", "turn", "asked", "model", "status", "cost", "branch"]]
    left = _following(children.get(None, []), 0, on_path=True)
    while left:
        node, depth = left.pop()
        rows.append(
            [
                "●" if node.is_current else "",
                f"{numbers[node.id]}",
                "· " * depth + beginning(node.preview, _LINE),
                *(node.model, node.status, status.dollars(node.cost)),
                ", ".join(node.branches),
            ]
        )
        left += _following(children.get(node.id, []), depth, on_path=node.is_current)
    return rows


def _following(nodes: Sequence[Node], depth: int, *, on_path: bool) -> list[tuple[Node, int]]:
    """Return the turns that follow one, the first to be told last; branches are set in.

    The one that goes on without a step is where the conversation stands, and within a branch the
    newest.
    """
    ordered = sorted(nodes, key=lambda node: node.is_current)
    straight = ordered[-1] if ordered and (ordered[-1].is_current or not on_path) else None
    return [(node, depth + (node is not straight)) for node in reversed(ordered)]


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
