"""A simple stand-in for `dolium.fingerprint`, for tests of versions: plain data has one, all else has none."""

from __future__ import annotations

from typing import Any


def fingerprint(value: Any) -> bytes:
    return _text(value).encode()


def _text(value: Any) -> str:
    kind = type(value)
    if kind is dict:
        return f"dict{sorted(f'{_text(key)}:{_text(item)}' for key, item in value.items())}"
    if kind in (set, frozenset):
        return f"{kind.__name__}{sorted(map(_text, value))}"
    if kind in (list, tuple):
        return f"{kind.__name__}{list(map(_text, value))}"
    if kind in (type(None), bool, int, float, str, bytes):
        return f"{kind.__name__} {value!a}"
    if hasattr(kind, "__dataclass_fields__"):
        return f"{kind.__qualname__}{[_text(getattr(value, name)) for name in kind.__dataclass_fields__]}"
    raise TypeError(f"no fingerprint of {kind}")
