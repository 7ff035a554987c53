"""Random histories for property tests: any order of roles, orphans both ways, ids of all kinds."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from alloy_nb.messages import (
    Document,
    Image,
    Message,
    Opaque,
    Origin,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

__all__ = ["HISTORIES", "MESSAGES", "signed"]

WORDS = st.sampled_from(["", " ", "\n", "hello", "é 😀", "a\u2028b", "half \ud83d", "\x00nul"])
IDS = st.sampled_from(["toolu_1", "toolu_2", "call_1", "call:1", "", "a b", "é", "x" * 80, "7"])
HOST = "127.0.0.1:9"  # that of `wires.URL`
ORIGINS = st.sampled_from(
    [
        None,
        Origin(provider="anthropic", model="a", response_id="msg_1"),
        Origin(provider="anthropic", model="a", host=HOST),
        Origin(provider="anthropic", model="a", host="gateway.example"),
        Origin(provider="deepseek", model="c", host="gateway.example"),
        Origin(provider="openai-compat", model="b"),
        Origin(provider="deepseek", model="c"),
        Origin(provider="demo", model="demo"),
    ]
)
PIXEL = "iVBORw0KGgo="
INPUTS = st.sampled_from([{}, {"x": 1}, {"a": {"b": [1, None, "é"]}}, {"x": float("inf")}])

texts = st.builds(Text, text=WORDS, replay=st.sampled_from([None, None, {"citations": []}]))
images = st.sampled_from([Image(data=PIXEL), Image(url="https://x.example/a.png")])
documents = st.sampled_from(
    [
        Document(data="JVBERi0=", title="A"),
        Document(url="https://x.example/a.pdf"),
        Document(data="aGVsbG8=", media_type="text/plain"),
    ]
)
thoughts = st.one_of(
    st.builds(Thinking, text=WORDS, replay=st.sampled_from([None, {"signature": "s1"}])),
    st.just(Thinking(redacted=True, replay={"type": "redacted_thinking", "data": "ENC"})),
    st.just(Thinking(redacted=True)),
)
calls = st.builds(
    ToolCall,
    id=IDS,
    name=st.sampled_from(["bash", "read"]),
    input=INPUTS,
    invalid=st.sampled_from([None, None, None, '{"cut']),
)
server_calls = st.builds(
    ToolCall,
    id=st.sampled_from(["srvtoolu_1", "srvtoolu_2"]),
    name=st.just("web_search"),
    input=st.just({"query": "x"}),
    server=st.just(True),
    replay=st.sampled_from([None, {}]),
)
server_results = st.builds(
    lambda vendor, id_: Opaque(
        vendor=vendor,
        raw={"type": "web_search_tool_result", "tool_use_id": id_, "content": []},
    ),
    st.sampled_from(["anthropic", "gemini"]),
    st.sampled_from(["srvtoolu_1", "srvtoolu_2"]),
)
results = st.builds(
    ToolResult,
    call_id=IDS,
    content=st.lists(st.one_of(texts, images), max_size=2).map(tuple),
    is_error=st.booleans(),
)
said = st.lists(
    st.one_of(texts, texts, thoughts, calls, calls, server_calls, server_results), max_size=5
)
asked = st.lists(st.one_of(texts, texts, results, results, images, documents), max_size=5)


def message(role: str, content: list[Any], origin: Origin | None, stop: Any) -> Message:
    assistant = role == "assistant"
    return Message(
        role=role,  # type: ignore[arg-type]
        content=tuple(content),
        origin=origin if assistant else None,
        stop=stop if assistant else None,
    )


MESSAGES = st.one_of(
    st.builds(message, st.just("user"), asked, st.none(), st.none()),
    st.builds(message, st.just("assistant"), said, ORIGINS, st.sampled_from([None, *StopReason])),
)
HISTORIES = st.lists(MESSAGES, max_size=9)


def signed(history: list[Message], vendor: str) -> list[dict[str, Any]]:
    """Return every thinking block that a vendor signed in a history, as it was sent."""
    blocks = []
    for each in history:
        if each.origin is None or each.origin.provider != vendor:
            continue
        if each.origin.host not in (None, HOST):
            continue
        for block in each.content:
            if isinstance(block, Thinking) and block.replay:
                plain = {"type": "thinking", "thinking": block.text}
                blocks.append(dict(block.replay) if block.redacted else plain | block.replay)
    return blocks
