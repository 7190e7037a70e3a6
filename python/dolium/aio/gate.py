"""One transaction of a directory at a time among the tasks of this process, before any of them takes a thread.

Other processes, and threads that use the cache itself, wait for the writer lock. Tasks of this process would also wait
for it, each on a thread that all need. So they wait here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .. import waiting, workers
from ..errors import Timeout

held: Final[set[str]] = set()
"""The directories with a transaction of a task."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=held.clear)


async def enter(place: str, timeout: float | None) -> None:
    """Wait until no other task has a transaction of the directory `place`; `timeout` seconds, or without a limit.

    Raises:
        Timeout: Another task had one for all that time.
    """
    end = None if timeout is None else time.monotonic() + timeout

    async def attempt() -> bool:
        if place not in held:
            held.add(place)
            return True
        if end is not None and time.monotonic() >= end:
            raise Timeout(
                f"{place}: another task of this process was inside transact() for longer than {timeout} s; "
                "pass retry=True to wait without a limit, or a larger timeout"
            )
        return False

    await _stand(place, attempt)


def leave(place: str) -> None:
    """Let the next task in."""
    held.discard(place)
    waiting.line_at(_address(place)).call_first()


async def wait_while_held(owner: Any, place: str) -> None:
    """Wait as long as another task has a transaction, and at most as long as `owner` waits for other writers."""
    if place not in held or workers.in_transaction(owner):
        return
    end = time.monotonic() + owner.timeout

    async def attempt() -> bool:
        return place not in held or time.monotonic() >= end

    await _stand(place, attempt)


async def _stand(place: str, attempt: Callable[[], Awaitable[bool]]) -> None:
    line = waiting.line_at(_address(place))
    if line or not await attempt():
        await line.wait_as_task(attempt)


def _address(place: str) -> waiting.Address:
    return place, _GATE


_GATE: Final = -1
"""Stands where locks have the bytes of their key."""
