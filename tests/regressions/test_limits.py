"""Eviction is honest: no more than needed, nothing because of one giant, said once, counted."""

from __future__ import annotations

import contextlib
import os
import time
import warnings

import dolium
import pytest
from helpers.children import Child, run

MIB = 2**20


def warned(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [warning.category for warning in caught]


@pytest.mark.parametrize("policy", ["least-recently-stored", "least-recently-used", "least-frequently-used"])
def test_value_over_the_limit_is_refused_and_evicts_none(tmp_path, policy):
    """diskcache evicts everything, then the value itself."""
    cache = dolium.Cache(tmp_path, size_limit=MIB, eviction_policy=policy)
    for n in range(10):
        cache[n] = os.urandom(10_000)
    cache["k"] = "old"
    assert warned(lambda: cache.set("k", os.urandom(3 * MIB // 2))) == [dolium.ValueTooLargeWarning]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cache.set("k", os.urandom(3 * MIB // 2)) is False
        assert cache.add("fresh", os.urandom(3 * MIB // 2)) is False
    assert len(cache) == 11
    assert cache["k"] == "old"
    assert all(n in cache for n in range(10))
    assert cache.check() == []
    cache.close()


def test_a_value_that_fits_all_shards_together_is_kept(tmp_path):
    """One limit over all shards: diskcache drops a value larger than limit / shards without a word."""
    cache = dolium.FanoutCache(tmp_path, shards=8, size_limit=8 * MIB, timeout=60)
    value = os.urandom(3 * MIB // 2)
    assert cache.set("k", value) is True
    assert cache["k"] == value
    cache["l"] = 1
    assert cache["k"] == value
    cache.close()


def test_one_full_shard_does_not_evict_while_there_is_room(tmp_path):
    cache = dolium.FanoutCache(tmp_path, shards=4, size_limit=8 * MIB, timeout=60)
    keys = [n * 4 for n in range(60)]  # all of one shard
    for key in keys:
        cache[key] = os.urandom(50_000)
    assert all(key in cache for key in keys)
    cache.close()


def test_only_as_much_as_needed_is_evicted(tmp_path):
    """40 values of 50 kB under 2 MB: diskcache keeps 30 or fewer, ten at a time go."""
    cache = dolium.Cache(tmp_path, size_limit=2_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(100):
            cache[n] = os.urandom(50_000)
    assert 2_000_000 - 4 * 50_000 <= cache.volume() <= 2_000_000 + 50_000
    assert len(cache) >= 36
    assert sorted(cache) == list(range(100 - len(cache), 100)), "the oldest went"
    cache.close()


def test_expired_entries_go_first(tmp_path):
    cache = dolium.Cache(tmp_path, size_limit=2_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(15):
            cache[n] = os.urandom(50_000)
        for n in range(15, 30):
            cache.set(n, os.urandom(50_000), expire=1000)
        for n in range(15, 30):
            cache.touch(n, -1)
        for n in range(30, 45):
            cache[n] = os.urandom(50_000)
    assert all(n in cache for n in range(15)), "older, but not expired"
    cache.close()


def test_eviction_at_a_limit_that_was_passed_warns_of_nothing(tmp_path):
    cache = dolium.Cache(tmp_path, size_limit=MIB)

    def fill():
        for n in range(100):
            cache[n] = os.urandom(50_000)

    assert warned(fill) == []
    assert len(cache) < 100
    cache.close()


def test_writes_far_below_the_limit_warn_of_nothing(tmp_path):
    def work():
        cache = dolium.Cache(tmp_path)
        for n in range(100):
            cache.set(n, "x", expire=1000)
            cache.touch(n, -1)
        cache.clear()
        cache.close()

    assert warned(work) == []


def test_no_limit_evicts_nothing(tmp_path):
    cache = dolium.Cache(tmp_path, size_limit=None)
    for n in range(50):
        cache[n] = os.urandom(50_000)
    cache.cull()
    assert len(cache) == 50
    cache.close()
    again = dolium.Cache(tmp_path)
    for n in range(50, 80):
        again[n] = os.urandom(50_000)
    assert len(again) == 80, "it is remembered"
    again.close()


def test_infinity_is_no_limit_either(tmp_path):
    """As connectome passes it."""
    cache = dolium.Cache(tmp_path, size_limit=float("inf"), cull_limit=0)
    cache["a"] = 1
    assert cache.volume() < cache.size_limit
    cache.close()


def test_the_limit_survives_and_so_does_the_volume(tmp_path):
    cache = dolium.Cache(tmp_path, size_limit=MIB)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(50):
            cache[n] = os.urandom(50_000)
        cache.close()
        again = dolium.Cache(tmp_path)
        assert again.volume() > MIB // 2
        for n in range(50):
            again[n] = os.urandom(50_000)
    assert again.volume() <= MIB + 100_000
    again.close()


def test_the_space_is_given_back(tmp_path):
    """diskcache runs with auto_vacuum, and so the file shrinks after a clear."""
    cache = dolium.Cache(tmp_path)
    for n in range(2000):
        cache[n] = os.urandom(3000)
    full = cache.volume()
    cache.clear()
    cache.close()
    assert full > 5_000_000
    assert dolium.Cache(tmp_path).volume() < full / 20
    assert (tmp_path / "cache.db").stat().st_size < full / 20


def test_evicted_files_are_removed(tmp_path):
    cache = dolium.Cache(tmp_path, size_limit=MIB)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(100):
            cache[n] = os.urandom(50_000)
    kept = len(cache)
    cache.close()
    assert len(list(tmp_path.rglob("*.val"))) == kept


def test_recipes_keys_are_not_evicted(tmp_path):
    """dc#270: a semaphore that is evicted lets everybody in."""
    cache = dolium.Cache(tmp_path, size_limit=MIB)
    lock = dolium.Lock(cache, "lock")
    lock.acquire()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in range(200):
            cache[n] = os.urandom(50_000)
    assert lock.locked()
    lock.release()
    cache.close()


def test_many_processes_do_not_exceed_the_limit_by_far(tmp_path):
    """Each measures the volume before all of them together can have filled the room that it saw."""
    body = """
    import warnings
    warnings.simplefilter("ignore")
    cache = dolium.Cache(sys.argv[1])
    say("ready")
    hear()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        cache[os.urandom(8)] = os.urandom(1024 + os.urandom(1)[0] * 12)
    """
    cache = dolium.Cache(tmp_path, size_limit=MIB)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(body, tmp_path)) for _ in range(16)]
        for child in children:
            child.line("ready")
        for child in children:
            child.tell()
        volumes = [cache.volume()]
        while any(child.process.poll() is None for child in children):
            volumes.append(cache.volume())
            time.sleep(0.005)
        for child in children:
            child.finish()
    assert 0.9 * MIB < max(volumes) < 1.2 * MIB
    cache.close()


def test_default_limit_never_replaces_a_passed_one(tmp_path):
    """Who opened shards that were not there yet, and writes later, must not undo what another process passed."""
    cache = dolium.FanoutCache(tmp_path, shards=2)
    assert cache.size_limit == 2**30
    run("dolium.FanoutCache(sys.argv[1], shards=2, size_limit=8_000_000)", tmp_path)
    for n in range(10):
        cache[n] = n
    assert cache.size_limit == 8_000_000
    assert cache.reset("size_limit") == 8_000_000
    cache.close()
    again = dolium.FanoutCache(tmp_path, shards=2)
    assert [shard.size_limit for shard in again._shards] == [4_000_000] * 2
    again.close()


def test_shards_made_later_get_their_part_of_the_default(tmp_path):
    cache = dolium.FanoutCache(tmp_path, shards=4)
    assert cache.reset("size_limit") == 2**30
    cache["a"] = 1
    assert cache.reset("size_limit") == 2**30
    assert [shard.reset("size_limit") for shard in cache._shards] == [2**28] * 4
    cache.close()
    run("assert dolium.FanoutCache(sys.argv[1], shards=4).size_limit == 2**30", tmp_path)
