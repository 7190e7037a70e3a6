"""Workers that are processes of ours. One that dies takes one item with it, and another takes its place."""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import pickle
import selectors
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ..errors import WorkerDiedError
from . import worker
from .item import Item
from .outcome import BROKEN, DIED, ERROR, READY, RETURNED, SKIPPED, Report, trace_of, unpacked
from .shipment import Shipment

SHORT: Final = 0.05
"""Seconds of an item below which a worker gets the next one while it computes, so that it never waits for one.

An item that lies so long behind another one goes to a worker that has nothing to do.
"""
STARTS: Final = 4
"""How often in a row a worker may be killed before it is ready. The next one may find more memory."""


class _Starting:
    """Held while a worker starts, so that none inherits the other end of another one's connection."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        """In a worker that was forked, which may have workers of its own, the lock is free."""
        cls.lock = threading.Lock()


os.register_at_fork(after_in_child=_Starting.renew)


class Worker:
    """A process, and the items that it has, in the order in which it computes them."""

    def __init__(self, context: Any, shipment: Shipment, start: int) -> None:
        cargo = shipment if context.get_start_method() == "fork" else shipment.dumped()
        with _Starting.lock:
            self.connection, theirs = context.Pipe()
            self.process = context.Process(
                target=worker.main, args=(cargo, theirs, os.getpid()), name="dolium worker"
            )
            try:
                self.process.start()
            finally:
                theirs.close()
        self.items: dict[bytes, Item] = {}
        """By number, in the order in which they were given."""
        self.is_ready = False
        self.start = start
        """How many before it were killed, one after the other, since one was ready."""


class Processes:
    """At most `width` workers. They start when there is work for them."""

    def __init__(self, shipment: Shipment, width: int) -> None:
        self._shipment = shipment
        self._width = width
        self._context: Any = multiprocessing.get_context()
        if self._context.get_start_method() == "fork":
            shipment.goes_by_name = True  # a copy of this process knows all that it knows
        self._owner = os.getpid()
        self._workers: list[Worker] = []
        self._selector = selectors.PollSelector()
        self._reports: list[tuple[Item, Report]] = []
        self._mean = SHORT
        self._start_in_a_row = 0
        self._is_stopped = False
        self._numbers = itertools.count()
        # Before the hook of multiprocessing, which waits for processes that do not end by themselves.
        self._at_exit: Callable[[], None] = self.close
        atexit.register(self._at_exit)

    @property
    def has_room(self) -> bool:
        """Whether one more item can be given."""
        return len(self._workers) < self._width or any(
            len(each.items) < self._depth for each in self._workers
        )

    @property
    def _depth(self) -> int:
        return 2 if self._mean < SHORT else 1

    def give(self, item: Item) -> None:
        """Give an item to the worker that has least to do."""
        try:
            message = self._shipment.pack((item.args, item.key, item.is_patient, item.sends))
        except Exception as error:
            self._reports.append((item, Report(ERROR, error, trace=trace_of(error), process=self._owner)))
            return
        chosen = min(self._workers, key=_load, default=None)
        if chosen is None or (chosen.items and len(self._workers) < self._width):
            chosen = self._start()
        number = next(self._numbers).to_bytes(worker.NUMBER, "little")
        chosen.items[number] = item
        with suppress(OSError):  # it is dead, which the next look says
            chosen.connection.send_bytes(number + message)

    def _start(self) -> Worker:
        started = Worker(self._context, self._shipment, self._start_in_a_row)
        self._workers.append(started)
        self._selector.register(started.connection, selectors.EVENT_READ, (started, False))
        self._selector.register(started.process.sentinel, selectors.EVENT_READ, (started, True))
        return started

    def collect(self, timeout: float | None) -> list[tuple[Item, Report]]:
        """What the workers say; wait for it at most so long."""
        reports, self._reports = self._reports, []
        if reports or not self._workers:
            timeout = 0
        events = [key.data for key, _ in self._select(timeout)]
        # A worker that has ended comes last: what it sent before counts.
        for sender, has_ended in sorted(events, key=lambda event: event[1]):
            if sender in self._workers and not self._listen(sender, has_ended, reports):
                self._bury(sender, reports)
        return reports

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        loaded = [each for each in self._workers if len(each.items) > 1]
        is_idle = len(self._workers) < self._width or any(not each.items for each in self._workers)
        if timeout == 0 or not loaded or not is_idle:
            return self._selector.select(timeout)
        found = self._selector.select(SHORT)
        if not found:
            for each in loaded:
                with suppress(OSError):
                    each.connection.send_bytes(worker.RECALL)
            found = self._selector.select(timeout)
        return found

    def _listen(self, sender: Worker, has_ended: bool, reports: list[tuple[Item, Report]]) -> bool:
        """Take in what a worker sent; false if it sends nothing more."""
        try:
            if not has_ended:
                self._receive(sender, reports)
                return True
            while sender.connection.poll():
                self._receive(sender, reports)
        except (EOFError, OSError):
            pass
        return False

    def _receive(self, sender: Worker, reports: list[tuple[Item, Report]]) -> None:
        dumped = sender.connection.recv_bytes()
        try:
            report: Report = pickle.loads(dumped)
        except Exception as error:
            report = Report(ERROR, error, trace=trace_of(error), process=sender.process.pid or 0)
        if report.kind == READY:
            sender.is_ready = True
            self._start_in_a_row = 0
        elif report.kind == BROKEN:
            raise unpacked(report.payload, report.trace)
        elif report.kind == RETURNED:
            reports.append((sender.items.pop(report.payload), Report(SKIPPED)))
        else:
            self._mean += (report.seconds - self._mean) / 8
            first = next(iter(sender.items))
            reports.append((sender.items.pop(first), report))

    def _bury(self, sender: Worker, reports: list[tuple[Item, Report]]) -> None:
        """A worker is dead, or has ended as it was told to."""
        self._workers.remove(sender)
        self._selector.unregister(sender.connection)
        self._selector.unregister(sender.process.sentinel)
        sender.process.join()
        sender.connection.close()
        code: int = sender.process.exitcode
        sign, status = (-code, None) if code < 0 else (None, code)
        sender.process.close()
        if not sender.is_ready and not self._is_stopped:
            self._note_early_death(sender, sign, status)
        # It worked on the first one only.
        kinds = [Report(DIED, (sign, status)) if sender.is_ready else Report(SKIPPED)]
        kinds += [Report(SKIPPED)] * len(sender.items)
        reports.extend(zip(sender.items.values(), kinds, strict=False))

    def _note_early_death(self, dead: Worker, sign: int | None, status: int | None) -> None:
        """A worker has ended before it was ready. The next one ends in the same way if the program is the cause.

        A signal has other causes, too. Linux sends SIGKILL when memory runs out, and fewer workers may have enough.
        """
        self._start_in_a_row = max(self._start_in_a_row, dead.start + 1)
        if sign is not None and self._start_in_a_row < STARTS:
            return
        if sign is None or not self._workers:
            raise WorkerDiedError(None, sign, status)
        self._width = len(self._workers)

    def stop(self) -> None:
        """Let workers end after the item that they compute."""
        self._is_stopped = True
        for each in self._workers:
            with suppress(OSError):
                each.connection.send_bytes(worker.STOP)

    def close(self, grace: float = 2.0) -> None:
        """End all workers. Those that compute have some seconds to finish and store."""
        atexit.unregister(self._at_exit)
        if os.getpid() != self._owner:
            return  # a child that was forked; the workers are not its own
        end = time.monotonic() + grace
        try:
            self.stop()
            for each in self._workers:
                each.process.join(max(0.0, end - time.monotonic()))
        finally:
            for each in self._workers:
                each.process.kill()
            for each in self._workers:
                each.process.join()
                each.process.close()
                each.connection.close()
            self._workers.clear()


def _load(each: Worker) -> int:
    return len(each.items)
