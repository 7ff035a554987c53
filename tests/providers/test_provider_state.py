"""Going on from what the vendor stored: with its id and only what is newer, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine.middleware.base import Middleware
from alloy_nb.engine.retry import RetryPolicy
from alloy_nb.errors import StateLost
from alloy_nb.messages import user
from alloy_nb.providers import XAI, OpenAI
from tests.oracles.strict import validate_responses
from tests.providers.responses_streams import call, created, item_events, last, message, reasoning
from tests.servers.sse import Answer, Server, json_answer, stream

GONE = json_answer(
    {
        "error": {
            "type": "invalid_request_error",
            "code": "previous_response_not_found",
            "message": "Previous response with id 'resp_1' not found.",
        }
    },
    status=400,
)
BROKEN = json_answer({"error": {"type": "server_error", "message": "broke"}}, status=500)


def answer(number: int, *items: dict[str, Any]) -> Answer:
    """Return a reply with the id ``resp_NUMBER``."""
    output = items or (message(f"answer {number}"),)
    id_ = f"resp_{number}"
    events = [e for i, item in enumerate(output) for e in item_events(item, i)]
    return stream([created(id_), *events, last(*output, id=id_)])


def look(n: int) -> str:
    """Look it up."""
    return f"found {n}"


LOOK = call("look", {"n": 7}, call_id="call_1")


def model(server: Server, name: str = "m-1", kind: type[OpenAI] = OpenAI) -> OpenAI:
    return kind(name, base_url=server.url, api_key="none")


def sent(server: Server, number: int) -> dict[str, Any]:
    """Return a body that was sent, counted from 1, after the validator looked at it."""
    body = server.requests[number - 1].json
    validate_responses(body)
    return body


def words(body: dict[str, Any]) -> list[str]:
    """Return what a request says, item by item."""
    out = []
    for item in body["input"]:
        content = item.get("content")
        text = content if isinstance(content, str) else (content or [{}])[0].get("text")
        out.append(text or item.get("output") or item.get("type"))
    return out


def session(server: Server, **settings: Any) -> al.Session:
    settings = {"store": True} | ({} if "retry" in settings else {"max_retries": 0}) | settings
    return al.Session(provider=settings.pop("provider", None) or model(server), **settings)


def chat(talk: al.Session, *prompts: str, **settings: Any) -> list[al.Result]:
    return [talk.chat(prompt, **settings).raise_for_status() for prompt in prompts]


# --- stored ---------------------------------------------------------------------------------------


def test_the_first_request_holds_everything_and_no_id():
    with Server(answer(1)) as server:
        chat(session(server), "one")
        first = sent(server, 1)
    assert "previous_response_id" not in first
    assert (first["store"], words(first)) == (True, ["one"])


def test_the_next_request_goes_on_with_only_what_is_newer():
    with Server(answer(1), answer(2), answer(3)) as server:
        chat(session(server), "one", "two", "three")
        second, third = sent(server, 2), sent(server, 3)
    assert (second["previous_response_id"], words(second)) == ("resp_1", ["two"])
    assert (third["previous_response_id"], words(third)) == ("resp_2", ["three"])


def test_results_of_the_replys_calls_are_what_is_newer():
    with Server(answer(1, reasoning("Hm."), LOOK), answer(2)) as server:
        chat(session(server, tools=[look]), "go")
        second = sent(server, 2)
    assert second["previous_response_id"] == "resp_1"
    assert second["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": "found 7"}
    ]


def test_the_system_prompt_goes_along_each_time():
    with Server(answer(1), answer(2)) as server:
        chat(session(server, system_prompt="be brief"), "one", "two")
        assert sent(server, 2)["instructions"] == "be brief"


def test_the_state_is_in_the_result():
    with Server(answer(1)) as server:
        (result,) = chat(session(server), "one")
    assert result.metadata["provider_state"] == {"response_id": "resp_1"}


def test_the_state_is_taken_back_with_its_history():
    with Server(answer(1), answer(2)) as server:
        first = al.run("one", provider=model(server), store=True)
        state = first.metadata["provider_state"]
        al.run(
            "two", provider=model(server), store=True, messages=first.messages, provider_state=state
        )
        second = sent(server, 2)
    assert (second["previous_response_id"], words(second)) == ("resp_1", ["two"])


def test_a_history_without_its_state_is_sent_whole():
    with Server(answer(1), answer(2)) as server:
        first = al.run("one", provider=model(server), store=True)
        al.run("two", provider=model(server), store=True, messages=first.messages)
        second = sent(server, 2)
    assert "previous_response_id" not in second
    assert words(second) == ["one", "answer 1", "two"]


def test_a_state_of_any_shape_is_no_failure():
    for state in ({}, {"response_id": 7}, {"response_id": ""}, {"x": 1}):
        with Server(answer(1)) as server:
            al.run("two", provider=model(server), store=True, provider_state=state)
            assert "previous_response_id" not in sent(server, 1)


# --- not stored -----------------------------------------------------------------------------------


def test_what_is_not_stored_is_sent_whole():
    with Server(answer(1), answer(2)) as server:
        chat(session(server, store=None), "one", "two")
        second = sent(server, 2)
    assert "previous_response_id" not in second
    assert (second["store"], words(second)) == (False, ["one", "answer 1", "two"])


def test_encrypted_reasoning_goes_back_in_order_before_its_calls():
    items = (reasoning("A", encrypted="E1"), LOOK, reasoning("B", encrypted="E2"), message("x"))
    with Server(answer(1, *items), answer(2)) as server:
        chat(session(server, store=None, tools=[look]), "go")
        second = sent(server, 2)
    kinds = [
        item.get("encrypted_content") or item.get("type") or item["role"]
        for item in second["input"]
    ]
    assert kinds == ["user", "E1", "function_call", "E2", "message", "function_call_output"]


def test_reasoning_that_is_not_encrypted_is_left_out():
    with Server(answer(1, reasoning("A", encrypted=None), message("x")), answer(2)) as server:
        chat(session(server, store=None), "one", "two")
        assert words(sent(server, 2)) == ["one", "x", "two"]


# --- dropped --------------------------------------------------------------------------------------


def test_another_model_gets_the_whole_conversation():
    with Server(answer(1), answer(2)) as server:
        talk = session(server)
        chat(talk, "one")
        talk.set_model(model(server, "m-2"))
        chat(talk, "two")
        second = sent(server, 2)
    assert "previous_response_id" not in second
    assert words(second) == ["one", "answer 1", "two"]


def test_after_another_model_answered_in_between_everything_is_sent():
    with Server(answer(1), answer(2), answer(3)) as server:
        talk = session(server)
        chat(talk, "one")
        chat(talk, "two", provider=model(server, "m-2"))
        chat(talk, "three")
        third = sent(server, 3)
    assert "previous_response_id" not in third
    assert words(third) == ["one", "answer 1", "two", "answer 2", "three"]


def test_after_the_same_model_elsewhere_answered_everything_is_sent():
    with Server(answer(1), answer(3)) as here, Server(answer(2)) as there:
        talk = session(here)
        chat(talk, "one")
        chat(talk, "two", provider=model(there))
        chat(talk, "three")
        assert "previous_response_id" not in sent(there, 1)
        assert words(sent(here, 2)) == ["one", "answer 1", "two", "answer 2", "three"]


def test_a_history_that_was_kept_is_not_gone_on_from_at_another_host():
    with Server(answer(1)) as here, Server(answer(2)) as there:
        first = al.run("one", provider=model(here), store=True)
        kept = {"messages": first.messages, "provider_state": first.metadata["provider_state"]}
        al.run("two", provider=model(there), store=True, **kept)
        assert "previous_response_id" not in sent(there, 1)


def test_an_edited_history_is_sent_whole():
    with Server(answer(1), answer(2)) as server:
        talk = session(server)
        chat(talk, "one")
        talk._messages[0] = user("uno")
        chat(talk, "two")
        second = sent(server, 2)
    assert "previous_response_id" not in second
    assert words(second) == ["uno", "answer 1", "two"]


def test_after_an_edited_history_was_sent_the_conversation_goes_on():
    with Server(answer(1), answer(2), answer(3)) as server:
        talk = session(server)
        chat(talk, "one")
        talk._messages[0] = user("uno")
        chat(talk, "two", "three")
        third = sent(server, 3)
    assert (third["previous_response_id"], words(third)) == ("resp_2", ["three"])


def test_an_edited_history_is_sent_whole_again_when_it_failed():
    with Server(answer(1), BROKEN, answer(2)) as server:
        talk = session(server, retry=RetryPolicy(max_retries=1, backoff=0.0))
        chat(talk, "one")
        talk._messages[0] = user("uno")
        chat(talk, "two")
        assert words(sent(server, 3)) == ["uno", "answer 1", "two"]


def test_a_history_that_lost_its_end_is_sent_whole():
    with Server(answer(1), answer(2), answer(3)) as server:
        talk = session(server)
        chat(talk, "one", "two")
        del talk._messages[2:]
        chat(talk, "three")
        assert words(sent(server, 3)) == ["one", "answer 1", "three"]


def test_a_history_that_middleware_shortens_is_sent_as_it_is():
    class Shorten(Middleware):
        def model(self, request: Any, next: Any) -> Any:  # noqa: A002  # its base's word
            return next(replace(request, messages=list(request.messages)[-1:]))

    with Server(answer(1), answer(2)) as server:
        chat(session(server, middleware=[Shorten()]), "one", "two")
        second = sent(server, 2)
    assert "previous_response_id" not in second
    assert words(second) == ["two"]


def test_a_retry_goes_on_from_the_same_reply():
    with Server(answer(1), BROKEN, answer(2)) as server:
        talk = session(server, retry=RetryPolicy(max_retries=1, backoff=0.0))
        chat(talk, "one", "two")
        third = sent(server, 3)
    assert (third["previous_response_id"], words(third)) == ("resp_1", ["two"])


def test_after_a_turn_that_failed_the_conversation_goes_on():
    with Server(answer(1), BROKEN, answer(2)) as server:
        talk = session(server)
        chat(talk, "one")
        assert not talk.chat("two").ok
        chat(talk, "three")
        third = sent(server, 3)
    assert words(third)[-1] == "three"
    assert ("previous_response_id" in third) == ("one" not in words(third))


def test_a_fallback_gets_the_whole_conversation():
    with Server(answer(1), BROKEN) as server, Server(answer(2)) as other:
        talk = session(server, fallback_providers=[model(other)])
        chat(talk, "one", "two")
        body = sent(other, 1)
    assert "previous_response_id" not in body
    assert words(body) == ["one", "answer 1", "two"]


def test_after_a_fallback_answered_everything_is_sent():
    with Server(answer(1), BROKEN, answer(3)) as server, Server(answer(2)) as other:
        talk = session(server, fallback_providers=[model(other)])
        chat(talk, "one", "two", "three")
        third = sent(server, 3)
    assert "previous_response_id" not in third
    assert words(third) == ["one", "answer 1", "two", "answer 2", "three"]


def test_a_reset_begins_anew():
    with Server(answer(1), answer(2)) as server:
        talk = session(server)
        chat(talk, "one")
        talk.reset()
        chat(talk, "two")
        assert "previous_response_id" not in sent(server, 2)


# --- gone -----------------------------------------------------------------------------------------


def test_a_reply_that_is_gone_is_asked_for_once_more_with_the_whole_history():
    with Server(answer(1, reasoning("Hm."), LOOK), GONE, answer(2)) as server:
        (result,) = chat(session(server, tools=[look]), "go")
        third = sent(server, 3)
    assert result.text == "answer 2"
    assert "previous_response_id" not in third
    assert words(third) == ["go", "reasoning", "function_call", "found 7"]
    assert len(server.requests) == 3


def test_a_reply_that_is_gone_costs_no_wait():
    seen: list[Any] = []
    with Server(answer(1), GONE, answer(2)) as server:
        talk = session(server)
        chat(talk, "one")
        talk.stream_chat("two", lambda text: None, on_event=seen.append).raise_for_status()
    assert not any(type(e.body).__name__ == "RetryScheduled" for e in seen)


def test_after_that_the_conversation_goes_on_from_the_new_reply():
    with Server(answer(1), GONE, answer(2), answer(3)) as server:
        chat(session(server), "one", "two", "three")
        fourth = sent(server, 4)
    assert (fourth["previous_response_id"], words(fourth)) == ("resp_2", ["three"])


def test_a_reply_that_is_gone_twice_is_an_error():
    with Server(answer(1), GONE, GONE) as server:
        talk = session(server, max_retries=5)
        chat(talk, "one")
        result = talk.chat("two")
    assert isinstance(result.exception, StateLost)
    assert len(server.requests) == 3


def test_a_reply_of_ones_own_choosing_that_is_gone_is_an_error():
    with Server(GONE) as server:
        result = al.run("hi", provider=model(server), previous_response_id="resp_9")
    assert isinstance(result.exception, StateLost)
    assert len(server.requests) == 1


# --- by hand --------------------------------------------------------------------------------------


def test_a_reply_of_ones_own_choosing_is_gone_on_from():
    with Server(answer(1)) as server:
        al.run("hi", provider=model(server), previous_response_id="resp_9")
        first = sent(server, 1)
    assert (first["previous_response_id"], words(first)) == ("resp_9", ["hi"])


def test_what_came_after_a_reply_of_ones_own_choosing_is_sent():
    with Server(answer(1, LOOK), answer(2)) as server:
        al.run("hi", provider=model(server), previous_response_id="resp_9", tools=[look])
        second = sent(server, 2)
    assert second["previous_response_id"] == "resp_9"
    assert words(second) == ["hi", "function_call", "found 7"]


# --- xAI ------------------------------------------------------------------------------------------


def grok(server: Server, **settings: Any) -> al.Session:
    return session(server, provider=model(server, kind=XAI), **settings)


def test_xai_takes_no_instructions_with_an_id():
    with Server(answer(1), answer(2)) as server:
        chat(grok(server, system_prompt="be brief"), "one", "two")
        first, second = server.requests[0].json, server.requests[1].json
    assert first["instructions"] == "be brief"
    assert "instructions" not in second
    assert second["previous_response_id"] == "resp_1"


def test_another_system_prompt_makes_a_new_conversation_at_xai():
    with Server(answer(1), answer(2)) as server:
        talk = grok(server, system_prompt="be brief")
        chat(talk, "one")
        talk.configure(system_prompt="be long")
        chat(talk, "two")
        second = server.requests[1].json
    assert "previous_response_id" not in second
    assert (second["instructions"], words(second)) == ("be long", ["one", "answer 1", "two"])


@pytest.mark.parametrize("store", [None, False])
def test_xai_stores_nothing_unasked(store):
    with Server(answer(1)) as server:
        chat(grok(server, store=store), "one")
        assert server.requests[0].json["store"] is False
