"""Streams in Gemini's format: written by hand, and random ones, the same for the same seed.

The shapes are those of the examples in https://ai.google.dev/api/generate-content and
.../gemini-api/docs/thinking, read 2026-11-21: whole parts in every chunk, counts that grow in every
chunk, a finish reason in the last.
"""

from __future__ import annotations

import base64
import json
import random
from typing import Any

from tests.providers.streams import text

__all__ = ["candidate", "chunk", "random_chunks", "reply", "signature", "sse"]

Part = dict[str, Any]


def signature(name: str) -> str:
    """Return a signature: the vendor's are base64 too."""
    return base64.b64encode(f"signature of {name}".encode()).decode()


def candidate(*parts: Part, finish: str | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"index": 0, **more}
    if parts:
        made["content"] = {"role": "model", "parts": list(parts)}
    if finish:
        made["finishReason"] = finish
    return made


def chunk(
    *parts: Part, finish: str | None = None, usage: Any = None, **more: Any
) -> dict[str, Any]:
    """Return a chunk; `more` belongs to the candidate."""
    made: dict[str, Any] = {"candidates": [candidate(*parts, finish=finish, **more)]}
    if usage is not None:
        made["usageMetadata"] = usage
    return made | {"modelVersion": "gemini-x", "responseId": "r1"}


def sse(*chunks: Any) -> bytes:
    """Return chunks as a stream; characters beyond ASCII come as themselves, as the vendor's do."""
    return b"".join(
        b"data: " + json.dumps(c, ensure_ascii=False).encode() + b"\r\n\r\n" for c in chunks
    )


def reply(*parts: Part, finish: str = "STOP", **more: Any) -> bytes:
    """Return a stream with each part in a chunk of its own, then the finish."""
    return sse(*(chunk(part) for part in parts), chunk(finish=finish, **more))


FINISHES = ["STOP", "STOP", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER"]


def random_chunks(chance: random.Random) -> list[dict[str, Any]]:
    """Return a reply such as the vendor may send: thoughts, text and calls, cut into chunks."""
    parts: list[Part] = []
    for number in range(chance.randint(0, 6)):
        match chance.choice(["say", "say", "think", "call", "code", "picture"]):
            case "say":
                parts += cut(chance, text(chance), {})
            case "think":
                parts += cut(chance, text(chance), {"thought": True})
            case "call":
                call: dict[str, Any] = {"name": f"tool_{number}", "args": arguments(chance)}
                if chance.random() < 0.5:
                    call["id"] = f"id{number}"
                parts.append({"functionCall": call})
            case "code":
                parts.append({"executableCode": {"language": "PYTHON", "code": text(chance)}})
                parts.append(
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": text(chance)}}
                )
            case "picture":
                parts.append({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}})
    for number, part in enumerate(parts):
        if chance.random() < 0.2:
            part["thoughtSignature"] = signature(str(number))
    if chance.random() < 0.3:
        parts.append({"text": "", "thoughtSignature": signature("the end")})
    chunks, usage = [], {"promptTokenCount": chance.randint(1, 9999)}
    while parts:
        size = chance.choice([1, 1, 1, 2, 5])
        chunks.append(chunk(*parts[:size], usage=grown(chance, usage)))
        del parts[:size]
    finish = chance.choice(FINISHES)
    if chunks and chance.random() < 0.5:
        chunks[-1]["candidates"][0]["finishReason"] = finish
    else:
        chunks.append(chunk(finish=finish, usage=grown(chance, usage)))
    return chunks


def cut(chance: random.Random, words: str, like: Part) -> list[Part]:
    size = chance.choice([1, 3, 8, 1000])
    return [{"text": words[i : i + size], **like} for i in range(0, len(words), size)]


def arguments(chance: random.Random) -> dict[str, Any]:
    value: Any = chance.choice([text(chance), 7, 1.5, None, True, [1, {"a": "😀"}]])
    return chance.choice([{}, {text(chance, 2): value}])


def grown(chance: random.Random, usage: dict[str, Any]) -> dict[str, Any]:
    """Let counts grow, and return them as they are now."""
    for name in ("candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount"):
        if chance.random() < 0.7:
            usage[name] = usage.get(name, 0) + chance.randint(0, 50)
    if chance.random() < 0.3:
        usage["cachedContentTokenCount"] = chance.randint(0, usage["promptTokenCount"])
    usage["totalTokenCount"] = sum(
        v for k, v in usage.items() if k not in ("totalTokenCount", "cachedContentTokenCount")
    )
    return dict(usage)
