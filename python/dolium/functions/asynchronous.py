"""Coroutine functions whose results are kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .._dolium import Recall
from ..constants import MISS
from ..workers import off_loop
from .cached import Computation, answer, only
from .calls import MISSED, STALE, WAITED, Options, Timer
from .flight import run_async
from .mapping import AsyncMaps
from .modes import MODE, NORMAL, OFF, ONLY, REFRESH
from .results import Entry, Known
from .wrapper import Bound, Wrapper, inside

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class Asynchronous(Wrapper[P]):
    """What wrapped functions have in common whose results are awaited."""

    is_async = True

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        super().__init__(cache, function, options)
        self._call: Callable[..., Any] = inside(function)

    async def entry(self, *args: P.args, **kwargs: P.kwargs) -> Entry | None:
        """What is kept of this call, without computing anything; None if there is nothing."""
        known = self._calls.results.known(self._calls.key(*args, **kwargs))
        return None if known is None else known.entry()

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of this call; true if there was one."""
        calls = self._calls
        return await off_loop(calls.place, calls.forget, calls.key(*args, **kwargs))

    async def clear(self, old_versions: bool = False) -> int:
        """Forget all results of the function, or only those of its former versions; return how many there were."""
        return await off_loop(self._calls.place, self._calls.clear, old_versions)

    # Without a hit

    async def _missed(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self._calls
        known = calls.results.known(key)
        if known is not None and (value := answer(self, calls, key, known, args, kwargs)) is not MISS:
            return value
        return await self._fly(key, known, args, kwargs)

    async def _fly(self, key: Any, known: Known | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self._calls
        calls.count(MISSED)
        timer = Timer()
        computation = AsyncComputation(self, key, args, kwargs)
        try:
            value = await run_async(
                calls.place,
                key,
                lambda: calls.results.fresh(key),
                computation.compute_async,
                computation.store,
                calls.wait,
            )
        except Exception as error:
            older = calls.instead_of(error, known)
            if older is None:
                raise
            calls.put_off(key, error, timer.seconds)
            calls.count(STALE)
            return older.value
        if not computation.ran:
            calls.count(WAITED)
        return value

    async def _compute(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        computation = AsyncComputation(self, key, args, kwargs, replaces=True)
        value = await computation.compute_async()
        kept = await off_loop(self._calls.place, computation.store, value)
        return value if kept is MISS else kept

    async def _in_mode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mode, calls = MODE.get(), self._calls
        if mode is OFF:
            return await self._call(*args, **kwargs)
        key = calls.key(*args, **kwargs)
        if mode is REFRESH:
            return await self._compute(key, args, kwargs)
        if mode is not ONLY:
            return await self._missed(key, args, kwargs)
        return only(self, key, args, kwargs)


class AsyncCached(Asynchronous[P], Recall, AsyncMaps[R], Generic[P, R]):
    """A coroutine function whose results are kept. Call and await it like the function itself."""

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        super().__init__(cache, function, options)
        self._prepare(self._calls, MODE.get, NORMAL)
        _mark_as_coroutine_function(self)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if MODE.get() is not NORMAL:
            return await self._in_mode(args, kwargs)
        is_found, value = self._find(args, kwargs)
        return value if is_found else await self._missed(value, args, kwargs)

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function whatever is kept, and keep the new result."""
        return await self._compute(self._calls.key(*args, **kwargs), args, kwargs)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> AsyncCached[P, R]: ...
    @overload
    def __get__(
        self: AsyncCached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> BoundAsyncCached[Q, T]: ...
    def __get__(self, instance: object, owner: Any = None) -> Any:
        receiver = self._receiver(instance, owner)
        bound: Any = BoundAsyncCached
        return bound(self, receiver[0]) if receiver else self


class BoundAsynchronous(Bound[P]):
    """What methods of an instance have in common whose results are awaited."""

    __slots__ = ()

    def entry(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Entry | None]:
        """What is kept of this call, without computing anything; None if there is nothing."""
        return self._wrapper.entry(self._receiver, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, bool]:
        """Forget the result of this call; true if there was one."""
        return self._wrapper.invalidate(self._receiver, *args, **kwargs)

    def clear(self, old_versions: bool = False) -> Coroutine[Any, Any, int]:
        """Forget the results of the method for all instances, or only those of its former versions."""
        return self._wrapper.clear(old_versions)


class BoundAsyncCached(BoundAsynchronous[P], AsyncMaps[R], Generic[P, R]):
    """A coroutine method of an instance whose results are kept."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        return self._wrapper(self._receiver, *args, **kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the method whatever is kept, and keep the new result."""
        return self._wrapper.refresh(self._receiver, *args, **kwargs)


class AsyncComputation(Computation):
    """One call of the coroutine function itself."""

    async def compute_async(self) -> Any:
        timer = self.begin()
        try:
            value = await self.function(*self.args, **self.kwargs)
        except Exception as error:
            # It may wait for other writers, which the loop must not.
            await off_loop(self.calls.place, self.failed, timer, error)
            raise
        self.done(timer)
        return value


def _mark_as_coroutine_function(wrapper: Any) -> None:
    """Let `inspect.iscoroutinefunction`, from Python 3.12 on, know what awaiting the result of a call needs."""
    import inspect

    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(wrapper)


tasks: set[asyncio.Task[Any]] = set()
"""Renewals: a loop keeps only weak references to its tasks."""


def loop_of_caller() -> asyncio.AbstractEventLoop | None:
    """The running event loop, if it is asyncio's."""
    module: Any = sys.modules.get("asyncio")
    try:
        return module.get_running_loop() if module else None
    except RuntimeError:
        return None
