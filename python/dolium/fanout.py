"""The class :class:`FanoutCache`: its constructor, transactions over all shards, and named sub-caches.

It inherits every operation on keys from the native ``Store``, which chooses the shard.
"""

from __future__ import annotations

import os.path as op
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .constants import ENOVAL
from .core import BaseCache, Cache
from .disk import Disk
from .transaction import Transaction

if TYPE_CHECKING:
    from datetime import timedelta

    from typing_extensions import Unpack

    from .aio.cache import AsyncFanoutCache
    from .codecs import Codec, Encoder, Filter
    from .persistent import Deque, Index
    from .settings import Directory, Settings, Trust

_PARTS = ("_caches", "_deques", "_indexes")
"""The attributes that hold what was opened by name."""


class FanoutCache(BaseCache):
    """A cache that spreads its keys over several directories, so that writers rarely meet.

    An operation that would wait longer than `timeout` counts as a miss instead of raising ``Timeout``,
    unless the caller passes ``retry=True``.

    >>> import dolium
    >>> cache = dolium.FanoutCache(shards=4)
    >>> cache["key"] = "value"
    >>> cache.get("key")
    'value'

    Args:
        directory: The directory of the shards.
        shards: The number of shards of a new cache. An existing cache keeps its number.
        timeout: How long an operation waits for other writers, in seconds.
        settings: As for :class:`Cache`; `size_limit` is that of all shards together.

    All other arguments and errors are those of :class:`Cache`.
    """

    def __init__(
        self,
        directory: Directory = None,
        shards: int = 8,
        timeout: float | timedelta = 0.010,
        disk: type[Disk] = Disk,
        *,
        read_only: bool = False,
        trust: Trust = "signed",
        codec: Codec | Encoder | Filter | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        parts: dict[str, Any] = self.__dict__.get("_restored", {}).get("parts", {})
        self._start(
            directory,
            timeout,
            disk,
            {**settings},
            read_only=read_only,
            trust=trust,
            shards=shards,
            codec=codec,
        )
        self._caches: dict[str, Cache] = {**parts.get("_caches", {})}
        self._deques: dict[str, Deque[Any]] = {**parts.get("_deques", {})}
        self._indexes: dict[str, Index[Any, Any]] = {**parts.get("_indexes", {})}

    @property
    def _shards(self) -> tuple[Cache, ...]:
        """The shards, each as a :class:`Cache` of its own."""
        known = self.__dict__.get("_shard_caches")
        if known is None:
            known = tuple(self._shard(index, path) for index, path in enumerate(self._directories))
            self.__dict__["_shard_caches"] = known
        return known

    def _shard(self, index: int, path: str) -> Cache:
        shard = Cache.__new__(Cache)
        shard.__dict__.update(
            _directory=path,
            _timeout=self._timeout,
            _disk_class=self._disk_class,
            _read_only_asked=self._read_only_asked,
            _trust=self._trust,
            _codec=self._codec,
            _unstored=self._unstored,
        )
        self._open_shard(index, shard)
        return shard

    @property
    def _count(self) -> int:
        return len(self._directories)

    @property
    def _hash(self) -> Callable[[Any], int]:
        return self.disk.hash

    @property
    def aio(self) -> AsyncFanoutCache:
        """The face of this cache for event loops: its operations are awaited.

        >>> import asyncio, dolium
        >>> cache = dolium.FanoutCache()
        >>> asyncio.run(cache.aio.set("key", "value")), cache["key"]
        (True, 'value')
        """
        from .aio.cache import AsyncFanoutCache

        return AsyncFanoutCache.of(self)

    def transact(self, retry: bool = True) -> Transaction:
        """Begin a transaction over all shards, see :meth:`Cache.transact`. It waits without a limit.

        >>> import dolium
        >>> cache = dolium.FanoutCache()
        >>> with cache.transact():
        ...     cache["a"] = cache["b"] = 1
        """
        assert retry, "retry must be True in FanoutCache"
        return Transaction(self, retry=True)

    def expire(self, retry: bool = False) -> int:  # type: ignore[override]
        """Remove the expired entries; return how many they were."""
        return super().expire(None, retry)

    def reset(self, key: str, value: Any = ENOVAL, update: bool = True) -> Any:
        """Read the setting `key` again from the shards, or change it in all; return its value."""
        return super().reset(key, value, update)

    def _refuse(self) -> Any:
        raise AttributeError(
            "a FanoutCache has no queue and no order of its own; use its deque(), index() or cache()"
        )

    push = pull = peek = peekitem = property(_refuse)  # type: ignore[assignment]

    def close(self) -> None:
        """Close all shards and the named caches, deques and indexes, and forget these."""
        super().close()
        for names in _PARTS:
            parts: dict[str, Any] = self.__dict__.get(names, {})
            for part in parts.values():
                getattr(part, "cache", part).close()
            parts.clear()

    def _subdirectory(self, kind: str, name: str) -> str:
        return op.join(self._directory, kind, *name.split("/"))

    def _options(self) -> dict[str, Any]:
        # Named caches have a timeout and a disk of their own, deques a greatest length.
        options = super()._options()
        parts = {names: {**self.__dict__[names]} for names in _PARTS if self.__dict__.get(names)}
        return {**options, "parts": parts} if parts else options

    def cache(
        self,
        name: str,
        timeout: float | timedelta = 60,
        disk: type[Disk] | None = None,
        **settings: Unpack[Settings],
    ) -> Cache:
        """The :class:`Cache` of that name in a directory of its own below this one.

        It converts with `disk`, by default the class of this cache. `settings` are those of :class:`Cache`.

        >>> import dolium
        >>> fanout = dolium.FanoutCache()
        >>> fanout.cache("pages")["/"] = "<html>"
        >>> fanout.cache("pages")["/"]
        '<html>'
        """
        cache = self._caches.get(name)
        if cache is None:
            directory = self._subdirectory("cache", name)
            cache = self._sub_cache(
                directory, self._disk_class if disk is None else disk, timeout, {**settings}
            )
            self._caches[name] = cache
        return cache

    def deque(self, name: str, maxlen: int | None = None) -> Deque[Any]:
        """The :class:`Deque` of that name in a directory of its own below this one.

        >>> import dolium
        >>> deque = dolium.FanoutCache().deque("jobs")
        >>> deque.extend("abc")
        >>> deque.popleft(), len(deque)
        ('a', 2)
        """
        from .persistent import Deque

        if name not in self._deques:
            self._deques[name] = Deque[Any].fromcache(self._container_cache("deque", name), maxlen=maxlen)
        return self._deques[name]

    def index(self, name: str) -> Index[Any, Any]:
        """The :class:`Index` of that name in a directory of its own below this one.

        >>> import dolium
        >>> index = dolium.FanoutCache().index("users")
        >>> index["ada"] = 36
        >>> index.popitem()
        ('ada', 36)
        """
        from .persistent import Index

        if name not in self._indexes:
            self._indexes[name] = Index[Any, Any].fromcache(self._container_cache("index", name))
        return self._indexes[name]

    def _container_cache(self, kind: str, name: str) -> Cache:
        directory = self._subdirectory(kind, name)
        return self._sub_cache(directory, self._disk_class, 60, {"eviction_policy": "none"})

    def _sub_cache(
        self, directory: str, disk: type[Disk], timeout: float | timedelta, settings: dict[str, Any]
    ) -> Cache:
        return Cache(
            directory,
            timeout,
            disk,
            read_only=self._read_only_asked,
            trust=self._trust,
            codec=self._codec if disk is Disk else None,
            **settings,
        )

    def __getstate__(self) -> tuple[Any, ...]:
        return (self._directory, self._count, self._timeout, self._disk_class)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)
