"""Memoizing with early recomputation: `memoize_stampede`.

When an expensive result expires, all its readers compute it at once. To prevent that, a reader recomputes it in the
background shortly before it expires. Each reader draws the moment by chance, earlier the longer the computation takes
("Optimal Probabilistic Cache Stampede Prevention", Vattani, Chierichetti and Lowenstein, VLDB 2015).

The entries have diskcache's format: the pair (result, seconds that it took). During a recomputation there is a second
entry, under the key with ``ENOVAL`` appended. `memoize` stores bare results under the same keys. The seconds of a pair
end in bits that no measured time has, so that neither takes the other's entries for its own
(:class:`dolium.memo.Pairs`).
"""

from __future__ import annotations

import functools
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from ._dolium import in_seconds
from .constants import ENOVAL, MISS
from .functions import flight
from .memo import (
    Pairs,
    is_coroutine_function,
    key_maker,
    refuse_function,
)
from .memo_types import CacheKey, Memoizer
from .names import warn_of_shared_name
from .workers import in_transaction, off_loop

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta


class StampedeCache(Protocol):
    """The methods of a cache that :func:`memoize_stampede` uses."""

    def get(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def set(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def add(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...


class _Entry(NamedTuple):
    result: Any
    due: bool
    """Whether the caller is to recompute it early."""
    took: float


class _Entries:
    """The entries of one decorated function."""

    def __init__(self, cache: StampedeCache, expire: float, tag: Any, beta: float):
        self.cache = cache
        self._expire = expire
        self._tag = tag
        self._beta = beta

    def load(self, key: CacheKey) -> Any:
        """The entry of `key`, or MISS."""
        pair, expire_time = self.cache.get(key, default=MISS, expire_time=True, retry=True)
        if pair is MISS or not Pairs.may_be(pair, expire_time):
            return MISS
        result, took = pair
        # 1 - random() is never zero, of which there is no logarithm.
        lead = -took * self._beta * math.log(1.0 - random.random())
        due = expire_time is not None and lead >= expire_time - time.time()
        return _Entry(result, due, took)

    def claim(self, key: CacheKey, took: float) -> bool:
        """Whether the caller must recompute `key`, because no other reader does."""
        return bool(self.cache.add((*key, ENOVAL), None, expire=took, retry=True))

    def load_result(self, key: CacheKey) -> Any:
        """The result of `key`, or MISS."""
        entry = self.load(key)
        return MISS if entry is MISS else entry.result

    def save(self, key: CacheKey, result: Any, took: float) -> bool:
        """Whether the cache keeps it."""
        pair = Pairs.make(result, took)
        return self.cache.set(key, pair, expire=self._expire, tag=self._tag, retry=True) is not False

    def drop(self, key: CacheKey) -> bool:
        return bool(self.cache.delete(key, retry=True))


def memoize_stampede(
    cache: StampedeCache,
    expire: float | timedelta,
    name: str | None = None,
    typed: bool = False,
    tag: Any = None,
    beta: float = 1,
    ignore: Iterable[Any] = (),
) -> Memoizer:
    """Make a memoizing decorator that renews results in the background before they expire.

    A task of its event loop renews a coroutine function, and a daemon thread any other function. An exception of such a
    renewal goes to :func:`threading.excepthook` or to the loop's exception handler, and the old result stays. A process
    that exits waits a second for running renewals, then drops them.

    Args:
        expire: Time until a result expires, in seconds or as a `timedelta`.
        name: The first part of the keys (default: module and qualified name of the function).
        typed: Keep ``f(3)`` and ``f(3.0)`` apart.
        tag: Tag of the entries.
        beta: More than 1 renews earlier, less than 1 later.
        ignore: Positions and names of arguments that do not influence the result.

    Raises:
        TypeError: `name` is a function, because the parentheses were forgotten.

    >>> import dolium
    >>> cache = dolium.Cache()
    >>> @memoize_stampede(cache, expire=60)
    ... def square(number):
    ...     print('computing')
    ...     return number * number
    >>> square(4)
    computing
    16
    >>> square(4)
    16
    >>> result, seconds = cache[square.__cache_key__(4)]
    >>> result
    16
    """
    for argument in (expire, name):
        refuse_function(argument, "memoize_stampede(cache, expire)")
    entries = _Entries(cache, in_seconds(expire), tag, beta)

    def decorator(func: Callable[..., Any]) -> Any:
        if name is None:
            warn_of_shared_name(cache, func)
        wrap = _wrap_coroutine if is_coroutine_function(func) else _wrap_function
        wrapper: Any = wrap(func, entries)
        wrapper.__cache_key__ = key_maker(func, name, typed, ignore)
        return wrapper

    return cast(Memoizer, decorator)


def _wrap_function(func: Callable[..., Any], entries: _Entries) -> Callable[..., Any]:
    place = flight.ProcessPlace()

    def compute(args: Any, kwargs: Any) -> tuple[Any, float]:
        start = time.perf_counter()
        result = func(*args, **kwargs)
        return result, time.perf_counter() - start

    def lead(key: CacheKey, args: Any, kwargs: Any) -> Any:
        took = 0.0

        def timed() -> Any:
            nonlocal took
            result, took = compute(args, kwargs)
            return result

        return flight.run(
            place,
            key,
            lambda: entries.load_result(key),
            timed,
            lambda result: result if entries.save(key, result, took) else MISS,
        )

    def renew(key: CacheKey, args: Any, kwargs: Any) -> Any:
        result, took = compute(args, kwargs)
        entries.save(key, result, took)
        return result

    from .functions.background import renewals

    def renew_in_background(key: CacheKey, args: Any, kwargs: Any) -> None:
        result, took = compute(args, kwargs)
        renewals.unless_over(entries.save, key, result, took)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = this.__cache_key__(*args, **kwargs)
        entry = entries.load(key)
        if entry is MISS:
            is_alone = in_transaction(entries.cache)  # for which the owner of a flight might wait
            return renew(key, args, kwargs) if is_alone else lead(key, args, kwargs)
        if entry.due and entries.claim(key, entry.took):
            renewals.start(renew_in_background, key, args, kwargs)
        return entry.result

    def refresh(*args: Any, **kwargs: Any) -> Any:
        return renew(this.__cache_key__(*args, **kwargs), args, kwargs)

    def invalidate(*args: Any, **kwargs: Any) -> bool:
        return entries.drop(this.__cache_key__(*args, **kwargs))

    this: Any = wrapper
    this.refresh = refresh
    this.invalidate = invalidate
    return wrapper


def _wrap_coroutine(func: Callable[..., Any], entries: _Entries) -> Callable[..., Any]:
    place = flight.ProcessPlace()

    async def renew(key: CacheKey, args: Any, kwargs: Any) -> Any:
        start = time.perf_counter()
        result = await func(*args, **kwargs)
        took = time.perf_counter() - start
        await off_loop(entries.cache, entries.save, key, result, took)
        return result

    async def lead(key: CacheKey, args: Any, kwargs: Any) -> Any:
        took = 0.0

        async def timed() -> Any:
            nonlocal took
            start = time.perf_counter()
            result = await func(*args, **kwargs)
            took = time.perf_counter() - start
            return result

        return await flight.run_async(
            place,
            key,
            lambda: entries.load_result(key),
            timed,
            lambda result: result if entries.save(key, result, took) else MISS,
        )

    def start(renewal: Coroutine[Any, Any, Any]) -> None:
        import asyncio

        task = asyncio.get_running_loop().create_task(renewal)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        key = this.__cache_key__(*args, **kwargs)
        entry = entries.load(key)
        if entry is MISS and in_transaction(entries.cache):  # which the leader of a flight might wait for
            return await renew(key, args, kwargs)
        if entry is MISS:
            return await lead(key, args, kwargs)
        if entry.due and await off_loop(entries.cache, entries.claim, key, entry.took):
            start(renew(key, args, kwargs))
        return entry.result

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        return await renew(this.__cache_key__(*args, **kwargs), args, kwargs)

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await off_loop(entries.cache, entries.drop, this.__cache_key__(*args, **kwargs))

    this: Any = wrapper
    this.refresh = refresh
    this.invalidate = invalidate
    return wrapper


_tasks: set[asyncio.Task[Any]] = set()
"""Renewals of coroutine functions: a loop keeps only weak references to its tasks."""
