"""Skills: prompts in files, found, named and filled in."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.skills import Skill, parse, skill, skills
from tests.engine.scripted import Scripted, says
from tests.engine.test_context import places, put

__all__ = ["places"]


def names(**where) -> list[str]:
    return [found.name for found in skills(**where)]


def test_a_file_is_a_skill_of_its_name(places):
    put(places[0], "review.md", "Look for faults:\n\n{{input}}\n", "skills")
    [found] = skills()
    assert (found.name, found.description) == ("review", "")
    assert found.text == "Look for faults:\n\n{{input}}"
    assert found.path == places[0] / ".alloy/skills/review.md"


def test_front_matter_names_and_describes_it(places):
    text = "---\nname: code-review\ndescription: Look for faults: all of them\n---\n\nBody\n"
    put(places[0], "review.md", text, "skills")
    [found] = skills()
    assert found.name == "code-review"
    assert found.description == "Look for faults: all of them"
    assert found.text == "Body"


@pytest.mark.parametrize(
    ("text", "name", "description", "body"),
    [
        ("---\ndescription: d\n---\nb", "file", "d", "b"),
        ("---\nname:\n---\nb", "file", "", "b"),
        ("---\n---\nb", "file", "", "b"),
        ("---\nname: 'n'\ndescription: \"d\"\n---\nb", "n", "d", "b"),
        ("---\n  name : n  \nmodel: other\n# a comment\n- a list\n---\nb", "n", "", "b"),
        ("---\nname: n\nb", "file", "", "---\nname: n\nb"),
        ("b\n---\nname: n\n---\n", "file", "", "b\n---\nname: n\n---"),
        ("---\nname: n\n---", "n", "", ""),
        ("---\nname: n\n--- \nb\n---\nc", "n", "", "b\n---\nc"),
        ("", "file", "", ""),
    ],
)
def test_front_matter_is_simple_lines_between_dashes(text, name, description, body, tmp_path):
    found = parse(text, path=tmp_path / "file.md")
    assert (found.name, found.description, found.text) == (name, description, body)


@given(st.text())
def test_any_text_is_a_skill_of_some_kind(text):
    from pathlib import Path

    assert parse(text, path=Path("file.md")).name


def test_a_project_replaces_a_skill_of_the_same_file(places):
    home, repository, here = places
    put(home, "a.md", "of home", "skills")
    put(home, "b.md", "of home", "skills")
    put(repository, "b.md", "of the repository", "skills")
    put(here, "c.md", "of the folder", "skills")
    texts = [(found.name, found.text) for found in skills()]
    assert texts == [("a", "of home"), ("b", "of the repository"), ("c", "of the folder")]


def test_they_come_by_the_alphabet_of_their_names(places):
    put(places[0], "1.md", "---\nname: zebra\n---\n", "skills")
    put(places[0], "2.md", "---\nname: ape\n---\n", "skills")
    assert names() == ["ape", "zebra"]


def test_other_files_and_missing_folders_are_nothing(places):
    assert names() == []
    put(places[0], "a.txt", "no", "skills")
    assert names() == []


def test_a_link_out_of_the_folder_is_left_out_with_a_warning(places, caplog):
    secret = places[0] / "secret.md"
    secret.write_text("canary")
    put(places[0], "a.md", "mine", "skills")
    (places[0] / ".alloy/skills/b.md").symlink_to(secret)
    assert names() == ["a"]
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


# --- filling in -----------------------------------------------------------------------------------


def filled(text: str, *values) -> str:
    return Skill("s", "", text).apply(*values)


@pytest.mark.parametrize(
    ("text", "values", "prompt"),
    [
        ("Do {{input}} and {{input}}.", "this", "Do this and this."),
        ("Do {{input}} in {{language}}.", "this", "Do this in {{language}}."),
        ("Do {{what}} in {{language}}.", {"what": "it", "language": "C"}, "Do it in C."),
        ("Do {{what}} in {{language}}.", {"what": "it"}, "Do it in {{language}}."),
        ("Do {{what}}.", {}, "Do {{what}}."),
        ("Do {{input}}.", {"other": "x"}, "Do {{input}}."),
        ("Wait {{n}} s.", {"n": 5}, "Wait 5 s."),
        ("No place.", "this", "No place."),
        ("{input} {{ input }} {{Input}}", "x", "{input} {{ input }} {{Input}}"),
        ("{{a.*}} {{ab}}", {"a.*": "x"}, "x {{ab}}"),
    ],
)
def test_a_text_fills_input_and_a_mapping_its_keys(text, values, prompt):
    assert filled(text, values) == prompt


def test_what_is_filled_in_is_not_filled_in_again():
    assert filled("{{a}} {{b}}", {"a": "{{b}}", "b": "{{a}}"}) == "{{b}} {{a}}"


def test_what_is_filled_in_keeps_its_backslashes():
    assert filled("{{input}}", r"\1 \g<0> C:\new") == r"\1 \g<0> C:\new"


def test_without_a_value_input_is_empty():
    assert filled("Look: {{input}}") == "Look: "


@given(st.text(), st.text())
def test_a_prompt_without_places_never_changes(text, value):
    if "{{input}}" not in text:
        assert filled(text, value) == text


# --- in use ---------------------------------------------------------------------------------------


def test_a_skill_is_had_by_its_name_and_run(places):
    put(places[1], "review.md", "Look for faults in {{input}}.", "skills")
    model = Scripted(says("None."))
    al.run(al.skill("review").apply("x.py"), provider=model)
    assert model.requests[0].messages[0].text == "Look for faults in x.py."
    assert [found.name for found in al.skills()] == ["review"]


def test_an_unknown_skill_lists_those_that_there_are(places):
    put(places[0], "review.md", "x", "skills")
    put(places[0], "explain.md", "x", "skills")
    with pytest.raises(al.ConfigError, match=r"Did you mean review\? The skills are: explain, rev"):
        skill("reveiw")


def test_without_skills_it_says_where_they_go(places):
    with pytest.raises(al.ConfigError, match=r"put prompts into .alloy/skills/NAME.md"):
        skill("review")
