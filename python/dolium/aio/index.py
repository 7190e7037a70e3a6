"""The asynchronous face of an index: :class:`AsyncIndex`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal

from ..constants import ENOVAL, MISS
from ..persistent.index import Index, K, V
from .calls import Caller
from .transaction import AsyncTransaction
from .walk import AsyncWalk

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_UNANSWERED: Any = object()


class AsyncIndex(Caller, Generic[K, V]):
    """An :class:`~dolium.Index` whose operations are awaited. The attribute `aio` of an index is such a face of it.

    >>> import asyncio, dolium
    >>> index = dolium.Index(a=1, b=2).aio
    >>> async def main():
    ...     await index.set("c", 3)
    ...     return await index["a"], await index.popitem(), [item async for item in index.items()]
    >>> asyncio.run(main())
    (1, ('c', 3), [('a', 1), ('b', 2)])
    """

    __slots__ = ("_index", "_store")

    def __init__(self, index: Index[K, V]) -> None:
        self._set_owner(index.cache, index.directory)
        self._index = index
        # The object that raises where the cache reports a miss.
        self._store: Any = index._store  # pyright: ignore[reportPrivateUsage]

    def __repr__(self) -> str:
        return f"{self._index!r}.aio"

    @property
    def sync(self) -> Index[K, V]:
        """The index itself, whose operations hold up the event loop."""
        return self._index

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return self._index.directory

    @property
    def memoize(self):
        """The decorator :meth:`Index.memoize`, for functions and coroutine functions."""
        return self._index.memoize

    def transact(self) -> AsyncTransaction:
        """A transaction for ``async with``, see :meth:`AsyncCache.transact`. It waits without a limit."""

        def make() -> AbstractContextManager[Any]:
            return self._index.transact()

        return AsyncTransaction(self._owner, self._place, make, None)

    # One item

    async def get(self, key: K, default: Any = None) -> Any:
        """As :meth:`Index.get`."""
        if self._may_try():
            value = self._store._try_get(key, _UNANSWERED, default)
            if value is not _UNANSWERED:
                await self._breathe()
                return value
        return await self._read(self._index.get, key, default)

    def __getitem__(self, key: K) -> Coroutine[Any, Any, V]:
        """``await index[key]``: the value, or KeyError."""
        return self._item(key)

    async def _item(self, key: K) -> V:
        value = await self.get(key, MISS)
        if value is MISS:
            raise KeyError(key)
        return value

    async def contains(self, key: object) -> bool:
        """Whether the key is there: ``key in index``."""
        return await self._read(self._index.__contains__, key)

    async def set(self, key: K, value: V) -> None:
        """Set the value of a key: ``index[key] = value``."""
        if self._may_try() and self._store._codec is None and self._store._try_set(key, value):
            await self._breathe()
        else:
            await self._write(self._index.__setitem__, key, value)

    async def delete(self, key: K) -> None:
        """Remove a key, or raise KeyError: ``del index[key]``."""
        await self._write(self._index.__delitem__, key)

    async def setdefault(self, key: K, default: Any = None) -> Any:
        """As :meth:`Index.setdefault`."""
        return await self._write(self._index.setdefault, key, default)

    async def pop(self, key: K, default: Any = ENOVAL) -> Any:
        """As :meth:`Index.pop`. Where a cancelled task must not lose the value, pop it inside `transact`."""
        return await self._write(self._index.pop, key, default)

    async def peekitem(self, last: bool = True) -> tuple[K, V]:
        """As :meth:`Index.peekitem`."""
        return await self._write(self._index.peekitem, last)

    async def popitem(self, last: bool = True) -> tuple[K, V]:
        """As :meth:`Index.popitem`. Where a cancelled task must not lose the item, pop it inside `transact`."""
        return await self._write(self._index.popitem, last)

    # Queues

    async def push(self, value: V, prefix: str | None = None, side: Literal["front", "back"] = "back") -> Any:
        """As :meth:`Index.push`."""
        return await self._write(self._index.push, value, prefix, side)

    async def pull(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: Literal["front", "back"] = "front",
    ) -> Any:
        """As :meth:`Index.pull`. Where a cancelled task must not lose the item, pull it inside `transact`."""
        return await self._write(self._index.pull, prefix, default, side)

    # All items

    async def len(self) -> int:
        """The number of items: ``len(index)``."""
        return await self._read(self._index.__len__)

    def __aiter__(self) -> AsyncIterator[K]:
        return self.keys()

    def __reversed__(self) -> AsyncIterator[K]:
        return AsyncWalk(self._owner, self._index.__reversed__)

    def keys(self) -> AsyncWalk[K]:
        """The keys in order of insertion, for ``async for``."""
        return AsyncWalk(self._owner, self._index.__iter__)

    def values(self) -> AsyncWalk[V]:
        """The values in order of insertion, for ``async for``."""
        return AsyncWalk(self._owner, self._index.values)

    def items(self) -> AsyncWalk[tuple[K, V]]:
        """The items in order of insertion, for ``async for``."""
        return AsyncWalk(self._owner, self._index.items)

    async def update(self, other: Any = (), /, **kwargs: Any) -> None:
        """As :meth:`Index.update`."""
        await self._write(self._index.update, other, **kwargs)

    async def clear(self) -> None:
        """As :meth:`Index.clear`."""
        await self._write(self._index.clear)
