"""The threads on which calls wait for a disk or for other writers, so that an event loop does not.

A process has at most four, whatever the number of its loops. At most three of them run calls that write, so reads go on
while another process holds the writer lock. A transaction has a thread of its own (`Lane`) while it is open, because it
belongs to a thread. Every call of the task that began it runs there, and no call of another task.

A task that is cancelled leaves no call behind it that writes later: the call has not begun, or its wait for other
writers ends, or the task waits until the call is over.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from . import loops
from ._dolium import Stop

if TYPE_CHECKING:
    from queue import SimpleQueue

P = ParamSpec("P")
R = TypeVar("R")

THREADS: Final = 4
WRITERS: Final = THREADS - 1
IDLE: Final = 5.0
"""Seconds after which a thread without work ends."""
PATIENCE_AT_EXIT: Final = 5.0
"""Seconds for which a process that exits waits for calls that no wait holds up."""


How = Literal["reads", "writes", "ends"]
"""What becomes of a call when its task is cancelled. One that reads goes on, and its result is dropped. One that writes
ends if it waits for other writers, and the task waits for its end. One that ends something, as a release does, is made,
and the task is cancelled after it."""


class Job:
    """A call on another thread, for which a task waits."""

    def __init__(self, call: Callable[[], Any], bell: loops.Bell, writes: bool) -> None:
        self.writes = writes
        self._bell = bell
        self._call = partial(contextvars.copy_context().run, call)
        self._stop = Stop()
        self._claim = threading.Lock()  # of the thread that begins the call, or of the task that gives it up
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call, unless its task has given it up."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._value = self._stop.run(self._call)
        except BaseException as error:
            self._error = error
        self._bell.ring()

    def stop(self) -> None:
        """End the waits of the call for other writers."""
        self._stop.ask()

    async def outcome(self, must_end: bool = False) -> Any:
        """Wait for the call; return or raise what it did. One that `must_end` is made even if the task is cancelled."""
        try:
            if not must_end:
                await self._bell.wait()
        except GeneratorExit:  # of a coroutine that is closed, which may wait for nothing more
            self._give_up()
            raise
        except BaseException:
            if not self._give_up() and self.writes:
                await self._bell.wait_whatever_happens()
            raise
        if must_end:
            await self._bell.wait_whatever_happens()
        error, self._error = self._error, None
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error

    def _give_up(self) -> bool:
        """Ask the call to end; return True if it has not begun, and never will."""
        self._stop.ask()
        return self._claim.acquire(blocking=False)


class Workers:
    """The threads of this process that any task may use."""

    def __init__(self) -> None:
        self._reset()
        atexit.register(self._finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._change = threading.Condition(threading.Lock())
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._jobs: deque[Job] = deque()
        self._running: set[Job] = set()
        self._over = False

    def put(self, job: Job) -> None:
        """Run a job as soon as a thread is free for it."""
        with self._change:
            if self._over:
                raise RuntimeError(
                    "the interpreter is shutting down; await dolium's coroutines before its end"
                )
            self._jobs.append(job)
            if self._idle >= len(self._jobs) or len(self._threads) >= THREADS:
                self._change.notify()
                return
            thread = threading.Thread(target=self._work, name="dolium-aio", daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._change:
                self._threads.discard(thread)
                if not self._threads:
                    self._jobs.remove(job)
                    raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()
            with self._change:
                self._running.discard(job)
                if job.writes and self._jobs:  # another that writes may begin
                    self._change.notify()
            # What the job refers to is not kept until the next one comes.
            del job

    def _next(self) -> Job | None:
        with self._change:
            self._idle += 1
            end = time.monotonic() + IDLE
            while (job := self._first()) is None:
                if self._over or (not self._change.wait(end - time.monotonic()) and self._first() is None):
                    break
            self._idle -= 1
            if job is None:
                job = None if self._over else self._first()
            if job is None:
                self._threads.discard(threading.current_thread())
                return None
            self._jobs.remove(job)
            self._running.add(job)
            if self._jobs and self._idle:  # the call for that one may have reached this thread
                self._change.notify()
            return job

    def _first(self) -> Job | None:
        """The first job that may run now."""
        is_full = sum(job.writes for job in self._running) >= WRITERS
        return next((job for job in self._jobs if not (is_full and job.writes)), None)

    def _finish(self) -> None:
        with self._change:
            self._over = True
            self._jobs.clear()
            running = list(self._running)
            self._change.notify_all()
        for job in running:
            job.stop()
        deadline = time.monotonic() + PATIENCE_AT_EXIT
        while self._running and time.monotonic() < deadline:
            time.sleep(0.002)


class Lane:
    """The thread of the transactions of one task."""

    def __init__(self, task: Any) -> None:
        from queue import SimpleQueue  # rarely needed

        self.places: dict[str, Callable[[], None]] = {}
        """The directories that the task has a transaction of, and what lets others have one."""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        lanes[task] = self
        # A transaction does not outlive its task: the native module rolls back those of a thread that has ended. A task
        # of trio says so only when it is collected.
        self._when_done = partial(_close, weakref.ref(self))
        if hasattr(task, "add_done_callback"):
            task.add_done_callback(self._when_done)
        threading.Thread(target=_run_lane, args=(self._jobs,), name="dolium-transaction", daemon=True).start()

    def put(self, job: Job) -> None:
        """Run a job after those before it."""
        self._jobs.put(job)

    def close(self, task: Any) -> None:
        """End the thread."""
        if lanes.get(task) is self:
            del lanes[task]
        if hasattr(task, "remove_done_callback"):
            task.remove_done_callback(self._when_done)
        self._end()

    def leave(self, place: str, task: Any) -> None:
        """Let others have a transaction of a directory. The thread ends with the last one."""
        leave = self.places.pop(place, None)
        if leave is not None:
            leave()
        if not self.places:
            self.close(task)

    def _end(self) -> None:
        self._jobs.put(None)
        while self.places:
            self.places.popitem()[1]()

    def __del__(self) -> None:
        self._end()


def _close(lane: weakref.ref[Lane], task: Any) -> None:
    found = lane()
    if found is not None:
        found.close(task)


def _run_lane(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job


lanes: Final[weakref.WeakKeyDictionary[Any, Lane]] = weakref.WeakKeyDictionary()
"""The lanes of tasks that have transactions."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lanes.clear)

workers: Final = Workers()


def lane() -> Lane | None:
    """The lane of the calling task, if it has one."""
    if not lanes:
        return None
    loop = loops.running()
    return None if loop is None else lanes.get(loop.task())


def native_method(cache: object, name: str) -> Callable[..., Any] | None:
    """A private method of dolium's own caches; None for other classes, which may answer to any name."""
    return getattr(cache, name) if hasattr(type(cache), name) else None


def in_transaction(owner: object) -> bool:
    """Whether the caller is inside a transaction of a cache."""
    ask = native_method(owner, "_in_transaction")
    return ask is not None and (ask() or lane() is not None)


async def run(owner: object, how: How, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a call that may wait on another thread.

    It runs right here outside of event loops, and inside a `with` block of a transaction of `owner`: that belongs to
    this task and thread, and another thread would wait for it in vain.
    """
    loop = loops.running()
    if loop is None:
        return call(*args, **kwargs)
    own = lanes.get(loop.task()) if lanes else None
    if own is None and in_transaction(owner):
        return call(*args, **kwargs)
    return await run_on(own or workers, how, call, *args, **kwargs)


async def run_on(
    threads: Workers | Lane, how: How, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run a call on one of these threads."""
    job = Job(partial(call, *args, **kwargs), loops.current().bell(), how != "reads")
    threads.put(job)
    return await job.outcome(how == "ends")


async def off_loop(owner: object, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a call that writes, see :func:`run`."""
    return await run(owner, "writes", call, *args, **kwargs)
