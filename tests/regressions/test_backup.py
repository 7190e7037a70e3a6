"""A backup is of one moment, whatever other processes do meanwhile, and opens in dolium and in diskcache."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import dolium
import pytest

LARGE = 40_000

WRITER = """
import os, random, sys
import dolium
directory, number, stop = sys.argv[1:]
cache = dolium.Cache(directory, size_limit=6_000_000)
for turn in range(10**9):
    if turn % 20 == 0 and os.path.exists(stop):
        break
    with cache.transact(retry=True):
        cache[f"first {number}"] = turn
        cache[f"second {number}"] = turn
    name = f"large {number} {random.randrange(60)}"
    cache.set(name, name.encode() * 4_000, tag=number, retry=True)
    cache.incr("count", retry=True)
    if turn == 0:
        print("ready", flush=True)
    if turn % 40 == 0:
        cache.evict(number, retry=True)
cache.close()
"""

# Run by itself, so that this process never imports diskcache.
DISKCACHE = """
import sys, warnings, diskcache
warnings.simplefilter("error")
cache = diskcache.Cache(sys.argv[1])
cache.check()
for key in cache:
    assert cache.get(key, default=cache) is not cache, key
print(len(cache))
cache.close()
"""

KILLED = """
import sys, dolium
print("begins", flush=True)
dolium.Cache(sys.argv[1]).backup(sys.argv[2])
"""


@contextlib.contextmanager
def writers(directory: Path, stop: Path) -> Iterator[None]:
    """Four processes that write, overwrite, count and evict."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    children = [
        subprocess.Popen([*command, str(number), str(stop)], stdout=subprocess.PIPE) for number in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        yield
        stop.touch()
        assert [child.wait(60) for child in children] == [0] * 4
    finally:
        for child in children:
            child.kill()
            child.communicate()


def in_diskcache(directory: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", DISKCACHE, str(directory)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def is_sound(directory: Path) -> None:
    """Every entry of a backup under `writers` is whole, and all are of one moment."""
    with dolium.Cache(directory) as copy:
        assert copy.check() == []
        for number in range(4):
            assert copy.get(f"first {number}") == copy.get(f"second {number}")
        for key in copy.keys(prefix="large"):
            assert copy.get(key) == key.encode() * 4_000


@pytest.mark.slow
def test_backup_under_load_is_of_one_moment(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    counts = []
    with writers(directory, tmp_path / "stop"):
        cache = dolium.Cache(directory)
        for number in range(6):
            before = cache.get("count", 0)
            held = cache.backup(tmp_path / f"copy {number}")
            copy = tmp_path / f"copy {number}"
            assert in_diskcache(copy) == held
            is_sound(copy)
            with dolium.Cache(copy) as made:
                counts.append((before, made["count"]))
            time.sleep(0.1)
    assert all(before <= count for before, count in counts)
    assert [count for _, count in counts] == sorted({count for _, count in counts}), "writers wrote"
    cache.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_backup_ends_while_the_process_forks(tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    stop = threading.Event()
    forks = 0

    def fork() -> None:
        nonlocal forks
        while not stop.wait(0.01):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            forks += 1

    with dolium.Cache(directory) as cache, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        cache.set_many({number: bytes(2_000) for number in range(10_000)})
        for number in range(20):
            cache[f"large {number}"] = bytes(LARGE)
        forking = threading.Thread(target=fork)
        forking.start()
        try:
            for number in range(3):
                assert cache.backup(tmp_path / f"copy {number}") == 10_020
        finally:
            stop.set()
            forking.join()
        assert forks > 0
    for number in range(3):
        with dolium.Cache(tmp_path / f"copy {number}") as copy:
            assert copy.check() == []


@pytest.mark.slow
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread"
)
def test_interrupted_backup_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with dolium.Cache(tmp_path / "cache", size_limit=None) as cache:
        cache.set_many({number: bytes(2_000) for number in range(40_000)})
        before = signal.signal(signal.SIGALRM, interrupt)
        interrupted = 0
        try:
            for attempt in range(20):
                copy = tmp_path / f"copy {attempt}"
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.02)
                    cache.backup(copy)
                except KeyboardInterrupt:
                    interrupted += not copy.exists()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                if interrupted:
                    break
        finally:
            signal.signal(signal.SIGALRM, before)
        assert interrupted
    left = {path.name for path in tmp_path.iterdir() if path.suffix == ".dolium-part"}
    assert left == set()


@pytest.mark.slow
def test_killed_backup_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    directory, copy = tmp_path / "cache", tmp_path / "copy"
    with dolium.Cache(directory, size_limit=None) as cache:
        cache.set_many({number: bytes(2_000) for number in range(40_000)})
    killed = False
    for delay in (0.0, 0.01, 0.03, 0.1):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(directory), str(copy)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"begins\n"
        time.sleep(delay)
        child.kill()
        child.communicate()
        if copy.exists():
            break
        killed = True
    assert killed
    if not copy.exists():
        with dolium.Cache(directory) as cache:
            assert cache.backup(copy) == 40_000
    with dolium.Cache(copy) as made:
        assert made.check() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "copy"], "leftovers are removed"


def test_backup_of_fanout_cache_has_its_deques_and_indexes(tmp_path: Path) -> None:
    with dolium.FanoutCache(tmp_path / "cache", shards=3) as cache:
        cache.set_many({number: number for number in range(50)})
        cache.deque("jobs").extend("abc")
        cache.index("users")["ada"] = 36
        cache.cache("pages")["large"] = bytes(LARGE)
        assert cache.backup(tmp_path / "copy") == 50 + 3 + 1 + 1
    with dolium.FanoutCache(tmp_path / "copy", shards=3) as copy:
        assert copy.get_many(range(50)) == {number: number for number in range(50)}
        assert list(copy.deque("jobs")) == list("abc")
        assert copy.index("users")["ada"] == 36
        assert copy.cache("pages")["large"] == bytes(LARGE)
        assert copy.check() == []


def test_backup_of_diskcache_directory_opens_in_diskcache(tmp_path: Path) -> None:
    made = f"""
import diskcache
with diskcache.Cache({str(tmp_path / "cache")!r}) as cache:
    cache["small"], cache["large"] = 1, b"x" * {LARGE}
"""
    subprocess.run([sys.executable, "-c", made], check=True)
    with dolium.Cache(tmp_path / "cache") as cache:
        assert cache.backup(tmp_path / "copy") == 2
    assert in_diskcache(tmp_path / "copy") == 2
    with dolium.Cache(tmp_path / "copy") as copy:
        assert (copy["small"], copy["large"]) == (1, b"x" * LARGE)


def test_backup_refuses_a_full_destination(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "letter").touch()
    with dolium.Cache(tmp_path / "cache") as cache:
        cache["a"] = 1
        for force in (False, True):
            with pytest.raises(ValueError, match="letter"):
                cache.backup(tmp_path / "copy", force=force)
        cache.backup(tmp_path / "other")
        with pytest.raises(ValueError, match="a cache already"):
            cache.backup(tmp_path / "other")
        cache["b"] = 1
        assert cache.backup(tmp_path / "other", force=True) == 2
