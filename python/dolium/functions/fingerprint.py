"""Fingerprints of values, and what stands for a value of a type that Python has not built in.

The walk over built-in types is native. It asks :func:`handler` for all others. A handler describes one value: it
returns the name of its type and its parts, a text that says what the value is if it has no fingerprint, or ``None``.
Types of other libraries are found through ``sys.modules``; nothing is imported before such a value is met.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from .._dolium import _fingerprint  # pyright: ignore[reportPrivateUsage]

__all__ = ["Description", "Handler", "fingerprint", "handler", "name_of", "type_name", "type_of"]

T = TypeVar("T")

Description = tuple[str, Any] | str | None
Handler = Callable[[Any], Description]

_BUILT_IN: Final = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        bytearray,
        tuple,
        list,
        set,
        frozenset,
        dict,
        range,
        slice,
    }
)

_registered: WeakKeyDictionary[type, Callable[[Any], object]] = WeakKeyDictionary()
_handlers: WeakKeyDictionary[type, Handler] = WeakKeyDictionary()


class Fingerprint:
    """Identifies values, as ``dolium.fingerprint``."""

    def __call__(self, value: object, /) -> bytes:
        """The fingerprint of `value`: 20 bytes that two values share if and only if types and contents are equal.

        It is the same in every process, on every machine and with every version of Python.

        >>> fingerprint({"a": 1, "b": [2.5, "x"]}) == fingerprint({"b": [2.5, "x"], "a": 1})
        True
        >>> fingerprint(1) == fingerprint(1.0)
        False

        Raises:
            UnkeyableError: the value, or a part of it, is of a type that is not known, or it contains itself.
        """
        return _fingerprint(value)

    def register(self, kind: type[T], function: Callable[[T], object], /) -> None:
        """Let `function` say what counts of a value of type `kind`, as its method ``__fingerprint__`` would.

        What it returns is fingerprinted, beside the name of the value's type. It serves subclasses, too, except
        for those that are registered themselves or define ``__fingerprint__``.

        >>> import threading
        >>> fingerprint.register(threading.Thread, lambda thread: thread.name)

        Raises:
            TypeError: `kind` is no class, or one whose values Python has built in.
        """
        if not isinstance(kind, type):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"fingerprint.register: {kind!r} is no class; pass a class and a function")
        if kind in _BUILT_IN or kind is object:
            raise TypeError(
                f"fingerprint.register: {kind.__name__} has its own fingerprint; register another class"
            )
        if not callable(function):
            raise TypeError(f"fingerprint.register: {function!r} is no function; pass a class and a function")
        _registered[kind] = function
        _handlers.clear()


fingerprint: Final = Fingerprint()


def type_name(cls: type) -> str:
    """The name by which a type counts.

    >>> from collections import OrderedDict
    >>> type_name(OrderedDict)
    'collections:OrderedDict'
    """
    from .key import module_name

    return f"{module_name(cls.__module__)}:{cls.__qualname__}"


def type_of(value: object) -> type:
    """The type of a value, whatever its ``__class__`` says."""
    return type(value)


def name_of(value: object) -> str:
    """The name by which the type of a value counts."""
    return type_name(type(value))


def handler(cls: type) -> Handler | None:
    """What describes the values of a type; ``None`` if nothing does."""
    known = _handlers.get(cls)
    if known is None:
        known = _by_request(cls) or _by_library(cls) or _by_base(cls)
        if known is not None:
            _handlers[cls] = known
    return known


def _by_request(cls: type) -> Handler | None:
    """The nearest base that is registered or defines ``__fingerprint__`` speaks."""
    for base in cls.__mro__:
        name = type_name(cls)
        registered = _registered.get(base)
        if registered is not None:
            return lambda value: (name, registered(value))
        if vars(base).get("__fingerprint__") is not None:
            return lambda value: (name, _ask(value, type(value)))
    return None


def _ask(value: object, cls: Any) -> object:
    return cls.__fingerprint__(value)


_LIBRARIES: Final = {
    "numpy": "arrays",
    "torch": "tensors",
    "jax": "tensors",
    "jaxlib": "tensors",
    "scipy": "tensors",
    "PIL": "images",
    "pandas": "frames",
    "polars": "tables",
    "pyarrow": "tables",
}
"""Packages, and the module beside this one that describes their values."""


def _by_library(cls: type) -> Handler | None:
    from importlib import import_module

    for base in cls.__mro__:
        library = base.__module__.partition(".")[0]
        if library in _LIBRARIES and library in sys.modules:
            module = import_module(f"{__package__}.{_LIBRARIES[library]}")
            return module.handler(cls)
    if hasattr(cls, "__arrow_c_stream__"):
        from . import tables

        return tables.handler(cls)
    return None


def _by_base(cls: type) -> Handler | None:
    from . import standard

    return standard.handler(cls)
