"""How far a run is: counts of items, and an estimate from those that were computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Figures(NamedTuple):
    """How far a run is. An item is done when its result, or its failure, is there."""

    done: int
    total: int | None
    """How many items there are; None if the input does not say."""
    hits: int
    """Results that the cache had."""
    computed: int
    shared: int
    """Results that another caller computed meanwhile."""
    failed: int
    seconds: float
    """How long the run has lasted."""
    rate: float | None
    """Items that the workers compute in a second; None before the first."""

    @property
    def left(self) -> int | None:
        """Items that are not done."""
        return None if self.total is None else self.total - self.done

    @property
    def remaining(self) -> float | None:
        """The seconds that the rest takes if none of it is a hit; None if that is not known."""
        return None if self.left is None or not self.rate else self.left / self.rate

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        parts = {"hits": self.hits, "computed": self.computed, "shared": self.shared, "failed": self.failed}
        said = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
        return f"{self.done}{of} done" + (f": {said}" if said else "")

    def as_html(self) -> str:
        """A table with a bar, for notebooks."""
        rows = {"done": self.done, "hits": self.hits, "computed": self.computed, "shared": self.shared}
        rows["failed"] = self.failed
        head = "".join(f"<th>{name}</th>" for name in (*rows, "seconds"))
        cells = "".join(f"<td>{count:,}</td>" for count in rows.values())
        of = "" if self.total is None else f' max="{self.total}"'
        value = "" if self.total is None else f' value="{self.done}"'
        return (
            f"<table><tr>{head}</tr><tr>{cells}<td>{self.seconds:,.1f}</td></tr></table>"
            f"<progress{value}{of}></progress>"
        )


Progress = Callable[[Figures], object]


class Counter:
    """Counts the items of a run, and the time in which workers computed."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.hits = self.computed = self.shared = self.failed = 0
        self.out = 0
        """Items that workers have."""
        self._began: float | None = None
        self._ended: float | None = None
        self._busy = 0.0
        self._busy_since = 0.0

    @property
    def done(self) -> int:
        return self.hits + self.computed + self.shared + self.failed

    def begin(self) -> None:
        self._began = self._began or time.monotonic()

    def end(self) -> None:
        self._ended = self._ended or time.monotonic()

    def give(self) -> None:
        if not self.out:
            self._busy_since = time.monotonic()
        self.out += 1

    def take_back(self) -> None:
        self.out -= 1
        if not self.out:
            self._busy += time.monotonic() - self._busy_since

    def figures(self) -> Figures:
        now = self._ended or time.monotonic()
        busy = self._busy + (now - self._busy_since if self.out else 0.0)
        rate = self.computed / busy if self.computed and busy > 0 else None
        seconds = 0.0 if self._began is None else now - self._began
        return Figures(
            self.done, self.total, self.hits, self.computed, self.shared, self.failed, seconds, rate
        )
