"""Tab in a real kernel, as a front end asks for it, and in a real terminal."""

import os
import sys

import pexpect
import pytest

from tests.kernel_harness import clean_environment


def asked(kernel, code, position=None):
    """What a front end would insert, each as the whole text that it leads to."""
    position = len(code) if position is None else position
    content = kernel.client.complete(code, position, reply=True, timeout=60)["content"]
    assert content["status"] == "ok"
    start, end = content["cursor_start"], content["cursor_end"]
    return [code[:start] + match + code[end:] for match in content["matches"]]


def test_a_kernel_completes_commands_flags_models_and_names(asking):
    kernel = asking.kernel
    assert kernel.run("import pandas as pd\nsales = pd.DataFrame({'north': [1]})").ok
    assert asked(kernel, "%alloy prom") == ["%alloy promote"]
    assert asked(kernel, "%alloy --dry") == ["%alloy --dry-run"]
    assert asked(kernel, "%alloy -m anthropic/claude-sonnet-4-6")
    assert asked(kernel, "%alloy why @sal") == ["%alloy why @sales"]
    assert asked(kernel, "%alloy why @sales.no") == ["%alloy why @sales.north"]


def test_a_kernel_completes_in_the_body_of_a_cell_at_any_place(asking):
    kernel = asking.kernel
    assert kernel.run("revenue = [1]").ok
    code = "%%alloy --think hi\nWhy is @reve low?\n\nAnd why?"
    flags = asked(kernel, code, code.index("\n"))
    assert flags == [code.replace("hi\n", "high\n")]
    names = asked(kernel, code, code.index(" low"))
    assert names == [code.replace("@reve", "@revenue")]


def test_a_kernel_completes_python_as_before(asking):
    assert "import json" in asked(asking.kernel, "import jso")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a pseudo-terminal")
def test_a_terminal_completes_flags_and_names(tmp_path):
    env = clean_environment(tmp_path, {"ALLOY_MODEL": "demo", "TERM": "dumb", "COLUMNS": "200"})
    env["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    arguments = ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=nocolor"]
    # The readline-like prompt has no Tab of its own: its completer is asked as the prompt does.
    child = pexpect.spawn(sys.executable, arguments, env=env, encoding="utf-8", timeout=60)
    try:
        child.expect(r"In \[1\]: ")
        child.sendline("%load_ext alloy_nb")
        child.expect(r"In \[2\]: ")
        child.sendline("revenue = 1; print(get_ipython().complete(None, '%alloy @reve', 12))")
        child.expect(r"\[?'@revenue'\]?")
        child.sendline("print(get_ipython().complete(None, '%alloy --dry', 12))")
        child.expect(r"\[?'--dry-run'\]?")
    finally:
        child.close(force=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a pseudo-terminal")
def test_the_tab_key_completes_in_a_terminal(tmp_path):
    env = clean_environment(tmp_path, {"ALLOY_MODEL": "demo", "TERM": "xterm"})
    env["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    arguments = ["-m", "IPython", "--no-banner", "--colors=nocolor", "--no-confirm-exit"]
    child = pexpect.spawn(
        sys.executable, arguments, env=env, encoding="utf-8", timeout=60, dimensions=(40, 160)
    )
    try:
        child.expect(r"In \[")
        child.send("%load_ext alloy_nb\r")
        child.expect(r"In \[")
        # One match only: Tab puts the rest into the line.
        child.send("%alloy help promo\t")
        child.expect("te")
        child.send("\r")
        child.expect("one clean cell")
    finally:
        child.close(force=True)
