"""The public interface, as its users write it."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import pickle
import subprocess
import sys
from typing import Any

import pytest

import alloy_nb as al
from alloy_nb.errors import ConfigError
from tests.engine.scripted import Scripted, calls, says
from tests.servers.sse import Server, json_answer, loop
from tests.servers.wire import Call, Say

KEY = "sk-ant-api03-canary0123456789abcdefghij"


@pytest.fixture
def no_keys(monkeypatch):
    """Take every key and choice out of the environment."""
    from alloy_nb.secrets import api_key_names

    for name in (*api_key_names(), "ALLOY_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_run_asks_a_model_and_runs_its_tools(tmp_path):
    (tmp_path / "notes.txt").write_text("the answer is 42\n")
    turn = [Call("read", {"file_path": "notes.txt"}), Call("bash", {"command": "echo hi"})]
    with Server(*loop(turn, [Say("It is 42.")])) as server:
        result = al.run(
            "What is in notes.txt?",
            provider=al.Anthropic("claude-sonnet-4-6", api_key=KEY, base_url=server.url),
            tools=[al.read, al.bash],
            system_prompt="Be brief.",
            max_turns=25,
            working_directory=tmp_path,
        )
        sent = [request.json for request in server.requests]
    assert result.text == "It is 42."
    assert [record.name for record in result.tool_calls] == ["read", "bash"]
    assert [record.error for record in result.tool_calls] == [None, None]
    assert sent[0]["system"] == "Be brief."
    assert [tool["name"] for tool in sent[0]["tools"]] == ["read", "bash"]
    read, ran = sent[1]["messages"][-1]["content"]
    assert "the answer is 42" in read["content"]
    assert "hi" in ran["content"]


def test_run_works_without_a_key():
    assert al.run("What is 6 * 7?", provider=al.provider("demo", pace=0)).ok


def test_stream_tells_the_text_as_it_comes():
    said: list[str] = []
    with Server(*loop([Say("Hello there")])) as server:
        model = al.provider("openai-compat/m", base_url=server.url)
        result = al.stream("hi", said.append, provider=model)
    assert said == ["Hello th", "ere"]
    assert result.text == "Hello there"


def test_arun_is_awaited_in_any_loop():
    async def go() -> al.Result:
        return await al.arun("hi", provider=Scripted(says("Hello")))

    assert asyncio.run(go()).text == "Hello"


def test_a_session_talks_changes_its_model_and_forgets():
    session = al.Session(provider=Scripted(says("a")), system_prompt="Be brief.")
    assert session.chat("one").text == "a"
    session.set_model(Scripted(says("b"), name="other"))
    assert session.chat("two").text == "b"
    assert session.provider.name == "other"
    assert len(session.messages) == 4
    assert session.usage.total_tokens == 30
    session.reset()
    assert session.messages == []


def test_a_function_becomes_a_tool():
    @al.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    assert al.run("1+2?", provider=model, tools=[add]).text == "3"
    assert add(1, 2) == 3


def test_a_plain_function_will_do():
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    model = Scripted(calls(("add", {"a": 1, "b": 2})), says("3"))
    assert al.run("1+2?", provider=model, tools=[add]).tool_calls[0].error is None


def test_the_conversation_goes_on_with_another_vendor():
    with Server(*loop([Call("f", {})], [Say("one")], [Say("two")])) as server:
        tool = al.tool(name="f")(lambda: "ok")
        first = al.run("?", provider=al.Anthropic("m", base_url=server.url), tools=[tool])
        second = al.run(
            "and?", provider=al.OpenAICompat("m", server.url), messages=first.messages, tools=[tool]
        )
        assert (first.text, second.text) == ("one", "two")
        roles = [m["role"] for m in server.requests[2].json["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


# --- the outcome ----------------------------------------------------------------------------------


def test_a_result_is_read_by_attribute_and_by_key():
    result = al.run("?", provider=Scripted(says("a")))
    assert result["text"] == result.text == "a"
    assert set(result) >= {
        "text",
        "messages",
        "usage",
        "cost",
        "tool_calls",
        "status",
        "turns",
        "error",
        "metadata",
        "thinking",
        "stop_reason",
    }
    assert dict(result)["status"] == "completed"
    assert len(result) == len(list(result))
    assert result.get("nothing", 7) == 7
    with pytest.raises(KeyError):
        result["nothing"]


def test_a_result_can_be_changed_into_another():
    result = al.run("?", provider=Scripted(says("a")))
    assert result.replace(text="b").text == "b"
    assert result.text == "a"


def test_a_result_is_shown_in_one_line():
    shown = repr(al.run("?", provider=Scripted(says("word " * 100))))
    assert shown.startswith("Result('word word")
    assert len(shown) < 130


def test_a_result_can_be_pickled():
    result = al.run("?", provider=Scripted(says("a")))
    assert pickle.loads(pickle.dumps(result)).messages == result.messages
    failed = al.run(
        "?",
        provider=Scripted(al.errors.RateLimited("slow", status=429, retry_after=2.0)),
        max_retries=0,
    )
    copied = pickle.loads(pickle.dumps(failed))
    assert (copied.error, copied.exception.status, copied.exception.retry_after) == (
        "slow",
        429,
        2.0,
    )


# --- providers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "name", "model"),
    [
        ("anthropic/claude-sonnet-4-6", "anthropic", "claude-sonnet-4-6"),
        ("claude-sonnet-4-6", "anthropic", "claude-sonnet-4-6"),
        ("ollama/llama3.2:3b", "ollama", "llama3.2:3b"),
        ("openrouter/anthropic/claude-sonnet-4-6", "openrouter", "anthropic/claude-sonnet-4-6"),
        ("demo", "demo", "demo"),
    ],
)
def test_a_provider_is_named_in_a_word(spec, name, model):
    made = al.provider(spec)
    assert (made.name, made.model) == (name, model)


def test_a_provider_takes_settings():
    made = al.provider("anthropic/m", base_url="http://127.0.0.1:1", timeout=5, api_key=KEY)
    assert (made.base_url, made.timeout, made.key_source) == ("http://127.0.0.1:1", 5, "api_key=")


def test_a_provider_that_is_one_already_is_returned():
    made = al.provider("demo")
    assert al.provider(made) is made


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("antropic/claude-sonnet-4-6", "Did you mean anthropic/claude-sonnet-4-6?"),
        ("olama/llama3", "Did you mean ollama/llama3?"),
        ("claude-sonet-4-6", "Did you mean 'claude-sonnet-4"),
        ("claude", "Did you mean 'claude-sonnet-4-6'?"),
        ("opus", "Did you mean 'claude-opus-"),
        ("anthropic", "write anthropic/MODEL"),
        ("nonsense", "vendor/model"),
        ("", "vendor/model"),
    ],
)
def test_an_unknown_provider_names_the_nearest(spec, hint):
    with pytest.raises(ConfigError) as caught:
        al.provider(spec)
    assert hint in str(caught.value)


def test_a_setting_that_a_provider_does_not_have_is_named():
    with pytest.raises(ConfigError, match=r"'temprature'.*base_url.*timeout"):
        al.provider("anthropic/m", temprature=1)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
@pytest.mark.parametrize("spec", ["anthropic/m", "openai-compat/m", "vllm/m"])
def test_an_address_is_taken_with_and_without_its_version(spec, suffix):
    with Server(*loop([Say("hi")])) as server:
        result = al.run("?", provider=spec, base_url=server.url + suffix)
        assert result.text == "hi", result.error
        assert server.requests[0].path in ("/v1/messages", "/v1/chat/completions")


def test_a_key_is_read_from_the_environment_when_it_is_needed(no_keys, monkeypatch):
    made = al.provider("mistral/m")
    assert made.key_source == "missing: set MISTRAL_API_KEY"
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    assert made.key_source == "MISTRAL_API_KEY"


def test_a_vendors_key_is_not_sent_to_another_address(no_keys, monkeypatch):
    monkeypatch.setenv("MISTRAL_API_KEY", KEY)
    with Server(*loop([Say("hi")])) as server:
        al.run("?", provider="mistral/m", base_url=server.url)
        assert KEY not in str(server.requests[0].headers)


def test_a_missing_key_names_the_variable(no_keys):
    with pytest.raises(ConfigError, match="ANTHROPIC_API_KEY"):
        al.run("?", provider="anthropic/claude-sonnet-4-6").raise_for_status()


def test_a_refused_key_is_an_outcome_and_raises_when_asked():
    refused = json_answer(
        {"error": {"type": "authentication_error", "message": "invalid"}}, status=401
    )
    with Server(refused) as server:
        result = al.run("?", provider=al.Anthropic("m", base_url=server.url, api_key=KEY))
    assert result.status == "error"
    with pytest.raises(al.errors.AuthFailed):
        result.raise_for_status()


def test_without_any_key_the_demo_answers(no_keys):
    from alloy_nb.providers import default_provider

    assert default_provider().name in ("demo", "ollama")


def test_the_first_key_in_the_environment_chooses_the_vendor(no_keys, monkeypatch):
    from alloy_nb.providers import default_provider

    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert default_provider().name == "anthropic"
    monkeypatch.setenv("ALLOY_MODEL", "vllm/qwen")
    assert default_provider().name == "vllm"


# --- the package ----------------------------------------------------------------------------------


def test_every_public_name_can_be_had():
    assert all(getattr(al, name) is not None for name in al.__all__)
    assert set(al.__all__) <= set(dir(al))


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        al.nothing  # noqa: B018


def test_star_imports_every_public_name():
    code = "from alloy_nb import *; print(run, Session, tool)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "module",
    [
        *("engine.agent", "engine.sessions.session", "engine.skills", "engine.calls.tool"),
        *("providers.anthropic", "providers.demo"),
    ],
)
def test_the_examples_in_the_docstrings_work(module, monkeypatch):
    monkeypatch.setenv("ALLOY_DEMO_PACE", "0")
    loaded = importlib.import_module(f"alloy_nb.{module}")
    found: Any = doctest.testmod(loaded)
    assert found.failed == 0
    assert found.attempted > 0
