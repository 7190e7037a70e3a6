"""The errors and warnings of dolium.

Each error is a :class:`DoliumError`. It is also an exception that callers of diskcache catch in its place:
``sqlite3.OperationalError`` or ``sqlite3.DatabaseError`` for the database, ``OSError`` for files.
The native module makes the exceptions, and warns through :func:`show`; nothing here decides anything.
"""

from __future__ import annotations

import sqlite3
import sys
import warnings
from pickle import PicklingError
from typing import ClassVar

__all__ = [
    "AccessDeniedError",
    "CopiedCacheWarning",
    "DamagedStoreError",
    "DamagedStoreWarning",
    "DatabaseError",
    "DiscardedWritesWarning",
    "DoliumError",
    "DoliumWarning",
    "EmptyDirWarning",
    "EvictionWarning",
    "ForkedError",
    "HiddenWritesWarning",
    "InvalidArgumentError",
    "MissingDirectoryError",
    "MixedDirectoryWarning",
    "NotCachedError",
    "ReadOnlyError",
    "RefusedEntryWarning",
    "ReplacedStoreWarning",
    "ShardCountWarning",
    "SharedNameWarning",
    "SigningKeyWarning",
    "StorageError",
    "StorageFullError",
    "Timeout",
    "UnkeyableError",
    "UnknownFileWarning",
    "UnknownSettingWarning",
    "UnpicklableError",
    "UnreadableValueError",
    "UnreadableValueWarning",
    "UnsavedWritesWarning",
    "UnstorableError",
    "UnstoredResultWarning",
    "UntrustedValueError",
    "UntrustedValueWarning",
    "ValueTooLargeWarning",
    "WorkerDiedError",
    "WorkerError",
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
    """The database is damaged, and cannot be renamed because it is read-only or in use."""


class StorageError(DoliumError, OSError):
    """The file system failed: `errno`, `strerror` and `filename` say how and where."""


class MissingDirectoryError(StorageError, FileNotFoundError):
    """The directory of a cache is not there and cannot be made."""


class StorageFullError(StorageError, DatabaseError):
    """The disk or the quota is full; nothing was changed."""


class ReadOnlyError(StorageError, DatabaseError):
    """A write to a cache that is read-only, or whose directory cannot be written."""


class AccessDeniedError(ReadOnlyError, PermissionError):
    """The user lacks a permission on a file or directory; the message names its owner and mode."""


class ForkedError(DatabaseError):
    """The process was forked inside a transaction; the child cannot use the directory."""


class InvalidArgumentError(DoliumError, ValueError):
    """An argument or a setting makes no sense; the message says what is valid."""


class UnstorableError(DoliumError, TypeError):
    """A value of this kind cannot be stored, or does not allow the operation."""


class UnpicklableError(UnstorableError, PicklingError, AttributeError):
    """A key or a value cannot be pickled. The class has every type of error that `pickle` raises for that."""


class UnkeyableError(DoliumError, TypeError):
    """A value that cannot be told from others: it has no fingerprint. The message says where it is, and what to do."""


class UntrustedValueError(DoliumError, ValueError):
    """A pickle without a signature of this user's holds more than plain data, and was not loaded."""


class UnreadableValueError(DoliumError, ValueError):
    """A value is damaged, or needs a codec, type or library that is not here. Lookups take it for a miss."""


class NotCachedError(DoliumError, LookupError):
    """A wrapped function has no result for a call, and the mode "only" lets no function run.

    `function` is the name of the function, `key` what the cache was asked for.
    """

    function: str
    key: tuple[object, ...]


class WorkerDiedError(DoliumError, RuntimeError):
    """A worker process died while it computed an item of a run, and so did another one that tried alone.

    `item` is None if the process died before it could compute anything, and the run had no other worker. `signal` is
    the number of the signal that killed it, `status` what it ended with by itself. Both are None if its executor does
    not say.
    """

    def __init__(self, item: object, signal: int | None = None, status: int | None = None) -> None:
        super().__init__(item, signal, status)
        self.item = item
        self.signal = signal
        self.status = status

    def __str__(self) -> str:
        if self.signal is not None:
            from signal import Signals

            known = self.signal in {*Signals}
            how = f"was killed by {Signals(self.signal).name if known else f'signal {self.signal}'}"
        else:
            how = "died" if self.status is None else f"ended with status {self.status}"
        if self.item is None and self.signal is not None:
            return (
                f"a worker process {how} before it could compute anything, and so were those before it; its stderr or "
                "the log of the system says why. If memory ran out, pass fewer workers"
            )
        if self.item is None:
            return (
                f"a worker process {how} before it could compute anything; its stderr says why. A program that starts "
                "workers at its top level needs: if __name__ == '__main__'"
            )
        return (
            f"a worker process {how} while it computed {self.item!r}, twice; the other items are not affected"
        )


class WorkerError(DoliumError, RuntimeError):
    """An exception of a worker process that cannot be loaded here, as text: its type and its message."""


class DoliumWarning(UserWarning):
    """The base class of the warnings of dolium."""

    code: ClassVar[str] = "warning"
    """What a program knows the warning by; it stays the same when messages change."""


class EvictionWarning(DoliumWarning):
    """A cache has reached the default `size_limit`, which no program asked for, and evicts entries; shown once."""

    code = "eviction"


class ValueTooLargeWarning(DoliumWarning):
    """A value was not stored because it is larger than `size_limit`; shown once."""

    code = "value-too-large"


class DamagedStoreWarning(DoliumWarning):
    """A damaged database was renamed, and the cache continues with an empty one."""

    code = "damaged-store"


class ReplacedStoreWarning(DoliumWarning):
    """The database was removed or replaced while it was in use."""

    code = "replaced-store"


class DiscardedWritesWarning(DoliumWarning):
    """Recent writes were discarded, because another program changed the database before they were stored."""

    code = "discarded-writes"


class UnsavedWritesWarning(DoliumWarning):
    """Recent writes are not in the database yet, because another program kept it locked until the cache closed."""

    code = "unsaved-writes"


class HiddenWritesWarning(DoliumWarning):
    """Iteration and counts of a read-only cache leave out recent writes of processes that are dead or stuck."""

    code = "hidden-writes"


class RefusedEntryWarning(DoliumWarning):
    """The database refused an entry that had been stored, because of a constraint that is not dolium's; shown once."""

    code = "refused-entry"


class ShardCountWarning(DoliumWarning):
    """A sharded cache was opened with another number of shards than it has."""

    code = "shard-count"


class SharedNameWarning(DoliumWarning):
    """Two memoized functions of one cache have one name, so each gets the other's results; shown once."""

    code = "shared-name"


class UnstoredResultWarning(DoliumWarning):
    """The result of a function could not be stored, and was returned; shown once for each function and directory."""

    code = "unstored-result"


class MixedDirectoryWarning(DoliumWarning):
    """A `Cache` and a `FanoutCache` are in one directory, and neither sees the entries of the other."""

    code = "mixed-directory"


class CopiedCacheWarning(DoliumWarning):
    """The directory is a copy of a cache that was in use."""

    code = "copied-cache"


class SigningKeyWarning(DoliumWarning):
    """No signing key can be stored, so pickles are unsigned, or signed with a key of this process."""

    code = "signing-key"


class UnknownSettingWarning(DoliumWarning):
    """dolium does not know a setting that was passed; shown once for each name and directory."""

    code = "unknown-setting"


class UntrustedValueWarning(DoliumWarning):
    """A value counts as missing because its pickle is not signed with this user's key; shown once."""

    code = "untrusted-value"


class UnreadableValueWarning(DoliumWarning):
    """A value counts as missing because this process lacks the codec that it names; shown once for each."""

    code = "unreadable-value"


class UnknownFileWarning(DoliumWarning):
    """`check` found a file that no entry names."""

    code = "unknown-file"


class EmptyDirWarning(DoliumWarning):
    """`check` found a directory without files."""

    code = "empty-directory"


def show(kind: type[DoliumWarning], message: str) -> None:
    """Warn as if from the code that called dolium, and tell the logger ``dolium``, with the code of the warning.

    A program that has not imported `logging` has no handler for it.
    """
    level, frame = 1, sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "dolium":
        level, frame = level + 1, frame.f_back
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger("dolium")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # else logging itself prints what is warned of
        logger.warning("%s", message, extra={"code": kind.code}, stacklevel=level)
    warnings.warn(message, kind, stacklevel=level)
