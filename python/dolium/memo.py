"""Memoizing decorators: one implementation for every kind of cache.

It makes a key from the arguments of a call (:func:`args_to_key`, the same keys as diskcache's), and
wraps a function or a coroutine function. It knows nothing of SQLite or Django, and has no threads.
A store of results passes three calls (:class:`Results`).

A coroutine function gets an ``async`` wrapper. Its lookups run on the event loop's own thread,
because a lookup waits for no other writer and takes microseconds. Stores and deletions go through
:func:`asyncio.to_thread`, because a writer may queue behind another process. Tasks and threads
that miss the same key at the same time wait for one computation.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    Protocol,
    cast,
)

from ._dolium import Store, in_seconds
from .constants import MISS
from .functions import flight
from .memo_types import CacheKey, Memoizer, R
from .names import full_name, warn_of_shared_name
from .workers import in_transaction, native_method, off_loop

if TYPE_CHECKING:
    from datetime import timedelta


class MemoCache(Protocol):
    """The methods of a cache that :func:`memoize` uses."""

    def get(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def set(self, key: Any, value: Any, /, *args: Any, **kwargs: Any) -> Any: ...
    def delete(self, key: Any, /, *args: Any, **kwargs: Any) -> Any: ...


class Results(NamedTuple):
    """A store of the results of a memoized function."""

    load: Callable[[CacheKey], Any]
    """The value of a key, or :data:`MISS`."""
    save: Callable[[CacheKey, Any], object] | None
    """Keeps a value; ``None`` when results are looked up but never stored (a lifetime of zero)."""
    drop: Callable[[CacheKey], bool]
    """Forgets a key; true if it was there."""
    owner: object
    """The cache, asked whether the caller is inside one of its transactions."""
    recall: Callable[[Any, tuple[Any, ...], dict[str, Any], Any], Any] | None = None
    """The value of the key of a name and the arguments of a call, or the fourth argument if there is none.
    ``None``: `load` is asked."""
    check: Callable[[CacheKey, Any], Any] = lambda key, value: value
    """What `load` makes of a tuple that `recall` has found: the tuple, or :data:`MISS`."""


def args_to_key(
    base: tuple[Any, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    typed: bool,
    ignore: Iterable[Any],
) -> CacheKey:
    """Make the cache key of a call.

    The layout is diskcache's, so that each library finds the other's results: `base`, the positional
    arguments, ``None``, then name and value of each keyword argument in order of the names. With
    `typed` the types of all values follow in the same order. `ignore` holds positions and names to
    leave out.

    >>> args_to_key(('f',), (1, 2), {'b': 3, 'a': 4}, False, {1})
    ('f', 1, None, 'a', 4, 'b', 3)
    >>> args_to_key(('f',), (1,), {}, True, ())
    ('f', 1, None, <class 'int'>)
    """
    skip: Any = ignore
    if skip:
        args = tuple(arg for position, arg in enumerate(args) if position not in skip)
    named = sorted(item for item in kwargs.items() if item[0] not in skip) if kwargs else []
    key = (*base, *args, None)
    for item in named:
        key += item
    if typed:
        kinds: list[Any] = [type(arg) for arg in (*args, *(value for _, value in named))]
        key += tuple(kinds)
    return key


def key_maker(
    func: Callable[..., Any], name: str | None, typed: bool, ignore: Iterable[Any]
) -> Callable[..., CacheKey]:
    """A function that makes the key of a call of `func` from the call's arguments.

    A name in `ignore` also applies to an argument that is passed by position, and the name of ``*args``
    to all of those. This needs the signature of `func`, so :func:`args_to_key` cannot do it.
    """
    base = (full_name(func) if name is None else name,)
    skip, rest = _resolve_names(func, ignore)

    def cache_key(*args: Any, **kwargs: Any) -> CacheKey:
        return args_to_key(base, args[:rest], kwargs, typed, skip)

    def plain_key(*args: Any, **kwargs: Any) -> CacheKey:
        return args_to_key(base, args, kwargs, False, ()) if kwargs else (*base, *args, None)

    return cache_key if typed or skip or rest is not None else plain_key


def _resolve_names(func: Callable[..., Any], ignore: Iterable[Any]) -> tuple[Iterable[Any], int | None]:
    """Add the positions of ignored names; the second result cuts off an ignored ``*args``."""
    if isinstance(ignore, str):
        ignore = (ignore,)
    names = {entry for entry in ignore if isinstance(entry, str)}
    if not names:
        return ignore, None
    import inspect  # as below

    try:
        parameters = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):  # some built-ins have no signature
        return ignore, None
    skip: set[Any] = set(ignore)
    for position, parameter in enumerate(parameters):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return skip, position if parameter.name in names else None
        if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            break
        if parameter.name in names:
            skip.add(position)
    return skip, None


def memoize(
    cache: MemoCache,
    name: str | None = None,
    typed: bool = False,
    expire: float | timedelta | None = None,
    tag: Any = None,
    ignore: Iterable[Any] = (),
) -> Memoizer:
    """Make a decorator that stores the results of a function in `cache`.

    Args:
        cache: A ``Cache``, ``FanoutCache`` or anything with their get, set and delete.
        name: The first part of the keys (default: module and qualified name of the function).
        typed: Keep ``f(3)`` and ``f(3.0)`` apart.
        expire: Time until a result expires, in seconds or as a `timedelta`; zero or less looks up but stores nothing.
        tag: Tag of the entries.
        ignore: Positions and names of arguments that do not influence the result.

    Raises:
        TypeError: Used without brackets.

    >>> import dolium
    >>> cache = dolium.Cache()
    >>> @cache.memoize(expire=60, ignore={'verbose'})
    ... def square(number, verbose=False):
    ...     print('computing')
    ...     return number * number
    >>> square(4)
    computing
    16
    >>> square(4, True)
    16
    >>> square.invalidate(4)
    True
    >>> square.refresh(4)
    computing
    16
    """
    refuse_function(name, "cache.memoize()")
    expire = in_seconds(expire)
    stores = expire is None or expire > 0

    def load(key: CacheKey) -> Any:
        value: Any = cache.get(key, default=MISS, retry=True)
        # The class first, because most hits are no tuples.
        return check(key, value) if value.__class__ is tuple else value

    def check(key: CacheKey, value: Any) -> Any:
        return MISS if Pairs.is_stampedes(cache, key, value, expire) else value

    def save(key: CacheKey, value: Any) -> object:
        return cache.set(key, value, expire=expire, tag=tag, retry=True)

    def drop(key: CacheKey) -> bool:
        return bool(cache.delete(key, retry=True))

    # A class with a `get` of its own is asked by that.
    recall = native_method(cache, "_get_call") if getattr(type(cache), "get", None) is Store.get else None
    results = Results(load, save if stores else None, drop, cache, recall, check)
    return memoizer(results, name, typed, ignore)


def memoizer(results: Results, name: str | None, typed: bool, ignore: Iterable[Any]) -> Memoizer:
    """Make a memoizing decorator on top of `results`, whatever their store is.

    Raises:
        TypeError: `name` is a function, because the parentheses were forgotten.
    """
    refuse_function(name, "cache.memoize()")

    def decorator(func: Callable[..., Any]) -> Any:
        if name is None:
            warn_of_shared_name(results.owner, func)
        cache_key = key_maker(func, name, typed, ignore)
        wrap = _wrap_coroutine if is_coroutine_function(func) else _wrap_function
        # The keys that `recall` makes are those of calls whose arguments all count, and not by their types.
        own_key = None if typed or ignore or results.recall is None else cache_key
        wrapper: Any = wrap(func, results, own_key, full_name(func) if name is None else name)
        wrapper.__cache_key__ = cache_key
        return wrapper

    return cast(Memoizer, decorator)


class Pairs:
    """The pairs that ``memoize_stampede`` stores: a result, and the seconds that it took.

    A pair is an ordinary tuple, as in diskcache. Its seconds are a float whose last 24 bits
    are :data:`_MARK`, which changes them by less than one part in a hundred million. A function
    that returns such a pair by chance, one of sixteen million, is computed again.
    """

    _MARK: Final = 0x646F6C
    _BITS: Final = 0xFFFFFF

    @classmethod
    def make(cls, result: R, seconds: float) -> tuple[R, float]:
        """The pair that is stored."""
        (bits,) = struct.unpack("<Q", struct.pack("<d", seconds))
        (marked,) = struct.unpack("<d", struct.pack("<Q", bits & ~cls._BITS | cls._MARK))
        return result, marked

    @classmethod
    def is_marked(cls, value: Any) -> bool:
        """Whether `value` is a pair that :meth:`make` made."""
        return _is_pair(value) and struct.pack("<d", value[1])[:3] == cls._MARK.to_bytes(3, "little")

    @classmethod
    def may_be(cls, value: Any, expire_time: float | None) -> bool:
        """Whether `value` is a pair of ours, or may be one of diskcache, whose pairs always expire."""
        return cls.is_marked(value) or (_is_pair(value) and expire_time is not None)

    @classmethod
    def is_stampedes(cls, cache: MemoCache, key: CacheKey, value: Any, expire: float | None) -> bool:
        """Whether ``memoize``, whose entries expire after `expire` seconds, has found a pair instead of a result."""
        if not _is_pair(value):
            return False
        if cls.is_marked(value):
            return True
        # One of diskcache expires. If results do so too, nothing tells whether this is one.
        return expire is None and cache.get(key, expire_time=True, retry=True)[1] is not None


def _is_pair(value: Any) -> bool:
    if type(value) is not tuple:  # pyright: ignore[reportUnknownArgumentType]
        return False
    pair = cast("tuple[Any, ...]", value)
    return len(pair) == 2 and type(pair[1]) is float and pair[1] >= 0


def refuse_function(argument: object, usage: str) -> None:
    """Raise TypeError if a decorator factory got the function that was meant for its decorator."""
    if callable(argument):
        raise TypeError(f"the function came where arguments are expected; write @{usage}, with brackets")


def is_coroutine_function(func: Callable[..., Any]) -> bool:
    """Whether calling `func` gives a coroutine; sees through partials and callable objects."""
    import inspect  # slow to import: only for programs that memoize

    if inspect.iscoroutinefunction(func):
        return True
    call = getattr(type(func), "__call__", None)  # noqa: B004 (it is looked at, not called)
    return not inspect.isclass(func) and inspect.iscoroutinefunction(call)


def _keeper(save: Callable[[CacheKey, Any], object] | None) -> Callable[[CacheKey, Any], Any]:
    """Stores a value; returns it, or MISS if it is not kept, which only dolium's own caches say."""

    def keep(key: CacheKey, value: Any) -> Any:
        return MISS if save is None or save(key, value) is False else value

    return keep


def _looked_up(results: Results, key: CacheKey, recalled: Any) -> Any:
    """The value of a key, or MISS.

    `recalled` is the tuple that `recall` has found, MISS, or ``...`` if it was not asked. Both marks are the same
    objects in a process to which a function was sent by value.
    """
    if recalled is MISS:
        return MISS
    return results.load(key) if recalled is ... else results.check(key, recalled)


def _wrap_function(func: Callable[..., Any], results: Results, own_key: Any, name: Any) -> Callable[..., Any]:
    load, save, drop, owner = results.load, results.save, results.drop, results.owner
    recall: Any = results.recall
    place = flight.ProcessPlace()
    keep = _keeper(save)

    # The key is made by the attribute, not by what it was at first: programs replace
    # `__cache_key__`.
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        recalled: Any = ...
        if this.__cache_key__ is own_key:
            recalled = recall(name, args, kwargs, MISS)
            if recalled.__class__ is not tuple and recalled is not MISS:
                return recalled
        key = this.__cache_key__(*args, **kwargs)
        value = _looked_up(results, key, recalled)
        if value is not MISS:
            return value
        if save is None:
            return func(*args, **kwargs)
        if in_transaction(owner):  # for which the owner of a flight might wait
            return refresh_as(key, args, kwargs)
        return flight.run(
            place,
            key,
            lambda: load(key),
            lambda: func(*args, **kwargs),
            lambda value: keep(key, value),
        )

    def refresh_as(key: CacheKey, args: Any, kwargs: Any) -> Any:
        value = func(*args, **kwargs)
        if save is not None:
            save(key, value)
        return value

    def refresh(*args: Any, **kwargs: Any) -> Any:
        value = func(*args, **kwargs)
        if save is not None:
            save(this.__cache_key__(*args, **kwargs), value)
        return value

    def invalidate(*args: Any, **kwargs: Any) -> bool:
        return drop(this.__cache_key__(*args, **kwargs))

    this: Any = wrapper
    this.refresh = refresh
    this.invalidate = invalidate
    return wrapper


def _wrap_coroutine(
    func: Callable[..., Any], results: Results, own_key: Any, name: Any
) -> Callable[..., Any]:
    load, save, drop, owner = results.load, results.save, results.drop, results.owner
    recall: Any = results.recall
    place = flight.ProcessPlace()
    keep = _keeper(save)

    async def compute(key: CacheKey, args: Any, kwargs: Any) -> Any:
        value = await func(*args, **kwargs)
        if save is not None:
            await off_loop(owner, save, key, value)
        return value

    @functools.wraps(func)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        recalled: Any = ...
        if this.__cache_key__ is own_key:
            recalled = recall(name, args, kwargs, MISS)
            if recalled.__class__ is not tuple and recalled is not MISS:
                return recalled
        key = this.__cache_key__(*args, **kwargs)
        value = _looked_up(results, key, recalled)
        if value is not MISS:
            return value
        if save is None:
            return await func(*args, **kwargs)
        if in_transaction(owner):  # which the leader of a flight might wait for
            return await compute(key, args, kwargs)
        return await flight.run_async(
            place,
            key,
            lambda: load(key),
            lambda: func(*args, **kwargs),
            lambda value: keep(key, value),
        )

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        return await compute(this.__cache_key__(*args, **kwargs), args, kwargs)

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await off_loop(owner, drop, this.__cache_key__(*args, **kwargs))

    this: Any = wrapper
    this.refresh = refresh
    this.invalidate = invalidate
    return wrapper
