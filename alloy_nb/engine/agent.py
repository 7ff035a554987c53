"""An agent: frozen settings, and what they do when they are run."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from alloy_nb.engine import delegation, portal
from alloy_nb.engine.budget import Budget, UnknownPrice
from alloy_nb.engine.calls.approval import Decider, Policy, approver
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.engine.checks import (
    RUN_SETTINGS,
    check_callback,
    checked,
    checked_run_setting,
    wrong,
)
from alloy_nb.engine.context import ContextFile, compose, discover
from alloy_nb.engine.loop import drive
from alloy_nb.engine.middleware.base import Middleware
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.run import Result, Run
from alloy_nb.engine.settings import gathered
from alloy_nb.engine.structured import Structured
from alloy_nb.engine.window.compaction import Compaction
from alloy_nb.engine.window.conversation import View
from alloy_nb.errors import ConfigError
from alloy_nb.events import Event, TextDelta
from alloy_nb.messages import Document, Image, Message, Text, user
from alloy_nb.providers.base import ModelOptions, Provider, ToolSpec

__all__ = ["Agent", "Prompt", "arun", "astream", "message_of", "run", "stream"]

Prompt = str | Message | Sequence[str | Text | Image | Document]

# Frozen, so all agents may have the same ones. What an agent leaves at its default is not checked.
_RETRY, _COMPACTION, _HERE = RetryPolicy(), Compaction(), Path()


@dataclass(frozen=True)
class Agent:
    """The settings of an agent.

    Args:
        provider: The model that answers.
        tools: What it may call, in the order in which it is told of them.
        system_prompt: Goes before every conversation; it is no message.
        max_turns: Replies of the model in one run, those that call tools included.
        middleware: Wraps runs, requests and calls; the first is the outermost.
        options: How to answer; see `ModelOptions`.
        approve: A policy (``ask``, ``read``, ``all``, ``none``) or a function of a call and
            its tool. The default is *all*: whoever gives an agent a tool in a program means it to
            be used. The notebook's default is *ask*.
        budget: What may be spent, or ``None``. Agents that share one share its limit.
        unknown_price: What happens under a limit where a model's price is unknown: ``refuse``
            sends nothing, ``worst`` counts the dearest price of any model in the catalog.
        timeout: Seconds for a whole run, or ``None``.
        tool_timeout: Seconds for one call.
        retry: How often and how soon a request is sent again.
        fallback_providers: Asked in order when a request failed before its first event.
        working_directory: What the tools' relative paths are relative to.
        allowed_paths: Directories that file tools may touch; ``None`` is the working directory
            alone, an empty tuple everything.
        context: Values for tools and middleware. Some keys mean something: `request_id` and
            `correlation_id` tie events to your own records, `allowed_paths` stands for the setting.
        context_discovery: Whether the Markdown files of ``.alloy/context`` follow the system
            prompt; they are read when this is set to ``True`` (see `engine.context`).
        context_budget: Tokens that a conversation may have before it is shortened; ``None`` takes
            the model's window, also of another model later, and 200,000 where that is unknown.
        compaction: How it is shortened; a `Compaction`, or a mapping of its fields.
        on_compaction: Called with the messages that a summary is about to stand for, and the run.
        until_tool: What ends a run. A type, such as a pydantic model: a tool is made of it, the
            run ends at its first valid call, and the value is `Result.output`. Or a tool's name:
            the run does not end before that tool was called.
        model_metadata_overrides: Context windows by a model's name; see `catalog.context_window`.
        name: Names the agent in events.
    """

    provider: Provider
    tools: tuple[Tool, ...] = ()
    system_prompt: str | None = None
    max_turns: int = 25
    middleware: tuple[Middleware, ...] = ()
    options: ModelOptions = field(default_factory=ModelOptions)
    approve: Policy | Decider = "all"
    budget: Budget | None = None
    unknown_price: UnknownPrice = "refuse"
    timeout: float | None = None
    tool_timeout: float | None = 120.0
    retry: RetryPolicy = _RETRY
    fallback_providers: tuple[Provider, ...] = ()
    working_directory: Path = _HERE
    allowed_paths: tuple[Path, ...] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    context_discovery: bool | tuple[ContextFile, ...] = False
    context_budget: int | None = None
    compaction: Compaction = _COMPACTION
    on_compaction: Callable[[list[Message], Run], object] | None = None
    until_tool: Any = None
    model_metadata_overrides: Mapping[str, Any] = field(default_factory=dict)
    name: str = "agent"

    def __post_init__(self) -> None:
        for name, default in _DEFAULTS.items():
            given = getattr(self, name)
            if given is not default and (plain := checked(name, given)) is not given:
                object.__setattr__(self, name, plain)
        object.__setattr__(self, "until_tool", self._ending())
        if self.allowed_paths is None and (paths := self.context.get("allowed_paths")) is not None:
            object.__setattr__(self, "allowed_paths", checked("allowed_paths", paths))
        if self.context_discovery is True:
            found = discover(self.working_directory, home=self.context.get("home"))
            object.__setattr__(self, "context_discovery", found)

    def _ending(self) -> str | Structured | None:
        """Return what ends a run: a tool that there is, or one that is made of a type."""
        wanted, known = self.until_tool, self.tools_by_name
        if wanted is None or isinstance(wanted, Structured):
            return wanted
        if isinstance(wanted, Tool) or inspect.isroutine(wanted):
            wanted = str(getattr(wanted, "name", None) or getattr(wanted, "__name__", wanted))
        if not isinstance(wanted, str):
            return Structured.of(wanted, known)
        if wanted not in known:
            names = ", ".join(known) or "none"
            raise ConfigError(
                f"until_tool names the tool {wanted!r}, and there is no such tool. Use one of "
                f"the tools ({names}), or give a type such as a pydantic model."
            )
        return wanted

    @property
    def instructions(self) -> str | None:
        """What goes before every conversation: the system prompt, and what was discovered."""
        found = self.context_discovery
        return compose(self.system_prompt, found if isinstance(found, tuple) else ())

    @property
    def tools_by_name(self) -> dict[str, Tool]:
        """The tools by what the model calls them; of two with one name, the later one."""
        return {tool.name: tool for tool in self.tools}

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of the tools."""
        return tuple(
            ToolSpec(
                tool.name,
                tool.description,
                tool.input_schema,
                allowed_callers=tool.allowed_callers,
                strict=tool.strict,
                input_examples=tool.input_examples,
                defer_loading=tool.defer_loading,
                native=tool.native,
            )
            for tool in self.tools_by_name.values()
        )

    @property
    def approver(self) -> Decider | None:
        """What decides whether a call may run; ``None`` where all may."""
        if self.approve == "all":
            return None
        return approver(self.approve) if isinstance(self.approve, str) else self.approve

    def with_settings(self, **settings: Any) -> Agent:
        """Return a copy with other settings, in the words of `run`."""
        return replace(self, **gathered(settings, _FIELDS, self)) if settings else self

    def start(
        self,
        prompt: Prompt | None,
        *,
        messages: Iterable[Message] = (),
        memory: dict[Any, Any] | None = None,
        provider_state: Mapping[str, Any] | None = None,
        view: View | None = None,
    ) -> Run:
        """Begin a run on the running loop and return it at once.

        Args:
            prompt: What the user says now, or ``None`` to continue the history as it is.
            messages: The conversation before.
            memory: A mapping to hand in again with the next run of the same conversation: what was
                encoded and measured of it is kept there.
            provider_state: ``metadata["provider_state"]`` of the result before.
            view: `view` of the result before: what is sent of a conversation that was shortened.
        """
        history = list(messages)
        said = message_of(prompt)
        if said is None and not history:
            raise ConfigError("There is nothing to answer: give a prompt, or messages=.")
        one = Run(agent=self.name, context=self.context)
        work = drive(
            one,
            self,
            history=history,
            prompt=said,
            memory={} if memory is None else memory,
            provider_state=provider_state,
            view=view,
        )
        return one.start(work)

    def as_tool(
        self, name: str | None = None, description: str | None = None, **options: Any
    ) -> Tool:
        """Make this agent a tool of another one; see `alloy_nb.engine.delegation.as_tool`."""
        return delegation.as_tool(self, name=name, description=description, **options)

    async def arun(self, prompt: Prompt | None = None, **more: Any) -> Result:
        """Run to the end and return the outcome."""
        return await portal.run_async(self._complete(prompt, **more))

    def run(self, prompt: Prompt | None = None, **more: Any) -> Result:
        """Run to the end and return the outcome; blocks. The awaitable twin is `arun`."""
        return portal.run_sync(self._complete(prompt, **more))

    async def _complete(
        self,
        prompt: Prompt | None,
        *,
        on_text: Callable[[str], object] | None = None,
        on_event: Callable[[Event], object] | None = None,
        **more: Any,
    ) -> Result:
        check_callback("on_text", on_text)
        check_callback("on_event", on_event)
        async with self.start(prompt, **more) as one:
            with delivering(one, on_text, on_event):
                return await one.result()


def run(prompt: Prompt | None = None, *, provider: str | Provider, **settings: Any) -> Result:
    """Ask a model, run the tools that it asks for, and return the outcome.

    Example:
        >>> run("What is 6 * 7?", provider="demo").status
        <RunStatus.COMPLETED: 'completed'>

    Args:
        prompt: What to say; text, a message, or a list of texts, images and documents. ``None``
            continues `messages`.
        provider: ``"vendor/model"``, a model's name that the catalog knows, or a provider.
        settings: `messages`, a conversation to continue (with the `provider_state` that its last
            result's metadata holds, if any), and the settings of `Agent`, with `tools` as
            functions too. Besides: `max_cost` in US dollars or `max_budget_cents`, the options of
            `ModelOptions` (`max_output_tokens`, `effort`, `temperature`, `cache`, `web_search`,
            `code_execution`, ...), `extended_thinking={"budget_tokens": N}`, `max_retries`,
            `retry_backoff_ms`, `timeout_ms`, and `api_key` and `base_url` for a provider given as
            text. `max_tokens` is another name of `context_budget`, not of `max_output_tokens`.

    Returns:
        The outcome. A request that failed has the status *error* and says why in `error`;
        ``raise_for_status()`` raises it.

    Raises:
        ConfigError: A setting is wrong; nothing was sent.
    """
    agent, more = make_agent(provider, settings)
    return agent.run(prompt, **more)


async def arun(
    prompt: Prompt | None = None, *, provider: str | Provider, **settings: Any
) -> Result:
    """Ask a model as `run` does; awaitable in any event loop."""
    agent, more = make_agent(provider, settings)
    return await agent.arun(prompt, **more)


def stream(
    prompt: Prompt | None,
    on_text: Callable[[str], object],
    *,
    provider: str | Provider,
    on_event: Callable[[Event], object] | None = None,
    **settings: Any,
) -> Result:
    """Ask a model as `run` does, and call `on_text` with each piece of the answer as it arrives.

    Both callbacks run on the caller's thread, in order; one that raises stops the run, and its
    exception is raised here.
    """
    agent, more = make_agent(provider, settings)
    return agent.run(prompt, on_text=on_text, on_event=on_event, **more)


async def astream(
    prompt: Prompt | None,
    on_text: Callable[[str], object],
    *,
    provider: str | Provider,
    on_event: Callable[[Event], object] | None = None,
    **settings: Any,
) -> Result:
    """Ask a model as `stream` does; awaitable in any event loop."""
    agent, more = make_agent(provider, settings)
    return await agent.arun(prompt, on_text=on_text, on_event=on_event, **more)


@contextlib.contextmanager
def delivering(
    one: Run,
    on_text: Callable[[str], object] | None,
    on_event: Callable[[Event], object] | None,
) -> Iterator[None]:
    """Call the callbacks on the host's thread while the block runs.

    One hand-over at a time, for all that has come by then: a fast stream does not wake the
    caller's thread for every token. A callback that raises on a loop of its own stops the run.
    """
    if on_text is None and on_event is None:
        yield
        return
    host = portal.current_host.get()
    seen, handed_over = 0, False
    failure: BaseException | None = None

    def call() -> None:
        nonlocal seen, handed_over
        handed_over = False  # before the log is read: what comes later asks for another call
        batch = one.events[seen:]
        seen += len(batch)
        for event in batch:
            if on_text is not None and type(event.body) is TextDelta:
                on_text(event.body.text)
            if on_event is not None:
                on_event(event)

    def notify() -> None:
        nonlocal handed_over, failure
        if handed_over or failure is not None:
            return
        if on_event is None and type(one.events[-1].body) is not TextDelta:
            return  # to wake the caller for nothing would hold up the first word
        handed_over = True
        if host is not None:
            host.post(call)
            return
        try:
            call()
        except BaseException as error:  # raised to the caller when the run has ended
            failure = error
            one.cancel()

    one.watchers.append(notify)
    yield
    one.watchers.remove(notify)  # it holds the run, which would wait for the garbage collector
    if failure is not None:
        raise failure


# --- settings -----------------------------------------------------------------------------------

_FIELDS = tuple(f.name for f in fields(Agent))
# A field without a default has a marker here, which no value is.
_DEFAULTS = {f.name: f.default for f in fields(Agent)}


def make_agent(
    provider: str | Provider, settings: Mapping[str, Any]
) -> tuple[Agent, dict[str, Any]]:
    """Return an agent of these settings, and those that belong to one run of it."""
    more = {n: checked_run_setting(n, settings[n]) for n in RUN_SETTINGS if n in settings}
    rest = {name: value for name, value in settings.items() if name not in more}
    return Agent(**gathered({"provider": provider, **rest}, _FIELDS)), more


def message_of(prompt: Prompt | None) -> Message | None:
    """Return what a prompt is as a message."""
    match prompt:
        case None:
            return None
        case Message():
            return prompt
        case str():
            parts: Sequence[Any] = [prompt]
        case Sequence():
            parts = list(prompt)
        case _:
            parts = [prompt]
    for part in parts:
        if not isinstance(part, (str, Text, Image, Document)):
            raise wrong("prompt", part, "a text, a message, or a list of texts and pictures")
    if not any(not isinstance(part, str) or part.strip() for part in parts):
        raise ConfigError("The prompt is empty.")
    return user(*parts)
