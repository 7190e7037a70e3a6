"""The cache behind a `Deque` or an `Index`.

Only this module makes a cache raise for a value that it refuses to load, and decides which state of a cache a
pickle holds.
"""

from __future__ import annotations

from typing import Any

from ..core import Cache, is_usual
from ..workers import native_method


def strict(cache: Any) -> Any:
    """`cache` as an object that raises `UntrustedValueError` where `cache` itself reports a miss.

    Both share everything else: the entries, the disk class, the transaction of the calling thread.
    """
    make = native_method(cache, "_strict")
    return cache if make is None else make()


def open_cache(directory: Any) -> Cache:
    """Open the cache of a container: one that never evicts."""
    return Cache(directory, eviction_policy="none")


def state_of(cache: Any) -> Any:
    """The state of `cache` in a pickle: its directory if :func:`open_cache` can make it from that, else all of it."""
    if type(cache) is Cache and is_usual(cache):
        return cache.directory
    return cache
