"""Locks between processes, built on a cache.

The locks store the keys and values of diskcache, so a process with diskcache and one with dolium can share one. The
module `waiting` does the waiting.

A row that a cache may evict is no lock. The rows of locks are therefore last in every order of eviction
(``Store._keep``). diskcache's format allows that, because eviction picks its victims by three columns. A free lock
leaves no such row.

A lock is taken and released in the hot tier, by a change of one key. A program with diskcache does not see what waits
there. So once a process has seen such a program change the directory, locks are rows that a transaction writes.

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
from .constants import MISS
from .errors import Timeout
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


TRIES = 3
"""How often a row is replaced without a transaction while other threads and processes are faster."""

Swapped = tuple[bool, float | None] | None


def swap(
    cache: SharedCache,
    key: Any,
    old: Any,
    new: Any,
    expire: float | timedelta | None,
    tag: Any,
    kept: bool = True,
) -> Swapped:
    """Replace the value `old` (MISS: none) of a key. Return whether that was its value, and when the new one expires.

    None: only a transaction may do that. The cache is none of dolium's, or programs with diskcache use its directory.
    """
    swap = native_method(cache, "_swap")
    return None if swap is None else swap(key, old, new, expire=expire, tag=tag, keep=kept)


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
        self._address: waiting.Address | None = None

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

    def _change(self, decide: Callable[[Any], tuple[Any, bool] | None]) -> Any:
        """Replace the row by that which `decide` returns for it, and return that; None if `decide` leaves the row.

        `decide` gets MISS if there is no row. It also says whether eviction spares the new row.
        """
        home = home_of(self._cache, self._key)
        for _ in range(TRIES):
            try:
                row = home.get(self._key, default=MISS, retry=True)
            except Timeout:  # a read that attaches waits only as long as a shard's `timeout`
                break
            decided = decide(row)
            if decided is None:
                return None
            new, kept = decided
            swapped = swap(home, self._key, row, new, self._expire, self._tag, kept)
            if swapped is None:
                break
            if swapped[0]:
                return new
        with home.transact(retry=True):
            decided = decide(self._cache.get(self._key, default=MISS, retry=True))
            if decided is None:
                return None
            new, kept = decided
            if kept:
                keep(self._cache, self._key, new, self._expire, self._tag)
            else:
                self._cache.set(self._key, new, expire=self._expire, tag=self._tag, retry=True)
            return new

    def _where(self) -> waiting.Address:
        if self._address is None:
            self._address = waiting.address(self._cache, self._key)
        return self._address


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
        home = home_of(self._cache, self._key)
        swapped = swap(home, self._key, MISS, None, self._expire, self._tag)
        if swapped is not None:
            taken, deadline = swapped
            if taken and deadline is not None:
                self._deadlines[me] = deadline
            return taken
        with home.transact(retry=True):
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
            home = home_of(self._cache, self._key)
            delete = native_method(home, "_delete_expiring")
            if delete is None or delete(self._key, mine) is None:
                with home.transact(retry=True):
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
        return _held(self._cache.get(self._key, default=MISS, retry=True))

    def _try(self, me: str) -> bool:
        def taken(row: Any) -> tuple[Any, bool] | None:
            owner, count = _held(row)
            return ((me, count + 1), True) if owner in (None, me) else None

        return self._change(taken) is not None

    def release(self) -> None:
        """Give back one acquisition.

        Raises:
            AssertionError: This thread does not hold the lock (any more).
        """
        super().release()

    def _give_back(self, me: str) -> None:
        def given_back(row: Any) -> tuple[Any, bool]:
            owner, count = _held(row)
            if owner != me:
                raise AssertionError("cannot release un-acquired lock")
            return (owner, count - 1), count > 1

        changed = self._change(given_back)
        if changed is not None and changed[1] == 0:
            waiting.released(self._where())


def _held(row: Any) -> tuple[str | None, int]:
    """The holder of an `RLock` with this row, and how many times it has the lock."""
    owner, count = (None, 0) if row is MISS else row
    return (owner, count) if count > 0 else (None, 0)


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
        def taken(row: Any) -> tuple[Any, bool] | None:
            left = self._value if row is MISS else row
            return (left - 1, True) if left > 0 else None

        return self._change(taken) is not None

    def release(self) -> None:
        """Give back a place.

        Raises:
            AssertionError: All places are free.
        """
        super().release()

    def _give_back(self, me: str) -> None:
        def given_back(row: Any) -> tuple[Any, bool]:
            left = (self._value if row is MISS else row) + 1
            if left > self._value:
                raise AssertionError("cannot release un-acquired semaphore")
            return left, left < self._value

        self._change(given_back)
        waiting.released(self._where())
