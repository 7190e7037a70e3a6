"""`Index`: a mapping on disk that keeps the order of insertion.

It gives a cache the interface of a dictionary: order, comparison, views. The cache compares keys. They are equal
if their stored forms are, and need not be hashable.
"""

# pyright: reportPrivateUsage=false
# (the views at the end belong to Index)

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from ..constants import ENOVAL, MISS
from ..memo_types import Memoizer
from ..transaction import Transaction
from .backing import open_cache, state_of, strict

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # known to type checkers, and not installed

    from ..aio.index import AsyncIndex

    K = TypeVar("K", default=Any)
    V = TypeVar("V", default=Any)
else:
    K = TypeVar("K")
    V = TypeVar("V")

_BATCH = 500


class Index(MutableMapping[K, V]):
    """An ordered dictionary on disk, shared by all processes that open its directory.

    Each operation is atomic. Use :meth:`transact` to make several operations atomic together. An index never evicts,
    whatever its size.

    The first argument may be the directory (default: a new temporary one, which is not removed);
    other arguments are those of :class:`dict`.

    >>> index = Index([('a', 1), ('b', 2)], c=3)
    >>> list(index.items())
    [('a', 1), ('b', 2), ('c', 3)]
    >>> again = Index(index.directory)
    >>> again.popitem()
    ('c', 3)
    >>> index == {'b': 2, 'a': 1}
    True

    Raises:
        UntrustedValueError: From each method that reads a value that `trust` does not allow; the value stays.
    """

    _cache: Any
    _store: Any

    def __init__(self, *args: Any, **kwargs: Any):
        directory = None
        if args and (args[0] is None or isinstance(args[0], (str, bytes, os.PathLike))):
            directory, *rest = args
            directory = None if directory is None else os.fsdecode(directory)
        else:
            rest = list(args)
        self._attach(open_cache(directory))
        self.update(*rest, **kwargs)

    @classmethod
    def fromcache(cls, cache: Any, *args: Any, **kwargs: Any) -> Index[K, V]:
        """Make an index of the items in `cache`, which should not evict.

        >>> import dolium
        >>> cache = dolium.Cache(eviction_policy='none')
        >>> index = Index.fromcache(cache, {'a': 1}, b=2)
        >>> index.cache is cache, dict(index)
        (True, {'a': 1, 'b': 2})
        """
        self = cls.__new__(cls)
        self._attach(cache)
        self.update(*args, **kwargs)
        return self

    def _attach(self, cache: Any) -> None:
        self._cache = cache
        self._store = strict(cache)

    @property
    def cache(self) -> Any:
        """The cache that holds the items."""
        return self._cache

    @property
    def directory(self) -> str:
        """Path of the directory."""
        return self._cache.directory

    @property
    def aio(self) -> AsyncIndex[K, V]:
        """The face of this index for event loops: its operations are awaited.

        >>> import asyncio, dolium
        >>> index = dolium.Index(a=1)
        >>> asyncio.run(index.aio.setdefault("b", 2)), dict(index)
        (2, {'a': 1, 'b': 2})
        """
        from ..aio.index import AsyncIndex

        return AsyncIndex(self)

    def transact(self) -> Transaction:
        """Keep other threads and processes from writing until the ``with`` block ends, then make its changes at once.

        They can read meanwhile. If the block raises, nothing has changed. Blocks may be nested.

        >>> index = Index()
        >>> with index.transact():
        ...     index['total'] = index.get('total', 0) + 5
        ...     index['count'] = index.get('count', 0) + 1
        >>> dict(index)
        {'total': 5, 'count': 1}
        """
        return self._store.transact(retry=True)

    # One item

    def __getitem__(self, key: K) -> V:
        return self._store[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._store[key] = value

    def __delitem__(self, key: K) -> None:
        del self._store[key]

    def __contains__(self, key: object) -> bool:
        return key in self._store

    def get(self, key: K, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return self._store.get(key, default, retry=True)

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value of `key`, which is set to `default` if the key is missing.

        >>> index = Index()
        >>> index.setdefault('a', 0), index.setdefault('a', 1)
        (0, 0)
        """
        value = self._store.get(key, MISS, retry=True)
        if value is MISS:
            with self.transact():
                value = self._store.get(key, MISS, retry=True)
                if value is MISS:
                    self._store[key] = default
                    value = self._store.get(key, default, retry=True)
        return value

    def pop(self, key: K, default: Any = ENOVAL) -> Any:
        """Remove `key` and return its value, or `default` if the key is missing.

        Raises:
            KeyError: The key is missing and there is no default.

        >>> index = Index(a=1)
        >>> index.pop('a'), index.pop('a', None)
        (1, None)
        """
        value = self._store.pop(key, default=MISS, retry=True)
        if value is not MISS:
            return value
        if default is ENOVAL:
            raise KeyError(key)
        return default

    def peekitem(self, last: bool = True) -> tuple[K, V]:
        """The item that was inserted last, or first.

        Raises:
            KeyError: The index is empty.

        >>> Index(a=1, b=2).peekitem()
        ('b', 2)
        """
        return self._store.peekitem(last, retry=True)

    def popitem(self, last: bool = True) -> tuple[K, V]:
        """Remove the item that was inserted last, or first, and return it.

        Raises:
            KeyError: The index is empty.

        >>> Index(a=1, b=2).popitem(last=False)
        ('a', 1)
        """
        with self.transact():
            key, value = self._store.peekitem(last, retry=True)
            del self._store[key]
        return key, value

    # Queues

    def push(self, value: V, prefix: str | None = None, side: Literal["front", "back"] = "back") -> Any:
        """Add `value` under a new key at the end `side` of the queue `prefix`, and return the key.

        Without a prefix the keys are integers around 500 trillion, else strings of prefix, dash
        and such an integer.

        >>> index = Index()
        >>> index.push('apples')
        500000000000000
        >>> index.push('dates', prefix='fruit')
        'fruit-500000000000000'
        """
        return self._store.push(value, prefix, side, retry=True)

    def pull(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: Literal["front", "back"] = "front",
    ) -> Any:
        """Remove the item at the end `side` of the queue `prefix` and return it, or `default`.

        >>> index = Index()
        >>> _ = index.push('apples'), index.push('beans')
        >>> index.pull()
        (500000000000000, 'apples')
        >>> index.pull(prefix='fruit')
        (None, None)
        """
        return self._store.pull(prefix, default, side, retry=True)

    # All items

    def __len__(self) -> int:
        return len(self._store)

    def __iter__(self) -> Iterator[K]:
        return iter(self._store)

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._store)

    def _items(self, keys: Iterable[K]) -> Iterator[tuple[K, V]]:
        """The items of `keys` that are still there when their turn comes."""
        for key in keys:
            value = self._store.get(key, MISS, retry=True)
            if value is not MISS:
                yield key, value

    def keys(self) -> KeysView[K]:
        """A set-like view of the keys, in order of insertion."""
        return _Keys(self)

    def values(self) -> ValuesView[V]:
        """A view of the values, in order of insertion."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        """A set-like view of the items, in order of insertion."""
        return _Items(self)

    def update(self, other: Any = (), /, **kwargs: Any) -> None:
        """Set the items of a mapping or of an iterable of pairs, then those of `kwargs`."""
        for pairs in (other, kwargs):
            if isinstance(pairs, dict):
                self._set_many(pairs)  # pyright: ignore[reportUnknownArgumentType]
            else:
                super().update(pairs)

    def _set_many(self, items: dict[Any, Any]) -> None:
        rest = iter(items.items())
        while batch := dict(islice(rest, _BATCH)):
            self._store.set_many(batch, retry=True)

    def clear(self) -> None:
        """Remove all items."""
        self._store.clear(retry=True)

    def __eq__(self, other: object) -> bool:
        """Whether the items are equal, and in the same order if `other` is ordered by contract.

        Order counts for another `Index` and for an :class:`collections.OrderedDict`, not for other
        mappings.

        >>> Index(a=1, b=2) == {'b': 2, 'a': 1}
        True
        >>> Index(a=1, b=2) == Index(b=2, a=1)
        False
        """
        if not isinstance(other, Mapping):
            return NotImplemented
        theirs = cast(Mapping[Any, Any], other)
        if len(self) != len(theirs):
            return False
        if isinstance(theirs, (Index, OrderedDict)):
            pairs = zip(self.items(), theirs.items(), strict=False)
            return all(mine == their for mine, their in pairs)
        return all(value == theirs.get(key, ENOVAL) for key, value in self.items())

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    # Rest

    def memoize(self, name: str | None = None, typed: bool = False, ignore: Iterable[Any] = ()) -> Memoizer:
        """Make a decorator that stores the results of a function in this index.

        Args:
            name: The first part of the keys (default: module and qualified name of the function).
            typed: Keep ``f(3)`` and ``f(3.0)`` apart.
            ignore: Positions and names of arguments that do not influence the result.

        Raises:
            TypeError: Used without parentheses.

        >>> index = Index()
        >>> @index.memoize(name='square')
        ... def square(number):
        ...     return number * number
        >>> square(4)
        16
        >>> dict(index)
        {('square', 4, None): 16}
        """
        return self._cache.memoize(name, typed, ignore=ignore)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directory!r})"

    def __getstate__(self) -> Any:
        return state_of(self._cache)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, str):
            self.__init__(state)
        else:
            self._attach(state)


class _Keys(KeysView[K]):
    _mapping: Index[K, Any]

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._mapping)


class _Values(ValuesView[V]):
    _mapping: Index[Any, V]

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._mapping._items(self._mapping))

    def __reversed__(self) -> Iterator[V]:
        return (value for _, value in self._mapping._items(reversed(self._mapping)))


class _Items(ItemsView[K, V]):
    _mapping: Index[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._mapping._items(self._mapping)

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return self._mapping._items(reversed(self._mapping))
