"""A policy of rules: which calls run, which are asked about, which never run."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import alloy_nb as al
from alloy_nb.engine.calls.policies import Policy, Rule
from alloy_nb.engine.middleware.base import HookContext
from alloy_nb.errors import ConfigError
from alloy_nb.messages import ToolCall
from tests.engine.scripted import Scripted, calls, says

ran: list[Any] = []


def tool_of(name: str, risk: str = "run") -> al.Tool:
    @al.tool(name=name, risk=risk)
    def anything(command: str = "", file_path: str = "", n: int = 0) -> str:
        """Do anything."""
        ran.append((name, command or file_path or n))
        return "done"

    return anything


def decided(policy: Policy, name: str, risk: str = "run", **arguments: Any) -> al.Decision:
    call = ToolCall(id="c1", name=name, input=arguments)
    return asyncio.run(policy(call, tool_of(name, risk)))


def allowed(policy: Policy, name: str, risk: str = "run", **arguments: Any) -> bool:
    return decided(policy, name, risk, **arguments).allowed


async def yes(call: Any, tool: Any) -> al.Decision:
    return al.Decision(allowed=True)


# --- what the rules say ---------------------------------------------------------------------------


def test_the_first_rule_that_matches_counts():
    policy = Policy(Rule.ask("write"), Rule.allow("write"))
    assert not allowed(policy, "write")
    assert allowed(Policy(Rule.allow("write"), Rule.ask("write")), "write")


@pytest.mark.parametrize("first", [Rule.allow("write"), Rule.ask("write")])
def test_a_rule_that_denies_beats_all_wherever_it_stands(first):
    policy = Policy(first, Rule.deny("write", file_path="a"), otherwise="all", ask=yes)
    assert not allowed(policy, "write", file_path="a")
    assert allowed(policy, "write", file_path="b")


def test_a_rule_that_asks_asks_the_person():
    assert allowed(Policy(Rule.ask("write"), ask=yes), "write")
    denied = decided(Policy(Rule.ask("write")), "write")
    assert (denied.allowed, "Nobody can be asked" in denied.reason) == (False, True)


def test_a_rule_that_asks_means_it_for_tools_that_only_read_too():
    assert not allowed(Policy(Rule.ask("read")), "read", risk="read")


@pytest.mark.parametrize(
    ("otherwise", "reads", "runs"),
    [("ask", True, False), ("read", True, False), ("all", True, True), ("none", False, False)],
)
def test_where_no_rule_matches_the_rest_of_the_policy_decides(otherwise, reads, runs):
    policy = Policy(otherwise=otherwise)
    assert allowed(policy, "look", risk="read") == reads
    assert allowed(policy, "act", risk="run") == runs


def test_arguments_are_compared_exactly_and_others_may_be_anything():
    policy = Policy(Rule.allow("write", file_path="notes.md"))
    assert allowed(policy, "write", file_path="notes.md", n=3)
    for other in ("notes.md ", "./notes.md", "Notes.md", "notes.md\n", "notes.mdx", "*", ""):
        assert not allowed(policy, "write", file_path=other)
    assert not allowed(policy, "write")


def test_a_number_is_no_boolean_and_no_text():
    policy = Policy(Rule.allow("act", n=1))
    assert allowed(policy, "act", n=1)
    for other in (True, "1", 1.0, [1], None):
        assert not allowed(policy, "act", n=other)


def test_a_regular_expression_has_to_match_all_of_a_text():
    policy = Policy(Rule.allow("write", file_path=re.compile(r"notes/[a-z]+\.md")))
    assert allowed(policy, "write", file_path="notes/one.md")
    for other in ("notes/one.md/../x", "a/notes/one.md", "notes/one.md\n", 3):
        assert not allowed(policy, "write", file_path=other)


def test_a_pattern_names_several_tools():
    policy = Policy(Rule.deny("mcp__*"), Rule.allow("look_*"), otherwise="none")
    assert allowed(policy, "look_up", risk="read")
    assert not allowed(policy, "mcp__github__push")


def test_a_pattern_never_allows_a_tool_that_runs_code():
    policy = Policy(Rule.allow("*"), otherwise="none")
    assert allowed(policy, "write", risk="write")
    assert not allowed(policy, "python", risk="run")
    assert not allowed(policy, "bash", risk="read")


@given(st.text(max_size=30))
@settings(deadline=None)
def test_no_text_but_the_command_itself_is_the_command(text):
    assert allowed(Policy(Rule.allow("bash", command="git log")), "bash", command=text) == (
        text == "git log"
    )


# --- what a rule may not say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        *("git log*", "git log | head", "a; b", "a && b", "a & b", "$(a)", "`a`", "a > b", "a < b"),
        *(
            "a\nb",
            "a\tb",
            "'a'",
            '"a"',
            "a\\b",
            "A=b a",
            "~/a",
            "{a,b}",
            "a?",
            "[a]",
            "!a",
            "a # b",
        ),
        *(" a", "a ", "", "a\u200b", "a\u00a0b", "a\x00"),
        re.compile("git .*"),
        None,
        3,
    ],
)
def test_no_rule_allows_a_command_that_a_shell_would_read_further(command):
    with pytest.raises(ConfigError, match="one exact command"):
        Rule.allow("bash", command=command)


def test_no_rule_allows_every_command():
    with pytest.raises(ConfigError, match="every command"):
        Rule.allow("bash")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Policy("git log"),
        lambda: Policy(otherwise="maybe"),
        lambda: Rule("perhaps", "bash"),
        lambda: Rule.deny(""),
    ],
)
def test_what_is_no_rule_is_refused_at_once(make):
    with pytest.raises(ConfigError):
        make()


def test_a_rule_may_deny_and_ask_about_any_command():
    policy = Policy(
        Rule.deny("bash", command=re.compile(r".*curl.*", re.S)), Rule.ask("bash"), ask=yes
    )
    assert not allowed(policy, "bash", command="a; curl x")
    assert allowed(policy, "bash", command="a; b")


# --- smuggling ------------------------------------------------------------------------------------

SMUGGLED = [
    "git log; touch pwned",
    "git log;touch pwned",
    "git log ;touch pwned",
    "git log && touch pwned",
    "git log&&touch pwned",
    "git log || touch pwned",
    "git log | tee pwned",
    "git log |& tee pwned",
    "git log & touch pwned",
    "git log &touch pwned",
    "git log\ntouch pwned",
    "git log\n\ntouch pwned",
    "git log\r\ntouch pwned",
    "git log\rtouch pwned",
    "\ngit log\ntouch pwned",
    "git log $(touch pwned)",
    "git log `touch pwned`",
    "git log ${x:-$(touch pwned)}",
    'git log "$(touch pwned)"',
    "git log <(touch pwned)",
    "git log >(touch pwned)",
    "git log > pwned",
    "git log >> pwned",
    "git log 2> pwned",
    "git log &> pwned",
    "git log >| pwned",
    "git log <> pwned",
    "git log < pwned",
    "git log <<EOF\n$(touch pwned)\nEOF",
    'git log <<< "$(touch pwned)"',
    "touch pwned; git log",
    "touch pwned && git log",
    "touch pwned || git log",
    "touch pwned\ngit log",
    "touch pwned & git log",
    "(touch pwned); git log",
    "{ touch pwned; }; git log",
    "if touch pwned; then git log; fi",
    "sh -c 'git log; touch pwned'",
    "bash -c 'git log; touch pwned'",
    "env sh -c 'touch pwned' git log",
    "nice sh -c 'touch pwned' git log",
    "timeout 9 sh -c 'touch pwned; git log'",
    "xargs touch pwned <<< 'git log'",
    "eval 'git log; touch pwned'",
    "exec touch pwned git log",
    "command touch pwned",
    "git -c core.pager='touch pwned' log",
    "git -c alias.log='!touch pwned' log",
    "git --exec-path=. log",
    "git log --output=pwned",
    "git log -o pwned",
    "git log --ext-diff",
    "git log --format=%H",
    "git -C /tmp log",
    "GIT_PAGER='touch pwned' git log",
    "PAGER='touch pwned' git log",
    "GIT_EXTERNAL_DIFF='touch pwned' git log -p --ext-diff",
    "PATH=.:$PATH git log",
    "LD_PRELOAD=./pwned.so git log",
    "BASH_ENV=pwned bash -c 'git log'",
    "alias git='touch pwned'; git log",
    "git() { touch pwned; }; git log",
    "function git { touch pwned; }; git log",
    "trap 'touch pwned' EXIT; git log",
    "git log # \ntouch pwned",
    "git log \\\n; touch pwned",
    "git\tlog; touch pwned",
    "git  log",
    " git log",
    "git log ",
    "git log\n",
    "git log\t",
    "Git log",
    "git log\x00; touch pwned",
    "git log\u2028touch pwned",
    "git log\u0085touch pwned",
    "git log\uff1b touch pwned",
    "git log\u200b",
    "git\u00a0log",
    "g\u0456t log",
    "\u202egol tig",
    "./git log",
    "/tmp/git log",
    "git log HEAD",
    "git logs",
    "git lo",
    "",
]


def test_no_smuggled_command_runs_unasked(tmp_path):
    policy = Policy(Rule.allow("bash", command="git log"))
    wanted = [("bash", {"command": command}, f"c{n}") for n, command in enumerate(SMUGGLED)]
    model = Scripted(calls(*wanted), says("done"))
    result = al.run(
        "?", provider=model, tools=[al.bash], approve=policy, working_directory=tmp_path
    )
    assert len(result.tool_calls) == len(SMUGGLED) >= 60
    assert [r.input["command"] for r in result.tool_calls if r.error is None] == []
    assert all("did not run" in r.error for r in result.tool_calls)
    assert list(tmp_path.iterdir()) == []


def test_the_command_itself_runs_unasked(tmp_path):
    policy = Policy(Rule.allow("bash", command="git log"))
    model = Scripted(calls(("bash", {"command": "git log"})), says("done"))
    result = al.run(
        "?", provider=model, tools=[al.bash], approve=policy, working_directory=tmp_path
    )
    assert "exit code" in model.requests[1].messages[-1].content[0].text
    assert result.status == "completed"


def test_arguments_of_other_kinds_are_not_the_command():
    policy = Policy(Rule.allow("bash", command="git log"))
    for other in (["git log"], {"git log": 1}, b"git log", None, 1):
        assert not allowed(policy, "bash", command=other)


# --- as a middleware ------------------------------------------------------------------------------


def block_of(policy: Policy, name: str, tool: al.Tool | None, **arguments: Any) -> Any:
    call = ToolCall(id="c1", name=name, input=arguments)
    return asyncio.run(policy.before_tool_call(call, HookContext(None, {}, call, tool)))


def test_as_a_middleware_it_blocks_what_it_does_not_allow():
    policy = Policy(Rule.allow("bash", command="git log"), Rule.deny("write"))
    assert block_of(policy, "bash", tool_of("bash"), command="git log") is None
    assert "Nobody can be asked" in block_of(policy, "bash", tool_of("bash"), command="ls").reason
    assert "denies" in block_of(policy, "write", tool_of("write", "write")).reason


def test_as_a_middleware_it_holds_whatever_else_is_approved():
    ran.clear()
    model = Scripted(calls(("act", {"n": 1}), ("act", {"n": 2})), says("done"))
    policy = Policy(Rule.deny("act", n=2), otherwise="all")
    al.run("?", provider=model, tools=[tool_of("act")], approve="all", middleware=[policy])
    assert ran == [("act", 1)]


def test_a_question_that_a_tool_asks_anew_is_not_answered_by_a_rule():
    call = ToolCall(id="c1", name="act", input={})
    anew = tool_of("act").with_options(ask_anew=True)
    policy = Policy(Rule.allow("act"), otherwise="all")
    assert not asyncio.run(policy(call, anew)).allowed
    assert asyncio.run(Policy(Rule.allow("act"), ask=yes)(call, anew)).allowed
    assert not asyncio.run(Policy(Rule.deny("act"), ask=yes)(call, anew)).allowed
