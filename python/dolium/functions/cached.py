"""Functions whose results are kept: `cache.cached` for ordinary functions and methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from .._dolium import Recall
from ..constants import MISS
from .calls import FAILED, MISSED, STALE, WAITED, Calls, Options, Timer
from .flight import run
from .mapping import Maps
from .modes import MODE, NORMAL, OFF, ONLY, REFRESH
from .renewal import is_early, renew
from .results import Entry, Known
from .wrapper import Bound, Wrapper, inside

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class Synchronous(Wrapper[P]):
    """What wrapped functions have in common whose calls return when the result is there."""

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        super().__init__(cache, function, options)
        self._call: Callable[..., Any] = inside(function)

    def entry(self, *args: P.args, **kwargs: P.kwargs) -> Entry | None:
        """What is kept of this call, without computing anything; None if there is nothing."""
        known = self._calls.results.known(self._calls.key(*args, **kwargs))
        return None if known is None else known.entry()

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of this call; true if there was one."""
        return self._calls.forget(self._calls.key(*args, **kwargs))

    def clear(self, old_versions: bool = False) -> int:
        """Forget all results of the function, or only those of its former versions; return how many there were."""
        return self._calls.clear(old_versions)

    # Without a hit

    def _missed(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self._calls
        known = calls.results.known(key)
        if known is not None and (value := answer(self, calls, key, known, args, kwargs)) is not MISS:
            return value
        return self._fly(key, known, args, kwargs)

    def _fly(self, key: Any, known: Known | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self._calls
        calls.count(MISSED)
        timer = Timer()
        computation = Computation(self, key, args, kwargs)
        try:
            value = run(
                calls.place,
                key,
                lambda: calls.results.fresh(key),
                computation.compute,
                computation.store,
                calls.wait,
            )
        except Exception as error:
            older = calls.instead_of(error, known)
            if older is None:
                raise
            calls.put_off(key, error, timer.seconds)
            calls.count(STALE)
            return older.value
        if not computation.ran:
            calls.count(WAITED)
        return value

    def _compute(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        computation = Computation(self, key, args, kwargs, replaces=True)
        value = computation.compute()
        kept = computation.store(value)
        return value if kept is MISS else kept

    def _in_mode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        mode, calls = MODE.get(), self._calls
        if mode is OFF:
            return self._call(*args, **kwargs)
        key = calls.key(*args, **kwargs)
        if mode is REFRESH:
            return self._compute(key, args, kwargs)
        if mode is not ONLY:
            return self._missed(key, args, kwargs)
        return only(self, key, args, kwargs)


class Cached(Synchronous[P], Recall, Maps[R], Generic[P, R]):
    """A function whose results are kept. Call it like the function itself."""

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        super().__init__(cache, function, options)
        self._prepare(self._calls, MODE.get, NORMAL)

    if TYPE_CHECKING:  # the base class has it: a hit runs no code of Python's

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function whatever is kept, and keep the new result."""
        return self._compute(self._calls.key(*args, **kwargs), args, kwargs)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Cached[P, R]: ...
    @overload
    def __get__(
        self: Cached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> BoundCached[Q, T]: ...
    def __get__(self, instance: object, owner: Any = None) -> Any:
        receiver = self._receiver(instance, owner)
        bound: Any = BoundCached
        return bound(self, receiver[0]) if receiver else self


class BoundSynchronous(Bound[P]):
    """What methods of an instance have in common whose calls return when the result is there."""

    __slots__ = ()

    def entry(self, *args: P.args, **kwargs: P.kwargs) -> Entry | None:
        """What is kept of this call, without computing anything; None if there is nothing."""
        return self._wrapper.entry(self._receiver, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result of this call; true if there was one."""
        return self._wrapper.invalidate(self._receiver, *args, **kwargs)

    def clear(self, old_versions: bool = False) -> int:
        """Forget the results of the method for all instances, or only those of its former versions."""
        return self._wrapper.clear(old_versions)


class BoundCached(BoundSynchronous[P], Maps[R], Generic[P, R]):
    """A method of an instance whose results are kept. Call it like the method itself."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._wrapper(self._receiver, *args, **kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method whatever is kept, and keep the new result."""
        return self._wrapper.refresh(self._receiver, *args, **kwargs)


class Computation:
    """One call of the function itself, and what becomes of its result."""

    def __init__(
        self,
        wrapper: Any,
        key: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        replaces: bool = False,
    ) -> None:
        self.calls: Calls = wrapper._calls
        self.function = wrapper._call
        self.key, self.args, self.kwargs = key, args, kwargs
        self.replaces = replaces
        self.ran = False
        self.seconds = 0.0
        self.since: float | None = None

    def compute(self) -> Any:
        timer = self.begin()
        try:
            value = self.function(*self.args, **self.kwargs)
        except Exception as error:
            self.failed(timer, error)
            raise
        self.done(timer)
        return value

    def begin(self) -> Timer:
        self.ran = True
        timer = Timer()
        self.since = None if self.replaces else timer.since
        return timer

    def done(self, timer: Timer) -> None:
        self.seconds = timer.seconds
        self.calls.spend(self.seconds)

    def failed(self, timer: Timer, error: Exception) -> None:
        self.done(timer)
        self.calls.count(FAILED)
        self.calls.results.keep_error(self.key, error, self.seconds, self.since)

    def store(self, value: Any) -> Any:
        note_version(self.calls)
        return self.calls.results.keep(self.key, value, self.seconds, self.since)


def only(wrapper: Any, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call returns where no function may run."""
    calls = wrapper._calls
    known = calls.results.known(key)
    if known is None:
        raise calls.refuse(key, args, kwargs)
    calls.results.tally.add(known.seconds)
    if known.raised:
        raise known.value
    return known.value


def note_version(calls: Calls) -> None:
    """Keep what the version consists of beside the results, so that `explain` can say what has changed."""
    if calls.options.version is None:
        from .explain import note

        note(calls)


def answer(
    wrapper: Any, calls: Calls, key: Any, known: Known, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What a call returns of a result that is known, without computing; MISS if it has to compute."""
    results = calls.results
    if known.lasts(0):
        results.tally.add(known.seconds)
        if known.raised:
            raise known.value
        if calls.early and is_early(known, calls.early, time.time()):
            renew(wrapper, key, args, kwargs)
        return known.value
    if calls.is_stale_served(known):
        if not calls.pauses(key):
            renew(wrapper, key, args, kwargs)
    elif not (calls.pauses(key) and calls.is_good_on_error(known)):
        return MISS
    results.tally.add(known.seconds)
    calls.count(STALE)
    return known.value
