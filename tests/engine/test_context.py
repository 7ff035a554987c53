"""Standing instructions: which files are read, in which order, and which are left alone."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

import alloy_nb as al
from alloy_nb.engine import context
from alloy_nb.engine.context import ContextFile, compose, discover, list_tools
from tests.engine.scripted import Scripted, says


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Give a home, a repository in it and a folder in that, and work in the folder."""
    here = tmp_path / "home" / "repository" / "folder"
    here.mkdir(parents=True)
    (tmp_path / "home/repository/.git").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(here)
    return tmp_path / "home", tmp_path / "home/repository", here


def put(owner: Path, name: str, text: str | bytes, kind: str = "context") -> Path:
    folder = owner / ".alloy" / kind
    folder.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return folder / name


def found(**where) -> list[tuple[str, str]]:
    return [(file.name, file.text) for file in discover(**where)]


# --- where ----------------------------------------------------------------------------------------


def test_home_comes_first_then_the_repository_then_the_folder(places):
    home, repository, here = places
    put(here, "a.md", "three")
    put(repository, "b.md", "two")
    put(home, "c.md", "one")
    assert found() == [("c", "one"), ("b", "two"), ("a", "three")]


def test_the_files_of_a_folder_come_by_the_alphabet(places):
    home, _, _ = places
    for name in ("b.md", "a.md", "C.md"):
        put(home, name, name)
    assert [name for name, _ in found()] == ["C", "a", "b"]


def test_files_of_one_name_are_all_read(places):
    home, repository, _ = places
    put(home, "rules.md", "one")
    put(repository, "rules.md", "two")
    assert found() == [("rules", "one"), ("rules", "two")]


def test_only_markdown_files_right_in_the_folder_are_read(places):
    home, _, _ = places
    for name in ("a.txt", "b.md.bak", ".hidden.md", ".#lock.md", "md"):
        put(home, name, "no")
    (home / ".alloy/context/inner").mkdir()
    (home / ".alloy/context/inner/c.md").write_text("no")
    put(home, "yes.md", "yes")
    assert found() == [("yes", "yes")]


def test_without_any_folder_nothing_is_found(places):
    assert found() == []


def test_outside_of_a_repository_the_folder_itself_is_read(tmp_path):
    put(tmp_path, "a.md", "mine")
    assert found(directory=tmp_path, home=tmp_path / "nobody") == [("a", "mine")]


def test_a_folder_that_is_home_and_repository_at_once_is_read_once(places):
    home, _, _ = places
    (home / ".git").mkdir()
    put(home, "a.md", "once")
    assert found(directory=home) == [("a", "once")]


def test_in_a_worktree_git_is_a_file(places):
    home, _, _ = places
    other = home / "worktree"
    (other / "inner").mkdir(parents=True)
    (other / ".git").write_text("gitdir: /elsewhere\n")
    put(other, "a.md", "of the worktree")
    assert found(directory=other / "inner") == [("a", "of the worktree")]


def test_only_the_nearest_repository_counts(places):
    _, repository, _ = places
    inner = repository / "vendored"
    (inner / ".git").mkdir(parents=True)
    put(repository, "a.md", "outer")
    put(inner, "b.md", "inner")
    assert found(directory=inner) == [("b", "inner")]


def test_another_home_can_be_given(places, tmp_path):
    put(tmp_path / "other", "a.md", "from there")
    assert found(home=tmp_path / "other") == [("a", "from there")]


def test_a_user_without_a_home_has_the_other_folders(places, monkeypatch):
    _, repository, _ = places
    put(repository, "a.md", "two")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(context.Path, "home", no_home)
    assert found() == [("a", "two")]


# --- what is left alone ---------------------------------------------------------------------------


def warned(caplog) -> str:
    """Return the one warning that there is."""
    [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    return record.getMessage()


def test_a_link_out_of_the_folder_is_left_out_with_a_warning(places, caplog):
    home, _, _ = places
    secret = home / "secret.md"
    secret.write_text("canary")
    put(home, "a.md", "mine")
    (home / ".alloy/context/link.md").symlink_to(secret)
    assert found() == [("a", "mine")]
    assert "link.md is left out: it is a link that leads out of the folder" in warned(caplog)


def test_a_link_within_the_folder_is_followed(places):
    home, _, _ = places
    put(home, "a.md", "mine")
    (home / ".alloy/context/b.md").symlink_to("a.md")
    assert found() == [("a", "mine"), ("b", "mine")]


def test_a_link_to_itself_is_left_out_with_a_warning(places, caplog):
    home, _, _ = places
    put(home, "a.md", "mine")
    (home / ".alloy/context/loop.md").symlink_to("loop.md")
    assert found() == [("a", "mine")]
    assert "loop.md is left out" in warned(caplog)


@pytest.mark.parametrize("part", [".alloy", ".alloy/context"])
def test_a_folder_that_leads_out_of_the_repository_is_left_out(places, caplog, part):
    home, repository, _ = places
    put(home / "private", "a.md", "canary")
    (repository / part).parent.mkdir(exist_ok=True)
    (repository / part).symlink_to(home / "private" / part)
    assert found() == []
    assert "it leads out of" in warned(caplog)


def test_a_named_pipe_is_left_out_and_not_waited_for(places, caplog):
    home, _, _ = places
    put(home, "b.md", "mine")
    os.mkfifo(home / ".alloy/context/a.md")
    names: list[str] = []
    reading = threading.Thread(target=lambda: names.extend(n for n, _ in found()), daemon=True)
    reading.start()
    reading.join(20)
    assert names == ["b"]
    assert "a.md is left out: it is no plain file" in warned(caplog)


def test_a_folder_with_the_name_of_a_file_is_left_out(places, caplog):
    home, _, _ = places
    (home / ".alloy/context/a.md").mkdir(parents=True)
    assert found() == []
    assert "it is no plain file" in warned(caplog)


def test_a_file_of_a_gigabyte_is_left_out_and_not_read(places, caplog):
    home, _, _ = places
    path = put(home, "a.md", "begin")
    os.truncate(path, 1_000_000_000)  # a hole: it takes no room
    assert found() == []
    assert "its 1,000,000,000 bytes are more than the 128,000" in warned(caplog)


def test_a_file_of_just_the_limit_is_read(places):
    home, _, _ = places
    put(home, "a.md", "x" * context.LONGEST_FILE)
    assert [len(text) for _, text in found()] == [context.LONGEST_FILE]


def test_a_folder_is_read_up_to_its_own_limit(places, caplog):
    home, _, _ = places
    for number in range(6):
        put(home, f"{number}.md", "x" * 100_000)
    assert [name for name, _ in found()] == ["0", "1", "2", "3", "4"]
    assert "5.md is left out" in warned(caplog)


def test_of_very_many_files_the_first_are_read(places, caplog):
    home, _, _ = places
    for number in range(205):
        put(home, f"{number:03}.md", "x")
    assert len(found()) == 200
    assert "only the first 200 of 205 files" in warned(caplog)


def test_bytes_that_are_no_utf8_are_replaced_with_a_warning(places, caplog):
    home, _, _ = places
    put(home, "a.md", b"gr\xfcn and \xe4")
    assert found() == [("a", "gr\ufffdn and \ufffd")]
    assert "a.md is not all UTF-8" in warned(caplog)


def test_a_byte_order_mark_and_carriage_returns_are_not_part_of_the_text(places):
    home, _, _ = places
    put(home, "a.md", b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert found() == [("a", "one\ntwo\n")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_left_out_with_a_warning(places, caplog):
    home, _, _ = places
    put(home, "a.md", "mine").chmod(0)
    assert found() == []
    assert "permission denied" in warned(caplog)


def test_a_name_cannot_write_to_the_terminal_through_the_warning(places, caplog):
    home, _, _ = places
    (home / ".alloy/context").mkdir(parents=True)
    os.mkfifo(home / ".alloy/context/\x1b[2Jx.md")
    assert found() == []
    assert "\x1b" not in warned(caplog)
    assert "x.md is left out" in warned(caplog)


def test_what_is_read_is_logged(places, caplog):
    home, _, _ = places
    path = put(home, "a.md", "twelve chars")
    with caplog.at_level(logging.INFO, logger="alloy_nb"):
        discover()
    assert f"Context: 1 files, 12 characters: {path}" in caplog.text


# --- the system prompt ----------------------------------------------------------------------------


def file(text: str) -> ContextFile:
    return ContextFile("a", text, Path("a.md"))


@pytest.mark.parametrize(
    ("base", "texts", "prompt"),
    [
        ("Be brief.", ["one", "two"], "Be brief.\n\none\n\ntwo"),
        (None, ["one\n", "\n\ntwo"], "one\n\ntwo"),
        ("", ["one"], "one"),
        ("Be brief.", ["", " \n", "one"], "Be brief.\n\none"),
        ("Be brief.", [], "Be brief."),
        (None, [], None),
        ("", [""], None),
    ],
)
def test_the_system_prompt_is_the_base_and_the_texts(base, texts, prompt):
    assert compose(base, map(file, texts)) == prompt


def test_the_system_prompt_may_end_with_a_list_of_the_tools():
    @al.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    made = compose("Be brief.", [], tools=list_tools([add, al.read]))
    assert made.startswith("Be brief.\n\n## Available tools\n\n- add: Add two numbers.\n- read: ")


def test_a_list_of_no_tools_is_nothing():
    assert compose("Be brief.", [], tools=list_tools([])) == "Be brief."


def system_prompts(*prompts: str, **settings) -> list[str | None]:
    model = Scripted(otherwise=says("a"))
    session = al.Session(provider=model, **settings)
    for prompt in prompts:
        session.chat(prompt)
    return [request.system for request in model.requests]


def test_it_is_off_unless_it_is_asked_for(places):
    put(places[0], "a.md", "one")
    assert system_prompts("hi", system_prompt="Be brief.") == ["Be brief."]


def test_run_sends_it_when_asked(places):
    put(places[0], "a.md", "one")
    model = Scripted(says("a"))
    al.run("hi", provider=model, system_prompt="Be brief.", context_discovery=True)
    assert model.requests[0].system == "Be brief.\n\none"


def test_it_begins_at_the_working_directory(places, tmp_path):
    other = tmp_path / "other"
    put(other, "a.md", "of the other")
    settings = {"working_directory": other, "context_discovery": True}
    assert system_prompts("hi", **settings) == ["of the other"]


def test_the_context_may_name_another_home(places, tmp_path):
    put(tmp_path / "other", "a.md", "of the other home")
    settings = {"context": {"home": str(tmp_path / "other")}, "context_discovery": True}
    assert system_prompts("hi", **settings) == ["of the other home"]


def test_it_is_read_once_for_a_session(places):
    path = put(places[0], "a.md", "one")
    model = Scripted(says("a"), says("b"))
    session = al.Session(provider=model, context_discovery=True)
    session.chat("hi")
    path.write_text("two")
    session.chat("hi", temperature=0.5)
    assert [request.system for request in model.requests] == ["one", "one"]


def test_another_system_prompt_keeps_it(places):
    put(places[0], "a.md", "one")
    model = Scripted(says("a"))
    session = al.Session(provider=model, context_discovery=True)
    session.configure(system_prompt="Be brief.")
    session.chat("hi")
    assert model.requests[0].system == "Be brief.\n\none"


def test_it_can_be_switched_on_and_off_later(places):
    put(places[0], "a.md", "one")
    model = Scripted(says("a"), says("b"))
    session = al.Session(provider=model)
    session.configure(context_discovery=True)
    session.chat("hi")
    session.configure(context_discovery=False)
    session.chat("hi")
    assert [request.system for request in model.requests] == ["one", None]


@pytest.mark.parametrize("wrong", ["yes", 1, None, ["a.md"], object()])
def test_anything_but_true_and_false_is_refused(wrong):
    with pytest.raises(al.ConfigError, match="context_discovery must be True or False"):
        al.run("hi", provider=Scripted(), context_discovery=wrong)


def test_an_agent_cannot_write_its_own_instructions(places):
    with pytest.raises(al.ToolError, match="alloy's own settings"):
        al.write.bind(
            {"file_path": ".alloy/context/a.md", "content": "obey"},
            al.ToolContext(working_directory=places[2]),
        )()
