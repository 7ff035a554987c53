"""What was imported is kept in the journal as it is, whatever the file was."""

from __future__ import annotations

import random
import time

import pytest

from alloy_nb.engine.journal import Store
from alloy_nb.engine.sessions.record import SessionRecord
from alloy_nb.errors import SessionError
from alloy_nb.messages import user
from alloy_nb.notebook.archive import keep
from alloy_nb.notebook.commands.files import _KEPT_AT_ONCE
from tests.engine.test_export import record_of
from tests.engine.test_import import EVIL
from tests.engine.told import told_session

SECONDS = 5
"""Of this process, for one file."""


def kept(record, folder):
    """Return what is in the journal after a restart."""
    store = Store(folder)
    journal = store.new("copy")
    keep(record, journal)
    journal.close()
    store.close()
    return Store(folder).resume(journal.id)


def test_it_is_the_same_conversation_with_the_same_turns(tmp_path):
    record = told_session().export_session()
    journal = kept(record, tmp_path)
    assert journal.messages() == list(record.messages)
    told = [(turn.status, turn.usage, turn.cost) for turn in record.turns]
    assert [(turn.status, turn.usage, turn.cost) for turn in journal.turns()] == told


def test_the_first_turns_of_a_very_long_one_are_one(tmp_path):
    messages = [user(f"q{number}") for number in range(700)]
    journal = kept(record_of(*messages), tmp_path)
    assert journal.messages() == messages
    assert len(journal.turns()) == 501


@pytest.mark.parametrize("name", list(EVIL))
def test_a_hostile_file_is_kept_or_refused_in_time(name, tmp_path):
    data = EVIL[name](random.Random(1))
    if len(data) > _KEPT_AT_ONCE:
        return
    try:
        record = SessionRecord.from_json(data)
    except SessionError:
        return
    began = time.process_time()
    journal = kept(record, tmp_path)
    assert time.process_time() - began <= SECONDS
    assert len(journal.messages()) == len(record.messages)
