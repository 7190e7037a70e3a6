"""A value that is read as a file: :class:`AsyncFile`."""

from __future__ import annotations

from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING, Any

from .. import workers

if TYPE_CHECKING:
    from typing_extensions import Self


class AsyncFile:
    """A binary file whose methods are awaited. ``async for`` gives its lines, ``async with`` closes it."""

    __slots__ = ("_file",)

    def __init__(self, file: Any) -> None:
        self._file = file

    @property
    def name(self) -> str | None:
        """The path of the value file, or None if the value is in memory."""
        return getattr(self._file, "name", None)

    async def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, by default all that are left."""
        return await self._call(self._file.read, size)

    async def readline(self, size: int = -1) -> bytes:
        """The next line, with its end."""
        return await self._call(self._file.readline, size)

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position, as :meth:`io.IOBase.seek` does; return it."""
        return await self._call(self._file.seek, offset, whence)

    async def tell(self) -> int:
        """The position."""
        return await self._call(self._file.tell)

    async def close(self) -> None:
        """Close the file."""
        await self._call(self._file.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def _call(self, call: Any, *args: Any) -> Any:
        return await workers.run(None, "reads", call, *args)


def wrapped(value: Any) -> Any:
    """The answer of a cache that was asked for a file: with a file for ``async with`` in its place."""
    return AsyncFile(value) if isinstance(value, (BufferedReader, BytesIO)) else value
