"""Reading large bytes without holding the interpreter, so that loops in other threads run meanwhile."""

from __future__ import annotations

from io import BufferedReader
from typing import Any, Final

from ..constants import MISS, MODE_BINARY
from ..errors import Timeout

LARGE: Final = 1 << 19
"""Bytes from which on a value is read from its file by Python's own file object, which lets other threads run."""


def get(cache: Any, key: Any, default: Any, retry: bool, **asked: Any) -> Any:
    """``cache.get`` of a cache whose `get` is dolium's own."""
    if _is_large(cache, key, retry):
        found = cache.get(key, MISS, read=True, retry=retry, **asked)
        has_facts = asked["expire_time"] or asked["tag"]
        file = found[0] if has_facts else found
        if isinstance(file, BufferedReader):  # else another has replaced it meanwhile
            with file:
                data = file.read()
            return (data, *found[1:]) if has_facts else data
    return cache.get(key, default, retry=retry, **asked)


def _is_large(cache: Any, key: Any, retry: bool) -> bool:
    if cache._custom_disk() is not None:
        return False
    try:
        info = cache.info(key, retry=retry)
    except Timeout:  # which `get` raises, or takes for a miss
        return False
    return info is not None and info.mode == MODE_BINARY and info.size >= LARGE and info.path is not None
