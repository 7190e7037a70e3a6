"""Other programs write the same database: sqlite3 here stands for diskcache and whatever else knows the format."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import Child, run

#: Runs the statements of its other arguments on the database of its first.
OTHER = """
import sqlite3
database = sqlite3.connect(sys.argv[1] + "/cache.db", isolation_level=None)
for statement in sys.argv[2:]:
    database.execute(statement)
database.close()
"""
#: Changes a row, and then is in a transaction for as many seconds as its second argument says.
BUSY = """
import sqlite3
database = sqlite3.connect(sys.argv[1] + "/cache.db", isolation_level=None)
database.execute("UPDATE Cache SET value = 2 WHERE key = 'theirs'")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE Cache SET value = 3 WHERE key = 'theirs'")
say("in transaction")
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""
CHANGED, DELETED = "UPDATE Cache SET value = 100 WHERE key = 'n'", "DELETE FROM Cache WHERE key = 'n'"


def idle(directory: Path, **settings: Any) -> dolium.Cache:
    """A cache that knows a row from its own memory, and was not used for some ticks."""
    cache = dolium.Cache(directory, **settings)
    cache["n"] = 10
    cache["theirs"] = 1
    assert len(cache) == 2
    time.sleep(0.3)
    return cache


@pytest.mark.parametrize(
    ("statement", "operation", "answer"),
    [
        (CHANGED, lambda cache: cache.incr("n"), 101),
        (CHANGED, lambda cache: cache.pop("n"), 100),
        (CHANGED, lambda cache: cache.get("n"), 100),
        (CHANGED, lambda cache: (cache.add_many({"n": 5}), cache["n"])[1], 100),
        (DELETED, lambda cache: (cache.add("n", 5), cache["n"]), (True, 5)),
        (DELETED, lambda cache: (cache.touch("n", 100), cache.get("n")), (False, None)),
        (DELETED, lambda cache: cache.delete("n"), False),
        (DELETED, lambda cache: cache.incr("n", default=None), KeyError),
        (DELETED, lambda cache: cache.delete_many(["n", "theirs"]), 1),
        (DELETED, lambda cache: "n" in cache, False),
    ],
    ids=[
        "incr",
        "pop",
        "get",
        "add_many",
        "add",
        "touch",
        "delete",
        "incr-default",
        "delete_many",
        "contains",
    ],
)
def test_next_operation_sees_what_another_program_changed(
    tmp_path: Path, statement: str, operation: Callable[[dolium.Cache], object], answer: object
) -> None:
    cache = idle(tmp_path)
    run(OTHER, tmp_path, statement)
    if answer is KeyError:
        with pytest.raises(KeyError):
            operation(cache)
    else:
        assert operation(cache) == answer
    cache.close()


def test_a_new_process_sees_what_another_program_changed(tmp_path: Path) -> None:
    cache = idle(tmp_path)
    run(OTHER, tmp_path, CHANGED)
    body = "cache = dolium.Cache(sys.argv[1]); say(cache.get('n'), cache.incr('n'))"
    assert run(body, tmp_path) == ["100 101"]
    cache.close()


def test_read_only_process_sees_what_another_program_changed(tmp_path: Path) -> None:
    cache = idle(tmp_path)
    reader = dolium.Cache(tmp_path, read_only=True)
    assert reader["n"] == 10
    run(OTHER, tmp_path, CHANGED, "DELETE FROM Cache WHERE key = 'theirs'")
    assert (reader["n"], reader.get("theirs"), "theirs" in reader) == (100, None, False)
    reader.close()
    cache.close()


def test_a_get_does_not_wait_for_another_programs_transaction(tmp_path: Path) -> None:
    cache = idle(tmp_path, timeout=30)
    with Child(BUSY, tmp_path, 3600) as other:
        other.line("in transaction")
        with Child("cache = dolium.Cache(sys.argv[1]); say(cache['n'])", tmp_path) as another:
            another.line("10")
        # Far less than the transaction takes, and without the time that a write would be given.
        assert (cache.get("n"), cache.get("theirs"), cache["n"]) == (10, 2, 10)
        other.kill()
    cache.close()


WRITES = """
cache = dolium.Cache(sys.argv[1])
assert len(cache) == 2
say("ready")
hear()
for key in range(10):
    cache[key] = key
cache["n"] = "new"
say("acknowledged")
if sys.argv[2] == "close":
    cache.close()
"""


@pytest.mark.parametrize("end", ["close", "exit"])
def test_acknowledged_writes_survive_close_beside_another_writer(tmp_path: Path, end: str) -> None:
    idle(tmp_path).close()
    with Child(WRITES, tmp_path, end) as ours:
        ours.line("ready")
        with Child(BUSY, tmp_path, 3) as other:
            other.line("in transaction")
            ours.tell()
            ours.line("acknowledged")
            ours.finish()
            other.finish()
    with dolium.Cache(tmp_path) as cache:
        assert (len(cache), cache["n"], cache["theirs"], cache[7]) == (12, "new", 3, 7)
