"""The encoder :class:`Arrow`: tables of pyarrow, polars and pandas as a stream of Arrow's IPC format.

A body is eight bytes, of which the first says whose table it is, and the stream.
"""

from __future__ import annotations

import io
import sys
import warnings
from typing import Any, ClassVar

from ..errors import UnstorableError
from .body import Body
from .codec import Codec, Encoder
from .files import BodyFile
from .ipc import check
from .libraries import library
from .numbers import ARROW

__all__ = ["Arrow", "decode", "decode_file", "is_table"]

_HEAD = 8
_TABLE, _BATCH, _PANDAS, _POLARS = b"TBPL"
_OLDEST = 17


class Arrow(Encoder):
    """Tables and record batches of pyarrow, frames of polars, and those of pandas that come back equal.

    The same kind of table comes back. `mmap` maps tables of pyarrow, so that one of any size comes back at once; a
    program that truncates a mapped file kills its readers by SIGBUS. Extension types are refused.

    >>> import dolium, polars
    >>> from dolium.codecs import Arrow, Zstd
    >>> cache = dolium.Cache()
    >>> cache.set("frame", polars.DataFrame({"n": range(1000)}), codec=Arrow() | Zstd())
    True
    >>> cache["frame"]["n"].sum()
    499500
    """

    _defaults: ClassVar = {"mmap": False}

    def __init__(self, mmap: bool = False) -> None:
        self.mmap = mmap

    @property
    def _is_mapped(self) -> bool:  # type: ignore[override]
        return self.mmap

    def _body(self, value: Any, codec: Codec) -> Body | None:
        kind, stream = _stream(value)
        try:
            check(memoryview(stream))
        except ValueError as error:
            raise UnstorableError(f"Arrow: the table cannot be stored: {error}; use Pickle()") from error
        return Body(ARROW, (bytes([kind]).ljust(_HEAD, b"\0"), stream), is_aligned=self.mmap)


def is_table(value: object) -> bool:
    """Whether it is a table of polars or pyarrow that comes back whole."""
    arrow, polars = sys.modules.get("pyarrow"), sys.modules.get("polars")
    if polars is not None and type(value) is polars.DataFrame:
        table: Any = value
        return not any(isinstance(kind, polars.Object) for kind in table.dtypes)
    if arrow is None or type(value) is not arrow.Table:
        return False
    table = value
    return not _has_extension(table.schema)


def _has_extension(schema: Any) -> bool:
    return b"ARROW:extension:" in schema.serialize().to_pybytes()


def _stream(value: Any) -> tuple[int, Any]:
    """Whose table it is, and its stream."""
    given: object = value
    kind = type(given)
    module, name = kind.__module__.partition(".")[0], kind.__name__
    if module == "polars" and name == "DataFrame":
        out = io.BytesIO()
        value.write_ipc_stream(out, compression="uncompressed")
        return _POLARS, out.getbuffer()
    if module == "pyarrow" and name in ("Table", "RecordBatch"):
        return (_TABLE if name == "Table" else _BATCH), _written(value)
    if module == "pandas" and name == "DataFrame":
        return _PANDAS, _written(_of_pandas(value))
    raise UnstorableError(f"Arrow: a {module}.{kind.__qualname__} is no table; use Auto() or Pickle()")


def _written(table: Any) -> Any:
    pyarrow = _pyarrow()
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    return sink.getvalue()


def _pyarrow() -> Any:
    pyarrow = library("pyarrow")
    if int(pyarrow.__version__.partition(".")[0]) < _OLDEST:
        raise ImportError(
            f"pyarrow {pyarrow.__version__} is too old to read tables of others; install {_OLDEST}"
        )
    return pyarrow


def _of_pandas(frame: Any) -> Any:
    """The table of a frame that comes back equal."""
    pandas = library("pandas")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of attributes that are lost, which is seen below
            table = _pyarrow().Table.from_pandas(frame)
        again = table.to_pandas()
        pandas.testing.assert_frame_equal(frame, again, check_exact=True)
        for column in [name for name, kind in frame.dtypes.items() if kind.kind == "O"]:
            kinds: set[Any] = {type(item) for item in frame[column]}
            if kinds != {type(item) for item in again[column]} or not kinds <= {
                str,
                bytes,
                int,
                bool,
                type(None),
            }:
                raise AssertionError(f"the objects of column {column!r} would change")
        if frame.attrs != again.attrs or frame.flags != again.flags:
            raise AssertionError("its attributes or flags would be lost")
    except (AssertionError, TypeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise UnstorableError(f"Arrow: the frame would not come back equal ({why}); use Pickle()") from error
    return table


def decode(data: Any, may_run: bool, is_aligned: bool) -> Any:
    return _read(memoryview(data))


def decode_file(file: BodyFile) -> Any:
    return _read(file.mapped())


def _read(data: memoryview) -> Any:
    """The table in bytes of any origin."""
    kind, stream = data[0], data[_HEAD:]
    check(stream)
    if kind == _POLARS:
        return library("polars").read_ipc_stream(io.BytesIO(stream))
    pyarrow = _pyarrow()
    with pyarrow.ipc.open_stream(pyarrow.py_buffer(stream)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    if kind == _TABLE:
        return table
    if kind == _BATCH:
        (batch,) = table.to_batches() or [_no_rows(pyarrow, table.schema)]
        return batch
    if kind == _PANDAS:
        return table.to_pandas()
    raise ValueError("the table is of a library that this version does not know")


def _no_rows(pyarrow: Any, schema: Any) -> Any:
    return pyarrow.RecordBatch.from_pylist([], schema=schema)
