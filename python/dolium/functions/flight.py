"""Flights: one caller computes a key, and others that miss it meanwhile wait for its result.

:func:`run` is for functions and :func:`run_async` for coroutine functions. Both are called after a miss. Their caller
decides what is computed and how it is kept; these functions decide which caller computes. The native module keeps the
flights, so that threads, event loops and programs in Rust share them.

A context variable tells inside which flights code runs, so a computation that meets its own key, in its own thread or
task or in a task that it started, computes instead of waiting for itself.
"""

from __future__ import annotations

import contextlib
import sys
import time
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar, cast

from .._dolium import Flight, Waiter, join_flight, new_flight_space
from ..constants import MISS
from ..disk import canonical
from ..greenlets import let_greenlets_run, may_share_thread
from ..workers import in_transaction, off_loop

if TYPE_CHECKING:
    import asyncio

    class Place(Protocol):
        """Where flights are shared: a `Cache` or `FanoutCache`, or a :class:`ProcessPlace`."""

        def _flight(
            self, key: Any, aboard: tuple[int, ...], blocks: bool, after: Waiter | None = None, /
        ) -> Flight | Waiter | None: ...


R = TypeVar("R")
P = ParamSpec("P")

Ending = str | BaseException | None
"""How a flight ended: "kept", "unkept", "left", what it raised, or None while it goes on."""

_aboard: Final[ContextVar[tuple[int, ...]]] = ContextVar("dolium_flights", default=())


class ProcessPlace:
    """Flights among the threads and tasks of this process that have this object."""

    def __init__(self) -> None:
        self._space = new_flight_space()

    def __reduce__(self) -> tuple[Any, ...]:
        # What goes on in this process does not go along when a memoized function is sent to another.
        return (ProcessPlace, ())

    def _flight(
        self, key: Any, aboard: tuple[int, ...], blocks: bool, after: Waiter | None = None, /
    ) -> Flight | Waiter | None:
        mark = fingerprint(key)
        return None if mark is None else join_flight(self._space, mark, aboard, blocks, after)


def fingerprint(key: object) -> bytes | None:
    """Bytes that are equal only for keys that a cache takes for equal; None if there are none.

    Python's own equality will not do: ``1``, ``1.0`` and ``True`` are three keys, and keys need
    not be hashable.
    """
    try:
        return canonical(key, 5)
    except Exception:  # whatever the key's own code raises
        return None


def run(
    place: Place,
    key: Any,
    look: Callable[[], Any],
    compute: Callable[[], R],
    store: Callable[[R], Any],
    wait: float | None = None,
    *,
    stale: Any = MISS,
) -> Any:
    """The value of a key that is missing: from `compute`, run by this caller or by another that began before.

    :param place: the cache
    :param look: the value that is stored, or :data:`MISS`
    :param compute: makes the value
    :param store: keeps it unless there is one already; returns what a hit returns, or :data:`MISS` if it is not kept
    :param wait: seconds to wait for another's result; None: while its owner lives; 0: no flight
    :param stale: what to return instead of waiting
    """
    if not may_fly(place, wait):
        return _kept(store, compute())
    end = None if wait is None else time.monotonic() + wait
    after: Waiter | None = None
    while True:
        joined = place._flight(key, _aboard.get(), not may_share_thread(), after)  # pyright: ignore[reportPrivateUsage]
        if joined is None:
            break
        if isinstance(joined, Flight):
            return _lead(joined, look, compute, store)
        try:
            ended = None if stale is not MISS else _await(joined, end)
        finally:
            joined.leave()
        if stale is not MISS:
            return stale
        value = look()
        if value is not MISS:
            return value
        if isinstance(ended, BaseException):
            raise own(ended)
        if ended is None or ended == "unkept":
            break
        after = joined
    return _kept(store, compute())


def may_fly(place: object, wait: float | None) -> bool:
    """Whether a caller may wait: not inside a transaction of the cache, because the owner could not store."""
    return (wait is None or wait > 0) and not in_transaction(place)


def own(error: BaseException) -> BaseException:
    """An exception like `error`, with a traceback of its own, because several threads raise it."""
    from copy import copy

    for make in (copy, _made_again):
        try:
            made = make(error)
        except Exception:  # not every class can be made in this way
            continue
        if type(made) is type(error) and made.args == error.args:
            made.__cause__, made.__context__ = error.__cause__, error.__context__
            made.__suppress_context__ = error.__suppress_context__
            return made.with_traceback(error.__traceback__)
    return error


def _made_again(error: BaseException) -> BaseException:
    """Without the class's `__init__`, which may want other arguments than it hands on."""
    made = type(error).__new__(type(error), *error.args)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    return made


def _kept(store: Callable[[R], Any], value: R) -> Any:
    kept = store(value)
    return value if kept is MISS else kept


def _lead(
    flight: Flight, look: Callable[[], Any], compute: Callable[[], R], store: Callable[[R], Any]
) -> Any:
    how: str | BaseException = "left"
    token = _aboard.set((*_aboard.get(), flight.number))
    try:
        value = look()
        if value is not MISS:  # another has stored it since the caller looked
            how = "kept"
            return value
        value = compute()
        kept = store(value)
        how = "unkept" if kept is MISS else "kept"
        return value if kept is MISS else kept
    except Exception as error:
        how = own(error)  # now, before the traceback grows by frames of this thread
        raise
    finally:
        _aboard.reset(token)
        flight.end(how)
        how = ""  # the exception's traceback has this frame


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def _await(waiter: Waiter, end: float | None) -> Ending:
    if may_share_thread():
        pause = 0.0005
        while (ended := waiter.ended()) is None and _left(end) != 0 and let_greenlets_run(pause):
            pause = min(pause * 2, 0.016)
        if ended is not None:
            return ended
    return waiter.wait(_left(end))


@contextlib.contextmanager
def aboard(flight: Flight | None) -> Generator[None, None, None]:
    """A block in which code runs for this flight, too: one that meets its key computes."""
    token = _aboard.set(_aboard.get() if flight is None else (*_aboard.get(), flight.number))
    try:
        yield
    finally:
        _aboard.reset(token)


def board(
    place: Place, key: Any, look: Callable[[], Any], wait: float | None = None
) -> tuple[Any, Flight | None]:
    """The value of a key that is missing, after another has computed it; or :data:`MISS`, and the caller computes.

    For computations that are no call: the caller ends the flight that it is given, if any.
    """
    if not may_fly(place, wait):
        return MISS, None
    end = None if wait is None else time.monotonic() + wait
    after: Waiter | None = None
    while True:
        joined = place._flight(key, _aboard.get(), not may_share_thread(), after)  # pyright: ignore[reportPrivateUsage]
        if joined is None:
            return MISS, None
        if isinstance(joined, Flight):
            return _looked(joined, look)
        try:
            ended = _await(joined, end)
        finally:
            joined.leave()
        value = look()
        if value is not MISS:
            return value, None
        if isinstance(ended, BaseException):
            raise own(ended)
        if ended is None or ended == "unkept":
            return MISS, None
        after = joined


def _looked(flight: Flight, look: Callable[[], Any]) -> tuple[Any, Flight | None]:
    """Look again, after the flight has begun: another may have stored the value since the caller looked."""
    try:
        value = look()
    except BaseException:
        flight.end("left")
        raise
    if value is MISS:
        return MISS, flight
    flight.end("kept")
    return value, None


@contextlib.contextmanager
def aboard_only(flight: Flight) -> Generator[None, None, None]:
    """A block in which code runs for this flight alone, and for none of those of the caller that started it."""
    token = _aboard.set((flight.number,))
    try:
        yield
    finally:
        _aboard.reset(token)


# Tasks


Look = Callable[[], Any]


async def _seen(look: Look) -> Any:
    value = look()
    return await cast("Coroutine[Any, Any, Any]", value) if isinstance(value, CoroutineType) else value


class _Landing:
    """What a task has computed, for the caller that started it."""

    def __init__(self) -> None:
        self.value: Any = MISS
        self.error: BaseException | None = None


_tasks: set[asyncio.Task[None]] = set()
"""Computations: a loop keeps only weak references to its tasks."""


async def run_async(
    place: Place,
    key: Any,
    look: Look,
    compute: Callable[[], Coroutine[Any, Any, R]],
    store: Callable[[R], Any],
    wait: float | None = None,
    *,
    stale: Any = MISS,
) -> Any:
    """The same for a coroutine function.

    It is computed in a task of its own: a caller that is cancelled leaves, and the task is cancelled when none is left
    of this process. `look` is called on the loop's thread, and may return a coroutine. `store` is called on another
    thread. Under event loops other than asyncio's there are no flights.
    """
    loop = _running_loop()
    if loop is None or not may_fly(place, wait):
        return await _kept_async(place, store, await compute())
    end = None if wait is None else time.monotonic() + wait
    after: Waiter | None = None
    while True:
        joined = place._flight(key, _aboard.get(), False, after)  # pyright: ignore[reportPrivateUsage]
        if joined is None:
            break
        if isinstance(joined, Flight):
            return await _launch(loop, place, joined, look, compute, store)
        try:
            ended = None if stale is not MISS else await _await_async(loop, joined, end)
        finally:
            joined.leave()
        if stale is not MISS:
            return stale
        value = await _seen(look)
        if value is not MISS:
            return value
        if isinstance(ended, BaseException):
            raise own(ended)
        if ended is None or ended == "unkept":
            break
        after = joined
    return await _kept_async(place, store, await compute())


async def _launch(
    loop: asyncio.AbstractEventLoop,
    place: Place,
    flight: Flight,
    look: Look,
    compute: Callable[[], Coroutine[Any, Any, R]],
    store: Callable[[R], Any],
) -> Any:
    """Compute in a task of its own, for as long as a caller waits."""
    import asyncio

    landing = _Landing()
    aboard = _aboard.get()
    waiter = flight.join(aboard)
    assert waiter is not None, "the flight has just begun"
    token = _aboard.set((*aboard, flight.number))
    try:
        # A task has the context of its maker.
        task = loop.create_task(_lead_async(flight, place, landing, look, compute, store))
    finally:
        _aboard.reset(token)
    _tasks.add(task)
    task.add_done_callback(_forget)
    flight.on_desertion(_Cancel(task))
    try:
        await _await_async(loop, waiter, None)
    finally:
        waiter.leave()
    if landing.error is not None:
        raise own(landing.error)
    if landing.value is MISS:
        raise asyncio.CancelledError
    return landing.value


async def _lead_async(
    flight: Flight,
    place: Place,
    landing: _Landing,
    look: Look,
    compute: Callable[[], Coroutine[Any, Any, R]],
    store: Callable[[R], Any],
) -> None:
    how: str | BaseException = "left"
    try:
        value = await _seen(look)
        if value is MISS:
            value = await compute()
            kept = await off_loop(place, store, value)
            how = "unkept" if kept is MISS else "kept"
            landing.value = value if kept is MISS else kept
        else:
            how = "kept"
            landing.value = value
    except Exception as error:
        # Those who wait raise it; for the task it is no failure.
        landing.error = how = own(error)
    finally:
        flight.end(how)
        how = ""


class _Cancel:
    """Cancels a task from whatever thread. It does not keep the task alive."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = weakref.ref(task)

    def __call__(self) -> None:
        task = self._task()
        if task is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed, and the task with it
                task.get_loop().call_soon_threadsafe(task.cancel)


def _forget(task: asyncio.Task[None]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # one that ends the program, which the loop has raised already


async def _await_async(loop: asyncio.AbstractEventLoop, waiter: Waiter, end: float | None) -> Ending:
    import asyncio

    called = loop.create_future()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_set, called)

    waiter.call(wake)
    times = [time for time in (_left(end), waiter.limit) if time is not None]
    if times:
        await asyncio.wait([called], timeout=min(times))
    else:
        await called
    return waiter.ended()


async def board_async(
    place: Place, key: Any, look: Callable[[], Any], wait: float | None = None
) -> tuple[Any, Flight | None]:
    """The same as :func:`board`, for tasks."""
    loop = _running_loop()
    if loop is None or not may_fly(place, wait):
        return MISS, None
    end = None if wait is None else time.monotonic() + wait
    after: Waiter | None = None
    while True:
        joined = place._flight(key, _aboard.get(), False, after)  # pyright: ignore[reportPrivateUsage]
        if joined is None:
            return MISS, None
        if isinstance(joined, Flight):
            return _looked(joined, look)
        try:
            ended = await _await_async(loop, joined, end)
        finally:
            joined.leave()
        value = look()
        if value is not MISS:
            return value, None
        if isinstance(ended, BaseException):
            raise own(ended)
        if ended is None or ended == "unkept":
            return MISS, None
        after = joined


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _kept_async(place: object, store: Callable[[R], Any], value: R) -> Any:
    kept = await off_loop(place, store, value)
    return value if kept is MISS else kept


def _running_loop() -> asyncio.AbstractEventLoop | None:
    # Half the time of `import dolium`, if it were imported here: a program without it runs no loop of its.
    module: Any = sys.modules.get("asyncio")
    try:
        return cast("asyncio.AbstractEventLoop", module.get_running_loop()) if module else None
    except RuntimeError:
        return None
