"""The native module of dolium. Private: use the names that `dolium` exports.

Times are in seconds (points in time: since 1970), sizes in bytes. Flags take any object that is true
or false.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import BufferedReader, BytesIO
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, final
from warnings import WarningMessage

from typing_extensions import Self, disjoint_base

from .disk import Disk
from .stats import Stats

_Side: TypeAlias = Literal["front", "back"]
_Tag: TypeAlias = str | int | float | bytes | None
_Scalar: TypeAlias = str | int | float | bytes | None
_Column: TypeAlias = str | int | float | bytes | bytearray | memoryview | None

__all__ = [
    "Connection",
    "Cursor",
    "Info",
    "KeyIterator",
    "Store",
    "Transaction",
    "__version__",
    "_canonical",
    "_cli",
    "create_value",
    "hash_column",
    "load_key",
    "open_value",
    "remove_value",
    "sign",
    "verify",
]

__version__: Final[str]

@disjoint_base
class Transaction:
    def __new__(cls, store: Store, retry: bool = False) -> Self: ...
    def __enter__(self) -> None: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

@disjoint_base
class Store:
    """A directory of entries, or several as shards. The base class of `Cache` and `FanoutCache`."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...

    # Looking up
    def get(
        self,
        key: Any,
        default: Any = None,
        read: bool = False,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
        *,
        max_age: float | None = None,
    ) -> Any: ...
    def read(self, key: Any, retry: bool = False) -> BufferedReader | BytesIO | Any: ...
    def info(self, key: Any, *, retry: bool = False) -> Info | None: ...
    def get_many(self, keys: Iterable[Any], *, retry: bool = False) -> dict[Any, Any]: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __contains__(self, key: Any, /) -> bool: ...

    # Changing one key
    def set(
        self,
        key: Any,
        value: Any,
        expire: float | None = None,
        read: bool = False,
        tag: _Tag = None,
        retry: bool = False,
    ) -> bool: ...
    def add(
        self,
        key: Any,
        value: Any,
        expire: float | None = None,
        read: bool = False,
        tag: _Tag = None,
        retry: bool = False,
    ) -> bool: ...
    def touch(self, key: Any, expire: float | None = None, retry: bool = False) -> bool: ...
    def incr(
        self,
        key: Any,
        delta: Any = 1,
        default: Any = 0,
        retry: bool = False,
        *,
        expire: float | None = None,
        tag: _Tag = None,
    ) -> Any: ...
    def decr(
        self,
        key: Any,
        delta: Any = 1,
        default: Any = 0,
        retry: bool = False,
        *,
        expire: float | None = None,
        tag: _Tag = None,
    ) -> Any: ...
    def delete(self, key: Any, retry: bool = False) -> bool: ...
    def pop(
        self,
        key: Any,
        default: Any = None,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...

    # Changing many
    def set_many(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        expire: float | None = None,
        tag: _Tag = None,
        retry: bool = False,
    ) -> int: ...
    def add_many(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        expire: float | None = None,
        tag: _Tag = None,
        retry: bool = False,
    ) -> int: ...
    def delete_many(self, keys: Iterable[Any], retry: bool = False) -> int: ...
    def evict(self, tag: _Tag, retry: bool = False) -> int: ...
    def expire(self, now: float | None = None, retry: bool = False) -> int: ...
    def cull(self, retry: bool = False) -> int: ...
    def clear(self, retry: bool = False) -> int: ...

    # Queues
    def push(
        self,
        value: Any,
        prefix: str | None = None,
        side: _Side = "back",
        expire: float | None = None,
        read: bool = False,
        tag: _Tag = None,
        retry: bool = False,
    ) -> Any: ...
    def pull(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: _Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any: ...
    def peek(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: _Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any: ...
    def peekitem(
        self, last: bool = True, expire_time: bool = False, tag: bool = False, retry: bool = False
    ) -> Any: ...

    # Keys
    def iterkeys(self, reverse: bool = False) -> KeyIterator: ...
    def keys(self, *, tag: _Tag = None, prefix: str | None = None, reverse: bool = False) -> KeyIterator: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __reversed__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...

    # Upkeep
    def check(self, fix: bool = False, retry: bool = False) -> list[WarningMessage]: ...
    def volume(self) -> int: ...
    def stats(self, enable: bool = True, reset: bool = False) -> Stats: ...
    def create_tag_index(self) -> None: ...
    def drop_tag_index(self) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def reset(self, key: str, value: Any = ..., update: bool = True) -> Any: ...

    # For the classes of the package
    def _open(
        self,
        directory: str,
        timeout: float,
        settings: dict[str, Any],
        *,
        read_only: bool,
        trust: str,
        disk: type[Disk] | None,
        shards: int | None,
    ) -> None: ...
    def _open_shard(self, index: int, store: Store) -> None: ...
    def _strict(self) -> Self: ...
    def _custom_disk(self, index: int = 0) -> Disk | None: ...
    def _begin(self, retry: bool = False) -> None: ...
    def _commit(self) -> None: ...
    def _rollback(self) -> None: ...
    def _in_transaction(self) -> bool: ...
    def _keep(
        self, key: Any, value: Any, expire: float | None = None, tag: _Tag = None, add: bool = False
    ) -> bool: ...
    def _setting(self, name: str) -> _Scalar: ...
    def _settings(self) -> dict[str, Any]: ...
    def _sql(self, sql: str, parameters: Iterable[_Column] = (), /) -> Cursor: ...
    @property
    def _con(self) -> Connection: ...
    @property
    def _directories(self) -> list[str]: ...
    @property
    def _read_only(self) -> bool: ...
    @property
    def _refused(self) -> int: ...

@final
class Info:
    """What is stored beside a value."""

    @property
    def store_time(self) -> float: ...
    @property
    def expire_time(self) -> float | None: ...
    @property
    def access_time(self) -> float: ...
    @property
    def access_count(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def tag(self) -> _Scalar: ...
    @property
    def mode(self) -> int: ...
    @property
    def path(self) -> str | None: ...

@final
class KeyIterator(Iterator[Any]):
    """The keys of a cache."""

    def __iter__(self) -> KeyIterator: ...
    def __next__(self) -> Any: ...

@final
class Cursor(Iterator[tuple[Any, ...]]):
    """The rows that a statement returned."""

    def fetchall(self) -> list[tuple[Any, ...]]: ...
    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]: ...
    def fetchone(self) -> tuple[Any, ...] | None: ...
    def close(self) -> None: ...
    def __iter__(self) -> Cursor: ...
    def __next__(self) -> tuple[Any, ...]: ...
    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int: ...
    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None: ...

@final
class Connection:
    """What of a `sqlite3.Connection` programs use."""

    def execute(self, sql: str, parameters: Iterable[_Column] = (), /) -> Cursor: ...
    def executemany(self, sql: str, parameters: Iterable[Iterable[_Column]], /) -> Cursor: ...

def _canonical(key: Any, protocol: int, /) -> bytes | None: ...
def _cli(arguments: list[str], /) -> int: ...
def hash_column(column: str | int | float | bytes | memoryview, /) -> int: ...
def create_value(directory: str, name: str, /) -> int: ...
def load_key(pickle: bytes, /) -> Any: ...
def open_value(directory: str, name: str, /) -> int: ...
def remove_value(directory: str, name: str, /) -> None: ...
def sign(pickle: bytes, /) -> bytes: ...
def verify(stored: bytes, /) -> tuple[bytes, bool]: ...
