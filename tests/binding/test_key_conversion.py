"""A key becomes bytes once, whether or not the hot tier answers."""

from __future__ import annotations

from pathlib import Path

import dolium
import pytest


class Counted:
    """A part of a key that counts how often it is converted."""

    conversions = 0

    def __reduce__(self) -> tuple[type[Counted], tuple[()]]:
        Counted.conversions += 1
        return Counted, ()


@pytest.mark.parametrize("shards", [1, 3], ids=["one", "shards"])
def test_lookup_converts_its_key_once(tmp_path: Path, shards: int) -> None:
    cache = dolium.Cache(tmp_path) if shards == 1 else dolium.FanoutCache(tmp_path, shards=shards)
    with cache:
        for look_up in (
            cache.get,
            lambda key: cache.get(key, expire_time=True),
            lambda key: cache.get(key, max_age=60),
            lambda key: cache.get(key, read=True),
            lambda key: key in cache,
        ):
            # At first there is neither a store nor a tier; then both know the key.
            for stored in (False, True):
                key = ("key", Counted())
                if stored:
                    cache.set(key, "value")
                Counted.conversions = 0
                look_up(key)
                assert Counted.conversions == 1
