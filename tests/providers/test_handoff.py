"""Any history becomes one that the vendor takes, and each message is encoded once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alloy_nb.messages import (
    Message,
    Opaque,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from alloy_nb.providers import Anthropic, Gemini, OpenAI, OpenAICompat
from alloy_nb.providers.handoff import UNKNOWN, EncodedHistory, prepare
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.providers.wire_json import mended
from tests.oracles.invariants import check_anthropic, check_chat
from tests.oracles.strict import validate_anthropic, validate_chat
from tests.providers.histories import HISTORIES, MESSAGES, signed
from tests.providers.wires import ANTHROPIC, CHAT, URL, ask, body
from tests.servers.sse import Server, stream
from tests.servers.wire import Reply, Say, anthropic_events

MISTRAL = OpenAICompat("m", URL, name="mistral")
MISTRAL.quirks = type(CHAT.quirks)(call_id=r"[a-zA-Z0-9]{9}", call_id_length=9)
DEEPSEEK = OpenAICompat("m", URL, name="deepseek")
DEEPSEEK.quirks = type(CHAT.quirks)(echo_reasoning="reasoning_content")
WIRES = {"anthropic": ANTHROPIC, "chat": CHAT, "mistral": MISTRAL, "deepseek": DEEPSEEK}
wires = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())
many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judge(wire: VendorProvider, history: list[Message]) -> dict[str, Any]:
    """Encode a history and let every oracle look at it."""
    sent = body(wire, *history, user("and now?"))
    if wire is ANTHROPIC:
        validate_anthropic(sent)
        check_anthropic(sent, thinking=mended(signed(history, "anthropic"), pieces=False))
    else:
        validate_chat(sent, allow=["reasoning_content"])
        check_chat(sent)
    return sent


@wires
@given(HISTORIES)
@many
def test_any_history_becomes_one_that_the_vendor_takes(wire, history):
    judge(wire, history)


@wires
@given(HISTORIES)
@many
def test_preparing_twice_changes_nothing_more(wire, history):
    rules = wire.rules()
    once = prepare(history, rules)
    assert prepare(once, rules) == once


@wires
@given(HISTORIES)
@many
def test_what_was_said_is_neither_lost_nor_changed(wire, history):
    before = [b.text for m in history for b in m.content if isinstance(b, Text) and b.text.strip()]
    after = [
        b.text for m in prepare(history, wire.rules()) for b in m.content if isinstance(b, Text)
    ]
    fillers = {"(no answer)", "(The conversation begins.)", "(no message)"}
    assert sorted(t for t in after if t not in fillers) == sorted(before)


@wires
@given(HISTORIES)
@many
def test_only_what_the_vendor_itself_signed_goes_to_it(wire, history):
    mine = [b for m in history if m.origin and m.origin.provider == wire.name for b in m.content]
    for message in prepare(history, wire.rules()):
        for block in message.content:
            match block:
                case Opaque():
                    assert block.vendor == wire.name
                case ToolCall(server=True) | Thinking(redacted=True):
                    assert any(block is own for own in mine)
                case Text() | ToolCall() if block.replay is not None:
                    assert any(block.replay == own.replay for own in mine if own.type == block.type)


# --- one by one -----------------------------------------------------------------------------------


def fresh(wire: VendorProvider, history: list[Message]) -> list[bytes]:
    return EncodedHistory(wire.rules(), wire.encode_message).update(history)


EDITS = st.sampled_from(["grow", "cut", "edit", "fork", "same", "insert"])


@wires
@given(data=st.data())
@many
def test_a_conversation_encoded_step_by_step_is_the_same_as_encoded_at_once(wire, data):
    kept = EncodedHistory(wire.rules(), wire.encode_message)
    history: list[Message] = []
    for _ in range(data.draw(st.integers(1, 6))):
        match data.draw(EDITS):
            case "grow":
                history = [*history, *data.draw(st.lists(MESSAGES, min_size=1, max_size=3))]
            case "cut":
                history = history[: data.draw(st.integers(0, len(history)))]
            case "edit" if history:
                place = data.draw(st.integers(0, len(history) - 1))
                history = [*history[:place], data.draw(MESSAGES), *history[place + 1 :]]
            case "fork" if history:
                place = data.draw(st.integers(0, len(history) - 1))
                history = [*history[:place], *data.draw(st.lists(MESSAGES, max_size=3))]
            case "insert":
                place = data.draw(st.integers(0, len(history)))
                history = [*history[:place], data.draw(MESSAGES), *history[place:]]
        assert kept.update(list(history)) == fresh(wire, history)


def turns(count: int) -> list[Message]:
    history: list[Message] = []
    for number in range(count):
        call = ToolCall(id=f"c{number}", name="f", input={"n": number})
        history += [
            user(f"question {number}"),
            assistant("let me see", call),
            user(ToolResult(call_id=call.id, name="f", content=(Text(text="42"),))),
            assistant(f"answer {number}"),
        ]
    return history


@pytest.mark.parametrize("wire", [ANTHROPIC, CHAT], ids=["anthropic", "chat"])
def test_each_message_of_a_growing_conversation_is_encoded_once(wire):
    encoded: list[Message] = []

    def encode(message: Message) -> list[dict[str, Any]]:
        encoded.append(message)
        return wire.encode_message(message)

    kept = EncodedHistory(wire.rules(), encode)
    history = turns(10)
    for end in range(1, len(history), 2):  # a request ends with what the user said
        kept.update(history[:end])
    assert len(encoded) == end
    kept.update(history[:end])  # a retry encodes nothing
    assert len(encoded) == end


def test_a_long_conversation_that_grows_by_a_turn_is_not_walked_through_again():
    history = turns(2000)
    kept = EncodedHistory(CHAT.rules(), CHAT.encode_message)
    kept.update(history)
    seen: list[Message] = []
    kept._encode = lambda message: [seen.append(message) or {}]
    kept.update([*history, user("more")])
    assert len(seen) <= 2


# --- facts ----------------------------------------------------------------------------------------


def content(sent: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(m["role"], [b["type"] for b in m["content"]]) for m in sent["messages"]]


def test_a_call_without_a_result_gets_one_that_says_so():
    sent = judge(ANTHROPIC, [user("hi"), assistant(ToolCall(id="a", name="f"))])
    (result, _) = sent["messages"][2]["content"]
    assert (result["tool_use_id"], result["is_error"], result["content"]) == ("a", True, UNKNOWN)


def test_a_result_without_a_call_is_left_out():
    sent = judge(ANTHROPIC, [user("hi"), assistant("a"), user(ToolResult(call_id="zz"), "so")])
    assert content(sent)[2] == ("user", ["text", "text"])


def test_a_second_result_of_a_call_is_left_out():
    one, two = (ToolResult(call_id="a", content=(Text(text=t),)) for t in ("1", "2"))
    sent = judge(ANTHROPIC, [user("hi"), assistant(ToolCall(id="a", name="f")), user(one, two)])
    assert sent["messages"][2]["content"][0]["content"] == "1"


def test_results_come_in_the_order_of_their_calls_and_first():
    calls = [ToolCall(id=i, name="f") for i in "abc"]
    results = [ToolResult(call_id=i, content=(Text(text=i),)) for i in "cab"]
    sent = judge(ANTHROPIC, [user("hi"), assistant(*calls), user("x", *results)])
    assert [b.get("tool_use_id") for b in sent["messages"][2]["content"]] == [
        "a",
        "b",
        "c",
        None,
        None,
    ]


def test_calls_with_one_id_get_ids_of_their_own_and_their_own_results():
    calls = [ToolCall(id="a", name="f", input={"n": n}) for n in (1, 2)]
    results = [ToolResult(call_id="a", content=(Text(text=t),)) for t in ("one", "two")]
    sent = judge(CHAT, [user("hi"), assistant(*calls), user(*results)])
    ids = [c["id"] for c in sent["messages"][1]["tool_calls"]]
    assert len(set(ids)) == 2
    told = {m["tool_call_id"]: m["content"] for m in sent["messages"] if m["role"] == "tool"}
    assert [told[i] for i in ids] == ["one", "two"]


def test_an_id_that_comes_again_in_a_later_turn_gets_a_new_one():
    turn = [assistant(ToolCall(id="call_0", name="f")), user(ToolResult(call_id="call_0"))]
    sent = judge(CHAT, [user("hi"), *turn, *turn])
    ids = [c["id"] for m in sent["messages"] for c in m.get("tool_calls", ())]
    assert len(set(ids)) == 2


def test_a_blank_message_of_the_user_does_not_let_the_assistant_begin():
    assert content(judge(ANTHROPIC, [user(" "), assistant("a")]))[0][0] == "user"


def test_a_blank_message_of_the_user_does_not_join_two_answers():
    roles = [
        r
        for r, _ in content(judge(ANTHROPIC, [user("a"), assistant("b"), user(""), assistant("c")]))
    ]
    assert roles == ["user", "assistant", "user", "assistant", "user"]


def test_nothing_but_blank_messages_is_still_a_conversation():
    sent = json.loads(ANTHROPIC.body(request_of([user("")])))
    check_anthropic(sent)


def request_of(history: list[Message]) -> Any:
    from alloy_nb.providers.base import ModelRequest

    return ModelRequest(messages=history)


def test_a_conversation_may_begin_with_the_assistant():
    assert content(judge(ANTHROPIC, [assistant("hello")]))[0][0] == "user"


def test_messages_in_a_row_are_joined():
    sent = judge(ANTHROPIC, [user("a"), user("b"), assistant("c"), assistant("d")])
    assert content(sent) == [
        ("user", ["text", "text"]),
        ("assistant", ["text", "text"]),
        ("user", ["text"]),
    ]


def test_thinking_of_another_vendor_is_not_sent():
    made = Message(
        role="assistant",
        content=(Thinking(text="hm", replay={"signature": "s"}), Text(text="a")),
        origin=Origin(provider="demo", model="demo"),
    )
    assert content(judge(ANTHROPIC, [user("x"), made]))[1] == ("assistant", ["text"])


SIGNED: dict[str, tuple[Any, list[Any]]] = {
    "anthropic": (
        Anthropic,
        [
            Thinking(text="hm", replay={"signature": "SECRET"}),
            Thinking(redacted=True, replay={"type": "redacted_thinking", "data": "SECRET"}),
            Opaque(vendor="anthropic", raw={"type": "container_upload", "file_id": "SECRET"}),
        ],
    ),
    "openai": (
        OpenAI,
        [
            Thinking(
                text="hm",
                replay={
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "encrypted_content": "SECRET",
                },
            ),
            Opaque(vendor="openai", raw={"type": "compaction", "encrypted_content": "SECRET"}),
        ],
    ),
    "gemini": (
        Gemini,
        [
            Thinking(text="hm", replay={"thoughtSignature": "SECRET"}),
            ToolCall(id="c1", name="f", replay={"thoughtSignature": "SECRET"}),
            Opaque(vendor="gemini", raw={"executableCode": {"code": "SECRET"}}),
        ],
    ),
}


@pytest.mark.parametrize(("make", "blocks"), SIGNED.values(), ids=SIGNED.keys())
@pytest.mark.parametrize("block", range(3))
def test_what_a_vendor_signed_goes_back_to_the_host_that_signed_it_alone(make, blocks, block):
    here, there = make("m", base_url=URL), make("m", base_url="https://gateway.example")
    signed_block = blocks[block % len(blocks)]
    origin = Origin(provider=here.name, model="m", host=here.host)
    history = [user("x"), Message(role="assistant", content=(signed_block, Text(text="a")))]
    history[1] = history[1].model_copy(update={"origin": origin})
    answer = [user(ToolResult(call_id="c1"))] if isinstance(signed_block, ToolCall) else []
    assert "SECRET" in json.dumps(body(here, *history, *answer, user("y")))
    assert "SECRET" not in json.dumps(body(there, *history, *answer, user("y")))


def test_what_came_from_an_unknown_host_goes_by_its_vendor():
    made = Message(
        role="assistant",
        content=(Thinking(text="hm", replay={"signature": "s"}), Text(text="a")),
        origin=Origin(provider="anthropic", model="a"),
    )
    assert content(judge(ANTHROPIC, [user("x"), made]))[1] == ("assistant", ["thinking", "text"])


@pytest.mark.parametrize("begins", [b"", b"message_start"], ids=["no start", "a start"])
def test_a_reply_says_where_it_came_from(begins):
    reply = anthropic_events(Reply([Say("hi")]))
    events = reply if begins else reply[1:]
    with Server(stream(events)) as server:
        made = ask(Anthropic("m", base_url=server.url.replace("//", "//me:hunter2secret@")))
    assert made.message.origin.host == server.url.removeprefix("http://")


def test_a_call_of_another_vendor_keeps_its_arguments_and_loses_its_marks():
    made = Message(
        role="assistant",
        content=(ToolCall(id="a", name="f", input={"x": 1}, replay={"thought_signature": "s"}),),
        origin=Origin(provider="gemini", model="g"),
    )
    (prepared,) = [m for m in prepare([user("x"), made], CHAT.rules()) if m.role == "assistant"]
    assert prepared.content == (ToolCall(id="a", name="f", input={"x": 1}),)


def test_an_unchanged_message_is_the_same_object():
    history = turns(3)
    assert all(a is b for a, b in zip(prepare(history, ANTHROPIC.rules()), history, strict=True))
