"""An agent: frozen settings, and what they do when they are run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from alloy_nb.engine import portal
from alloy_nb.engine.approval import Approver, Policy, approver
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.loop import drive
from alloy_nb.engine.middleware import Middleware
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.engine.run import Result, Run
from alloy_nb.engine.tool import Tool, as_tool
from alloy_nb.errors import ConfigError
from alloy_nb.events import Event, TextDelta
from alloy_nb.messages import Document, Image, Message, Text, user
from alloy_nb.providers import provider as make_provider
from alloy_nb.providers.base import EFFORTS, ModelOptions, Provider, ToolSpec

__all__ = ["Agent", "Prompt", "arun", "astream", "run", "stream"]

Prompt = str | Message | Sequence[str | Text | Image | Document]


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
        approve: A policy (``ask``, ``read``, ``all``, ``none``) or an async function of a call and
            its tool. The default is *all*: whoever gives an agent a tool in a program means it to
            be used. The notebook's default is *ask*.
        budget: What may be spent, or ``None``. Agents that share one share its limit.
        timeout: Seconds for a whole run, or ``None``.
        tool_timeout: Seconds for one call.
        retry: How often and how soon a request is sent again.
        fallback_providers: Asked in order when a request failed before its first event.
        working_directory: What the tools' relative paths are relative to.
        allowed_paths: Directories that file tools may touch; ``None`` is the working directory
            alone, an empty tuple everything.
        context: Values for tools and middleware.
        model_metadata_overrides: Context windows by a model's name; see `catalog.context_window`.
        name: Names the agent in events.
    """

    provider: Provider
    tools: tuple[Tool, ...] = ()
    system_prompt: str | None = None
    max_turns: int = 25
    middleware: tuple[Middleware, ...] = ()
    options: ModelOptions = field(default_factory=ModelOptions)
    approve: Policy | Approver = "all"
    budget: Budget | None = None
    timeout: float | None = None
    tool_timeout: float | None = 120.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    fallback_providers: tuple[Provider, ...] = ()
    working_directory: Path = field(default_factory=Path)
    allowed_paths: tuple[Path, ...] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    model_metadata_overrides: Mapping[str, Any] = field(default_factory=dict)
    name: str = "agent"

    def __post_init__(self) -> None:
        if self.max_turns < 0:
            raise ConfigError(f"max_turns must not be negative, and it is {self.max_turns}.")
        for name in ("timeout", "tool_timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be a positive number of seconds, not {value!r}.")

    @property
    def tools_by_name(self) -> dict[str, Tool]:
        """The tools by what the model calls them; of two with one name, the later one."""
        return {tool.name: tool for tool in self.tools}

    @property
    def tool_specs(self) -> tuple[ToolSpec, ...]:
        """What the model is told of the tools."""
        return tuple(
            ToolSpec(tool.name, tool.description, tool.input_schema)
            for tool in self.tools_by_name.values()
        )

    @property
    def approver(self) -> Approver | None:
        """What decides whether a call may run; ``None`` where all may."""
        if self.approve == "all":
            return None
        return approver(self.approve) if isinstance(self.approve, str) else self.approve

    def with_settings(self, **settings: Any) -> Agent:
        """Return a copy with other settings, in the words of `run`."""
        return replace(self, **_settings(settings)) if settings else self

    def start(
        self,
        prompt: Prompt | None,
        *,
        messages: Iterable[Message] = (),
        memory: dict[Any, Any] | None = None,
        provider_state: Mapping[str, Any] | None = None,
    ) -> Run:
        """Begin a run on the running loop and return it at once."""
        history = list(messages)
        said = _message(prompt)
        if said is None and not history:
            raise ConfigError("There is nothing to answer: give a prompt, or messages=.")
        one = Run(agent=self.name)
        work = drive(
            one,
            self,
            history=history,
            prompt=said,
            memory={} if memory is None else memory,
            provider_state=provider_state,
        )
        return one.start(work)

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
            functions too. Besides: `max_cost` in US dollars, the options of `ModelOptions`
            (`max_output_tokens`, `effort`, `temperature`, `cache`, `web_search`, ...),
            `extended_thinking={"budget_tokens": N}`, `max_retries`, and `api_key` and `base_url`
            for a provider given as text.

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
    _check_callable("on_text", on_text)
    _check_callable("on_event", on_event)
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
    _check_callable("on_text", on_text)
    _check_callable("on_event", on_event)
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
    if failure is not None:
        raise failure


# --- settings -----------------------------------------------------------------------------------

_OPTIONS = tuple(f.name for f in fields(ModelOptions))
_PROVIDER_SETTINGS = ("api_key", "base_url", "http_client")
_FIELDS = tuple(f.name for f in fields(Agent))
_EXTRA = ("extended_thinking", "max_cost", "max_retries")
_RUN_SETTINGS = ("messages", "provider_state")


def make_agent(
    provider: str | Provider, settings: Mapping[str, Any]
) -> tuple[Agent, dict[str, Any]]:
    """Return an agent of these settings, and those that belong to one run of it."""
    more = {name: settings[name] for name in _RUN_SETTINGS if name in settings}
    rest = {name: value for name, value in settings.items() if name not in more}
    return Agent(**_settings({"provider": provider, **rest})), more


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of a run and turn them into an agent's fields.

    Raises:
        ConfigError: One of them is unknown, or not of the kind it has to be.
    """
    out = dict(settings)
    own = {name: out.pop(name) for name in _PROVIDER_SETTINGS if out.get(name) is not None}
    if "provider" in out:
        out["provider"] = make_provider(out["provider"], **own)
    if "extended_thinking" in out:
        out["thinking_budget"] = _budget_tokens(out.pop("extended_thinking"))
    options = {name: out.pop(name) for name in _OPTIONS if name in out}
    for name in out:
        if name not in (*_FIELDS, *_EXTRA):
            raise ConfigError(_unknown(name))
    if options:
        _check_effort(options.get("effort"))
        for name in ("stop", "include", "built_in_tools"):
            if name in options:
                value = options[name]
                options[name] = (
                    (value,) if isinstance(value, (str, Mapping)) else tuple(value or ())
                )
        out["options"] = ModelOptions(**options).over(out.get("options", ModelOptions()))
    if "tools" in out:
        out["tools"] = tuple(as_tool(candidate) for candidate in out["tools"] or ())
    if (limit := out.pop("max_cost", None)) is not None:
        out["budget"] = Budget(limit)
    if (retries := out.pop("max_retries", None)) is not None:
        if not isinstance(retries, int) or retries < 0:
            raise ConfigError(f"max_retries must be a whole number from 0, not {retries!r}.")
        out["retry"] = replace(out.get("retry", RetryPolicy()), max_retries=retries)
    for name in ("middleware", "fallback_providers"):
        if name in out:
            out[name] = tuple(out[name] or ())
    if "working_directory" in out:
        out["working_directory"] = Path(out["working_directory"])
    if out.get("allowed_paths") is not None:
        out["allowed_paths"] = tuple(Path(path) for path in out["allowed_paths"])
    if isinstance(out.get("approve"), str):
        approver(out["approve"])
    return out


def _budget_tokens(thinking: Any) -> int | None:
    if thinking is None:
        return None
    budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if not isinstance(budget, int) or isinstance(budget, bool) or budget <= 0:
        raise ConfigError(
            f"extended_thinking={thinking!r}: give {{'budget_tokens': N}} with a positive N, or "
            "effort='medium'."
        )
    return budget


def _check_effort(effort: Any) -> None:
    if effort is not None and effort not in EFFORTS:
        raise ConfigError(f"effort={effort!r} is unknown: use one of {', '.join(EFFORTS)}.")


def _check_callable(name: str, function: object) -> None:
    if function is not None and not callable(function):
        raise ConfigError(f"{name} must be a function of one argument, not {function!r}.")


def _unknown(name: str) -> str:
    known = sorted((*_FIELDS, *_EXTRA, *_OPTIONS, *_RUN_SETTINGS, *_PROVIDER_SETTINGS))
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"Unknown setting {name!r}.{hint} The settings are: {', '.join(known)}."


def _message(prompt: Prompt | None) -> Message | None:
    match prompt:
        case None:
            return None
        case Message():
            return prompt
        case str():
            parts: Sequence[Any] = [prompt]
        case _:
            parts = list(prompt)
    if not any(not isinstance(part, str) or part.strip() for part in parts):
        raise ConfigError("The prompt is empty.")
    return user(*parts)
