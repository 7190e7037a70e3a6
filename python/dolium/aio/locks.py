"""Locks between processes for tasks: :class:`AsyncLock`, :class:`AsyncRLock` and :class:`AsyncBoundedSemaphore`.

They are the locks of `locks`, which processes, threads and tasks share. Here the task is the holder.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from .. import workers
from ..locks import BoundedSemaphore, Lock, RLock

G = TypeVar("G", Lock, RLock, BoundedSemaphore)


class _Guard(Generic[G]):
    __slots__ = ("_guard",)

    def __init__(self, guard: G) -> None:
        self._guard = guard

    async def acquire(self) -> None:
        """Wait for the lock and take it. A task that is cancelled meanwhile does not have it."""
        await self._guard.__aenter__()

    async def release(self) -> None:
        """Give the lock back."""
        await self._guard.__aexit__()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *raised: object) -> None:
        await self.release()

    def __repr__(self) -> str:
        return f"{self._guard!r}.aio"


class AsyncLock(_Guard[Lock]):
    """A :class:`~dolium.Lock` for ``async with``, or with `acquire` and `release`."""

    __slots__ = ()

    async def locked(self) -> bool:
        """Whether the lock is held."""
        guard: Any = self._guard
        return await workers.run(guard._cache, "reads", guard.locked)


class AsyncRLock(_Guard[RLock]):
    """A :class:`~dolium.RLock` for ``async with``, or with `acquire` and `release`."""

    __slots__ = ()


class AsyncBoundedSemaphore(_Guard[BoundedSemaphore]):
    """A :class:`~dolium.BoundedSemaphore` for ``async with``, or with `acquire` and `release`."""

    __slots__ = ()
