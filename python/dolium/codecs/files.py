"""Bodies of frames that lie in value files: read once into the memory where they stay, or mapped."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

__all__ = ["BodyFile"]

_MOST = 1 << 30
"""Bytes that one call reads; systems have limits."""


class BodyFile:
    """The body of a frame in a value file, as long as a `with` block lasts."""

    def __init__(
        self, descriptor: int, at: int, length: int, signed_part: bytes, may_be_mapped: bool
    ) -> None:
        self._descriptor = descriptor
        self._at = at
        self.length = length
        self.signed_part = signed_part
        """The beginning, if a signature covers it: the file may have changed since."""
        self._may_be_mapped = may_be_mapped

    def __enter__(self) -> BodyFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def beginning(self, length: int) -> bytes:
        """So many bytes, or all."""
        return os.pread(self._descriptor, min(length, self.length), self._at)

    def read_into(self, memory: Any, at: int) -> None:
        """Fill memory with the bytes from `at` on. Other threads run meanwhile."""
        view = memoryview(memory).cast("B")
        done = 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done : done + _MOST]], self._at + at + done)
            if count == 0:
                raise ValueError("the value file has become shorter")
            done += count

    def read(self) -> memoryview:
        """All bytes, in memory that may be written to."""
        memory = bytearray(self.length)
        self.read_into(memory, 0)
        return memoryview(memory)

    def mapped(self) -> memoryview:
        """All bytes, mapped if that is safe, so that they cannot be written to."""
        if not self._may_be_mapped:
            return self.read().toreadonly()
        import mmap

        mapped = mmap.mmap(self._descriptor, self._at + self.length, access=mmap.ACCESS_READ)
        return memoryview(mapped)[self._at :]
