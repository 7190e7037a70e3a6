"""Names that the rest of the package, diskcache's users and the native module share.

These are the constants of the on-disk format and the sentinels. The module imports nothing of dolium.
"""

from __future__ import annotations

import pickle
from typing import Any, Final, NoReturn


class Constant(tuple[Any, ...]):
    """A constant that shows its name.

    >>> Constant('NOTHING')
    NOTHING
    """

    __slots__ = ()

    def __new__(cls, name: Any) -> Constant:
        return super().__new__(cls, (name,))

    def __repr__(self) -> str:
        return str(self[0])

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Unpickle a constant of this module to the same object, so that `is` holds."""
        name = self[0]
        return name if globals().get(name) is self else (Constant, (name,))


ENOVAL: Final = Constant("ENOVAL")
"""Stands for "no value was given" where None is a value."""
MISS: Final[Any] = Constant("MISS")
"""What a lookup returns for "not there". It is never stored, and unpickled it is this same object."""
UNKNOWN: Final = Constant("UNKNOWN")
"""The key or value that a :class:`~dolium.Disk` is not told."""


def constant(name: str) -> Constant:
    """The constant of that name, or the sentinel.

    >>> constant('ENOVAL') is ENOVAL
    True
    """
    known = globals().get(name)
    return known if isinstance(known, Constant) else Constant(name)


DBNAME: Final = "cache.db"

MODE_NONE: Final = 0
MODE_RAW: Final = 1
MODE_BINARY: Final = 2
MODE_TEXT: Final = 3
MODE_PICKLE: Final = 4

DEFAULT_SETTINGS: Final[dict[str, Any]] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",
    "size_limit": 2**30,
    "cull_limit": 10,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2**13,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 2**26,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 2**15,
    "disk_pickle_protocol": pickle.HIGHEST_PROTOCOL,
}
"""The settings of a new cache. Sizes are in bytes, except `sqlite_cache_size`: pages."""

METADATA: Final = {"count": 0, "size": 0, "hits": 0, "misses": 0}
"""Counters that are kept where the settings are."""


class BuiltIn(dict[str, Any]):
    """A table that a program can read but not change, because the engine would ignore the change."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(OWN_POLICIES)

    __setitem__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


OWN_POLICIES: Final = (
    "dolium does not run eviction policies of your own in SQL: its engine evicts. "
    "Leave EVICTION_POLICY as it is, and pass one of its names as eviction_policy"
)
"""What is said to a program that brings policies of its own, as diskcache has them in ``EVICTION_POLICY``."""

EVICTION_POLICY: Final = BuiltIn(
    {
        policy: BuiltIn(
            {
                "init": column and f"CREATE INDEX IF NOT EXISTS Cache_{column} ON Cache ({column})",
                "get": read,
                "cull": column and "SELECT {fields} FROM Cache ORDER BY " + column + " LIMIT ?",
            }
        )
        for policy, column, read in (
            ("none", None, None),
            ("least-recently-stored", "store_time", None),
            ("least-recently-used", "access_time", "access_time = {now}"),
            ("least-frequently-used", "access_count", "access_count = access_count + 1"),
        )
    }
)
"""The eviction policies by name. What they do is the engine's; this is diskcache's table of them."""
