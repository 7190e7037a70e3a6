"""The decorator `cache.cached`: which wrapper a function gets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from .async_generators import AsyncCachedGenerator
from .asynchronous import AsyncCached
from .cached import Cached
from .calls import Options
from .generators import CachedGenerator
from .wrapper import inside

__all__ = ["Decorator", "wrap"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Decorator(Protocol):
    """What ``cache.cached(...)`` returns."""

    # The first that fits is meant.
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncCached[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T]], /) -> AsyncCachedGenerator[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, Iterator[T]], /) -> CachedGenerator[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, R], /) -> Cached[P, R]: ...


def wrap(cache: Any, function: Any, options: Options) -> Any:
    """The wrapper of a function.

    Raises:
        TypeError: it cannot be called, its code cannot be followed and no version is passed, or an option is wrong.
        ValueError: an option has a value that makes no sense.
    """
    import inspect

    inner = inside(function)
    if not callable(inner):
        raise TypeError(
            f"cache.cached: {function!r} is no function; pass options by name, as in name={function!r}"
        )
    called: Any = inner
    if not inspect.isroutine(inner) and not isinstance(inner, type) and not hasattr(inner, "func"):
        called = type(inner).__call__
    kind: Any = Cached
    if inspect.iscoroutinefunction(called):
        kind = AsyncCached
    elif inspect.isasyncgenfunction(called):
        kind = AsyncCachedGenerator
    elif inspect.isgeneratorfunction(called):
        kind = CachedGenerator
    return kind(cache, function, options)
