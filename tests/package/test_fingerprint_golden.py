"""Golden fingerprints that `test_fingerprint.py` has no place for: code with its real version, and tensors.

Every Python gives these values (`make test-pythons`). With the values there, each row of the table of values that a
fingerprint knows has one.
"""

from __future__ import annotations

import functools
import sys
import types
from pathlib import Path
from typing import Any

import dolium
import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from dolium import fingerprint

from . import test_fingerprint
from .test_fingerprint_arrays import Tensor

FACTOR = {"small": 2, "large": (3, 4)}


def clean(text: str, *, strip: bool = True) -> str:
    """Not a part of the version."""
    return text.strip().lower() if strip else f"{text!r:>{10}}"


def scaled(text: str) -> list[int]:
    with memoryview(clean(text).encode()) as view:
        return [byte * FACTOR["small"] for byte in view if (low := byte & 1) or low == 0]


def closed(limit: int) -> Any:
    return lambda text: clean(text)[:limit]


class Cleaner:
    suffix = "."

    def __init__(self, text: str) -> None:
        self.text = scaled(text)

    @functools.cached_property
    def whole(self) -> str:
        try:
            return f"{self.text}{self.suffix}"
        except (TypeError, ValueError):
            return ""


class Streamed:
    """Anything with an Arrow stream."""

    def __arrow_c_stream__(self, schema: Any = None) -> Any:
        return pa.table({"n": [1, None], "t": ["a", "b"]}).__arrow_c_stream__(schema)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for those that are too large to install."""
    Tensor.__module__ = "torch"
    nn = types.SimpleNamespace(Parameter=type("Parameter", (), {}))
    module = types.SimpleNamespace(Tensor=Tensor, nn=nn, strided="strided", uint8=np.uint8)
    monkeypatch.setitem(sys.modules, "torch", module)


def golden(directory: Path) -> dict[str, Any]:
    mapped = np.memmap(directory / "array", "<i4", "w+", shape=(2, 3))
    mapped[:] = np.arange(6).reshape(2, 3)
    return {
        "function": clean,
        "function that reaches others": scaled,
        "lambda with a closure": closed(5),
        "class": Cleaner,
        "partial": functools.partial(scaled, text="x"),
        "method": Cleaner.__init__,
        "bfloat16": np.array([1.5, -2.0], ml_dtypes.bfloat16),
        "memmap": mapped,
        "tensor": Tensor(np.arange(6, dtype="<u2").reshape(2, 3), "torch.bfloat16"),
        "stream of Arrow": Streamed(),
    }


GOLDEN: dict[str, str] = {
    "function": "cf1cf3a4acb9f2708c2bef300996dd5b28c5c7a4",
    "function that reaches others": "133d3681eee58a20e81ac3f88d253c00ca328b47",
    "lambda with a closure": "25c139c89ec09d02a9f50c2450149a45ff98303a",
    "class": "a5912d8d1ac2e54644425b5f7ddc49060cc9d79b",
    "partial": "e9399585e404367965536b1670728bc3c8815c13",
    "method": "23502ca6c69426ea0f45ef21d33e4aab0e4d6827",
    "bfloat16": "35aafbb14d2602844695b1287dcf048f65cd27aa",
    "memmap": "615fce3275299c218cc2c1d7481f3c564f9ea1ac",
    "tensor": "6f80aa79ec3798c3d4d79fb46ec56468cfd21562",
    "stream of Arrow": "51da0fdbf6a494339e529e02964ad3a5839b5a22",
}


@pytest.mark.usefixtures("libraries")
def test_golden_fingerprints_of_code_and_tensors_stay(tmp_path: Path) -> None:
    assert {name: fingerprint(value).hex() for name, value in golden(tmp_path).items()} == GOLDEN


def test_a_memory_map_is_the_array_that_it_shows() -> None:
    assert GOLDEN["memmap"] == test_fingerprint.GOLDEN["array"]


VERSIONS = {
    "clean": "5347de5bce94a0a49afad6741233cffe8e619ec6",
    "scaled": "9b1829fd4135baf97553b38c4bf9c3483540cec6",
}


def test_golden_versions_stay_what_they_are() -> None:
    assert {function.__name__: dolium.code(function) for function in (clean, scaled)} == VERSIONS
