"""What a long job costs: `f.map` beside joblib's Parallel over its Memory, 2,000 items of 1 ms on two processes.

`python bench/jobs.py [--rounds 3] [--save DIRECTORY]` measures both in turn in one run, first with nothing kept and
then with everything, prints the medians, and saves the raw times as JSON. It needs joblib.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ITEMS = 2_000
SECONDS = 0.001
WORKERS = 2
IDEAL = ITEMS * SECONDS / WORKERS
Job = Callable[[], int]


def of_dolium(directory: str) -> Job:
    import dolium

    cache = dolium.Cache(directory)

    @cache.cached(version="1")
    def wait(number: int) -> int:
        time.sleep(SECONDS)
        return number

    return lambda: sum(wait.map(range(ITEMS), workers=WORKERS))


def of_joblib(directory: str) -> Job:
    import joblib

    wait = joblib.Memory(directory, verbose=0).cache(waits)
    return lambda: sum(joblib.Parallel(WORKERS)(joblib.delayed(wait)(number) for number in range(ITEMS)))


def waits(number: int) -> int:
    time.sleep(SECONDS)
    return number


def measure(make: Callable[[str], Job]) -> dict[str, float]:
    """Seconds of the first run and of the second one, in a directory of its own."""
    directory = tempfile.mkdtemp()
    job = make(directory)
    times: dict[str, float] = {}
    for name in ("computed", "again"):
        started = time.perf_counter()
        assert job() == sum(range(ITEMS))
        times[name] = time.perf_counter() - started
    shutil.rmtree(directory, ignore_errors=True)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    libraries = {"dolium": of_dolium, "joblib": of_joblib}
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in libraries}
    for _ in range(arguments.rounds):
        for name, make in libraries.items():
            raw[name].append(measure(make))
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f}; ideal {IDEAL:.1f} s"
    )
    for what, times in (("computed", IDEAL), ("again", None)):
        ours, theirs = (statistics.median(each[what] for each in raw[name]) for name in libraries)
        beside = "" if times is None else f", {ours / times:.2f} x the ideal"
        print(f"{what:10}dolium {ours:.3f} s{beside}; joblib {theirs:.3f} s; {theirs / ours:.1f} times")
    if arguments.save:
        versions = {name: importlib.metadata.version(name) for name in libraries}
        arguments.save.mkdir(parents=True, exist_ok=True)
        file = arguments.save / f"{time.strftime('%Y-%m-%d')}-jobs.json"
        file.write_text(json.dumps({"versions": versions, "load": load, "raw": raw}, indent=1))
        print(f"raw times in {file}")


if __name__ == "__main__":
    main()
