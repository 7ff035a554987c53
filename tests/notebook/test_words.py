"""A line is flags, then a command or a prompt, and the prompt stays as it was typed."""

from difflib import get_close_matches

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from alloy_nb.notebook.grammar import COMMANDS, FLAGS
from alloy_nb.notebook.guide import GROUPS, usage, usage_of
from alloy_nb.notebook.words import parse

NAMES = {command.name for command in COMMANDS}
PROMPTS = [
    "what is in df?",
    "why {df} and {not_a_name} and {}?",
    "is $5 more than $x or ${HOME}?",
    "what does @property do?",
    'say "hello" to me',
    "what's up, don't you know",
    "'quoted' at the start",
    '"quoted" at the start',
    "end with a semicolon;",
    "?",
    "a -m in the middle --new",
    "two  spaces\tand a tab",
    "Grüße, 你好, 🦜 and e\u0301",
    r"a\nb \t \\ C:\new",
    "modelling is no command",
    "Reset the index",
    "#hash and %percent and !bang",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_on_the_line_stays_as_it_was_typed(prompt):
    assert parse(prompt).prompt == prompt


@pytest.mark.parametrize("prompt", [*PROMPTS, "-m is a flag", "reset", "  indented\n\n  more"])
def test_a_prompt_in_the_cell_stays_as_it_was_typed(prompt):
    words = parse("-o x", cell=prompt + "\n")
    assert (words.prompt, words.flags) == (prompt, {"output": "x"})


def _is_prompt(text):
    first = text.split(maxsplit=1)
    is_misspelt = get_close_matches(text, NAMES, cutoff=0.8)
    return bool(first) and not text.startswith("-") and first[0] not in NAMES and not is_misspelt


@given(st.text(st.characters(exclude_characters="\r\n"), min_size=1).map(str.strip))
def test_any_prompt_that_begins_like_no_flag_and_no_command_is_kept(text):
    if _is_prompt(text):
        assert parse(text).prompt == text
        assert parse(f"--new -o x {text}").prompt == text


@given(st.text(st.characters(exclude_characters="\r\n"), min_size=1).map(str.strip))
def test_after_two_dashes_any_prompt_is_kept(text):
    assert parse(f"-- {text}").prompt == text


@given(st.text())
def test_any_cell_is_kept(text):
    assert parse("", cell=f"{text}\n").prompt == text


def test_the_rest_of_the_line_goes_before_the_cell():
    assert parse("-o x first", cell="second\n").prompt == "first\nsecond"


def test_an_empty_line_has_no_prompt_and_no_command():
    assert parse("") == parse("   ")
    assert (parse("").command, parse("").prompt) == (None, "")


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("-m a/b hi", {"model": "a/b"}),
        ("--model a/b hi", {"model": "a/b"}),
        ("--model=a/b hi", {"model": "a/b"}),
        ("-m ollama/llama3.2:3b hi", {"model": "ollama/llama3.2:3b"}),
        ("-m 'a b' hi", {"model": "a b"}),
        ('-m "a b" hi', {"model": "a b"}),
        ("-o x --new hi", {"output": "x", "new": True}),
        ("--max-cost 0.50 --think high hi", {"max_cost": "0.50", "think": "high"}),
        ("--base-url http://h:1/v1 -m x/y hi", {"base_url": "http://h:1/v1", "model": "x/y"}),
        ("--approve all -s second hi", {"approve": "all", "session": "second"}),
        ("-o x -o y hi", {"output": "y"}),
    ],
)
def test_flags_stand_before_the_prompt(line, flags):
    words = parse(line)
    assert (words.flags, words.prompt) == (flags, "hi")


def test_an_apostrophe_begins_no_quotation_inside_a_word():
    assert parse("-o x what's in 'df' then").prompt == "what's in 'df' then"


@pytest.mark.parametrize("line", ["-- -m is what?", "--new -- -m is what?"])
def test_two_dashes_end_the_flags(line):
    assert parse(line).prompt == "-m is what?"


def test_two_dashes_make_the_name_of_a_command_a_prompt():
    words = parse("-- reset the index of @df")
    assert (words.command, words.prompt) == (None, "reset the index of @df")


def test_a_lone_dash_begins_a_prompt():
    assert parse("- one\n- two").prompt == "- one\n- two"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--modle x hi", "Did you mean --model?"),
        ("--sesion x hi", "Did you mean --session?"),
        ("-x hi", "Unknown flag -x"),
        ("--zzz hi", "`--` before a prompt"),
        ("-m", "-m needs a value: -m MODEL"),
        ("--think hihg hi", "Did you mean high?"),
        ("--think extreme hi", "use one of off, low, medium, high, max"),
        ("--approve yes hi", "use one of ask, read, all, none"),
        ("--think=", "use one of"),
        ("--modl=x hi", "Did you mean --model?"),
    ],
)
def test_a_mistake_in_the_flags_is_told_with_the_nearest_match(line, told):
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert told in str(caught.value)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_command_is_known_by_its_first_word(name):
    assert parse(name).command == name


@pytest.mark.parametrize(
    ("line", "command", "arguments", "flags"),
    [
        ("model a/b", "model", ("a/b",), {}),
        ("models gpt", "models", ("gpt",), {}),
        ("export 'my file.md'", "export", ("my file.md",), {}),
        (r"export C:\tmp\a.md", "export", (r"C:\tmp\a.md",), {}),
        ("export -- -x.md", "export", ("-x.md",), {}),
        ("-s two reset", "reset", (), {"session": "two"}),
        ("reset -s two", "reset", (), {"session": "two"}),
        ("model a/b --base-url http://h", "model", ("a/b",), {"base_url": "http://h"}),
        ("model --base-url http://h a/b", "model", ("a/b",), {"base_url": "http://h"}),
    ],
)
def test_a_command_takes_words_and_flags_in_any_order(line, command, arguments, flags):
    words = parse(line)
    assert (words.command, words.arguments, words.flags) == (command, arguments, flags)


@pytest.mark.parametrize("line", ["reset the index", "model the churn of @df", "cost of living?"])
def test_a_prompt_that_looks_like_a_command_is_refused_with_the_way_to_ask_it(line):
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert f"%alloy -- {line}" in str(caught.value)


@pytest.mark.parametrize(("word", "meant"), [("modle", "model"), ("contxt", "context")])
def test_a_command_that_is_written_wrong_is_not_asked(word, meant):
    with pytest.raises(UsageError, match=f"Did you mean %alloy {meant}.*%alloy -- {word}"):
        parse(word)
    assert parse(f"-- {word}").prompt == word
    assert parse(f"{word} it").prompt == f"{word} it"
    assert parse("", cell=word).prompt == word


@pytest.mark.parametrize("word", ["hello", "why?", "thanks", "more", "go", "summarize"])
def test_a_word_by_itself_is_asked(word):
    assert parse(word).prompt == word


@pytest.mark.parametrize("line", ["timeline -o x", "reset --think high", "--new models"])
def test_a_flag_that_means_nothing_to_a_command_is_refused(line):
    with pytest.raises(UsageError, match="means nothing to"):
        parse(line)


def test_a_cell_is_never_a_command():
    assert parse("", cell="reset\n").command is None


def test_the_help_names_every_flag_and_command():
    text = usage()
    assert all(name in text for flag in FLAGS for name in flag.names)
    assert all(f"%alloy {name}" in text for name in NAMES)


@pytest.mark.parametrize("line", usage().split("\n"))
def test_no_line_of_the_help_is_wider_than_a_notebook(line):
    assert len(line) <= 96


def test_every_command_of_the_help_is_in_one_group():
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(command.name for command in COMMANDS)


def test_the_help_of_one_command_names_its_flags():
    assert "--base-url URL" in usage_of("model")
    assert "--think" not in usage_of("model")
