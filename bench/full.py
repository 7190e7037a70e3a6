"""The rows of a cache at its size limit: of caches that have diskcache's settings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from faces import READ, STORED, USED, Face, fresh
from measure import VALUE, Scale

LIMIT = 16_000_000
POLICIES = {"stored": STORED, "used": USED, "read": READ}


def full(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """A set of a new key far below the limit and at it, under each policy, and the longest that one took there."""
    figures: dict[str, float] = {}
    for name, policy in POLICIES.items():
        opened: Any = fresh(face, directory / f"full-{name}", policy)
        cache, keys = opened.cache, count()
        cache.reset("size_limit", 1 << 40)
        figures[f"set_below_{name}"] = statistics.fmean(each(cache, keys, scale.seconds * 3))
        cache.clear()
        cache.reset("size_limit", LIMIT)
        fill(cache, keys)
        times = list(each(cache, keys, scale.seconds * 3))
        figures[f"set_full_{name}"] = statistics.fmean(times)
        figures[f"set_full_{name}_worst"] = max(times)
        opened.close()
    return figures


def fill(cache: Any, keys: Iterator[int]) -> None:
    while cache.volume() < LIMIT * 0.97:
        with cache.transact():
            for _ in range(1000):
                cache.set(next(keys), VALUE)


def each(cache: Any, keys: Iterator[int], seconds: float) -> Iterator[float]:
    """The time of each set. Their mean counts, because an eviction now and then is what a limit costs."""
    ended = time.perf_counter() + seconds
    while (began := time.perf_counter()) < ended:
        cache.set(next(keys), VALUE)
        yield time.perf_counter() - began
