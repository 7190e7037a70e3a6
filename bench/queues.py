"""The rows of queues, deques and small transactions: of caches that have diskcache's methods."""

from __future__ import annotations

import importlib
import itertools
import time
from pathlib import Path
from typing import Any

from faces import FACES, Face, fresh
from measure import Scale, timed, together

ITEM = bytes(range(100))
TOOK = ("dolium", "diskcache")  # what has these methods
LENGTH = 1000  # of the deque whose items are read


def queues(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """One process, then eight that push and pull one queue. No item may come twice, and none may be lost."""
    figures: dict[str, float] = {}
    opened: Any = fresh(face, directory / "queues")
    cache = opened.cache
    count = itertools.count()
    figures["push"] = timed(lambda _: cache.push(ITEM), count, scale.seconds)
    while len(cache) < 3000:
        cache.push(ITEM)
    figures["peek"] = timed(lambda _: cache.peek(), count, scale.seconds)
    figures["pull"] = timed(lambda _: cache.pull(), range(len(cache)), scale.seconds)
    cache.clear()

    def two(number: int) -> None:
        with cache.transact():
            cache.set("key", number)
            cache.incr("counter")

    figures["transact_two"] = timed(two, count, scale.seconds)

    def ten(number: int) -> None:
        for key in range(10):
            cache.set(f"{key}", number, tag="tag")
        cache.evict("tag")

    figures["evict_ten"] = timed(ten, count, scale.seconds)
    opened.close()
    deque = importlib.import_module(face.module).Deque(directory=str(directory / "deque"))
    figures["deque_append"] = timed(deque.append, itertools.repeat(ITEM), scale.seconds)
    while len(deque) < LENGTH + 2000:
        deque.append(ITEM)
    figures["deque_popleft"] = timed(lambda _: deque.popleft(), range(len(deque) - LENGTH), scale.seconds)
    figures["deque_at"] = timed(lambda at: deque[at * 7 % LENGTH], count, scale.seconds)
    deque.maxlen = LENGTH
    figures["deque_append_full"] = timed(deque.append, itertools.repeat(ITEM), scale.seconds)
    deque.clear()
    fresh(face, directory / "shared").close()
    answers = together(worker, face, directory / "shared", scale.mix_seconds / 2)
    pulled = list(itertools.chain.from_iterable(items for *_, items in answers))
    if len(pulled) != len(set(pulled)):
        raise AssertionError("an item was delivered twice")
    if len(pulled) != sum(pushes for _, _, pushes, _ in answers):
        raise AssertionError("an item was lost")
    figures["queue_rate"] = sum(done / seconds for done, seconds, *_ in answers)
    return figures


def worker(name: str, directory: Path, seed: int, seconds: float, start: Any, results: Any) -> None:
    opened: Any = FACES[name](directory)
    cache, pushes, items = opened.cache, 0, []
    start.wait()
    began = at = time.perf_counter()
    while at - began < seconds:
        cache.push(f"{seed} {pushes}", retry=True)
        pushes += 1
        _, item = cache.pull(retry=True)
        if item is not None:
            items.append(item)
        at = time.perf_counter()
    done = pushes + len(items)
    while (item := cache.pull(retry=True)[1]) is not None:
        items.append(item)
    results.put((done, at - began, pushes, items))
    opened.close()
