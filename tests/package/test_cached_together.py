"""Wrapped functions on several threads, loops and processes; the command line on what they keep."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import Child


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


def on_threads(count: int, call: Any) -> list[Any]:
    """What a call returns or raises on each of several threads at once."""
    results: list[Any] = []
    start = threading.Barrier(count)

    def work() -> None:
        start.wait(20)
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_one_of_twenty_threads_computes(cache: Any):
    calls: list[int] = []

    @cache.cached(version="1", key=lambda: 0)
    def slow() -> list[int]:
        calls.append(1)
        time.sleep(0.2)
        return [5]

    results = on_threads(20, slow)
    assert results == [[5]] * 20
    assert len(calls) == 1
    assert slow.info().waited == 19


def test_t25_a_failure_is_one_attempt_for_all_who_waited(cache: Any):
    """emboss, cachetools and anyio repeat it once for each caller."""
    calls: list[int] = []

    @cache.cached(version="1", key=lambda: 0)
    def broken() -> None:
        calls.append(1)
        time.sleep(0.2)
        raise OSError("down")

    results = on_threads(20, broken)
    assert [type(result) for result in results] == [OSError] * 20
    assert len(calls) == 1
    assert len(cache) == 0


crossing = dolium.Cache()
both = threading.Barrier(2)


@crossing.cached
def fa(depth: int) -> str:
    if depth:
        both.wait(10)
        return "a" + fb(depth - 1)
    return "a"


@crossing.cached
def fb(depth: int) -> str:
    if depth:
        both.wait(10)
        return "b" + fa(depth - 1)
    return "b"


def test_t24_crossing_calls_on_two_threads_end():
    """emboss hangs for ever."""
    calls = iter([functools.partial(fa, 1), functools.partial(fb, 1)])
    assert sorted(on_threads(2, lambda: next(calls)() + "")) == ["ab", "ba"]


def test_t24_a_function_that_meets_its_own_key_computes(cache: Any):
    depth = 0

    @cache.cached(version="1", key=lambda: 0)
    def again() -> int:
        nonlocal depth
        depth += 1
        return depth if depth == 3 else again()

    assert again() == 3


def test_t27_loops_of_several_threads_share_a_computation(cache: Any):
    calls: list[int] = []

    @cache.cached(version="1", key=lambda: 0)
    async def slow() -> int:
        calls.append(1)
        await asyncio.sleep(0.2)
        return 5

    async def many() -> list[int]:
        return await asyncio.gather(*(slow() for _ in range(5)))

    assert on_threads(3, lambda: asyncio.run(many())) == [[5] * 5] * 3
    assert len(calls) == 1
    assert asyncio.run(slow()) == 5


def test_t28_a_cancelled_caller_leaves_the_others_alone(cache: Any):
    calls: list[int] = []

    @cache.cached(version="1", key=lambda: 0)
    async def slow() -> int:
        calls.append(1)
        await asyncio.sleep(0.2)
        return 5

    async def main() -> None:
        tasks = [asyncio.create_task(slow()) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        assert await asyncio.gather(*tasks[1:]) == [5, 5]
        assert tasks[0].cancelled()

    asyncio.run(main())
    assert len(calls) == 1


def test_a_coroutine_function_is_known_as_one(cache: Any):
    @cache.cached(version="1")
    async def f() -> int:
        return 5

    import inspect

    assert inspect.iscoroutinefunction(f.__call__)
    assert sys.version_info < (3, 12) or inspect.iscoroutinefunction(f)


PROCESS = """
cache = dolium.Cache(sys.argv[1])
@cache.cached(version="1", name="f()")
def f(n):
    say("computed")
    time.sleep(0.3)
    return n
hear()
say(f(5))
"""


def test_t22_one_of_four_processes_computes(tmp_path: Path):
    children = [Child(PROCESS, tmp_path) for _ in range(4)]
    lines: list[str] = []
    try:
        for child in children:
            child.tell("")
        for child in children:
            with child:
                lines += child.finish()
    finally:
        for child in children:
            child.process.kill()
    assert lines.count("computed") == 1
    assert lines.count("5") == 4


def command(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dolium", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_lists_functions_and_forgets_them(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        for version in "12":
            f = cache.cached(name="f()", version=version)(lambda a: "x" * 100_000)
            f(1), f(2)
        cache.cached(name="g()", version="1")(lambda: 5)()
        cache["other"] = 1
    found = [json.loads(line) for line in command("functions", tmp_path, "--json").splitlines()]
    assert [(line["function"], line["version"], line["entries"]) for line in found] == [
        ("f()", "1", 2),
        ("f()", "2", 2),
        ("g()", "1", 1),
    ]
    assert found[0]["bytes"] > 200_000
    assert found[0]["seconds"] > 0
    assert "f()" in command("functions", tmp_path)
    assert "2 entries" in command("forget", tmp_path, "f", "--old")
    assert "2 entries" in command("forget", tmp_path, "f()")
    with dolium.Cache(tmp_path) as cache:
        assert len(cache) == 2
