"""What is typed in a cell does what it says, and a mistake is told in one line."""

import json
from decimal import Decimal

import pytest
from IPython.core.error import UsageError

from alloy_nb.engine.run import Result
from alloy_nb.notebook import verbatim
from tests.notebook.shell import run
from tests.servers.sse import Server, loop
from tests.servers.wire import Call, Reply, Say, Usage

ANSWER = "The scripted answer."


@pytest.fixture
def server():
    with Server(*loop(*[[Say(ANSWER)]] * 8)) as running:
        yield running


def prompts(server):
    """The last thing that the user said in each request."""
    return [_text(request.json["messages"][-1]["content"]) for request in server.requests]


def _text(content):
    return content if isinstance(content, str) else content[0]["text"]


def magics(shell):
    return next(c for c in shell.configurables if type(c).__name__ == "Alloy")


def usage_error(ran):
    assert not ran.ok
    assert isinstance(ran.error, UsageError)
    assert ran.stdout == ""
    return ran.stderr


# --- loading ---------------------------------------------------------------------------------


def test_loading_prints_nothing(shell):
    ran = run(shell, "%load_ext alloy_nb")
    assert (ran.ok, ran.text, ran.displays) == (True, "", [])


def parts_of(shell):
    magic = shell.magics_manager
    return [
        sorted(magic.magics["line"]),
        sorted(magic.magics["cell"]),
        sorted(magic.registry),
        list(shell.input_transformers_cleanup),
        [type(c).__name__ for c in shell.configurables],
        Result in shell.display_formatter.ipython_display_formatter.type_printers,
    ]


def test_unloading_undoes_all_that_loading_did(shell):
    run(shell, "%unload_ext alloy_nb")
    before = parts_of(shell)
    run(shell, "%load_ext alloy_nb")
    assert parts_of(shell) != before
    run(shell, "%unload_ext alloy_nb")
    assert parts_of(shell) == before


def test_loading_twice_is_loading_once(shell, cell):
    from alloy_nb import load_ipython_extension

    before = parts_of(shell)
    load_ipython_extension(shell)
    assert parts_of(shell) == before
    assert shell.input_transformers_cleanup.count(verbatim.keep_question_marks) == 1


def test_unloading_twice_does_no_harm(shell):
    from alloy_nb import load_ipython_extension, unload_ipython_extension

    load_ipython_extension(shell)
    unload_ipython_extension(shell)
    unload_ipython_extension(shell)


def test_reloading_gives_magics_that_work(cell):
    assert cell("%reload_ext alloy_nb").ok
    assert cell("%alloy hello").ok


def test_the_prompt_of_a_session_is_gone_after_unloading(cell, shell):
    cell("%alloy hello")
    cell("%unload_ext alloy_nb")
    cell("%load_ext alloy_nb")
    assert magics(shell).sessions == {}


# --- asking ----------------------------------------------------------------------------------


def test_a_cell_is_asked_and_its_answer_is_drawn(cell):
    ran = cell("%%alloy\nhello")
    assert ran.ok
    assert "I am the scripted demo" in ran.stdout
    assert isinstance(ran.result, Result)


def test_a_line_is_asked(cell):
    assert "I am the scripted demo" in cell("%alloy hello").stdout


@pytest.mark.parametrize(
    "prompt",
    [
        "why {df} and {} and {0!r}?",
        "is $HOME or $5 or ${x} it?",
        "what does @property do?",
        "end;",
        "is it 'so' or \"so\"?",
        r"C:\new\table",
        "Grüße 🦜?",
        "!ls %time ?",
    ],
)
@pytest.mark.parametrize("form", ["%%alloy {}\n{}", "%alloy {} {}"])
def test_a_prompt_arrives_as_it_was_typed(cell, server, form, prompt):
    ran = cell(form.format(f"-m openai-compat/x --base-url {server.url}", prompt))
    assert ran.ok, ran.text
    assert prompts(server) == [prompt]


def test_a_question_mark_at_the_end_asks(cell, server):
    cell("df = 1")
    cell(f"%alloy -m openai-compat/x --base-url {server.url} what is in df?")
    assert prompts(server) == ["what is in df?"]


def test_a_reference_tells_the_model_of_a_variable(cell, server):
    cell("numbers = [1, 2, 3]")
    cell(f"%%alloy -m openai-compat/x --base-url {server.url}\nsum @numbers")
    assert prompts(server) == [
        'sum @numbers\n\n<reference name="numbers">\nnumbers: list, length 3\n</reference>'
    ]


def test_a_variable_of_a_function_can_be_referred_to(cell, server):
    cell(
        "def ask():\n    local = (1, 2)\n"
        f"    %alloy -m openai-compat/x --base-url {server.url} what is @local\n"
        "ask()"
    )
    assert "local: tuple, length 2" in prompts(server)[0]


def test_a_name_that_is_no_variable_is_sent_and_noted(cell, server):
    ran = cell(f"%%alloy -m openai-compat/x --base-url {server.url}\nask @ada")
    assert prompts(server) == ["ask @ada"]
    assert "@ada: no such variable; sent as text" in ran.stdout


def test_the_result_is_the_value_of_the_cell(cell, shell):
    cell("%%alloy\nhello")
    assert isinstance(shell.user_ns["_"], Result)
    assert shell.user_ns["_"].ok


def test_the_result_goes_into_a_variable(cell, shell):
    cell("%%alloy -o answer\nhello")
    assert shell.user_ns["answer"].text.startswith("I am the scripted demo")


def test_a_line_can_be_assigned(cell, shell):
    ran = cell("answer = %alloy hello?")
    assert ran.ok
    assert shell.user_ns["answer"].text.startswith("I am the scripted demo")


def test_a_result_shown_later_draws_itself(cell):
    cell("%%alloy -o answer\nhello")
    assert "I am the scripted demo" in cell("answer").stdout


def test_a_result_in_the_cell_that_asked_does_not_draw_itself_again(cell):
    ran = cell("%%alloy\nhello")
    assert ran.stdout.count("I am the scripted demo of alloy_nb, not a language model, so") == 1


def test_capture_keeps_the_answer_away(cell, shell):
    ran = cell("%%capture kept\n%%alloy\nhello")
    assert (ran.ok, ran.stdout) == (True, "")
    assert "I am the scripted demo" in shell.user_ns["kept"].stdout


def test_time_measures_an_answer(cell):
    ran = cell("%%time\n%alloy hello")
    assert "I am the scripted demo" in ran.stdout
    assert "Wall time" in ran.stdout


def test_a_conversation_goes_on(cell, server):
    cell(f"%alloy model openai-compat/x --base-url {server.url}")
    cell("%alloy first")
    cell("%alloy second")
    roles = [message["role"] for message in server.requests[1].json["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_new_forgets_the_conversation_first(cell, server):
    cell(f"%alloy model openai-compat/x --base-url {server.url}")
    cell("%alloy first")
    cell("%alloy --new second")
    assert len(server.requests[1].json["messages"]) == 2


def test_two_sessions_know_nothing_of_each_other(cell, server):
    cell(f"%alloy model openai-compat/x --base-url {server.url}")
    cell("%alloy first")
    cell("%alloy -s other second")
    assert prompts(server) == ["first", "second"]
    assert len(server.requests[1].json["messages"]) == 2


def test_a_session_that_begins_later_uses_the_address_that_was_chosen(cell, server):
    cell(f"%alloy model openai-compat/x --base-url {server.url}")
    assert cell("%alloy -s later hello").ok
    assert len(server.requests) == 1


def test_a_model_can_be_chosen_for_one_session(cell, server):
    cell("%alloy hello")
    ran = cell(f"%alloy model openai-compat/x --base-url {server.url} -s other")
    assert "openai-compat/x answers from now on in other." in ran.stdout
    cell("%alloy hello")
    assert not server.requests
    cell("%alloy -s other hello")
    assert len(server.requests) == 1


def test_a_model_for_one_turn_is_for_one_turn(cell, server):
    cell(f"%alloy -m openai-compat/x --base-url {server.url} hello")
    assert "I am the scripted demo" in cell("%alloy hello").stdout
    assert len(server.requests) == 1


def test_another_model_goes_on_with_the_conversation(cell, server):
    cell("%alloy hello")
    cell(f"%alloy model openai-compat/x --base-url {server.url}")
    cell("%alloy and you?")
    said = server.requests[0].json["messages"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        ("-m openai-compat/x", "/v1/chat/completions"),
        ("-m x", "/v1/chat/completions"),
        ("-m anthropic/x", "/v1/messages"),
        ("-m vllm/x", "/v1/chat/completions"),
    ],
)
def test_an_address_can_be_given_with_the_model(cell, server, monkeypatch, flags, path):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0123456789")
    ran = cell(f"%alloy {flags} --base-url {server.url} hello")
    assert ANSWER in ran.stdout
    assert [request.path for request in server.requests] == [path]
    assert server.requests[0].json["model"] == "x"


def test_an_effort_is_sent(cell, server):
    cell(f"%alloy -m openai-compat/x --base-url {server.url} --think low hello")
    assert server.requests[0].json["reasoning_effort"] == "low"


# --- money -----------------------------------------------------------------------------------


def test_a_request_that_could_cost_too_much_is_not_sent(cell, server, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0123456789")
    flags = f"-m anthropic/claude-sonnet-4-6 --base-url {server.url}"
    ran = cell(f"%alloy {flags} --max-cost 0.0001 hello")
    assert not server.requests
    assert "may cost up to" in ran.text


def test_a_limit_on_the_session_counts_what_was_spent_before_it(cell, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0123456789")
    dear = Reply([Say("dear")], usage=Usage(output=100_000))
    with Server(*loop(dear, dear)) as server:
        cell(f"%alloy model anthropic/claude-sonnet-4-6 --base-url {server.url}")
        cell("%alloy hello")
        cell("%config Alloy.max_cost = 1.0")
        assert "is spent, and the limit is" in cell("%alloy hello").text
        assert len(server.requests) == 1


def test_settings_reach_the_session_that_is_open(cell, shell):
    cell("%alloy hello")
    cell("%config Alloy.max_turns = 3")
    cell("%config Alloy.tool_timeout = 7.0")
    cell("%config Alloy.system_prompt = 'be brief'")
    cell("%config Alloy.effort = 'high'")
    agent = magics(shell).session().agent
    assert (agent.max_turns, agent.tool_timeout, agent.system_prompt) == (3, 7.0, "be brief")
    assert agent.options.effort == "high"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("max_cost", value) for value in ("-1", "float('nan')", "float('inf')")),
        ("max_turns", "-3"),
        *(("tool_timeout", value) for value in ("0", "-1", "float('nan')", "float('inf')")),
    ],
)
@pytest.mark.parametrize("first", ["", "%alloy hello"])
def test_a_setting_that_cannot_be_is_refused_and_stays_as_it_was(cell, shell, first, name, wrong):
    cell(first)
    before = getattr(magics(shell), name)
    cell(f"%config Alloy.{name} = {wrong}")
    assert getattr(magics(shell), name) == before
    assert cell("%alloy hello").ok


def test_a_model_that_is_none_is_not_the_setting_beside_another_that_answers(cell, shell):
    cell("%alloy hello")
    cell("%config Alloy.model = 'demo'")
    cell("%config Alloy.model = 'no-such'")
    assert magics(shell).model == "demo"


def test_no_model_is_again_the_one_that_a_key_is_found_for(cell, shell):
    cell("%alloy hello")
    before = magics(shell).session().provider.model
    cell("%config Alloy.model = 'ollama/llama3.2'")
    cell("%config Alloy.model = ''")
    assert magics(shell).session().provider.model == before


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("%alloy --modle x hi", "Did you mean --model?"),
        ("%alloy --hard hi", "Unknown flag --hard. See %alloy help"),
        ("%alloy --max-cost -1 hi", "A limit on cost cannot be -1."),
        ("%alloy model ''", "No model is named: write vendor/model"),
        ("%%alloy --modle x\nhi", "Did you mean --model?"),
        ("%alloy -m antropic/x hi", "Did you mean anthropic/x?"),
        ("%alloy -m claude-sonet-4-6 hi", "Did you mean 'claude-sonnet-4"),
        ("%alloy -m anthropic hi", "without a model"),
        ("%alloy reset everything", "%alloy -- reset everything"),
        ("%alloy --think hihg hi", "Did you mean high?"),
        ("%alloy approve yes", "use one of ask, read, all, none"),
        ("%alloy export", "Where to? %alloy export FILE.md, .html, .json, .ipynb, .py"),
        ("%alloy import", "What? %alloy import FILE.json"),
        ("%alloy --max-cost much hi", "give US dollars"),
        ("%alloy --max-cost -1 hi", "cannot be"),
        ("%alloy --base-url http://x hi", "--base-url needs a model"),
        ("%alloy -o 1x hi", "this is no name"),
        ("%alloy -o class hi", "this is no name"),
        ("%%alloy\n   ", "There is no prompt"),
        ("%%alloy -m demo\n\n", "There is no prompt"),
        ("%alloy -m demo", "There is no prompt"),
        ("%alloy model nope/x", "Unknown vendor"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(cell, source, told):
    text = usage_error(cell(source))
    assert told in text
    assert "Traceback" not in text


def test_a_missing_key_names_its_variable_and_the_demo(cell):
    text = usage_error(cell("%%alloy -m anthropic/claude-sonnet-4-6\nhi"))
    assert "ANTHROPIC_API_KEY" in text
    assert "-m demo" in text


# --- commands --------------------------------------------------------------------------------


def test_alone_it_shows_what_answers(cell):
    text = cell("%alloy").stdout
    for fact in ("demo/demo", "no model was asked", "main, 0 messages", "ask: ", "$0"):
        assert fact in text


def test_the_status_of_another_session_can_be_shown(cell):
    assert "other, 0 messages" in cell("%alloy -s other").stdout


@pytest.mark.parametrize("source", ["%alloy help", "%alloy -h", "%alloy --help", "%alloy ?"])
def test_help_is_shown(cell, source):
    assert cell(source).stdout.startswith("Ask a model; it can use tools")


def test_the_question_mark_shows_help(cell, shell, monkeypatch):
    pages = []
    monkeypatch.setattr("IPython.core.page.page", lambda text, **_: pages.append(text))
    cell("%alloy?")
    assert "--max-cost USD" in str(pages)


def test_config_lists_the_settings(cell):
    text = cell("%config Alloy").stdout
    for name in ("model", "effort", "approve", "max_cost", "nested_loop"):
        assert f"Alloy.{name}=" in text


def test_the_model_is_switched_and_told(cell):
    assert "demo/demo answers from now on." in cell("%alloy model demo").stdout


def test_config_switches_the_model_of_the_open_session(cell, shell):
    cell("%alloy hello")
    cell("%config Alloy.model = 'ollama/llama3.2:high'")
    agent = magics(shell).session().agent
    assert agent.provider.model == "llama3.2"


def test_models_are_listed_with_what_they_need(cell):
    text = cell("%alloy models").stdout
    assert "✗ set ANTHROPIC_API_KEY" in text
    assert "demo" in text
    assert "claude-sonnet-4-6" in cell("%alloy models sonnet-4-6").stdout


def test_a_key_is_listed_by_its_name_only(cell, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-0123456789")
    text = cell("%alloy models").stdout + cell("%alloy").stdout
    assert "✓ ANTHROPIC_API_KEY" in text
    assert "canary" not in text


def test_the_policy_is_shown_and_set(cell, shell):
    assert "approve: ask — tools that only read run" in cell("%alloy approve").stdout
    assert "approve: all — every tool runs unasked" in cell("%alloy approve all").stdout
    assert magics(shell).approve == "all"


def test_reset_forgets_the_conversation_and_keeps_the_costs(cell, shell):
    cell("%alloy hello")
    assert "forgotten" in cell("%alloy reset").stdout
    session = magics(shell).session()
    assert session.messages == []
    assert session.usage.total_tokens > 0


def test_the_ledger_has_a_line_for_each_turn(cell):
    cell("%alloy hello")
    cell("%alloy -s other hello")
    lines = cell("%alloy cost").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["session", "turn"],
        ["main", "1"],
        ["main", "all"],
        ["other", "1"],
        ["other", "all"],
    ]


def test_a_conversation_is_exported(cell, tmp_path):
    cell("%alloy hello")
    path = tmp_path / "my talk.md"
    ran = cell(f"%alloy export '{path}'")
    assert f"2 messages written to {path}." in ran.stdout
    assert "hello" in path.read_text()


def test_the_export_as_json_is_json(cell, tmp_path):
    cell("%alloy hello")
    cell(f"%alloy export {tmp_path / 'talk.json'}")
    assert json.loads((tmp_path / "talk.json").read_text())


@pytest.mark.parametrize("ending", [".html", ".ipynb", ".py"])
def test_each_ending_is_a_form(cell, tmp_path, ending):
    cell("%alloy hello")
    path = tmp_path / f"talk{ending}"
    assert cell(f"%alloy export {path}").ok
    assert cell(f"%alloy export {path}").ok  # run again, as Run All does
    assert "hello" in path.read_text()


def test_an_export_over_another_file_wants_force(cell, tmp_path):
    cell("%alloy hello")
    path = tmp_path / "report.md"
    path.write_text("mine")
    assert "replace it with --force" in usage_error(cell(f"%alloy export {path}"))
    assert path.read_text() == "mine"
    assert cell(f"%alloy export --force {path}").ok
    assert "hello" in path.read_text()


def test_an_imported_conversation_goes_on_with_this_notebook_s_settings(cell, shell, tmp_path):
    cell("%alloy hello")
    path = tmp_path / "talk.json"
    cell(f"%alloy export {path}")
    said = magics(shell).sessions["main"].messages
    ran = cell(f"%alloy import {path} -s again")
    assert f"2 messages of {path} are in again now; demo/demo answers" in ran.stdout
    again = magics(shell).sessions["again"]
    assert again.messages == said
    assert again.name == "again"
    assert [tool.name for tool in again.agent.tools] == ["python", "read", "write", "edit", "bash"]
    assert cell("%alloy -s again and now?").ok
    assert len(again.messages) == 4


def test_an_import_over_a_conversation_wants_force(cell, shell, tmp_path):
    cell("%alloy hello")
    path = tmp_path / "talk.json"
    cell(f"%alloy export {path}")
    cell("%alloy hello again")
    assert "The conversation main has 4 messages." in usage_error(cell(f"%alloy import {path}"))
    assert len(magics(shell).sessions["main"].messages) == 4
    assert cell(f"%alloy import {path} --force").ok
    assert len(magics(shell).sessions["main"].messages) == 2


def test_a_damaged_import_changes_nothing(cell, shell, tmp_path):
    cell("%alloy hello")
    path = tmp_path / "talk.json"
    path.write_text("{}")
    told = usage_error(cell(f"%alloy import {path} --force"))
    assert "no session that can be read" in told
    assert len(magics(shell).sessions["main"].messages) == 2
    assert "no such file" in usage_error(cell(f"%alloy import {tmp_path / 'none.json'} --force"))


def test_force_means_nothing_to_a_prompt(cell):
    assert "--force means nothing to a prompt" in usage_error(cell("%alloy --force hello"))
    assert "--force means nothing to a prompt" in usage_error(cell("%%alloy --force\nhello"))


# --- tools -----------------------------------------------------------------------------------


def test_a_tool_runs_in_the_user_s_namespace(cell, shell):
    with Server(*loop([Call("python", {"code": "from_model = 41 + 1"})], [Say("set")])) as server:
        flags = f"-m openai-compat/x --base-url {server.url} --approve all"
        ran = cell(f"%%alloy {flags}\nset it")
    assert shell.user_ns["from_model"] == 42
    assert "🔧 python ✓" in ran.stdout


@pytest.mark.parametrize(
    ("policy", "told"), [("none", "The policy allows no tools"), ("read", "only tools that read")]
)
def test_a_policy_for_one_turn_refuses_and_the_model_is_told(cell, policy, told):
    with Server(*loop([Call("python", {"code": "refused = 1"})], [Say("ok")])) as server:
        cell(f"%%alloy -m openai-compat/x --base-url {server.url} --approve {policy}\nset it")
        assert told in server.requests[1].json["messages"][-1]["content"]


def test_a_cost_that_nobody_knows_is_not_zero(cell, server, shell):
    cell(f"%alloy -o r -m openai-compat/x --base-url {server.url} hello")
    assert shell.user_ns["r"].cost.usd is None
    cell("%alloy -o r -m demo hello")
    assert shell.user_ns["r"].cost.usd == Decimal(0)
