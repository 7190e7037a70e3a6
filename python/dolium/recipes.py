"""Coordination between processes, built on a cache: averages, locks, throttles, barriers.

Owns what these tools keep in the cache. Keys and values are those of diskcache, so a process that
uses diskcache and one that uses dolium can share a lock. How one waits is in `waiting`; memoizing
with early recomputation is in `stampede`.

Times are in seconds, or `timedelta` objects.

What a cache may evict is no lock. The rows that these tools keep are therefore written such that
they are last in every order of eviction (``Store._keep``): within diskcache's format that is a
matter of the three columns by which it picks its victims. A lock that nobody holds leaves no such
row.

A process that dies while it holds a lock cannot be told from a slow one. `expire` is the remedy: a
lock is free again that many seconds after it was taken, and its former holder's release, should it
come, leaves the new holder's lock alone.
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
    """What the recipes need of a cache; ``Cache`` and ``FanoutCache`` have it."""

    def get(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def set(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def add(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def pop(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def transact(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]: ...
    def __contains__(self, key: Any, /) -> bool: ...


def _home(cache: SharedCache, key: Any) -> SharedCache:
    """The shard of `cache` that holds `key`, or `cache`: a transaction of this one is enough."""
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

    Total and count are kept under one key. With `expire`, the average is forgotten that many
    seconds after the last addition.

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
        """Count `value` in."""
        cache = _home(self._cache, self._key)
        with cache.transact(retry=True):
            total, count = cache.get(self._key, default=(0.0, 0))
            _keep(cache, self._key, (total + value, count + 1), self._expire, self._tag)

    def get(self) -> float | None:
        """The average so far, or None when nothing has been added."""
        return self._mean(self._cache.get(self._key, default=(0.0, 0), retry=True))

    def pop(self) -> float | None:
        """The average so far, which starts afresh."""
        return self._mean(self._cache.pop(self._key, default=(0.0, 0), retry=True))

    @staticmethod
    def _mean(pair: tuple[float, int]) -> float | None:
        total, count = pair
        return total / count if count else None


def _me() -> str:
    """This thread, as diskcache writes it into a lock."""
    return f"{os.getpid()}-{threading.get_ident()}"


_tasks: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_numbers = itertools.count(1)


def _my_task() -> str:
    """This task of asyncio, in the same place of a lock."""
    import asyncio

    return f"{_me()}-{_tasks.setdefault(asyncio.current_task(), next(_numbers))}"


class _Guard:
    """What the three kinds of lock have in common.

    ``with`` makes the thread the holder, ``async with`` the task of asyncio, whose loop goes on while it waits.
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
        """Give back what a holder has."""
        raise NotImplementedError

    def _look(self) -> bool:
        """Whether trying is worthwhile."""
        raise NotImplementedError

    def _holds(self, me: str) -> Callable[[], bool] | None:
        """What tells whether a holder has the lock and may take it again, if that is possible."""
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
    """A lock for processes and threads: held while its key is in the cache.

    As in diskcache anybody may release it, and a thread (with ``async with`` a task) that acquires it
    twice waits for itself. With `expire` a release by somebody whose lock has run out, and has been taken by another
    since, does nothing.

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
        """Delete the key, unless this thread's hold has expired and the lock is another's now."""
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
        """Whether somebody holds the lock."""
        return self._key in self._cache

    def _deadline(self) -> Any:
        return self._cache.get(self._key, expire_time=True, retry=True)[1]


class RLock(_Guard):
    """A lock for processes and threads that its holder can acquire again.

    The cache keeps who holds it (process and thread) and how many times. With ``with``, tasks of one
    event loop are one thread; with ``async with``, each is a holder of its own.

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
    """A number of places that processes and threads share: `value` of them at first.

    With `expire`, all places are free again that many seconds after the last acquire or release.

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

    A call opens a period of `seconds`; when `count` calls have been made in it, the next waits for
    its end. Under steady demand no stretch of `seconds` therefore holds more than `count` calls.
    Nothing is written before the first call, so that a process that starts does not set others'
    count back. Coroutine functions and asynchronous generators wait at their first step, without holding up their loop.

    :param name: key of the count (default: module and qualified name of the function)
    :param expire: seconds after which an unused count is removed
    :param time_func: clock shared by the processes, in seconds
    :param sleep_func: waits for a number of seconds; if it returns an awaitable, coroutines await that. They
        use ``asyncio.sleep`` in place of ``time.sleep``

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
            """Zero if this call was counted, else how long to wait before asking again."""
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
    Coroutines and asynchronous generators wait without holding up their loop.

    :param lock_factory: `Lock` (once at a time), `RLock`, `BoundedSemaphore` or the like; for coroutine functions
        and asynchronous generator functions it makes what ``async with`` takes
    :param name: key of the lock (default: module and qualified name of the function)
    :param expire: seconds until a lock whose holder died is free again
    :raises TypeError: when it decorates such a function, and the lock has no ``async with``; or when a function that is
        no coroutine function returns a coroutine, which would run without the lock

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
