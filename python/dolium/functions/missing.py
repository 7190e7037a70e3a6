"""What `get_or_set` does with a key that is missing: one caller computes the value, and exceptions may be answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..constants import MISS
from ..names import warn_unstored
from .calls import Timer
from .failures import Errors, Failures
from .flight import run
from .results import Known, keep

__all__ = ["value_of"]

R = TypeVar("R")


def value_of(
    cache: Any,
    key: Any,
    function: Callable[[], R],
    look: Callable[[], Any],
    store: Callable[[R], Any],
    errors: Errors,
    tag: Any = None,
    wait: float | None = None,
) -> Any:
    """The value of a key, from `function` or from another caller that began before.

    `look` and `store` are those of :func:`.flight.run`. An exception that the cache keeps under the key is raised.
    """
    failures = Failures(errors)

    def outcome() -> Any:
        value = look()
        if value is MISS:
            raise_stored(cache, key)
        return value

    def compute() -> R:
        timer = Timer()
        try:
            return function()
        except Exception as error:
            store_error(cache, key, function, error, failures, tag, timer)
            raise

    raise_stored(cache, key)
    return run(cache, key, outcome, compute, store, wait)


def raise_stored(cache: Any, key: Any) -> None:
    """Raise the exception that the cache keeps under a key, if there is one."""
    try:
        found = cache._known_result(key)
    except Exception:  # its class is gone, say: a miss
        return
    if found is not None and (known := Known(*found)).raised and known.lasts(0):
        raise known.value


def store_error(
    cache: Any,
    key: Any,
    function: Callable[..., Any],
    error: Exception,
    failures: Failures,
    tag: Any,
    timer: Timer,
) -> None:
    """Keep what the function raised if such exceptions are answers."""
    term = failures.kept_term(error)
    if term is None or cache._read_only:
        return
    try:
        keep(cache, key, error, term, timer.seconds, tag, since=timer.since, raised=True)
    except Exception as problem:
        warn_unstored(cache, function, error, problem)
