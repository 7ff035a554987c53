"""Context windows: those of the table, and those that a person says."""

from __future__ import annotations

import re

import pytest

import alloy_nb as al
from alloy_nb.providers import catalog
from alloy_nb.testing import ScriptedProvider


def test_the_table_knows_the_windows_of_the_great_vendors():
    known = {
        "anthropic": "claude-sonnet-4-5",
        "openai": "gpt-5",
        "gemini": "gemini-2.5-flash",
        "xai": "grok-4",
    }
    windows = [catalog.context_window(vendor, model) for vendor, model in known.items()]
    assert all(window and window >= 100_000 for window in windows), windows


def test_a_dated_name_has_the_window_of_its_model():
    dated = catalog.context_window("anthropic", "claude-sonnet-4-5-20250929")
    assert dated == catalog.context_window("anthropic", "claude-sonnet-4-5")


def test_an_unknown_model_has_no_window():
    assert catalog.context_window("openai", "nobody-knows-1") is None


@pytest.mark.parametrize(
    ("model", "overrides", "window"),
    [
        ("mine", {"mine": 5_000}, 5_000),
        ("mine-20260101", {"mine": 5_000}, 5_000),
        ("mine-2026-01-01", {"mine": 5_000}, 5_000),
        ("mine-large", {"mine": 5_000}, None),
        ("mine-large", {"mine": {"limit": 5_000, "suffix_patterns": ["-large|-small"]}}, 5_000),
        ("mine-huge", {"mine": {"limit": 5_000, "suffix_patterns": ["-large|-small"]}}, None),
        ("mine-v2", {"mine": {"limit": 5_000, "suffix_patterns": [re.compile(r"-v\d")]}}, 5_000),
        ("mine", {"other": 5_000}, None),
        ("mine", {"mine": "many"}, None),
        ("mine", {"mine": -1}, None),
        ("mine", {"mine": {"window": 5_000}}, None),
        ("mine", {5: 5_000, "mine": 7_000}, 7_000),
    ],
)
def test_a_window_of_ones_own_goes_by_name_and_suffix(model, overrides, window):
    assert catalog.context_window("nobody", model, overrides) == window


def test_a_window_of_ones_own_goes_before_the_table():
    assert catalog.context_window("anthropic", "claude-sonnet-4-5", {"claude-sonnet-4-5": 9}) == 9


def test_a_session_goes_by_it():
    session = al.Session(
        provider=ScriptedProvider(model="mine-20260101"), model_metadata_overrides={"mine": 5_000}
    )
    assert session.context_window == 5_000
