"""numpy arrays and scalars out of foreign pickles.

numpy's own ``__setstate__`` methods believe the sizes and offsets that they are given. They are
not used here: a type is described to ``numpy.dtype`` afresh, which checks it, and an array is made
over a buffer, whose size numpy checks too.
"""

from __future__ import annotations

import math
import re
import sys
from typing import Any

from .values import Name, Pending, exactly, is_ints, is_texts, refuse

_OTHER_ORDER = ">" if sys.byteorder == "little" else "<"


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        refuse("a numpy value (numpy is not installed)")
    return numpy


def dtype(args: tuple[Any, ...]) -> Pending:
    code: Any = args[0] if args else None
    if not exactly(code, str) or not re.fullmatch(r"(b1|[iufc]\d+|[mM]8|[SUV]\d+)", code):
        refuse(f"the numpy type {code!r}" if exactly(code, str) else "a numpy type of unknown form")

    def build(state: Any) -> Any:
        numpy = _numpy()
        if not exactly(state, tuple) or not 8 <= len(state) <= 9:
            refuse("a numpy type of unknown form")
        _, order, inner, names, fields, size, _, flags, *extra = state
        extra = extra[0] if extra else None
        spec: Any = code
        if code[0] in "mM" and extra is not None:
            spec = code + _time_unit(extra)
        elif extra is not None:
            refuse("a numpy type with metadata")
        if inner is not None:
            base, shape = inner
            spec = (_checked_dtype(base), _shape(shape))
        elif names is not None:
            spec = _structure(names, fields, size, flags)
        result = numpy.dtype(spec)
        if order == _OTHER_ORDER and inner is None and names is None:
            result = result.newbyteorder(order)
        return _checked_dtype(result)

    return Pending(build)


def _time_unit(extra: Any) -> str:
    _, (unit, count, per, _) = extra
    unit = unit.decode("ascii") if exactly(unit, bytes) else unit
    if not exactly(unit, str) or not re.fullmatch(r"generic|[YMWDhms]|[munpfa]s", unit):
        refuse("a numpy time of unknown unit")
    if unit == "generic":
        return ""
    if not is_ints((count, per)) or count < 1 or per != 1:
        refuse("a numpy time of unknown unit")
    return f"[{count}{unit}]"


def _structure(names: Any, fields: Any, size: Any, flags: Any) -> dict[str, Any]:
    if not exactly(names, tuple) or not exactly(fields, dict) or not is_texts(names):
        refuse("a numpy structure of unknown form")
    parts: list[tuple[Any, ...]] = [fields[name] for name in names]
    spec: dict[str, Any] = {
        "names": list(names),
        "formats": [_checked_dtype(part[0]) for part in parts],
        "offsets": [part[1] for part in parts],
        "itemsize": size,
        "aligned": bool(is_ints((flags,)) and flags & 0x80),
    }
    if not is_ints((size, *spec["offsets"])):
        refuse("a numpy structure of unknown form")
    if any(len(part) > 2 for part in parts):
        titles = [part[2] if len(part) > 2 else None for part in parts]
        if not is_texts(tuple(title for title in titles if title is not None)):
            refuse("a numpy structure of unknown form")
        spec["titles"] = titles
    return spec


def _checked_dtype(dtype: Any) -> Any:
    if not isinstance(dtype, _numpy().dtype):
        refuse("a numpy type of unknown form")
    if dtype.hasobject:
        refuse("a numpy array of Python objects")
    return dtype


def _shape(shape: Any) -> tuple[int, ...]:
    if not exactly(shape, tuple) or not is_ints(shape) or any(n < 0 for n in shape):
        refuse("a numpy array of unknown shape")
    return shape


def _writable(data: Any) -> Any:
    """Bytes to make an array over that may be changed. A copy of the *array* would miss the padding."""
    if exactly(data, str):
        data = data.encode("latin-1")
    return bytearray(data) if exactly(data, bytes) else data


def _array(buffer: Any, dtype: Any, shape: Any, order: str) -> Any:
    dtype, shape = _checked_dtype(dtype), _shape(shape)
    if not exactly(buffer, bytes, bytearray):
        refuse("a numpy array of Python objects")
    if dtype.itemsize * math.prod(shape) != len(buffer) or not (len(buffer) or 0 in shape):
        refuse("a numpy array of a size other than its data")
    numpy = _numpy()
    if not len(buffer):
        return numpy.empty(shape, dtype, order=order)
    return numpy.ndarray(shape, dtype, buffer, order=order)


def reconstruct(args: tuple[Any, ...]) -> Pending:
    if not exactly(args[0], Name) or args[0].where != ("numpy", "ndarray"):
        refuse(f"a numpy array of {args[0]}")

    def build(state: Any) -> Any:
        if not exactly(state, tuple):
            refuse("a numpy array in an unknown form")
        _, shape, dtype, fortran, data = state
        return _array(_writable(data), dtype, shape, "F" if fortran else "C")

    return Pending(build)


def frombuffer(args: tuple[Any, ...]) -> Any:
    buffer, dtype, shape, order = args
    if order not in ("C", "F"):
        refuse("a numpy array of unknown order")
    return _array(buffer, dtype, shape, order)


def scalar(args: tuple[Any, ...]) -> Any:
    dtype, data = args
    return _array(_writable(data), dtype, (), "C")[()]
