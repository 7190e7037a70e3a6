"""Dtypes of NumPy as bytes, and back. There is no form for an object, nor for a dtype of another package.

| dtype | bytes |
|---|---|
| simple | kind (one of ``biufcmMSUV``), byte order (``<``, ``>``, ``|``), size; of times, length and text of the unit |
| with fields | ``R``, size, whether it is aligned, number of fields; of each, length and text of name, offset, dtype |
| subarray | ``A``, number of dimensions, dimensions, dtype |

Numbers are LEB128.
"""

from __future__ import annotations

import re
from typing import Any

from .libraries import library

__all__ = ["Reader", "read", "write", "write_number"]

_SIZES = {
    "b": {1},
    "i": {1, 2, 4, 8},
    "u": {1, 2, 4, 8},
    "f": {2, 4, 8, 12, 16},
    "c": {8, 16, 24, 32},
    "m": {8},
    "M": {8},
}
_UNIT = re.compile(r"\[[1-9]?[0-9]{0,9}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\]")
_DEPTH = 16
_NEWEST = 23
"""The greatest number of a dtype of NumPy's own that has a kind of one byte; packages have numbers above."""
_LARGEST = 1 << 31


def write_number(out: bytearray, number: int) -> None:
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _write_text(out: bytearray, text: str) -> None:
    encoded = text.encode()
    write_number(out, len(encoded))
    out += encoded


def write(dtype: Any) -> bytes:
    """The bytes of a dtype.

    Raises:
        ValueError: There are none.
    """
    out = bytearray()
    _write(out, dtype, _DEPTH)
    return bytes(out)


def _write(out: bytearray, dtype: Any, depth: int) -> None:
    if depth == 0 or dtype.metadata or dtype.itemsize == 0:
        raise ValueError(f"{dtype} has no bytes")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        out += b"A"
        out.append(len(shape))
        for dimension in shape:
            write_number(out, dimension)
        _write(out, base, depth - 1)
    elif dtype.names is not None:
        out += b"R"
        write_number(out, dtype.itemsize)
        out.append(dtype.isalignedstruct)
        write_number(out, len(dtype.names))
        for name in dtype.names:
            field = dtype.fields[name]
            if len(field) > 2:
                raise ValueError("a field has a title")
            _write_text(out, name)
            write_number(out, field[1])
            _write(out, field[0], depth - 1)
    else:
        _write_simple(out, dtype)


def _write_simple(out: bytearray, dtype: Any) -> None:
    text: str = dtype.str
    kind = dtype.kind
    if len(kind) != 1 or kind not in "biufcmMSUV" or text[1] != kind or dtype.num > _NEWEST:
        raise ValueError(f"{dtype} is no dtype of NumPy's own without objects")
    out += kind.encode() + text[:1].encode()
    write_number(out, dtype.itemsize)
    if kind in "mM":
        _write_text(out, text[3:])


class Reader:
    """Bytes of any origin, read one part after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        if self._at >= len(self._data):
            raise ValueError("a header ends too early")
        self._at += 1
        return self._data[self._at - 1]

    def number(self) -> int:
        number = 0
        for shift in range(0, 63, 7):
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ValueError("a number in a header is too large")

    def text(self) -> str:
        length = self.number()
        if length > len(self._data) - self._at:
            raise ValueError("a header ends too early")
        self._at += length
        return self._data[self._at - length : self._at].decode()


def read(reader: Reader) -> Any:
    """The dtype that comes next.

    Raises:
        ValueError: There is none.
    """
    np = library("numpy")

    return np.dtype(_read(reader, _DEPTH))


def _read(reader: Reader, depth: int) -> Any:
    np = library("numpy")

    if depth == 0:
        raise ValueError("a dtype is too deep")
    kind = chr(reader.byte())
    if kind == "A":
        shape = tuple(reader.number() for _ in range(reader.byte()))
        return np.dtype((_read(reader, depth - 1), shape))
    if kind != "R":
        return np.dtype(_read_simple(reader, kind))
    size, is_aligned, count = reader.number(), reader.byte() == 1, reader.number()
    names: list[str] = []
    offsets: list[int] = []
    formats: list[Any] = []
    for _ in range(count):
        names.append(reader.text())
        offsets.append(reader.number())
        formats.append(_read(reader, depth - 1))
    if not 0 < size < _LARGEST:
        raise ValueError("a dtype has no size that makes sense")
    described: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    return np.dtype(described, align=is_aligned)


def _read_simple(reader: Reader, kind: str) -> str:
    order, size = chr(reader.byte()), reader.number()
    sizes = _SIZES.get(kind)
    is_sized = (
        size in sizes if sizes else kind in "SUV" and 0 < size < _LARGEST and (kind != "U" or size % 4 == 0)
    )
    if not is_sized or order not in "<>|":
        raise ValueError("a dtype is none of NumPy's own without objects")
    unit = ""
    if kind in "mM":
        unit = reader.text()
        if unit and not _UNIT.fullmatch(unit):
            raise ValueError("a dtype has a unit that is none")
    return f"{order}{kind}{size // 4 if kind == 'U' else size}{unit}"
