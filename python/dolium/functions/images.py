"""What counts of images of Pillow: mode, size, palette and pixels, not the file that they came from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from .._dolium import Raw
from .fingerprint import Description, Handler

__all__ = ["handler"]

SLAB = 1 << 20
"""Bytes of pixels that are copied at once."""


def handler(cls: type) -> Handler | None:
    image: Any = sys.modules.get("PIL.Image")
    is_image = image is not None and issubclass(cls, image.Image)
    # A class of another package may keep more than pixels.
    return _image if is_image and cls.__module__.partition(".")[0] == "PIL" else None


def _image(value: Any) -> Description:
    if getattr(value, "is_animated", False):
        return "an image of several frames"
    value.load()
    palette = value.palette
    colors = None if palette is None else (palette.mode, bytes(palette.tobytes()))
    transparency = value.info.get("transparency")
    row = len(value.crop((0, 0, value.width, 1)).tobytes())
    pixels = Raw(row * value.height, _pixels(value))
    return "PIL:Image", (value.mode, value.size, colors, transparency, pixels)


def _pixels(value: Any) -> Iterator[bytes]:
    """The pixels, some rows at a time."""
    width, height = value.size
    rows = max(1, SLAB // max(1, width * 16))
    for top in range(0, height, rows):
        yield value.crop((0, top, width, min(top + rows, height))).tobytes()
