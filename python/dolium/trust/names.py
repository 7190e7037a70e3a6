"""The functions that the names in a foreign pickle stand for.

The native module has the table of these names, and reads the pickle. Each function takes the
arguments that :mod:`pickle` passes for the type, checks them, and makes the value. It takes no other
form.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

from .._dolium import plain_names
from . import arrays
from .values import Args, Maker, Name, Pending, exactly, is_ints, is_texts, refuse


def _encode(args: tuple[Any, ...]) -> bytes:
    """``_codecs.encode``: how protocols 0 to 2 carry bytes."""
    text, encoding = args
    if not exactly(text, str) or encoding not in ("latin1", "latin-1"):
        refuse("_codecs.encode with an encoding other than latin1")
    return text.encode("latin-1")


def _bytes(args: tuple[Any, ...]) -> bytes:
    return _encode(args) if args else b""


def _bytearray(args: tuple[Any, ...]) -> bytearray:
    if len(args) == 1 and exactly(args[0], bytes):
        return bytearray(args[0])
    return bytearray(_bytes(args))


def _complex(args: tuple[Any, ...]) -> complex:
    real, imaginary = args
    if not exactly(real, float) or not exactly(imaginary, float):
        refuse("builtins.complex of something other than floats")
    return complex(real, imaginary)


def _decimal(args: tuple[Any, ...]) -> Decimal:
    if len(args) != 1 or not is_texts(args):
        refuse("decimal.Decimal of something other than text")
    return Decimal(args[0])


def _packed(args: tuple[Any, ...], length: int) -> tuple[bytes, Any]:
    """The state of a date or time, and its time zone."""
    state, *zone = args
    if not exactly(state, bytes) or len(state) != length or len(zone) > 1:
        refuse("a date or time in an unknown form")
    tz: Any = zone[0] if zone else None
    if tz is not None and not exactly(tz, timezone, _zone_class()):
        refuse("a time zone that is not plain data")
    return state, tz


def _date(args: tuple[Any, ...]) -> date:
    state, _ = _packed(args, 4)
    return date(int.from_bytes(state[:2], "big"), state[2], state[3])


def _time(args: tuple[Any, ...]) -> time:
    state, zone = _packed(args, 6)
    micro = int.from_bytes(state[3:], "big")
    return time(state[0] & 0x7F, state[1], state[2], micro, zone, fold=state[0] >> 7)


def _datetime(args: tuple[Any, ...]) -> datetime:
    state, zone = _packed(args, 10)
    year, micro = int.from_bytes(state[:2], "big"), int.from_bytes(state[7:], "big")
    month, fold = state[2] & 0x7F, state[2] >> 7
    day, hour, minute, second = state[3:7]
    return datetime(year, month, day, hour, minute, second, micro, zone, fold=fold)


def _timedelta(args: tuple[Any, ...]) -> timedelta:
    if not is_ints(args):
        refuse("datetime.timedelta of something other than integers")
    return timedelta(*args)


def _timezone(args: tuple[Any, ...]) -> timezone:
    offset, *name = args
    if not exactly(offset, timedelta) or len(name) > 1 or not is_texts(tuple(name)):
        refuse("datetime.timezone in an unknown form")
    return timezone(offset, *name)


def _set(args: tuple[Any, ...]) -> set[Any]:
    return set(_items(args))


def _frozenset(args: tuple[Any, ...]) -> frozenset[Any]:
    return frozenset(_items(args))


def _items(args: tuple[Any, ...]) -> list[Any] | tuple[Any, ...]:
    if not args:
        return ()
    if len(args) == 1 and exactly(args[0], list, tuple):
        return args[0]
    return refuse("a container of something other than a list")


def _range(args: tuple[Any, ...]) -> range:
    if not is_ints(args):
        refuse("builtins.range of something other than integers")
    return range(*args)


def _slice(args: tuple[Any, ...]) -> slice:
    return slice(*args)


def _ordered(args: tuple[Any, ...]) -> OrderedDict[Any, Any]:
    return OrderedDict(_items(args))


def _counter(args: tuple[Any, ...]) -> Counter[Any]:
    if len(args) != 1 or not exactly(args[0], dict):
        refuse("collections.Counter of something other than a dict")
    return Counter(args[0])


def _deque(args: tuple[Any, ...]) -> deque[Any]:
    limit: Any = args[1] if len(args) == 2 else None
    if len(args) > 2 or (limit is not None and not exactly(limit, int)):
        refuse("collections.deque in an unknown form")
    return deque(_items(args[:1]), limit)


def _defaultdict(args: tuple[Any, ...]) -> defaultdict[Any, Any]:
    factory: Any = args[0] if args else None
    if len(args) > 1:
        refuse("collections.defaultdict in an unknown form")
    if factory is None:
        return defaultdict(None)
    if not exactly(factory, Name) or factory.where not in _FACTORIES:
        refuse(f"collections.defaultdict of {factory}")
    return defaultdict(_FACTORIES[factory.where])


def _fraction(args: tuple[Any, ...]) -> Any:
    from fractions import Fraction

    # Text with an exponent can stand for a number of any size.
    if len(args) == 1 and is_texts(args) and re.fullmatch(r"-?\d+(/\d+)?", args[0]):
        return Fraction(args[0])
    if len(args) == 2 and is_ints(args):
        return Fraction(*args)
    return refuse("fractions.Fraction in an unknown form")


def _path(name: str) -> Callable[[tuple[Any, ...]], Any]:
    def make(args: tuple[Any, ...]) -> Any:
        import pathlib

        if not is_texts(args):
            refuse(f"pathlib.{name} of something other than text")
        return getattr(pathlib, name)(*args)

    return make


def _zone_class() -> Any:
    import zoneinfo

    return zoneinfo.ZoneInfo


def _zone(args: tuple[Any, ...]) -> Any:
    # The key becomes the name of a file and of a package inside tzdata.
    if not args or not is_texts(args[:1]) or not re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", args[0]):
        refuse("a zoneinfo.ZoneInfo without a proper key")
    return _zone_class()(args[0])


def _getattr(args: tuple[Any, ...]) -> Any:
    """``getattr(ZoneInfo, '_unpickle')`` is how a time zone is pickled. Nothing is looked up."""
    owner, attribute = args
    if exactly(owner, Name) and owner.where == ("zoneinfo", "ZoneInfo") and attribute == "_unpickle":
        return Name(owner.where, _zone)
    return refuse("builtins.getattr")


def _new_uuid(args: tuple[Any, ...]) -> Pending:
    if args:
        refuse("uuid.UUID in an unknown form")

    def build(state: Any) -> Any:
        import uuid

        if not exactly(state, dict) or state.keys() - {"int", "is_safe"}:
            refuse("uuid.UUID in an unknown form")
        number: Any = state["int"]
        safe: Any = state.get("is_safe", uuid.SafeUUID.unknown.value)
        if not exactly(number, int) or not exactly(safe, int, type(None)):
            refuse("uuid.UUID in an unknown form")
        return uuid.UUID(int=number, is_safe=uuid.SafeUUID(safe))

    return Pending(build)


def _reconstructor(args: tuple[Any, ...]) -> Pending:
    """``copyreg._reconstructor``: protocols 0 and 1 make a UUID with it."""
    cls, base, state = args
    if not exactly(cls, Name) or not exactly(base, Name) or state is not None:
        refuse("copyreg._reconstructor")
    if cls.where != ("uuid", "UUID") or base.where != ("builtins", "object"):
        refuse(str(cls))
    return _new_uuid(())


# -- The tables -----------------------------------------------------------------------------------


#: What rebuilds each name of the native module's table.
_MAKERS: dict[str, Maker] = {
    "array": arrays.reconstruct,
    "array_of_buffer": arrays.frombuffer,
    "array_scalar": arrays.scalar,
    "bytearray": _bytearray,
    "bytes": _bytes,
    "complex": _complex,
    "counter": _counter,
    "date": _date,
    "datetime": _datetime,
    "decimal": _decimal,
    "defaultdict": _defaultdict,
    "deque": _deque,
    "dtype": arrays.dtype,
    "encode": _encode,
    "fraction": _fraction,
    "frozenset": _frozenset,
    "getattr": _getattr,
    "ordered": _ordered,
    "posix_path": _path("PosixPath"),
    "pure_posix_path": _path("PurePosixPath"),
    "pure_windows_path": _path("PureWindowsPath"),
    "range": _range,
    "reconstructor": _reconstructor,
    "set": _set,
    "slice": _slice,
    "time": _time,
    "timedelta": _timedelta,
    "timezone": _timezone,
    "uuid": _new_uuid,
    "windows_path": _path("WindowsPath"),
    "zone": _zone,
}

_FACTORIES: dict[tuple[str, str], type] = {
    ("builtins", cls.__name__): cls
    for cls in (bool, bytes, dict, float, frozenset, int, list, set, str, tuple)
}

_CONSTANTS: dict[str, Any] = {"ellipsis": ...}


def _found(where: tuple[str, str], maker: str | None, takes_names: bool) -> Any:
    if maker is None:
        return Name(where, None)
    return _CONSTANTS[maker] if maker in _CONSTANTS else Name(where, _MAKERS[maker], takes_names)


#: A :class:`Name`, or the constant of that name.
_PLAIN: dict[tuple[str, str], Any] = {name: _found(*row) for name, row in plain_names().items()}


# -- What the native reader asks ------------------------------------------------------------------


def lookup(module: str, name: str) -> Any:
    """Return what a name stands for: a :class:`Name`, or the constant of that name."""
    found = _PLAIN.get((module, name))
    if found is None:
        refuse(f"{module}.{name}")
    return found


def call(callee: Any, args: Any) -> Any:
    """Return what a name makes of arguments: data, a :class:`Name` or a :class:`Pending`."""
    if not exactly(callee, Name):
        refuse("a call of something that is no name")
    if callee.make is None:
        refuse(str(callee))
    if exactly(args, Args) and not callee.takes_names:
        refuse(f"{callee} of something that is not data")
    if not exactly(args, tuple, Args):
        raise TypeError("arguments are a tuple")
    return callee.make(args)


def instance(callee: Any, args: Any) -> Any:
    """Return the same for a call of ``__new__``."""
    if not exactly(callee, Name) or callee.where != ("uuid", "UUID"):
        refuse(f"{callee} by __new__")
    return call(callee, args)


def build(target: Any, state: Any) -> Any:
    """Return what a state completes."""
    if not exactly(target, Pending):
        refuse(f"the state of a {type(target).__name__}")
    return target.build(state)
