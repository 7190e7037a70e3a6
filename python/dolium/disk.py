"""Classes that convert keys and values to columns of the database, for programs that convert in their own way.

A cache whose class is exactly :class:`Disk` converts
natively and calls nothing here; a subclass is called for every key and value.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import os.path as op
import pickle
import sqlite3
import weakref
import zlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ._dolium import (
    _canonical,  # pyright: ignore[reportPrivateUsage]
    create_value,
    hash_column,
    load_key,
    open_value,
    remove_value,
    sign,
    verify,
)
from .constants import MODE_BINARY, MODE_PICKLE, MODE_RAW, MODE_TEXT, UNKNOWN
from .trust import loads as load_data

Columns: TypeAlias = "tuple[int, int, str | None, Any]"

_CHUNK = 2**22
_MAX_INT = 2**63


def canonical(key: Any, protocol: int) -> bytes:
    """The pickle that stands for `key` in the database: equal keys have equal bytes, however their parts are shared.

    For a key of more than 64 KiB it is the pickle of the key's digest.

    >>> canonical(("a", 1), 5) == canonical(("a", 1), 5)
    True
    """
    return _canonical(key, protocol)


class Disk:
    """Converts keys and values to the columns of a row, and back.

    To convert in another way, subclass it and pass the class as `disk`. Override any of `put`,
    `get`, `store`, `fetch`, `filename`, `remove` and `hash`. Settings of the cache that begin with
    ``disk_`` are arguments of the constructor.
    """

    _cache: weakref.ref[Any] | None = None
    """The cache that converts natively, by its settings: the attributes here are those."""

    def __init__(self, directory: str, min_file_size: int = 0, pickle_protocol: int = 0) -> None:
        self._directory = directory
        self.min_file_size = min_file_size
        self.pickle_protocol = pickle_protocol

    @property
    def min_file_size(self) -> int:
        """Values of at least this many bytes (texts: characters) get files of their own."""
        return self._ask("disk_min_file_size", self._min_file_size)

    @min_file_size.setter
    def min_file_size(self, value: int) -> None:
        self._min_file_size = value
        self._tell("disk_min_file_size", value)

    @property
    def pickle_protocol(self) -> int:
        """The protocol of pickles."""
        return self._ask("disk_pickle_protocol", self._pickle_protocol)

    @pickle_protocol.setter
    def pickle_protocol(self, value: int) -> None:
        self._pickle_protocol = value
        self._tell("disk_pickle_protocol", value)

    def _follow(self, cache: Any) -> None:
        """Make the attributes settings of `cache`. Assignments then hold for this process, as in diskcache."""
        self._cache = weakref.ref(cache)

    def _ask(self, setting: str, own: int) -> int:
        cache = self._cache and self._cache()
        return own if cache is None else getattr(cache, setting)

    def _tell(self, setting: str, value: int) -> None:
        cache = self._cache and self._cache()
        if cache is not None:
            cache.reset(setting, value, update=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._directory!r}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_cache"}

    def hash(self, key: Any) -> int:
        """A 32-bit number of `key` that chooses its shard; the same in every process.

        >>> Disk('').hash('abc')
        38600999
        """
        return hash_column(self.put(key)[0])

    def put(self, key: Any) -> tuple[Any, bool]:
        """The columns `key` and `raw` of a key: the key itself if it is text, bytes or a number, else a pickle.

        >>> Disk('').put('abc')
        ('abc', True)
        """
        kind = type(key)  # pyright: ignore[reportUnknownVariableType]
        if kind is bytes:
            return sqlite3.Binary(key), True
        if kind is str and _is_unicode(key):
            return key, True
        if kind is int and -_MAX_INT <= key < _MAX_INT:
            return key, True
        if kind is float and key == key:
            return key, True
        return sqlite3.Binary(canonical(key, self.pickle_protocol)), False

    def get(self, key: Any, raw: bool) -> Any:
        """The key that its columns stand for.

        Raises:
            UntrustedValueError: It is a pickle of more than plain data.
        """
        if raw:
            return bytes(key) if type(key) is memoryview else key
        return load_key(bytes(key))

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Columns:
        """The columns `size`, `mode`, `filename` and `value` of a value; writes its file if it needs one.

        With `read`, `value` is a file opened for reading in binary mode.
        """
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str and _is_unicode(value):
            if len(value) < self.min_file_size:
                return 0, MODE_RAW, None, value
            return self._store_file(MODE_TEXT, key, value, [value.encode("utf-8")])
        if kind is int and -_MAX_INT <= value < _MAX_INT:
            return 0, MODE_RAW, None, value
        if kind is float and value == value:
            return 0, MODE_RAW, None, value
        if kind is bytes:
            if len(value) < self.min_file_size:
                return 0, MODE_RAW, None, sqlite3.Binary(value)
            return self._store_file(MODE_BINARY, key, value, [value])
        if read:
            return self._store_file(MODE_BINARY, key, value, iter(lambda: value.read(_CHUNK), b""))
        pickled = pickle.dumps(value, protocol=self.pickle_protocol)
        signed = sign(pickled)
        if len(pickled) < self.min_file_size:
            return 0, MODE_PICKLE, None, sqlite3.Binary(signed)
        return self._store_file(MODE_PICKLE, key, value, [signed])

    def _store_file(self, mode: int, key: Any, value: Any, chunks: Iterable[bytes]) -> Columns:
        filename, full_path = self.filename(key, value)
        return self._write(full_path, chunks), mode, filename, None

    def _write(self, full_path: str, chunks: Iterable[bytes]) -> int:
        """Write a file, as a whole or not at all; return its size."""
        temporary = full_path.removesuffix(".val") + ".tmp"
        writer = self._create(temporary)
        try:
            with writer:
                size = sum(writer.write(chunk) for chunk in chunks)
            os.rename(temporary, full_path)
        except BaseException:
            _remove(temporary)
            raise
        return size

    def _create(self, path: str) -> io.BufferedWriter:
        inside = path.removeprefix(op.join(self._directory, ""))
        if inside != path:
            return open(path, "xb", opener=lambda _path, _flags: create_value(self._directory, inside))

        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        directory = op.dirname(path)
        for _ in range(10):
            os.makedirs(directory, 0o700, exist_ok=True)
            # Another process that empties the cache may remove the directory before the file is in it.
            with contextlib.suppress(FileNotFoundError):
                return open(path, "xb", opener=opener)
        return open(path, "xb", opener=opener)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """The value that its columns stand for; with `read`, an open file if it has one of bytes.

        Raises:
            OSError: The file cannot be read.
            UntrustedValueError: It is a pickle that dolium did not write, of more than plain data.
        """
        if mode == MODE_RAW:
            return bytes(value) if type(value) is memoryview else value
        if mode == MODE_BINARY and read and filename is not None:
            return self._open(filename)
        if filename is not None:
            with self._open(filename) as reader:
                value = reader.read()
        if mode == MODE_TEXT:
            return value.decode("utf-8")
        if mode == MODE_PICKLE:
            pickled, trusted = verify(bytes(value))
            return pickle.loads(pickled) if trusted else load_data(pickled)
        return value

    def _open(self, filename: str) -> io.BufferedReader:
        """Open a value file that a row names, which any program may have written: no link is followed."""
        path = op.join(self._directory, filename)
        return open(path, "rb", opener=lambda _path, _flags: open_value(self._directory, filename))

    def filename(self, key: Any = UNKNOWN, value: Any = UNKNOWN) -> tuple[str, str]:
        """A new name for a value file, relative to the directory, and its full path.

        The name does not depend on the key or the value.
        """
        name = os.urandom(16).hex()
        filename = op.join(name[:2], name[2:4], name[4:] + ".val")
        return filename, op.join(self._directory, filename)

    def remove(self, file_path: str) -> None:
        """Remove a value file, named relative to the directory; ignore one that is gone."""
        remove_value(self._directory, file_path)


class JSONDisk(Disk):
    """Stores keys and values as JSON, compressed with zlib. It never writes or reads a pickle.

    >>> import dolium
    >>> cache = dolium.Cache(disk=dolium.JSONDisk, disk_compress_level=6)
    >>> cache["key"] = {"list": [1, 2.5, None]}
    >>> cache["key"]
    {'list': [1, 2.5, None]}

    `compress_level` is 0 (none), or from 1 (fast) to 9 (small).
    """

    def __init__(self, directory: str, compress_level: int = 1, **kwargs: Any) -> None:
        self.compress_level = compress_level
        super().__init__(directory, **kwargs)

    def _encode(self, thing: Any) -> bytes:
        return zlib.compress(json.dumps(thing).encode("utf-8"), self.compress_level)

    @staticmethod
    def _decode(data: bytes) -> Any:
        return json.loads(zlib.decompress(data))

    def put(self, key: Any) -> tuple[Any, bool]:
        return super().put(self._encode(key))

    def get(self, key: Any, raw: bool) -> Any:
        return self._decode(super().get(key, raw))

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Columns:
        return super().store(value if read else self._encode(value), read, key=key)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        data = super().fetch(mode, filename, value, read)
        return data if read else self._decode(data)


def _remove(path: str) -> None:
    """Remove a file and the directories that it leaves empty; ignore those that are gone or in use."""
    with contextlib.suppress(OSError):
        os.remove(path)
    with contextlib.suppress(OSError):
        os.removedirs(op.dirname(path))


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold `text`: it has no lone surrogates."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def takes_key(store: Callable[..., Any]) -> bool:
    """Whether the `store` of a :class:`Disk` takes the key, as that of old subclasses does not.

    >>> takes_key(Disk.store), takes_key(lambda self, value, read: None)
    (True, False)
    """
    import inspect  # slow to import, and only needed here

    try:
        parameters = inspect.signature(store).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == "key" or p.kind is p.VAR_KEYWORD for p in parameters)


def open_descriptor(descriptor: int, path: str) -> io.BufferedReader:
    """A file named `path` that reads from a descriptor, which it then owns."""
    return open(path, "rb", opener=lambda _path, _flags: descriptor)
