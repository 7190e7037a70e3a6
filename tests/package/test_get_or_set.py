"""`get_or_set` of `Cache`, `FanoutCache` and `DjangoCache`; memoized functions on threads."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import PATIENCE

LONG = 20 * PATIENCE


@pytest.fixture(params=["Cache", "FanoutCache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with getattr(dolium, request.param)(str(tmp_path)) as cache:
        yield cache


def fail() -> Any:
    raise AssertionError("called where there is a value")


def test_get_or_set_computes_once_and_keeps(cache):
    assert cache.get_or_set("key", lambda: [1, 2]) == [1, 2]
    assert cache.get_or_set("key", fail) == [1, 2]
    assert cache["key"] == [1, 2]
    assert cache.get_or_set(("a", 1), lambda: None) is None
    assert cache.get_or_set(("a", 1), fail) is None


def test_get_or_set_stores_lifetime_and_tag(cache):
    cache.get_or_set("a", lambda: 1, expire=datetime.timedelta(minutes=5), tag="t")
    _, expires, tag = cache.get("a", expire_time=True, tag=True)
    assert 290 < expires - time.time() < 301
    assert tag == "t"
    assert cache.get("a", expire_time=True)[1] is not None


def test_get_or_set_stores_nothing_that_has_no_lifetime(cache):
    assert [cache.get_or_set("key", iter([n]).__next__, expire=0) for n in range(3)] == [0, 1, 2]
    assert "key" not in cache


def test_get_or_set_on_threads_calls_once(cache):
    calls = []

    def compute() -> str:
        calls.append(1)
        time.sleep(0.2)
        return "value"

    with ThreadPoolExecutor(30) as pool:
        futures = [pool.submit(cache.get_or_set, "key", compute) for _ in range(30)]
        assert {future.result(LONG) for future in futures} == {"value"}
    assert len(calls) == 1


def test_get_or_set_returns_what_a_hit_returns(tmp_path):
    with dolium.Cache(str(tmp_path), disk=dolium.JSONDisk) as cache:
        assert cache.get_or_set("key", lambda: (1, {"a": 2})) == [1, {"a": 2}]
        assert cache.get_or_set("key", fail) == [1, {"a": 2}]


def test_get_or_set_returns_what_cannot_be_stored(cache):
    lock = threading.Lock()
    with pytest.warns(dolium.UnstoredResultWarning, match=r"lambda.*lock") as caught:
        results = [cache.get_or_set("key", lambda: lock) for _ in range(3)]
    assert results == [lock] * 3
    assert len(caught) == 1, "one warning for each function"


def test_get_or_set_raises_what_the_function_raises(cache):
    def broken() -> None:
        raise LookupError("no such page")

    for _ in range(2):
        with pytest.raises(LookupError, match="no such page"):
            cache.get_or_set("key", broken)
    assert "key" not in cache


def test_get_or_set_in_a_transaction_is_part_of_it(cache):
    def change() -> None:
        with cache.transact():
            assert cache.get_or_set("key", lambda: 1) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert "key" not in cache


def test_get_or_set_of_a_read_only_cache_computes(tmp_path):
    with dolium.Cache(str(tmp_path)) as cache:
        cache["a"] = 1
    with dolium.Cache(str(tmp_path), read_only=True) as cache:
        assert cache.get_or_set("a", fail) == 1
        assert cache.get_or_set("b", lambda: 2) == 2
    assert not (tmp_path / "cache.lease").exists()


def test_opening_and_reading_make_no_file_of_leases(cache, tmp_path):
    cache["a"] = 1
    assert cache.get_or_set("a", fail) == 1
    assert not list(tmp_path.rglob("cache.lease"))
    cache.get_or_set("b", lambda: 1)
    assert [path.parent for path in tmp_path.rglob("cache.lease")] == [tmp_path], "one for all shards"
    assert cache.check() == []


def test_flights_outlive_the_removal_of_their_file(cache, tmp_path):
    cache.get_or_set("a", lambda: 1)
    (tmp_path / "cache.lease").unlink()
    assert cache.get_or_set("b", lambda: 2) == 2
    (tmp_path / "cache.lease").write_bytes(b"no table")
    assert cache.get_or_set("c", lambda: 3) == 3
    (tmp_path / "cache.lease").unlink()
    (tmp_path / "cache.lease").mkdir()
    assert cache.get_or_set("d", lambda: 4) == 4


def test_get_or_set_of_a_closed_cache_goes_on(cache):
    cache.get_or_set("a", lambda: 1)

    def compute() -> int:
        cache.close()
        return 2

    assert cache.get_or_set("b", compute) == 2
    assert cache.get_or_set("b", fail) == 2


# Memoized functions


@pytest.mark.parametrize("stampede", [False, True])
def test_memoized_functions_on_threads_compute_once(cache, stampede):
    calls = []

    def slow(number: int) -> int:
        calls.append(number)
        time.sleep(0.2)
        return number + 1

    kept = dolium.memoize_stampede(cache, 60)(slow) if stampede else cache.memoize()(slow)
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(kept, [1] * 20)) == [2] * 20
    assert (calls, kept(1)) == ([1], 2)


@pytest.mark.parametrize("stampede", [False, True])
def test_memoized_functions_share_a_failure(cache, stampede):
    calls = []

    def slow() -> None:
        calls.append(1)
        time.sleep(0.2)
        raise ValueError("no")

    kept = dolium.memoize_stampede(cache, 60)(slow) if stampede else cache.memoize()(slow)
    with ThreadPoolExecutor(20) as pool:
        errors = [pool.submit(kept).exception(LONG) for _ in range(1)]
        futures = [pool.submit(kept) for _ in range(20)]
        errors += [future.exception(LONG) for future in futures]
    assert {type(error) for error in errors} == {ValueError}
    assert len(calls) <= 4, "at most one attempt for those who came in time"


def test_memoized_recursion_ends(cache):
    @cache.memoize()
    def fibonacci(number: int) -> int:
        return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

    assert fibonacci(20) == 6765
