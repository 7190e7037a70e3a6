"""Sequences that compare with any other sequence, element by element, as lists compare with lists."""

from __future__ import annotations

import operator
from collections.abc import Callable, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # known to type checkers, and not installed

    T = TypeVar("T", default=Any)
else:
    T = TypeVar("T")


class Compared(MutableSequence[T]):
    """The comparisons of a sequence."""

    def _compare(self, that: Any, relation: Callable[[Any, Any], bool]) -> bool:
        if not isinstance(that, Sequence):
            return NotImplemented
        others = cast(Sequence[Any], that)
        if relation is operator.eq and len(self) != len(others):
            return False
        for mine, other in zip(self, others, strict=False):
            if mine != other:
                return relation(mine, other)
        return relation(len(self), len(others))

    def __eq__(self, that: object) -> bool:
        return self._compare(that, operator.eq)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __lt__(self, that: Sequence[T]) -> bool:
        return self._compare(that, operator.lt)

    def __le__(self, that: Sequence[T]) -> bool:
        return self._compare(that, operator.le)

    def __gt__(self, that: Sequence[T]) -> bool:
        return self._compare(that, operator.gt)

    def __ge__(self, that: Sequence[T]) -> bool:
        return self._compare(that, operator.ge)
