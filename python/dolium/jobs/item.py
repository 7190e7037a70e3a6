"""One item of the input of a run, from the moment when it is read to the moment when its result is handed out."""

from __future__ import annotations

from typing import Any


class Item:
    """The arguments of one call."""

    __slots__ = ("args", "is_done", "is_patient", "key", "kind", "known", "outcome", "ran", "sends", "tries")

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args
        self.key: Any = None
        self.known: Any = None
        """An older result, which may stand in for one that fails."""
        self.is_done = False
        self.kind = ""
        self.outcome: Any = None
        self.is_patient = False
        """Whether a worker waits if another caller computes it."""
        self.sends = False
        """Whether the worker sends the result even if the cache has it."""
        self.ran = False
        """Whether a worker of this run computed it, and no other caller."""
        self.tries = 0
        """Workers that died of it."""

    @property
    def shown(self) -> Any:
        """What the user knows it by."""
        return self.args[0] if len(self.args) == 1 else self.args

    def end(self, kind: str, outcome: Any) -> None:
        self.is_done, self.kind, self.outcome = True, kind, outcome
