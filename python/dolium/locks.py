"""Locks between processes, built on a cache.

The locks store the keys and values of diskcache, so a process with diskcache and one with dolium can share one. The
module `waiting` does the waiting.

A row that a cache may evict is no lock. The rows of locks are therefore last in every order of eviction
(``Store._keep``). diskcache's format allows that, because eviction picks its victims by three columns. A free lock
leaves no such row.

A cache cannot tell a dead holder of a lock from a slow one. `expire` is the remedy. It frees a lock that many seconds
after it was taken. A later release by the former holder leaves the new holder's lock alone.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from . import waiting
from ._dolium import in_seconds
from .functions.flight import native_method

if TYPE_CHECKING:
    from datetime import timedelta


class SharedCache(Protocol):
    """The methods of a cache that the recipes use; ``Cache`` and ``FanoutCache`` have them."""

    def get(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def set(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def add(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def pop(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def transact(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]: ...
    def __contains__(self, key: Any, /) -> bool: ...


def shown(tool: object, cache: SharedCache, key: Any) -> str:
    """The `repr` of a tool that is built on a key of a cache, in the form of a cache's own."""
    return f"<{type(tool).__name__} {key!r}, directory: {getattr(cache, 'directory', cache)}>"


def home_of(cache: SharedCache, key: Any) -> SharedCache:
    """The shard of `cache` that holds `key`, or `cache`. A transaction of it is enough."""
    if hasattr(type(cache), "_shards"):
        fanout: Any = cache
        return fanout._shards[fanout._hash(key) % fanout._count]
    return cache


def keep(
    cache: SharedCache, key: Any, value: Any, expire: float | timedelta | None, tag: Any, add: bool = False
) -> bool:
    """Set (or add) a row that eviction spares for as long as there is anything else to evict."""
    keep = native_method(cache, "_keep")
    if keep is not None:
        return bool(keep(key, value, expire=expire, tag=tag, add=add))
    put = cache.add if add else cache.set
    return bool(put(key, value, expire=expire, tag=tag, retry=True))


def _me() -> str:
    """The name of this thread in a lock, as in diskcache."""
    return f"{os.getpid()}-{threading.get_ident()}"


_tasks: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_numbers = itertools.count(1)


def _my_task() -> str:
    """The name of this task of asyncio in a lock."""
    import asyncio

    return f"{_me()}-{_tasks.setdefault(asyncio.current_task(), next(_numbers))}"


class _Guard:
    """The base class of the three kinds of lock.

    ``with`` makes the thread the holder, ``async with`` the task of asyncio. The loop of a waiting task continues.
    """

    def __init__(
        self, cache: SharedCache, key: Any, expire: float | timedelta | None = None, tag: Any = None
    ):
        self._cache = cache
        self._key = key
        self._expire = in_seconds(expire)
        self._tag = tag

    def __repr__(self) -> str:
        return shown(self, self._cache, self._key)

    def acquire(self) -> None:
        """Wait for the lock and take it."""
        me = _me()
        waiting.acquire(self._where(), lambda: self._try(me), self._look, self._holds(me))

    def release(self) -> None:
        """Give the lock back."""
        self._give_back(_me())

    def _try(self, me: str) -> bool:
        """Take the lock for a holder if it is free."""
        raise NotImplementedError

    def _give_back(self, me: str) -> None:
        """Release the hold of a holder."""
        raise NotImplementedError

    def _look(self) -> bool:
        """Whether the lock may be free."""
        raise NotImplementedError

    def _holds(self, me: str) -> Callable[[], bool] | None:
        """A function that says whether a holder has the lock and may take it again, if the lock allows that."""
        return None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    async def __aenter__(self) -> None:
        me = _my_task()
        await waiting.acquire_as_task(
            self._cache,
            self._where(),
            lambda: self._try(me),
            lambda: self._give_back(me),
            self._look,
            self._holds(me),
        )

    async def __aexit__(self, *exc_info: object) -> None:
        me = _my_task()
        await waiting.off_loop(self._cache, lambda: self._give_back(me))

    def _where(self) -> waiting.Address:
        return waiting.address(self._cache, self._key)


class Lock(_Guard):
    """A lock for processes and threads, which is held while its key is in the cache.

    As in diskcache any thread may release it. A thread (with ``async with`` a task) that acquires it twice waits for
    itself. With `expire`, a release does nothing if the lock has expired and another holder has taken it since.

    >>> import dolium
    >>> lock = Lock(dolium.Cache(), 'report-123', expire=60)
    >>> with lock:
    ...     lock.locked()
    True
    >>> lock.locked()
    False
    """

    def __init__(
        self, cache: SharedCache, key: Any, expire: float | timedelta | None = None, tag: Any = None
    ):
        super().__init__(cache, key, expire, tag)
        self._deadlines: dict[str, float] = {}

    def _look(self) -> bool:
        return not self.locked()

    def _try(self, me: str) -> bool:
        # A transaction even for the single add: programs that use diskcache see no lock that waits in the hot tier.
        with home_of(self._cache, self._key).transact(retry=True):
            if not keep(self._cache, self._key, None, self._expire, self._tag, add=True):
                return False
            if self._expire is not None:
                self._deadlines[me] = self._deadline()
        return True

    def release(self) -> None:
        """Delete the key, unless this thread's hold has expired and another holder has the lock."""
        super().release()

    def _give_back(self, me: str) -> None:
        mine = self._deadlines.pop(me, None)
        if mine is None:
            self._cache.delete(self._key, retry=True)
        else:
            with home_of(self._cache, self._key).transact(retry=True):
                if self._deadline() == mine:
                    self._cache.delete(self._key, retry=True)
        waiting.released(self._where())

    def locked(self) -> bool:
        """Whether the lock is held."""
        return self._key in self._cache

    def _deadline(self) -> Any:
        return self._cache.get(self._key, expire_time=True, retry=True)[1]


class RLock(_Guard):
    """A lock for processes and threads that its holder can acquire again.

    The cache stores its holder (process and thread) and how many times. With ``with``, tasks of one event loop are one
    thread. With ``async with``, each task is a holder of its own.

    >>> import dolium
    >>> lock = RLock(dolium.Cache(), 'user-123')
    >>> with lock, lock:
    ...     pass
    >>> lock.release()
    Traceback (most recent call last):
        ...
    AssertionError: cannot release un-acquired lock
    """

    def _look(self) -> bool:
        return self._holder()[1] == 0

    def _holds(self, me: str) -> Callable[[], bool]:
        return lambda: self._holder()[0] == me

    def _holder(self) -> tuple[str | None, int]:
        owner, count = self._cache.get(self._key, default=(None, 0), retry=True)
        return (owner, count) if count > 0 else (None, 0)

    def _try(self, me: str) -> bool:
        with home_of(self._cache, self._key).transact(retry=True):
            owner, count = self._holder()
            if owner not in (None, me):
                return False
            keep(self._cache, self._key, (me, count + 1), self._expire, self._tag)
        return True

    def release(self) -> None:
        """Give back one acquisition.

        Raises:
            AssertionError: This thread does not hold the lock (any more).
        """
        super().release()

    def _give_back(self, me: str) -> None:
        with home_of(self._cache, self._key).transact(retry=True):
            owner, count = self._holder()
            if owner != me:
                raise AssertionError("cannot release un-acquired lock")
            if count > 1:
                keep(self._cache, self._key, (owner, count - 1), self._expire, self._tag)
            else:
                row = (owner, 0)
                self._cache.set(self._key, row, expire=self._expire, tag=self._tag, retry=True)
        if count == 1:
            waiting.released(self._where())


class BoundedSemaphore(_Guard):
    """A number of places that processes and threads share, `value` of them at first.

    With `expire`, all places become free that many seconds after the last acquire or release.

    >>> import dolium
    >>> places = BoundedSemaphore(dolium.Cache(), 'connections', value=2)
    >>> with places, places:
    ...     pass
    >>> places.release()
    Traceback (most recent call last):
        ...
    AssertionError: cannot release un-acquired semaphore
    """

    def __init__(
        self,
        cache: SharedCache,
        key: Any,
        value: int = 1,
        expire: float | timedelta | None = None,
        tag: Any = None,
    ):
        super().__init__(cache, key, expire, tag)
        self._value = value

    def _look(self) -> bool:
        return self._left() > 0

    def _left(self) -> int:
        return self._cache.get(self._key, default=self._value, retry=True)

    def _try(self, me: str) -> bool:
        with home_of(self._cache, self._key).transact(retry=True):
            left = self._left()
            if left <= 0:
                return False
            keep(self._cache, self._key, left - 1, self._expire, self._tag)
        return True

    def release(self) -> None:
        """Give back a place.

        Raises:
            AssertionError: All places are free.
        """
        super().release()

    def _give_back(self, me: str) -> None:
        with home_of(self._cache, self._key).transact(retry=True):
            left = self._left() + 1
            if left > self._value:
                raise AssertionError("cannot release un-acquired semaphore")
            if left < self._value:
                keep(self._cache, self._key, left, self._expire, self._tag)
            else:
                self._cache.set(self._key, left, expire=self._expire, tag=self._tag, retry=True)
        waiting.released(self._where())
