"""Which item comes next: what is read, looked up, given to a worker, tried again and handed out.

A schedule starts nothing and waits for nothing. A run asks it what to do, and tells it what workers report.
"""

from __future__ import annotations

import operator
import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from ..constants import MISS
from ..errors import WorkerDiedError
from ..functions.cached import answer, only
from ..functions.calls import FAILED, MISSED, STALE, WAITED
from ..functions.generators import CachedGenerator
from ..functions.modes import NORMAL, OFF, ONLY
from .figures import Counter, Figures, Progress
from .item import Item
from .outcome import (
    BUSY,
    DIED,
    ERROR,
    KEPT,
    SKIPPED,
    VALUE,
    Failure,
    Report,
    add_note,
    as_text,
    trace_of,
    unpacked,
)
from .progress import teller
from .shipment import Shipment


class Schedule:
    """The items of one run."""

    def __init__(
        self,
        shipment: Shipment,
        iterables: tuple[Iterable[Any], ...],
        width: int,
        ordered: bool,
        collects: bool,
        progress: bool | Progress,
    ) -> None:
        self.shipment = shipment
        self.width = width
        self.failures: list[Failure] = []
        self.is_stopped = False
        """Whether an item failed that ends the run, or its caller gave up: no new item begins."""
        self.error: BaseException | None = None
        self.counter = Counter(_length(iterables))
        self._source: Iterator[tuple[Any, ...]] = zip(*iterables)  # noqa: B905 (the shortest ends it, as in `map`)
        self._source_error: BaseException | None = None
        self._is_exhausted = False
        self._ordered, self._collects = ordered, collects
        self._open = 0  # items that were read, and not handed out
        self._window: deque[Item] = deque()
        self._ready: deque[Item] = deque()
        self._queue: deque[Item] = deque()
        self._deferred: deque[Item] = deque()
        self._suspects: deque[Item] = deque()
        self._alone: Item | None = None
        self._calls = shipment.wrapper._calls
        self._plays = isinstance(shipment.wrapper, CachedGenerator)
        self._finds = getattr(shipment.wrapper, "_find", None)
        self._teller = teller(
            progress, self._calls.name.removesuffix("()").rpartition(".")[2], self.counter.total
        )

    # The input

    def wants_more(self) -> bool:
        """Whether an item is read now. Never more than twice the workers are read and not handed out."""
        return self._open < 2 * self.width and not (self._is_exhausted or self.is_stopped)

    def read(self) -> None:
        """Read one item and look it up."""
        self.counter.begin()
        try:
            item = Item(next(self._source))
        except StopIteration:
            self._is_exhausted = True
            return
        except Exception as error:  # of the input; what was read before it comes first
            self._is_exhausted, self._source_error = True, error
            return
        self._open += 1
        if self._ordered:
            self._window.append(item)
        try:
            found = self._look_up(item)
        except Exception as error:  # one that is kept, or an argument without a key
            self._fail(item, error)
            return
        if found is MISS:
            self._queue.append(item)
        else:
            self.counter.hits += 1
            self._end(item, VALUE, found)

    def _look_up(self, item: Item) -> Any:
        shipment, calls = self.shipment, self._calls
        mode = shipment.mode
        if mode is OFF:
            return MISS
        args = shipment.prefix + item.args
        if mode is NORMAL and self._finds is not None:
            is_found, value = self._finds(args, shipment.common)
            if is_found:
                return value
            item.key = value
        else:
            item.key = calls.key(*args, **shipment.common)
        if mode is ONLY:
            return only(shipment.wrapper, item.key, args, shipment.common)
        if mode is NORMAL:
            item.known = calls.results.known(item.key)
            if item.known is not None:
                found = answer(shipment.wrapper, calls, item.key, item.known, args, shipment.common)
                if found is not MISS:
                    return found
        calls.count(MISSED)
        return MISS

    # Workers

    def next(self) -> Item | None:
        """The item that a worker takes now; None if there is none."""
        if self.is_stopped or self._alone is not None:
            return None
        item: Item | None = None
        if self._suspects:
            # The next death shows whether it was this item.
            if not self.counter.out:
                item = self._alone = self._suspects.popleft()
        elif self._queue:
            item = self._queue.popleft()
        elif self._deferred and self._must_wait():
            item = self._deferred.popleft()
            item.is_patient = True
        if item is not None:
            self.counter.give()
        return item

    def _must_wait(self) -> bool:
        """Whether a worker has nothing to do but to wait for what another caller computes.

        Behind an item that waits, one that a worker could compute would wait, too.
        """
        line = self._line()
        hands_out = bool(line) and line[0].is_done
        return not (self.wants_more() or hands_out) and self.counter.out < self.width

    def settle(self, item: Item, report: Report) -> None:
        """Note what a worker says of an item."""
        self.counter.take_back()
        if item is self._alone:
            self._alone = None
        if report.kind == BUSY:
            self._deferred.append(item)
        elif report.kind == DIED:
            self._died(item, *report.payload)
        elif report.kind == ERROR:
            self._count(report)
            self._failed(item, report)
        elif report.kind == SKIPPED:
            (self._suspects if item.tries else self._queue).appendleft(item)
        else:
            self._count(report)
            item.ran = report.ran
            if report.ran:
                self.counter.computed += 1
            else:
                self.counter.shared += 1
                self._calls.count(WAITED)
            self._end(item, report.kind, report.payload)

    def _count(self, report: Report) -> None:
        if report.process != os.getpid():
            self._calls.spend(report.seconds)
            if report.kind == ERROR:
                self._calls.count(FAILED)
        if report.problem:
            self._calls.results.tell("stored", RuntimeError(report.problem))

    def _failed(self, item: Item, report: Report) -> None:
        error: BaseException = report.payload
        if isinstance(error, bytes):
            error = unpacked(error, report.trace)
        older = self._calls.instead_of(error, item.known) if isinstance(error, Exception) else None
        if older is None:
            self._fail(item, error, report.trace)
            return
        self._calls.put_off(item.key, error, report.seconds)
        self._calls.count(STALE)
        self.counter.hits += 1
        self._end(item, VALUE, older.value)

    def _died(self, item: Item, sign: int | None, status: int | None) -> None:
        item.tries += 1
        if item.tries == 1:
            self._suspects.append(item)
        else:
            self._fail(item, WorkerDiedError(item.shown, sign, status))

    def _fail(self, item: Item, error: BaseException, trace: str = "") -> None:
        self.counter.failed += 1
        failure = Failure(item.shown, error, trace or trace_of(error))
        self.failures.append(failure)
        if self._collects:
            self._end(item, VALUE, failure)
            return
        self.stop(error)
        item.kind, item.outcome = ERROR, error
        self._tell()

    def _end(self, item: Item, kind: str, outcome: Any) -> None:
        item.end(kind, outcome)
        if not self._ordered:
            self._ready.append(item)
        self._tell()

    def _tell(self) -> None:
        if self._teller is not None:
            self._teller.tell(self.counter.figures())

    # The output

    def take(self) -> Item | None:
        """The item whose result is handed out now; None if the next one is not done."""
        line = self._line()
        if not line or not line[0].is_done or not self._has_value(line[0]):
            return None
        self._open -= 1
        item = line.popleft()
        if self._plays and not isinstance(item.outcome, Failure):
            item.outcome = item.outcome[0]  # and what the generator returned, which no loop sees
        return item

    def _line(self) -> deque[Item]:
        """The items that are handed out next."""
        return self._window if self._ordered else self._ready

    def _has_value(self, item: Item) -> bool:
        """Fetch what a worker stored. If the cache has lost it meanwhile, the item is computed again and sent."""
        if item.kind != KEPT:
            return True
        known = self._calls.results.known(item.key)
        if known is not None and not known.raised:
            item.end(VALUE, known.value)
            return True
        if not self._ordered:
            self._ready.popleft()
        item.is_done, item.sends, item.is_patient = False, True, True
        if item.ran:
            self.counter.computed -= 1
        else:
            self.counter.shared -= 1
        self._queue.appendleft(item)
        return False

    def is_over(self) -> bool:
        """Whether all items were handed out."""
        return self._is_exhausted and not self._open

    def stop(self, error: BaseException | None = None) -> None:
        """Begin no new item."""
        self.is_stopped = True
        self.error = self.error or error

    def end(self) -> BaseException | None:
        """The run is over. What ended it, if that was an error."""
        error = self.error
        if error is None:
            return self._source_error
        head = self._window[0] if self._window else None
        if head is not None and head.kind == ERROR:
            error = head.outcome
        figures = self.figures()
        left = "an unknown number" if figures.left is None else f"{figures.left + figures.failed}"
        if isinstance(error, (StopIteration, StopAsyncIteration)):  # it would end the loop of the caller
            error = as_text(error)
        add_note(error, f"{figures.done - figures.failed} done, {left} left")
        return error

    def close(self) -> None:
        self.stop()
        self.counter.end()
        if self._teller is not None:
            self._teller.close()

    def figures(self) -> Figures:
        return self.counter.figures()


def _length(iterables: tuple[Iterable[Any], ...]) -> int | None:
    """How many items there are, if all iterables say so."""
    lengths = [operator.length_hint(iterable, -1) for iterable in iterables]
    return None if min(lengths) < 0 else min(lengths)
