"""`write` replaces a file as a whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from alloy_nb.errors import ToolError
from alloy_nb.tools import files, write


def test_a_new_file_is_written_with_its_directories(project, context):
    output = write("a/b/c.txt", "žluť\n", context=context)
    assert (project / "a/b/c.txt").read_bytes() == "žluť\n".encode()
    assert output.content == "Wrote 7 bytes to a/b/c.txt"


def test_the_program_is_told_path_digest_and_diff(project, context):
    before = hashlib.sha256((project / "notes.txt").read_bytes()).hexdigest()
    data = write("notes.txt", "one\n2\nthree\n", context=context).data
    assert data["path"] == str(project / "notes.txt")
    assert data["before"] == before
    assert data["diff"] == (
        "--- notes.txt\n+++ notes.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
    )


def test_a_new_file_has_no_digest_before(context):
    data = write("new.txt", "x", context=context).data
    assert data["before"] is None
    assert data["diff"] == (
        "--- /dev/null\n+++ new.txt\n@@ -0,0 +1,1 @@\n+x\n\\ No newline at end of file\n"
    )


def test_the_mode_of_an_existing_file_stays(project, context):
    (project / "notes.txt").chmod(0o751)
    write("notes.txt", "x", context=context)
    assert stat.S_IMODE((project / "notes.txt").stat().st_mode) == 0o751


def test_the_mode_of_a_new_file_follows_the_umask(project, context):
    old = os.umask(0o027)
    try:
        write("new.txt", "x", context=context)
    finally:
        os.umask(old)
    assert stat.S_IMODE((project / "new.txt").stat().st_mode) == 0o640


def test_line_ends_are_written_as_given(project, context):
    write("a", "x\r\ny\n", context=context)
    assert (project / "a").read_bytes() == b"x\r\ny\n"


def test_a_parent_that_is_a_file_is_said_to_be_in_the_way(context):
    with pytest.raises(ToolError, match=r"^Cannot create directory .*notes\.txt"):
        write("notes.txt/x", "y", context=context)


@pytest.mark.parametrize("path", [".", "folder"])
def test_a_directory_is_not_overwritten(path, project, context):
    (project / "folder").mkdir()
    with pytest.raises(ToolError, match=r"^Cannot write .* directory"):
        write(path, "x", context=context)


def test_a_named_pipe_is_not_overwritten(project, context):
    os.mkfifo(project / "pipe")
    with pytest.raises(ToolError, match="it is a named pipe"):
        write("pipe", "x", context=context)
    assert (project / "pipe").is_fifo()


def test_a_full_disk_leaves_the_old_file_and_no_other(project, context, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ToolError, match=r"Cannot write notes\.txt: no space left on device"):
        write("notes.txt", "x" * 100, context=context)
    assert [path.name for path in project.iterdir()] == ["notes.txt"]
    assert (project / "notes.txt").read_text() == "one\ntwo\nthree\n"


def test_a_read_only_file_is_not_replaced_by_a_rename(project, context, monkeypatch):
    monkeypatch.setattr(files.os, "access", lambda *_, **__: False)  # root may write anything
    with pytest.raises(ToolError, match="it is read-only"):
        write("notes.txt", "x", context=context)


def test_nothing_is_left_beside_the_file(project, context):
    write("notes.txt", "x", context=context)
    assert [path.name for path in project.iterdir()] == ["notes.txt"]


def test_half_a_surrogate_pair_changes_nothing(project, context):
    with pytest.raises(ToolError, match="unpaired surrogate"):
        write("notes.txt", "\ud83d", context=context)
    assert (project / "notes.txt").read_text() == "one\ntwo\nthree\n"


def test_the_diff_is_bounded(project, context):
    write("a", "".join(f"{n}\n" for n in range(50_000)), context=context)
    diff = write("a", "".join(f"{n}!\n" for n in range(50_000)), context=context).data["diff"]
    assert len(diff) < 21_000
    assert diff.rstrip().endswith("characters of the diff left out]")


def test_replacing_binary_data_is_fine(project, context):
    (project / "a").write_bytes(bytes(range(256)))
    data = write("a", "text\n", context=context).data
    data["diff"].encode()
    assert (project / "a").read_text() == "text\n"


def test_a_person_is_asked_about_the_path_and_all_of_the_content():
    subject = write.subject_of({"file_path": "a.py", "content": "x\n" * 30_000 + "rm\n"})
    assert subject.startswith("--- /dev/null\n+++ a.py\n")
    assert subject.count("\n+") == 30_002
    assert subject.endswith("+rm\n")


@pytest.mark.parametrize("path", ["a\n+++ b", "a\u202eb"])
def test_a_path_cannot_disguise_itself_in_the_question(path):
    subject = write.subject_of({"file_path": path, "content": "x"})
    assert path not in subject
    assert subject.splitlines()[1].startswith('+++ "a\\')


def test_the_question_is_asked_even_about_a_malformed_call():
    assert write.subject_of({"content": 3})


def test_writing_asks_first():
    assert write.risk == "write"


def test_without_directory_descriptors_it_works_the_same(project, context, monkeypatch):
    monkeypatch.setattr(files, "_WALKS", False)
    write("a/b.txt", "x", context=context)
    write("a/b.txt", "y", context=context)
    assert Path(project / "a/b.txt").read_text() == "y"
