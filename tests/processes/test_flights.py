"""Flights between processes: one computation for all, and an owner that dies, stops, forks or is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import time
from typing import Any

import dolium
import pytest
from dolium.constants import MISS
from dolium.functions.flight import run
from helpers.children import PATIENCE, Child
from helpers.children import run as run_child

# A computation that says when it begins, and goes on when it is told.
OWNER = """
cache = getattr(dolium, sys.argv[2])(sys.argv[1])
def compute():
    say("computing")
    hear()
    return "theirs"
say(cache.get_or_set("key", compute))
"""

# Asks, and says the value with the time at which it had it.
WAITER = """
cache = getattr(dolium, sys.argv[2])(sys.argv[1])
def compute():
    say("computing", time.monotonic())
    return "mine"
say("asking")
value = cache.get_or_set("key", compute)
say("value", value, time.monotonic())
"""

KINDS = ["Cache", "FanoutCache"]


def times(lines: list[str], word: str) -> list[float]:
    return [float(line.split()[-1]) for line in lines if line.startswith(word)]


def settle() -> None:
    """Let those who ask come to wait."""
    time.sleep(0.3 * PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_t22_processes_and_tasks_compute_once(tmp_path, kind):
    """8 processes × 50 tasks."""
    body = """
    import asyncio
    from dolium.constants import MISS
    from dolium.functions.flight import run_async
    cache = getattr(dolium, sys.argv[2])(sys.argv[1])
    async def compute():
        say("computed")
        await asyncio.sleep(0.3)
        return list(range(100))
    def look():
        return cache.get("key", MISS, retry=True)
    def store(value):
        cache.add("key", value, retry=True)
        return look()
    async def main():
        calls = (run_async(cache, "key", look, compute, store) for _ in range(50))
        return await asyncio.gather(*calls)
    hear()
    assert all(value == list(range(100)) for value in asyncio.run(main()))
    """
    with contextlib.ExitStack() as stack:
        options = ("-X", "dev", "-W", "error")
        children = [stack.enter_context(Child(body, tmp_path, kind, options=options)) for _ in range(8)]
        for child in children:
            child.tell()
        assert [line for child in children for line in child.finish()] == ["computed"]


@pytest.mark.parametrize("kind", KINDS)
def test_t22_processes_and_threads_compute_once(tmp_path, kind):
    body = """
    from concurrent.futures import ThreadPoolExecutor
    cache = getattr(dolium, sys.argv[2])(sys.argv[1])
    def compute(number):
        os.write(1, b"computed %d\\n" % number)
        time.sleep(0.02)
        return number
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(cache.get_or_set, n % 10, lambda n=n: compute(n % 10)) for n in range(100)]
        assert [call.result() for call in calls] == [n % 10 for n in range(100)]
    """
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(body, tmp_path, kind)) for _ in range(6)]
        lines = [line for child in children for line in child.finish()]
    assert sorted(lines) == [f"computed {n}" for n in range(10)]


@pytest.mark.parametrize("kind", KINDS)
def test_t23_a_killed_owner_is_relieved_soon(tmp_path, kind):
    took = []
    for round_ in range(5):
        place = tmp_path / str(round_)
        with Child(OWNER, place, kind) as owner:
            owner.line("computing")
            with Child(WAITER, place, kind) as waiter:
                waiter.line("asking")
                settle()
                owner.process.kill()
                gone = time.monotonic()
                lines = waiter.finish()
        (begun,) = times(lines, "computing")
        took.append(begun - gone)
    # What is promised is 0.2 s; a machine that does much else may take longer now and then.
    assert statistics.median(took) < 0.2 * PATIENCE, took


def test_t23_the_next_caller_after_a_death_computes(tmp_path):
    with Child(OWNER, tmp_path, "Cache") as owner:
        owner.line("computing")
        owner.kill()
    with dolium.Cache(str(tmp_path)) as cache:
        begun = time.monotonic()
        assert cache.get_or_set("key", lambda: "mine") == "mine"
        assert time.monotonic() - begun < 5 * PATIENCE


def test_a_stopped_owner_is_waited_for_as_long_as_said(tmp_path):
    with Child(OWNER, tmp_path, "Cache") as owner, dolium.Cache(str(tmp_path)) as cache:
        owner.line("computing")
        os.kill(owner.pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert cache.get_or_set("key", lambda: "mine", wait=0.3) == "mine"
        assert time.monotonic() - begun >= 0.3
        os.kill(owner.pid, signal.SIGCONT)
        owner.tell()
        # The first that was stored stays, and both return it.
        assert owner.finish() == ["mine"]
        assert cache["key"] == "mine"


def test_t25_a_failure_of_a_process_makes_one_of_others_try(tmp_path):
    """Three processes, ten threads each: three attempts, one after the other."""
    body = """
    from concurrent.futures import ThreadPoolExecutor
    cache = dolium.Cache(sys.argv[1])
    def fail():
        os.write(1, b"trying\\n")
        hear()
        raise ValueError("no")
    def call():
        try:
            cache.get_or_set("key", fail)
        except ValueError:
            return "failed"
    with ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(call) for _ in range(10)]
        os.write(1, b"asking\\n")
        assert {call.result() for call in calls} == {"failed"}
    """
    lines = []
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(body, tmp_path)) for _ in range(3)]
        for child in children:
            while not lines.append(child.line()) and lines[-1] != "asking":
                pass
        settle()
        for child in children:
            child.tell()
        for child in children:
            lines += child.finish()
    assert sorted(lines) == ["asking"] * 3 + ["trying"] * 3


def test_an_interrupted_owner_is_relieved(tmp_path):
    with Child(OWNER, tmp_path, "Cache") as owner:
        owner.line("computing")
        with Child(WAITER, tmp_path, "Cache") as waiter:
            waiter.line("asking")
            settle()
            os.kill(owner.pid, signal.SIGINT)
            assert waiter.line().startswith("computing")
            assert waiter.finish()[0].startswith("value mine")


def test_an_interrupted_waiter_leaves_at_once(tmp_path):
    with Child(OWNER, tmp_path, "Cache") as owner:
        owner.line("computing")
        with Child(WAITER, tmp_path, "Cache") as waiter:
            waiter.line("asking")
            settle()
            os.kill(waiter.pid, signal.SIGINT)
            sent = time.monotonic()
            assert waiter.wait() != 0
            # What is promised is that it leaves within 0.1 s; the interpreter's end takes a while, too.
            assert time.monotonic() - sent < 5 * PATIENCE
            assert "KeyboardInterrupt" in waiter.errors
        owner.tell()
        assert owner.finish() == ["theirs"]


def test_a_fork_of_the_owner_leaves_it_the_lease(tmp_path):
    body = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    cache = dolium.Cache(sys.argv[1])
    def compute():
        child = os.fork()
        if child == 0:
            raise SystemExit(0)  # leaves the flight, which is the parent's
        os.waitpid(child, 0)
        say("forked")
        hear()
        return "theirs"
    say(cache.get_or_set("key", compute))
    """
    with Child(body, tmp_path) as owner:
        owner.line("forked")
        with Child(WAITER, tmp_path, "Cache") as waiter:
            waiter.line("asking")
            assert waiter.silent(0.4 * PATIENCE), "it took over what the parent has"
            owner.tell()
            assert owner.finish() == ["theirs"]
            assert [line.split()[1] for line in waiter.finish()] == ["theirs"]


def test_a_forked_child_computes_for_itself(tmp_path):
    body = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    cache = dolium.Cache(sys.argv[1])
    started, go = threading.Event(), threading.Event()
    def compute():
        started.set()
        go.wait()
        return "thread's"
    thread = threading.Thread(target=lambda: say("parent", cache.get_or_set("key", compute)))
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        # The thread does not exist here; its process does, and is waited for.
        say("child", cache.get_or_set("key", lambda: "mine", wait=0.2))
        os._exit(0)
    os.waitpid(child, 0)
    go.set()
    thread.join()
    """
    assert run_child(body, tmp_path) == ["child mine", "parent mine"]


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("kind", KINDS)
def test_t24_processes_that_cross_all_end(tmp_path, kind, names):
    """Each computes its own key and calls for the next one's."""
    body = """
    cache = getattr(dolium, sys.argv[2])(sys.argv[1])
    mine, after = sys.argv[3:]
    def compute():
        say("computing")
        hear()
        return mine + cache.get_or_set(after, lambda: after)
    say(cache.get_or_set(mine, compute))
    """
    for round_ in range(3):
        place = tmp_path / str(round_)
        with contextlib.ExitStack() as stack:
            crowd = [
                stack.enter_context(Child(body, place, kind, name, names[(n + 1) % len(names)]))
                for n, name in enumerate(names)
            ]
            for child in crowd:
                child.line("computing")
            for child in crowd:
                child.tell()
            results = [child.finish() for child in crowd]
        # The one that closed the circle computed its neighbour's key, which was the first to be stored.
        assert sorted(len(result[0]) for result in results)[0] >= 1


def test_t24_threads_of_two_processes_that_cross_all_end(tmp_path):
    """A circle that leads through a wait between two threads of one process."""
    body = """
    cache = dolium.Cache(sys.argv[1])
    begun = threading.Semaphore(0)
    go = threading.Event()
    def call(name, *after):
        def compute():
            if after:
                begun.release()
                go.wait()
                return name + call(*after)
            return name
        return cache.get_or_set(name, compute)
    plans = [plan.split(",") for plan in sys.argv[2:]]
    threads = [threading.Thread(target=call, args=plan) for plan in plans]
    for thread in threads:
        thread.start()
    for _ in plans:
        begun.acquire()
    say("computing")
    hear()
    go.set()
    for thread in threads:
        thread.join()
    """
    # a → b within the first process, b → c to the second, c → a back.
    with Child(body, tmp_path, "a,b", "b,c") as first, Child(body, tmp_path, "c,a") as second:
        first.line("computing")
        second.line("computing")
        for child in (first, second):
            child.tell()
        for child in (first, second):
            child.finish()


def test_t24_processes_that_cross_in_two_caches_are_bounded(tmp_path):
    """No table sees this circle, so waiting has a limit."""
    first, second = (dolium.Cache(str(tmp_path / name)) for name in "ab")
    with first, second, Child(OWNER, tmp_path / "b", "Cache") as owner:
        owner.line("computing")
        limits = []

        def compute() -> str:
            waiter = second._flight("key", (number,), True)
            limits.append(waiter.limit)
            return "value"

        flight = first._flight("outer", (), False)
        number = flight.number
        compute()
        flight.end("left")
        limits.append(second._flight("key", (), False).limit)
        assert limits == [60, None]


def test_400_waiters_have_the_result_soon(tmp_path):
    """8 processes × 50 threads; the last has it some 20 ms after it was stored, on a machine that does nothing else."""
    body = """
    from concurrent.futures import ThreadPoolExecutor
    cache = dolium.Cache(sys.argv[1])
    def fail():
        raise AssertionError("another computes")
    def call():
        return cache.get_or_set("key", fail), time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        calls = [pool.submit(call) for _ in range(50)]
        say("asking")
        results = [call.result() for call in calls]
    assert {value for value, _ in results} == {"value"}
    say(max(moment for _, moment in results))
    """
    with dolium.Cache(str(tmp_path)) as cache, contextlib.ExitStack() as stack:
        begun: dict[str, Any] = {}

        def compute() -> str:
            crowd = [stack.enter_context(Child(body, tmp_path)) for _ in range(8)]
            for child in crowd:
                child.line("asking")
            settle()
            settle()
            begun.update(crowd=crowd, stored=time.monotonic())
            return "value"

        cache.get_or_set("key", compute)
        last = max(float(child.line()) for child in begun["crowd"])
        for child in begun["crowd"]:
            child.finish()
    print(f"the last of 400 had it after {(last - begun['stored']) * 1000:.1f} ms")
    assert last - begun["stored"] < 2 * PATIENCE


def test_a_read_only_cache_neither_waits_nor_writes(tmp_path):
    with Child(OWNER, tmp_path, "Cache") as owner:
        owner.line("computing")
        with dolium.Cache(str(tmp_path), read_only=True) as cache:
            assert cache.get_or_set("key", lambda: "mine") == "mine"
        owner.tell()
        assert owner.finish() == ["theirs"]


def test_flights_need_no_hot_tier(tmp_path):
    body = OWNER.replace("(sys.argv[1])", "(sys.argv[1], hot_size=0)")
    with Child(body, tmp_path, "Cache") as owner:
        owner.line("computing")
        with dolium.Cache(str(tmp_path)) as cache:
            value = run(cache, "key", lambda: cache.get("key", MISS), lambda: "mine", lambda _: "mine", 0.2)
            assert value == "mine", "it waited, and then computed"
        owner.tell()
        owner.finish()
