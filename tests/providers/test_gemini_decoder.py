"""Replies of Gemini: parts become blocks, signatures keep their place, sources find their text."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from alloy_nb.errors import (
    BadRequest,
    ContextOverflow,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFault,
    StreamTruncated,
)
from alloy_nb.events import (
    BlockSealed,
    BlockStarted,
    CitationAdded,
    ReplyStarted,
    Stopped,
    TextDelta,
)
from alloy_nb.messages import Image, Message, Opaque, StopReason, Text, Thinking, ToolCall, user
from alloy_nb.providers import Gemini
from alloy_nb.providers.gemini_decoder import MADE_UP, signed_parts
from tests.oracles.gemini import validate_gemini
from tests.providers.gemini_streams import (
    candidate,
    chunk,
    random_chunks,
    reply,
    signature,
    sse,
)
from tests.providers.streams import BROKEN, STREAMS, mutated
from tests.providers.wires import URL, Decoded, body, decode, same, survives

GEMINI = Gemini("gemini-2.5-pro", base_url=URL)

SIGNED = {"text": "so: ", "thoughtSignature": signature("text")}
THOUGHT = {"text": "Hmm, à voir 🤔.", "thought": True}
CALL = {"functionCall": {"name": "bash", "args": {"command": "écho '😀'"}, "id": "c1"}}
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13}


def of(data: bytes) -> Decoded:
    return decode(GEMINI, data)


def content(data: bytes) -> tuple[Any, ...]:
    return of(data).message.content


def sent_back(message: Message) -> list[dict[str, Any]]:
    """Return the parts of a reply as they go back with the next request."""
    sent = body(GEMINI, user("hi"), message, user("go on"))
    validate_gemini(sent)
    return sent["contents"][1]["parts"]


def parts_of(data: bytes) -> list[dict[str, Any]]:
    return sent_back(of(data).message)


# --- text and thoughts ----------------------------------------------------------------------------


def test_parts_of_text_in_a_row_are_one_block():
    events = of(reply({"text": "Hel"}, {"text": "lo"})).events
    assert [e for e in events if isinstance(e, (BlockStarted, TextDelta, BlockSealed))] == [
        BlockStarted(0, "text"),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        BlockSealed(0),
    ]


def test_parts_of_thought_are_thinking_and_never_text():
    message = of(reply(THOUGHT, {"text": "more", "thought": True}, {"text": "42"})).message
    assert (message.thinking, message.text) == ("Hmm, à voir 🤔.more", "42")
    assert [type(b) for b in message.content] == [Thinking, Text]


def test_thinking_after_text_is_a_block_of_its_own():
    assert [b.text for b in content(reply({"text": "a"}, THOUGHT, {"text": "b"}))] == [
        "a",
        THOUGHT["text"],
        "b",
    ]


def test_a_reply_begins_with_its_id_and_its_model_once():
    events = of(reply({"text": "a"}, {"text": "b"})).events
    assert [e for e in events if isinstance(e, ReplyStarted)] == [ReplyStarted("r1", "gemini-x")]


def test_empty_parts_of_text_say_nothing():
    assert content(reply({"text": ""}, {"text": "", "thought": True})) == ()


def test_several_parts_of_one_chunk_come_in_their_order():
    message = of(sse(chunk(THOUGHT, {"text": "a"}, CALL, {"text": "b"}, finish="STOP"))).message
    assert [type(b) for b in message.content] == [Thinking, Text, ToolCall, Text]


def test_a_second_candidate_is_not_mixed_in():
    both = {
        "candidates": [
            candidate({"text": "a"}),
            candidate({"text": "b"}, finish="STOP") | {"index": 1},
        ]
    }
    assert of(sse(both, chunk(finish="STOP"))).message.text == "a"


def test_a_candidate_without_an_index_is_the_first():
    plain = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
    assert of(sse(plain)).message.text == "a"


def test_a_candidate_without_content_is_an_empty_reply():
    assert content(sse({"candidates": [{"finishReason": "STOP"}]})) == ()


# --- signatures -----------------------------------------------------------------------------------


def test_a_signature_on_a_text_goes_back_on_that_text():
    assert parts_of(reply(SIGNED)) == [SIGNED]


def test_text_around_a_signed_part_is_one_block_and_goes_back_as_it_came():
    data = reply({"text": "a"}, {"text": "b"}, SIGNED, {"text": "c"}, {"text": "d"})
    assert [b.text for b in content(data)] == ["abso: cd"]
    assert parts_of(data) == [{"text": "ab"}, SIGNED, {"text": "cd"}]


def test_two_signatures_on_a_text_are_both_kept():
    other = {"text": "x", "thoughtSignature": signature("other")}
    assert parts_of(reply(SIGNED, other)) == [SIGNED, other]


def test_a_signature_on_an_empty_part_behind_the_text_goes_back_on_an_empty_part():
    empty = {"text": "", "thoughtSignature": signature("the end")}
    data = reply({"text": "Hello"}, empty)
    assert content(data)[0].text == "Hello"
    assert parts_of(data) == [{"text": "Hello"}, empty]


def test_a_signature_without_any_text_to_belong_to_is_kept_too():
    empty = {"text": "", "thoughtSignature": signature("alone")}
    assert parts_of(reply(CALL, empty)) == [CALL, empty]


def test_a_part_that_is_nothing_but_a_signature_goes_back_as_an_empty_text():
    (_, sent) = parts_of(reply(CALL, {"thoughtSignature": signature("bare")}))
    assert sent == {"text": "", "thoughtSignature": signature("bare")}


def test_a_signature_on_blank_text_is_kept():
    blank = {"text": "\n", "thoughtSignature": signature("blank")}
    message = of(reply(THOUGHT, blank, CALL)).message
    assert message.text == "\n"
    assert sent_back(message) == [blank, CALL]


def test_a_signed_thought_goes_back_whole():
    signed = {**THOUGHT, "thoughtSignature": signature("thought")}
    assert parts_of(reply(signed, {"text": "42"})) == [signed, {"text": "42"}]


def test_a_signature_behind_a_thought_goes_back_behind_it():
    behind = {"text": "", "thought": True, "thoughtSignature": signature("thought")}
    assert parts_of(reply(THOUGHT, behind, {"text": "42"})) == [THOUGHT, behind, {"text": "42"}]


def test_a_thought_without_a_signature_stays_here():
    assert parts_of(reply(THOUGHT, {"text": "42"})) == [{"text": "42"}]


def test_a_signature_on_a_call_goes_back_on_that_call_alone():
    signed = {**CALL, "thoughtSignature": signature("call")}
    other = {"functionCall": {"name": "read", "args": {}, "id": "c2"}}
    assert parts_of(reply(signed, other)) == [signed, other]


def test_a_signed_picture_is_shown_once_and_goes_back_with_its_signature():
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    signed = {**picture, "thoughtSignature": signature("picture")}
    message = of(reply(signed)).message
    assert [b for b in message.content if isinstance(b, Image)] == [Image(data="iVBORw0KGgo=")]
    assert sent_back(message) == [signed]


def test_an_edited_text_loses_its_signatures_and_nothing_else():
    assert signed_parts("edited", {"parts": [[2, None], [1, "s"]]}) == [("edited", None)]


@pytest.mark.parametrize("parts", [None, 3, [], [1], [[1]], [[1, 2, 3]], [["x", "s"]], [[-5, "s"]]])
def test_signatures_that_make_no_sense_are_left_out(parts):
    assert signed_parts("text", {"parts": parts}) == [("text", None)]


def test_every_part_of_a_random_reply_goes_back_as_it_came():
    chance = random.Random(5)
    for _ in range(STREAMS):
        chunks = random_chunks(chance)
        came = [p for c in chunks for p in c["candidates"][0].get("content", {}).get("parts", ())]
        sent = [part for part in parts_of(sse(*chunks)) if part != {"text": "(no answer)"}]
        assert joined(sent) == joined(meant(came))


def joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join texts in a row of which none is signed: that is all that may be joined."""
    out: list[dict[str, Any]] = []
    for part in parts:
        if out and part.keys() == out[-1].keys() == {"text"}:
            out[-1] = {"text": out[-1]["text"] + part["text"]}
        else:
            out.append(part)
    return out


def meant(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what need not go back: thoughts of which none in a row is signed, blank text."""
    runs: list[list[dict[str, Any]]] = []
    for part in parts:
        kind = (part.get("thought"), "text" in part)
        if runs and kind == (runs[-1][0].get("thought"), "text" in runs[-1][0]) and kind[1]:
            runs[-1].append(part)
        else:
            runs.append([part])
    out = []
    for run in runs:
        signed = any("thoughtSignature" in part for part in run)
        blank = "text" in run[0] and not "".join(part["text"] for part in run).strip()
        if signed and run[0].get("thought"):
            out += thoughts(run)
        elif not run[0].get("thought") and (signed or not blank):
            out += run
    return out


def thoughts(run: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for part in run:
        if out and "thoughtSignature" not in part and "thoughtSignature" not in out[-1]:
            out[-1] = {**part, "text": out[-1]["text"] + part["text"]}
        else:
            out.append(part)
    return out


# --- calls ----------------------------------------------------------------------------------------


def test_a_call_comes_whole_with_its_id():
    (call,) = of(reply(CALL)).message.tool_calls
    assert (call.id, call.name, call.input) == ("c1", "bash", {"command": "écho '😀'"})


def test_a_call_without_an_id_gets_one_which_is_not_sent_back():
    data = reply(
        {"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "f", "args": {}}}
    )
    message = of(data).message
    one, two = (call.id for call in message.tool_calls)
    assert one.startswith(MADE_UP) and one != two
    assert [part["functionCall"] for part in sent_back(message)] == [{"name": "f", "args": {}}] * 2


@pytest.mark.parametrize("finish", ["STOP", "FUNCTION_CALL"])
def test_a_reply_with_calls_stops_for_its_tools(finish):
    assert of(reply(CALL, finish=finish)).reply.stop is StopReason.TOOL_USE


def test_a_call_without_arguments_has_none():
    assert of(reply({"functionCall": {"name": "f"}})).message.tool_calls[0].input == {}


@pytest.mark.parametrize("args", ["rm -rf /", ["a"], 7, True])
def test_arguments_that_are_no_object_are_invalid(args):
    (call,) = of(reply({"functionCall": {"name": "f", "args": args}})).message.tool_calls
    assert call.input == {}
    assert call.invalid == json.dumps(args, separators=(",", ":"))


def test_a_number_that_json_has_not_makes_arguments_invalid():
    data = reply({"functionCall": {"name": "f", "args": {"x": 77}}}).replace(b"77", b"1e999")
    assert of(data).message.tool_calls[0].invalid


def test_a_call_beside_an_empty_text_in_one_part_is_a_call():
    assert len(of(reply({**CALL, "text": ""})).message.tool_calls) == 1


# --- what is kept as it came ----------------------------------------------------------------------

CODE = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
RESULT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}


@pytest.mark.parametrize(
    "part",
    [
        CODE,
        RESULT,
        {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.example/v"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        {"toolCall": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["x"]}}},
        {"toolResponse": {"id": "t1", "toolType": "GOOGLE_SEARCH_WEB", "response": {}}},
        {**CODE, "thoughtSignature": signature("code")},
    ],
    ids=lambda part: next(iter(part)),
)
def test_a_part_of_another_kind_is_kept_and_goes_back_as_it_came(part):
    message = of(reply({"text": "a"}, part, {"text": "b"})).message
    assert message.content[1] == Opaque(vendor="gemini", raw=part)
    assert sent_back(message) == [{"text": "a"}, part, {"text": "b"}]


def test_a_part_that_nobody_knows_is_kept_as_it_came():
    part = {"hologram": {"x": [1, None]}, "thoughtSignature": "s"}
    assert content(reply(part)) == (Opaque(vendor="gemini", raw=part),)


def test_code_that_the_vendor_ran_is_no_call_of_ours():
    message = of(reply(CODE, RESULT, {"text": "2"})).message
    assert not message.tool_calls
    assert message.stop is StopReason.END_TURN


def test_a_picture_is_shown_and_goes_back():
    picture = {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}}
    message = of(reply(picture)).message
    assert message.content == (Image(media_type="image/jpeg", data="/9j/"),)
    assert sent_back(message) == [picture]


# --- usage ----------------------------------------------------------------------------------------


def test_usage_counts_thoughts_as_output_and_tools_results_as_input():
    used = of(
        reply(
            {"text": "a"},
            usage={
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "toolUsePromptTokenCount": 7,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 30,
            },
        )
    ).reply.usage
    assert (used.input_tokens, used.output_tokens) == (107, 50)
    assert (used.cache_read_tokens, used.reasoning_tokens) == (60, 30)


def test_a_later_count_replaces_an_earlier_one():
    data = sse(
        chunk({"text": "a"}, usage=USAGE),
        chunk({"text": "b"}, finish="STOP", usage={**USAGE, "candidatesTokenCount": 9}),
    )
    assert of(data).reply.usage.output_tokens == 9


def test_searches_are_counted():
    data = reply({"text": "a"}, usage=USAGE, groundingMetadata={"webSearchQueries": ["x", "y"]})
    assert of(data).reply.usage.searches == 2


@pytest.mark.parametrize("usage", [{}, {"promptTokenCount": -5, "candidatesTokenCount": "many"}])
def test_absurd_counts_are_none(usage):
    used = of(reply({"text": "a"}, usage=usage)).reply.usage
    assert (used.input_tokens, used.output_tokens) == (0, 0)


def test_a_reply_without_counts_has_no_usage():
    assert of(reply({"text": "a"})).reply.usage is None


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "stop", "detail"),
    [
        ("STOP", StopReason.END_TURN, None),
        ("MAX_TOKENS", StopReason.MAX_TOKENS, "MAX_TOKENS"),
        ("CONTINUATION", StopReason.MAX_TOKENS, "CONTINUATION"),
        ("SAFETY", StopReason.REFUSAL, "SAFETY"),
        ("RECITATION", StopReason.REFUSAL, "RECITATION"),
        ("BLOCKLIST", StopReason.REFUSAL, "BLOCKLIST"),
        ("PROHIBITED_CONTENT", StopReason.REFUSAL, "PROHIBITED_CONTENT"),
        ("SPII", StopReason.REFUSAL, "SPII"),
        ("LANGUAGE", StopReason.REFUSAL, "LANGUAGE"),
        ("IMAGE_SAFETY", StopReason.REFUSAL, "IMAGE_SAFETY"),
        ("IMAGE_RECITATION", StopReason.REFUSAL, "IMAGE_RECITATION"),
        ("OTHER", StopReason.END_TURN, "OTHER"),
        ("TOMORROW", StopReason.END_TURN, "TOMORROW"),
    ],
)
def test_each_finish_reason_is_a_stop_reason(finish, stop, detail):
    whole = of(reply({"text": "a"}, finish=finish)).reply
    assert (whole.stop, whole.detail) == (stop, detail)


def test_every_finish_reason_of_the_sdk_is_known_but_those_that_say_nothing():
    types = pytest.importorskip("google.genai.types")
    unknown = set()
    for reason in types.FinishReason:
        decoded = of_any(reply({"text": "a"}, finish=reason.value))
        if decoded is not None and decoded.stop is StopReason.END_TURN:
            unknown.add(reason.value)
    assert unknown == {"STOP", "OTHER", "IMAGE_OTHER", "NO_IMAGE"}


def of_any(data: bytes) -> Any:
    try:
        decoded = of(data)
    except ProviderError:
        return None
    return None if decoded.fault else decoded.reply


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("MALFORMED_FUNCTION_CALL", ServerFault),
        ("MALFORMED_RESPONSE", ServerFault),
        ("UNEXPECTED_TOOL_CALL", ServerFault),
        ("TOO_MANY_TOOL_CALLS", ServerFault),
        ("MISSING_THOUGHT_SIGNATURE", BadRequest),
    ],
)
def test_output_that_cannot_be_used_is_an_error(reason, cause):
    fault = of(sse(chunk(finish=reason, finishMessage="Malformed function call: f("))).fault
    assert type(fault) is cause
    assert "Malformed function call: f(" in str(fault)


def test_what_came_in_the_chunk_that_failed_is_not_lost():
    decoder = GEMINI.decoder()
    events = decoder.feed(None, chunk({"text": "so far"}, finish="MALFORMED_FUNCTION_CALL"))
    assert TextDelta(0, "so far") in events
    with pytest.raises(ServerFault):
        decoder.close()
    with pytest.raises(ServerFault):
        decoder.feed(None, chunk(usage=USAGE))


def test_an_unset_finish_reason_does_not_end_a_reply():
    decoded = of(sse(chunk({"text": "a"}, finish="FINISH_REASON_UNSPECIFIED")))
    assert isinstance(decoded.fault, StreamTruncated)


def test_counts_may_follow_the_finish_reason():
    data = sse(chunk({"text": "a"}, finish="STOP"), {"usageMetadata": USAGE})
    assert of(data).reply.usage.output_tokens == 3


# --- refusals and errors --------------------------------------------------------------------------


def test_a_blocked_prompt_is_an_error_that_names_the_reason():
    fault = of(
        sse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE})
    ).fault
    assert type(fault) is BadRequest
    assert "PROHIBITED_CONTENT" in str(fault)


def test_a_blocked_prompt_with_an_empty_candidate_is_an_error_too():
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "candidates": [{"index": 0}]}
    assert type(of(sse(blocked)).fault) is BadRequest


def test_a_prompt_that_is_blocked_in_the_middle_keeps_what_was_said():
    decoded = of(sse(chunk({"text": "a"}), {"promptFeedback": {"blockReason": "SAFETY"}}))
    assert type(decoded.fault) is BadRequest
    assert decoded.builder.partial().text == "a"


def test_ratings_of_the_prompt_alone_block_nothing():
    data = sse({"promptFeedback": {"safetyRatings": []}}, chunk({"text": "a"}, finish="STOP"))
    assert of(data).message.text == "a"


TOO_LONG = "The input token count (9) exceeds the maximum number of tokens allowed (8)."


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ({"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}, RateLimited),
        ({"code": 503, "message": "busy", "status": "UNAVAILABLE"}, Overloaded),
        ({"code": 500, "message": "oops", "status": "INTERNAL"}, ServerFault),
        ({"code": 400, "message": TOO_LONG, "status": "INVALID_ARGUMENT"}, ContextOverflow),
        ("a string", ServerFault),
    ],
)  # fmt: skip
def test_an_error_in_the_stream_ends_it_by_its_kind_and_keeps_what_came(error, cause):
    decoded = of(sse(chunk({"text": "a"}), {"error": error}))
    assert type(decoded.fault) is cause
    assert decoded.builder.partial().text == "a"


# --- sources --------------------------------------------------------------------------------------


def web(*names: str) -> list[dict[str, Any]]:
    return [{"web": {"uri": f"https://{name}.example/", "title": name}} for name in names]


def support(start: int, end: int, *chunks: int, text: str | None = None) -> dict[str, Any]:
    segment: dict[str, Any] = {"startIndex": start, "endIndex": end}
    return {
        "segment": segment | ({"text": text} if text else {}),
        "groundingChunkIndices": list(chunks),
    }


def cited(data: bytes) -> list[tuple[str | None, str | None]]:
    """Return each source with the words that it is anchored to."""
    return [
        (c.title, None if c.start is None else block.text[c.start : c.end])
        for block in of(data).message.content
        if isinstance(block, Text)
        for c in block.citations
    ]


def grounded(*parts: str, **metadata: Any) -> bytes:
    return reply(*({"text": part} for part in parts), groundingMetadata=metadata)


def test_a_source_is_anchored_to_characters_though_bytes_are_counted():
    said = "Été à Paris 😀: il fait chaud."
    start, end = (len(said[: said.index(w)].encode()) for w in ("il", "."))
    assert cited(
        grounded(said, groundingChunks=web("a"), groundingSupports=[support(start, end, 0)])
    ) == [("a", "il fait chaud")]


def test_a_source_keeps_its_address_its_quote_and_the_vendors_own_record():
    data = grounded(
        "It rains.",
        groundingChunks=web("a"),
        groundingSupports=[support(0, 9, 0, text="It rains.")],
    )
    (citation,) = content(data)[0].citations
    assert (citation.kind, citation.url, citation.quote) == (
        "grounding",
        "https://a.example/",
        "It rains.",
    )
    assert citation.raw["chunk"] == web("a")[0]


def test_offsets_count_over_the_whole_answer_though_it_has_several_blocks():
    data = reply(
        {"text": "été. "},
        CODE,
        {"text": "Winter 😀 ist kalt."},
        groundingMetadata={
            "groundingChunks": web("a", "b"),
            "groundingSupports": [support(0, 6, 0), support(7, 18, 1)],
        },
    )
    assert cited(data) == [("a", "été."), ("b", "Winter 😀")]


def test_offsets_that_count_within_a_part_are_mended_by_the_quote():
    data = reply(
        THOUGHT,
        {"text": "First. "},
        CODE,
        {"text": "Second."},
        groundingMetadata={
            "groundingChunks": web("a"),
            "groundingSupports": [support(0, 7, 0, text="Second.")],
        },
    )
    assert cited(data) == [("a", "Second.")]


def test_one_passage_may_have_several_sources():
    data = grounded("ab", groundingChunks=web("a", "b"), groundingSupports=[support(0, 2, 0, 1)])
    assert cited(data) == [("a", "ab"), ("b", "ab")]


def test_a_source_that_supports_no_passage_belongs_to_the_answer():
    data = grounded("ab", groundingChunks=web("a", "b"), groundingSupports=[support(0, 2, 1)])
    assert cited(data) == [("b", "ab"), ("a", None)]


def test_metadata_that_is_repeated_and_grows_gives_each_source_once():
    first = {"groundingChunks": web("a", "b"), "groundingSupports": [support(0, 2, 0)]}
    second = {**first, "groundingSupports": [support(0, 2, 0), support(3, 5, 1)]}
    data = sse(
        chunk({"text": "ab "}, groundingMetadata=first),
        chunk({"text": "cd"}, groundingMetadata=second, finish="STOP"),
    )
    assert cited(data) == [("a", "ab"), ("b", "cd")]


def test_sources_that_come_before_the_text_wait_for_it():
    metadata = {"groundingChunks": web("a"), "groundingSupports": [support(2, 4, 0)]}
    assert cited(
        sse(chunk(groundingMetadata=metadata), chunk({"text": "abcd"}, finish="STOP"))
    ) == [("a", "cd")]


def test_sources_come_as_events_before_the_end():
    events = of(
        grounded("ab", groundingChunks=web("a"), groundingSupports=[support(0, 2, 0)])
    ).events
    kinds = [type(e) for e in events]
    assert kinds.index(CitationAdded) < kinds.index(BlockSealed) < kinds.index(Stopped)


@pytest.mark.parametrize("kind", ["web", "retrievedContext", "maps"])
def test_sources_of_every_kind_have_an_address(kind):
    data = grounded("ab", groundingChunks=[{kind: {"uri": "https://x.example", "title": "t"}}])
    assert content(data)[0].citations[0].url == "https://x.example"


@pytest.mark.parametrize(
    "metadata",
    [
        (None, 3),
        ([None, 3, {}], [None, {}, {"groundingChunkIndices": [0, 99, -1, "x", None]}]),
        (web("a"), [support(-1, -5, 0), support(5, 2, 0), support(0, 10**12, 0)]),
        ([{"web": {"uri": 3, "title": []}}], [{"segment": [], "groundingChunkIndices": [0]}]),
    ],
)
def test_sources_that_make_no_sense_do_no_harm(metadata):
    found, supports = metadata
    data = grounded("ab", groundingChunks=found, groundingSupports=supports)
    for citation in content(data)[0].citations:
        assert citation.start is None or 0 <= citation.start <= citation.end <= 2


# --- bytes ----------------------------------------------------------------------------------------

FULL = sse(
    chunk(THOUGHT, usage=USAGE),
    chunk({"text": "Voilà "}, usage=USAGE),
    chunk({"text": "😀\u2028", "thoughtSignature": signature("x")}, CODE, usage=USAGE),
    chunk(
        CALL,
        finish="STOP",
        usage=USAGE,
        groundingMetadata={
            "groundingChunks": web("a"),
            "groundingSupports": [support(0, 6, 0)],
        },
    ),
)


def test_sources_and_code_come_the_same_however_bytes_are_cut():
    assert same(decode(GEMINI, FULL, range(len(FULL))), of(FULL))


VALUES = [None, 0, -1, 10**12, True, "x", "", [], {}, [None], {"type": []}, "\ud83d"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_of_any_kind_anywhere_is_survived(value):
    good = json.loads(FULL.split(b"data: ")[-1])
    for path in paths(good):
        evil = replaced(good, path, value)
        before = sse(chunk({"text": "before"}))
        survives(GEMINI, before + sse_escaped(evil), before=before)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = (
        value.keys()
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    )
    return [p for key in keys for p in [(*here, key), *paths(value[key], (*here, key))]]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copied = json.loads(json.dumps(value))
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copied


def sse_escaped(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


# --- as the official SDK says ---------------------------------------------------------------------


@pytest.fixture
def sdk() -> Any:
    """Give the official SDK over a transport that answers with the bytes set last."""
    genai = pytest.importorskip("google.genai")
    import httpx

    class Served:
        bytes = b""

    def answer(request: Any) -> Any:
        return httpx.Response(
            200, headers={"content-type": "text/event-stream"}, content=Served.bytes
        )

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        options = genai.types.HttpOptions(httpx_client=client, retry_options=None)
        Served.models = genai.Client(api_key="k", http_options=options).models
        yield Served


def theirs(sdk: Any, data: bytes) -> dict[str, Any]:
    sdk.bytes = data
    chunks = list(sdk.models.generate_content_stream(model="m", contents="hi"))
    parts = [
        part
        for each in chunks
        for part in ((each.candidates[0].content and each.candidates[0].content.parts) or ())
    ]
    usage = [each.usage_metadata for each in chunks if each.usage_metadata][-1]
    calls = [part.function_call for part in parts if part.function_call]
    finishes = [each.candidates[0].finish_reason for each in chunks]
    return {
        "text": "".join(p.text or "" for p in parts if not p.thought),
        "thoughts": "".join(p.text or "" for p in parts if p.thought),
        "calls": [(call.id, call.name, call.args) for call in calls],
        "signatures": [p.thought_signature for p in parts if p.thought_signature],
        "pictures": [p.inline_data.data for p in parts if p.inline_data],
        "finish": next(finish.value for finish in reversed(finishes) if finish),
        "usage": usage,
    }


STOPS = {
    "STOP": {StopReason.END_TURN, StopReason.TOOL_USE},
    "OTHER": {StopReason.END_TURN, StopReason.TOOL_USE},
    "MAX_TOKENS": {StopReason.MAX_TOKENS},
    "SAFETY": {StopReason.REFUSAL},
    "RECITATION": {StopReason.REFUSAL},
    "LANGUAGE": {StopReason.REFUSAL},
}


def test_well_formed_replies_mean_what_the_official_sdk_makes_of_them(sdk):
    import base64

    chance = random.Random(4)
    for _ in range(STREAMS):
        data = sse(*random_chunks(chance))
        their, our = theirs(sdk, data), of(data).reply
        message = our.message
        assert message.text == their["text"]
        assert (
            "".join(b.text for b in message.content if isinstance(b, Thinking)) == their["thoughts"]
        )
        ours = [
            (None if c.id.startswith(MADE_UP) else c.id, c.name, c.input)
            for c in message.tool_calls
        ]
        assert ours == their["calls"]
        assert our.stop in STOPS[their["finish"]]
        assert (our.stop is StopReason.TOOL_USE) == (
            bool(ours) and their["finish"] in ("STOP", "OTHER")
        )
        shown = [base64.b64decode(b.data) for b in message.content if isinstance(b, Image)]
        assert shown == their["pictures"]
        sent = [p["thoughtSignature"] for p in sent_back(message) if "thoughtSignature" in p]
        assert [base64.b64decode(s) for s in sent] == their["signatures"]
        used = their["usage"]
        assert our.usage.input_tokens == (used.prompt_token_count or 0) + (
            used.tool_use_prompt_token_count or 0
        )
        assert our.usage.output_tokens == (used.candidates_token_count or 0) + (
            used.thoughts_token_count or 0
        )
        assert our.usage.cache_read_tokens == (used.cached_content_token_count or 0)
        assert our.usage.reasoning_tokens == (used.thoughts_token_count or 0)


def test_mutated_replies_are_errors_of_ours_or_replies_that_can_be_written():
    for seed in range(BROKEN):
        chance = random.Random(seed)
        events = [sse(each) for each in random_chunks(chance)]
        broken = mutated(chance, events)
        cuts = [chance.randrange(len(broken) + 1) for _ in range(5)]
        survives(GEMINI, broken, cuts, before=b"".join(events))
