"""Workers that belong to an executor of the user's: threads, or processes of whatever library."""

from __future__ import annotations

import queue
import sys
import time
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import wait as wait_for
from typing import Any

from .item import Item
from .outcome import DIED, ERROR, SKIPPED, Report, trace_of
from .perform import perform
from .shipment import Shipment


class Borrowed:
    """An executor that belongs to the caller of `map`, who shuts it down."""

    def __init__(self, shipment: Shipment, width: int, executor: Any) -> None:
        self._shipment = shipment
        self._executor = executor
        self._width = width
        self._items: dict[Future[Report], Item] = {}
        self._ended: queue.SimpleQueue[Future[Report]] = queue.SimpleQueue()
        self.is_broken = False
        """Whether its processes are gone, so that the run needs other workers."""

    @property
    def has_room(self) -> bool:
        return len(self._items) < 2 * self._width and not self.is_broken

    def give(self, item: Item) -> None:
        try:
            future: Future[Report] = self._executor.submit(
                perform, self._shipment, item.args, item.key, item.is_patient, item.sends
            )
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        self._items[future] = item
        future.add_done_callback(self._ended.put)

    def collect(self, timeout: float | None) -> list[tuple[Item, Report]]:
        reports: list[tuple[Item, Report]] = []
        while self._items:
            try:
                future = self._ended.get(timeout=0 if reports else timeout)
            except queue.Empty:
                break
            reports.append((self._items.pop(future), self._report(future)))
        return reports

    def _report(self, future: Future[Report]) -> Report:
        if future.cancelled():
            return Report(SKIPPED)
        error = future.exception()
        if error is None:
            return future.result()
        if _has_lost_process(error):
            self.is_broken = True
            return Report(DIED, (None, None))
        return Report(ERROR, error, trace=trace_of(error))

    def stop(self) -> None:
        for future in list(self._items):
            future.cancel()

    def close(self, grace: float = 2.0) -> None:
        """Begin nothing more, and wait a little for what runs."""
        end = time.monotonic() + grace
        self.stop()
        wait_for(list(self._items), max(0.0, end - time.monotonic()))
        self._items.clear()


def _has_lost_process(error: BaseException) -> bool:
    module: Any = sys.modules.get("concurrent.futures.process")
    return module is not None and isinstance(error, module.BrokenProcessPool)
