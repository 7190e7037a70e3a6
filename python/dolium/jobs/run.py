"""A run of a wrapped function over many arguments: an iterator over the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .executor import Borrowed
from .outcome import Failure
from .processes import Processes
from .schedule import Schedule

if TYPE_CHECKING:
    from typing_extensions import Self

    from .figures import Figures

R = TypeVar("R", covariant=True)


class Facts:
    """What a run says of itself."""

    _schedule: Schedule

    @property
    def failures(self) -> list[Failure]:
        """The items that failed so far."""
        return self._schedule.failures

    @property
    def figures(self) -> Figures:
        """How far the run is: counts, seconds, and an estimate."""
        return self._schedule.figures()

    def __length_hint__(self) -> int:
        figures = self._schedule.figures()
        return figures.total or 0

    def __repr__(self) -> str:
        return f"<run of {self._schedule.shipment.wrapper._calls.name}: {self.figures}>"

    def _repr_html_(self) -> str:
        return self.figures.as_html()


class Run(Facts, Iterator[R], Generic[R]):
    """The results of a wrapped function for many arguments, one after the other.

    The run goes on while results are asked for. It ends its workers when it is over, closed or forgotten.

    >>> import dolium
    >>> cache = dolium.Cache()
    >>> @cache.cached(version="1")
    ... def square(number):
    ...     return number * number
    >>> run = square.map(range(4), workers=2)
    >>> list(run)
    [0, 1, 4, 9]
    >>> run
    <run of ...square(): 4 of 4 done: 4 computed>
    >>> again = square.map(range(5), workers=2)
    >>> sum(again), again.figures.hits
    (30, 4)
    """

    def __init__(self, schedule: Schedule, executor: Any) -> None:
        self._is_over = False
        self._workers: Processes | Borrowed | None = None
        self._schedule = schedule
        self._executor = executor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        if self._is_over:
            raise StopIteration
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def _next(self) -> R:
        schedule = self._schedule
        while True:
            if schedule.counter.out:
                self._collect(0)
            self._feed()
            item = schedule.take()
            if item is not None:
                return item.outcome
            if schedule.counter.out:
                self._collect(None)
            elif schedule.is_stopped or schedule.is_over():
                error = schedule.end()
                raise StopIteration if error is None else error

    def _feed(self) -> None:
        """Read ahead, and give workers what they have room for."""
        schedule = self._schedule
        while True:
            while (self._workers is None or self._workers.has_room) and (item := schedule.next()) is not None:
                self._hire().give(item)
            if not schedule.wants_more():
                return
            schedule.read()

    def _hire(self) -> Processes | Borrowed:
        if self._workers is None:
            shipment, width = self._schedule.shipment, self._schedule.width
            if self._executor is None:
                self._workers = Processes(shipment, width)
            else:
                self._workers = Borrowed(shipment, width, self._executor)
        return self._workers

    def _collect(self, timeout: float | None) -> None:
        schedule, workers = self._schedule, self._workers
        assert workers is not None, "a worker has the items that are out"
        was_stopped = schedule.is_stopped
        for item, report in workers.collect(timeout):
            schedule.settle(item, report)
        if schedule.is_stopped and not was_stopped:
            workers.stop()
        if isinstance(workers, Borrowed) and workers.is_broken and not schedule.counter.out:
            self._workers = self._executor = None

    def close(self) -> None:
        """End the run. Workers that compute have two seconds to finish and store."""
        if self._is_over:
            return
        self._is_over = True
        self._schedule.close()
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
