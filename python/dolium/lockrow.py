"""The row of a lock: changed only if it is as its lock knows it, and the processes that such rows name.

A lock is taken and released in the hot tier, by a change of one key. A program with diskcache does not see what waits
there. So once a process has seen that such a program uses the directory, locks are rows that a transaction writes.

A row that a cache may evict is no lock. The rows of locks are therefore last in every order of eviction
(``Store._keep``). diskcache's format allows that, because eviction picks its victims by three columns. A free lock
leaves no such row.

A robust lock names its owner in its row: a number that the system knows to live as long as the process
(``Store._owner``). A row whose owner is dead is replaced as a free one is. A dead process writes nothing more, so such
a row means the same until it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from ._dolium import in_seconds
from .constants import MISS
from .errors import Timeout
from .workers import native_method

if TYPE_CHECKING:
    from datetime import timedelta


class SharedCache(Protocol):
    """The methods of a cache that the recipes use; ``Cache`` and ``FanoutCache`` have them."""

    def get(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def set(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def add(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def pop(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def transact(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]: ...
    def __contains__(self, key: Any, /) -> bool: ...


def shown(tool: object, cache: SharedCache, key: Any) -> str:
    """The `repr` of a tool that is built on a key of a cache, in the form of a cache's own."""
    return f"<{type(tool).__name__} {key!r}, directory: {getattr(cache, 'directory', cache)}>"


def home_of(cache: SharedCache, key: Any) -> SharedCache:
    """The shard of `cache` that holds `key`, or `cache`. A transaction of it is enough."""
    if hasattr(type(cache), "_shards"):
        fanout: Any = cache
        return fanout._shards[fanout._hash(key) % fanout._count]
    return cache


def keep(
    cache: SharedCache, key: Any, value: Any, expire: float | timedelta | None, tag: Any, add: bool = False
) -> bool:
    """Set (or add) a row that eviction spares for as long as there is anything else to evict."""
    keep = native_method(cache, "_keep")
    if keep is not None:
        return bool(keep(key, value, expire=expire, tag=tag, add=add))
    put = cache.add if add else cache.set
    return bool(put(key, value, expire=expire, tag=tag, retry=True))


def put(cache: SharedCache, key: Any, value: Any, expire: float | timedelta | None, tag: Any) -> None:
    """Set a row that eviction need not spare. It has the same form whatever codec the cache has."""
    options: dict[str, Any] = {}
    if getattr(cache, "_codec", None) is not None:
        from .codecs import Auto

        options["codec"] = Auto()
    cache.set(key, value, expire=expire, tag=tag, retry=True, **options)


TRIES = 8
"""How often a row is replaced without a transaction while other threads and processes are faster."""

LARGEST = 1 << 63
"""Above all numbers of owners."""

Decided = tuple[Any, bool] | None
"""The new row, or MISS for none, and whether eviction spares it. None: the row stays."""


class LockRow:
    """The row under one key of a cache."""

    def __init__(
        self, cache: SharedCache, key: Any, expire: float | timedelta | None, tag: Any, robust: bool
    ):
        self.key, self.expire, self.tag = key, in_seconds(expire), tag
        self._home = home_of(cache, key)
        self._swap_row = native_method(self._home, "_swap")
        # What the row was when this object last changed it. A wrong guess costs a read.
        self._guess: Any = MISS
        if robust and native_method(self._home, "_owner") is None:
            raise TypeError(
                f"a robust lock needs a cache of dolium, not {type(cache).__name__}, "
                "which cannot tell whether a process lives; pass a Cache of dolium, or leave `robust` out"
            )

    def get(self) -> Any:
        """The row, or MISS."""
        return self._home.get(self.key, default=MISS, retry=True)

    def change(self, decide: Callable[[Any], Decided], takes: bool) -> tuple[Any, float | None] | None:
        """Replace the row by that which `decide` returns for it. Return that and its expiry, or None if the row stays.

        Args:
            decide: Gets the row, or MISS. It may run more than once, and for a row that is not there any more.
            takes: Whether this takes the lock, so that another program must find it at once.
        """
        if self._swap_row is None:
            return self._change_directly(decide)
        guess = self._guess
        try:
            decided = decide(guess)
        except AssertionError:  # about a row that may be another by now
            decided = None
        if decided is not None:
            new, kept = decided
            swapped = self._swap(guess, new, kept, takes)
            if swapped is None:
                return self._change_directly(decide)
            if swapped[0]:
                return new, swapped[1]
        for _ in range(TRIES):
            try:
                row = self.get()
            except Timeout:
                break
            decided = decide(row)
            if decided is None:
                return None
            swapped = self._swap(row, *decided, takes)
            if swapped is None:
                break
            if swapped[0]:
                return decided[0], swapped[1]
        return self._change_directly(decide)

    def _swap(
        self, old: Any, new: Any, kept: bool, takes: bool, expires: float | None = None
    ) -> tuple[bool, float | None] | None:
        """Whether the row was `old` and is `new` now, and its expiry. None: only a transaction may do that."""
        assert self._swap_row is not None
        try:
            swapped = self._swap_row(self.key, old, new, self.expire, self.tag, kept, takes, expires)
        except (
            Timeout
        ):  # attaching waits only as long as a shard's `timeout`, and a transaction for as long as it takes
            return None
        if swapped is not None and swapped[0]:
            self._guess = new
        return swapped

    def _change_directly(self, decide: Callable[[Any], Decided]) -> tuple[Any, float | None] | None:
        with self._home.transact(retry=True):
            decided = decide(self.get())
            if decided is None:
                return None
            new, kept = decided
            if new is MISS:
                self._home.delete(self.key, retry=True)
            elif kept:
                keep(self._home, self.key, new, self.expire, self.tag)
            else:
                put(self._home, self.key, new, self.expire, self.tag)
            self._guess = new
            return new, None if self.expire is None else self._expiry()

    def delete(self, expires: float | None = None) -> None:
        """Delete the row; with `expires`, only if it expires at that very time."""
        if self._swap_row is not None and self._swap(..., MISS, False, False, expires) is not None:
            return
        with self._home.transact(retry=True):
            if expires is None or self._expiry() == expires:
                self._home.delete(self.key, retry=True)

    def _expiry(self) -> Any:
        return self._home.get(self.key, expire_time=True, retry=True)[1]

    def owner(self) -> int:
        """The number of this process."""
        home: Any = self._home
        return home._owner(self.key)

    def is_alive(self, owner: int) -> bool:
        """Whether the process with that number lives."""
        home: Any = self._home
        return home._is_alive(self.key, owner)

    def is_dead(self, name: Any) -> bool:
        """Whether that is the name of a robust holder that is dead."""
        owner = owner_in(name)
        return owner is not None and not self.is_alive(owner)


def owner_in(name: Any) -> int | None:
    """The number of the process in the name of a robust holder; None for every other row."""
    if not isinstance(name, str):
        return None
    _, at, number = name.rpartition("@")
    return int(number) if at and number.isascii() and number.isdigit() and int(number) < LARGEST else None
