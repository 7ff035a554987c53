"""Servers that speak chat completions, as data, with the reason for each quirk.

A vendor that speaks a known format is one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from alloy_nb.providers.chat import Quirks

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """Where a vendor's interface is and how it differs from the format.

    Args:
        base_url: Its address.
        key_variable: The environment variable of its key; ``None`` where it needs none.
        path: The path of the interface.
        local: Whether it is a server on one's own machine.
        quirks: How it differs.
        headers: Headers that it asks for.
    """

    base_url: str
    key_variable: str | None = None
    path: str = "/v1/chat/completions"
    local: bool = False
    quirks: Quirks = field(default_factory=Quirks)
    headers: Mapping[str, str] = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = {
    # OpenAI itself is reached by the Responses format; this is its older one. Its reasoning models
    # refuse max_tokens.
    "openai-chat": Preset(
        "https://api.openai.com",
        "OPENAI_API_KEY",
        quirks=Quirks(output_limit="max_completion_tokens"),
    ),
    "openrouter": Preset(
        "https://openrouter.ai/api",
        "OPENROUTER_API_KEY",
        headers={"x-title": "alloy_nb"},  # names the application in its statistics
    ),
    # Within a tool loop its reasoning models want their thinking back.
    "deepseek": Preset(
        "https://api.deepseek.com",
        "DEEPSEEK_API_KEY",
        path="/chat/completions",
        quirks=Quirks(echo_reasoning="reasoning_content", effort=None),
    ),
    # Ids of nine letters and digits exactly; it reports usage unasked and refuses unknown fields.
    "mistral": Preset(
        "https://api.mistral.ai",
        "MISTRAL_API_KEY",
        quirks=Quirks(
            usage_on_request=False, call_id=r"[a-zA-Z0-9]{9}", call_id_length=9, effort=None
        ),
    ),
    "groq": Preset("https://api.groq.com/openai", "GROQ_API_KEY"),
    "together": Preset("https://api.together.xyz", "TOGETHER_API_KEY"),
    "xai-chat": Preset("https://api.x.ai", "XAI_API_KEY"),
    "gemini-compat": Preset(
        "https://generativelanguage.googleapis.com",
        "GEMINI_API_KEY",
        path="/v1beta/openai/chat/completions",
    ),
    # On one's own machine any model may write its thinking into the text.
    "ollama": Preset("http://127.0.0.1:11434", local=True, quirks=Quirks(think_tags=True)),
    "vllm": Preset("http://127.0.0.1:8000", local=True, quirks=Quirks(think_tags=True)),
    "lmstudio": Preset("http://127.0.0.1:1234", local=True, quirks=Quirks(think_tags=True)),
    "llamacpp": Preset("http://127.0.0.1:8080", local=True, quirks=Quirks(think_tags=True)),
}
