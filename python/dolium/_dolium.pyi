"""The native module of dolium. Private: use the names that `dolium` exports.

Times are in seconds (points in time: since 1970), sizes in bytes. Flags take any object that is true
or false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from io import BufferedReader, BytesIO
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias, TypeVar, final, overload
from warnings import WarningMessage

from typing_extensions import Self, disjoint_base

from .codecs import Codec, Encoder, Filter
from .disk import Disk
from .errors import DoliumWarning
from .stats import Stats

_Side: TypeAlias = Literal["front", "back"]
_Seconds: TypeAlias = float | timedelta
_T = TypeVar("_T")
_Tag: TypeAlias = str | int | float | bytes | None
_Scalar: TypeAlias = str | int | float | bytes | None
_Column: TypeAlias = str | int | float | bytes | bytearray | memoryview | None

__all__ = [
    "Connection",
    "Cursor",
    "DescribeArray",
    "EntryIterator",
    "Flight",
    "Info",
    "KeyIterator",
    "Raw",
    "Recall",
    "Stop",
    "Store",
    "Tally",
    "Transaction",
    "Waiter",
    "__version__",
    "_canonical",
    "_cli",
    "_file_digest",
    "_fingerprint",
    "create_value",
    "encode_text",
    "filters_undo",
    "hash_column",
    "in_seconds",
    "join_flight",
    "load_key",
    "load_plain",
    "new_flight_space",
    "open_value",
    "plain_names",
    "remove_value",
    "sign",
    "stored_key",
    "verify",
    "warn",
    "zstd_apply",
]

__version__: Final[str]

@final
class DescribeArray:
    """What describes arrays: calls the function that it is made of, for arrays that this module does not know."""

    def __new__(cls, describe: Callable[[Any], tuple[str, Any] | str | None], /) -> Self: ...
    def __call__(self, value: Any) -> tuple[str, Any] | str | None: ...

@final
class Raw:
    """The elements of an array in C order, as they lie in memory, in a description of a value.

    `source` is a C-contiguous buffer of bytes, an iterator of such, or with `shape` and `strides` (both in elements, in
    C order of the array) one of unsigned integers that are the elements.
    """
    def __new__(
        cls,
        length: int,
        source: Any,
        shape: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        /,
    ) -> Self: ...

def _fingerprint(value: Any, /) -> bytes:
    """The fingerprint of a value."""

def _file_digest(path: str, /) -> bytes:
    """The digest of a file's contents, 20 bytes of BLAKE3."""

def stored_key(
    name: str,
    version: Any,
    parts: tuple[Any, ...],
    labels: tuple[str, ...] | None = None,
    /,
) -> tuple[Any, ...]:
    """The key of a call: the name and version of the function, then one part for each value.

    None, truth values, integers of 64 bits, floats, and text of up to 64 bytes stand for themselves, all else is its
    fingerprint. `labels` say in an error what a value is, as in "argument 'options'".
    """

def encode_text(text: str, /) -> bytes:
    """Encode text as UTF-8, while other threads get their turn."""

def zstd_apply(data: bytes, level: int, element: int, /) -> tuple[bytes, bytes] | None:
    """Compress bytes; None if that does not save a sixteenth. Return the numbers of the filters, and the bytes."""

def filters_undo(filters: bytes, data: bytes, /) -> tuple[int, bytes] | None:
    """Undo filters up to one that is the package's. Return how many are left, and the bytes; None if they are damaged."""

@final
class Tally:
    """How often the results of a function were found, and how many seconds that saved, in this process."""

    def __new__(cls) -> Self: ...
    @property
    def hits(self) -> int:
        """How often a result was found."""
    @property
    def saved(self) -> float:
        """How many seconds the results that were found had taken."""
    def add(self, seconds: float, /) -> None:
        """Counts a result that was found elsewhere."""

@disjoint_base
class Recall:
    """What finds the results of a wrapped function: the base class of such functions.

    A call asks for the result here. Where there is none, the method `_missed` of the subclass computes it, and in
    another mode than the normal one its method `_in_mode` does everything.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call self as a function."""
    def _prepare(self, calls: Any, mode: Callable[[], str], normal: str, /) -> None:
        """Say whose calls these are, what says the mode, and which mode is the normal one."""
    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> tuple[bool, Any]:
        """Whether there is a fresh result of a call, and that result, or else the key of the call."""

@final
class Flight:
    """A computation that others may wait for. If it is collected without an end, one of those who wait takes over."""

    @property
    def number(self) -> int:
        """Names the flight in this process."""
    def end(self, how: str | BaseException, /) -> None:
        """Ends the flight: "kept" if the result is stored, "unkept" if there is one that is not, "left" if there is none,
        or the exception that the computation raised.
        """
    def join(self, aboard: Sequence[int], /) -> Waiter | None:
        """One more who waits for this flight; None if it has ended."""
    def on_desertion(self, call: Callable[[], object], /) -> None:
        """Calls `call` whenever none is left who waits for this flight."""

@final
class Waiter:
    """One who waits for a flight."""

    @property
    def limit(self) -> float | None:
        """How long waiting makes sense, in seconds; None: as long as the flight lasts."""
    def wait(self, seconds: float | None = None, /) -> str | BaseException | None:
        """Waits at most so many seconds, and the limit; returns how the flight ended, or None."""
    def ended(self) -> str | BaseException | None:
        """How the flight ended, as `Flight.end` was told; None while it goes on."""
    def call(self, call: Callable[[], object], /) -> None:
        """Calls `call` when the flight ends, from whatever thread, or at once if it has."""
    def leave(self) -> None:
        """Waits no longer."""

@final
class Stop:
    """Ends a wait from another thread. What it runs raises `KeyboardInterrupt` where it waits for other writers after that,
    as if the thread had got a Ctrl-C; what does not wait goes on.
    """
    def __new__(cls) -> Self: ...
    def run(self, call: Callable[[], _T], /) -> _T:
        """Call `call` so that `ask` can end its waits; return what it returns."""
    def ask(self) -> None:
        """End the waits of what runs, from whatever thread."""

def new_flight_space() -> int:
    """A number for callers of this process that share flights."""

def join_flight(
    space: int, mark: bytes, aboard: Sequence[int], blocks: bool, after: Waiter | None = None, /
) -> Flight | Waiter | None:
    """Begin a flight among the callers of a space, or join it; None: the caller computes without."""

@disjoint_base
class Transaction:
    """The `with` block of a transaction. It is native, because a signal may raise between two lines of Python. After the
    transaction had begun, that would leave it open, and all other writers waiting, for ever.

    It holds the transaction, so any thread may leave the block. If it is collected before that, all changes are undone.
    """
    def __new__(cls, store: Store, retry: bool = False) -> Self: ...
    def _again(self) -> Self: ...
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
        max_age: _Seconds | None = None,
    ) -> Any:
        """Return the value of `key`, or `default` if there is none or it has expired.

        `read=True` returns an open binary file for values that are bytes. `expire_time=True` and
        `tag=True` return a tuple with the time of expiry (seconds since 1970, or None) and the tag.
        `max_age` treats a value as missing if it was stored more than so many seconds ago.
        `retry=True` waits without a limit instead of raising `Timeout`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set("a", 1, tag="x")
        True
        >>> cache.get("a"), cache.get("b", default=0), cache.get("a", tag=True)
        (1, 0, (1, 'x'))

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def _get_call(self, name: Any, args: tuple[Any, ...], kwargs: dict[str, Any], default: Any, /) -> Any:
        """Return the value of the key that `memoize` makes of a name and the arguments of a call, or `default`."""
    def read(self, key: Any, retry: bool = False) -> BufferedReader | BytesIO | Any:
        """Return the value of `key` as an open binary file.

        >>> import dolium, io
        >>> cache = dolium.Cache()
        >>> cache.set("a", io.BytesIO(b"abc"), read=True)
        True
        >>> with cache.read("a") as file:
        ...     file.read()
        b'abc'

        Raises:
            KeyError: There is no such key.
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def info(self, key: Any, *, retry: bool = False) -> Info | None:
        """Return the facts that are stored about the entry of `key`, or None if there is no such key.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["a"] = b"12345"
        >>> cache.info("a").size
        6
        """
    def get_many(self, keys: Iterable[Any], *, retry: bool = False) -> dict[Any, Any]:
        """Return a dict of those of `keys` that exist, with their values.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set_many({"a": 1, "b": 2})
        2
        >>> cache.get_many(["a", "b", "c"])
        {'a': 1, 'b': 2}

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def __getitem__(self, key: Any, /) -> Any: ...
    def __contains__(self, key: Any, /) -> bool: ...

    # Changing one key
    def set(
        self,
        key: Any,
        value: Any,
        expire: _Seconds | None = None,
        read: bool = False,
        tag: _Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> bool:
        """Store `value` under `key`; return True if it was stored.

        `expire` is in seconds or a `timedelta`, and `tag` is a text, number or bytes for `evict`. With
        `read=True` the value is a file opened for reading in binary mode, whose contents are stored in a
        file of its own.
        `codec` says how the value is stored, see `dolium.codecs`.
        `retry=True` waits without a limit instead of raising `Timeout`. A value larger than
        `size_limit` is not stored: the result is False, and a warning says so once.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set("key", {"any": "value"}, expire=60, tag="examples")
        True

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
            OSError: The disk is full, or the directory cannot be written; the old value is still there.
        """
    def add(
        self,
        key: Any,
        value: Any,
        expire: _Seconds | None = None,
        read: bool = False,
        tag: _Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> bool:
        """Store `value` under `key` unless there is one; return True if it was stored.

        Of several processes that add one key at once, exactly one gets True. Arguments and errors are
        those of `set`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.add("key", 1), cache.add("key", 2), cache["key"]
        (True, False, 1)
        """
    def touch(self, key: Any, expire: _Seconds | None = None, retry: bool = False) -> bool:
        """Let `key` expire in `expire` seconds from now, or never; return True if it is there.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["key"] = 1
        >>> cache.touch("key", expire=3600), cache.touch("other")
        (True, False)

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def incr(
        self,
        key: Any,
        delta: Any = 1,
        default: Any = 0,
        retry: bool = False,
        *,
        expire: _Seconds | None = None,
        tag: _Tag = None,
    ) -> Any:
        """Add `delta` to the number under `key`, atomically; return the sum.

        A missing key counts as `default`, or raises KeyError if that is None; it is then stored with
        `expire` (seconds) and `tag`. Integers of any size add exactly.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.incr("visits"), cache.incr("visits", 10), cache.incr("ratio", 0.5)
        (1, 11, 0.5)

        Raises:
            KeyError: There is no such key, and `default` is None.
            TypeError: The value is not a number.
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def decr(
        self,
        key: Any,
        delta: Any = 1,
        default: Any = 0,
        retry: bool = False,
        *,
        expire: _Seconds | None = None,
        tag: _Tag = None,
    ) -> Any:
        """Subtract `delta` from the number under `key`, atomically; return the difference.

        Everything else is as with `incr`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.decr("left", default=10)
        9
        """
    def delete(self, key: Any, retry: bool = False) -> bool:
        """Remove `key`; return True if it was there.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["key"] = 1
        >>> cache.delete("key"), cache.delete("key")
        (True, False)

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def pop(
        self,
        key: Any,
        default: Any = None,
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """Remove `key` and return its value, or `default` if it is not there.

        `expire_time=True` and `tag=True` return a tuple, as with `get`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["key"] = 1
        >>> cache.pop("key"), cache.pop("key", default="gone")
        (1, 'gone')

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...

    # Changing many
    def set_many(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        expire: _Seconds | None = None,
        tag: _Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> int:
        """Store the items of a mapping, or of an iterable of pairs, all or none; return how many were stored.

        `expire` is in seconds, `tag` and `codec` as with `set`. In a `FanoutCache` each shard is all or none.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set_many({"a": 1, "b": 2}, expire=60, tag="letters")
        2

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def add_many(
        self,
        mapping: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        expire: _Seconds | None = None,
        tag: _Tag = None,
        retry: bool = False,
        *,
        codec: Codec | Encoder | Filter | None = None,
    ) -> int:
        """Store those items of a mapping whose keys are not there; return how many were stored.

        Arguments and errors are those of `set_many`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["a"] = 0
        >>> cache.add_many({"a": 1, "b": 2}), cache["a"]
        (1, 0)
        """
    def delete_many(self, keys: Iterable[Any], retry: bool = False) -> int:
        """Remove `keys`, all or none; return how many were there.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set_many({"a": 1, "b": 2})
        2
        >>> cache.delete_many(["a", "c"])
        1

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def evict(self, tag: _Tag, retry: bool = False) -> int:
        """Remove the entries with `tag`; return how many there were.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> _ = cache.set("a", 1, tag="x"), cache.set("b", 2)
        >>> cache.evict("x"), list(cache)
        (1, ['b'])

        Raises:
            Timeout: Other writers kept the cache locked; `args[0]` is how many were removed before.
        """
    def expire(self, now: float | None = None, retry: bool = False) -> int:
        """Remove the entries that have expired by `now` (seconds since 1970, by default now); return how many.

        >>> import dolium, time
        >>> cache = dolium.Cache()
        >>> cache.set("a", 1, expire=60)
        True
        >>> cache.expire(now=time.time() + 120), len(cache)
        (1, 0)

        Raises:
            Timeout: Other writers kept the cache locked; `args[0]` is how many were removed before.
        """
    def cull(self, retry: bool = False) -> int:
        """Remove expired entries, then others by policy until the cache is within `size_limit`; return how many.

        Raises:
            Timeout: Other writers kept the cache locked; `args[0]` is how many were removed before.
        """
    def clear(self, retry: bool = False) -> int:
        """Remove all entries; return how many there were. Works on a damaged store too.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["a"] = 1
        >>> cache.clear(), len(cache)
        (1, 0)

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """

    # Queues
    def push(
        self,
        value: Any,
        prefix: str | None = None,
        side: _Side = "back",
        expire: _Seconds | None = None,
        read: bool = False,
        tag: _Tag = None,
        retry: bool = False,
    ) -> Any:
        """Add `value` at one side of a queue; return its key.

        Keys are integers around 500,000,000,000,000, or with a `prefix` texts `"prefix-500000000000000"`.
        `side` is "back" or "front". The other arguments are those of `set`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.push("first"), cache.push("second")
        (500000000000000, 500000000000001)
        >>> cache.push("x", prefix="jobs")
        'jobs-500000000000000'

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def pull(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: _Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """Remove the item at one side of a queue; return its key and value, or `default` if there is none.

        `side` is "front" or "back". Expired items are removed and passed over. `expire_time=True` and
        `tag=True` return a tuple of the pair and these facts.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> _ = cache.push("first"), cache.push("second")
        >>> cache.pull(), cache.pull(side="back")[1], cache.pull()
        ((500000000000000, 'first'), 'second', (None, None))

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def peek(
        self,
        prefix: str | None = None,
        default: Any = (None, None),
        side: _Side = "front",
        expire_time: bool = False,
        tag: bool = False,
        retry: bool = False,
    ) -> Any:
        """Return key and value of the item at one side of a queue, or `default` if there is none.

        Arguments are those of `pull`; the item stays.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> _ = cache.push("first"), cache.push("second")
        >>> cache.peek(), cache.peek(side="back")[1]
        ((500000000000000, 'first'), 'second')

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def peekitem(
        self, last: bool = True, expire_time: bool = False, tag: bool = False, retry: bool = False
    ) -> Any:
        """Return key and value of the entry that was inserted last, or with `last=False` first.

        Expired entries there are removed and skipped.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["a"] = 1; cache["b"] = 2
        >>> cache.peekitem(), cache.peekitem(last=False)
        (('b', 2), ('a', 1))

        Raises:
            KeyError: The cache is empty.
            UntrustedValueError: The key or the value is a pickle that `trust` does not allow.
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """

    # Keys
    def iterkeys(self, reverse: bool = False) -> KeyIterator:
        """Iterate over the keys as the database sorts them: numbers, texts, bytes, then all others.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set_many({2: "b", 1: "a"})
        2
        >>> list(cache.iterkeys()), list(cache.iterkeys(reverse=True))
        ([1, 2], [2, 1])
        """
    def keys(self, *, tag: _Tag = None, prefix: str | None = None, reverse: bool = False) -> KeyIterator:
        """Iterate over the keys in the order of insertion, also over those of entries that have expired.

        `tag` leaves only entries with that tag, and `prefix` only texts that begin with it. Keys with a prefix come as the
        database sorts them, because an index finds them. Entries with a tag are found by the index that
        `create_tag_index` makes; without it the iteration looks at every entry.

        The iteration meets each entry that is there all the time exactly once, and may meet entries that come or go
        meanwhile. It holds nothing between two keys.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> _ = cache.set("user:1", "Ada", tag="people"), cache.set("page:1", "<p>")
        >>> list(cache.keys(tag="people")), list(cache.keys(prefix="page:")), list(cache.keys(reverse=True))
        (['user:1'], ['page:1'], ['page:1', 'user:1'])
        """
    def items(self, *, tag: _Tag = None, prefix: str | None = None, reverse: bool = False) -> EntryIterator:
        """Iterate over pairs of key and value, without entries that have expired.

        Arguments and order are those of `keys`. The iteration does not count as reading the entries.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> _ = cache.set("user:1", "Ada", tag="people"), cache.set("page:1", "<p>")
        >>> list(cache.items()), list(cache.items(prefix="user:"))
        ([('user:1', 'Ada'), ('page:1', '<p>')], [('user:1', 'Ada')])
        """
    def values(self, *, tag: _Tag = None, prefix: str | None = None, reverse: bool = False) -> EntryIterator:
        """Iterate over the values, as `items` does over pairs.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.set_many({"a": 1, "b": 2})
        2
        >>> list(cache.values()), list(cache.values(reverse=True))
        ([1, 2], [2, 1])
        """
    def __iter__(self) -> Iterator[Any]: ...
    def __reversed__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...

    # Upkeep
    def check(self, fix: bool = False, retry: bool = False) -> list[WarningMessage]:
        """Compare database, counters and value files; return the problems as a list of warnings.

        `fix=True` fixes them: it removes entries whose files are missing, and unknown files.

        >>> import dolium
        >>> dolium.Cache().check()
        []

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def volume(self) -> int:
        """Return the bytes that the cache takes on disk: its database and its value files.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache["a"] = b"x" * 100_000
        >>> cache.volume() > 100_000
        True
        """
    def stats(self, enable: bool | None = None, reset: bool = False) -> Stats:
        """Return how often all processes together found a value, and how often they did not.

        The call changes nothing. Reads are counted in memory, from when the first process opened the cache until the
        last closes it. `enable=True` stores the setting `statistics`, with which the numbers outlast that;
        `enable=False` stores that they do not. `reset=True` sets both to 0 afterwards. The pair has attributes,
        too: `evicted`, `refused`, and `hot` about the memory that all processes share.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.stats()
        (0, 0)
        >>> cache.get("a")
        >>> cache.stats()
        (0, 1)
        """
    def create_tag_index(self) -> None:
        """Make evicting and listing by tag fast.

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def drop_tag_index(self) -> None:
        """Drop the index that `create_tag_index` made.

        Raises:
            Timeout: Other writers kept the cache locked for longer than `timeout`.
        """
    def flush(self) -> None:
        """Make all entries safe from power loss, and readable for diskcache.

        Raises:
            OSError: The disk refused to store them.
        """
    def close(self) -> None:
        """Store pending writes and close the files. The next use opens them again."""
    def reset(self, key: str, value: Any = ..., update: bool = True) -> Any:
        """Read the setting `key` again from the store, or change it; return its value.

        `update=False` changes it for this process only.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.reset("cull_limit", 5), cache.reset("cull_limit")
        (5, 5)

        Raises:
            ValueError: There is no such setting.
        """

    # For the classes of the package
    def _backup(self, directory: str, replace: bool) -> int:
        """Copies the cache to another directory; returns how many entries the copy holds."""
    def _open(
        self,
        directory: str,
        timeout: _Seconds,
        settings: dict[str, Any],
        *,
        read_only: bool,
        trust: str,
        disk: type[Disk] | None,
        shards: int | None,
        codec: Codec | Encoder | Filter | None = None,
    ) -> None: ...
    def _open_shard(self, index: int, store: Store) -> None: ...
    def _strict(self) -> Self: ...
    def _custom_disk(self, index: int = 0) -> Disk | None: ...
    def _in_transaction(self) -> bool: ...
    def _flight(
        self, key: Any, aboard: Sequence[int], blocks: bool, after: Waiter | None = None, /
    ) -> Flight | Waiter | None:
        """Begin the flight of a key, or join it; None: the caller computes without. Those who waited for `after` share the
        next attempt.
        """
    def _known_result(
        self, key: Any, /
    ) -> tuple[Any, bool, float, float | None, float | None, float, int] | None:
        """All that is known of the result under a key, fresh or not; None if there is none."""
    def _keep_result(
        self,
        key: Any,
        value: Any,
        /,
        *,
        expire: _Seconds | None,
        fresh_until: float | None,
        seconds: float,
        tag: _Tag,
        raised: bool,
        since: float | None,
        codec: Codec | Encoder | Filter | None = None,
        group: str = "",
    ) -> tuple[bool, Any]:
        """Keep a result unless one was stored after `since`. Return whether it is kept, and what a hit will return.

        Small results of one `group` share a dictionary.
        """
    def _try_get(
        self,
        key: Any,
        unanswered: Any,
        default: Any = None,
        expire_time: bool = False,
        tag: bool = False,
        max_age: _Seconds | None = None,
        /,
    ) -> Any:
        """`get` if the hot tier has the answer, else `unanswered`."""
    def _try_get_many(self, keys: list[Any], /) -> dict[Any, Any] | None:
        """`get_many` if the hot tier has the answer, as of one moment, else None."""
    def _try_contains(self, key: Any, /) -> bool | None:
        """Whether the key is there, if the hot tier knows, else None."""
    def _try_set(self, key: Any, value: Any, expire: _Seconds | None = None, tag: _Tag = None, /) -> bool:
        """Store a small text, number or bytes in the hot tier. False: nothing has happened."""
    def _try_incr(self, key: Any, delta: Any, /) -> int | float | None:
        """Add to a number that the hot tier knows, and return the sum. None: nothing has happened."""
    def _try_delete(self, key: Any, /) -> bool:
        """Remove an entry that the hot tier knows. False: nothing has happened."""
    def _deque_len(self) -> int | None:
        """How many entries there are, None if that must be counted."""
    def _deque_first(self) -> int | None:
        """The key of the first item if the keys are integers without a gap, else None."""
    def _deque_item(self, position: int, default: Any, /) -> Any:
        """The item at a position, `default` if that must be searched for.

        Raises:
            IndexError: There are not so many.
        """
    def _deque_replace(self, position: int, value: Any, /) -> bool:
        """Replace the item at a position; return whether that was possible without a transaction.

        Raises:
            IndexError: There are not so many.
        """
    def _deque_push(self, value: Any, side: _Side, most: int, /) -> bool:
        """Add an item to at most `most`, so that the one at the other end may go; return whether that was possible."""
    def _annotation(self, name: str, /) -> bytes | None:
        """The annotation of a name, or None."""
    def _annotate(self, name: str, note: bytes, /) -> None:
        """Replace the annotation of a name."""
    def _keep(
        self, key: Any, value: Any, expire: _Seconds | None = None, tag: _Tag = None, add: bool = False
    ) -> bool: ...
    def _swap(
        self,
        key: Any,
        old: Any,
        new: Any,
        expire: _Seconds | None = None,
        tag: _Tag = None,
        keep: bool = True,
        takes: bool = True,
        expires: float | None = None,
    ) -> tuple[bool, float | None] | None:
        """Set a value if the key has the value `old` (MISS: none; ...: anything). Return whether, and the expiry.

        MISS as `new` deletes the entry. With `expires`, that must be the expiry of the entry. `takes` asks whether other
        programs use the directory. None: only a transaction may do that here.
        """
    def _is_shared(self, key: Any) -> bool:
        """Whether another program uses the directory of a key."""
    def _owner(self, key: Any) -> int:
        """The number of this process in the directory of a key."""
    def _is_alive(self, key: Any, owner: int) -> bool:
        """Whether the process with that number lives."""
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
    """The facts that are stored about an entry."""

    @property
    def store_time(self) -> float:
        """When the value was stored, in seconds since 1970."""
    @property
    def expire_time(self) -> float | None:
        """When the entry expires, in seconds since 1970, or None."""
    @property
    def access_time(self) -> float:
        """When the value was last read, under an eviction policy that records it; else when it was stored."""
    @property
    def access_count(self) -> int:
        """How often the value was read since it was stored, under an eviction policy that records it."""
    @property
    def size(self) -> int:
        """Bytes of the key and the value as they are stored."""
    @property
    def tag(self) -> _Scalar:
        """The tag, or None."""
    @property
    def mode(self) -> int:
        """How the value is stored: one of the `MODE_…` numbers."""
    @property
    def path(self) -> str | None:
        """The path of the value file, or None if the value is in the database."""

@final
class KeyIterator(Iterator[Any]):
    """The keys of a cache."""

    def __iter__(self) -> KeyIterator: ...
    def __next__(self) -> Any: ...

@final
class EntryIterator(Iterator[Any]):
    """The entries of a cache, or their values."""

    def __iter__(self) -> EntryIterator: ...
    def __next__(self) -> Any: ...

@final
class Cursor(Iterator[tuple[Any, ...]]):
    """The rows that a statement returned."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left, as tuples."""
    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return at most `size` of the rows that are left."""
    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
    def close(self) -> None:
        """Does nothing: the rows were read when the statement ran."""
    def __iter__(self) -> Cursor: ...
    def __next__(self) -> tuple[Any, ...]: ...
    @property
    def rowcount(self) -> int:
        """Rows that the statement changed, or -1 if it only read."""
    @property
    def lastrowid(self) -> int:
        """The row that was inserted last."""
    @property
    def description(self) -> tuple[tuple[Any, ...], ...] | None:
        """The names of the columns, each in a tuple of seven, or None for a statement without rows."""

@final
class Connection:
    """The part of a `sqlite3.Connection` that programs use. It runs statements on the database of a cache."""

    def execute(self, sql: str, parameters: Iterable[_Column] = (), /) -> Cursor:
        """Run a statement."""
    def executemany(self, sql: str, parameters: Iterable[Iterable[_Column]], /) -> Cursor:
        """Run a statement once for each set of parameters, in one transaction."""

def _canonical(key: Any, protocol: int, /) -> bytes: ...
def _cli(arguments: list[str], /) -> int: ...
def hash_column(column: str | int | float | bytes | memoryview, /) -> int:
    """diskcache's hash of the column `key` of a key."""

@overload
def in_seconds(time: timedelta | float, /) -> float:
    """The seconds of a `timedelta` as a number; any other object as it is."""

@overload
def in_seconds(time: timedelta | float | None, /) -> float | None:
    """The seconds of a `timedelta` as a number; any other object as it is."""

@overload
def in_seconds(time: _T, /) -> _T:
    """The seconds of a `timedelta` as a number; any other object as it is."""

def load_key(pickle: bytes, /) -> Any:
    """The key in a pickle. Raises `UntrustedValueError` if its cache may not load it."""

def load_plain(pickle: bytes, /) -> Any:
    """The plain data in a pickle that another user may have written. What follows its end is ignored."""

def plain_names() -> dict[tuple[str, str], tuple[tuple[str, str], str | None, bool]]:
    """The names for plain data, by how pickles have them: the name that they have today, what rebuilds it, and whether that
    takes names for arguments.
    """

def sign(pickle: bytes, /) -> bytes:
    """A pickle with the signature of this user behind it, for the entry that is being stored."""

def verify(stored: bytes, /) -> tuple[bytes, bool]:
    """A stored pickle, and whether the cache that it is read from may load it without restrictions."""

def create_value(directory: str, name: str, /) -> int:
    """Makes a value file of that name in a directory, with the rights of that. Returns its descriptor, which the caller
    closes.
    """

def open_value(directory: str, name: str, /) -> int:
    """Opens the value file of that name in a directory; no link in the directory is followed. Returns its descriptor, which
    the caller closes.
    """

def remove_value(directory: str, name: str, /) -> None:
    """Removes the value file of that name in a directory, and the directories that it leaves empty."""

def warn(kind: type[DoliumWarning], message: str, /) -> None:
    """Warn, and log it. A warning that a filter turns into an exception never changes what the caller does: it goes to
    `sys.unraisablehook`."""
