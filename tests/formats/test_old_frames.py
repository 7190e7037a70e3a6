"""Frames of every format are kept under `fixtures/frames`, and are still read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.make import KEY
from fixtures.make_frames import FORMAT
from helpers.children import run

FORMATS = sorted((Path(__file__).parents[1] / "fixtures" / "frames").iterdir())

READ = """
sys.path.insert(0, sys.argv[2])
from fixtures.make_frames import RESULTS, options
cache = dolium.Cache(sys.argv[1])
for number, (name, value) in enumerate(RESULTS.items()):
    known = cache._known_result(("module.function()", "1", name))
    found, raised, stored, fresh_until, expires, seconds, size = known
    assert found == value and type(found) is type(value), (name, repr(found)[:100])
    given = options(number)
    assert (raised, fresh_until, seconds) == (False, given["fresh_until"], given["seconds"]), name
    assert (expires is None) == (given["expire"] is None) and size >= 8
    assert cache[("module.function()", "1", name)] == value
error, raised, *_ = cache._known_result("raised")
assert raised and type(error) is KeyError and error.args == ("not there", 5)
assert len(cache) == len(RESULTS) + 1
assert cache.check() == []
cache.close()
"""


def test_the_newest_format_of_frames_is_kept():
    assert FORMATS[-1].name == str(FORMAT)


@pytest.mark.parametrize("path", FORMATS, ids=[path.name for path in FORMATS])
def test_frames_of_every_format_are_read(tmp_path: Path, path: Path):
    directory = tmp_path / "cache"
    shutil.copytree(path, directory)
    run(READ, directory, Path(__file__).parents[1], env={"DOLIUM_SIGNING_KEY": KEY})
