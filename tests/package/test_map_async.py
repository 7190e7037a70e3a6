"""`f.map` on coroutine functions: tasks, order, cancellation, errors, other runs."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import Child


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


def test_tasks_compute_side_by_side_and_no_more_than_asked(cache: Any):
    running = most = 0

    @cache.cached(version="1", key={"running": None, "most": None})
    async def double(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        while most < 4:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.005 * (number % 3))
        running -= 1
        return number * 2

    async def main() -> None:
        run = double.map(range(40), workers=4)
        assert [result async for result in run] == [number * 2 for number in range(40)]
        assert run.figures.computed == 40
        assert most == 4
        again = double.map(range(41), ordered=False)
        assert sorted([result async for result in again]) == [number * 2 for number in range(41)]
        assert again.figures.hits == 40

    asyncio.run(main())


def test_t32_tasks_read_at_most_two_workers_ahead(cache: Any):
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        for number in itertools.count():
            read += 1
            yield number

    @cache.cached(version="1")
    async def same(number: int) -> int:
        return number

    async def main() -> None:
        got = 0
        async with same.map(numbers(), workers=3) as run:
            async for result in run:
                assert result == got
                got += 1
                assert read <= got + 6
                if got == 30:
                    break

    asyncio.run(main())


def test_errors_of_tasks_end_the_run_or_are_collected(cache: Any):
    begun: list[int] = []
    finished: list[int] = []
    runs: list[Any] = []

    @cache.cached(version="1", key={"begun": None, "finished": None, "runs": None})
    async def picky(number: int) -> int:
        begun.append(number)
        while len(begun) < 3:
            await asyncio.sleep(0.001)
        if number == 2:
            raise KeyError(number)
        while not runs[0].failures:
            await asyncio.sleep(0.001)
        finished.append(number)
        return number

    async def main() -> None:
        runs.append(picky.map([1, 2, 3, 9], workers=3))
        with pytest.raises(KeyError) as raised:
            async for _ in runs[0]:
                pass
        assert sorted(begun) == [1, 2, 3], "no more begin"
        assert sorted(finished) == [1, 3], "those that run are finished"
        assert "2 done, 2 left" in getattr(raised.value, "__notes__", raised.value.args)
        run = picky.map([1, 2, 3], workers=3, errors="collect")
        results = [result async for result in run]
        assert results == [1, run.failures[0], 3]
        assert run.failures[0].item == 2

    asyncio.run(main())


def test_two_runs_of_tasks_share_the_work(cache: Any):
    """A run that has begun two items waits until the other one has."""
    calls: list[int] = []
    begun = {"one": 0, "other": 0}
    own = contextvars.ContextVar[str]("own")

    @cache.cached(version="1", key={"calls": None, "begun": None, "own": None})
    async def slow(number: int) -> int:
        calls.append(number)
        begun[own.get()] += 1
        while begun[own.get()] > 2 > min(begun.values()):
            await asyncio.sleep(0.001)
        return number

    async def job(name: str) -> int:
        own.set(name)
        run = slow.map(range(30), workers=2)
        assert [result async for result in run] == list(range(30))
        return run.figures.computed

    async def main() -> None:
        computed = await asyncio.gather(job("one"), job("other"))
        assert sorted(calls) == list(range(30))
        assert sum(computed) == 30
        assert min(computed) >= 2

    asyncio.run(main())


def test_cancelled_runs_leave_no_task_and_store_what_is_done(cache: Any):
    chance = random.Random(5)
    running = 0

    @cache.cached(version="1", key={"running": None})
    async def slow(number: int) -> int:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(0.002)
        finally:
            running -= 1
        return number

    async def job(first: int) -> None:
        async for _ in slow.map(range(first, first + 20), workers=3):
            pass

    async def main() -> None:
        jobs = [asyncio.create_task(job(chance.randrange(60))) for _ in range(60)]
        for task in jobs:
            await asyncio.sleep(0.001)
            if chance.random() < 0.6:
                task.cancel()
        ended = await asyncio.gather(*jobs, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
        assert running == 0
        deadline = time.monotonic() + 10
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert cache.check() == []


def test_run_that_is_forgotten_cancels_its_tasks(cache: Any):
    begun: list[int] = []
    ended: list[str] = []

    @cache.cached(version="1", key={"begun": None, "ended": None})
    async def slow(number: int) -> int:
        begun.append(number)
        if number == 0:
            while len(begun) < 3:
                await asyncio.sleep(0.001)
            return 0
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return number

    async def main() -> None:
        async for _ in slow.map([0, 1, 2], workers=3):
            break
        deadline = time.monotonic() + 20
        while len(ended) < 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert ended == ["cancelled"] * 2


def test_t26_no_exception_of_a_task_is_lost_or_shown_twice():
    body = """
    import asyncio, gc, dolium
    cache = dolium.Cache()
    @cache.cached(version="1")
    async def broken(number):
        await asyncio.sleep(0.001 * number)
        raise OSError(number)
    async def main():
        for options in ({}, {"errors": "collect"}):
            try:
                async for _ in broken.map(range(9), workers=4, **options):
                    break
            except OSError as error:
                say(error.args[0])
            gc.collect()
            await asyncio.sleep(0.05)
    asyncio.run(main())
    """
    with Child(body, options=["-X", "dev"]) as child:
        assert child.finish() == ["0"]
        assert "never" not in child.errors, child.errors


def test_modes_hold_in_tasks(cache: Any):
    @cache.cached(version="1")
    async def same(number: int) -> int:
        return number

    async def all_of(run: Any) -> list[int]:
        return [result async for result in run]

    async def main() -> None:
        with dolium.using("off"):
            assert await all_of(same.map([1, 2])) == [1, 2]
        assert len(cache) == 0
        with dolium.using("only"), pytest.raises(dolium.NotCachedError):
            await all_of(same.map([1]))
        await all_of(same.map([1]))
        before = (await same.entry(1)).stored
        with dolium.using("refresh"):
            run = same.map([1])
        assert await all_of(run) == [1]
        assert (await same.entry(1)).stored > before

    asyncio.run(main())


def test_asynchronous_generators_and_methods_map_too(cache: Any):
    @cache.cached(version="1")
    async def upto(number: int) -> AsyncIterator[int]:
        for each in range(number):
            yield each

    class Adder:
        def __fingerprint__(self) -> object:
            return 1

        @cache.cached(version="1")
        async def plus(self, number: int) -> int:
            return number + 1

    async def main() -> None:
        for _ in range(2):
            assert [items async for items in upto.map(range(3))] == [[], [0], [0, 1]]
        assert [result async for result in Adder().plus.map([1, 2])] == [2, 3]

    asyncio.run(main())


def test_tasks_take_a_number_of_workers_only(cache: Any):
    @cache.cached(version="1")
    async def same(number: int) -> int:
        return number

    with pytest.raises(TypeError, match="number of tasks"):
        same.map([1], workers=asyncio)
