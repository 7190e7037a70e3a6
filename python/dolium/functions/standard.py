"""What counts of values of the standard library, of data classes, and of functions, classes and modules."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from .fingerprint import Description, Handler, name_of, type_name, type_of
from .key import module_name

__all__ = ["handler"]


def handler(cls: type) -> Handler | None:
    """What describes the values of a type of the standard library, or of one that is made of such values."""
    named = _NAMED.get((cls.__module__, cls.__qualname__))
    if named is not None and _found(cls.__module__, cls.__qualname__) is cls:
        return named
    if is_metaclass(cls):
        return _class
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(cls, enum.Enum):
        return _flag if issubclass(cls, enum.Flag) else _member
    return _of_parts(cls)


def is_metaclass(cls: type) -> bool:
    return issubclass(cls, type)


def _found(module: str, name: str) -> object:
    """What has a name in a module that was imported."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


# Values with parts of their own


def _ordered_dict(value: Any) -> Description:
    items: Any = _found("collections", "OrderedDict.items")
    return "collections:OrderedDict", [*items(value)]


def _decimal(value: Any) -> Description:
    sign, digits, exponent = value.as_tuple()
    return "decimal:Decimal", (sign, bytes(digits), exponent)


def _fraction(value: Any) -> Description:
    return "fractions:Fraction", (value.numerator, value.denominator)


def _uuid(value: Any) -> Description:
    return "uuid:UUID", value.int


def _path(value: Any) -> Description:
    path: Any = _found("pathlib", "PurePath.__fspath__")
    return f"pathlib:{type(value).__name__}", path(value)


def _pattern(value: Any) -> Description:
    return "re:Pattern", (value.pattern, value.flags)


def _date(value: Any) -> Description:
    return "datetime:date", (value.year, value.month, value.day)


def _time_parts(value: Any) -> tuple[Any, ...]:
    return (value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo)


def _datetime(value: Any) -> Description:
    return "datetime:datetime", (value.year, value.month, value.day, *_time_parts(value))


def _time(value: Any) -> Description:
    return "datetime:time", _time_parts(value)


def _timedelta(value: Any) -> Description:
    return "datetime:timedelta", (value.days, value.seconds, value.microseconds)


def _timezone(value: Any) -> Description:
    return "datetime:timezone", (value.utcoffset(None), value.tzname(None))


def _zone(value: Any) -> Description:
    return "a ZoneInfo without a key" if value.key is None else ("zoneinfo:ZoneInfo", value.key)


def _not_implemented(_: Any) -> Description:
    return "builtins:NotImplementedType", None


def _member(value: Any) -> Description:
    return name_of(value), {"name": value._name_, "value": value._value_}


def _flag(value: Any) -> Description:
    # The name of a combination differs between versions of Python.
    return name_of(value), {"value": value._value_}


# Functions, classes and modules


def _code(value: Any) -> str:
    """The version of a function or a class."""
    code: Callable[[Any], str] = import_module(f"{__package__}.version").code
    return code(value)


def _function(value: types.FunctionType) -> Description:
    cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    return (
        f"{module_name(value.__module__ or '')}:{value.__qualname__}",
        {
            "__code__": _code(value),
            "__closure__": {name: content(cell) for name, cell in cells if not _holds(cell, value)},
            "__defaults__": value.__defaults__,
            "__kwdefaults__": value.__kwdefaults__,
        },
    )


class Empty:
    """What is in a free variable before it gets a value."""

    def __fingerprint__(self) -> object:
        return None


EMPTY: Final = Empty()


def content(cell: types.CellType) -> object:
    """The value of a free variable, or :data:`EMPTY`."""
    try:
        return cell.cell_contents
    except ValueError:
        return EMPTY


def _holds(cell: types.CellType, function: types.FunctionType) -> bool:
    """Whether a free variable of a function is the function itself, or wraps it."""
    held = content(cell)
    return held is function or getattr(held, "__wrapped__", None) is function


def _method(value: types.MethodType) -> Description:
    return "types:MethodType", {"__func__": value.__func__, "__self__": value.__self__}


def _native(value: Any) -> Description:
    """A function in C: its name, and the object that it is a method of."""
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return "types:BuiltinFunctionType", f"{value.__module__}:{value.__qualname__}"
    return "types:BuiltinMethodType", {"__name__": value.__name__, "__self__": owner}


def _descriptor(value: Any) -> Description:
    return "types:MethodDescriptorType", f"{type_name(value.__objclass__)}.{value.__name__}"


def _class(value: type) -> Description:
    name = type_name(value)
    if not _is_python(value):
        return "builtins:type", name
    return name, {"__code__": _code(value)}


def _partial(value: Any) -> Description:
    parts: dict[str, Any] = {
        "func": value.func,
        "args": value.args,
        "keywords": value.keywords,
        "__dict__": vars(value),
    }
    return name_of(value), parts


def _wrapper(value: Any) -> Description:
    return "functools:lru_cache", {"__wrapped__": value.__wrapped__}


def _module(value: types.ModuleType) -> Description:
    return "types:ModuleType", module_name(value.__name__)


_NAMED: Final[Mapping[tuple[str, str], Handler]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): _fraction,
    ("uuid", "UUID"): _uuid,
    **{
        (module, name): _path
        for module in ("pathlib", "pathlib._local")  # the second on 3.13
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
    },
    ("re", "Pattern"): _pattern,
    ("datetime", "date"): _date,
    ("datetime", "datetime"): _datetime,
    ("datetime", "time"): _time,
    ("datetime", "timedelta"): _timedelta,
    ("datetime", "timezone"): _timezone,
    ("zoneinfo", "ZoneInfo"): _zone,
    ("functools", "partial"): _partial,
    ("functools", "_lru_cache_wrapper"): _wrapper,
}
"""By module and name, so that no module is imported for it."""

_UNNAMED: Final[Mapping[type, Handler]] = {
    types.FunctionType: _function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _native,
    types.MethodDescriptorType: _descriptor,
    types.WrapperDescriptorType: _descriptor,
    types.ClassMethodDescriptorType: _descriptor,
    types.ModuleType: _module,
    type(NotImplemented): _not_implemented,
}

# Types that are made of others


def _method_of(base: Any, name: str, *args: object) -> Callable[[Any], object]:
    method = getattr(base, name)
    return lambda value: method(value, *args)


def _same_items(base: Any) -> Callable[[Any], object]:
    return lambda value: base(base.__iter__(value))


_BASES: Final[Mapping[type, Callable[[Any], object]]] = {
    **{base: _method_of(base, "__pos__") for base in (int, float, complex)},
    **{base: _method_of(base, "__getitem__", slice(None)) for base in (bytes, bytearray, tuple, list)},
    **{base: _same_items(base) for base in (set, frozenset)},
    str: _method_of(str, "__str__"),
    dict: _method_of(dict, "copy"),
}
"""What a value of a subclass is as a value of its base, whatever the subclass overrides."""


def _of_parts(cls: type) -> Handler | None:
    """Named tuples, data classes, models, and what else is a known value with attributes."""
    if cls in _UNNAMED:
        return _UNNAMED[cls]
    # What is returned must not refer to the class, which would live as long as its handler.
    name, fields = type_name(cls), _fields(cls)
    added = next(at for at, base in enumerate(cls.__mro__) if not _adds_attributes(base))
    base = cls.__mro__[added]
    if base is object:
        return None if fields is None else lambda value: (name, _attributes(value, fields))
    names: Any = getattr(cls, "_fields", None)
    if base is tuple and type_of(names) is tuple:
        return lambda value: (name, _items(value, names) | _attributes(value, fields or (), added))
    whole = _BASES.get(base) or (handler(base) if base is not cls else None)
    if whole is None or issubclass(base, (type, types.ModuleType)):
        return None
    return lambda value: (name, (whole(value), _attributes(value, fields or (), added)))


def _adds_attributes(cls: type) -> bool:
    """Whether a class adds nothing to its bases but attributes that can be seen."""
    return (cls.__module__, cls.__qualname__) not in _NAMED and _is_python(cls)


def _items(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    items: Any = tuple
    return dict(zip(names, items.__iter__(value), strict=True))


def _fields(cls: type) -> tuple[str, ...] | None:
    """The fields of a data class, of a class of attrs or of a model of pydantic; ``None`` for any other class."""
    if "__dataclass_fields__" in dir(cls):
        from dataclasses import fields

        return tuple(field.name for field in fields(cls))
    if "attr" in sys.modules and hasattr(cls, "__attrs_attrs__"):
        return tuple(field.name for field in getattr(cls, "__attrs_attrs__"))  # noqa: B009
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel) and hasattr(cls, "__pydantic_fields__"):
        return ()
    return None


def _attributes(value: Any, fields: tuple[str, ...], added: int | None = None) -> dict[str, Any]:
    """All that a value keeps: its fields, and other attributes but for those that are made from them.

    Slots are those of the first `added` classes of its type.
    """
    cls: type[object] = type_of(value)
    found = {name: getattr(value, name) for name in fields if hasattr(value, name)}
    kept: dict[str, Any] = dict(getattr(value, "__dict__", {}))
    for base in cls.__mro__[:added]:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            is_private = name.startswith("__") and not name.endswith("__")
            slot = f"_{base.__name__.lstrip('_')}{name}" if is_private else name  # as the compiler names it
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                kept[slot] = getattr(value, slot)
    found.update({name: kept[name] for name in kept.keys() - found.keys() if not _is_made(cls, name)})
    return found


def _is_made(cls: type, name: str) -> bool:
    """Whether an attribute is made from others when it is asked for."""
    if name == "_attrs_cached_hash":
        return True
    made: Any = _found("functools", "cached_property") or ()
    return any(isinstance(vars(base).get(name), made) for base in cls.__mro__)


_HEAP: Final = 1 << 9
_NATIVE: Final = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.BuiltinFunctionType,
)


def _is_python(cls: type) -> bool:
    """Whether a class was made by a ``class`` statement, so that its attributes are all that a value adds to its base.

    A class in C may keep anything where no code can see it. It has methods in C of its own.
    """
    if not cls.__flags__ & _HEAP:
        return False
    return not any(
        isinstance(member, _NATIVE)
        and (getattr(member, "__objclass__", None) is cls or getattr(member, "__self__", None) is cls)
        for member in vars(cls).values()
    )
