"""Persistent containers: `Deque` and `Index`, a list with two ends and an ordered mapping on disk.

They add no format of their own: a `Deque` is a cache whose keys are a row of integers, an `Index`
is a cache without eviction. Unlike a cache they never treat a value that is there as missing: one
that may not be loaded (see ``trust``) raises `UntrustedValueError`.
"""

from .deque import Deque
from .index import Index

__all__ = ["Deque", "Index"]
