"""Asynchronous generators whose items are kept: see :mod:`.generators`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, overload

from ..constants import MISS
from ..workers import off_loop
from .asynchronous import AsyncComputation, Asynchronous, BoundAsynchronous
from .calls import MISSED, STALE, WAITED, Options
from .flight import aboard, board_async
from .generators import Player
from .mapping import AsyncMaps
from .modes import MODE, NORMAL, OFF

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
U = TypeVar("U")


def collect_async(
    function: Callable[..., AsyncIterator[Any]],
) -> Callable[..., Coroutine[Any, Any, list[Any]]]:
    """A coroutine function that runs an asynchronous generator to its end, and returns its items."""

    async def collected(*args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in function(*args, **kwargs)]

    return collected


class AsyncPlay(Player, Generic[T]):
    """An asynchronous generator that is played from the cache, or recorded."""

    computation = AsyncComputation

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if self._is_over:
            raise StopAsyncIteration
        if not self._is_begun:
            self._is_begun = True
            try:
                await self._begin()
            except BaseException:
                await self.aclose()
                raise
        if self._kept is not None:
            return self._next_kept()
        return await self._next_computed()

    async def asend(self, value: object, /) -> T:
        """As `anext`, with None; anything else is refused."""
        if value is None:
            return await self.__anext__()
        return self._refuse("sent into")

    async def athrow(self, *_: object) -> NoReturn:
        """Refused: no code would catch it in a result from the cache."""
        self._refuse("thrown into")

    async def aclose(self) -> None:
        """Break off. What was not played to its end is not stored."""
        self._is_over = True
        source, self._source, self._kept = self._source, None, None
        try:
            if source is not None:
                await source.aclose()
        finally:
            self._end("left")

    def _next_kept(self) -> T:
        assert self._kept is not None
        for item in self._kept:
            return item
        self._is_over = True
        raise StopAsyncIteration

    async def _next_computed(self) -> T:
        assert self._source is not None
        try:
            with aboard(self._flight):
                item = await self._source.__anext__()
        except StopAsyncIteration:
            await self._done()
            raise
        except Exception as error:
            return await self._failed(error)
        except BaseException:
            await self.aclose()
            raise
        return item if self._record is None else self._record.add(item)

    # The two ends

    async def _begin(self) -> None:
        calls, key, mode = self._wrapper._calls, self._key, MODE.get()
        found = self._known(mode)
        if found is MISS and mode is NORMAL:
            calls.count(MISSED)
            found, self._flight = await board_async(
                calls.place, key, lambda: calls.results.fresh(key), calls.wait
            )
            if found is not MISS:
                calls.count(WAITED)
        if found is MISS:
            self._run(mode)
        else:
            self._kept = iter(found)

    async def _done(self) -> None:
        self._is_over, self._source = True, None
        record, computation = self._record, self._computation
        if record is None or computation is None:
            return
        computation.done(self._timer)
        kept = MISS
        try:
            if record.error is not None:
                computation.calls.results.tell("stored", record.error)
            else:
                kept = await off_loop(computation.calls.place, computation.store, record.items())
        finally:
            self._end("unkept" if kept is MISS else "kept")

    async def _failed(self, error: Exception) -> T:
        self._source = None
        record, computation = self._record, self._computation
        if computation is None or record is None:
            self._is_over = True
            raise error
        calls = computation.calls
        if len(record) or record.error is not None:
            # What was handed out already cannot be taken back.
            computation.done(self._timer)
        else:
            await off_loop(calls.place, computation.failed, self._timer, error)
            older = calls.instead_of(error, calls.results.known(self._key))
            if older is not None:
                self._end("left")
                calls.put_off(self._key, error, computation.seconds)
                calls.count(STALE)
                self._kept = iter(older.value)
                return self._next_kept()
        self._is_over = True
        self._end(error)
        raise error


class AsyncCachedGenerator(Asynchronous[P], AsyncMaps[list[T]], Generic[P, T]):
    """An asynchronous generator function whose items are kept. Call it like the function itself."""

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        super().__init__(cache, function, options)
        self._generator = self._call
        self._call = collect_async(self._generator)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncPlay[T]:
        key = None if MODE.get() is OFF else self._calls.key(*args, **kwargs)
        return AsyncPlay(self, key, args, kwargs)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Run the generator to its end whatever is kept, keep the new items, and return them."""
        return await self._compute(self._calls.key(*args, **kwargs), args, kwargs)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> AsyncCachedGenerator[P, T]: ...
    @overload
    def __get__(
        self: AsyncCachedGenerator[Concatenate[Any, Q], U], instance: object, owner: Any = None
    ) -> BoundAsyncCachedGenerator[Q, U]: ...
    def __get__(self, instance: object, owner: Any = None) -> Any:
        receiver = self._receiver(instance, owner)
        bound: Any = BoundAsyncCachedGenerator
        return bound(self, receiver[0]) if receiver else self


class BoundAsyncCachedGenerator(BoundAsynchronous[P], AsyncMaps[list[T]], Generic[P, T]):
    """An asynchronous generator method of an instance whose items are kept."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncPlay[T]:
        return self._wrapper(self._receiver, *args, **kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, list[T]]:
        """Run the generator to its end whatever is kept, keep the new items, and return them."""
        return self._wrapper.refresh(self._receiver, *args, **kwargs)
