"""Values of every codec are kept under `fixtures/codecs`, and are still read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.make import KEY
from fixtures.make_codecs import FORMAT
from helpers.children import run

FORMATS = sorted((Path(__file__).parents[1] / "fixtures" / "codecs").iterdir())

READ = """
sys.path.insert(0, sys.argv[2])
import numpy as np
from fixtures.make_codecs import VALUES
def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one.equals(other) if hasattr(one, "equals") else one == other
cache = dolium.Cache(sys.argv[1])
for name, (codec, value) in VALUES.items():
    found = cache[name]
    assert type(found) is type(value) and same(found, value), (name, found)
assert len(cache) == len(VALUES)
assert cache.check() == []
cache.close()
"""


def test_the_newest_format_of_codecs_is_kept():
    assert FORMATS[-1].name == str(FORMAT)


@pytest.mark.parametrize("path", FORMATS, ids=[path.name for path in FORMATS])
def test_values_of_every_codec_are_read(tmp_path: Path, path: Path):
    copy = tmp_path / "cache"
    shutil.copytree(path, copy)
    run(READ, copy, Path(__file__).parents[1], env={"DOLIUM_SIGNING_KEY": KEY})
