"""The asynchronous face of a deque: :class:`AsyncDeque`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, overload

from ..persistent.deque import Deque, T
from .calls import Caller
from .transaction import AsyncTransaction
from .walk import AsyncWalk

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class AsyncDeque(Caller, Generic[T]):
    """A :class:`~dolium.Deque` whose operations are awaited. The attribute `aio` of a deque is such a face of it.

    >>> import asyncio, dolium
    >>> deque = dolium.Deque("abc").aio
    >>> async def main():
    ...     await deque.append("d")
    ...     return await deque[0], await deque.pop(), await deque.len(), [value async for value in deque]
    >>> asyncio.run(main())
    ('a', 'd', 3, ['a', 'b', 'c'])
    """

    __slots__ = ("_any", "_deque")

    def __init__(self, deque: Deque[T]) -> None:
        self._set_owner(deque.cache, deque.directory)
        self._deque = deque
        self._any: Any = deque  # whose overloads do not take an index that may be a slice

    def __repr__(self) -> str:
        return f"{self._deque!r}.aio"

    @property
    def sync(self) -> Deque[T]:
        """The deque itself, whose operations hold up the event loop."""
        return self._deque

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return self._deque.directory

    @property
    def maxlen(self) -> float:
        """The greatest length, infinity if there is none."""
        return self._deque.maxlen

    async def set_maxlen(self, value: float | None) -> None:
        """Set :attr:`Deque.maxlen`; shortening it drops values at the front."""
        await self._write(setattr, self._deque, "maxlen", value)

    def transact(self) -> AsyncTransaction:
        """A transaction for ``async with``, see :meth:`AsyncCache.transact`. It waits without a limit."""

        def make() -> AbstractContextManager[Any]:
            return self._deque.transact()

        return AsyncTransaction(self._owner, self._place, make, None)

    # Reading

    async def len(self) -> int:
        """The number of values: ``len(deque)``."""
        return await self._read(self._deque.__len__)

    @overload
    def __getitem__(self, index: int) -> Coroutine[Any, Any, T]: ...
    @overload
    def __getitem__(self, index: slice) -> Coroutine[Any, Any, list[T]]: ...
    def __getitem__(self, index: int | slice) -> Coroutine[Any, Any, Any]:
        """``await deque[index]``: the value at a position, or the values of a slice as a list."""
        return self._write(self._any.__getitem__, index)

    def __aiter__(self) -> AsyncIterator[T]:
        return AsyncWalk(self._owner, self._deque.__iter__)

    def __reversed__(self) -> AsyncIterator[T]:
        return AsyncWalk(self._owner, self._deque.__reversed__)

    async def contains(self, value: T) -> bool:
        """Whether a value is there: ``value in deque``."""
        return await self._read(self._deque.__contains__, value)

    async def peek(self) -> T:
        """As :meth:`Deque.peek`."""
        return await self._write(self._deque.peek)

    async def peekleft(self) -> T:
        """As :meth:`Deque.peekleft`."""
        return await self._write(self._deque.peekleft)

    async def count(self, value: T) -> int:
        """As :meth:`Deque.count`."""
        return await self._read(self._deque.count, value)

    async def index(self, value: T, start: int = 0, stop: int | None = None) -> int:
        """As :meth:`Deque.index`."""
        return await self._read(self._deque.index, value, start, stop)

    # Writing

    async def append(self, value: T) -> None:
        """As :meth:`Deque.append`."""
        await self._write(self._deque.append, value)

    async def appendleft(self, value: T) -> None:
        """As :meth:`Deque.appendleft`."""
        await self._write(self._deque.appendleft, value)

    async def extend(self, iterable: Iterable[T]) -> None:
        """As :meth:`Deque.extend`."""
        await self._write(self._deque.extend, iterable)

    async def extendleft(self, iterable: Iterable[T]) -> None:
        """As :meth:`Deque.extendleft`."""
        await self._write(self._deque.extendleft, iterable)

    async def pop(self) -> T:
        """As :meth:`Deque.pop`. Where a cancelled task must not lose the value, pop it inside `transact`."""
        return await self._write(self._deque.pop)

    async def popleft(self) -> T:
        """As :meth:`Deque.popleft`. Where a cancelled task must not lose the value, pop it inside `transact`."""
        return await self._write(self._deque.popleft)

    async def set(self, index: int | slice, value: Any) -> None:
        """Replace the value at a position, or the values of a slice: ``deque[index] = value``."""
        await self._write(self._any.__setitem__, index, value)

    async def delete(self, index: int | slice) -> None:
        """Remove the value at a position, or the values of a slice: ``del deque[index]``."""
        await self._write(self._deque.__delitem__, index)

    async def insert(self, index: int, value: T) -> None:
        """As :meth:`Deque.insert`."""
        await self._write(self._deque.insert, index, value)

    async def remove(self, value: T) -> None:
        """As :meth:`Deque.remove`."""
        await self._write(self._deque.remove, value)

    async def reverse(self) -> None:
        """As :meth:`Deque.reverse`."""
        await self._write(self._deque.reverse)

    async def rotate(self, steps: int = 1) -> None:
        """As :meth:`Deque.rotate`."""
        await self._write(self._deque.rotate, steps)

    async def clear(self) -> None:
        """As :meth:`Deque.clear`."""
        await self._write(self._deque.clear)

    async def copy(self) -> AsyncDeque[T]:
        """As :meth:`Deque.copy`."""
        return AsyncDeque(await self._write(self._deque.copy))
