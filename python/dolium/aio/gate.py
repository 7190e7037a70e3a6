"""One transaction of a directory at a time among the tasks of this process, before any of them takes a thread.

Other processes, and threads that use the cache itself, wait for the writer lock. Tasks of this process would also wait
for it, each on a thread that all need. So they wait here.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

from .. import loops, workers
from ..errors import Timeout


class _Waiter:
    """A task that waits. One that is `let_in` has the directory."""

    def __init__(self) -> None:
        self.bell = loops.current().bell()
        self.let_in = False


class _Gates:
    def __init__(self) -> None:
        self.guard = threading.RLock()  # a coroutine may be collected inside of it
        self.held: set[str] = set()
        self.entering: dict[str, deque[_Waiter]] = {}
        self.passing: dict[str, list[_Waiter]] = {}


_gates = _Gates()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_gates.__init__)


async def enter(place: str, timeout: float | None) -> None:
    """Wait until no other task has a transaction of the directory `place`; `timeout` seconds, or without a limit.

    Raises:
        Timeout: Other tasks had one for all that time.
    """
    with _gates.guard:
        if place not in _gates.held:
            _gates.held.add(place)
            return
        waiter = _Waiter()
        _gates.entering.setdefault(place, deque()).append(waiter)
    try:
        await waiter.bell.wait(timeout)
    except BaseException:
        if _give_up(place, waiter):
            leave(place)
        raise
    if not waiter.let_in and not _give_up(place, waiter):
        raise Timeout(
            f"{place}: another task of this process was inside transact() for longer than {timeout} s; "
            "pass retry=True to wait without a limit, or a larger timeout"
        )


def _give_up(place: str, waiter: _Waiter) -> bool:
    """Leave the line; return True if the waiter has been let in meanwhile."""
    with _gates.guard:
        if not waiter.let_in:
            _gates.entering[place].remove(waiter)
        return waiter.let_in


def leave(place: str) -> None:
    """Let the next task in, and those that only write go on."""
    with _gates.guard:
        bells = [waiter.bell for waiter in _gates.passing.pop(place, ())]
        if _gates.entering.get(place):
            following = _gates.entering[place].popleft()
            following.let_in = True
            bells.append(following.bell)
        else:
            _gates.entering.pop(place, None)
            _gates.held.discard(place)
    for bell in bells:
        bell.ring()


def any_held() -> bool:
    """Whether any task of this process has a transaction."""
    return bool(_gates.held)


async def wait_while_held(owner: Any, place: str) -> None:
    """Wait until the task that has a transaction ends it, and at most as long as `owner` waits for other writers."""
    if workers.in_transaction(owner):
        return
    with _gates.guard:
        if place not in _gates.held:
            return
        waiter = _Waiter()
        _gates.passing.setdefault(place, []).append(waiter)
    await waiter.bell.wait(owner.timeout)
