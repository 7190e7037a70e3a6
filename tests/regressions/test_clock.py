"""A test that sets the time sets it for caches too, with freezegun, time-machine or a replaced `time.time`."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import subprocess
import sys
import threading
import time
import unittest.mock
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import django.conf
import dolium
import freezegun
import pytest
import time_machine

Clock = Callable[[float], AbstractContextManager[Any]]


def with_freezegun(moment: float) -> AbstractContextManager[Any]:
    return freezegun.freeze_time(datetime.datetime.fromtimestamp(moment, datetime.timezone.utc))


def with_time_machine(moment: float) -> AbstractContextManager[Any]:
    return time_machine.travel(moment, tick=False)


def with_mock(moment: float) -> AbstractContextManager[Any]:
    return unittest.mock.patch("time.time", return_value=moment)


@contextlib.contextmanager
def with_assignment(moment: float) -> Iterator[None]:
    before, time.time = time.time, lambda: moment
    try:
        yield
    finally:
        time.time = before


CLOCKS: dict[str, Clock] = {
    "freezegun": with_freezegun,
    "time-machine": with_time_machine,
    "mock": with_mock,
    "assignment": with_assignment,
}


class OwnDisk(dolium.Disk):
    """Called for each key and value; converts as dolium does."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        return super().fetch(mode, filename, value, read)


KINDS = {
    "in memory": dolium.Cache,
    "without a tier": lambda directory: dolium.Cache(directory, hot_size=0),
    "in files": lambda directory: dolium.Cache(directory, disk_min_file_size=0),
    "own disk": lambda directory: dolium.Cache(directory, disk=OwnDisk),
    "sharded": lambda directory: dolium.FanoutCache(directory, shards=2),
}
HOUR = 3600.0


@pytest.fixture(params=CLOCKS.values(), ids=CLOCKS)
def at(request: pytest.FixtureRequest) -> Clock:
    """Stops the clock at a moment."""
    return request.param


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def cache(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    cache = request.param(tmp_path)
    cache["other"] = "here"
    yield cache
    assert cache.check() == []
    cache.close()


def test_entries_expire_when_the_test_says(at, cache):
    cache.set("a", 1, expire=60)
    for moment in (time.time() + 59, time.time() + 30):
        with at(moment):
            assert cache.get("a") == 1
    with at(time.time() + HOUR):
        assert cache.get("a") is None
        assert "a" not in cache
        assert cache.get_many(["a", "other"]) == {"other": "here"}
        assert cache.pop("a") is None
        assert not cache.touch("a", expire=60)
        with pytest.raises(KeyError):
            cache["a"]
    assert cache.get("other") == "here"


def test_the_time_goes_on_after_the_test(at, cache):
    with at(time.time() + HOUR):
        cache.set("late", 1, expire=60)
        assert cache.get("late") == 1
    value, expires = cache.get("late", expire_time=True)
    assert (value, round(expires - time.time(), -2)) == (1, HOUR + 100)
    cache.set("a", 1, expire=60)
    assert cache.get("a") == 1
    assert abs(cache.info("a").store_time - time.time()) < 30


def test_a_past_time_keeps_entries_alive(at, cache):
    """Background work must not judge them by another clock."""
    with at(1_000_000_000):
        for number in range(20):
            cache.set(number, "x", expire=60)
        time.sleep(0.2)
        cache.set("more", "x")
        assert cache.get_many(range(20)).keys() == set(range(20))
        assert cache.info(3).expire_time == 1_000_000_060
        assert cache.info(3).store_time == 1_000_000_000
    with at(1_000_000_059):
        assert cache[3] == "x"
    with at(1_000_000_061):
        assert 3 not in cache
        assert cache.expire() in range(21)  # a write may have removed some already
        assert len(cache) == 2


def test_add_and_incr_begin_anew_after_the_expiry(at, cache):
    cache.set("added", 1, expire=60)
    cache.set("counted", 5, expire=60)
    assert not cache.add("added", 2)
    assert cache.incr("counted") == 6
    with at(time.time() + HOUR):
        assert cache.add("added", 2, expire=60)
        assert cache.incr("counted", default=10) == 11
        assert cache["added"] == 2


def test_touch_counts_from_the_time_of_the_test(at, cache):
    cache.set("a", 1, expire=60)
    start = time.time()
    with at(start + 50):
        assert cache.touch("a", expire=60)
    with at(start + 100):
        assert cache.get("a") == 1
    with at(start + 120):
        assert cache.get("a") is None


def test_writing_removes_what_the_test_lets_expire(at, cache):
    for number in range(8):
        cache.set(number, 1, expire=60)
    with at(time.time() + HOUR):
        for number in range(8, 40):
            cache[number] = 1
        assert len(cache) < 41
        cache.cull()
        assert sorted(key for key in cache if key != "other") == list(range(8, 40))


def test_max_age_is_judged_by_the_time_of_the_test(at, cache):
    cache["a"] = 1
    assert cache.get("a", max_age=60) == 1
    with at(time.time() + HOUR):
        assert cache.get("a", max_age=60) is None
        assert cache.get("a", max_age=2 * HOUR) == 1


def test_queues_expire_when_the_test_says(at, tmp_path):
    cache = dolium.Cache(tmp_path)
    cache.push("soon", expire=60)
    cache.push("later")
    with at(time.time() + HOUR):
        assert cache.peek()[1] == "later"
        assert cache.pull()[1] == "later"
        assert cache.pull() == (None, None)


def test_memoized_results_expire_when_the_test_says(at, cache):
    calls: list[int] = []

    @cache.memoize(expire=60)
    def plain(x: int) -> int:
        calls.append(x)
        return x

    @cache.memoize(expire=60)
    async def coroutine(x: int) -> int:
        calls.append(x)
        return x

    @dolium.memoize_stampede(cache, expire=60)
    def early(x: int) -> int:
        calls.append(x)
        return x

    def call() -> int:
        before = len(calls)
        for _ in range(2):
            assert (plain(1), asyncio.run(coroutine(2)), early(3)) == (1, 2, 3)
        return len(calls) - before

    assert call() == 3
    assert call() == 0
    with at(time.time() + HOUR):
        assert call() == 3
        assert call() == 0


def test_locks_expire_when_the_test_says(at, cache):
    lock, average = dolium.Lock(cache, "lock", expire=60), dolium.Averager(cache, "average", expire=60)
    lock.acquire()
    average.add(3)
    assert (lock.locked(), average.get()) == (True, 3)
    with at(time.time() + HOUR):
        assert (lock.locked(), average.get()) == (False, None)
        with lock:
            assert lock.locked()


def test_django_entries_expire_when_the_test_says(at, tmp_path):
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    cache = dolium.DjangoCache(str(tmp_path), {"SHARDS": 2, "TIMEOUT": 60})
    cache.set("a", 1)
    cache.set("b", 1, timeout=2 * HOUR)
    with at(time.time() + HOUR):
        assert cache.get_many(["a", "b"]) == {"b": 1}
        assert not cache.has_key("a")
        cache.set("a", 2)
        assert cache.get("a") == 2


def test_every_thread_sees_the_time_of_the_test(at, cache):
    cache.set("a", 1, expire=60)
    seen: list[Any] = []

    def run() -> None:
        thread = threading.Thread(target=lambda: seen.append(cache.get("a")))
        thread.start()
        thread.join()

    run()
    with at(time.time() + HOUR):
        run()
    run()
    assert seen == [1, None, 1]


def test_a_clock_that_ticks_is_followed(cache):
    with freezegun.freeze_time("2020-01-01") as frozen:
        cache.set("a", 1, expire=60)
        frozen.tick(59)
        assert cache.get("a") == 1
        frozen.tick(2)
        assert cache.get("a") is None


def test_hits_are_counted_once_when_the_clock_stops(at, tmp_path):
    with dolium.Cache(tmp_path) as cache:
        cache.set("a", 1, expire=60)
        assert (cache.get("a"), cache.stats()) == (1, (1, 0))
        with at(time.time() + HOUR):
            assert (cache.get("a"), cache.stats()) == (None, (1, 1))
            assert (cache.get("a"), cache.stats()) == (None, (1, 2))
        assert (cache.get("a"), cache.stats()) == (1, (2, 2))


def test_a_clock_that_fails_is_reported(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["a"] = 1
    with unittest.mock.patch("time.time", side_effect=OSError("no clock")):
        with unittest.mock.patch("sys.unraisablehook") as hook:
            cache.set("a", 2, expire=60)
        assert isinstance(hook.call_args.args[0].exc_value, OSError)
    assert cache["a"] == 2


def test_each_process_goes_by_its_own_clock(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache.set("a", 1, expire=60)
    program = "import dolium, sys; cache = dolium.Cache(sys.argv[1]); print(cache.get('a'))"
    with with_mock(time.time() + HOUR):
        assert cache.get("a") is None
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path], check=False, capture_output=True, text=True
        )
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize("tool", ["freezegun", "time_machine", "mock"])
def test_tools_imported_after_the_cache_are_noticed(tool, tmp_path):
    program = """
import sys, time, dolium
cache = dolium.Cache(sys.argv[1])
for _ in range(3):
    cache.set("a", 1, expire=60)
    assert cache.get("a") == 1
if sys.argv[2] == "freezegun":
    import datetime, freezegun
    later = freezegun.freeze_time(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))
elif sys.argv[2] == "time_machine":
    import time_machine
    later = time_machine.travel(time.time() + 3600)
else:
    import unittest.mock
    later = unittest.mock.patch("time.time", return_value=time.time() + 3600)
cache.set("a", 1, expire=60)
with later:
    print(cache.get("a"))
print(cache.get("a"))
"""
    arguments = [sys.executable, "-c", program, tmp_path, tool]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert done.stdout == "None\n1\n", done.stderr


def test_a_package_imported_in_frozen_time_recovers(tmp_path):
    program = """
import sys, time
before, time.time = time.time, lambda: 1e9
import dolium
cache = dolium.Cache(sys.argv[1])
cache.set("a", 1, expire=60)
assert cache.info("a").store_time == 1e9
time.time = before
assert cache.get("a") is None
cache.set("a", 1, expire=60)
print(abs(cache.info("a").store_time - time.time()) < 30)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], check=False, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr
