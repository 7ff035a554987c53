"""The tools that come with alloy: read, write and edit files, and run shell commands.

``read`` runs unasked; ``write``, ``edit`` and ``bash`` ask first under the policy *ask*. The file
tools stay inside the allowed directories. ``bash`` does not: a command that a person approved can
do whatever this user can.
"""

from alloy_nb.tools.bash import bash
from alloy_nb.tools.edit import edit
from alloy_nb.tools.read import read
from alloy_nb.tools.write import write

__all__ = ["bash", "edit", "read", "write"]
