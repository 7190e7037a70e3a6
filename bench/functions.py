"""What it costs to remember functions: fingerprints and keys beside rivals, in one run.

`python bench/functions.py [--quick] [--save DIRECTORY]` measures each row in turn with its rivals, prints a table,
and saves the raw times as JSON. A rival that is not installed is a row without a figure. A row is a function that
returns what is called; add one with `@row`.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Call = Callable[[], object]
ROWS: list[tuple[str, str, float, Callable[[], Call]]] = []


def row(name: str, who: str, least: float = 0) -> Callable[[Callable[[], Call]], Callable[[], Call]]:
    """A row of the table: what is done and by whom. `least`: how many times faster dolium promises to be."""

    def add(make: Callable[[], Call]) -> Callable[[], Call]:
        ROWS.append((name, who, least, make))
        return make

    return add


def three(a: int, b: int, c: int) -> int:
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
    import numpy as np

    rng = np.random.default_rng(1)
    return {
        "80 MB float64": (lambda: rng.random((10_000, 1_000)), 5),
        "80 MB float64, Fortran order": (lambda: np.asfortranarray(rng.random((10_000, 1_000))), 1.5),
        "8 kB float64": (lambda: rng.random(1_000), 10),
        "an LLM request": (lambda: REQUEST, 15),
        "frame of 10^6 x 6 with texts": (frame, 4),
    }


def frame() -> Any:
    import numpy as np
    import pandas as pd

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
            import joblib

            found = value()
            return lambda: joblib.hash(found)


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


@row("key of 3 ints, and a get", "dolium")
def get_ours() -> Call:
    import dolium
    from dolium.functions.binding import compile_binding
    from dolium.functions.key import stored_key

    cache = dolium.Cache(tempfile.mkdtemp())
    bind, get = compile_binding(three).bind, cache.get
    cache[stored_key("bench.three()", "version", bind(1, 2, 3))] = 6
    return lambda: get(stored_key("bench.three()", "version", bind(1, 2, 3)))


@row("key of 3 ints, and a get", "diskcache", 40)
def hit_diskcache() -> Call:
    import diskcache

    cached = diskcache.Cache(tempfile.mkdtemp()).memoize()(three)
    return lambda: cached(1, 2, 3)


@row("key of 3 ints, and a get", "joblib", 150)
def hit_joblib() -> Call:
    import joblib

    cached = joblib.Memory(tempfile.mkdtemp(), verbose=0).cache(three)
    return lambda: cached(1, 2, 3)


@row("key of 3 ints, and a get", "cachetools, one process", 1)
def hit_cachetools() -> Call:
    import threading

    import cachetools

    store: Any = cachetools.LRUCache(100)
    cached = cachetools.cached(store, condition=threading.Condition())(three)
    return lambda: cached(1, 2, 3)


def measure(call: Call, seconds: float) -> list[float]:
    """Seconds of one call, several times: each time as many calls as take a fifth of the time."""
    call()
    count, took = 1, 0.0
    while took < seconds / 10 and count < 1 << 20:
        start = time.perf_counter()
        for _ in range(count):
            call()
        took = time.perf_counter() - start
        count *= 2
    count = max(1, count // 2)
    found: list[float] = []
    gc.disable()
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            call()
        found.append((time.perf_counter() - start) / count)
    gc.enable()
    return found


def shown(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the time")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--save", type=Path, help="directory for the raw times")
    options = parser.parse_args()
    add_fingerprints()
    results: list[dict[str, Any]] = []
    ours: dict[str, float] = {}
    print("| | who | time | times ours | promised |\n|---|---|--:|--:|--:|")
    for name, who, least, make in sorted(ROWS, key=lambda one: [other[0] for other in ROWS].index(one[0])):
        if options.only not in name:
            continue
        try:
            call = make()
        except ImportError:
            call = None
        times = [] if call is None else measure(call, 0.1 if options.quick else 1.0)
        results.append({"row": name, "who": who, "promised": least, "seconds": times})
        if not times:
            print(f"| {name} | {who} | not installed | | |")
            continue
        middle = statistics.median(times)
        ours.setdefault(name, middle)
        ratio = "" if who == "dolium" else f"{middle / ours[name]:.3g}"
        print(f"| {name} | {who} | {shown(middle)} | {ratio} | {least or ''} |", flush=True)
    if options.save:
        packages = ("dolium", "joblib", "diskcache", "cachetools", "emboss", "numpy", "pandas")
        versions = {name: version(name) for name in packages}
        place = options.save / f"functions-{time.strftime('%Y-%m-%d')}.json"
        about = {
            "python": sys.version,
            "machine": platform.platform(),
            "versions": versions,
            "command": sys.argv,
        }
        place.write_text(json.dumps({**about, "rows": results}, indent=1) + "\n")


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
