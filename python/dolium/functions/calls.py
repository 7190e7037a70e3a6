"""What every wrapped function has, whatever kind of function it wraps: its key, its version, its results."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._dolium import stored_key
from ..disk import canonical
from ..errors import NotCachedError
from .binding import Rule, compile_binding
from .failures import Errors
from .key import function_name
from .modes import ONLY
from .results import Known, Results
from .term import Lifetime
from .version import check, reached

if TYPE_CHECKING:
    from ..codecs import Codec

__all__ = ["FAILED", "MISSED", "STALE", "WAITED", "Calls", "FunctionInfo", "Options", "Timer", "mark"]

LEAST_PAUSE: Final = 1.0
"""Seconds for which a function that raised is not tried again, while there is an older result."""

MANY: Final = 10_000

log: Final = logging.getLogger("dolium")


class FunctionInfo(NamedTuple):
    """What became of the calls of a wrapped function in this process."""

    hits: int
    misses: int
    stale: int
    """Calls that were given a result which is not fresh any more; they count as hits, too."""
    waited: int
    """Calls that were given the result of a computation which another call had begun; they count as misses, too."""
    failed: int
    """Calls of the function itself that raised."""
    seconds_spent: float
    """How long the function ran."""
    seconds_saved: float
    """How long it had taken to compute what the hits returned."""


class Options(NamedTuple):
    """What `cached` was told."""

    key: Rule
    version: str | None
    name: str | None
    expire: Lifetime | Callable[[Any], Lifetime]
    errors: Errors
    tag: str | None
    wait: float | None
    codec: Codec | None = None


class Place:
    """Where the flights of a function are shared. One that cannot be begun, for whatever reason, is done without."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def _flight(self, *asked: Any) -> Any:
        try:
            return self._cache._flight(*asked)
        except Exception:
            return None

    def _in_transaction(self) -> bool:
        return self._cache._in_transaction()


class Calls:
    """The calls of one function. A wrapper of any kind has one."""

    def __init__(self, cache: Any, function: Any, options: Options) -> None:
        if options.version is not None and not isinstance(options.version, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"version: {options.version!r} is no text; pass version={str(options.version)!r}")
        if options.wait is not None and not options.wait >= 0:
            raise ValueError(
                f"wait: {options.wait!r} is negative; pass seconds, or None to wait as long as it takes"
            )
        self.cache: Final = cache
        self.place: Final[Any] = Place(cache)
        self.function: Final = function
        self.options: Final = options
        binding = compile_binding(function, options.key)
        self.bind: Final = binding.bind
        self.names: Final = binding.names
        self.labels: Final = binding.labels
        self.straight: Final = binding.straight
        self.name: Final = options.name or function_name(function)
        if options.version is None:
            check(function)
        # None as long as it has to be looked for; in an interactive session, always.
        self.version: str | None = options.version
        self.results: Final = Results(
            cache, self.name, options.expire, options.errors, options.tag, options.codec
        )
        self.early: Final = self.results.term.early
        self.wait: Final = options.wait
        self._counts = [0] * 4
        self._spent = 0.0
        self.counting = threading.Lock()
        self._pauses: dict[bytes, float] = {}
        self.renewing: set[bytes] = set()
        self.noted: str | None = None

    # Key and version

    def key(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The key of a call."""
        return stored_key(
            self.name, self.version or self.find_version(), self.bind(*args, **kwargs), self.labels
        )

    def find_version(self) -> str:
        """The digest of the code, found at the first call, and again after what it depends on was replaced."""
        found = reached(self.function)
        if not found.watched:
            self.version = found.digest
        return found.digest

    # Counting

    def count(self, what: int) -> None:
        with self.counting:
            self._counts[what] += 1

    def spend(self, seconds: float) -> None:
        with self.counting:
            self._spent += seconds

    def info(self) -> FunctionInfo:
        tally = self.results.tally
        misses, stale, waited, failed = self._counts
        return FunctionInfo(tally.hits, misses, stale, waited, failed, self._spent, tally.saved)

    # What an old result is good for

    def is_stale_served(self, known: Known) -> bool:
        """Whether a result that may not be fresh is returned, and renewed in the background."""
        results = self.results
        return not known.raised and (results.of_result is not None or known.lasts(results.term.stale))

    def is_good_on_error(self, known: Known | None) -> bool:
        """Whether a result is returned if the function raises."""
        if known is None or known.raised or known.fresh_until is None:
            return False
        term = self.results.term
        return self.results.of_result is not None or known.lasts(max(term.on_error, term.stale))

    def instead_of(self, error: Exception, known: Known | None) -> Known | None:
        """The result that is returned if the function raises; None if the caller gets the exception."""
        is_good = self.is_good_on_error(known) and self.results.failures.term(error) is None
        return known if is_good else None

    def pauses(self, key: Any) -> bool:
        """Whether the function raised for this key so shortly ago that it is not tried again."""
        if not self._pauses:
            return False
        until = self._pauses.get(mark(key))
        return until is not None and time.monotonic() < until

    def put_off(self, key: Any, error: BaseException, seconds: float) -> None:
        """Say that an older result is used, and do not try this key again for as long as the try took."""
        if len(self._pauses) > MANY:
            self._pauses.clear()
        self._pauses[mark(key)] = time.monotonic() + max(seconds, LEAST_PAUSE)
        log.warning("%s raised %s; the older result is used", self.name, type(error).__name__, exc_info=error)

    # Forgetting

    def forget(self, key: Any) -> bool:
        return bool(self.cache.delete(key, retry=True))

    def all_keys(self) -> list[tuple[Any, ...]]:
        """The keys of all results, of whatever version."""
        keys: list[Any] = [key for key in self.cache if isinstance(key, tuple)]
        return [key for key in keys if len(key) >= 2 and key[0] == self.name]

    def clear(self, old_versions: bool) -> int:
        version = self.version or self.find_version()
        return sum(self.forget(key) for key in self.all_keys() if not (old_versions and key[1] == version))

    def refuse(self, key: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> NotCachedError:
        """The error of a call that the mode does not let compute."""
        said = ", ".join(
            [*(f"{short(arg)}" for arg in args), *(f"{k}={short(v)}" for k, v in kwargs.items())]
        )
        error = NotCachedError(
            f"{self.name[:-2]}() has no result for ({said}) here, and the mode {ONLY!r} lets no function run; "
            "run it once in the mode 'normal'"
        )
        error.function, error.key = self.name, key
        return error


def short(value: object) -> str:
    """The repr of an argument for a message. One that fails is the name of its type."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def mark(key: Any) -> bytes:
    """A key as something that only an equal key equals."""
    return canonical(key, 5)


class Timer:
    """How long something takes, and when it began by the clock of the cache."""

    __slots__ = ("began", "since")

    def __init__(self) -> None:
        self.since = time.time()
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began


MISSED, STALE, WAITED, FAILED = range(4)
