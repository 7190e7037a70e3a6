"""The result of ``stats()``: diskcache's pair, and the state of the hot tier."""

from __future__ import annotations

from typing import Any, NamedTuple


class HotTier(NamedTuple):
    """The memory that all processes of a cache share in front of its database, with the sums of all processes.

    The counts begin with the epoch of the tier, when the first of its present processes attached.
    """

    processes: int
    """How many processes have attached to the cache: those that have written, or have read for a while."""
    missing: str | None = None
    """Why there is no tier now. All that follows is 0 then."""
    capacity: int = 0
    """Bytes of the log."""
    keys: int = 0
    """How many keys it knows."""
    dirty_bytes: int = 0
    """Bytes of the log that are not in the database yet."""
    hits: int = 0
    """Lookups that found something, in the tier or in the database."""
    misses: int = 0
    """Lookups that did not."""
    sets: int = 0
    """Entries stored through the tier."""
    deletes: int = 0
    """Entries removed through the tier."""
    fills: int = 0
    """Rows of the database that came into the tier."""
    returns: int = 0
    """Of these, about how many the tier had had before and let go of. Many of them make it grow."""
    drains: int = 0
    """Commits that took records to the database."""
    drained: int = 0
    """Records that they took."""
    drain_time: int = 0
    """Microseconds that they took."""
    forced: int = 0
    """Times that a writer found no room and drained first."""
    direct: int = 0
    """Transactions that wrote to the database directly."""
    evictions: int = 0
    """Entries removed to keep within ``size_limit``, expired ones first."""
    expirations: int = 0
    """Expired entries removed otherwise."""
    refused: int = 0
    """Entries that the database refused, because of a constraint that is not dolium's, and that are lost."""
    reason: str = ""
    """Why ``capacity`` is what it is: for example, because more was written than the tier took."""


class Stats(tuple[int, int]):
    """Hits and misses, a pair as in diskcache, with further attributes.

    >>> import dolium
    >>> cache = dolium.Cache(hot_size=1 << 20)
    >>> cache["a"] = 1
    >>> hits, misses = stats = cache.stats()
    >>> stats
    (0, 0)
    >>> cache.get("a"), cache.get("b")
    (1, None)
    >>> cache.stats()
    (1, 1)
    >>> stats.hot.sets
    1
    """

    evicted: int
    """Entries that this process has evicted to keep within ``size_limit``."""
    refused: int
    """Values that this process has refused for being larger than ``size_limit``."""
    unshared: int
    """Computations that this process did not share with others, because 4,096 keys were computed already."""
    hot: HotTier
    """The hot tier, which counts whether ``statistics`` is on or not."""

    def __new__(
        cls, hits: int, misses: int, evicted: int, refused: int, hot: HotTier, unshared: int = 0
    ) -> Stats:
        stats = super().__new__(cls, (hits, misses))
        stats.evicted, stats.refused, stats.hot, stats.unshared = evicted, refused, hot, unshared
        return stats

    @property
    def hits(self) -> int:
        """The number of reads that found a value, since the time that :meth:`~dolium.Cache.stats` describes."""
        return self[0]

    @property
    def misses(self) -> int:
        """The number of reads that found none."""
        return self[1]

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self[0], self[1], self.evicted, self.refused, self.hot, self.unshared)
