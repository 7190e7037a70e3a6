"""A process is stopped while it makes a larger tier: others read on, and are told in time that they cannot write.

The child plays that process. It holds the open lock and leaves the state word of the tier at *outgrown*, as the engine
does between the end of a tier and the next one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import PATIENCE, Child

STOPPED = """
import fcntl, struct
open_lock, state, outgrown = 4096, 8 * 68, 4
lock = open(os.path.join(sys.argv[1], "cache.lock"), "r+b", buffering=0)
fcntl.lockf(lock, fcntl.LOCK_EX, 1, open_lock)
with open(os.path.join(sys.argv[1], "cache.hot"), "r+b", buffering=0) as tier:
    os.pwrite(tier.fileno(), struct.pack("<Q", outgrown), state)
say("in the middle")
hear()
fcntl.lockf(lock, fcntl.LOCK_UN, 1, open_lock)
say("through")
hear()
"""

# The old wait was ten seconds. The engine waits at least one, because making a tier is short work.
LONGEST = 6 * PATIENCE


@contextmanager
def stopped_maker(directory: Path, **options: Any):
    cache = dolium.Cache(directory, **options)
    cache["known"] = "old"
    cache[1] = 1
    cache.flush()
    if not (directory / "cache.hot").exists():
        pytest.skip("there is no tier that could grow")
    with Child(STOPPED, directory) as maker:
        maker.line("in the middle")
        yield cache, maker
    assert not cache.check()
    cache.close()


def test_readers_read_on_while_a_tier_is_made(tmp_path):
    with stopped_maker(tmp_path, timeout=0.1) as (cache, maker):
        since = time.monotonic()
        for _ in range(5):
            assert cache.get("known") == "old"
            assert cache["known"] == "old"
            assert 1 in cache
            assert cache.get("unknown") is None
        assert time.monotonic() - since < LONGEST
        maker.tell()
        maker.line("through")
        cache["known"] = "new"
        assert cache["known"] == "new"


WRITES: list[Callable[[dolium.Cache], object]] = [
    lambda cache: cache.set("new", 1),
    lambda cache: cache.add("new", 1),
    lambda cache: cache.incr(1),
    lambda cache: cache.pop(1),
    lambda cache: cache.set_many({"a": 1, "b": 2}),
    lambda cache: cache.get_many(["known", 1]),
    lambda cache: cache.transact().__enter__(),
    lambda cache: cache.push("item"),
]
NAMES = "set add incr pop set_many get_many transact push".split()


@pytest.mark.parametrize("call", WRITES, ids=NAMES)
def test_caller_gets_timeout_while_a_tier_is_made(tmp_path, call):
    with stopped_maker(tmp_path, timeout=0.1) as (cache, maker):
        since = time.monotonic()
        with pytest.raises(dolium.Timeout):
            call(cache)
        assert time.monotonic() - since < LONGEST
        maker.tell()
        maker.line("through")
        assert cache[1] == 1


def test_patient_writer_waits_until_the_tier_is_made(tmp_path):
    with (
        stopped_maker(tmp_path, timeout=0.1) as (cache, maker),
        ThreadPoolExecutor() as threads,
    ):
        patient = threads.submit(cache.set, "known", "new", retry=True)
        # Longer than any caller with a timeout waits.
        time.sleep(1.5)
        assert not patient.done()
        maker.tell()
        maker.line("through")
        assert patient.result() is True
        assert cache["known"] == "new"


def test_fanout_answers_false_while_a_tier_is_made(tmp_path):
    cache = dolium.FanoutCache(tmp_path, shards=1)
    cache["known"] = "old"
    cache.flush()
    if not (tmp_path / "000" / "cache.hot").exists():
        pytest.skip("there is no tier that could grow")
    with Child(STOPPED, tmp_path / "000") as maker:
        maker.line("in the middle")
        assert cache.set("known", "new") is False
        assert cache.get("known") == "old"
        maker.tell()
        maker.line("through")
    assert cache.set("known", "new") is True
    cache.close()


def test_interrupt_reaches_a_writer_that_waits_for_a_tier(tmp_path):
    with stopped_maker(tmp_path, timeout=60) as (_, maker):
        with Child(
            """
            cache = dolium.Cache(sys.argv[1])
            say("waiting")
            try:
                cache.set("known", "new", retry=True)
            except KeyboardInterrupt:
                say("interrupted")
            """,
            tmp_path,
        ) as writer:
            writer.line("waiting")
            time.sleep(0.5)
            os.kill(writer.pid, signal.SIGINT)
            writer.line("interrupted")
        maker.tell()
        maker.line("through")
