"""The names under which functions are memoized, and the warning of two functions that share one."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Final, cast

from ._dolium import warn
from .errors import SharedNameWarning, UnstoredResultWarning

_named: dict[tuple[str, str], Any] = {}
"""What was memoized in a directory under a name: the first function, or None once that was warned of."""

_MANY_NAMES: Final = 10_000


def full_name(func: Callable[..., Any]) -> str:
    """The module and qualified name of `func`, joined by a dot: the first part of its keys.

    >>> from textwrap import TextWrapper
    >>> full_name(TextWrapper.wrap)
    'textwrap.TextWrapper.wrap'
    """
    return f"{func.__module__}.{func.__qualname__}"


def warn_of_shared_name(cache: object, func: Callable[..., Any]) -> None:
    """Warn, once for each cache and name, of a function that would get the results of another.

    A function that is made again by the same code, when its module is reloaded or its cell in a
    notebook is run again, is the same function.
    """
    place = getattr(cache, "directory", None)
    mark = _substance(func)
    if place is None or mark is None:
        return
    where = (str(place), full_name(func))
    if len(_named) > _MANY_NAMES:
        _named.clear()
    first = _named.setdefault(where, mark)
    if first is None or first == mark:
        return
    _named[where] = None
    message = (
        f"two functions are memoized as {where[1]!r} in {where[0]}: each is given the other's results; "
        "pass name= to one of them"
    )
    warn(SharedNameWarning, message)


_unstored: set[tuple[str, str]] = set()
"""Functions whose results could not be stored, by directory and name, once that was warned of."""


def warn_unstored(cache: object, func: Callable[..., Any], value: object, error: Exception) -> None:
    """Warn, once for each cache and function, that a result is not stored, so each call computes it again."""
    name = full_name(func) if hasattr(func, "__qualname__") else repr(type(func))
    where = (str(getattr(cache, "directory", "")), name)
    if where in _unstored:
        return
    if len(_unstored) > _MANY_NAMES:
        _unstored.clear()
    _unstored.add(where)
    message = (
        f"{where[0]}: a result of {name}(), a {type(value).__name__}, is not stored ({type(error).__name__}: {error}); "
        "return a value that can be pickled, or free some space"
    )
    warn(UnstoredResultWarning, message)


def _substance(func: Any) -> Any:
    """What a function of Python computes by, so far as it can be compared; None of anything else."""
    while hasattr(func, "__wrapped__"):
        func = func.__wrapped__
    if not isinstance(func, FunctionType):
        return None
    cells = tuple(_contents(cell) for cell in func.__closure__ or ())
    defaults = *(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).items()
    return _of_code(func.__code__), tuple(map(_plain, defaults)), cells


def _of_code(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_of_code(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants


def _contents(cell: Any) -> str | None:
    try:
        return _plain(cell.cell_contents)
    except ValueError:
        return None  # a name that is not bound yet: the function's own, mostly


def _plain(value: Any) -> str | None:
    """What can be told of a value; of others not even whether they are equal, once a module is reloaded."""
    if type(value) is tuple:
        return repr([_plain(part) for part in cast("tuple[Any, ...]", value)])
    return repr(value) if type(value) in _PLAIN else None


_PLAIN: Final = frozenset({bool, bytes, complex, float, int, str, type(None)})
