"""The ``codex`` command line as a model: for those who have a subscription and no key.

Each request is one run of ``codex exec``, in a folder of its own, in a sandbox that only reads. The
conversation goes to its standard input, where it may be long and nobody else on the machine can
read it. The loop stays ours: codex answers with text or with calls of our tools, as a JSON schema
demands.

Of the options it takes the effort and ``tool_choice``; `max_output_tokens`, `cache` and
`parallel_tool_calls` have no meaning here and are left out; all others are refused.

Source: the options of ``codex exec``, its configuration (``model_reasoning_effort``) and its
events with ``--json``, https://github.com/openai/codex, codex-rs/exec/src/exec_events.rs, read
2026-11-21.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from alloy_nb.errors import (
    AuthFailed,
    ConfigError,
    ProviderError,
    QuotaExceeded,
    ServerFault,
    StreamTruncated,
    TimedOut,
)
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    ModelEvent,
    ReplyStarted,
    Stopped,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
    UsageReported,
)
from alloy_nb.messages import Message, StopReason, Text, ToolCall, ToolResult
from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.codex_program import Program
from alloy_nb.providers.handoff import Rules, prepare
from alloy_nb.providers.lenient import items, mapping, string
from alloy_nb.providers.wire_json import dumps, loads, mended, parse_arguments

__all__ = ["Codex"]

_RULES = Rules(vendor="codex", thinking=False)
_EFFORTS: Mapping[str, str] = {
    "off": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "xhigh",
}
# What codex cannot be told, and what would change the answer if it were left out in silence.
_REFUSED = (
    "temperature",
    "stop",
    "thinking_budget",
    "web_search",
    "x_search",
    "code_execution",
    "built_in_tools",
    "store",
    "include",
    "previous_response_id",
    "extra_body",
)
# Codex has no types of errors, only words.
_CAUSES: tuple[tuple[type[ProviderError], re.Pattern[str], str], ...] = (
    (
        AuthFailed,
        re.compile(r"\b401\b|unauthorized|log ?in again|refresh token", re.I),
        "Run `codex login`.",
    ),
    (QuotaExceeded, re.compile(r"usage limit|quota|out of credits", re.I), "Choose another model."),
)
_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["stop_reason", "text", "tool_calls"],
    "properties": {
        "stop_reason": {"type": "string", "enum": ["end_turn", "tool_use"]},
        "text": {"type": "string"},
        "tool_calls": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["call_id", "name", "arguments_json"],
                "properties": {
                    "call_id": {"type": "string"},
                    "name": {"type": "string"},
                    "arguments_json": {"type": "string"},
                },
            },
        },
    },
}
_INSTRUCTIONS = """\
You are the language model behind an agent. Do not run commands, read files or use tools of your
own. Answer the conversation below as the assistant. To use one of the agent's tools, set
stop_reason to "tool_use" and list the calls, with their arguments as a JSON object in
arguments_json; their results come with the next request. Otherwise set stop_reason to "end_turn"
and leave tool_calls empty.
"""


class Codex:
    """A model behind the ``codex`` program on this machine.

    Args:
        model: The model's id; ``"default"`` leaves the choice to codex.
        command: The program.
        profile: A profile of codex's own configuration.
        home: Where codex keeps its login and configuration.
        timeout: Seconds for one reply.

    Raises:
        ConfigError: The model is empty.
    """

    name: ClassVar[str] = "codex"

    def __init__(
        self,
        model: str = "default",
        *,
        command: str = "codex",
        profile: str | None = None,
        home: str | Path | None = None,
        timeout: float = 120.0,
    ) -> None:
        if not model:
            raise ConfigError("codex needs a model, such as codex/gpt-5.4, or codex/default.")
        self.model = model
        self.command = command
        self.profile = profile
        self.home = Path(home or os.environ.get("CODEX_HOME") or Path.home() / ".codex")
        self.timeout = timeout

    def __repr__(self) -> str:
        return f"Codex(model={self.model!r}, command={self.command!r})"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Run codex once and yield its reply; its text comes in one piece."""
        _check(request.options)
        program = shutil.which(self.command)
        if program is None:
            raise ConfigError(
                f"There is no program {self.command!r}: install the codex command line and log in, "
                "or choose another model."
            )
        with tempfile.TemporaryDirectory(prefix="alloy-codex-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            try:
                arguments = self._prepared(folder, request.options)
                running = await Program.started(program, arguments, folder)
            except OSError as error:
                why = error.strerror or type(error).__name__
                raise ConfigError(
                    f"codex cannot be started: {why.lower()} ({error.filename or program})."
                ) from None
            begun = False
            try:
                running.tell(_prompt(request))
                async with contextlib.aclosing(self._reply(running, folder, request)) as reply:
                    async for event in reply:
                        if not begun:  # until then the engine may ask again
                            begun = True
                            yield ReplyStarted(None, self.model)
                        yield event
            finally:
                await running.end()

    async def _reply(
        self, running: Program, folder: Path, request: ModelRequest
    ) -> AsyncGenerator[ModelEvent, None]:
        block = 0
        left = seconds = self._seconds(request)
        while True:
            began = time.monotonic()
            try:
                # No limit spans a yield: it would end whoever consumes the events.
                async with asyncio.timeout(left):
                    thought = await running.thoughts.get()
            except TimeoutError:
                raise TimedOut(
                    f"codex did not answer within {seconds:.3g} seconds. Ask again, or raise "
                    "timeout=.",
                    provider=self.name,
                    model=self.model,
                ) from None
            if thought is None:
                break
            # The time that the consumer takes is not codex's.
            left -= time.monotonic() - began
            yield BlockStarted(block, "thinking")
            yield ThinkingDelta(block, thought)
            yield BlockSealed(block)
            block += 1
        answer = self._answer(folder / "reply.json", running)
        for made in _events(answer, block):
            yield made
        if running.usage is not None:
            yield UsageReported(running.usage)
        yield Stopped(StopReason.TOOL_USE if answer["tool_calls"] else StopReason.END_TURN)

    def _prepared(self, folder: Path, options: ModelOptions) -> list[str]:
        """Lay out a folder with a copy of the login, and return codex's arguments."""
        (folder / "work").mkdir()
        home = folder / "home"
        home.mkdir(mode=0o700)
        login = self.home / "auth.json"
        if not login.is_file():
            raise ConfigError(f"codex is not logged in ({login} is missing): run `codex login`.")
        _copy(login, home / "auth.json")
        arguments = ["exec", "--json", "--skip-git-repo-check", "--ephemeral"]
        arguments += ["--sandbox", "read-only", "--output-schema", str(folder / "schema.json")]
        arguments += ["--output-last-message", str(folder / "reply.json")]
        if self.profile:
            settings = self.home / "config.toml"
            if not settings.is_file():
                raise ConfigError(f"profile={self.profile!r} needs {settings}, which is missing.")
            _copy(settings, home / "config.toml")
            arguments += ["--profile", self.profile]
        if self.model != "default":
            arguments += ["--model", self.model]
        if options.effort is not None:
            arguments += ["--config", f"model_reasoning_effort={_EFFORTS[options.effort]}"]
        (folder / "schema.json").write_bytes(dumps(_SCHEMA))
        return [*arguments, "-"]

    def _seconds(self, request: ModelRequest) -> float:
        if request.deadline is None:
            return self.timeout
        return max(0.0, min(self.timeout, request.deadline - time.monotonic()))

    def _answer(self, path: Path, ended: Program) -> dict[str, Any]:
        """Return what codex answered, checked against the schema as far as we rely on it."""
        try:
            answer = mended(loads(path.read_bytes()), pieces=False)
        except (OSError, ValueError):
            raise self._failed(ended) from None
        reason = mapping(answer).get("stop_reason")
        text, calls = string(mapping(answer).get("text")), items(mapping(answer).get("tool_calls"))
        if reason not in ("end_turn", "tool_use"):
            raise self._unusable("codex answered in another form than it was asked to")
        if reason == "end_turn" and calls:
            raise self._unusable("codex ended its turn and called tools at once")
        if reason == "tool_use" and not calls and not text:
            raise self._unusable("codex wanted to use a tool and named none")
        return {"text": text, "tool_calls": calls}

    def _failed(self, ended: Program) -> ProviderError:
        said = (ended.failure or ended.tail).strip() or "no output"
        about: dict[str, Any] = {"provider": self.name, "model": self.model}
        for cause, words, advice in _CAUSES:
            if words.search(said):
                return cause(f"codex failed: {said.rstrip('.')}. {advice}", **about)
        text = f"codex ended with status {ended.status}: {said.rstrip('.')}. Ask again."
        return ServerFault(text, **about)

    def _unusable(self, text: str) -> ProviderError:
        return StreamTruncated(f"{text}. Ask again.", provider=self.name, model=self.model)


def _check(options: ModelOptions) -> None:
    for name in _REFUSED:
        value = getattr(options, name)
        if value is not None and value is not False and value not in ((), {}):
            raise ConfigError(f"codex cannot be told {name}: leave {name}= out.")


def _copy(source: Path, target: Path) -> None:
    target.touch(mode=0o600)
    target.write_bytes(source.read_bytes())


def _events(reply: dict[str, Any], first: int) -> list[ModelEvent]:
    events: list[ModelEvent] = []
    block = first
    if reply["text"]:
        events += [BlockStarted(block, "text"), TextDelta(block, reply["text"])]
        events.append(BlockSealed(block))
        block += 1
    for raw in reply["tool_calls"]:
        call = mapping(raw)
        # Codex numbers its calls anew in every turn, so its ids cannot be kept.
        id_ = f"codex_{uuid.uuid4().hex[:20]}"
        events.append(BlockStarted(block, "tool_call", id_, string(call.get("name"))))
        events.append(ToolInputDelta(block, _repaired(string(call.get("arguments_json")))))
        events.append(BlockSealed(block))
        block += 1
    return events


def _repaired(arguments: str) -> str:
    """Escape lone backslashes once, which models forget within JSON within JSON."""
    if parse_arguments(arguments)[1] is None:
        return arguments
    mended_once = _ESCAPE.sub(lambda found: found[0] if found[1] else r"\\", arguments)
    return mended_once if parse_arguments(mended_once)[1] is None else arguments


# A good escape, or a backslash that is none.
_ESCAPE = re.compile(r"\\([\"\\/bfnrt]|u[0-9a-fA-F]{4})?")


def _prompt(request: ModelRequest) -> bytes:
    conversation = [_described(message) for message in prepare(request.messages, _RULES)]
    tools = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": dict(tool.input_schema),
        }
        for tool in request.tools
    ]
    choice = request.options.tool_choice
    if choice == "none":
        tools = []
    asked = {"system": request.system or "", "tools": tools, "conversation": conversation}
    demand = ""
    if tools and choice not in (None, "auto", "none"):
        demand = (
            f"This time you must call {'a tool' if choice == 'any' else f'the tool {choice}'}.\n"
        )
    return f"{_INSTRUCTIONS}{demand}\n".encode() + dumps(asked) + b"\n"


def _described(message: Message) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for block in message.content:
        match block:
            case Text():
                blocks.append({"type": "text", "text": block.text})
            case ToolCall():
                blocks.append(
                    {"type": "tool_call", "id": block.id, "name": block.name, "input": block.input}
                )
            case ToolResult():
                blocks.append(
                    {
                        "type": "tool_result",
                        "call_id": block.call_id,
                        "text": block.text,
                        "is_error": block.is_error,
                    }
                )
            case _:
                blocks.append({"type": block.type, "note": "not shown here"})
    return {"role": message.role, "content": blocks}
