"""How a face calls its object: on another thread, except where the hot tier answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from .. import loops, workers
from .._dolium import Store
from . import gate

P = ParamSpec("P")
R = TypeVar("R")

INLINE: Final = ("get", "get_many", "set", "incr", "decr", "delete", "__contains__", "__getitem__")
"""The operations that the hot tier may do alone."""

BREATH: Final = 1024
"""Answers of the hot tier after which the other tasks of a loop get a turn: less than a millisecond of them."""

_answers = itertools.count(1).__next__
_native: dict[type, bool] = {}


def is_native(kind: type) -> bool:
    """Whether a class has these operations from the native module. Those of a subclass may do anything."""
    known = _native.get(kind)
    if known is None:
        own = (getattr(kind, name, None) is getattr(Store, name) for name in INLINE)
        known = _native[kind] = all(own)
    return known


class Caller:
    """What faces have in common: the object, and how it is called."""

    __slots__ = ("_is_native", "_owner", "_place")

    _owner: Any
    _place: str
    _is_native: bool

    def _set_owner(self, owner: Any, place: str) -> None:
        self._owner = owner
        self._place = place
        self._is_native = is_native(owner.__class__)

    def _may_try(self) -> bool:
        """Whether the hot tier may answer. Not inside a transaction: that belongs to another thread."""
        return self._is_native and not (workers.lanes and workers.lane() is not None)

    async def _breathe(self) -> None:
        """Let the other tasks run once in a while. An answer of the hot tier alone does not."""
        if not _answers() % BREATH:
            await loops.current().sleep(0)

    async def _read(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await workers.run(self._owner, "reads", call, *args, **kwargs)

    async def _write(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if gate.any_held():
            await gate.wait_while_held(self._owner, self._place)
        return await workers.run(self._owner, "writes", call, *args, **kwargs)

    async def _end(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await workers.run(self._owner, "ends", call, *args, **kwargs)
