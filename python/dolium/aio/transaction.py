"""A transaction for ``async with``: :class:`AsyncTransaction`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any

from .. import loops, workers
from . import gate


class AsyncTransaction:
    """A transaction of one task. Its ``async with`` block happens as a whole or not at all.

    The awaited operations of the task that enters the block are part of it, on any face of the cache. Operations of
    other tasks are not, even of tasks that the block starts. Such tasks wait before they write.
    """

    __slots__ = ("_block", "_entered", "_make", "_owner", "_place", "_timeout")

    def __init__(
        self,
        owner: Any,
        place: str,
        make: Callable[[], AbstractContextManager[Any]],
        timeout: float | None,
    ) -> None:
        self._owner = owner
        self._place = place
        self._make = make
        self._timeout = timeout
        self._entered: list[_Entered] = []

    async def __aenter__(self) -> None:
        task = loops.current().task()
        lane = workers.lane()
        block = self._make()
        if lane is None and workers.in_transaction(self._owner):
            # Of a `with` block, which belongs to this thread.
            block.__enter__()
            self._entered.append(_Entered(block, None, task, False))
            return
        is_outermost = lane is None or self._place not in lane.places
        if is_outermost:
            await gate.enter(self._place, self._timeout)
        entered = None
        try:
            lane = lane or workers.Lane(task)
            if is_outermost:
                lane.places[self._place] = partial(gate.leave, self._place)
            entered = _Entered(block, lane, task, is_outermost)
            await workers.run_on(lane, "writes", entered.begin)
        except BaseException as error:
            if entered is None:
                gate.leave(self._place)
            else:
                await self._leave(entered, type(error), error, error.__traceback__)
            raise
        self._entered.append(entered)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave(self._entered.pop(), kind, error, trace)

    async def _leave(
        self,
        entered: _Entered,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lane = entered.lane
        if lane is None:
            entered.block.__exit__(kind, error, trace)
            return
        try:
            if entered.has_begun:  # a task that is cancelled may have been late, or early
                await workers.run_on(lane, "ends", entered.block.__exit__, kind, error, trace)
        finally:
            if entered.is_outermost:
                lane.leave(self._place, entered.task)


class _Entered:
    """A block that a task has entered, or tries to."""

    __slots__ = ("block", "has_begun", "is_outermost", "lane", "task")

    def __init__(
        self, block: AbstractContextManager[Any], lane: workers.Lane | None, task: Any, is_outermost: bool
    ) -> None:
        self.block = block
        self.lane = lane
        self.task = task
        self.is_outermost = is_outermost
        self.has_begun = False

    def begin(self) -> None:
        self.block.__enter__()
        self.has_begun = True
