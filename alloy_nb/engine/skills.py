"""Skills: prompts in Markdown files, to be used again by their names.

::

    ~/.alloy/skills/*.md              yours
    <repository>/.alloy/skills/*.md   the project's
    <folder>/.alloy/skills/*.md       of the folder that one works in

A later folder's file replaces an earlier one's of the same file name. A file may begin with its
name and what it is for, and its text may have places to fill in::

    ---
    name: review
    description: Look for faults in a change
    ---
    Review this change, the worst fault first:

    {{input}}
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from alloy_nb.engine.context import read_folder, tiers
from alloy_nb.errors import ConfigError

__all__ = ["Skill", "from_words", "skill", "skills"]

_FRONT_MATTER = re.compile(r"---[ \t]*\n(?P<lines>(?:.*\n)*?)---[ \t]*(?:\n|\Z)")
_WORDS = re.compile(r"/(?P<name>[A-Za-z_][\w-]*)(?:\s+(?P<rest>.*))?", re.S)
_FIELD = re.compile(r"(?P<key>[A-Za-z_][\w-]*)[ \t]*:[ \t]*(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Skill:
    """A prompt with a name.

    Args:
        name: What it is called by; the file's name where the file says no other.
        description: What it is for; may be empty.
        text: The prompt, with places such as ``{{input}}``.
        path: Where it was read, or ``None``.
    """

    name: str
    description: str
    text: str
    path: Path | None = None

    def apply(self, values: str | Mapping[str, object] = "") -> str:
        """Return the prompt with its places filled in.

        A text fills ``{{input}}``, a mapping fills ``{{key}}`` for each of its keys. Other places
        stay as they are, and what is filled in is not looked through for places again.

        Example:
            >>> Skill("greet", "", "Greet {{who}} in {{language}}.").apply({"who": "Ada"})
            'Greet Ada in {{language}}.'
        """
        given = {"input": values} if isinstance(values, str) else values
        filling = {f"{{{{{key}}}}}": str(value) for key, value in given.items()}
        if not filling:
            return self.text
        places = re.compile("|".join(re.escape(place) for place in filling))
        return places.sub(lambda found: filling[found[0]], self.text)


def skills(
    directory: str | os.PathLike[str] = ".", *, home: str | os.PathLike[str] | None = None
) -> list[Skill]:
    """Return the skills for work in a folder, by the alphabet of their names.

    Args:
        directory: Where the agent works.
        home: The folder to take for the person's home.
    """
    by_file = {
        file.path.name: parse(file.text, path=file.path)
        for folder in tiers(directory, "skills", home=home)
        for file in read_folder(folder)
    }
    return sorted(by_file.values(), key=lambda found: found.name)


def skill(
    name: str,
    directory: str | os.PathLike[str] = ".",
    *,
    home: str | os.PathLike[str] | None = None,
) -> Skill:
    """Return the skill of this name.

    Raises:
        ConfigError: There is none; the message lists those that there are.
    """
    there = skills(directory, home=home)
    for found in there:
        if found.name == name:
            return found
    raise ConfigError(unknown(name, there))


def from_words(
    words: str, *, more: str = "", directory: str | os.PathLike[str] = "."
) -> str | None:
    """Return the prompt that ``/name words`` stands for.

    Args:
        words: What was typed.
        more: What else is filled in, after a blank line.
        directory: Where the person works.

    Returns:
        The prompt, or ``None`` where this names no skill: a path, or there are no skills at all.
        What the skill has no place for follows it.

    Raises:
        ConfigError: There are skills, and none of this name; the message lists them.
    """
    found = _WORDS.fullmatch(words.strip())
    there = skills(directory) if found else []
    if found is None or not there:
        return None
    named = next((one for one in there if one.name == found["name"]), None)
    if named is None:
        raise ConfigError(unknown(found["name"], there))
    values = "\n\n".join(part for part in (found["rest"] or "", more) if part.strip())
    prompt = named.apply(values)
    return prompt if "{{input}}" in named.text or not values else f"{prompt}\n\n{values}"


def unknown(name: str, there: list[Skill]) -> str:
    """Return the sentence that says that there is no such skill, and which there are."""
    names = [found.name for found in there]
    if not names:
        return f"There is no skill {name!r}: put prompts into .alloy/skills/NAME.md."
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"There is no skill {name!r}.{hint} The skills are: {', '.join(names)}."


def parse(text: str, *, path: Path) -> Skill:
    """Make a skill of the text of a file."""
    found = _FRONT_MATTER.match(text)
    fields = _fields(found["lines"]) if found else {}
    body = text[found.end() :] if found else text
    return Skill(
        name=fields.get("name") or path.stem,
        description=fields.get("description", ""),
        text=body.strip(),
        path=path,
    )


def _fields(lines: str) -> dict[str, str]:
    """Read ``key: value`` lines; others mean nothing."""
    matches = (_FIELD.fullmatch(line.strip()) for line in lines.split("\n"))
    return {found["key"]: _unquoted(found["value"].strip()) for found in matches if found}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
