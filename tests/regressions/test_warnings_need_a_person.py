"""dolium warns only of what needs a person, says it to a logger too, and never changes the outcome of a call."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dolium
import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "warnings.md"


@pytest.fixture
def heard() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def evict(cache: Any) -> None:
    """Evict as if the cache held two GiB: by the counter that the database keeps of its value files."""
    cache["a"] = cache["b"] = "x"
    cache._sql("UPDATE Settings SET value = ? WHERE key = 'size'", (2 << 30,))
    assert cache.cull() > 0


@pytest.mark.parametrize("how", ["passed", "stored", "reset", "assigned", "passed as the default"])
def test_eviction_at_a_limit_that_was_asked_for_is_silent(tmp_path: Path, heard: list[Any], how: str) -> None:
    asked = {"passed": 10**9, "passed as the default": 2**30, "stored": 10**9}
    cache = dolium.Cache(tmp_path, hot_size=0, **({"size_limit": asked[how]} if how in asked else {}))
    if how == "stored":
        cache.close()
        del cache
        cache = dolium.Cache(tmp_path)
    elif how == "reset":
        cache.reset("size_limit", 10**9)
    elif how == "assigned":
        cache.size_limit = 10**9
    evict(cache)
    cache.close()
    assert heard == []


@pytest.mark.parametrize("reopened", [False, True])
def test_eviction_at_the_default_limit_is_told_once(tmp_path: Path, heard: list[Any], reopened: bool) -> None:
    cache = dolium.Cache(tmp_path, hot_size=0)
    if reopened:
        cache["a"] = 1
        cache.close()
        del cache
        cache = dolium.Cache(tmp_path)
    evict(cache)
    evict(cache)
    cache.close()
    assert [warning.category for warning in heard] == [dolium.EvictionWarning]
    assert "default size_limit of 1073741824 bytes" in str(heard[0].message)


def test_a_fanout_cache_tells_of_its_default_limit_once(tmp_path: Path, heard: list[Any]) -> None:
    cache = dolium.FanoutCache(tmp_path, shards=3)
    cache.set_many(dict.fromkeys(range(20), "x"))
    for shard in cache._shards:
        shard._sql("UPDATE Settings SET value = ? WHERE key = 'size'", (2 << 30,))
    cache._shards[0].cull()
    cache.close()
    assert [warning.category for warning in heard] == [dolium.EvictionWarning]


@pytest.mark.parametrize("make", [dolium.Cache, dolium.FanoutCache])
def test_close_is_silent_when_the_directory_is_gone(tmp_path: Path, heard: list[Any], make: Any) -> None:
    for pause in (0.0, 0.3):
        cache = make(tmp_path / "cache", size_limit=10**7)
        cache["a"] = 1
        cache["b"] = "x" * 100_000
        assert cache["a"] == 1
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        time.sleep(pause)  # so that the background thread looks, too
        cache.close()
        assert heard == []
        cache["a"] = 2
        assert cache["a"] == 2
        cache.close()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert heard == []


def foreign(cache: dolium.Cache) -> None:
    cache["foreign"] = {1}
    cache._sql("UPDATE Cache SET value = ? WHERE key = 'foreign'", (pickle.dumps(os.getcwd),))


def test_a_warning_as_error_leaves_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: unraisable.append(raised.exc_type))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dolium.FanoutCache(tmp_path / "fanout", shards=2) as cache:
            cache["a"] = 1
        del cache
        with dolium.FanoutCache(tmp_path / "fanout", shards=3) as cache:
            assert cache["a"] == 1
        assert unraisable.pop() is dolium.ShardCountWarning
        with dolium.Cache(tmp_path / "cache", size_limt=5) as cache:
            assert unraisable.pop() is dolium.UnknownSettingWarning
            foreign(cache)
            assert cache.get("foreign", "missing") == "missing"
            assert unraisable.pop() is dolium.UntrustedValueWarning
            cache.size_limit = 1000
            assert cache.set("large", "x" * 5000) is False
            assert unraisable.pop() is dolium.ValueTooLargeWarning
            cache.reset("size_limit", 2**40)
        with dolium.Cache(tmp_path / "default", hot_size=0) as cache:
            evict(cache)
            assert unraisable.pop() is dolium.EvictionWarning
            assert cache.set("b", 2) is True
            assert cache["b"] == 2
    assert unraisable == []


def test_without_a_key_a_value_is_stored_under_w_error(tmp_path: Path) -> None:
    program = "import dolium, sys; c = dolium.Cache(sys.argv[1]); print(c.set('a', {1}), c.get('a'), c.set('b', {2}))"
    (tmp_path / "file").touch()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "cache")],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "file"), "HOME": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split()[::2] == ["True", "True"], run.stdout
    assert "SigningKeyWarning" in run.stderr


def test_a_warning_is_attributed_to_the_caller(tmp_path: Path, heard: list[Any]) -> None:
    dolium.Cache(tmp_path / "a", size_limt=5).close()
    dolium.FanoutCache(tmp_path / "b", size_limt=5).close()
    with dolium.Cache(tmp_path / "c", size_limit=1000) as cache:
        cache.set("large", "x" * 5000)
    assert [warning.filename for warning in heard] == [__file__] * 3


def test_the_logger_hears_of_every_warning_with_its_code(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with dolium.Cache(tmp_path, size_limt=5) as cache:
            foreign(cache)
            cache.get("foreign")
            cache.size_limit = 1000
            cache.set("large", "x" * 5000)
    codes = [
        (record.code, record.levelno, record.pathname) for record in caplog.records if record.name == "dolium"
    ]
    assert codes == [
        (code, logging.WARNING, __file__)
        for code in ("unknown-setting", "untrusted-value", "value-too-large")
    ]


def test_a_program_without_logging_is_not_given_it(tmp_path: Path) -> None:
    program = (
        "import sys, warnings; warnings.simplefilter('ignore'); import dolium;"
        "dolium.Cache(sys.argv[1], size_limt=5).close(); print('logging' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", program, str(tmp_path)], capture_output=True, check=True
    )
    assert run.stdout.strip() == b"False"


def test_a_logger_without_handlers_prints_nothing(tmp_path: Path) -> None:
    program = (
        "import logging, sys, warnings; warnings.simplefilter('ignore'); import dolium;"
        "dolium.Cache(sys.argv[1], size_limt=5).close()"
    )
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=True)
    assert run.stderr == b""


def test_the_guide_lists_every_warning_with_its_code() -> None:
    kinds = [
        kind
        for name in dolium.errors.__all__
        if issubclass(kind := getattr(dolium.errors, name), dolium.DoliumWarning)
        and kind is not dolium.DoliumWarning
    ]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes) >= 14
    text = GUIDE.read_text()
    for kind in kinds:
        assert f"## {kind.__name__}\n" in text, kind
        assert f"`{kind.code}`" in text, kind
        assert getattr(dolium, kind.__name__) is kind
