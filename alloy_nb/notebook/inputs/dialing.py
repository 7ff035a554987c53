"""The notebook's dial: which level holds for a turn, and what its prompt refers to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from IPython.core.error import UsageError

from alloy_nb.engine.calls.tool import Tool, ToolContext
from alloy_nb.engine.sessions.session import Session
from alloy_nb.engine.skills import from_words
from alloy_nb.notebook.inputs.columns import columns_of
from alloy_nb.notebook.inputs.dial import KEY, Dial
from alloy_nb.notebook.inputs.references import Resolved, resolve
from alloy_nb.notebook.inputs.withholding import Withholding
from alloy_nb.notebook.words import Words

__all__ = ["Dialing"]


# Whoever writes this behind the prompt means it; to send all and say nothing would be a trap.
_LATE = re.compile(r"(?:^|(?<=\s))--data(?:\s+|=)(?:none|names|schema|sample:\d+)(?!\S)")


class _Settings(Protocol):
    data: str


class Dialing:
    """Sets the dial of each turn, and puts it on the tools of each conversation.

    Args:
        settings: The traits, of which ``data`` holds where a turn says nothing else.
        shell: Whose variables they are.
        python: The tool that goes by the dial itself.
    """

    def __init__(self, settings: _Settings, shell: Any, python: Tool) -> None:
        self._settings = settings
        self._namespace: Mapping[str, Any] = shell.user_ns
        self._python = python
        self._columns = columns_of(shell)
        self._layers: WeakKeyDictionary[Session, Withholding] = WeakKeyDictionary()
        self._typed: set[str] = set()
        self._latest: WeakKeyDictionary[Session, str] = WeakKeyDictionary()

    def put_on(self, session: Session) -> None:
        """Let the turns of a conversation go by the dial, also those that a program asks for."""
        layer = Withholding(
            self._python,
            columns=self._columns,
            session=session,
            namespace=self._namespace,
        )
        self._layers[session] = layer
        session.configure(
            middleware=(layer, *session.agent.middleware),
            context={**session.agent.context, KEY: lambda: self.of(session)},
        )

    def of(self, session: Session, level: str | None = None) -> Dial:
        """Return the dial of a turn: at this level, or where the notebook has it.

        Raises:
            ConfigError: There is no such level.
        """
        dial = Dial.parse(level or self._settings.data)
        if dial.level in ("names", "schema"):
            return dial.knowing(self._columns.told_to(session, self._namespace))
        return dial

    def resolved(
        self, session: Session, words: Words, namespace: Mapping[str, Any], dial: Dial
    ) -> Resolved:
        """Return a prompt with what it refers to.

        What nobody has typed in this kernel, a skill or a prompt of a conversation that came from a
        file, may name variables, and neither run an expression nor read a file.

        Raises:
            UsageError: An expression fails, or an input means nothing.
        """
        if "data" not in words.flags and (late := _LATE.search(words.prompt)) is not None:
            raise UsageError(
                f"{late[0].strip()} stands behind words of the prompt, where it sets nothing. "
                f"Flags come first: %alloy {late[0].strip()} PROMPT. Nothing was sent."
            )
        skill = from_words(words.prompt)
        is_typed = skill is None and (not words.recalled or words.prompt in self._typed)
        if is_typed:
            self._typed.add(words.prompt)
        agent = session.agent
        return resolve(
            words.prompt if skill is None else skill,
            namespace,
            dial=dial,
            files=ToolContext(agent.working_directory, agent.allowed_paths),
            inputs=words.flags.get("input", ""),
            typed=is_typed,
        )

    def sent_more(self, session: Session, dial: Dial) -> bool:
        """Return whether what was said in a session may hold more than a dial lets through."""
        return bool(session.messages) and self._widest(session).width > dial.width

    def noted(self, session: Session, dial: Dial) -> str:
        """Return what the person is told of the turns before the one that begins, once a level."""
        layer = self._layers.get(session)
        if layer is None:  # beside the conversation
            return ""
        if not session.messages:
            layer.widest = None
        is_new = self._latest.get(session) != str(dial)
        self._latest[session] = str(dial)
        if not is_new or not self.sent_more(session, dial):
            return ""
        return (
            f"--data {dial}: what was said before may hold more ({self._widest(session)}), and "
            "goes along again. Leave it out with --once, --new or %alloy reset."
        )

    def _widest(self, session: Session) -> Dial:
        # Of a conversation that was resumed, nobody knows how it was set.
        layer = self._layers.get(session)
        return (layer and layer.widest) or Dial()
