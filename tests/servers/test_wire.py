"""The scripted replies are what the vendors' own types say."""

import json

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from tests.servers.wire import (
    Call,
    Reply,
    Say,
    Think,
    Usage,
    anthropic_body,
    anthropic_events,
    chat_body,
    chat_events,
    words,
)

FULL = Reply(
    [
        Think("first, list them", size=5),
        Say("Let me look: é 🙂", size=3),
        Call("bash", {"command": "ls -l 'ä'"}, size=4),
        Call("read", {"path": "x"}, id="own_id"),
    ],
    usage=Usage(input=100, output=50, cache_read=900, cache_write=20, reasoning=5),
)
EMPTY = Reply([])
BROKEN = Reply([Call("bash", '{"command": "l')])
REPLIES = pytest.mark.parametrize("reply", [FULL, EMPTY, BROKEN], ids=["full", "empty", "broken"])


def data_of(event: bytes) -> str:
    (line,) = (line for line in event.decode().split("\n") if line.startswith("data: "))
    return line.removeprefix("data: ")


@REPLIES
def test_anthropic_events_have_the_sdks_types(reply):
    adapter = TypeAdapter(RawMessageStreamEvent)
    for event in anthropic_events(reply):
        data = json.loads(data_of(event))
        assert event.startswith(b"event: %b\n" % data["type"].encode())
        assert data["type"] == "ping" or adapter.validate_python(data, strict=True)


@REPLIES
def test_chat_chunks_have_the_sdks_types(reply):
    *chunks, done = chat_events(reply)
    assert done == b"data: [DONE]\n\n"
    for chunk in chunks:
        ChatCompletionChunk.model_validate(json.loads(data_of(chunk)), strict=True)


def test_bodies_have_the_sdks_types():
    message = Message.model_validate(anthropic_body(FULL))
    completion = ChatCompletion.model_validate(chat_body(FULL))
    assert message.stop_reason == "tool_use"
    assert completion.choices[0].finish_reason == "tool_calls"


def test_ids_of_calls_differ_between_replies_and_within_one():
    replies = [Reply([Call("a"), Call("a")], id=f"reply_{n}") for n in range(2)]
    ids = [block["id"] for reply in replies for block in anthropic_body(reply)["content"]]
    assert len(set(ids)) == 4


def test_deltas_join_to_the_text():
    text = words(40)
    deltas = [
        json.loads(data_of(event))["delta"]["text"]
        for event in anthropic_events(Reply([Say(text, size=7)]))
        if b"text_delta" in event
    ]
    assert "".join(deltas) == text
    assert len(deltas) == 40
