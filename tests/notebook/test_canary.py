"""A value of a table never leaves with ``--data schema``, whatever the model and the prompt do."""

from __future__ import annotations

import base64
import json
import os
import random

import pytest

from tests.notebook.canaries import CANARY, LITERAL, NUMBER, SETUP, Obedient, found, prompt
from tests.servers.sse import Server

ALL = os.environ.get("ALLOY_TEST_FULL")
SEEDS = 10 if ALL else 2
PROMPTS = 20 if ALL else 12


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _ready(cell, server):
    for source in (
        SETUP,
        LITERAL,
        f"%alloy model openai-compat/scripted --base-url {server.url}",
        "%alloy approve all",
    ):
        ran = cell(source)
        assert ran.ok, ran.text
    cell("raise ValueError(df.name[0])")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_canary_in_every_third_cell_never_leaves_with_schema(cell, workplace, seed):
    _never_leaves(cell, "schema", seed, PROMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["none", "names"])
def test_it_does_not_leave_at_a_narrower_level_either(cell, workplace, level):
    _never_leaves(cell, level, 100, PROMPTS)


def _never_leaves(cell, level, seed, prompts):
    rng = random.Random(seed)
    model = Obedient(rng)
    with Server(otherwise=model) as server:
        _ready(cell, server)
        for _ in range(prompts):
            model.begin()
            before = len(model.bodies), len(model.done)
            asked = prompt(rng, level)
            cell(asked)
            for body in model.bodies[before[0] :]:
                leaked = found(body)
                assert not leaked, (leaked, asked, model.done[before[1] :], body.decode()[-3000:])
    assert len(model.bodies) > prompts // 2
    assert len(model.done) > prompts // 2


def test_the_search_finds_a_canary_that_does_leave(cell, workplace):
    model = Obedient(random.Random(0))
    with Server(otherwise=model) as server:
        _ready(cell, server)
        cell("%alloy --data full $(df.name[0])")
    assert any(map(found, model.bodies))


SPELLINGS = {
    "as it is": f"[{CANARY}3]",
    "backwards": f"x{CANARY[::-1]}",
    "hexadecimal": CANARY.encode().hex(),
    "numbers of characters": str([ord(char) for char in CANARY]),
    "a number": f"{NUMBER:,}.00",
    "base64": base64.b64encode(f"a{CANARY}0".encode()).decode(),
    "base64 backwards": base64.b64encode(f"ab{CANARY[::-1]}0".encode()).decode(),
    "escapes": "".join(f"\\u{ord(char):04x}" for char in CANARY),
    "character by character": "\n".join(CANARY),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_the_search_knows_a_spelling(spelling):
    assert found(json.dumps({"content": [spelling]}).encode())


def test_the_search_finds_nothing_in_what_has_none():
    assert not found(json.dumps({"content": "plain 1 and 48151"}).encode())
