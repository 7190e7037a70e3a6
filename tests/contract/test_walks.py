"""Walks over keys, items and values: each entry once, by index where there is one, holding nothing up."""

from __future__ import annotations

import threading
import time

import pytest


def test_items_and_values_agree_with_the_keys(cache):
    entries = {f"key {number}": number for number in range(3000)}
    cache.set_many(entries)
    assert dict(cache.items()) == entries
    assert [key for key, _ in cache.items()] == list(cache.keys()) == list(cache)
    assert list(cache.values()) == [entries[key] for key in cache]
    assert [key for key, _ in cache.items(reverse=True)] == list(reversed(cache))


@pytest.mark.needs("native")
def test_items_have_the_prefix_and_the_tag(cache):
    for number in range(300):
        cache.set(f"{'ab'[number % 2]}:{number:03}", number, tag="even" if number % 4 == 0 else None)
    cache.set(b"a:", "bytes"), cache.set(7, "number")
    of_a = [f"a:{number:03}" for number in range(0, 300, 2)]
    assert list(cache.keys(prefix="a:")) == of_a
    assert list(cache.keys(prefix="a:", reverse=True)) == of_a[::-1]
    assert list(cache.values(prefix="a:")) == list(range(0, 300, 2))
    assert dict(cache.items(tag="even")) == {f"a:{number:03}": number for number in range(0, 300, 4)}
    assert dict(cache.items(tag="even", prefix="a:00")) == {"a:000": 0, "a:004": 4, "a:008": 8}
    assert list(cache.items(tag="odd")) == list(cache.items(prefix="c")) == []


def test_tag_walk_is_the_same_with_an_index(cache):
    for number in range(500):
        cache.set(number, -number, tag="third" if number % 3 == 0 else "other")
    found = list(cache.items(tag="third"))
    cache.create_tag_index()
    assert list(cache.items(tag="third")) == found
    assert sorted(found) == [(number, -number) for number in range(0, 500, 3)]
    assert list(cache.keys(tag="third", reverse=True)) == [key for key, _ in found[::-1]]


def test_items_leave_expired_entries_out(cache):
    cache.set("gone", 1, expire=0.001)
    cache.set("there", 2)
    time.sleep(0.05)
    assert list(cache.items()) == [("there", 2)]
    assert list(cache.values()) == [2]


def test_items_have_values_of_every_size(cache):
    entries = {size: "x" * size for size in (0, 1, 5000, 40_000, 400_000, 1_200_000)}
    cache.set_many(entries)
    assert dict(cache.items()) == entries


def test_walk_sees_entries_that_wait_in_the_tier(cache):
    for number in range(50):
        cache[number] = str(number)
    assert sorted(cache.items()) == [(number, str(number)) for number in range(50)]
    cache[7] = "changed"
    assert dict(cache.items())[7] == "changed"


@pytest.mark.needs("native")
@pytest.mark.parametrize("walk", ["keys", "items", "prefix", "reverse", "iterkeys"])
def test_walk_meets_what_stays_once_while_others_write(cache, walk):
    stay = [f"stay {number:04}" for number in range(2500)]
    cache.set_many(dict.fromkeys(stay, 0))
    cache.set_many({f"go {number}": 0 for number in range(1000)}, tag="go")
    done = threading.Event()

    def write():
        number = 0
        while not done.is_set():
            cache.set(stay[number * 37 % len(stay)], number)
            cache.set(f"go {number % 1500}", number, tag="go")
            cache.delete(f"go {number * 7 % 1500}")
            if number % 100 == 99:
                cache.evict("go")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            met = {
                "keys": cache.keys,
                "items": lambda: (key for key, _ in cache.items()),
                "prefix": lambda: cache.keys(prefix="stay"),
                "reverse": lambda: reversed(cache),
                "iterkeys": cache.iterkeys,
            }[walk]()
            assert sorted(key for key in met if key.startswith("stay")) == stay
    finally:
        done.set()
        writer.join()


def test_walk_ends_when_the_cache_is_cleared(cache):
    cache.set_many({number: number for number in range(5000)})
    walk, items = iter(cache), cache.items()
    next(walk), next(items)
    cache.clear()
    cache["new"] = 1
    # What was read ahead may come still, and each of it once.
    for rest in (list(walk), [key for key, _ in items]):
        assert len(rest) == len(set(rest)) <= 3000


def test_walk_holds_no_writer_up(cache):
    cache.set_many({number: number for number in range(3000)})
    walks = [iter(cache), cache.items(), cache.iterkeys()]
    for walk in walks:
        next(walk)
    cache["after"] = 1
    assert cache.pop("after") == 1
    assert cache.clear() == 3000
