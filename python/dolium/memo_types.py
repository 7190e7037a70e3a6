"""The types of memoized functions, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

CacheKey = tuple[Any, ...]


class MemoizedMethod(Protocol[P, R_co]):
    """A memoized method of an instance. Except the call, everything takes the instance again, as its first argument."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def __cache_key__(self, instance: object, /, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """The key of the result of this call."""
        ...

    def invalidate(self, instance: object, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of this call; true if there was one."""
        ...

    def refresh(self, instance: object, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the method in any case, and store the new result."""
        ...


class AsyncMemoizedMethod(Protocol[P, R_co]):
    """A memoized coroutine method: as :class:`MemoizedMethod`, with everything but the key awaited."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    def __cache_key__(self, instance: object, /, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """The key of the result of this call."""
        ...

    def invalidate(self, instance: object, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, bool]:
        """Forget the result of this call; true if there was one."""
        ...

    def refresh(self, instance: object, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the method in any case, and store the new result."""
        ...


class Memoized(Protocol[P, R_co]):
    """A memoized function. Call it like the original, or manage its stored results.

    On a method these take the instance as first argument: ``Class.method.invalidate(instance, 1)``.
    """

    __name__: str
    __qualname__: str

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The original function; calling it bypasses the cache."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Memoized[P, R_co]: ...
    @overload
    def __get__(
        self: Memoized[Concatenate[Any, Q], R], instance: object, owner: Any = None
    ) -> MemoizedMethod[Q, R]: ...

    def __cache_key__(self, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """The key of the result of this call."""
        ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of this call; true if there was one."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function in any case, and store the new result."""
        ...


class AsyncMemoized(Protocol[P, R_co]):
    """A memoized coroutine function: as :class:`Memoized`, with everything but the key awaited."""

    __name__: str
    __qualname__: str

    @property
    def __wrapped__(self) -> Callable[P, Coroutine[Any, Any, R_co]]:
        """The original coroutine function; calling it bypasses the cache."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...

    @overload
    def __get__(self, instance: None, owner: Any = None) -> AsyncMemoized[P, R_co]: ...
    @overload
    def __get__(
        self: AsyncMemoized[Concatenate[Any, Q], R], instance: object, owner: Any = None
    ) -> AsyncMemoizedMethod[Q, R]: ...

    def __cache_key__(self, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """The key of the result of this call."""
        ...

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, bool]:
        """Forget the result of this call; true if there was one."""
        ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Call the function in any case, and store the new result."""
        ...


class Memoizer(Protocol):
    """The decorator that ``memoize(...)`` returns."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]  (the first that fits is meant)
        self, func: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncMemoized[P, R]: ...
    @overload
    def __call__(self, func: Callable[P, R], /) -> Memoized[P, R]: ...
