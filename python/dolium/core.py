"""The class :class:`Cache`: its constructor, transactions, settings as attributes, pickling and repr.

It inherits every operation on keys from the native ``Store``.
"""

from __future__ import annotations

import errno
import functools
import os
import os.path as op
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import constants
from ._dolium import Info, in_seconds
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
from .errors import EmptyDirWarning, MissingDirectoryError, Timeout, UnknownFileWarning
from .memo import args_to_key
from .names import full_name
from .remembering import RemembersFunctions
from .transaction import Transaction

if TYPE_CHECKING:
    from datetime import timedelta

    from typing_extensions import Unpack

    from .aio.cache import AsyncCache
    from .codecs import Codec, Encoder, Filter
    from .settings import Directory, Settings, Trust

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


class BaseCache(RemembersFunctions):
    """The base class of :class:`Cache` and :class:`~dolium.FanoutCache`."""

    _directory: str
    _timeout: float
    _disk_class: type[Disk]
    _read_only_asked: bool
    _trust: Trust
    _codec: Codec | None
    _unstored: dict[str, Any]
    """Settings that were passed, where the cache may not store them."""

    def _start(
        self,
        directory: Directory,
        timeout: float | timedelta,
        disk: Any,
        settings: dict[str, Any],
        *,
        read_only: bool,
        trust: Trust,
        shards: int | None,
        codec: Codec | Encoder | Filter | None = None,
    ) -> None:
        restored: dict[str, Any] = self.__dict__.pop("_restored", {})
        read_only = restored.get("read_only", read_only)
        trust = restored.get("trust", trust)
        settings = {**restored.get("settings", {}), **settings}
        codec = restored.get("codec", codec)
        if codec is not None:
            from .codecs import as_codec

            codec = as_codec(codec)
            if disk is not Disk:
                raise ValueError(
                    "codec: a subclass of Disk converts values in its own way; pass one of the two"
                )
        if not (isinstance(disk, type) and issubclass(disk, Disk)):
            raise ValueError("disk must subclass dolium.Disk")
        if EVICTION_POLICY is not constants.EVICTION_POLICY or hasattr(type(self), "EVICTION_POLICY"):
            raise TypeError(constants.OWN_POLICIES)
        timeout = in_seconds(timeout)
        if directory is None:
            import tempfile  # slow to import, and rarely needed

            directory = tempfile.mkdtemp(prefix="dolium-")
        directory = _absolute(op.expandvars(op.expanduser(str(directory))))
        set_own = functools.partial(object.__setattr__, self)
        set_own("_directory", directory)
        set_own("_timeout", timeout)
        set_own("_disk_class", disk)
        set_own("_read_only_asked", read_only)
        set_own("_trust", trust)
        set_own("_codec", codec)
        set_own("_unstored", settings if read_only else {})
        self._open(
            directory,
            timeout,
            settings,
            read_only=read_only,
            trust=trust,
            disk=None if disk is Disk else disk,
            shards=shards,
            codec=codec,
        )

    @property
    def directory(self) -> str:
        """The directory of the cache, an absolute path."""
        return self._directory

    @property
    def timeout(self) -> float:
        """How long an operation waits for other writers, in seconds."""
        return self._timeout

    @property
    def disk(self) -> Disk:
        """The converter of keys and values. If its class is exactly :class:`Disk`, the cache converts natively."""
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
        """Begin a transaction: the block happens as a whole, or not at all if it raises.

        Until the block ends no other thread or process can write, and all others read the state before.
        Transactions nest, and the outermost counts. `retry` waits for other writers without a limit.

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

    def backup(self, directory: str | os.PathLike[str], *, force: bool = False) -> int:
        """Copy the present state of the cache to a new `directory`; return the number of entries in the copy.

        The copy is a cache of its own, for dolium and for diskcache. It has everything that was stored before the
        call, while other threads and processes continue to read and write. It gets its name only when it is
        complete, and a backup that fails leaves nothing. On the same file system its value files are hard links.
        `force` replaces a cache that `directory` holds.

        The shards of a :class:`FanoutCache`, and the caches below it, are copied one after the other.

        >>> import dolium, os, tempfile
        >>> cache = dolium.Cache()
        >>> cache["key"] = "value"
        >>> copy = os.path.join(tempfile.mkdtemp(), "copy")
        >>> cache.backup(copy), dolium.Cache(copy)["key"]
        (1, 'value')

        Raises:
            ValueError: `directory` is not free, or the cache is inside a transaction of this thread.
            Timeout: Other programs kept the database locked.
            OSError: The disk is full, or refuses the copy for another reason.
        """
        return self._backup(op.expandvars(op.expanduser(os.fspath(directory))), force)

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
        reduced = super().__reduce_ex__(max(2, protocol))
        options = self._options()
        if not options or isinstance(reduced, str):
            return reduced
        make, arguments, *rest = reduced
        return (_restore, (options, make, *arguments), *rest)

    def _options(self) -> dict[str, Any]:
        """The options of a copy beside `__getstate__`, by name. A usual cache has none.

        The state is the first arguments of the constructor, to which subclasses add arguments of their own.
        """
        options: dict[str, Any] = {}
        if self._read_only_asked:
            options["read_only"] = True
        if self._trust != "signed":
            options["trust"] = self._trust
        if self._codec is not None:
            options["codec"] = self._codec
        if self._unstored:
            options["settings"] = self._unstored
        return options

    def _summary(self) -> list[tuple[str, str]]:
        """What repr shows; less of it when the store cannot be read."""
        facts = [("directory", self._directory)]
        try:
            facts.append(("entries", f"{len(self):,}"))
            facts.append(("size", _bytes(self.volume())))
            hits, misses = self.stats()
            if hits or misses:
                facts.append(("hits", f"{hits:,} of {hits + misses:,}"))
        except Exception as error:
            facts.append(("unreadable", type(error).__name__))
        return facts

    def _limits(self) -> list[tuple[str, str]]:
        """The parts that a notebook shows in addition."""
        limit: Any = self._setting("size_limit")
        return [
            ("limit", "none" if limit in (None, float("inf")) else _bytes(limit)),
            ("policy", str(self._setting("eviction_policy"))),
        ]

    def __repr__(self) -> str:
        if "_directory" not in self.__dict__:
            return f"<{type(self).__name__}, not open>"
        (_, directory), *facts = self._summary()
        rest = "".join(f", {name}: {value}" for name, value in facts)
        return f"<{type(self).__name__} {directory!r}{rest}>"

    def _repr_html_(self) -> str:
        import html  # for notebooks only

        facts = dict(self._summary())
        if "unreadable" not in facts:
            facts = {"hits": "none yet", **facts, **dict(self._limits())}
        rows = "".join(
            f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in facts.items()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"


def is_usual(cache: Cache) -> bool:
    """Whether `cache` was opened without arguments that its directory does not store."""
    return cache.__getstate__() == (cache.directory, 60, Disk) and not cache._options()  # pyright: ignore[reportPrivateUsage]


def _absolute(directory: str) -> str:
    """`directory` as an absolute path, so that it stays when the program changes its working directory."""
    if op.isabs(directory):
        return directory
    if not directory:
        raise MissingDirectoryError(
            errno.ENOENT, "the name of the directory is empty; is a variable unset?", directory
        )
    return op.join(os.getcwd(), *(part for part in directory.split(op.sep) if part not in ("", op.curdir)))


def _restore(options: dict[str, Any], make: Callable[..., Any], *arguments: Any) -> Any:
    """Makes a cache of a pickle or a copy, which `__setstate__` then opens with these options."""
    cache = make(*arguments)
    cache.__dict__["_restored"] = options
    return cache


def _bytes(count: float) -> str:
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
        directory: The directory of the entries, made if necessary. `~` and `$VARIABLES` are expanded. A relative
            path is relative to the working directory at this moment, and stays so.
        timeout: How long an operation waits for other writers, in seconds or as a `timedelta`.
        disk: A subclass of :class:`Disk`, which converts keys and values in its own way.
        read_only: Never write, because the directory cannot or must not change.
        trust: Which pickles to load. "signed": those that this user's dolium wrote, and plain data.
            "all": every one, so that every writer of the directory can run code here. "none": only
            plain data.
        codec: How values are stored, see :mod:`dolium.codecs`. It is an option of this object: values that others
            store say themselves how they are stored.
        settings: Any of :data:`DEFAULT_SETTINGS`. The cache stores those that differ from its own.
            `size_limit` is in bytes, or a text such as "2 GiB"; None is no limit.

    Raises:
        OSError: The directory cannot be created or read.
        ValueError: `disk` is no subclass of :class:`Disk`, is one beside a `codec`, or a setting makes no sense.
    """

    def __init__(
        self,
        directory: Directory = None,
        timeout: float | timedelta = 60,
        disk: type[Disk] = Disk,
        *,
        read_only: bool = False,
        trust: Trust = "signed",
        codec: Codec | Encoder | Filter | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self._start(
            directory, timeout, disk, {**settings}, read_only=read_only, trust=trust, shards=None, codec=codec
        )

    @property
    def aio(self) -> AsyncCache:
        """The face of this cache for event loops: its operations are awaited.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> asyncio.run(cache.aio.set("key", "value")), cache["key"]
        (True, 'value')
        """
        from .aio.cache import AsyncCache

        return AsyncCache.of(self)

    @contextmanager
    def _transact(
        self, retry: bool = False, filename: str | None = None
    ) -> Generator[tuple[Any, Any], None, None]:
        """diskcache's inner transaction: yields a function that runs SQL, and one that removes files afterwards."""
        filenames: list[str | None] = []
        with self.transact(retry):
            yield self._sql, filenames.append
        for name in filenames:
            if name is not None:
                self._disk.remove(name)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._directory, self._timeout, self._disk_class)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)
