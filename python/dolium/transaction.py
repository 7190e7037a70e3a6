"""The result of ``transact()``: :class:`Transaction`, for a ``with`` block or a function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any, TypeVar

from . import blocks
from ._dolium import Transaction as NativeTransaction

F = TypeVar("F", bound=Callable[..., Any])


class Transaction(NativeTransaction, ContextDecorator):
    """A transaction. Its ``with`` block, or the function that it decorates, happens as a whole or not at all.

    It belongs to the thread, greenlet or task that enters the block. Entering and leaving are native methods, so no
    signal can raise between them and the block.
    """

    def __call__(self, func: F) -> F:
        """Make each call of `func` a transaction of its own, or each whole run of a coroutine or generator function."""
        return blocks.wrap(func, self._again)
