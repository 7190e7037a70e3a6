"""What a callable is made of: the Python functions and classes behind partials, methods and wrappers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeGuard, cast

NOTHING: Any = object()
"""Stands for a value that is not there."""


def kind_of(value: object) -> type[Any]:
    """The type of a value, which `__class__` of a proxy is not."""
    return type(value)


def is_module(value: object) -> TypeGuard[ModuleType]:
    """Says whether a value is a module, without asking a proxy for its `__class__`."""
    return issubclass(type(value), ModuleType)


def unwrapped(value: Any) -> Any:
    """One step inwards from a callable to what it calls, or None."""
    if isinstance(value, (functools.partial, functools.partialmethod)):
        return value.func  # type: ignore[reportUnknownMemberType]
    if isinstance(value, (MethodType, staticmethod, classmethod)):
        return value.__func__  # type: ignore[reportUnknownMemberType]
    try:
        # Not by getattr alone: a proxy may load something when it is asked.
        kind = kind_of(value)
        places: list[Any] = [vars(value), *map(vars, kind.__mro__)]
        return value.__wrapped__ if any("__wrapped__" in place for place in places) else None
    except Exception:  # no attributes at all, or a proxy without its object
        return None


def subject(value: Any) -> FunctionType | type:
    """The function or class that `value` is, or that is found by going inwards.

    :raises TypeError: if there is none.
    """
    current, steps = value, 0
    while current is not None and steps < 100:
        if isinstance(current, (FunctionType, type)) and hasattr(current, "__module__"):
            if isinstance(current, FunctionType) or not _is_builtin(current):
                return current
            break
        inner = unwrapped(current)
        if inner is None and not isinstance(current, type):
            kind = kind_of(current)
            if isinstance(attribute(kind, "__call__"), FunctionType):
                return kind
        current, steps = inner, steps + 1
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    raise TypeError(f"{name} has no Python code that dolium could follow; pass version= to name its version")


def _is_builtin(kind: type) -> bool:
    return not kind.__flags__ & (1 << 9)  # no heap type: a class of C


def attribute(value: Any, name: str) -> Any:
    """An attribute without running code: of the object itself, or of its class."""
    kind = kind_of(value)
    for place in (value, *kind.__mro__):
        found = _vars(place)
        if name in found:
            return found[name]
    return NOTHING


def _vars(value: Any) -> Mapping[str, Any]:
    try:
        return cast("Mapping[str, Any]", vars(value))
    except TypeError:
        return {}
