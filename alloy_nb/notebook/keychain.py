"""Keys of vendors in a notebook: typed in hiding, in ``.env``, in the system's keyring.

A key that was typed goes before the environment, since it is the newer wish; a file and the keyring
stand behind it. None is ever written anywhere, and ``.env`` never changes the environment: of it
only what a vendor calls its key is looked up, so the file of a repository cannot send requests
elsewhere. It is parsed by python-dotenv, which knows the quotes, escapes and comments that other
programs accept in the same file; variables in it are not expanded.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from alloy_nb import secrets
from alloy_nb.providers import keys
from alloy_nb.providers.keys import Found

__all__ = ["SERVICE", "Keychain", "literal_keys"]

SERVICE = "alloy_nb"
"""Under which name keys stand in the keyring: ``keyring set alloy_nb ANTHROPIC_API_KEY``."""

_MOST_BYTES = 200_000
# How keys of vendors begin, all of them: so much of one may be shown.
_BEGINNINGS = ("sk-", "AIza", "xai-", "gsk_", "ghp_", "github_pat_", "hf_", "AKIA")


class Keychain:
    """The places of keys that a notebook has besides the environment."""

    def __init__(self) -> None:
        self._typed: dict[str, SecretStr] = {}
        self._files: dict[Path, tuple[tuple[int, int], dict[str, str]]] = {}
        self._ring: dict[str, str | None] = {}
        self._seen = 0

    def open(self) -> None:
        """Let providers look here from now on."""
        keys.also(self.typed, first=True)
        keys.also(self.in_file)
        keys.also(self.in_keyring)

    def close(self) -> None:
        """Undo `open`, and forget what was typed."""
        for place in (self.typed, self.in_file, self.in_keyring):
            keys.no_longer(place)
        self._typed.clear()

    def keep(self, variable: str, key: str) -> None:
        """Keep a key that was typed, as long as the kernel runs."""
        secrets.register(key)
        self._typed[variable] = SecretStr(key)

    def forget(self, variable: str) -> bool:
        """Forget what was typed, and tell whether there was anything."""
        self._ring.pop(variable, None)
        return self._typed.pop(variable, None) is not None

    # --- places -----------------------------------------------------------------------------------

    def typed(self, variable: str) -> Found | None:
        """Return the key that was typed."""
        key = self._typed.get(variable)
        return Found(key.get_secret_value(), "typed in this kernel") if key is not None else None

    def in_file(self, variable: str) -> Found | None:
        """Return the key of the nearest ``.env`` that has it."""
        for path in _files():
            value = self._values(path).get(variable)
            if value:
                return Found(value, f"{variable} in {_shown(path)}")
        return None

    def in_keyring(self, variable: str) -> Found | None:
        """Return the key that the system keeps, where the package ``keyring`` is installed.

        It is asked once: it may be locked, and would ask the person each time.
        """
        if variable not in self._ring:
            self._ring[variable] = _from_keyring(variable)
        value = self._ring[variable]
        return Found(value, f"{variable} in the keyring") if value else None

    # --- cells ------------------------------------------------------------------------------------

    def noticed(self, cells: Any) -> list[str]:
        """Return a warning for each cell that holds a key and was not looked at yet."""
        if not isinstance(cells, list) or len(cells) < self._seen:
            self._seen = 0
            return []
        fresh = list(enumerate(cells))[self._seen :]
        self._seen = len(cells)
        return literal_keys(fresh)

    # --- inside -----------------------------------------------------------------------------------

    def _values(self, path: Path) -> dict[str, str]:
        """Return what stands in a file; it is read again when it has changed."""
        try:
            about = path.stat()
        except OSError:
            self._files.pop(path, None)
            return {}
        mark = (about.st_mtime_ns, about.st_size)
        kept = self._files.get(path)
        if kept is None or kept[0] != mark:
            readable = stat.S_ISREG(about.st_mode) and about.st_size <= _MOST_BYTES
            kept = self._files[path] = (mark, _parsed(path) if readable else {})
        return kept[1]


def literal_keys(cells: Iterable[tuple[int, str]]) -> list[str]:
    """Return a warning for each cell that holds what looks like a key, without the key."""
    warnings = []
    for number, source in cells:
        found = secrets.keys_in(str(source))
        if found:
            begins = next((f"{b}…" for b in _BEGINNINGS if found[0].startswith(b)), secrets.MASK)
            warnings.append(
                f"In[{number}] holds what looks like a key ({begins}): take it out before the "
                "notebook is saved or shared. %alloy key keeps one in memory alone."
            )
    return warnings


def _files() -> Iterator[Path]:
    """Yield the places of a ``.env``: this folder, and those above it up to the repository's."""
    try:
        here = Path.cwd()
    except OSError:
        return
    above = [here, *here.parents]
    root = next((n for n, folder in enumerate(above) if (folder / ".git").exists()), 0)
    yield from (folder / ".env" for folder in above[: root + 1])


def _parsed(path: Path) -> dict[str, str]:
    # Not `dotenv_values`, which prints what it cannot read into the user's cell.
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError):
        return {}
    values = {each.key: each.value for each in bindings if each.key and each.value}
    secrets.register_all(values)  # also those that nobody asks for: a tool may show the file
    return values


def _from_keyring(variable: str) -> str | None:
    if importlib.util.find_spec("keyring") is None:
        return None
    try:
        keyring = importlib.import_module("keyring")
        found = keyring.get_password(SERVICE, variable)
    except Exception:  # no keyring on this machine, or a locked one
        return None
    return found if isinstance(found, str) else None


def _shown(path: Path) -> str:
    return os.path.relpath(path)
