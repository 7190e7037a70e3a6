"""How long the result of a call is used: :class:`Term`, and what may stand for one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

__all__ = ["FOREVER", "Lifetime", "Term", "term"]


def _seconds(value: object, name: str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, (int, float)):
        raise TypeError(f"Term: {name} is {value!r}; pass a number of seconds or a timedelta")
    if math.isnan(value):
        raise ValueError(f"Term: {name} is not a number; pass a number of seconds or a timedelta")
    return float(value)


@dataclass(frozen=True, slots=True, init=False)
class Term:
    """How long a result is used, in seconds or as `timedelta`.

    >>> Term(timedelta(days=1), stale=3600)
    Term(fresh=86400.0, stale=3600.0, on_error=0.0, early=0.0)
    """

    fresh: float
    """So long a call returns it without doing anything else."""
    stale: float
    """For so much longer a call returns it, and one caller of all processes starts to renew it in the background."""
    on_error: float
    """For so much longer a call returns it if the function raises an `Exception`."""
    early: float
    """How readily it is renewed before its time, by chance; 1 suits most functions, 0 turns it off."""

    def __init__(
        self,
        fresh: float | timedelta,
        *,
        stale: float | timedelta = 0,
        on_error: float | timedelta = 0,
        early: float = 0,
    ) -> None:
        for name, value in (("fresh", fresh), ("stale", stale), ("on_error", on_error), ("early", early)):
            seconds = _seconds(value, name)
            if seconds < 0 and name != "fresh":
                raise ValueError(f"Term: {name} is {seconds:g} seconds; pass zero or more")
            object.__setattr__(self, name, seconds)

    @property
    def kept(self) -> float | None:
        """How long the cache keeps the result; None is for ever."""
        seconds = self.fresh + max(self.stale, self.on_error)
        return None if math.isinf(seconds) else seconds

    @property
    def says_fresh(self) -> bool:
        """Whether a result is kept longer than it is fresh, or renewed before, so that it has to say when."""
        return math.isfinite(self.fresh) and bool(self.stale or self.on_error or self.early)


Lifetime = float | timedelta | Term | None
"""A time in seconds, a :class:`Term`, or None for ever. Zero or less keeps nothing."""

FOREVER: Final = Term(math.inf)


def term(lifetime: Lifetime) -> Term:
    """The term that a lifetime means.

    >>> term(None) is FOREVER, term(60).fresh
    (True, 60.0)

    Raises:
        TypeError: it is no lifetime.
    """
    if lifetime is None:
        return FOREVER
    return lifetime if isinstance(lifetime, Term) else Term(lifetime)
