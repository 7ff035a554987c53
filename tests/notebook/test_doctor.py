"""Keys are found where people keep them, never shown and never written; ``%alloy doctor``."""

import getpass
import json
import os
import sys
import types

import pytest
from IPython.core.error import StdinNotImplementedError, UsageError

from alloy_nb import secrets
from alloy_nb.engine.portal import run_sync
from alloy_nb.notebook import doctor
from alloy_nb.notebook.keychain import Keychain, literal_keys
from alloy_nb.providers import keys, provider
from tests.servers.sse import Pause, Server, html_page, loop, stream
from tests.servers.wire import Call, Reply, Say, chat_events

CANARY = "canary-K3yThatMustNeverShow"
VARIABLE = "ANTHROPIC_API_KEY"


@pytest.fixture
def chain(monkeypatch, tmp_path):
    """A keychain that is open, in an empty folder with no key around."""
    for name in secrets.api_key_names():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    made = Keychain()
    made.open()
    yield made
    made.close()


def source():
    found = keys.found(VARIABLE)
    return found.source if found is not None else None


def value():
    found = keys.found(VARIABLE)
    return found.value if found is not None else None


# --- where keys are found ---------------------------------------------------------------------


def test_the_environment_goes_before_the_file(chain, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(f"{VARIABLE}=from-the-file")
    assert (value(), source()) == ("from-the-file", f"{VARIABLE} in .env")
    monkeypatch.setenv(VARIABLE, "from-the-environment")
    assert (value(), source()) == ("from-the-environment", VARIABLE)


def test_the_file_never_changes_the_environment(chain, tmp_path):
    (tmp_path / ".env").write_text(f"{VARIABLE}=k\nPATH=/elsewhere\nANTHROPIC_BASE_URL=http://x")
    before = dict(os.environ)
    assert value() == "k"
    assert dict(os.environ) == before


def test_the_file_cannot_send_requests_elsewhere(chain, tmp_path):
    (tmp_path / ".env").write_text(f"{VARIABLE}=k\nANTHROPIC_BASE_URL=http://evil.example")
    assert provider("anthropic/claude-sonnet-4-6").base_url == "https://api.anthropic.com"


def test_a_file_that_changes_is_read_again(chain, tmp_path):
    path = tmp_path / ".env"
    path.write_text(f"{VARIABLE}=first")
    assert value() == "first"
    path.write_text(f"{VARIABLE}=second-and-longer")
    assert value() == "second-and-longer"
    path.unlink()
    assert value() is None


def test_a_file_above_is_read_up_to_the_root_of_the_repository(chain, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(f"{VARIABLE}=outside")
    root = tmp_path / "repository"
    deep = root / "notebooks" / "today"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert value() is None
    (root / ".git").mkdir()
    (root / ".env").write_text(f"{VARIABLE}=inside")
    assert value() == "inside"
    (deep / ".env").write_text(f"{VARIABLE}=nearest")
    assert value() == "nearest"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"export {VARIABLE}='quoted key'", "quoted key"),
        (f'{VARIABLE}="a#b"  # why', "a#b"),
        (f"\ufeff{VARIABLE}=k", "k"),
        (f"{VARIABLE}=${{HOME}}", "${HOME}"),
        (f"this is no line\n{VARIABLE}=k", "k"),
        (f"{VARIABLE}=", None),
        (f"{VARIABLE}", None),
        (f"#{VARIABLE}=k", None),
    ],
)
def test_the_file_is_read_as_other_programs_read_it(chain, tmp_path, capfd, text, key):
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    assert value() == key
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"A=" + b"x" * 300_000])
def test_a_file_that_cannot_be_read_is_no_file(chain, tmp_path, data):
    (tmp_path / ".env").write_bytes(data + f"\n{VARIABLE}=k".encode())
    assert value() is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(chain, tmp_path):
    os.mkfifo(tmp_path / ".env")
    assert value() is None


def test_the_keyring_comes_last_and_is_asked_once(chain, tmp_path, monkeypatch):
    asked = []
    ring = types.ModuleType("keyring")
    ring.__spec__ = types.SimpleNamespace(name="keyring")
    ring.get_password = lambda service, name: asked.append((service, name)) or "from-the-ring"
    monkeypatch.setitem(sys.modules, "keyring", ring)
    assert (value(), source()) == ("from-the-ring", f"{VARIABLE} in the keyring")
    assert asked == [("alloy_nb", VARIABLE)]
    (tmp_path / ".env").write_text(f"{VARIABLE}=from-the-file")
    assert value() == "from-the-file"


def test_a_locked_keyring_is_no_keyring(chain, monkeypatch):
    def locked(*_):
        raise RuntimeError("locked")

    ring = types.ModuleType("keyring")
    ring.__spec__ = types.SimpleNamespace(name="keyring")
    ring.get_password = locked
    monkeypatch.setitem(sys.modules, "keyring", ring)
    assert value() is None


def test_a_key_that_was_typed_goes_first_and_can_be_forgotten(chain, monkeypatch):
    monkeypatch.setenv(VARIABLE, "from-the-environment")
    chain.keep(VARIABLE, CANARY)
    assert (value(), source()) == (CANARY, "typed in this kernel")
    assert chain.forget(VARIABLE)
    assert value() == "from-the-environment"


def test_every_key_that_is_found_is_masked(chain, tmp_path):
    key = "plain-words-of-no-vendors-shape"
    (tmp_path / ".env").write_text(f"{VARIABLE}={key}")
    value()
    assert key not in secrets.redact(f"it is {key}!")


def test_the_other_keys_in_the_file_are_masked_too(chain, tmp_path):
    (tmp_path / ".env").write_text("DATABASE_PASSWORD=correct-horse-battery\nCITY=Amsterdam")
    value()
    assert secrets.redact("correct-horse-battery in Amsterdam") == "*** in Amsterdam"


def test_a_key_that_was_found_has_no_repr(chain):
    chain.keep(VARIABLE, CANARY)
    assert CANARY not in repr(keys.found(VARIABLE))
    assert CANARY not in repr(vars(chain))


def test_a_closed_keychain_finds_nothing(chain):
    chain.keep(VARIABLE, CANARY)
    chain.close()
    assert value() is None


# --- %alloy key -------------------------------------------------------------------------------


def typing(monkeypatch, text):
    def typed(prompt):
        if isinstance(text, BaseException):
            raise text
        return text

    monkeypatch.setattr(getpass, "getpass", typed)


def test_a_typed_key_is_used_and_never_shown(cell, monkeypatch):
    typing(monkeypatch, f" {CANARY} ")
    told = cell("%alloy key anthropic")
    assert "memory alone" in told.stdout
    assert provider("anthropic/x").key_source == "typed in this kernel"
    assert CANARY not in told.text + cell("%alloy model anthropic/claude-sonnet-4-6").text
    shown = cell("%alloy").stdout
    assert "typed in this kernel" in shown
    assert CANARY not in shown
    assert "forgotten" in cell("%alloy key anthropic forget").stdout
    assert not provider("anthropic/x").has_key


@pytest.mark.parametrize("error", [StdinNotImplementedError("no"), EOFError()])
def test_where_nobody_can_type_that_is_said(cell, monkeypatch, error):
    typing(monkeypatch, error)
    ran = cell("%alloy key anthropic")
    assert isinstance(ran.error, UsageError)
    assert f"Set {VARIABLE} in the environment" in ran.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "Nothing was typed"), ("two words", "no key has"), ("kéy", "no key has")],
)
def test_what_is_no_key_is_not_kept(cell, monkeypatch, text, told):
    typing(monkeypatch, text)
    assert told in cell("%alloy key anthropic").stderr
    assert not provider("anthropic/x").has_key


def test_a_key_in_the_command_itself_is_refused(cell):
    assert "does not belong into a cell" in cell("%alloy key anthropic sk-abc").stderr


def test_a_vendor_that_is_unknown_or_needs_no_key_is_told(cell):
    assert "There is no vendor antropic" in cell("%alloy key antropic").stderr
    assert "ollama needs no key" in cell("%alloy key ollama").stderr
    assert "Whose key?" in cell("%alloy key").stderr


def test_a_key_in_a_cell_is_warned_of_once_and_masked(cell):
    key = "sk-ant-" + "a1B2" * 8
    cell(f"key = '{key}'")
    first = cell("%alloy hello").stdout
    assert "looks like a key (sk-…)" in first
    assert key not in first
    assert "looks like a key" not in cell("%alloy hello again").stdout


def test_of_a_key_without_a_vendors_beginning_nothing_is_shown(chain):
    chain.keep(VARIABLE, CANARY)
    [told] = literal_keys([(7, f"key = '{CANARY}'")])
    assert told.startswith("In[7] holds what looks like a key (***)")
    assert CANARY[:3] not in told


def test_cells_without_keys_are_not_warned_of():
    assert literal_keys([(1, "x = 'skate-and-other-words'"), (2, "AKIA")]) == []


# --- doctor -----------------------------------------------------------------------------------


def probe(server):
    made = provider("openai-compat/m", base_url=server.url)
    return {check.what: check for check in run_sync(doctor.probed(made))}


def test_a_model_that_answers_streams_and_calls_is_well():
    reply = [Say("one two three four five"), Call("ping", {})]
    with Server(*loop(reply, per_second=40)) as server:
        found = probe(server)
        assert [check.good for check in found.values()] == [True, True, True]
        assert "the question cost" in found["endpoint"].found
        asked = server.requests[0].json
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["ping"]
    assert asked["max_tokens"] <= 200


def test_the_question_is_tiny():
    with Server(*loop([Say("one two")])) as server:
        probe(server)
        assert len(json.dumps(server.requests[0].json)) < 600


def test_what_the_question_may_cost_is_said_before_it_is_asked():
    told = doctor.announced(provider("openai/gpt-5.4-mini", api_key="k"))
    assert told.startswith("Asking openai/gpt-5.4-mini one tiny question (about $0.0")
    assert "about" not in doctor.announced(provider("ollama/unknown-model"))


def test_an_answer_that_was_held_back_is_found():
    events = chat_events(Reply([Say("one two three four five"), Call("ping", {})]))
    whole = b"".join(events)
    with Server(stream([Pause(0.7), whole])) as server:
        check = probe(server)["streaming"]
    assert check.good is False
    assert "buffering" in check.advice


def test_a_proxy_that_drops_the_tools_is_found():
    with Server(*loop([Say("one two three")])) as server:
        check = probe(server)["tools"]
    assert check.good is False
    assert "no call came back" in check.found


def test_an_endpoint_that_is_a_web_page_is_told_in_a_sentence():
    with Server(html_page(200, "hello")) as server:
        found = probe(server)
    assert list(found) == ["endpoint"]
    assert found["endpoint"].good is False
    assert "web page" in found["endpoint"].advice


def test_doctor_shows_a_line_for_each_thing(cell):
    told = cell("%alloy doctor offline").stdout
    for what in ("python", "ipython", "key", "questions", "journal", "figures", "widgets"):
        assert what in told
    assert "not asked: offline" in told


def test_doctor_says_that_the_demo_is_a_demo_and_asks_nobody(cell):
    told = cell("%alloy doctor").stdout
    assert "a demo: scripted answers" in told


def test_doctor_asks_the_model_of_the_session_and_says_that_it_does(cell):
    with Server(*loop([Say("one two three four"), Call("ping", {})])) as server:
        cell(f"%alloy model openai-compat/m --base-url {server.url}")
        told = cell("%alloy doctor").stdout
        assert len(server.requests) == 1
    assert "one tiny question" in told
    assert "a call came back" in told
    assert cell("%alloy history").stdout.count("ping") == 0


def test_doctor_finds_that_a_key_is_missing(cell, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cell("%alloy model anthropic/claude-sonnet-4-6")
    told = cell("%alloy doctor offline").stdout
    assert "%alloy key anthropic" in told
    assert "to put right" in told


def test_doctor_never_shows_a_key(cell, monkeypatch):
    monkeypatch.setenv(VARIABLE, CANARY)
    cell("%alloy model anthropic/claude-sonnet-4-6")
    told = cell("%alloy doctor offline").stdout
    assert VARIABLE in told
    assert CANARY not in told


def test_doctor_finds_a_key_in_a_cell(cell):
    cell("key = 'sk-ant-" + "a1B2" * 8 + "'")
    assert "let the vendor void the key" in cell("%alloy doctor offline").stdout


def test_doctor_finds_a_folder_that_cannot_be_written(cell, shell, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = doctor._journal(shell, "on", keeps=True)
    assert check.good is False


def test_doctor_takes_no_other_word(cell):
    assert "doctor please" in cell("%alloy doctor please").stderr


def test_doctor_does_not_choose_a_backend_of_matplotlib(shell):
    import matplotlib

    before = dict.__getitem__(matplotlib.rcParams, "backend")
    doctor._figures()
    assert dict.__getitem__(matplotlib.rcParams, "backend") == before
