"""``--dry-run`` shows exactly what would be sent, and changes and sends nothing."""

import json
import re

import pytest

from alloy_nb.providers import catalog
from tests.engine.scripted import says
from tests.notebook.scripting import magics, refused, scripted
from tests.servers.sse import Server, loop
from tests.servers.wire import Say

CLAUDE = "anthropic/claude-sonnet-4-6"


@pytest.fixture
def server():
    with Server(*loop(*[[Say("Hi.")]] * 5)) as running:
        yield running


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789abcdef")


def shown(ran):
    assert ran.ok, ran.text
    return ran.stdout


def body(ran):
    """The request that `-v` shows."""
    text = shown(ran).partition("POST ")[2]
    return json.loads(text[text.index("{") :])


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--once",
        "--new",
        "--set temperature=0.5 -t read,bash",
        "--as int",
        "-f json --system 'You are brief.'",
        "--max-cost 5 --think low",
    ],
)
@pytest.mark.parametrize("model", [CLAUDE, "openai-compat/x"])
def test_it_shows_exactly_what_is_sent_then(cell, shell, server, model, flags):
    if model != CLAUDE:  # without a price no limit can be held
        flags = flags.replace("--max-cost 5", "")
    cell(f"%alloy model {model} --base-url {server.url}")
    cell("%%alloy\nthe first prompt")
    cell("x = [1, 2, 3]")
    plan = body(cell(f"%%alloy --dry-run -v {flags}\nand what is in @x?"))
    assert len(server.requests) == 1
    cell(f"%%alloy {flags}\nand what is in @x?")
    assert plan == server.requests[1].json


def test_nothing_is_sent_and_nothing_changes(cell, shell):
    model = scripted(shell, says("one"))
    cell("%%alloy\nfirst")
    session = magics(shell).session()
    before = session.export_session()
    for flags in ("", "--new", "--once", "--as int", "-m demo,demo", "-v"):
        assert cell(f"%%alloy --dry-run {flags}\nsecond").ok
    assert len(model.requests) == 1
    assert session.export_session() == before


def test_nothing_is_written_to_the_journal(cell, shell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'")
    scripted(shell, says("one"))
    cell("%%alloy\nfirst")
    journal = magics(shell).session().journal
    before = (journal.tree(), journal.branches(), journal.head)
    for flags in ("", "--new", "--fork other"):
        cell(f"%%alloy --dry-run {flags}\nsecond")
    assert (journal.tree(), journal.branches(), journal.head) == before


def test_each_part_has_its_size(cell, shell):
    scripted(shell, says("one"))
    cell("%%alloy\nfirst")
    cell("rows = list(range(1000))")
    text = shown(cell("%%alloy --dry-run\nlook at @rows"))
    for part in ("system prompt", "tool python", "conversation, 2 messages", "prompt", "@rows"):
        assert re.search(rf"^{re.escape(part)} +[\d,]+ ", text, re.M), text


def test_the_parts_add_up_about(cell, shell):
    text = shown(cell("%%alloy --dry-run\nhello"))
    rows = dict(re.findall(r"^(.+?) {2,}([\d,]+) {2,}[\d.]+%", text, re.M))
    whole = int(rows.pop("all together").replace(",", ""))
    assert sum(int(size.replace(",", "")) for size in rows.values()) == whole


def test_a_price_range_goes_from_no_answer_to_the_longest(cell, shell):
    catalog.override("openai-compat/x", price=catalog.ModelPrice(input=1_000, output=2_000))
    try:
        text = shown(
            cell(
                "%%alloy --dry-run -m openai-compat/x --base-url http://127.0.0.1:9 -t none "
                "--system x --set max_output_tokens=1000\nhello"
            )
        )
    finally:
        catalog._prices.clear()
    assert "answer at most" in text
    assert "$0 to $2.00" in text
    assert re.search(r"this request +\$0\.00\d+ to \$2\.00", text)


def test_an_unknown_price_is_said_to_be_unknown(cell, shell):
    scripted(shell, says("x"))
    text = shown(cell("%%alloy --dry-run\nhello"))
    assert "unknown price" in text
    assert "$" not in text


def test_without_a_limit_of_output_there_is_no_upper_price(cell, shell):
    catalog.override("openai-compat/x", price=catalog.ModelPrice(input=1, output=2))
    try:
        at = "-m openai-compat/x --base-url http://127.0.0.1:9"
        text = shown(cell(f"%%alloy --dry-run {at}\nhello"))
    finally:
        catalog._prices.clear()
    assert "no limit is set" in text
    assert "and more" in text


def test_a_limit_that_would_refuse_it_is_told(cell):
    text = shown(cell(f"%%alloy --dry-run -m {CLAUDE} --max-cost 0.001\nhello"))
    assert "it would be refused" in text


def test_what_a_vendor_keeps_makes_a_price_of_its_own(cell, server):
    cell(f"%alloy model {CLAUDE} --base-url {server.url}")
    cell("%%alloy\n" + "a long prompt " * 50)
    text = shown(cell("%%alloy --dry-run\nhello"))
    assert "input, where the vendor kept what came before" in text


def test_several_models_are_shown_one_after_another(cell):
    text = shown(cell(f"%%alloy --dry-run -m demo,{CLAUDE}\nhello"))
    assert text.index("demo/demo") < text.index("claude-sonnet-4-6")


def test_no_key_is_shown(cell, key, monkeypatch):
    secret = "sk-ant-canary-0123456789abcdef0123"
    monkeypatch.setenv("ANTHROPIC_API_KEY", secret)
    text = shown(cell(f"%%alloy --dry-run -v -m {CLAUDE}\nmy key is {secret}"))
    assert secret not in text


def test_a_wrong_flag_is_told_here_too(cell):
    assert "no tool web" in refused(cell("%%alloy --dry-run -t web\nhello"))


def test_a_model_without_a_key_can_be_looked_at(cell):
    assert shown(cell(f"%%alloy --dry-run -m {CLAUDE}\nhello"))


def test_the_place_of_a_cell_is_not_used_up(shell, cell):
    places = magics(shell).desk.places
    before = places.peek()
    cell("%%alloy --dry-run\nhello")
    assert places.peek() == before
