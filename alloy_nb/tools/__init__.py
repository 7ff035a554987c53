"""The tools that come with alloy: files, shell commands, notes, memory, and MCP servers.

``read`` runs unasked; ``write``, ``edit`` and ``bash`` ask first under the policy *ask*. The file
tools stay inside the allowed directories. ``bash`` does not: a command that a person approved can
do whatever this user can. `Scratchpad` and `Memory` are given as classes or objects, and `mcp`
returns a server whose tools are used while it is open.
"""

from alloy_nb.tools.bash import bash
from alloy_nb.tools.edit import edit
from alloy_nb.tools.mcp import McpServer, mcp
from alloy_nb.tools.memory import Memory
from alloy_nb.tools.read import read
from alloy_nb.tools.scratchpad import Scratchpad
from alloy_nb.tools.write import write

__all__ = ["McpServer", "Memory", "Scratchpad", "bash", "edit", "mcp", "read", "write"]
