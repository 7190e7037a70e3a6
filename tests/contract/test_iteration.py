"""Order of iteration, and iteration while the cache changes."""

from __future__ import annotations

import dolium
import pytest


@pytest.mark.needs("one")
def test_insertion_order_both_ways(cache):
    keys = [3, "b", 1, "a", 2, None, 1.5]
    for key in keys:
        cache[key] = 0
    cache[1] = "overwritten: keeps its place"
    assert list(cache) == keys
    assert list(reversed(cache)) == keys[::-1]
    del cache["b"]
    cache["b"] = "back: at the end"
    keys.remove("b")
    assert list(cache) == [*keys, "b"]


@pytest.mark.needs("sharded")
def test_sharded_iteration_gives_every_key_once(cache):
    keys = [f"key-{n}" for n in range(300)]
    for key in keys:
        cache[key] = 0
    assert sorted(cache) == sorted(keys)
    assert list(reversed(cache)) == list(cache)[::-1]


def test_more_keys_than_a_batch(cache):
    for n in range(1001):
        cache[n] = 0
    assert sorted(cache) == list(range(1001))
    assert sorted([*reversed(cache)]) == list(range(1001))


def test_expired_keys_are_iterated(cache):
    cache.set("a", 1, expire=1000)
    cache.touch("a", -1)
    assert list(cache) == ["a"]
    assert list(reversed(cache)) == ["a"]


@pytest.mark.needs("one")
def test_keys_added_meanwhile_are_not_iterated(cache):
    for n in range(150):
        cache[n] = 0
    seen = []
    for key in cache:
        seen.append(key)
        cache[1000 + key] = 0
        assert len(seen) < 200
    assert seen == list(range(150))


def test_keys_deleted_meanwhile_do_no_harm(cache):
    for n in range(500):
        cache[n] = 0
    for key in cache:
        del cache[key]
    assert len(cache) == 0
    for n in range(500):
        cache[n] = 0
    for key in reversed(cache):
        cache.pop(key)
    assert len(cache) == 0


def test_abandoned_iterators_hold_nothing(cache):
    for n in range(300):
        cache[n] = 0
    iterators = [iter(cache) for _ in range(20)]
    for iterator in iterators:
        next(iterator)
    cache["late"] = 1
    assert cache.clear() == 301


@pytest.mark.needs("one")
def test_iterators_are_independent_and_end(cache):
    for n in range(3):
        cache[n] = 0
    one, two = iter(cache), iter(cache)
    assert [next(one), next(two), next(one)] == [0, 0, 1]
    assert list(one) == [2]
    with pytest.raises(StopIteration):
        next(one)
    assert iter(two) is two


@pytest.mark.needs("one", "native")
def test_iterkeys_in_sort_order(cache):
    keys = [5, "b", b"z", 2.5, "a", b"\0", -1, "ü", "", 1e300, 4]
    for key in keys:
        cache[key] = 0
    expected = [-1, 2.5, 4, 5, 1e300, "", "a", "b", "ü", b"\0", b"z"]
    assert list(cache.iterkeys()) == expected
    assert list(cache.iterkeys(reverse=True)) == expected[::-1]
    assert list(cache.iterkeys(True)) == expected[::-1]


@pytest.mark.needs("one", "native")
def test_iterkeys_of_many(cache):
    for n in range(997):
        cache[n * 7 % 997] = 0
    assert list(cache.iterkeys()) == list(range(997))
    assert list(cache.iterkeys(reverse=True)) == list(range(997))[::-1]
    cache.clear()
    assert list(cache.iterkeys()) == []
    assert list(cache.iterkeys(reverse=True)) == []


@pytest.mark.needs("one", "native")
def test_iterkeys_tells_raw_bytes_from_an_equal_pickle(cache):
    key = (1, 2)
    disguised = bytes(cache.disk.put(key)[0])
    cache[key], cache[disguised] = "tuple", "bytes"
    assert (cache[key], cache[disguised]) == ("tuple", "bytes")
    assert list(cache.iterkeys()) == [key, disguised]
    assert list(cache.iterkeys(reverse=True)) == [disguised, key]
    assert list(cache) == [key, disguised]


@pytest.mark.needs("one")
def test_peekitem(cache):
    with pytest.raises(KeyError, match="dictionary is empty"):
        cache.peekitem()
    cache.set("a", 1, expire=1000, tag="t")
    cache["b"] = "x" * 60_000
    assert cache.peekitem() == ("b", "x" * 60_000)
    assert cache.peekitem(last=False) == ("a", 1)
    (key, value), expire_time, tag = cache.peekitem(last=False, expire_time=True, tag=True)
    assert (key, value, tag) == ("a", 1, "t")
    assert cache.peekitem(False, True) == (("a", 1), expire_time)
    assert cache.peekitem(False, tag=True) == (("a", 1), "t")
    assert len(cache) == 2


@pytest.mark.needs("one")
def test_peekitem_drops_expired_entries(cache):
    cache["a"] = 1
    cache.set("b", 2, expire=1000)
    cache.touch("b", -1)
    assert cache.peekitem() == ("a", 1)
    assert len(cache) == 1
    cache.touch("a", -1)
    with pytest.raises(KeyError):
        cache.peekitem()


@pytest.mark.needs("one")
def test_default_marker_is_a_key_like_any_other(cache, backend):
    if "any" in backend.able:
        cache[(1, dolium.ENOVAL)] = 5
        assert cache[(1, dolium.ENOVAL)] == 5
        assert list(cache) == [(1, dolium.ENOVAL)]
    else:
        cache["ENOVAL"] = 5
        assert list(cache) == ["ENOVAL"]
