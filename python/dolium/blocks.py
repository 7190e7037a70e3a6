"""Decorators that run a function inside a ``with`` block, whatever kind of function it is.

A coroutine or a generator has not run yet when its function returns. The block therefore lasts from its first step to
its end, and not only during the call.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar, cast

from .memo import is_coroutine_function

F = TypeVar("F", bound=Callable[..., Any])


def is_async(func: Callable[..., Any]) -> bool:
    """Whether `func` is a coroutine function or an asynchronous generator function."""
    import inspect  # slow to import: only for programs that decorate

    return is_coroutine_function(func) or inspect.isasyncgenfunction(_called(func))


def wrap(func: F, block: Callable[[], AbstractContextManager[Any]]) -> F:
    """Make a function of the same kind that runs `func` inside a `block`.

    Args:
        block: Makes the context manager of one run; an asynchronous `func` awaits inside it.
    """
    return _wrap(func, block, lambda: _Entered(block()))


def wrap_async(func: F, block: Callable[[], AbstractAsyncContextManager[Any]]) -> F:
    """The same for an asynchronous `func`, which awaits the `block`, too."""
    return _wrap(func, None, block)


class _Entered:
    """A context manager for ``async with``."""

    def __init__(self, block: AbstractContextManager[Any]) -> None:
        self._block = block

    async def __aenter__(self) -> None:
        self._block.__enter__()

    async def __aexit__(self, *raised: Any) -> bool | None:
        return self._block.__exit__(*raised)


def _called(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a call of `func` runs: for a callable object, its method."""
    while isinstance(func, functools.partial):
        func = cast("functools.partial[Any]", func).func
    is_plain = isinstance(func, type) or hasattr(func, "__code__") or hasattr(func, "__func__")
    return func if is_plain else getattr(type(func), "__call__", func)  # noqa: B004 (looked at, not called)


def _wrap(
    func: Any,
    block: Callable[[], AbstractContextManager[Any]] | None,
    async_block: Callable[[], AbstractAsyncContextManager[Any]],
) -> Any:
    import inspect

    if is_coroutine_function(func):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            async with async_block():
                return await func(*args, **kwargs)

        return functools.wraps(func)(coroutine)
    if inspect.isasyncgenfunction(_called(func)):

        async def async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            async with async_block():
                inner = func(*args, **kwargs)
                step: Any = inner.__anext__()
                while True:
                    try:
                        value = await step
                    except StopAsyncIteration:
                        return
                    try:
                        step = inner.asend((yield value))
                    except GeneratorExit:
                        await inner.aclose()
                        raise
                    except BaseException as error:
                        step = inner.athrow(error)

        return functools.wraps(func)(async_generator)
    assert block is not None
    if inspect.isgeneratorfunction(_called(func)):

        def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with block():
                inner: Generator[Any, Any, Any] = func(*args, **kwargs)
                return (yield from inner)

        return functools.wraps(func)(generator)

    def function(*args: Any, **kwargs: Any) -> Any:
        with block():
            result = func(*args, **kwargs)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(
                    f"{func!r} returned a coroutine, which would run outside of the block; "
                    "decorate the coroutine function itself"
                )
            return result

    return functools.wraps(func)(function)
