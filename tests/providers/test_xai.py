"""xAI: its own tools, its own sources, what it states of the cost.

The shapes are those of docs.x.ai (see the wire's docstring); of the events of ``x_search`` there is
only the record of a person who watched them, of February 2026.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.errors import ConfigError
from alloy_nb.events import BlockStarted
from alloy_nb.messages import user
from alloy_nb.providers import XAI, catalog
from alloy_nb.providers.base import ModelOptions, ModelRequest
from tests.oracles.strict import validate_responses
from tests.providers.responses_streams import USAGE, message, part, stream, url_citation
from tests.providers.wires import GROK, RESPONSES, body, decode


def tools_of(**options: Any) -> list[dict[str, Any]]:
    return json.loads(GROK.body(ModelRequest([user("hi")], options=ModelOptions(**options))))[
        "tools"
    ]


def test_the_vendor_is_known_by_its_name():
    made = al.provider("xai/grok-4", api_key="xai-123456")
    assert isinstance(made, XAI)
    assert (made.url, made.model) == ("https://api.x.ai/v1/responses", "grok-4")


def test_its_key_has_a_variable_of_its_own(monkeypatch):
    monkeypatch.delenv("XAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="XAI_API_KEY"):
        XAI("grok-4").stream(ModelRequest([user("hi")]))


def test_a_plain_request_is_one_that_openai_would_take():
    validate_responses(body(GROK))


@pytest.mark.parametrize(
    ("effort", "sent"),
    [("off", "none"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("max", "high")],
)
def test_each_effort_has_a_word(effort, sent):
    assert body(GROK, effort=effort)["reasoning"] == {"effort": sent}


def test_without_an_effort_nothing_is_said_of_it():
    assert "reasoning" not in body(GROK)


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        (True, {"type": "x_search"}),
        (
            {"allowed_x_handles": ["a"], "from_date": "2026-01-01"},
            {"type": "x_search", "allowed_x_handles": ["a"], "from_date": "2026-01-01"},
        ),
    ],
)
def test_x_is_searched_with_the_tools_own_settings(settings, sent):
    assert tools_of(x_search=settings) == [sent]


@pytest.mark.parametrize("given", ["excluded_domains", "blocked_domains"])
@pytest.mark.parametrize("under", [False, True])
def test_domains_to_leave_out_have_xais_name(given, under):
    lists = {given: ["a.org"]}
    settings = {"filters": lists} if under else lists
    sent = {"type": "web_search", "filters": {"excluded_domains": ["a.org"]}}
    assert tools_of(web_search=settings) == [sent]


def test_code_runs_without_a_container():
    assert tools_of(code_execution=True) == [{"type": "code_interpreter"}]


def test_a_tool_in_the_vendors_own_words_is_not_touched():
    own = {"type": "code_interpreter", "container": {"type": "auto"}}
    assert tools_of(built_in_tools=(own,)) == [own]


def test_more_can_be_asked_for_in_the_vendors_own_words():
    assert "no_inline_citations" in body(GROK, include=("no_inline_citations",))["include"]


# --- replies --------------------------------------------------------------------------------------

SEARCH = {
    "id": "ctc_1_xs_call_1",
    "type": "custom_tool_call",
    "call_id": "xs_call_1",
    "name": "x_keyword_search",
    "input": '{"query":"from:x","limit":10}',
    "status": "completed",
}
INLINE = url_citation("https://x.ai/news", 6, 30, "1")
ANSWER = message(part("Hello [[1]](https://x.ai/news)", INLINE))


def reply(*items: dict[str, Any], **more: Any):
    return decode(GROK, stream(*items, **more)).reply


def test_a_search_of_x_is_a_tool_that_the_vendor_ran():
    made = reply(SEARCH, ANSWER).message
    (ran, _) = made.content
    assert (ran.server, ran.name) == (True, "x_keyword_search")
    assert ran.input == {"input": {"query": "from:x", "limit": 10}}
    assert made.tool_calls == []


def test_a_search_of_x_is_told_when_it_begins():
    events = decode(GROK, stream(SEARCH, ANSWER)).events
    assert BlockStarted(0, "tool_call", SEARCH["id"], "x_keyword_search", server=True) in events


def test_a_search_of_x_goes_back_as_it_came():
    made = reply(SEARCH, ANSWER).message
    assert SEARCH in body(GROK, made)["input"]


def test_the_same_item_is_no_tool_of_the_vendor_elsewhere():
    (kept, _) = decode(RESPONSES, stream(SEARCH, ANSWER)).message.content
    assert kept.type == "opaque"


@pytest.mark.parametrize("kind", ["x_search_call", "code_execution_call", "view_image_call"])
def test_other_tools_of_the_vendor_are_shown_and_not_dispatched(kind):
    item = {"id": "s_1", "type": kind, "name": "n", "arguments": '{"q": 1}', "status": "completed"}
    made = reply(item, ANSWER).message
    assert (made.content[0].server, made.tool_calls) == (True, [])


def test_inline_sources_and_the_list_of_all_are_told_once_each():
    urls = ["https://x.ai/news", "https://x.com/i/status/1"]
    (text,) = reply(ANSWER, citations=urls).message.content
    assert [(c.url, c.start, c.end) for c in text.citations] == [
        ("https://x.ai/news", 6, 30),
        ("https://x.com/i/status/1", None, None),
    ]


SPENT = USAGE | {
    "num_sources_used": 0,
    "num_server_side_tools_used": 4,
    "cost_in_usd_ticks": 229637000,
    "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 1},
}


def test_the_cost_is_the_one_that_the_vendor_states():
    usage = reply(ANSWER, usage=SPENT).usage
    assert usage.stated_cost == Decimal("0.0229637")
    assert catalog.cost("xai", "grok-4", usage).usd == Decimal("0.0229637")


@pytest.mark.parametrize("bad", [-1, 1.5, "7", None, True, []])
def test_a_stated_cost_that_is_none_is_unknown(bad):
    assert reply(ANSWER, usage=SPENT | {"cost_in_usd_ticks": bad}).usage.stated_cost is None


def test_no_cost_is_zero_where_the_vendor_says_so():
    assert reply(ANSWER, usage=SPENT | {"cost_in_usd_ticks": 0}).usage.stated_cost == 0


def test_searches_are_counted():
    assert reply(ANSWER, usage=SPENT).usage.searches == 3


def test_sources_are_counted_where_searches_are_not():
    assert reply(ANSWER, usage=USAGE | {"num_sources_used": 5}).usage.searches == 5
