"""`DjangoCache`: dolium as a cache backend of Django 4.2 and later.

It translates Django's terms (versions, timeouts, lists of failed keys) into those of a `FanoutCache`. No other
module of dolium needs Django.

In the settings::

    CACHES = {
        'default': {
            'BACKEND': 'dolium.DjangoCache',
            'LOCATION': '/var/cache/site',
            'TIMEOUT': 300,              # seconds, or a timedelta; None keeps entries for ever
            'SHARDS': 8,
            'DATABASE_TIMEOUT': 0.010,   # seconds a read may wait before it is a miss
            'OPTIONS': {'size_limit': 2**30},
        },
    }
"""

# Django has no types of its own; where stubs are installed, they know less than its backends do.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from ._dolium import in_seconds
from .constants import MISS
from .fanout import FanoutCache
from .functions.missing import value_of
from .memo import Results, memoizer
from .memo_types import CacheKey, Memoizer

if TYPE_CHECKING:
    from .core import Cache
    from .functions.term import Lifetime
    from .persistent import Deque, Index
    from .stats import Stats

__all__ = ["DEFAULT_TIMEOUT", "DjangoCache"]


class DjangoCache(BaseCache):
    """A cache backend that all processes of a site share, without a server.

    Beside Django's methods, asynchronous ones included, it has those of a `FanoutCache`: files as
    values (`read`), tags, statistics and named caches, deques and indexes in subdirectories.

    Entries with a timeout of 0 or less expire at once, and None keeps them for ever. Writes wait for
    other writers without a limit (`retry`), reads at most ``DATABASE_TIMEOUT``.
    """

    def __init__(self, directory: str, params: dict[str, Any]):
        # Django takes whatever is no number for 300 seconds.
        params = {name: in_seconds(value) for name, value in params.items()}
        super().__init__(params)
        self._cache: FanoutCache = FanoutCache(
            directory or params.get("DIRECTORY", directory),
            params.get("SHARDS", 8),
            params.get("DATABASE_TIMEOUT", 0.010),
            **params.get("OPTIONS", {}),
        )

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return self._cache.directory

    @property
    def _directory(self) -> str:
        return self._cache.directory

    def cache(self, name: str) -> Cache:
        """The `Cache` of this name in a subdirectory."""
        return self._cache.cache(name)

    def deque(self, name: str, maxlen: int | None = None) -> Deque[Any]:
        """The `Deque` of this name in a subdirectory."""
        return self._cache.deque(name, maxlen=maxlen)

    def index(self, name: str) -> Index[Any, Any]:
        """The `Index` of this name in a subdirectory."""
        return self._cache.index(name)

    # One entry

    def add(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        read: bool = False,
        tag: Any = None,
        retry: bool = True,
    ) -> bool:
        """Set `key` if it is not there; true if it was set.

        Args:
            timeout: Seconds until it expires, or a `timedelta` (default: the setting ``TIMEOUT``).
            read: `value` is a binary file, whose contents are the value.
            tag: Text for :meth:`evict`.
            retry: Wait for other writers without a limit.
        """
        key = self.make_key(key, version=version)
        return self._cache.add(key, value, self.get_backend_timeout(timeout), read, tag, retry)

    def get(
        self,
        key: Any,
        default: Any = None,
        version: int | None = None,
        read: bool = False,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """The value of `key`, or `default`.

        Args:
            read: Give an open binary file instead of its contents.
            expire_time: Give a tuple whose second part is the time of expiry (seconds since 1970).
            tag: Give a tuple whose last part is the tag.
        """
        key = self.make_key(key, version=version)
        return self._cache.get(key, default, read, expire_time, tag, retry)

    def read(self, key: Any, version: int | None = None) -> Any:
        """The value of `key` as a binary file open for reading.

        Raises:
            KeyError: The key is missing.
        """
        return self._cache.read(self.make_key(key, version=version))

    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        read: bool = False,
        tag: Any = None,
        retry: bool = True,
    ) -> bool:
        """Set `key`; true if it was set. The parameters are those of :meth:`add`."""
        key = self.make_key(key, version=version)
        return self._cache.set(key, value, self.get_backend_timeout(timeout), read, tag, retry)

    def touch(
        self,
        key: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        retry: bool = True,
    ) -> bool:
        """Give `key` a new timeout; true if it was there."""
        key = self.make_key(key, version=version)
        return self._cache.touch(key, self.get_backend_timeout(timeout), retry)

    def pop(
        self,
        key: Any,
        default: Any = None,
        version: int | None = None,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = True,
    ) -> Any:
        """Remove `key` and return its value, or `default`; with the additions of :meth:`get`."""
        key = self.make_key(key, version=version)
        return self._cache.pop(key, default, expire_time, tag, retry)

    def delete(self, key: Any, version: int | None = None, retry: bool = True) -> bool:
        """Remove `key`; true if it was there."""
        return self._cache.delete(self.make_key(key, version=version), retry)

    def incr(
        self,
        key: Any,
        delta: int = 1,
        version: int | None = None,
        default: int | None = None,
        retry: bool = True,
    ) -> int | None:
        """Add `delta` to the number at `key`, atomically, and return the sum.

        Args:
            default: The number that a missing key counts as.

        Raises:
            ValueError: The key is missing and there is no default.
        """
        made = self.make_key(key, version=version)
        try:
            return self._cache.incr(made, delta, default, retry)
        except KeyError:
            raise ValueError(f"Key '{made}' not found") from None

    def decr(
        self,
        key: Any,
        delta: int = 1,
        version: int | None = None,
        default: int | None = None,
        retry: bool = True,
    ) -> int | None:
        """Subtract `delta`, as :meth:`incr`; the result may be negative."""
        return self.incr(key, -delta, version, default, retry)

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Whether `key` is there and has not expired."""
        return self.make_key(key, version=version) in self._cache

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        errors: Mapping[type[Exception], Lifetime] = {},
    ) -> Any:
        """The value of `key`; where it is missing, `default` is stored.

        A callable `default` is called by one of all threads and processes that miss the key at the same time; the
        others wait for its result. `errors` names exceptions of it that are stored and raised again, by type, each with
        its lifetime: see :meth:`dolium.Cache.get_or_set`.
        """
        if not callable(default):
            return cast("Any", super()).get_or_set(key, default, timeout, version)

        def look() -> Any:
            return self.get(key, MISS, version, retry=True)

        def store(value: Any) -> Any:
            self.add(key, value, timeout, version)
            return look()

        value = look()
        if value is not MISS:
            return value
        return value_of(self._cache, self.make_key(key, version=version), default, look, store, errors)

    # Many entries, in one call to the cache each

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """The keys that are there and their values."""
        made = {self.make_key(key, version=version): key for key in keys}
        return {made[key]: value for key, value in self._cache.get_many(made).items()}

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        tag: Any = None,
        retry: bool = True,
    ) -> list[Any]:
        """Set several keys; the result lists those that were not set."""
        made = {self.make_key(key, version=version): value for key, value in data.items()}
        seconds = self.get_backend_timeout(timeout)
        if self._cache.set_many(made, seconds, tag, retry) == len(made):
            return []
        # A rare case (a value larger than the cache, a timeout), and the count does not say which.
        return [
            key
            for key, value in data.items()
            if not self.set(key, value, timeout, version, tag=tag, retry=retry)
        ]

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Remove several keys."""
        self._cache.delete_many([self.make_key(key, version=version) for key in keys], retry=True)

    # All entries

    def expire(self) -> int:
        """Remove the expired entries and return how many they were."""
        return self._cache.expire()

    def stats(self, enable: bool | None = None, reset: bool = False) -> Stats:
        """Hits and misses so far, see :meth:`dolium.Cache.stats`. The call changes nothing."""
        return self._cache.stats(enable=enable, reset=reset)

    def create_tag_index(self) -> None:
        """Make :meth:`evict` fast; better set ``OPTIONS = {'tag_index': True}``."""
        self._cache.create_tag_index()

    def drop_tag_index(self) -> None:
        """Undo :meth:`create_tag_index`."""
        self._cache.drop_tag_index()

    def evict(self, tag: Any) -> int:
        """Remove all entries of a tag and return how many they were."""
        return self._cache.evict(tag)

    def cull(self) -> int:
        """Remove entries until the cache is within its size limit, and return how many they were."""
        return self._cache.cull()

    def clear(self) -> int:
        """Remove all entries, of all versions, and return how many they were."""
        return self._cache.clear()

    def close(self, **kwargs: Any) -> None:
        """Do nothing.

        Django calls this at the end of every request, in the thread that served it. Requests and threads
        own nothing here. The process has one handle per directory, which closes with the last object
        for it. ``_cache.close()`` closes it now.
        """

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> float | None:
        """Seconds until expiry for a timeout in Django's terms; negative: expired at once."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        timeout = in_seconds(timeout)
        return -1 if timeout == 0 else timeout

    def memoize(
        self,
        name: str | None = None,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        typed: bool = False,
        tag: Any = None,
        ignore: Iterable[Any] = (),
    ) -> Memoizer:
        """Make a decorator that stores the results of a function or a coroutine function.

        Args:
            name: The first part of the keys (default: module and qualified name of the function).
            timeout: Seconds until a result expires; zero or less looks up but stores nothing.
            version: Version of the keys.
            typed: Keep ``f(3)`` and ``f(3.0)`` apart.
            tag: Tag of the entries.
            ignore: Positions and names of arguments that do not influence the result.

        Raises:
            TypeError: Used without parentheses.
        """

        def load(key: CacheKey) -> Any:
            return self.get(key, MISS, version, retry=True)

        def save(key: CacheKey, value: Any) -> bool:
            return self.set(key, value, timeout, version, tag=tag)

        def drop(key: CacheKey) -> bool:
            return self.delete(key, version)

        timeout = in_seconds(timeout)
        stores = timeout is None or timeout is DEFAULT_TIMEOUT or timeout > 0
        results = Results(load, save if stores else None, drop, self._cache)
        return memoizer(results, name, typed, ignore)
