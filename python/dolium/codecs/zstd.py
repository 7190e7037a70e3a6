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

    With ``dictionary=True``, values of 64 bytes to 64 KiB share a dictionary with the other values of their function,
    or of the cache. The cache trains it on them in the background, once 512 have come. A value whose dictionary is
    lost counts as missing.

    >>> import dolium
    >>> from dolium.codecs import Zstd
    >>> cache = dolium.Cache()
    >>> cache.set("page", "<li>item</li>" * 100, codec=Zstd())
    True
    >>> cache.info("page").size < 60
    True
    """

    _defaults: ClassVar = {"level": 3, "dictionary": False}

    def __init__(self, level: int = 3, dictionary: bool = False) -> None:
        if not -50 <= level <= 22:
            raise ValueError(f"level: {level} is none of Zstandard; use -50 (fast) to 22 (small)")
        self.level = level
        self.dictionary = dictionary

    @property
    def _compression(self) -> tuple[int, bool]:  # type: ignore[override]
        return self.level, self.dictionary

    def _apply(self, data: bytes, element: int) -> tuple[bytes, bytes] | None:
        return zstd_apply(data, self.level, element)
