"""A team in a notebook: one agent is asked by name, or all of them help the conversation."""

from __future__ import annotations

import re

import pytest

import alloy_nb as al
from alloy_nb.notebook.words import parse
from tests.engine.scripted import Scripted, calls, says
from tests.notebook.scripting import magics, refused, scripted


@pytest.fixture
def crew(cell, shell):
    """Give a team of two in the variable `crew`; each answers by its name."""
    team = al.Team(name="crew")
    team.add("researcher", provider=Scripted(*[says("I am the researcher.")] * 5))
    team.add("critic", provider=Scripted(*[says("I am the critic.")] * 5))
    shell.user_ns["crew"] = team
    yield team
    for name in ("crew", "other", "researcher"):
        shell.user_ns.pop(name, None)


@pytest.fixture
def model(cell, shell, crew):
    return scripted(shell, *[says("I am the lead.")] * 6)


def requests(team, name):
    return team.get(name).provider.requests


# --- one agent ------------------------------------------------------------------------------------


def test_a_prompt_that_begins_with_the_name_of_an_agent_asks_that_agent(cell, crew, model):
    ran = cell("%%alloy\n@researcher How are you?")
    assert "I am the researcher." in ran.text
    assert "Asked researcher of crew." in ran.text
    assert requests(crew, "researcher")[0].messages[-1].text == "How are you?"
    assert model.requests == []


def test_a_comma_or_a_colon_after_the_name_is_not_a_part_of_the_prompt(cell, crew, model):
    cell("%%alloy\n@critic, is it so?")
    cell("%alloy @critic: really?")
    asked = [request.messages[-1].text for request in requests(crew, "critic")]
    assert asked == ["is it so?", "really?"]


def test_an_agent_remembers_what_it_was_asked_before(cell, crew, model):
    cell("%%alloy\n@critic one")
    cell("%%alloy\n@critic two")
    assert [m.text for m in requests(crew, "critic")[1].messages][::2] == ["one", "two"]


def test_a_name_within_the_prompt_is_no_agent_that_is_asked(cell, crew, model):
    cell("%%alloy\nWhat would @critic say?")
    assert model.requests[0].messages[-1].text.startswith("What would @critic say?")
    assert requests(crew, "critic") == []


def test_a_variable_goes_before_an_agent_of_a_team_that_nobody_named(cell, crew, model, shell):
    shell.user_ns["researcher"] = [1, 2, 3]
    cell("%%alloy\n@researcher what is this?")
    assert '<reference name="researcher">' in model.requests[0].messages[-1].text
    assert requests(crew, "researcher") == []


def test_with_a_team_that_was_named_the_agent_goes_before_the_variable(cell, crew, model, shell):
    shell.user_ns["researcher"] = [1, 2, 3]
    ran = cell("%%alloy --team crew\n@researcher what is this?")
    assert "The variable researcher is not meant." in ran.text
    assert len(requests(crew, "researcher")) == 1


def test_a_name_with_more_behind_it_is_not_the_agent(cell, crew, model):
    cell("%%alloy\n@critics how are you?")
    assert len(model.requests) == 1


def test_an_agents_name_may_have_a_dash_and_the_longest_that_fits_is_meant(cell, crew, model):
    crew.add("critic-in-chief", provider=Scripted(says("I am the chief.")))
    assert "I am the chief." in cell("%%alloy\n@critic-in-chief hello").text


def test_an_agent_that_two_teams_have_is_not_guessed(cell, crew, model, shell):
    other = shell.user_ns["other"] = al.Team(name="other")
    other.add("critic", provider=Scripted(says("x")))
    told = refused(cell("%%alloy\n@critic hello"))
    assert "crew and other" in told
    assert "--team" in told
    assert "I am the critic." in cell("%%alloy --team crew\n@critic hello").text


def test_an_agent_that_is_asked_nothing_is_refused(cell, crew, model):
    assert "@critic is asked nothing" in refused(cell("%alloy @critic"))


def test_a_name_that_is_almost_an_agents_is_refused_before_anything_is_sent(cell, crew, model):
    told = refused(cell("%%alloy --team crew\n@reseacher hello"))
    assert "Did you mean @researcher? Nothing was sent." in told
    assert model.requests == []


def test_the_answer_of_an_agent_goes_into_a_variable(cell, crew, model, shell):
    cell("%%alloy -o said\n@critic hello")
    assert shell.user_ns.pop("said").text == "I am the critic."


def test_an_agent_goes_by_the_dial_of_its_turn(cell, crew, model, shell):
    shell.user_ns["crew"].get("critic").configure(tools=(al.read,))
    crew.get("critic").set_model(
        Scripted(calls(("read", {"file_path": "pyproject.toml"})), says("read"))
    )
    cell("%%alloy --data schema\n@critic read it")
    sent = crew.get("critic").provider.requests[1].messages[-1].content[0].text
    assert "not sent: --data schema" in sent


def test_what_an_agent_was_paid_that_was_asked_by_its_name_stands_in_the_cost_once(
    cell, crew, model, shell
):
    cell("%%alloy\n@critic one")
    cell("%%alloy\n@critic two")
    model_ = scripted(shell, calls(("ask_critic", {"task": "three"})), says("done"))
    cell("%%alloy --team crew\nthree")
    assert len(model_.requests) == 2
    told = cell("%alloy cost").text
    rows = [line.split()[:3] for line in told.splitlines() if line.startswith("critic")]
    assert rows == [["critic", "1", "one"], ["critic", "2", "two"]]


# --- the whole team -------------------------------------------------------------------------------


def test_the_agents_of_a_team_are_tools_of_the_cell_that_names_it(cell, crew, model):
    cell("%%alloy --team crew\nhello")
    cell("%%alloy\nhello")
    with_team, without = ({tool.name for tool in request.tools} for request in model.requests)
    assert with_team - without == {"ask_researcher", "ask_critic"}


def test_a_team_is_all_that_the_model_may_use_where_its_own_tools_are_left_out(cell, crew, model):
    cell("%%alloy --team crew -t none\nhello")
    assert [tool.name for tool in model.requests[0].tools] == ["ask_researcher", "ask_critic"]


def test_a_team_that_is_set_helps_until_it_is_let_go(cell, crew, model):
    assert "main may ask researcher, critic" in cell("%alloy team crew").text
    cell("%%alloy\nhello")
    assert "main works alone" in cell("%alloy team off").text
    cell("%%alloy\nhello")
    first, second = ({tool.name for tool in request.tools} for request in model.requests)
    assert first - second == {"ask_researcher", "ask_critic"}


def test_what_agents_do_is_drawn_in_the_card_with_the_cost_of_each(cell, crew, shell):
    scripted(shell, calls(("ask_critic", {"task": "Is it so?"})), says("It is."))
    ran = cell("%%alloy --team crew\nIs it?")
    assert re.search(r"ask_critic ✓[\s\S]*critic ✓[\s\S]*I am the critic\.", ran.text)
    assert "main cost unknown, critic cost unknown" in ran.text


def test_the_card_of_a_team_says_what_each_agent_used(cell, crew, shell):
    scripted(shell, calls(("ask_critic", {"task": "Is it so?"})), says("It is."))
    cell("%%alloy --team crew\nIs it?")
    cell("%alloy team crew")
    shown = cell("%alloy team").text
    assert re.search(r"critic +scripted/\S+ +1 +15", shown)
    assert re.search(r"researcher +scripted/\S+ +0 +0", shown)


@pytest.fixture
def pilot(crew, shell, monkeypatch):
    """Give an agent that launches something; return what was launched, and what was asked."""
    launched: list[str] = []
    asked: list[str] = []

    @al.tool
    def launch() -> str:
        """Launch."""
        launched.append("launched")
        return "launched"

    def pilot(**settings):
        replies = [calls(("launch", {})), says("Up.")]
        crew.add("pilot", provider=Scripted(*replies, *replies), tools=[launch], **settings)
        scripted(shell, calls(("ask_pilot", {"task": "go"})), says("Done."))
        monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "y")
        return launched, asked

    return pilot


@pytest.mark.parametrize("settings", [{}, {"approve": "ask"}, {"approve": "all"}])
@pytest.mark.parametrize("prompt", ["@pilot go", "go"])
def test_what_an_agent_would_run_is_asked_about_once(cell, pilot, settings, prompt):
    launched, asked = pilot(**settings)
    assert cell(f"%%alloy --team crew\n{prompt}").ok
    assert len(asked) == 1
    assert "launch" in asked[0]
    assert launched == ["launched"]


@pytest.mark.parametrize("prompt", ["@pilot go", "go"])
def test_what_a_cell_allows_its_agents_may_do(cell, pilot, prompt):
    launched, asked = pilot()
    assert cell(f"%%alloy --team crew --approve all\n{prompt}").ok
    assert (launched, asked) == (["launched"], [])


@pytest.mark.parametrize("approve", ["none", "read"])
@pytest.mark.parametrize("prompt", ["@pilot go", "go"])
def test_what_a_cell_forbids_its_agents_may_not_do(cell, pilot, prompt, approve):
    launched, asked = pilot()
    cell(f"%%alloy --team crew --approve {approve}\n{prompt}")
    assert (launched, asked) == ([], [])


def test_an_agent_that_may_only_read_may_only_read(cell, pilot):
    launched, asked = pilot(approve="read")
    cell("%%alloy --team crew --approve all\ngo")
    assert (launched, asked) == ([], [])


def test_an_agent_that_may_do_all_still_may_where_a_program_asks_it(cell, crew, pilot):
    launched, asked = pilot(approve="all")
    cell("%%alloy --team crew\n@pilot go")
    assert len(asked) == 1
    assert cell("crew.delegate('pilot', 'go')").ok
    assert (launched, len(asked)) == (["launched"] * 2, 1)


def test_a_team_that_is_not_there_is_refused_and_the_nearest_named(cell, crew, model):
    assert "Did you mean crew?" in refused(cell("%%alloy --team crw\nhello"))
    assert "df is no team" in refused(cell("df = 1\n%alloy --team df hello"))
    assert model.requests == []


def test_without_a_team_the_word_says_how_one_is_given(cell, crew):
    shown = cell("%alloy team").text
    assert "%alloy team NAME" in shown
    assert "crew" in shown


def test_the_flag_is_read_before_the_prompt():
    words = parse("--team crew", cell="@critic hello")
    assert words.flags == {"team": "crew"}
    assert words.prompt == "@critic hello"


def test_a_notebook_without_a_team_looks_for_none(cell, shell):
    model = scripted(shell, says("hi"))
    cell("%%alloy\n@nobody hello")
    assert len(magics(shell).desk.adopted) == 0
    assert model.requests[0].messages[-1].text.startswith("@nobody hello")


def test_tab_offers_teams_and_agents(cell, crew, shell):
    from alloy_nb.notebook.completion import choices

    desk = magics(shell).desk
    assert "crew" in [choice.text for choice in choices(desk, "%alloy --team cr")[1]]
    assert "crew" in [choice.text for choice in choices(desk, "%alloy team ")[1]]
    assert "@researcher" in [choice.text for choice in choices(desk, "%%alloy\n@res")[1]]
