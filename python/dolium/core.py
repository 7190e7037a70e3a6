"""Owns :class:`Cache`: the constructor, transactions, settings as attributes, pickling and repr.

Every operation on keys is inherited from the native ``Store``.
"""

from __future__ import annotations

import functools
import os.path as op
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from . import memo
from ._dolium import Info, Store
from .constants import (
    DBNAME,
    DEFAULT_SETTINGS,
    ENOVAL,
    EVICTION_POLICY,
    METADATA,
    MODE_BINARY,
    MODE_NONE,
    MODE_PICKLE,
    MODE_RAW,
    MODE_TEXT,
    UNKNOWN,
    Constant,
)
from .disk import Disk, JSONDisk
from .errors import EmptyDirWarning, Timeout, UnknownFileWarning
from .memo import args_to_key, full_name
from .transaction import Transaction

__all__ = [
    "DBNAME",
    "DEFAULT_SETTINGS",
    "ENOVAL",
    "EVICTION_POLICY",
    "METADATA",
    "MODE_BINARY",
    "MODE_NONE",
    "MODE_PICKLE",
    "MODE_RAW",
    "MODE_TEXT",
    "UNKNOWN",
    "BaseCache",
    "Cache",
    "Constant",
    "Disk",
    "EmptyDirWarning",
    "Info",
    "JSONDisk",
    "Timeout",
    "UnknownFileWarning",
    "args_to_key",
    "full_name",
]

Self = TypeVar("Self", bound="BaseCache")


class BaseCache(Store):
    """What :class:`Cache` and :class:`~dolium.FanoutCache` have in common."""

    _directory: str
    _timeout: float
    _disk_class: type[Disk]
    _read_only_asked: bool
    _trust: str

    def _start(
        self,
        directory: Any,
        timeout: float,
        disk: Any,
        settings: dict[str, Any],
        *,
        read_only: bool,
        trust: str,
        shards: int | None,
    ) -> None:
        if not (isinstance(disk, type) and issubclass(disk, Disk)):
            raise ValueError("disk must subclass dolium.Disk")
        if directory is None:
            import tempfile  # slow to import, and rarely needed

            directory = tempfile.mkdtemp(prefix="dolium-")
        directory = op.expandvars(op.expanduser(str(directory)))
        set_own = functools.partial(object.__setattr__, self)
        set_own("_directory", directory)
        set_own("_timeout", timeout)
        set_own("_disk_class", disk)
        set_own("_read_only_asked", read_only)
        set_own("_trust", trust)
        self._open(
            directory,
            timeout,
            settings,
            read_only=read_only,
            trust=trust,
            disk=None if disk is Disk else disk,
            shards=shards,
        )

    @property
    def directory(self) -> str:
        """The directory of the cache."""
        return self._directory

    @property
    def timeout(self) -> float:
        """How long an operation waits for other writers, in seconds."""
        return self._timeout

    @property
    def disk(self) -> Disk:
        """What converts keys and values. Where it is exactly :class:`Disk`, the cache does so natively."""
        return self._disk

    @property
    def _disk(self) -> Disk:
        custom = self._custom_disk()
        if custom is not None:
            return custom
        known = self.__dict__.get("_native_disk")
        if known is None:
            settings = self._settings()
            known = Disk(
                self._directories[0],
                min_file_size=settings["disk_min_file_size"],
                pickle_protocol=settings["disk_pickle_protocol"],
            )
            known._follow(self)  # pyright: ignore[reportPrivateUsage]
            self.__dict__["_native_disk"] = known
        return known

    def __getattr__(self, name: str) -> Any:
        # Settings are attributes; counters show what the store says now.
        if name.startswith("__") or "_directory" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in METADATA:
            return self.reset(name)
        try:
            return self._setting(name)
        except KeyError:
            pass
        raise AttributeError(f"{type(self).__name__!r} object has no attribute or setting {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DEFAULT_SETTINGS:
            self.reset(name, value, update=False)
        else:
            object.__setattr__(self, name, value)

    def transact(self, retry: bool = False) -> Transaction:
        """A transaction: all that the block does happens at once, or, if it raises, not at all.

        Until the block ends no other thread or process can write, and others read what was before.
        Transactions nest; the outermost counts. `retry` waits for other writers as long as it takes.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> with cache.transact():
        ...     total = cache.incr("total", 5)
        ...     count = cache.incr("count")
        >>> total, count
        (5, 1)

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
        return Transaction(self, retry)

    def memoize(
        self,
        name: str | None = None,
        typed: bool = False,
        expire: float | None = None,
        tag: str | None = None,
        ignore: Iterable[int | str] = (),
    ) -> memo.Memoizer:
        """A decorator that keeps the results of a function, or of a coroutine function.

        `name` replaces the function's own in the keys, `typed` keeps 1 and 1.0 apart, `expire` is in
        seconds, and arguments whose positions or names are in `ignore` do not count.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> @cache.memoize(expire=3600)
        ... def square(number):
        ...     print("computing")
        ...     return number * number
        >>> square(3), square(3)
        computing
        (9, 9)
        """
        return memo.memoize(self, name, typed, expire, tag, ignore)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce_ex__(self, protocol: Any, /) -> str | tuple[Any, ...]:
        # The oldest protocols cannot make an instance of a native class.
        return super().__reduce_ex__(max(2, protocol))

    def _facts(self) -> list[tuple[str, str]]:
        """What repr shows; less of it when the store cannot be read."""
        facts = [("directory", self._directory)]
        try:
            facts.append(("entries", f"{len(self):,}"))
            facts.append(("size", _bytes(self.volume())))
            hits, misses = self.reset("hits"), self.reset("misses")
            if hits or misses:
                facts.append(("hits", f"{hits:,} of {hits + misses:,}"))
        except Exception as error:
            facts.append(("unreadable", type(error).__name__))
        return facts

    def __repr__(self) -> str:
        if "_directory" not in self.__dict__:
            return f"<{type(self).__name__}, not open>"
        (_, directory), *facts = self._facts()
        rest = "".join(f", {name}: {value}" for name, value in facts)
        return f"<{type(self).__name__} {directory!r}{rest}>"

    def _repr_html_(self) -> str:
        import html  # for notebooks only

        rows = "".join(
            f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in self._facts()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


class Cache(BaseCache):
    """A persistent cache in a directory, shared by all threads and processes that open it.

    >>> import dolium
    >>> cache = dolium.Cache()  # a new temporary directory; pass a path to keep it
    >>> cache["key"] = "value"
    >>> cache.get("key"), "other" in cache, len(cache)
    ('value', False, 1)

    Args:
        directory: Where the entries lie; `~` and `$VARIABLES` are expanded. Created if need be.
        timeout: How long an operation waits for other writers, in seconds.
        disk: A subclass of :class:`Disk` that converts keys and values in another way.
        read_only: Never write: for a directory that cannot, or must not, be changed.
        trust: Which pickles are loaded. "signed": those that this user's dolium wrote, and plain data.
            "all": every one, which lets whoever can write to the directory run code here. "none": only
            plain data.
        settings: Any of :data:`DEFAULT_SETTINGS`; those that differ from what is stored are stored.
            `size_limit` is in bytes, None for no limit.

    Raises:
        OSError: The directory cannot be created or read.
        ValueError: `disk` is no subclass of :class:`Disk`, or a setting makes no sense.
    """

    def __init__(
        self,
        directory: Any = None,
        timeout: float = 60,
        disk: type[Disk] = Disk,
        *,
        read_only: bool = False,
        trust: str = "signed",
        **settings: Any,
    ) -> None:
        self._start(directory, timeout, disk, settings, read_only=read_only, trust=trust, shards=None)

    @contextmanager
    def _transact(
        self, retry: bool = False, filename: str | None = None
    ) -> Generator[tuple[Any, Any], None, None]:
        """diskcache's inner transaction: yields a way to run SQL, and one to remove files afterwards."""
        filenames: list[str | None] = []
        with self.transact(retry):
            yield self._sql, filenames.append
        for name in filenames:
            if name is not None:
                self._disk.remove(name)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.directory, self.timeout, type(self.disk))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)
