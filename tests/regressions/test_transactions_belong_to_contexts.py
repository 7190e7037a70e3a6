"""A transaction belongs to the thread, greenlet or task that began it, and ends wherever it is left.

It ends with its owner at the latest. What takes turns on one thread is refused, or waits where it can; it never joins.
Real gevent, eventlet, greenlet, trio and asyncio run here, in a process of their own where they patch it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dolium
import greenlet
import pytest

WRITE = """
import dolium, sys
cache = getattr(dolium, sys.argv[1])(sys.argv[2], timeout=20)
print(cache.set_many({n: n for n in range(10)}), cache.delete_many(range(10)))
"""


def writes_elsewhere(cache: Any) -> bool:
    """Whether another process can write to the cache."""
    command = [sys.executable, "-c", WRITE, type(cache).__name__, os.fspath(cache.directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.split() == ["10", "10"]


def run_alone(program: str, directory: Path) -> None:
    """Run a program that patches its process; it must end well."""
    source = "import sys\n" + textwrap.dedent(program)
    command = [sys.executable, "-W", "ignore", "-c", source, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def in_thread(call: Callable[[], Any]) -> Any:
    """What a call returns, or raises, in a thread that ends."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return result[0]


@pytest.fixture(params=["Cache", "FanoutCache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    options = {"shards": 3} if request.param == "FanoutCache" else {}
    with getattr(dolium, request.param)(tmp_path / "cache", timeout=20, **options) as cache:
        cache["before"] = 0
        yield cache


def half(cache: Any, key: str = "k", value: Any = 1, fails: bool = False) -> Any:
    """A transaction in a generator, which others may step on."""
    with cache.transact():
        cache[key] = value
        yield
        if fails:
            raise KeyError(key)


# Left elsewhere


def test_a_block_left_in_another_thread_commits(cache: Any):
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        block = half(cache)
        first.submit(next, block).result(60)
        assert cache.get("k") is None
        second.submit(next, block, None).result(60)
    assert cache["k"] == 1
    assert writes_elsewhere(cache)


def test_a_block_that_raises_in_another_thread_rolls_back(cache: Any):
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        block = half(cache, fails=True)
        first.submit(next, block).result(60)
        with pytest.raises(KeyError):
            second.submit(next, block).result(60)
    assert "k" not in cache
    assert writes_elsewhere(cache)


def test_levels_left_in_other_threads_end_with_the_outermost(cache: Any):
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        outer, inner = half(cache, "outer"), half(cache, "inner")
        first.submit(next, outer).result(60)
        first.submit(next, inner).result(60)
        second.submit(next, inner, None).result(60)
        assert "inner" not in cache
        second.submit(next, outer, None).result(60)
    assert (cache["outer"], cache["inner"]) == (1, 1)


def test_requests_of_a_thread_pool_each_keep_their_own(tmp_path: Path):
    """As FastAPI runs a sync dependency with `yield`: its halves and the endpoint in whatever thread is free."""
    cache = dolium.Cache(tmp_path, timeout=60)
    cache["total"] = 0

    def dependency() -> Any:
        with cache.transact(retry=True):
            cache["total"] = cache["total"] + 1
            yield

    async def request() -> None:
        steps = dependency()
        await asyncio.to_thread(next, steps)
        await asyncio.sleep(0.001)
        await asyncio.to_thread(next, steps, None)

    async def main() -> None:
        # Fewer requests at a time than threads, or those that wait would keep the one out that they wait for.
        for _ in range(10):
            await asyncio.gather(*(request() for _ in range(3)))

    asyncio.run(main())
    assert cache["total"] == 30
    assert writes_elsewhere(cache)
    cache.close()


# The owner ends


def test_a_thread_that_ends_inside_frees_the_lock(cache: Any):
    block = half(cache)
    in_thread(lambda: next(block))
    assert cache.set("later", 1, retry=True) is True
    assert writes_elsewhere(cache)
    with pytest.raises(dolium.DatabaseError, match="rolled back, because the thread"):
        next(block)
    assert "k" not in cache


def test_other_processes_write_though_nobody_here_asks(cache: Any):
    block = half(cache)
    in_thread(lambda: next(block))
    assert writes_elsewhere(cache)
    assert "k" not in cache


def test_a_thread_that_ends_after_close_frees_the_lock(cache: Any):
    block, begun, go = half(cache), threading.Event(), threading.Event()

    def begin() -> None:
        next(block)
        begun.set()
        go.wait(60)

    thread = threading.Thread(target=begin)
    thread.start()
    assert begun.wait(60)
    cache.close()
    go.set()
    thread.join(60)
    assert writes_elsewhere(cache)


def test_a_collected_transaction_rolls_back(cache: Any):
    transaction = cache.transact()
    transaction.__enter__()
    cache["k"] = 1
    del transaction
    gc.collect()
    assert "k" not in cache
    assert writes_elsewhere(cache)


def test_a_collected_generator_rolls_back(cache: Any):
    block = half(cache)
    next(block)
    del block
    gc.collect()
    assert "k" not in cache
    assert writes_elsewhere(cache)


def test_a_killed_process_leaves_nothing_locked(cache: Any):
    program = (
        "import os, signal, sys, asyncio, dolium\n"
        "cache = dolium.Cache(sys.argv[1])\n"
        "async def main():\n"
        "    with cache.transact():\n"
        "        cache['k'] = 1\n"
        "        await asyncio.sleep(0)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    where = os.path.join(cache.directory, "000") if isinstance(cache, dolium.FanoutCache) else cache.directory
    done = subprocess.run([sys.executable, "-c", program, where], timeout=60, check=False)
    assert done.returncode == -9
    assert "k" not in cache
    assert cache.set("later", 1, retry=True) is True


def test_the_files_of_a_disk_follow_the_end_elsewhere(tmp_path: Path):
    class Own(dolium.Disk):
        pass

    cache = dolium.Cache(tmp_path, disk=Own, disk_min_file_size=1, timeout=20)
    cache["k"] = "old"
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for fails, expected in ((True, "old"), (False, "new")):
            block = half(cache, "k", "new", fails)
            first.submit(next, block).result(60)
            error = second.submit(next, block, None).exception(60)
            assert isinstance(error, KeyError) is fails
            assert cache["k"] == expected
            deadline = time.monotonic() + 30
            while len(list(tmp_path.rglob("*.val"))) != 1:  # an old one goes to the trash first
                assert time.monotonic() < deadline
                cache.flush()
    assert cache.check() == []
    cache.close()


def test_one_object_entered_by_two_threads_ends_each(tmp_path: Path):
    cache = dolium.Cache(tmp_path, timeout=20)
    transaction = cache.transact(retry=True)

    def add() -> None:
        for _ in range(20):
            with transaction, transaction:
                cache["n"] = cache.get("n", 0) + 1

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert cache["n"] == 60
    cache.close()


# Tasks


def test_tasks_never_join_a_transaction_of_another(cache: Any):
    async def main() -> None:
        inside, leave = asyncio.Event(), asyncio.Event()

        async def fail() -> None:
            with cache.transact():
                cache["mine"] = 1
                inside.set()
                await leave.wait()
                raise KeyError

        task = asyncio.create_task(fail())
        await inside.wait()
        assert "mine" not in cache  # others read the state before
        assert cache.get("before") == 0
        assert sorted(cache) == ["before"]
        start = time.monotonic()
        for write in (
            lambda: cache.set("k", 1, retry=True),
            lambda: cache.__setitem__("k", 1),
            lambda: cache.add("k", 1, retry=True),
            lambda: cache.incr("before", retry=True),
            lambda: cache.delete("before", retry=True),
            lambda: cache.pop("before", retry=True),
            lambda: cache.touch("before", retry=True),
            lambda: cache.set_many({"k": 1}, retry=True),
            lambda: cache.clear(retry=True),
            lambda: cache.transact(retry=True).__enter__(),
        ):
            with pytest.raises(dolium.Timeout, match="another task or greenlet"):
                write()
        assert time.monotonic() - start < 15, "it waited for what could not come"
        # Another thread waits.
        waiting = asyncio.create_task(asyncio.to_thread(cache.set, "thread", 1, retry=True))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        leave.set()
        with pytest.raises(KeyError):
            await task
        assert await waiting is True
        assert cache.set("k", 1, retry=True) is True

    asyncio.run(main())
    assert sorted(cache) == ["before", "k", "thread"]
    assert writes_elsewhere(cache)


def test_a_sharded_cache_swallows_that_timeout_too(tmp_path: Path):
    cache = dolium.FanoutCache(tmp_path, shards=2)

    async def write() -> Any:
        return cache.set("other", 1), cache.incr("n")

    async def main() -> None:
        with cache.transact():
            cache["k"] = 1
            assert await asyncio.create_task(write()) == (False, None)

    asyncio.run(main())
    assert cache["k"] == 1
    assert "other" not in cache
    cache.close()


def test_a_task_made_inside_the_block_is_another(cache: Any):
    async def child() -> None:
        cache["child"] = 1

    async def main() -> None:
        with cache.transact():
            cache["k"] = 1
            with pytest.raises(dolium.Timeout):
                await asyncio.create_task(child())
            await child()  # a coroutine that the task itself awaits is a part of it

    asyncio.run(main())
    assert (cache["k"], cache["child"]) == (1, 1)


def test_a_task_keeps_its_transaction_over_awaits(cache: Any):
    async def main() -> None:
        with cache.transact():
            for n in range(5):
                cache[n] = n
                await asyncio.sleep(0)
                with cache.transact():
                    assert cache[n] == n

    asyncio.run(main())
    assert len(cache) == 6


def test_a_cancelled_task_rolls_back(cache: Any):
    async def main() -> None:
        async def wait() -> None:
            with cache.transact():
                cache["k"] = 1
                await asyncio.sleep(60)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cache.set("later", 1, retry=True) is True

    asyncio.run(main())
    assert "k" not in cache
    assert writes_elsewhere(cache)


def test_a_task_that_is_done_inside_frees_the_lock(cache: Any):
    async def main() -> None:
        block = half(cache)

        async def begin() -> None:
            next(block)

        task = asyncio.create_task(begin())
        await task
        await asyncio.sleep(0)
        assert cache.set("later", 1, retry=True) is True
        with pytest.raises(dolium.DatabaseError, match="rolled back"):
            next(block)
        assert task.done()

    asyncio.run(main())
    assert "k" not in cache
    assert writes_elsewhere(cache)


def test_loops_of_two_threads_exclude_each_other(tmp_path: Path):
    cache = dolium.Cache(tmp_path, timeout=60)
    cache["n"] = 0

    async def add() -> None:
        for _ in range(30):
            with cache.transact(retry=True):
                before = cache["n"]
                await asyncio.sleep(0.0005)
                cache["n"] = before + 1

    results = [threading.Thread(target=lambda: asyncio.run(add())) for _ in range(2)]
    for thread in results:
        thread.start()
    for thread in results:
        thread.join(60)
        assert not thread.is_alive()
    assert cache["n"] == 60
    cache.close()


def test_a_loop_inside_a_block_runs_others(cache: Any):
    async def write() -> None:
        cache["task"] = 1

    with cache.transact():
        cache["k"] = 1
        with pytest.raises(dolium.Timeout):
            asyncio.run(write())
    assert cache["k"] == 1
    assert "task" not in cache


def test_a_memoized_coroutine_inside_a_block_waits_for_none(cache: Any):
    """Its leader may wait for the block to end."""
    calls = []

    @cache.memoize()
    async def slow(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0.05)
        return number

    async def main() -> None:
        leader = asyncio.create_task(slow(1))
        await asyncio.sleep(0)
        with cache.transact():
            cache["k"] = 1
            await asyncio.sleep(0.1)  # now the leader waits to save
            assert await slow(1) == 1
        assert await leader == 1

    asyncio.run(asyncio.wait_for(main(), 60))
    assert cache["k"] == 1
    assert calls == [1, 1]


def test_a_decorated_coroutine_function_runs_inside(cache: Any):
    @cache.transact()
    async def fail() -> None:
        cache["k"] = 1
        await asyncio.sleep(0)
        raise KeyError

    @cache.transact()
    async def numbers() -> Any:
        for n in range(3):
            cache[n] = n
            yield n

    @cache.transact()
    def plain() -> Any:
        cache["plain"] = 1
        yield 1
        raise KeyError

    async def main() -> list[int]:
        with pytest.raises(KeyError):
            await fail()
        return [n async for n in numbers()]

    assert asyncio.run(main()) == [0, 1, 2]
    assert cache[2] == 2
    with pytest.raises(KeyError):
        list(plain())
    assert "k" not in cache
    assert "plain" not in cache


def test_trio_tasks_never_join(cache: Any):
    trio = pytest.importorskip("trio")

    async def hold(inside: Any, leave: Any) -> None:
        with cache.transact():
            cache["mine"] = 1
            inside.set()
            await leave.wait()
            cache["mine"] = 2

    async def main() -> None:
        inside, leave = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold, inside, leave)
            await inside.wait()
            with pytest.raises(dolium.Timeout):
                cache["k"] = 1
            leave.set()
        cache["k"] = 2

    trio.run(main)
    assert (cache["mine"], cache["k"]) == (2, 2)


# Greenlets


def test_greenlets_never_join_a_transaction_of_another(cache: Any):
    """Without a hub that would run the other, they are refused at once."""

    def hold() -> None:
        with cache.transact():
            cache["mine"] = 1
            main.switch()
            cache["mine"] = 2

    main = greenlet.getcurrent()
    holder = greenlet.greenlet(hold)
    holder.switch()
    assert "mine" not in cache
    start = time.monotonic()
    with pytest.raises(dolium.Timeout):
        cache["k"] = 1
    other = greenlet.greenlet(lambda: cache.set("k", 2, retry=True))
    with pytest.raises(dolium.Timeout):
        other.switch()
    assert time.monotonic() - start < 15
    holder.switch()
    assert cache["mine"] == 2
    cache["k"] = 3
    assert cache["k"] == 3


def test_a_killed_greenlet_rolls_back(cache: Any):
    def hold() -> None:
        with cache.transact():
            cache["mine"] = 1
            main.switch()

    main = greenlet.getcurrent()
    holder = greenlet.greenlet(hold)
    holder.switch()
    holder.throw(greenlet.GreenletExit)
    assert "mine" not in cache
    cache["k"] = 1
    assert writes_elsewhere(cache)


def test_a_dead_greenlet_frees_the_lock(cache: Any):
    block = half(cache)
    holder = greenlet.greenlet(lambda: next(block))
    holder.switch()
    assert holder.dead
    cache["later"] = 1
    assert writes_elsewhere(cache)
    with pytest.raises(dolium.DatabaseError, match="rolled back"):
        next(block)


def test_a_block_left_in_another_greenlet_commits(cache: Any):
    block = half(cache)

    def begin() -> None:
        next(block)
        main.switch()

    main = greenlet.getcurrent()
    holder = greenlet.greenlet(begin)
    holder.switch()
    next(block, None)
    assert cache["k"] == 1
    assert not holder.dead
    assert writes_elsewhere(cache)


def test_greenlet_imported_inside_a_block_changes_nothing(tmp_path: Path):
    program = """
        import dolium
        cache = dolium.Cache(sys.argv[1])
        assert "greenlet" not in sys.modules
        with cache.transact():
            cache["a"] = 1
            import greenlet, asyncio
            cache["b"] = 2
        assert (cache["a"], cache["b"]) == (1, 2)
    """
    run_alone(program, tmp_path)


def test_a_greenlet_that_a_task_runs_is_a_part_of_it(cache: Any):
    """As SQLAlchemy runs sync code in a task."""

    async def main() -> None:
        with cache.transact():
            cache["k"] = 1
            greenlet.greenlet(lambda: cache.set("inner", 1)).switch()

    asyncio.run(main())
    assert (cache["k"], cache["inner"]) == (1, 1)


GREEN = """
import dolium, time
cache = dolium.{kind}(sys.argv[1], timeout=20)
cache["n"] = 0
seen = []
def fail():
    try:
        with cache.transact(retry=True):
            cache["mine"] = 1
            sleep(0.1)
            seen.append("failing")
            raise KeyError
    except KeyError:
        pass
def write():
    sleep(0.02)
    assert "mine" not in cache
    assert cache.set("k", 1, retry=True) is True
    assert cache.incr("up", retry=True) == 1
    seen.append("written")
wait([spawn(fail), spawn(write)])
assert seen == ["failing", "written"], seen
assert cache["k"] == cache["up"] == 1 and "mine" not in cache

def add():
    for _ in range(5):
        with cache.transact(retry=True):
            before = cache["n"]
            sleep(0.001)
            cache["n"] = before + 1
wait([spawn(add) for _ in range(8)])
assert cache["n"] == 40, cache["n"]

impatient = dolium.Cache(sys.argv[1] + "-other", timeout=0.05)
def hold():
    with impatient.transact():
        sleep(0.5)
def give_up():
    sleep(0.01)
    start = time.monotonic()
    try:
        impatient.set("k", 1)
    except dolium.Timeout:
        seen.append(time.monotonic() - start)
wait([spawn(hold), spawn(give_up)])
assert 0.04 < seen.pop() < 0.45, seen

def killed():
    with cache.transact(retry=True):
        cache["killed"] = 1
        sleep(60)
victim = spawn(killed)
sleep(0.05)
kill(victim)
assert cache.set("after", 1, retry=True) is True
assert "killed" not in cache

def half():
    with cache.transact(retry=True):
        cache["half"] = 1
        yield
block = half()
ended = spawn(next, block)
wait([ended])
sleep(0)  # the hub tells of its end
import subprocess
from dolium import {kind}
code = "import dolium, sys; print(dolium.{kind}(sys.argv[1], timeout=20).set('x', 1, retry=True))"
out = subprocess.run([sys.executable, "-c", code, sys.argv[1]], capture_output=True, text=True, timeout=60).stdout
assert out.strip() == "True", out
try:
    next(block)
except dolium.DatabaseError:
    pass
else:
    raise AssertionError("an orphan was committed")
assert cache.check() == []
"""

GEVENT = """
from gevent import monkey
monkey.patch_all()
import gevent
spawn, sleep, wait, kill = gevent.spawn, gevent.sleep, lambda all: gevent.joinall(all, raise_error=True), gevent.kill
"""

UNPATCHED = GEVENT.replace("monkey.patch_all()", "")

EVENTLET = """
import eventlet
spawn, sleep, kill = eventlet.spawn, eventlet.sleep, lambda victim: (victim.kill(), eventlet.sleep(0))
def wait(all):
    for each in all:
        each.wait()
"""


@pytest.mark.parametrize("kind", ["Cache", "FanoutCache"])
@pytest.mark.parametrize("hub", [GEVENT, UNPATCHED, EVENTLET], ids=["gevent", "unpatched gevent", "eventlet"])
def test_greenlets_of_a_hub_wait_for_each_other(hub: str, kind: str, tmp_path: Path):
    run_alone(hub + GREEN.format(kind=kind), tmp_path / "cache")


def test_threads_go_on_while_a_greenlet_waits(tmp_path: Path):
    program = UNPATCHED + textwrap.dedent("""
        import dolium, threading
        cache = dolium.Cache(sys.argv[1], timeout=20)
        def hold():
            with cache.transact(retry=True):
                cache["mine"] = 1
                sleep(0.2)
        holder = spawn(hold)
        sleep(0.01)
        done = []
        thread = threading.Thread(target=lambda: done.append(cache.set("thread", 1, retry=True)))
        thread.start()
        sleep(0.05)
        assert not done
        wait([holder])
        thread.join(20)
        assert done == [True]
    """)
    run_alone(program, tmp_path)


def test_a_greenlet_of_a_thread_that_ends_frees_the_lock(cache: Any):
    kept: list[Any] = []

    def hold() -> None:
        transaction = cache.transact()
        transaction.__enter__()
        kept.append(transaction)
        greenlet.getcurrent().parent.switch()

    def run() -> None:
        kept.append(greenlet.greenlet(hold))
        kept[-1].switch()

    in_thread(run)
    assert writes_elsewhere(cache)


# Forks


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_does_not_wait_for_a_task_of_its_own_thread(tmp_path: Path):
    program = """
        import asyncio, os, time, dolium
        cache = dolium.Cache(sys.argv[1])
        async def hold(inside, leave):
            with cache.transact():
                cache["k"] = 1
                inside.set()
                await leave.wait()
        async def main():
            inside, leave = asyncio.Event(), asyncio.Event()
            holder = asyncio.create_task(hold(inside, leave))
            await inside.wait()
            start = time.monotonic()
            pid = os.fork()
            if not pid:
                try:
                    cache.get("k")
                except dolium.ForkedError:
                    os._exit(0)
                os._exit(1)
            took = time.monotonic() - start
            assert os.waitpid(pid, 0)[1] == 0
            assert took < 1, took
            leave.set()
            await holder
        asyncio.run(main())
        assert cache["k"] == 1
    """
    run_alone(program, tmp_path)
