"""The encoder :class:`Array`: the elements of NumPy's arrays behind a binary header.

The body begins with the length of the header (2 bytes), then the dtype as in `dtypes`, the number of dimensions in one
byte, the dimensions as LEB128, and zeros up to a multiple of 16, or of 64 if the array is mapped. The elements follow
in C order. Nothing in a header names a type that could hold an object.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

from ..errors import UnstorableError
from . import dtypes
from .body import Body
from .codec import Codec, Encoder
from .dtypes import Reader, write_number
from .files import BodyFile
from .libraries import library
from .numbers import ARRAY
from .rounding import Rounding

__all__ = ["Array", "decode", "decode_file", "is_plain"]

_LONGEST = (1 << 16) - 64
"""The longest header."""


class Array(Encoder):
    """NumPy's arrays of any dtype without objects. The same dtype and shape come back, in C order.

    `max_error` or `relative_error` keep no more precision than is wanted, so that a filter saves much more. Each finite
    value comes back at most so far from its own, and NaN, infinities and the sign of zero as they were.
    ``relative_error=2**-11`` is the precision of half floats, without their small range.

    `mmap` maps the array, so that one of any size comes back at once and cannot be written to. Nothing is mapped on a
    network file system, and a program that truncates a mapped file kills its readers by SIGBUS.

    >>> import dolium, numpy
    >>> from dolium.codecs import Array, Zstd
    >>> cache = dolium.Cache()
    >>> signal = numpy.sin(numpy.arange(100_000) / 100)
    >>> cache.set("signal", signal, codec=Array(max_error=1e-3) | Zstd())
    True
    >>> bool(abs(cache["signal"] - signal).max() <= 1e-3), cache.info("signal").size < signal.nbytes / 10
    (True, True)

    Raises:
        ValueError: Both errors are given, or one is not positive.
    """

    _defaults: ClassVar = {"max_error": None, "relative_error": None, "mmap": False}

    def __init__(
        self,
        max_error: float | None = None,
        relative_error: float | None = None,
        mmap: bool = False,
    ) -> None:
        self.max_error = max_error
        self.relative_error = relative_error
        self.mmap = mmap
        self._rounding = Rounding.of(max_error, relative_error)

    @property
    def _is_mapped(self) -> bool:  # type: ignore[override]
        return self.mmap

    def _body(self, value: Any, codec: Codec) -> Body | None:
        if not is_plain(value):
            raise UnstorableError(
                f"Array: {_described(value)} is no array of plain elements; use Auto() or Pickle()"
            )
        np = library("numpy")

        array = value if self._rounding is None else self._rounding.rounded(value)
        header = bytearray(2)
        header += dtypes.write(array.dtype)
        header.append(array.ndim)
        for dimension in array.shape:
            write_number(header, dimension)
        header += bytes(-len(header) % (64 if self.mmap else 16))
        header[:2] = len(header).to_bytes(2, "little")
        elements: Any = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else b""
        return Body(ARRAY, (header, elements), _element(array.dtype), self.mmap)


def _described(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return f"a {type(value).__module__}.{type(value).__qualname__}" + (
        "" if dtype is None else f" of {dtype}"
    )


def _element(dtype: Any) -> int:
    """The bytes that make sense together."""
    size = {"c": dtype.itemsize // 2, "U": 4, "S": 1}.get(dtype.kind, dtype.itemsize)
    return size if size <= 16 else 1


def is_plain(value: Any) -> bool:
    """Whether it is an array that a header describes: exactly an ndarray, without objects at any depth."""
    np = library("numpy")

    if type(value) is not np.ndarray:
        return False
    try:
        return len(dtypes.write(value.dtype)) < _LONGEST
    except ValueError:
        return False


class _Header:
    """What the header of an array says, as far as it makes sense with the bytes behind it."""

    def __init__(self, data: Any, length: int) -> None:
        self.end = int.from_bytes(data[:2], "little")
        reader = Reader(bytes(data[2 : self.end]))
        self.dtype = dtypes.read(reader)
        dimensions = reader.byte()
        self.shape = tuple(reader.number() for _ in range(dimensions))
        # Python's integers do not overflow.
        if self.end + prod(self.shape) * self.dtype.itemsize != length:
            raise ValueError("the shape of an array does not fit its bytes")


def decode(data: Any, may_run: bool, is_aligned: bool) -> Any:
    np = library("numpy")

    header = _Header(data, len(data))
    if 0 in header.shape:
        return np.empty(header.shape, header.dtype)
    memory = data if isinstance(data, bytearray) else bytearray(data)
    array = np.frombuffer(memory, header.dtype, offset=header.end).reshape(header.shape)
    array.flags.writeable = not is_aligned
    return array


def decode_file(file: BodyFile, is_aligned: bool) -> Any:
    np = library("numpy")

    header = _Header(file.beginning(1 << 16), file.length)
    if is_aligned:
        elements = file.mapped()[header.end :]
        return np.frombuffer(elements, header.dtype).reshape(header.shape)
    array = np.empty(header.shape, header.dtype)
    file.read_into(array.reshape(-1).view(np.uint8), header.end)
    return array
