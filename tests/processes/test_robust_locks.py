"""A robust lock is freed by the death of its holder's process, and by nothing else."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diskcache
import dolium
import pytest
from dolium import BoundedSemaphore, Lock, RLock, barrier
from dolium.lockrow import owner_in
from helpers.children import PATIENCE, Child, run

KINDS = [Lock, RLock, BoundedSemaphore]

# Takes and releases a robust lock for ever, and holds it most of the time.
BUSY = """
cache = getattr(dolium, sys.argv[3])(sys.argv[1])
lock = getattr(dolium, sys.argv[2])(cache, "lock", robust=True)
say("ready")
while True:
    with lock:
        time.sleep(0.0005)
"""

HOLDER = """
cache = getattr(dolium, sys.argv[3])(sys.argv[1])
lock = getattr(dolium, sys.argv[2])(cache, "lock", robust=len(sys.argv) < 5)
lock.acquire()
say("has it")
hear()
lock.release()
say("gave it back")
hear()
"""


@pytest.fixture(params=["Cache", "FanoutCache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with getattr(dolium, request.param)(str(tmp_path)) as cache:
        yield cache


def holder(cache: Any, kind: Any, *plain: str) -> Child:
    child = Child(HOLDER, cache.directory, kind.__name__, type(cache).__name__, *plain)
    child.line("has it")
    return child


def acquired(lock: Any) -> threading.Event:
    """Set once a thread has got the lock, which it gives back."""
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_is_free_when_its_holder_was_killed(cache: Any, kind: Any):
    lock = kind(cache, "lock", robust=True)
    with holder(cache, kind) as child:
        taken = acquired(lock)
        assert not taken.wait(0.2)
        child.kill()
        since = time.monotonic()
        assert taken.wait(20 * PATIENCE)
        # It takes 10 ms where nothing else runs.
        assert time.monotonic() - since < 2 * PATIENCE


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_outlives_a_kill_at_any_moment(tmp_path: Path, kind: Any):
    """Of the holder, while it takes the lock, has it, or gives it back."""
    with dolium.Cache(tmp_path) as cache:
        lock = kind(cache, "lock", robust=True)
        for _ in range(12):
            with Child(BUSY, tmp_path, kind.__name__, "Cache") as child:
                child.line("ready")
                time.sleep(random.uniform(0, 0.02))
                child.kill()
            assert acquired(lock).wait(20 * PATIENCE)
        assert cache.check() == []


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_stays_with_a_stopped_holder(tmp_path: Path, kind: Any):
    with dolium.Cache(tmp_path) as cache, holder(cache, kind) as child:
        os.kill(child.pid, signal.SIGSTOP)
        taken = acquired(kind(cache, "lock", robust=True))
        assert not taken.wait(0.5)
        os.kill(child.pid, signal.SIGCONT)
        child.tell("give it back")
        child.line("gave it back")
        assert taken.wait(20 * PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_stays_with_the_parent_of_a_fork(tmp_path: Path, kind: Any):
    """The child does not hold it, cannot release it, and its end frees nothing."""
    body = """
        cache = dolium.Cache(sys.argv[1])
        lock = getattr(dolium, sys.argv[2])(cache, "lock", robust=True)
        lock.acquire()
        child = os.fork()
        if not child:
            try:
                lock.release()
            except AssertionError:
                os._exit(7)
            os._exit(1)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        if not os.fork():
            time.sleep(60)  # its copy of the descriptor keeps nothing alive
        hear()
    """
    with dolium.Cache(tmp_path) as cache:
        cache["other"] = 1
        with Child(body, tmp_path, kind.__name__) as parent:
            parent.line("7")
            taken = acquired(kind(cache, "lock", robust=True))
            assert not taken.wait(0.2)
            parent.process.kill()
            assert taken.wait(20 * PATIENCE)


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_stays_when_its_cache_is_closed(tmp_path: Path, kind: Any):
    body = """
        lock = getattr(dolium, sys.argv[2])(dolium.Cache(sys.argv[1]), "lock", robust=True)
        say(lock._try(lock._name("me")))
    """
    with dolium.Cache(tmp_path) as cache:
        kind(cache, "lock", robust=True).acquire()
    assert run(body, tmp_path, kind.__name__) == ["False"]
    with dolium.Cache(tmp_path) as cache:
        kind(cache, "lock", robust=True).release()
    assert run(body, tmp_path, kind.__name__) == ["True"]


@pytest.mark.parametrize("kind", KINDS)
def test_plain_lock_stays_held_when_its_holder_was_killed(tmp_path: Path, kind: Any):
    with dolium.Cache(tmp_path) as cache, holder(cache, kind, "plain") as child:
        child.kill()
        assert not kind(cache, "lock")._try("me")


def test_robust_lock_waits_for_a_plain_one(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        for kind in (Lock, RLock):
            with holder(cache, kind, "plain") as child:
                child.kill()
            assert not kind(cache, "lock", robust=True)._try("me@1")
            del cache["lock"]


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_robust_lock_excludes_diskcache(tmp_path: Path, kind: Any):
    body = """
        import diskcache
        cache = diskcache.Cache(sys.argv[1])
        say("waits")
        with getattr(diskcache, sys.argv[2])(cache, "lock"):
            say("has it")
            hear()
    """
    with dolium.Cache(tmp_path) as cache:
        lock = getattr(dolium, kind)(cache, "lock", robust=True)
        lock.acquire()
        cache.flush()
        with Child(body, tmp_path, kind) as child:
            child.line("waits")
            assert child.silent(0.3)
            lock.release()
            child.line("has it")
            assert not lock._try(lock._name("me"))
            child.tell("give it back")
            child.finish()
        assert lock._try(lock._name("me"))


def test_robust_semaphore_loses_only_the_places_of_the_dead(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        places = BoundedSemaphore(cache, "lock", value=3, robust=True)
        body = HOLDER.replace('"lock", ', '"lock", value=3, ')
        with Child(body, tmp_path, "BoundedSemaphore", "Cache") as child:
            child.line("has it")
            with places, places:
                assert not places._look()
                child.kill()
                assert places._look()
                with places:
                    assert not places._look()
        with pytest.raises(AssertionError, match="un-acquired"):
            places.release()


def test_semaphore_that_only_some_call_robust_says_so(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        plain, robust = (BoundedSemaphore(cache, "s", 2, robust=robust) for robust in (False, True))
        with robust, pytest.raises(ValueError, match="is a robust semaphore; pass robust=True"):
            plain.acquire()
        with plain, pytest.raises(ValueError, match="not robust; pass robust=True"):
            robust.acquire()


def test_robust_lock_is_released_only_by_its_process(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        lock = Lock(cache, "lock", robust=True)
        lock.acquire()
        assert lock.locked()
        thread = threading.Thread(target=lock.release)
        thread.start()
        thread.join()
        assert not lock.locked()
        with pytest.raises(AssertionError, match="does not hold"):
            lock.release()
        with holder(cache, Lock), pytest.raises(AssertionError, match="does not hold"):
            lock.release()


def test_robust_lock_that_expired_leaves_its_next_owner(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        lock = Lock(cache, "lock", expire=0.05, robust=True)
        lock.acquire()
        time.sleep(0.1)
        with holder(cache, Lock) as child:
            lock.release()
            assert lock.locked()
            child.kill()
        assert not lock.locked()


def test_robust_rlock_of_a_dead_holder_starts_at_one(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        with holder(cache, RLock) as child:
            child.kill()
        lock = RLock(cache, "lock", robust=True)
        with lock:
            name, count = cache["lock"]
            assert (owner_in(name), count) == (cache._owner("lock"), 1)


def test_barrier_is_robust_if_it_is_told_to_be(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        for decorator in (
            barrier(cache, Lock, name="lock", robust=True),
            barrier(cache, functools.partial(Lock, robust=True), name="lock"),
        ):
            with holder(cache, Lock) as child:
                child.kill()

            @decorator
            def work() -> str:
                return cache["lock"]

            assert owner_in(work()) == cache._owner("lock")


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_is_held_by_a_task(tmp_path: Path, kind: Any):
    async def work(cache: Any) -> int:
        async with kind(cache, "lock", robust=True):
            before = cache["count"]
            await asyncio.sleep(0.01)
            cache["count"] = before + 1
        return before

    async def together(cache: Any) -> list[int]:
        return await asyncio.gather(*(work(cache) for _ in range(5)))

    with dolium.Cache(tmp_path) as cache:
        cache["count"] = 0
        assert sorted(asyncio.run(together(cache))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_robust_lock_refuses_a_cache_of_diskcache(tmp_path: Path, kind: Any):
    with (
        diskcache.Cache(str(tmp_path)) as cache,
        pytest.raises(TypeError, match="cache of dolium, not Cache"),
    ):
        kind(cache, "lock", robust=True)


@pytest.mark.parametrize("row", ["me@", "me@x", "me@²", f"me@{1 << 63}", "me", 5, None, ("a@5", 1)])
def test_row_of_others_names_no_owner(row: Any):
    assert owner_in(row) is None
