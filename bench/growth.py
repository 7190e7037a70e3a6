"""First gets, gets and sets over the number of entries and over the size of values, for each cache that is installed.

`python bench/growth.py` prints a table, saves the raw figures as JSON under `bench/results`, and draws them as one SVG.
`--most 100000` bounds the entries, `--largest 1000000` the bytes of a value, `--only dolium diskcache` the caches.
`--draw FILE.json` draws a run again. Each figure is the median of calls with random keys, in microseconds. The first
gets come right after the cache was filled. Before the others, gets go on until they do not become faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from faces import FACES, Face, fresh
from reads import DoliumUnlimited, LmdbMapped

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = [10**power for power in range(3, 8)]
SIZES = [10**power for power in range(1, 8)]
VALUE = 100
"""Bytes of a value while the number of entries grows."""

CALLS = 20_000
"""Calls of one figure at most, and the seconds after which it has enough."""
SECONDS = 3.0

WARMING = 90.0
"""Seconds after which the gets that warm a cache end."""
GAIN = 0.03
IDLE = 3
"""They end as well after so many windows that each save no more than this part."""
MANY = 10**6
"""Entries from which on a window has not one second but five."""

ROUND = 64
"""Calls between two looks at the clock, so that looking costs next to nothing."""


class LmdbWritemap(LmdbMapped):
    """The same, by what the picture calls it."""

    name = "py-lmdb, unsynced, writemap"


COMPARED: dict[str, type[Face]] = {
    # The default limit evicts before there are ten million.
    "dolium": DoliumUnlimited,
    "diskcache": FACES["diskcache"],
    LmdbWritemap.name: LmdbWritemap,
    "pysciqlop-cache": FACES["pysciqlop-cache"],
    "diskcache_rs": FACES["diskcache_rs"],
}

CALLED = ["first get", "get", "set"]
"""What is timed, in this order."""

Series = dict[str, list[tuple[int, float]]]
"""By the name of a cache: entries or bytes, and microseconds."""


def microseconds(call: Callable[[Any], Any], arguments: Iterator[Any], calls: int) -> float:
    """The median of a call's time."""
    times: list[float] = []
    size = max(1, min(ROUND, calls // 8))
    end = time.perf_counter() + SECONDS
    while (len(times) * size < calls and time.perf_counter() < end) or len(times) < 3:
        some = [next(arguments) for _ in range(size)]
        since = time.perf_counter()
        for argument in some:
            call(argument)
        times.append((time.perf_counter() - since) / size)
    return statistics.median(times) * 1e6


def warm(get: Callable[[Any], Any], names: Iterator[Any], window: float) -> None:
    """Gets until those of some windows in a row are hardly faster than those of the best before."""
    best, idle, end = float("inf"), 0, time.perf_counter() + WARMING
    while idle < IDLE and time.perf_counter() < end:
        spent, calls = 0.0, 0
        while spent < window:
            some = [next(names) for _ in range(ROUND)]
            since = time.perf_counter()
            for name in some:
                get(name)
            spent, calls = spent + time.perf_counter() - since, calls + ROUND
        idle = idle + 1 if spent / calls > (1 - GAIN) * best else 0
        best = min(best, spent / calls)


def measured(
    face: type[Face], count: int, size: int, directory: Path, calls: int
) -> tuple[float, float, float]:
    """Fills a cache with so many values of so many bytes; gets random ones, gets them warm, and sets them."""
    cache = fresh(face, directory)
    try:
        chance = random.Random(17)
        values = [chance.randbytes(size) for _ in range(max(2, min(100, 20_000_000 // size)))]
        step = max(1, min(10_000, 4_000_000 // size))
        for start in range(0, count, step):
            keys = range(start, min(start + step, count))
            cache.set_many([(face.key(f"key {key}"), values[key % len(values)]) for key in keys])
        names = iter(lambda: face.key(f"key {chance.randrange(count)}"), None)
        first = microseconds(cache.get, names, calls)
        warm(cache.get, names, 5.0 if count >= MANY else 1.0)
        got = microseconds(cache.get, names, calls)
        new = ((name, chance.choice(values)) for name in names)
        stored = microseconds(lambda pair: cache.set(*pair), new, calls)
        return first, got, stored
    finally:
        cache.close()
        shutil.rmtree(directory, ignore_errors=True)


def run(faces: list[type[Face]], most: int, largest: int, calls: int) -> dict[str, Any]:
    """All figures: by panel, by cache."""
    # First, so that a package without a version costs no run.
    versions = {face.name: face.version() for face in faces}
    panels: dict[str, Series] = {f"{call}, {axis}": {} for call in CALLED for axis in ("entries", "bytes")}
    with tempfile.TemporaryDirectory(prefix="growth-") as scratch:
        for face in faces:
            grows = [("entries", count, count, VALUE) for count in ENTRIES if count <= most]
            grows += [
                ("bytes", size, max(8, min(1000, 10**8 // size)), size) for size in SIZES if size <= largest
            ]
            for axis, place, count, size in grows:
                times = measured(face, count, size, Path(scratch) / "cache", calls)
                for call, took in zip(CALLED, times, strict=True):
                    panels[f"{call}, {axis}"].setdefault(face.name, []).append((place, took))
                first, got, stored = (f"{took:10.2f} µs" for took in times)
                print(
                    f"{face.name:28} {place:>10,} {axis:8} first get {first}   get {got}   set {stored}",
                    flush=True,
                )
    return {
        "date": date.today().isoformat(),
        "commit": commit(),
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": versions,
        "panels": panels,
    }


def commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


# The picture

WIDTH, HEIGHT, MARGIN, GAP = 380, 240, 56, 30
COLORS = ["#e4572e", "#2e86ab", "#8d6a9f", "#3a9d5d", "#b8860b"]
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 }
.grid { stroke: #8886; stroke-width: .5 } .line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }
"""


def power(exponent: int, unit: str) -> str:
    """A power of ten as a label: `10 kB`, `100 µs`."""
    if unit == "µs":
        names = {
            -2: "10 ns",
            -1: "100 ns",
            0: "1 µs",
            1: "10 µs",
            2: "100 µs",
            3: "1 ms",
            4: "10 ms",
            5: "100 ms",
        }
        return names.get(exponent, f"1e{exponent} µs")
    prefix, rest = ["", "k", "M", "G"][exponent // 3], 10 ** (exponent % 3)
    return f"{rest} {prefix}{unit}".strip() if unit else f"{rest}{prefix}"


def panel(title: str, series: Series, colors: dict[str, str], left: int, top: int) -> list[str]:
    """One diagram with both axes logarithmic."""
    from math import ceil, floor, log10

    points = [point for line in series.values() for point in line]
    low_x, high_x = (log10(f(place for place, _ in points)) for f in (min, max))
    low_y = floor(log10(min(cost for _, cost in points)))
    high_y = max(low_y + 1, ceil(log10(max(cost for _, cost in points))))
    across, up = max(high_x - low_x, 1e-9), high_y - low_y

    def at(place: float, cost: float) -> tuple[float, float]:
        x = left + MARGIN + (log10(place) - low_x) / across * (WIDTH - MARGIN)
        return round(x, 1), round(top + HEIGHT - (log10(cost) - low_y) / up * HEIGHT, 1)

    unit = "B" if title.endswith("bytes") else ""
    parts = [f'<text class="title" x="{left + MARGIN}" y="{top - 10}">{title}</text>']
    for exponent in range(low_y, high_y + 1):
        _, y = at(10**low_x, 10.0**exponent)
        parts.append(f'<path class="grid" d="M{left + MARGIN} {y}H{left + WIDTH}"/>')
        parts.append(
            f'<text x="{left + MARGIN - 6}" y="{y + 4}" text-anchor="end">{power(exponent, "µs")}</text>'
        )
    for exponent in range(ceil(low_x), floor(high_x) + 1):
        x, _ = at(10**exponent, 10.0**low_y)
        parts.append(
            f'<text x="{x}" y="{top + HEIGHT + 18}" text-anchor="middle">{power(exponent, unit)}</text>'
        )
    for name, line in series.items():
        way = " ".join(f"{x},{y}" for x, y in (at(*point) for point in line))
        parts.append(f'<polyline class="line" stroke="{colors[name]}" points="{way}"/>')
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{colors[name]}"/>' for x, y in (at(*p) for p in line)
        ]
    return parts


def draw(figures: dict[str, Any]) -> str:
    """The run as an SVG that is readable on a light and on a dark page."""
    names = list(figures["versions"])
    colors = {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}
    parts: list[str] = []
    for place, (title, series) in enumerate(figures["panels"].items()):
        left, top = (place % 2) * (WIDTH + GAP), 60 + (place // 2) * (HEIGHT + 70)
        parts += panel(title, series, colors, left, top)
    x = MARGIN
    for name in names:
        parts.append(
            f'<circle cx="{x}" cy="16" r="5" fill="{colors[name]}"/><text x="{x + 10}" y="20">{name}</text>'
        )
        x += 30 + 7 * len(name)
    width, height = 2 * WIDTH + GAP + 20, 60 + (len(figures["panels"]) + 1) // 2 * (HEIGHT + 70)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def installed() -> list[type[Face]]:
    """The caches that can be imported. One that cannot is named."""
    found: list[type[Face]] = []
    for face in COMPARED.values():
        try:
            face.import_()
        except ImportError as error:
            print(f"{face.name} is left out: {error}", file=sys.stderr)
        else:
            found.append(face)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=ENTRIES[-1], help="entries at most")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="bytes of a value at most")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls of a figure at most")
    parser.add_argument("--only", nargs="+", choices=list(COMPARED), help="these caches")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "bench" / "results", help="the folder of the results"
    )
    parser.add_argument("--draw", type=Path, metavar="JSON", help="draw this run instead of measuring")
    given = parser.parse_args()
    if given.draw:
        saved = given.draw
        figures: dict[str, Any] = json.loads(saved.read_text())
    else:
        faces = [face for face in installed() if not given.only or face.name in given.only]
        if not faces:
            parser.error("none of these caches is installed")
        figures = run(faces, given.most, given.largest, given.calls)
        given.out.mkdir(parents=True, exist_ok=True)
        saved = given.out / f"growth-{figures['date']}-{figures['commit']}.json"
        saved.write_text(json.dumps(figures, indent=1) + "\n")
    picture = saved.with_suffix(".svg")
    picture.write_text(draw(figures))
    print(f"{saved}\n{picture}")


if __name__ == "__main__":
    main()
