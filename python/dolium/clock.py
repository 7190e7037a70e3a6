"""How the clock of a test is asked for the time. The native module calls this, and only where there is such a clock."""

from __future__ import annotations

from collections.abc import Callable

DEPTH = 8
"""More frames than freezegun looks at."""


def ask(clock: Callable[[], float], depth: int = DEPTH) -> float:
    """The time of `clock`, in every thread.

    freezegun answers the real time to code that a module on its list of exceptions has called, and `threading` is on
    that list. So a thread would see another time than the test, unless enough frames lie between.
    """
    return ask(clock, depth - 1) if depth else clock()
