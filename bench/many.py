"""Many small caches open in one process: what they take of the disk, of memory, and of descriptors, beside diskcache.

    python bench/many.py                 # 200 caches of 100 values of 100 bytes each
    python bench/many.py --caches 50 --values 1000 --json many.json

Each library runs in a process of its own. A figure is what the caches add to the process before it opened them. The
`open` ones are measured after a pause in which the caches rest, the `closed` ones once all are closed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("dolium", "diskcache")
KIB = 1024


def disk(directory: Path) -> int:
    """Bytes of blocks, which are what a file takes of the disk, whatever its length."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def taken(directory: Path) -> dict[str, int]:
    """What this process has, and what lies in the directory."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    memory = {name: int(amount.split()[0]) for name, amount in (line.split(":", 1) for line in lines[1:])}
    return {
        "disk": disk(directory),
        "rss": memory["Rss"] * KIB,
        "pss": memory["Pss"] * KIB,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def run(library: str, directory: Path, options: argparse.Namespace, answers: Any) -> None:
    """Fills and reads the caches, rests, closes them, and answers with what they took."""
    make = importlib.import_module(library).Cache
    with make(str(directory / "first")) as cache:  # what the library itself takes is not of the caches
        cache.set("key", "value")
        cache.get("key")
    before = taken(directory)
    caches = [make(str(directory / f"{number}")) for number in range(options.caches)]
    began = time.perf_counter()
    for cache in caches:
        for key in range(options.values):
            cache.set(key, os.urandom(options.bytes))
        for key in range(options.values):
            cache.get(key)
    seconds = time.perf_counter() - began
    busy = taken(directory)
    time.sleep(options.pause)
    rested = taken(directory)
    began = time.perf_counter()
    for cache in caches:
        cache.get(0)
        cache.set(0, b"again")
    again = time.perf_counter() - began
    for cache in caches:
        cache.close()
    closed = taken(directory)
    figures: dict[str, float] = {"fill": seconds, "again": again / options.caches}
    for name, found in (("busy", busy), ("open", rested), ("closed", closed)):
        figures |= {f"{name} {what}": amount - before[what] for what, amount in found.items()}
    answers.put(figures)


def measure(library: str, options: argparse.Namespace) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        process = context.Process(target=run, args=(library, Path(directory), options, answers))
        process.start()
        figures = answers.get(timeout=600)
        process.join()
    return figures


def show(name: str, amount: float) -> str:
    if name.endswith(("disk", "rss", "pss")):
        return f"{amount / KIB / KIB:.1f} MiB"
    return f"{amount * 1e3:.2f} ms" if name in {"fill", "again"} else f"{amount:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--caches", type=int, default=200)
    parser.add_argument("--values", type=int, default=100)
    parser.add_argument("--bytes", type=int, default=100)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds that the caches rest")
    parser.add_argument("--directory", help="where the caches are made")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    figures = {library: measure(library, options) for library in LIBRARIES}
    print(f"| {options.caches} caches of {options.values} values | dolium | diskcache | |\n|---|--:|--:|--:|")
    for name, rival in figures["diskcache"].items():
        ours = figures["dolium"][name]
        ratio = f"{ours / rival:.2f} ×" if rival > 0 else ""
        print(f"| {name} | {show(name, ours)} | {show(name, rival)} | {ratio} |")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
