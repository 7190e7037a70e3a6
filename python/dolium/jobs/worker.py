"""The process of a worker: it computes one item after the other, and ends with its parent."""

from __future__ import annotations

import os
import pickle
import queue
import selectors
import signal
import threading
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from ..errors import UnpicklableError
from .outcome import BROKEN, ERROR, READY, RETURNED, SKIPPED, Report, packed, trace_of
from .perform import perform
from .shipment import Shipment, load

STOP = b""
"""The message after which a worker begins no item."""
RECALL = b"-"
"""The message on which a worker gives back an item that it has not begun."""
NUMBER = 8
"""Bytes before the pickle of an item: its number."""


class Inbox:
    """What the parent sent, and whether the worker goes on."""

    def __init__(self, connection: Connection, parent: int) -> None:
        self.is_stopped = False
        self.messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._connection = connection
        self._sending = threading.Lock()
        self._parent = parent

    def listen(self) -> None:
        """Read messages as they come, so that the parent never waits, and die with the parent."""
        selector = selectors.PollSelector()
        selector.register(self._connection, selectors.EVENT_READ)
        life = _life_of(self._parent)
        selector.register(life, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if life in ready:
                _die()
            try:
                message = self._connection.recv_bytes()
            except (EOFError, OSError):
                message = STOP
            if message == RECALL:
                self._give_back()
                continue
            if message == STOP:
                self.is_stopped = True
                selector.unregister(self._connection)
            self.messages.put(message)

    def _give_back(self) -> None:
        with suppress(queue.Empty, OSError):
            message = self.messages.get_nowait()
            self.send(pickle.dumps(Report(RETURNED, message[:NUMBER])))

    def send(self, report: bytes) -> None:
        with self._sending:
            self._connection.send_bytes(report)


def _life_of(parent: int) -> int:
    """A descriptor that can be read when the parent is dead."""
    try:
        return os.pidfd_open(parent)
    except ProcessLookupError:
        _die()
    except (OSError, AttributeError):  # not before Linux 5.3, and not in every sandbox
        pass
    # A pipe, which says it later if a process that was forked meanwhile has the other end, too.
    process: Any = parent_process()
    return process.sentinel


def _go_on(*_: object) -> None:
    """Let a signal interrupt nothing."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(cargo: Shipment | bytes, connection: Connection, parent: int) -> None:
    """What the process runs."""
    # A terminal sends Ctrl-C to all processes. The parent decides how long workers go on.
    signal.signal(signal.SIGINT, _go_on)
    inbox = Inbox(connection, parent)
    threading.Thread(target=inbox.listen, name="dolium worker", daemon=True).start()
    try:
        shipment = arrived(cargo)
    except BaseException as error:
        inbox.send(pickle.dumps(Report(BROKEN, packed(error), trace=trace_of(error))))
        return
    inbox.send(pickle.dumps(Report(READY)))
    while (message := inbox.messages.get()) != STOP:
        report = Report(SKIPPED) if inbox.is_stopped else answer(shipment, message)
        try:
            inbox.send(dumped(shipment, report))
        except OSError:  # the parent waits no longer
            return


def arrived(cargo: Shipment | bytes) -> Shipment:
    if isinstance(cargo, bytes):
        return load(cargo)
    cargo.arrive()
    return cargo


def answer(shipment: Shipment, message: bytes) -> Report:
    try:
        args, key, is_patient, sends = pickle.loads(message[NUMBER:])
    except BaseException as error:
        return Report(ERROR, packed(error), trace=trace_of(error), process=os.getpid())
    return perform(shipment, args, key, is_patient, sends)


def dumped(shipment: Shipment, report: Report) -> bytes:
    """A report as bytes. A result that no pickle takes becomes an error."""
    try:
        return shipment.pack(report)
    except Exception as problem:
        error = UnpicklableError(
            f"{shipment.wrapper._calls.name.removesuffix('()')}: a result of type {type(report.payload).__qualname__} "
            "can neither be stored nor leave its process; pass workers=ThreadPoolExecutor() "
            f"({type(problem).__name__}: {problem})"
        )
        failed = report._replace(kind=ERROR, payload=packed(error), trace=trace_of(error))
        return pickle.dumps(failed)
