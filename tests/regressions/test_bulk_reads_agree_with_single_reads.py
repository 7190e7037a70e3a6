"""Bulk reads give what single reads give, wherever the entries are."""

import dolium
import pytest


def test_get_many_agrees_with_get_wherever_entries_are(tmp_path):
    values = {
        "text": "t",
        b"bytes": b"b",
        3: 4,
        2.5: 1.5,
        ("tuple", 1): {"pickled": [1, 2]},
        "file": b"f" * 100_000,
        "none": None,
    }
    with dolium.Cache(tmp_path) as cache:
        cache.set_many(values)
        cache.set("expired", 1, expire=-1)
        cache.set("expires", 1, expire=1000)
        keys = [*values, "expired", "expires", "absent"]
        expected = values | {"expires": 1}
        for _ in range(3):
            assert cache.get_many(keys) == expected
    with dolium.Cache(tmp_path) as cache:
        # From the database first, then from both, then from the tier.
        assert cache.get("text") == "t"
        for _ in range(4):
            assert cache.get_many(keys) == expected
        cache["new"] = 5
        assert cache.get_many(["absent", "new"]) == {"new": 5}


@pytest.mark.parametrize("statistics", [False, True])
def test_get_many_counts_each_key_once(tmp_path, statistics):
    with dolium.Cache(tmp_path, statistics=statistics) as cache:
        cache.set_many({key: key for key in range(10)})
        before = cache.stats()
        for _ in range(3):
            cache.get_many([*range(10), "absent"])
        after = cache.stats()
        assert (after[0] - before[0], after[1] - before[1]) == (30, 3)


def test_get_many_loads_pickles_that_are_hot(tmp_path):
    with dolium.Cache(tmp_path, trust="all") as cache:
        cache["key"] = {1: 2}
        assert cache.get_many(["key", "other"]) == {"key": {1: 2}}
        assert cache.get_many(["key"]) == {"key": {1: 2}}
