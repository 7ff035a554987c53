"""Which notebook a kernel belongs to, and which cell a prompt is asked from."""

from types import SimpleNamespace

import pytest

from alloy_nb.notebook.turns.place import Places, notebook_of


def shell(**names):
    return SimpleNamespace(user_ns=names)


class Kernel:
    """Tells which request is answered."""

    def __init__(self):
        self.parent = {}

    def get_parent(self, channel):
        assert channel == "shell"
        return self.parent


@pytest.fixture
def places():
    kernel = Kernel()
    running = Places(SimpleNamespace(kernel=kernel))

    def key(request, code="", *, cell=None, asks=False):
        kernel.parent = {
            "header": {"msg_id": request},
            "metadata": {} if cell is None else {"cellId": cell},
            "content": {"code": code, "allow_stdin": asks},
        }
        return running.key()

    return key


def test_the_server_says_which_notebook_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "a.ipynb"))
    assert notebook_of(shell()) == tmp_path / "a.ipynb"


def test_vs_code_says_it_in_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "a.ipynb"))
    named = shell(__vsc_ipynb_file__=str(tmp_path / "b.ipynb"))
    assert notebook_of(named) == tmp_path / "b.ipynb"


@pytest.mark.parametrize("name", ["", "a.ipynb", "/no/such/folder/a.ipynb", "/tmp/console-1"])
def test_what_is_no_notebook_here_is_none(name, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", name)
    assert notebook_of(shell()) is None


def test_a_cell_is_known_by_its_id_whatever_it_says(places):
    assert places("1", "one", cell="a") == places("2", "two", cell="a")
    assert places("3", "one", cell="b") != places("4", "one", cell="a")


def test_each_prompt_of_one_run_of_a_cell_has_its_own_key(places):
    first = [places("1", cell="a"), places("1", cell="a")]
    assert len(set(first)) == 2
    assert [places("2", cell="a"), places("2", cell="a")] == first


def test_a_person_s_cell_without_an_id_is_known_by_its_source(places):
    assert places("1", "one", asks=True) == places("2", "one", asks=True)
    assert places("3", "two", asks=True) != places("4", "one", asks=True)


def test_where_nobody_is_asked_cells_of_one_source_are_counted(places):
    assert places("1", "one") != places("2", "one")


def test_without_a_kernel_there_are_no_cells():
    assert Places(SimpleNamespace()).key() == ""
