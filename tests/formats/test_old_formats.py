"""A directory of every released format is kept under `fixtures/`, and still opens."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
from fixtures.make import ENTRIES, KEY
from helpers.children import run

FORMATS = sorted(
    path for path in (Path(__file__).parents[1] / "fixtures").iterdir() if (path / "cache.db").exists()
)

OPEN = """
sys.path.insert(0, sys.argv[2])
from fixtures.make import ENTRIES
cache = dolium.Cache(sys.argv[1])
for number, (key, value) in enumerate(ENTRIES.items()):
    found, tag = cache.get(key, tag=True)
    assert found == value and type(found) is type(value), (key, repr(found)[:100])
    assert tag == ("t" if number % 2 else None)
assert cache.get("expires", expire_time=True)[1] > 2e9
assert list(cache) == [*ENTRIES, "expires", "q-500000000000000"]
assert (cache.cull_limit, cache.tag_index, cache.disk_min_file_size) == (3, 1, 20_000)
assert cache.pull("q")[1] == "queued"
assert cache.evict("t") == len(ENTRIES) // 2
cache["new"] = ["x" * 30_000]
assert cache["new"] == ["x" * 30_000]
assert [str(problem.message) for problem in cache.check()] == []
cache.close()
"""


def test_there_are_formats():
    assert [path.name for path in FORMATS][:1] == ["diskcache-5.6.3"]
    assert any(path.name.startswith("dolium-") for path in FORMATS)


@pytest.mark.parametrize("path", FORMATS, ids=[path.name for path in FORMATS])
def test_every_released_format_opens(tmp_path, path):
    directory = tmp_path / path.name
    shutil.copytree(path, directory)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(OPEN, directory, Path(__file__).parents[1], env={"DOLIUM_SIGNING_KEY": KEY})
    assert len(ENTRIES) == 14
