"""xAI: the Responses format, with tools and sources of its own. No networking here.

Source, read 2026-11: https://docs.x.ai/developers/tools/citations, .../tools/x-search,
.../tools/web-search, .../cost-tracking and .../model-capabilities/text/reasoning. Lists of domains
go under ``filters`` as at OpenAI, those to leave out as ``excluded_domains``; handles and dates of
``x_search`` stand in the tool itself. Every source that was read comes as a plain list of addresses
with the last event; inline citations are annotations as OpenAI's. A search of X comes as an item
``custom_tool_call`` that xAI has run. What a reply cost comes with its usage, in ticks of 1e-10 US
dollars. How much to think is ``none`` to ``high``; models that cannot be told refuse it.

Instructions are refused together with ``previous_response_id``: the stored ones hold (xAI's API
reference, as https://reference.langchain.com/javascript/langchain-xai/XAIResponsesCreateParams
repeats it). So a conversation whose system prompt changed is sent whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from alloy_nb.providers.base import ModelOptions, ModelRequest
from alloy_nb.providers.responses import OpenAI, Sent
from alloy_nb.providers.responses_decoder import ResponsesDecoder
from alloy_nb.providers.responses_items import SERVER_KINDS

__all__ = ["XAI"]

_SERVER_KINDS = SERVER_KINDS | {
    "custom_tool_call",
    "code_execution_call",
    "view_image_call",
    "view_x_video_call",
}
_EFFORTS: Mapping[str, str] = {"off": "none", "max": "high"}


class XAI(OpenAI):
    """A Grok model.

    Example:
        >>> XAI("grok-4").key_variable
        'XAI_API_KEY'
    """

    name: ClassVar[str] = "xai"
    key_variable: ClassVar[str | None] = "XAI_API_KEY"
    base_url_variable: ClassVar[str | None] = "XAI_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.x.ai"
    code_tool: ClassVar[Mapping[str, Any]] = {"type": "code_interpreter"}
    exclude_field: ClassVar[str] = "excluded_domains"
    takes: ClassVar[frozenset[str]] = OpenAI.takes | {"x_search"}

    def fields(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body without its history."""
        body = super().fields(request)
        if "previous_response_id" in body:
            body.pop("instructions", None)
        return body

    def goes_on(self, last: Sent, request: ModelRequest, reply: int, id_: str) -> bool:
        """Return whether what was sent last, under the same system prompt, was answered."""
        return last.system == request.system and super().goes_on(last, request, reply, id_)

    def reasoning(self, options: ModelOptions) -> dict[str, Any]:
        """Return how much to think; ``high`` is the most, and there is no summary to ask for."""
        effort = options.effort
        return {} if effort is None else {"effort": _EFFORTS.get(effort, effort)}

    def vendor_tools(self, options: ModelOptions) -> list[dict[str, Any]]:
        """Return the tools that xAI runs itself; only here there is one that searches X."""
        tools = super().vendor_tools(options)
        if options.x_search:
            settings = options.x_search if isinstance(options.x_search, Mapping) else {}
            tools.append({**settings, "type": "x_search"})
        return tools

    def decoder(self) -> ResponsesDecoder:
        """Return a decoder for one reply."""
        return ResponsesDecoder(self.stream_error, vendor=self.name, server_kinds=_SERVER_KINDS)
