"""How threads wait for a lock that lives in a cache.

Owns the order and the pace of waiting; what is waited for is a function that tries once and says
whether it succeeded. A cache cannot wake its readers, so waiting means asking again: at first
within half a millisecond, then at longer and randomly varied intervals up to ten milliseconds, so
that a waiter costs next to nothing.

Fairness: the threads of one process stand in line, and only the first of them asks; a release in
the same process calls it at once. Between processes nobody is given an advantage for coming late:
all who have waited longer than a moment ask equally often. A signal (Ctrl-C) interrupts the wait.
"""

from __future__ import annotations

import os
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from .memo import fingerprint

Address = tuple[str, bytes | int]
"""Names one lock in this process: the directory of its cache and the bytes of its key."""

SHORTEST, LONGEST = 0.0005, 0.010


class Line:
    """The threads of this process that wait for one lock, first come, first served."""

    def __init__(self) -> None:
        self._guard = threading.RLock()  # a signal handler may release a lock
        self._tickets: deque[threading.Event] = deque()

    def __len__(self) -> int:
        return len(self._tickets)

    def wait(self, attempt: Callable[[], bool]) -> None:
        """Stand in line until `attempt` succeeds; it is called by the first in line only."""
        ticket = threading.Event()
        with self._guard:
            self._tickets.append(ticket)
        try:
            pause = SHORTEST
            while True:
                if self._tickets[0] is not ticket:
                    ticket.wait()
                elif attempt():
                    return
                else:
                    ticket.wait(pause * random.uniform(0.5, 1.5))
                    pause = min(pause * 2, LONGEST)
                ticket.clear()
        finally:
            with self._guard:
                self._tickets.remove(ticket)
            self.call_first()

    def call_first(self) -> None:
        """Let the first in line try now."""
        with self._guard:
            if self._tickets:
                self._tickets[0].set()


_lines: WeakValueDictionary[Address, Line] = WeakValueDictionary()
_lines_guard = threading.RLock()


def address(cache: Any, key: object) -> Address:
    """Name the lock under `key` of `cache`, the same for every object on that directory."""
    mark = fingerprint(key)
    return str(getattr(cache, "directory", id(cache))), id(key) if mark is None else mark


def line_at(where: Address) -> Line:
    """The line at `where`, which lives as long as somebody holds it."""
    with _lines_guard:
        line = _lines.get(where)
        if line is None:
            line = _lines[where] = Line()
        return line


def acquire(
    where: Address,
    attempt: Callable[[], bool],
    look: Callable[[], bool],
    holds: Callable[[], bool] | None = None,
) -> None:
    """Try until `attempt` succeeds, behind those of this process who already wait.

    :param where: the lock
    :param attempt: tries once to take it
    :param look: asks, without writing, whether trying is worthwhile
    :param holds: whether the caller has the lock already and so must not stand in line for it
    """
    line = line_at(where)
    if (not line or (holds is not None and holds())) and attempt():
        return
    line.wait(lambda: look() and attempt())


def released(where: Address) -> None:
    """Tell a waiting thread of this process that its lock may be free."""
    with _lines_guard:
        line = _lines.get(where)
    if line is not None:
        line.call_first()


def _forget_lines() -> None:
    """In a forked child: the threads that stood in these lines do not exist here."""
    global _lines, _lines_guard
    _lines = WeakValueDictionary()
    _lines_guard = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lines)
