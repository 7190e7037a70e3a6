"""Asks the clock of a test for the time. The native module calls this only if there is such a clock."""

from __future__ import annotations

from collections.abc import Callable

DEPTH = 8
"""More frames than freezegun looks at."""


def ask(clock: Callable[[], float], depth: int = DEPTH) -> float:
    """The time of `clock`, in every thread.

    freezegun gives the real time to code that a module on its list of exceptions has called, and `threading` is on that
    list. Without enough frames in between, a thread would therefore see another time than the test.
    """
    return ask(clock, depth - 1) if depth else clock()
