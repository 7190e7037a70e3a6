"""The types of the settings that constructors of caches take, for editors and type checkers."""

from __future__ import annotations

import os
from typing import Literal, TypeAlias, TypedDict

Directory: TypeAlias = "str | os.PathLike[str] | None"
"""Where a cache lies; None for a new temporary directory."""

EvictionPolicy: TypeAlias = Literal[
    "none", "least-recently-stored", "least-recently-used", "least-frequently-used"
]
"""Which entries go first when a cache is full."""

Trust: TypeAlias = Literal["signed", "all", "none"]
"""Which pickles a cache loads."""


class Settings(TypedDict, total=False):
    """The settings of a cache, as keyword arguments. The cache stores those that differ from its own.

    Type checkers know these. Pass other settings as ``**own``, where ``own`` is a ``dict[str, Any]``: arguments of a
    :class:`~dolium.Disk` of your own, and settings that only your program reads.
    """

    size_limit: float | None
    """Bytes that the cache may take; None for no limit. By default 1 GiB."""
    eviction_policy: EvictionPolicy
    """Which entries go first when the cache is full."""
    cull_limit: int
    """How many expired entries a write removes at most; 0 turns eviction off."""
    statistics: bool | int
    """Whether the database keeps the numbers of hits and misses."""
    tag_index: bool | int
    """Whether removing and listing by tag is fast."""
    hot_size: int
    """Bytes of the shared memory in front of the database; 0 for none, -1 for what fits the cache."""
    disk_min_file_size: int
    """Bytes from which on a value lies in a file of its own."""
    disk_pickle_protocol: int
    """The protocol of pickles."""
    disk_compress_level: int
    """Of a :class:`~dolium.JSONDisk`: from 0 (none) to 9 (small)."""
    sqlite_auto_vacuum: int
    """SQLite's pragma of that name, for a new cache."""
    sqlite_cache_size: int
    """Pages that SQLite keeps in memory for each connection."""
    sqlite_journal_mode: str
    """SQLite's pragma of that name: ``wal``, ``delete``, …"""
    sqlite_mmap_size: int
    """Stored for diskcache; dolium does not map the database."""
    sqlite_synchronous: int
    """SQLite's pragma of that name."""
