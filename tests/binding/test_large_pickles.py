"""Pickles of large memory: they are what `pickle` makes, and come back as what it makes."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import dolium
import numpy as np
import pytest
from dolium.codecs import Pickle

COUNT = 3 << 20
SHARED = bytes(range(256)) * (COUNT >> 8)

VALUES: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(SHARED),
    "bytes twice": lambda: [SHARED, SHARED, "text", bytearray(SHARED)],
    "array": lambda: np.frombuffer(bytearray(SHARED)),
    "array that is read only": lambda: np.frombuffer(SHARED),
    "array in the order of columns": lambda: np.asfortranarray(
        np.frombuffer(bytearray(SHARED)).reshape(8, -1)
    ),
    "array with gaps": lambda: np.frombuffer(bytearray(SHARED * 2))[::2],
    "arrays among others": lambda: {
        1: "one",
        "array": np.frombuffer(bytearray(SHARED)),
        "many": list(range(50_000)),
        "bytes": SHARED,
    },
}


@pytest.fixture
def cache(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


def file_of(cache: dolium.Cache, key: str) -> Path:
    info = cache.info(key)
    assert info is not None
    assert info.path is not None
    return Path(info.path)


def parts(value: Any) -> list[Any]:
    """The objects in a value whose memory is large."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return [part for part in inner if isinstance(part, (bytes, bytearray, np.ndarray))]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", VALUES)
def test_large_value_is_stored_as_pickle_makes_it(tmp_path: Path, kind: str, protocol: int) -> None:
    value = VALUES[kind]()
    with dolium.Cache(tmp_path, disk_pickle_protocol=protocol) as cache:
        cache["key"] = value
        stored = file_of(cache, "key").read_bytes()
    expected = pickle.dumps(value, protocol)
    assert stored[: len(expected)] == expected
    assert len(stored) < len(expected) + 64


@pytest.mark.parametrize("kind", VALUES)
def test_large_value_comes_back_as_pickle_makes_it(cache: dolium.Cache, kind: str) -> None:
    value = VALUES[kind]()
    cache["key"] = value
    expected, found = pickle.loads(pickle.dumps(value, 5)), cache["key"]
    assert type(found) is type(expected)
    for one, other in zip(parts(expected), parts(found), strict=True):
        assert type(one) is type(other)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            assert one.strides == other.strides
            assert one.flags.writeable == other.flags.writeable
        assert bytes(one) == bytes(other)
    if isinstance(found, list):
        assert found[0] is found[1]


@pytest.mark.parametrize("kind", VALUES)
def test_diskcache_reads_a_large_pickle_and_is_read(tmp_path: Path, kind: str) -> None:
    value = VALUES[kind]()
    with dolium.Cache(tmp_path) as ours:
        ours["ours"] = value
    with diskcache.Cache(tmp_path) as theirs:
        assert [*map(bytes, parts(theirs["ours"]))] == [*map(bytes, parts(value))]
        theirs["theirs"] = value
    with dolium.Cache(tmp_path, trust="all") as ours:
        assert [*map(bytes, parts(ours["theirs"]))] == [*map(bytes, parts(value))]


def test_stored_bytearray_may_change_its_length(cache: dolium.Cache) -> None:
    value = bytearray(SHARED)
    cache["key"] = [value]
    value += b"more"
    assert cache["key"] == [bytearray(SHARED)]


def test_large_array_of_a_function_is_what_a_hit_returns(cache: dolium.Cache) -> None:
    function = cache.cached(lambda: [np.frombuffer(bytearray(SHARED)), SHARED])
    for found in (function(), function()):
        assert found[0].tobytes() == found[1] == SHARED


@pytest.mark.parametrize("at", [200, -1000, -1])
def test_altered_buffer_of_a_pickle_is_refused(cache: dolium.Cache, at: int) -> None:
    cache.set("key", {"array": np.frombuffer(bytearray(SHARED))}, codec=Pickle())
    assert bytes(cache["key"]["array"]) == SHARED
    path = file_of(cache, "key")
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1
    path.write_bytes(changed)
    with pytest.warns(dolium.UntrustedValueWarning):
        assert cache.get("key") is None


def test_buffers_of_another_key_are_refused(cache: dolium.Cache) -> None:
    for key in ("one", "other"):
        cache.set(key, {key: np.frombuffer(bytearray(SHARED))}, codec=Pickle())
    one, other = file_of(cache, "one"), file_of(cache, "other")
    one.write_bytes(other.read_bytes().ljust(one.stat().st_size, b"\0")[: one.stat().st_size])
    assert cache.get("one") is None


@pytest.mark.parametrize("text", ["é" * COUNT, "text €" * (COUNT // 6), "\U0001f600" * (COUNT // 2)])
def test_long_text_of_other_letters_comes_back(cache: dolium.Cache, text: str) -> None:
    cache["key"] = text
    assert cache["key"] == text
    assert file_of(cache, "key").read_bytes() == text.encode()


def test_long_text_with_half_a_letter_is_pickled(cache: dolium.Cache) -> None:
    text = "é" * COUNT + "\ud800"
    cache["key"] = text
    assert cache["key"] == text
