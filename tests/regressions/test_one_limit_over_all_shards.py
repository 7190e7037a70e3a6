"""A `FanoutCache` has one limit: the sum of its shards obeys it, however it was set."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import dolium
import pytest
from helpers.children import Child

LIMIT = 1_000_000

#: What many processes may exceed a limit by, and a page that is being filled.
ACCURACY = 1.03


@pytest.fixture(autouse=True)
def evictions_are_expected():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=dolium.EvictionWarning)
        yield


def fill(cache: dolium.FanoutCache, megabytes: float, size: int = 10_000, start: int = 0) -> None:
    for number in range(start, start + int(megabytes * 1_000_000 / size)):
        assert cache.set(number, b"x" * size, retry=True)


def held(cache: dolium.FanoutCache) -> int:
    """The pages in use and the value files of all shards."""
    cache.volume()  # drains all of them
    used = 0
    for shard in cache._shards:
        ((pages,),) = shard._sql("PRAGMA page_count").fetchall()
        ((free,),) = shard._sql("PRAGMA freelist_count").fetchall()
        ((size,),) = shard._sql("PRAGMA page_size").fetchall()
        used += (pages - free) * size + shard.reset("size")
    return used


def soon_held(cache: dolium.FanoutCache) -> int:
    """The same, once the housekeeper has evicted in shards whose writer lock was not free."""
    end = time.monotonic() + 10
    while held(cache) > LIMIT * ACCURACY and time.monotonic() < end:
        time.sleep(0.02)
    return held(cache)


@pytest.mark.parametrize("size", [1_000, 10_000, 60_000])
def test_all_shards_together_hold_no_more_than_the_limit(tmp_path: Path, size: int):
    cache = dolium.FanoutCache(tmp_path, shards=4, timeout=60, size_limit=LIMIT, cull_limit=0)
    fill(cache, 5, size)
    assert held(cache) > 4 * LIMIT
    cache.cull()
    assert LIMIT * 0.6 < held(cache) <= LIMIT
    assert cache.reset("cull_limit", 10) == 10
    fill(cache, 3, size, start=100_000)
    assert LIMIT * 0.6 < soon_held(cache) <= LIMIT * ACCURACY
    cache.close()


def by_reset(cache: dolium.FanoutCache) -> dolium.FanoutCache:
    assert cache.reset("size_limit", LIMIT) == LIMIT
    return cache


def by_attribute(cache: dolium.FanoutCache) -> dolium.FanoutCache:
    cache.size_limit = LIMIT
    return cache


def at_opening(cache: dolium.FanoutCache) -> dolium.FanoutCache:
    cache.close()
    return dolium.FanoutCache(cache.directory, shards=4, timeout=60, size_limit=LIMIT)


@pytest.mark.parametrize("lower", [by_reset, by_attribute, at_opening])
def test_a_lowered_limit_holds_for_all_shards_together(
    tmp_path: Path, lower: Callable[[dolium.FanoutCache], dolium.FanoutCache]
):
    cache = dolium.FanoutCache(tmp_path, shards=4, timeout=60, size_limit=50_000_000)
    fill(cache, 5)
    cache = lower(cache)
    assert cache.size_limit == LIMIT
    fill(cache, 0.5, start=100_000)
    assert soon_held(cache) <= LIMIT * ACCURACY
    cache.close()


def test_a_lowered_limit_reaches_objects_that_are_open(tmp_path: Path):
    """In a process of its own, which has not been told."""
    body = """
    import warnings
    warnings.simplefilter("ignore")
    cache = dolium.FanoutCache(sys.argv[1], shards=4, timeout=60, size_limit=50_000_000)
    cache["first"] = b"x" * 10_000
    say("open", cache.size_limit)
    hear()
    say(cache.size_limit)
    for number in range(300):
        cache.set(number, b"x" * 10_000, retry=True)
    cache.close()
    """
    with Child(body, tmp_path) as child:
        assert child.line() == "open 50000000"
        cache = dolium.FanoutCache(tmp_path, shards=4, timeout=60, size_limit=LIMIT)
        child.tell()
        assert child.line() == str(LIMIT)
        child.finish()
    # It looks after each 256th part of the limit that it knows, so at the latest after 200 kB.
    assert soon_held(cache) <= LIMIT * ACCURACY
    cache.close()


def test_what_expired_in_another_shard_goes_before_what_lives(tmp_path: Path):
    cache = dolium.FanoutCache(tmp_path, shards=4, timeout=60, size_limit=LIMIT, cull_limit=0)
    shards = {number: cache._hash(number) % 4 for number in range(400)}
    for number, shard in shards.items():
        cache.set(number, b"x" * 10_000, expire=0.001 if shard == 3 else None, retry=True)
    kept = [number for number, shard in shards.items() if shard == 0][:50]
    for number, shard in shards.items():
        if shard != 3 and number not in kept:
            del cache[number]
    assert cache.cull() == sum(shard == 3 for shard in shards.values())
    assert all(number in cache for number in kept)
    cache.close()


@pytest.mark.parametrize("hot_size", [-1, 0])
def test_a_large_entry_makes_the_other_shards_give(tmp_path: Path, hot_size: int):
    cache = dolium.FanoutCache(tmp_path, shards=4, timeout=60, size_limit=LIMIT, hot_size=hot_size)
    fill(cache, 0.8)
    assert cache.set("large", b"x" * 700_000, retry=True)
    assert "large" in cache
    assert soon_held(cache) <= LIMIT * ACCURACY
    cache.close()


def test_size_limit_is_that_of_all_shards(tmp_path: Path):
    cache = dolium.FanoutCache(tmp_path, shards=3, size_limit=1_000_003)
    assert cache.size_limit == cache.reset("size_limit") == 1_000_003
    assert cache.reset("size_limit", None) == cache.size_limit == float("inf")
    cache.close()
    assert dolium.FanoutCache(tmp_path).size_limit == float("inf")


def test_shards_do_without_a_tier_as_the_first_does(tmp_path: Path):
    cache = dolium.FanoutCache(tmp_path, shards=3, hot_size=0)
    for number in range(30):
        cache.set(number, number, retry=True)
    assert {shard.stats().hot.missing for shard in cache._shards} == {"turned off by hot_size = 0"}
    cache.close()
