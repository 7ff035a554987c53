"""Every flag and every command of ``%alloy``: how it is written, and what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["COMMANDS", "COMMAND_FLAGS", "FLAGS", "Command", "Flag"]


@dataclass(frozen=True, slots=True)
class Flag:
    """An option: its names, the word for its value (``None`` for a switch), and its meaning."""

    names: tuple[str, ...]
    value: str | None
    meaning: str
    choices: tuple[str, ...] = ()
    repeats: bool = False
    """Whether it may be given several times; its value is then a tuple."""

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
    tail: bool = False
    """Whether what stands after its words is a prompt, character for character."""
    expression: bool = False
    """Whether its words are Python, with spaces in brackets: ``df[df.stars > 3]``."""


FLAGS: Sequence[Flag] = (
    Flag(
        ("-m", "--model"),
        "MODEL[,MODEL]",
        "answer this once with another model, such as ollama/llama3.2; several answer side by side",
    ),
    Flag(("-o", "--output"), "NAME", "put the result into this variable"),
    Flag(
        ("--as",),
        "TYPE",
        "answer with a value of this type, such as int, list[str], DataFrame, DataFrame[Row] or a "
        "class of yours; -o then names the value",
    ),
    Flag(
        ("-f", "--format"),
        "FORMAT",
        "what the answer is, and how it is shown; code goes into the next cell",
        choices=("md", "text", "code", "html", "json", "math"),
    ),
    Flag(
        ("-i", "--input"),
        "REF[,REF]",
        "tell the model about these too: df, df.col, In[3], plot, file:notes.md, $(len(df))",
    ),
    Flag(
        ("--data",),
        "LEVEL",
        "what may leave the kernel in this turn: none, names, schema, sample:N, full",
    ),
    Flag(("-s", "--session"), "NAME", "use another conversation of this notebook"),
    Flag(("--team",), "NAME", "let the agents of this team help; @AGENT PROMPT asks one of them"),
    Flag(("--new",), None, "forget the conversation first"),
    Flag(("--at",), "N", "ask in the place of turn N; it and what came after stay on a branch"),
    Flag(("--once",), None, "ask outside of the conversation: it is neither read nor kept"),
    Flag(("--fork",), "NAME", "go on with this branch of the conversation, begun here if need be"),
    Flag(("--system",), "TEXT|@FILE", "the system prompt of this turn, in the place of all others"),
    Flag(("-t", "--tools"), "NAME[,NAME]|none", "let the model use only these tools in this turn"),
    Flag(("--max-turns",), "N", "at most so many replies of the model in this turn"),
    Flag(
        ("--set",),
        "NAME=VALUE",
        "an option of the model for this turn, such as temperature=0; may be repeated",
        repeats=True,
    ),
    Flag(("--dry-run",), None, "send nothing; show what would be sent, and what it may cost"),
    Flag(("--bg",), None, "answer in the background, while other cells run; see wait and stop"),
    Flag(("-q", "--quiet"), None, "show the answer alone: no thinking, no tools, no footer"),
    Flag(("-v", "--verbose"), None, "show thinking open, and all that the tools said"),
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
    Flag(("--verify",), None, "run it again, though it may reach out of the kernel; for promote"),
    Flag(("--no-verify",), None, "do not run it again; for promote"),
    Flag(("--plot",), None, "draw it; for cost and timeline"),
    Flag(("--df",), None, "give a DataFrame; for cost and findings"),
    Flag(("--limit",), "N", "only the first N rows; for map"),
    Flag(("--concurrency",), "N", "so many requests at a time; for map, which finds out by itself"),
    Flag(("--force",), None, "replace what is there; for export, import and findings"),
    Flag(("-h", "--help"), None, "show this"),
)

COMMAND_FLAGS = ("force", "verify", "no_verify", "plot", "df", "limit", "concurrency")
"""The keys of the flags that mean nothing to a prompt."""

_ONE = ("session",)
# Of a command that asks the model: what a prompt takes, as far as it concerns one answer in words.
_ANSWERS = (
    *("model", "output", "session", "base_url", "max_cost", "think", "approve", "system"),
    *(
        "tools",
        "team",
        "max_turns",
        "set",
        "once",
        "quiet",
        "verbose",
        "replay",
        "replay_only",
        "fresh",
    ),
    *("data", "input"),
)

_ASKS = (
    *("session", "model", "base_url", "output", "think", "approve", "max_cost"),
    *("data", "input"),
)
"""Of commands that ask the model."""
_AGAIN = (*_ASKS, "format")

COMMANDS: Sequence[Command] = (
    Command(
        "model",
        "[MODEL[:EFFORT]]",
        "show the model, or answer with another from now on",
        1,
        ("session", "base_url"),
    ),
    Command("models", "[WORD]", "list models, and whether there is a key for them", 1),
    Command(
        "approve",
        "[POLICY | forget]",
        "show or set which tools may run: ask, read, all, none, or NAME of a function; list what "
        "was allowed for the session, or forget it",
        1,
        _ONE,
    ),
    Command(
        "fix",
        "[N] [WORDS]",
        "explain the last error, or that of In[N], and offer the corrected cell",
        0,
        _ANSWERS,
        tail=True,
    ),
    Command(
        "explain",
        "[N|NAME] [WORDS]",
        "explain a cell and what came out of it, an object, or anything else",
        0,
        _ANSWERS,
        tail=True,
    ),
    Command(
        "see", "[WORDS]", "show the model the last figure, and ask about it", 0, _ANSWERS, tail=True
    ),
    Command(
        "map",
        "TABLE PROMPT",
        "ask about each row: %alloy map df --as Label -o labels 'Label the mood of {review}'; "
        "--dry-run shows what it would cost; run again, it goes on where it stopped",
        1,
        (
            *("as", "output", "model", "base_url", "max_cost", "limit", "concurrency", "fresh"),
            *("dry_run", "think", "set", "system", "data", "session"),
        ),
        tail=True,
        expression=True,
    ),
    Command("code", "[K]", "list the last answer's code, or put the K-th into a cell", 1, _ONE),
    Command(
        "promote",
        "[N] [script|FILE.py|FILE.ipynb]",
        "make one clean cell, or a file, of the Python that the last turn, or the N-th, ran; "
        "it is run again apart from your variables, to prove it",
        2,
        ("session", "force", "verify", "no_verify"),
    ),
    Command(
        "data",
        "[LEVEL]",
        "show or set what may leave the kernel: none, names, schema, sample:N, full",
        1,
    ),
    Command(
        "stale",
        "",
        "list the answers and findings whose variables, cells or files have changed",
        0,
        _ONE,
    ),
    Command(
        "findings",
        "[on|off]",
        "list what the model noted; -o FILE.md, .html or .ipynb writes it, with links from numbers "
        "to what computed them; on lets the model note",
        1,
        ("session", "output", "df", "force"),
    ),
    Command(
        "panel",
        "[side]",
        "chat beside the cells, in a panel; with side at the side of JupyterLab (pip install "
        "sidecar)",
        1,
        _ONE,
    ),
    Command("reset", "", "forget the conversation; settings and costs stay", 0, ("session",)),
    Command("resume", "[NAME]", "go on with a conversation from before the kernel's start", 1),
    Command("undo", "", "go back to before the last turn, which is kept on a branch", 0, _ONE),
    Command("names", "", "list the variables that the last turn with python changed", 0),
    Command(
        "restore",
        "[NAME ...]",
        "put variables back as they were before that turn; again: take it back. "
        "For the conversation there is undo",
        50,
    ),
    Command("key", "[VENDOR [forget]]", "type a key, unseen; it stays in this kernel's memory", 2),
    Command(
        "doctor",
        "[offline]",
        "check versions, key, endpoint, tools, widgets and limits; it asks the model one tiny "
        "question, unless offline",
        1,
        ("session",),
    ),
    Command("retry", "", "ask the last prompt again, with -m by another model", 0, _AGAIN),
    Command(
        "edit", "N [PROMPT]", "ask something else in the place of turn N", 1, _AGAIN, tail=True
    ),
    Command("continue", "", "go on with a turn that was stopped or cut off", 0, _ASKS),
    Command("context", "", "list what goes to the model, and about how long each part is", 0, _ONE),
    Command("hide", "N ...", "send these turns no more; they stay in the conversation", 50, _ONE),
    Command("unhide", "N ...", "send hidden turns again", 50, _ONE),
    Command("pin", "N ...", "keep these turns as they are when it is shortened", 50, _ONE),
    Command("unpin", "N ...", "let a summary stand for them again", 50, _ONE),
    Command("compact", "[FOCUS]", "let a summary stand for what is older, now", 50, _ONE),
    Command("tools", "[add NAME|drop NAME|mcp COMMAND]", "list, add or drop tools", 50, _ONE),
    Command(
        "team",
        "[NAME|off]",
        "show the team and what each agent cost; or let that of a variable help from now on",
        1,
        _ONE,
    ),
    Command("budget", "[USD|off]", "show or set what may be spent", 1, _ONE),
    Command("fork", "NAME", "begin a branch of the conversation here, and go on with it", 1, _ONE),
    Command("use", "NAME", "go on with another branch, or another session", 1, _ONE),
    Command("tree", "", "list all turns of the session, and its branches", 0, _ONE),
    Command("sessions", "", "list the conversations that are kept here", 0),
    Command("search", "WORDS", "find what was said in any of them", 50),
    Command("wait", "[NAME]", "wait for what answers in the background; it may ask you", 1, _ONE),
    Command("stop", "[NAME]", "stop what answers in the background; what it said is kept", 1, _ONE),
    Command("steer", "TEXT", "say something into a turn that is under way", 0, _ONE, tail=True),
    Command("pick", "NUMBER|MODEL", "go on with one of the answers that were compared", 1, _ONE),
    Command("sent", "", "show exactly what was sent last", 0, _ONE),
    Command("forget", "[NAME]", "wipe a session from the disk", 1),
    Command("history", "", "list what was said, a line for each message", 0, ("session",)),
    Command("skills", "", "list the skills; %alloy /NAME WORDS runs one", 0),
    Command(
        "cost",
        "",
        "show what each turn used and cost, with --plot as a figure, with --df as a DataFrame",
        0,
        ("session", "plot", "df", "output"),
    ),
    Command(
        "timeline",
        "[N]",
        "show where the time of the last turn went, or of turn N",
        1,
        ("session", "plot"),
    ),
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
    Command("help", "[COMMAND]", "show this, or one command with its flags", 1),
)
