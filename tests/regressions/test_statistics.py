"""Statistics are true without being switched on, and asking for them changes nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dolium
import pytest

KINDS = {
    "usual": {},
    "counting": {"statistics": True},
    "not counting": {"statistics": False},
    "without a tier": {"hot_size": 0},
    "without a tier, counting": {"hot_size": 0, "statistics": True},
    "own disk": {"disk": dolium.JSONDisk},
    "in files": {"disk_min_file_size": 0},
}


@pytest.fixture(params=[dolium.Cache, dolium.FanoutCache])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def cache(request: pytest.FixtureRequest, kind: Any, tmp_path: Path) -> Any:
    return kind(tmp_path, **request.param)


def command(*arguments: Any) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "dolium", *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def stored(directory: Path) -> dict[str, bytes]:
    """All files of a directory but the shared memory, in which reads are counted."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "cache.hot"]
    return {str(path): path.read_bytes() for path in files}


def test_hits_and_misses_are_counted_from_the_start(cache):
    cache["a"] = 1
    for _ in range(3):
        assert (cache["a"], cache.get("b")) == (1, None)
    assert cache.get_many(["a", "b", "c"]) == {"a": 1}
    assert "a" in cache
    with pytest.raises(KeyError):
        cache["b"]
    assert cache.stats() == (4, 6)
    assert (cache.stats().hits, cache.stats().misses) == (4, 6)
    if type(cache) is dolium.Cache:
        assert (cache.hits, cache.misses) == (4, 6)
    with cache.transact():
        cache.get("a")
    assert cache.stats() == (5, 6)
    assert "hits: 5 of 11" in repr(cache)


def test_reads_of_a_new_process_are_counted(cache, tmp_path):
    cache["a"] = 1
    cache.close()
    assert (cache["a"], cache.get("b")) == (1, None)
    assert cache.stats() == (1, 1)


@pytest.mark.parametrize("settings", [{}, {"statistics": True}])
def test_asking_writes_nothing(kind, tmp_path, settings):
    with kind(tmp_path, **settings) as cache:
        cache["a"] = 1
        cache.get("a")
    before = stored(tmp_path)
    reader = kind(tmp_path)
    for _ in range(3):
        reader.stats()
        repr(reader)
        reader._repr_html_()
    assert reader.statistics == settings.get("statistics", 0)
    reader.close()
    assert stored(tmp_path) == before
    only = kind(tmp_path, read_only=True)
    assert only.stats() == only.stats()


def test_reset_sets_both_to_nothing(cache):
    cache["a"] = 1
    cache.get("a"), cache.get("b"), cache.get("b")
    hot = cache.stats().hot
    assert cache.stats(reset=True) == (1, 2)
    assert cache.stats() == (0, 0)
    cache.get("a")
    assert cache.stats(reset=True) == (1, 0)
    assert cache.stats() == (0, 0)
    assert cache.stats().hot.hits >= hot.hits, "the tier's own counters go on"
    cache.reset("hits", 0)
    cache.get("a")
    assert cache.stats() == (1, 0)


def test_switching_on_and_off_counts_nothing_twice(cache):
    cache["a"] = 1
    for turn in range(1, 7):
        cache.stats(enable=bool(turn % 2))
        cache.get("a"), cache.get("b")
        assert cache.stats() == (turn, turn)
    assert cache.stats(enable=True) == (6, 6)
    assert cache.statistics == 1
    assert cache.stats() == (6, 6)
    assert cache.statistics == 1
    assert cache.stats(False, True) == (6, 6)
    assert (cache.stats(), cache.statistics) == ((0, 0), 0)


def test_kept_numbers_outlast_the_last_process(kind, tmp_path):
    with kind(tmp_path) as cache:
        cache["a"] = 1
        cache.get("a")
        cache.stats(enable=True)
        cache.get("a"), cache.get("b")
    with kind(tmp_path) as cache:
        assert cache.stats() == (1, 1)
        cache.get("a")
        assert cache.stats() == (2, 1)


def test_the_command_line_says_the_same(kind, tmp_path):
    with kind(tmp_path) as cache:
        cache["a"] = cache["b"] = 1
        del cache["b"]
        cache.get("a"), cache.get("a"), cache.get("b")
        said = command("stats", tmp_path, "--json")
        assert (said["hits"], said["misses"], said["statistics"]) == (2, 1, False)
        info = command("info", tmp_path, "--json")
        assert (info["hits"], info["misses"]) == (2, 1)
        assert command("stats", tmp_path, "--reset", "--json")["hits"] == 2
        assert cache.stats() == (0, 0)
        assert command("stats", tmp_path, "--json")["misses"] == 0


def read(directory: Path, times: int) -> None:
    cache = dolium.Cache(directory)
    for _ in range(times):
        cache.get("a")
        cache.get("missing")
    os._exit(0)  # without a last word: what shared memory has counted is there


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reads_of_all_processes_are_counted(method, tmp_path):
    cache = dolium.Cache(tmp_path, hot_size=1 << 20)
    cache["a"] = 1
    assert cache.get("a") == 1
    context = multiprocessing.get_context(method)
    children = [context.Process(target=read, args=(tmp_path, 500)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert cache.stats() == (1001, 1000)


def test_threads_lose_no_count(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["a"] = 1

    def work() -> None:
        for turn in range(1000):
            cache.get("a")
            if turn % 250 == 0:
                cache.stats(enable=turn % 500 == 0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hits, misses = cache.stats()
    assert misses == 0
    # A read that meets the switch may be counted on either side of it, or on both.
    assert 4000 - 16 <= hits <= 4000 + 16
