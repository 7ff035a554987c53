"""Every flag and every command of ``%alloy``: how it is written, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["COMMANDS", "FLAGS", "Command", "Flag"]


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
