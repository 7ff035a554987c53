"""Tab after ``%alloy``: commands, flags, their values, models, and ``@names`` in a prompt.

It is a matcher of IPython's completer (``IPCompleter.custom_matchers``, version 2 of its interface,
IPython 8.6 and later, read in 9.18.1 on 2026-11-21), which the terminal and a kernel's
``complete_request`` go through alike. The older hook ``complete_command`` takes ``--m`` apart at
the dashes. Nothing of the user's is run: no property, no ``__getattr__``; and it never raises.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion

from alloy_nb.engine.calls.approval import POLICIES
from alloy_nb.engine.skills import skills
from alloy_nb.notebook.desk import Desk
from alloy_nb.notebook.grammar import COMMAND_FLAGS, COMMANDS, FLAGS, Command, Flag
from alloy_nb.notebook.inputs.schema import type_name
from alloy_nb.notebook.turns.teams import teams_in
from alloy_nb.providers import DEFAULT_MODELS, catalog, vendors
from alloy_nb.providers.base import EFFORTS
from alloy_nb.providers.presets import PRESETS

__all__ = ["Choice", "choices", "completed"]

_MOST = 200
_NEWEST = 1_000

_LINE = re.compile(r"\s*(?:[\w.,\s]+=\s*)?%alloy[ \t](?P<rest>.*)", re.S)
_CELL = re.compile(r"\s*%%alloy(?=[ \t\n]|\Z)(?P<rest>.*)", re.S)
# As `references` finds them, but unfinished and at the end.
_REFERENCE = re.compile(r"""(?<![\w./@\\])@(?P<word>file:[^\s"'<>]*|(?:In|Out)\[\d*|[\w.]*)\Z""")
_EXPRESSION = re.compile(r"(?<!\\)\$\(")
_WORDS_OF_REFERENCES = {
    "In[": "the source of a cell",
    "Out[": "what came out of a cell",
    "error": "the last exception",
    "file:": "a file of this folder",
    "last": "the last cell",
    "plot": "the last figure",
}
_LEVELS = ("none", "names", "schema", "sample:5", "full")
_OF_TABLES = ("columns", "dtypes")
_HAVE_SESSIONS = ("resume", "forget")
_HAVE_FILES = {"export": None, "import": (".json",), "promote": (".py", ".ipynb")}


@dataclass(frozen=True, slots=True)
class Choice:
    """A word that may stand here, and what it is."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the cursor stands: what is begun there, and what stands before it."""

    begun: str
    before: tuple[str, ...]
    is_cell: bool


def completed(desk: Desk, context: CompletionContext) -> Mapping[str, Any]:
    """Return what IPython asks for at a Tab."""
    lines = context.full_text.split("\n")
    above = lines[: context.cursor_line]
    line = lines[context.cursor_line] if context.cursor_line < len(lines) else ""
    text = "\n".join([*above, line[: context.cursor_position]])
    fragment, found = "", list[Choice]()
    begun = choices(desk, text)
    if begun is not None:
        fragment, found = begun
        # What is written to a model is no Python: nobody else has anything to say to it,
        # and looking for it would take seconds.
        found = found or [Choice(fragment)]
    return {
        "completions": [SimpleCompletion(text=c.text, type=c.kind) for c in found],
        "matched_fragment": fragment,
        "suppress": bool(found),
        "ordered": True,
    }


def choices(desk: Desk, text: str) -> tuple[str, list[Choice]] | None:
    """Return what is begun at the end of a cell's text, and what it may become.

    It is ``None`` where the text is not ours: outside of the magic, and in a ``$(expression)``.
    """
    rest, is_cell = _rest(text)
    if rest is None or _is_in_expression(rest):
        return None
    reference = _REFERENCE.search(rest)
    if reference is not None:
        word = reference["word"]
        # An agent is asked by its name, which a prompt begins with.
        first = not rest[: reference.start()].rpartition("\n")[2].strip()
        agents = _agents(desk) if first or not is_cell else ()
        return f"@{word}", _cut(chain(agents, _named(desk, word)), f"@{word}")
    begun = re.search(r"\S*\Z", rest)
    fragment = begun[0] if begun is not None else ""
    if is_cell and "\n" in rest:
        return fragment, []
    place = _Place(fragment, tuple(rest[: len(rest) - len(fragment)].split()), is_cell)
    return _of_line(desk, place)


def _is_in_expression(text: str) -> bool:
    """Tell whether the end stands in a ``$(expression)`` that is not closed yet."""
    end = 0
    for begin in _EXPRESSION.finditer(text):
        if begin.start() < end:
            continue
        depth = 0
        for end in range(begin.start() + 1, len(text)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if depth == 0:
                break
        else:
            return True
    return False


def _rest(text: str) -> tuple[str | None, bool]:
    """Return what stands after the magic, and whether it is that of a cell."""
    cell = _CELL.match(text)
    if cell is not None:
        return cell["rest"], True
    line = _LINE.match(text.rpartition("\n")[2])
    return (line["rest"], False) if line is not None else (None, False)


# --- flags, commands, words ---------------------------------------------------------------------

_BY_NAME: Mapping[str, Flag] = {name: flag for flag in FLAGS for name in flag.names}
_COMMANDS: Mapping[str, Command] = {command.name: command for command in COMMANDS}


def _of_line(desk: Desk, place: _Place) -> tuple[str, list[Choice]]:
    """Return what may stand after the magic on its own line."""
    flag, command, words, is_prompt = _read(place)
    if flag is not None:
        return _value(desk, flag, place.begun)
    name, equals, value = place.begun.partition("=")
    if equals and name in _BY_NAME and not is_prompt:
        return _value(desk, _BY_NAME[name], value)
    if place.begun.startswith("-") and not is_prompt:
        return place.begun, _cut(_flags(command), place.begun)
    if command is not None:
        return place.begun, _cut(_arguments(desk, command, words, place.begun), place.begun)
    if is_prompt or words:
        return place.begun, []
    if place.begun.startswith("/"):
        known = (Choice(f"/{skill.name}", "skill") for skill in skills())
        return place.begun, _cut(known, place.begun)
    commands = () if place.is_cell else (Choice(name, "command") for name in _COMMANDS)
    more = () if place.begun else _flags(None)
    return place.begun, _cut([*commands, *more], place.begun)


def _read(place: _Place) -> tuple[Flag | None, Command | None, list[str], bool]:
    """Return the flag that waits for a value, the command, its words; whether a prompt began."""
    waiting: Flag | None = None
    command: Command | None = None
    words: list[str] = []
    for word in place.before:
        if waiting is not None:
            waiting = None
        elif word == "--":
            return None, None, words, True
        elif word.startswith("-") and len(word) > 1:
            flag = _BY_NAME.get(word.partition("=")[0])
            waiting = flag if flag is not None and flag.value and "=" not in word else None
        elif command is None and not words and not place.is_cell and word in _COMMANDS:
            command = _COMMANDS[word]
        elif command is None or (command.tail and len(words) >= command.most):
            return None, command if command and command.tail else None, [*words, word], True
        else:
            words.append(word)
    return waiting, command, words, False


def _flags(command: Command | None) -> Iterator[Choice]:
    for flag in FLAGS:
        if command is None:
            fits = flag.key not in COMMAND_FLAGS
        else:
            fits = flag.key in command.flags or flag.key == "help"
        if fits:
            yield from (Choice(name, "flag") for name in reversed(flag.names))


def _value(desk: Desk, flag: Flag, begun: str) -> tuple[str, list[Choice]]:
    """Return what may be a flag's value; of a list with commas, its last part."""
    if flag.key in ("model", "tools", "input"):
        begun = begun.rpartition(",")[2]
    if flag.choices:
        return begun, _cut((Choice(word, "value") for word in flag.choices), begun)
    match flag.key:
        case "model":
            return begun, _cut(_models(begun), begun)
        case "session":
            return begun, _cut((Choice(name, "session") for name in desk.sessions), begun)
        case "team":
            return begun, _cut(_teams(desk), begun)
        case "fork":
            return begun, _cut(_branches(desk), begun)
        case "data":
            return begun, _cut((Choice(level, "value") for level in _LEVELS), begun)
        case "tools":
            names = [tool.name for tool in _tools(desk)]
            return begun, _cut((Choice(name, "tool") for name in [*names, "none"]), begun)
        case "input":
            return begun, _cut((Choice(c.text[1:], c.kind) for c in _named(desk, begun)), begun)
        case "system" if begun.startswith("@"):
            return begun, _cut((Choice(f"@{p}", "path") for p in _paths(begun[1:])), begun)
        case "as":
            found = (*("bool", "float", "int", "str", "DataFrame"), "list[str]", "list[int]")
            own = [c for c in _variables(desk, begun) if c.kind == "class"]
            return begun, _cut([*own, *(Choice(word, "type") for word in found)], begun)
        case "output":
            return begun, _cut(_variables(desk, begun), begun)
    return begun, []


def _arguments(desk: Desk, command: Command, words: Sequence[str], begun: str) -> Iterable[Choice]:
    """Return what may follow a command."""
    name = command.name
    if name in _HAVE_FILES and len(words) < command.most:
        script = [Choice("script", "value")] if name == "promote" else []
        return [*script, *(Choice(path, "path") for path in _paths(begun, _HAVE_FILES[name]))]
    if name in ("explain", "map") and not words:
        return _variables(desk, begun)
    if words:
        return _tools_of_words(desk, name, words)
    match name:
        case "model":
            return [*_models(begun), *_efforts(begun)]
        case "models":
            return [Choice(vendor, "vendor") for vendor in vendors()]
        case "key":
            return [Choice(vendor, "vendor") for vendor in _with_keys()]
        case "approve":
            return [Choice(word, "value") for word in (*POLICIES, "forget")]
        case "data":
            return [Choice(level, "value") for level in _LEVELS]
        case "use":
            return [*_branches(desk), *_sessions(desk)]
        case "help":
            return [Choice(each, "command") for each in _COMMANDS]
        case "tools":
            return [Choice(word, "value") for word in ("add", "drop", "mcp")]
        case "doctor":
            return [Choice("offline", "value")]
        case "team":
            return [*_teams(desk), Choice("off", "value")]
        case "findings":
            return [Choice(word, "value") for word in ("on", "off")]
    return list(_sessions(desk)) if name in _HAVE_SESSIONS else []


def _tools_of_words(desk: Desk, name: str, words: Sequence[str]) -> Iterable[Choice]:
    if name == "tools" and words[0] == "drop":
        return [Choice(tool.name, "tool") for tool in _tools(desk)]
    if name == "tools" and words[0] == "add":
        space = desk.shell.user_ns
        return [Choice(key, "function") for key in space if type(space[key]) is FunctionType]
    return []


# --- what there is ------------------------------------------------------------------------------


def _models(begun: str) -> Iterator[Choice]:
    """Yield models: vendors first; all that are listed of one when it is named."""
    vendor, slash, _ = begun.partition("/")
    if slash:
        if vendor in vendors():
            yield from (Choice(f"{vendor}/{name}", "model") for name in catalog.models(vendor))
        return
    yield from (Choice(f"{name}/{model}", "model") for name, model in DEFAULT_MODELS.items())
    yield Choice("demo", "model")
    local = (name for name, preset in PRESETS.items() if preset.local)
    yield from (Choice(f"{name}/", "vendor") for name in [*local, *vendors()] if name != "demo")


def _efforts(begun: str) -> Iterator[Choice]:
    model, colon, _ = begun.rpartition(":")
    if colon and "/" in model:
        yield from (Choice(f"{model}:{effort}", "effort") for effort in EFFORTS)


def _with_keys() -> list[str]:
    named = [name for name, preset in PRESETS.items() if preset.key_variable]
    return [*DEFAULT_MODELS, *(name for name in named if name not in DEFAULT_MODELS)]


def _tools(desk: Desk) -> Sequence[Any]:
    session = desk.sessions.get(desk.current)
    return session.agent.tools if session is not None else desk.tools


def _sessions(desk: Desk) -> Iterator[Choice]:
    yield from (Choice(name, "session") for name in desk.sessions)
    with contextlib.suppress(Exception):  # the journal may be locked or damaged
        yield from (Choice(info.name, "session") for info in desk.archive.all()[:_MOST])


def _branches(desk: Desk) -> Iterator[Choice]:
    session = desk.sessions.get(desk.current)
    if session is not None and session.journal is not None:
        with contextlib.suppress(Exception):  # the journal may be locked or damaged
            yield from (Choice(name, "branch") for name in session.journal.branches())


def _teams(desk: Desk) -> Iterator[Choice]:
    yield from (Choice(name, "team") for name in teams_in(desk.shell.user_ns))


def _agents(desk: Desk) -> Iterator[Choice]:
    """Yield the agents that a prompt may begin with."""
    for team in teams_in(desk.shell.user_ns).values():
        yield from (Choice(f"@{name}", "agent") for name in team.names)


def _variables(desk: Desk, begun: str) -> Iterator[Choice]:
    """Yield the person's variables: tables first, no module, nothing that IPython put there.

    Of very many, the newest.
    """
    space = desk.shell.user_ns
    hidden = getattr(desk.shell, "user_ns_hidden", {})
    every = [name for name in list(space) if name.startswith(begun)]
    names = [
        name
        for name in every[-_NEWEST:]
        if (not name.startswith("_") or begun.startswith("_"))
        and not (name in hidden and hidden[name] is space[name])
        and not issubclass(type(space[name]), ModuleType)
    ]
    for name in sorted(names, key=lambda name: (not _is_table(space.get(name)), name)):
        value = space.get(name)
        yield Choice(name, "class" if issubclass(type(value), type) else type_name(value))


def _named(desk: Desk, word: str) -> Iterator[Choice]:
    """Yield what may stand after an ``@``, with it."""
    if word.startswith("file:"):
        yield from (Choice(f"@file:{path}", "path") for path in _paths(word[5:], below=True))
        return
    kind, bracket, begun = word.partition("[")
    if bracket:
        yield from (Choice(f"@{kind}[{number}]", "cell") for number in _cells(desk, kind, begun))
        return
    first, dot, _ = word.rpartition(".")
    if dot:
        yield from (Choice(f"@{first}.{name}", "column") for name in _parts(desk, first))
        return
    yield from (Choice(f"@{c.text}", c.kind) for c in _variables(desk, word))
    yield from (Choice(f"@{name}", what) for name, what in _WORDS_OF_REFERENCES.items())


def _cells(desk: Desk, kind: str, begun: str) -> list[int]:
    there = desk.shell.user_ns.get(kind)
    if isinstance(there, Mapping):
        numbers = [number for number in there if isinstance(number, int)]
    else:
        numbers = list(range(1, len(there))) if isinstance(there, list) else []
    return [n for n in sorted(numbers, reverse=True) if str(n).startswith(begun)][:_MOST]


def _parts(desk: Desk, path: str) -> Iterator[str]:
    """Yield a table's columns, or the attributes that an object has of its own."""
    first, *rest = path.split(".")
    value = desk.shell.user_ns.get(first)
    for name in rest:
        value = _own(value).get(name)
    if value is None:
        return
    if _is_table(value):
        yield from (c for c in list(value.columns)[:10_000] if isinstance(c, str) and _plain(c))
    else:
        yield from (name for name in _own(value) if not name.startswith("_"))


def _is_table(value: Any) -> bool:
    """Tell by its type whether this is a table: asking an object may run code of the user's."""
    kind = type(value)
    return "columns" in _names_of(kind) and "dtypes" in _names_of(kind)


def _names_of(kind: type) -> set[str]:
    return {name for base in kind.__mro__ for name in base.__dict__ if name in _OF_TABLES}


def _own(value: Any) -> Mapping[str, Any]:
    """Return what is set on an object itself."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _plain(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", name) is not None


def _paths(begun: str, endings: Sequence[str] | None = None, *, below: bool = False) -> list[str]:
    """Return files and folders that go on from what is begun; folders end with a slash."""
    folder, _, name = begun.rpartition("/")
    if below and (begun.startswith(("/", "~")) or ".." in begun.split("/")):
        return []
    at = os.path.expanduser(f"{folder}/") if "/" in begun else "."  # noqa: PTH111  # `~` as typed
    found: list[str] = []
    with contextlib.suppress(OSError), os.scandir(at) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".") and not name.startswith(".")
            if not entry.name.startswith(name) or hidden or re.search(r"[\s\"'<>]", entry.name):
                continue
            path = f"{folder}/{entry.name}" if "/" in begun else entry.name
            if entry.is_dir():
                found.append(f"{path}/")
            elif endings is None or entry.name.endswith(tuple(endings)):
                found.append(path)
            if len(found) >= 10 * _MOST:
                break
    return sorted(found)


def _cut(found: Iterable[Choice], begun: str) -> list[Choice]:
    """Return those that go on from what is begun, once each, as many as anybody reads."""
    kept: dict[str, Choice] = {}
    with contextlib.suppress(Exception):  # what was found before an object failed is as good
        for choice in found:
            if choice.text.startswith(begun) and choice.text.isprintable():
                kept.setdefault(choice.text, choice)
                if len(kept) >= _MOST:
                    break
    return list(kept.values())
