"""What stands after ``%alloy`` and ``%%alloy``: flags, then a command or a prompt.

Flags come first; from the first word that is none, the rest is the prompt, character for
character. ``--`` ends the flags, for prompts that begin like one or with the name of a command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from alloy_nb.notebook.brackets import outside
from alloy_nb.notebook.grammar import COMMAND_FLAGS, COMMANDS, FLAGS, Command, Flag

if TYPE_CHECKING:  # it brings pydantic, which loading the extension does not wait for
    from alloy_nb.messages import Document, Image, Text

__all__ = ["Words", "parse", "variable_of"]


_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}
_COMMANDS = {command.name: command for command in COMMANDS}


@dataclass(frozen=True, slots=True)
class Words:
    """A parsed line: a command with its words, or a prompt, and the flags before it."""

    flags: dict[str, Any]
    command: str | None = None
    arguments: tuple[str, ...] = ()
    prompt: str = ""
    recalled: bool = False
    """Whether the prompt is one of before, and nobody has typed it now."""
    along: tuple[Text | Image | Document, ...] = field(default=(), repr=False)
    """What was attached to a prompt of before, and goes along again."""
    key: str | None = None
    """Where it is asked from, if not from the cell; ``""`` is nowhere: no turn is replaced."""


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
    if not forced:
        _check_word(rest.strip())
    return Words(flags, prompt=rest)


def variable_of(flags: Mapping[str, Any]) -> str | None:
    """Return the variable that a result is to go into, where there is one.

    Raises:
        UsageError: What stands after ``-o`` is no name.
    """
    output: str | None = flags.get("output")
    if output is not None and (not output.isidentifier() or iskeyword(output)):
        raise UsageError(f"-o {output}: a result goes into a variable, and this is no name.")
    return output


def _command(command: Command, rest: str, flags: dict[str, Any]) -> Words:
    """Read what follows a command: its words, and flags before or after them."""
    words: list[str] = []
    left = rest
    while len(words) <= command.most:
        more, left, _ = _flags(left)
        flags = {**flags, **more}
        if command.tail and len(words) == command.most:
            return _checked_command(command, tuple(words), flags, prompt=left)
        word = _WORD.match(left)
        if word is None:
            return _checked_command(command, tuple(words), flags)
        end = word.end()
        if command.expression and not word["quote"]:
            end = _expression_end(left, at_least=end)
        words.append(word["quoted"] if word["quote"] else left[:end])
        left = left[_skip(left, end) :]
    takes = command.arguments or "nothing"
    raise UsageError(
        f"%alloy {command.name} takes {takes} after it. To ask the model this, write: "
        f"%alloy -- {command.name} {rest.strip()}"
    )


def _expression_end(text: str, *, at_least: int) -> int:
    """Return where an expression ends: a space in brackets or quotes is a part of it."""
    ends = (at for at in outside(text) if at == len(text) or text[at].isspace())
    return next(ends, at_least)


def _checked_command(
    command: Command, words: tuple[str, ...], flags: dict[str, Any], prompt: str = ""
) -> Words:
    for key in flags:
        if key not in (*command.flags, "help"):
            name = next(f.names[-1] for f in FLAGS if f.key == key)
            raise UsageError(f"{name} means nothing to %alloy {command.name}. See %alloy help.")
    return Words(flags, command=command.name, arguments=words, prompt=prompt)


def _check_prompt(flags: dict[str, Any]) -> None:
    for key in COMMAND_FLAGS:
        if key in flags:
            name = f"--{key.replace('_', '-')}"
            raise UsageError(f"{name} means nothing to a prompt. See %alloy help.")


def _check_word(word: str) -> None:
    """Refuse a word by itself that is all but a command's name: asking it would cost money."""
    near = get_close_matches(word, list(_COMMANDS), n=1, cutoff=0.8)
    if near:
        raise UsageError(
            f"There is no command {word}. Did you mean %alloy {near[0]}? To ask the model this, "
            f"write: %alloy -- {word}"
        )


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
        checked = _checked(flag, name, value)
        values[flag.key] = (*values.get(flag.key, ()), checked) if flag.repeats else checked
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
    # Without the dashes: they are alike in all of them.
    bare = {known.lstrip("-"): known for known in _BY_NAME}
    near = get_close_matches(name.lstrip("-"), list(bare), n=1)
    hint = f" Did you mean {bare[near[0]]}?" if near else ""
    return f"Unknown flag {name}.{hint} See %alloy help; `--` before a prompt that begins with -."


def _skip(line: str, at: int) -> int:
    space = _SPACE.match(line, at)
    return space.end() if space else at
