"""Sound and film, which most formats cannot carry: a sentence goes in their place.

Gemini takes both as they are. A document of Anthropic's is PDF or text (``Base64PDFSourceParam``
of anthropic 2.11), and Responses has no part for either (openai 3.52; both read 2026-11-21): such
a request would be refused, and with it every later one of the conversation. The ``input_audio`` of
chat completions is for two kinds of files and a few models, so that format is treated alike.
"""

from __future__ import annotations

from alloy_nb.messages import Document

__all__ = ["left_out"]


def left_out(document: Document) -> str | None:
    """Return what is sent in the place of sound or film; ``None`` for what is a document."""
    kind = document.media_type.partition("/")[0]
    if kind not in ("audio", "video"):
        return None
    name = f" {document.title!r}" if document.title else ""
    return f"[{kind}{name} ({document.media_type}) is left out: this interface takes none]"
