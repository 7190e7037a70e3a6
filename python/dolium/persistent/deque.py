"""`Deque`: a sequence on disk with two ends.

It maps positions to keys. Values have integer keys that count up and down from 500 trillion, so the order of the
keys is the order of the values. The keys are contiguous until a value in the middle is deleted. Until then an
index is an addition instead of a search, and the cache knows both ends of the keys. Inside a transaction, beside
another program, and with other keys in the cache the keys are looked at.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from ..constants import MISS
from ..transaction import Transaction
from ..workers import native_method
from .backing import open_cache, state_of, strict
from .compared import Compared

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # known to type checkers, and not installed

    from ..aio.deque import AsyncDeque
    from ..settings import Directory

    T = TypeVar("T", default=Any)
else:
    T = TypeVar("T")

Side = Literal["front", "back"]
_OPPOSITE: dict[Side, Side] = {"front": "back", "back": "front"}

# Iterables whose values are there already, so that they can be added in batches.
_WHOLE = (list, tuple, range, str, bytes, set, frozenset, dict, deque)
_BATCH = 500


class Deque(Compared[T]):
    """A double-ended queue on disk, shared by all processes that open its directory.

    It has every method of :class:`collections.deque`, and slices in addition. Reading a slice gives a list, and
    assigning to a slice or deleting one works as for lists. Each operation is atomic. Use :meth:`transact` to make
    several operations atomic together.

    >>> deque = Deque(range(5), maxlen=6)
    >>> deque.extend([5, 6])
    >>> deque.rotate(2)
    >>> deque[:]
    [5, 6, 1, 2, 3, 4]
    >>> deque.popleft(), deque.pop()
    (5, 4)

    Args:
        iterable: Values to append.
        directory: Its directory (default: a new temporary directory, which is not removed).
        maxlen: The greatest length, beyond which values at the other end are dropped (default: any length).

    Raises:
        UntrustedValueError: From each method that reads a value that `trust` does not allow; the value stays.
    """

    _cache: Any
    _store: Any
    _knows_positions: bool  # whether the cache may know the key of each position, as dolium's own do
    _maxlen: float

    @overload
    def __init__(self, *, directory: Directory = None, maxlen: float | None = None) -> None: ...
    @overload
    def __init__(
        self, iterable: Iterable[T], directory: Directory = None, maxlen: float | None = None
    ) -> None: ...

    def __init__(
        self, iterable: Iterable[T] = (), directory: Directory = None, maxlen: float | None = None
    ) -> None:
        self._attach(open_cache(directory), maxlen)
        self._fill(iterable, "back")

    @classmethod
    def fromcache(cls, cache: Any, iterable: Iterable[T] = (), maxlen: float | None = None) -> Deque[T]:
        """Make a deque of the values in `cache`, which should not evict.

        >>> import dolium
        >>> cache = dolium.Cache(eviction_policy='none')
        >>> deque = Deque.fromcache(cache, 'abc')
        >>> deque.cache is cache, list(deque)
        (True, ['a', 'b', 'c'])
        """
        self = cls.__new__(cls)
        self._attach(cache, maxlen)
        self._fill(iterable, "back")
        return self

    def _attach(self, cache: Any, maxlen: float | None) -> None:
        self._cache = cache
        self._store = strict(cache)
        self._knows_positions = native_method(self._store, "_deque_item") is not None
        self._maxlen = float("inf") if maxlen is None else maxlen

    @property
    def cache(self) -> Any:
        """The cache that holds the values."""
        return self._cache

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return self._cache.directory

    @property
    def maxlen(self) -> float:
        """The greatest length, infinity if there is none; shortening it drops values at the front.

        >>> deque = Deque('abcde')
        >>> deque.maxlen = 3
        >>> list(deque)
        ['c', 'd', 'e']
        """
        return self._maxlen

    @maxlen.setter
    def maxlen(self, value: float | None) -> None:
        self._maxlen = float("inf") if value is None else value
        with self.transact():
            self._trim("front")

    @property
    def aio(self) -> AsyncDeque[T]:
        """The face of this deque for event loops: its operations are awaited.

        >>> import asyncio, dolium
        >>> deque = dolium.Deque("abc")
        >>> asyncio.run(deque.aio.popleft()), list(deque)
        ('a', ['b', 'c'])
        """
        from ..aio.deque import AsyncDeque

        return AsyncDeque(self)

    def transact(self) -> Transaction:
        """Keep other threads and processes from writing until the ``with`` block ends, then make its changes at once.

        They can read meanwhile. If the block raises, nothing has changed. Blocks may be nested.

        >>> deque = Deque('abc')
        >>> with deque.transact():
        ...     deque.append(deque.popleft())
        >>> list(deque)
        ['b', 'c', 'a']
        """
        return self._store.transact(retry=True)

    # Reading

    def __len__(self) -> int:
        known = self._store._deque_len() if self._knows_positions else None
        return len(self._store) if known is None else known

    def __iter__(self) -> Iterator[T]:
        return self._values(False)

    def __reversed__(self) -> Iterator[T]:
        return self._values(True)

    def _values(self, reverse: bool) -> Iterator[T]:
        for key in self._store.iterkeys(reverse=reverse):
            try:
                value = self._store[key]
            except KeyError:  # removed by another since the key was read
                continue
            yield value

    def _key_at(self, index: int) -> Any:
        size = len(self._store)
        position = index + size if index < 0 else index
        if 0 <= position < size and self._knows_positions:
            first = self._store._deque_first()
            if first is not None:
                return first + position
        return self._search(position, size)

    def _search(self, position: int, size: int) -> Any:
        if 0 <= position < size:
            reverse = position > size // 2
            steps = size - 1 - position if reverse else position
            for key in islice(self._store.iterkeys(reverse=reverse), steps, None):
                return key
        raise IndexError("deque index out of range")

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            values = (self._store.get(key, MISS, retry=True) for key in self._keys()[index])
            return [value for value in values if value is not MISS]
        index = operator.index(index)
        if self._knows_positions and (value := self._store._deque_item(index, MISS)) is not MISS:
            return value
        while True:
            try:
                return self._store[self._key_at(index)]
            except KeyError:
                with self.transact():  # others were at work: now they wait
                    size = len(self._store)
                    key = self._search(index + size if index < 0 else index, size)
                    value = self._store.get(key, MISS, retry=True)
                    if value is MISS:  # its file is gone
                        raise IndexError("deque value is damaged") from None
                    return value

    def peek(self) -> T:
        """The value at the back.

        Raises:
            IndexError: The deque is empty.

        >>> Deque('abc').peek()
        'c'
        """
        return self._end("peek", "back", self._store.peek)

    def peekleft(self) -> T:
        """The value at the front.

        Raises:
            IndexError: The deque is empty.

        >>> Deque('abc').peekleft()
        'a'
        """
        return self._end("peek", "front", self._store.peek)

    def _end(self, verb: str, side: Side, take: Callable[..., Any]) -> T:
        _, value = take(default=(None, MISS), side=side, retry=True)
        if value is MISS:
            raise IndexError(f"{verb} from an empty deque")
        return value

    def count(self, value: T) -> int:
        """The number of values that are equal to `value`.

        >>> Deque('banana').count('a')
        3
        """
        return sum(1 for item in self if item is value or item == value)

    def index(self, value: T, start: int = 0, stop: int | None = None) -> int:
        """The first position of `value`, at `start` or later and before `stop`.

        Raises:
            ValueError: There is none.

        >>> Deque('banana').index('n', 3)
        4
        """
        first, last, _ = slice(start, stop).indices(len(self))
        for position, item in enumerate(islice(self, last)):
            if position >= first and (item is value or item == value):
                return position
        raise ValueError(f"{value!r} is not in deque")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(directory={self.directory!r})"

    # Writing at the ends

    def append(self, value: T) -> None:
        """Add `value` at the back. A deque that is then too long loses the value at the front."""
        self._push((value,), "back")

    def appendleft(self, value: T) -> None:
        """Add `value` at the front. A deque that is then too long loses the value at the back."""
        self._push((value,), "front")

    def extend(self, iterable: Iterable[T]) -> None:
        """Append each value of `iterable`, which may be this deque."""
        self._fill(iterable, "back")

    def extendleft(self, iterable: Iterable[T]) -> None:
        """Add each value of `iterable` at the front, so that they end up in reverse order.

        >>> deque = Deque('x')
        >>> deque.extendleft('abc')
        >>> list(deque)
        ['c', 'b', 'a', 'x']
        """
        self._fill(iterable, "front")

    def __iadd__(self, iterable: Iterable[T]) -> Deque[T]:
        self._fill(iterable, "back")
        return self

    def _fill(self, iterable: Iterable[T], side: Side) -> None:
        if isinstance(iterable, Deque) and iterable.directory == self.directory:
            iterable = list(iterable)  # else it would never end
        if isinstance(iterable, _WHOLE):
            rest = iter(cast(Iterable[T], iterable))
            while batch := tuple(islice(rest, _BATCH)):
                self._push(batch, side)
        else:
            for value in iterable:
                self._push((value,), side)

    def _push(self, values: tuple[T, ...], side: Side) -> None:
        if len(values) == 1 and self._maxlen == float("inf"):
            self._store.push(values[0], side=side, retry=True)
            return
        is_usual = self._knows_positions and type(self._maxlen) is int and self._maxlen > 0
        if is_usual and len(values) == 1 and self._store._deque_push(values[0], side, self._maxlen):
            return
        with self.transact():
            for value in values:
                self._store.push(value, side=side, retry=True)
            self._trim(_OPPOSITE[side])

    def _trim(self, side: Side) -> None:
        """Drop values at `side`, without loading them, until the length is within `maxlen`."""
        excess = len(self._store) - self._maxlen
        if excess > 0:
            keys: list[Any] = list(islice(self._store.iterkeys(reverse=side == "back"), int(excess)))
            self._store.delete_many(keys, retry=True)

    def pop(self) -> T:  # pyright: ignore[reportIncompatibleMethodOverride]  (as collections.deque)
        """Remove the value at the back and return it.

        Raises:
            IndexError: The deque is empty.
        """
        return self._end("pop", "back", self._store.pull)

    def popleft(self) -> T:
        """Remove the value at the front and return it.

        Raises:
            IndexError: The deque is empty.
        """
        return self._end("pop", "front", self._store.pull)

    def clear(self) -> None:
        """Remove all values."""
        self._store.clear(retry=True)

    # Writing anywhere

    def _keys(self) -> list[Any]:
        return list(self._store.iterkeys())

    @overload
    def __setitem__(self, index: int, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if isinstance(index, slice):
            self._assign(index, list(value))
            return
        index = operator.index(index)
        if self._knows_positions and self._store._deque_replace(index, value):
            return
        with self.transact():
            self._store[self._key_at(index)] = value

    def _assign(self, where: slice, values: list[T]) -> None:
        with self.transact():
            keys = self._keys()
            old = keys[where]
            if where.step not in (None, 1) and len(values) != len(old):
                raise ValueError(
                    f"attempt to assign sequence of size {len(values)} to extended slice of size {len(old)}"
                )
            if len(keys) - len(old) + len(values) > max(self._maxlen, len(keys)):
                raise IndexError("deque already at its maximum size")
            for key, value in zip(old, values, strict=False):
                self._store[key] = value
            self._store.delete_many(old[len(values) :], retry=True)
            end = where.indices(len(keys))[0] + len(old)
            if len(values) > len(old):
                self._open(keys[:end], keys[end:], values[len(old) :])

    def _open(self, before: list[Any], after: list[Any], values: list[T]) -> None:
        """Put `values` between the keys `before` and `after`, moving the shorter side outward."""
        side: Side = "back" if len(after) <= len(before) else "front"
        keys = after if side == "back" else before[::-1]
        moving = values if side == "back" else values[::-1]
        moving = [*moving, *(self._store.get(key, MISS, retry=True) for key in keys)]
        for key, value in zip(keys, moving, strict=False):
            self._put(key, value)
        for value in moving[len(keys) :]:
            if value is not MISS:
                self._store.push(value, side=side, retry=True)

    def _put(self, key: Any, value: T) -> None:
        """Set the value at `key`. A damaged value, read as MISS, is dropped instead."""
        if value is MISS:
            self._store.delete(key, retry=True)
        else:
            self._store[key] = value

    def insert(self, index: int, value: T) -> None:
        """Put `value` before position `index`.

        Raises:
            IndexError: The deque has its greatest length.

        >>> deque = Deque('ac')
        >>> deque.insert(1, 'b')
        >>> list(deque)
        ['a', 'b', 'c']
        """
        position = operator.index(index)
        self._assign(slice(position, position), [value])

    def __delitem__(self, index: int | slice) -> None:
        with self.transact():
            if isinstance(index, slice):
                self._store.delete_many(self._keys()[index], retry=True)
            else:
                del self._store[self._key_at(operator.index(index))]

    def remove(self, value: T) -> None:
        """Remove the first value that is equal to `value`.

        Raises:
            ValueError: There is none.

        >>> deque = Deque('banana')
        >>> deque.remove('n')
        >>> ''.join(deque)
        'baana'
        """
        for key in self._store.iterkeys():
            if self._store.get(key, MISS, retry=True) == value and self._remove(key, value):
                return
        raise ValueError("deque.remove(value): value not in deque")

    def _remove(self, key: Any, value: T) -> bool:
        with self.transact():  # it may have changed since it was found
            same = self._store.get(key, MISS, retry=True) == value
            return same and bool(self._store.delete(key, retry=True))

    def reverse(self) -> None:
        """Reverse the order of the values, atomically.

        >>> deque = Deque('abc')
        >>> deque.reverse()
        >>> deque[:]
        ['c', 'b', 'a']
        """
        with self.transact():
            keys = self._keys()
            for one, other in islice(zip(keys, reversed(keys), strict=True), len(keys) // 2):
                first, last = (self._store.get(key, MISS, retry=True) for key in (one, other))
                self._put(one, last)
                self._put(other, first)

    def rotate(self, steps: int = 1) -> None:
        """Move `steps` values from the back to the front, atomically; if negative, the other way.

        >>> deque = Deque(range(5))
        >>> deque.rotate(2)
        >>> list(deque)
        [3, 4, 0, 1, 2]
        """
        if not isinstance(steps, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"integer argument expected, got {type(steps).__name__}")
        with self.transact():
            size = len(self._store)
            if size == 0:
                return
            steps %= size
            side: Side = "back" if steps <= size // 2 else "front"
            for _ in range(min(steps, size - steps)):
                value = self._end("rotate", side, self._store.pull)
                self._store.push(value, side=_OPPOSITE[side], retry=True)

    # Copies

    def copy(self) -> Deque[T]:
        """Another object for the same values: same directory, same greatest length."""
        that = type(self).__new__(type(self))
        that.__setstate__(self.__getstate__())
        return that

    def __getstate__(self) -> tuple[Any, float]:
        return state_of(self._cache), self._maxlen

    def __setstate__(self, state: tuple[Any, float]) -> None:
        place, maxlen = state
        if isinstance(place, str):
            self.__init__(directory=place, maxlen=maxlen)
        else:
            self._attach(place, maxlen)
