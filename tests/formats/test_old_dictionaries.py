"""Values with a dictionary are kept under `fixtures/dictionaries`, and are still read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fixtures.make import KEY
from fixtures.make_dictionaries import FORMAT
from helpers.children import run

FORMATS = sorted((Path(__file__).parents[1] / "fixtures" / "dictionaries").iterdir())

READ = """
sys.path.insert(0, sys.argv[2])
from fixtures.make_dictionaries import VALUES
with dolium.Cache(sys.argv[1]) as cache:
    for name, (codec, value) in VALUES.items():
        assert cache[name] == value, name
    assert len(cache) == len(VALUES)
    assert cache.check() == []
    cache._sql("DELETE FROM DoliumDictionary")
with dolium.Cache(sys.argv[1]) as cache:
    say(len(cache.get_many(VALUES)), "without it")
"""


def test_the_newest_format_of_dictionaries_is_kept():
    assert FORMATS[-1].name == str(FORMAT)


@pytest.mark.parametrize("path", FORMATS, ids=[path.name for path in FORMATS])
def test_values_with_a_dictionary_are_read(tmp_path: Path, path: Path):
    copy = tmp_path / "cache"
    shutil.copytree(path, copy)
    found = run(READ, copy, Path(__file__).parents[1], env={"DOLIUM_SIGNING_KEY": KEY})
    assert found == ["0 without it"], "each of them needs it"
