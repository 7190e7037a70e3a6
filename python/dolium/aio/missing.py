"""``await cache.aio.get_or_set(…)``: one task, thread or process computes what is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .. import names, workers
from .._dolium import in_seconds
from ..constants import MISS
from ..functions.calls import Timer
from ..functions.failures import Failures
from ..functions.flight import run_async
from ..functions.missing import raise_stored, store_error

if TYPE_CHECKING:
    from datetime import timedelta

    from ..codecs import Codec, Encoder, Filter
    from ..functions.term import Lifetime

R = TypeVar("R")


async def value_of(
    cache: Any,
    key: Any,
    function: Callable[[], Awaitable[R] | R],
    expire: float | timedelta | None,
    errors: Mapping[type[Exception], Lifetime],
    tag: str | None,
    wait: float | None,
    codec: Codec | Encoder | Filter | None,
) -> R:
    """The value of a key that is missing, see :meth:`AsyncStore.get_or_set`."""
    seconds, failures = in_seconds(expire), Failures(errors)

    def look() -> Any:
        value = cache.get(key, MISS, retry=True)
        if value is MISS:
            raise_stored(cache, key)
        return value

    async def look_elsewhere() -> Any:
        return await workers.run(cache, "reads", look)

    async def compute() -> R:
        timer = Timer()
        try:
            value: Any = function()
            return await value if hasattr(value, "__await__") else cast(R, value)
        except Exception as error:
            await workers.off_loop(cache, store_error, cache, key, function, error, failures, tag, timer)
            raise

    def store(value: R) -> Any:
        if cache._read_only or (seconds is not None and seconds <= 0):
            return MISS
        try:
            cache.add(
                key, value, expire=seconds, tag=tag, retry=True, **({} if codec is None else {"codec": codec})
            )
        except Exception as error:
            names.warn_unstored(cache, function, value, error)
            return MISS
        return cache.get(key, MISS, retry=True)

    found = await look_elsewhere()
    return found if found is not MISS else await run_async(cache, key, look_elsewhere, compute, store, wait)
