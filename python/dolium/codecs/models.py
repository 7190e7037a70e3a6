"""Types that :class:`~dolium.codecs.Json` rebuilds: dataclasses, models of pydantic, and containers of them."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import types
import typing
from hashlib import blake2b
from typing import Any, ClassVar

from ..errors import UnstorableError

__all__ = ["Model"]

_LONGEST = 255


class Model:
    """A type, its name in frames, and what its fields are."""

    known: ClassVar[dict[str, Model]] = {}
    """The types of this process, by name: the newest of each."""

    def __init__(self, type: Any) -> None:
        self.type = type
        self.name = _name(type)
        self.schema = blake2b(_schema(type, ()).encode(), digest_size=8).digest()
        self._adapter: Any = None
        self._is_asked = False

    @classmethod
    def of(cls, type: Any) -> Model:
        model = cls(type)
        cls.known[model.name] = model
        return model

    def dump(self, value: Any) -> tuple[bytes, bytes, bytes]:
        """The name, the schema and the document of a value.

        Raises:
            UnstorableError: It would not come back equal.
        """
        try:
            document = self._document(value)
            again = self.load(document)
            # NaN, a value of a base class, a field that serializes to something else.
            is_same = type(again) is type(value) and self._document(again) == document
            if is_same and not _is_identity(value):
                is_same = bool(again == value)
        except Exception as error:
            raise UnstorableError(f"Json: the value is no {self.name} that JSON can hold: {error}") from error
        if not is_same:
            raise UnstorableError(
                f"Json: a {self.name} would come back as {again!r:.200}, which is not equal"
            )
        return self.name.encode(), self.schema, document

    def load(self, document: bytes) -> Any:
        """The value of a document of any origin."""
        adapter = self._pydantic()
        if adapter is not None:
            return adapter.validate_json(document)
        return _build(self.type, json.loads(document))

    def _document(self, value: Any) -> bytes:
        adapter = self._pydantic()
        if adapter is not None:
            return adapter.dump_json(value, warnings="error", by_alias=True)
        return json.dumps(_plain(self.type, value), ensure_ascii=False, allow_nan=False).encode()

    def _pydantic(self) -> Any:
        """What pydantic has for the type; None if it is not installed."""
        if not self._is_asked:
            try:
                from pydantic import TypeAdapter
            except ImportError:
                self._adapter = None
            else:
                self._adapter = TypeAdapter(self.type)
            self._is_asked = True
        return self._adapter


def _is_identity(value: object) -> bool:
    return type(value).__eq__ is object.__eq__


def _name(type: Any) -> str:
    """The name of a type, and of those that it contains."""
    origin = typing.get_origin(type)
    if origin is None:
        name = f"{type.__module__}.{type.__qualname__}" if isinstance(type, _TYPE) else repr(type)
        name = name.removeprefix("builtins.")
    else:
        inner = ", ".join(_name(part) for part in typing.get_args(type))
        name = f"{_name(origin)}[{inner}]" if isinstance(origin, _TYPE) else repr(type)
    if len(name.encode()) > _LONGEST:
        name = f"{name[:100]}…{blake2b(name.encode(), digest_size=8).hexdigest()}"
    return name


_TYPE: Any = type


def _fields(type: Any) -> dict[str, Any] | None:
    """The fields of a type with what they hold; None if it has none."""
    if dataclasses.is_dataclass(type) and isinstance(type, _TYPE):
        hints = _hints(type)
        return {field.name: hints.get(field.name, field.type) for field in dataclasses.fields(type)}
    models: Any = getattr(type, "model_fields", None)
    if models is not None and models.__class__ is dict:
        described: Any = models.items()
        return {name: field.annotation for name, field in described}
    return None


def _hints(type: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(type)
    except NameError:
        # A name of a function's body; pydantic may still know it.
        return {}


def _schema(type: Any, inside: tuple[Any, ...]) -> str:
    """The fields of a type, and of those that they hold, as text."""
    parts = [
        _schema(part, inside)
        for part in typing.get_args(type)
        if isinstance(part, _TYPE) or typing.get_args(part)
    ]
    fields = None if type in inside else _fields(type)
    if fields is None:
        return f"{_name(type)}({', '.join(parts)})"
    inner = (f"{name}: {_schema(hint, (*inside, type))}" for name, hint in fields.items())
    return f"{_name(type)}{{{', '.join(inner)}}}"


def _plain(type: Any, value: Any) -> Any:
    """What JSON holds of a value, without pydantic."""
    kind: Any = _TYPE(value)
    if (fields := _fields(kind)) is not None and dataclasses.is_dataclass(kind):
        return {name: _plain(hint, getattr(value, name)) for name, hint in fields.items()}
    if kind in (list, tuple, set, frozenset):
        return [_plain(Any, item) for item in value]
    if kind is dict:
        if any(_TYPE(key) is not str for key in value):
            raise TypeError("JSON has only keys that are text")
        return {key: _plain(Any, item) for key, item in value.items()}
    if value is None or kind in (str, int, float, bool):
        return value
    raise TypeError(f"{kind.__qualname__} needs pydantic")


def _build(type: Any, data: Any) -> Any:
    """The value that data stand for, without pydantic."""
    origin, args = typing.get_origin(type), typing.get_args(type)
    if type is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        return _build_first(args, data)
    fields = _fields(type)
    if fields is not None:
        if not isinstance(data, dict) or data.keys() != fields.keys():
            raise ValueError(f"these are not the fields of {_name(type)}")
        values = {name: _build(hint, data[name]) for name, hint in fields.items()}
        made = {field.name: values[field.name] for field in dataclasses.fields(type) if field.init}
        return type(**made)
    container = origin or type
    if container in (list, set, frozenset) or container is collections.abc.Sequence:
        items = [_build(args[0] if args else Any, item) for item in _expect(list, data)]
        if container in (set, frozenset):
            made: Any = container
            return made(items)
        return items
    if container is tuple:
        items = _expect(list, data)
        if args and args[-1] is not ...:
            return tuple(_build(kind, item) for kind, item in zip(args, items, strict=True))
        return tuple(_build(args[0] if args else Any, item) for item in items)
    if container in (dict, collections.abc.Mapping):
        return {key: _build(args[1] if args else Any, item) for key, item in _expect(dict, data).items()}
    if type is None or type is _TYPE(None):
        return _expect(_TYPE(None), data)
    if type in (str, int, float, bool):
        if type is float and _TYPE(data) is int:
            return float(data)
        return _expect(type, data)
    raise ValueError(f"{_name(type)} needs pydantic")


def _build_first(kinds: tuple[Any, ...], data: Any) -> Any:
    for kind in kinds:
        try:
            return _build(kind, data)
        except (ValueError, TypeError):
            continue
    raise ValueError("none of the types fits")


def _expect(kind: Any, data: Any) -> Any:
    if _TYPE(data) is not kind:
        raise ValueError(f"a {_TYPE(data).__name__} is no {kind.__name__}")
    return data
