"""The filter :class:`Zstd`."""

from __future__ import annotations

from typing import ClassVar

from .._dolium import zstd_apply
from .codec import Filter

__all__ = ["Zstd"]


class Zstd(Filter):
    """Zstandard, from level -50 (fast) to 22 (small). The bytes of arrays are shuffled before.

    A value is stored as it is if it is shorter than 64 bytes, if its first 64 KiB do not shrink, or if all of it does
    not save a sixteenth.

    >>> import dolium
    >>> from dolium.codecs import Zstd
    >>> cache = dolium.Cache()
    >>> cache.set("page", "<li>item</li>" * 100, codec=Zstd())
    True
    >>> cache.info("page").size < 60
    True
    """

    _defaults: ClassVar = {"level": 3}

    def __init__(self, level: int = 3) -> None:
        if not -50 <= level <= 22:
            raise ValueError(f"level: {level} is none of Zstandard; use -50 (fast) to 22 (small)")
        self.level = level

    @property
    def _compression(self) -> int:  # type: ignore[override]
        return self.level

    def _apply(self, data: bytes, element: int) -> tuple[bytes, bytes] | None:
        return zstd_apply(data, self.level, element)
