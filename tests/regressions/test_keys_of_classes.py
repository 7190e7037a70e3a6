"""What a program stored is its own: keys of its classes come back from walks, to holders of its signing key."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import os
import pickle
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import dolium
import pytest
from differential.oracle import Oracle


@dataclasses.dataclass(frozen=True)
class Query:
    text: str
    number: int


class Color(enum.Enum):
    RED = "r"


KEYS: list[Any] = [
    Query("a", 1),
    ("f", Query("a", 2), None, "q", [Query("b", 3)]),
    ("f", Color.RED),
    ("f", decimal.Decimal("1.50"), dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)),
    ("f", [Query("x" * 40_000, 4)] * 3),
    ("f", {"plain": [1, 2]}),
    ("f", int),
]

WALK = """
import sys, warnings
warnings.simplefilter("error")
import dolium
with dolium.Cache(sys.argv[1]) as cache:
    print(len(list(cache)), len(cache))
"""


def fill(directory: Path, **settings: Any) -> None:
    with dolium.Cache(directory, **settings) as cache:
        for number, key in enumerate(KEYS):
            cache[key] = number


@pytest.mark.parametrize("hot_size", [0, -1])
@pytest.mark.parametrize("sharding", [dolium.Cache, dolium.FanoutCache])
def test_a_walk_gives_back_the_programs_own_keys(tmp_path: Path, hot_size: int, sharding: Any) -> None:
    cache = sharding(tmp_path, hot_size=hot_size)
    for number, key in enumerate(KEYS):
        cache[key] = number
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(cache)
    assert sorted(map(repr, found)) == sorted(map(repr, KEYS))
    for number, key in enumerate(KEYS):
        assert cache[key] == number
    cache.close()


def test_every_call_that_stores_proves_the_key(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path, hot_size=0) as direct:
        direct.set(Query("set", 0), 0)
        direct.add(Query("add", 0), 0)
        direct.incr(Query("incr", 0))
        direct.set_many([(Query("set_many", 0), 0)])
        direct.add_many([(Query("add_many", 0), 0)])
        with direct.transact():
            direct.set(Query("transact", 0), [])
        direct.set(Query("file", 0), b"x" * 100_000)
        assert len(list(direct)) == len(direct) == 7


def test_memoized_arguments_come_back(tmp_path: Path) -> None:
    cache = dolium.Cache(tmp_path)

    @cache.memoize(name="f")
    def f(query: Query) -> int:
        return query.number

    for number in range(5):
        f(Query("a", number))
    assert [key[1].number for key in cache] == list(range(5))
    cache.close()


def test_another_process_of_the_user_walks(tmp_path: Path) -> None:
    fill(tmp_path)
    root = str(Path(__file__).parents[1])
    walk = subprocess.run(
        [sys.executable, "-c", WALK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root},
        check=False,
        capture_output=True,
        text=True,
    )
    assert walk.stdout.split() == [str(len(KEYS))] * 2, walk.stderr


def test_another_signing_key_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    script = WALK.replace('simplefilter("error")', 'simplefilter("ignore")')
    root = str(Path(__file__).parents[1])
    walk = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": root, "DOLIUM_SIGNING_KEY": "another key of many characters"},
        check=False,
        capture_output=True,
        text=True,
    )
    listed, stored = map(int, walk.stdout.split())
    assert stored == len(KEYS), walk.stderr
    assert listed == 2, "those of plain data"


class Hostile:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


def test_a_key_that_others_put_there_stays_refused(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache[Query("mine", 1)] = 1
        cache.flush()
    database = sqlite3.connect(tmp_path / "cache.db")
    with database:
        insert = "INSERT INTO Cache (key, raw, store_time, mode, value) VALUES (?, 0, 0, 1, 5)"
        database.execute(insert, (pickle.dumps(Hostile()),))
        # With the proof of another key, which covers that key.
        database.execute(
            "INSERT INTO DoliumKeys SELECT (SELECT max(rowid) FROM Cache), proof FROM DoliumKeys"
        )
    database.close()
    with dolium.Cache(tmp_path) as cache, pytest.warns(dolium.UntrustedValueWarning):
        assert list(cache) == [Query("mine", 1)]


def test_a_trustless_cache_loads_no_key(tmp_path: Path) -> None:
    fill(tmp_path)
    with dolium.Cache(tmp_path, trust="none") as cache:
        with pytest.warns(dolium.UntrustedValueWarning):
            keys = list(cache)
        assert Query("a", 1) not in keys
        assert cache[Query("a", 1)] == 0


def test_diskcache_reads_and_removes_such_keys(tmp_path: Path) -> None:
    keys: list[Any] = [("f", decimal.Decimal("1.50")), ("f", int), ("f", range(3))]
    with dolium.Cache(tmp_path) as cache:
        for number, key in enumerate(keys):
            cache[key] = number
    with Oracle() as oracle:
        theirs = oracle.open("Cache", tmp_path)
        assert list(theirs) == keys
        assert [theirs[key] for key in keys] == list(range(len(keys)))
        theirs.pop(keys[0])
    with dolium.Cache(tmp_path) as cache:
        assert list(cache) == keys[1:]


def test_proofs_go_with_their_rows(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        for number in range(50):
            cache.set(
                Query("a", number),
                number,
                expire=1000 if number % 2 else None,
                tag="odd" if number > 40 else None,
            )
        cache.flush()
        count = "SELECT count(*) FROM DoliumKeys"
        assert cache._sql(count).fetchall() == [(50,)]
        del cache[Query("a", 0)]
        cache.evict("odd")
        cache.expire(now=1e12)
        assert len(cache) == len(list(cache)) == cache._sql(count).fetchall()[0][0] == 20
        cache.clear()
        assert cache._sql(count).fetchall() == [(0,)]


def test_a_row_that_is_written_again_keeps_its_proof(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        key = Query("a", 1)
        for round in range(3):
            cache[key] = round
            cache.touch(key, 100)
            cache.incr(key)
            cache.pop(key)
            cache[key] = round
            cache.incr(key)
            assert list(cache) == [key]


KILLED = """
import os, signal, sys
import dolium
from regressions.test_keys_of_classes import Query
cache = dolium.Cache(sys.argv[1])
cache[0] = 0
cache[Query("a", 1)] = 1
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_program_leaves_the_proof(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    with dolium.Cache(tmp_path) as cache:
        assert list(cache) == [0, Query("a", 1)]


def test_a_lost_class_hides_no_other_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache[Query("a", 1)] = 1
        cache["other"] = 2
        assert len(list(cache)) == 2
    monkeypatch.delattr(sys.modules[__name__], "Query")
    with dolium.Cache(tmp_path) as cache, pytest.warns(dolium.UntrustedValueWarning):
        assert list(cache) == ["other"]
