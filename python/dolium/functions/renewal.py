"""Renewing one result in the background: for all processes, one caller computes."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from .._dolium import Flight
from ..constants import MISS
from ..workers import off_loop
from .background import renewals
from .calls import Timer, mark
from .flight import aboard_only
from .modes import MODE, NORMAL
from .results import Known

if TYPE_CHECKING:
    from .cached import Computation

__all__ = ["is_early", "renew"]


def is_early(known: Known, early: float, now: float) -> bool:
    """Whether chance renews a result that is still fresh: the likelier, the longer it took and the older it is."""
    if known.fresh_until is None:
        return False
    # 1 - random() is never zero, of which there is no logarithm.
    lead = -known.seconds * early * math.log(1.0 - random.random())
    return lead >= known.fresh_until - now


def renew(wrapper: Any, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Compute a result in the background, unless another caller of any process does so."""
    calls = wrapper._calls
    if MODE.get() is not NORMAL:
        return
    name = mark(key)
    with calls.counting:
        if name in calls.renewing:
            return
        calls.renewing.add(name)
    is_started = False
    try:
        is_started = _start(wrapper, name, key, args, kwargs)
    finally:
        if not is_started:
            calls.renewing.discard(name)


def _start(wrapper: Any, name: bytes, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if not getattr(wrapper, "is_async", False):
        return renewals.start(_renew, wrapper, name, key, args, kwargs)
    from .asynchronous import loop_of_caller, tasks

    loop = loop_of_caller()
    if loop is None:
        return False
    task = loop.create_task(_renew_async(wrapper, name, key, args, kwargs))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return True


def _begin(wrapper: Any, key: Any) -> Flight | None:
    """The flight of a key, if this caller computes it."""
    calls = wrapper._calls
    flight = calls.place._flight(key, (), False)
    if flight is None:
        return None
    if not isinstance(flight, Flight):
        # Another renews.
        flight.leave()
        return None
    return flight


def _is_renewed(wrapper: Any, key: Any) -> bool:
    """Whether another caller renewed the result since this one found it stale."""
    calls = wrapper._calls
    known = calls.results.known(key)
    return known is not None and known.lasts(0) and not calls.early


def _renew(wrapper: Any, name: bytes, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    from .cached import Computation

    calls = wrapper._calls
    try:
        flight = _begin(wrapper, key)
        if flight is None:
            return
        timer, how = Timer(), "left"
        try:
            if not _is_renewed(wrapper, key):
                computation: Computation = Computation(wrapper, key, args, kwargs)
                with aboard_only(flight):
                    value = computation.compute()
                kept = renewals.unless_over(computation.store, value)
                how = "unkept" if kept is MISS else "kept"
        except Exception as error:
            calls.put_off(key, error, timer.seconds)
        finally:
            flight.end(how)
    finally:
        calls.renewing.discard(name)


async def _renew_async(
    wrapper: Any, name: bytes, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    from .asynchronous import AsyncComputation

    calls = wrapper._calls
    try:
        flight = _begin(wrapper, key)
        if flight is None:
            return
        timer, how = Timer(), "left"
        try:
            if not _is_renewed(wrapper, key):
                computation = AsyncComputation(wrapper, key, args, kwargs)
                with aboard_only(flight):
                    value = await computation.compute_async()
                kept = await off_loop(calls.place, computation.store, value)
                how = "unkept" if kept is MISS else "kept"
        except Exception as error:
            calls.put_off(key, error, timer.seconds)
        finally:
            flight.end(how)
    finally:
        calls.renewing.discard(name)
