"""A process dies inside SQLite's COMMIT: its frames are whole in the log, and the log's index does not show them.

Such a commit comes to life if the index is made anew before another commit is written over it. The death is a real one:
the child makes its mapping of the index read-only, and the kernel ends it at the first store that follows the frames.
"""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import pytest
from helpers.children import Child, run

VICTIM = """
import ctypes, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
protect = ctypes.CDLL(None, use_errno=True).mprotect
def arm():
    maps = open("/proc/self/maps").read().splitlines()
    starts = [int(line.split("-")[0], 16) for line in maps if line.endswith("cache.db-shm")]
    assert starts, "the index of the log is not mapped"
    for start in starts:
        assert protect(ctypes.c_void_p(start), 4096, 1) == 0, "it stays writable"
cache = dolium.Cache(sys.argv[1], hot_size=64 << 10)
with cache.transact():
    cache.set("log", "has frames that no checkpoint has moved")
    len(cache)  # makes it a transaction of the database
len(cache)  # the read mark is at the end of the log
"""

# What the victim does, and what of the two keys is there before.
CHANGES = {
    "transact": (
        {},
        "with cache.transact():\n    len(cache)\n    cache.set('one', 1)\n    cache.set('two', 2)\n    arm()\n",
    ),
    "clear": ({"one": 0, "two": 0}, "arm()\ncache.clear()\n"),
    # More than the log of the tier takes together.
    "set_many": (
        {},
        "items = {key: bytes(2000) for key in ['one', 'two', *range(50)]}\narm()\ncache.set_many(items)\n",
    ),
}

SURVIVOR = """
cache = dolium.Cache(sys.argv[1], hot_size=64 << 10)
cache.set("here", 1)
len(cache)
say("attached")
hear()
seen = cache.get("one"), cache.get("two")
added = cache.add("one", "added") or cache.incr("one", 10)
say(seen, added)
"""

# Closes all connections to the database. The next use opens it as the first.
FORKS = """
if os.fork() == 0:
    os._exit(0)
os.wait()
say(cache.get("one"), cache.get("two"), "two" in list(cache))
"""

DIES = """
os.kill(os.getpid(), signal.SIGKILL)
"""


def shown_and_written(directory: Path) -> tuple[int, int, int]:
    """Frames of the log that its index shows, frames that it has, and the commit mark of the last."""
    shown = struct.unpack_from("=I", (directory / "cache.db-shm").read_bytes(), 16)[0]
    log = (directory / "cache.db-wal").read_bytes()
    page = struct.unpack_from(">I", log, 8)[0]
    salts = log[16:24]
    frames = range(32, len(log) - page - 23, page + 24)
    written = [place for place in frames if log[place + 8 : place + 16] == salts]
    return shown, len(written), struct.unpack_from(">I", log, written[-1] + 4)[0]


@pytest.mark.parametrize("after", ["fork", "death"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_commit_of_dead_never_comes_once_others_went_on(tmp_path, change, after):
    before, dies = CHANGES[change]
    setup = "\n".join(f"cache.set({key!r}, {value})" for key, value in before.items())
    with Child(SURVIVOR + (FORKS if after == "fork" else DIES), tmp_path) as survivor:
        survivor.line("attached")
        with Child(VICTIM.replace("len(cache)", setup + "\nlen(cache)") + dies, tmp_path) as victim:
            assert victim.wait() == -signal.SIGSEGV, f"it did not die inside COMMIT\n{victim.errors}"
        shown, written, mark = shown_and_written(tmp_path)
        assert shown < written, "the index shows all"
        assert mark > 0, "the commit is not whole"
        survivor.tell("go on")
        seen, added = ((0, 0), 10) if before else ((None, None), True)
        survivor.line(f"{seen} {added}")
        one, two = (10, 0) if before else ("added", None)
        if after == "fork":
            survivor.line(f"{one} {two} {two is not None}")
            survivor.finish()
        else:
            survivor.finish(-signal.SIGKILL)
    late = run("cache = dolium.Cache(sys.argv[1]); say(cache.get('one'), cache.get('two'))", tmp_path)
    assert late == [f"{one} {two}"]
