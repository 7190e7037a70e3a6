"""The operations that every asynchronous face of a cache has: :class:`AsyncStore`.

Each is the method of that name of the cache itself, awaited. Arguments, results and exceptions are the same.
"""

# pyright: reportPrivateUsage=false
# (the methods of the native store that try)

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from warnings import WarningMessage

from .. import recipes
from ..constants import ENOVAL, MISS
from ..locks import BoundedSemaphore, Lock, RLock
from . import large
from .calls import Caller
from .files import AsyncFile, wrapped
from .locks import AsyncBoundedSemaphore, AsyncLock, AsyncRLock
from .transaction import AsyncTransaction
from .walk import AsyncWalk

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from typing_extensions import Self

    from .._dolium import Info
    from ..codecs import Codec, Encoder, Filter
    from ..core import BaseCache
    from ..disk import Disk
    from ..functions.term import Lifetime
    from ..stats import Stats

    Seconds = float | timedelta
    Tag = str | int | float | bytes | None
    C = TypeVar("C", bound=BaseCache)
else:
    C = TypeVar("C")

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

_UNANSWERED: Any = object()


def _with(codec: Codec | Encoder | Filter | None) -> dict[str, Any]:
    """The argument `codec` if it was passed: a method of a subclass may not have it."""
    return {} if codec is None else {"codec": codec}


class AsyncStore(Caller, Generic[C]):
    """The base class of :class:`AsyncCache` and :class:`AsyncFanoutCache`."""

    __slots__ = ("_cache",)

    _cache: C

    def _attach(self, cache: C) -> None:
        self._set_owner(cache, cache.directory)
        self._cache = cache

    @property
    def sync(self) -> C:
        """The cache itself. Its settings are attributes; its operations hold up the event loop."""
        return self._cache

    @property
    def directory(self) -> str:
        """The directory of the cache, an absolute path."""
        return self._cache.directory

    @property
    def timeout(self) -> float:
        """How long an operation waits for other writers, in seconds."""
        return self._cache.timeout

    @property
    def disk(self) -> Disk:
        """The converter of keys and values."""
        return self._cache.disk

    @property
    def memoize(self):
        """The decorator :meth:`Cache.memoize`, for functions and coroutine functions."""
        return self._cache.memoize

    @property
    def cached(self):
        """The decorator :meth:`Cache.cached`, for functions and coroutine functions."""
        return self._cache.cached

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.directory!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    # Looking up

    async def get(
        self,
        key: Any,
        default: Any = None,
        read: bool = False,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
        *,
        max_age: Seconds | None = None,
    ) -> Any:
        """As :meth:`Cache.get`. With `read=True` the file is an :class:`AsyncFile`."""
        if not read and self._may_try():
            value = self._cache._try_get(key, _UNANSWERED, default, expire_time, tag, max_age)
            if value is not _UNANSWERED:
                await self._breathe()
                return value
        asked: dict[str, Any] = {"expire_time": expire_time, "tag": tag, "max_age": max_age}
        if not read and self._is_native:
            return await self._read(large.get, self._cache, key, default, retry, **asked)
        value = await self._read(self._cache.get, key, default, read, retry=retry, **asked)
        if read and (expire_time or tag):
            return (wrapped(value[0]), *value[1:])
        return wrapped(value) if read else value

    async def read(self, key: Any, retry: bool = False) -> AsyncFile:
        """As :meth:`Cache.read`. The file is for ``async with``.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> cache["a"] = b"abc"
        >>> async def main():
        ...     async with await cache.aio.read("a") as file:
        ...         return await file.read()
        >>> asyncio.run(main())
        b'abc'
        """
        return wrapped(await self._read(self._cache.read, key, retry=retry))

    async def info(self, key: Any, *, retry: bool = False) -> Info | None:
        """As :meth:`Cache.info`."""
        return await self._read(self._cache.info, key, retry=retry)

    async def get_many(self, keys: Iterable[Any], *, retry: bool = False) -> dict[Any, Any]:
        """As :meth:`Cache.get_many`."""
        wanted = list(keys)
        if self._may_try():
            found = self._cache._try_get_many(wanted)
            if found is not None:
                await self._breathe()
                return found
        return await self._read(self._cache.get_many, wanted, retry=retry)

    def __getitem__(self, key: Any) -> Coroutine[Any, Any, Any]:
        """``await cache.aio[key]``: the value, or KeyError."""
        return self._item(key)

    async def _item(self, key: Any) -> Any:
        value = await self.get(key, MISS, retry=True)
        if value is MISS:
            raise KeyError(key)
        return value

    async def contains(self, key: Any) -> bool:
        """Whether the key is there: ``key in cache``."""
        if self._may_try():
            found = self._cache._try_contains(key)
            if found is not None:
                await self._breathe()
                return found
        return await self._read(self._cache.__contains__, key)

    async def len(self) -> int:
        """The number of entries: ``len(cache)``."""
        return await self._read(self._cache.__len__)

    # Changing one key

    async def set(
        self,
        key: Any,
        value: Any,
        expire: Seconds | None = None,
        read: bool = False,
        tag: Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> bool:
        """As :meth:`Cache.set`."""
        is_plain = codec is None and self._cache._codec is None and not read
        if is_plain and self._may_try() and self._cache._try_set(key, value, expire, tag):
            await self._breathe()
            return True
        return await self._write(
            self._cache.set, key, value, expire=expire, read=read, tag=tag, retry=retry, **_with(codec)
        )

    async def add(
        self,
        key: Any,
        value: Any,
        expire: Seconds | None = None,
        read: bool = False,
        tag: Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> bool:
        """As :meth:`Cache.add`."""
        return await self._write(
            self._cache.add, key, value, expire=expire, read=read, tag=tag, retry=retry, **_with(codec)
        )

    async def touch(self, key: Any, expire: Seconds | None = None, retry: bool = False) -> bool:
        """As :meth:`Cache.touch`."""
        return await self._write(self._cache.touch, key, expire=expire, retry=retry)

    async def incr(
        self,
        key: Any,
        delta: Any = 1,
        default: Any = 0,
        retry: bool = False,
        *,
        expire: Seconds | None = None,
        tag: Tag = None,
    ) -> Any:
        """As :meth:`Cache.incr`."""
        if self._may_try():
            total = self._cache._try_incr(key, delta)
            if total is not None:
                await self._breathe()
                return total
        return await self._write(self._cache.incr, key, delta, default, retry=retry, expire=expire, tag=tag)

    async def decr(
        self,
        key: Any,
        delta: Any = 1,
        default: Any = 0,
        retry: bool = False,
        *,
        expire: Seconds | None = None,
        tag: Tag = None,
    ) -> Any:
        """As :meth:`Cache.decr`."""
        return await self.incr(key, -delta, default, retry=retry, expire=expire, tag=tag)

    async def delete(self, key: Any, retry: bool = False) -> bool:
        """As :meth:`Cache.delete`."""
        if self._may_try() and self._cache._try_delete(key):
            await self._breathe()
            return True
        return await self._write(self._cache.delete, key, retry=retry)

    async def pop(
        self,
        key: Any,
        default: Any = None,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """As :meth:`Cache.pop`."""
        return await self._write(self._cache.pop, key, default, expire_time=expire_time, tag=tag, retry=retry)

    async def get_or_set(
        self,
        key: Any,
        function: Callable[[], Awaitable[R] | R],
        /,
        *,
        expire: Seconds | None = None,
        errors: Mapping[type[Exception], Lifetime] = {},
        tag: str | None = None,
        wait: float | None = None,
        codec: Codec | Encoder | Filter | None = None,
    ) -> R:
        """As :meth:`Cache.get_or_set`. `function` is a coroutine function, or one that the loop's thread may run.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> async def compute():
        ...     print("computing")
        ...     return 42
        >>> async def main():
        ...     return await asyncio.gather(*(cache.aio.get_or_set("answer", compute) for _ in range(3)))
        >>> asyncio.run(main())
        computing
        [42, 42, 42]
        """
        if self._may_try():
            value = self._cache._try_get(key, _UNANSWERED, MISS, False, False, None)
            if value is not _UNANSWERED and value is not MISS:
                await self._breathe()
                return value
        from .missing import value_of

        return await value_of(self._cache, key, function, expire, errors, tag, wait, codec)

    # Changing many

    async def set_many(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        expire: Seconds | None = None,
        tag: Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> int:
        """As :meth:`Cache.set_many`."""
        return await self._write(
            self._cache.set_many, mapping, expire=expire, tag=tag, retry=retry, **_with(codec)
        )

    async def add_many(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        expire: Seconds | None = None,
        tag: Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> int:
        """As :meth:`Cache.add_many`."""
        return await self._write(
            self._cache.add_many, mapping, expire=expire, tag=tag, retry=retry, **_with(codec)
        )

    async def delete_many(self, keys: Iterable[Any], retry: bool = False) -> int:
        """As :meth:`Cache.delete_many`."""
        return await self._write(self._cache.delete_many, keys, retry=retry)

    async def evict(self, tag: Tag, retry: bool = False) -> int:
        """As :meth:`Cache.evict`."""
        return await self._write(self._cache.evict, tag, retry=retry)

    async def cull(self, retry: bool = False) -> int:
        """As :meth:`Cache.cull`."""
        return await self._write(self._cache.cull, retry=retry)

    async def clear(self, retry: bool = False) -> int:
        """As :meth:`Cache.clear`."""
        return await self._write(self._cache.clear, retry=retry)

    def transact(self, retry: bool = False) -> AsyncTransaction:
        """A transaction for ``async with``, see :meth:`Cache.transact`.

        It belongs to the task that enters the block, and has a thread of its own. The awaited operations of that task
        are part of it. A task that is cancelled inside the block undoes it.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> async def main():
        ...     async with cache.aio.transact():
        ...         total = await cache.aio.incr("total", 5)
        ...         count = await cache.aio.incr("count")
        ...     return total, count
        >>> asyncio.run(main())
        (5, 1)
        """

        def make() -> AbstractContextManager[Any]:
            return self._cache.transact(retry=retry)

        return AsyncTransaction(self._cache, self._place, make, None if retry else self._cache.timeout)

    # Keys

    def __aiter__(self) -> AsyncIterator[Any]:
        return AsyncWalk(self._cache, self._cache.__iter__)

    def __reversed__(self) -> AsyncIterator[Any]:
        return AsyncWalk(self._cache, self._cache.__reversed__)

    def iterkeys(self, reverse: bool = False) -> AsyncWalk[Any]:
        """As :meth:`Cache.iterkeys`, for ``async for``."""
        return AsyncWalk(self._cache, lambda: self._cache.iterkeys(reverse=reverse))

    def keys(self, *, tag: Tag = None, prefix: str | None = None, reverse: bool = False) -> AsyncWalk[Any]:
        """As :meth:`Cache.keys`, for ``async for``.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> cache.set_many({"user:1": "Ada", "user:2": "Alan", "page:1": "<p>"})
        3
        >>> async def main():
        ...     return [key async for key in cache.aio.keys(prefix="user:")]
        >>> asyncio.run(main())
        ['user:1', 'user:2']
        """
        return AsyncWalk(self._cache, lambda: self._cache.keys(tag=tag, prefix=prefix, reverse=reverse))

    def items(
        self, *, tag: Tag = None, prefix: str | None = None, reverse: bool = False
    ) -> AsyncWalk[tuple[Any, Any]]:
        """As :meth:`Cache.items`, for ``async for``."""
        return AsyncWalk(self._cache, lambda: self._cache.items(tag=tag, prefix=prefix, reverse=reverse))

    def values(self, *, tag: Tag = None, prefix: str | None = None, reverse: bool = False) -> AsyncWalk[Any]:
        """As :meth:`Cache.values`, for ``async for``."""
        return AsyncWalk(self._cache, lambda: self._cache.values(tag=tag, prefix=prefix, reverse=reverse))

    # Between tasks and processes

    def lock(self, key: Any, expire: Seconds | None = None, tag: Any = None) -> AsyncLock:
        """A :class:`~dolium.Lock` for ``async with``.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> async def main():
        ...     async with cache.aio.lock("report", expire=60) as _:
        ...         return "report" in cache
        >>> asyncio.run(main())
        True
        """
        return AsyncLock(Lock(self._cache, key, expire=expire, tag=tag))

    def rlock(self, key: Any, expire: Seconds | None = None, tag: Any = None) -> AsyncRLock:
        """A :class:`~dolium.RLock` for ``async with``."""
        return AsyncRLock(RLock(self._cache, key, expire=expire, tag=tag))

    def semaphore(
        self, key: Any, value: int = 1, expire: Seconds | None = None, tag: Any = None
    ) -> AsyncBoundedSemaphore:
        """A :class:`~dolium.BoundedSemaphore` for ``async with``."""
        return AsyncBoundedSemaphore(BoundedSemaphore(self._cache, key, value=value, expire=expire, tag=tag))

    def throttle(
        self,
        count: int,
        seconds: Seconds,
        name: str | None = None,
        expire: Seconds | None = None,
        tag: Any = None,
    ) -> Callable[[F], F]:
        """The decorator :func:`~dolium.throttle`; a coroutine function waits without holding up the loop."""
        decorate: Any = recipes.throttle(self._cache, count, seconds, name=name, expire=expire, tag=tag)
        return decorate

    def barrier(
        self,
        lock_factory: Callable[..., AbstractContextManager[Any]] = Lock,
        name: str | None = None,
        expire: Seconds | None = None,
        tag: Any = None,
    ) -> Callable[[F], F]:
        """The decorator :func:`~dolium.barrier`; a coroutine function waits without holding up the loop."""
        decorate: Any = recipes.barrier(self._cache, lock_factory, name=name, expire=expire, tag=tag)
        return decorate

    # Upkeep

    async def check(self, fix: bool = False, retry: bool = False) -> list[WarningMessage]:
        """As :meth:`Cache.check`."""
        return await self._write(self._cache.check, fix=fix, retry=retry)

    async def volume(self) -> int:
        """As :meth:`Cache.volume`."""
        return await self._read(self._cache.volume)

    async def stats(self, enable: bool | None = None, reset: bool = False) -> Stats:
        """As :meth:`Cache.stats`."""
        return await self._write(self._cache.stats, enable=enable, reset=reset)

    async def reset(self, key: str, value: Any = ENOVAL, update: bool = True) -> Any:
        """As :meth:`Cache.reset`."""
        return await self._write(self._cache.reset, key, value, update)

    async def create_tag_index(self) -> None:
        """As :meth:`Cache.create_tag_index`."""
        await self._write(self._cache.create_tag_index)

    async def drop_tag_index(self) -> None:
        """As :meth:`Cache.drop_tag_index`."""
        await self._write(self._cache.drop_tag_index)

    async def flush(self) -> None:
        """As :meth:`Cache.flush`."""
        await self._write(self._cache.flush)

    async def backup(self, directory: str | os.PathLike[str], *, force: bool = False) -> int:
        """As :meth:`Cache.backup`."""
        return await self._write(self._cache.backup, directory, force=force)

    async def close(self) -> None:
        """As :meth:`Cache.close`."""
        await self._end(self._cache.close)
