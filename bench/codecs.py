"""What codecs save, and what they cost: savings on real data, and hits beside rivals, in one run.

`python bench/codecs.py [--save FILE]` prints a table and saves the raw figures as JSON. A rival that is not
installed is left out. Times are the least of several runs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sysconfig
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dolium
import numpy as np
from dolium.codecs import Array, Auto, Json, Pickle, Zstd

FIGURES: dict[str, Any] = {}


def tell(name: str, value: float, unit: str) -> None:
    FIGURES[name] = value
    print(f"{name:58} {value:10.2f} {unit}", flush=True)


def saved(name: str, values: list[Any], before: int, codec: Any) -> None:
    with tempfile.TemporaryDirectory() as directory, dolium.Cache(directory) as cache:
        after = 0
        for value in values:
            cache.set("key", value, codec=codec)
            after += cache.info("key").size - 3
    tell(f"saved: {name}", 100 * (1 - after / before), "%")


def shared(name: str, values: list[Any], codec: Any, size: Callable[[Any], bytes]) -> None:
    """What values save that a dictionary of other values compresses: three in four come first, one is held out."""
    random.Random(1).shuffle(values)
    seen, held = values[: len(values) * 3 // 4], values[len(values) * 3 // 4 :]
    bodies = [size(value) for value in held]
    before = sum(map(len, bodies))
    tell(
        f"saved: {name}, zlib-6",
        100 * (1 - sum(len(zlib.compress(body, 6)) for body in bodies) / before),
        "%",
    )
    for filter in (Zstd(), Zstd(dictionary=True)):
        with tempfile.TemporaryDirectory() as directory, dolium.Cache(directory) as cache:
            for key, value in enumerate(seen):
                cache.set(key, value, codec=codec | filter)
            if filter.dictionary and not has_dictionary(cache):
                tell(f"saved: {name}, {filter!r}, which was not worth it", 0, "%")
                continue
            after = 0
            for value in held:
                cache.set("held", value, codec=codec | filter)
                after += cache.info("held").size
        tell(f"saved: {name}, {filter!r}", 100 * (1 - after / before), "%")


def has_dictionary(cache: dolium.Cache) -> bool:
    """Wait until the cache has a dictionary and new values use it."""
    for _ in range(300):
        try:
            if cache._sql("SELECT count(*) FROM DoliumDictionary").fetchall()[0][0]:
                time.sleep(2)
                return True
        except dolium.errors.DatabaseError:
            pass
        time.sleep(0.1)
    return False


def pages() -> None:
    """The books of Rust, which are rendered from Markdown, if the toolchain has them."""
    if shutil.which("rustc") is None:
        return
    root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
    html = Path(root.stdout.strip()) / "share/doc/rust/html"
    found = sorted(page for book in BOOKS for page in (html / book).rglob("*.html"))
    texts = [page.read_text(errors="replace") for page in found if page.name != "print.html"]
    if len(texts) > 1000:
        texts = random.Random(1).sample(texts, 1000)
    if len(texts) > 700:
        shared(f"{len(texts)} pages rendered from Markdown", texts, Auto(), str.encode)


BOOKS = (
    "book", "cargo", "clippy", "edition-guide", "embedded-book", "error_codes", "nomicon", "reference",
    "rust-by-example", "rustc", "rustdoc", "style-guide",
)  # fmt: skip


def small_records() -> None:
    rng = random.Random(1)
    shared("2000 JSON records of 830 bytes", [small_record(rng) for _ in range(2000)], Json(), as_json)


def small_record(rng: random.Random) -> dict[str, Any]:
    """A record with 32 random hexadecimal digits, and some numbers."""
    return {
        "id": f"{rng.getrandbits(128):032x}",
        "status": rng.choice(["new", "paid", "shipped", "returned"]),
        "customer": {
            "name": rng.choice(["Ada", "Alan", "Grace"]),
            "city": rng.choice(["London", "Paris", "Rome"]),
        },
        "lines": [
            {
                "article": f"A-{rng.randrange(1000)}",
                "text": "a line of the order",
                "count": rng.randrange(9),
                "price": rng.randrange(10_000) / 100,
                "currency": "EUR",
                "delivery": {"method": "parcel", "insured": False},
            }
            for _ in range(5)
        ],
    }


def as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sources() -> None:
    files = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    files = [path for path in files if "site-packages" not in path.parts]
    texts = [path.read_text(errors="replace") for path in files]
    shared("sources of the standard library, one in four", list(texts), Auto(), str.encode)
    before = sum(len(text.encode()) for text in texts)
    for level in (-1, 3, 9):
        saved(f"{len(texts)} sources of the standard library, Zstd({level})", texts, before, Zstd(level))
    small = sum(len(zlib.compress(text.encode(), 6)) for text in texts)
    tell("saved: the same, zlib-6", 100 * (1 - small / before), "%")


def signals() -> None:
    rng = np.random.default_rng(1)
    signal = np.sin(np.arange(1_000_000) / 1000) + 0.01 * rng.standard_normal(1_000_000)
    for codec in (Array(), Array(max_error=1e-2), Array(max_error=1e-3), Array(max_error=1e-6)):
        saved(f"float64 signal, {codec!r} | Zstd()", [signal], signal.nbytes, codec | Zstd())
    vectors = rng.standard_normal((1000, 768)).astype("f4")
    for codec in (Array(), Array(relative_error=2**-11)):
        saved(f"float32 embeddings, {codec!r} | Zstd()", [vectors], vectors.nbytes, codec | Zstd())


def least(call: Callable[[], Any], times: int) -> float:
    call()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return min(found)


RECORD: dict[str, Any] = {}


def found(n: int) -> dict[str, Any]:
    return RECORD


def records() -> None:
    record = {
        "id": f"{random.Random(1).getrandbits(128):032x}",
        "status": "shipped",
        "customer": {"name": "Ada Lovelace", "street": "St James's Square 12", "city": "London"},
        "lines": [
            {"article": f"A-{n}", "text": "a line of the order", "count": n, "price": 9.5} for n in range(6)
        ],
    }
    RECORD.update(record)
    loops = range(1000)
    text = json.dumps(record, separators=(",", ":"))
    tell("a JSON record", len(text), "bytes")
    tell("json.loads of it", least(lambda: [json.loads(text) for _ in loops], 20) * 1e3, "µs")
    with tempfile.TemporaryDirectory() as directory, dolium.Cache(directory) as cache:
        for name, codec in {"Json()": Json(), "Json() | Zstd()": Json() | Zstd()}.items():
            function = cache.cached(name=name, version="1", codec=codec)(found)
            cache.set("key", record, codec=codec)
            tell(
                f"hit of a JSON record, get, {name}",
                least(lambda: [cache.get("key") for _ in loops], 20) * 1e3,
                "µs",
            )
            tell(
                f"hit of a JSON record, cached, {name}",
                least(lambda function=function: [function(1) for _ in loops], 20) * 1e3,
                "µs",
            )
    try:
        import diskcache
    except ImportError:
        return
    with (
        tempfile.TemporaryDirectory() as directory,
        diskcache.Cache(directory, disk=diskcache.JSONDisk) as cache,
    ):
        cache["key"] = record
        tell(
            "hit of a JSON record, diskcache JSONDisk",
            least(lambda: [cache.get("key") for _ in loops], 5) * 1e3,
            "µs",
        )


def arrays() -> None:
    array = np.arange(10_000_000, dtype="f8")
    with tempfile.TemporaryDirectory() as directory, dolium.Cache(directory, size_limit=None) as cache:
        codecs = {
            "Array()": Array(),
            "Pickle()": Pickle(),
            "Array(mmap=True)": Array(mmap=True),
            "Pickle(mmap=True)": Pickle(mmap=True),
        }
        for name, codec in codecs.items():
            cache.set(name, array, codec=codec)
            tell(f"80 MB float64, {name}", least(lambda name=name: cache.get(name), 7) * 1e3, "ms")
    try:
        import diskcache
    except ImportError:
        pass
    else:
        with (
            tempfile.TemporaryDirectory() as directory,
            diskcache.Cache(directory, size_limit=1 << 40) as cache,
        ):
            cache["key"] = array
            tell("80 MB float64, diskcache", least(lambda: cache["key"], 7) * 1e3, "ms")
    try:
        import joblib
    except ImportError:
        return
    with tempfile.TemporaryDirectory() as directory:
        for mode in (None, "r"):
            path = f"{directory}/{mode}"
            joblib.dump(array, path)
            tell(
                f"80 MB float64, joblib mmap_mode={mode}",
                least(lambda path=path, mode=mode: joblib.load(path, mmap_mode=mode), 7) * 1e3,
                "ms",
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    for part in (pages, small_records, sources, signals, records, arrays):
        part()
    if arguments.save:
        arguments.save.write_text(json.dumps(FIGURES, indent=1) + "\n")


if __name__ == "__main__":
    main()
