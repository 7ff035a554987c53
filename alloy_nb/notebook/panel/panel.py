"""The panel: a conversation beside the cells, as a widget whose front end is in `front`.

What the two say to each other::

    traits      head, lists              what stands above and below the conversation, and what one
                                         can choose there, which changes more rarely: `header`
    kernel to   entries, total, version  the newest turns that are over; only in the state that a
    front end                            front end gets when it comes, never sent when they change
                panel_id                 the panel, also where it is shown several times
    messages    begin {turn}             a turn is under way
    {kind, n}   output {turn, id, part, html}   one of its outputs, new or in place of the earlier
                end {turn, total, version}      it is over, and stands among the others
                live {turn}              after hello: the turn under way, or null
                turns, older {turns, first, total, version}   turns anew; those before some index
                mark {turn, id, hidden, pinned}
                asked {call, question}, answered {call}       a call waits to be allowed
                chips, completions, found, shown, saved, draft       answers of `actions`
                notice {level, text}     what the person has to know, such as what failed
                still                    that is all: `n` counts them, and says if one is missing
    messages    hello {version}          a front end is there, and has these turns
    {do}        still                    it has heard nothing for a while, and thinks it should
                older {before}           it wants those before an index
                ...                      all else is a row of `actions.ACTIONS`

A message is heard on whatever thread the kernel has for it, while a cell may run on the main one.
It is checked and handed over: to the portal, to a thread, or to the main one for when it is free.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

import anywidget
from IPython.core.error import UsageError
from traitlets import Dict, Int, List, Unicode

from alloy_nb.engine import portal
from alloy_nb.engine.run import Result, Run
from alloy_nb.engine.sessions.session import Session
from alloy_nb.errors import AlloyError
from alloy_nb.messages import Document, Image, Text
from alloy_nb.notebook import front
from alloy_nb.notebook.approval.card import where_it_was_sent
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.drawing.canvas import publish_to_ipython
from alloy_nb.notebook.panel import actions, header
from alloy_nb.notebook.panel.attachments import Attachments
from alloy_nb.notebook.panel.order import Order
from alloy_nb.notebook.panel.panels import Panels
from alloy_nb.notebook.panel.questions import Questions
from alloy_nb.notebook.panel.saved import Saved, saved
from alloy_nb.notebook.panel.turn import Request
from alloy_nb.notebook.turns.asking import Asking
from alloy_nb.secrets import redact

__all__ = ["Panel"]

log = logging.getLogger("alloy_nb")

_VIEW = "application/vnd.jupyter.widget-view+json"
_BELOW = "The panel needs a running kernel: run this cell. What was said in it stands below."
_LISTS = ("commands", "models", "efforts", "levels", "policies")
_IN_STATE = ("entries", "total", "version")


class Panel(anywidget.AnyWidget):
    """A conversation beside the cells.

    Args:
        panels: Those of the notebook.
        session: The conversation that it shows first.
    """

    _esm = front.script()
    _css = front.style()
    lists = Dict().tag(sync=True)
    head = Dict().tag(sync=True)
    entries: Any = List().tag(sync=True)
    total = Int().tag(sync=True)
    version = Int().tag(sync=True)
    panel_id = Unicode().tag(sync=True)

    def __init__(self, panels: Panels, session: Session) -> None:
        self.panels = panels
        self.is_seen = False
        """Whether a front end has said that it is there."""
        self.key = panels.key_of(session)
        self.feed, self.line = panels.follow(session)
        self._saved: Saved | None = None
        self._drawing = threading.Lock()
        self._telling = threading.Lock()
        self._count = 0
        self._order = Order()
        self._is_shown = False
        self._publish = panels.desk.shell.display_pub.publish
        # In the state that a front end begins with: it tells panels apart by it.
        super().__init__(panel_id=uuid4().hex)
        comm = self.comm
        if hasattr(comm, "_reply_subshell_for"):  # else a cell that runs would hold up its messages
            comm._reply_subshell_for = where_it_was_sent
        self.attachments = Attachments(self)
        self.questions = Questions(self)
        panels.open.append(self)
        self.feed.listen(self._told)
        self.on_msg(self._heard)
        self.refresh()

    # --- what it is about -------------------------------------------------------------------------

    @property
    def desk(self) -> Desk:
        """What the notebook has open."""
        return self.panels.desk

    @property
    def session(self) -> Session:
        """The conversation that it shows."""
        return self.feed.session

    @property
    def run(self) -> Run | None:
        """The turn under way, whoever has begun it."""
        return self.session.run

    @property
    def busy(self) -> bool:
        """Whether a cell runs."""
        return self.panels.is_busy

    @property
    def queue(self) -> list[dict[str, str]]:
        """What was asked, and waits for its turn."""
        return [{"id": r.id, "text": redact(r.text)} for r in self.line.waiting]

    # --- asking -----------------------------------------------------------------------------------

    def ask(
        self,
        text: str,
        *,
        id: str = "",  # noqa: A002  # what the front end calls it
        inputs: str = "",
        media: Sequence[Text | Image | Document] = (),
        chips: Sequence[Mapping[str, Any]] = (),
        asking: Callable[[], Asking] | None = None,
    ) -> Future[Result | None]:
        """Ask, now or after those who wait; return its outcome, ``None`` where it was not asked.

        Args:
            text: What was typed, with flags before it.
            id: What the front end calls it.
            inputs: References that go along, as after ``-i``.
            media: Pictures and documents that go along.
            chips: What is shown of all that.
            asking: Makes the turn, on a thread; the default reads the text as the body of a cell.
        """
        request = Request(
            text,
            id,
            inputs,
            tuple(media),
            tuple(chips),
            asking=asking,
            told=self._not_asked,
        )
        self.line.ask(request)
        self._order.release()  # whoever asks waits for the answer, and holds up nobody
        return request.outcome

    def unqueue(self, request_id: str) -> bool:
        """Take back what waits; tell whether it still did."""
        return self.line.unqueue(request_id)

    def stop(self) -> None:
        """Ask the turn under way to end, at once; what it said is kept."""
        self.line.stop()

    # --- telling ----------------------------------------------------------------------------------

    def tell(self, kind: str, buffers: Sequence[bytes] | None = None, **fields: Any) -> None:
        """Send a message to the front end; by their numbers it knows if it has missed one."""
        with self._telling:
            self._count += 1
            self.send({"kind": kind, "n": self._count, **fields}, buffers=buffers)

    def notice(self, text: str, level: str = "error") -> None:
        """Tell the person a sentence."""
        self.tell("notice", level=level, text=redact(text))

    def refresh(self) -> None:
        """Draw what stands around the conversation anew, where it is different."""
        with self._drawing:  # by any thread: what was drawn last has to be what is told last
            head = header.head(self)
            self.lists = {name: head.pop(name) for name in _LISTS if name in head}
            self.head = head

    def catch_up(self) -> None:
        """Show what came into the place of its conversation, if anything did; on the main thread.

        Where that was forgotten, it begins anew.
        """
        sessions, key = self.panels.desk.sessions, self.key
        now = self.panels.desk.session(key)

        def follow() -> None:
            if sessions.get(key) is now:  # it may have been forgotten before it was its turn
                self._follow(now, key)

        if now is not self.session:
            self.later(follow)

    def went_to(self, session: Session) -> None:
        """Show another conversation, and wait until it is shown; not on the portal's thread."""
        self._follow(session, self.panels.key_of(session)).result()

    def later(self, function: Callable[[], object], *, in_order: bool = True) -> None:
        """Call what takes a while, on a thread; `in_order` after all that was wanted before."""
        self._order.begin(lambda: self.guarded(function), after=in_order)

    def on_main(self, function: Callable[[], object]) -> None:
        """Call something on the main thread when no cell runs."""
        self.panels.on_main(lambda: self.guarded(function))

    def guarded(self, function: Callable[[], object]) -> None:
        """Call something; what goes wrong is told in the panel, where one sees it."""
        try:
            function()
        except (UsageError, AlloyError) as error:
            self.notice(str(error))
        except Exception as error:  # it would be told in a log that nobody reads
            log.warning("A panel's action failed", exc_info=True)
            self.notice(f"That failed: {type(error).__name__}: {error}")

    # --- showing ----------------------------------------------------------------------------------

    def show(self) -> None:
        """Show it in the cell that runs, and with it the conversation for where no widget runs."""
        self._is_shown = True
        self._publish = self.desk.shell.display_pub.publish  # of now: a cell may capture it later
        whole = self._bundle()
        if self._is_apart:
            view = {_VIEW: whole.pop(_VIEW), "text/plain": _BELOW}
            publish_to_ipython(view, display_id=self.panel_id, update=False, metadata={})
        publish_to_ipython(whole, display_id=self._kept_id, update=False, metadata={})

    def cell_ended(self) -> None:
        """Show the notebook's own form anew, if it has changed: a program may run the cells."""
        if self._saved is not None:
            self._saved.now()

    def close(self) -> None:
        """Take it from the front end; the conversation stays, and what was drawn of it."""
        if self in self.panels.open:
            self.panels.open.remove(self)
            self.questions.close()
            self.feed.leave(self._told)
            self.panels.release(self.feed)
            if self._saved is not None:
                self._saved.close()
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Any:
        """Return what a front end has to know that comes now."""
        if key is None or key == _IN_STATE:
            shown = self.feed.part(self.feed.last())
            self.set_trait("entries", shown["turns"])
            self.set_trait("total", shown["total"])
            self.set_trait("version", shown["version"])
        return super().get_state(key=key, drop_defaults=drop_defaults)

    def _should_send_property(self, key: str, value: Any) -> bool:
        # Turns go as messages; these are for who was not there to hear them.
        return key not in _IN_STATE and bool(super()._should_send_property(key, value))

    def _ipython_display_(self) -> None:
        self.show()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._bundle(), {}

    def __repr__(self) -> str:
        return f"Panel({self.session.name!r})"

    @property
    def _kept_id(self) -> str:
        return f"{self.panel_id}-kept"

    @property
    def _is_apart(self) -> bool:
        """Whether the conversation is an output of its own, which the panel hides while it lives.

        JupyterLab 4.6 shows a widget that has no kernel any more as an error, in a notebook that
        one has saved oneself, and nothing that stands in the same output (seen on 2026-11-21).
        Elsewhere nothing would hide it.
        """
        namespace = self.desk.shell.user_ns
        return "__vsc_ipynb_file__" not in namespace and "google.colab" not in sys.modules

    def _bundle(self) -> dict[str, Any]:
        """Return the widget, and the conversation for where no widget runs."""
        said = [turn.said for turn in self.feed.last()]
        earlier = len(self.feed.turns) - len(said)
        data = saved(said, earlier=earlier, panel=self.panel_id).mimebundle()
        model = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {_VIEW: model, **data}

    def _show_again(self) -> int:
        if not self.is_seen:  # what runs the cells may keep the state, and hears no messages
            self.send_state(_IN_STATE)
        data = self._bundle()
        if self._is_apart:
            del data[_VIEW]
        self._publish(data, {}, transient={"display_id": self._kept_id}, update=True)
        return sum(len(text) for text in data.values() if isinstance(text, str))

    # --- hearing ----------------------------------------------------------------------------------

    def _heard(self, _: Any, content: Any, buffers: Any) -> None:
        self.hear(content, list(buffers or ()))

    def hear(self, content: Any, buffers: Sequence[bytes] = ()) -> None:
        """Take a message of the front end; whatever is wrong with it is told there."""
        self.guarded(lambda: self._do(content, list(buffers)))

    def _do(self, content: Any, buffers: list[bytes]) -> None:
        do = content.get("do") if isinstance(content, Mapping) else None
        match do:
            case "hello":
                self._on_loop(lambda: self._hello(content.get("version")))
            case "still":
                self.tell("still")
                self.send_state("head")
            case "older":
                before = content.get("before")
                if isinstance(before, int):
                    self._on_loop(lambda: self._older(before))
            case "ask" | "edit" | "regenerate" if self._order.is_busy:
                self.later(lambda: actions.ACTIONS[do](self, dict(content), buffers))
            case str() if do in actions.ACTIONS:
                actions.ACTIONS[do](self, dict(content), buffers)
            case _:
                self.notice("The panel asked for something that this version cannot do.")

    def _hello(self, version: Any) -> None:
        """Tell a front end that has just come what it has not heard."""
        self.is_seen = True
        if version is None:  # it has missed something
            self.send_state(("head", "lists"))
        self._tell_all(version)

    def _tell_all(self, version: Any) -> None:
        if version != self.feed.version:
            self.tell("turns", **self.feed.part(self.feed.last()))
        live = self.feed.live
        self.tell("live", turn=None if live is None else live.turn.entry())
        self.questions.again()
        self.attachments.again()

    def _older(self, before: int) -> None:
        self.tell("older", **self.feed.part(self.feed.before(before)))

    # --- inside -----------------------------------------------------------------------------------

    def _told(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Pass on what the feed says; on the portal's thread."""
        if kind != "changed":
            self.tell(kind, **fields)
        if kind in ("end", "turns") and self._is_shown:
            if self._saved is None:
                self._saved = Saved(asyncio.get_running_loop(), self._show_again)
            self._saved.mark()
        if kind != "output":
            self.refresh()

    def _follow(self, session: Session, key: str) -> Future[None]:
        before, (feed, line) = self.feed, self.panels.follow(session)

        def change() -> None:
            before.leave(self._told)
            self.key, self.feed, self.line = key, feed, line
            feed.listen(self._told)
            self.panels.release(before)
            self._tell_all(None)
            self.refresh()

        return self._on_loop(change)

    def _not_asked(self, why: str, request: Request) -> None:
        self.notice(why)
        self.tell("draft", text=redact(request.text), id=request.id)

    def _on_loop(self, function: Callable[[], object]) -> Future[None]:
        async def work() -> None:
            self.guarded(function)

        return portal.spawn(work())
