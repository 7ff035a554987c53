"""Thinking that a model writes into its text, between ``<think>`` and ``</think>``.

Models of one's own do so where their server does not take the tags apart. Only tags at the
beginning of an answer count: further on they are what the answer is about.
"""

from __future__ import annotations

__all__ = ["ThinkTags"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits text, cut anywhere, into thinking and text.

    `done` is set once only text can follow.
    """

    def __init__(self) -> None:
        self.done = False
        self._thinking = False
        self._closed = False
        self._held = ""

    def feed(self, text: str) -> list[tuple[str, str]]:
        """Return pairs of a kind, ``thinking`` or ``text``, and what is said."""
        if self.done:
            return [("text", text)]
        if self._closed:
            return self._answer(text)
        self._held += text
        if not self._thinking:
            return self._begin()
        return self._think()

    def close(self) -> list[tuple[str, str]]:
        """Return what was held back in case a tag would follow."""
        held, self._held = self._held, ""
        self.done = True
        return [("thinking" if self._thinking else "text", held)] if held else []

    def _begin(self) -> list[tuple[str, str]]:
        said = self._held.lstrip()
        if said.startswith(_OPEN):
            self._thinking = True
            self._held = said.removeprefix(_OPEN)
            return self._think()
        if _OPEN.startswith(said):
            return []
        self.done = True
        held, self._held = self._held, ""
        return [("text", held)]

    def _think(self) -> list[tuple[str, str]]:
        thought, closed, rest = self._held.partition(_CLOSE)
        if closed:
            self._closed = True
            self._held = ""
            return [*_some("thinking", thought), *self._answer(rest)]
        kept = next((n for n in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:n])), 0)
        cut = len(thought) - kept
        self._held = thought[cut:]
        return _some("thinking", thought[:cut])

    def _answer(self, text: str) -> list[tuple[str, str]]:
        """Leave out the empty lines between the thinking and the answer."""
        said = text.lstrip("\n")
        self.done = bool(said)
        return _some("text", said)


def _some(kind: str, text: str) -> list[tuple[str, str]]:
    return [(kind, text)] if text else []
