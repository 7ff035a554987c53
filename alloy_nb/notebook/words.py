"""What stands after ``%alloy`` and ``%%alloy``: flags, then a command or a prompt.

Flags come first; from the first word that is none, the rest is the prompt, character for
character. ``--`` ends the flags, for prompts that begin like one or with the name of a command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from IPython.core.error import UsageError

__all__ = ["COMMANDS", "FLAGS", "Command", "Flag", "Words", "parse", "usage"]


@dataclass(frozen=True, slots=True)
class Flag:
    """An option: its names, the word for its value (``None`` for a switch), and its meaning."""

    names: tuple[str, ...]
    value: str | None
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name under which the value is found."""
        return self.names[-1].lstrip("-").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: how it is written and what it does."""

    name: str
    arguments: str
    meaning: str
    most: int
    """How many words may follow; more make it a prompt that only looks like a command."""
    flags: tuple[str, ...] = ()
    """The keys of the flags that mean something to it; others are refused, not ignored."""


FLAGS: Sequence[Flag] = (
    Flag(
        ("-m", "--model"), "MODEL", "answer this once with another model, such as ollama/llama3.2"
    ),
    Flag(("-o", "--output"), "NAME", "put the result into this variable"),
    Flag(("-s", "--session"), "NAME", "use another conversation of this notebook"),
    Flag(("--new",), None, "forget the conversation first"),
    Flag(("--base-url",), "URL", "the address of the model's server"),
    Flag(("--max-cost",), "USD", "send nothing that could cost more in this turn"),
    Flag(
        ("--think",),
        "EFFORT",
        "how much to think",
        choices=("off", "low", "medium", "high", "max"),
    ),
    Flag(
        ("--approve",),
        "POLICY",
        "which tools may run in this turn",
        choices=("ask", "read", "all", "none"),
    ),
    Flag(("--replay",), None, "show the answer that the journal has to just this, if it has one"),
    Flag(("--replay-only",), None, "the same, and fail where it has none, as for CI"),
    Flag(("--fresh",), None, "ask anew, whatever the journal has"),
    Flag(("--force",), None, "replace what is there; for export and import"),
    Flag(("-h", "--help"), None, "show this"),
)

_ONE = ("session",)

COMMANDS: Sequence[Command] = (
    Command(
        "model",
        "[MODEL[:EFFORT]]",
        "show the model, or answer with another from now on",
        1,
        ("session", "base_url"),
    ),
    Command("models", "[WORD]", "list models, and whether there is a key for them", 1),
    Command("approve", "[POLICY]", "show or set which tools may run: ask, read, all, none", 1),
    Command("reset", "", "forget the conversation; settings and costs stay", 0, ("session",)),
    Command("resume", "[NAME]", "go on with a conversation from before the kernel's start", 1),
    Command("undo", "", "go back to before the last turn, which is kept on a branch", 0, _ONE),
    Command("fork", "NAME", "begin a branch of the conversation here, and go on with it", 1, _ONE),
    Command("use", "NAME", "go on with another branch, or another session", 1, _ONE),
    Command("tree", "", "list all turns of the session, and its branches", 0, _ONE),
    Command("sessions", "", "list the conversations that are kept here", 0),
    Command("search", "WORDS", "find what was said in any of them", 50),
    Command("sent", "", "show exactly what was sent last", 0, _ONE),
    Command("forget", "[NAME]", "wipe a session from the disk", 1),
    Command("history", "", "list what was said, a line for each message", 0, ("session",)),
    Command("skills", "", "list the skills; %alloy /NAME WORDS runs one", 0),
    Command("cost", "", "show what this session used and cost", 0),
    Command(
        "export",
        "FILE",
        "write the conversation: FILE.md, .html, .json, .ipynb or .py",
        1,
        ("session", "force"),
    ),
    Command(
        "import",
        "FILE",
        "go on with a conversation that was exported to FILE.json",
        1,
        ("session", "force"),
    ),
    Command("help", "", "show this", 0),
)
_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}
_COMMANDS = {command.name: command for command in COMMANDS}


@dataclass(frozen=True, slots=True)
class Words:
    """A parsed line: a command with its words, or a prompt, and the flags before it."""

    flags: dict[str, Any]
    command: str | None = None
    arguments: tuple[str, ...] = ()
    prompt: str = ""


_SPACE = re.compile(r"\s*")
# A word, or a quoted text; an apostrophe inside a word (what's) is part of it.
_WORD = re.compile(r"""(?P<quote>["'])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)|\S+""", re.S)


def parse(line: str, *, cell: str | None = None) -> Words:
    """Parse what stands after the magic.

    Args:
        line: The rest of the line.
        cell: The body, for the cell form; it is the prompt, or continues it.

    Raises:
        UsageError: An unknown flag or command word, or a value that is missing or not allowed.
    """
    flags, rest, forced = _flags(line)
    if cell is not None:
        _check_prompt(flags)
        prompt = f"{rest}\n{cell}" if rest else cell
        return Words(flags, prompt=prompt.removesuffix("\n"))
    first = _WORD.match(rest)
    if not forced and first is not None and first[0] in _COMMANDS:
        return _command(_COMMANDS[first[0]], rest[first.end() :], flags)
    _check_prompt(flags)
    return Words(flags, prompt=rest)


def usage() -> str:
    """Return the help as text."""
    flags = [(", ".join(f.names) + (f" {f.value}" if f.value else ""), _meaning(f)) for f in FLAGS]
    commands = [(f"%alloy {c.name} {c.arguments}".rstrip(), c.meaning) for c in COMMANDS]
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
            "Commands",
            *_columns(commands),
            "",
            "Flags",
            *_columns(flags),
            "",
            "A prompt that begins with the name of a command: %alloy -- reset the index of @df",
            "Settings: %config Alloy",
        ]
    )


def _meaning(flag: Flag) -> str:
    return f"{flag.meaning}: {', '.join(flag.choices)}" if flag.choices else flag.meaning


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows) + 2
    return [f"    {left:<{width}}{right}" for left, right in rows]


def _command(command: Command, rest: str, flags: dict[str, Any]) -> Words:
    """Read what follows a command: its words, and flags before or after them."""
    words: list[str] = []
    left = rest
    while len(words) <= command.most:
        more, left, _ = _flags(left)
        flags = {**flags, **more}
        word = _WORD.match(left)
        if word is None:
            return _checked_command(command, tuple(words), flags)
        words.append(word["quoted"] if word["quote"] else word[0])
        left = left[_skip(left, word.end()) :]
    takes = command.arguments or "nothing"
    raise UsageError(
        f"%alloy {command.name} takes {takes} after it. To ask the model this, write: "
        f"%alloy -- {command.name} {rest.strip()}"
    )


def _checked_command(command: Command, words: tuple[str, ...], flags: dict[str, Any]) -> Words:
    for key in flags:
        if key not in (*command.flags, "help"):
            name = next(f.names[-1] for f in FLAGS if f.key == key)
            raise UsageError(f"{name} means nothing to %alloy {command.name}. See %alloy help.")
    return Words(flags, command=command.name, arguments=words)


def _check_prompt(flags: dict[str, Any]) -> None:
    if "force" in flags:
        raise UsageError("--force means nothing to a prompt. See %alloy help.")


def _flags(line: str) -> tuple[dict[str, Any], str, bool]:
    """Take the flags off the front; return them, what is left, and whether ``--`` ended them."""
    values: dict[str, Any] = {}
    at = _skip(line, 0)
    while at < len(line) and line[at] == "-":
        word = _WORD.match(line, at)
        if word is None or word[0] == "-":
            break
        name, equals, value = word[0].partition("=")
        if name == "--":
            return values, line[_skip(line, word.end()) :], True
        flag = _BY_NAME.get(name)
        if flag is None:
            raise UsageError(_unknown(name))
        at = _skip(line, word.end())
        if flag.value is None:
            values[flag.key] = True
            continue
        if not equals:
            value, at = _value(line, at, flag, name)
        values[flag.key] = _checked(flag, name, value)
    return values, line[at:].rstrip("\n"), False


def _value(line: str, at: int, flag: Flag, name: str) -> tuple[str, int]:
    word = _WORD.match(line, at)
    if word is None:
        raise UsageError(f"{name} needs a value: {name} {flag.value}")
    value = word["quoted"] if word["quote"] else word[0]
    return value, _skip(line, word.end())


def _checked(flag: Flag, name: str, value: str) -> str:
    if flag.choices and value not in flag.choices:
        near = get_close_matches(value, flag.choices, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"{name} {value}: use one of {', '.join(flag.choices)}.{hint}")
    return value


def _unknown(name: str) -> str:
    near = get_close_matches(name, list(_BY_NAME), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"Unknown flag {name}.{hint} See %alloy help; `--` before a prompt that begins with -."


def _skip(line: str, at: int) -> int:
    space = _SPACE.match(line, at)
    return space.end() if space else at
