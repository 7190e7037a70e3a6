"""Dictionaries of Zstandard: a cache trains them on the small values of a function, and any process reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dolium
import numpy as np
import pyarrow as pa
import pytest
from dolium.codecs import Array, Arrow, Auto, Codec, Encoder, Filter, Json, Pickle, Zstd
from helpers.children import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHARED = Zstd(dictionary=True)
RECORDS = Json() | SHARED
PATIENCE = 60.0


def record(n: int) -> dict[str, Any]:
    """A small record, of which only some digits are its own."""
    digits = hashlib.sha256(str(n).encode()).hexdigest()
    return {
        "id": digits[:16],
        "status": "shipped to the customer",
        "lines": [{"article": digits[16:20], "currency": "EUR", "count": n % 7, "comment": "none was given"}],
    }


@dataclasses.dataclass
class Mine:
    status: str


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def dictionaries(cache: Any) -> list[tuple[Any, ...]]:
    """Group and number of each dictionary that the cache has."""
    first = cache._shards[0] if isinstance(cache, dolium.FanoutCache) else cache
    with contextlib.suppress(Exception):
        return first._sql('SELECT "group", number FROM DoliumDictionary ORDER BY adopted').fetchall()
    return []


def size_of_new(cache: Any, codec: Any = SHARED) -> int:
    """The bytes of a record that is stored now."""
    cache.set("probe", record(10**9), codec=codec)
    return cache.info("probe").size


def train(cache: Any, codec: Any = RECORDS) -> int:
    """Store records until the cache has a dictionary for them, and uses it. Return the bytes of one before."""
    before = size_of_new(cache, codec)
    assert cache.set_many({n: record(n) for n in range(700)}, codec=codec) == 700
    wait_until(lambda: dictionaries(cache) != [])
    wait_until(lambda: size_of_new(cache, codec) < before / 2)
    return before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cache that has a dictionary for records. Tests leave it as it is."""
    with dolium.Cache(tmp_path_factory.mktemp("trained")) as cache:
        train(cache)
        yield cache


def test_values_of_a_cache_share_a_dictionary(trained: Any):
    assert [group for group, _ in dictionaries(trained)] == [""]
    assert all(trained[n] == record(n) for n in range(700))
    assert trained["probe"] == record(10**9)


def test_values_of_a_function_share_their_own(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:

        @cache.cached(name="app.order", version="1", codec=RECORDS)
        def order(n: int) -> dict[str, Any]:
            return record(n)

        for n in range(700):
            assert order(n) == record(n)
        before = order.entry(0)
        assert before is not None
        wait_until(lambda: dictionaries(cache) != [])
        ((group, _),) = dictionaries(cache)
        assert "app.order" in group

        fresh = iter(range(10_000, 20_000))

        def is_smaller() -> bool:
            n = next(fresh)
            assert order(n) == record(n)
            entry = order.entry(n)
            assert entry is not None
            return entry.size < before.size / 2

        wait_until(is_smaller)
        hits = order.info().hits
        assert order(10_000) == record(10_000)
        assert order.info().hits == hits + 1


def test_another_process_reads_values_with_a_dictionary(trained: Any):
    assert run("print(dolium.Cache(sys.argv[1])['probe']['id'])", Path(trained.directory)) == [
        record(10**9)["id"]
    ]


def test_forked_child_reads_and_writes_with_a_dictionary(trained: Any):
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            assert trained["probe"] == record(10**9)
            trained.set("child", record(5), codec=RECORDS)
            assert trained["child"] == record(5)
            code = 0
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert trained["child"] == record(5)


@pytest.mark.parametrize("harm", [
    "DELETE FROM DoliumDictionary",
    "UPDATE DoliumDictionary SET bytes = zeroblob(length(bytes))",
    "UPDATE DoliumDictionary SET bytes = 'text'",
    "UPDATE DoliumDictionary SET hash = zeroblob(32)",
    "UPDATE DoliumDictionary SET number = number + 1",
    "DROP TABLE DoliumDictionary",
])  # fmt: skip
def test_value_without_its_dictionary_is_a_miss(trained: Any, tmp_path: Path, harm: str):
    trained.set("again", record(3), codec=RECORDS)
    trained.backup(tmp_path / "copy")
    with dolium.Cache(tmp_path / "copy") as cache:
        cache._sql(harm)
    with dolium.Cache(tmp_path / "copy") as cache:
        assert cache.get("again", "miss") == "miss"
        assert cache.get_many(["again"]) == {}
        assert cache.get(0) == record(0), "it was stored before there was a dictionary"
        with pytest.raises(KeyError):
            cache["again"]
        cache.set("again", record(4), codec=RECORDS)
        assert cache["again"] == record(4)
    with dolium.Cache(tmp_path / "copy") as cache:
        cache.check(fix=True)
        assert cache["again"] == record(4)
        assert cache.check() == []


def test_backup_carries_dictionaries(trained: Any, tmp_path: Path):
    trained.backup(tmp_path / "copy")
    assert run("print(dolium.Cache(sys.argv[1])['probe']['status'])", tmp_path / "copy") == [
        "shipped to the customer"
    ]


def test_clear_leaves_the_dictionary_to_new_values(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:
        before = train(cache)
        cache.clear()
        assert len(cache) == 0
        assert size_of_new(cache, RECORDS) < before / 2
        assert cache["probe"] == record(10**9)


def test_shards_share_the_dictionaries_of_the_first(tmp_path: Path):
    with dolium.FanoutCache(tmp_path / "cache", shards=4, timeout=60) as cache:
        train(cache)
        for n in range(2000, 2050):
            assert cache.set(n, record(n), codec=RECORDS)
        for shard in cache._shards[1:]:
            with pytest.raises(Exception, match="DoliumDictionary"):
                shard._sql("SELECT * FROM DoliumDictionary")
    with dolium.FanoutCache(tmp_path / "cache", shards=4, timeout=60) as cache:
        assert all(cache[n] == record(n) for n in (*range(700), *range(2000, 2050)))
        assert cache.check() == []


def test_value_from_a_transaction_comes_back(trained: Any):
    with trained.transact():
        trained.set("in", record(1), codec=RECORDS)
        assert trained["in"] == record(1)
    assert trained["in"] == record(1)


def test_large_and_tiny_values_belong_to_no_group(trained: Any):
    numbers = [number for _, number in dictionaries(trained)]
    assert numbers
    for value in ("x", "word " * 20_000):
        trained.set("key", value, codec=SHARED)
        assert trained["key"] == value


def test_dictionary_is_for_the_last_filter():
    class Mirror(Filter):
        name = "tests.mirror of dictionaries"

        def encode(self, data: bytes) -> bytes:
            return data[::-1]

        decode = encode

    with pytest.raises(ValueError, match="dictionary"):
        SHARED | Mirror()
    assert repr(Mirror() | SHARED) == "Auto() | Mirror() | Zstd(dictionary=True)"
    assert repr(Zstd()) == "Zstd()"
    assert Zstd() != SHARED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda parts: st.lists(parts, max_size=20) | st.dictionaries(st.text(), parts, max_size=20),
    max_leaves=50,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON, repeat=st.integers(1, 30))
def test_any_value_comes_back_with_a_dictionary(trained: Any, value: Any, repeat: int):
    for codec in (Json() | SHARED, Pickle() | SHARED, SHARED):
        values = [value] * repeat
        trained.set("any", values, codec=codec)
        assert trained["any"] == values


@pytest.mark.parametrize(
    ("encoder", "value"),
    [
        (Auto(), [record(1)]),
        (Auto(), "shipped to the customer " * 9),
        (Pickle(), {"a": {record(1)["id"]}}),
        (Array(), np.arange(300) / 7),
        (Arrow(), pa.table({"n": range(100), "t": ["shipped to the customer"] * 100})),
    ],
)
def test_each_encoder_stores_with_a_dictionary(trained: Any, encoder: Encoder, value: Any):
    trained.set("each", value, codec=Codec(encoder, SHARED))
    found = trained["each"]
    assert type(found) is type(value)
    assert np.array_equal(found, value) if isinstance(value, np.ndarray) else found == value


def test_forged_frame_with_a_dictionary_is_never_run(trained: Any, tmp_path: Path):
    mine = [Mine(str(n)) for n in range(50)]
    trained.set("pickled", mine, codec=Pickle() | SHARED)
    trained.backup(tmp_path / "copy")
    with dolium.Cache(tmp_path / "copy", trust="none") as cache:
        assert cache.get("pickled", "miss") == "miss"
    with dolium.Cache(tmp_path / "copy") as cache:
        # The signature is for another key.
        cache._sql(
            "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'pickled') WHERE key = 'probe'"
        )
        assert cache.get("probe", "miss") == "miss"
        assert cache["pickled"] == mine


def _cli(*arguments: object) -> list[dict[str, Any]]:
    made = subprocess.run(
        [sys.executable, "-m", "dolium", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return [json.loads(line) for line in made.stdout.splitlines()]


def test_stats_of_codecs_tell_what_is_saved(trained: Any):
    found = _cli("stats", trained.directory, "--codecs", "--json")
    plain, packed = (
        next(line for line in found if line["codec"] == f"json | {name}")
        for name in ("zstd", "zstd with a dictionary")
    )
    assert plain["group"] == packed["group"] == "the cache"
    assert plain["dictionary"] is None
    assert packed["dictionary"] == dictionaries(trained)[0][1]
    assert packed["saved"] > plain["saved"] + 0.1
    assert packed["adopted"] > time.time() - 3600
    assert sum(line["entries"] for line in found if line["group"] == "the cache") >= 700


def test_export_and_import_carry_dictionaries(trained: Any, tmp_path: Path):
    for arguments in (("export", trained.directory, "dump"), ("import", "other", "dump")):
        command = [sys.executable, "-m", "dolium", *arguments]
        made = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
    with dolium.Cache(tmp_path / "other") as cache:
        assert cache["probe"] == record(10**9)
        assert dictionaries(cache) == dictionaries(trained)
