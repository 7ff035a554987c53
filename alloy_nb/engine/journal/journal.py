"""The journal of one session: its turns as they happen, and the tree that they make.

It knows nothing of agents or models, only messages, events, and what they cost. Everything may be
called from any thread; one turn is under way at a time. What is wrong with the file never ends a
turn: it is told once, and held in memory meanwhile.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from alloy_nb.engine.journal import past, tree, words, writes
from alloy_nb.engine.journal.claim import Claim
from alloy_nb.engine.journal.database import Database
from alloy_nb.engine.journal.outbox import Outbox
from alloy_nb.engine.journal.recovery import recovered, spent
from alloy_nb.engine.journal.rows import (
    ROOT,
    Blobs,
    Statement,
    chained,
    digest,
    hash_of,
    line,
    preview,
    safe_settings,
    write_json,
    write_message,
)
from alloy_nb.engine.journal.tree import Head
from alloy_nb.engine.journal.trouble import Trouble
from alloy_nb.engine.journal.turn import Turn
from alloy_nb.engine.journal.values import Found, Kept, Node
from alloy_nb.engine.journal.writes import Begun, Identity
from alloy_nb.errors import SessionError
from alloy_nb.events import Event
from alloy_nb.messages import Message
from alloy_nb.usage import Cost, Usage

__all__ = ["Journal"]

T = TypeVar("T")

_START = Head(None, 0, ROOT)


class Journal:
    """One session in the journal; a `Store` makes it.

    Nothing is written before the first turn begins. A reader, as `Store.read` makes it, may be
    asked, and not change anything.
    """

    def __init__(self, database: Database, identity: Identity, *, is_reader: bool = False) -> None:
        self._database = database
        self._identity = identity
        self._claim = Claim(database, identity.id, name=identity.name, is_reader=is_reader)
        self._outbox = Outbox(database, identity.id, ready=self._claim.attempt)
        if not is_reader:
            database.carriers.add(self._outbox)
        self._lock = threading.RLock()
        self._head = _START
        self._seq = 0
        self._open: tuple[Turn, Begun] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"Journal({self.name!r}, id={self.id!r}, branch={self.branch!r})"

    # --- what it is -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """What the session is known by, always."""
        return self._identity.id

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self._identity.name

    @property
    def created(self) -> float:
        """When it was made, in seconds since the epoch."""
        return self._identity.created

    @property
    def branch(self) -> str:
        """The branch that the next turn goes on with."""
        return self._identity.branch

    @property
    def head(self) -> str | None:
        """The turn that the next one goes on from, or ``None`` at the beginning."""
        return self._head.turn

    @property
    def history(self) -> str:
        """The hash of the conversation so far."""
        return self._head.after

    @property
    def usage(self) -> Usage:
        """Tokens of all turns of the session, on all branches."""
        return self._identity.usage

    @property
    def cost(self) -> Cost:
        """US dollars of all turns of the session, on all branches."""
        return self._identity.cost

    @property
    def is_answering(self) -> bool:
        """Whether a turn is under way."""
        return self._open is not None

    @property
    def is_saved(self) -> bool:
        """Whether everything so far is in the file."""
        return self._outbox.is_saved

    # --- what it holds ----------------------------------------------------------------------------

    def messages(self) -> list[Message]:
        """Return the conversation of the current branch.

        Raises:
            SessionError: The file cannot be read.
        """
        return self._read(lambda file: tree.messages_of(file, self._head.turn))

    def turns(self, end: str | None = None) -> list[Kept]:
        """Return the turns of the current branch, or until a turn of any, the first one first.

        Raises:
            SessionError: The file cannot be read.
        """
        return self._read(lambda file: tree.turns_of(file, end or self._head.turn))

    def events(self, turn: str) -> list[Event]:
        """Return what happened in a turn, pieces that follow each other joined.

        Raises:
            SessionError: The file cannot be read.
        """
        return self._read(lambda file: tree.events_of(file, turn))

    def turn(self, turn: str) -> Kept:
        """Return a turn with the messages that it added.

        Raises:
            SessionError: There is none, or the file cannot be read.
        """
        found = self._read(lambda file: tree.kept(file, turn))
        if found is None:
            raise SessionError(f"The session {self.name!r} has no turn {turn!r}.")
        return found

    def view(self) -> Any:
        """Return what the last turn kept as its view, or ``None``.

        Raises:
            SessionError: The file cannot be read.
        """
        return self._read(lambda file: tree.view_of(file, self._head.turn))

    def tree(self) -> list[Node]:
        """Return all turns of the session, in the order in which they began.

        Raises:
            SessionError: The file cannot be read.
        """
        return self._read(lambda file: tree.nodes(file, self.id, self._head.turn))

    def branches(self) -> dict[str, str | None]:
        """Return the branches, and the turn that each ends with.

        Raises:
            SessionError: The file cannot be read.
        """
        known = self._read(lambda file: tree.branches_of(file, self.id))
        return {**known, self.branch: self._head.turn}

    def find(
        self,
        prompt: Message,
        *,
        model: str = "",
        settings: Mapping[str, Any] | None = None,
        references: str = "",
        key: str = "",
    ) -> Found:
        """Look for a turn that asked just this at this point of the conversation.

        Hand its id to `replay` to go on from it without asking again.

        Raises:
            SessionError: The file cannot be read.
        """
        asked = past.asked(prompt, references, model, settings, history=self._head.after)
        return self._read(lambda file: past.find(file, self.id, asked, key=line(key)))

    # --- a turn -----------------------------------------------------------------------------------

    def begin(
        self,
        prompt: Message | None,
        *,
        key: str = "",
        model: str = "",
        settings: Mapping[str, Any] | None = None,
        references: str = "",
    ) -> Turn:
        """Begin a turn, which goes on from the head of the current branch.

        Args:
            prompt: What is asked; ``None`` where a history is continued or handed in.
            key: The id of the cell, or a hash of its source.
            model: Which model is asked, as a person would write it.
            settings: What else decides the answer; what may be kept of it is.
            references: A hash of what the prompt refers to.

        Raises:
            SessionError: A turn is under way, or another process writes to this session.
        """
        with self._lock:
            self._check_idle()
            self._claim.demand()
            blobs = Blobs()
            body = None if prompt is None else write_message(prompt, blobs)
            if settings:
                shown = {**safe_settings(settings), "model": line(model)}
                self._identity.settings = write_json(shown, Blobs())
            self._seq += 1
            begun = Begun(
                id=secrets.token_hex(12),
                seq=self._seq,
                parent=self._head.turn,
                depth=self._head.depth + 1,
                key=line(key),
                prompt=body,
                prompt_hash="" if body is None else digest(body),
                references=line(references),
                model=line(model),
                settings=hash_of(settings),
                before=self._head.after,
                preview="" if prompt is None else preview(prompt),
                blobs=blobs,
            )
            turn = Turn(self, begun.id)
            self._open = turn, begun
            self._head = Head(begun.id, begun.depth, begun.before)
            self._write(writes.turn_rows(self._identity, begun))
            return turn

    def replay(self, turn: str) -> Kept:
        """Go on from a turn that `find` found, as if it had been asked now.

        Raises:
            SessionError: It does not go on from here, a turn is under way, or another process
                writes to this session.
        """
        with self._lock:
            self._check_idle()
            self._claim.demand()
            head = self._read(lambda file: tree.head_of(file, turn, root=ROOT))
            before = self._read(lambda file: past.history_before(file, turn))
            if head.turn is None or before != self._head.after:
                raise SessionError("This turn was asked at another point of the conversation.")
            found = self.turn(turn)
            self._move(head)
            # What was left for this turn's sake is no branch of its own any more.
            again = "DELETE FROM branches WHERE session = ? AND kept = 1 AND head = ? AND name != ?"
            self._write([(again, (self.id, turn, self.branch))])
            return found

    # --- the tree ---------------------------------------------------------------------------------

    def undo(self) -> Kept:
        """Go back to before the last turn, which is returned; it stays on a branch of its own.

        Raises:
            SessionError: There is none, a turn is under way, or another process writes.
        """
        with self._lock:
            self._check_idle()
            if self._head.turn is None:
                raise SessionError(f"There is nothing to undo in the session {self.name!r}.")
            return self.rewind(self._head.turn)

    def rewind(self, turn: str) -> Kept:
        """Go back to before a turn of this branch, which is returned, as `undo` does.

        Raises:
            SessionError: There is none, a turn is under way, or another process writes.
        """
        with self._lock:
            self._check_idle()
            if not self._read(lambda file: tree.leads_to(file, turn, self._head.turn)):
                raise SessionError(f"The session {self.name!r} has no turn {turn!r} here.")
            self._claim.demand()
            return self._back_to_before(turn)

    def set_view(self, view: Any) -> None:
        """Keep what is sent in the place of the conversation so far, with its last turn.

        Raises:
            SessionError: A turn is under way, or another process writes to this session.
        """
        with self._lock:
            self._check_idle()
            self._claim.demand()
            blobs = Blobs()
            text = write_json(view, blobs)
            rows = blobs.statements(self._head.turn) if self._head.turn else []
            self._write(
                [*rows, ("UPDATE turns SET view = ? WHERE id = ?", (text, self._head.turn))]
            )

    def replace(self, key: str) -> Kept | None:
        """Go back to before the newest turn with this key, if the conversation has one.

        The next turn stands in its place, and what came after stays on a branch.

        Raises:
            SessionError: A turn is under way, or another process writes to this session.
        """
        with self._lock:
            self._check_idle()
            key, head = line(key), self._head.turn
            turn = self._read(lambda file: tree.turn_with_key(file, head, key))
            if turn is None:
                return None
            self._claim.demand()
            return self._back_to_before(turn)

    def reset(self) -> None:
        """Begin anew in the same session; the conversation so far stays on a branch.

        Raises:
            SessionError: A turn is under way, or another process writes to this session.
        """
        with self._lock:
            self._check_idle()
            if self._head.turn is not None:
                self._claim.demand()
                self._move(_START)

    def fork(self, name: str) -> None:
        """Make a branch that begins here, and go on with it.

        Raises:
            SessionError: There is one of this name, a turn is under way, or another process writes.
        """
        with self._lock:
            self._check_idle()
            name = tree.branch_name(name)
            if name in self.branches():
                raise SessionError(f"There is a branch {name!r} already. Choose another name.")
            self._claim.demand()
            self._point(name, self._head)

    def use(self, name: str) -> None:
        """Go on with another branch.

        Raises:
            SessionError: There is none of this name, a turn is under way, or another process
                writes to this session.
        """
        with self._lock:
            self._check_idle()
            branches = self.branches()
            if name not in branches:
                known = ", ".join(branches)
                raise SessionError(f"There is no branch {name!r}. The branches are: {known}.")
            self._claim.demand()
            end = branches[name]
            self._point(name, self._read(lambda file: tree.head_of(file, end, root=ROOT)))

    # --- its end ----------------------------------------------------------------------------------

    def save(self) -> bool:
        """Write what is held in memory, if that is possible now; tell whether all is saved."""
        with self._lock:
            self._outbox.write([], urgent=True)
            return self._outbox.is_saved

    def close(self) -> None:
        """Let other processes go on with the session. A turn under way stays as it is."""
        opened = self._open
        if opened is not None:
            opened[0].flush()  # not under our lock: a turn that ends holds its own, and wants ours
        with self._lock:
            if self._is_closed:
                return
            if not self._outbox.is_saved:
                self._outbox.write([], urgent=True)
            self._is_closed = True
            self._outbox.drop()
            self._claim.release()

    # --- for the store and the turn ---------------------------------------------------------------

    def _resume(self) -> None:
        """Read where the session stands; a turn that its process left is brought to an end."""
        with self._lock:
            if not self._claim.is_reader:
                self._claim.demand()

            # Another kernel may have gone on with it until it was ours.
            stand = self._read(lambda file: tree.standing(file, self.id))
            if stand is None:
                raise SessionError(f"The session {self.name!r} was forgotten just now.")
            known, self._seq = self._identity, stand.seq
            known.branch, known.settings = stand.branch, stand.settings
            known.usage, known.cost = stand.usage, stand.cost
            if not self._claim.is_reader:
                for turn in stand.left:
                    self._recover(turn)
            self._head = self._read(lambda file: tree.head_of(file, stand.end, root=ROOT))

    def _recover(self, turn: str) -> None:
        before, prompt, events = self._read(lambda file: tree.torn(file, turn))
        messages, (usage, cost) = recovered(prompt, events), spent(events)
        blobs = Blobs()
        bodies = [write_message(message, blobs) for message in messages]
        self._identity.usage += usage
        self._identity.cost += cost
        self._write(
            [
                *writes.unflushed(turn),
                *writes.event_rows(turn, events, blobs),
                *blobs.statements(turn),
                *writes.message_rows(turn, bodies),
                *words.index(messages, session=self.id, turn=turn),
                writes.crashed(turn, after=chained(before, *bodies), usage=usage, cost=cost),
                writes.session_row(self._identity),
            ]
        )

    def _write(self, statements: Sequence[Statement], *, urgent: bool = False) -> None:
        if not self._is_closed:
            self._outbox.write(statements, urgent=urgent)

    def _finish(
        self,
        turn: Turn,
        messages: Sequence[Message],
        bodies: Sequence[str],
        *,
        events: Sequence[Statement],
        blobs: Blobs,
        status: str,
        usage: Usage,
        cost: Cost,
        view: Any,
    ) -> None:
        with self._lock:
            if self._open is None or self._open[0] is not turn:
                return
            begun, self._open = self._open[1], None
            after = chained(begun.before, *bodies)
            self._head = Head(turn.id, begun.depth, after)
            self._identity.usage += usage
            self._identity.cost += cost
            ended = writes.turn_rows(
                self._identity,
                begun,
                status=status,
                after=after,
                usage=usage,
                cost=cost,
                view=None if view is None else write_json(view, blobs),
            )
            rows = [
                *writes.unflushed(turn.id),
                *ended,
                *blobs.statements(turn.id),
                *events,
                *writes.message_rows(turn.id, bodies),
                *words.index(messages, session=self.id, turn=turn.id),
            ]
            self._write(rows, urgent=True)

    # --- inside -----------------------------------------------------------------------------------

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._outbox.read(work)
        except Trouble as trouble:
            raise SessionError(
                f"The journal {self._database.path} cannot be read: {trouble}."
            ) from None

    def _check_idle(self) -> None:
        if self._is_closed:
            raise SessionError(f"The session {self.name!r} is closed. Resume it first.")
        if self._open is not None:
            raise SessionError(f"The session {self.name!r} is answering. Stop it first.")

    def _back_to_before(self, turn: str) -> Kept:
        found = self.turn(turn)
        self._move(self._read(lambda file: tree.head_before(file, turn, root=ROOT)))
        return found

    def _move(self, head: Head) -> None:
        """Let the current branch end elsewhere; where it ended stays on a branch."""
        end = self._head.turn
        kept = self._read(lambda file: list(tree.left(file, self.id, self.branch, end)))
        self._head = head
        self._write([*kept, tree.pointed(self.id, self.branch, head.turn)])

    def _point(self, branch: str, head: Head) -> None:
        self._identity.branch, self._head = branch, head
        self._write([writes.session_row(self._identity), tree.pointed(self.id, branch, head.turn)])
