"""What is told where a conversation is not kept, and where a word lacks what it needs."""

import pytest
from IPython.core.error import UsageError


def refused(ran):
    assert not ran.ok
    assert isinstance(ran.error, UsageError)
    return ran.stderr


@pytest.mark.parametrize("word", ["fork idea", "tree"])
def test_without_a_journal_one_is_told_that_there_is_none(cell, word):
    assert "not kept in a journal" in refused(cell(f"%alloy {word}"))


@pytest.mark.parametrize("word", ["fork", "use", "search"])
def test_a_word_that_lacks_its_own_says_how_it_is_written(cell, word):
    assert f"%alloy {word}" in refused(cell(f"%alloy {word}"))


def test_before_the_first_request_nothing_was_sent(cell):
    ran = cell("%alloy sent")
    assert ran.ok
    assert "Nothing was sent yet" in ran.text


def test_only_one_of_the_flags_about_replays_may_be_given(cell):
    assert "one of them" in refused(cell("%alloy --fresh --replay What is 6 * 7?"))


def test_only_a_replay_needs_a_journal(cell):
    assert "Alloy.journal" in refused(cell("%alloy --replay-only What is 6 * 7?"))


def test_kept_by_wish_a_conversation_has_branches_without_a_kernel_too(cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'\n%alloy approve all")
    assert cell("%alloy What is 6 * 7?").ok
    assert cell("%alloy What is 6 * 7?").ok
    assert "Undone: 'What is 6 * 7?'" in cell("%alloy undo").text
    assert "wiped" in cell("%alloy forget").text
