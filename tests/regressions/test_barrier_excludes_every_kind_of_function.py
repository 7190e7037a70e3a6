"""`barrier` and `throttle` on coroutine and generator functions do what they say, or are a TypeError."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import dolium
import pytest

LOCKS = [dolium.Lock, dolium.RLock, dolium.BoundedSemaphore]


@pytest.fixture(params=["Cache", "FanoutCache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with getattr(dolium, request.param)(tmp_path) as cache:
        yield cache


class Crowd:
    """Counts how many are inside."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def __exit__(self, *raised: object) -> None:
        self.now -= 1


def free(cache: Any) -> bool:
    """Whether another thread gets the lock 'turn' at once."""
    taken = []
    lock = dolium.Lock(cache, "turn")

    def take() -> None:
        with lock:
            taken.append(True)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(20)
    return bool(taken)


@pytest.mark.parametrize("factory", LOCKS)
def test_barrier_excludes_tasks_and_lets_the_loop_run(cache: Any, factory: Any):
    crowd, ticks = Crowd(), []

    @dolium.barrier(cache, factory)
    async def work(number: int) -> int:
        with crowd:
            await asyncio.sleep(0.01)
        return number

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.001)

    async def main() -> list[int]:
        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(*(work(n) for n in range(8)))
        ticking.cancel()
        return results

    assert asyncio.run(main()) == list(range(8))
    assert crowd.most == 1
    assert len(ticks) > 8


def test_barrier_excludes_tasks_from_threads_and_processes(tmp_path: Path):
    """Loops in two threads, and plain functions in two others."""
    cache = dolium.Cache(tmp_path)
    crowd = Crowd()

    @dolium.barrier(cache, dolium.Lock, name="turn")
    async def wait() -> None:
        with crowd:
            await asyncio.sleep(0.001)

    @dolium.barrier(cache, dolium.Lock, name="turn")
    def sleep() -> None:
        with crowd:
            time.sleep(0.001)

    async def several() -> None:
        await asyncio.gather(*(wait() for _ in range(10)))

    def run() -> None:
        for _ in range(10):
            sleep()

    threads = [threading.Thread(target=target) for target in (lambda: asyncio.run(several()), run) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert crowd.most == 1
    cache.close()


def test_a_cancelled_task_gives_the_lock_back(cache: Any):
    @dolium.barrier(cache, dolium.Lock, name="turn")
    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def main() -> None:
        for delay in (0, 0, 0.001, 0.002, 0.005, 0.02):
            # One inside, one that waits, and both in whatever moment.
            tasks = [asyncio.create_task(work(60)) for _ in range(2)]
            await asyncio.sleep(delay)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.wait_for(work(0), 30)

    asyncio.run(main())
    assert free(cache)


def test_a_semaphore_admits_as_many_tasks_as_it_has_places(cache: Any):
    crowd = Crowd()

    async def work() -> None:
        async with dolium.BoundedSemaphore(cache, "places", value=3):
            with crowd:
                await asyncio.sleep(0.01)

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(9)))

    asyncio.run(main())
    assert crowd.most in (2, 3)
    assert cache["places"] == 3


def test_rlock_lets_its_task_in_again(cache: Any):
    @dolium.barrier(cache, dolium.RLock)
    async def down(depth: int) -> int:
        return 0 if depth == 0 else 1 + await down(depth - 1)

    async def main() -> list[int]:
        return await asyncio.gather(*(down(3) for _ in range(3)))

    assert asyncio.run(asyncio.wait_for(main(), 60)) == [3, 3, 3]


def test_a_lock_inside_a_transaction_of_its_task_is_taken(cache: Any):
    async def main() -> None:
        with cache.transact():
            async with dolium.Lock(cache, "turn"):
                assert "turn" in cache

    asyncio.run(asyncio.wait_for(main(), 60))
    assert "turn" not in cache


def test_barrier_holds_while_a_generator_runs(cache: Any):
    @dolium.barrier(cache, dolium.Lock, name="turn")
    def numbers() -> Any:
        received = yield 1
        try:
            yield received
        finally:
            assert "turn" in cache
        return "result"

    steps = numbers()
    assert "turn" not in cache
    assert (next(steps), steps.send("sent")) == (1, "sent")
    assert "turn" in cache
    steps.close()
    assert free(cache)
    assert list(numbers()) == [1, None]
    assert free(cache)


def test_barrier_holds_while_an_async_generator_runs(cache: Any):
    crowd = Crowd()
    ended = []

    @dolium.barrier(cache, dolium.Lock, name="turn")
    async def numbers() -> Any:
        with crowd:
            try:
                received = yield 1
                await asyncio.sleep(0.001)
                try:
                    yield received
                except KeyError:
                    yield "caught"
            finally:
                assert "turn" in cache
                ended.append(True)

    async def consume() -> list[Any]:
        return [number async for number in numbers()]

    async def main() -> None:
        assert await asyncio.gather(*(consume() for _ in range(4))) == [[1, None]] * 4
        steps = numbers()
        assert (await anext(steps), await steps.asend("sent")) == (1, "sent")
        assert await steps.athrow(KeyError()) == "caught"
        await steps.aclose()
        assert len(ended) == 5

    asyncio.run(main())
    assert crowd.most == 1
    assert free(cache)


def test_barrier_refuses_what_it_cannot_exclude(cache: Any):
    class Foreign:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *raised: object) -> None: ...

    async def work() -> None: ...

    async def numbers() -> Any:
        yield 1

    for func in (work, numbers):
        with pytest.raises(TypeError, match=r"Foreign has no `async with`"):
            dolium.barrier(cache, Foreign)(func)
    dolium.barrier(cache, Foreign)(lambda: 1)

    @dolium.barrier(cache, dolium.Lock, name="turn")
    def hidden() -> Any:
        return work()

    with pytest.raises(TypeError, match="coroutine"):
        hidden()
    assert free(cache)


def test_decorated_functions_keep_name_and_kind(cache: Any):
    import inspect

    barrier = dolium.barrier(cache, dolium.Lock)

    async def coroutine() -> None:
        """Doc."""

    async def async_generator() -> Any:
        yield

    def generator() -> Any:
        yield

    assert inspect.iscoroutinefunction(barrier(coroutine))
    assert inspect.isasyncgenfunction(barrier(async_generator))
    assert inspect.isgeneratorfunction(barrier(generator))
    assert (barrier(coroutine).__name__, barrier(coroutine).__doc__) == ("coroutine", "Doc.")


def test_throttle_of_coroutines_lets_the_loop_run(cache: Any):
    slept: list[float] = []
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    throttle = dolium.throttle(cache, 2, 1, name="calls", time_func=lambda: clock[0], sleep_func=sleep)

    @throttle
    async def moment() -> float:
        return clock[0]

    @throttle
    async def moments() -> Any:
        yield clock[0]

    async def main() -> list[float]:
        return [await moment() for _ in range(3)] + [time async for time in moments()]

    assert asyncio.run(main()) == [0.0, 0.0, 1.0, 1.0]
    assert slept == [1.0]


def test_throttle_of_coroutines_sleeps_in_the_loop(cache: Any):
    ticks = []

    @dolium.throttle(cache, 1, 0.05)
    async def call() -> None: ...

    async def tick() -> None:
        while True:
            ticks.append(None)
            await asyncio.sleep(0.001)

    async def main() -> float:
        ticking = asyncio.create_task(tick())
        start = time.monotonic()
        await asyncio.gather(*(call() for _ in range(4)))
        ticking.cancel()
        return time.monotonic() - start

    assert asyncio.run(main()) >= 0.14
    assert len(ticks) > 10
