"""What an encoder makes of a value."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Body"]


class Body(NamedTuple):
    """The bytes of a value, on their way into a frame."""

    encoder: int
    """The number of the encoder."""
    data: bytes | str | tuple[Any, ...]
    """Bytes, objects whose memory they are, one behind the other, or ASCII text."""
    element: int = 1
    """How many bytes an element has, if the data are elements."""
    is_aligned: bool = False
    """Whether readers may map them."""
