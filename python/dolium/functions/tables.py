"""What counts of tables and columns of Arrow: schema, which values are there, and these values.

Chunks, offsets, padding, and what lies under missing values do not count. PyArrow reads the columns of all packages;
it is imported when such a value is met.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from .._dolium import Raw
from .fingerprint import Handler, type_name, type_of

__all__ = ["column", "handler", "pyarrow"]

# PyArrow has no types of its own.
Arrow = Any

ROWS = 1 << 17
"""Rows of a column that are put in order at once."""


def handler(cls: type) -> Handler | None:
    library = cls.__module__.partition(".")[0]
    if library == "polars":
        return _of_polars(cls)
    if library == "pyarrow":
        return _of_pyarrow(cls)
    if hasattr(cls, "__next__") or hasattr(cls, "read_next_batch"):
        return None  # to read it would use it up
    name = type_name(cls)
    return lambda value: (name, _table(pyarrow().table(value)))


def pyarrow() -> Any:
    """The module."""
    return import_module("pyarrow")


def _of_pyarrow(cls: type) -> Handler | None:
    pa = pyarrow()
    name = type_name(cls).replace("pyarrow.lib:", "pyarrow:")
    if issubclass(cls, (pa.Table, pa.RecordBatch)):
        return lambda value: (name, _table(value))
    if issubclass(cls, pa.ChunkedArray):
        return lambda value: (name, column(value))
    if issubclass(cls, pa.Array):
        return lambda value: (name, column(pa.chunked_array([value])))
    if issubclass(cls, pa.Scalar):
        return lambda value: (name, column(pa.chunked_array([pa.array([value.as_py()], value.type)])))
    if issubclass(cls, pa.DataType):
        return lambda value: ("pyarrow:DataType", _type(value))
    if issubclass(cls, pa.Field):
        return lambda value: ("pyarrow:Field", _field(value))
    if issubclass(cls, pa.Schema):
        return lambda value: ("pyarrow:Schema", [_field(field) for field in value])
    return None


def _table(table: Arrow) -> object:
    pa = pyarrow()
    columns = [
        part if isinstance(part, pa.ChunkedArray) else pa.chunked_array([part]) for part in table.columns
    ]
    return ([_field(field) for field in table.schema], table.num_rows, [column(part) for part in columns])


def _field(field: Arrow) -> object:
    return (field.name, field.nullable, _type(field.type))


def _type(kind: Arrow) -> object:
    """A type of Arrow by its name and parameters, never by its text, in which names of fields could say anything."""
    pa = pyarrow()
    is_ = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return ("extension", kind.extension_name, kind.__arrow_ext_serialize__(), _type(kind.storage_type))
    if is_.is_dictionary(kind):
        return ("dictionary", _type(kind.value_type), _type(kind.index_type), kind.ordered)
    if is_.is_struct(kind):
        return ("struct", [_field(kind.field(at)) for at in range(kind.num_fields)])
    if is_.is_map(kind):
        return ("map", _field(kind.key_field), _field(kind.item_field), kind.keys_sorted)
    if is_.is_fixed_size_list(kind):
        return ("fixed_size_list", _field(kind.value_field), kind.list_size)
    if _is_list(kind):
        return (str(kind).partition("<")[0], _field(kind.value_field))
    if is_.is_timestamp(kind):
        return ("timestamp", kind.unit, kind.tz)
    return str(kind)


def _is_list(kind: Arrow) -> bool:
    is_ = pyarrow().types
    return any(
        test(kind) for test in (is_.is_list, is_.is_large_list, is_.is_list_view, is_.is_large_list_view)
    )


class _Unreadable:
    """Stands for a column whose values are of a type that is not read, and refuses it."""

    def __init__(self, kind: Arrow) -> None:
        self.kind = kind


def column(chunked: Arrow) -> object:
    """What counts of a column: its type, which values are there, and the values."""
    pa = pyarrow()
    kind = chunked.type
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in chunked.chunks]
        return (_type(kind), column(pa.chunked_array(chunks, kind.storage_type)))
    chunked = chunked.cast(_plain(kind))
    there = _validity(chunked)
    values = chunked.drop_null() if chunked.null_count else chunked
    return (_type(kind), len(chunked), there, _values(values, values.type))


def _plain(kind: Arrow) -> Arrow:
    """A type with the same values in order: what a view says in pieces."""
    pa = pyarrow()
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(kind.value_field)
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([kind.key_field, kind.item_field]))
    return kind


def _values(values: Arrow, kind: Arrow) -> object:
    """The values of a column in which none is missing."""
    pa = pyarrow()
    is_ = pa.types
    if is_.is_null(kind):
        return None
    if is_.is_boolean(kind):
        return _pieces(values, 1, lambda chunk: _bits(chunk.buffers()[1], chunk.offset, len(chunk)))
    if is_.is_dictionary(kind):
        unified = values.unify_dictionaries()
        categories = unified.chunk(0).dictionary if unified.num_chunks else pa.array([], kind.value_type)
        indices = pa.chunked_array([chunk.indices for chunk in unified.chunks], kind.index_type)
        return (column(pa.chunked_array([categories])), column(indices))
    if is_.is_string(kind) or is_.is_binary(kind):
        return _texts(values, "<i4")
    if is_.is_large_string(kind) or is_.is_large_binary(kind):
        return _texts(values, "<i8")
    if is_.is_struct(kind):
        fields = [chunk.flatten() for chunk in values.chunks]  # as far as the chunk goes
        kinds = [kind.field(at).type for at in range(kind.num_fields)]
        return [column(pa.chunked_array([part[at] for part in fields], of)) for at, of in enumerate(kinds)]
    if is_.is_fixed_size_list(kind) or _is_list(kind):
        return _lists(values)
    try:
        width: int = kind.bit_width // 8
    except ValueError:
        return _Unreadable(kind)
    return _pieces(values, width, lambda chunk: _span(chunk, width))


def _lists(values: Arrow) -> object:
    pa = pyarrow()
    np = _numpy()
    lengths = [np.asarray(chunk.value_lengths()).astype("<i8") for chunk in values.chunks]
    inner = [chunk.flatten() for chunk in values.chunks]
    items = pa.chunked_array(inner, values.type.value_type)
    return (Raw(8 * len(values), iter([length.view(np.uint8) for length in lengths])), column(items))


def _numpy() -> Any:
    return import_module("numpy")


def _bytes(buffer: Arrow, start: int, stop: int) -> Any:
    np = _numpy()
    if buffer is None or start == stop:
        return np.zeros(0, np.uint8)
    return np.frombuffer(buffer, np.uint8)[start:stop]


def _span(chunk: Arrow, width: int) -> Any:
    """The values of a chunk, as they lie in memory."""
    return _bytes(chunk.buffers()[1], chunk.offset * width, (chunk.offset + len(chunk)) * width)


def _bits(buffer: Arrow, start: int, count: int) -> Any:
    """Bits as a byte each."""
    np = _numpy()
    first = start // 8
    packed = _bytes(buffer, first, (start + count + 7) // 8)
    return np.unpackbits(packed, bitorder="little")[start - first * 8 :][:count]


def _pieces(values: Arrow, width: int, span: Callable[[Arrow], Any]) -> Raw:
    return Raw(width * len(values), (span(chunk) for chunk in values.chunks))


def _validity(chunked: Arrow) -> object:
    """A byte for each value, whether it is there. ``None`` if none is missing."""
    if not chunked.null_count:
        return None
    np = _numpy()
    return Raw(len(chunked), (np.asarray(chunk.is_valid()).astype(np.uint8) for chunk in chunked.chunks))


def _texts(values: Arrow, offset: str) -> object:
    """Texts or bytes: how long each is, then all of them."""
    np = _numpy()
    width = np.dtype(offset).itemsize

    def offsets(chunk: Arrow) -> Any:
        start = chunk.offset
        if len(chunk) == 0:
            return np.zeros(1, offset)
        return _bytes(chunk.buffers()[1], start * width, (start + len(chunk) + 1) * width).view(offset)

    def lengths() -> Iterator[Any]:
        for chunk in values.chunks:
            ends = offsets(chunk)
            for start in range(0, len(chunk), ROWS):
                yield np.diff(ends[start : start + ROWS + 1]).astype("<i8").view(np.uint8)

    def texts() -> Iterator[Any]:
        for chunk in values.chunks:
            ends = offsets(chunk)
            yield _bytes(chunk.buffers()[2], int(ends[0]), int(ends[-1]))

    total = sum(int(ends[-1]) - int(ends[0]) for ends in map(offsets, values.chunks))
    return (Raw(8 * len(values), lengths()), Raw(total, texts()))


# Polars


def _of_polars(cls: type) -> Handler | None:
    polars: Any = sys.modules["polars"]
    if cls is polars.DataFrame:
        return lambda value: (
            "polars:DataFrame",
            (value.height, [_series(series) for series in value.iter_columns()]),
        )
    if cls is polars.Series:
        return lambda value: ("polars:Series", _series(value))
    metaclass = type_of(polars.Int64)
    if cls is metaclass or issubclass(cls, polars.DataType):
        return lambda value: ("polars:DataType", repr(value)) if _is_simple(value) else None
    return None


def _is_simple(dtype: Any) -> bool:
    return not dtype.is_nested() and not isinstance(dtype, sys.modules["polars"].Enum)


def _series(series: Any) -> object:
    polars: Any = sys.modules["polars"]
    dtype = series.dtype
    if dtype == polars.Object:
        return (series.name, "Object", series.to_list())
    if isinstance(dtype, polars.Categorical):
        # The numbers of categories depend on what else the process has seen.
        return (series.name, "Categorical", _arrow(series.cast(polars.String)))
    if isinstance(dtype, polars.Enum):
        return (series.name, "Enum", _arrow(dtype.categories), _arrow(series.cast(polars.String)))
    return (series.name, _arrow(series))


def _arrow(series: Any) -> object:
    pa = pyarrow()
    return column(pa.chunked_array(series))
