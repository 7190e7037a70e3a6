"""Codecs beside the real diskcache: it finds no value of them, and reads and replaces everything else."""

from __future__ import annotations

from pathlib import Path

import dolium
import numpy as np
import pytest
from dolium.codecs import Array, Auto, Json, Pickle, Zstd
from helpers.real_diskcache import real_diskcache

TEXT = "all work and no play " * 20


@pytest.mark.parametrize("size", [1 << 10, 1 << 30], ids=["files", "rows"])
def test_diskcache_and_codecs_share_a_directory(tmp_path: Path, size: int):
    with dolium.Cache(tmp_path, disk_min_file_size=size) as cache:
        for key, codec in {"zstd": Zstd(), "json": Json(), "plain": Auto(), "pickle": Pickle()}.items():
            cache.set(key, TEXT, codec=codec)
        cache.set("array", np.arange(3000), codec=Array(mmap=True))
        cache.set("number", 5, codec=Zstd())
    real_diskcache(
        """
        cache = diskcache.Cache(sys.argv[1])
        for key in ("zstd", "json", "array"):
            assert cache.get(key, "miss") == "miss"
        assert cache["plain"] == cache["pickle"] == "all work and no play " * 20
        assert cache.incr("number") == 6
        cache["zstd"] = "theirs"
        del cache["array"]
        cache["new"] = ["theirs"]
        """,
        tmp_path,
    )
    with dolium.Cache(tmp_path, codec=Json()) as cache:
        assert cache["zstd"] == "theirs"
        assert cache["new"] == ["theirs"]
        assert cache["number"] == 6
        assert cache["json"] == TEXT
        assert "array" not in cache
        assert cache.check() == []


def test_bytes_without_codec_are_those_of_diskcache(tmp_path: Path):
    values = {"a": [1], "b": np.arange(5), "c": "text", "d": b"bytes", "e": None, "f": 2**70}
    with dolium.Cache(tmp_path) as cache:
        cache.set_many(values)
    real_diskcache(
        """
        import numpy
        cache = diskcache.Cache(sys.argv[1])
        assert [cache[key] for key in "acdef"] == [[1], "text", b"bytes", None, 2**70]
        assert (cache["b"] == numpy.arange(5)).all()
        """,
        tmp_path,
    )
