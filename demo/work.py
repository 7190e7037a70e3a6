"""What one process of the demo does, and all that the demo says to dolium.

    python demo/work.py count REPOSITORY OUT
    python demo/work.py serve REPOSITORY OUT SEED

It prints `ready`, then `blamed` for every answer of git that the cache has taken, then what it did as one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dolium
import history
from history import History, Version

THREADS = os.cpu_count() or 1
REQUESTS = 5_000  # that each web worker answers
SERVE_SECONDS = 12.0  # and when it stops at the latest
COMMIT_PAGES = 80


class Archive:
    """A repository with its memory: the two questions that git answers, each memoized."""

    def __init__(self, repository: Path, cache: dolium.Cache) -> None:
        asked = threading.local()

        @cache.memoize(name="blame")
        def blame(commit: str, path: str) -> dict[int, int]:
            asked.ran = True
            return history.blame(repository, commit, path)

        @cache.memoize(name="describe")
        def describe(commit: str) -> str:
            asked.ran = True
            return history.describe(repository, commit)

        def whether_git_ran() -> bool:
            ran, asked.ran = getattr(asked, "ran", False), False
            return ran

        self.blame: Callable[[str, str], dict[int, int]] = blame
        self.describe: Callable[[str], str] = describe
        self.git_ran = whether_git_ran


def open_cache(out: Path) -> dolium.Cache:
    """Nothing is evicted: an archive that forgets would have to ask git again."""
    return dolium.Cache(out / "cache", eviction_policy="none", statistics=True)


def count(archive: Archive, seen: History) -> tuple[dict[str, float], list[tuple[int, Counter[int]]]]:
    """The ages of all lines in every sample, by as many threads as there are processors."""

    def share(files: tuple[Version, ...]) -> tuple[Counter[int], int]:
        ages: Counter[int] = Counter()
        ran = 0
        for file in files:
            ages.update(archive.blame(file.commit, file.path))
            if archive.git_ran():
                ran += 1
                announce("blamed")
        return ages, ran

    started = time.perf_counter()
    layers: list[tuple[int, Counter[int]]] = []
    asked = ran = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for sample in seen.samples:
            total: Counter[int] = Counter()
            for ages, ran_here in pool.map(share, [sample.files[at::THREADS] for at in range(THREADS)]):
                total.update(ages)
                ran += ran_here
            asked += len(sample.files)
            layers.append((sample.time, total))
    return {"seconds": time.perf_counter() - started, "asked": asked, "ran": ran}, layers


def serve(archive: Archive, cache: dolium.Cache, seen: History, chance: random.Random) -> dict[str, object]:
    """Answer requests as a web worker would: mostly for recent pages, each counted in the cache."""
    recent = [commit for commit, _ in seen.commits[-COMMIT_PAGES:]]
    samples = [sample for sample in seen.samples if sample.files]
    hits: list[float] = []
    counts: list[float] = []
    ran = 0
    started = now = time.perf_counter()
    while len(counts) < REQUESTS and now - started < SERVE_SECONDS:
        before = time.perf_counter()
        if chance.random() < 0.1:
            archive.describe(chance.choice(recent))
        else:
            file = chance.choice(samples[-1 - int(len(samples) * chance.random() ** 3)].files)
            archive.blame(file.commit, file.path)
        after = time.perf_counter()
        cache.incr("pages served")
        now = time.perf_counter()
        counts.append(now - after)
        if archive.git_ran():
            ran += 1
        else:
            hits.append(after - before)
    return {"seconds": now - started, "asked": len(counts), "ran": ran, "hits": hits, "counts": counts}


def announce(what: str) -> None:
    """In one write, so that the words of two threads do not mix."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main(act: str, repository: str, out: str, seed: str = "") -> None:
    folder = Path(out)
    seen = History.load(folder / "plan.json")
    with open_cache(folder) as cache:
        archive = Archive(Path(repository), cache)
        announce("ready")
        if act == "count":
            done, layers = count(archive, seen)
            (folder / "layers.json").write_text(json.dumps(layers))
            print(json.dumps(done))
        else:
            sys.stdin.readline()  # all workers start at once
            print(json.dumps(serve(archive, cache, seen, random.Random(seed))))


if __name__ == "__main__":
    main(*sys.argv[1:])
