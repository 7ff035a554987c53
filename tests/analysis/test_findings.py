"""A finding is a call in the history; what it rests on is looked up there."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

import alloy_nb as al
from alloy_nb.analysis.findings import Finding, findings_in, note_finding, register
from alloy_nb.engine.journal import Store
from alloy_nb.messages import Message, Text, ToolCall, ToolResult, assistant, user
from tests.engine.scripted import Scripted, calls, says


@al.tool(risk="read")
def look(at: str) -> str:
    """Look."""
    return f"{at}: 42"


def note(claim: str = "It is 42.", *evidence: str, confidence: str = "high") -> tuple[str, object]:
    return "note_finding", {
        "claim": claim,
        "evidence": list(evidence or ("look #1",)),
        "confidence": confidence,
    }


def asked(*script: object, **settings: object) -> al.Session:
    session = al.Session(
        provider=Scripted(*script), tools=[look, note_finding], approve="read", **settings
    )
    session.chat("What is there?")
    return session


SEEN = calls(("look", {"at": "a"}, "id-1"))


def test_a_finding_is_read_from_the_conversation_with_its_evidence():
    session = asked(SEEN, calls(note("It is 42.", "look #1", confidence="low")), says("So."))
    (found,) = findings_in(session.messages)
    assert (found.claim, found.confidence, found.turn) == ("It is 42.", "low", 1)
    (evidence,) = found.evidence
    assert (evidence.kind, evidence.turn, evidence.result.text) == ("call", 1, "a: 42")


def test_a_finding_that_names_a_call_that_was_not_made_is_refused_and_can_be_noted_again():
    model = Scripted(SEEN, calls(note("x", "look #2")), calls(note("x", "look #1")), says("So."))
    session = al.Session(provider=model, tools=[look, note_finding], approve="read")
    session.chat("?")
    refused = model.requests[2].messages[-1].content[0]
    assert refused.is_error
    assert "look #2 was not called so often" in refused.text
    assert [one.claim for one in findings_in(session.messages)] == ["x"]


def test_calls_are_counted_within_their_turn_and_by_their_tool():
    session = al.Session(
        provider=Scripted(
            *(calls(("look", {"at": "a"})), says("a")),
            *(calls(("look", {"at": "b"})), calls(("look", {"at": "c"}))),
            *(calls(note("x", "look #2", "turn 1 look #1", "look #1")), says("So.")),
        ),
        tools=[look, note_finding],
        approve="read",
    )
    session.chat("one")
    session.chat("two")
    (found,) = findings_in(session.messages)
    assert [one.result.text for one in found.evidence] == ["c: 42", "a: 42", "b: 42"]


def test_evidence_may_be_a_cell_a_variable_or_the_id_of_a_call():
    session = asked(
        SEEN, calls(note("x", "In[14]", "@df", "df.price", "id-1", "what I saw")), says("So.")
    )
    (found,) = findings_in(session.messages)
    kinds = [(one.name, one.kind) for one in found.evidence]
    assert kinds == [
        ("In[14]", "cell"),
        ("df", "variable"),
        ("df.price", "variable"),
        ("id-1", "call"),
        ("what I saw", "unknown"),
    ]


def test_a_finding_is_undone_with_its_turn():
    session = asked(SEEN, calls(note()), says("So."))
    assert len(findings_in(session.messages)) == 1
    session.reset()
    assert findings_in(session.messages) == []


def test_a_finding_is_in_the_journal_with_its_turn(tmp_path):
    session = asked(SEEN, calls(note("It is 42.")), says("So."), journal=tmp_path)
    session.stop()
    session.journal.close()
    later = al.Session.resume(provider=Scripted(), folder=tmp_path)
    assert [one.claim for one in findings_in(later.messages)] == ["It is 42."]
    assert len(Store(tmp_path).sessions()) == 1


def test_a_finding_of_an_imported_conversation_may_hold_anything_and_breaks_nothing():
    odd = [
        {},
        {"claim": 1, "evidence": ["a"]},
        {"claim": "x", "evidence": "df"},
        {"claim": "x", "evidence": [1, None, "df"], "confidence": ["high"], "caveat": 3},
    ]
    messages: list[Message] = [user("?")]
    for number, arguments in enumerate(odd):
        messages.append(assistant(ToolCall(id=f"c{number}", name="note_finding", input=arguments)))
        messages.append(user(ToolResult(call_id=f"c{number}", content=(Text(text="Noted."),))))
    (found,) = findings_in(messages)
    assert (found.claim, found.confidence, found.caveat) == ("x", "", "")
    assert [one.name for one in found.evidence] == ["df"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"claim": "", "evidence": ["df"], "confidence": "high"},
        {"claim": "x", "evidence": [], "confidence": "high"},
        {"claim": "x", "evidence": ["df"], "confidence": "sure"},
        {"claim": "x", "evidence": ["df"] * 13, "confidence": "high"},
    ],
)
def test_a_finding_without_a_claim_evidence_or_confidence_is_not_noted(arguments):
    session = asked(calls(("note_finding", arguments)), says("So."))
    assert findings_in(session.messages) == []


# --- as a table -----------------------------------------------------------------------------------


def test_the_findings_of_a_session_a_result_or_messages_are_a_dataframe():
    session = asked(SEEN, calls(note("It is 42.", "look #1", "guess!")), says("So."), name="work")
    for what in (session, session.results[-1], session.messages):
        frame = al.findings_of(what)
        assert isinstance(frame, pd.DataFrame)
        assert frame.loc[0, ["claim", "unproven"]].tolist() == ["It is 42.", "guess!"]
    assert al.findings_of(session)["session"].tolist() == ["work"]


def test_the_table_of_no_findings_has_its_columns():
    frame = al.findings_of([])
    assert len(frame) == 0
    assert {"claim", "confidence", "evidence", "changed", "turn"} <= set(frame.columns)


def test_where_only_polars_is_in_use_the_table_is_one_of_polars(monkeypatch):
    polars = pytest.importorskip("polars")
    monkeypatch.delitem(sys.modules, "pandas")
    assert isinstance(al.findings_of([]), polars.DataFrame)


def test_a_key_in_a_claim_is_masked_in_the_table():
    key = "sk-ant-api03-" + "Ab3" * 12
    session = asked(SEEN, calls(note(f"The key is {key}.")), says("So."))
    assert key not in str(al.findings_of(session).to_dict())


class Board:
    def __init__(self, *found: Finding) -> None:
        self.found = found

    def findings(self) -> tuple[Finding, ...]:
        return self.found


def test_al_findings_is_made_anew_each_time_from_what_is_open():
    before = len(al.findings)
    board = Board(Finding(1, "It is so.", "high", ()))
    register(board)
    assert al.findings["claim"].tolist()[before:] == ["It is so."]
    board.found = ()
    assert len(al.findings) == before


def test_a_notebook_that_is_gone_has_no_findings_any_more():
    board = Board(Finding(1, "Only here.", "high", ()))
    register(board)
    assert "Only here." in al.findings["claim"].tolist()
    del board
    assert "Only here." not in al.findings["claim"].tolist()


def test_findings_are_no_name_that_a_star_imports():
    assert "findings" not in al.__all__
    assert "findings" in dir(al)
