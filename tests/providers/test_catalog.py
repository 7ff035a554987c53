"""Whose model a name is, and what a reply cost: what is not known is not guessed."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from alloy_nb.errors import ConfigError
from alloy_nb.providers import catalog, provider
from alloy_nb.usage import Cost, Usage
from tests.providers.gemini_streams import chunk, sse
from tests.providers.responses_streams import message, stream
from tests.providers.wires import ANTHROPIC, CHAT, GEMINI, GROK, RESPONSES, blocks, chunks, decode

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "vendor"),
    [
        ("claude-sonnet-4-6", "anthropic"),
        ("Claude-Sonnet-4-6", "anthropic"),
        ("claude-sonnet-4-6-20260101", "anthropic"),
        ("claude-sonnet-4-20250514", "anthropic"),
        ("claude-3-5-haiku-latest", "anthropic"),
        ("claude-opus-4.6", "anthropic"),
        ("gpt-5.4", "openai"),
        ("gpt-4o-mini", "openai"),
        ("o3-mini", "openai"),
        ("gemini-2.5-pro", "gemini"),
        ("gemini-2.5-pro-preview-06-05", "gemini"),
        ("grok-4", "xai"),
        ("deepseek-chat", "deepseek"),
        ("mistral-large-latest", "mistral"),
    ],
)
def test_a_name_that_the_table_knows_has_its_maker(name, vendor):
    assert catalog.vendor_of(name) == vendor


@pytest.mark.parametrize(
    "name",
    [
        "zzclaude-sonnet-4-6x",
        "zzclaude-sonnet-4-6",
        "claude-sonnet-4-6x",
        "my-claude-haiku-4-5",
        "xgemini-1.5-pro",
        "not-gpt-5.4",
        "omnimoderation",
        "claude",
        "",
    ],
)
def test_a_name_is_not_guessed_from_a_part_of_it(name):
    assert catalog.vendor_of(name) is None


def test_a_mistyped_name_is_an_error_and_not_another_vendor():
    with pytest.raises(ConfigError, match="zzclaude-sonnet-4-6x"):
        provider("zzclaude-sonnet-4-6x", api_key="k")


@pytest.mark.parametrize("vendor", ["anthropic", "deepseek", "gemini", "mistral", "openai", "xai"])
def test_every_model_that_the_table_lists_and_finds_has_a_maker(vendor):
    listed = [name for name in catalog.models(vendor) if catalog.context_window(vendor, name)]
    assert len(listed) > 3
    assert [name for name in listed if catalog.vendor_of(name) is None] == []


# --- money ----------------------------------------------------------------------------------------

SONNET = ("anthropic", "claude-sonnet-4-6")


def test_a_reply_is_priced():
    cost = catalog.cost(*SONNET, Usage(input_tokens=1_000_000, output_tokens=100_000))
    assert cost.usd == Decimal("4.5")


def test_what_was_not_counted_makes_the_cost_incomplete():
    cost = catalog.cost(*SONNET, Usage(input_tokens=1_000_000, unreported=1))
    assert cost == Cost(known=Decimal(3), complete=False)


def test_a_stated_cost_is_the_cost_whatever_was_counted():
    usage = Usage(stated_cost=Decimal("0.5"), unreported=1)
    assert catalog.cost(*SONNET, usage).usd == Decimal("0.5")


TEXT = ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "Hello"}])


def of_anthropic(usage: Any) -> Any:
    return decode(ANTHROPIC, blocks(TEXT, usage=usage))


def of_chat(usage: Any) -> Any:
    return decode(CHAT, chunks({"content": "Hello"}, usage=usage))


def of_gemini(usage: Any) -> Any:
    return decode(GEMINI, sse(chunk({"text": "Hello"}), chunk(finish="STOP", usage=usage)))


def of_responses(usage: Any) -> Any:
    return decode(RESPONSES, stream(message("Hello"), usage=usage))


def of_grok(usage: Any) -> Any:
    return decode(GROK, stream(message("Hello"), usage=usage))


WIRES = {
    "anthropic": (of_anthropic, "output_tokens", {}),
    "chat": (of_chat, "completion_tokens", {"prompt_tokens": 9}),
    "gemini": (of_gemini, "candidatesTokenCount", {"promptTokenCount": 9}),
    "responses": (of_responses, "output_tokens", {"input_tokens": 9}),
    "xai": (of_grok, "output_tokens", {"input_tokens": 9}),
}
each = pytest.mark.parametrize(("reply", "output", "prompt"), WIRES.values(), ids=WIRES.keys())


@each
def test_counts_that_are_whole_are_all_there_is(reply, output, prompt):
    assert reply(prompt | {output: 5}).reply.usage.unreported == 0


@each
def test_no_counts_at_all_are_unknown_and_not_zero(reply, output, prompt):
    usage = reply({}).reply.usage
    assert usage is None or usage.unreported == 1


@each
@pytest.mark.parametrize("absurd", [-1, "many", 1.5, True, [], {}])
def test_an_absurd_count_is_unknown_and_not_zero(reply, output, prompt, absurd):
    usage = reply(prompt | {output: absurd}).reply.usage
    assert usage.unreported == 1
    assert usage.output_tokens <= 1  # what Anthropic's first event said of it
    assert catalog.cost(*SONNET, usage).usd is None


def test_a_negative_count_of_the_prompt_is_unknown_too():
    usage = of_chat({"prompt_tokens": -9, "completion_tokens": 5}).reply.usage
    assert (usage.unreported, usage.input_tokens) == (1, 0)


def test_a_negative_count_of_the_cache_is_unknown_too():
    usage = of_anthropic({"output_tokens": 5, "cache_read_input_tokens": -7}).reply.usage
    assert usage.unreported == 1


# --- cut ------------------------------------------------------------------------------------------


def test_a_reply_that_was_cut_costs_at_least_what_its_first_event_says():
    whole = blocks(TEXT, start_usage={"input_tokens": 1_000_000, "output_tokens": 1})
    cut = decode(ANTHROPIC, whole[: whole.index(b"event: message_delta")])
    assert cut.fault is not None
    cost = catalog.cost(*SONNET, cut.builder.usage)
    assert cost.known == Decimal("3.000015")
    assert cost.usd is None


@pytest.mark.parametrize("wire", ["chat", "gemini"])
def test_counts_that_come_with_every_chunk_are_known_at_the_end_alone(wire):
    if wire == "chat":
        used = {"prompt_tokens": 9, "completion_tokens": 5}
        begun = chunks({"content": "Hel"}, finish=None, usage=used)
        first = begun.removesuffix(b"data: [DONE]\n\n")
        rest, model = chunks({"content": "lo"}), CHAT
    else:
        counted = {"promptTokenCount": 9, "candidatesTokenCount": 5}
        first, model = sse(chunk({"text": "Hel"}, usage=counted)), GEMINI
        rest = sse(chunk({"text": "lo"}, finish="STOP"))
    assert decode(model, first).builder.usage.unreported == 1
    whole = decode(model, first + rest)
    assert whole.reply.usage.unreported == 0
    assert whole.reply.usage.output_tokens == 5


def test_a_run_whose_reply_was_cut_does_not_tell_a_whole_cost():
    import alloy_nb as al
    from tests.servers.sse import Server
    from tests.servers.sse import stream as answer

    whole = blocks(TEXT)
    with Server(answer([whole[: whole.index(b"event: message_delta")]], framing="close")) as server:
        model = al.Anthropic("claude-sonnet-4-6", base_url=server.url)
        result = al.run("hi", provider=model, max_retries=0)
    assert result.text == "Hello"
    assert result.cost.usd is None
    assert result.cost.known > 0
    assert str(result.cost).startswith("<") or "unknown" in str(result.cost)


def test_what_a_token_costs_gives_what_the_table_calculates_for_every_model():
    chance = random.Random(1)
    compared = 0
    for vendor in catalog._IDS:
        for model in catalog.models(vendor):
            read = chance.choice([0, 3, 1_000, 150_000, 200_000, 250_000, 2_000_000])
            usage = Usage(input_tokens=read, output_tokens=chance.randrange(10_000))
            assert catalog.cost(vendor, model, usage) == catalog._calculated(vendor, model, usage)
            compared += catalog._rates(vendor, model, 0) is not None
    assert compared > 500, "hardly any price is a sum"


def test_what_is_cached_searched_or_long_is_calculated_by_the_table():
    rates = catalog._rates("gemini", "gemini-2.5-pro", 0)
    assert rates.hold_for(Usage(input_tokens=1_000, output_tokens=10))
    assert not rates.hold_for(Usage(input_tokens=1_000_000))
    for special in ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "searches"):
        assert not rates.hold_for(Usage(input_tokens=1_000, **{special: 1}))
