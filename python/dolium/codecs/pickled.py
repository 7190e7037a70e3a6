"""The encoder :class:`Pickle`: pickles of protocol 5, whose large buffers lie outside of the stream.

A body with buffers is, with all numbers little-endian:

| bytes | content |
|---|---|
| 8 | the length of the *signed part*: all up to the first buffer's padding |
| 4 | how many buffers there are |
| 16 each | where a buffer begins in the body, and its length |
| n | the pickle |
| n | the buffers, each at a multiple of 64 |

Only the pickle can run code. A buffer is the memory of an array or of an Arrow object, which is data whatever it holds.
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Callable
from typing import Any, ClassVar

from ..errors import UntrustedValueError
from .body import Body
from .codec import Codec, Encoder
from .files import BodyFile
from .numbers import BUFFERS, PICKLE

__all__ = ["Pickle", "loads"]

_LARGE = 1024
"""Bytes from which on a buffer leaves the stream."""
_ALIGNMENT = 64


class Pickle(Encoder):
    """Every object that `pickle` takes. The memory of arrays inside it is kept outside of the pickle.

    `mmap` maps it, so that a value of any size comes back at once, with arrays that cannot be written to. Nothing is
    mapped on a network file system, and a program that truncates a mapped file kills its readers by SIGBUS.

    >>> import dolium
    >>> from dolium.codecs import Pickle
    >>> cache = dolium.Cache()
    >>> cache.set("key", {1, 2}, codec=Pickle())
    True
    >>> cache["key"]
    {1, 2}
    """

    _defaults: ClassVar = {"mmap": False}

    def __init__(self, mmap: bool = False) -> None:
        self.mmap = mmap

    @property
    def _is_mapped(self) -> bool:  # type: ignore[override]
        return self.mmap

    def _body(self, value: Any, codec: Codec) -> Body | None:
        buffers: list[memoryview] = []

        def stays(buffer: pickle.PickleBuffer) -> bool:
            try:
                view = buffer.raw()
            except BufferError:
                return True
            if view.nbytes < _LARGE or not _is_data(view.obj):
                return True
            buffers.append(view)
            return False

        stream = pickle.dumps(value, 5, buffer_callback=stays)
        if not buffers:
            return Body(PICKLE, stream)
        head = 12 + 16 * len(buffers)
        end = signed = head + len(stream)
        places: list[tuple[int, int]] = []
        parts: list[Any] = [stream]
        for view in buffers:
            begin = -(-end // _ALIGNMENT) * _ALIGNMENT
            parts += [bytes(begin - end), view]
            places.append((begin, view.nbytes))
            end = begin + view.nbytes
        numbers = [number for place in places for number in place]
        parts.insert(0, struct.pack(f"<QI{len(numbers)}Q", signed, len(buffers), *numbers))
        return Body(BUFFERS, tuple(parts), is_aligned=self.mmap)


def parts(value: Any, protocol: int) -> tuple[Any, ...]:
    """The pickle of a value in parts, one behind the other. Large memory in it is a part of its own, and not copied."""
    sink = _Sink()
    pickle.Pickler(sink, protocol).dump(value)
    # A view keeps a bytearray from changing its length.
    return tuple(part.raw() if type(part) is pickle.PickleBuffer else memoryview(part) for part in sink.parts)


class _Sink:
    """A file for `pickle`, which writes large memory as it is."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.write: Callable[[Any], object] = self.parts.append


def _is_data(owner: object) -> bool:
    """Whether a buffer is memory of NumPy or Arrow."""
    numpy, arrow = sys.modules.get("numpy"), sys.modules.get("pyarrow")
    return (numpy is not None and type(owner) is numpy.ndarray) or (
        arrow is not None and isinstance(owner, arrow.Buffer)
    )


def refuse_unless(may_run: bool) -> None:
    if not may_run:
        raise UntrustedValueError("a pickle with buffers or filters is not signed with this user's key")


def loads(part: Any, body: Any, length: int) -> Any:
    """The object of a signed part, whose buffers are in `body`."""
    signed, count = struct.unpack_from("<QI", part)
    numbers = struct.unpack_from(f"<{2 * count}Q", part, 12)
    head = 12 + 16 * count
    if not head <= signed <= len(part):
        raise ValueError("the lengths in a pickle do not fit")
    buffers: list[Any] = []
    for begin, size in zip(numbers[::2], numbers[1::2], strict=True):
        if begin < signed or begin + size > length:
            raise ValueError("a buffer lies outside of its value")
        buffers.append(body[begin : begin + size])
    return pickle.loads(memoryview(part)[head:signed], buffers=buffers)


def decode(data: Any, may_run: bool, is_aligned: bool) -> Any:
    refuse_unless(may_run)
    view = memoryview(data)
    return loads(view, view.toreadonly() if is_aligned else view, len(view))


def decode_file(file: BodyFile, may_run: bool) -> Any:
    refuse_unless(may_run)
    view = file.mapped()
    return loads(file.signed_part, view, len(view))
