"""The flags of one cell, as settings of `alloy_nb.run` that hold for its turn alone."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from alloy_nb.engine.agent import Agent
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.calls.tool import Tool
from alloy_nb.notebook.desk import Desk, provider_at
from alloy_nb.providers import split_effort
from alloy_nb.providers.base import ModelOptions, Provider

__all__ = ["dollars", "options_of", "settings_of", "tools_of"]

# Bytes of a system prompt in a file; no model is told more.
_LONGEST_SYSTEM = 200_000
# What `--set` takes besides the options of a model.
_OF_THE_RUN = ("max_retries", "timeout", "tool_timeout")
_OTHER_NAMES = {"max_tokens": "max_output_tokens", "stop_sequences": "stop"}
# Options that only some formats have, and that go into a request's body under their own name: read
# in openai 3.52 (``CompletionCreateParamsBase``, ``ResponseCreateParamsBase``) on 2026-11-21.
# anthropic 2.11 has none of them, and Gemini's stand inside of another field.
_IN_BODY = {
    "alloy_nb.providers.chat": ("top_p", "seed", "frequency_penalty", "presence_penalty"),
    "alloy_nb.providers.responses": ("top_p",),
}
_ANYWHERE = tuple(dict.fromkeys(name for names in _IN_BODY.values() for name in names))


def settings_of(desk: Desk, flags: Mapping[str, Any], agent: Agent) -> dict[str, Any]:
    """Return what the flags of a prompt set for its turn.

    Raises:
        UsageError: A flag has a value that cannot be.
        ConfigError: An option has one; nothing was sent.
    """
    # In the background there is no cell for a card: a question waits for one, and is in words.
    read = _read_line if "bg" in flags else None
    approve = desk.approvals.for_turn(agent, flags.get("approve"), read)
    settings: dict[str, Any] = {"approve": approve}
    if "model" in flags or "base_url" in flags:
        model, effort = split_effort(flags.get("model") or desk.settings.model)
        settings["provider"] = provider_at(model, flags.get("base_url"))
        if effort:
            settings["effort"] = effort
    if "think" in flags:
        settings["effort"] = flags["think"]
    if "max_cost" in flags:
        settings["budget"] = Budget(dollars(flags["max_cost"]), within=agent.budget)
    if "max_turns" in flags:
        settings["max_turns"] = _count(flags["max_turns"])
    if "system" in flags:
        settings["system_prompt"] = _system(flags["system"])
    if "tools" in flags:
        settings["tools"] = tools_of(flags["tools"], agent.tools)
    settings.update(options_of(flags.get("set", ()), settings.get("provider") or agent.provider))
    agent.with_settings(**settings)  # what is wrong is told before anything changes
    return settings


def tools_of(names: str, there: Sequence[Tool]) -> tuple[Tool, ...]:
    """Return the tools of these names, separated by commas; ``none`` are none.

    Raises:
        UsageError: There is no such tool; the message lists those that there are.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if wanted == ["none"]:
        return ()
    known = {tool.name: tool for tool in there}
    for name in wanted:
        if name not in known:
            listed = ", ".join(known) or "there are none"
            raise UsageError(f"-t {names}: there is no tool {name}. The tools: {listed}; or none.")
    if not wanted:
        raise UsageError(f"-t {names!r}: name a tool ({', '.join(known)}), or none.")
    return tuple(known[name] for name in dict.fromkeys(wanted))


def options_of(pairs: Iterable[str], provider: Provider) -> dict[str, Any]:
    """Return the settings that ``name=value`` pairs stand for, for the model that answers.

    A value is read as JSON or as Python's literal, and else it is a text.

    Raises:
        UsageError: A pair is none, or its name is unknown or means nothing to this model.
    """
    settings: dict[str, Any] = {}
    body: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"--set {pair}: write NAME=VALUE, such as --set temperature=0.2.")
        name = _OTHER_NAMES.get(name, name)
        if name in body or name in settings:
            raise UsageError(f"--set {name} is given twice.")
        if name in _body_names(provider):
            body[name] = _number(name, _value(name, text))
        elif name in _named():
            settings[name] = _value(name, text)
        else:
            raise UsageError(_unknown(name, provider))
    if body:
        settings["extra_body"] = {**settings.get("extra_body", {}), **body}
    return settings


def dollars(text: str) -> Decimal:
    """Return an amount of money.

    Raises:
        UsageError: It is none.
    """
    try:
        return Decimal(text.lstrip("$"))
    except InvalidOperation:
        raise UsageError(f"--max-cost {text}: give US dollars, such as 0.50.") from None


# --- inside -------------------------------------------------------------------------------------


def _read_line(question: str) -> str:
    return input(question)  # looked up when it is called: a kernel replaces it for each cell


def _named() -> tuple[str, ...]:
    options = (f.name for f in fields(ModelOptions) if f.name != "previous_response_id")
    return (*options, *_OF_THE_RUN)


def _body_names(provider: Provider) -> tuple[str, ...]:
    modules = {kind.__module__ for kind in type(provider).__mro__}
    return next((names for module, names in _IN_BODY.items() if module in modules), ())


def _unknown(name: str, provider: Provider) -> str:
    if name in _ANYWHERE:
        return f"--set {name}: {provider.name} takes no {name} here; nothing was sent."
    known = sorted((*_named(), *_body_names(provider)))
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"--set {name}: there is no such option.{hint} The options are: {', '.join(known)}."


def _value(name: str, text: str) -> Any:
    text = text.strip()
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    if text[:1] in ("'", '"', "[", "{"):
        raise UsageError(
            f"--set {name}={text}: the value is not whole. Where it has blanks, put the pair into "
            f"""quotes: --set '{name}=["a b"]'."""
        )
    return text


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"--set {name}={value}: {name} is a number.")
    return value


def _count(text: str) -> int:
    if not (text.isdecimal() and len(text) < 10 and int(text)):
        raise UsageError(f"--max-turns {text}: give a whole number from 1.")
    return int(text)


def _system(text: str) -> str:
    if not text.startswith("@"):
        return text
    path = Path(text[1:]).expanduser()
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UsageError(f"--system {text}: {path} is no file.")
        with path.open("rb") as file:
            read = file.read(_LONGEST_SYSTEM + 1)
        if len(read) > _LONGEST_SYSTEM:
            raise UsageError(f"--system {text}: the file is longer than {_LONGEST_SYSTEM:,} bytes.")
        return read.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"--system {text}: {path} could not be read: {reason}.") from None
