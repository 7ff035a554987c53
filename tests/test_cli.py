"""The command line: what it opens, asks and refuses."""

import os
import subprocess
import sys

import pytest

from alloy_nb import cli


def run(*words, **env):
    return subprocess.run(
        [sys.executable, "-m", "alloy_nb", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "ALLOY_DEMO_PACE": "0", **env},
        check=False,
    )


@pytest.mark.slow
def test_a_prompt_is_answered_on_standard_output():
    ended = run("-p", "What can you do?", "-m", "demo")
    assert ended.returncode == 0
    assert "scripted" in ended.stdout
    assert "no model was asked" in ended.stderr


@pytest.mark.slow
def test_a_failed_request_ends_with_one_line_and_status_1():
    ended = run("-p", "hi", "-m", "openai-compat/m", "--base-url", "http://127.0.0.1:9")
    assert ended.returncode == 1
    assert ended.stderr.strip().startswith("alloy-nb: ")
    assert "Traceback" not in ended.stderr


def test_an_unknown_model_names_the_nearest(capsys):
    assert cli.main(["-p", "hi", "-m", "antropic/claude-sonnet-4-6"]) == 1
    assert "anthropic/claude-sonnet-4-6" in capsys.readouterr().err


def test_nothing_asked_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "usage: alloy-nb" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "opened"),
    [
        ([], ["notebooks/01-first-cell.ipynb"]),
        (["--no-browser", "--port", "8899"], ["notebooks/01-first-cell.ipynb"]),
        (["mine.ipynb"], ["mine.ipynb"]),
    ],
)
def test_the_lab_opens_a_notebook_and_takes_jupyters_options(words, opened, monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(cli.subprocess, "call", lambda command: called.append(command) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/01-first-cell.ipynb").touch()
    (tmp_path / "mine.ipynb").touch()
    assert cli.main(["lab", *words]) == 0
    command = called[0][3:]
    assert [word for word in command if word.endswith(".ipynb")] == opened
    assert [w for w in command if w not in opened and w != "--allow-root"] == [
        w for w in words if w not in opened
    ]


def test_a_notebook_that_is_not_there_is_named(capsys):
    assert cli.main(["lab", "missing.ipynb"]) == 1
    assert "there is no missing.ipynb" in capsys.readouterr().err
