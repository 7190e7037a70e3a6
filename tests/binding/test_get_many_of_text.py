"""`get_many` of keys that are all text or all bytes is what `get` of each is, in their order."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path
from typing import Any, ClassVar

import dolium
import pytest


class Text(str):
    """Text that is no key by itself."""


class Deletes:
    """Its pickle empties a list when it is loaded."""

    keys: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Deletes.empty, ()

    @staticmethod
    def empty() -> str:
        Deletes.keys.clear()
        return "loaded"


def test_get_many_keeps_the_order_of_hot_and_cold_keys(tmp_path: Path) -> None:
    values: dict[str, Any] = {"a": 1, "b": [1, 2], "c": "text", "d": (3,), "e": 2.5, "f": b"bytes", "g": None}
    with dolium.Cache(tmp_path) as cache:
        cache.set_many(values)
    with dolium.Cache(tmp_path, hot_size=-1) as cache:
        for hot in ("d", "b", "f"):
            assert cache[hot] == values[hot]
        keys = ["g", "f", "absent", "e", "d", "c", "b", "a"]
        expected = [(key, values[key]) for key in keys if key in values]
        for _ in range(3):
            assert list(cache.get_many(keys).items()) == expected
        assert list(cache.get_many(tuple(keys)).items()) == expected


def test_get_many_finds_a_repeated_key_once(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache.set_many({"a": [1], "b": 2})
        assert list(cache.get_many(["b", "a", "b", "a", "a"]).items()) == [("b", 2), ("a", [1])]
        cache.set_many({b"a": [3], b"b": 4})
        assert list(cache.get_many([b"b", b"a", b"b"]).items()) == [(b"b", 4), (b"a", [3])]


def test_get_many_tells_text_from_bytes_and_other_text(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        values: dict[Any, Any] = {"a": 1, b"a": 2, "\udcff": 3, "ü": 4, 1: 5}
        cache.set_many(values)
        for keys in ([*values], ["a", "\udcff"], ["ü", "a"], [b"a", "a"], ["a", 1], [Text("a"), "ü"]):
            expected = {key: found for key in keys if (found := cache.get(key)) is not None}
            assert cache.get_many(keys) == expected


@pytest.mark.parametrize("names", [["plain", "foreign"], ["foreign", "plain", "foreign"]])
def test_get_many_leaves_out_a_refused_pickle(tmp_path: Path, names: list[str]) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache["plain"] = 1
        cache["foreign"] = [1]
    with sqlite3.connect(tmp_path / "cache.db") as database:
        stolen = pickle.dumps(Deletes())
        database.execute("UPDATE Cache SET value = ?, mode = 4 WHERE key = 'foreign'", (stolen,))
    database.close()
    with dolium.Cache(tmp_path, hot_size=-1) as cache:
        with pytest.warns(dolium.UntrustedValueWarning):
            assert cache.get_many(names) == {"plain": 1}
        for _ in range(2):
            assert cache.get_many(names) == {"plain": 1}


def test_get_many_reads_what_a_pickle_takes_away_when_loaded(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path, trust="all") as cache:
        cache.set_many({"a": Deletes(), "b": Deletes(), "c": 3})
        Deletes.keys = ["a", "b", "c"]
        assert cache.get_many(Deletes.keys) == {"a": "loaded", "b": "loaded", "c": 3}
        assert Deletes.keys == []


def test_get_many_passes_over_what_has_expired(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        cache.set("gone", 1, expire=-1)
        cache.set("there", 2, expire=1000)
        for _ in range(2):
            assert cache.get_many(["gone", "there"]) == {"there": 2}
