"""What `Deque` and `Index` have in common: the cache behind them.

The one place that knows how to make a cache raise for a value that it refuses to load, and
what of a cache goes into a pickle.
"""

from __future__ import annotations

from typing import Any

from ..core import Cache, is_usual
from ..memo import native_method


def strict(cache: Any) -> Any:
    """`cache` as an object that raises `UntrustedValueError` where `cache` itself sees a miss.

    Both share everything else: the entries, the disk class, the transaction of the calling thread.
    """
    make = native_method(cache, "_strict")
    return cache if make is None else make()


def open_cache(directory: Any) -> Cache:
    """Open the cache of a container: one that never evicts."""
    return Cache(directory, eviction_policy="none")


def state_of(cache: Any) -> Any:
    """What a pickle holds of `cache`: its directory if :func:`open_cache` makes it from that, else all of it."""
    if type(cache) is Cache and is_usual(cache):
        return cache.directory
    return cache
