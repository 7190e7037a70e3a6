"""Generators whose items are kept: the first caller gets them as they come, and later ones from the cache.

The items are stored when the first caller reaches the end. If it breaks off, or drops the generator, nothing is stored
and another caller may begin. Nothing can be sent into such a generator, because a hit runs no code that could take it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar, Concatenate, Final, Generic, NoReturn, ParamSpec, TypeVar, overload

from .._dolium import Flight
from ..constants import MISS
from .cached import BoundSynchronous, Computation, Synchronous, answer, only
from .calls import MISSED, STALE, WAITED, Options
from .flight import aboard, board
from .mapping import Maps
from .modes import MODE, NORMAL, OFF, ONLY, REFRESH
from .results import Entry

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
U = TypeVar("U")

PLAIN: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Items of which no copy is needed, because they cannot change."""


class Record:
    """The items of a generator so far, each as it was when it came."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._is_pickled: list[bool] = []
        self.error: Exception | None = None

    def add(self, item: Any) -> Any:
        """Note an item; return what the caller gets, which it may change."""
        if type(item) in PLAIN:
            self._items.append(item)
            self._is_pickled.append(False)
            return item
        try:
            dumped = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
            again = pickle.loads(dumped)
        except Exception as error:
            self.error = self.error or error
            return item
        self._items.append(dumped)
        self._is_pickled.append(True)
        return again

    def items(self) -> list[Any]:
        return [
            pickle.loads(item) if is_pickled else item
            for item, is_pickled in zip(self._items, self._is_pickled, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._items)


def collect(function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., tuple[list[Any], Any]]:
    """A function that runs a generator to its end, and returns its items and what it returns."""

    def collected(*args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        items: list[Any] = []
        source = function(*args, **kwargs)
        while True:
            try:
                items.append(next(source))
            except StopIteration as end:
                return items, end.value

    return collected


class Player:
    """What generators have in common that are played from the cache, or recorded."""

    computation: ClassVar[type[Computation]] = Computation

    def __init__(self, wrapper: Any, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._wrapper = wrapper
        self._key, self._args, self._kwargs = key, args, kwargs
        self._is_begun = self._is_over = False
        self._source: Any = None
        self._kept: Iterator[Any] | None = None
        self._flight: Flight | None = None
        self._record: Record | None = None
        self._computation: Any = None

    def _known(self, mode: str) -> Any:
        """What the cache has for this call, without a flight; MISS if the generator may have to run."""
        if mode is ONLY:
            return only(self._wrapper, self._key, self._args, self._kwargs)
        calls = self._wrapper._calls
        known = calls.results.known(self._key) if mode is NORMAL else None
        return (
            MISS
            if known is None
            else answer(self._wrapper, calls, self._key, known, self._args, self._kwargs)
        )

    def _run(self, mode: str) -> None:
        """Make the generator, which is recorded unless the mode is 'off'."""
        if mode is not OFF:
            replaces = mode is REFRESH
            self._computation = self.computation(
                self._wrapper, self._key, self._args, self._kwargs, replaces=replaces
            )
            self._timer = self._computation.begin()
            self._record = Record()
        self._source = self._wrapper._generator(*self._args, **self._kwargs)

    def _end(self, how: str | BaseException) -> None:
        flight, self._flight = self._flight, None
        if flight is not None:
            flight.end(how)

    def _refuse(self, what: str) -> NoReturn:
        name = self._wrapper._calls.name[:-2]
        raise TypeError(
            f"{name}: nothing can be {what} a generator whose items are kept; call {name}.__wrapped__"
        )


class Play(Player, Generic[T]):
    """A generator that is played from the cache, or recorded."""

    def __init__(self, wrapper: Any, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(wrapper, key, args, kwargs)
        self._returns: Any = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_over:
            raise StopIteration
        if not self._is_begun:
            self._is_begun = True
            try:
                self._begin()
            except BaseException:
                self.close()
                raise
        if self._kept is not None:
            return self._next_kept()
        return self._next_computed()

    def send(self, value: object, /) -> T:
        """As `next`, with None; anything else is refused."""
        if value is None:
            return next(self)
        return self._refuse("sent into")

    def throw(self, *_: object) -> NoReturn:
        """Refused: no code would catch it in a result from the cache."""
        self._refuse("thrown into")

    def close(self) -> None:
        """Break off. What was not played to its end is not stored."""
        self._is_over = True
        source, self._source, self._kept = self._source, None, None
        try:
            if source is not None:
                source.close()
        finally:
            self._end("left")

    def _next_kept(self) -> T:
        assert self._kept is not None
        try:
            return next(self._kept)
        except StopIteration:
            self._is_over = True
            raise StopIteration(self._returns) from None

    def _next_computed(self) -> T:
        assert self._source is not None
        try:
            with aboard(self._flight):
                item = next(self._source)
        except StopIteration as end:
            self._done(end.value)
            raise StopIteration(self._returns) from None
        except Exception as error:
            return self._failed(error)
        except BaseException:
            self.close()
            raise
        return item if self._record is None else self._record.add(item)

    # The two ends

    def _begin(self) -> None:
        calls, key, mode = self._wrapper._calls, self._key, MODE.get()
        found = self._known(mode)
        if found is MISS and mode is NORMAL:
            calls.count(MISSED)
            found, self._flight = board(calls.place, key, lambda: calls.results.fresh(key), calls.wait)
            if found is not MISS:
                calls.count(WAITED)
        if found is MISS:
            self._run(mode)
        else:
            self._play(found)

    def _play(self, found: tuple[list[Any], Any]) -> None:
        items, self._returns = found
        self._kept = iter(items)

    def _done(self, returns: Any) -> None:
        self._is_over, self._source, self._returns = True, None, returns
        record, computation = self._record, self._computation
        if record is None or computation is None:
            return
        computation.done(self._timer)
        kept = MISS
        try:
            if record.error is not None:
                computation.calls.results.tell("stored", record.error)
            else:
                kept = computation.store((record.items(), returns))
        finally:
            self._end("unkept" if kept is MISS else "kept")
        if kept is not MISS:
            self._returns = kept[1]

    def _failed(self, error: Exception) -> T:
        self._source = None
        record, computation = self._record, self._computation
        if computation is None or record is None:
            self._is_over = True
            raise error
        calls = computation.calls
        if len(record) or record.error is not None:
            # What was handed out already cannot be taken back.
            computation.done(self._timer)
        else:
            computation.failed(self._timer, error)
            older = calls.instead_of(error, calls.results.known(self._key))
            if older is not None:
                self._end("left")
                calls.put_off(self._key, error, computation.seconds)
                calls.count(STALE)
                self._play(older.value)
                return self._next_kept()
        self._is_over = True
        self._end(error)
        raise error


class CachedGenerator(Synchronous[P], Maps[list[T]], Generic[P, T]):
    """A generator function whose items are kept. Call it like the function itself."""

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        super().__init__(cache, function, options)
        self._generator = self._call
        self._call = collect(self._generator)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Play[T]:
        key = None if MODE.get() is OFF else self._calls.key(*args, **kwargs)
        return Play(self, key, args, kwargs)

    def entry(self, *args: P.args, **kwargs: P.kwargs) -> Entry | None:
        """What is kept of this call: the value is the list of items. None if there is nothing."""
        known = self._calls.results.known(self._calls.key(*args, **kwargs))
        if known is None:
            return None
        entry = known.entry()
        return entry if entry.raised else entry._replace(value=entry.value[0])

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Run the generator to its end whatever is kept, keep the new items, and play them."""
        items, _ = self._compute(self._calls.key(*args, **kwargs), args, kwargs)
        return iter(items)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> CachedGenerator[P, T]: ...
    @overload
    def __get__(
        self: CachedGenerator[Concatenate[Any, Q], U], instance: object, owner: Any = None
    ) -> BoundCachedGenerator[Q, U]: ...
    def __get__(self, instance: object, owner: Any = None) -> Any:
        receiver = self._receiver(instance, owner)
        bound: Any = BoundCachedGenerator
        return bound(self, receiver[0]) if receiver else self


class BoundCachedGenerator(BoundSynchronous[P], Maps[list[T]], Generic[P, T]):
    """A generator method of an instance whose items are kept."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Play[T]:
        return self._wrapper(self._receiver, *args, **kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        """Run the generator to its end whatever is kept, keep the new items, and play them."""
        return self._wrapper.refresh(self._receiver, *args, **kwargs)
