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
"""


MISS = """
sys.path.insert(0, sys.argv[2])
from fixtures.make_dictionaries import VALUES
cache = dolium.Cache(sys.argv[1])
cache._sql("DELETE FROM DoliumDictionary")
say(*cache.get_many(VALUES))
"""


def test_the_newest_format_of_dictionaries_is_kept():
    assert FORMATS[-1].name == str(FORMAT)


@pytest.mark.parametrize("path", FORMATS, ids=[path.name for path in FORMATS])
def test_values_with_a_dictionary_are_read(tmp_path: Path, path: Path):
    copy = tmp_path / "cache"
    shutil.copytree(path, copy)
    arguments, environment = (copy, Path(__file__).parents[1]), {"DOLIUM_SIGNING_KEY": KEY}
    run(READ, *arguments, env=environment)
    assert run(MISS, *arguments, env=environment) == [""], "each of them needs its dictionary"
