"""Every way in which dolium answers otherwise than diskcache 5.6.3: the one table of them.

Each begins an entry of `docs/differences.md`, which `test_random_operations.py` checks.
A difference that is not in this table is a bug.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .oracle import Raised

BIG = 2**63


@dataclass(frozen=True)
class Call:
    """One call, and what each side answered: a value, or a `Raised`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    theirs: Any
    ours: Any


@dataclass(frozen=True)
class Difference:
    title: str
    """The first words of its entry in docs/differences.md."""
    applies: Callable[[Call], bool]


def is_raised(answer: Any, name: str) -> bool:
    return isinstance(answer, Raised) and name in answer.names


def nan_is_kept(call: Call) -> bool:
    """diskcache gives None for NaN, wherever it occurs in an answer; the values given were NaN."""

    def equal(theirs: Any, ours: Any) -> bool:
        if isinstance(ours, float) and math.isnan(ours):
            return theirs is None
        if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
            return all(map(equal, theirs, ours))
        return type(theirs) is type(ours) and theirs == ours

    return equal(call.theirs, call.ours)


def newlines_are_kept(call: Call) -> bool:
    """diskcache turns \\r\\n and \\r into \\n in text that it keeps in a file."""

    def equal(theirs: Any, ours: Any) -> bool:
        if isinstance(ours, str) and isinstance(theirs, str):
            return theirs in (ours, ours.replace("\r\n", "\n").replace("\r", "\n"))
        if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
            return all(map(equal, theirs, ours))
        return type(theirs) is type(ours) and theirs == ours

    return equal(call.theirs, call.ours)


def counts_past_64_bits(call: Call) -> bool:
    """diskcache raises OverflowError where dolium goes on counting."""
    return call.name in ("incr", "decr") and is_raised(call.theirs, "OverflowError")


def counts_from_the_start(call: Call) -> bool:
    """diskcache counts what is read after the first question."""
    if call.name != "stats":
        return False
    return all(theirs <= ours for theirs, ours in zip(call.theirs, call.ours, strict=True))


def keeps_its_place(call: Call) -> bool:
    """A write of another key removes an expired entry at once in diskcache, so the entry gets a new place."""
    if call.name not in ("__iter__", "__reversed__"):
        return False
    return call.theirs != call.ours and sorted(map(repr, call.theirs)) == sorted(map(repr, call.ours))


DIFFERENCES = [
    Difference("NaN comes back as NaN", nan_is_kept),
    Difference("Text comes back byte for byte", newlines_are_kept),
    Difference("`incr` and `decr` work on integers of any size", counts_past_64_bits),
    Difference("An entry that is written again after it has expired keeps its place", keeps_its_place),
    Difference("`stats()` without `enable` changes nothing", counts_from_the_start),
]


def known(call: Call) -> str | None:
    """The title of the difference that this call shows."""
    return next((difference.title for difference in DIFFERENCES if difference.applies(call)), None)
