"""Reads of many entries: in turn, warm and after a restart, of present and of absent keys, beside LMDB in one run.

    python bench/reads.py [--entries 100000 1000000] [--only NAME ...] [--phases NAME ...] [--seconds 20] \\
        [--rivals PYTHON] [--save FILE]

Each phase is a process of its own, as after a restart, and reads the same random keys whatever the cache. `warm` reads
until the time is up and reports each second: how the hot tier grows, how long that takes, and how many bytes
the process has the system write meanwhile. BENCH_CLOCK=cpu measures the processor's time,
not the time that passes. It keeps the order of the phases; the caches are in faces.py.
"""

from __future__ import annotations

import argparse
import bisect
import importlib
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from faces import FACES, Dolium, Face, LmdbUnsynced

VALUE = bytes(range(100))
FIRST = 20_000  # reads after a start
CHUNK = 1000  # keys of one get_many
LIMIT = 1 << 40  # bytes: no entry is evicted
REFERENCE = "py-lmdb, unsynced"


class LmdbMapped(LmdbUnsynced):
    """LMDB at its fastest: not synced, and written through the map."""

    options: ClassVar[dict[str, Any]] = {"map_size": 1 << 36, "sync": False, "writemap": True}


class DoliumUnlimited(Dolium):
    """dolium without a limit that a million entries would reach."""

    def __init__(self, directory: Path, policy: str = "least-recently-stored") -> None:
        self.adopt(__import__(self.module).Cache(str(directory), eviction_policy=policy, size_limit=LIMIT))


# On a machine that does other things, the processor's time of this thread is what can be compared.
clock = time.thread_time if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter

CACHES: dict[str, type[Face]] = FACES | {"dolium": DoliumUnlimited, REFERENCE: LmdbMapped}


def keys_of(face: type[Face], entries: int, prefix: str = "key") -> list[Any]:
    return [face.key(f"{prefix}-{number:08}") for number in range(entries)]


def uniform(keys: list[Any], seed: int) -> Iterator[list[Any]]:
    """Batches of keys, each as likely as any other."""
    chance = random.Random(seed)
    while True:
        yield chance.choices(keys, k=FIRST)


def zipf(keys: list[Any], seed: int) -> Iterator[list[Any]]:
    """Batches of keys, the n-th of which is read as often as 1 / n says."""
    chance = random.Random(seed)
    shuffled = random.Random(0).sample(keys, len(keys))
    sums = list(itertools.accumulate(1 / place for place in range(1, len(keys) + 1)))
    while True:
        yield [shuffled[bisect.bisect(sums, chance.random() * sums[-1])] for _ in range(FIRST)]


LOADS: dict[str, Callable[[list[Any], int], Iterator[list[Any]]]] = {"uniform": uniform, "zipf": zipf}


def timed(call: Callable[[Any], Any], inputs: list[Any]) -> float:
    """Seconds of a call, on average: what is rare and slow counts."""
    before = clock()
    for item in inputs:
        call(item)
    return (clock() - before) / len(inputs)


def written() -> int:
    """Bytes that this process has made the system write to the disk, or will."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def fill(face: type[Face], directory: Path, entries: int) -> dict[str, Any]:
    shutil.rmtree(directory, ignore_errors=True)
    cache, keys = face(directory), keys_of(face, entries)
    before = clock()
    for at in range(0, entries, 10_000):
        cache.set_many([(key, VALUE) for key in keys[at : at + 10_000]])
    took = (clock() - before) / entries
    cache.close()
    return {"fill": took}


def first(face: type[Face], directory: Path, entries: int, load: str) -> dict[str, Any]:
    """The first reads of a new process, which has imported the library."""
    batch = next(LOADS[load](keys_of(face, entries), 1))
    before = clock()
    importlib.import_module(face.module)
    imported = clock() - before
    before = clock()
    cache = face(directory)
    for key in batch:
        cache.get(key)
    took = (clock() - before) / len(batch)
    if cache.get(batch[0]) != VALUE:
        raise AssertionError("the entries are not there")
    cache.close()
    return {"first": took, "import": imported}


def warm(face: type[Face], directory: Path, entries: int, load: str, seconds: float) -> dict[str, Any]:
    """Reads until the time is up, and what each second of it was like."""
    batches = LOADS[load](keys_of(face, entries), 2)
    cache = face(directory)
    bytes_before, steps, used = written(), [], 0.0
    while used < seconds:
        times: list[float] = []
        while sum(times) * FIRST < 1:
            times.append(timed(cache.get, next(batches)))
        used += sum(times) * FIRST
        steps.append({"at": round(used, 2), "get": statistics.median(times), "hot": hot(cache)})
    figures = {
        "warm": min(step["get"] for step in steps[-3:]),
        "steps": steps,
        "written": written() - bytes_before,
    }
    cache.close()
    return figures


def hot(cache: Face) -> dict[str, Any]:
    """What dolium says of its hot tier."""
    stats = getattr(getattr(cache, "cache", None), "stats", None)
    tier = getattr(stats(), "hot", None) if stats else None
    return {name: getattr(tier, name) for name in ("capacity", "keys", "fills", "returns") if tier}


def absent(face: type[Face], directory: Path, entries: int) -> dict[str, Any]:
    """Reads of keys that are not there, each for the first time and then for the second."""
    cache = face(directory)
    missing = random.Random(3).sample(keys_of(face, entries, "absent"), min(entries, 5 * FIRST))
    batches = [missing[at : at + FIRST] for at in range(0, len(missing), FIRST)]
    timed(cache.get, keys_of(face, 2000))
    figures = {"miss": statistics.median(timed(cache.get, batch) for batch in batches)}
    few = missing[:1000]
    for _ in range(3):
        again = timed(cache.get, few)
    figures["miss_again"] = again
    cache.close()
    return figures


def many(face: type[Face], directory: Path, entries: int) -> dict[str, Any]:
    """Batches of keys that the process has not read before, and the same keys one by one."""
    cache, keys = face(directory), keys_of(face, entries)
    if cache.get_many is None:
        return {}
    timed(cache.get, keys[:2000])
    chosen = random.Random(4).sample(keys, min(entries, 40 * CHUNK) // 2 * 2)
    half = len(chosen) // 2
    chunks = [chosen[at : at + CHUNK] for at in range(0, half, CHUNK)]
    figures = {"get_many": timed(cache.get_many, chunks) / CHUNK, "get_each": timed(cache.get, chosen[half:])}
    cache.close()
    return figures


def measure(name: str, directory: Path, what: str, entries: int, seconds: float) -> dict[str, Any]:
    """One phase, in the process of the cache."""
    face, (phase, _, load) = CACHES[name], what.partition(":")
    match phase:
        case "fill":
            return fill(face, directory, entries)
        case "first":
            return first(face, directory, entries, load)
        case "warm":
            return warm(face, directory, entries, load, seconds)
        case "absent":
            return absent(face, directory, entries)
        case _:
            return many(face, directory, entries)


# What is measured, and whether the memory that the last process left is removed before.
PHASES = (
    ("fill", "fill", False),
    ("first, cold", "first:uniform", True),
    ("miss", "absent", True),
    ("many", "many", True),
    ("uniform", "warm:uniform", False),
    ("first, warm", "first:uniform", False),
    ("zipf", "warm:zipf", True),
    ("first zipf, warm", "first:zipf", False),
)


def run(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """All phases of all caches, the caches in turn within each phase."""
    figures: dict[str, Any] = {}
    for entries, (title, what, forgets) in itertools.product(arguments.entries, PHASES):
        for name in arguments.only if title in arguments.phases else ():
            place = directory / f"{name.replace(', ', '-')}-{entries}"
            if forgets:
                (place / "cache.hot").unlink(missing_ok=True)
            python = sys.executable if name == "dolium" else arguments.rivals
            command = [
                python,
                __file__,
                "--phase",
                name,
                str(place),
                what,
                str(entries),
                str(arguments.seconds),
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
            if done.returncode:
                raise SystemExit(f"reads.py: {name}, {title}: {done.stderr}")
            figures.setdefault(f"{entries}", {}).setdefault(title, {})[name] = json.loads(done.stdout)
            print(f"{entries:>9} {title:18} {name:18} {done.stdout.strip()[:400]}", file=sys.stderr)
    return figures


ROWS = {
    "fill": (("fill", "fill, each"),),
    "first, cold": (("first", f"first {FIRST:,} gets, nothing in memory"),),
    "miss": (("miss", "miss, the first"), ("miss_again", "miss, again")),
    "many": (("get_many", f"get_many of {CHUNK:,}, each"), ("get_each", "the same by get")),
    "uniform": (("warm", "get, uniform, warm"),),
    "first, warm": (("first", f"first {FIRST:,} gets after a restart"),),
    "zipf": (("warm", "get, zipf, warm"),),
    "first zipf, warm": (("first", f"first {FIRST:,} gets of zipf after a restart"),),
}


def table(figures: dict[str, Any], names: list[str]) -> str:
    lines = [
        "| entries | µs | " + " | ".join(names) + " | to LMDB |",
        "|--:|---|" + "--:|" * (len(names) + 1),
    ]
    for entries, phases in figures.items():
        for title, measured in phases.items():
            for key, text in ROWS[title]:
                times = [measured.get(name, {}).get(key) for name in names]
                shown = ["–" if took is None else f"{took * 1e6:.2f}" for took in times]
                ours, theirs = (measured.get(name, {}).get(key) for name in ("dolium", REFERENCE))
                shown.append(f"{ours / theirs:.2f} ×" if ours and theirs else "–")
                lines.append(f"| {int(entries):,} | {text} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--phase"]:
        name, directory, what, entries, seconds = sys.argv[2:]
        print(json.dumps(measure(name, Path(directory), what, int(entries), float(seconds))))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--only", nargs="+", choices=CACHES, default=["dolium", REFERENCE])
    parser.add_argument("--phases", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seconds", type=float, default=20.0, help="how long `warm` reads")
    parser.add_argument(
        "--rivals", default=sys.executable, help="the Python in which the rivals are installed"
    )
    parser.add_argument("--save", type=Path, help="where the raw figures go, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dolium-reads-") as directory:
        figures = run(arguments, Path(directory))
    if arguments.save:
        arguments.save.write_text(json.dumps(figures, indent=1) + "\n")
    print(table(figures, arguments.only))


if __name__ == "__main__":
    main()
