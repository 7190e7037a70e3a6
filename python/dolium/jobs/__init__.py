"""Long jobs: `f.map` on wrapped functions. It drives the function and adds nothing to what the cache stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .figures import Figures, Progress
from .outcome import Failure
from .run import Run

__all__ = ["Failure", "Figures", "Run", "map_calls"]


def map_calls(
    target: Any,
    iterables: tuple[Iterable[Any], ...],
    common: Mapping[str, Any],
    workers: Any,
    ordered: bool,
    errors: str,
    progress: bool | Progress,
) -> Any:
    """The run of a wrapped function, or of a bound one, over the arguments that the iterables give.

    Raises:
        TypeError: There is no iterable, or an option is of no type that fits.
        ValueError: An option has a value that makes no sense.
    """
    from ..functions.wrapper import Bound
    from .schedule import Schedule
    from .shipment import Shipment

    if not iterables:
        raise TypeError("map: there is nothing to map over; pass an iterable for each positional argument")
    if errors not in ("raise", "collect"):
        raise ValueError(f"map: errors={errors!r} is neither 'raise' nor 'collect'")
    bound: Any = target
    wrapper = bound._wrapper if isinstance(target, Bound) else target
    is_async = bool(getattr(wrapper, "is_async", False))
    width = _width(workers, is_async)
    if wrapper._calls.place._in_transaction():
        raise RuntimeError(
            f"{wrapper._calls.name}: map runs inside a transaction of its cache, which lets no worker store a result; "
            "call map outside of the transaction"
        )
    shipment = Shipment(target, dict(common))
    schedule = Schedule(shipment, iterables, width, ordered, errors == "collect", progress)
    if is_async:
        from .async_run import AsyncRun

        tasks: AsyncRun[Any] = AsyncRun(schedule)
        return tasks
    run: Run[Any] = Run(schedule, None if workers is None or isinstance(workers, int) else workers)
    return run


ASYNC_WIDTH = 16
"""Tasks at a time, unless the caller says how many."""


def _width(workers: Any, is_async: bool) -> int:
    """How many items are computed at a time."""
    import os

    processors = len(os.sched_getaffinity(0))
    if workers is None:
        return ASYNC_WIDTH if is_async else processors
    if isinstance(workers, int) and not isinstance(workers, bool):
        if workers < 1:
            raise ValueError(f"map: workers={workers} computes nothing; pass 1 or more, or an executor")
        return workers
    if is_async or not callable(getattr(workers, "submit", None)):
        wanted = "a number of tasks" if is_async else "a number of processes, or an executor"
        raise TypeError(f"map: workers={workers!r} is not {wanted}")
    known = getattr(workers, "_max_workers", None)
    return known if isinstance(known, int) and known > 0 else processors
