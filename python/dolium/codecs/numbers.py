"""The numbers of encoders and filters in a frame; the engine's `value/frame.rs` lists them."""

from __future__ import annotations

from typing import Final

TEXT: Final = 3
BYTES: Final = 4
PICKLE: Final = 5
JSON: Final = 7
ARRAY: Final = 8
ARROW: Final = 9
BUFFERS: Final = 10
OWN: Final = 11

OWN_FILTER: Final = 3
MOST_FILTERS: Final = 8
