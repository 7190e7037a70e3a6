"""What counts of frames, series, indexes and scalars of pandas: dtypes, labels, names, order and values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import arrays
from .fingerprint import Description, Handler

__all__ = ["handler"]


def handler(cls: type) -> Handler | None:
    if cls.__module__.partition(".")[0] != "pandas":
        return None  # of a subclass, which may keep more
    pandas: Any = sys.modules["pandas"]
    known: dict[type, Handler] = {
        pandas.DataFrame: _frame,
        pandas.Series: _series,
        pandas.Timestamp: _timestamp,
        pandas.Timedelta: lambda value: ("pandas:Timedelta", (value.unit, value.as_unit(value.unit)._value)),
        pandas.Period: lambda value: ("pandas:Period", (value.ordinal, value.freqstr)),
        pandas.Interval: lambda value: ("pandas:Interval", (value.left, value.right, value.closed)),
        type(pandas.NaT): lambda _: ("pandas:NaT", None),
        type(pandas.NA): lambda _: ("pandas:NA", None),
    }
    if cls in known:
        return known[cls]
    if issubclass(cls, pandas.Index):
        return lambda value: ("pandas:Index", _index(value))
    if issubclass(cls, pandas.api.extensions.ExtensionArray):
        return lambda value: ("pandas:array", _values(value))
    if issubclass(cls, pandas.api.extensions.ExtensionDtype):
        return lambda value: ("pandas:dtype", _dtype(value))
    from . import standard

    return standard.handler(cls) if issubclass(cls, type) else None


def _frame(value: Any) -> Description:
    columns = [_values(series.array) for _, series in value.items()]
    return "pandas:DataFrame", (_index(value.columns), _index(value.index), columns)


def _series(value: Any) -> Description:
    return "pandas:Series", (value.name, _index(value.index), _values(value.array))


def _timestamp(value: Any) -> Description:
    return "pandas:Timestamp", (value.unit, value._value, value.fold, value.tzinfo)


def _index(index: Any) -> object:
    """The labels of an index with their names. A range is one way to keep integers."""
    pandas: Any = sys.modules["pandas"]
    if isinstance(index, pandas.MultiIndex):
        levels = [index.get_level_values(level) for level in range(index.nlevels)]
        return ("MultiIndex", [*index.names], [_values(level.array) for level in levels])
    if isinstance(index, pandas.RangeIndex):
        from numpy import arange

        labels = arange(index.start, index.stop, index.step, dtype="int64")
        return ("Index", index.name, None, ("numpy", arrays.array(labels)))
    kind = type(index).__name__
    return (kind, index.name, getattr(index, "freqstr", None), _values(index.array))


class _Unknown:
    """Stands for values of a package that is not known, and refuses them."""


def _values(array: Any) -> object:
    """The dtype and values of a column."""
    name = type(array).__name__
    describe = _ARRAYS.get(name)
    pandas: Any = sys.modules["pandas"]
    if describe is None or getattr(pandas.arrays, name, getattr(pandas, name, None)) is not type(array):
        if type(array).__module__.partition(".")[0] == "pandas" and hasattr(array, "__arrow_array__"):
            describe = _arrow
        else:
            return array if name not in _ARRAYS else _Unknown()
    return (_dtype(array.dtype), describe(array))


def _dtype(dtype: Any) -> object:
    pandas: Any = sys.modules["pandas"]
    if isinstance(dtype, pandas.CategoricalDtype):
        categories = dtype.categories
        return ("category", None if categories is None else _index(categories), dtype.ordered)
    if isinstance(dtype, pandas.StringDtype):
        return ("string", dtype.storage, dtype.na_value)
    if type(dtype).__name__ in ("NumpyEADtype", "PandasDtype"):
        # The array says which.
        return "numpy"
    return (type(dtype).__name__, str(dtype))


def _numpy(array: Any) -> object:
    from numpy import asarray

    return arrays.array(asarray(array))


def _numbers(array: Any) -> object:
    """Times as the integers that they are."""
    return arrays.array(array.view("i8"))


def _masked(array: Any) -> object:
    """Values that may be missing. What lies under those that are does not count."""
    missing = array.isna()
    kind = array.dtype.numpy_dtype
    return (arrays.array(missing), arrays.array(array.to_numpy(kind, na_value=kind.type(0))))


def _sparse(array: Any) -> object:
    return (array.fill_value, arrays.array(array.to_dense()))


def _arrow(array: Any) -> object:
    from . import tables

    pa = tables.pyarrow()
    found = array.__arrow_array__()
    return tables.column(found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found]))


_ARRAYS: dict[str, Callable[[Any], object]] = {
    "NumpyExtensionArray": _numpy,
    "PandasArray": _numpy,  # before pandas 2.1
    "StringArray": _numpy,
    "Categorical": lambda array: arrays.array(array.codes.astype("<i8")),
    "DatetimeArray": _numbers,
    "TimedeltaArray": _numbers,
    "PeriodArray": _numbers,
    "IntervalArray": lambda array: (_values(array.left.array), _values(array.right.array)),
    "IntegerArray": _masked,
    "FloatingArray": _masked,
    "BooleanArray": _masked,
    "SparseArray": _sparse,
    "ArrowExtensionArray": _arrow,
    "ArrowStringArray": _arrow,
}
"""By the names of their classes in `pandas.arrays`."""
