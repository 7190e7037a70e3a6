"""What it costs to remember functions: fingerprints, versions, hits and waiters beside rivals, in one run.

`python bench/functions.py [--quick] [--only TEXT] [--save DIRECTORY]` measures each row in turn with its rivals, prints
a table, and saves the raw times as JSON. A rival that is not installed is a row without a figure, and a rival without
the feature has no row. `bench/rivals.txt` lists the rivals; one Python needs them, dolium, NumPy and pandas.
A row is a function that returns what is called, or a `Timed`, which measures itself; add one with `@row`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Call = Callable[[], object]
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Timed:
    """A row that measures itself: the seconds that so many turns took."""

    turns: Callable[[int], float]


class Unfit(Exception):
    """The message says what a rival does instead of what the row measures."""


Make = Callable[[], "Call | Timed"]
ROWS: list[tuple[str, str, float, Make]] = []
PACKAGES = (
    *("dolium", "diskcache", "joblib", "emboss", "cachier", "cachetools", "anyio", "async-lru", "cashews"),
    *("numpy", "pandas"),
)
CROWD = 400  # that wait for one result
PATIENCE = 20.0  # seconds until a rival's waiters count as never served
LOOP = asyncio.new_event_loop()
OPENED = contextlib.ExitStack()


def row(name: str, who: str, least: float = 0) -> Callable[[Make], Make]:
    """A row of the table: what is done and by whom. `least`: how many times faster dolium promises to be."""

    def add(make: Make) -> Make:
        ROWS.append((name, who, least, make))
        return make

    return add


def package(name: str) -> Any:
    """A module without its types, because the checker's environment lacks the rivals."""
    return importlib.import_module(name)


def three(a: int, b: int, c: int) -> int:
    return a + b + c


async def three_later(a: int, b: int, c: int) -> int:
    return a + b + c


REQUEST = {
    "model": "some-model-4",
    "temperature": 0.0,
    "max_tokens": 1024,
    "messages": [
        {"role": "system", "content": "You answer in one sentence. " * 4},
        {"role": "user", "content": "What is the capital of the country that borders most others? " * 3},
        {"role": "assistant", "content": "Beijing, since China has fourteen neighbors."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "And by land area?"}, {"type": "image", "id": "a" * 64}],
        },
    ],
    "tools": [
        {"name": "search", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}
    ],
}


def values() -> dict[str, tuple[Callable[[], Any], float]]:
    def random(*shape: int) -> Any:
        return package("numpy").random.default_rng(1).random(shape)

    return {
        "80 MB float64": (lambda: random(10_000, 1_000), 5),
        "80 MB float64, Fortran order": (lambda: package("numpy").asfortranarray(random(10_000, 1_000)), 1.5),
        "8 kB float64": (lambda: random(1_000), 10),
        "an LLM request": (lambda: REQUEST, 15),
        "frame of 10^6 x 6 with texts": (frame, 4),
    }


def frame() -> Any:
    np, pd = package("numpy"), package("pandas")
    rng, size = np.random.default_rng(1), 1_000_000
    numbers = {name: rng.random(size) for name in "abc"}
    texts = {name: np.char.add("text ", rng.integers(0, 1000, size).astype(str)) for name in "de"}
    return pd.DataFrame(
        {**numbers, "n": rng.integers(0, 9, size), **{name: list(text) for name, text in texts.items()}}
    )


def add_fingerprints() -> None:
    """A row for each kind of value: dolium and joblib, on the same object."""
    for name, (make, least) in values().items():
        made: list[Any] = []

        def value(make: Callable[[], Any] = make, made: list[Any] = made) -> Any:
            return made[0] if made else made.append(make()) or made[0]

        @row(f"fingerprint: {name}", "dolium")
        def ours(value: Callable[[], Any] = value) -> Call:
            import dolium

            found = value()
            return lambda: dolium.fingerprint(found)

        @row(f"fingerprint: {name}", "joblib", least)
        def theirs(value: Callable[[], Any] = value) -> Call:
            found, digest = value(), package("joblib").hash
            return lambda: digest(found)


@row("bind f(1, 2, 3)", "dolium")
def bind_ours() -> Call:
    from dolium.functions.binding import compile_binding

    bind = compile_binding(three).bind
    return lambda: bind(1, 2, 3)


@row("bind f(1, 2, 3)", "inspect")
def bind_inspect() -> Call:
    import inspect

    signature = inspect.signature(three)

    def bind() -> object:
        bound = signature.bind(1, 2, 3)
        bound.apply_defaults()
        return bound

    return bind


@row("key of 3 ints", "dolium")
def key_ours() -> Call:
    from dolium.functions.binding import compile_binding
    from dolium.functions.key import stored_key

    bind = compile_binding(three).bind
    return lambda: stored_key("bench.three()", "version", bind(1, 2, 3))


# How each library wraps a function


def place() -> str:
    return tempfile.mkdtemp()


def opened() -> Any:
    """A cache of dolium that is closed before its directory is removed: an open one still writes there."""
    cache = package("dolium").Cache(place())
    OPENED.callback(cache.close)
    return cache


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    return opened().cached(function)


def memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    return opened().memoize()(function)


def by_diskcache(function: Callable[..., Any]) -> Callable[..., Any]:
    return package("diskcache").Cache(place()).memoize()(function)


def by_joblib(function: Callable[..., Any]) -> Callable[..., Any]:
    return package("joblib").Memory(place(), verbose=0).cache(function)


def by_emboss(function: Callable[..., Any]) -> Callable[..., Any]:
    emboss = package("emboss")
    return emboss.cached(emboss.SqliteCache(place()))(function)


def by_cachier(function: Callable[..., Any]) -> Callable[..., Any]:
    return package("cachier").cachier(cache_dir=place())(function)


def by_cachetools(function: Callable[..., Any]) -> Callable[..., Any]:
    cachetools = package("cachetools")
    return cachetools.cached(cachetools.LRUCache(1000), condition=threading.Condition())(function)


def by_anyio(function: Callable[..., Any]) -> Callable[..., Any]:
    return package("anyio.functools").lru_cache(maxsize=1000)(function)


def by_async_lru(function: Callable[..., Any]) -> Callable[..., Any]:
    return package("async_lru").alru_cache(maxsize=1000)(function)


def by_cashews(function: Callable[..., Any], lock: bool = False) -> Callable[..., Any]:
    cache = package("cashews").Cache()
    cache.setup("mem://")
    return cache(ttl="1h", lock=lock)(function)


def by_cashews_locked(function: Callable[..., Any]) -> Callable[..., Any]:
    return by_cashews(function, lock=True)


# Hits

HITS: tuple[tuple[str, Wrap, float], ...] = (
    ("dolium", cached, 0),
    ("diskcache", by_diskcache, 40),
    ("joblib", by_joblib, 150),
    ("emboss", by_emboss, 12),
    ("cachier", by_cachier, 0),
    ("cachetools with a condition, one process", by_cachetools, 1),
)
ASYNC_HITS: tuple[tuple[str, Wrap, float], ...] = (
    ("dolium", cached, 0),
    ("cashews in memory, one process", by_cashews, 30),
    ("emboss", by_emboss, 0),
    ("anyio's lru_cache, one process", by_anyio, 0),
    ("async-lru, one process", by_async_lru, 0),
)


def add_hits() -> None:
    for who, wrap, least in HITS:
        row("hit of 3 ints", who, least)(lambda wrap=wrap: hit(wrap))
    row("hit of 3 ints", "anyio's lru_cache, async, one process", 1)(lambda: async_hit(by_anyio))
    for who, wrap in (("dolium", memoize), ("diskcache", by_diskcache)):
        row("hit of memoize, 3 ints", who)(lambda wrap=wrap: hit(wrap))
    for who, wrap, least in ASYNC_HITS:
        row("async hit of 3 ints", who, least)(lambda wrap=wrap: async_hit(wrap))
    row("async hit of 3 ints", "dolium, not async", 0.5)(lambda: hit(cached))


def hit(wrap: Wrap) -> Call:
    call = wrap(three)
    return lambda: call(1, 2, 3)


def async_hit(wrap: Wrap) -> Timed:
    call = wrap(three_later)

    async def hits(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            await call(1, 2, 3)
        return time.perf_counter() - start

    return Timed(lambda count: LOOP.run_until_complete(hits(count)))


# The version of a function that reaches 30 others: found once, at the first call

HELPERS = "".join(
    f"LIMIT_{number} = {number}\n\n\n"
    f"def step_{number}(value):\n"
    f'    """Step {number}."""\n'
    f"    total = [one * LIMIT_{number} for one in range(value) if one % 3]\n"
    f"    return step_{number + 1}(sum(total) + 1)  # goes on\n\n\n"
    for number in range(30)
)
NUMBERS = itertools.count()  # of modules: an imported one stays for the other rows
SOURCE = f"{HELPERS}def step_30(value):\n    return value\n"


def versions(find: Callable[[Any], object]) -> Timed:
    """Each turn is the version of a function that is new to this process, in a file that is older than the process."""
    directory = Path(place())
    sys.path.insert(0, str(directory))

    def turn() -> float:
        name = f"bench_steps_{next(NUMBERS)}"
        file = directory / f"{name}.py"
        file.write_text(SOURCE)
        os.utime(file, (1_000_000_000, 1_000_000_000))
        importlib.invalidate_caches()
        function = importlib.import_module(name).step_0
        start = time.perf_counter()
        find(function)
        return time.perf_counter() - start

    return Timed(lambda count: sum(turn() for _ in range(count)))


@row("version of a function that reaches 30", "dolium")
def version_ours() -> Timed:
    return versions(package("dolium").code)


@row("version of a function that reaches 30", "emboss, the function alone")
def version_emboss() -> Timed:
    emboss = package("emboss")
    cache = emboss.SqliteCache(place())
    return versions(lambda function: emboss.cache_id(emboss.cached(cache)(function)))


@row("version of a function that reaches 30", "joblib, the function alone")
def version_joblib() -> Timed:
    return versions(package("joblib.func_inspect").get_func_code)


# A crowd that waits for one result


class Crowd:
    """What one turn of waiting shares with the function that is computed."""

    def begin(self) -> None:
        self.inside, self.go, self.leave, self.done = (threading.Event() for _ in range(4))
        self.computed: list[float] = []
        self.arrived: list[None] = []
        self.served: list[float] = []

    def came(self) -> None:
        self.served.append(time.perf_counter())
        if len(self.served) >= CROWD:
            self.done.set()

    def took(self) -> float:
        """From the end of the only computation until the last has its result."""
        if len(self.served) < CROWD:
            raise Unfit(f"{len(self.served)} of {CROWD} served in {PATIENCE:.0f} s")
        if len(self.computed) > 1:
            raise Unfit(f"computed {len(self.computed)} times")
        return max(self.served) - self.computed[0]


crowd = Crowd()


def awaited(number: int) -> int:
    """A computation that ends when all others wait for it."""
    crowd.inside.set()
    crowd.go.wait()
    crowd.computed.append(time.perf_counter())
    return number


async def awaited_later(number: int) -> int:
    while not crowd.go.is_set():
        await asyncio.sleep(0.01)
    crowd.computed.append(time.perf_counter())
    return number


def crowd_of_threads(wrap: Wrap) -> Timed:
    """From the end of the computation until the last thread has the result; the threads end after that."""
    call = wrap(awaited)

    def waiter(number: int) -> None:
        crowd.arrived.append(None)
        call(number)
        crowd.came()
        crowd.leave.wait()

    def turn(number: int) -> float:
        crowd.begin()
        owner = threading.Thread(target=call, args=(number,), daemon=True)
        owner.start()
        crowd.inside.wait()
        threads = [threading.Thread(target=waiter, args=(number,), daemon=True) for _ in range(CROWD)]
        for thread in threads:
            thread.start()
        while len(crowd.arrived) < CROWD:
            time.sleep(0.01)
        time.sleep(0.3)  # the last of them fall asleep
        crowd.go.set()
        crowd.done.wait(PATIENCE)
        crowd.leave.set()
        took = crowd.took()
        for thread in [owner, *threads]:
            thread.join()
        return took

    return in_turn(turn)


def crowd_of_tasks(wrap: Wrap) -> Timed:
    """The same with tasks of one event loop."""
    call = wrap(awaited_later)

    async def waiter(number: int) -> None:
        await call(number)
        crowd.came()

    async def turn(number: int) -> float:
        crowd.begin()
        tasks = [asyncio.create_task(waiter(number)) for _ in range(CROWD + 1)]
        await asyncio.sleep(0.3)
        crowd.go.set()
        _, late = await asyncio.wait(tasks, timeout=PATIENCE)
        for task in late:
            task.cancel()
        return crowd.took()

    return in_turn(lambda number: LOOP.run_until_complete(turn(number)))


def in_turn(turn: Callable[[int], float]) -> Timed:
    """Turns that have a number each, for another key."""
    done: list[float] = []

    def turns(count: int) -> float:
        for _ in range(count):
            done.append(turn(len(done)))
        return sum(done[-count:])

    return Timed(turns)


def by_event(function: Callable[..., Any]) -> Callable[..., Any]:
    """No cache: the first caller computes, the others wait for an event."""
    events: dict[int, threading.Event] = {}

    def call(number: int) -> int:
        mine = threading.Event()
        event = events.setdefault(number, mine)
        if event is not mine:
            event.wait()
            return number
        function(number)
        event.set()
        return number

    return call


def by_asyncio_event(function: Callable[..., Awaitable[Any]]) -> Callable[..., Coroutine[Any, Any, int]]:
    events: dict[int, asyncio.Event] = {}

    async def call(number: int) -> int:
        mine = asyncio.Event()
        event = events.setdefault(number, mine)
        if event is not mine:
            await event.wait()
            return number
        await function(number)
        event.set()
        return number

    return call


THREADS: tuple[tuple[str, Wrap], ...] = (
    ("dolium", cached),
    ("threading.Event, no cache", by_event),
    ("cachetools with a condition, one process", by_cachetools),
    ("emboss", by_emboss),
    ("cachier", by_cachier),  # last, because its waiters may stay
)
TASKS: tuple[tuple[str, Wrap], ...] = (
    ("dolium", cached),
    ("asyncio.Event, no cache", by_asyncio_event),
    ("anyio's lru_cache, one process", by_anyio),
    ("async-lru, one process", by_async_lru),
    ("cashews in memory with a lock, one process", by_cashews_locked),
    ("emboss", by_emboss),
)


def add_crowds() -> None:
    for who, wrap in TASKS:
        row(f"{CROWD} waiting tasks, until the last has the result", who)(
            lambda wrap=wrap: crowd_of_tasks(wrap)
        )
    for who, wrap in THREADS:
        row(f"{CROWD} waiting threads, until the last has the result", who)(
            lambda wrap=wrap: crowd_of_threads(wrap)
        )


def repeated(call: Call) -> Timed:
    def turns(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - start

    return Timed(turns)


def measure(call: Call | Timed, seconds: float) -> list[float]:
    """Seconds of one turn, five times: each time as many turns as take some twentieth of the time."""
    turns = (call if isinstance(call, Timed) else repeated(call)).turns
    turns(1)
    count, took = 1, 0.0
    while took < seconds / 10 and count < 1 << 20:
        took = turns(count)
        count *= 2
    count = max(1, count // 2)
    found: list[float] = []
    gc.disable()
    for _ in range(5):
        found.append(turns(count) / count)
    gc.enable()
    return found


def shown(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--save", type=Path, help="directory for the raw times")
    options = parser.parse_args()
    add_fingerprints()
    add_hits()
    add_crowds()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="dolium-bench-", ignore_cleanup_errors=True) as directory:
        # A key of the bench's own, and no trace of it in the user's files.
        tempfile.tempdir = os.environ["XDG_STATE_HOME"] = directory
        results = table(options.only, 0.1 if options.quick else 1.0)
        stop_tasks()
        OPENED.close()
    if options.save:
        about: dict[str, Any] = {
            "python": sys.version,
            "machine": platform.platform(),
            "load_before": load,
            "versions": {name: version(name) for name in PACKAGES},
            "command": sys.argv,
        }
        options.save.mkdir(parents=True, exist_ok=True)
        place = options.save / f"functions-{time.strftime('%Y-%m-%d')}.json"
        place.write_text(json.dumps({**about, "rows": results}, indent=1) + "\n")


def table(only: str, seconds: float) -> list[dict[str, Any]]:
    """Measures the rows and prints each; returns the raw times."""
    results: list[dict[str, Any]] = []
    ours: dict[str, float] = {}
    print("| | who | time | times ours | promised |\n|---|---|--:|--:|--:|")
    order = list(dict.fromkeys(name for name, *_ in ROWS))
    for name, who, least, make in sorted(ROWS, key=lambda one: order.index(one[0])):
        if only not in name:
            continue
        times, why = attempt(make, seconds)
        results.append({"row": name, "who": who, "promised": least, "seconds": times, "failed": why})
        middle = statistics.median(times) if times else None
        if middle is not None and who == "dolium":
            ours[name] = middle
        ratio = "" if middle is None or who == "dolium" or name not in ours else f"{middle / ours[name]:.3g}"
        figure = why if middle is None else shown(middle)
        print(f"| {name} | {who} | {figure} | {ratio} | {least or ''} |", flush=True)
    return results


def attempt(make: Make, seconds: float) -> tuple[list[float], str]:
    """The times of a row, or none and why."""
    try:
        return measure(make(), seconds), ""
    except ImportError as error:
        return [], f"not installed: {error.name}"
    except Unfit as error:
        return [], str(error)


def stop_tasks() -> None:
    """Ends what rivals leave on the loop."""

    async def stop() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    LOOP.run_until_complete(stop())
    LOOP.close()


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
