"""The methods of a cache that keep the results of functions. The modules of `functions` and `memo` do the work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from . import memo, names
from ._dolium import Store, in_seconds
from .constants import MISS
from .memo_types import Memoizer

if TYPE_CHECKING:
    from datetime import timedelta

    from .codecs import Codec, Encoder, Filter
    from .functions.async_generators import AsyncCachedGenerator
    from .functions.asynchronous import AsyncCached
    from .functions.binding import Rule
    from .functions.cached import Cached
    from .functions.decorator import Decorator
    from .functions.generators import CachedGenerator
    from .functions.term import Lifetime

P = ParamSpec("P")
R = TypeVar("R")


class RemembersFunctions(Store):
    """A store whose values are also the results of functions."""

    def memoize(
        self,
        name: str | None = None,
        typed: bool = False,
        expire: float | timedelta | None = None,
        tag: str | None = None,
        ignore: Iterable[int | str] = (),
    ) -> Memoizer:
        """Make a decorator that stores the results of a function or a coroutine function.

        `name` replaces the function's own name in the keys, and `typed` keeps 1 and 1.0 apart. `expire` is in
        seconds or a `timedelta`. Arguments whose positions or names are in `ignore` do not count.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> @cache.memoize(expire=3600)
        ... def square(number):
        ...     print("computing")
        ...     return number * number
        >>> square(3), square(3)
        computing
        (9, 9)
        """
        return memo.memoize(self, name, typed, expire, tag, ignore)

    def get_or_set(
        self,
        key: Any,
        function: Callable[[], R],
        /,
        *,
        expire: float | timedelta | None = None,
        errors: Mapping[type[Exception], Lifetime] = {},
        tag: str | None = None,
        wait: float | None = None,
        codec: Codec | Encoder | Filter | None = None,
    ) -> R:
        """Return the value of `key`, or store and return what `function` returns.

        Of all threads and processes that miss the key at the same time one calls its function, and the others wait for
        the result: at most `wait` seconds (None: while that one lives; 0: not at all), then each calls its own. The
        value that is stored first is what all return. If the function raises, the threads of this process that waited
        raise the same exception, and of each other process one tries. Inside a transaction of this cache no caller
        waits.

        A value that cannot be stored is returned as it is, with a warning. One with an `expire` of zero or less is not
        stored.

        `errors` names exceptions that are answers, by type, each with its lifetime. dolium stores one that `function`
        raises if it comes back equal, and `get_or_set` raises it again. Lookups miss such an entry, :meth:`set` and
        :meth:`add` replace it, and :meth:`delete` forgets it.

        `codec` says how the value is stored, see :mod:`dolium.codecs`.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> cache.get_or_set("answer", lambda: 6 * 7), cache["answer"]
        (42, 42)
        """
        value: Any = self.get(key, MISS, retry=True)
        if value is not MISS:
            return value
        from .functions.missing import value_of

        seconds = in_seconds(expire)

        def look() -> Any:
            return self.get(key, MISS, retry=True)

        def store(value: R) -> Any:
            if self._read_only or (seconds is not None and seconds <= 0):
                return MISS
            try:
                # A method of a subclass may not have `codec`.
                options: dict[str, Any] = {} if codec is None else {"codec": codec}
                self.add(key, value, expire=seconds, tag=tag, retry=True, **options)
            except Exception as error:
                names.warn_unstored(self, function, value, error)
                return MISS
            return look()

        return value_of(self, key, function, look, store, errors, tag, wait)

    @overload
    def cached(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncCached[P, R]: ...
    @overload
    def cached(self, function: Callable[P, AsyncIterator[R]], /) -> AsyncCachedGenerator[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def cached(self, function: Callable[P, Iterator[R]], /) -> CachedGenerator[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def cached(self, function: Callable[P, R], /) -> Cached[P, R]: ...
    @overload
    def cached(
        self,
        function: None = None,
        /,
        *,
        key: Rule = None,
        version: str | None = None,
        name: str | None = None,
        expire: Lifetime | Callable[[Any], Lifetime] = None,
        errors: Mapping[type[Exception], Lifetime] = {},
        tag: str | None = None,
        wait: float | None = None,
        codec: Codec | Encoder | Filter | None = None,
    ) -> Decorator: ...
    def cached(
        self,
        function: Any = None,
        /,
        *,
        key: Rule = None,
        version: str | None = None,
        name: str | None = None,
        expire: Lifetime | Callable[[Any], Lifetime] = None,
        errors: Mapping[type[Exception], Lifetime] = {},
        tag: str | None = None,
        wait: float | None = None,
        codec: Codec | Encoder | Filter | None = None,
    ) -> Any:
        """A decorator that keeps the results of a function: of ordinary and coroutine functions, generators, methods.

        A call is the same as another if its arguments and the code are. Of all threads, tasks and processes that miss a
        result at the same time one computes it.

        >>> import dolium
        >>> cache = dolium.Cache()
        >>> @cache.cached(version="1", expire=dolium.Term(3600, on_error=86400))
        ... def square(number):
        ...     print("computing")
        ...     return number * number
        >>> square(3), square(number=3)
        computing
        (9, 9)
        >>> square.invalidate(3)
        True

        Args:
            key: How a parameter counts, by its name: None leaves it out, a function replaces its value. Or a
                function that takes the arguments of the call, and returns what stands for them.
            version: The version of the results. By default a digest of the code that the function reaches.
            name: What the keys begin with, instead of the function's own name.
            expire: How long a result is used: seconds, a `timedelta`, a :class:`Term`, or a function that makes one of
                these from the result. Zero or less stores nothing.
            errors: Exceptions that are stored and raised again, by type, each with its lifetime.
            tag: The tag of the entries.
            wait: How long to wait for a computation of another caller, in seconds; None: as long as it lasts.
            codec: How the results are stored, see :mod:`dolium.codecs`.

        Raises:
            TypeError: `key` names what is no parameter, or the code cannot be followed and there is no `version`.
        """
        from .functions.calls import Options
        from .functions.decorator import wrap

        if codec is not None:
            from .codecs import as_codec

            if self._custom_disk() is not None:
                raise ValueError(
                    "codec: a subclass of Disk converts values in its own way; pass one of the two"
                )
            codec = as_codec(codec)
        options = Options(key, version, name, expire, errors, tag, wait, codec)

        def decorator(given: Any) -> Any:
            return wrap(self, given, options)

        return decorator if function is None else decorator(function)
