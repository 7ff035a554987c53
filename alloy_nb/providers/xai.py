"""xAI: the Responses format, with tools and sources of its own. No networking here.

Source: https://docs.x.ai/developers/tools/citations and .../tools/x-search, read 2026-11. Lists of
domains go under ``filters`` as at OpenAI; handles and dates of ``x_search`` stand in the tool
itself. Every source that was read comes as a plain list of addresses with the last event; inline
citations are annotations as OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from alloy_nb.providers.base import ModelOptions
from alloy_nb.providers.responses import OpenAI

__all__ = ["XAI"]


class XAI(OpenAI):
    """A Grok model.

    Example:
        >>> XAI("grok-4").key_variable
        'XAI_API_KEY'
    """

    name: ClassVar[str] = "xai"
    key_variable: ClassVar[str | None] = "XAI_API_KEY"
    default_base_url: ClassVar[str] = "https://api.x.ai"
    takes: ClassVar[frozenset[str]] = OpenAI.takes | {"x_search"}

    def reasoning(self, options: ModelOptions) -> dict[str, Any]:
        """Return how much to think; ``high`` is the most, and there is no summary to ask for."""
        match options.effort:
            case None | "off":
                return {}
            case "max":
                return {"effort": "high"}
        return {"effort": options.effort}

    def vendor_tools(self, options: ModelOptions) -> list[dict[str, Any]]:
        """Return the tools that xAI runs itself; only here there is one that searches X."""
        tools = super().vendor_tools(options)
        for tool in tools:
            if tool["type"] == "code_interpreter":
                tool.pop("container", None)
        if options.x_search:
            settings = options.x_search if isinstance(options.x_search, Mapping) else {}
            tools.append({**settings, "type": "x_search"})
        return tools
