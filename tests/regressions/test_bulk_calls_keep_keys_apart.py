"""Bulk calls keep keys apart exactly as `[]` does, whatever Python's dicts make of them."""

from __future__ import annotations

import decimal
from typing import Any

import dolium
import pytest

ALIKE: list[list[Any]] = [
    [1, True],
    [0, False, "x"],
    [(1,), (True,), (1.0,)],
    [1, decimal.Decimal(1)],
    [("f", 1), ("f", 1.0), ("f", True)],
]


@pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])
@pytest.mark.parametrize("keys", ALIKE, ids=repr)
def test_bulk_calls_keep_equal_keys_apart(kind: Any, keys: list[Any]) -> None:
    with kind() as cache:
        assert cache.set_many([(key, f"{key!r}") for key in keys]) == len(keys)
        assert [cache[key] for key in keys] == [repr(key) for key in keys]
        found = cache.get_many(keys)
        assert isinstance(found, dict)
        assert len(found) == len(keys)
        assert [found[key] for key in keys] == [repr(key) for key in keys]
        assert [repr(key) for key in found] == [repr(key) for key in keys]
        assert all(key in found for key in keys)
        assert found.get("other") is None
        assert cache.delete_many(keys[:1]) == 1
        assert [key in cache for key in keys] == [False] + [True] * (len(keys) - 1)
        assert cache.add_many([(key, "new") for key in keys]) == 1
        assert cache.delete_many(keys) == len(keys)


def test_one_key_in_two_spellings_is_found_once() -> None:
    with dolium.Cache() as cache:
        cache[1] = "one"
        found = cache.get_many([1, 1.0, 1])
        assert type(found) is dict
        assert found == {1: "one"}


def test_what_is_not_found_changes_no_dict() -> None:
    with dolium.Cache() as cache:
        cache[1] = "one"
        assert type(cache.get_many([1, True, "a"])) is dict
