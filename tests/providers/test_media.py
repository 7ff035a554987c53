"""Sound and film go where they are understood, and fail no request where they are not."""

from __future__ import annotations

import json

import pytest

from alloy_nb.messages import Document, Message, ToolCall, ToolResult, assistant, user
from alloy_nb.providers import provider
from alloy_nb.providers.base import ModelRequest
from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses

SOUND = Document(media_type="audio/wav", data="AAAA", title="call.wav")
FILM = Document(media_type="video/mp4", url="https://example.org/a.mp4")
JUDGES = {
    "anthropic/claude-sonnet-4-6": validate_anthropic,
    "openai/gpt-5.4": validate_responses,
    "openai-chat/gpt-5.4": validate_chat,
}


def body_of(spec: str, *messages: Message) -> dict:
    made = provider(spec, api_key="canary-0123456789")
    return json.loads(made.body(ModelRequest(list(messages))))


@pytest.mark.parametrize("spec", JUDGES)
def test_a_sentence_goes_in_the_place_of_sound_and_film(spec):
    body = body_of(spec, user("What is this?", SOUND, FILM))
    JUDGES[spec](body)
    sent = json.dumps(body)
    assert "[audio 'call.wav' (audio/wav) is left out" in sent
    assert "[video (video/mp4) is left out" in sent
    assert "AAAA" not in sent
    assert "example.org" not in sent


@pytest.mark.parametrize("spec", JUDGES)
def test_a_result_of_a_tool_may_hold_sound(spec):
    call = ToolCall(id="call_1", name="listen")
    result = ToolResult(call_id="call_1", name="listen", content=(SOUND,))
    body = body_of(spec, user("hi"), assistant(call), user(result))
    JUDGES[spec](body)
    assert "is left out" in json.dumps(body)


@pytest.mark.parametrize("spec", JUDGES)
def test_a_document_is_still_one(spec):
    body = body_of(spec, user("hi", Document(data="JVBERi0=")))
    JUDGES[spec](body)
    assert "JVBERi0=" in json.dumps(body)


def test_gemini_takes_sound_and_film():
    parts = body_of("gemini/gemini-2.5-pro", user("hi", SOUND, FILM))["contents"][0]["parts"]
    assert parts[1] == {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}
    assert parts[2]["fileData"]["fileUri"] == "https://example.org/a.mp4"
