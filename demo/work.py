"""What one process of the demo does, and all that the demo says to dolium.

    python demo/work.py count REPOSITORY OUT
    python demo/work.py serve REPOSITORY OUT SEED

It prints `ready`, then `blamed` for every answer of git that the cache has taken, then what it did as one line of JSON.
Counting drives one function with `map`, which shows a bar.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import dolium
import history
from history import History

PROCESSORS = os.cpu_count() or 1
REQUESTS = 5_000  # that each web worker answers
SERVE_SECONDS = 12.0  # and when it stops at the latest
COMMIT_PAGES = 80


class Archive:
    """A repository with its memory: the two questions that git answers, and whose answers are kept."""

    def __init__(self, repository: Path, cache: dolium.Cache) -> None:
        @cache.cached(name="blame")
        def blame(commit: str, path: str) -> dict[int, int]:
            return history.blame(repository, commit, path)

        @cache.cached(name="describe")
        def describe(commit: str) -> str:
            return history.describe(repository, commit)

        self.blame = blame
        self.describe = describe

    def git_runs(self) -> int:
        """How often git ran for this process."""
        return self.blame.info().misses + self.describe.info().misses


def open_cache(out: Path) -> dolium.Cache:
    """Nothing is evicted: an archive that forgets would have to ask git again."""
    return dolium.Cache(out / "cache", eviction_policy="none", statistics=True)


def count(archive: Archive, seen: History) -> tuple[dict[str, float], list[tuple[int, Counter[int]]]]:
    """The ages of all lines in every sample, by as many workers as there are processors."""
    files = [file for sample in seen.samples for file in sample.files]
    started = time.perf_counter()
    layers: list[tuple[int, Counter[int]]] = []
    announced = 0
    run = archive.blame.map(
        [file.commit for file in files], [file.path for file in files], workers=PROCESSORS, progress=True
    )
    for sample in seen.samples:
        total: Counter[int] = Counter()
        for ages in itertools.islice(run, len(sample.files)):
            total.update(ages)
            while announced < run.figures.computed:
                announced += 1
                announce("blamed")
        layers.append((sample.time, total))
    run.close()
    done = {"seconds": time.perf_counter() - started, "asked": len(files), "ran": run.figures.computed}
    return done, layers


def serve(archive: Archive, cache: dolium.Cache, seen: History, chance: random.Random) -> dict[str, object]:
    """Answer requests as a web worker would: mostly for recent pages, each counted in the cache."""
    recent = [commit for commit, _ in seen.commits[-COMMIT_PAGES:]]
    samples = [sample for sample in seen.samples if sample.files]
    hits: list[float] = []
    counts: list[float] = []
    ran = 0
    started = now = time.perf_counter()
    while len(counts) < REQUESTS and now - started < SERVE_SECONDS:
        runs, before = archive.git_runs(), time.perf_counter()
        if chance.random() < 0.1:
            archive.describe(chance.choice(recent))
        else:
            file = chance.choice(samples[-1 - int(len(samples) * chance.random() ** 3)].files)
            archive.blame(file.commit, file.path)
        after = time.perf_counter()
        cache.incr("pages served")
        now = time.perf_counter()
        counts.append(now - after)
        if archive.git_runs() > runs:
            ran += 1
        else:
            hits.append(after - before)
    return {"seconds": now - started, "asked": len(counts), "ran": ran, "hits": hits, "counts": counts}


def announce(what: str) -> None:
    """Tell the demo, at once."""
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
