"""The ``codex`` command line as a model: for those who have a subscription and no key.

Each request is one run of ``codex exec``, in a folder of its own, in a sandbox that only reads. The
conversation goes to its standard input, where it may be long and nobody else on the machine can
read it. The loop stays ours: codex answers with text or with calls of our tools, as a JSON schema
demands.

Source: the options of ``codex exec`` and its events with ``--json``
(https://github.com/openai/codex, codex-rs/exec/src/exec_events.rs), read 2026-11.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

from alloy_nb import secrets
from alloy_nb.errors import ConfigError, ProviderError, ServerFault, StreamTruncated, TimedOut
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
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.handoff import Rules, prepare
from alloy_nb.providers.lenient import count, items, mapping, string
from alloy_nb.providers.wire_json import dumps, loads, parse_arguments
from alloy_nb.usage import Usage

__all__ = ["Codex"]

_RULES = Rules(vendor="codex", thinking=False)
_OUTPUT_CHARACTERS = 2_000
_LINE_BYTES = 16 * 1024 * 1024
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
        program = shutil.which(self.command)
        if program is None:
            raise ConfigError(
                f"There is no program {self.command!r}: install the codex command line and log in, "
                "or choose another model."
            )
        with tempfile.TemporaryDirectory(prefix="alloy-codex-") as name:
            folder = Path(name)
            arguments = self._prepared(folder)
            begun = False
            async with contextlib.aclosing(self._run(program, arguments, folder, request)) as reply:
                async for event in reply:
                    if not begun:
                        begun = True
                        yield ReplyStarted(None, self.model)
                    yield event

    async def _run(
        self, program: str, arguments: list[str], folder: Path, request: ModelRequest
    ) -> AsyncGenerator[ModelEvent, None]:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=folder / "work",
            env=_environment(folder / "home"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LINE_BYTES,
            start_new_session=True,
        )
        output = _Output()
        blocks = 0
        try:
            async with asyncio.timeout(self._seconds(request)):
                await _say(process, _prompt(request))
                async for thought in _thoughts(process, output):
                    yield BlockStarted(blocks, "thinking")
                    yield ThinkingDelta(blocks, thought)
                    yield BlockSealed(blocks)
                    blocks += 1
                status = await process.wait()
        except TimeoutError:
            raise TimedOut(
                f"codex did not answer within {self.timeout:g} seconds.",
                provider=self.name,
                model=self.model,
            ) from None
        finally:
            await _end(process)
        reply = self._reply(folder / "reply.json", status, output)
        for made in _events(reply, blocks):
            yield made
        if output.usage is not None:
            yield UsageReported(output.usage)
        yield Stopped(StopReason.TOOL_USE if reply["tool_calls"] else StopReason.END_TURN)

    def _prepared(self, folder: Path) -> list[str]:
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
        (folder / "schema.json").write_bytes(dumps(_SCHEMA))
        return [*arguments, "-"]

    def _seconds(self, request: ModelRequest) -> float:
        if request.deadline is None:
            return self.timeout
        return max(0.0, min(self.timeout, request.deadline - time.monotonic()))

    def _reply(self, path: Path, status: int, output: _Output) -> dict[str, Any]:
        """Return what codex answered, checked against the schema as far as we rely on it."""
        try:
            reply = mapping(loads(path.read_bytes()))
        except (OSError, ValueError):
            said = output.failure or output.tail or "no output"
            text = f"codex ended with status {status}: {said}. Ask again."
            raise ServerFault(text, provider=self.name, model=self.model) from None
        calls = items(reply.get("tool_calls"))
        if reply.get("stop_reason") == "end_turn" and calls:
            raise self._failed("codex ended its turn and called tools at once")
        if reply.get("stop_reason") == "tool_use" and not calls:
            raise self._failed("codex wanted to use a tool and named none")
        return {"text": string(reply.get("text")), "tool_calls": calls}

    def _failed(self, text: str) -> ProviderError:
        return StreamTruncated(f"{text}. Ask again.", provider=self.name, model=self.model)


class _Output:
    """What codex printed, as far as it matters."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.failure = ""
        self.tail = ""

    def add(self, line: str) -> str:
        """Take a line, and return the thought in it, if it is one."""
        try:
            event = mapping(loads(line))
        except ValueError:
            self.tail = (self.tail + line)[-_OUTPUT_CHARACTERS:]
            return ""
        item = mapping(event.get("item"))
        match event.get("type"):
            case "turn.completed":
                self.usage = _usage(mapping(event.get("usage")))
            case "turn.failed":
                self.failure = string(mapping(event.get("error")).get("message"))
            case "error":
                self.failure = string(event.get("message"))
            case "item.completed" if item.get("type") == "reasoning":
                return string(item.get("text"))
        return ""


async def _thoughts(process: asyncio.subprocess.Process, output: _Output) -> AsyncIterator[str]:
    assert process.stdout is not None  # noqa: S101  # it was asked for
    async for line in process.stdout:
        if thought := output.add(line.decode("utf-8", "replace")):
            yield thought


async def _say(process: asyncio.subprocess.Process, prompt: bytes) -> None:
    assert process.stdin is not None  # noqa: S101  # it was asked for
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its own output says why
        process.stdin.write(prompt)
        await process.stdin.drain()
    process.stdin.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End codex and whatever it started: politely first."""
    if process.returncode is not None:
        return
    for number, seconds in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), seconds)
            return


def _environment(home: Path) -> dict[str, str]:
    """Return our environment without anybody's keys: codex has a login of its own."""
    keys = set(secrets.api_key_names())
    kept = {name: value for name, value in os.environ.items() if name not in keys}
    return {**kept, "CODEX_HOME": str(home)}


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
    mended = arguments.replace("\\", "\\\\")
    return mended if parse_arguments(mended)[1] is None else arguments


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_tokens=count(usage.get("cached_input_tokens")),
        reasoning_tokens=count(usage.get("reasoning_output_tokens")),
        raw=dict(usage),
    )


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
    asked = {"system": request.system or "", "tools": tools, "conversation": conversation}
    return _INSTRUCTIONS.encode() + b"\n" + dumps(asked) + b"\n"


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
