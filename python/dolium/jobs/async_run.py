"""A run of a wrapped coroutine function: an asynchronous iterator over the results, computed by tasks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from ..constants import MISS
from ..functions.asynchronous import AsyncComputation
from ..functions.flight import run_async
from ..functions.modes import OFF, REFRESH, using
from ..workers import off_loop
from .item import Item
from .outcome import BUSY, ERROR, VALUE, Report, trace_of
from .run import Facts
from .schedule import Schedule

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R", covariant=True)

_BUSY = object()


class AsyncRun(Facts, AsyncIterator[R], Generic[R]):
    """The results of a wrapped coroutine function for many arguments, one after the other.

    The run reads and starts more while results are asked for. It cancels its tasks when it is closed or forgotten.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._is_over = False
        self._tasks: dict[asyncio.Task[Report], Item] = {}
        self._schedule = schedule

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> R:
        if self._is_over:
            raise StopAsyncIteration
        try:
            return await self._next()
        except BaseException:
            await self.aclose()
            raise

    async def _next(self) -> R:
        schedule = self._schedule
        while True:
            self._collect()
            self._feed()
            item = schedule.take()
            if item is not None:
                return item.outcome
            if self._tasks:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            elif schedule.is_stopped or schedule.is_over():
                error = schedule.end()
                raise StopAsyncIteration if error is None else error

    def _feed(self) -> None:
        schedule = self._schedule
        while True:
            while len(self._tasks) < schedule.width and (item := schedule.next()) is not None:
                self._tasks[asyncio.ensure_future(_perform(schedule, item))] = item
            if not schedule.wants_more():
                return
            schedule.read()

    def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            item = self._tasks.pop(task)
            if task.cancelled():
                error: BaseException = asyncio.CancelledError()
                self._schedule.settle(item, Report(ERROR, error, process=os.getpid()))
            else:
                self._schedule.settle(item, task.result())

    async def aclose(self) -> None:
        """End the run, and cancel what it computes."""
        self._end()
        tasks, self._tasks = self._tasks, {}
        if tasks:
            await asyncio.wait(tasks)

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._schedule.close()
        for task in self._tasks:
            task.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self._schedule.close()
            for task in self._tasks:
                task.get_loop().call_soon_threadsafe(task.cancel)


async def _perform(schedule: Schedule, item: Item) -> Report:
    """Compute one item. Only a cancellation is raised here."""
    shipment, wrapper = schedule.shipment, schedule.shipment.wrapper
    args, common = shipment.prefix + item.args, shipment.common
    calls = wrapper._calls
    computation = AsyncComputation(wrapper, item.key, args, common, replaces=shipment.mode is REFRESH)
    process = os.getpid()
    try:
        with using(shipment.mode):
            if shipment.mode is OFF:
                return Report(VALUE, await wrapper._call(*args, **common), ran=True, process=process)
            if shipment.mode is REFRESH:
                value = await computation.compute_async()
                kept = await off_loop(calls.place, computation.store, value)
                value = value if kept is MISS else kept
            else:
                value = await run_async(
                    calls.place,
                    item.key,
                    lambda: calls.results.fresh(item.key),
                    computation.compute_async,
                    computation.store,
                    calls.wait,
                    stale=MISS if item.is_patient else _BUSY,
                )
    except Exception as error:
        return Report(ERROR, error, computation.seconds, computation.ran, trace_of(error), process)
    if value is _BUSY:
        return Report(BUSY, process=process)
    return Report(VALUE, value, computation.seconds, computation.ran, process=process)
