"""The encoder :class:`Auto`."""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import sys
from typing import Any

from .._dolium import encode_text
from .body import Body
from .codec import Codec, Encoder
from .numbers import BYTES, TEXT

__all__ = ["Auto"]

_SHORT = 64
"""Bytes from which on compression may pay."""


class Auto(Encoder):
    """Text, bytes and numbers as they are, arrays by :class:`Array`, tables of polars and pyarrow by :class:`Arrow`.

    All else is pickled. So are frames of pandas, because Arrow does not bring all of them back.

    >>> import dolium
    >>> from dolium.codecs import Auto
    >>> dolium.Cache(codec=Auto()).get_or_set("key", lambda: {"any": ["value"]})
    {'any': ['value']}
    """

    def _body(self, value: Any, codec: Codec) -> Body | None:
        given: object = value
        kind = type(given)
        if kind is str or kind is bytes:
            return self._plain(value, codec)
        if (kind in (int, float, bool) or value is None) and not codec._is_thorough:
            return None
        encoder: Encoder | None = None
        root = kind.__module__.partition(".")[0]
        if root == "numpy":
            from .array import Array, is_plain

            encoder = Array() if is_plain(value) else None
        elif root in ("polars", "pyarrow"):
            from .arrow import Arrow, is_table

            encoder = Arrow() if is_table(value) else None
        if encoder is None:
            from .pickled import Pickle

            if not codec.filters and "numpy" not in sys.modules and "pyarrow" not in sys.modules:
                return None  # no buffers; as without a codec
            return Pickle()._body(value, codec)
        return encoder._body(value, codec)

    def _plain(self, value: str | bytes, codec: Codec) -> Body | None:
        if not codec.filters or (len(value) < _SHORT and not codec._is_thorough):
            return None
        if isinstance(value, bytes):
            return Body(BYTES, value)
        try:
            return Body(TEXT, value if value.isascii() else encode_text(value))
        except UnicodeEncodeError:
            from .pickled import Pickle

            return Pickle()._body(value, codec)
