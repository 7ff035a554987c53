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

from typing import TYPE_CHECKING

from alloy_nb import errors, events, messages
from alloy_nb.engine.agent import Agent, arun, astream, run, stream
from alloy_nb.engine.approval import Decision
from alloy_nb.engine.budget import Budget
from alloy_nb.engine.middleware import Middleware
from alloy_nb.engine.run import Result, Run, RunStatus, ToolRecord
from alloy_nb.engine.session import Session
from alloy_nb.engine.tool import Tool, ToolContext, ToolOutput, tool
from alloy_nb.errors import AlloyError, ConfigError, ProviderError, ToolError
from alloy_nb.messages import Citation, Document, Image, Message, Text, Thinking
from alloy_nb.providers import Anthropic, ModelOptions, OpenAICompat, catalog, provider
from alloy_nb.tools import bash, edit, read, write
from alloy_nb.usage import Cost, Usage

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "Agent",
    "AlloyError",
    "Anthropic",
    "Budget",
    "Citation",
    "ConfigError",
    "Cost",
    "Decision",
    "Document",
    "Image",
    "Message",
    "Middleware",
    "ModelOptions",
    "OpenAICompat",
    "ProviderError",
    "Result",
    "Run",
    "RunStatus",
    "Session",
    "Text",
    "Thinking",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolOutput",
    "ToolRecord",
    "Usage",
    "arun",
    "astream",
    "bash",
    "catalog",
    "edit",
    "errors",
    "events",
    "load_ipython_extension",
    "messages",
    "provider",
    "read",
    "run",
    "stream",
    "tool",
    "unload_ipython_extension",
    "write",
]

__version__ = "0.1.0"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics; ``%load_ext alloy_nb`` calls this."""
    # Importing the package must not import IPython: scripts and workers do without it.
    from alloy_nb.notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Undo what loading did; ``%unload_ext alloy_nb`` calls this."""
    from alloy_nb.notebook.extension import unload

    unload(shell)
