"""The tables of the journal, their versions, and how a connection is set up.

::

    sessions ──< branches (a name, and the turn it points at)
        └─────< turns (each with its parent: a tree) ──< messages, events, uses >── blobs
    words (full text of finished turns)

Ids are random and order is a count, so that neither rests on a clock, and rows that were written
in memory can be written to the file later. `before` and `after` are hashes of the history: each
goes on from the one before it, so that none is ever computed over a whole conversation. References
are checked when a transaction ends: what is held in memory may come in any order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["TABLES", "VERSION", "Unfit", "create", "has_words", "migrate", "set_up"]

VERSION = 1
_APPLICATION_ID = 0x616C6E62  # "alnb", so that file(1) and we know it
# A version beyond any that will be: the header is damaged, not newer.
_ABSURD = 1000

TABLES: Mapping[str, Mapping[str, tuple[type, ...]]] = MappingProxyType(
    {
        "sessions": {
            "id": (str,),
            "name": (str,),
            "notebook": (str,),
            "created": (float,),
            "updated": (float,),
            "touched": (int,),
            "branch": (str,),
            "settings": (str,),
            "usage": (str,),
            "cost": (str,),
        },
        "branches": {
            "session": (str,),
            "name": (str,),
            "head": (str, type(None)),
            "kept": (int,),
        },
        "turns": {
            "id": (str,),
            "session": (str,),
            "seq": (int,),
            "parent": (str, type(None)),
            "depth": (int,),
            "key": (str,),
            "prompt": (str, type(None)),
            "prompt_hash": (str,),
            "refs": (str,),
            "model": (str,),
            "settings": (str,),
            "before": (str,),
            "after": (str,),
            "status": (str,),
            "usage": (str,),
            "cost": (str,),
            "began": (float,),
            "ended": (float, type(None)),
            "preview": (str,),
            "view": (str, type(None)),
        },
        "messages": {"turn": (str,), "number": (int,), "body": (str,)},
        "events": {"turn": (str,), "number": (int,), "body": (str,)},
        "blobs": {"hash": (str,), "kind": (str,), "data": (bytes,)},
        "uses": {"blob": (str,), "turn": (str,)},
    }
)
"""Each table with its columns and what they hold; parents stand before children."""

_FIRST = (
    """CREATE TABLE sessions (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, notebook TEXT NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL, touched INTEGER NOT NULL,
        branch TEXT NOT NULL, settings TEXT NOT NULL, usage TEXT NOT NULL, cost TEXT NOT NULL
    )""",
    "CREATE INDEX sessions_touched ON sessions (touched)",
    """CREATE TABLE branches (
        session TEXT NOT NULL REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
        name TEXT NOT NULL,
        head TEXT REFERENCES turns (id) DEFERRABLE INITIALLY DEFERRED, kept INTEGER NOT NULL,
        PRIMARY KEY (session, name)
    )""",
    "CREATE INDEX branches_head ON branches (head)",
    """CREATE TABLE turns (
        id TEXT NOT NULL PRIMARY KEY,
        session TEXT NOT NULL REFERENCES sessions (id) DEFERRABLE INITIALLY DEFERRED,
        seq INTEGER NOT NULL, parent TEXT REFERENCES turns (id) DEFERRABLE INITIALLY DEFERRED,
        depth INTEGER NOT NULL, key TEXT NOT NULL, prompt TEXT, prompt_hash TEXT NOT NULL,
        refs TEXT NOT NULL, model TEXT NOT NULL, settings TEXT NOT NULL, before TEXT NOT NULL,
        after TEXT NOT NULL, status TEXT NOT NULL, usage TEXT NOT NULL, cost TEXT NOT NULL,
        began REAL NOT NULL, ended REAL, preview TEXT NOT NULL, view TEXT
    )""",
    "CREATE UNIQUE INDEX turns_seq ON turns (session, seq)",
    "CREATE INDEX turns_parent ON turns (parent)",
    "CREATE INDEX turns_key ON turns (session, key)",
    "CREATE INDEX turns_prompt ON turns (session, prompt_hash)",
    "CREATE INDEX turns_running ON turns (session) WHERE status = 'running'",
    """CREATE TABLE messages (
        turn TEXT NOT NULL REFERENCES turns (id) DEFERRABLE INITIALLY DEFERRED,
        number INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (turn, number)
    )""",
    """CREATE TABLE events (
        turn TEXT NOT NULL REFERENCES turns (id) DEFERRABLE INITIALLY DEFERRED,
        number INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (turn, number)
    )""",
    "CREATE TABLE blobs (hash TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL)",
    """CREATE TABLE uses (
        blob TEXT NOT NULL REFERENCES blobs (hash) DEFERRABLE INITIALLY DEFERRED,
        turn TEXT NOT NULL REFERENCES turns (id) DEFERRABLE INITIALLY DEFERRED,
        PRIMARY KEY (blob, turn)
    )""",
    "CREATE INDEX uses_turn ON uses (turn)",
)
# What brings a file from each version to the next; a released entry is never edited.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)

_WORDS = "CREATE VIRTUAL TABLE words USING fts5 (text, session UNINDEXED, turn UNINDEXED)"
# Where the build has no full-text search the words are found one row after another.
_PLAIN_WORDS = "CREATE TABLE words (text TEXT, session TEXT, turn TEXT)"


class Unfit(sqlite3.DatabaseError):
    """The file is a database, but not one that this version can use."""

    def __init__(self, *, is_newer: bool) -> None:
        super().__init__("made by a newer version" if is_newer else "not a journal")
        self.is_newer = is_newer


def set_up(connection: sqlite3.Connection, *, read_only: bool = False) -> None:
    """Set what SQLite remembers for a connection alone, and the log in front of the file.

    A write is in the log when it returns, and so outlives the process; ``synchronous=NORMAL`` does
    not wait for the disk, so a power cut may take the last turns, and never the file. What is
    deleted is overwritten. A file from elsewhere runs nothing (``trusted_schema``).
    """
    for pragma in ("foreign_keys=ON", "trusted_schema=OFF", "cell_size_check=ON"):
        connection.execute(f"PRAGMA {pragma}")
    if read_only:
        return
    for pragma in ("secure_delete=ON", "synchronous=NORMAL", "journal_size_limit=4000000"):
        connection.execute(f"PRAGMA {pragma}")
    # A file system without shared memory answers with another mode, which is safe too.
    connection.execute("PRAGMA journal_mode=WAL").fetchone()


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to this version, all or nothing; a new one gets its tables.

    Raises:
        sqlite3.Error: It is damaged, not ours, or newer than this version (`Unfit`).
    """
    if _version(connection) == VERSION:
        _check(connection)
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # another process may have been quicker
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version == 0:
            _create_words(connection)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:  # half a migration must not stay open, whatever interrupted it
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create() -> sqlite3.Connection:
    """Return an empty journal in memory, with the checks of references off."""
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    migrate(connection)
    return connection


def has_words(connection: sqlite3.Connection) -> bool:
    """Return whether the full text can be used: made here, or by a build that has it as this."""
    try:
        connection.execute("SELECT text FROM words LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        if "no such module" in str(error):
            return False
        raise
    return True


def _version(connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION or version < 0:
        raise Unfit(is_newer=VERSION < version < _ABSURD)
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise Unfit(is_newer=False)
    return version


def _check(connection: sqlite3.Connection) -> None:
    """Refuse a file whose tables are not ours, or that would run something when we write."""
    rows = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
    kinds = {kind for kind, _ in rows}
    names = {name for kind, name in rows if kind == "table"}
    if not {*TABLES, "words"} <= names or kinds - {"table", "index"}:
        raise Unfit(is_newer=False)


def _create_words(connection: sqlite3.Connection) -> None:
    try:
        connection.execute(_WORDS)
    except sqlite3.OperationalError as error:
        if "no such module" not in str(error):
            raise
        connection.execute(_PLAIN_WORDS)
