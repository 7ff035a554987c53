"""`read` shows any file within bounds, and never waits for one."""

from __future__ import annotations

import os
import socket
import sys
import time

import pytest

from alloy_nb.errors import ToolError
from alloy_nb.tools import read

MOST = 300_000


def test_lines_are_numbered_from_one_with_a_tab(context):
    assert read("notes.txt", context=context) == "     1\tone\n     2\ttwo\n     3\tthree\n"


def test_a_last_line_without_newline_is_a_line(project, context):
    (project / "a").write_text("x\ny")
    assert read("a", context=context) == "     1\tx\n     2\ty\n"


def test_a_page_begins_at_offset_and_says_what_follows(project, context):
    (project / "a").write_text("".join(f"l{n}\n" for n in range(1, 11)))
    page = read("a", offset=3, limit=2, context=context)
    assert page == (
        "     3\tl3\n     4\tl4\n"
        "[6 more lines, 19 of 31 bytes, were left out; read on with offset=5]\n"
    )


def test_reading_on_at_the_named_offset_misses_nothing(project, context):
    (project / "a").write_text("".join(f"{n}\n" for n in range(5000)))
    pages = [read("a", offset=o, context=context) for o in (1, 2001, 4001)]
    lines = [ln.split("\t")[1] for p in pages for ln in p.splitlines() if "\t" in ln]
    assert lines == [str(n) for n in range(5000)]
    assert [p.count("left out") for p in pages] == [1, 1, 0]


def test_the_number_column_grows_with_the_last_number(project, context):
    (project / "a").write_bytes(b"\n" * 1_000_000)
    page = read("a", offset=999_999, context=context)
    assert page == " 999999\t\n1000000\t\n"


@pytest.mark.parametrize("offset", [4, 5, 100])
def test_past_the_end_there_is_nothing(offset, context):
    assert read("notes.txt", offset=offset, context=context) == ""


def test_an_empty_file_is_empty(project, context):
    (project / "a").touch()
    assert read("a", context=context) == ""


def test_crlf_and_byte_order_mark_are_not_shown(project, context):
    (project / "a").write_bytes(b"\xef\xbb\xbfx\r\ny\r\n")
    assert read("a", context=context) == "     1\tx\n     2\ty\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_with_a_byte_order_mark_is_text(encoding, project, context):
    (project / "a").write_bytes("\ufeffžluť\nx\n".encode(encoding))
    assert read("a", context=context).endswith("žluť\n     2\tx\n")


def test_bytes_that_are_not_utf8_are_replaced(project, context):
    (project / "a").write_bytes(b"caf\xe9\n")
    assert read("a", context=context) == "     1\tcaf\ufffd\n"


@pytest.mark.parametrize("path", ["missing.txt", ".", "missing/file", "notes.txt/file"])
def test_what_is_no_file_is_said_to_be_none(path, context):
    with pytest.raises(ToolError, match="does not exist or is not a readable file"):
        read(path, context=context)


def test_a_named_pipe_is_refused_at_once(project, context):
    os.mkfifo(project / "pipe")
    with pytest.raises(ToolError, match="it is a named pipe"):
        read("pipe", context=context)


def test_a_socket_is_refused(project, context, monkeypatch):
    monkeypatch.chdir(project)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(ToolError, match="it is a socket"):
            read("s", context=context)


def test_a_long_line_is_cut_with_a_note_of_how_much(project, context):
    (project / "a").write_bytes(b"x" * 50_000_000 + b"\nnext\n")
    page = read("a", context=context)
    assert page.endswith("x [line cut: 49,998,000 more bytes]\n     2\tnext\n")
    assert len(page) < 2_100


@pytest.mark.parametrize("char", ["é", "语", "🙂"])
def test_a_cut_never_splits_a_character(char, project, context):
    (project / "a").write_text(char * 30_000)
    page = read("a", context=context)
    assert page.startswith(f"     1\t{char * 2000} [line cut: ")
    assert f"{len(char.encode()) * 28_000:,} more" in page


def test_a_page_is_bounded_in_bytes(project, context):
    (project / "a").write_text(("y" * 1900 + "\n") * 2000)
    page = read("a", context=context)
    assert len(page) < MOST
    assert "left out" in page


def test_a_sparse_ten_gigabyte_file_takes_no_time(project, context):
    with open(project / "huge", "wb") as file:
        file.write(b"text\n" * 3000)
        file.truncate(10 * 2**30)
    start = time.monotonic()
    page = read("huge", context=context)
    assert time.monotonic() - start < 3
    assert len(page) < MOST
    assert "more lines, 10,737,408,240 of 10,737,418,240 bytes" in page


def test_a_line_too_far_away_is_an_error_that_says_so(project, context, monkeypatch):
    monkeypatch.setattr(sys.modules["alloy_nb.tools.read"], "_SECONDS", 0.2)
    with open(project / "huge", "wb") as file:
        file.write(b"text\n" * 3000)
        file.truncate(500 * 2**30)
    start = time.monotonic()
    with pytest.raises(ToolError, match="too far to reach"):
        read("huge", offset=10**9, context=context)
    assert time.monotonic() - start < 3


def test_binary_data_is_described_and_not_dumped(project, context):
    (project / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100)
    answer = read("a.png", context=context)
    assert "a.png is a PNG image of 25,608 bytes, not text" in answer
    assert len(answer) < 300


def test_a_model_may_leave_offset_and_limit_out(context):
    assert read.input_schema["required"] == ["file_path"]
    assert "one" in read.bind({"file_path": "notes.txt"}, context)()


def test_reading_runs_unasked():
    assert read.risk == "read"
