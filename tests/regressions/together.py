"""A program whose processes open a new cache at the same time, for `test_workers_that_start_together`.

It reads a round from each line of its input and says what it found in a line of JSON. As ``fork`` it has the work done
by forked children, one line each; as ``spawn`` it does that itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import dolium

COUNTERS = 10

#: Caches with settings of their own; the others are containers, which have none.
CACHES = ["Cache", "FanoutCache", "DjangoCache", "FanoutCache.cache"]
CONTAINERS = ["Index", "Deque", "FanoutCache.index", "FanoutCache.deque"]


def open_store(face: str, directory: str, shards: int, settings: dict[str, Any]) -> Any:
    if face == "Cache":
        return dolium.Cache(directory, **settings)
    if face == "Index":
        return dolium.Index(directory)
    if face == "Deque":
        return dolium.Deque(directory=directory)
    if face == "DjangoCache":
        parameters = {"SHARDS": shards, "DATABASE_TIMEOUT": 5, "OPTIONS": settings}
        return dolium.DjangoCache(directory, parameters)
    fanout = dolium.FanoutCache(directory, shards, timeout=5, **settings)
    kind = face.partition(".")[2]
    if kind == "cache":
        return fanout.cache("part", **settings)
    return getattr(fanout, kind)("part") if kind else fanout


def inner(store: Any) -> Any:
    """The cache that an object keeps its entries in."""
    if isinstance(store, dolium.DjangoCache):
        return store._cache
    return getattr(store, "cache", store) if isinstance(store, dolium.Index | dolium.Deque) else store


def work(store: Any, index: int) -> None:
    if isinstance(store, dolium.Deque):
        store.extend([index] * COUNTERS)
        return
    for number in range(COUNTERS):
        name = f"n{number}"
        if isinstance(store, dolium.Index):
            with store.transact():
                store[name] = store.get(name, 0) + 1
        elif isinstance(store, dolium.DjangoCache):
            store.add(name, 0, timeout=None)
            store.incr(name)
        else:
            store.incr(name, retry=True)
    if isinstance(store, dolium.Index):
        store[f"w{index}"] = index
    elif isinstance(store, dolium.DjangoCache):
        store.set(f"w{index}", index, timeout=None)
    else:
        store.set(f"w{index}", index, retry=True)


def settled(store: Any) -> dict[str, Any]:
    cache = inner(store)
    names = ("size_limit", "eviction_policy", "cull_limit", "disk_min_file_size")
    return {**{name: getattr(cache, name) for name in names}, "shards": len(cache._directories)}


def run(round_: dict[str, Any], index: int) -> dict[str, Any]:
    """What the worker of this number finds."""
    settings = {**round_["settings"], **round_["own"][index]}
    shards = settings.pop("shards", 4)
    time.sleep(max(0.0, round_["start"] + round_["delays"][index] - time.monotonic()))
    if round_["kills"][index] is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, round_["kills"][index])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        store = open_store(round_["face"], round_["directory"], shards, settings)
        work(store, index)
        if round_["waits"]:
            here = Path(round_["directory"] + "-opened")
            (here / str(index)).touch()
            end = time.monotonic() + 60
            while len(os.listdir(here)) < len(round_["own"]) and time.monotonic() < end:
                time.sleep(0.002)
        found = settled(store)
        inner(store).close()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return {"index": index, "found": found, "told": [str(warning.message) for warning in told]}


def say(round_: dict[str, Any], index: int) -> None:
    try:
        answer = run(round_, index)
    except BaseException:
        answer = {"index": index, "failed": traceback.format_exc()}
    os.write(1, (json.dumps(answer) + "\n").encode())


def contents(store: Any, workers: int) -> tuple[list[int], list[int]]:
    """The counters, and the workers whose own entry is there."""
    if isinstance(store, dolium.Deque):
        counts = Counter(store)
        return [], [index for index in range(workers) if counts[index] == COUNTERS]
    counters = [store.get(f"n{number}") or 0 for number in range(COUNTERS)]
    return counters, [index for index in range(workers) if store.get(f"w{index}") == index]


def main() -> None:
    if len(sys.argv) > 2:
        os.environ["DJANGO_SETTINGS_MODULE"] = "helpers.django_settings"
        sys.path.insert(0, sys.argv[2])
        import django

        django.setup()
    print("ready", flush=True)
    for line in sys.stdin:
        round_ = json.loads(line)
        if sys.argv[1] == "spawn":
            say(round_, round_["index"])
            continue
        children: list[int] = []
        for index in range(len(round_["own"])):
            child = os.fork()
            if child == 0:
                say(round_, index)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        print("done", flush=True)


if __name__ == "__main__":
    main()
