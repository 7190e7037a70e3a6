"""The value of a constant: how large it is, and its fingerprint, in which functions stand by their name.

A table of functions is a constant, too. Its functions are followed like those that are named, so the table itself
holds only what they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from .subject import kind_of

LIMIT = 1 << 20
"""Larger values are not followed."""

IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, range, Enum)
CODE = (FunctionType, BuiltinFunctionType, MethodType, type, ModuleType)


def is_frozen(value: object) -> bool:
    """Says whether no method of an object changes it, as far as its class says."""
    parameters = getattr(type(value), "__dataclass_params__", None)
    return isinstance(value, (tuple, *IMMUTABLE)) or bool(parameters and parameters.frozen)


def is_too_large(value: object) -> bool:
    """Says whether a value and its parts take more than :data:`LIMIT` bytes, as far as they are known."""
    return _size(value, LIMIT, set()) > LIMIT


def _size(value: Any, left: int, seen: set[int]) -> int:
    if id(value) in seen:
        return 0
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, (tuple, list, set, frozenset, dict)):
        seen.add(id(value))  # type: ignore[reportUnknownArgumentType]
        total = 0
        items: Any = (part for pair in value.items() for part in pair) if isinstance(value, dict) else value  # type: ignore[reportUnknownVariableType]
        for item in items:
            total += 8 + _size(item, left - total, seen)
            if total > left:
                break
        return total
    kind = kind_of(value)
    for attribute in ("nbytes", "__sizeof__"):
        try:
            size = getattr(kind, attribute, None) and getattr(value, attribute)
            size = size() if callable(size) else size
        except Exception:
            size = None
        if isinstance(size, int):
            return size
    return 0


def fingerprint(value: object) -> bytes:
    """The fingerprint of a value. Any exception says that it has none."""
    from importlib import import_module

    fingerprint_of: Callable[[object], bytes] = import_module("dolium.functions.fingerprint").fingerprint
    return fingerprint_of(value)


def without_code(value: Any, name_of: Callable[[Any], str]) -> Any:
    """The value with the names of functions, classes and modules in their place, through built-in containers."""
    return _without(value, name_of, set())


def _without(value: Any, name_of: Callable[[Any], str], above: set[int]) -> Any:
    kind = kind_of(value)
    if isinstance(value, CODE):
        return ("\0code", name_of(value))
    if kind not in (tuple, list, set, frozenset, dict):
        return value
    if id(value) in above:
        raise ValueError("the value contains itself")
    above.add(id(value))
    made: Any
    if kind is dict:
        made = {_without(key, name_of, above): _without(item, name_of, above) for key, item in value.items()}
    else:
        build: Any = kind
        made = build(_without(item, name_of, above) for item in value)
    above.discard(id(value))
    return made


def described(value: object) -> str:
    """A phrase for the type of a value: ``a logging.Logger``."""
    kind = type(value)
    if isinstance(value, ModuleType):
        return "a module, of which only attributes are followed that the code names"
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
