"""Flights within a process: threads, tasks and event loops that miss one key compute it once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium.constants import MISS
from dolium.functions.flight import ProcessPlace, own, run, run_async
from helpers.children import PATIENCE
from helpers.children import run as run_child

LONG = 20 * PATIENCE


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[dolium.Cache]:
    with dolium.Cache(str(tmp_path)) as cache:
        yield cache


class Slow:
    """A keyed computation that notes how often it began, and goes on when it is let."""

    def __init__(self, cache: Any, result: Any = "value", place: Any = None) -> None:
        self.cache, self.result = cache, result
        self.place = cache if place is None else place
        self.began = threading.Semaphore(0)
        self.go = threading.Event()
        self.calls = 0
        self.keeps = True

    def look(self, key: Any = "key") -> Any:
        return self.cache.get(key, MISS)

    def store(self, value: Any, key: Any = "key") -> Any:
        if not self.keeps:
            return MISS
        self.cache.add(key, value)
        return self.look(key)

    def compute(self) -> Any:
        self.calls += 1
        self.began.release()
        assert self.go.wait(LONG)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    async def compute_async(self) -> Any:
        self.calls += 1
        self.began.release()
        while not self.go.is_set():
            await asyncio.sleep(0.001)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    def run(self, wait: float | None = None, **options: Any) -> Any:
        return run(self.place, "key", self.look, self.compute, self.store, wait, **options)

    async def run_async(self, wait: float | None = None, **options: Any) -> Any:
        return await run_async(self.place, "key", self.look, self.compute_async, self.store, wait, **options)

    def start(self) -> None:
        """Wait until it computes."""
        assert self.began.acquire(timeout=LONG)


def waits(*futures: Any) -> bool:
    time.sleep(0.1)
    return not any(future.done() for future in futures)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


# Threads


@pytest.mark.parametrize("shared", [True, False])
def test_threads_that_miss_one_key_compute_it_once(cache, pool, shared):
    slow = Slow(cache, place=cache if shared else ProcessPlace())
    futures = [pool.submit(slow.run) for _ in range(40)]
    slow.start()
    assert waits(*futures)
    slow.go.set()
    assert {future.result(LONG) for future in futures} == {"value"}
    assert slow.calls == 1


def test_t25_a_failure_is_shared_not_repeated(cache, pool):
    slow = Slow(cache, ValueError("once"))
    futures = [pool.submit(slow.run) for _ in range(20)]
    slow.start()
    assert waits(*futures)
    slow.go.set()
    errors = [future.exception(LONG) for future in futures]
    assert slow.calls == 1
    assert {(type(error), error.args) for error in errors} == {(ValueError, ("once",))}
    assert len({id(error) for error in errors}) == 20
    for error in errors:
        frames = traceback.extract_tb(error.__traceback__)
        assert frames[-1].name == "compute", "it shows where it was raised"
        assert sum(frame.name == "run" for frame in frames) <= 3, "and no thread's traceback but its own"
    # Nothing is kept of it.
    slow.result = "value"
    assert slow.run() == "value"
    assert slow.calls == 2


def test_an_exception_of_any_class_is_copied_or_raised():
    class Odd(Exception):
        def __init__(self, code: int, *, text: str) -> None:
            super().__init__(f"{code}: {text}")
            self.code = code

    class Hopeless(Exception):
        def __new__(cls, *, secret: object) -> Hopeless:
            return super().__new__(cls, secret)

        def __init__(self, *, secret: object) -> None: ...

        def __reduce__(self) -> Any:
            raise TypeError

    odd = Odd(3, text="x")
    odd.__cause__ = KeyError(1)
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")
    missing = FileNotFoundError(2, "no", "file")
    for original in (odd, error, missing, KeyError("k"), StopIteration(3)):
        copy = own(original)
        assert copy is not original
        assert type(copy) is type(original)
        assert (str(copy), copy.args) == (str(original), original.args)
        assert copy.__dict__ == original.__dict__
        assert copy.__cause__ is original.__cause__
    hopeless = Hopeless(secret=object())
    assert own(hopeless) is hopeless
    assert own(missing).filename == "file"  # type: ignore[attr-defined]


def test_an_interrupted_owner_is_relieved(cache, pool):
    slow = Slow(cache, KeyboardInterrupt())
    first = pool.submit(slow.run)
    slow.start()
    futures = [pool.submit(slow.run) for _ in range(10)]
    assert waits(*futures)
    slow.go.set()
    assert isinstance(first.exception(LONG), KeyboardInterrupt)
    # Each that takes over is interrupted in its turn.
    assert {type(future.exception(LONG)) for future in futures} == {KeyboardInterrupt}
    assert slow.calls == 11


def test_a_result_that_is_not_kept_is_computed_by_all_at_once(cache, pool):
    slow = Slow(cache)
    slow.keeps = False
    first = pool.submit(slow.run)
    slow.start()
    meet = threading.Barrier(11)

    def together() -> str:
        meet.wait(LONG)
        return "mine"

    def call() -> Any:
        return run(cache, "key", slow.look, together, slow.store)

    futures = [pool.submit(call) for _ in range(10)]
    assert waits(*futures)
    slow.go.set()
    meet.wait(LONG)  # all of them compute at the same time
    assert {future.result(LONG) for future in futures} == {"mine"}
    assert first.result(LONG) == "value"


def test_a_caller_waits_as_long_as_it_said_then_computes(cache, pool):
    slow = Slow(cache)
    owner = pool.submit(slow.run)
    slow.start()
    begun = time.monotonic()
    assert run(cache, "key", slow.look, lambda: "other", slow.store, 0.1) == "other"
    assert 0.05 < time.monotonic() - begun < LONG
    slow.go.set()
    # The first that was stored stays, and both return it.
    assert owner.result(LONG) == "other"


def test_a_wait_of_zero_turns_flights_off(cache, pool):
    slow = Slow(cache)
    futures = [pool.submit(slow.run, 0) for _ in range(5)]
    for _ in futures:
        slow.start()
    slow.go.set()
    assert {future.result(LONG) for future in futures} == {"value"}


def test_a_stale_value_is_returned_instead_of_waiting(cache, pool):
    slow = Slow(cache)
    owner = pool.submit(slow.run)
    slow.start()
    assert slow.run(stale="old") == "old"
    assert asyncio.run(slow.run_async(stale="old")) == "old"
    slow.go.set()
    assert owner.result(LONG) == "value"


def test_t24_a_computation_that_meets_its_own_key_computes(cache):
    depth = 0

    def compute() -> int:
        nonlocal depth
        depth += 1
        return depth if depth == 3 else call()

    def call() -> int:
        return cache.get_or_set("key", compute)

    assert call() == 3


def test_t24_a_task_that_a_computation_starts_meets_its_key(cache):
    async def inner() -> Any:
        return await run_async(cache, "key", lambda: cache.get("key", MISS), done, store)

    async def done() -> str:
        return "inner"

    async def outer() -> Any:
        return await asyncio.create_task(inner())

    def store(value: Any) -> Any:
        cache.add("key", value)
        return cache["key"]

    async def main() -> Any:
        call = run_async(cache, "key", lambda: cache.get("key", MISS), outer, store)
        return await asyncio.wait_for(call, LONG)

    assert asyncio.run(main()) == "inner"


def test_t24_a_loop_that_a_computation_runs_meets_its_key(cache):
    async def inner() -> Any:
        return await run_async(cache, "key", lambda: cache.get("key", MISS), done, lambda value: value)

    async def done() -> str:
        return "inner"

    assert cache.get_or_set("key", lambda: asyncio.run(asyncio.wait_for(inner(), LONG))) == "inner"


def circle(cache: Any, names: str, meet: threading.Barrier) -> Callable[[str], Any]:
    """A function for each name that calls for the next one, once all have begun."""

    def call(name: str, fresh: bool = True) -> Any:
        after = names[(names.index(name) + 1) % len(names)]

        def compute() -> str:
            if fresh:
                meet.wait(LONG)
            return name if not fresh else name + call(after, False)

        return cache.get_or_set(name, compute)

    return call


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])
def test_t24_threads_that_cross_all_end(tmp_path, pool, names, kind):
    for round_ in range(10):
        with kind(str(tmp_path / f"{round_}")) as cache:
            call = circle(cache, names, threading.Barrier(len(names)))
            futures = [pool.submit(call, name) for name in names]
            for name, future in zip(names, futures, strict=True):
                assert future.result(LONG)[0] == name


def test_t24_threads_that_cross_in_two_caches_all_end(tmp_path, pool):
    caches = {name: dolium.Cache(str(tmp_path / name)) for name in "ab"}
    meet = threading.Barrier(2)

    def call(name: str, fresh: bool = True) -> Any:
        def compute() -> str:
            if fresh:
                meet.wait(LONG)
                call("b" if name == "a" else "a", False)
            return name

        return caches[name].get_or_set("key", compute)

    futures = [pool.submit(call, name) for name in caches]
    assert [future.result(LONG) for future in futures] == ["a", "b"]


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_t24_tasks_that_cross_all_end(cache, names):
    async def call(name: str, begun: list[str], fresh: bool = True) -> str:
        after = names[(names.index(name) + 1) % len(names)]

        async def compute() -> str:
            begun.append(name)
            while fresh and len(begun) < len(names):
                await asyncio.sleep(0)
            return name + await call(after, begun, False) if fresh else name

        def look() -> Any:
            return cache.get(name, MISS)

        def store(value: str) -> Any:
            cache.add(name, value)
            return look()

        return await run_async(cache, name, look, compute, store)

    async def main() -> list[str]:
        begun: list[str] = []
        return await asyncio.wait_for(asyncio.gather(*(call(name, begun) for name in names)), LONG)

    assert [text[0] for text in asyncio.run(main())] == list(names)


def test_inside_a_transaction_no_caller_waits(cache, pool):
    slow = Slow(cache)
    owner = pool.submit(slow.run)
    slow.start()
    with cache.transact():
        assert run(cache, "key", slow.look, lambda: "mine", slow.store) == "mine"
    slow.go.set()
    assert owner.result(LONG) == "mine"


def test_t30_another_thread_may_end_a_flight(cache, pool):
    flight = cache._flight("key", (), True)
    waiter = pool.submit(lambda: run(cache, "key", lambda: cache.get("key", MISS), lambda: "late", print))
    assert waits(waiter)
    cache["key"] = "value"
    threading.Thread(target=flight.end, args=("kept",)).start()
    assert waiter.result(LONG) == "value"


def test_a_flight_that_is_collected_frees_its_key(cache, pool):
    flight = cache._flight("key", (), True)
    slow = Slow(cache)
    slow.go.set()
    future = pool.submit(slow.run)
    assert waits(future)
    del flight
    gc.collect()
    assert future.result(LONG) == "value"


class Failed(Exception):
    pass


def test_random_schedules_end_and_agree(tmp_path):
    """Threads and loops with nested, crossing, failing calls: each ends, and each value is its key's."""
    chance = random.Random(16)
    keys = "abcde"
    with dolium.Cache(str(tmp_path)) as cache, ThreadPoolExecutor(16) as pool:

        def compute(key: str, plan: list[str]) -> str:
            if plan:
                call(plan[0], plan[1:])
            if chance.random() < 0.1:
                raise Failed
            return "value of " + key

        def call(key: str, plan: list[str]) -> None:
            with contextlib.suppress(Failed):
                assert cache.get_or_set(key, lambda: compute(key, plan)) == "value of " + key
            if chance.random() < 0.5:
                cache.delete(key)

        def plans(count: int) -> list[list[str]]:
            return [[chance.choice(keys) for _ in range(chance.randrange(1, 5))] for _ in range(count)]

        futures = [pool.submit(call, plan[0], plan[1:]) for plan in plans(2000)]
        for future in futures:
            future.result(LONG)


# Tasks


def test_tasks_that_miss_one_key_compute_it_once(cache):
    slow = Slow(cache)

    async def main() -> list[str]:
        calls = asyncio.gather(*(slow.run_async() for _ in range(100)))
        await asyncio.sleep(0.01)
        slow.go.set()
        return await calls

    assert set(asyncio.run(main())) == {"value"}
    assert slow.calls == 1


def test_t26_no_exception_is_never_retrieved(tmp_path):
    body = """
    import asyncio, gc, warnings
    from dolium.constants import MISS
    from dolium.functions.flight import run_async
    cache = dolium.Cache(sys.argv[1])
    async def fail():
        await asyncio.sleep(0.02)
        raise ValueError("once")
    def call():
        return run_async(cache, "key", lambda: cache.get("key", MISS), fail, lambda value: value)
    async def main():
        results = await asyncio.gather(*(call() for _ in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {ValueError}, results
        assert all(result.__traceback__.tb_next for result in results)
        left = asyncio.create_task(call())
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.wait([left])
        await asyncio.sleep(0.05)
    asyncio.run(main())
    asyncio.run(main())
    gc.collect()
    cache.close()
    """
    with_errors = run_child(body, tmp_path, options=("-X", "dev", "-W", "error"))
    assert with_errors == []


def test_t27_loops_and_threads_share_a_flight(cache, pool):
    slow = Slow(cache)
    tasks = [pool.submit(lambda: asyncio.run(slow.run_async())) for _ in range(5)]
    slow.start()
    threads = [pool.submit(slow.run) for _ in range(5)]
    assert waits(*tasks, *threads)
    slow.go.set()
    assert {future.result(LONG) for future in tasks + threads} == {"value"}
    assert slow.calls == 1


def test_t27_a_second_run_of_a_loop_works(cache):
    for result in (ValueError("first"), "second"):
        slow = Slow(cache, result)
        slow.go.set()
        if isinstance(result, Exception):
            with pytest.raises(ValueError, match="first"):
                asyncio.run(slow.run_async())
        else:
            assert asyncio.run(slow.run_async()) == result


def test_t27_tasks_wait_for_a_thread_and_the_loop_goes_on(cache, pool):
    slow = Slow(cache)
    owner = pool.submit(slow.run)
    slow.start()
    ticks = 0

    async def main() -> str:
        nonlocal ticks
        call = asyncio.create_task(slow.run_async())
        while ticks < 20:
            await asyncio.sleep(0.001)
            ticks += 1
        assert not call.done()
        slow.go.set()
        return await call

    assert asyncio.run(main()) == "value"
    assert (owner.result(LONG), ticks, slow.calls) == ("value", 20, 1)


def test_t28_a_cancelled_caller_leaves_the_others_alone(cache):
    slow = Slow(cache)

    async def main() -> list[Any]:
        calls = [asyncio.create_task(slow.run_async()) for _ in range(3)]
        await asyncio.sleep(0.02)
        calls[0].cancel()
        await asyncio.sleep(0.02)
        slow.go.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    first, *others = asyncio.run(main())
    assert isinstance(first, asyncio.CancelledError)
    assert (others, slow.calls) == (["value", "value"], 1)


def test_t28_the_task_is_cancelled_when_no_caller_is_left(cache):
    ended: list[str] = []

    async def compute() -> str:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "value"

    async def main() -> None:
        def call() -> Any:
            return run_async(cache, "key", lambda: cache.get("key", MISS), compute, lambda value: value)

        calls = [asyncio.create_task(call()) for _ in range(3)]
        await asyncio.sleep(0.02)
        for task in calls[:2]:
            task.cancel()
        await asyncio.sleep(0.05)
        assert not ended, "one is left"
        calls[2].cancel()
        await asyncio.wait(calls)
        await asyncio.sleep(0.05)
        assert ended == ["cancelled"]
        # And the key is free.
        assert cache.get_or_set("key", lambda: "next") == "next"

    asyncio.run(main())


def test_t28_a_thread_that_waits_keeps_the_task_alive(cache, pool):
    slow = Slow(cache)

    async def main() -> Any:
        call = asyncio.create_task(slow.run_async())
        await asyncio.sleep(0.02)
        waiting = pool.submit(slow.run)
        await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.sleep(0.1)
        slow.go.set()
        return await asyncio.wrap_future(waiting)

    assert asyncio.run(main()) == "value"
    assert slow.calls == 1


def test_t29_a_renewal_that_hangs_stops_no_caller_with_a_value(cache, pool):
    slow = Slow(cache)
    renewal = pool.submit(slow.run)
    slow.start()
    begun = time.monotonic()
    assert {slow.run(stale="old") for _ in range(100)} == {"old"}
    assert time.monotonic() - begun < LONG
    slow.go.set()
    renewal.result(LONG)


def test_t29_a_cancelled_renewal_frees_the_key(cache):
    async def main() -> None:
        slow = Slow(cache)
        renewal = asyncio.create_task(slow.run_async())
        await asyncio.sleep(0.02)
        assert await slow.run_async(stale="old") == "old"
        renewal.cancel()
        await asyncio.wait([renewal])
        await asyncio.sleep(0.05)
        slow.go.set()
        assert await slow.run_async() == "value"

    asyncio.run(main())


def test_a_loop_that_is_closed_frees_its_keys(cache):
    slow = Slow(cache)

    async def main() -> None:
        asyncio.get_running_loop().create_task(slow.run_async())
        await asyncio.sleep(0.02)

    asyncio.run(main())
    slow.go.set()
    assert slow.run() == "value"


def test_context_variables_of_the_caller_are_seen(cache):
    colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour")

    async def compute() -> str:
        return colour.get()

    async def main() -> str:
        colour.set("blue")
        return await run_async(cache, "key", lambda: cache.get("key", MISS), compute, lambda value: value)

    assert asyncio.run(main()) == "blue"
