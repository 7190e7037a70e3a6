"""Locks are taken in the hot tier: without a transaction, one holder at a time, and also beside diskcache."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import BoundedSemaphore, Lock, RLock
from helpers.children import Child, run

KINDS = [Lock, RLock, BoundedSemaphore]
HAS_TIER = os.environ.get("DOLIUM_HOT_SIZE") != "0"

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
def test_lock_is_written_at_once_beside_diskcache(tmp_path: Path, kind: Any):
    with dolium.Cache(tmp_path) as cache:
        lock = kind(cache, "lock")
        turn(lock)
        cache.flush()
        run("import diskcache; diskcache.Cache(sys.argv[1])['other'] = 1", tmp_path)
        before = direct_writes(cache)
        lock.acquire()
        assert direct_writes(cache) > before or not HAS_TIER
        lock.release()


@pytest.mark.parametrize("kind", KINDS)
def test_lock_that_diskcache_holds_is_not_taken(tmp_path: Path, kind: Any):
    """Although the tier remembers the release of this process."""
    with dolium.Cache(tmp_path) as cache:
        turn(kind(cache, "lock"))
        cache.flush()
        with Child(HOLDER, tmp_path, kind.__name__) as holder:
            said = threading.Thread(target=holder.line, args=("has it",), daemon=True)
            said.start()
            while said.is_alive():  # a process that uses the tier looks for diskcache only now and then
                cache.set("other", 1)
                said.join(0.001)
            taken = threading.Event()

            def take() -> None:
                with kind(cache, "lock"):
                    taken.set()

            thread = threading.Thread(target=take, daemon=True)
            thread.start()
            assert not taken.wait(0.3)
            holder.tell("give it back")
            assert taken.wait(20)
            thread.join()
            holder.tell("end")
            holder.finish()


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


def test_swap_replaces_only_the_value_it_names(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        miss = dolium.constants.MISS
        for old, new in ((miss, None), (None, ("a", 1)), (("a", 1), 2)):
            assert cache._swap("key", "another", new) == (False, None)
            assert cache._swap("key", old, new) == (True, None)
            assert cache["key"] == new
        assert cache._swap("key", miss, 3) == (False, None)
        with cache.transact():
            assert cache._swap("key", 2, 3) is None, "the caller's transaction does it"
        assert cache["key"] == 2
        _, deadline = cache._swap("key", 2, 3, expire=60)
        assert cache.get("key", expire_time=True) == (3, deadline)
        assert cache._delete_expiring("key", deadline + 1) is False
        assert cache._delete_expiring("key", deadline) is True
        assert "key" not in cache
