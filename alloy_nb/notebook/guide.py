"""The help of ``%alloy``, written from the grammar."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from alloy_nb.notebook.grammar import COMMANDS, FLAGS, Command, Flag

__all__ = ["GROUPS", "usage", "usage_of"]

_WIDTH = 92
# Longer ones stand on a line of their own.
_LEFT = 34

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Asking for help with code": ("fix", "explain", "see", "code", "promote"),
        "Asking once more": ("retry", "edit", "continue", "pick", "wait", "stop", "steer"),
        "Model, tools, limits": (
            *("model", "models", "key", "tools", "team", "approve", "data", "budget", "cost"),
            *("timeline", "skills", "doctor"),
        ),
        "What the model reads": (
            *("context", "hide", "unhide", "pin", "unpin", "compact", "sent", "stale"),
        ),
        "Conversations": (
            *("panel", "history", "undo", "fork", "use", "tree", "reset", "resume", "sessions"),
            *("search", "forget", "export", "import"),
        ),
        "Tables and findings": ("map", "findings"),
        "Variables": ("names", "restore"),
        "This": ("help",),
    }
)
"""The commands by what they are for; a new one that is in none stands at the end."""


def usage() -> str:
    """Return the whole help as text."""
    return "\n".join(
        [
            "Ask a model; it can use tools in this kernel.",
            "",
            "    %%alloy [FLAGS]",
            "    PROMPT, as long as you like; @name tells the model about a variable",
            "",
            "    %alloy [FLAGS] PROMPT        the same on one line",
            "    %alloy                       show model, session, tools and cost",
            "",
            *_commands(),
            "Flags",
            *_columns([_flag(flag) for flag in FLAGS]),
            "",
            "One command and its flags: %alloy help COMMAND, or %alloy COMMAND -h",
            "A prompt that begins with the name of a command: %alloy -- reset the index of @df",
            "Settings: %config Alloy",
        ]
    )


def usage_of(name: str) -> str | None:
    """Return the help of one command, or ``None`` where there is none."""
    command = next((each for each in COMMANDS if each.name == name), None)
    if command is None:
        return None
    takes = [_flag(flag) for flag in FLAGS if flag.key in command.flags]
    flags = ["", "Flags", *_columns(takes)] if takes else []
    return "\n".join([*_columns([_command(command)]), *flags])


def _commands() -> Iterator[str]:
    left = {command.name: command for command in COMMANDS}
    for title, names in GROUPS.items():
        rows = [_command(left.pop(name)) for name in names if name in left]
        if rows:
            yield from (title, *_columns(rows), "")
    if left:
        yield from ("More", *_columns([_command(each) for each in left.values()]), "")


def _command(command: Command) -> tuple[str, str]:
    return f"%alloy {command.name} {command.arguments}".rstrip(), command.meaning


def _flag(flag: Flag) -> tuple[str, str]:
    meaning = f"{flag.meaning}: {', '.join(flag.choices)}" if flag.choices else flag.meaning
    return ", ".join(flag.names) + (f" {flag.value}" if flag.value else ""), meaning


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = min(_LEFT, max(len(left) for left, _ in rows) + 2)
    lines = []
    for left, right in rows:
        first, *more = textwrap.wrap(right, _WIDTH - width - 4) or [""]
        if len(left) + 2 > width:
            lines.append(f"    {left}")
            left = ""
        lines.append(f"    {left:<{width}}{first}".rstrip())
        lines += [f"    {'':<{width}}{line}" for line in more]
    return lines
