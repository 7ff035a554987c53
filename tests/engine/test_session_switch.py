"""Who reads a conversation is told where another model answers, and what that one did not get."""

import pytest

from alloy_nb.engine.sessions.switch import note
from alloy_nb.messages import Message, Opaque, Origin, Text, Thinking, ToolCall, user
from alloy_nb.testing import ScriptedProvider

SIGNED = Thinking(text="hm", replay={"signature": "x"})
UNSIGNED = Thinking(text="hm")
FOREIGN = Opaque(vendor="anthropic", raw={"type": "x"})
HOSTED = ToolCall(id="1", name="web_search", input={}, server=True)


def said(*blocks, vendor="anthropic", model="old", host=None):
    origin = Origin(provider=vendor, model=model, host=host)
    return Message(role="assistant", content=(Text(text="a"), *blocks), origin=origin)


@pytest.fixture
def provider():
    return ScriptedProvider([])


def test_the_first_model_is_nothing_to_tell(provider):
    assert note([user("q")], provider) is None


def test_the_same_model_is_nothing_to_tell(provider):
    same = said(SIGNED, vendor=provider.name, model=provider.model)
    assert note([said(SIGNED), user("q"), same], provider) is None


def test_another_model_is_named_with_the_one_before(provider):
    told = note([user("q"), said(UNSIGNED)], provider)
    assert told == f"{provider.name}/{provider.model} answers from here on, after anthropic/old."


@pytest.mark.parametrize(
    ("blocks", "count"),
    [([SIGNED], "1 block)"), ([SIGNED, FOREIGN, HOSTED, UNSIGNED], "3 blocks)")],
)
def test_what_only_its_vendor_understands_is_counted(provider, blocks, count):
    assert count in note([user("q"), said(*blocks)], provider)


def test_what_it_said_itself_was_sent_to_it(provider):
    own = said(SIGNED, vendor=provider.name, model="earlier")
    assert "not sent" not in note([own], provider)
