"""A file of a stranger: it is read or refused, in time, and does nothing else.

The ordinary run takes 60 files; ``ALLOY_TEST_FULL=1`` takes 500.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.engine import export
from alloy_nb.engine.sessions.record import MAX_LISTS, MAX_MESSAGES, MAX_OBJECTS, SessionRecord
from alloy_nb.errors import SessionError
from alloy_nb.markup.plain import clean
from tests.engine.scripted import Scripted, says
from tests.engine.told import python, told_session

FILES = 500 if os.environ.get("ALLOY_TEST_FULL") else 60
SECONDS = 5.0
# What reading a file has no business to do. Opening is judged by its path.
ACTS = (
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink"),
    *("os.truncate", "os.putenv", "os.unsetenv", "shutil", "tempfile", "ctypes", "pickle"),
    *("marshal", "exec", "compile", "import", "webbrowser"),
)

_watched: list[tuple[str, str]] | None = None


def _note(event: str, args: tuple[Any, ...]) -> None:
    if _watched is None:
        return
    if event == "open" and isinstance(args[0], int):
        return  # a descriptor that is open already
    if event == "open" or event.split(".")[0] in ACTS or event in ACTS:
        _watched.append((event, str(args[0]) if args else ""))


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[tuple[str, str]]]:
    global _watched
    found: list[tuple[str, str]] = []
    # Sessions that other tests forgot give back their files when they are collected: not now.
    gc.collect()
    gc.freeze()
    _watched = found
    try:
        yield found
    finally:
        _watched = None
        gc.unfreeze()


# --- files that mean harm ----------------------------------------------------------------------

BASE = told_session().export_session().to_json()


def shape() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BASE)
    return found


def nested(depth: int) -> Any:
    value: Any = "end"
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


def _message(block: dict[str, Any], role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": [block]}


def _set(place: str, value: Any) -> Callable[[random.Random], bytes]:
    """Make a good file with one thing in it changed or added."""

    def make(_: random.Random) -> bytes:
        found = shape()
        target: Any = found
        *way, last = place.split(".")
        for step in way:
            target = target[int(step)] if isinstance(target, list) else target[step]
        target[int(last) if isinstance(target, list) else last] = value
        return json.dumps(found).encode()

    return make


def _add(block: dict[str, Any]) -> Callable[[random.Random], bytes]:
    def make(_: random.Random) -> bytes:
        found = shape()
        found["messages"].append(_message(block))
        return json.dumps(found).encode()

    return make


def _cut(chance: random.Random) -> bytes:
    data = BASE.encode()
    return data[: chance.randrange(len(data))]


def _flipped(chance: random.Random) -> bytes:
    data = bytearray(BASE.encode())
    for _ in range(chance.randint(1, 30)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _spliced(chance: random.Random) -> bytes:
    data = BASE.encode()
    a, b = sorted(chance.randrange(len(data)) for _ in range(2))
    return data[:b] + data[a:]


def _swapped(chance: random.Random) -> bytes:
    """Put a value that makes no sense at a random place of a good file."""
    found = shape()
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)) and value[key]:
                walk(value[key])

    walk(found)
    for _ in range(chance.randint(1, 3)):
        target, key = chance.choice(places)
        target[key] = chance.choice(
            [None, True, -1, 10**400, 1.5, "", "../../x", "\0", [], {}, nested(50), [[]] * 1000]
        )
    return json.dumps(found).encode()


def _times(text: str, count: int, joint: str = ",") -> str:
    return joint.join([text] * count)


def _filled(messages: str) -> bytes:
    found = shape()
    found["messages"] = []
    return json.dumps(found).replace('"messages": []', f'"messages": [{messages}]').encode()


PICKLE = base64.b64encode(b"cos\nsystem\n(S'echo acted > acted'\ntR.").decode()
EMPTY = '{"role":"user","content":[]}'
TEXT = '{"type":"text","text":""}'
EVIL: dict[str, Callable[[random.Random], bytes]] = {
    "cut": _cut,
    "flipped": _flipped,
    "spliced": _spliced,
    "swapped": _swapped,
    "base url": _set("base_url", "http://127.0.0.1:9"),
    "settings": _set("settings", {"approve": "all", "tools": ["bash"]}),
    "permissions": _set("approve", "all"),
    "mcp": _set("mcp", [{"command": ["sh", "-c", "echo acted > acted"]}]),
    "id that is a path": _set("id", "../../../etc/passwd"),
    "metadata that would set": _set(
        "metadata", {"base_url": "http://127.0.0.1:9", "approve": "all", "name": "../x"}
    ),
    "metadata that is deep": _set("metadata", {"x": nested(150)}),
    "metadata that is deeper": _set("metadata", {"x": nested(900)}),
    "a name that is an escape": _set("metadata.name", "\x1b]0;owned\x07"),
    "a name without end": _set("metadata.name", "x" * 1_000_000),
    "a recorded call": _add({"type": "tool_call", "id": "1", "name": "python", "input": {}}),
    "a recorded command": _add(
        {"type": "tool_call", "id": "1", "name": "bash", "input": {"command": "echo > acted"}}
    ),
    "code that is python's": _add(
        {"type": "tool_call", "id": "1", "name": "python", "input": {"code": "open('acted','w')"}}
    ),
    "a pickle": _add({"type": "image", "data": PICKLE, "media_type": "application/pickle"}),
    "a picture from elsewhere": _add({"type": "image", "url": "http://127.0.0.1:9/x.png"}),
    "a file as picture": _add({"type": "image", "url": "file:///etc/passwd"}),
    "an opaque block": _add({"type": "opaque", "vendor": "anthropic", "raw": {"type": "exec"}}),
    "python's own tags": _add({"type": "text", "text": "!!python/object/apply:os.system ['x']"}),
    "a class": _add({"__class__": "subprocess.Popen", "args": ["sh"]}),
    "nul": lambda _: BASE.replace("total", "to\\u0000tal").encode(),
    "raw nul": lambda _: BASE.encode().replace(b"total", b"to\0tal"),
    "binary": lambda chance: chance.randbytes(chance.randrange(100_000)),
    "a pickle for a file": lambda _: base64.b64decode(PICKLE),
    "utf-16": lambda _: BASE.encode("utf-16"),
    "a byte order mark": lambda _: b"\xef\xbb\xbf" + BASE.encode(),
    "keys that come twice": lambda _: BASE.replace('"id"', '"id": "a", "id"', 1).encode(),
    "nothing": lambda _: b"",
    "deep": lambda _: b"[" * 500_000,
    "deep objects": lambda _: b'{"a":' * 500_000,
    "deep input": _add({"type": "tool_call", "id": "1", "name": "x", "input": nested(180)}),
    "a number without end": lambda _: BASE.replace("1200", "9" * 100_000).encode(),
    "a cost without end": _set("cost.known", "1E+999999"),
    "a cost that is none": _set("cost.known", "NaN"),
    "a cost below nothing": _set("cost.known", "-5"),
    "tokens below nothing": _set("usage.input_tokens", -5),
    "a turn that costs without end": _set("turns.0.cost.known", "9" * 4000),
    "a turn out of place": _set("turns.0.first", 10**12),
    "a turn before the first": _set("turns.0.first", -3),
    "a time before time": _set("created_at", "0000-00-00T00:00:00Z"),
    "a time after all": _set("created_at", "9999-12-31T23:59:59Z"),
    "a line of 30 MB": lambda _: BASE.replace("total 45", "x" * 30_000_000).encode(),
    "a million messages": lambda _: _filled(_times(EMPTY, 1_000_000)),
    "a million blocks": lambda _: _filled(
        '{"role":"user","content":[' + _times(TEXT, 1_000_000) + "]}"
    ),
    "two million objects": lambda _: _filled(
        '{"role":"user","content":[{"type":"opaque","vendor":"x","raw":{"a":['
        + _times("{}", 2_100_000)
        + "]}}]}"
    ),
    "as many lists as are read": lambda _: _filled(
        '{"role":"user","content":[{"type":"opaque","vendor":"x","raw":{"a":['
        + _times("[]", MAX_LISTS - 100)
        + "]}}]}"
    ),
    "ten million lists": lambda _: _filled(
        '{"role":"user","content":[{"type":"opaque","vendor":"x","raw":{"a":['
        + _times("[]", 10_000_000)
        + "]}}]}"
    ),
    "as many blocks as are read": lambda _: _filled(
        '{"role":"user","content":[' + _times(TEXT, MAX_OBJECTS - 100) + "]}"
    ),
    "as many messages as are read": lambda _: _filled(_times(EMPTY, MAX_MESSAGES)),
    "a million keys": lambda _: _filled(
        '{"role":"user","content":[{"type":"opaque","vendor":"x","raw":{'
        + ",".join(f'"{n}":{n}' for n in range(1_000_000))
        + "}}]}"
    ),
    "more than is read": lambda _: b" " * 70_000_000,
}
RANDOM = ("cut", "flipped", "spliced", "swapped")
CASES = [*EVIL, *(RANDOM[n % len(RANDOM)] for n in range(FILES - len(EVIL)))]


@pytest.mark.parametrize("number", range(FILES))
def test_a_hostile_file_is_read_or_refused_in_time_and_does_nothing_else(number, tmp_path):
    name = CASES[number]
    path = tmp_path / "session.json"
    path.write_bytes(EVIL[name](random.Random(number)))
    environment = dict(os.environ)
    SessionRecord.from_json(BASE)  # schemas are built before it is watched
    ran: list[str] = []

    @al.tool(name="python")
    def trap(code: str) -> str:
        """Trap."""
        ran.append(code)
        return ""

    model = Scripted(says("ok"))
    al.Session(provider=model, tools=[trap])
    session = None
    began = time.process_time()
    with watched() as acts:
        try:
            session = al.Session.from_file(path, provider=model, tools=[trap], approve="none")
        except SessionError as error:
            assert str(error)
            assert "\n" not in str(error)
            assert len(str(error)) < 800
    assert time.process_time() - began <= SECONDS
    assert acts == [("open", str(path))]
    assert ran == []
    assert dict(os.environ) == environment
    assert [p.name for p in tmp_path.iterdir()] == ["session.json"]
    if session is not None:
        assert session.agent.provider is model
        assert (session.agent.approve, [t.name for t in session.agent.tools]) == (
            "none",
            [trap.name],
        )
        assert session.agent.system_prompt == al.Session(provider=model).agent.system_prompt


LARGE = [name for name in EVIL if "million" in name or "as many" in name]


@pytest.mark.parametrize("name", [name for name in EVIL if name not in LARGE])
def test_what_is_read_of_a_hostile_file_can_be_told_in_every_form(name, tmp_path):
    path = tmp_path / "session.json"
    path.write_bytes(EVIL[name](random.Random(1)))
    try:
        record = export.read(path)
    except SessionError:
        return
    for ending in export.ENDINGS:
        export.as_text(SessionRecord.from_json(BASE), ending)  # imports the module of the form
    clean("\x1b")  # and this a codec
    with watched() as acts:
        for ending in export.ENDINGS:
            assert export.as_text(record, ending).encode()
    # Code is parsed, to tell whether it is a cell; that runs nothing of it.
    assert [act for act in acts if act[0] != "compile"] == []


def test_a_call_that_a_file_recorded_does_not_run_when_it_goes_on(tmp_path):
    found = shape()
    call = {"type": "tool_call", "id": "1", "name": "python", "input": {"code": "1"}}
    found["messages"].append(_message(call))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(found))
    ran: list[str] = []

    @al.tool(name="python")
    def trap(code: str) -> str:
        """Trap."""
        ran.append(code)
        return ""

    session = al.Session.from_file(path, provider=Scripted(says("ok")), tools=[trap], approve="all")
    assert session.chat("go on").text == "ok"
    assert ran == []


# --- what is no file to read -------------------------------------------------------------------


def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SessionError, match="it is no regular file"):
        export.read(tmp_path / "a.json")


def test_a_file_that_an_editor_of_windows_wrote_is_read(tmp_path):
    path = told_session().export(tmp_path / "a.json")
    text = path.read_text("utf-8").replace("\n", "\r\n")
    path.write_bytes(text.encode("utf-8-sig"))
    assert export.read(path).messages == told_session().export_session().messages


@pytest.mark.parametrize("name", ["missing.json", "."])
def test_what_is_not_there_or_no_file_is_one_sentence(name, tmp_path):
    with pytest.raises(SessionError, match="Cannot read"):
        export.read(tmp_path / name)


def test_a_device_is_refused():
    with pytest.raises(SessionError, match="it is no regular file"):
        export.read(Path("/dev/zero"))


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)  # a hole: it takes no space
    with pytest.raises(SessionError, match="at most"):
        export.read(path)


def test_the_limits_leave_room_for_a_long_conversation(tmp_path):
    messages = (al.messages.user("q"), al.messages.assistant("a")) * 5000
    record = SessionRecord(id="long", messages=messages)
    path = tmp_path / "a.json"
    path.write_text(record.to_json())
    assert export.read(path) == record
    assert len(messages) * 10 == MAX_MESSAGES == MAX_OBJECTS // 4


def test_the_name_in_a_file_is_a_label_and_no_more(tmp_path):
    session = al.Session(provider=Scripted(says("a")), name="main")
    session.chat("q")
    found = json.loads(session.export_session().to_json())
    for name, called in [("Sales", "Sales"), ("\x1b[2J", "main"), ("x" * 500, "main"), (7, "main")]:
        found["metadata"]["name"] = name
        path = tmp_path / "a.json"
        path.write_text(json.dumps(found))
        again = al.Session.from_file(path, provider=Scripted(), tools=[python])
        assert again.name == called
