"""A memory of results by the identity of an object, which it does not keep alive."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class ByIdentity(Generic[T]):
    """Maps objects to values without asking them for hash or equality, which a metaclass may have changed.

    Each operation is one on a dict, so threads need no lock.
    """

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[object], T]] = {}

    def get(self, key: object) -> T | None:
        found = self._values.get(id(key))
        return found[1] if found and found[0]() is key else None

    def put(self, key: object, value: T) -> None:
        number, values = id(key), self._values

        def forget(gone: weakref.ref[object]) -> None:
            found = values.get(number)
            if found and found[0] is gone:
                values.pop(number, None)

        try:
            values[number] = (weakref.ref(key, forget), value)
        except TypeError:
            return  # it cannot be referred to weakly, and is looked at anew each time
