"""evict by tag, expire, and what a tag may be."""

from __future__ import annotations

import time

import pytest

GONE, LATER = -1, 1000


def test_evict_removes_the_tag_and_counts(cache):
    for n in range(300):
        cache.set(n, n, tag="odd" if n % 2 else "even")
    cache.set("none", 1)
    assert cache.evict("odd") == 150
    assert cache.evict("odd") == 0
    assert len(cache) == 151
    assert all(n not in cache for n in range(1, 300, 2))
    assert cache.evict("nobody") == 0
    assert cache.evict("even") == 150
    assert list(cache) == ["none"]


def test_evict_removes_value_files(cache, directory):
    cache.set("large", "x" * 100_000, tag="t")
    cache.set("small", "x", tag="t")
    assert cache.evict("t") == 2
    assert "large" not in cache
    assert cache.check() == []


@pytest.mark.parametrize("tag", ["", "t", "grün", 5, -1, 2.5, b"bytes", 2**62])
def test_a_tag_comes_back(cache, tag):
    cache.set("k", 1, tag=tag)
    found = cache.get("k", tag=True)[1]
    assert (found, type(found)) == (tag, type(tag))
    assert cache.evict(tag) == 1


def test_expired_entries_with_a_tag_are_evicted_too(cache):
    cache.set("k", 1, expire=LATER, tag="t")
    cache.touch("k", GONE)
    assert cache.evict("t") == 1


def test_evict_none_removes_nothing(cache):
    cache.set("k", 1)
    assert cache.evict(None) == 0
    assert "k" in cache


def test_expire_removes_only_what_is_over(cache):
    for n in range(200):
        cache.set(n, n, expire=LATER)
    cache.set("for ever", 1)
    for n in range(0, 200, 2):
        cache.touch(n, GONE)
    assert cache.expire() == 100
    assert cache.expire() == 0
    assert len(cache) == 101
    assert set(cache) == {*range(1, 200, 2), "for ever"}


@pytest.mark.needs("one")
def test_expire_as_of_another_time(cache):
    cache.set("soon", 1, expire=100)
    cache.set("late", 1, expire=10_000)
    cache.set("for ever", 1)
    assert cache.expire(now=time.time() - 1000) == 0
    assert cache.expire(now=time.time() + 1000) == 1
    assert cache.expire(time.time() + 100_000) == 1
    assert list(cache) == ["for ever"]


def test_writes_sweep_expired_entries(cache, backend):
    for n in range(5):
        cache.set(n, n, expire=LATER)
        cache.touch(n, GONE)
    for n in range(100):
        cache.set("k", n)  # to one shard: the others keep theirs
        cache.set(f"k{n}", n)
    assert (len([key for key in cache if isinstance(key, int)]) > 0) is (
        backend.settings.get("cull_limit") == 0
    )


@pytest.mark.needs("native")
def test_the_tag_index_changes_nothing_but_speed(cache):
    cache.set("a", 1, tag="t")
    cache.create_tag_index()
    assert cache.tag_index == 1
    cache.set("b", 1, tag="t")
    cache.create_tag_index()
    assert cache.evict("t") == 2
    cache.set("c", 1, tag="t")
    cache.drop_tag_index()
    assert cache.tag_index == 0
    cache.drop_tag_index()
    assert cache.get("c", tag=True) == (1, "t")
    assert cache.evict("t") == 1
