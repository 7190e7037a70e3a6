"""Objects that are nothing but memory: how they are stored, and that a large one is not copied on its way."""

from __future__ import annotations

import array
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import dolium
import numpy as np
import pytest
from dolium.codecs import Array, Auto, Pickle
from helpers.children import run

SIZES = [0, 100, 40_000, 300_000, 3_000_000]

VIEWS: dict[str, Callable[[bytes], Any]] = {
    "memoryview": memoryview,
    "of a bytearray": lambda data: memoryview(bytearray(data)),
    "of integers": lambda data: memoryview(data[: len(data) // 8 * 8]).cast("q"),
    "of two dimensions": lambda data: memoryview(np.frombuffer(data, "u1").reshape(2, -1)),
    "of every other byte": lambda data: memoryview(data)[::2],
    "backwards": lambda data: memoryview(data)[::-1],
    "of NumPy": lambda data: np.frombuffer(data[: len(data) // 4 * 4], "<f4").data,
    "of records": lambda data: np.frombuffer(data[: len(data) // 5 * 5], "<f4,i1").data,
}


@pytest.fixture
def cache(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


def bytes_of(view: Any) -> bytes:
    return memoryview(view).tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", VIEWS)
def test_memoryview_comes_back_as_bytes(cache: dolium.Cache, kind: str, size: int) -> None:
    view = VIEWS[kind](os.urandom(size))
    cache["item"] = view
    assert cache.set("set", view)
    assert cache.add("add", view)
    assert not cache.add("add", b"")
    assert cache.set_many({"many": view}) == 1
    cache.push(view, prefix="queue")
    expected = bytes_of(view)
    for key in ("item", "set", "add", "many"):
        assert type(cache[key]) is bytes
        assert cache[key] == expected, key
    assert cache.pull(prefix="queue")[1] == expected
    cache.close()
    assert cache["item"] == expected
    assert cache.pop("item") == expected
    assert cache.check() == []


@pytest.mark.parametrize("size", SIZES[1:])
def test_mapped_file_comes_back_as_bytes(cache: dolium.Cache, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    with (
        (tmp_path / "file").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        cache["mapped"] = mapped
        cache["part"] = memoryview(mapped)[10:]
    assert cache["mapped"] == data
    assert cache["part"] == data[10:]


@pytest.mark.parametrize("size", [4_000, 400_000])
def test_what_diskcache_stores_keeps_its_type(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    values = {
        "bytearray": bytearray(data),
        "array.array": array.array("d", data),
        "numpy": np.frombuffer(data, "f8"),
    }
    ours, theirs = dolium.Cache(tmp_path / "ours"), diskcache.Cache(str(tmp_path / "theirs"))
    for key, value in values.items():
        for cache in (ours, theirs):
            cache[key] = value
            assert type(cache[key]) is type(value)
            assert bytes_of(cache[key]) == data
    with pytest.raises(TypeError):
        theirs["memoryview"] = memoryview(data)
    ours["memoryview"] = memoryview(data)
    ours.close()
    with diskcache.Cache(str(tmp_path / "ours")) as theirs:
        assert theirs["memoryview"] == data


def test_result_that_is_memory_is_always_bytes(cache: dolium.Cache) -> None:
    @cache.cached
    def view(size: int) -> Any:
        return memoryview(bytes(size))

    for size in (10, 300_000):
        assert [type(view(size)) for _ in range(2)] == [bytes, bytes]
        assert view(size) == bytes(size)


def test_memory_under_a_file_size_of_the_user_is_a_row(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path, disk_min_file_size=1 << 20) as cache:
        cache["row"] = memoryview(bytes(300_000))
        cache.flush()
        info = cache.info("row")
        assert info is not None
        assert info.path is None
        assert cache["row"] == bytes(300_000)


CODECS: dict[str, Any] = {
    "Array": Array(),
    "Array, mapped": Array(mmap=True),
    "Pickle": Pickle(),
    "Pickle, mapped": Pickle(mmap=True),
    "Auto": Auto(),
}


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("length", [0, 10, 5_000, 50_000, 500_000])
def test_array_of_any_length_goes_through_a_codec(cache: dolium.Cache, name: str, length: int) -> None:
    values = np.arange(length, dtype="f8")
    every_other = np.arange(2 * length, dtype="f4").reshape(-1, 2)[:, 1]
    for key, value in {"whole": values, "gaps": every_other}.items():
        assert cache.set(key, value, codec=CODECS[name])
        assert (cache[key] == value).all()
        assert cache[key].dtype == value.dtype
    function = cache.cached(codec=CODECS[name], name=name, version="1")(lambda: values)
    for _ in range(2):
        assert (function() == values).all()
    assert cache.check() == []


def test_signed_frame_that_was_changed_is_refused(cache: dolium.Cache) -> None:
    cache.set("pickle", [np.arange(100_000), {1, 2}], codec=Pickle())
    assert cache["pickle"][1] == {1, 2}
    info = cache.info("pickle")
    assert info is not None
    assert info.path is not None
    changed = bytearray(Path(info.path).read_bytes())
    changed[len(changed) // 2] ^= 1
    Path(info.path).write_bytes(changed)
    with pytest.warns(dolium.UntrustedValueWarning):
        assert cache.get("pickle") is None


COPIES = """
import resource
import numpy as np
from dolium.codecs import Array
size = 100_000_000
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with dolium.Cache(sys.argv[1], size_limit=None) as cache:
    kind = sys.argv[2]
    cache.set("warm", np.zeros(100_000), codec=Array())
    value = np.ones(size, "u1")
    before = peak()
    if kind == "memoryview":
        cache["large"] = memoryview(value)
    elif kind == "array":
        cache.set("large", value, codec=Array())
    elif kind == "result":
        cache.cached(codec=Array(), name="f", version="1")(lambda: value)()
    else:
        cache["large"] = memoryview(value)
        found = cache.pop("large")
        assert len(found) == size
    # Memory that was not asked for is not counted, so the pages of what comes back are.
    say((peak() - before) / size)
"""


@pytest.mark.xdist_group("memory")
@pytest.mark.parametrize(("kind", "copies"), [("memoryview", 0), ("array", 0), ("result", 1), ("pop", 1)])
def test_large_memory_is_not_copied(tmp_path: Path, kind: str, copies: int) -> None:
    (said,) = run(COPIES, tmp_path, kind)
    assert float(said) < copies + 0.5
