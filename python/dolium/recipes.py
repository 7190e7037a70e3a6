"""Coordination between processes, built on a cache: averages, locks, throttles, barriers.

The tools store the keys and values of diskcache, so a process with diskcache and one with dolium can share a
lock. The module `waiting` does the waiting, and `stampede` memoizes with early recomputation.

Times are in seconds, or `timedelta` objects.

A row that a cache may evict is no lock. The rows of these tools are therefore last in every order of eviction
(``Store._keep``). diskcache's format allows that, because eviction picks its victims by three columns. A free lock
leaves no such row.

A cache cannot tell a dead holder of a lock from a slow one. `expire` is the remedy. It frees a lock that many seconds
after it was taken. A later release by the former holder leaves the new holder's lock alone.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

from . import blocks, waiting
from ._dolium import in_seconds
from .memo import args_to_key, full_name, native_method, refuse_function
from .stampede import memoize_stampede

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = [
    "Averager",
    "BoundedSemaphore",
    "Lock",
    "RLock",
    "args_to_key",
    "barrier",
    "full_name",
    "memoize_stampede",
    "throttle",
]

P = ParamSpec("P")
R = TypeVar("R")


class SharedCache(Protocol):
    """The methods of a cache that the recipes use; ``Cache`` and ``FanoutCache`` have them."""

    def get(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def set(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def add(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def pop(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def transact(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]: ...
    def __contains__(self, key: Any, /) -> bool: ...


def _home(cache: SharedCache, key: Any) -> SharedCache:
    """The shard of `cache` that holds `key`, or `cache`. A transaction of it is enough."""
    if hasattr(type(cache), "_shards"):
        fanout: Any = cache
        return fanout._shards[fanout._hash(key) % fanout._count]
    return cache


def _keep(
    cache: SharedCache, key: Any, value: Any, expire: float | timedelta | None, tag: Any, add: bool = False
) -> bool:
    """Set (or add) a row that eviction spares for as long as there is anything else to evict."""
    keep = native_method(cache, "_keep")
    if keep is not None:
        return bool(keep(key, value, expire=expire, tag=tag, add=add))
    put = cache.add if add else cache.set
    return bool(put(key, value, expire=expire, tag=tag, retry=True))


class Averager:
    """A running average that many processes add to.

    One key holds total and count. With `expire`, the average expires that many seconds after the last
    addition.

    >>> import dolium
    >>> average = Averager(dolium.Cache(), 'latency')
    >>> average.add(0.25)
    >>> average.add(0.75)
    >>> average.get()
    0.5
    >>> average.pop()
    0.5
    >>> print(average.get())
    None
    """

    def __init__(
        self, cache: SharedCache, key: Any, expire: float | timedelta | None = None, tag: Any = None
    ):
        self._cache = cache
        self._key = key
        self._expire = in_seconds(expire)
        self._tag = tag

    def add(self, value: float) -> None:
        """Add `value` to the average."""
        cache = _home(self._cache, self._key)
        with cache.transact(retry=True):
            total, count = cache.get(self._key, default=(0.0, 0))
            _keep(cache, self._key, (total + value, count + 1), self._expire, self._tag)

    def get(self) -> float | None:
        """The average so far, or None when nothing has been added."""
        return self._mean(self._cache.get(self._key, default=(0.0, 0), retry=True))

    def pop(self) -> float | None:
        """Return the average so far, and start again."""
        return self._mean(self._cache.pop(self._key, default=(0.0, 0), retry=True))

    @staticmethod
    def _mean(pair: tuple[float, int]) -> float | None:
        total, count = pair
        return total / count if count else None


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
        with _home(self._cache, self._key).transact(retry=True):
            if not _keep(self._cache, self._key, None, self._expire, self._tag, add=True):
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
            with _home(self._cache, self._key).transact(retry=True):
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
        with _home(self._cache, self._key).transact(retry=True):
            owner, count = self._holder()
            if owner not in (None, me):
                return False
            _keep(self._cache, self._key, (me, count + 1), self._expire, self._tag)
        return True

    def release(self) -> None:
        """Give back one acquisition.

        :raises AssertionError: if this thread does not hold the lock (any more)
        """
        super().release()

    def _give_back(self, me: str) -> None:
        with _home(self._cache, self._key).transact(retry=True):
            owner, count = self._holder()
            if owner != me:
                raise AssertionError("cannot release un-acquired lock")
            if count > 1:
                _keep(self._cache, self._key, (owner, count - 1), self._expire, self._tag)
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
        with _home(self._cache, self._key).transact(retry=True):
            left = self._left()
            if left <= 0:
                return False
            _keep(self._cache, self._key, left - 1, self._expire, self._tag)
        return True

    def release(self) -> None:
        """Give back a place.

        :raises AssertionError: if all places are free
        """
        super().release()

    def _give_back(self, me: str) -> None:
        with _home(self._cache, self._key).transact(retry=True):
            left = self._left() + 1
            if left > self._value:
                raise AssertionError("cannot release un-acquired semaphore")
            if left < self._value:
                _keep(self._cache, self._key, left, self._expire, self._tag)
            else:
                self._cache.set(self._key, left, expire=self._expire, tag=self._tag, retry=True)
        waiting.released(self._where())


def throttle(
    cache: SharedCache,
    count: int,
    seconds: float | timedelta,
    name: str | None = None,
    expire: float | timedelta | None = None,
    tag: Any = None,
    time_func: Callable[[], float] = time.time,
    sleep_func: Callable[[float], Any] = time.sleep,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a decorator that lets all processes together make `count` calls per `seconds`.

    A call opens a period of `seconds`. After `count` calls in it the next call waits for its end. Under steady demand
    no stretch of `seconds` therefore holds more than `count` calls. The decorator writes nothing before the first call,
    so a starting process does not reset the count of others. Coroutine functions and asynchronous generators wait at
    their first step, without blocking their loop.

    :param name: key of the count (default: module and qualified name of the function)
    :param expire: seconds after which an unused count is removed
    :param time_func: a clock that the processes share, in seconds
    :param sleep_func: a function that waits for a number of seconds. If it returns an awaitable, coroutines await
        that. They use ``asyncio.sleep`` instead of ``time.sleep``

    >>> import dolium
    >>> clock = [0.0]
    >>> def sleep(delay):
    ...     clock[0] += delay
    >>> @throttle(dolium.Cache(), 2, 1, time_func=lambda: clock[0], sleep_func=sleep)
    ... def moment():
    ...     return clock[0]
    >>> [moment() for _ in range(5)]
    [0.0, 0.0, 1.0, 1.0, 2.0]
    """
    refuse_function(name, "throttle(cache, count, seconds)")
    seconds, expire = in_seconds(seconds), in_seconds(expire)

    def decorator(func: Callable[P, R]) -> Callable[P, R]:
        key = full_name(func) if name is None else name

        def delay() -> float:
            """Zero if this call counts, else the seconds to wait before the next attempt."""
            home = _home(cache, key)
            with home.transact(retry=True):
                now = time_func()
                opened, left = home.get(key) or (now, count)
                if not opened <= now < opened + seconds:  # over, or the clock was set back
                    opened, left = now, count
                if left < 1:
                    return opened + seconds - now
                _keep(home, key, (opened, left - 1), expire, tag)
                return 0.0

        class Turn:
            """Waits for the turn of a coroutine."""

            async def __aenter__(self) -> None:
                import asyncio
                import inspect

                sleep = asyncio.sleep if sleep_func is time.sleep else sleep_func
                while (wait := await waiting.off_loop(cache, delay)) > 0:
                    slept = sleep(wait)
                    if inspect.isawaitable(slept):
                        await slept

            async def __aexit__(self, *raised: object) -> None:
                pass

        if blocks.is_async(func):
            return blocks.wrap_async(func, Turn)

        @functools.wraps(func)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            while (wait := delay()) > 0:
                sleep_func(wait)
            return func(*args, **kwargs)

        return wrapper

    return decorator


def barrier(
    cache: SharedCache,
    lock_factory: Callable[..., AbstractContextManager[Any]],
    name: str | None = None,
    expire: float | timedelta | None = None,
    tag: Any = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a decorator that lets a function run only while it holds a lock.

    A coroutine function holds it until its coroutine ends, a generator function until its generator ends or is closed.
    Coroutines and asynchronous generators wait without blocking their loop.

    :param lock_factory: `Lock` (once at a time), `RLock`, `BoundedSemaphore` or the like. For coroutine functions
    and asynchronous generator functions its locks need ``async with``
    :param name: key of the lock (default: module and qualified name of the function)
    :param expire: seconds after which the lock of a dead holder becomes free
    :raises TypeError: if it decorates such a function, and the lock has no ``async with``; or if a function that is no
        coroutine function returns a coroutine, which would run without the lock

    >>> import dolium
    >>> cache = dolium.Cache()
    >>> @barrier(cache, Lock, name='turn')
    ... def work():
    ...     return 'turn' in cache
    >>> work()
    True
    """
    refuse_function(name, "barrier(cache, Lock)")

    def decorator(func: Callable[P, R]) -> Callable[P, R]:
        key = full_name(func) if name is None else name
        lock: Any = lock_factory(cache, key, expire=expire, tag=tag)
        if not blocks.is_async(func):
            return blocks.wrap(func, lambda: lock)
        if not hasattr(lock.__class__, "__aenter__"):
            raise TypeError(
                f"{full_name(func)} is asynchronous, and {lock.__class__.__name__} has no `async with`, "
                "so that it cannot exclude others; pass Lock, RLock or BoundedSemaphore of dolium to barrier()"
            )
        return blocks.wrap_async(func, lambda: lock)

    return decorator
