"""A key becomes bytes once, whether or not the hot tier answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dolium
import pytest


class Counted:
    """A part of a key that counts how often it is converted."""

    conversions = 0

    def __reduce__(self) -> tuple[type[Counted], tuple[()]]:
        Counted.conversions += 1
        return Counted, ()


Cache = dolium.Cache | dolium.FanoutCache
LOOKUPS: dict[str, Callable[[Cache, object], object]] = {
    "get": lambda cache, key: cache.get(key),
    "expire_time": lambda cache, key: cache.get(key, expire_time=True),
    "max_age": lambda cache, key: cache.get(key, max_age=60),
    "read": lambda cache, key: cache.get(key, read=True),
    "in": lambda cache, key: key in cache,
}


@pytest.mark.parametrize("shards", [1, 3], ids=["one", "shards"])
@pytest.mark.parametrize("name", LOOKUPS)
def test_lookup_converts_its_key_once(tmp_path: Path, name: str, shards: int) -> None:
    with dolium.Cache(tmp_path) if shards == 1 else dolium.FanoutCache(tmp_path, shards=shards) as cache:
        # At first there is neither a store nor a tier; then both know the key.
        for stored in (False, True):
            key = ("key", Counted())
            if stored:
                cache.set(key, "value")
            Counted.conversions = 0
            LOOKUPS[name](cache, key)
            assert Counted.conversions == 1
