"""The tool `memory`: files that a model keeps from one conversation to the next.

Claude knows this tool by itself, as ``memory_20250818``; any other model is told of it like of any
function, and its commands are the same. What a model calls ``/memories`` is one folder on this
machine, and nothing outside of it is reached: paths go through `alloy_nb.tools.paths`, and files
are opened, replaced and deleted one name at a time without following links.

Source, read 2026-11-21: https://platform.claude.com/docs/en/agents-and-tools/tool-use/memory-tool
(commands, and the words of answers and errors, which Claude was trained on), its tool reference
(which needs no beta), and the types of anthropic 2.11 (``memory_tool_20250818_param``).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.tools.files import (
    Folder,
    changing,
    encoded,
    folder_of,
    kind_of,
    open_regular,
    printable,
    reason_of,
    replace_file,
)
from alloy_nb.tools.paths import Place, locate

__all__ = ["Memory"]

_ROOT = "/memories"
_LARGEST = 1 << 20
_MOST_LINES = 999_999
_WIDTH = 6
_LEVELS = 2
_MOST_ENTRIES = 1_000

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "view": ("path",),
    "create": ("path", "file_text"),
    "str_replace": ("path", "old_str", "new_str"),
    "insert": ("path", "insert_line", "insert_text"),
    "delete": ("path",),
    "rename": ("old_path", "new_path"),
}
_MAY: Mapping[str, tuple[str, ...]] = {"view": ("view_range",)}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "enum": list(_NEEDS)},
        "path": _text("view, create, str_replace, insert, delete: a path under /memories"),
        "view_range": {
            "type": "array",
            "items": {"type": "integer"},
            "minItems": 2,
            "maxItems": 2,
            "description": "view: the first and the last line; -1 is the end",
        },
        "file_text": _text("create: all of the new file"),
        "old_str": _text("str_replace: a text that occurs exactly once"),
        "new_str": _text("str_replace: what to put in its place"),
        "insert_line": {
            "type": "integer",
            "description": "insert: the line after which to insert; 0 is the beginning",
        },
        "insert_text": _text("insert: the text"),
        "old_path": _text("rename: what to rename"),
        "new_path": _text("rename: its new path"),
    },
    "required": ["command"],
    "additionalProperties": False,
}


class Memory:
    """Keep files under /memories from one conversation to the next; look there before you begin.

    Args:
        folder: Where they are; a relative path is relative to the agent's working directory.
        risk: ``"write"`` asks before each use under the policy *ask*; ``"read"`` does not.
    """

    name = "memory"
    description = (
        "Keep files under /memories from one conversation to the next; look there before you "
        "begin. Commands: view a directory or a file, create a file, str_replace or insert text "
        "in one, delete or rename."
    )
    input_schema = _SCHEMA
    # The commands of one message are carried out in their order.
    concurrent = False
    max_result_chars = 100_000
    native: Mapping[str, Mapping[str, Any]] = {
        "anthropic": {"type": "memory_20250818", "name": "memory"}
    }

    def __init__(self, folder: str | Path = ".alloy/memories", *, risk: str = "write") -> None:
        if not str(folder):
            raise ConfigError("Memory needs a folder, such as Memory('.alloy/memories').")
        self.folder = Path(folder).expanduser()
        self.risk = risk

    def run(self, asked: dict[str, Any], context: ToolContext) -> str:
        """Carry out one command.

        Raises:
            ToolError: It lacks an argument, leads out of /memories, or cannot be done.
        """
        command = str(asked["command"])
        for name in _NEEDS[command]:
            if name not in asked:
                raise ToolError(f"The command {command} needs {name}.")
        root = Path(os.path.realpath(context.working_directory / self.folder))
        root.mkdir(parents=True, exist_ok=True)
        known = (*_NEEDS[command], *_MAY.get(command, ()))
        given = {name: asked[name] for name in known if name in asked}
        try:
            answer: str = getattr(_Store(root), command)(**given)
        except OSError as error:
            raise ToolError(f"Cannot {command}: {reason_of(error)}.") from None
        return answer


class _Store:
    """The commands, on one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def view(self, path: str, view_range: list[int] | None = None) -> str:
        place = self._place(path)
        found = self._status(place)
        if found is None:
            raise ToolError(f"The path {path} does not exist. Please provide a valid path.")
        if stat.S_ISDIR(found.st_mode):
            return self._listing(place, path)
        lines = self._read(place, path).split("\n")
        if len(lines) > _MOST_LINES:
            raise ToolError(f"File {path} exceeds maximum line limit of {_MOST_LINES:,} lines.")
        first, last = view_range or (1, -1)
        first = max(first, 1)
        shown = lines[first - 1 : len(lines) if last == -1 else max(last, 0)]
        return f"Here's the content of {path} with line numbers:\n{_numbered(shown, first)}"

    def create(self, path: str, file_text: str) -> str:
        place = self._file(path)
        with changing(place), folder_of(place, create=True) as folder:
            if folder.status(place.parts[-1]) is not None:
                raise ToolError(f"Error: File {path} already exists")
            self._write(folder, place, file_text, before=None)
        return f"File created successfully at: {path}"

    def str_replace(self, path: str, old_str: str, new_str: str) -> str:
        place = self._file(path)
        if not old_str:
            raise ToolError("old_str is empty: give a text that occurs exactly once.")
        with changing(place):
            text = self._existing(place, path)
            count = text.count(old_str)
            if count == 0:
                raise ToolError(
                    f"No replacement was performed, old_str `{old_str}` did not appear verbatim "
                    f"in {path}."
                )
            if count > 1:
                lines = ", ".join(map(str, _lines_with(text, old_str)))
                raise ToolError(
                    "No replacement was performed. Multiple occurrences of old_str "
                    f"`{old_str}` in lines: {lines}. Please ensure it is unique"
                )
            new = text.replace(old_str, new_str)
            self._replace(place, new)
        line = text[: text.index(old_str)].count("\n")
        first = max(0, line - 2)
        snippet = _numbered(new.split("\n")[first : line + 3 + new_str.count("\n")], first + 1)
        return (
            "The memory file has been edited. Here is the snippet showing the change (with line "
            f"numbers):\n{snippet}"
        )

    def insert(self, path: str, insert_line: int, insert_text: str) -> str:
        place = self._file(path)
        with changing(place):
            lines = self._existing(place, path).split("\n")
            if lines[-1] == "":
                lines.pop()
            if not 0 <= insert_line <= len(lines):
                raise ToolError(
                    f"Invalid `insert_line` parameter: {insert_line}. It should be within the "
                    f"range of lines of the file: [0, {len(lines)}]"
                )
            lines.insert(insert_line, insert_text.removesuffix("\n"))
            self._replace(place, "\n".join(lines) + "\n")
        return f"The file {path} has been edited."

    def delete(self, path: str) -> str:
        place = self._place(path)
        if not place.parts:
            raise ToolError(f"The directory {_ROOT} itself cannot be deleted.")
        with changing(place), folder_of(place) as folder:
            found = folder.status(place.parts[-1])
            if found is None:
                raise ToolError(f"The path {path} does not exist")
            if stat.S_ISDIR(found.st_mode):
                _remove_tree(folder, place.parts[-1])
            else:
                folder.unlink(place.parts[-1])
        return f"Successfully deleted {path}"

    def rename(self, old_path: str, new_path: str) -> str:
        old, new = self._place(old_path), self._place(new_path)
        if not old.parts or not new.parts:
            raise ToolError(f"The directory {_ROOT} itself cannot be renamed.")
        if self._status(old) is None:
            raise ToolError(f"The path {old_path} does not exist")
        if self._status(new) is not None:
            raise ToolError(f"The destination {new_path} already exists")
        with folder_of(old) as here, folder_of(new, create=True) as there:
            os.rename(
                here.spell(old.parts[-1]),
                there.spell(new.parts[-1]),
                src_dir_fd=here.descriptor,
                dst_dir_fd=there.descriptor,
            )
        return f"Successfully renamed {old_path} to {new_path}"

    # --- paths and files ------------------------------------------------------------------------

    def _place(self, path: str) -> Place:
        """Return where a path of the model's is on this machine."""
        below = path.removeprefix(_ROOT)
        if not path.startswith(_ROOT) or (below and not below.startswith("/")):
            raise ToolError(f"The path {path} is not under {_ROOT}.")
        relative = below.lstrip("/")
        # Names that mean a person's home elsewhere.
        if relative.startswith("~"):
            raise ToolError(f"The path {path} cannot begin with ~ under {_ROOT}.")
        context = ToolContext(working_directory=self._root, allowed_paths=(self._root,))
        try:
            place = locate(relative or ".", context)
        except ToolError:
            raise ToolError(f"The path {path} leads out of {_ROOT}, or cannot be one.") from None
        return Place(path, place.root, place.parts)

    def _file(self, path: str) -> Place:
        place = self._place(path)
        if not place.parts:
            raise ToolError(f"The path {path} is a directory; give the path of a file.")
        return place

    def _status(self, place: Place) -> os.stat_result | None:
        if not place.parts:
            return self._root.stat()
        try:
            with folder_of(place) as folder:
                return folder.status(place.parts[-1])
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _existing(self, place: Place, path: str) -> str:
        found = self._status(place)
        if found is None:
            raise ToolError(f"The path {path} does not exist. Please provide a valid path.")
        if not stat.S_ISREG(found.st_mode):
            raise ToolError(f"The path {path} is {kind_of(found)}, not a file.")
        return self._read(place, path)

    def _read(self, place: Place, path: str) -> str:
        with folder_of(place) as folder, open_regular(folder, place.parts[-1]) as (file, status):
            if status.st_size > _LARGEST:
                raise ToolError(f"The file {path} is over 1 MB.")
            data = file.read(_LARGEST + 1)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ToolError(f"The file {path} is no text in UTF-8.") from None

    def _replace(self, place: Place, text: str) -> None:
        with folder_of(place) as folder:
            self._write(folder, place, text, before=folder.status(place.parts[-1]))

    def _write(
        self, folder: Folder, place: Place, text: str, *, before: os.stat_result | None
    ) -> None:
        content = encoded(text)
        if len(content) > _LARGEST:
            raise ToolError(f"The file {place.asked} would be over 1 MB: divide it.")
        replace_file(folder, place.parts[-1], content, before=before)

    def _listing(self, place: Place, path: str) -> str:
        asked = path.rstrip("/") or _ROOT
        lines = [f"{_size(self._status(place))}\t{asked}"]
        for name, found in self._entries(place, "", 1):
            if len(lines) > _MOST_ENTRIES:
                lines.append("[more were left out: view a directory below]")
                break
            lines.append(f"{_size(found)}\t{asked}/{printable(name)}")
        header = (
            f"Here're the files and directories up to 2 levels deep in {asked}, excluding hidden "
            "items and node_modules:"
        )
        return "\n".join([header, *lines])

    def _entries(
        self, place: Place, above: str, level: int
    ) -> Iterator[tuple[str, os.stat_result]]:
        # The folder of something inside a directory is that directory.
        inside = Place(place.asked, place.root, (*place.parts, "_"))
        with folder_of(inside) as folder:
            where = folder.path if folder.descriptor is None else _listable(folder.descriptor)
            found = [(name, folder.status(name)) for name in sorted(_names(where))]
        for name, status in found:
            if status is None or name.startswith(".") or name == "node_modules":
                continue
            if stat.S_ISDIR(status.st_mode):
                yield f"{above}{name}/", status
                if level < _LEVELS:
                    below = Place(place.asked, place.root, (*place.parts, name))
                    yield from self._entries(below, f"{above}{name}/", level + 1)
            elif stat.S_ISREG(status.st_mode):
                yield f"{above}{name}", status


def _listable(descriptor: int) -> int:
    """Return a descriptor that can be listed: the one that walked there can only be passed."""
    return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)


def _names(where: Path | int) -> list[str]:
    try:
        return os.listdir(where)  # noqa: PTH208  # a path has no descriptor to list
    finally:
        if isinstance(where, int):
            os.close(where)


def _remove_tree(folder: Folder, name: str) -> None:
    if folder.descriptor is None:
        shutil.rmtree(folder.path / name)
    elif not shutil.rmtree.avoids_symlink_attacks:
        raise OSError(errno.ENOTSUP, "directories cannot be deleted safely here")
    else:
        shutil.rmtree(name, dir_fd=folder.descriptor)


def _lines_with(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield text[:at].count("\n") + 1
        at = text.find(part, at + 1)


def _numbered(lines: list[str], first: int) -> str:
    return "\n".join(f"{number:>{_WIDTH}}\t{line}" for number, line in enumerate(lines, first))


def _size(status: os.stat_result | None) -> str:
    size = float(status.st_size if status else 0)
    units = iter("BKMG")
    unit = next(units)
    while size >= 1024 and unit != "G":
        size, unit = size / 1024, next(units)
    return f"{size:.1f}".removesuffix(".0") + unit
