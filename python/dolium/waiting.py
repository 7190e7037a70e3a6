"""Waiting of threads and tasks for a lock in a cache.

This module decides the order and the pace of waiting. Its caller passes a function that tries once and says whether it
succeeded. A cache cannot wake its readers, so a waiter asks again: at first within half a millisecond, then at longer,
randomly varied intervals of about 5 ms, which cost next to nothing. A signal (Ctrl-C) interrupts the wait. Tasks of
asyncio and trio wait without blocking their loop.

Inside a process threads stand in line. Only the first of them asks, and a release in the same process calls it at once.
Between processes all waiters ask equally often after a short time. A holder may release a lock only to take it again at
once, and a waiter that asks every 5 ms hardly ever finds such a lock free. So a process that has held a lock again and
again for a tenth of a second leaves it free until the others have asked (`GAP`). It does so less often if no other
process wanted the lock.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, TypeVar

from . import loops, workers
from .functions.flight import fingerprint
from .workers import off_loop

R = TypeVar("R")

Address = tuple[str, bytes | int]
"""Names one lock in this process: the directory of its cache and the bytes of its key."""

SHORTEST, LONGEST = 0.0005, 0.005
"""Seconds between two questions, give or take half."""
GAP = 0.008
"""Longer than the longest time between two questions."""
SHORT_TURN, LONG_TURN = 0.1, 0.8
"""Seconds for which a process may hold a lock over and over, when others want it and when not."""
BEHIND = 0.1
"""Seconds after which who is not the first looks again, uncalled: Python handles a signal that comes just before a wait
only after it."""
CROWD = 512


class Ticket:
    """The place of one thread in a line, on which it waits until it is called.

    It is a bare lock, taken until a call. An interrupt in `threading.Event.wait`, which is written in Python, may come
    where it leaves the lock of the event released. The RuntimeError that follows would hide the interrupt.
    """

    def __init__(self) -> None:
        self.has_left = False
        self._called = threading.Lock()
        self._called.acquire()

    def wait(self, seconds: float) -> None:
        """Return after a call, now or since the last wait, or when the time is over."""
        self._called.acquire(timeout=seconds)

    def call(self) -> None:
        """Let the thread go on."""
        with contextlib.suppress(RuntimeError):  # it has been called, and has not gone on yet
            self._called.release()


class TaskTicket:
    """The same for a task."""

    def __init__(self) -> None:
        self.has_left = False
        self._bell = loops.current().bell()

    async def wait(self, seconds: float) -> None:
        """As :meth:`Ticket.wait`."""
        await self._bell.wait(seconds)

    def call(self) -> None:
        """As :meth:`Ticket.call`."""
        self._bell.ring()


class Line:
    """The threads and tasks of this process that wait for one lock, first come, first served."""

    def __init__(self) -> None:
        self._guard = threading.RLock()  # reentrant, as a signal handler may release a lock
        # Weak, because a second Ctrl-C may come even before a thread notes that it leaves. The note counts where a
        # traceback still holds the ticket.
        self._tickets: deque[weakref.ref[Ticket | TaskTicket]] = deque()
        self._turn = SHORT_TURN
        self._since = self._released = float("-inf")

    def __bool__(self) -> bool:
        """Whether a thread or task waits."""
        return bool(self._tickets) and self._first() is not None

    def attempt(self, attempt: Callable[[], bool]) -> bool:
        """Try once, after other processes if it is their turn."""
        now = time.monotonic()
        if now - self._released > GAP:
            self._since = now
        elif now - self._since > self._turn:
            time.sleep(GAP)
            self._since = time.monotonic()
            taken = attempt()
            self._turn = min(self._turn * 2, LONG_TURN) if taken else SHORT_TURN
            return taken
        return attempt()

    def wait(self, attempt: Callable[[], bool]) -> None:
        """Stand in line until `attempt` succeeds. Only the first in line calls it."""
        ticket = Ticket()
        with self._stand(ticket):
            for pause in _pauses():
                while self._first() is not ticket:
                    ticket.wait(BEHIND)
                if self.attempt(attempt):
                    return
                ticket.wait(pause)

    async def wait_as_task(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        """The same for a task."""
        ticket = TaskTicket()
        with self._stand(ticket):
            for pause in _pauses():
                while self._first() is not ticket:
                    await ticket.wait(BEHIND)
                if await attempt():
                    return
                await ticket.wait(pause)

    @contextlib.contextmanager
    def _stand(self, ticket: Ticket | TaskTicket) -> Generator[None, None, None]:
        mine = weakref.ref(ticket)
        try:
            with self._guard:
                self._tickets.append(mine)
            yield
        finally:
            ticket.has_left = True  # before anything that a second Ctrl-C could keep from happening
            with self._guard, contextlib.suppress(ValueError):  # it may not have come to that
                self._tickets.remove(mine)
            self.call_first()

    def _first(self) -> Ticket | TaskTicket | None:
        with self._guard:
            while self._tickets:
                ticket = self._tickets[0]()
                if ticket is not None and not ticket.has_left:
                    return ticket
                self._tickets.popleft()
        return None

    def release(self) -> None:
        """Note the release of the lock, and let the first in line try now."""
        self._released = time.monotonic()
        if self._tickets:  # a thread that comes later tries before it waits
            self.call_first()

    def call_first(self) -> None:
        """Let the first in line try now."""
        first = self._first()
        if first is not None:
            first.call()

    def idle(self) -> bool:
        """Whether this object holds no state."""
        return not self and time.monotonic() - self._released > GAP


def _pauses() -> Iterator[float]:
    """The seconds to wait between two attempts, longer and longer."""
    pause = SHORTEST
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(pause * 2, LONGEST)


class _Lines:
    """The lines of this process, by address. It forgets idle lines when there are many."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._lines: dict[Address, Line] = {}

    def at(self, where: Address) -> Line:
        known = self._lines.get(where)
        return self._make(where) if known is None else known

    def _make(self, where: Address) -> Line:
        with self._guard:
            line = self._lines.get(where)
            if line is None:
                if len(self._lines) >= CROWD:
                    self._lines = {old: line for old, line in self._lines.items() if not line.idle()}
                line = self._lines[where] = Line()
            return line


_lines = _Lines()
if hasattr(os, "register_at_fork"):
    # The threads that stood in these lines do not exist in a forked child.
    os.register_at_fork(after_in_child=_lines.__init__)


def address(cache: Any, key: object) -> Address:
    """The name of the lock under `key` of `cache`, the same for every object on that directory."""
    mark = fingerprint(key)
    return str(getattr(cache, "directory", id(cache))), id(key) if mark is None else mark


def acquire(
    where: Address,
    attempt: Callable[[], bool],
    look: Callable[[], bool],
    holds: Callable[[], bool] | None = None,
) -> None:
    """Try until `attempt` succeeds, behind the earlier waiters of this process.

    Args:
        where: The lock.
        attempt: Tries once to take it.
        look: Asks, without writing, whether the lock may be free.
        holds: Whether the caller has the lock already and so must not stand in line for it.
    """
    line = _lines.at(where)
    if not line:
        if line.attempt(attempt):
            return
    elif holds is not None and holds() and attempt():
        return
    line.wait(lambda: look() and attempt())


async def acquire_as_task(
    cache: object,
    where: Address,
    attempt: Callable[[], bool],
    give_back: Callable[[], object],
    look: Callable[[], bool],
    holds: Callable[[], bool] | None = None,
) -> None:
    """The same for a task, whose loop continues meanwhile.

    Args:
        cache: The cache of the lock.
        give_back: Undoes a successful `attempt` of a task that was cancelled.
    """
    line = _lines.at(where)

    async def take(attempt: Callable[[], bool]) -> bool:
        return await _take(cache, attempt, give_back)

    if line and holds is not None and await take(lambda: holds() and attempt()):
        return
    if not line and await take(lambda: line.attempt(attempt)):
        return
    await line.wait_as_task(lambda: take(lambda: look() and line.attempt(attempt)))


async def _take(cache: object, attempt: Callable[[], bool], give_back: Callable[[], object]) -> bool:
    """Try once on another thread. A task that is cancelled meanwhile gives back what the attempt has taken."""
    is_taken = False

    def run() -> None:
        nonlocal is_taken
        is_taken = attempt()

    try:
        await off_loop(cache, run)
    except BaseException:
        if is_taken:
            await workers.run(cache, "ends", give_back)
        raise
    return is_taken


def released(where: Address) -> None:
    """Tell this process that its hold on the lock has ended."""
    _lines.at(where).release()
