"""Everything dolium raises and warns of.

Each error is a :class:`DoliumError`, and also what callers of diskcache catch in its place:
``sqlite3.OperationalError`` or ``sqlite3.DatabaseError`` for the database, ``OSError`` for files.
The native module builds these classes; nothing here decides anything.
"""

from __future__ import annotations

import sqlite3

__all__ = [
    "DamagedStoreError",
    "DamagedStoreWarning",
    "DatabaseError",
    "DoliumError",
    "DoliumWarning",
    "EmptyDirWarning",
    "EvictionWarning",
    "ForkedError",
    "InvalidArgumentError",
    "MissingDirectoryError",
    "ReadOnlyError",
    "RefusedEntryWarning",
    "ReplacedStoreWarning",
    "ShardCountWarning",
    "SharedNameWarning",
    "SigningKeyWarning",
    "StorageError",
    "StorageFullError",
    "Timeout",
    "UnknownFileWarning",
    "UnstorableError",
    "UntrustedValueError",
    "UntrustedValueWarning",
    "ValueTooLargeWarning",
]


class DoliumError(Exception):
    """The base class of all errors of dolium."""


class Timeout(DoliumError):
    """Other writers kept the cache locked for longer than its `timeout`.

    After a bulk removal (`clear`, `evict`, `expire`, `cull`), ``args[0]`` is the number of entries
    that were removed before.
    """


class DatabaseError(DoliumError, sqlite3.OperationalError):
    """The database failed in another way than those below."""


class DamagedStoreError(DoliumError, sqlite3.DatabaseError):
    """The database is damaged and cannot be set aside, because it is read-only or in use."""


class StorageError(DoliumError, OSError):
    """The file system failed: `errno`, `strerror` and `filename` say how and where."""


class MissingDirectoryError(StorageError, FileNotFoundError):
    """The directory of a cache is not there and cannot be made."""


class StorageFullError(StorageError, DatabaseError):
    """The disk or the quota is full; nothing was changed."""


class ReadOnlyError(StorageError, DatabaseError):
    """A write to a cache that is read-only, or whose directory cannot be written."""


class ForkedError(DatabaseError):
    """The process was forked inside a transaction; the child cannot use the directory."""


class InvalidArgumentError(DoliumError, ValueError):
    """An argument or a setting that makes no sense."""


class UnstorableError(DoliumError, TypeError):
    """A value of a kind that cannot be stored, or not be read in the way that was asked for."""


class UntrustedValueError(DoliumError, ValueError):
    """A pickle that dolium did not write holds more than plain data, and was not loaded."""


class DoliumWarning(UserWarning):
    """The base class of the warnings of dolium."""


class EvictionWarning(DoliumWarning):
    """A cache has reached its `size_limit` and evicts entries; shown once."""


class ValueTooLargeWarning(DoliumWarning):
    """A value was not stored because it is larger than `size_limit`; shown once."""


class DamagedStoreWarning(DoliumWarning):
    """A damaged database was renamed, and a fresh one is used."""


class ReplacedStoreWarning(DoliumWarning):
    """The database was removed or replaced while it was in use."""


class RefusedEntryWarning(DoliumWarning):
    """The database refused an entry that had been stored, because of a constraint that is not dolium's; shown once."""


class ShardCountWarning(DoliumWarning):
    """A sharded cache was opened with another number of shards than it has."""


class SharedNameWarning(DoliumWarning):
    """Two functions of one name are memoized in one cache, so that each is given the other's results; shown once."""


class SigningKeyWarning(DoliumWarning):
    """No signing key can be kept, so that pickles are stored unsigned."""


class UntrustedValueWarning(DoliumWarning):
    """A value counts as missing because nobody vouches for its pickle; shown once."""


class UnknownFileWarning(DoliumWarning):
    """`check` found a file that no entry names."""


class EmptyDirWarning(DoliumWarning):
    """`check` found a directory without files."""
