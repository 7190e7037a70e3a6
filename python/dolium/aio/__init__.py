"""Caches for programs with an event loop: every operation is awaited, and none holds the loop up.

>>> import asyncio, dolium
>>> async def main():
...     async with dolium.AsyncCache() as cache:  # or the attribute `aio` of any cache
...         await cache.set("key", "value", expire=60)
...         return await cache.get("key")
>>> asyncio.run(main())
'value'

What the hot tier answers is answered at once. All else runs on the threads of `workers`.
"""

from .cache import AsyncCache, AsyncFanoutCache
from .deque import AsyncDeque
from .files import AsyncFile
from .index import AsyncIndex
from .locks import AsyncBoundedSemaphore, AsyncLock, AsyncRLock
from .transaction import AsyncTransaction
from .walk import AsyncWalk

__all__ = [
    "AsyncBoundedSemaphore",
    "AsyncCache",
    "AsyncDeque",
    "AsyncFanoutCache",
    "AsyncFile",
    "AsyncIndex",
    "AsyncLock",
    "AsyncRLock",
    "AsyncTransaction",
    "AsyncWalk",
]
