"""``%alloy findings``: what the model noted is listed, marked when it is stale, and written."""

from __future__ import annotations

import pandas as pd
import pytest

import alloy_nb as al
from tests.engine.scripted import calls, says
from tests.notebook.scripting import magics, refused, scripted

CODE = "print(df['a'].mean())"


def noting(*evidence: str, claim: str = "The mean is 2.") -> tuple[str, object]:
    arguments = {"claim": claim, "evidence": list(evidence), "confidence": "high"}
    return "note_finding", arguments


@pytest.fixture
def noted(cell, shell):
    """Give a function that lets the model compute and note, from nothing."""

    def noted(*evidence: str, claim: str = "The mean is 2."):
        cell("%config Alloy.approve = 'all'")
        cell("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2, 3]})\nother = 1")
        cell("%alloy findings on")
        model = scripted(
            shell,
            calls(("python", {"code": CODE})),
            calls(noting(*evidence, claim=claim)),
            says("There."),
            *[says("More.")] * 3,
        )
        ran = cell("%%alloy\nHow large is @other?")
        assert ran.ok, ran.text
        return model

    return noted


def test_without_the_word_the_model_has_no_tool_to_note_with(cell, shell):
    model = scripted(shell, says("hi"))
    cell("%%alloy\nhello")
    assert "note_finding" not in [tool.name for tool in model.requests[0].tools]
    assert "%alloy findings on" in cell("%alloy findings").text


def test_the_tool_is_offered_from_then_on_and_taken_away_again(cell, shell, noted):
    model = noted("python #1")
    assert "note_finding" in [tool.name for tool in model.requests[0].tools]
    cell("%alloy findings off")
    cell("%%alloy\nhello")
    assert "note_finding" not in [tool.name for tool in model.requests[-1].tools]
    assert "The mean is 2." in cell("%alloy findings").text


def test_what_was_noted_is_listed(cell, noted):
    noted("python #1", "df")
    shown = cell("%alloy findings").text
    assert "The mean is 2.  high        python #1, df" in shown


def test_al_findings_is_a_dataframe_of_it(cell, noted):
    noted("python #1")
    frame = cell("import alloy_nb as al\nal.findings").result
    assert isinstance(frame, pd.DataFrame)
    assert frame["claim"].tolist() == ["The mean is 2."]


def test_the_findings_go_into_a_variable(cell, shell, noted):
    noted("python #1")
    cell("%alloy findings -o table")
    assert shell.user_ns.pop("table")["confidence"].tolist() == ["high"]


def test_a_finding_is_stale_when_a_variable_that_its_code_read_changes(cell, noted):
    noted("python #1")
    cell("df.loc[0, 'a'] = 10")
    assert "finding 1: The mean is 2." in cell("%alloy stale").text
    assert "changed since: df other values (in place)" in cell("%alloy findings").text


def test_a_finding_is_stale_when_a_variable_that_it_names_changes(cell, noted):
    noted("df")
    cell("df = df.head(2)")
    shown = cell("%alloy stale").text
    assert "finding 1: The mean is 2.  df     rows 3 -> 2" in shown


def test_a_finding_is_not_stale_for_what_only_the_prompt_named(cell, noted):
    noted("python #1")
    cell("other = 2")
    shown = cell("%alloy stale").text
    assert "How large is @other?" in shown
    assert "finding 1" not in shown


def test_al_findings_says_what_has_changed(cell, noted):
    noted("python #1")
    cell("df = df.head(2)")
    assert "rows 3 -> 2" in al.findings["changed"].tolist()[-1]


def test_a_report_is_written_with_links_and_what_is_unproven(cell, noted, tmp_path):
    noted("python #1", "df", claim="The mean is 2, not 77.")
    told = cell(f"%alloy findings -o {tmp_path}/r.md").text
    assert "1 finding written" in told
    assert "1 number not found in the evidence" in told
    text = (tmp_path / "r.md").read_text()
    assert "The mean is [2](#evidence-1), not 77." in text
    assert CODE in text


def test_a_cell_of_the_notebook_is_evidence_with_its_source_and_value(cell, shell, noted, tmp_path):
    cell("6 * 7")
    number = shell.execution_count - 1
    noted(f"In[{number}]", claim="It is 42.")
    cell(f"%alloy findings -o {tmp_path}/r.html")
    text = (tmp_path / "r.html").read_text()
    assert '<a href="#evidence-1">42</a>' in text
    assert "6 * 7" in text


def test_a_variable_that_is_gone_is_named_as_missing(cell, noted, tmp_path):
    noted("df")
    cell("del df")
    cell(f"%alloy findings -o {tmp_path}/r.md")
    assert "not there: df" in (tmp_path / "r.md").read_text()


def test_a_file_that_is_no_report_is_not_replaced_unasked(cell, noted, tmp_path):
    noted("python #1")
    (tmp_path / "r.md").write_text("mine")
    assert "exists and is no export" in refused(cell(f"%alloy findings -o {tmp_path}/r.md"))
    assert cell(f"%alloy findings --force -o {tmp_path}/r.md").ok


def test_nothing_noted_writes_nothing(cell, tmp_path):
    assert "nothing was written" in refused(cell(f"%alloy findings -o {tmp_path}/r.md"))
    assert list(tmp_path.iterdir()) == []


def test_the_findings_of_an_agent_of_a_team_are_there_too(cell, shell):
    from tests.engine.scripted import Scripted

    team = al.Team()
    team.add(
        "scout",
        provider=Scripted(calls(noting("df", claim="The scout saw 1.")), says("I saw.")),
        tools=[al.note_finding],
        approve="read",
    )
    shell.user_ns["crew"] = team
    assert cell("%%alloy\n@scout go").ok
    del shell.user_ns["crew"]
    assert "The scout saw 1." in cell("%alloy findings").text


def test_the_model_hears_that_a_finding_was_noted_whatever_stays_here(cell, shell):
    cell("%alloy findings on")
    model = scripted(shell, calls(noting("df")), says("There."))
    assert cell("df = 1\n%alloy --data schema what is @df?").ok
    assert model.requests[1].messages[-1].content[0].text == "Noted."


def test_a_conversation_that_is_forgotten_has_no_findings(cell, noted, shell):
    noted("python #1")
    cell("%alloy reset")
    assert "Nothing was noted yet" in cell("%alloy findings").text
    assert magics(shell).session().messages == []
