"""What goes along with the next prompt of a panel: variables, cells, files, pictures, as chips.

A reference (``df``, ``In[3]``, ``error``) is looked up again when its turn comes, as after ``-i``.
A file or a picture that was dropped is kept as its bytes until it is asked about; how much of it
goes is the dial's to say, then, as for ``@file:``.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from IPython.core.error import UsageError

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ConfigError, ToolError
from alloy_nb.markup.plain import one_line
from alloy_nb.messages import Document, Image, Text, user
from alloy_nb.notebook.inputs.attached import Attached, file_of
from alloy_nb.notebook.inputs.dial import Dial
from alloy_nb.notebook.inputs.references import block_of, found_in, outside_of_cells, resolve

if TYPE_CHECKING:
    from alloy_nb.notebook.panel.panel import Panel

__all__ = ["KINDS", "MOST_BYTES", "Attachments", "Taken"]

Kind = Literal["ref", "cell", "file", "image"]
KINDS: tuple[str, ...] = get_args(Kind)

MOST_BYTES = 20_000_000
"""Of one attachment."""

_MOST = 20
_ALL_BYTES = 40_000_000
_NAME = 120
_QUOTED = re.compile(r"[\s,\"'<>()\[\]]")


@dataclass(frozen=True, slots=True)
class _Item:
    """One attachment: a reference by its name, or a file by its bytes."""

    id: str
    label: str
    kind: Kind
    tokens: int
    reference: str = ""
    file: Attached | None = None
    problem: str = ""

    @property
    def chip(self) -> dict[str, Any]:
        chip = {"id": self.id, "label": self.label, "tokens": self.tokens, "kind": self.kind}
        return {**chip, "problem": self.problem} if self.problem else chip


@dataclass(frozen=True, slots=True)
class Taken:
    """What goes along with a prompt, as `Panel.ask` wants it."""

    inputs: str = ""
    media: tuple[Text | Image | Document, ...] = ()
    chips: tuple[Mapping[str, Any], ...] = ()


class Attachments:
    """What is attached to the next prompt of one panel; from any thread.

    Args:
        panel: Whose prompt it is.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._lock = threading.Lock()
        self._items: dict[str, _Item] = {}
        self._numbers = itertools.count(1)

    def attach(self, kind: Kind, name: str, data: bytes | None = None) -> None:
        """Attach something, which may take a while: a table is described, to know its size.

        Raises:
            ConfigError: There is no such thing, or it is of a kind that no model takes.
        """
        id_ = f"a{next(self._numbers)}"
        item = self._referred(id_, kind, name) if data is None else self._file(id_, name, data)
        with self._lock:
            self._check_room(item)
            self._items[id_] = item
        self.show()

    def detach(self, item_id: str) -> None:
        """Take something off again."""
        with self._lock:
            self._items.pop(item_id, None)
        self.show()

    def show(self) -> None:
        """Tell the front end what is attached."""
        self._panel.tell("chips", chips=[item.chip for item in self._all()])

    @property
    def is_there(self) -> bool:
        """Whether anything is attached."""
        return bool(self._all())

    def again(self) -> None:
        """Tell a front end that has just come what is attached, if anything is."""
        if self.is_there:
            self.show()

    def take(self, dial: Dial) -> Taken:
        """Return what is attached, for the prompt that is asked now; nothing is afterwards."""
        with self._lock:
            items = list(self._items.values())
            self._items.clear()
        if not items:
            return Taken()
        self.show()
        media: list[Text | Image | Document] = []
        for item in items:
            if item.file is not None:
                media += _sent(item.file, dial)
        return Taken(
            ",".join(item.reference for item in items if item.reference),
            tuple(media),
            tuple({"label": item.label, "tokens": item.tokens} for item in items),
        )

    # --- inside -----------------------------------------------------------------------------------

    def _all(self) -> list[_Item]:
        with self._lock:
            return list(self._items.values())

    def _check_room(self, item: _Item) -> None:
        if len(self._items) >= _MOST:
            raise ConfigError(f"At most {_MOST} things go along with one prompt.")
        size = sum(one.file.size for one in (*self._items.values(), item) if one.file is not None)
        if size > _ALL_BYTES:
            raise ConfigError(
                f"What goes along with one prompt is at most {_ALL_BYTES // 1_000_000} MB in all."
            )

    def _referred(self, id_: str, kind: Kind, name: str) -> _Item:
        session, desk = self._panel.session, self._panel.desk
        reference = _reference(kind, name)
        agent, dial = session.agent, desk.data.of(session)
        try:
            # While a cell runs, the last one is not over yet.
            with contextlib.nullcontext() if self._panel.busy else outside_of_cells():
                found = resolve(
                    "",
                    desk.shell.user_ns,
                    dial=dial,
                    files=ToolContext(agent.working_directory, agent.allowed_paths),
                    inputs=reference,
                )
        except UsageError as error:
            why = str(error).partition(": ")[2].removesuffix(" Nothing was sent.")
            raise ConfigError(f"@{one_line(name, _NAME)}: {why or error}") from None
        told = [*([found.text] if found.text.strip() else []), *found.media]
        problem = found.remarks[0] if found.remarks else ""
        if not told and not problem:
            problem = f"nothing of it is sent (--data {dial})"
        label = f"@{one_line(reference, 60)}"
        return _Item(id_, label, kind, self._tokens(told), reference, problem=problem)

    def _file(self, id_: str, name: str, data: bytes) -> _Item:
        name = one_line(name.replace("\\", "/").rpartition("/")[2], _NAME) or "pasted"
        try:
            file = file_of(name, data)
        except ToolError as error:
            raise ConfigError(f"{name}: {str(error).rstrip('.')}.") from None
        dial = self._panel.desk.data.of(self._panel.session)
        kind: Kind = "image" if file.kind.startswith("image/") else "file"
        problem = found_in(file, dial).remark.partition(": ")[2]
        tokens = self._tokens(_sent(file, dial))
        return _Item(id_, name, kind, tokens, file=file, problem=problem)

    def _tokens(self, told: Sequence[str | Text | Image | Document]) -> int:
        return self._panel.session.tokens_of([user(*told)]) if told else 0


def _sent(file: Attached, dial: Dial) -> list[Text | Image | Document]:
    """Return what goes to the model of a file."""
    found = found_in(file, dial)
    told = [Text(text=f"\n\n{block_of(found)}")] if found.told else []
    return [*told, *found.media]


def _reference(kind: Kind, name: str) -> str:
    """Return what is attached as it stands after ``-i``.

    Raises:
        ConfigError: That is no name of anything.
    """
    name = name.strip().removeprefix("@")
    if kind == "cell" and name.isdecimal():
        name = f"In[{name}]"
    if kind in ("file", "image"):
        path = name.removeprefix("file:").strip("\"'")
        if '"' in path or "\n" in path:
            raise ConfigError("That is no name of a file that can be attached.")
        name = f'file:"{path}"' if _QUOTED.search(path) else f"file:{path}"
    if not name or len(name) > 500 or "\n" in name or name.startswith("$("):
        raise ConfigError("Attach a variable, a cell such as In[3], or a file.")
    return name
