"""The event loop that runs the caller, asyncio's or trio's, and waiting on it for other threads.

uvloop is an event loop of asyncio. This module imports neither library. A program that did not import one runs none of
its loops.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Protocol


class Bell(Protocol):
    """What a task waits for, and any thread may ring."""

    def ring(self) -> None:
        """Let the task go on. A bell that rings again before the task has waited rings once."""

    async def wait(self, seconds: float | None = None) -> None:
        """Return after a ring, now or since the last wait, or when the time is over."""

    async def wait_whatever_happens(self) -> None:
        """Return after a ring. A task that is cancelled meanwhile learns of it then."""


class Loop(Protocol):
    """An event loop that runs the calling thread."""

    def task(self) -> Any:
        """The task that calls."""

    def bell(self) -> Bell:
        """A bell for the task that calls."""
        ...

    def sleep(self, seconds: float) -> Awaitable[Any]:
        """Let the other tasks run for so long."""
        ...


def running() -> Loop | None:
    """The loop that runs the caller, or None."""
    trio: Any = sys.modules.get("trio.lowlevel")
    if trio is not None and trio.in_trio_task():
        return _TRIO
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return _ASYNCIO
    return None


def current() -> Loop:
    """The loop that runs the caller.

    Raises:
        RuntimeError: No event loop runs.
    """
    loop = running()
    if loop is None:
        raise RuntimeError("no event loop runs in this thread; dolium's coroutines need asyncio or trio")
    return loop


class _AsyncioLoop:
    def task(self) -> Any:
        import asyncio

        return asyncio.current_task()

    def bell(self) -> Bell:
        return _AsyncioBell()

    def sleep(self, seconds: float) -> Awaitable[Any]:
        import asyncio

        return asyncio.sleep(seconds)


class _AsyncioBell:
    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._future = self._loop.create_future()
        self._has_rung = False

    def ring(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the task with it
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self._has_rung = True
        self._wake()

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float | None = None) -> None:
        if not self._has_rung:
            if self._future.done():
                self._future = self._loop.create_future()
            timer = None if seconds is None else self._loop.call_later(seconds, self._wake)
            try:
                await self._future
            finally:
                if timer is not None:
                    timer.cancel()
        self._has_rung = False

    async def wait_whatever_happens(self) -> None:
        import asyncio

        cancelled = None
        while True:
            try:
                await self.wait()
                break
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


class _TrioLoop:
    def task(self) -> Any:
        import trio

        return trio.lowlevel.current_task()

    def bell(self) -> Bell:
        return _TrioBell()

    def sleep(self, seconds: float) -> Awaitable[Any]:
        import trio

        return trio.sleep(seconds)


class _TrioBell:
    def __init__(self) -> None:
        import trio

        self._token = trio.lowlevel.current_trio_token()
        self._event = trio.Event()

    def ring(self) -> None:
        import trio

        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._ring)

    def _ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        import trio

        with trio.move_on_after(float("inf") if seconds is None else seconds):
            await self._event.wait()
        if self._event.is_set():
            self._event = trio.Event()

    async def wait_whatever_happens(self) -> None:
        import trio

        with trio.CancelScope(shield=True):
            await self.wait()


_ASYNCIO, _TRIO = _AsyncioLoop(), _TrioLoop()
