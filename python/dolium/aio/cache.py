"""The asynchronous faces of caches: :class:`AsyncCache` and :class:`AsyncFanoutCache`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..core import Cache
from ..disk import Disk
from ..fanout import FanoutCache
from .deque import AsyncDeque
from .index import AsyncIndex
from .store import AsyncStore

if TYPE_CHECKING:
    from datetime import timedelta

    from typing_extensions import Unpack

    from ..codecs import Codec, Encoder, Filter
    from ..settings import Directory, Settings, Trust
    from .store import Seconds, Tag

    Side = Literal["front", "back"]


class AsyncCache(AsyncStore[Cache]):
    """A :class:`~dolium.Cache` whose operations are awaited. It takes the arguments of `Cache`.

    The attribute `aio` of a cache is such a face of it. Threads, tasks and processes share the entries.

    >>> import asyncio
    >>> async def main():
    ...     async with AsyncCache() as cache:
    ...         await cache.set("key", "value")
    ...         return await cache.get("key"), await cache.contains("other"), [key async for key in cache]
    >>> asyncio.run(main())
    ('value', False, ['key'])
    """

    __slots__ = ()

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
        self._attach(
            Cache(directory, timeout, disk, read_only=read_only, trust=trust, codec=codec, **settings)
        )

    @classmethod
    def of(cls, cache: Cache) -> AsyncCache:
        """The face of a cache."""
        self = cls.__new__(cls)
        self._attach(cache)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (AsyncCache.of, (self._cache,))

    async def expire(self, now: float | None = None, retry: bool = False) -> int:
        """As :meth:`Cache.expire`."""
        return await self._write(self._cache.expire, now, retry=retry)

    async def push(
        self,
        value: Any,
        prefix: str | None = None,
        side: Side = "back",
        expire: Seconds | None = None,
        read: bool = False,
        tag: Tag = None,
        retry: bool = False,
    ) -> Any:
        """As :meth:`Cache.push`."""
        return await self._write(
            self._cache.push, value, prefix, side, expire=expire, read=read, tag=tag, retry=retry
        )

    async def pull(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """As :meth:`Cache.pull`. Where a cancelled task must not lose the item, pull it inside `transact`.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> async def main():
        ...     await cache.aio.push("first")
        ...     return await cache.aio.pull(), await cache.aio.pull()
        >>> asyncio.run(main())
        ((500000000000000, 'first'), (None, None))
        """
        return await self._write(
            self._cache.pull, prefix, default, side, expire_time=expire_time, tag=tag, retry=retry
        )

    async def peek(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """As :meth:`Cache.peek`."""
        return await self._write(
            self._cache.peek, prefix, default, side, expire_time=expire_time, tag=tag, retry=retry
        )

    async def peekitem(
        self, last: bool = True, expire_time: bool = False, tag: bool = False, retry: bool = False
    ) -> Any:
        """As :meth:`Cache.peekitem`."""
        return await self._write(self._cache.peekitem, last, expire_time=expire_time, tag=tag, retry=retry)


class AsyncFanoutCache(AsyncStore[FanoutCache]):
    """A :class:`~dolium.FanoutCache` whose operations are awaited. It takes the arguments of `FanoutCache`.

    >>> import asyncio
    >>> async def main():
    ...     async with AsyncFanoutCache(shards=4) as cache:
    ...         jobs = await cache.deque("jobs")
    ...         await jobs.extend("abc")
    ...         return await jobs.popleft(), [job async for job in jobs]
    >>> asyncio.run(main())
    ('a', ['b', 'c'])
    """

    __slots__ = ()

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
        self._attach(
            FanoutCache(
                directory, shards, timeout, disk, read_only=read_only, trust=trust, codec=codec, **settings
            )
        )

    @classmethod
    def of(cls, cache: FanoutCache) -> AsyncFanoutCache:
        """The face of a cache."""
        self = cls.__new__(cls)
        self._attach(cache)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (AsyncFanoutCache.of, (self._cache,))

    def transact(self, retry: bool = True):
        """A transaction over all shards for ``async with``. It waits without a limit."""
        return super().transact(retry)

    async def expire(self, retry: bool = False) -> int:
        """As :meth:`FanoutCache.expire`."""
        return await self._write(self._cache.expire, retry=retry)

    async def cache(
        self,
        name: str,
        timeout: float | timedelta = 60,
        disk: type[Disk] | None = None,
        **settings: Unpack[Settings],
    ) -> AsyncCache:
        """The face of the :class:`~dolium.Cache` of that name, see :meth:`FanoutCache.cache`."""
        return AsyncCache.of(await self._write(self._cache.cache, name, timeout, disk, **settings))

    async def deque(self, name: str, maxlen: int | None = None) -> AsyncDeque[Any]:
        """The face of the :class:`~dolium.Deque` of that name."""
        return AsyncDeque(await self._write(self._cache.deque, name, maxlen))

    async def index(self, name: str) -> AsyncIndex[Any, Any]:
        """The face of the :class:`~dolium.Index` of that name."""
        return AsyncIndex(await self._write(self._cache.index, name))
