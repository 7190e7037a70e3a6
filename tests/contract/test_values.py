"""What goes in comes out: the same value, of the same type, at every size, under every kind of key."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import uuid

import pytest


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


JSON = [
    None, True, False, 0, 1, -1, 2**62, -(2**63), 2**63 - 1, 2**63, -(2**63) - 1, 2**200,
    0.0, -0.0, 1.5, 1e308, 5e-324, "", "text", "grün", "\0", "a\0b", "\r\n\r\n", "\U0001f3fa",
    "x" * 32_767, "x" * 32_768, "ü" * 40_000, "x" * 300_000, [], [1, [2, "three"]], {}, {"a": {"b": [None]}},
]  # fmt: skip

ANY = [
    b"", b"bytes", b"\0\r\n\xff", b"x" * 32_767, b"x" * 32_768, b"\r\n" * 200_000, bytearray(b"abc"),
    (), (1,), (1, "two", b"three", 4.0, None), {1, 2}, frozenset({"a"}), {1: "one", (2,): "two"},
    1 + 2j, dt.date(2020, 2, 29), dt.datetime(2020, 1, 2, 3, 4, 5, 6), dt.timedelta(1), dt.timezone.utc,
    decimal.Decimal("1.50"), uuid.UUID(int=5), range(5), list(range(30_000)), ["text\r\n"] * 20_000,
    Colour.RED, Level.HIGH, math.inf, -math.inf,
]  # fmt: skip

KEYS_JSON = ["", "a", "grün", "\0", "x" * 10_000, 0, -1, 2**63 - 1, -(2**63), 1.5, -1e300, None, "\r\n"]
KEYS_ANY = [
    b"", b"a", b"\0", True, False, 2**63, -(2**70), (), (1,), ("f", 1, None, "x", 2.5),
    (b"a", ("b", (None,))), frozenset(),
    frozenset({1, "a"}), Colour.RED, dt.date(2020, 1, 1), uuid.UUID(int=7),
    dt.datetime(2020, 1, 2, 3, 4), decimal.Decimal(1), math.inf,
]  # fmt: skip


def named(value: object) -> str:
    text = repr(value)
    return text if len(text) < 30 else f"{text[:20]}…{len(text)}"


def check_round_trip(cache, open_cache, value):
    def same(found):
        assert found == value
        assert type(found) is type(value)
        assert repr(found)[:1000] == repr(value)[:1000]  # tells 0.0 from -0.0, and True from 1 inside

    cache["k"] = value
    same(cache["k"])
    same(cache.get("k"))
    cache.set("k", value)
    assert cache.add("l", value)
    cache.close()
    again = open_cache()
    same(again["k"])
    same(again.pop("k"))
    same(again.get("l", tag=True)[0])


@pytest.mark.parametrize("value", JSON, ids=named)
def test_plain_values_come_back(cache, open_cache, value):
    check_round_trip(cache, open_cache, value)


@pytest.mark.needs("any")
@pytest.mark.parametrize("value", ANY, ids=named)
def test_every_value_comes_back(cache, open_cache, value):
    check_round_trip(cache, open_cache, value)


def check_key(cache, open_cache, key):
    assert key not in cache
    cache[key] = "value"
    assert key in cache
    assert cache[key] == "value"
    assert cache.add(key, "other") is False
    assert [repr(k) for k in cache] == [repr(key)]
    assert [type(k) for k in reversed(cache)] == [type(key)]
    cache.close()
    again = open_cache()
    assert again[key] == "value"
    assert again.touch(key, 1000) is True
    assert again.pop(key) == "value"
    assert again.add(key, "new") is True
    del again[key]
    assert len(again) == 0


@pytest.mark.parametrize("key", KEYS_JSON, ids=named)
def test_plain_keys_are_found(cache, open_cache, key):
    check_key(cache, open_cache, key)


@pytest.mark.needs("any")
@pytest.mark.parametrize("key", KEYS_ANY, ids=named)
def test_every_key_is_found(cache, open_cache, key):
    check_key(cache, open_cache, key)


def test_keys_of_different_types_are_different(cache):
    keys = ["1", 1, None, "", "None", 2.5, "2.5"]
    for number, key in enumerate(keys):
        cache[key] = number
    assert len(cache) == len(keys)
    assert [cache[key] for key in keys] == list(range(len(keys)))


# Not of shards: diskcache's hash sends 1 and 1.0 to different ones, and the format is diskcache's.
@pytest.mark.needs("any", "one")
def test_equal_numbers_are_one_key_and_true_is_another(cache):
    cache[1] = "int"
    assert cache[1.0] == "int"
    assert True not in cache
    cache[1.0] = "float"
    assert cache[1] == "float"
    cache[True] = "true"
    assert (cache[1], cache[True], len(cache)) == ("float", "true", 2)
    cache[0] = "zero"
    assert cache[-0.0] == "zero"
    assert False not in cache


@pytest.mark.needs("any")
def test_text_and_bytes_are_different_keys(cache):
    cache["a"], cache[b"a"] = "text", "bytes"
    assert (cache["a"], cache[b"a"]) == ("text", "bytes")


def test_a_mutable_value_is_copied(cache):
    value = [1, 2]
    cache["k"] = value
    value.append(3)
    assert cache["k"] == [1, 2]
    cache["k"].append(3)
    assert cache["k"] == [1, 2]


def test_many_entries(cache):
    expected = {f"key-{n}": [n, "x" * (n % 7)] for n in range(500)}
    for key, value in expected.items():
        cache[key] = value
    assert {key: cache[key] for key in cache} == expected
    for n in range(0, 500, 3):
        del cache[f"key-{n}"]
        del expected[f"key-{n}"]
    assert {key: cache[key] for key in cache} == expected
    assert len(cache) == len(expected)
