"""Locks are taken in the hot tier: without a transaction, one holder at a time, and also beside diskcache."""

from __future__ import annotations

import os
import random
import sqlite3
import struct
import time
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import BoundedSemaphore, Lock, RLock
from helpers.children import Child, run

KINDS = [Lock, RLock, BoundedSemaphore]
HAS_TIER = os.environ.get("DOLIUM_HOT_SIZE") != "0"
MISS = dolium.constants.MISS

# Holds a lock of diskcache from when it says so until it hears something.
HOLDER = """
import diskcache
with diskcache.Cache(sys.argv[1]) as cache:
    with getattr(diskcache, sys.argv[2])(cache, "lock"):
        say("has it")
        hear()
    say("gave it back")
    hear()
"""

OPENER = "import diskcache; diskcache.Cache(sys.argv[1])"

# Enters and leaves a file as one at a time can, for a second or so, and counts how often it was not alone.
GUEST = """
import importlib
package = importlib.import_module(sys.argv[2])
path, hold = os.path.join(sys.argv[1], "room"), float(sys.argv[4])
times = clashes = 0
say("ready")
hear()
cache = package.Cache(sys.argv[1])
lock = getattr(package, sys.argv[3])(cache, "lock")
until = time.time() + 1.5
while not times or time.time() < until:
    with lock:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            clashes += 1
        if not times:
            say("inside")
        time.sleep(0.001 if times else hold)
        try:
            os.unlink(path)
        except FileNotFoundError:
            clashes += 1
    times += 1
    time.sleep(0.001)
say(times, clashes)
"""

COUNTER = """
cache = dolium.Cache(sys.argv[1])
lock = getattr(dolium, sys.argv[2])(cache, "lock")
say("ready")
hear()
for _ in range(100):
    with lock:
        cache["count"] = cache["count"] + 1
"""


def turn(lock: Any) -> None:
    with lock:
        pass


def direct_writes(cache: dolium.Cache) -> int:
    cache.flush()
    return cache.stats().hot.direct if HAS_TIER else 0


def writes_directly(cache: dolium.Cache, lock: Any) -> bool:
    before = direct_writes(cache)
    turn(lock)
    return direct_writes(cache) > before or not HAS_TIER


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("expire", [None, 60])
def test_lock_needs_no_transaction_without_diskcache(tmp_path: Path, kind: Any, expire: Any):
    with dolium.Cache(tmp_path) as cache:
        lock = kind(cache, ("lock", 1), expire=expire)
        turn(lock)
        before = direct_writes(cache)
        for _ in range(20):
            turn(lock)
        assert direct_writes(cache) == before


@pytest.mark.parametrize("kind", KINDS)
def test_lock_is_written_at_once_after_diskcache_opened(tmp_path: Path, kind: Any):
    """Opening is enough: diskcache has changed no entry."""
    with dolium.Cache(tmp_path) as cache:
        lock = kind(cache, "lock")
        turn(lock)
        run(OPENER, tmp_path)
        lock.acquire()
        run("import diskcache; assert 'lock' in diskcache.Cache(sys.argv[1])", tmp_path)
        lock.release()
        assert writes_directly(cache, lock)


def test_lock_is_written_at_once_in_what_diskcache_made(tmp_path: Path):
    """The program that made the directory may still have it open, and opened it before it had a trigger of dolium."""
    with Child(HOLDER, tmp_path, "Lock") as theirs:
        theirs.line("has it")
        with dolium.Cache(tmp_path) as cache:
            turn(Lock(cache, "another"))
            assert writes_directly(cache, Lock(cache, "another"))
            assert not Lock(cache, "lock")._try("me")


def test_lock_remembers_diskcache_for_a_day(tmp_path: Path):
    def lock_writes_directly() -> bool:
        with dolium.Cache(tmp_path) as cache:
            turn(Lock(cache, "lock"))
            return writes_directly(cache, Lock(cache, "lock"))

    lock_writes_directly()
    run(OPENER, tmp_path)
    assert lock_writes_directly()
    assert lock_writes_directly(), "all have closed the cache since"
    with sqlite3.connect(tmp_path / "cache.db") as database:
        (shared,) = database.execute("SELECT value FROM Dolium WHERE key = 'shared'").fetchone()
        foreign, then = struct.unpack("<QQ", shared)
        assert abs(then - time.time()) < 1000
        earlier = struct.pack("<QQ", foreign, then - 24 * 60 * 60)
        database.execute("UPDATE Dolium SET value = ? WHERE key = 'shared'", [earlier])
    database.close()
    assert not lock_writes_directly() or not HAS_TIER


@pytest.mark.parametrize("kind", KINDS)
def test_lock_that_diskcache_holds_is_not_taken(tmp_path: Path, kind: Any):
    """Although the tier remembers the release of this process, and the housekeeper may not have looked since."""
    with dolium.Cache(tmp_path) as cache:
        lock = kind(cache, "lock")
        turn(lock)
        cache.flush()
        with Child(HOLDER, tmp_path, kind.__name__) as holder:
            holder.line("has it")
            assert not lock._try("me")
            holder.tell("give it back")
            holder.line("gave it back")
            assert lock._try("me")
            holder.tell("end")
            holder.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_lock_excludes_a_diskcache_that_joins_later(tmp_path: Path, kind: Any):
    """A tenth of a second after the lock was taken in the tier, and at random moments from then on."""
    for number in range(4):
        place = tmp_path / str(number)
        with dolium.Cache(place) as cache:
            turn(kind(cache, "lock"))
            cache.flush()
        ours, theirs = (
            Child(GUEST, place, package, kind.__name__, hold)
            for package, hold in (("dolium", 1.0), ("diskcache", 0.01))
        )
        with ours, theirs:
            for guest in (ours, theirs):
                guest.line("ready")
            ours.tell("go")
            ours.line("inside")
            time.sleep(random.uniform(0.2, 0.5))
            theirs.tell("go")
            for guest in (ours, theirs):
                times, clashes = map(
                    int, next(filter(lambda line: line != "inside", iter(guest.line, None))).split()
                )
                assert (times > 0, clashes) == (True, 0)
                guest.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_lock_lets_in_one_of_eight_processes(tmp_path: Path, kind: Any):
    with dolium.Cache(tmp_path) as cache:
        cache["count"] = 0
        children = [Child(COUNTER, tmp_path, kind.__name__) for _ in range(8)]
        for child in children:
            child.line("ready")
        for child in children:
            child.tell("go")
        for child in children:
            with child:
                child.finish()
        assert cache["count"] == 800


@pytest.mark.parametrize("kind", KINDS)
def test_lock_in_the_tier_outlives_a_killed_holder(tmp_path: Path, kind: Any):
    """A plain lock is held until it is released, as one of diskcache is."""
    body = f"dolium.{kind.__name__}(dolium.Cache(sys.argv[1]), 'lock').acquire(); say('has it'); hear()"
    with dolium.Cache(tmp_path) as cache:
        cache["other"] = 1
        with Child(body, tmp_path) as holder:
            holder.line("has it")
            holder.kill()
        row = {"Lock": None, "BoundedSemaphore": 0}.get(kind.__name__, (f"{holder.pid}", 1))
        cache.flush()
        found = cache.get("lock", default="free")
        assert (found[0].split("-")[0], found[1]) == row if kind is RLock else found == row


def test_swap_changes_only_what_it_names(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        for old, new in ((MISS, None), (None, ("a", 1)), (("a", 1), 2)):
            assert cache._swap("key", "another", new) == (False, None)
            assert cache._swap("key", old, new) == (True, None)
            assert cache["key"] == new
        assert cache._swap("key", MISS, 3) == (False, None)
        with cache.transact():
            assert cache._swap("key", 2, 3) is None, "the caller's transaction does it"
        assert cache["key"] == 2
        _, deadline = cache._swap("key", 2, 3, expire=60)
        assert cache.get("key", expire_time=True) == (3, deadline)
        assert cache._swap("key", ..., MISS, expires=deadline + 1) == (False, None)
        assert cache._swap("key", ..., MISS, expires=deadline) == (True, None)
        assert "key" not in cache
        assert cache._swap("key", ..., 4) == (True, None)
        assert cache._swap("key", 4, MISS) == (True, None)
        assert "key" not in cache
