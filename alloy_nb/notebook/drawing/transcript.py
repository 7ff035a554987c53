"""Events of a run, folded into the segments that a face draws. Pure: no IPython, no HTML.

::

    Event ─▶ Transcript.apply ─▶ ThinkingSegment | ToolSegment | TextSegment
                                 | NoticeSegment | FooterSegment

`apply` is called once a token, so it only appends: text is joined when somebody draws it.
"""

from __future__ import annotations

from collections.abc import Sequence

from alloy_nb.engine.calls.approval import in_words
from alloy_nb.events import (
    ApprovalAsked,
    ApprovalDecided,
    BlockSealed,
    BlockStarted,
    BudgetWarned,
    CitationAdded,
    ContextCompacted,
    Delegated,
    Event,
    ReplyStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    Steered,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolFinished,
    ToolInputDelta,
    ToolProgress,
    ToolStarted,
    ToolWithheld,
    TurnFinished,
    TurnStarted,
)
from alloy_nb.markup.alongside import said
from alloy_nb.markup.plain import one_line
from alloy_nb.messages import (
    Block,
    Citation,
    Image,
    Opaque,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from alloy_nb.notebook.drawing.delegates import Delegates
from alloy_nb.notebook.drawing.segments import (
    NOTICE_OF,
    FooterSegment,
    Look,
    NoticeKind,
    NoticeSegment,
    Reference,
    Segment,
    TextSegment,
    ThinkingSegment,
    ToolSegment,
    ToolState,
)
from alloy_nb.usage import Cost, Usage

__all__ = ["Transcript"]

# More lines of a chatty tool than this are not kept: only the last few are ever shown.
_PROGRESS_LINES = 20


class Transcript:
    """The segments of one run, in the order in which they began.

    Args:
        context_window: Tokens that the model can read, for the share in the footer.
        label: A word for the footer that no reader may miss, such as ``"demo"``.
        total: What the session had cost before this run.
    """

    def __init__(
        self,
        context_window: int | None = None,
        label: str | None = None,
        *,
        total: Cost | None = None,
    ) -> None:
        self.segments: list[Segment] = []
        self.look = Look()
        self.version = 0
        self.model = ""
        self.turns, self.finished = 0, False
        self.events: Sequence[Event] = ()
        self.activity, self.activity_version = "waiting", 0
        self._window, self._label, self._total = context_window, label, total
        self._now = self._since = 0.0
        self._blocks: dict[tuple[str, int], Segment] = {}
        self._tools: dict[str, ToolSegment] = {}
        self._numbers: dict[object, int] = {}
        self._bases: dict[tuple[str, int], int] = {}
        self._last_usage: Usage | None = None
        self.agent, self.cost = "", Cost()
        self.delegates = Delegates(Transcript)

    # --- what a face reads --------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """One line that says what goes on, as of the last event."""
        return self.phase_after(max(0.0, self._now - self._since))

    def phase_after(self, seconds: float) -> str:
        """Return the phase line when the present activity has lasted `seconds`.

        Faces count with their own clock, because between events nobody else does.
        """
        words = [self.model, self.activity]
        if seconds >= 1 and self.activity:
            words[1] = f"{self.activity} {seconds:.0f} s"
        return " · ".join(word for word in [*words, self._label or ""] if word)

    @property
    def idle(self) -> bool:
        """Whether the last thing said is whole, so that the reader waits for the next."""
        if not self.segments:
            return True
        match self.segments[-1]:
            case TextSegment() as last:
                return last.finished
            case ThinkingSegment() as last:
                return last.done
            case ToolSegment():
                return all(tool.finished for tool in self._tools.values())
            case _:
                return True

    # --- folding ------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Fold one event in. Cheap for deltas: nothing is joined or parsed."""
        self._now = event.at
        self.version += 1
        match event.body:
            case TextDelta(index, text):
                self._text((event.agent, index)).add(text)
            case ThinkingDelta(index, text):
                self._thinking((event.agent, index)).add(text)
            case ToolInputDelta(index, piece):
                tool = self._blocks.get((event.agent, index))
                if isinstance(tool, ToolSegment):
                    tool.add(piece)
            case BlockStarted() as body:
                self._block_started(event.agent, body)
            case BlockSealed() as body:
                self._block_sealed((event.agent, body.index), body)
            case CitationAdded(index, citation):
                self._cite((event.agent, index), citation)
            case _:
                self._around(event)

    def stopped(self, text: str) -> None:
        """Say that the person stopped the run; what had arrived stays."""
        self._end("stopped", text)

    def failed(self, text: str) -> None:
        """Say in one sentence why the run failed."""
        self._end("error", text)

    def notice(self, kind: NoticeKind, text: str) -> None:
        """Append a line about the run."""
        self._append(NoticeSegment(kind, text))

    def replayed(self) -> None:
        """Say in the footer that this is an earlier answer, and nothing was paid."""
        self._label = " · ".join(filter(None, ["replayed, $0", self._label]))

    def _end(self, kind: NoticeKind, text: str) -> None:
        self._close_tools()
        self._close_last()
        said = (s for s in self.segments if isinstance(s, NoticeSegment) and s.kind == kind)
        if all(s.text != text for s in said):
            self.notice(kind, text)
        # The footer stays last, wherever the notice comes from.
        footers = [s for s in self.segments if isinstance(s, FooterSegment)]
        if footers and self.segments[-1] is not footers[0]:
            self.segments.remove(footers[0])
            self.segments.append(footers[0])
        self.finished = True

    def _around(self, event: Event) -> None:
        match event.body:
            case RunStarted(_, _, model):
                self.agent, self.model = event.agent, model
                self._do("waiting")
            case TurnStarted(_, model):
                self._turn_started(event.agent, model)
            case ReplyStarted(_, model):
                self.model = model or self.model
            case Steered(message):
                self.notice("steered", said(message.text) or "(a picture or document)")
            case RetryScheduled() as body:
                delay = f"{body.delay:.0f} s" if body.delay >= 1 else f"{body.delay:.1f} s"
                self.notice("retry", f"{body.reason} Trying again in {delay}.")
                self._do(f"retry {body.attempt} in {delay}, waiting")
            case ContextCompacted(before, after) as body:
                self.cost += body.cost or Cost()
                self.notice("compacted", f"History shortened: {before} messages became {after}.")
            case ToolStarted() | ToolProgress() | ToolFinished() | ToolWithheld():
                self._tool_event(event)
            case ApprovalAsked(call, subject):
                tool = self._own(call)
                tool.state, tool.subject = "approval", subject
                self._do("asking you")
            case ApprovalDecided(call, allowed, how, reason):
                self._own(call).decision = in_words(how, allowed=allowed, reason=reason)
            case BudgetWarned(spent, limit):
                self.notice("budget", f"${spent:.2f} of ${limit:.2f} is spent.")
            case Delegated(call_id=call_id) as body if call_id in self._tools:
                self.delegates.apply(self._tools[call_id], body)
            case Delegated(agent, Event(body=RunStarted(prompt=task))):
                self.notice("info", f"Asked {agent}: {one_line(task.text if task else '', 80)}")
            case Stopped() as body:
                self._reply_stopped(body)
            case TurnFinished() as body:
                self._turn_finished(event.agent, body)
            case RunFinished() as body:
                self._run_finished(body)

    # --- blocks of a reply --------------------------------------------------------------------

    def _block_started(self, agent: str, body: BlockStarted) -> None:
        match body.kind:
            case "text":
                self._open_text((agent, body.index))
            case "thinking":
                self._open_thinking((agent, body.index))
            case "tool_call":
                if body.id in self._tools and self._tools[body.id].finished:
                    del self._tools[body.id]  # some servers count calls anew in each reply
                tool = self._tool(body.id or "", body.name or "", server=body.server)
                self._blocks[agent, body.index] = tool
                self._do(f"calling {tool.name}")

    def _block_sealed(self, key: tuple[str, int], body: BlockSealed) -> None:
        if body.block is not None:
            self._fold(key, body.block)
        match self._blocks.get(key):
            case ThinkingSegment() as segment:
                self._close(segment)
            case TextSegment() as segment:
                self._anchor(segment)
            case ToolSegment(arguments=None) as tool:
                tool.arguments = tool.parsed()
                tool.version += 1

    def _fold(self, key: tuple[str, int], block: Block) -> None:
        """Take what the deltas did not bring from a block that is whole."""
        match block:
            case Text(text=text, citations=citations):
                segment = self._text(key)
                base = self._bases[key]
                if segment.length == base and text:
                    segment.add(text)
                if all(r.end is not None and r.end <= base for r in segment.references):
                    for citation in citations:
                        self._cite(key, citation)
            case Thinking(text=text, redacted=redacted):
                thinking = self._blocks.get(key)
                if not isinstance(thinking, ThinkingSegment):
                    thinking = self._open_thinking(key)
                thinking.redacted = thinking.redacted or redacted
                if not thinking.pieces and text:
                    thinking.add(text)
            case ToolCall() as call:
                self._blocks[key] = self.card(call)
            case ToolResult() as result if result.call_id in self._tools:
                self._answered(self._tools[result.call_id], result)
            case Opaque(raw=raw) if str(raw.get("tool_use_id")) in self._tools:
                self._close_tool(self._tools[str(raw["tool_use_id"])], "done")
            case Image(media_type=kind):
                self.notice("info", f"The model made a picture ({kind}); it is in the message.")

    def _text(self, key: tuple[str, int]) -> TextSegment:
        known = self._blocks.get(key)
        # A finished segment has something below it: what follows is drawn below that.
        if isinstance(known, TextSegment) and not known.finished:
            return known
        return self._open_text(key)

    def _open_text(self, key: tuple[str, int]) -> TextSegment:
        last = self.segments[-1] if self.segments else None
        if isinstance(last, TextSegment) and not last.finished:
            segment = last
            self._anchor(segment)
        else:
            segment = TextSegment()
            self._append(segment)
        self._blocks[key] = segment
        self._bases[key] = segment.length
        self._do("answering")
        return segment

    def _thinking(self, key: tuple[str, int]) -> ThinkingSegment:
        known = self._blocks.get(key)
        if isinstance(known, ThinkingSegment) and not known.done:
            return known
        return self._open_thinking(key)

    def _open_thinking(self, key: tuple[str, int]) -> ThinkingSegment:
        segment = ThinkingSegment(began=self._now)
        self._append(segment)
        self._blocks[key] = segment
        self._do("thinking")
        return segment

    def _cite(self, key: tuple[str, int], citation: Citation) -> None:
        known = self._blocks.get(key)
        # Some vendors send the sources after everything else: they still belong to their text.
        segment = known if isinstance(known, TextSegment) else self._text(key)
        source = citation.url or (citation.kind, citation.title, citation.quote)
        number = self._numbers.setdefault(source, len(self._numbers) + 1)
        end = segment.length if segment.finished else None
        if citation.end is not None:
            end = self._bases[key] + max(0, citation.end)
        segment.references.append(Reference(number, citation, end))
        segment.version += 1

    def _anchor(self, segment: TextSegment) -> None:
        """Give the references that support a whole block the place where the block ends."""
        for reference in segment.references:
            if reference.end is None:
                reference.end = segment.length
                segment.version += 1

    # --- tools --------------------------------------------------------------------------------

    def card(self, call: ToolCall) -> ToolSegment:
        """Return the card of a call, here or with an agent that was asked; else it is made."""
        tool = self.find(call)
        if tool is not None:
            self._call(tool, call)
        else:
            tool = self.delegates.early[call.id] = self._own(call)
        return tool

    def find(self, call: ToolCall) -> ToolSegment | None:
        """Return the card of a call, if there is one."""
        tool = self._tools.get(call.id)
        # Two models may give two calls one id.
        same = tool is not None and tool.name == call.name
        return tool if same else self.delegates.card(call)

    def _own(self, call: ToolCall) -> ToolSegment:
        tool = self._tool(call.id, call.name, server=call.server)
        self._call(tool, call)
        return tool

    def _tool(self, call_id: str, name: str, *, server: bool = False) -> ToolSegment:
        tool = self._tools.get(call_id)
        if tool is None:
            tool = ToolSegment(id=call_id, name=name, server=server, version=1)
            self._tools[call_id] = tool
            self._append(tool)
        return tool

    def _call(self, tool: ToolSegment, call: ToolCall) -> None:
        tool.name = call.name or tool.name
        if call.invalid is None:
            tool.arguments = dict(call.input)
        elif not tool.pieces:
            tool.add(call.invalid)
        tool.version += 1

    def _tool_event(self, event: Event) -> None:
        match event.body:
            case ToolStarted(call):
                tool = self._own(call)
                tool.state, tool.began = "running", event.at
                self._do(f"running {tool.name}")
            case ToolProgress(call_id, text) if call_id in self._tools:
                tool = self._tools[call_id]
                tool.progress[:] = [*tool.progress, *text.splitlines()][-_PROGRESS_LINES:]
                tool.version += 1
            case ToolWithheld(result) if result.call_id in self._tools:
                self._tools[result.call_id].withheld = result
            case ToolFinished(call, result, seconds):
                tool = self._own(call)
                tool.seconds = seconds
                self._answered(tool, result)

    def _answered(self, tool: ToolSegment, result: ToolResult) -> None:
        # Refused without having run: the approval was the last that happened to it.
        denied = tool.state == "approval" and result.is_error
        whole = tool.withheld or result.model_copy(update={"content": ()})
        tool.result = "\n".join(text for text in (whole.text, result.text) if text)
        pictures = (*whole.content, *result.content)
        tool.images = tuple(part for part in pictures if isinstance(part, Image))
        tool.is_error = result.is_error
        tool.subject = None
        done: ToolState = "denied" if denied else "failed" if result.is_error else "done"
        self._close_tool(tool, done)

    def _close_tool(self, tool: ToolSegment, state: ToolState) -> None:
        self.delegates.end(tool)
        tool.state = state
        tool.version += 1
        if tool.arguments is None and tool.pieces:
            tool.arguments = tool.parsed()
        if not any(not t.finished for t in self._tools.values()):
            self._do("waiting")

    def _close_tools(self) -> None:
        """Nothing runs any more: what a vendor ran is done, what we ran was stopped."""
        for tool in self._tools.values():
            if not tool.finished:
                if not tool.server:
                    tool.result = tool.result or "stopped before it answered"
                self._close_tool(tool, "done" if tool.server else "failed")

    # --- turns and the end --------------------------------------------------------------------

    def _turn_started(self, agent: str, model: str) -> None:
        self.turns += 1
        self.model = model
        for key in [key for key in self._blocks if key[0] == agent]:
            del self._blocks[key]
        self._close_last()
        self._do("waiting")

    def _reply_stopped(self, body: Stopped) -> None:
        detail = f" {body.detail}" if body.detail else ""
        match body.reason:
            case StopReason.MAX_TOKENS:
                self.notice("stopped", f"The answer reached the limit of its length.{detail}")
            case StopReason.REFUSAL:
                self.notice("stopped", f"The model declined to go on.{detail}")

    def _turn_finished(self, agent: str, body: TurnFinished) -> None:
        if not any(key[0] == agent for key in self._blocks):
            # An answer that a middleware gave has no deltas: take it from the message.
            for index, block in enumerate(body.message.content):
                self._fold((agent, index), block)
        self._last_usage = body.usage
        self.cost += body.cost
        if body.message.origin is not None:
            self.model = body.message.origin.model
        for tool in self._tools.values():
            if tool.server and not tool.finished:
                self._close_tool(tool, "done")
        self._close_last()
        self._do("waiting")

    def _run_finished(self, body: RunFinished) -> None:
        self._close_tools()
        self._close_last()
        # A failure is raised by whoever runs this, so it stands below the answer as an error.
        if body.error and body.status != "error":
            self.notice(NOTICE_OF.get(body.status, "info"), body.error)
        if body.status == "error" and not self._has_said:
            self.finished = True
            return  # nothing came back, so there is nothing to sum up
        last = self._last_usage
        tokens = last.total_tokens if last and not last.unreported else None
        share = tokens / self._window if tokens and self._window else None
        total = None if self._total is None else self._total + body.cost
        self._append(
            FooterSegment(
                model=self.model,
                usage=body.usage,
                cost=body.cost,
                seconds=body.seconds,
                status=body.status,
                turns=self.turns,
                total=total,
                window=self._window,
                window_share=share,
                label=self._label,
                agents=self.delegates.spent(self.agent, self.cost),
            )
        )
        self.finished = True

    @property
    def _has_said(self) -> bool:
        said = (TextSegment, ThinkingSegment, ToolSegment)
        return any(isinstance(segment, said) for segment in self.segments)

    # --- bookkeeping --------------------------------------------------------------------------

    def _append(self, segment: Segment) -> None:
        self._close_last()
        self.segments.append(segment)
        self.version += 1

    def _close_last(self) -> None:
        if self.segments:
            self._close(self.segments[-1])

    def _close(self, segment: Segment) -> None:
        match segment:
            case TextSegment(finished=False):
                self._anchor(segment)
                segment.finished = True
                segment.version += 1
            case ThinkingSegment(done=False):
                segment.done = True
                segment.seconds = max(0.0, self._now - segment.began)
                segment.version += 1

    def _do(self, activity: str) -> None:
        if activity != self.activity:
            self.activity = activity
            self.activity_version += 1
        self._since = self._now
