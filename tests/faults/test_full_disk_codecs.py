"""A disk that becomes full in the middle of a frame: the old value stays, and no file is left."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.children import run
from helpers.mounts import DISKS, lacking, small_disk

pytestmark = pytest.mark.xdist_group("disks")

FILL = """
import numpy as np
from dolium.codecs import Array, Auto, Pickle, Zstd
directory = sys.argv[1] + "/cache"
cache = dolium.Cache(directory, size_limit=None)
large = np.random.default_rng(1).integers(0, 256, 20_000_000, dtype="u1")
for codec in (Array(), Array(mmap=True), Pickle(mmap=True), Zstd(), Pickle()):
    cache.set("key", [1, 2], codec=Auto())
    before = sorted(path for path, _, files in os.walk(directory) for file in files if file.endswith((".val", ".tmp")))
    try:
        cache.set("key", {"a": large} if isinstance(codec, Pickle) else large, codec=codec)
    except dolium.StorageFullError:
        pass
    else:
        raise AssertionError(codec)
    assert cache["key"] == [1, 2]
    after = sorted(path for path, _, files in os.walk(directory) for file in files if file.endswith((".val", ".tmp")))
    assert before == after, codec
    cache.set("small", large[:9000], codec=codec)
    assert (cache["small"] == large[:9000]).all()
assert cache.check() == []
print("done")
"""


@pytest.mark.parametrize("kind", DISKS)
def test_disk_full_in_a_frame_keeps_the_old_value(tmp_path: Path, kind: str):
    if reason := lacking(kind):
        pytest.skip(reason)
    directory = tmp_path / "disk"
    assert run("import os\n" + FILL, directory, prefix=small_disk(directory, 12_000, kind)) == ["done"]
