"""A process that fills, walks or reads a cache of many entries takes less than 64 MiB of its own, beside the tier.

The test counts anonymous memory, which a map of the tier is not. What the caller holds is subtracted: a second child
holds the same and stores nothing.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from helpers.children import Child

BOUND = 64 << 20

HOLD = """
class Nothing:
    def set_many(self, items): pass
    def get(self, key): pass
    def items(self): return ()
    def __iter__(self): return iter(())

# As large as a tier may be that has grown, so that much waits to be drained at once.
options = {"size_limit": None, "hot_size": 256 << 20}
cache = dolium.Cache(sys.argv[1], **options) if len(sys.argv) > 1 else Nothing()
def fill(count, batch, length):
    for start in range(0, count, batch):
        cache.set_many([(key * 0x9E3779B97F4A7C15 % 2**62, f"{key:0{length}}") for key in range(start, start + batch)])
say("ready")
hear()
"""

WORK = {
    "small": """
fill(100_000, 1000, 100)
sum(1 for key in cache)
sum(1 for item in cache.items())
for key in range(0, 100_000, 3):
    cache.get(key * 0x9E3779B97F4A7C15 % 2**62)
""",
    "large": """
fill(30_000, 1000, 4000)
sum(1 for item in cache.items())
""",
    "in_one_call": "fill(200_000, 100_000, 100)",
}


def anonymous(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0  # it has ended


def peak(work: str, *arguments: object) -> int:
    with Child(HOLD + work + "\nsay('done')\nhear()", *arguments, seconds=120) as child:
        child.line("ready")
        seen, is_done = [anonymous(child.pid)], threading.Event()

        def watch() -> None:
            while not is_done.is_set():
                seen.append(anonymous(child.pid))
                time.sleep(0.002)

        watcher = threading.Thread(target=watch)
        watcher.start()
        child.tell()
        try:
            child.line("done")
        finally:
            is_done.set()
            watcher.join()
        child.tell()
        child.finish()
    return max(seen)


@pytest.mark.parametrize("name", WORK)
def test_memory_of_a_process_is_bounded_whatever_it_stores(tmp_path, name):
    held = peak(WORK[name]) - peak("")
    taken = peak(WORK[name], tmp_path)
    print(f"{name}: {taken / 2**20:.1f} MiB, of which the caller's are {held / 2**20:.1f}")
    assert taken - held < BOUND
