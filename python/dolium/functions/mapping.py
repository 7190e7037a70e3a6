"""The method `map` of wrapped functions and of bound ones. The package `dolium.jobs` does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..jobs.async_run import AsyncRun
    from ..jobs.figures import Figures
    from ..jobs.outcome import Failure
    from ..jobs.run import Run

    Progress = bool | Callable[[Figures], object]

R = TypeVar("R", covariant=True)


class Maps(Generic[R]):
    """A wrapped function that can be called with many arguments, by several workers."""

    __slots__ = ()

    @overload
    def map(
        self,
        *iterables: Iterable[Any],
        common: Mapping[str, Any] = {},
        workers: int | Executor | None = None,
        ordered: bool = True,
        errors: Literal["raise"] = "raise",
        progress: Progress = False,
    ) -> Run[R]: ...
    @overload
    def map(
        self,
        *iterables: Iterable[Any],
        common: Mapping[str, Any] = {},
        workers: int | Executor | None = None,
        ordered: bool = True,
        errors: Literal["collect"],
        progress: Progress = False,
    ) -> Run[R | Failure]: ...
    def map(
        self,
        *iterables: Iterable[Any],
        common: Mapping[str, Any] = {},
        workers: Any = None,
        ordered: bool = True,
        errors: str = "raise",
        progress: Progress = False,
    ) -> Any:
        """Call the function with each item, in worker processes, and iterate over the results.

        Results that the cache has need no worker. Workers store each result when it is there, so a job that was killed
        and started again computes the rest only, and two runs of one job share the work.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> @cache.cached(version="1")
        ... def area(width, height, unit="m"):
        ...     return f"{width * height} {unit}"
        >>> list(area.map([1, 2], [3, 4], common={"unit": "cm"}, workers=2))
        ['3 cm', '8 cm']

        Args:
            iterables: One for each positional argument, as for the built-in `map`. They are read as the run goes on,
                and at most twice the number of workers ahead.
            common: Arguments by name that all calls get.
            workers: How many processes, by default one for each processor; or an executor of `concurrent.futures`.
            ordered: Whether results come in the order of the input, or as they are ready.
            errors: With "raise" the first exception ends the run, after the items that are under way. With "collect" a
                :class:`~dolium.Failure` stands in the place of the result.
            progress: True for a bar of tqdm, or a function that gets the figures after each item.
        """
        return import_module("dolium.jobs").map_calls(
            self, iterables, common, workers, ordered, errors, progress
        )


class AsyncMaps(Generic[R]):
    """A wrapped coroutine function that can be called with many arguments, by several tasks."""

    __slots__ = ()

    @overload
    def map(
        self,
        *iterables: Iterable[Any],
        common: Mapping[str, Any] = {},
        workers: int | None = None,
        ordered: bool = True,
        errors: Literal["raise"] = "raise",
        progress: Progress = False,
    ) -> AsyncRun[R]: ...
    @overload
    def map(
        self,
        *iterables: Iterable[Any],
        common: Mapping[str, Any] = {},
        workers: int | None = None,
        ordered: bool = True,
        errors: Literal["collect"],
        progress: Progress = False,
    ) -> AsyncRun[R | Failure]: ...
    def map(
        self,
        *iterables: Iterable[Any],
        common: Mapping[str, Any] = {},
        workers: int | None = None,
        ordered: bool = True,
        errors: str = "raise",
        progress: Progress = False,
    ) -> Any:
        """Call the function with each item, in tasks of the running loop, and iterate over the results.

        `workers` is the number of tasks, by default 16. All else is as for ordinary functions.

        >>> import asyncio, dolium
        >>> cache = dolium.Cache()
        >>> @cache.cached(version="1")
        ... async def square(number):
        ...     return number * number
        >>> async def total():
        ...     return sum([result async for result in square.map(range(4))])
        >>> asyncio.run(total())
        14
        """
        return import_module("dolium.jobs").map_calls(
            self, iterables, common, workers, ordered, errors, progress
        )
