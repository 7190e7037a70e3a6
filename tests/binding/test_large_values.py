"""Values that lie in files: how they get there, and how they come back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import diskcache
import dolium
import pytest

VALUES: dict[str, Any] = {
    "bytes": os.urandom(300_000),
    "text": "aü€\r\n" * 60_000,
    "pickle": list(range(100_000)),
    "bytes that wait": os.urandom(40_000),
    "text that waits": "aü€" * 8_000,
    "pickle that waits": [str(n) for n in range(5_000)],
}


class Own:
    """A class that no unsigned pickle may name."""


@pytest.fixture
def cache(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


def file_of(cache: dolium.Cache, key: str) -> Path:
    cache.flush()
    info = cache.info(key)
    assert info is not None
    assert info.path is not None
    return Path(info.path)


@pytest.mark.parametrize("kind", VALUES)
def test_a_long_value_comes_back_whole(cache: dolium.Cache, kind: str) -> None:
    cache[kind] = VALUES[kind]
    assert cache[kind] == VALUES[kind]
    assert file_of(cache, kind).exists()
    assert cache.get(kind, expire_time=True, tag=True) == (VALUES[kind], None, None)
    cache.close()
    assert cache[kind] == VALUES[kind]
    assert cache.check() == []


@pytest.mark.parametrize("kind", VALUES)
def test_diskcache_reads_a_long_value_and_is_read(tmp_path: Path, kind: str) -> None:
    with dolium.Cache(tmp_path) as ours:
        ours["ours"] = VALUES[kind]
    with diskcache.Cache(tmp_path) as theirs:
        # It turns the ends of lines of text in files.
        expected = VALUES[kind].replace("\r\n", "\n") if kind == "text" else VALUES[kind]
        assert theirs["ours"] == expected
        # It takes any other file for one of its values.
        assert [str(told.message) for told in theirs.check() if "cache.lock" not in str(told.message)] == []
        theirs["theirs"] = VALUES[kind]
    with dolium.Cache(tmp_path) as ours:
        assert ours["theirs"] == VALUES[kind]
        assert ours["ours"] == VALUES[kind]


@pytest.mark.parametrize("kind", ["bytes", "text", "pickle"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_file_of_another_length_is_a_miss(cache: dolium.Cache, kind: str, by: int) -> None:
    cache[kind] = VALUES[kind]
    path = file_of(cache, kind)
    os.truncate(path, path.stat().st_size + by)
    assert cache.get(kind) is None


def test_text_in_a_file_that_is_not_utf8_is_a_miss(cache: dolium.Cache) -> None:
    cache["text"] = "a" * 300_000
    path = file_of(cache, "text")
    path.write_bytes(b"\xff" * 300_000)
    assert cache.get("text") is None


def test_a_pickle_in_a_file_that_was_changed_is_refused(cache: dolium.Cache) -> None:
    cache["pickle"] = [Own(), *range(100_000)]
    path = file_of(cache, "pickle")
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.warns(dolium.UntrustedValueWarning):
        assert cache.get("pickle") is None


def test_files_of_one_process_share_a_directory(cache: dolium.Cache) -> None:
    for n in range(20):
        cache[n] = bytes(300_000)
    paths = [Path(info.path) for n in range(20) if (info := cache.info(n)) and info.path]
    assert len(paths) == 20
    assert len({path.parent for path in paths}) == 1
    shutil.rmtree(paths[0].parent.parent)
    cache["after"] = bytes(300_000)
    assert cache["after"] == bytes(300_000)
    assert cache.get(0) is None


def test_a_forked_child_reads_and_writes_long_values(cache: dolium.Cache) -> None:
    for kind, value in VALUES.items():
        cache[kind] = value
    child = os.fork()
    if child == 0:
        is_right = all(cache[kind] == value for kind, value in VALUES.items())
        for kind, value in VALUES.items():
            cache["child", kind] = value
        cache.close()
        os._exit(0 if is_right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert {kind: cache["child", kind] for kind in VALUES} == VALUES
    assert {kind: cache[kind] for kind in VALUES} == VALUES
    cache.flush()
    assert cache.check() == []
