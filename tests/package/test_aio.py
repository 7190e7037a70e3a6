"""`cache.aio` on each event loop: what is inline, cancelling, transactions, lag, and the life of its threads."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import dolium
import pytest
from dolium import loops, workers
from dolium.aio import (
    AsyncBoundedSemaphore,
    AsyncCache,
    AsyncDeque,
    AsyncFanoutCache,
    AsyncFile,
    AsyncIndex,
    gate,
)
from helpers.children import Child, run
from helpers.faces import RUNNERS

HOLD = """
cache = dolium.Cache(sys.argv[1])
with cache.transact():
    say("held")
    hear()
say("free")
"""


@pytest.fixture(params=sorted(RUNNERS))
def loop(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Runs a coroutine function on an event loop."""
    return RUNNERS[request.param]


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache", timeout=20) as cache:
        yield cache
        assert [str(problem) for problem in cache.check()] == []


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes to another thread from now on."""
    seen: list[Any] = []
    put = workers.workers.put
    monkeypatch.setattr(workers.workers, "put", lambda job: (seen.append(job), put(job)))
    return seen


class Ticks:
    """How often a loop gets a turn while a block awaits, and the longest time without."""

    def __init__(self) -> None:
        self.count, self.longest = 0, 0.0

    async def count_while(self, make: Callable[[], Awaitable[Any]]) -> Any:
        result: list[Any] = []
        async with anyio.create_task_group() as group:
            group.start_soon(self._tick)
            await anyio.sleep(0.01)
            self.count, self.longest = 0, 0.0
            result.append(await make())
            group.cancel_scope.cancel()
        return result[0]

    async def _tick(self) -> None:
        last = time.perf_counter()
        while True:
            await anyio.sleep(0.001)
            now = time.perf_counter()
            self.count, self.longest, last = self.count + 1, max(self.longest, now - last), now


# The faces are whole

FACES = [
    (dolium.Cache, AsyncCache),
    (dolium.FanoutCache, AsyncFanoutCache),
    (dolium.Deque, AsyncDeque),
    (dolium.Index, AsyncIndex),
]
OTHERWISE = {"__len__": "len", "__contains__": "contains", "__getitem__": "__getitem__", "__iter__": "__aiter__",
             "__reversed__": "__reversed__", "__enter__": "__aenter__"}  # fmt: skip
ITSELF = {"aio", "fromcache", "push", "pull", "peek", "peekitem"}  # of a FanoutCache, which refuses them


def parameters(call: Any) -> list[tuple[str, Any, Any]]:
    given = list(inspect.signature(call).parameters.values())
    return [(p.name, p.kind, None if p.default in (..., dolium.ENOVAL) else p.default) for p in given[1:]]


@pytest.mark.parametrize(("kind", "face"), FACES, ids=[kind.__name__ for kind, _ in FACES])
def test_faces_have_every_operation_with_its_arguments(kind: Any, face: Any):
    for name in dir(kind):
        own = inspect.getattr_static(kind, name)
        if name in OTHERWISE and not (name == "__enter__" and not hasattr(face, "__aenter__")):
            assert hasattr(face, OTHERWISE[name]), name
        if name.startswith("_") or (name in ("aio", "fromcache", "cache") and kind is not dolium.FanoutCache):
            continue
        if name == "aio" or (isinstance(own, property) and kind is dolium.FanoutCache and name in ITSELF):
            continue
        assert hasattr(face, name), name
        theirs = inspect.getattr_static(face, name)
        if isinstance(own, property) or isinstance(theirs, property):
            assert isinstance(theirs, property), name  # `cached` and `memoize` are the cache's own
            continue
        assert parameters(theirs) == parameters(getattr(kind, name)), name
        is_awaited = inspect.iscoroutinefunction(theirs)
        assert is_awaited or name in {"transact", "keys", "iterkeys", "values", "items"}, name


def test_a_face_shows_where_it_is_and_is_pickled(cache: Any):
    import pickle

    assert cache.directory in repr(cache.aio)
    copy = pickle.loads(pickle.dumps(cache.aio))
    assert isinstance(copy, AsyncCache)
    assert copy.directory == cache.directory
    copy.sync.close()


# Inline


def test_answers_of_the_hot_tier_leave_the_thread_never(loop: Any, cache: Any, jobs: list[Any]):
    async def main() -> list[Any]:
        aio = cache.aio
        return [
            await aio.set("text", "b"), await aio.get("text"), await aio["text"], await aio.get(("t", 1)),
            await aio.get("pickle"), await aio.get("text", expire_time=True, tag=True), await aio.contains("text"),
            await aio.incr("n"), await aio.decr("n", 3), await aio.get_many(["text", "n"]), await aio.delete("text"),
            await aio.get("text", "gone"), await aio.get("text", "gone", max_age=1),
            await aio.set("late", "x", expire=60, tag="t"), await aio.get("late", tag=True),
        ]  # fmt: skip

    for _ in range(10):
        cache["text"], cache["pickle"], cache["n"], cache["t", 1] = "a", [1], 1, 2
        cache["text"], cache["pickle"], cache["n"], cache["t", 1]
        jobs.clear()
        assert loop(main) == [
            True, "b", "b", 2, [1], ("b", None, None), True, 2, -1, {"text": "b", "n": -1}, True, "gone", "gone",
            True, ("x", "t"),
        ]  # fmt: skip
        if not jobs:  # the housekeeper may drain at this moment, which a write must not wait for
            break
    assert jobs == []


def test_what_may_block_leaves_the_thread(loop: Any, cache: Any, jobs: list[Any]):
    async def main() -> None:
        await cache.aio.set("large", b"x" * 100_000)
        await cache.aio.add("a", 1)
        await cache.aio.get("never seen")
        await cache.aio.push(1)

    loop(main)
    assert len(jobs) == 4
    assert [job.writes for job in jobs] == [True, True, False, True]


class Counting(dolium.Cache):
    """A user's cache, whose own methods must run once, and on another thread."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.setdefault("seen", []).append(threading.get_ident())
        return super().get(*args, **kwargs)


def test_methods_of_a_subclass_run_once_on_another_thread(loop: Any, tmp_path: Path):
    with Counting(tmp_path) as cache:
        cache["a"] = 1
        assert loop(lambda: cache.aio.get("a")) == 1
        assert len(cache.seen) == 1
        assert cache.seen != [threading.get_ident()]


class Slow(dolium.Disk):
    threads: list[int] = []  # noqa: RUF012

    def fetch(self, *args: Any, **kwargs: Any) -> Any:
        self.threads.append(threading.get_ident())
        return super().fetch(*args, **kwargs)


def test_a_disk_of_the_user_runs_on_another_thread(loop: Any, tmp_path: Path):
    with dolium.Cache(tmp_path, disk=Slow) as cache:
        cache["a"] = [1]
        Slow.threads.clear()
        assert loop(lambda: cache.aio.get("a")) == [1]
        assert Slow.threads
        assert threading.get_ident() not in Slow.threads


def test_tasks_get_a_turn_between_inline_answers(loop: Any, cache: Any):
    cache["a"] = 1
    assert cache["a"] == 1

    async def main() -> int:
        async with anyio.create_task_group() as group:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await anyio.sleep(0)

            group.start_soon(tick)
            for _ in range(10_000):
                await cache.aio.get("a")
            group.cancel_scope.cancel()
        return ticks

    assert loop(main) > 5


# Lag


def test_the_loop_goes_on_while_another_process_holds_the_lock(loop: Any, cache: Any):
    ticks = Ticks()

    async def main() -> None:
        async def write_and_read() -> None:
            async with anyio.create_task_group() as group:
                for number in range(20):
                    group.start_soon(cache.aio.add, number, [number])
                    group.start_soon(cache.aio.incr, ("count", number % 3))
                await anyio.sleep(0.2)
                with anyio.fail_after(20):  # reads do not wait behind the writers
                    assert await cache.aio.get("old") == [1]
                    assert "old" in [key async for key in cache.aio]
                with anyio.fail_after(10):
                    while ticks.count <= 50:
                        await anyio.sleep(0.01)
                assert await cache.aio.get("count", "none yet") == "none yet"
                holder.tell()

        await ticks.count_while(write_and_read)

    cache["old"] = [1]
    cache.flush()
    with Child(HOLD, cache.directory) as holder:
        holder.line("held")
        loop(main)
        holder.finish()
    assert sum(cache["count", number] for number in range(3)) == 20


@pytest.mark.xdist_group("large")
def test_the_loop_goes_on_during_a_large_read(loop: Any, cache: Any):
    cache.reset("size_limit", 2**40)
    value = os.urandom(1 << 20) * 50
    cache.set("large", value, tag="t")
    ticks = Ticks()
    found: list[Any] = []

    async def read() -> None:
        for _ in range(5):
            found[:] = [await cache.aio.get("large"), await cache.aio.get("large", tag=True)]

    loop(lambda: ticks.count_while(read))
    assert found == [value, (value, "t")]
    assert ticks.count > 5


def test_the_loop_goes_on_during_a_walk_over_many_keys(loop: Any, cache: Any):
    cache.set_many({number: number for number in range(100_000)})
    ticks = Ticks()

    async def walk() -> int:
        count = 0
        async for _ in cache.aio.iterkeys():
            count += 1
        return count

    assert loop(lambda: ticks.count_while(walk)) == 100_000
    assert ticks.count > 5


def test_at_most_four_threads_serve_all_loops(cache: Any):
    async def main() -> None:
        await asyncio.gather(*(cache.aio.add((threading.get_ident(), n), n) for n in range(200)))

    runners = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    for runner in runners:
        runner.start()
    most, are_running = 0, True
    while are_running:
        are_running = any(runner.is_alive() for runner in runners)
        most = max(most, sum(thread.name == "dolium-aio" for thread in threading.enumerate()))
    assert len(cache) == 600
    assert 1 <= most <= 4


# Cancelling


def test_a_cancelled_wait_for_other_writers_does_not_write(loop: Any, cache: Any):
    async def main() -> float:
        start = time.monotonic()
        with anyio.move_on_after(0.3) as scope:
            await cache.aio.add("a", [1], retry=True)
        assert scope.cancelled_caught
        return time.monotonic() - start

    with Child(HOLD, cache.directory) as holder:
        holder.line("held")
        assert loop(main) < 10  # and not until the holder lets go
        holder.tell()
        holder.finish()
    assert cache.add("a", [2])


def test_a_write_that_has_begun_ends_before_its_cancelled_task(loop: Any, tmp_path: Path):
    begun, may_end = threading.Event(), threading.Event()

    class Waiting(dolium.Disk):
        def store(self, value: Any, read: bool, key: Any = dolium.UNKNOWN) -> Any:
            begun.set()
            may_end.wait(20)
            return super().store(value, read, key=key)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def write() -> None:
                with scope:
                    await cache.aio.set("a", 1)
                assert scope.cancelled_caught
                assert cache["a"] == 1  # it was done, and will not be done later

            group.start_soon(write)
            while not begun.is_set():
                await anyio.sleep(0.001)
            scope.cancel()
            await anyio.sleep(0.05)
            may_end.set()

    with dolium.Cache(tmp_path, disk=Waiting) as cache:
        loop(main)


def test_a_cancelled_pull_inside_a_transaction_loses_nothing(loop: Any, cache: Any):
    cache.push("job")

    async def main() -> None:
        with anyio.move_on_after(0.05):
            async with cache.aio.transact():
                assert (await cache.aio.pull())[1] == "job"
                await anyio.sleep(60)

    loop(main)
    assert cache.pull()[1] == "job"


def test_a_thousand_tasks_cancelled_at_random_agree_with_a_model(loop: Any, cache: Any):
    """Each key belongs to one task: after a cancelled change its value is the one before or the one after."""
    dice = random.Random(5)
    model: dict[int, set[Any]] = {}
    counted = [0, 0]

    async def work(number: int) -> None:
        may_be: set[Any] = {None}
        own = random.Random(number)
        for step in range(own.randint(1, 4)):
            what = own.choice([*["set", "text", "delete", "pop", "add", "incr", "get"] * 2, "transact"])
            value = (number, step) if what in ("set", "add") else f"{number}.{step}"
            after = {"delete": None, "pop": None}.get(what, value)
            if what == "add":
                after_all = {after if old is None else old for old in may_be}
            elif what in ("get", "incr"):
                after_all = may_be
            else:
                after_all = {after}
            model[number] = may_be | after_all
            if what == "set" or what == "text":
                await cache.aio.set(number, value)
            elif what == "add":
                await cache.aio.add(number, value)
            elif what == "delete":
                await cache.aio.delete(number)
            elif what == "pop":
                assert await cache.aio.pop(number) in may_be
            elif what == "incr":
                counted[1] += 1
                await cache.aio.incr("count")
                counted[0] += 1
            elif what == "get":
                assert await cache.aio.get(number) in may_be
            else:
                async with cache.aio.transact(retry=True):
                    await cache.aio.set(number, value)
                    await cache.aio.set((number, "twin"), value)
            may_be = model[number] = after_all

    async def main() -> None:
        async with anyio.create_task_group() as group:
            scopes = [anyio.CancelScope() for _ in range(1000)]

            async def limited(number: int) -> None:
                with scopes[number]:
                    await work(number)

            for number in range(1000):
                group.start_soon(limited, number)
                if not number % 20:
                    await anyio.sleep(0)
            for number in dice.sample(range(1000), 500):
                scopes[number].cancel()
                if not number % 3:
                    await anyio.sleep(dice.random() * 0.005)

    loop(main)
    wrong = {
        number: (cache.get(number), may_be)
        for number, may_be in model.items()
        if cache.get(number) not in may_be
    }
    assert wrong == {}
    assert counted[0] <= cache.get("count", 0) <= counted[1]
    assert not gate.any_held()
    assert not workers.lanes


# Transactions


def test_a_transaction_belongs_to_its_task_alone(loop: Any, cache: Any):
    order: list[str] = []

    async def main() -> None:
        async def other() -> None:
            assert await cache.aio.get("a") is None
            await cache.aio.set("b", [1])
            order.append("other")

        async with anyio.create_task_group() as group, cache.aio.transact():
            await cache.aio.set("a", [1])
            await cache.aio.set("hot", "new")
            assert await cache.aio.get("hot") == "new"
            assert cache["hot"] == "old"
            group.start_soon(other)
            await anyio.sleep(0.1)
            assert await cache.aio.get("a") == [1]
            assert "a" not in cache  # a call of this thread, which the block is not part of
            async with cache.aio.transact():
                assert await cache.aio.incr("n") == 1
            order.append("block")

    cache["hot"] = "old"
    assert cache["hot"] == "old"
    loop(main)
    assert order == ["block", "other"]
    assert (cache["a"], cache["b"], cache["n"]) == ([1], [1], 1)
    assert not workers.lanes


def test_a_block_that_raises_undoes_its_changes(loop: Any, cache: Any):
    async def main() -> None:
        with contextlib.suppress(KeyError):
            async with cache.aio.transact():
                await cache.aio.set("a", 1)
                await cache.aio["b"]
        async with cache.aio.transact():
            await cache.aio.set("c", 1)

    loop(main)
    assert list(cache) == ["c"]


def test_many_tasks_take_turns_in_transactions(loop: Any, cache: Any):
    async def main() -> None:
        async def add() -> None:
            async with cache.aio.transact():
                total = await cache.aio.get("total", 0)
                await anyio.sleep(0)
                await cache.aio.set("total", total + 1)

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(add)
            for number in range(20):
                group.start_soon(cache.aio.add, number, number)

    loop(main)
    assert cache["total"] == 50
    assert len(cache) == 21


def test_a_transaction_times_out_as_its_cache_says(loop: Any, tmp_path: Path):
    async def main() -> None:
        async with anyio.create_task_group() as group:
            held, may_end = anyio.Event(), anyio.Event()

            async def hold() -> None:
                async with cache.aio.transact():
                    held.set()
                    await may_end.wait()

            group.start_soon(hold)
            await held.wait()
            with pytest.raises(dolium.Timeout):
                async with cache.aio.transact():
                    raise AssertionError
            with pytest.raises(dolium.Timeout):
                await cache.aio.add("a", 1)
            may_end.set()
            async with cache.aio.transact(retry=True):
                await cache.aio.add("a", 1)

    with dolium.Cache(tmp_path, timeout=0.1) as cache:
        loop(main)
        assert cache["a"] == 1


def test_a_transaction_of_a_lost_task_is_rolled_back(cache: Any):
    async def main() -> None:
        async def lose() -> None:
            block = cache.aio.transact()
            await block.__aenter__()
            await cache.aio.set("a", 1)

        await asyncio.create_task(lose())
        assert await cache.aio.add("b", [1], retry=True)

    asyncio.run(asyncio.wait_for(main(), 20))
    assert list(cache) == ["b"]


def test_a_with_block_of_the_task_takes_awaited_calls_along(loop: Any, cache: Any):
    async def main() -> None:
        with contextlib.suppress(KeyError), cache.transact():
            await cache.aio.set("a", [1])
            assert await cache.aio.get("a") == [1]
            raise KeyError

    loop(main)
    assert "a" not in cache


# Locks


def test_locks_exclude_tasks_and_leave_the_loop_alone(loop: Any, cache: Any):
    inside, most = 0, 0

    async def main() -> None:
        nonlocal most

        async def work(guard: Any, limit: int) -> None:
            nonlocal inside, most
            async with guard:
                inside += 1
                most = max(most, inside)
                while most < limit:
                    await anyio.sleep(0.002)
                await anyio.sleep(0.002)
                inside -= 1

        for make, limit in [(lambda: cache.aio.lock("l"), 1), (lambda: cache.aio.rlock("r"), 1),
                            (lambda: cache.aio.semaphore("s", value=3), 3)]:  # fmt: skip
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(work, make(), limit)
            assert most == limit
            most = 0
        lock = cache.aio.lock("l")
        await lock.acquire()
        assert await lock.locked()
        with anyio.move_on_after(0.05) as scope:
            await cache.aio.lock("l").acquire()
        assert scope.cancelled_caught
        await lock.release()
        assert not await lock.locked()
        assert isinstance(cache.aio.semaphore("s"), AsyncBoundedSemaphore)

    loop(main)


def test_throttle_and_barrier_wait_without_the_loop(loop: Any, cache: Any):
    ticks = Ticks()

    async def main() -> list[float]:
        @cache.aio.throttle(2, 0.5, name="t")
        async def moment() -> float:
            return time.monotonic()

        @cache.aio.barrier(name="b")
        async def alone() -> bool:
            return await cache.aio.lock("b").locked()

        assert await alone()
        return [await moment() for _ in range(5)]

    moments = loop(lambda: ticks.count_while(main))
    assert moments[4] - moments[0] >= 0.98
    assert ticks.count > 20


# Other faces


def test_get_or_set_computes_once_among_tasks(cache: Any):
    calls = 0

    async def compute() -> list[int]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        return [1]

    async def main() -> list[Any]:
        return await asyncio.gather(*(cache.aio.get_or_set("a", compute) for _ in range(50)))

    assert asyncio.run(main()) == [[1]] * 50
    assert calls == 1


def test_get_or_set_stores_on_every_loop(loop: Any, cache: Any):
    async def fail() -> int:
        raise KeyError("answer")

    async def main() -> None:
        assert await cache.aio.get_or_set("a", lambda: 5, expire=60, tag="t") == 5
        assert await cache.aio.get_or_set("a", fail) == 5
        for _ in range(2):
            with pytest.raises(KeyError):
                await cache.aio.get_or_set("b", fail, errors={KeyError: 60})

    loop(main)
    assert cache.get("a", tag=True) == (5, "t")
    with pytest.raises(KeyError):  # it was stored
        cache.get_or_set("b", lambda: 6, errors={KeyError: 60})


def test_named_parts_of_a_fanout_cache_are_awaited(loop: Any, tmp_path: Path):
    async def main() -> None:
        async with AsyncFanoutCache(tmp_path, shards=2) as cache:
            jobs, users = await cache.deque("jobs", maxlen=3), await cache.index("users")
            pages = await cache.cache("pages")
            await jobs.extend([1, 2, 3, 4])
            assert [job async for job in jobs] == [2, 3, 4]
            assert await jobs[-1] == 4
            assert await jobs[:2] == [2, 3]
            await jobs.rotate(1)
            assert [job async for job in reversed(jobs)] == [3, 2, 4]
            await users.set("ada", 36)
            assert await users["ada"] == 36
            with pytest.raises(KeyError):
                await users["alan"]
            async with users.transact():
                await users.set("alan", await users.get("ada") + 5)
            assert [item async for item in users.items()] == [("ada", 36), ("alan", 41)]
            await pages.set("/", "<html>")
            assert await pages.get("/") == "<html>"

    loop(main)


def test_files_are_read_on_another_thread(loop: Any, cache: Any, jobs: list[Any]):
    cache["a"] = b"line\n" * 100_000

    async def main() -> None:
        async with await cache.aio.read("a") as file:
            assert isinstance(file, AsyncFile)
            assert file.name == cache.info("a").path
            assert await file.readline() == b"line\n"
            assert await file.tell() == 5
            await file.seek(0)
            assert len(await file.read()) == 500_000
            await file.seek(499_990)
            assert [line async for line in file] == [b"line\n"] * 2
        with pytest.raises(KeyError):
            await cache.aio.read("b")

    loop(main)
    assert len(jobs) >= 8


# Errors


def test_errors_are_those_of_the_cache_itself(loop: Any, tmp_path: Path):
    with (
        dolium.Cache(tmp_path / "a", timeout=0.05) as cache,
        dolium.FanoutCache(tmp_path / "f", shards=1) as fanout,
    ):
        cache["text"] = "a"

        async def unlocked() -> None:
            with pytest.raises(TypeError):
                await cache.aio.incr("text")
            with pytest.raises(KeyError):
                await cache.aio.incr("none", default=None)

        async def main() -> None:
            with pytest.raises(dolium.Timeout):
                await cache.aio.add("a", 1)
            assert await fanout.aio.add("a", 1) is False

        loop(unlocked)
        with Child(HOLD, cache.directory) as one, Child(HOLD, fanout.directory + "/000") as other:
            one.line("held")
            other.line("held")
            loop(main)
            one.tell()
            other.tell()


def test_a_read_only_cache_is_read_and_refuses_writes(loop: Any, tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        cache["a"] = [1]

    async def main() -> None:
        async with AsyncCache(tmp_path, read_only=True) as cache:
            assert await cache.get("a") == [1]
            for write in (cache.set("b", 1), cache.delete("a"), cache.incr("n"), cache.push(1)):
                with pytest.raises(dolium.ReadOnlyError):
                    await write

    loop(main)


def test_operations_that_wait_survive_a_close(loop: Any, cache: Any):
    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(cache.aio.add, number, [number])
                if not number % 10:
                    group.start_soon(cache.aio.close)

    loop(main)
    assert len(cache) == 100


# Threads


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(loop: Any, cache: Any):
    async def main() -> int:
        await cache.aio.add("parent", [1])
        return 0

    async def of_child() -> None:
        await cache.aio.add("child", [1])
        async with cache.aio.transact():
            await cache.aio.incr("n")

    loop(main)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            thread = threading.Thread(target=lambda: asyncio.run(of_child()))
            thread.start()
            thread.join(20)
            code = int(thread.is_alive())
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    loop(main)
    assert set(cache) == {"parent", "child", "n"}


def test_loops_that_end_leave_the_threads_usable(loop: Any, cache: Any):
    for number in range(5):
        loop(lambda number=number: cache.aio.add(number, [number]))
    assert len(cache) == 5


def test_a_program_ends_while_writes_wait(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache, Child(HOLD, tmp_path) as holder:
        holder.line("held")
        start = time.monotonic()
        run(
            """
            import asyncio
            cache = dolium.Cache(sys.argv[1])
            async def main():
                for number in range(10):
                    asyncio.get_running_loop().create_task(cache.aio.add(number, [number], retry=True))
                await asyncio.sleep(0.2)
            asyncio.run(main())
            loop = asyncio.new_event_loop()  # one that nothing closes
            task = loop.create_task(cache.aio.add("lost", [1], retry=True))
            loop.run_until_complete(asyncio.sleep(0.2))
            """,
            tmp_path,
            options=["-W", "ignore"],
        )
        assert time.monotonic() - start < 40
        holder.tell()
        holder.finish()
        assert len(cache) == 0


def test_ctrl_c_ends_a_waiting_write(tmp_path: Path):
    with dolium.Cache(tmp_path), Child(HOLD, tmp_path) as holder:
        holder.line("held")
        body = """
        import asyncio
        cache = dolium.Cache(sys.argv[1])
        async def main():
            say("waits")
            await cache.aio.add("a", [1], retry=True)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say("interrupted")
        """
        with Child(body, tmp_path) as writer:
            writer.line("waits")
            time.sleep(0.2)
            writer.process.send_signal(2)
            writer.line("interrupted")
            writer.finish()
        holder.tell()


def test_faces_import_no_event_loop():
    program = (
        "import dolium, sys; dolium.Cache().aio; print(*({'asyncio', 'trio', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_loop_is_an_error_that_says_so():
    with pytest.raises(RuntimeError, match="no event loop"):
        loops.current()
