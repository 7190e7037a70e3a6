"""A tier grows, shrinks, rests and wakes also where the disk runs short, a file is refused, or a process dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dolium
import pytest
from helpers.children import PRELUDE, run
from helpers.mounts import DISKS, lacking, small_disk

FIRST = 256 << 10
WRITTEN = 16 << 20

COMMON = """
def blocks():
    return os.stat(directory + "/cache.hot").st_blocks * 512

def free():
    found = os.statvfs(sys.argv[1])
    return found.f_bavail * found.f_frsize

def capacity():
    return cache.stats().hot.capacity

def wait_for(condition):
    for n in range(400):
        cache["beat"] = n  # the disk is looked at as long as a cache is used
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError((capacity(), free(), cache.stats().hot))

os.environ["DOLIUM_HOT_SIZE"] = "-1"
directory = sys.argv[1] + "/cache"
"""


def on_disk(kind: str, tmp_path: Path, body: str) -> list[str]:
    if reason := lacking(kind):
        pytest.skip(reason)
    directory = tmp_path / "disk"
    # A btrfs on the image that there is has no more.
    prefix = small_disk(directory, 90_000 if kind == "btrfs" else 200_000, kind)
    return run(body, directory, kind, prefix=prefix, prelude=PRELUDE + COMMON)


@pytest.mark.xdist_group("disks")
@pytest.mark.parametrize("kind", DISKS)
def test_tier_that_has_grown_shrinks_where_the_disk_runs_short(kind: str, tmp_path: Path) -> None:
    body = """
    cache = dolium.Cache(directory)
    cache["first"] = 1
    assert capacity() == 256 << 10
    values = {n: f"{n}" * 20 for n in range(3000)}
    wait_for(lambda: cache.set_many(values) and capacity() > 1 << 20)
    grown = capacity()
    assert blocks() > grown
    before = free()
    with open(sys.argv[1] + "/ballast", "wb") as ballast:
        ballast.write(bytes(before - 40_000_000))
        ballast.flush()
        os.fsync(ballast.fileno())  # btrfs counts what it has written
    wait_for(lambda: capacity() == 256 << 10)
    assert cache.stats().hot.reason == "the disk is nearly full", cache.stats().hot
    assert free() > 41_000_000 or grown < 8 << 20, free()
    assert all(cache[n] == value for n, value in values.items())
    cache.set_many(values)
    assert capacity() == 256 << 10, "it does not grow as long as the disk is nearly full"
    os.truncate(sys.argv[1] + "/ballast", 0)
    os.sync()
    wait_for(lambda: cache.set_many(values) and capacity() > 1 << 20)
    assert len(cache) == 3002
    cache.close()
    say("sound")
    """
    assert on_disk(kind, tmp_path, body) == ["sound"]


@pytest.mark.xdist_group("disks")
@pytest.mark.parametrize("kind", DISKS)
def test_tier_that_wakes_on_a_full_disk_is_no_signal(kind: str, tmp_path: Path) -> None:
    """What rests has given blocks back, and the disk may have none when it wakes."""
    body = """
    cache = dolium.Cache(directory)
    cache["first"] = 1
    values = {n: f"{n}" * 40 for n in range(20_000)}
    cache.set_many(values)
    whole = blocks()
    cache.close()
    if sys.argv[2] in ("ext4", "xfs", "btrfs") and os.path.exists(directory + "/cache.hot"):
        assert blocks() < whole * 3 / 4, (blocks(), whole)
    with open(sys.argv[1] + "/ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(1 << 16)):
                pass
        except OSError:
            pass
        ballast.truncate(max(ballast.tell() - 500_000, 0))
    for _ in range(3):
        cache = dolium.Cache(directory)
        try:
            for n in range(2000):
                cache[n] = values[n]
        except dolium.StorageFullError:
            pass
        assert all(cache[n] == value for n, value in values.items())
        try:
            cache.close()
        except dolium.StorageFullError:
            pass
    os.truncate(sys.argv[1] + "/ballast", 0)
    cache = dolium.Cache(directory)
    cache["after"] = 1
    assert all(cache[n] == value for n, value in values.items())
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()
    say("sound")
    """
    assert on_disk(kind, tmp_path, body) == ["sound"]


def test_tier_that_may_not_grow_stays_as_it_began(tmp_path: Path) -> None:
    """The file of the larger tier is refused, so that there is one of the first size."""
    body = """
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
    cache = dolium.Cache(directory)
    cache["first"] = 1
    for _ in range(3):
        cache.set_many({n: f"{n}" * 20 for n in range(3000)})
        assert capacity() == 256 << 10, cache.stats().hot
    assert cache.stats().hot.reason == "the disk is nearly full"
    assert all(cache[n] == f"{n}" * 20 for n in range(3000)) and cache["first"] == 1
    cache.close()
    say("sound")
    """
    assert run(body, tmp_path, prelude=PRELUDE + COMMON) == ["sound"]


def test_process_that_forks_while_its_tier_grows_loses_nothing(tmp_path: Path) -> None:
    cache = dolium.Cache(tmp_path, hot_size=-1)
    cache["first"] = 1
    children: list[int] = []
    for child in range(8):
        for n in range(1500):
            cache[child, n] = f"{n}" * 20
        pid = os.fork()
        if pid == 0:
            try:
                own = all(cache[child, n] == f"{n}" * 20 for n in range(1500))
                cache["child", child] = own
                cache.close()
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    assert all(cache["child", child] is True for child in range(8))
    assert all(cache[child, n] == f"{n}" * 20 for child in range(8) for n in range(1500))
    assert len(cache) == 8 * 1501 + 1
    cache.close()


def test_processes_killed_while_a_tier_grows_lose_nothing(tmp_path: Path) -> None:
    """Each writes until it is killed, which is at another moment of its growth each time."""
    for attempt in range(12):
        directory = tmp_path / f"{attempt}"
        source, sink = os.pipe()
        pid = os.fork()
        if pid == 0:
            cache = dolium.Cache(directory, hot_size=-1)
            for n in range(100_000):
                cache[n] = f"{n}" * 20
                os.write(sink, b".")
            os._exit(1)
        os.close(sink)
        wanted, seen = 1200 + 150 * attempt, 0
        while seen < wanted:
            seen += len(os.read(source, 4096))
        os.kill(pid, signal.SIGKILL)
        while dots := os.read(source, 1 << 16):
            seen += len(dots)
        os.close(source)
        os.waitpid(pid, 0)
        cache = dolium.Cache(directory, hot_size=-1)
        assert all(cache[n] == f"{n}" * 20 for n in range(seen)), (attempt, seen)
        cache["after"] = 1
        assert [str(problem.message) for problem in cache.check()] == []
        cache.close()


def test_process_that_only_reads_follows_a_tier_that_grows(tmp_path: Path) -> None:
    cache = dolium.Cache(tmp_path, hot_size=-1)
    cache["first"] = 1
    with dolium.Cache(tmp_path, read_only=True) as reader:
        assert reader["first"] == 1
        cache.set_many({n: f"{n}" * 20 for n in range(3000)})
        assert cache.stats().hot.capacity == WRITTEN
        assert all(reader[n] == f"{n}" * 20 for n in range(3000))
        assert reader["first"] == 1
        assert reader.stats().hot.capacity == WRITTEN
        assert reader.stats().hot.reason == "more was written than it took"
    cache.close()


def test_info_tells_how_large_the_tier_is_and_why(tmp_path: Path) -> None:
    cache = dolium.Cache(tmp_path, hot_size=-1)
    cache["first"] = 1
    assert (cache.stats().hot.capacity, cache.stats().hot.reason) == (FIRST, "as it began")
    cache.close()
    with dolium.Cache(tmp_path, hot_size=1 << 20) as asked:
        asked["first"] = 1
        assert (asked.stats().hot.capacity, asked.stats().hot.reason) == (1 << 20, "set by hot_size")
