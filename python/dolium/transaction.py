"""Owns :class:`Transaction`, what ``transact()`` returns."""

from __future__ import annotations

from contextlib import ContextDecorator

from ._dolium import Transaction as NativeTransaction


class Transaction(NativeTransaction, ContextDecorator):
    """A transaction of a cache: the ``with`` block, or the function that it decorates, happens at once or not at all.

    Entering and leaving are native methods: no signal can raise between them and the block.
    """
