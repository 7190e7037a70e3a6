"""How values are stored: a codec is one encoder and any filters, as in ``Array(max_error=1e-3) | Zstd()``.

Pass one to :class:`dolium.Cache`, to ``cached`` or to ``set``. Each value says how it is stored, so any process reads
any value, whatever its own codec.

>>> import dolium
>>> from dolium.codecs import Json, Zstd
>>> cache = dolium.Cache(codec=Json() | Zstd())
>>> cache["answer"] = {"text": "spam " * 100}
>>> cache.info("answer").size < 100, len(cache["answer"]["text"])
(True, 500)
"""

from __future__ import annotations

from .array import Array
from .arrow import Arrow
from .auto import Auto
from .codec import Codec, Encoder, Filter, as_codec
from .json import Json
from .pickled import Pickle
from .zstd import Zstd

__all__ = ["Array", "Arrow", "Auto", "Codec", "Encoder", "Filter", "Json", "Pickle", "Zstd", "as_codec"]
