"""An agent for notebooks: ask any model, run its tools in your kernel, see all of it.

In a notebook::

    %load_ext alloy_nb

    %%alloy
    What stands out in @df? Compute before you claim.

In Python::

    import alloy_nb as al

    result = al.run("What is in this folder?", provider="anthropic/claude-sonnet-4-6",
                    tools=[al.read, al.bash])
    print(result.text, result.cost)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from alloy_nb import errors, events, messages
    from alloy_nb.analysis.comparison import Comparison, acompare, compare
    from alloy_nb.analysis.findings import findings_of, note_finding
    from alloy_nb.analysis.mapping import amap
    from alloy_nb.analysis.mapping import map as map  # noqa: A004  # no star imports it
    from alloy_nb.engine.agent import Agent, arun, astream, run, stream
    from alloy_nb.engine.budget import Budget
    from alloy_nb.engine.calls.approval import Decision
    from alloy_nb.engine.calls.policies import Policy, Rule
    from alloy_nb.engine.calls.tool import Tool, ToolContext, ToolOutput, tool
    from alloy_nb.engine.middleware.base import Block, HookContext, Middleware
    from alloy_nb.engine.middleware.hooks import (
        Halt,
        after_compaction,
        after_completion,
        after_tool_execution,
        after_tool_request,
        before_completion,
        before_tool_call,
        on_error,
        session_end,
        session_start,
    )
    from alloy_nb.engine.middleware.logs import Logger
    from alloy_nb.engine.middleware.telemetry import Telemetry
    from alloy_nb.engine.run import Result, Run, RunStatus, ToolRecord
    from alloy_nb.engine.schedule import Scheduler
    from alloy_nb.engine.sessions.bus import EventBus
    from alloy_nb.engine.sessions.record import SessionRecord
    from alloy_nb.engine.sessions.requests import cancel_request, send_message
    from alloy_nb.engine.sessions.session import Session
    from alloy_nb.engine.skills import Skill, skill, skills
    from alloy_nb.engine.team import Team
    from alloy_nb.errors import AlloyError, ConfigError, ProviderError, ToolError
    from alloy_nb.messages import Citation, Document, Image, Message, Text, Thinking
    from alloy_nb.providers import (
        XAI,
        Anthropic,
        Codex,
        Gemini,
        ModelOptions,
        OpenAI,
        OpenAICompat,
        catalog,
        provider,
    )
    from alloy_nb.tools import McpServer, Memory, Scratchpad, bash, edit, mcp, read, write
    from alloy_nb.usage import Cost, Usage

__all__ = [
    "XAI",
    "Agent",
    "AlloyError",
    "Anthropic",
    "Block",
    "Budget",
    "Citation",
    "Codex",
    "Comparison",
    "ConfigError",
    "Cost",
    "Decision",
    "Document",
    "EventBus",
    "Gemini",
    "Halt",
    "HookContext",
    "Image",
    "Logger",
    "McpServer",
    "Memory",
    "Message",
    "Middleware",
    "ModelOptions",
    "OpenAI",
    "OpenAICompat",
    "Policy",
    "ProviderError",
    "Result",
    "Rule",
    "Run",
    "RunStatus",
    "Scheduler",
    "Scratchpad",
    "Session",
    "SessionRecord",
    "Skill",
    "Team",
    "Telemetry",
    "Text",
    "Thinking",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolOutput",
    "ToolRecord",
    "Usage",
    "acompare",
    "after_compaction",
    "after_completion",
    "after_tool_execution",
    "after_tool_request",
    "amap",
    "arun",
    "astream",
    "bash",
    "before_completion",
    "before_tool_call",
    "cancel_request",
    "catalog",
    "compare",
    "edit",
    "errors",
    "events",
    "findings_of",
    "load_ipython_extension",
    "mcp",
    "messages",
    "note_finding",
    "on_error",
    "provider",
    "read",
    "run",
    "send_message",
    "session_end",
    "session_start",
    "skill",
    "skills",
    "stream",
    "tool",
    "unload_ipython_extension",
    "write",
]

# Not among them: `map`, since a star would hide the builtin; `findings` and `python`, which change.

__version__ = "0.1.0"

# Where each public name lives. It is imported when it is first used, so that a notebook's first
# cell, a worker or a command line that needs one of them does not wait for all the others.
_HOMES = {
    "analysis.mapping": ("amap", "map"),
    "analysis.comparison": ("Comparison", "acompare", "compare"),
    "analysis.findings": ("findings_of", "note_finding"),
    "engine.agent": ("Agent", "arun", "astream", "run", "stream"),
    "engine.calls.approval": ("Decision",),
    "engine.budget": ("Budget",),
    "engine.sessions.bus": ("EventBus",),
    "engine.middleware.hooks": (
        "Halt",
        "after_compaction",
        "after_completion",
        "after_tool_execution",
        "after_tool_request",
        "before_completion",
        "before_tool_call",
        "on_error",
        "session_end",
        "session_start",
    ),
    "engine.middleware.logs": ("Logger",),
    "engine.middleware.base": ("Block", "HookContext", "Middleware"),
    "engine.calls.policies": ("Policy", "Rule"),
    "engine.sessions.record": ("SessionRecord",),
    "engine.sessions.requests": ("cancel_request", "send_message"),
    "engine.run": ("Result", "Run", "RunStatus", "ToolRecord"),
    "engine.schedule": ("Scheduler",),
    "engine.sessions.session": ("Session",),
    "engine.skills": ("Skill", "skill", "skills"),
    "engine.team": ("Team",),
    "engine.middleware.telemetry": ("Telemetry",),
    "engine.calls.tool": ("Tool", "ToolContext", "ToolOutput", "tool"),
    "errors": ("AlloyError", "ConfigError", "ProviderError", "ToolError"),
    "messages": ("Citation", "Document", "Image", "Message", "Text", "Thinking"),
    "providers": (
        "XAI",
        "Anthropic",
        "Codex",
        "Gemini",
        "ModelOptions",
        "OpenAI",
        "OpenAICompat",
        "catalog",
        "provider",
    ),
    "tools": ("McpServer", "Memory", "Scratchpad", "bash", "edit", "mcp", "read", "write"),
    "usage": ("Cost", "Usage"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("errors", "events", "messages")


def __getattr__(name: str) -> Any:
    """Import a public name from its home and keep it (PEP 562)."""
    if name in _MODULES:
        return import_module(f"alloy_nb.{name}")
    if name == "findings":  # what is noted so far: never kept, and no name that a star imports
        return import_module("alloy_nb.analysis.findings").frame()
    if name == "python":  # of the notebook that is open, if one is
        return import_module("alloy_nb.notebook.extension").kernel_python()
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"alloy_nb.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "findings", "map", "python"])


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; ``%load_ext alloy_nb`` calls this."""
    from alloy_nb.notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Undo what loading did; ``%unload_ext alloy_nb`` calls this."""
    from alloy_nb.notebook.extension import unload

    unload(shell)
