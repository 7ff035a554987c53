"""`edit` changes what was asked for and no other byte."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alloy_nb.engine.calls.tool import ToolContext
from alloy_nb.errors import ToolError
from alloy_nb.tools import edit, files


def test_the_one_occurrence_is_replaced(project, context):
    output = edit("notes.txt", "two", "2", context=context)
    assert (project / "notes.txt").read_text() == "one\n2\nthree\n"
    assert output.content == "Edited notes.txt"
    assert output.data["diff"].endswith("@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("four", "4", "^No match found"),
        ("e\n", "E\n", "ambiguous: it occurs 2 times"),
        ("", "x", "old_string is empty"),
        ("one", "one", "are the same"),
        ("one", "\ud800", "unpaired surrogate"),
    ],
)
def test_an_edit_that_cannot_be_made_leaves_the_file_untouched(old, new, message, project, context):
    before = (project / "notes.txt").stat()
    with pytest.raises(ToolError, match=message):
        edit("notes.txt", old, new, context=context)
    after = (project / "notes.txt").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_replace_all_replaces_every_occurrence(project, context):
    output = edit("notes.txt", "e\n", "E\n", replace_all=True, context=context)
    assert (project / "notes.txt").read_text() == "onE\ntwo\nthreE\n"
    assert output.content == "Edited notes.txt in 2 places"


@pytest.mark.parametrize("path", ["missing.txt", "missing/file.txt", "."])
def test_a_missing_file_cannot_be_read(path, context):
    with pytest.raises(ToolError, match=r"^Cannot read"):
        edit(path, "a", "b", context=context)


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb", "x\ny", b"x\r\ny\r\nc\r\n"),
        (b"a\r\nb\r\n", "b", "b\nc", b"a\r\nb\r\nc\r\n"),
        (b"a\r\nb\r\n", "\nb", "\nc", b"a\r\nc\r\n"),
        (b"a\r\nb\r\n", "a\r\nb", "x\r\ny", b"x\r\ny\r\n"),
        (b"a\nb\r\nc\n", "b\nc", "x\ny", b"a\nx\r\ny\n"),
        (b"a\nb\r\nc\n", "a\nb", "x\ny", b"x\ny\r\nc\n"),
        (b"a\nb\n", "a\nb", "x\ny", b"x\ny\n"),
        (b"\xef\xbb\xbfa\n", "a\n", "b\n", b"\xef\xbb\xbfb\n"),
        (b"caf\xe9 = 1\n", "= 1", "= 2", b"caf\xe9 = 2\n"),
        (b"\x00\xff\x80x\xfe", "x", "yz", b"\x00\xff\x80yz\xfe"),
        ("\ufeffaž\n".encode("utf-16-le"), "až", "bš", "\ufeffbš\n".encode("utf-16-le")),
        ("\ufeffaž\n".encode("utf-16-be"), "až", "bš", "\ufeffbš\n".encode("utf-16-be")),
        (b"a\x0cb\x0b\xe2\x80\xa8c", "c", "d", b"a\x0cb\x0b\xe2\x80\xa8d"),
        (b"no newline at end", "end", "END", b"no newline at END"),
    ],
)
def test_line_ends_marks_and_encodings_stay(before, old, new, after, project, context):
    (project / "a").write_bytes(before)
    edit("a", old, new, context=context)
    assert (project / "a").read_bytes() == after


def test_a_file_that_is_not_utf8_takes_only_ascii(project, context):
    (project / "a").write_bytes(b"caf\xe9 x")
    with pytest.raises(ToolError, match="not in UTF-8"):
        edit("a", "x", "ž", context=context)
    assert (project / "a").read_bytes() == b"caf\xe9 x"


def test_the_mode_stays(project, context):
    (project / "notes.txt").chmod(0o700)
    edit("notes.txt", "one", "1", context=context)
    assert stat.S_IMODE((project / "notes.txt").stat().st_mode) == 0o700


def test_a_file_that_changed_meanwhile_is_not_overwritten(project, context, monkeypatch):
    def slow(*args, **kwargs):
        (project / "notes.txt").write_text("saved by somebody else")
        return original(*args, **kwargs)

    original = files.os.fsync
    monkeypatch.setattr(files.os, "fsync", slow)
    with pytest.raises(ToolError, match="changed while it was being edited"):
        edit("notes.txt", "one", "1", context=context)
    assert (project / "notes.txt").read_text() == "saved by somebody else"
    assert [path.name for path in project.iterdir()] == ["notes.txt"]


def test_edits_side_by_side_are_all_made(project, context):
    (project / "a").write_text("".join(f"<{n}>" for n in range(30)))
    threads = [
        threading.Thread(target=edit, args=("a", f"<{n}>", "."), kwargs={"context": context})
        for n in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (project / "a").read_text() == "." * 30


def test_a_huge_file_is_left_to_other_means(project, context):
    with open(project / "huge", "wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ToolError, match="over 32 MB"):
        edit("huge", "a", "b", context=context)


def test_a_person_is_asked_about_the_path_and_all_of_both_texts():
    old = "".join(f"{n}\n" for n in range(3000))
    call = {"file_path": "a.py", "old_string": old, "new_string": old + "rm"}
    subject = edit.subject_of(call | {"replace_all": True})
    assert subject.startswith("--- a.py (every occurrence)\n")
    assert all(f"\n {n}\n" in subject or f"\n-{n}\n" in subject for n in range(3000))
    assert subject.endswith("+rm\n\\ No newline at end of file\n")


def test_editing_asks_first():
    assert edit.risk == "write"


# The ordinary run takes a part of them, since they take minutes on a busy machine.
FILES = 10_000 if os.environ.get("ALLOY_TEST_FULL") == "1" else 2_000
# Thousands of files need not wait for a disk, where the machine has a directory in memory.
_IN_MEMORY = next((name for name in ["/dev/shm"] if Path(name).is_dir()), None)
_PIECES = st.one_of(st.binary(max_size=30), st.sampled_from([b"\n", b"\xef\xbb\xbf", b"\xc3"]))


def _check(head: bytes, tail: bytes, old: str, new: str) -> None:
    """Edit a file in which `old` occurs once, and compare every byte around it."""
    before = head + old.encode() + tail
    assume(before.count(old.encode()) == 1 and old != new)
    # UTF-16 has its own test; CRLF files translate newlines on purpose.
    assume(not before.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\r" not in before)
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as folder:
        path = Path(folder) / "file"
        path.write_bytes(before)
        context = ToolContext(working_directory=Path(folder))
        try:
            edit("file", old, new, context=context)
        except ToolError as error:
            # Bytes that are not UTF-8 may hide or forbid a match; then nothing may have changed.
            assert "No match" in str(error) or "not in UTF-8" in str(error)
            assert path.read_bytes() == before
        else:
            assert path.read_bytes() == head + new.encode() + tail


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)
_EDITS = {
    "head": st.lists(_PIECES, max_size=5).map(b"".join),
    "tail": st.lists(_PIECES, max_size=5).map(b"".join),
    "old": _TEXTS.filter(bool),
    "new": _TEXTS,
}


@settings(max_examples=150, deadline=None)
@given(**_EDITS)
def test_bytes_outside_of_the_match_never_change(head, tail, old, new):
    _check(head, tail, old, new)


@pytest.mark.slow
@settings(max_examples=FILES, deadline=None)
@given(**_EDITS)
def test_bytes_outside_of_the_match_never_change_in_thousands_of_files(head, tail, old, new):
    _check(head, tail, old, new)
