"""What counts of values of NumPy: dtypes, shapes and elements, whatever their layout in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import prod
from typing import Any

from .._dolium import DescribeArray, Raw
from .fingerprint import Description, Handler, name_of, type_name

__all__ = ["array", "elements", "handler", "numpy", "raw"]

# NumPy brings its types along only where it is installed, and they say little about arrays of any kind.
Array = Any

SLAB = 1 << 20
"""Bytes of an array that are copied at once where its elements have gaps."""


def numpy() -> Any:
    """The module, which a value of it has imported."""
    return sys.modules["numpy"]


def handler(cls: type) -> Handler | None:
    np = numpy()
    if cls in (np.ndarray, np.memmap):
        return DescribeArray(_array)
    if cls is np.ma.MaskedArray:
        return _masked
    if issubclass(cls, np.dtype):
        return _dtype
    if issubclass(cls, np.generic):
        # Scalars of other packages have a dtype, which a subclass lacks.
        return _scalar if np.dtype(cls).type is cls or cls in (np.str_, np.bytes_, np.void) else None
    if cls.__module__.partition(".")[0] != "numpy":
        return None  # of a subclass; units live in attributes that no code here reads
    if cls is np.ufunc:
        return _function
    if type(np.sum) is cls:
        return _function
    if issubclass(cls, type):
        from . import standard

        return standard.handler(cls)
    return None


def _array(value: Array) -> Description:
    """Any array. Those of plain numbers in C order are written natively."""
    return "numpy:ndarray", array(value)


def array(value: Array) -> tuple[Any, ...]:
    """The dtype, shape and elements of an array."""
    dtype = value.dtype
    if dtype.num in _PLAIN:
        return (dtype.str, value.shape, raw(value))
    return (describe(dtype), value.shape, elements(value, dtype))


_PLAIN = frozenset(range(16)) - {13}
"""The numbers of NumPy's types of truth values, integers and floats but for long doubles."""


def describe(dtype: Any) -> object:
    """What counts of the dtype of an array. ``None`` if its elements cannot be read."""
    if dtype.names is not None:
        # Offsets and padding are layout.
        return [(name, dtype.fields[name][2:], describe(dtype.fields[name][0])) for name in dtype.names]
    if dtype.subdtype is not None:
        item, shape = dtype.subdtype
        return (describe(item), shape)
    if dtype.num < 24:
        return dtype.str
    if dtype.num >= 256 and dtype.num != 2056:
        return (type_name(dtype.type), dtype.str)  # of another package, as bfloat16 is
    return ("StringDType", dtype.coerce, getattr(dtype, "na_object", _Missing()))


class _Missing:
    """Where a dtype has no object for missing values."""

    def __fingerprint__(self) -> object:
        return None


def elements(value: Array, dtype: Any) -> object:
    """The elements of an array in C order."""
    if dtype.names is not None:
        return [elements(value[name], value[name].dtype) for name in dtype.names]
    if dtype.hasobject or dtype.num == 2056:
        return value.ravel().tolist() if dtype.hasobject else value.astype(object).ravel().tolist()
    if dtype.kind in "fc" and dtype.itemsize in (16, 32) and dtype.num in (13, 16) and _has_padding():
        return raw(value.reshape(-1).view(numpy().uint8).reshape(-1, 16)[:, :10])
    return raw(value)


def _has_padding() -> bool:
    """Whether a long double is the 80-bit number of x86, in 16 bytes of which six may hold anything."""
    return numpy().finfo(numpy().longdouble).nmant == 63


def raw(value: Array) -> Raw:
    """The memory of an array in C order."""
    np = numpy()
    length: int = value.nbytes
    if length == 0:
        return Raw(0, b"")
    if value.flags.c_contiguous:
        return Raw(length, (value if value.ndim == 1 else value.reshape(-1)).view(np.uint8))
    axes = sorted(range(value.ndim), key=lambda axis: -value.strides[axis])
    dense = value.transpose(axes)
    size: int = value.itemsize
    if dense.flags.c_contiguous and size in (1, 2, 4, 8):
        words = dense.reshape(-1).view(f"u{size}")
        return Raw(length, words, value.shape, [stride // size for stride in value.strides])
    return Raw(length, _slabs(value))


def _slabs(value: Array) -> Iterator[Array]:
    """The memory of an array whose elements have gaps, by copies of bounded size."""
    np = numpy()
    if value.ndim == 0 or value.nbytes <= SLAB:
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        return
    row = value.itemsize * prod(value.shape[1:])
    if row > SLAB:
        for part in value:
            yield from _slabs(part)
        return
    count = max(1, SLAB // row)
    for start in range(0, value.shape[0], count):
        yield np.ascontiguousarray(value[start : start + count]).reshape(-1).view(np.uint8)


def _scalar(value: Any) -> Description:
    return "numpy:generic", array(numpy().asarray(value))


def _dtype(value: Any) -> Description:
    """A dtype that is a value by itself: its layout counts, because it is what a dtype is."""
    return "numpy:dtype", _layout(value)


def _layout(dtype: Any) -> object:
    if dtype.names is None:
        return describe(dtype) if dtype.subdtype is None else (_layout(dtype.base), dtype.shape)
    fields = [(name, _layout(dtype.fields[name][0]), *dtype.fields[name][1:]) for name in dtype.names]
    return (fields, dtype.itemsize, dtype.isalignedstruct)


def _masked(value: Any) -> Description:
    np = numpy()
    data = np.ma.getdata(value)
    if type(data) is not np.ndarray:
        return f"a masked {name_of(data)}"
    mask = np.ma.getmaskarray(value)
    fill = np.asarray(value.fill_value)
    if data.dtype.names is None:
        return "numpy:MaskedArray", (array(_shown(data, mask)), raw(mask), array(fill))
    fields = [(_shown(data[name], mask[name]), mask[name], fill[name]) for name in data.dtype.names]
    parts = [(array(shown), array(hidden), array(filling)) for shown, hidden, filling in fields]
    return "numpy:MaskedArray", (describe(data.dtype), data.shape, parts)


def _shown(data: Array, mask: Array) -> Array:
    """The data, and zero where it is hidden."""
    if not mask.any():
        return data
    shown = data.copy()
    shown[mask] = None if data.dtype.hasobject else numpy().zeros((), data.dtype)
    return shown


def _function(value: Any) -> Description:
    """A function of a module, by its name. One that no module has under its name cannot be told from others."""
    module, name = getattr(value, "__module__", None) or "numpy", value.__name__
    for place in (module, "numpy"):
        if getattr(sys.modules.get(place), name, None) is value:
            return "numpy:function", f"{place}:{name}"
    return "a function of NumPy that no module has by its name"
