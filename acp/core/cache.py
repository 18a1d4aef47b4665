"""Answers of models, kept on disk: the same question is asked once, ever.

A SQLite file with JSON values; any number of processes may share it. It only saves time: where it
cannot be read or written, all goes on without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

from acp.core.files import acp_home

_log = logging.getLogger(__name__)
_BUSY_SECONDS = 30.0
_KEYS_A_QUERY = 500
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


def answer_key(*identity: str) -> str:
    """The key of an answer: model and revision, options, prompt version, image hash, text.

    >>> answer_key("a", "bc") == answer_key("ab", "c")
    False
    """
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


class AnswerCache:
    """Answers by key; a value is anything that JSON can say."""

    def __init__(self, path: str | Path | None = None, of: str = "clis") -> None:
        """`path`: the file, by default `<of>/answers-1.sqlite` in `$ACP_HOME`."""
        self.path = Path(path) if path is not None else acp_home() / of / "answers-1.sqlite"
        self._usable = True
        self._waiting: dict[str, str] = {}
        self._lock, self._writing = Lock(), Lock()

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """What is known of these keys."""
        found: dict[str, Any] = {}
        if not self._usable or not keys or not self.path.exists():
            return found
        try:
            with closing(self._open()) as connection:
                for start in range(0, len(keys), _KEYS_A_QUERY):
                    found |= _read(connection, keys[start : start + _KEYS_A_QUERY])
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return found

    def put(self, answers: Mapping[str, Any]) -> None:
        """Keep these; an answer that was there before is replaced.

        Threads that put answers at the same time write them together: a write waits for the disk.
        """
        with self._lock:
            self._waiting |= {key: json.dumps(value) for key, value in answers.items()}
        with self._writing:
            with self._lock:
                rows, self._waiting = [*self._waiting.items()], {}
            if rows and self._usable:
                self._write(rows)

    def _write(self, rows: Sequence[tuple[str, str]]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as connection, connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _open(self) -> sqlite3.Connection:
        # Opened for each use: a connection must not cross a fork or a thread.
        return sqlite3.connect(self.path, timeout=_BUSY_SECONDS)

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        locked = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        mend = "end what holds it" if locked else "remove the file to mend it"
        _log.warning("answers are not kept: %s: %s; %s", self.path, error, mend)


def _read(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Any]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
        return {}
    marks = ",".join("?" * len(keys))
    query = f"SELECT key, value FROM answers WHERE key IN ({marks})"  # noqa: S608 (marks alone)
    found = {}
    for key, value in connection.execute(query, [*keys]):
        try:
            found[key] = json.loads(value)
        except ValueError:
            continue  # damaged: asked again
    return found
