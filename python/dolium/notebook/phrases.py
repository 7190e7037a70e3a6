"""Times as people say them."""

from __future__ import annotations

from typing import Final

__all__ = ["age", "duration"]

UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """How long something took.

    >>> duration(192.4), duration(0.25), duration(90_000)
    ('3 min 12 s', '250 ms', '1 d 1 h')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left, words = round(seconds), list[str]()
    for unit, size in UNITS:
        if left >= size and len(words) < 2:
            words.append(f"{left // size} {unit}")
            left %= size
        elif words:
            break
    return " ".join(words)


def age(seconds: float) -> str:
    """How long ago something was.

    >>> age(7300), age(3), age(200_000)
    ('2 h ago', 'just now', '2 d ago')
    """
    for unit, size in UNITS[:-1]:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago" if seconds >= 10 else "just now"
