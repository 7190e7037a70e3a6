"""A persistent cache that every process on a machine shares, without a server.

>>> import dolium
>>> cache = dolium.Cache()  # a new temporary directory; pass a path to keep it
>>> cache["key"] = {"any": "value"}
>>> cache["key"]
{'any': 'value'}

It has the names, signatures and files of diskcache. To move, write ``import dolium as diskcache``, or call
:func:`install_as_diskcache`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._dolium import Info, __version__
from .compat import install_as_diskcache
from .constants import DEFAULT_SETTINGS, ENOVAL, EVICTION_POLICY, UNKNOWN
from .core import Cache
from .disk import Disk, JSONDisk
from .errors import (
    AccessDeniedError,
    CopiedCacheWarning,
    DamagedStoreError,
    DamagedStoreWarning,
    DatabaseError,
    DiscardedWritesWarning,
    DoliumError,
    DoliumWarning,
    EmptyDirWarning,
    EvictionWarning,
    ForkedError,
    HiddenWritesWarning,
    InvalidArgumentError,
    MissingDirectoryError,
    MixedDirectoryWarning,
    NotCachedError,
    ReadOnlyError,
    RefusedEntryWarning,
    ReplacedStoreWarning,
    ShardCountWarning,
    SharedNameWarning,
    SigningKeyWarning,
    StorageError,
    StorageFullError,
    Timeout,
    UnkeyableError,
    UnknownFileWarning,
    UnknownSettingWarning,
    UnpicklableError,
    UnreadableValueError,
    UnreadableValueWarning,
    UnsavedWritesWarning,
    UnstorableError,
    UnstoredResultWarning,
    UntrustedValueError,
    UntrustedValueWarning,
    ValueTooLargeWarning,
    WorkerDiedError,
    WorkerError,
)
from .fanout import FanoutCache
from .persistent import Deque, Index
from .recipes import Averager, BoundedSemaphore, Lock, RLock, barrier, memoize_stampede, throttle
from .settings import Settings
from .stats import HotTier, Stats

if TYPE_CHECKING:
    from .aio import AsyncCache as AsyncCache
    from .aio import AsyncFanoutCache as AsyncFanoutCache
    from .djangocache import DjangoCache as DjangoCache
    from .functions.fingerprint import fingerprint as fingerprint
    from .functions.key import file_content as file_content
    from .functions.key import file_stamp as file_stamp
    from .functions.modes import using as using
    from .functions.term import Term as Term
    from .functions.version import code as code
    from .jobs.outcome import Failure as Failure
    from .jobs.run import Run as Run

__all__ = [
    "DEFAULT_SETTINGS",
    "ENOVAL",
    "EVICTION_POLICY",
    "UNKNOWN",
    "AccessDeniedError",
    "AsyncCache",
    "AsyncFanoutCache",
    "Averager",
    "BoundedSemaphore",
    "Cache",
    "CopiedCacheWarning",
    "DamagedStoreError",
    "DamagedStoreWarning",
    "DatabaseError",
    "Deque",
    "DiscardedWritesWarning",
    "Disk",
    "DoliumError",
    "DoliumWarning",
    "EmptyDirWarning",
    "EvictionWarning",
    "Failure",
    "FanoutCache",
    "ForkedError",
    "HiddenWritesWarning",
    "HotTier",
    "Index",
    "Info",
    "InvalidArgumentError",
    "JSONDisk",
    "Lock",
    "MissingDirectoryError",
    "MixedDirectoryWarning",
    "NotCachedError",
    "RLock",
    "ReadOnlyError",
    "RefusedEntryWarning",
    "ReplacedStoreWarning",
    "Run",
    "Settings",
    "ShardCountWarning",
    "SharedNameWarning",
    "SigningKeyWarning",
    "Stats",
    "StorageError",
    "StorageFullError",
    "Term",
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
    "__version__",
    "barrier",
    "code",
    "file_content",
    "file_stamp",
    "fingerprint",
    "install_as_diskcache",
    "memoize_stampede",
    "throttle",
    "using",
]


# What a program that wraps no function need not import.
_LATE = {
    "AsyncCache": "dolium.aio",
    "AsyncFanoutCache": "dolium.aio",
    "Failure": "dolium.jobs.outcome",
    "Run": "dolium.jobs.run",
    "Term": "dolium.functions.term",
    "code": "dolium.functions.version",
    "file_content": "dolium.functions.key",
    "file_stamp": "dolium.functions.key",
    "fingerprint": "dolium.functions.fingerprint",
    "using": "dolium.functions.modes",
}


def load_ipython_extension(shell: Any) -> None:
    """Adds ``%%cached`` to a notebook: IPython calls this at ``%load_ext dolium``."""
    from .notebook import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Takes ``%%cached`` out again: IPython calls this at ``%unload_ext dolium``."""
    from .notebook import unload

    unload(shell)


def __getattr__(name: str) -> Any:
    if name in _LATE:
        from importlib import import_module

        found = globals()[name] = getattr(import_module(_LATE[name]), name)
        return found
    # Django is needed for this one, and slow to import: only where it is asked for.
    if name == "DjangoCache":
        try:
            from .djangocache import DjangoCache
        except ImportError as error:
            raise AttributeError(f"dolium.DjangoCache needs Django: {error}") from error
        return DjangoCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
