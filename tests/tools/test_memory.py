"""`memory` keeps files in one folder, and reaches nothing else."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.calls.tool import ToolContext, as_tool, as_tools
from alloy_nb.errors import ToolError
from alloy_nb.messages import user
from alloy_nb.providers.base import ModelRequest
from alloy_nb.providers.vendor import VendorProvider
from alloy_nb.tools import files
from tests.engine.scripted import Scripted
from tests.oracles.strict import validate_anthropic, validate_chat, validate_responses
from tests.providers.wires import CHAT, RESPONSES, URL


@pytest.fixture
def folder(project: Path) -> Path:
    """The folder that is /memories; the secret lies two levels above."""
    made = project / "memories"
    made.mkdir()
    return made


def use(where: ToolContext, **arguments: Any) -> str:
    return as_tool(al.Memory("memories")).bind(arguments, where)()


def test_it_begins_with_an_empty_directory(project, context):
    listing = use(context, command="view", path="/memories")
    assert listing.startswith("Here're the files and directories up to 2 levels deep in /memories")
    assert listing.count("\n") == 1
    assert (project / "memories").is_dir()


def test_a_file_is_created_and_viewed_with_line_numbers(folder, context):
    made = use(context, command="create", path="/memories/a/b.txt", file_text="one\ntwo")
    assert made == "File created successfully at: /memories/a/b.txt"
    assert (folder / "a/b.txt").read_text() == "one\ntwo"
    assert use(context, command="view", path="/memories/a/b.txt") == (
        "Here's the content of /memories/a/b.txt with line numbers:\n     1\tone\n     2\ttwo"
    )


@pytest.mark.parametrize(
    ("lines", "shown"),
    [([2, 3], ["2", "3"]), ([2, -1], ["2", "3", "4"]), ([0, 1], ["1"]), ([9, 12], [])],
)
def test_a_view_may_be_of_some_lines(lines, shown, folder, context):
    (folder / "a").write_text("1\n2\n3\n4")
    page = use(context, command="view", path="/memories/a", view_range=lines)
    assert [line.split("\t")[1] for line in page.splitlines()[1:] if line] == shown


def test_a_listing_goes_two_levels_deep_without_what_is_hidden(folder, context):
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/b/deep.txt").write_text("x")
    (folder / "a/one.txt").write_text("x" * 2048)
    (folder / ".hidden").write_text("x")
    listing = use(context, command="view", path="/memories").splitlines()
    assert [line.split("\t")[1] for line in listing[1:]] == [
        "/memories",
        "/memories/a/",
        "/memories/a/b/",
        "/memories/a/one.txt",
    ]
    assert "2K\t/memories/a/one.txt" in listing


def test_a_text_that_occurs_once_is_replaced(folder, context):
    (folder / "a").write_text("one\ntwo\nthree\n")
    said = use(context, command="str_replace", path="/memories/a", old_str="two", new_str="2")
    assert (folder / "a").read_text() == "one\n2\nthree\n"
    assert said.startswith("The memory file has been edited.")
    assert "     2\t2" in said


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("four", "did not appear verbatim"),
        ("e\n", r"(?s)Multiple occurrences .* lines: 1, 3"),
        ("", "empty"),
    ],
)
def test_a_replacement_that_cannot_be_made_changes_nothing(old, message, folder, context):
    (folder / "a").write_text("one\ntwo\nthree\n")
    with pytest.raises(ToolError, match=message):
        use(context, command="str_replace", path="/memories/a", old_str=old, new_str="x")
    assert (folder / "a").read_text() == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("line", "after"), [(0, "new\none\ntwo\n"), (1, "one\nnew\ntwo\n"), (2, "one\ntwo\nnew\n")]
)
def test_text_is_inserted_after_a_line(line, after, folder, context):
    (folder / "a").write_text("one\ntwo\n")
    use(context, command="insert", path="/memories/a", insert_line=line, insert_text="new\n")
    assert (folder / "a").read_text() == after


def test_a_line_that_is_not_there_is_named(folder, context):
    (folder / "a").write_text("one\n")
    with pytest.raises(ToolError, match=r"Invalid `insert_line` parameter: 7.*\[0, 1\]"):
        use(context, command="insert", path="/memories/a", insert_line=7, insert_text="x")


def test_files_and_directories_are_deleted(folder, context):
    (folder / "d/e").mkdir(parents=True)
    (folder / "d/e/f").write_text("x")
    (folder / "a").write_text("x")
    use(context, command="delete", path="/memories/a")
    assert use(context, command="delete", path="/memories/d") == "Successfully deleted /memories/d"
    assert list(folder.iterdir()) == []


def test_a_directory_is_deleted_without_what_its_links_lead_to(folder, project, context):
    (folder / "d").mkdir()
    (folder / "d/link").symlink_to(project.parent / "elsewhere")
    use(context, command="delete", path="/memories/d")
    assert (project.parent / "elsewhere/secret.txt").read_text() == "SECRET\n"


def test_a_file_is_renamed_into_a_new_directory(folder, context):
    (folder / "a").write_text("x")
    use(context, command="rename", old_path="/memories/a", new_path="/memories/b/c")
    assert (folder / "b/c").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"command": "view", "path": "/memories/no"},
            "does not exist. Please provide a valid path",
        ),
        ({"command": "create", "path": "/memories/a", "file_text": ""}, "already exists"),
        ({"command": "create", "path": "/memories", "file_text": ""}, "is a directory"),
        ({"command": "delete", "path": "/memories"}, "itself cannot be deleted"),
        ({"command": "delete", "path": "/memories/no"}, "does not exist"),
        ({"command": "rename", "old_path": "/memories/no", "new_path": "/memories/b"}, "not exist"),
        ({"command": "rename", "old_path": "/memories/a", "new_path": "/memories/a"}, "already"),
        (
            {"command": "rename", "old_path": "/memories", "new_path": "/memories/b"},
            "itself cannot",
        ),
        ({"command": "create", "path": "/memories/b"}, "needs file_text"),
        ({"command": "insert", "path": "/memories/b"}, "needs insert_line"),
        ({"command": "forget"}, "should be one of"),
        (
            {"command": "str_replace", "path": "/memories/d", "old_str": "x", "new_str": "y"},
            "a directory",
        ),
        ({"command": "create", "path": "/memories/b", "file_text": "x" * 2_000_000}, "over 1 MB"),
        ({"command": "create", "path": "/memories/b", "file_text": "\ud83d"}, "surrogate"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, message, folder, context):
    (folder / "a").write_text("x")
    (folder / "d").mkdir()
    with pytest.raises(ToolError, match=message):
        use(context, **arguments)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "d"]


@pytest.mark.parametrize("kind", ["pipe", "loop", "binary", "large"])
def test_what_is_no_text_is_refused_at_once(kind, folder, context):
    if kind == "pipe":
        os.mkfifo(folder / "a")
    elif kind == "loop":
        (folder / "a").symlink_to("a")
    else:
        (folder / "a").write_bytes(b"\xff\xfe\x00" if kind == "binary" else b"x" * 2_000_000)
    with pytest.raises(ToolError):
        use(context, command="view", path="/memories/a")


# --- outside --------------------------------------------------------------------------------------

ESCAPES = [
    "/memories/../notes.txt",
    "/memories/../../elsewhere/secret.txt",
    "/memories/a/../../../elsewhere/secret.txt",
    "/memories/link/secret.txt",
    "/memories/file",
    "/memories/dangling",
    "/memories/proc/environ",
    "/memories-secrets/secret.txt",
    "/memoriesX",
    "/etc/passwd",
    "memories/a",
    "../elsewhere/secret.txt",
    "~/secret.txt",
    "/memories/~/secret.txt",
    "/memories/~root/secret.txt",
    "/memories/\0",
    "/memories/" + "x" * 5000,
    "/memories/\udcff",
    "",
]


def uses(path: str) -> list[dict[str, Any]]:
    return [
        {"command": "view", "path": path},
        {"command": "create", "path": path, "file_text": "PWNED"},
        {"command": "str_replace", "path": path, "old_str": "SECRET", "new_str": "PWNED"},
        {"command": "insert", "path": path, "insert_line": 0, "insert_text": "PWNED"},
        {"command": "delete", "path": path},
        {"command": "rename", "old_path": path, "new_path": "/memories/stolen"},
        {"command": "rename", "old_path": "/memories/mine", "new_path": path},
    ]


def outside(folder: Path) -> dict[str, bytes]:
    top = folder.parent.parent
    found = (p for p in top.rglob("*") if folder not in p.parents and p.is_file())
    return {str(path): path.read_bytes() for path in found}


@pytest.mark.parametrize("walks", [True, False])
@pytest.mark.parametrize("path", ESCAPES, ids=range(len(ESCAPES)))
def test_no_command_leaves_the_folder(path, walks, folder, context, monkeypatch):
    monkeypatch.setattr(files, "_WALKS", walks)
    (folder / "mine").write_text("mine")
    (folder / "link").symlink_to("../../elsewhere")
    (folder / "file").symlink_to("../../elsewhere/secret.txt")
    (folder / "dangling").symlink_to("../../elsewhere/new.txt")
    (folder / "proc").symlink_to("/proc/self")
    before = outside(folder)
    for arguments in uses(path):
        with pytest.raises(ToolError) as caught:
            use(context, **arguments)
        assert "SECRET\n" not in str(caught.value)
    assert outside(folder) == before
    assert not (folder / "stolen").exists()


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["..", ".", "a", "link", "~", "", "%2e%2e", "\\.."]), max_size=8)
)
def test_no_path_made_of_tricks_leaves_the_folder(parts, tmp_path_factory):
    top = tmp_path_factory.mktemp("top")
    folder = top / "project/memories"
    folder.mkdir(parents=True)
    (top / "secret.txt").write_text("SECRET")
    (folder / "link").symlink_to(top)
    before = outside(folder)
    where = ToolContext(working_directory=top / "project")
    for arguments in uses("/".join(["/memories", *parts, "secret.txt"])):
        with suppress(ToolError):
            assert "SECRET" not in use(where, **arguments)
    assert outside(folder) == before


def test_a_race_reaches_nothing_outside(folder, project, context, monkeypatch):
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)
    (folder / "sub").mkdir()
    (folder / "sub/secret.txt").write_text("mine\n")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for step in (
                lambda: (folder / "sub").rename(folder / "aside"),
                lambda: (folder / "sub").symlink_to(project.parent / "elsewhere"),
                lambda: (folder / "sub").unlink(),
                lambda: (folder / "aside").rename(folder / "sub"),
            ):
                with suppress(OSError):
                    step()

    before = outside(folder)
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(150):
            for arguments in uses("/memories/sub/secret.txt"):
                with suppress(ToolError):
                    assert "SECRET" not in use(context, **arguments)
    finally:
        done.set()
        swapper.join()
    assert outside(folder) == before


# --- what vendors are told ------------------------------------------------------------------------


def sent(wire: VendorProvider) -> dict[str, Any]:
    agent = al.Agent(provider=Scripted(), tools=as_tools([al.Memory]))
    asked = ModelRequest(messages=[user("hi")], tools=agent.tool_specs)
    told: dict[str, Any] = json.loads(wire.body(asked))
    return told


def test_claude_is_told_of_it_as_its_own_tool():
    told = sent(al.Anthropic("claude-sonnet-4-6", base_url=URL))
    validate_anthropic(told)
    assert told["tools"] == [{"type": "memory_20250818", "name": "memory"}]


def test_another_model_behind_that_format_is_told_of_a_function():
    told = sent(al.Anthropic("qwen3", base_url=URL))
    validate_anthropic(told)
    assert "input_schema" in told["tools"][0]


def test_other_vendors_are_told_of_a_function_with_the_same_commands():
    chat, responses = sent(CHAT), sent(RESPONSES)
    validate_chat(chat)
    validate_responses(responses)
    for parameters in (
        chat["tools"][0]["function"]["parameters"],
        responses["tools"][0]["parameters"],
    ):
        assert parameters["properties"]["command"]["enum"] == [
            *("view", "create", "str_replace", "insert", "delete", "rename")
        ]
