"""Deques that several processes use by position: each operation is whole, also if a process is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from dolium import Deque
from dolium.constants import MISS
from helpers.children import Child, run

HAS_TIER = os.environ.get("DOLIUM_HOT_SIZE") != "0"
LENGTH = 10
SECONDS = 0.4

SLIDE = f"""
deque = dolium.Deque(directory=sys.argv[1], maxlen={LENGTH})
say("ready")
while True:
    deque.append(deque[-1] + 1)
"""

POP = """
import diskcache
deque = diskcache.Deque(directory=sys.argv[1])
say(deque.popleft())
"""


def started(stack: contextlib.ExitStack, body: str, *arguments: object) -> Child:
    child = stack.enter_context(Child(body, *arguments))
    child.line("ready")
    return child


def is_direct(deque: Deque[int]) -> bool:
    """Whether the cache knows positions at this moment."""
    return deque.cache._deque_item(0, MISS) is not MISS


def test_bounded_appends_are_whole_for_readers_and_after_kills(tmp_path: Path):
    deque = Deque(range(LENGTH), directory=str(tmp_path))
    for _ in range(4):
        with contextlib.ExitStack() as stack:
            writer = started(stack, SLIDE, tmp_path)
            before, until = deque[0], time.monotonic() + SECONDS
            while time.monotonic() < until:
                first, last, after = deque[0], deque[-1], deque[0]
                assert before <= first <= last - (LENGTH - 1) <= after
                assert len(deque) == LENGTH
                before = after
            writer.kill()
        deque[0] = deque[0]  # takes over what the writer has held
        assert is_direct(deque) == HAS_TIER
        found = list(deque)
        assert found == list(range(found[0], found[0] + LENGTH))
    assert deque[0] > 0
    assert deque.cache.check() == []
    deque.cache.close()


def test_positions_follow_what_diskcache_has_removed(tmp_path: Path):
    deque = Deque(range(LENGTH), directory=str(tmp_path))
    assert is_direct(deque) == HAS_TIER
    for removed in range(3):
        assert deque[0] == removed
        # diskcache finds what is in the database.
        deque.cache.flush()
        assert run(POP, tmp_path) == [str(removed)]
        time.sleep(0.2)
        assert deque[0] == removed + 1
        assert deque[-1] == LENGTH - 1
        assert len(deque) == LENGTH - 1 - removed
    assert not is_direct(deque), "once another program has changed the directory"
    deque[0] = -1
    deque.rotate(1)
    assert list(deque) == [LENGTH - 1, -1, *range(4, LENGTH - 1)]
    deque.cache.close()
