"""The encoder :class:`Json`: JSON in UTF-8, with the name of the type that it came from.

A body begins with the length of the name in one byte. If that is 0, the document follows; else the name, eight bytes
that say what the fields of the type were, and the document.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final

from ..errors import UnreadableValueError, UnstorableError
from .body import Body
from .codec import Codec, Encoder
from .numbers import JSON

__all__ = ["Json", "decode", "scan"]

_decoder: Any = json.JSONDecoder()

scan: Final[Any] = _decoder.scan_once
"""What the native module calls: a document, and where it ends."""

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Json(Encoder):
    """Data of JSON's own kinds: None, truth values, numbers, text, lists, and dicts whose keys are text.

    With a `type`, also dataclasses, models of pydantic, and containers of them, which come back as what they were in
    each process that has made a ``Json`` of this type, and as plain data elsewhere. A value of a type whose fields
    have changed since is a miss. What JSON would change without a word is refused: tuples, other keys, NaN.

    >>> import dataclasses, dolium
    >>> from dolium.codecs import Json
    >>> @dataclasses.dataclass
    ... class Answer:
    ...     text: str
    ...     tokens: int
    >>> cache = dolium.Cache()
    >>> cache.set("answer", Answer("yes", 1), codec=Json(Answer))
    True
    >>> cache["answer"]
    Answer(text='yes', tokens=1)
    """

    _defaults: ClassVar = {"type": None}

    def __init__(self, type: Any = None) -> None:
        self.type = type
        if type is not None:
            from .models import Model

            self._model = Model.of(type)

    def _body(self, value: Any, codec: Codec) -> Body | None:
        if self.type is None:
            _refuse_what_bends(value)
            return Body(JSON, b"\0" + _write(value).encode())
        name, schema, document = self._model.dump(value)
        return Body(JSON, bytes([len(name)]) + name + schema + document)


_SCALARS = (str, int, float, bool)


def _refuse_what_bends(value: Any) -> None:
    """Raise for what would not come back equal, with the place where it is."""
    rest: list[tuple[Any, str, int]] = [(value, "the value", 0)]
    while rest:
        part, place, depth = rest.pop()
        given: object = part
        kind = type(given)
        if kind in _SCALARS:
            if kind is float and part - part != 0:
                raise UnstorableError(f"Json: {place} is {part!r}, which JSON does not have")
        elif kind is dict:
            for key, item in part.items():
                if type(key) is not str:
                    raise UnstorableError(
                        f"Json: {place} has the key {key!r}, and JSON has only keys that are text"
                    )
                rest.append((item, f"{place}[{key!r}]"[:200], depth + 1))
        elif kind is list:
            rest += [(item, f"{place}[{index}]"[:200], depth + 1) for index, item in enumerate(part)]
        elif part is not None:
            raise UnstorableError(
                f"Json: {place} is a {kind.__module__}.{kind.__qualname__}, which JSON would change; pass the type, "
                "as in Json(type), or use Auto()"
            )
        if depth > 500:
            raise UnstorableError(f"Json: {place[:40]}… is too deep, or contains itself")


def decode(data: Any, may_run: bool, is_aligned: bool) -> Any:
    data = bytes(data)
    end = 1 + data[0]
    if end == 1:
        return json.loads(data[1:])
    name, schema, document = data[1:end].decode(), data[end : end + 8], data[end + 8 :]
    from .models import Model

    model = Model.known.get(name)
    if model is None:
        return json.loads(document)
    if model.schema != schema:
        raise UnreadableValueError(f"{name} has other fields now than when the value was stored")
    return model.load(document)
