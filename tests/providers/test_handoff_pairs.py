"""Every vendor's history goes to every other vendor, and back without a scratch.

A history is made as the source's wire makes it: with its signatures, encrypted reasoning, opaque
blocks, ids and citations. All that belongs to the source alone carries a canary, so that a byte of
it at another vendor is found.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from alloy_nb.messages import (
    Citation,
    Document,
    Image,
    Message,
    Opaque,
    Origin,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    user,
)
from alloy_nb.providers import XAI, Anthropic, Codex, Gemini, ModelRequest, OpenAI, provider
from alloy_nb.providers import codex as codex_module
from alloy_nb.providers.handoff import prepare
from alloy_nb.providers.vendor import VendorProvider
from tests.oracles.gemini import check_gemini, validate_gemini
from tests.oracles.invariants import check_anthropic, check_chat
from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses
from tests.providers.gemini_streams import signature
from tests.providers.wires import URL

HISTORIES = int(os.environ.get("ALLOY_TEST_HISTORIES", "50"))
CANARY = "canary"
PIXEL = "iVBORw0KGgo="


def made(spec: str) -> Any:
    return provider(spec, base_url=URL, api_key="k")


WIRES: dict[str, Any] = {
    "anthropic": Anthropic("claude-sonnet-4-6", base_url=URL),
    "chat": provider("openai-compat/m", base_url=URL),
    "mistral": made("mistral/m"),
    "deepseek": made("deepseek/deepseek-reasoner"),
    "openai": OpenAI("gpt-5.4", base_url=URL),
    "xai": XAI("grok-4", base_url=URL),
    "gemini": Gemini("gemini-3-flash", base_url=URL),
    "gemini-2": Gemini("gemini-2.5-pro", base_url=URL),
    "codex": Codex("gpt-5.4"),
}
RECEIVERS = [name for name in WIRES if name != "codex"]


# --- what each vendor leaves in a history ---------------------------------------------------------


def mark(chance: random.Random, what: str) -> str:
    """Return a text that only its source may get back."""
    return f"{CANARY}-{what}-{chance.randrange(10**6)}"


def citation(chance: random.Random) -> Citation:
    raw = {"type": "x", "secret": mark(chance, "citation")}
    return Citation(url="https://x.example", title="x", start=0, end=2, raw=raw)


def anthropic(chance: random.Random, number: int) -> list[list[Any]]:
    located = {
        "type": "web_search_result_location",
        "url": "https://x.example",
        "title": "x",
        "cited_text": "so",
        "encrypted_index": mark(chance, "index"),
    }
    redacted = {"type": "redacted_thinking", "data": mark(chance, "redacted")}
    search = ToolCall(
        id=f"srvtoolu_{number}_{chance.randrange(99)}",
        name="web_search",
        input={"query": mark(chance, "query")},
        server=True,
        replay={},
    )
    found = {
        "type": "web_search_tool_result",
        "tool_use_id": search.id,
        "content": [
            {
                "type": "web_search_result",
                "url": "https://x.example",
                "title": "x",
                "encrypted_content": mark(chance, "found"),
            }
        ],
    }
    return [
        [Thinking(text="Hm.", replay={"signature": mark(chance, "signature")})],
        [Thinking(redacted=True, replay=redacted)],
        [Text(text="so it is", citations=(citation(chance),), replay={"citations": [located]})],
        [search, Opaque(vendor="anthropic", raw=found)],
    ]


def gemini(chance: random.Random, number: int) -> list[list[Any]]:
    signed = {"thoughtSignature": signature(mark(chance, "thought"))}
    parts = {"parts": [[2, None], [6, signature(mark(chance, "part"))]]}
    code = {"executableCode": {"language": "PYTHON", "code": mark(chance, "code")}}
    ran = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": mark(chance, "ran")}}
    return [
        [Thinking(text="Hm.", replay=signed)],
        [Thinking(text="Unsigned.")],
        [Text(text="so it is", citations=(citation(chance),), replay=parts)],
        [Opaque(vendor="gemini", raw=code), Opaque(vendor="gemini", raw=ran)],
        [Opaque(vendor="gemini", raw={"text": "", **signed})],
        [Image(data=PIXEL)],
    ]


def responses(vendor: str) -> Callable[[random.Random, int], list[list[Any]]]:
    def blocks(chance: random.Random, number: int) -> list[list[Any]]:
        reasoning = {
            "type": "reasoning",
            "id": f"rs_{mark(chance, 'reasoning')}",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": mark(chance, "encrypted"),
        }
        search = {
            "type": "web_search_call",
            "id": f"ws_{mark(chance, 'search')}",
            "status": "completed",
            "action": {"type": "search", "query": mark(chance, "query")},
        }
        call = ToolCall(id=search["id"], name="web_search", server=True, replay=search)
        return [
            [Thinking(text="Hm.", replay=reasoning), Text(text="so it is")],
            [Text(text="so it is", citations=(citation(chance),), replay={"phase": "commentary"})],
            [call],
        ]

    return blocks


def chat(chance: random.Random, number: int) -> list[list[Any]]:
    return [[Thinking(text="Hm.")], [Text(text="so it is", citations=(citation(chance),))]]


def codex(chance: random.Random, number: int) -> list[list[Any]]:
    return [[Thinking(text="Hm.")], [Text(text="so it is")]]


MAKERS: dict[str, Callable[[random.Random, int], list[list[Any]]]] = {
    "anthropic": anthropic,
    "chat": chat,
    "mistral": chat,
    "deepseek": chat,
    "openai": responses("openai"),
    "xai": responses("xai"),
    "gemini": gemini,
    "gemini-2": gemini,
    "codex": codex,
}
IDS = {
    "anthropic": "toolu_01{:05d}",
    "chat": "call_{:05d}",
    "mistral": "abcd{:05d}",
    "deepseek": "call_0{:05d}",
    "openai": "call_{:05d}",
    "xai": "call-{:05d}",
    "gemini": "alloy_{:05d}",
    "gemini-2": "function.id:{:05d}",
    "codex": "codex_{:05d}",
}


def call_of(chance: random.Random, source: str) -> ToolCall:
    replay: dict[str, Any] | None = None
    if source.startswith("gemini"):
        replay = {"thoughtSignature": signature(mark(chance, "call"))}
    if source == "chat":
        google = {"thought_signature": mark(chance, "call")}
        replay = {"extra_content": {"google": google}} if chance.random() < 0.5 else None
    # Vendors that number their calls anew in every turn repeat themselves.
    id_ = IDS[source].format(chance.randrange(40))
    arguments = chance.choice([{}, {"x": 1}, {"a": {"b": [None, "é😀"]}}])
    return ToolCall(id=id_, name=chance.choice(["bash", "read"]), input=arguments, replay=replay)


def history(chance: random.Random, source: str) -> list[Message]:
    """Return a conversation with a source, now and then interrupted or edited."""
    wire = WIRES[source]
    messages: list[Message] = [user("Hello?")]
    for number in range(chance.randint(1, 4)):
        groups = MAKERS[source](chance, number)
        content = [
            block
            for group in chance.sample(groups, chance.randint(0, len(groups)))
            for block in group
        ]
        calls = [call_of(chance, source) for _ in range(chance.choice([0, 0, 1, 2]))]
        origin = Origin(provider=wire.name, model=wire.model, response_id=mark(chance, "reply"))
        said = Message(role="assistant", content=(*content, *calls), origin=origin)
        messages.append(said)
        answers: list[Any] = [
            ToolResult(
                call_id=call.id,
                name=call.name,
                content=chance.choice([(Text(text="42"),), (), (Image(data=PIXEL),)]),
                is_error=chance.random() < 0.2,
            )
            for call in calls
            if chance.random() < 0.9
        ]
        if chance.random() < 0.6 or not answers:
            answers.append(
                chance.choice(["And now?", Image(data=PIXEL), Document(data="JVBERi0=")])
            )
        messages.append(user(*answers))
    return messages


# --- judges ---------------------------------------------------------------------------------------


def body_of(wire: VendorProvider, messages: list[Message]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(wire.body(ModelRequest(messages=messages)))
    return body


def judged(receiver: str, messages: list[Message]) -> str:
    """Encode a history, let every oracle look at it, and return it as it goes out."""
    body = body_of(WIRES[receiver], messages)
    match receiver:
        case "anthropic":
            validate_anthropic(body)
            check_anthropic(body)
        case "gemini" | "gemini-2":
            validate_gemini(body)
            check_gemini(body, signed_calls=receiver == "gemini")
        case "openai" | "xai":
            validate_responses(body)
            check_responses(body)
        case _:
            check_chat(body)
            validate_chat(without_googles(body), allow=["reasoning_content"])
    return json.dumps(body, ensure_ascii=False)


def without_googles(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out what Gemini's compatible interface adds to a call, which OpenAI's types lack."""
    plain: dict[str, Any] = json.loads(json.dumps(body))
    for message in plain["messages"]:
        for call in message.get("tool_calls", ()):
            call.pop("extra_content", None)
    return plain


def check_responses(body: dict[str, Any]) -> None:
    """Each call has one result, behind it and before anyone speaks; ids are unique."""
    waiting: list[str] = []
    seen: set[str] = set()
    for item in body["input"]:
        match item.get("type", "message"):
            case "function_call":
                assert item["call_id"] not in seen
                assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", item["call_id"])
                assert isinstance(json.loads(item["arguments"]), dict)
                seen.add(item["call_id"])
                waiting.append(item["call_id"])
            case "function_call_output":
                waiting.remove(item["call_id"])
            case "message" if item["role"] == "user":
                assert not waiting
                assert item["content"]
            case "message":
                assert item["content"]
    assert not waiting


def canaries(text: str) -> set[str]:
    """Return the canaries in a text, also those in base64."""
    plain = set(re.findall(rf"{CANARY}-\w+-\d+", text))
    for coded in re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", text):
        try:
            plain |= set(re.findall(rf"{CANARY}-\w+-\d+", base64.b64decode(coded).decode()))
        except ValueError:
            continue
    return plain


def returned(message: Message) -> set[str]:
    """Return the canaries in blocks that the vendor of a message gets back verbatim."""
    owned: list[Any] = []
    for block in message.content:
        match block:
            case Opaque(raw=raw):
                owned.append(raw)
            case ToolCall(server=True):
                owned += [block.replay, block.input]
            case Thinking() | Text() | ToolCall():
                owned.append(block.replay)
    return canaries(json.dumps(owned))


pairs = pytest.mark.parametrize(
    ("source", "receiver"),
    [(s, r) for s in WIRES for r in RECEIVERS if WIRES[s].name != WIRES[r].name],
)


@pairs
def test_a_history_of_one_vendor_is_one_that_another_takes(source, receiver):
    chance = random.Random(f"{source} {receiver}")
    for _ in range(HISTORIES):
        sent = judged(receiver, history(chance, source))
        assert not canaries(sent), "what one vendor signed reached another"


@pairs
def test_what_was_said_reaches_the_other_vendor(source, receiver):
    chance = random.Random(f"{source} {receiver} said")
    for _ in range(5):
        messages = history(chance, source)
        sent = judged(receiver, messages)
        for message in messages:
            assert all(b.text in sent for b in message.content if isinstance(b, Text))


@pairs
def test_preparing_a_foreign_history_twice_changes_nothing_more(source, receiver):
    chance = random.Random(f"{source} {receiver} twice")
    rules = WIRES[receiver].rules()
    for _ in range(5):
        once = prepare(history(chance, source), rules)
        assert prepare(once, rules) == once


@pytest.mark.parametrize("source", RECEIVERS)
def test_a_history_of_a_vendors_own_is_one_that_it_takes(source):
    chance = random.Random(source)
    for _ in range(HISTORIES):
        judged(source, history(chance, source))


@pytest.mark.parametrize(
    ("source", "receiver"),
    [(s, r) for s in RECEIVERS for r in WIRES if WIRES[s].name != WIRES[r].name],
)
def test_going_back_to_the_first_vendor_restores_what_it_signed(source, receiver):
    chance = random.Random(f"{source} {receiver} back")
    for _ in range(10):
        before = history(chance, source)
        origin = Origin(provider=WIRES[receiver].name, model="other")
        between = Message(role="assistant", content=(Text(text="Me now."),), origin=origin)
        alone = body_of(WIRES[source], before)
        back = body_of(WIRES[source], [*before, between, user("And you again?")])
        field = WIRES[source].history_field
        kept = alone[field]
        assert back[field][: len(kept)] == kept
        expected = {c for m in before[1:] if m.role == "assistant" for c in returned(m)}
        assert expected <= canaries(json.dumps(back))


def test_mistral_gets_ids_of_nine_letters_and_digits():
    chance = random.Random(9)
    for source in MAKERS:
        for _ in range(10):
            body = body_of(WIRES["mistral"], history(chance, source))
            ids = [c["id"] for m in body["messages"] for c in m.get("tool_calls", ())]
            ids += [m["tool_call_id"] for m in body["messages"] if m["role"] == "tool"]
            assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", id_) for id_ in ids)


@pytest.mark.parametrize("source", [name for name in MAKERS if name != "codex"])
def test_codex_gets_what_was_said_and_nothing_that_was_signed(source):
    chance = random.Random(source)
    for _ in range(HISTORIES):
        messages = history(chance, source)
        prompt = codex_module._prompt(ModelRequest(messages=messages)).decode()
        assert not canaries(prompt)
        for message in messages:
            texts = [b.text for b in message.content if isinstance(b, Text)]
            assert all(json.dumps(text, ensure_ascii=False) in prompt for text in texts)


@pytest.mark.parametrize("receiver", RECEIVERS)
def test_a_conversation_that_went_round_all_vendors_is_still_taken(receiver):
    chance = random.Random(f"round {receiver}")
    for _ in range(10):
        sources = list(MAKERS)
        chance.shuffle(sources)
        messages = [message for source in sources for message in history(chance, source)]
        sent = judged(receiver, messages)
        own = {
            canary
            for m in messages
            if m.origin and m.origin.provider == WIRES[receiver].name
            for canary in canaries(m.model_dump_json())
        }
        assert canaries(sent) <= own
