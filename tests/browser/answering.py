"""A model's server that answers by what it is asked, whoever asks and how often.

::

    with Model() as model:
        model.on("what is six", [Call("python", {"code": "6 * 7"})], [Say("It is 42.")])
        model.on("tell me much", [Say(words(2000))], per_second=100)
        notebook.run(f"%alloy model {model.flags}")

The longest key that the last message of the person holds decides; the replies are taken one for
each request that follows it. What nobody wrote an answer for is repeated.
"""

from __future__ import annotations

import threading
from typing import Any

from tests.servers.held import holds
from tests.servers.sse import Answer, Request, Server, loop
from tests.servers.wire import Block, Reply, Say

__all__ = ["Model"]


class Model(Server):
    """Answers in the format of chat completions."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[list[list[Block]], float | None]] = {}
        self._holds: dict[str, tuple[str, threading.Event]] = {}
        super().__init__(otherwise=self._answer)

    @property
    def flags(self) -> str:
        """What follows ``%alloy model``."""
        return f"openai-compat/scripted --base-url {self.url}"

    def on(self, words: str, *replies: list[Block], per_second: float | None = None) -> None:
        """Answer a prompt that holds these words so, with as many deltas a second at most."""
        self._answers[words] = (list(replies), per_second)

    def hold(self, words: str, before: str) -> threading.Event:
        """Let replies to such a prompt wait before these words; return what lets them go on."""
        self._holds[words] = before, threading.Event()
        return self._holds[words][1]

    def about(self, words: str) -> list[Request]:
        """Return the requests whose last message of the person holds these words."""
        return [request for request in self.requests if words in _asked(request)[0]]

    def _answer(self, request: Request) -> Answer:
        asked, step = _asked(request)
        found = max((key for key in self._answers if key in asked), key=len, default=None)
        if found is None:
            replies, per_second = [[Say(f"You said: {asked}")]], None
        else:
            replies, per_second = self._answers[found]
        reply = Reply(replies[min(step, len(replies) - 1)], id=f"reply_{len(self.requests)}")
        if found in self._holds:
            return holds(reply, *self._holds[found])(request)  # type: ignore[return-value]
        return loop(reply, per_second=per_second)[0](request)  # type: ignore[return-value]


def _asked(request: Request) -> tuple[str, int]:
    """Return what the person said last, and how many replies there were since."""
    messages: list[dict[str, Any]] = request.json["messages"]
    said = [number for number, one in enumerate(messages) if one["role"] == "user"]
    if not said:
        return "", 0
    content = messages[said[-1]]["content"]
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    return content, sum(one["role"] == "assistant" for one in messages[said[-1] :])
