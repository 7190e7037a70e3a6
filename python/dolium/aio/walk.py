"""Iteration with ``async for``: :class:`AsyncWalk`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .. import workers

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

BATCH: Final = 256
"""Items that one call to another thread brings."""


class AsyncWalk(Generic[T]):
    """The keys or items of a cache, for ``async for``. It looks them up in batches, on another thread."""

    __slots__ = ("_make", "_owner", "_ready", "_source")

    def __init__(self, owner: Any, make: Callable[[], Iterable[T]]) -> None:
        self._owner = owner
        self._make = make
        self._source: Iterator[T] | None = None
        self._ready: deque[T] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._ready:
            self._ready.extend(await workers.run(self._owner, "reads", self._next_batch))
            if not self._ready:
                raise StopAsyncIteration
        return self._ready.popleft()

    def _next_batch(self) -> list[T]:
        if self._source is None:
            self._source = iter(self._make())
        return list(islice(self._source, BATCH))
