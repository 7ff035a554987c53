"""What file tools may reach, and that nothing else is reached by any spelling."""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.tools import edit, files, read, write
from alloy_nb.tools.paths import locate, startup_kind

# Each makes links in the project where it needs them, and returns the path that a model would try.
ESCAPES = {
    "parent": lambda p: "../elsewhere/secret.txt",
    "parent of a missing directory": lambda p: "missing/../../elsewhere/secret.txt",
    "absolute": lambda p: str(p.parent / "elsewhere/secret.txt"),
    "absolute through the project": lambda p: f"{p}/../elsewhere/secret.txt",
    "sibling with the same prefix": lambda p: f"{p}-secrets/secret.txt",
    "two slashes": lambda p: f"/{p.parent}/elsewhere/secret.txt",
    "system file": lambda p: "/etc/hostname",
    "home": lambda p: "~/secret.txt",
    "link to a file": lambda p: _link(p / "link", "../elsewhere/secret.txt"),
    "absolute link": lambda p: _link(p / "link", str(p.parent / "elsewhere/secret.txt")),
    "link to a directory": lambda p: _link(p / "link", "../elsewhere") + "/secret.txt",
    "chain of links": lambda p: (
        _link(p / "b", "../elsewhere") and _link(p / "a", "b") + "/secret.txt"
    ),
    "dangling link": lambda p: _link(p / "link", "../elsewhere/new.txt"),
    "dangling parent": lambda p: _link(p / "link", "../elsewhere/new") + "/deep/file.txt",
    "parent of a linked directory": lambda p: (
        _link(p / "link", "../elsewhere") + "/../elsewhere/secret.txt"
    ),
    "loop of links": lambda p: _link(p / "loop", "loop"),
    "the parent itself": lambda p: "..",
}
SPECIAL = [
    "/proc/self/environ",
    "//proc/self/environ",
    "/proc/self/root/etc/passwd",
    "/work/../proc/self/environ",
    "/dev/null",
    "/dev/stdin",
    "/dev/fd/0",
    "/dev/zero",
    "/sys/kernel/notes",
]
IMPOSSIBLE = ["", "a\0b", "x" * 5000, "lone\ud800half", "/".join(["d"] * 3000), "\udcff"]


def _link(where: Path, target: str) -> str:
    where.symlink_to(target)
    return where.name


def _calls(path: str, context: ToolContext) -> list:
    return [
        lambda: read(path, context=context),
        lambda: write(path, "PWNED", context=context),
        lambda: edit(path, "SECRET", "PWNED", context=context),
    ]


def _outside(project: Path) -> dict[str, bytes]:
    found = (p for p in project.parent.rglob("*") if project not in p.parents and p.is_file())
    return {str(path): path.read_bytes() for path in found}


@pytest.fixture(params=["directory descriptors", "plain paths"])
def either_way(request, monkeypatch):
    """Run with and without directory descriptors, as on Windows."""
    monkeypatch.setattr(files, "_WALKS", request.param == "directory descriptors")


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("escape", ESCAPES)
def test_no_tool_leaves_the_working_directory(escape, project, context):
    path = ESCAPES[escape](project)
    before = _outside(project)
    for call in _calls(path, context):
        with pytest.raises(ToolError):
            call()
    assert _outside(project) == before


@pytest.mark.parametrize("path", SPECIAL)
def test_proc_dev_and_sys_are_refused_even_when_everything_is_allowed(path, context):
    for call in _calls(path, replace(context, allowed_paths=())):
        with pytest.raises(ToolError, match="stay out of /proc"):
            call()


def test_a_link_to_proc_is_refused(project, context):
    _link(project / "link", "/proc/self")
    with pytest.raises(ToolError, match="stay out of /proc"):
        read("link/environ", context=replace(context, allowed_paths=()))


@pytest.mark.parametrize("path", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_an_impossible_path_is_an_error_that_can_be_sent(path, context):
    for call in _calls(path, context):
        with pytest.raises(ToolError) as caught:
            call()
        str(caught.value).encode()


def test_the_error_names_the_path_and_says_outside(context):
    with pytest.raises(ToolError, match=r"\.\./elsewhere/secret\.txt is outside the allowed dir"):
        read("../elsewhere/secret.txt", context=context)


def test_a_path_inside_the_project_may_be_absolute(project, context):
    assert "one" in read(str(project / "notes.txt"), context=context)


def test_dots_that_stay_inside_are_followed(context):
    assert "one" in read("missing/.././notes.txt", context=context)


def test_a_link_that_stays_inside_is_followed_and_stays_a_link(project, context):
    _link(project / "link", "notes.txt")
    edit("link", "two", "2", context=context)
    assert (project / "link").is_symlink()
    assert (project / "notes.txt").read_text() == "one\n2\nthree\n"


def test_a_working_directory_behind_a_link_is_itself(project, tmp_path):
    (tmp_path / "alias").symlink_to(project)
    context = ToolContext(working_directory=tmp_path / "alias")
    assert "one" in read("notes.txt", context=context)
    assert "one" in read(str(project / "notes.txt"), context=context)


def test_an_allowed_directory_replaces_the_working_directory(project, context):
    context = replace(context, allowed_paths=(project.parent / "elsewhere",))
    assert "SECRET" in read("../elsewhere/secret.txt", context=context)
    with pytest.raises(ToolError, match="outside"):
        read("notes.txt", context=context)


def test_no_allowed_directories_allow_everything(project, context):
    context = replace(context, allowed_paths=())
    assert "SECRET" in read("../elsewhere/secret.txt", context=context)


def test_a_home_directory_is_spelled_with_a_tilde(project, monkeypatch, context):
    monkeypatch.setenv("HOME", str(project))
    assert "one" in read("~/notes.txt", context=context)


def test_writing_over_a_hard_link_leaves_the_other_name_alone(project, context):
    secret = project.parent / "elsewhere/secret.txt"
    os.link(secret, project / "hard.txt")
    edit("hard.txt", "SECRET", "mine", context=context)
    write("hard.txt", "mine too", context=context)
    assert secret.read_text() == "SECRET\n"


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit",
        ".git/config",
        ".GIT/hooks/pre-commit",
        "sub/.git/hooks/post-checkout",
        ".git",
        ".ipython/profile_default/startup/00.py",
        "conf/profile_default/startup/00.py",
        "ipython_config.py",
        "sitecustomize.py",
        "lib/usercustomize.py",
        "sitecustomize/__init__.py",
        ".alloy/settings.json",
        ".jupyter/custom/custom.js",
        "jupyter_server_config.py",
        "venv/lib/python3.12/site-packages/evil.pth",
        ".bashrc",
        "hooks/pre-commit",
        "notes.txt/../.git/hooks/pre-commit",
    ],
)
def test_files_that_run_by_themselves_are_not_written(path, project, context):
    (project / ".git/hooks").mkdir(parents=True)
    _link(project / "hooks", ".git/hooks")
    with pytest.raises(ToolError, match="was not written"):
        write(path, "#!/bin/sh\n", context=context)


def test_a_link_called_git_counts_as_git(project, context):
    (project / "store/hooks").mkdir(parents=True)
    _link(project / ".git", "store")
    with pytest.raises(ToolError, match="git runs hooks"):
        write(".git/hooks/pre-commit", "", context=context)


def test_startup_files_are_written_where_the_agent_allows_it(project, context):
    context = replace(context, values={"allow_startup_files": True})
    write("sitecustomize.py", "", context=context)
    assert (project / "sitecustomize.py").exists()


def test_startup_files_may_be_read(project, context):
    (project / "sitecustomize.py").write_text("import this\n")
    assert "import this" in read("sitecustomize.py", context=context)


@pytest.mark.parametrize("path", ["src/git/hooks.py", "model.pth", "profile.py", ".gitignore"])
def test_ordinary_files_with_similar_names_are_ordinary(path):
    assert startup_kind(path.split("/")) is None


def test_a_link_put_in_after_the_look_leads_nowhere(project, context):
    (project / "sub").mkdir()
    (project / "sub/secret.txt").write_text("mine\n")
    place = locate("sub/secret.txt", context)
    (project / "sub").rename(project / "gone")
    (project / "sub").symlink_to("../elsewhere")
    with pytest.raises(OSError), files.folder_of(place):
        pass


def _race(project: Path, context: ToolContext, rounds: int) -> set[str]:
    """Use files while a directory and a file keep turning into links; return what was read."""
    outside = project.parent / "elsewhere"
    (project / "sub").mkdir()
    (project / "sub/secret.txt").write_text("mine\n")
    (project / "file.txt").write_text("mine\n")
    done = threading.Event()

    def swap() -> None:
        steps = [
            # A write may make the directory that is missing for a moment.
            lambda: (project / "aside").exists() and shutil.rmtree(project / "sub"),
            lambda: (project / "sub").rename(project / "aside"),
            lambda: (project / "sub").symlink_to(outside),
            lambda: (project / "spare").symlink_to(outside / "secret.txt"),
            lambda: os.replace(project / "spare", project / "file.txt"),
            lambda: (project / "sub").unlink(),
            lambda: (project / "aside").rename(project / "sub"),
            lambda: (project / "spare").write_text("mine\n"),
            lambda: os.replace(project / "spare", project / "file.txt"),
        ]
        while not done.is_set():
            for step in steps:
                with suppress(OSError):
                    step()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        for count in range(rounds):
            for path in ("sub/secret.txt", "file.txt", f"sub/new{count % 7}.txt"):
                for call in _calls(path, context):
                    try:
                        seen.add(str(call()))
                    except ToolError:
                        seen.add("refused")
    finally:
        done.set()
        swapper.join()
    return seen


@pytest.fixture
def without_waiting_for_the_disk(monkeypatch):
    """Let a round take microseconds; what survives a power cut is of no interest here."""
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)


def _assert_no_escape(project: Path, context: ToolContext, rounds: int) -> None:
    before = _outside(project)
    seen = _race(project, context, rounds)
    assert _outside(project) == before
    assert not any("SECRET" in text for text in seen)
    assert "refused" in seen, "the race never met a link, so it proved nothing"


@pytest.mark.usefixtures("without_waiting_for_the_disk")
def test_a_race_reaches_nothing_outside(project, context):
    _assert_no_escape(project, context, 2_000 if os.environ.get("ALLOY_TEST_FULL") else 200)
