"""How long an event loop stands still while another process holds the writer lock for a second.

`python bench/lag.py [--rounds 3] [--save DIRECTORY]` runs 20 tasks that add, 20 that increment, and one that wants to
wake every millisecond. Its lag is the time by which it wakes too late. Beside dolium's `cache.aio` stand diskcache
called in the loop, diskcache in the threads of the loop's executor, and a loop without a cache. It prints the median of
the worst lag of each round, and saves the raw lags as JSON. It needs diskcache.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HELD = 1.0
WRITES = 20
TICK = 0.001

HOLD = f"""
import importlib, sys, time
cache = importlib.import_module(sys.argv[1]).Cache(sys.argv[2])
with cache.transact():
    cache["held"] = True
    print("held", flush=True)
    time.sleep({HELD})
"""

Write = Callable[[int], Awaitable[Any]]
Make = Callable[[str], tuple[str, Write, Write]]


def of_dolium(directory: str) -> tuple[str, Write, Write]:
    import dolium

    cache = dolium.Cache(directory).aio
    return "dolium", lambda n: cache.add(n, [n]), lambda n: cache.incr(("count", n % 3))


def of_diskcache(directory: str) -> tuple[str, Write, Write]:
    cache: Any = importlib.import_module("diskcache").Cache(directory)

    async def add(number: int) -> Any:
        return cache.add(number, [number])

    async def incr(number: int) -> Any:
        return cache.incr(("count", number % 3))

    return "diskcache", add, incr


def of_diskcache_in_threads(directory: str) -> tuple[str, Write, Write]:
    cache: Any = importlib.import_module("diskcache").Cache(directory)

    async def add(number: int) -> Any:
        return await asyncio.to_thread(cache.add, number, [number])

    async def incr(number: int) -> Any:
        return await asyncio.to_thread(cache.incr, ("count", number % 3))

    return "diskcache", add, incr


def of_nothing(directory: str) -> tuple[str, Write, Write]:
    del directory
    return "", lambda n: asyncio.sleep(HELD), lambda n: asyncio.sleep(HELD)


async def lags(add: Write, incr: Write) -> list[float]:
    """Seconds by which a task woke too late, for as long as the writes took."""
    found: list[float] = []
    writes = asyncio.gather(*(write(number) for number in range(WRITES) for write in (add, incr)))
    before = time.perf_counter()
    while not writes.done():
        await asyncio.sleep(TICK)
        now = time.perf_counter()
        found.append(max(0.0, now - before - TICK))
        before = now
    await writes
    return found


def measure(make: Make) -> list[float]:
    with tempfile.TemporaryDirectory() as directory:
        library, add, incr = make(directory)
        if not library:
            return asyncio.run(lags(add, incr))
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, library, directory], stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            return asyncio.run(lags(add, incr))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    ways: dict[str, Make] = {
        "dolium, cache.aio": of_dolium,
        "diskcache in the loop": of_diskcache,
        "diskcache in threads": of_diskcache_in_threads,
        "no cache": of_nothing,
    }
    raw: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, make in ways.items():
            raw[name].append(measure(make))
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f}")
    for name, rounds in raw.items():
        worst = statistics.median(max(each) for each in rounds)
        usual = statistics.median(statistics.median(each) for each in rounds)
        print(f"{name:24}worst lag {1000 * worst:8.2f} ms, median {1000 * usual:6.2f} ms")
    if arguments.save:
        versions = {name: importlib.metadata.version(name) for name in ("dolium", "diskcache")}
        arguments.save.mkdir(parents=True, exist_ok=True)
        file = arguments.save / f"{time.strftime('%Y-%m-%d')}-lag.json"
        file.write_text(json.dumps({"versions": versions, "load": load, "raw": raw}, indent=1))
        print(f"raw lags in {file}")


if __name__ == "__main__":
    main()
