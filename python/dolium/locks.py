"""Locks between processes, built on a cache.

The locks store the keys and values of diskcache, so a process with diskcache and one with dolium can share one. The
module `waiting` does the waiting, and `lockrow` changes the row of a lock.

A cache cannot tell a dead holder of a lock from a slow one. There are two remedies. `expire` frees a lock that many
seconds after it was taken. A later release by the former holder leaves the new holder's lock alone. `robust` frees a
lock when the process of its holder has died, however it died, and never before. What counts is the process: a
thread or a task that ends without a release goes on holding the lock. A forked child holds none of its parent's robust
locks.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from . import loops, waiting, workers
from .constants import MISS
from .lockrow import Decided, LockRow, SharedCache, owner_in, shown

if TYPE_CHECKING:
    from datetime import timedelta


def _me() -> str:
    """The name of this thread in a lock, as in diskcache."""
    return f"{os.getpid()}-{threading.get_ident()}"


_tasks: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_numbers = itertools.count(1)


def _my_task() -> str:
    """The name of this task in a lock."""
    return f"{_me()}-{_tasks.setdefault(loops.current().task(), next(_numbers))}"


class _Guard:
    """The base class of the three kinds of lock.

    ``with`` makes the thread the holder, ``async with`` the task of asyncio or trio. Its loop goes on while it waits.
    """

    def __init__(
        self,
        cache: SharedCache,
        key: Any,
        expire: float | timedelta | None = None,
        tag: Any = None,
        *,
        robust: bool = False,
    ):
        self._cache = cache
        self._key = key
        self._robust = robust
        self._row = LockRow(cache, key, expire, tag, robust)
        self._address: waiting.Address | None = None

    def __repr__(self) -> str:
        return shown(self, self._cache, self._key)

    def acquire(self) -> None:
        """Wait for the lock and take it."""
        me = self._name(_me())
        waiting.acquire(self._where(), lambda: self._try(me), self._look, self._holds(me))

    def release(self) -> None:
        """Give the lock back."""
        self._give_back(self._name(_me()))

    def _name(self, me: str) -> str:
        """The name of a holder: if the lock is robust, with the number of this process."""
        return f"{me}@{self._row.owner()}" if self._robust else me

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
        me = self._name(_my_task())
        await waiting.acquire_as_task(
            self._cache,
            self._where(),
            lambda: self._try(me),
            lambda: self._give_back(me),
            self._look,
            self._holds(me),
        )

    async def __aexit__(self, *exc_info: object) -> None:
        me = self._name(_my_task())
        await workers.run(self._cache, "ends", self._give_back, me)

    def _where(self) -> waiting.Address:
        if self._address is None:
            self._address = waiting.address(self._cache, self._key)
        return self._address


class Lock(_Guard):
    """A lock for processes and threads, which is held while its key is in the cache.

    As in diskcache any thread may release it. A thread (with ``async with`` a task) that acquires it twice waits for
    itself. With `expire`, a release does nothing if the lock has expired and another holder has taken it since.

    With `robust`, the lock is free once the process of its holder is dead. Only threads of that process may release it.

    >>> import dolium
    >>> lock = Lock(dolium.Cache(), 'report-123', expire=60)
    >>> with lock:
    ...     lock.locked()
    True
    >>> lock.locked()
    False
    >>> with Lock(dolium.Cache(), 'report-124', robust=True):
    ...     pass
    """

    def __init__(
        self,
        cache: SharedCache,
        key: Any,
        expire: float | timedelta | None = None,
        tag: Any = None,
        *,
        robust: bool = False,
    ):
        super().__init__(cache, key, expire, tag, robust=robust)
        self._deadlines: dict[str, float] = {}

    def _look(self) -> bool:
        return not self.locked()

    def _try(self, me: str) -> bool:
        def taken(row: Any) -> Decided:
            is_free = row is MISS or (self._robust and self._row.is_dead(row))
            return (me if self._robust else None, True) if is_free else None

        changed = self._row.change(taken, takes=True)
        if changed is None:
            return False
        if changed[1] is not None:
            self._deadlines[me] = changed[1]
        return True

    def release(self) -> None:
        """Delete the key, unless this thread's hold has expired and another holder has the lock.

        Raises:
            AssertionError: The lock is robust, and no thread of this process holds it (any more).
        """
        self._give_back(self._name(_me()))

    def _give_back(self, me: str) -> None:
        deadline = self._deadlines.pop(me, None)
        if self._robust and deadline is None:
            self._row.change(lambda row: _without(row, me), takes=False)
        else:
            self._row.delete(deadline)
        waiting.released(self._where())

    def locked(self) -> bool:
        """Whether the lock is held."""
        if not self._robust:
            return self._key in self._cache
        row = self._row.get()
        return row is not MISS and not self._row.is_dead(row)


def _without(row: Any, me: str) -> Decided:
    """No row in the place of that of a robust `Lock` which a thread of the process of `me` holds."""
    owner = owner_in(row)
    if owner is None or owner != owner_in(me):
        raise AssertionError("cannot release a robust lock that this process does not hold")
    return MISS, False


class RLock(_Guard):
    """A lock for processes and threads that its holder can acquire again.

    The cache stores its holder (process and thread) and how many times. With ``with``, tasks of one event loop are one
    thread. With ``async with``, each task is a holder of its own. With `robust`, the lock is free once the process of
    its holder is dead.

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
        return self._holder(self._row.get())[1] == 0

    def _holds(self, me: str) -> Callable[[], bool]:
        return lambda: self._holder(self._row.get())[0] == me

    def _holder(self, row: Any) -> tuple[str | None, int]:
        """The living holder in a row, and how many times it has the lock."""
        owner, count = (None, 0) if row is MISS else row
        if count <= 0 or (self._robust and self._row.is_dead(owner)):
            return None, 0
        return owner, count

    def _try(self, me: str) -> bool:
        def taken(row: Any) -> Decided:
            owner, count = self._holder(row)
            return ((me, count + 1), True) if owner in (None, me) else None

        return self._row.change(taken, takes=True) is not None

    def release(self) -> None:
        """Give back one acquisition.

        Raises:
            AssertionError: This thread does not hold the lock (any more).
        """
        self._give_back(self._name(_me()))

    def _give_back(self, me: str) -> None:
        def given_back(row: Any) -> Decided:
            owner, count = self._holder(row)
            if owner != me:
                raise AssertionError("cannot release un-acquired lock")
            return (owner, count - 1), count > 1

        changed = self._row.change(given_back, takes=False)
        if changed is not None and changed[0][1] == 0:
            waiting.released(self._where())


class BoundedSemaphore(_Guard):
    """A number of places that processes and threads share, `value` of them at first.

    With `expire`, all places become free that many seconds after the last acquire or release. With `robust`, the places
    of a process are free once it is dead. The row then names the processes, so all programs must pass `robust`, and
    diskcache cannot take part.

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
        *,
        robust: bool = False,
    ):
        super().__init__(cache, key, expire, tag, robust=robust)
        self._value = value

    def _look(self) -> bool:
        row = self._row.get()
        if self._robust:
            return sum(self._holders(row).values()) < self._value
        return self._left(row) > 0

    def _left(self, row: Any) -> int:
        """How many places a row leaves."""
        if row is MISS or row == ():  # MISS is a tuple
            return self._value
        if isinstance(row, tuple):
            raise ValueError(f"{self._key!r} is a robust semaphore; pass robust=True in every program")
        return row

    def _holders(self, row: Any) -> dict[int, int]:
        """How many places the living processes have in the row of a robust semaphore."""
        if row is MISS or row == self._value:
            return {}
        if not isinstance(row, tuple):
            raise ValueError(
                f"{self._key!r} is a semaphore that is not robust; pass robust=True in every program"
            )
        held = cast("tuple[tuple[int, int], ...]", row)
        return {owner: places for owner, places in held if self._row.is_alive(owner)}

    def _try(self, me: str) -> bool:
        def taken(row: Any) -> Decided:
            if self._robust:
                holders, mine = self._holders(row), owner_in(me)
                if mine is None or sum(holders.values()) >= self._value:
                    return None
                return tuple((holders | {mine: holders.get(mine, 0) + 1}).items()), True
            left = self._left(row)
            return (left - 1, True) if left > 0 else None

        return self._row.change(taken, takes=True) is not None

    def release(self) -> None:
        """Give back a place.

        Raises:
            AssertionError: All places are free, or the semaphore is robust and this process has none.
        """
        self._give_back(self._name(_me()))

    def _give_back(self, me: str) -> None:
        def given_back(row: Any) -> Decided:
            if self._robust:
                holders, mine = self._holders(row), owner_in(me)
                if mine not in holders:
                    raise AssertionError("cannot release un-acquired semaphore")
                left = holders | {mine: holders[mine] - 1}
                return tuple(item for item in left.items() if item[1] > 0), sum(left.values()) > 0
            left = self._left(row) + 1
            if left > self._value:
                raise AssertionError("cannot release un-acquired semaphore")
            return left, left < self._value

        self._row.change(given_back, takes=False)
        waiting.released(self._where())
