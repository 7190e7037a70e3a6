"""What is measured, row by row, in the process of one cache.

    python bench/measure.py FACE DIRECTORY PHASE [quick]

A phase is `version`, `prepare`, `open` or one of compare.py. It prints one line of JSON: row -> figure. A time is in
seconds for one operation: the median over batches, each long enough for the clock. It knows the caches only by their
faces; rounds and tables are compare.py's.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import itertools
import json
import mmap
import multiprocessing
import os
import queue
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faces import FACES, READ, TUPLE, USED, Face, fresh

VALUE = bytes(range(100))
LARGE = random.Random(0).randbytes(300_000)


@dataclass(frozen=True)
class Scale:
    stock: int  # entries of the cache that is read
    many: int  # entries of a bulk write
    seconds: float  # that a row may take
    mix_seconds: float
    sustained: int  # new keys, one after the other


FULL = Scale(100_000, 10_000, 0.6, 4.0, 2_000_000)
QUICK = Scale(10_000, 10_000, 0.15, 1.5, 100_000)
PROCESSES = 8
HOT = 2000  # keys that are read again and again
BULKS = (10, 1000, 100_000)  # keys of a bulk call
BURSTS, PAUSE = 5, 0.5  # and the seconds between them
TURNS = 10  # of a get and the bare call


def timed(call: Callable[[Any], object], inputs: Iterable[Any], seconds: float) -> float:
    """The median time of a call, over batches of about 2 ms, until the time or the inputs are used up."""
    source: Iterator[Any] = iter(inputs)
    now = time.perf_counter
    started = now()
    call(next(source))
    size = max(1, min(2000, int(0.002 / max(now() - started, 1e-7))))
    batches: list[float] = []
    while now() - started < seconds or len(batches) < 3:
        batch = list(itertools.islice(source, size))
        if not batch:
            break
        before = now()
        for item in batch:
            call(item)
        took = now() - before
        batches.append(took / len(batch))
        if took < 0.001:
            size = min(size * 2, 2000)
    return statistics.median(batches)


def names(face: Face | type[Face], count: int, prefix: str = "key") -> list[Any]:
    return [face.key(f"{prefix}-{number:06}") for number in range(count)]


def shuffled(keys: list[Any]) -> Iterator[Any]:
    """The keys in random order, for ever."""
    return itertools.cycle(random.Random(1).sample(keys, len(keys)))


def prepare(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """The cache that is read and opened: `stock`."""
    cache = fresh(face, directory / "stock")
    keys = names(cache, scale.stock)
    for at in range(0, len(keys), 10_000):
        cache.set_many([(key, VALUE) for key in keys[at : at + 10_000]])
    cache.close()
    return {}


def one_round(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    figures: dict[str, float] = {}
    for file in (directory / "stock").rglob("*"):  # else some would wait for the disk, and others not
        if file.is_file():
            file.read_bytes()
    if face.opens:
        before = time.perf_counter()
        face.import_()
        figures["import"] = time.perf_counter() - before
        figures["open"] = opening(face, directory / "stock")
        figures["open_get"] = opening(face, directory / "stock", face.key("key-000001"))
    stock = face(directory / "stock")
    if not face.shared:  # and so not what `prepare` filled
        stock.set_many([(key, VALUE) for key in names(face, scale.stock)])
    reading(stock, figures, scale)
    stock.close()
    work = fresh(face, directory / "work")
    writing(work, figures, scale)
    work.close()
    many = fresh(face, directory / "many")
    bulk(many, figures)
    many.close()
    for row, policy in (("get_lru", USED), ("get_lfu", READ)):
        if policy in face.policies:
            ordered = fresh(face, directory / row, policy)
            keys = names(ordered, HOT)
            ordered.set_many([(key, VALUE) for key in keys])
            figures[row] = timed(ordered.get, shuffled(keys), scale.seconds)
            ordered.close()
    return figures


def opening(face: type[Face], directory: Path, key: Any = None) -> float:
    """Open and close a cache that exists, as a command line or a worker that starts does."""
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 5 or (len(times) < 50 and time.perf_counter() - started < 0.5):
        before = time.perf_counter()
        cache = face(directory)
        if key is not None and cache.get(key) is None:
            raise AssertionError("the stock is not there")
        cache.close()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def reading(cache: Face, figures: dict[str, float], scale: Scale) -> None:
    keys = names(cache, scale.stock)
    if cache.get(keys[-1]) != VALUE:
        raise AssertionError("the stock is not there")
    figures["get_cold"], figures["get_again"] = first_and_again(cache, keys)
    figures["get_wide"] = timed(cache.get, shuffled(keys), scale.seconds)
    hot = keys[:: max(len(keys) // HOT, 1)][:HOT]
    for key in hot:
        cache.get(key)
    figures["get"] = timed(cache.get, shuffled(hot), scale.seconds)
    absent = names(cache, scale.stock, "absent")
    figures["get_miss"] = timed(cache.get, shuffled(absent), scale.seconds)
    if cache.get_many is not None:
        chunks = [keys[at : at + 1000] for at in range(0, len(keys), 1000)]
        figures["get_many"] = timed(cache.get_many, itertools.cycle(chunks), scale.seconds)
    before = time.perf_counter()
    found = sum(1 for _ in cache.walk())
    figures["iterate"] = (time.perf_counter() - before) / found
    if found < scale.stock:
        raise AssertionError(f"{found} of {scale.stock} keys iterated over")


def first_and_again(cache: Face, keys: list[Any]) -> tuple[float, float]:
    """A get of keys that were not read since the cache was opened, and then a get of the same keys."""
    for key in keys[:500]:  # the connection, the pages that all share
        cache.get(key)
    few = keys[500::50]
    times: list[float] = []
    for _ in range(2):
        before = time.perf_counter()
        for key in few:
            cache.get(key)
        times.append((time.perf_counter() - before) / len(few))
    return times[0], times[1]


def bursts(cache: Face, keys: list[Any]) -> float:
    """Sets as fast as they come after a pause: as many as the memory in front of a database, if there is any, holds."""
    times: list[float] = []
    for _ in range(BURSTS):
        time.sleep(PAUSE)
        before = time.perf_counter()
        for key in keys:
            cache.set(key, VALUE)
        times.append((time.perf_counter() - before) / len(keys))
    return statistics.median(times)


def writing(cache: Face, figures: dict[str, float], scale: Scale) -> None:
    keys = names(cache, scale.many)
    before = time.perf_counter()
    cache.set_many([(key, VALUE) for key in keys])
    figures["set_many"] = time.perf_counter() - before
    if cache.get(keys[0]) != VALUE or cache.get(keys[-1]) != VALUE:
        raise AssertionError("set_many stored nothing")
    figures["set"] = timed(lambda key: cache.set(key, VALUE), shuffled(keys), scale.seconds)
    figures["set_burst"] = bursts(cache, keys)
    new = (cache.key(f"new-{number:09}") for number in itertools.count())
    figures["set_new"] = timed(lambda key: cache.set(key, VALUE), new, scale.seconds)
    figures["delete"] = timed(cache.delete, keys, scale.seconds)
    large = names(cache, 20, "large")
    figures["set_large"] = timed(lambda key: cache.set(key, LARGE), itertools.cycle(large), scale.seconds)
    for key in large:
        cache.set(key, LARGE)
    if cache.get(large[0]) != LARGE:
        raise AssertionError("a large value was not stored")
    figures["get_large"] = timed(cache.get, shuffled(large), scale.seconds)
    if cache.tuples:
        cache.set(TUPLE, VALUE)
        if cache.get(TUPLE) != VALUE:
            raise AssertionError("the tuple key was not stored")
        figures["get_tuple"] = timed(cache.get, itertools.repeat(TUPLE), scale.seconds)
    if cache.incr is not None:
        figures["incr"] = timed(cache.incr, itertools.repeat(cache.key("counter")), scale.seconds)
    if cache.memoize is not None:
        function = cache.memoize()(shout)
        function("a", number=1)
        figures["memoize"] = timed(
            lambda text: function(text, number=1), itertools.repeat("a"), scale.seconds
        )


def bulk(cache: Face, figures: dict[str, float]) -> None:
    """Calls for many keys in the fastest way offered, in turn with as many single calls, for each key."""
    for count in BULKS:
        keys = names(cache, count, f"bulk-{count}")
        pairs = [(key, VALUE) for key in keys]
        steps: dict[str, Callable[[], object]] = {
            "fill_many": lambda pairs=pairs: cache.set_many(pairs),
            "set_many": lambda pairs=pairs: cache.set_many(pairs),
            "set_each": lambda pairs=pairs: [cache.set(key, value) for key, value in pairs],
            "get_each": lambda keys=keys: [cache.get(key) for key in keys],
        }
        if cache.get_many is not None:
            steps["get_many"] = lambda keys=keys, get_many=cache.get_many: get_many(keys)
        if cache.add_many is not None:
            steps["add_many"] = lambda pairs=pairs, add_many=cache.add_many: add_many(pairs)
        steps["delete_each"] = lambda keys=keys: [cache.delete(key) for key in keys]
        if cache.delete_many is not None:
            steps["fill_again"] = steps["fill_many"]
            steps["delete_many"] = lambda keys=keys, delete_many=cache.delete_many: delete_many(keys)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(max(1, min(50, 10_000 // count))):
            for name, step in steps.items():
                before = time.perf_counter()
                step()
                times[name].append((time.perf_counter() - before) / count)
        figures |= {f"{name}_{count}": statistics.median(taken) for name, taken in times.items()}


def shout(text: str, number: int) -> str:
    return text.upper() * number


def together(target: Callable[..., None], face: type[Face], place: Path, *arguments: Any) -> list[Any]:
    """What each of several processes answers that run `target` at the same time on one cache."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    results: multiprocessing.Queue[Any] = context.Queue()
    children = [
        context.Process(target=target, args=(face.name, place, seed, *arguments, start, results))
        for seed in range(PROCESSES)
    ]
    for child in children:
        child.start()
    try:
        answers = [results.get(timeout=60) for _ in children]
    except queue.Empty:
        raise TimeoutError("a process hung under the load") from None
    for child in children:
        child.join(10)
    return answers


def mix(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """Processes on one cache: 90 % get, 9 % set, 1 % delete of 5,000 keys, values of 100 to 1,000 bytes."""
    cache = fresh(face, directory / "mix")
    cache.set_many([(key, VALUE) for key in names(cache, 5000)])
    cache.close()
    answers = together(mixer, face, directory / "mix", scale.mix_seconds)
    sets = sorted(itertools.chain.from_iterable(latencies for *_, latencies in answers))
    cuts = statistics.quantiles(sets, n=1000)
    return {
        "mix_rate": sum(done / seconds for done, seconds, *_ in answers),
        "mix_errors": float(sum(errors for _, _, errors, _ in answers)),
        "mix_set_p50": cuts[499],
        "mix_set_p99": cuts[989],
        "mix_set_p999": cuts[998],
        "mix_set_max": sets[-1],
    }


def counter(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """Processes that add to one counter. It has to say in the end how often they did."""
    cache = fresh(face, directory / "mix")
    cache.close()
    answers = together(adder, face, directory / "mix", scale.mix_seconds / 2)
    cache = face(directory / "mix")
    total = int(cache.get(cache.key("counter")))
    cache.close()
    lost = sum(done for done, _ in answers) - total
    return {"counter_rate": sum(done / seconds for done, seconds in answers), "counter_lost": float(lost)}


def adder(name: str, directory: Path, seed: int, seconds: float, start: Any, results: Any) -> None:
    cache = FACES[name](directory)
    assert cache.incr is not None
    key, done = cache.key("counter"), 0
    start.wait()
    began = at = time.perf_counter()
    while at - began < seconds:
        cache.incr(key)
        done += 1
        at = time.perf_counter()
    results.put((done, at - began))
    cache.close()


def locks(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """Taking and releasing a lock that no other process wants, and one that eight want at once."""
    cache = fresh(face, directory / "locks")
    figures: dict[str, float] = {}
    for row, name in (("lock", "Lock"), ("rlock", "RLock")):
        lock = getattr(__import__(face.module), name)(cache.cache, row)  # pyright: ignore[reportAttributeAccessIssue]

        def turn(_: Any, lock: Any = lock) -> None:
            with lock:
                pass

        figures[row] = timed(turn, itertools.repeat(None), scale.seconds)
    cache.close()
    answers = together(locker, face, directory / "locks", scale.mix_seconds / 2)
    return figures | {"lock_rate": sum(done / seconds for done, seconds in answers)}


def locker(name: str, directory: Path, seed: int, seconds: float, start: Any, results: Any) -> None:
    cache: Any = FACES[name](directory)
    lock, done = __import__(cache.module).Lock(cache.cache, "wanted"), 0
    start.wait()
    began = at = time.perf_counter()
    while at - began < seconds:
        with lock:
            done += 1
        at = time.perf_counter()
    results.put((done, at - began))
    cache.close()


def sustained(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """Sets of new keys without a pause, until all of them are in the cache's files."""
    cache = fresh(face, directory / "sustained")
    before = time.perf_counter()
    for number in range(scale.sustained):
        cache.set(cache.key(f"new-{number:09}"), VALUE)
    cache.close()
    took = time.perf_counter() - before
    shutil.rmtree(directory / "sustained")
    return {"set_sustained": took / scale.sustained}


def limit(face: type[Face], directory: Path, scale: Scale) -> dict[str, float]:
    """What a get cannot be faster than: a call through PyO3 that copies the same bytes from a mapped table. And a get
    in turn with it in one process, since the processor's speed changes from one moment to the next."""
    loader = importlib.machinery.ExtensionFileLoader("bare", os.environ["BENCH_BARE"])
    spec = importlib.util.spec_from_loader("bare", loader)
    assert spec is not None
    bare = importlib.util.module_from_spec(spec)
    loader.exec_module(bare)
    keys = [f"key-{number:06}" for number in range(HOT)]
    table = bare.Table(str(directory / "bare"), [(key, VALUE) for key in keys])
    cache = fresh(face, directory / "limit")
    cache.set_many([(key, VALUE) for key in keys])
    if table.get(keys[-1]) != VALUE or cache.get(keys[-1]) != VALUE:
        raise AssertionError("the keys are not there")
    calls: dict[str, Callable[[Any], object]] = {"get_bare": table.get, "get_beside": cache.get}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            times[name].append(timed(call, shuffled(keys), scale.seconds / TURNS))
    cache.close()
    return {name: statistics.median(taken) for name, taken in times.items()} | {"page": page_after_pause()}


def page_after_pause() -> float:
    """What the first store to each page of memory costs after a pause. Next to nothing, but where a virtual machine
    write-protects the memory of its guest from time to time, and then it is part of every burst."""
    with mmap.mmap(-1, 2048 * mmap.PAGESIZE) as memory:

        def stores() -> float:
            before = time.perf_counter()
            for at in range(0, len(memory), mmap.PAGESIZE):
                memory[at] = 1
            return (time.perf_counter() - before) / 2048

        stores()
        times: list[float] = []
        for _ in range(BURSTS):
            at_once = stores()
            time.sleep(PAUSE)
            times.append(max(stores() - at_once, 0.0))
    return statistics.median(times)


def mixer(name: str, directory: Path, seed: int, seconds: float, start: Any, results: Any) -> None:
    cache = FACES[name](directory)
    chance = random.Random(seed)
    keys = names(cache, 5000)
    values = [chance.randbytes(chance.randint(100, 1000)) for _ in range(50)]
    # Drawn beforehand: the dice cost as much as a get.
    plan = [(chance.random(), chance.choice(keys), chance.choice(values)) for _ in range(20_000)]
    latencies: list[float] = []
    done = errors = 0
    now = time.perf_counter
    start.wait()
    began = at = now()
    for dice, key, value in itertools.cycle(plan):
        try:
            if dice < 0.90:
                cache.get(key)
            elif dice < 0.99:
                before = now()
                cache.set(key, value)
                latencies.append(now() - before)
            else:
                cache.delete(key)
        except Exception:
            errors += 1
        done += 1
        if done % 16 == 0:
            at = now()
            if at - began >= seconds:
                break
    results.put((done, at - began, errors, latencies))
    cache.close()


def main(name: str, directory: str, what: str, quick: str = "") -> None:
    face, scale = FACES[name], QUICK if quick else FULL
    if what == "version":
        print(json.dumps({"version": face.version()}))
    elif what == "open":  # for strace: the marks say where opening begins and ends
        cache = face(Path(directory, "warm-up"))
        cache.close()
        os.write(2, b"MARK open\n")
        cache = face(Path(directory, "stock"))
        os.write(2, b"MARK close\n")
        cache.close()
        os.write(2, b"MARK end\n")
    else:
        from full import full  # which import this module
        from queues import queues

        actions = (queues, full, prepare, mix, counter, locks, sustained, limit)
        action = {action.__name__: action for action in actions} | {"round": one_round}
        print(json.dumps(action[what](face, Path(directory), scale)))


if __name__ == "__main__":
    main(*sys.argv[1:])
