"""Coordination between processes, built on a cache: averages, throttles, barriers, and the locks of `locks`.

The tools store the keys and values of diskcache. The module `waiting` does the waiting, and `stampede` memoizes with
early recomputation. Times are in seconds, or `timedelta` objects.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from . import blocks, loops, workers
from ._dolium import in_seconds
from .lockrow import SharedCache, home_of, keep, shown
from .locks import BoundedSemaphore, Lock, RLock
from .memo import args_to_key, refuse_function
from .names import full_name
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

    def __repr__(self) -> str:
        return shown(self, self._cache, self._key)

    def add(self, value: float) -> None:
        """Add `value` to the average."""
        cache = home_of(self._cache, self._key)
        with cache.transact(retry=True):
            total, count = cache.get(self._key, default=(0.0, 0))
            keep(cache, self._key, (total + value, count + 1), self._expire, self._tag)

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

    Args:
        name: Key of the count (default: module and qualified name of the function).
        expire: Seconds after which an unused count is removed.
        time_func: A clock that the processes share, in seconds.
        sleep_func: A function that waits for a number of seconds. If it returns an awaitable, coroutines await that.
            They use the sleep of their event loop instead of ``time.sleep``.

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
            home = home_of(cache, key)
            with home.transact(retry=True):
                now = time_func()
                opened, left = home.get(key) or (now, count)
                if not opened <= now < opened + seconds:  # over, or the clock was set back
                    opened, left = now, count
                if left < 1:
                    return opened + seconds - now
                keep(home, key, (opened, left - 1), expire, tag)
                return 0.0

        class Turn:
            """Waits for the turn of a coroutine."""

            async def __aenter__(self) -> None:
                import inspect

                sleep = loops.current().sleep if sleep_func is time.sleep else sleep_func
                while (wait := await workers.off_loop(cache, delay)) > 0:
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
    *,
    robust: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a decorator that lets a function run only while it holds a lock.

    A coroutine function holds it until its coroutine ends, a generator function until its generator ends or is closed.
    Coroutines and asynchronous generators wait without blocking their loop.

    Args:
        lock_factory: `Lock` (once at a time), `RLock`, `BoundedSemaphore` or the like. For coroutine functions and
            asynchronous generator functions its locks need ``async with``.
        name: Key of the lock (default: module and qualified name of the function).
        expire: Seconds after which the lock of a dead holder becomes free.
        robust: Whether the lock of a dead process becomes free at once; `lock_factory` gets it if it is true.

    Raises:
        TypeError: It decorates such a function, and the lock has no ``async with``. Or a function that is no
            coroutine function returns a coroutine, which would run without the lock.

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
        options = {"robust": True} if robust else {}
        lock: Any = lock_factory(cache, key, expire=expire, tag=tag, **options)
        if not blocks.is_async(func):
            return blocks.wrap(func, lambda: lock)
        if not hasattr(lock.__class__, "__aenter__"):
            raise TypeError(
                f"{full_name(func)} is asynchronous, and {lock.__class__.__name__} has no `async with`, "
                "so that it cannot exclude others; pass Lock, RLock or BoundedSemaphore of dolium to barrier()"
            )
        return blocks.wrap_async(func, lambda: lock)

    return decorator
