"""Frames beside the real diskcache: it finds no value, takes nothing else for one, and can remove and replace them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.real_diskcache import real_diskcache

SMALL, LARGE = {"some": "result"}, {"a large": "result" * 10_000}
KEY = ("module.function()", "1", 5)


def keep(cache: Any, key: Any, value: Any, **options: Any) -> None:
    given = {"expire": None, "fresh_until": None, "seconds": 0.5, "tag": None, "raised": False, "since": None}
    assert cache._keep_result(key, value, **{**given, **options})[0]


def kept(cache: Any, key: Any) -> Any:
    known = cache._known_result(key)
    return None if known is None else known[0]


def files(directory: Path) -> list[str]:
    return sorted(path.suffix for path in directory.rglob("*.*") if path.suffix in (".val", ".dolium"))


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def value(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def directory(tmp_path: Path, value: Any) -> Path:
    with dolium.Cache(tmp_path / "cache") as cache:
        keep(cache, KEY, value)
        keep(cache, "text", value)
        cache["plain"] = "plain"
    return tmp_path / "cache"


def test_diskcache_sees_a_frame_as_a_clean_miss(directory: Path):
    said = real_diskcache(
        """
        cache = diskcache.Cache(sys.argv[1])
        key = ("module.function()", "1", 5)
        assert cache.get(key, "default") == "default" and cache.get("text", 7) == 7
        assert cache["plain"] == "plain"
        try:
            cache[key]
        except KeyError:
            print("KeyError")
        assert cache.pop(key, "default") == "default"
        """,
        directory,
    )
    assert said.split() == ["KeyError"]


def test_memoize_of_diskcache_computes_over_a_frame(tmp_path: Path, value: Any):
    with dolium.Cache(tmp_path) as cache:
        keep(cache, ("f", 5, None), value)
    said = real_diskcache(
        """
        cache = diskcache.Cache(sys.argv[1])
        f = cache.memoize(name="f")(lambda n: n * n)
        print(f(5), f(5), cache[f.__cache_key__(5)])
        """,
        tmp_path,
    )
    assert said.split() == ["25", "25", "25"]
    with dolium.Cache(tmp_path) as cache:
        assert cache[("f", 5, None)] == 25
        assert kept(cache, ("f", 5, None)) is None


@pytest.mark.parametrize(
    "change",
    ['del cache["text"]', 'cache.set("text", 1)', 'cache.pop("text")', "cache.clear()", "cache.evict('t')"],
)
def test_what_diskcache_removes_leaves_no_file(tmp_path: Path, value: Any, change: str):
    with dolium.Cache(tmp_path / "cache") as cache:
        keep(cache, "text", value, tag="t")
    real_diskcache(f"cache = diskcache.Cache(sys.argv[1]); {change}", tmp_path / "cache")
    with dolium.Cache(tmp_path / "cache") as cache:
        assert kept(cache, "text") is None
        assert cache.check(fix=True) == []
    assert files(tmp_path / "cache") == []


def test_expired_frames_go_when_diskcache_writes(tmp_path: Path, value: Any):
    with dolium.Cache(tmp_path / "cache") as cache:
        keep(cache, "text", value, expire=-1)
    real_diskcache("diskcache.Cache(sys.argv[1])['other'] = 1", tmp_path / "cache")
    with dolium.Cache(tmp_path / "cache") as cache:
        assert list(cache) == ["other"]
        assert cache.check(fix=True) == []
    assert files(tmp_path / "cache") == []


def test_check_of_diskcache_with_fix_removes_frames(directory: Path):
    """As `docs/differences.md` says."""
    said = real_diskcache(
        """
        import json, warnings
        cache = diskcache.Cache(sys.argv[1])
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            found = [str(warning.message) for warning in cache.check(fix=True)]
        print(json.dumps([list(cache), found]))
        """,
        directory,
    )
    keys, found = json.loads(said)
    assert keys == ["plain"]
    assert sum("file not found" in message for message in found) == 2
    with dolium.Cache(directory) as cache:
        assert list(cache) == ["plain"]
        assert cache.check() == []


def test_frame_over_a_value_of_diskcache_is_found(tmp_path: Path, value: Any):
    real_diskcache("cache = diskcache.Cache(sys.argv[1]); cache['text'] = b'x' * 100_000", tmp_path)
    with dolium.Cache(tmp_path) as cache:
        assert kept(cache, "text") is None
        keep(cache, "text", value)
        assert kept(cache, "text") == value == cache["text"]
        assert cache.check() == []


def test_dolium_reads_a_frame_as_any_value(directory: Path, value: Any):
    with dolium.Cache(directory) as cache:
        assert cache[KEY] == cache.get("text") == value
        assert cache.check() == []
        assert cache.info("text").mode == 17
        assert (cache.info("text").path is None) == (value is SMALL)
        assert list(cache) == [KEY, "text", "plain"]
        assert cache.pop("text") == value
        assert cache.check(fix=True) == []


def test_counters_are_right_whoever_removes_frames(directory: Path):
    with dolium.Cache(directory) as cache:
        keep(cache, "text", LARGE)
        keep(cache, "text", SMALL)
        del cache[KEY]
        assert cache.check() == []
    real_diskcache("cache = diskcache.Cache(sys.argv[1]); cache.pop('text')", directory)
    with dolium.Cache(directory) as cache:
        assert len(cache) == 1
        assert cache.check() == []


def test_a_frame_of_another_key_is_no_result(tmp_path: Path):
    """A pickle in a frame is signed with its key, so that a row which moves counts as a miss."""
    with dolium.Cache(tmp_path) as cache:
        keep(cache, "one", SMALL)
        keep(cache, "two", shutil.rmtree)
    real_diskcache(
        """
        cache = diskcache.Cache(sys.argv[1])
        cache._sql("UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'two') WHERE key = 'one'")
        (value,), = cache._sql("SELECT value FROM Cache WHERE key = 'two'").fetchall()
        cache._sql("UPDATE Cache SET value = ? WHERE key = 'two'", (value[:-1] + bytes([value[-1] ^ 1]),))
        """,
        tmp_path,
    )
    with dolium.Cache(tmp_path) as cache:
        with pytest.warns(dolium.UntrustedValueWarning):
            assert kept(cache, "one") is None
        assert kept(cache, "two") is None


def test_store_of_an_earlier_version_learns_of_frames(tmp_path: Path):
    """Its triggers come with its first frame."""
    directory = tmp_path / "cache"
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "dolium-0.1.0", directory)
    with dolium.Cache(directory) as cache:
        cache.clear()
        keep(cache, "text", LARGE)
    real_diskcache("del diskcache.Cache(sys.argv[1])['text']", directory)
    with dolium.Cache(directory) as cache:
        assert cache.check(fix=True) == []
    assert files(directory) == []
