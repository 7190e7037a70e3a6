"""The results of one function in a cache: looking them up, and keeping them. Nothing here fails a call.

What cannot be read is a miss. What cannot be stored is returned to the caller, with one warning for each function.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._dolium import Tally, warn
from ..constants import MISS
from ..disk import Disk
from ..errors import UnstoredResultWarning
from .failures import Errors, Failures
from .term import Lifetime, Term, term

if TYPE_CHECKING:
    from ..codecs import Codec

__all__ = ["Entry", "Known", "Results", "keep"]


class Entry(NamedTuple):
    """A result that is kept, with what is known of it."""

    value: Any
    """The result; of an exception that was stored, the exception."""
    stored: float
    """When it was stored, in seconds since 1970."""
    fresh_until: float | None
    """Until when calls return it without doing anything else; None is for ever."""
    expires: float | None
    """When the cache forgets it; None is never."""
    seconds: float
    """How long it took to compute."""
    size: int
    """Bytes in the cache, without the key."""
    raised: bool = False
    """Whether the function raised `value`."""


class Known(NamedTuple):
    """What the cache has under a key, as the native module says it."""

    value: Any
    raised: bool
    stored: float
    fresh_until: float | None
    expires: float | None
    seconds: float
    size: int

    def entry(self) -> Entry:
        until = self.expires if self.fresh_until is None else self.fresh_until
        return Entry(
            self.value, self.stored, until, self.expires, self.seconds, self.size, raised=self.raised
        )

    def lasts(self, more: float) -> bool:
        """Whether it is younger than its fresh time and so many seconds."""
        return self.fresh_until is None or time.time() < self.fresh_until + more


class Results:
    """The results of one function."""

    def __init__(
        self,
        cache: Any,
        name: str,
        expire: Lifetime | Callable[[Any], Lifetime],
        errors: Errors,
        tag: str | None,
        codec: Codec | None = None,
    ) -> None:
        self.cache: Final = cache
        self.name: Final = name
        self.tally: Final = Tally()
        self.tag: Final = tag
        self.codec: Final = codec
        self.of_result: Final = expire if callable(expire) else None
        # Where each result has its own term, those that are read say for themselves until when they are fresh.
        self.term: Final = term(None) if callable(expire) else term(expire)
        self.failures: Final = Failures(errors)
        self._is_told = False

    # Reading

    def known(self, key: Any) -> Known | None:
        """All that is known of a key, fresh or not."""
        try:
            found = self.cache._known_result(key)
        except Exception as error:
            self.tell("read", error)
            return None
        return None if found is None else Known(*found)

    def fresh(self, key: Any) -> Any:
        """The fresh result of a key, or MISS. An exception that was stored is raised."""
        known = self.known(key)
        if known is None or not known.lasts(0):
            return MISS
        if known.raised:
            raise known.value
        return known.value

    # Storing

    def keep(self, key: Any, value: Any, seconds: float, since: float | None) -> Any:
        """Keep a result, unless one was stored after `since`. Return what a hit returns, or MISS if it is not kept."""
        lifetime = self._term_of(value)
        return MISS if lifetime is None else self._store(key, value, lifetime, seconds, since, raised=False)

    def _term_of(self, value: Any) -> Term | None:
        """The term of a result; None if it is not kept."""
        if self.of_result is None:
            return self.term if self.term.fresh > 0 else None
        try:
            found = term(self.of_result(value))
        except Exception as error:
            self.tell("stored", error)
            return None
        return found if found.fresh > 0 else None

    def keep_error(self, key: Any, error: Exception, seconds: float, since: float | None) -> bool:
        """Keep an exception if its type is one that is stored, and if it comes back equal."""
        lifetime = self.failures.kept_term(error)
        if lifetime is None:
            return False
        return self._store(key, error, lifetime, seconds, since, raised=True) is not MISS

    def _store(
        self, key: Any, value: Any, lifetime: Term, seconds: float, since: float | None, *, raised: bool
    ) -> Any:
        try:
            codec = self.codec or codec_of(self.cache, value)
            is_kept, again = keep(
                self.cache,
                key,
                value,
                lifetime,
                seconds,
                self.tag,
                since=since,
                raised=raised,
                codec=codec,
                group=self.name,
            )
        except Exception as error:
            self.tell("stored", error, value)
            return MISS
        if is_kept:
            return again
        # Another caller was first, or the value is too large, of which the cache warns.
        known = self.known(key)
        if known is None or known.raised or not known.lasts(0):
            return MISS
        return known.value

    def tell(self, what: str, error: Exception, value: object = MISS) -> None:
        """Warn once of what goes wrong with the results of this function."""
        if self._is_told:
            return
        self._is_told = True
        kind = "" if value is MISS else f" of type {type(value).__module__}.{type(value).__qualname__}"
        message = (
            f"a result{kind} could not be {what}, and each call computes it: {type(error).__name__}: {error}"
        )
        warn(UnstoredResultWarning, f"{self.name}: {message}")


def keep(
    cache: Any,
    key: Any,
    value: Any,
    lifetime: Term,
    seconds: float,
    tag: Any,
    *,
    since: float | None,
    raised: bool,
    codec: Codec | None = None,
    group: str = "",
) -> tuple[bool, Any]:
    """Keep a result that took so many seconds, unless one was stored after `since`.

    Results of one `group` share a dictionary. Return whether it is kept, and what a hit returns of it.
    """
    fresh_until = time.time() + lifetime.fresh if lifetime.says_fresh else None
    kept: tuple[bool, Any] = cache._keep_result(
        key,
        value,
        expire=lifetime.kept,
        fresh_until=fresh_until,
        seconds=seconds,
        tag=tag,
        raised=raised,
        since=since,
        codec=codec,
        group=group,
    )
    return kept


def codec_of(cache: Any, value: Any) -> Codec | None:
    """The codec of a result for which none was passed: arrays and tables need no pickle."""
    given: object = value
    root = type(given).__module__.partition(".")[0]
    if (
        root not in ("numpy", "polars", "pyarrow")
        or cache._codec is not None
        or cache._disk_class is not Disk
    ):
        return None
    from ..codecs import Auto, as_codec

    return as_codec(Auto())
