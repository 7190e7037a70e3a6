"""A dict that keeps keys apart which are equal in Python but not in a cache, such as ``1`` and ``True``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from .disk import Disk

_disk = Disk("", pickle_protocol=5)


class ApartDict(MutableMapping[Any, Any], dict[Any, Any]):  # pyright: ignore[reportGeneralTypeIssues]
    """The result of `get_many` if it finds keys that a dict cannot hold together. Otherwise the result is a dict.

    >>> found = ApartDict([(1, "one"), (True, "yes")])
    >>> found[1], found[True], len(found)
    ('one', 'yes', 2)
    """

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __init__(self, items: Iterable[tuple[Any, Any]] = ()) -> None:
        self._items: dict[Any, tuple[Any, Any]] = {}
        for key, value in items:
            self[key] = value

    def __getitem__(self, key: Any) -> Any:
        found = self._items.get(_columns(key))
        if found is None:
            raise KeyError(key)
        return found[1]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items[_columns(key)] = key, value

    def __delitem__(self, key: Any) -> None:
        if self._items.pop(_columns(key), None) is None:
            raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key!r}: {value!r}" for key, value in self._items.values()) + "}"


def _columns(key: Any) -> Any:
    column, raw = _disk.put(key)
    return (bytes(column) if type(column) is memoryview else column), raw
