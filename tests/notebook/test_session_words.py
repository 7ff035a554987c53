"""What the words about conversations say: where they find something, and where they do not."""

import pytest
from IPython.core.error import UsageError

from alloy_nb import Session
from alloy_nb.engine.journal import Node, Store
from alloy_nb.notebook.commands.sessions import _tree
from alloy_nb.usage import Cost, Usage


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


def test_after_a_resume_that_failed_the_conversation_can_be_resumed(cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Session(provider="demo", journal=tmp_path) as session:
        session.chat("What is 6 * 7?")
    cell("%config Alloy.journal = 'on'\n%config Alloy.model = 'no-such/model'")
    assert not cell("%alloy resume").ok
    cell("%config Alloy.model = 'demo'")
    assert cell("%alloy resume").ok


# --- kept -------------------------------------------------------------------------------------


@pytest.fixture
def kept(cell, tmp_path, monkeypatch):
    """Run cells in a folder of their own, with a journal; each must not fail."""
    monkeypatch.chdir(tmp_path)
    cell("%config Alloy.journal = 'on'\n%alloy approve all")

    def run(source):
        ran = cell(source)
        assert ran.ok, ran.text
        return ran.text

    return run


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("tree", "Nothing was asked in main yet."),
        ("history", "The conversation main is empty."),
        ("sessions", "No conversation is kept here yet."),
        ("search pears", "Nothing was found."),
        ("use main", "You are on main already."),
    ],
)
def test_where_there_is_nothing_one_sentence_says_so(kept, word, told):
    assert kept(f"%alloy {word}").startswith(told)


@pytest.mark.parametrize("word", ["undo", "resume", "resume x", "use x", "forget x", "import x"])
def test_what_is_not_there_is_refused_in_one_line(kept, cell, word):
    told = refused(cell(f"%alloy {word}"))
    assert len(told.strip().splitlines()) == 1


def test_each_undo_says_where_the_turn_is_kept(kept):
    kept("%alloy What is 6 * 7?")
    kept("%alloy What is 8 * 8?")
    assert "%alloy use main-2 goes back to it" in kept("%alloy undo")
    assert "%alloy tree shows it" in kept("%alloy undo")


def test_a_name_with_a_space_is_told_as_it_is_written(kept):
    kept("%alloy fork 'two words'")
    assert "%alloy use 'two words' goes back" in kept("%alloy fork other")


def test_use_means_the_session_where_one_is_on_the_branch_of_that_name(kept):
    kept("%alloy What is 6 * 7?")
    kept("%alloy -s other What is 8 * 8?")
    assert "go on with other" in kept("%alloy use other")
    assert "go on with main" in kept("%alloy use main")
    assert "on main already" in kept("%alloy use main")


def test_use_means_the_earlier_conversation_where_nothing_was_said_yet(kept):
    kept("%alloy What is 6 * 7?")
    kept("%reload_ext alloy_nb")
    assert "main goes on. The conversation has 4 messages" in kept("%alloy use main")


def test_an_export_of_nothing_leaves_the_one_of_before(kept, cell, tmp_path):
    """After a restart the notebook's cells run again, and its export before anything is said."""
    kept("%alloy What is 6 * 7?")
    kept("%alloy export a.md")
    written = (tmp_path / "a.md").read_text()
    kept("%reload_ext alloy_nb")
    told = refused(cell("%alloy export a.md"))
    assert "Nothing was said in main yet, so a.md was not written." in told
    assert "%alloy resume goes on with it" in told
    assert (tmp_path / "a.md").read_text() == written


def test_what_cannot_be_imported_is_told_before_where_it_would_go(kept, cell):
    kept("%alloy What is 6 * 7?")
    kept("%alloy export a.md")
    assert "only what was exported to FILE.json goes on" in refused(cell("%alloy import a.md"))
    assert "Cannot read missing.json" in refused(cell("%alloy import missing.json"))


def test_an_import_is_kept_before_anything_is_asked(kept, tmp_path):
    kept("%alloy What is 6 * 7?")
    kept("%alloy What is 8 * 8?")
    kept("%alloy export a.json")
    kept("%alloy import a.json -s copy")
    assert [(info.name, info.turns) for info in Store(tmp_path).sessions()] == [
        ("copy", 2),
        ("main", 2),
    ]
    assert "What is 8 * 8?" in kept("%alloy tree -s copy")
    assert "Undone: 'What is 8 * 8?'" in kept("%alloy undo -s copy")
    kept("%alloy -s copy What is 9 * 9?")
    assert "What is 6 * 7?" in kept("%alloy history -s copy")
    assert "8 * 8" not in kept("%alloy history -s copy")


def test_a_replay_finds_its_answer_though_a_card_was_shown_before(kept):
    kept("%alloy What is 6 * 7?")
    kept("%reload_ext alloy_nb")
    kept("%alloy")
    assert "replayed, $0" in kept("%alloy --replay-only What is 6 * 7?")


def test_after_another_model_answered_one_is_told_so_once(kept):
    kept("%alloy What is 6 * 7?")
    told = "demo/other answers from here on, after demo/demo."
    assert told in kept("%alloy -m demo/other What is 8 * 8?")
    assert told not in kept("%alloy -m demo/other What is 9 * 9?")


# --- the tree ---------------------------------------------------------------------------------


def node(name, parent=None, *, current=False):
    """A turn; its name is its prompt."""
    facts = {"key": "", "model": "m", "status": "completed", "began": 0.0, "ended": 0.0}
    return Node(
        id=name,
        parent=parent,
        preview=name,
        usage=Usage(),
        cost=Cost(),
        is_current=current,
        **facts,
    )


def drawn(*nodes):
    return [row[2] for row in _tree(nodes)[1:]]


def test_a_conversation_without_branches_is_a_list():
    chain = [node(f"t{n}", f"t{n - 1}" if n else None, current=True) for n in range(3000)]
    assert drawn(*chain) == [f"t{n}" for n in range(3000)]


def test_branches_are_set_in_below_the_turn_that_they_leave():
    turns = [
        *(node("a", current=True), node("b", "a"), node("c", "b"), node("d", "a", current=True)),
        *(node("e", "a"), node("f", "d", current=True)),
    ]
    assert drawn(*turns) == ["a", "· b", "· c", "· e", "d", "f"]


def test_turns_keep_the_numbers_in_which_they_began():
    turns = [node("a", current=True), node("b", "a", current=True), node("c", "a")]
    assert [row[1] for row in _tree(turns)[1:]] == ["1", "3", "2"]


def test_what_was_undone_is_set_in_and_its_own_turns_stand_below_it():
    turns = [node("a", current=True), node("b", "a"), node("c", "b"), node("d", "a")]
    assert drawn(*turns) == ["a", "· b", "· c", "· d"]
