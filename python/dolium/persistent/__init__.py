"""Persistent containers: `Deque` and `Index`, a list with two ends and an ordered mapping on disk.

They add no format of their own. A `Deque` is a cache whose keys are consecutive integers, and an `Index` is a
cache without eviction. Unlike a cache they never treat an untrusted value as missing (see ``trust``). Reading it
raises `UntrustedValueError`.
"""

from .deque import Deque
from .index import Index

__all__ = ["Deque", "Index"]
