"""Gemini behind chat completions: the signature of a call comes in that format, and goes back."""

from __future__ import annotations

import json

import alloy_nb as al
from alloy_nb.providers import provider
from tests.servers.sse import Server, loop, stream
from tests.servers.wire import Call, Reply, Say, chat_events

SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}


def signed(events: list[bytes]) -> list[bytes]:
    """Return the stream of a call with what Google adds to the call's first delta."""
    out = []
    for event in events:
        if event.startswith(b"data: {"):
            chunk = json.loads(event.removeprefix(b"data: "))
            for choice in chunk["choices"]:
                for call in choice["delta"].get("tool_calls", ()):
                    if call.get("id"):
                        call["extra_content"] = SIGNATURE
            event = f"data: {json.dumps(chunk)}\n\n".encode()
        out.append(event)
    return out


def test_the_preset_is_googles_interface():
    model = provider("gemini-compat/gemini-2.5-pro")
    assert model.url == ("https://generativelanguage.googleapis.com/v1beta/openai/chat/completions")
    assert model.key_variable == "GEMINI_API_KEY"


def test_the_signature_of_a_call_goes_back_on_that_call():
    tool = al.tool(name="look")(lambda: "here")
    call = stream(signed(chat_events(Reply([Call("look", {})]))))
    with Server(call, *loop([Say("Done.")])) as server:
        model = provider("gemini-compat/gemini-2.5-pro", base_url=server.url)
        result = al.run("hi", provider=model, tools=[tool])
        sent = server.requests[1].json["messages"][1]["tool_calls"]
    assert result.text == "Done."
    assert [call["extra_content"] for call in sent] == [SIGNATURE]
