"""The words of ``%alloy`` for conversations that are kept: resume, undo, fork, use, ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from IPython.core.error import UsageError

from alloy_nb.engine.journal import Node
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import SessionError
from alloy_nb.markup.plain import one_line
from alloy_nb.notebook import status
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.words import Words

__all__ = ["commands"]

_LINE = 60


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
        asked = _asked(undone.prompt.text if undone.prompt else "")
        left = sorted(self._branches(session) - before)
        where = f" It is kept: %alloy use {left[0]} goes back to it." if left else ""
        status.say(f"Undone: {asked!r}.{where} {_length(session)}")

    def fork(self, words: Words) -> None:
        """Begin a branch."""
        if not words.arguments:
            raise UsageError("What is the branch called? %alloy fork NAME")
        session = self._session(words)
        was = session.journal.branch if session.journal else ""
        session.fork(words.arguments[0])
        status.say(
            f"On the branch {words.arguments[0]} from here. %alloy use {was} goes back to {was}."
        )

    def use(self, words: Words) -> None:
        """Go on with another branch of the session, else with another session."""
        if not words.arguments:
            raise UsageError("Which? %alloy use NAME; see %alloy tree and %alloy sessions.")
        name = words.arguments[0]
        session = self._session(words)
        if session.journal is not None and name in session.journal.branches():
            session.use_branch(name)
            status.say(f"On the branch {name}. {_length(session)}")
        elif name in self._desk.sessions:
            self._desk.current = name
            status.say(f"Cells without -s go on with {name}. {_length(self._desk.sessions[name])}")
        else:
            info = self._desk.archive.found(name, self._open_ids())
            if info is None:
                raise SessionError(
                    f"There is no branch and no session {name!r}. %alloy fork {name} begins a "
                    f"branch, and -s {name} a session."
                )
            self._resume(info.id)

    def tree(self, words: Words) -> None:
        """Show all turns."""
        session = self._session(words)
        if session.journal is None:
            raise SessionError("This conversation is not kept in a journal: it has no branches.")
        status.show(_tree(session.journal.tree()))

    def sessions(self, _: Words) -> None:
        """Show what is kept here."""
        ids = {s.id: name for name, s in self._desk.sessions.items()}
        rows = [["session", "id", "notebook", "turns", "last used", "model", "cost", "began with"]]
        for info in self._desk.archive.all():
            mark = "● " if ids.get(info.id) == self._desk.current else "○ " * (info.id in ids)
            rows.append(
                [
                    *(f"{mark}{info.name}", info.id[:8], info.notebook, str(info.turns)),
                    *(_when(info.updated), info.model, str(info.cost)),
                    _asked(info.preview),
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
        rows = [["session", "when", "what was said"]]
        rows += [[hit.name, _when(hit.began), one_line(hit.snippet, 200)] for hit in found]
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
            session.stop()
            del self._desk.sessions[name]
        found = [info for info in self._desk.archive.all() if name in (info.name, info.id)]
        if session is not None:
            found = [info for info in found if info.id == session.id]
        if not found:
            status.say(f"Nothing of {name} is on the disk. The conversation is forgotten.")
            return
        left = self._desk.archive.store.forget(found[0].id)
        paths = ", ".join(map(str, left))
        more = f" Damaged files may still hold parts of it: {paths}." if left else ""
        status.say(f"{name} is wiped from the disk.{more}")

    def reset(self, words: Words) -> None:
        """Forget the conversation."""
        session = self._session(words)
        session.reset()
        kept = "" if session.journal is None else " On the disk it is kept: %alloy tree shows it."
        status.say(f"The conversation is forgotten; settings and costs stay.{kept}")

    def history(self, words: Words) -> None:
        """List what was said."""
        status.show(status.history(self._session(words).messages))

    # --- inside -----------------------------------------------------------------------------------

    def _session(self, words: Words) -> Session:
        return self._desk.session(words.flags.get("session"))

    def _open_ids(self) -> set[str]:
        return {session.id for session in self._desk.sessions.values()}

    def _branches(self, session: Session) -> set[str]:
        return set(session.journal.branches()) if session.journal else set()

    def _resume(self, session_id: str) -> None:
        session = self._desk.adopt(self._desk.archive.resume(session_id))
        lost = self._desk.lost(session)
        gone = f" Gone from memory: {', '.join(lost)}." if lost else ""
        status.say(
            f"{session.name} goes on. {_length(session)} The kernel is fresh: nothing was run "
            f"again.{gone}"
        )


def _asked(prompt: str) -> str:
    """Return the beginning of a prompt, without what it refers to."""
    return one_line(prompt.partition("<reference name=")[0], _LINE)


def _length(session: Session) -> str:
    count = len(session.messages)
    return f"The conversation has {count} message{'s' * (count != 1)}; it cost {session.cost}."


def _tree(nodes: Sequence[Node]) -> list[list[str]]:
    depth: dict[str | None, int] = {None: 0}
    rows = [["", "turn", "asked", "model", "status", "cost", "branch"]]
    for number, node in enumerate(nodes, 1):
        depth[node.id] = depth.get(node.parent, 0) + 1
        rows.append(
            [
                "●" if node.is_current else "",
                f"{number}",
                "· " * (depth[node.id] - 1) + _asked(node.preview),
                *(node.model, node.status, str(node.cost)),
                ", ".join(node.branches),
            ]
        )
    return rows


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
