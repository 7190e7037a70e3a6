"""A `Cache` on the directory of a `FanoutCache`, and the reverse, is told so: it never hides one beside the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dolium
import pytest

PLAIN: list[Any] = [dolium.Cache, dolium.Index, lambda path: dolium.Deque(directory=str(path))]


def fanout(directory: Path) -> dolium.FanoutCache:
    return dolium.FanoutCache(directory, shards=4)


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("open_plain", PLAIN)
def test_a_cache_is_refused_where_shards_are(tmp_path: Path, open_plain: Any, is_stored: bool):
    with fanout(tmp_path) as cache:
        if is_stored:
            cache["a"] = 1
    before = files(tmp_path)
    with pytest.raises(
        dolium.InvalidArgumentError, match=r"a FanoutCache is in this directory; open it with"
    ):
        open_plain(str(tmp_path))
    assert files(tmp_path) == before


@pytest.mark.parametrize("read_only", [True, False])
def test_shards_are_refused_where_a_cache_is(tmp_path: Path, read_only: bool):
    with dolium.Cache(tmp_path) as cache:
        cache["a"] = 1
    before = files(tmp_path)
    with pytest.raises(
        dolium.InvalidArgumentError, match=r"a Cache is in this directory; open it with Cache"
    ):
        dolium.FanoutCache(tmp_path, shards=4, read_only=read_only)
    assert files(tmp_path) == before


def test_django_is_refused_where_a_cache_is(tmp_path: Path):
    pytest.importorskip("django")
    with dolium.Cache(tmp_path) as cache:
        cache["a"] = 1
    with pytest.raises(ValueError, match="a Cache is in this directory"):
        dolium.DjangoCache(str(tmp_path), {})


def test_a_write_is_refused_where_the_other_kind_was_made_since(tmp_path: Path):
    cache = dolium.Cache(tmp_path)  # stores nothing yet
    with fanout(tmp_path) as shards:
        shards["a"] = 1
        with pytest.raises(dolium.InvalidArgumentError, match="a FanoutCache is in this directory"):
            cache["b"] = 2
        assert not (tmp_path / "cache.db").exists()
        assert shards["a"] == 1
    cache.close()


def test_diskcaches_mixed_directory_opens_with_a_warning(tmp_path: Path):
    with dolium.Cache(tmp_path / "000") as shard, dolium.Cache(tmp_path / "plain") as plain:
        shard["a"] = plain["b"] = 1
    for path in (tmp_path / "plain").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "plain").rmdir()
    with pytest.warns(dolium.DoliumWarning, match="also holds a FanoutCache"):
        cache = dolium.Cache(tmp_path)
    assert list(cache) == ["b"]
    cache.close()
    with pytest.warns(dolium.DoliumWarning, match="also holds a Cache,"):
        shards = dolium.FanoutCache(tmp_path, shards=1)
    assert list(shards) == ["a"]
    shards.close()


def test_check_leaves_the_values_of_a_cache_below_alone(tmp_path: Path):
    import os

    large = b"x" * 100_000
    with dolium.Cache(tmp_path) as cache, dolium.Cache(tmp_path / "below") as below:
        cache["a"] = below["a"] = large
        (value,) = (tmp_path / "below").rglob("*.val")
        os.utime(value, (1, 1))
        assert cache.check(fix=True) == []
        assert below["a"] == large


def test_a_numbered_directory_of_a_user_is_no_shard(tmp_path: Path):
    (tmp_path / "000").mkdir()
    (tmp_path / "000" / "picture.png").write_bytes(b"")
    with dolium.Cache(tmp_path) as cache:
        cache["a"] = 1


def test_shards_of_a_directory_that_was_removed_come_back(tmp_path: Path):
    import shutil

    with fanout(tmp_path / "cache") as cache:
        for number in range(50):
            cache[number] = b"x" * (40_000 if number % 2 else 10)
        cache.close()
        shutil.rmtree(tmp_path / "cache")
        for number in range(50):
            cache.set(number, b"x" * (40_000 if number % 2 else 10), retry=True)
        assert len(cache) == 50
    assert len(dolium.FanoutCache(tmp_path / "cache", shards=2)._directories) == 4


def test_shards_made_since_with_another_number_are_refused(tmp_path: Path):
    import shutil

    cache = fanout(tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    other = dolium.FanoutCache(tmp_path / "cache", shards=2)
    other["a"] = 1
    told = "the cache has 2 shards now, not 4; open it again"
    for number in (2, 3):  # of the shards that are no more
        with pytest.raises(dolium.InvalidArgumentError, match=told):
            cache.set(number, number, retry=True)
    assert len(dolium.FanoutCache(tmp_path / "cache")._directories) == 2
    cache.close()
    other.close()


def test_the_command_line_opens_what_is_there(tmp_path: Path):
    def dolium_(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dolium", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with fanout(tmp_path / "shards") as shards, dolium.Cache(tmp_path / "plain") as plain:
        shards["a"] = plain["a"] = 1
    for directory in ("shards", "plain"):
        done = dolium_("set", tmp_path / directory, "b", "2")
        assert done.returncode == 0, done.stderr
        assert dolium_("get", tmp_path / directory, "b").stdout.strip() == "2"
    assert not (tmp_path / "shards" / "cache.db").exists()
    assert not (tmp_path / "plain" / "000").exists()
