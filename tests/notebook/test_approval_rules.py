"""Who may say yes: what is asked, what an answer allows, and what is allowed unasked afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.calls.approval import Decision
from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.events import ApprovalDecided
from alloy_nb.messages import ToolCall
from alloy_nb.notebook.approval import Memory, asker, meaning, named, visible
from alloy_nb.notebook.approval.change import change_of
from alloy_nb.notebook.approval.question import Answer, Change, decision_of, question_about
from tests.engine.scripted import Scripted, calls, says
from tests.engine.test_policies import SMUGGLED
from tests.engine.test_tools import logged

ran: list[Any] = []


@al.tool(risk="run")
def act(what: str = "", times: int = 1) -> str:
    """Act."""
    ran.append((what, times))
    return "acted"


class Typing:
    """A person who types these lines, and keeps the questions."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        self.questions: list[str] = []

    def __call__(self, question: str) -> str:
        self.questions.append(question)
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


def call_of(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id="c1", name=name, input=arguments)


def decided(approve: Any, name: str = "act", tool: Any = act, **arguments: Any) -> Decision:
    return asyncio.run(approve(call_of(name, **arguments), tool))


# --- what is remembered ---------------------------------------------------------------------------


def test_what_was_allowed_for_the_session_runs_unasked_in_its_next_turn():
    memory = Memory()
    first = Typing("s")
    assert decided(asker("ask", read=first, memory=memory), what="a").how == "session"
    second = Typing()
    again = decided(asker("ask", read=second, memory=memory), what="a")
    assert (again.allowed, again.how, second.questions) == (True, "remembered", [])


@pytest.mark.parametrize(
    "other",
    [{"what": "a "}, {"what": "A"}, {"what": "a", "times": 1}, {"what": "a\u200b"}, {}, {"wha": 1}],
)
def test_anything_but_the_same_arguments_is_asked_about(other):
    memory = Memory()
    memory.add(call_of("act", what="a"), act)
    assert not decided(asker("ask", read=Typing("n"), memory=memory), **other).allowed


def test_no_smuggled_command_passes_for_one_that_was_allowed():
    memory = Memory()
    assert decided(
        asker("ask", read=Typing("s"), memory=memory), "bash", al.bash, command="git log"
    ).allowed
    assert len(SMUGGLED) >= 60
    for command in SMUGGLED:
        person = Typing("n")
        answer = decided(asker("ask", read=person, memory=memory), "bash", al.bash, command=command)
        assert not answer.allowed, command
        assert len(person.questions) == 1


@given(st.text(max_size=30))
def test_no_text_but_the_command_itself_was_allowed(text):
    memory = Memory()
    memory.add(call_of("bash", command="git log"), al.bash)
    assert memory.allows(call_of("bash", command=text), al.bash) == (text == "git log")


def test_another_tool_of_the_same_name_was_not_allowed():
    @al.tool(name="act", risk="run")
    def other(what: str = "") -> str:
        """Act otherwise."""
        return ""

    memory = Memory()
    memory.add(call_of("act", what="a"), act)
    assert not memory.allows(call_of("act", what="a"), other)


def test_true_is_not_the_number_that_was_allowed():
    memory = Memory()
    memory.add(call_of("act", times=1), act)
    assert not memory.allows(call_of("act", times=True), act)
    assert not memory.allows(call_of("act", times=1.0), act)


def test_what_holds_hidden_characters_is_allowed_only_once():
    memory = Memory()
    said = decided(asker("ask", read=Typing("y"), memory=memory), what="a\u202eb")
    assert said.how == "once"
    refused = decided(asker("ask", read=Typing("s"), memory=memory), what="a\u202eb")
    assert (refused.allowed, len(memory)) == (False, 0)


def test_a_question_that_must_be_asked_anew_is_never_remembered():
    memory = Memory()
    memory.add(call_of("act", what="a"), act)
    anew = act.with_options(ask_anew=True)
    person = Typing("n")
    assert not decided(asker("ask", read=person, memory=memory), tool=anew, what="a").allowed
    assert len(person.questions) == 1


# --- what is asked --------------------------------------------------------------------------------


@given(st.text())
def test_nothing_in_a_question_is_hidden(text):
    question = question_about(call_of("act", what=text), act)
    shown = question.subject + question.warning + (question.editable or "")
    assert visible(shown) == shown


def files(folder) -> ToolContext:
    return ToolContext(working_directory=folder)


def test_an_edit_is_shown_as_a_diff_of_the_file_as_it_is(tmp_path):
    lines = [f"line {n}" for n in range(1, 21)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    call = call_of("edit", file_path="a.txt", old_string="line 10", new_string="LINE TEN")
    change = change_of(call, al.edit, files(tmp_path))
    shown = question_about(call, al.edit, change).subject
    assert "@@ -7,7 +7,7 @@" in shown
    assert " line 9\n-line 10\n+LINE TEN\n line 11\n" in shown
    assert "line 20" not in shown
    assert (tmp_path / "a.txt").read_text() == "\n".join(lines) + "\n"


def test_a_file_that_is_written_over_is_shown_as_a_diff(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    call = call_of("write", file_path="a.txt", content="one\n2\n")
    change = change_of(call, al.write, files(tmp_path))
    assert change is not None
    assert change.diff.splitlines()[2:] == ["@@ -1,2 +1,2 @@", " one", "-two", "+2"]


def test_a_new_file_is_shown_whole(tmp_path):
    call = call_of("write", file_path="new/a.txt", content="one\ntwo\n")
    change = change_of(call, al.write, files(tmp_path))
    assert change is not None
    assert change.diff.splitlines()[-2:] == ["+one", "+two"]
    assert not (tmp_path / "new").exists()


def test_an_edit_that_would_fail_says_so_and_shows_what_was_asked(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    call = call_of("edit", file_path="a.txt", old_string="two", new_string="2")
    question = question_about(call, al.edit, change_of(call, al.edit, files(tmp_path)))
    assert "would fail: No match found" in question.warning
    assert "-two" in question.subject


def test_a_tool_of_the_users_that_is_called_edit_is_not_taken_for_ours(tmp_path):
    @al.tool(name="edit", risk="write")
    def other(file_path: str) -> str:
        """Edit."""
        return ""

    assert change_of(call_of("edit", file_path="a"), other, files(tmp_path)) is None


@pytest.mark.parametrize("arguments", [{}, {"file_path": 3}, {"file_path": "a", "content": None}])
@pytest.mark.parametrize("tool", [al.edit, al.write, al.bash])
def test_odd_arguments_are_shown_and_never_fail(tool, arguments, tmp_path):
    call = call_of(tool.name, **arguments)
    question = question_about(call, tool, change_of(call, tool, files(tmp_path)))
    assert question.subject


# --- what an answer means -------------------------------------------------------------------------


def answered(choice: Any, text: str = "", **arguments: Any) -> Decision:
    call = call_of("bash", **arguments)
    return decision_of(question_about(call, al.bash), Answer(choice, text), call)


def test_an_edited_command_is_what_runs_and_other_arguments_stay():
    decision = answered("edited", "ls -l", command="ls", timeout=5)
    assert (decision.how, decision.arguments) == ("edited", {"command": "ls -l", "timeout": 5})


def test_an_edit_that_changes_nothing_allows_the_call_once():
    assert answered("edited", "ls", command="ls") == Decision(allowed=True, how="once")


def test_arguments_that_are_no_text_are_edited_as_json():
    call = call_of("act", what="a", times=2)
    question = question_about(call, act)
    assert json.loads(question.editable or "") == {"what": "a", "times": 2}
    decision = decision_of(question, Answer("edited", '{"what": "b"}'), call)
    assert decision.arguments == {"what": "b"}


def test_what_is_no_json_is_asked_again():
    person = Typing("e", "{oops", ".", "n")
    said = decided(asker("ask", read=person), what="a")
    assert (said.allowed, len(person.questions)) == (False, 4)
    assert "no JSON object" in person.questions[-1]


def test_code_that_was_edited_keeps_its_hidden_characters_where_nothing_was_changed():
    call = call_of("bash", command="echo a\u00a0b")
    question = question_about(call, al.bash)
    decision = decision_of(question, Answer("edited", question.editable or ""), call)
    assert decision == Decision(allowed=True, how="once")


def test_the_model_is_told_that_a_call_was_edited_and_what_ran():
    ran.clear()
    model = Scripted(calls(("act", {"what": "a"})), says("done"))

    async def edits(call: ToolCall, tool: al.Tool) -> Decision:
        return Decision(allowed=True, how="edited", arguments={"what": "b"})

    result, events = logged(al.Agent(model, tools=(act,), approve=edits))
    told = next(m for m in result.messages if m.role == "user" and m.content[0].type != "text")
    assert ran == [("b", 1)]
    assert "The user edited this call before it ran. What ran:" in told.content[0].text
    assert '"what": "b"' in told.content[0].text
    (decision,) = [e.body for e in events if isinstance(e.body, ApprovalDecided)]
    assert (decision.how, decision.call.input) == ("edited", {"what": "b"})


@pytest.mark.parametrize("suffix", [".md", ".html", ".ipynb"])
def test_an_export_tells_what_was_decided_in_one_line(suffix, tmp_path):
    model = Scripted(calls(("act", {"what": "a"})), calls(("act", {"what": "b"})), says("done"))
    person = Typing("y", "not <b>now</b>")
    session = al.Session(provider=model, tools=[act], approve=asker("ask", read=person))
    session.chat("?")
    text = session.export(tmp_path / f"told{suffix}").read_text()
    for words in ("You decided", "act allowed once", "act denied"):
        assert words in text
    assert suffix != ".html" or "<b>now</b>" not in text
    again = al.Session.from_file(session.export(tmp_path / "told.json"), provider=model)
    assert again.export_session().turns[0].decisions[0] == "act allowed once"


# --- policies -------------------------------------------------------------------------------------


def yes(call: ToolCall, tool: al.Tool) -> bool:
    return True


async def slow_no(call: ToolCall, tool: al.Tool) -> bool:
    return False


@pytest.mark.parametrize(
    ("answer", "allowed", "asked"),
    [
        *((True, True, 0), (False, False, 0), ("allow", True, 0), ("deny", False, 0)),
        *(("ask", True, 1), (None, True, 1), (Decision(allowed=True), True, 0)),
        *((1, False, 0), ("yes", False, 0), ([], False, 0)),
    ],
)
def test_a_function_answers_in_many_ways_and_an_odd_one_allows_nothing(answer, allowed, asked):
    person = Typing("y")
    said = decided(asker(lambda call, tool: answer, read=person), what="a")
    assert (said.allowed, len(person.questions)) == (allowed, asked)


def test_a_function_may_be_async():
    assert not decided(asker(slow_no), what="a").allowed


def test_rules_ask_the_person_of_the_notebook():
    rules = al.Policy(al.Rule.allow("act", what="a"))
    person = Typing("n")
    approve = asker(rules, read=person)
    assert decided(approve, what="a").allowed
    assert person.questions == []
    assert not decided(approve, what="b").allowed
    assert len(person.questions) == 1


def test_a_plain_function_decides_in_a_program_too():
    ran.clear()
    model = Scripted(calls(("act", {"what": "a"})), says("done"))
    al.run("?", provider=model, tools=[act], approve=yes)
    model = Scripted(calls(("act", {"what": "b"})), says("done"))
    al.run("?", provider=model, tools=[act], approve=lambda call, tool: False)
    assert ran == [("a", 1)]


def test_a_name_is_a_policy_or_a_function_and_no_class():
    namespace = {"mine": yes, "number": 3, "kind": dict}
    assert named("read", namespace) == "read"
    assert named("mine", namespace) is yes
    for name in ("number", "kind", "missing"):
        assert named(name, namespace) is None


@pytest.mark.parametrize("rules", ["ask", "read", "all", "none", yes, al.Policy()])
def test_each_policy_is_said_in_words(rules):
    assert all(meaning(rules))


# --- commands -------------------------------------------------------------------------------------


def test_the_command_lists_and_forgets_what_was_allowed(cell, shell):
    assert "Nothing was allowed" in cell("%alloy approve forget").stdout
    alloy = shell.magics_manager.registry["Alloy"]
    alloy.desk.approvals.memory("main").add(call_of("act", what="just\u202ethis"), act)
    listed = cell("%alloy approve").stdout
    assert "allowed in this session, exactly as it stands" in listed
    assert "just\\u202ethis" in listed
    assert "Forgotten: 1 call that ran unasked" in cell("%alloy approve forget").stdout
    assert "exactly as it stands" not in cell("%alloy approve").stdout


def test_a_function_is_chosen_by_name_or_as_a_trait(cell, shell):
    cell("def mine(call, tool): return True")
    assert "mine — this function decides" in cell("%alloy approve mine").stdout
    cell("%alloy approve ask")
    assert cell("%config Alloy.approve = mine").ok
    assert "mine: this function decides" in cell("%alloy").stdout
    assert not cell("%config Alloy.approve = 'maybe'").ok or "mine" in cell("%alloy approve").stdout


def test_a_session_may_have_a_policy_of_its_own(cell, shell):
    cell("def mine(call, tool): return True")
    cell("get_ipython().magics_manager.registry['Alloy'].session().configure(approve=mine)")
    assert "mine — this function decides" in cell("%alloy approve").stdout
    assert "ask — tools that only read run" in cell("%alloy approve -s other").stdout


def test_a_session_that_is_asked_from_python_holds_to_the_notebooks_policy(cell, shell):
    cell("%alloy approve none")
    session = shell.magics_manager.registry["Alloy"].session()
    said = asyncio.run(session.agent.approver(call_of("act"), act))
    assert not said.allowed


def test_a_name_that_is_no_policy_says_what_may_stand_there(cell):
    error = cell("%alloy approve nobody_knows").error
    assert "use one of ask, read, all, none, forget, or the name of a function" in str(error)


# --- nobody ---------------------------------------------------------------------------------------


def test_a_closed_terminal_denies_with_a_reason():
    said = decided(asker("ask", read=Typing()), what="a")
    assert (said.allowed, said.how) == (False, "nobody")
    assert "Nobody could be asked" in said.reason


def test_a_change_that_cannot_be_shown_is_none():
    assert change_of(call_of("act"), act, None) is None
    assert Change().diff == ""
