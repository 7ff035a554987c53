"""The invariants hold of good requests and name each fault of a bad one."""

import pytest

from tests.oracles.invariants import anthropic_faults, chat_faults, check_anthropic, check_chat
from tests.oracles.test_strict import ANTHROPIC, CALL, CHAT, CHAT_CALL, RESULT, changed

USER = {"role": "user", "content": "go on"}
SAID = {"role": "assistant", "content": "done"}
USE = ANTHROPIC["messages"][1]["content"][2]
ANSWER = ANTHROPIC["messages"][2]["content"][0]
CHAT_USE = CHAT["messages"][2]


def anthropic_with(*messages, upto=3):
    return ANTHROPIC | {"messages": [*ANTHROPIC["messages"][:upto], *messages]}


def chat_with(*messages, upto=4):
    return CHAT | {"messages": [*CHAT["messages"][:upto], *messages]}


def results(*blocks):
    return {"role": "user", "content": list(blocks)}


@pytest.mark.parametrize(
    "body", [ANTHROPIC, anthropic_with(SAID, USER), changed(ANTHROPIC, "system", to="be brief")]
)
def test_a_good_messages_request_has_no_fault(body):
    check_anthropic(body, thinking=[ANTHROPIC["messages"][1]["content"][0]])


@pytest.mark.parametrize("body", [CHAT, chat_with(SAID, USER), chat_with(USER, upto=0)])
def test_a_good_chat_request_has_no_fault(body):
    check_chat(body)


TEXT = {"type": "text", "text": "first"}
BAD_ANTHROPIC = {
    "a call at the end": (anthropic_with(upto=2), "0 results"),
    "a call that text follows": (anthropic_with(USER, upto=2), "0 results"),
    "two results of one call": (anthropic_with(results(ANSWER, ANSWER), upto=2), "2 results"),
    "a result without a call": (anthropic_with(SAID, results(ANSWER)), "which no call"),
    "a result of another id": (changed(ANTHROPIC, *RESULT, "tool_use_id", to="x"), "which no call"),
    "text before a result": (anthropic_with(results(TEXT, ANSWER), upto=2), "before a tool_result"),
    "a call by the user": (changed(ANTHROPIC, "messages", 0, "content", to=[USE]), "the user has"),
    "an id used twice": (changed(ANTHROPIC, *CALL, 1, to=USE), "names two calls"),
    "an id with spaces": (changed(ANTHROPIC, *CALL, 2, "id", to="a b"), "characters"),
    "empty text": (changed(ANTHROPIC, *CALL, 1, "text", to=""), "an empty text block"),
    "blank text": (changed(ANTHROPIC, *CALL, 1, "text", to=" \n"), "an empty text block"),
    "empty text in a result": (changed(ANTHROPIC, *RESULT, "content", 0, "text", to=""), "empty"),
    "an empty string": (changed(ANTHROPIC, "messages", 0, "content", to=""), "empty"),
    "empty instructions": (changed(ANTHROPIC, "system", 0, "text", to=""), "system"),
    "no content": (changed(ANTHROPIC, "messages", 0, "content", to=[]), "no content"),
    "unsigned thinking": (changed(ANTHROPIC, *CALL, 0, "signature", to=""), "signature"),
    "changed thinking": (changed(ANTHROPIC, *CALL, 0, "thinking", to="ah"), "did not send"),
    "two user turns": (anthropic_with(USER), "in a row"),
    "an assistant begins": (ANTHROPIC | {"messages": [SAID]}, "does not begin"),
    "no messages": (ANTHROPIC | {"messages": []}, "does not begin"),
    "half a character": (changed(ANTHROPIC, *CALL, 1, "text", to="a\ud83d"), "half a character"),
    "half a character in a key": (changed(ANTHROPIC, *CALL, 2, "input", "\udc00", to=1), "half"),
    "not a number": (changed(ANTHROPIC, *CALL, 2, "input", "x", to=float("nan")), "no JSON"),
}
SECOND = {"role": "tool", "tool_call_id": "call_1", "content": "again"}
BAD_CHAT = {
    "a call at the end": (chat_with(upto=3), "0 results"),
    "a call that the user follows": (chat_with(USER, upto=3), "0 results"),
    "two results of one call": (chat_with(SECOND), "2 results"),
    "a late result": (chat_with(USER, SECOND), "which no call"),
    "an id used twice": (chat_with(CHAT_USE, SECOND), "names two calls"),
    "arguments no JSON": (changed(CHAT, *CHAT_CALL, to='{"a'), "no JSON object"),
    "arguments an array": (changed(CHAT, *CHAT_CALL, to="[]"), "no JSON object"),
    "an empty string": (changed(CHAT, "messages", 0, "content", to=""), "empty content"),
    "an empty part": (changed(CHAT, "messages", 1, "content", 0, "text", to=""), "empty text"),
    "nothing said": (chat_with({"role": "assistant", "content": None}), "neither"),
    "a tool begins": (chat_with(SECOND, upto=0), "begin"),
    "late instructions": (chat_with({"role": "system", "content": "x"}), "in the middle"),
    "half a character": (changed(CHAT, "messages", 3, "content", to="\udc00"), "half a character"),
}


def cases(table):
    return pytest.mark.parametrize(("body", "fault"), table.values(), ids=table.keys())


@cases(BAD_ANTHROPIC)
def test_each_fault_of_a_messages_request_is_named(body, fault):
    sent = [ANTHROPIC["messages"][1]["content"][0]]
    assert any(fault in found for found in anthropic_faults(body, thinking=sent))


@cases(BAD_CHAT)
def test_each_fault_of_a_chat_request_is_named(body, fault):
    assert any(fault in found for found in chat_faults(body))


def test_a_check_raises_with_every_fault():
    with pytest.raises(AssertionError, match=r"0 results[\s\S]*does not begin"):
        check_anthropic(ANTHROPIC | {"messages": ANTHROPIC["messages"][1:2]})
