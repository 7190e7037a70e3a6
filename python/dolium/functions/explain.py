"""Why a call is a hit or a miss: the parameter, the helper or the constant that made it one."""

from __future__ import annotations

import time
from typing import Any, Final

from .calls import Calls
from .version import Version, reached
from .version.history import changes, recall, remember

__all__ = ["explain", "note"]

NEAREST: Final = 3
"""Arguments that differ, above which a result is not called the nearest one."""


class _Notes:
    """The history of a cache's functions, as notes of the cache."""

    def __init__(self, cache: Any) -> None:
        self.load = cache._annotation
        self.save = cache._annotate


def note(calls: Calls) -> None:
    """Keep what the version of a function consists of, once in a process. It costs no call if that fails."""
    version = reached(calls.function)
    if calls.noted == version.digest:
        return
    calls.noted = version.digest
    try:
        remember(_Notes(calls.cache), calls.name, version, time.time())
    except Exception as error:
        calls.results.tell("stored", error)


def explain(calls: Calls, key: tuple[Any, ...]) -> str:
    """What is known of a call, in lines: the first says whether it is a hit, the others why."""
    lines = [f"{calls.name[:-2]}: {_state(calls, key)}"]
    known = calls.results.known(key)
    if known is None:
        lines += _reasons(calls, key)
    if calls.options.version is None:
        unfollowed = reached(calls.function).unfollowed
        lines += [f"not followed: {name}" for name in unfollowed]
    return "\n".join(lines)


def _state(calls: Calls, key: tuple[Any, ...]) -> str:
    known = calls.results.known(key)
    if known is None:
        return "a miss, because no result is kept under this key"
    age = f"stored {_ago(known.stored)}, which took {known.seconds:.3g} s"
    if known.lasts(0):
        return f"a hit that raises {type(known.value).__name__}, {age}" if known.raised else f"a hit, {age}"
    if calls.is_stale_served(known):
        return f"a hit that is stale and is renewed in the background, {age}"
    return f"a miss, because the result is not fresh any more, {age}"


def _ago(stored: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stored))


def _reasons(calls: Calls, key: tuple[Any, ...]) -> list[str]:
    others = [other for other in calls.all_keys() if other != key]
    same_arguments = [other for other in others if _same(other[2:], key[2:])]
    if same_arguments:
        return _version_reasons(calls, key, same_arguments)
    return _argument_reasons(calls, key, [other for other in others if other[1] == key[1]])


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and not _different(one, other)


def _different(one: tuple[Any, ...], other: tuple[Any, ...]) -> list[int]:
    """The positions of parts that differ. Equal parts of different types are different."""
    pairs = enumerate(zip(one, other, strict=False))
    return [at for at, (a, b) in pairs if type(a) is not type(b) or (a != b and repr(a) != repr(b))]


def _version_reasons(calls: Calls, key: tuple[Any, ...], others: list[tuple[Any, ...]]) -> list[str]:
    if calls.options.version is not None:
        named = ", ".join(sorted({repr(other[1]) for other in others}))
        return [f"it is kept for version {named}; the version is {key[1]!r} now"]
    digests = {other[1] for other in others}
    former = [version for version in _history(calls) if version.digest in digests]
    if not former:
        return ["it is kept for another version of the code, of which no more is known"]
    return changes(former[-1], reached(calls.function)) or ["it is kept for another version of the code"]


def _history(calls: Calls) -> list[Version]:
    try:
        return recall(_Notes(calls.cache), calls.name)
    except Exception:  # an explanation is not worth an error
        return []


def _argument_reasons(calls: Calls, key: tuple[Any, ...], others: list[tuple[Any, ...]]) -> list[str]:
    nearest: list[int] | None = None
    found: tuple[Any, ...] = ()
    for other in others:
        if len(other) == len(key):
            differing = _different(other[2:], key[2:])
            if nearest is None or len(differing) < len(nearest):
                nearest, found = differing, other
    if nearest is None or len(nearest) > NEAREST:
        return []
    return [
        f"{calls.labels[at]} differs from the nearest result that is kept"
        + (f": {found[2 + at]!r} there, {key[2 + at]!r} here" if _is_plain(found[2 + at]) else "")
        for at in nearest
    ]


def _is_plain(part: object) -> bool:
    return not isinstance(part, bytes)
