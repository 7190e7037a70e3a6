"""What ``transact()`` returns: :class:`Transaction`, for a ``with`` block or a function."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any, TypeVar

from . import blocks
from ._dolium import Transaction as NativeTransaction

F = TypeVar("F", bound=Callable[..., Any])


class Transaction(NativeTransaction, ContextDecorator):
    """A transaction of a cache: the ``with`` block, or the function that it decorates, happens at once or not at all.

    It belongs to the thread, greenlet or task that enters the block. Entering and leaving are native methods: no signal
    can raise between them and the block.
    """

    def __call__(self, func: F) -> F:
        """Make each call of `func` a transaction of its own; of coroutine and generator functions, each whole run."""
        return blocks.wrap(func, self._again)
