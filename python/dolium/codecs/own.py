"""Codecs of a program, by their names: the newest of a name reads what another of that name has written."""

from __future__ import annotations

from typing import Any, Final

from .._dolium import warn
from ..errors import UnreadableValueError, UnreadableValueWarning

__all__ = ["Named", "find", "label", "split"]

_CLASSES: Final[dict[tuple[str, str], type]] = {}
_NEWEST: Final[dict[tuple[str, str], Any]] = {}
_TOLD: Final[set[tuple[str, str]]] = set()


class Named:
    """The base class of encoders and filters: those of a program are known by their attribute `name`."""

    name: str = ""
    """What readers know it by."""
    _kind = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in cls.__dict__ and cls.name:
            label(cls.name)
            _CLASSES[cls._kind, cls.name] = cls

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        made = super().__new__(cls)
        if cls.name:
            _NEWEST[cls._kind, cls.name] = made
        return made


def label(name: str) -> bytes:
    """The name as it stands before the bytes."""
    encoded = name.encode()
    if not 0 < len(encoded) < 256:
        raise ValueError(f"name: {name!r} has {len(encoded)} bytes in UTF-8; use 1 to 255")
    return bytes([len(encoded)]) + encoded


def split(data: Any) -> tuple[str, memoryview]:
    """The name before the bytes, and the bytes."""
    view = memoryview(data)
    end = 1 + view[0]
    return bytes(view[1:end]).decode(), view[end:]


def find(kind: str, name: str) -> Any:
    """The encoder or filter of a name.

    Raises:
        UnreadableValueError: This process has none.
    """
    known = _NEWEST.get((kind, name))
    if known is None and (cls := _CLASSES.get((kind, name))) is not None:
        known = cls()
    if known is not None:
        return known
    message = f"a value was stored by the {kind} {name!r}, which this process has not defined"
    if (kind, name) not in _TOLD:
        _TOLD.add((kind, name))
        warn(UnreadableValueWarning, f"{message}; the value counts as missing")
    raise UnreadableValueError(message)
