"""Background work on results: renewing them before a caller must wait.

At most four threads of a process renew. They are daemons, so that a long computation does not keep a program from
ending. None of them may be inside a cache when the interpreter is torn down, so after a last wait none begins to write.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

__all__ = ["PATIENCE_AT_EXIT", "Renewals", "renewals"]

PATIENCE_AT_EXIT: Final = 1.0
"""Seconds for which a process that exits waits for renewals under way, all together."""

THREADS: Final = 4
WAITING: Final = 1024
"""Renewals that wait for a thread; a later caller asks again for one that finds no place."""
IDLE: Final = 5.0
"""Seconds after which a thread without work ends."""


class Renewals:
    """The threads of this process that renew results."""

    def __init__(self) -> None:
        self._reset()
        atexit.register(self._finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._jobs: deque[Callable[[], None]] = deque()
        self._change = threading.Condition(threading.Lock())
        self._writing = threading.Lock()
        self._over = False

    def start(self, target: Callable[..., object], *args: Any) -> bool:
        """Run `target` on a thread, with the caller's context variables. False: too much waits already."""
        context = contextvars.copy_context()

        def job() -> None:
            context.run(target, *args)

        with self._change:
            if self._over or len(self._jobs) >= WAITING:
                return False
            self._jobs.append(job)
            if self._idle >= len(self._jobs) or len(self._threads) >= THREADS:
                self._change.notify()
                return True
            thread = threading.Thread(target=self._work, name="dolium-renewal", daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started, or the interpreter ends
            with self._change:
                self._threads.discard(thread)
            return False
        return True

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                try:
                    job()
                except Exception:  # a target that minds says so itself
                    threading.excepthook(threading.ExceptHookArgs((*_raised(), threading.current_thread())))
                # What the job refers to is not kept until the next one comes.
                del job
        finally:
            with self._change:
                self._threads.discard(threading.current_thread())

    def _next(self) -> Callable[[], None] | None:
        with self._change:
            self._idle += 1
            self._change.wait_for(lambda: self._jobs or self._over, IDLE)
            self._idle -= 1
            if self._over or not self._jobs:
                # Before another caller counts on this thread.
                self._threads.discard(threading.current_thread())
                return None
            return self._jobs.popleft()

    def unless_over(self, save: Callable[..., object], *args: Any) -> Any:
        """Save a result of a background thread, unless the process is ending."""
        with self._writing:
            return None if self._over else save(*args)

    def _finish(self) -> None:
        deadline = time.monotonic() + PATIENCE_AT_EXIT
        with self._change:
            busy = list(self._threads)
        while time.monotonic() < deadline and (self._jobs or len(busy) > self._idle):
            time.sleep(0.005)
            with self._change:
                busy = list(self._threads)
        with self._change:
            self._over = True
            self._change.notify_all()
        if self._writing.acquire(timeout=PATIENCE_AT_EXIT):
            self._writing.release()


def _raised() -> tuple[Any, Any, Any]:
    import sys

    return sys.exc_info()


renewals: Final = Renewals()
