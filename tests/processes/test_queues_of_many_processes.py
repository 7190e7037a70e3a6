"""Queues that several processes push and pull: each item comes once, also if some of the processes are killed."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter, deque

import dolium
import pytest
from helpers.children import Child

WORKER = """
cache = dolium.Cache(sys.argv[1])
number, prefix = int(sys.argv[2]), sys.argv[3]
say("ready")
hear()
for count in range(1_000_000):
    item = f"{number} {count}"
    cache.push(item, prefix, retry=True)
    say("pushed", item)
    if count % 3 != 2:
        key, item = cache.pull(prefix, retry=True)
        if key is not None:
            say("pulled", item)
"""


def test_killed_workers_lose_and_repeat_no_item(tmp_path):
    """One item for each kill may be unreported."""
    pushed: list[str] = []
    pulled: list[str] = []
    kills = 0
    random_ = random.Random(1)
    with contextlib.ExitStack() as stack:

        def start(number: int) -> Child:
            child = stack.enter_context(Child(WORKER, tmp_path, number, "jobs"))
            child.line("ready")
            child.tell()
            return child

        workers = [start(number) for number in range(8)]
        for number in range(8, 16):
            time.sleep(0.15)
            victim = workers.pop(random_.randrange(len(workers)))
            note(victim.kill(), pushed, pulled)
            kills += 1
            workers.append(start(number))
        for worker in workers:
            note(worker.kill(), pushed, pulled)
            kills += 1
    with dolium.Cache(tmp_path) as cache:
        while (item := cache.pull("jobs"))[0] is not None:
            pulled.append(item[1])
        assert cache.check() == []
    twice = [item for item, times in Counter(pulled).items() if times > 1]
    assert twice == []
    assert len(pushed) > 100
    lost = set(pushed) - set(pulled)
    assert len(lost) <= kills
    unknown = set(pulled) - set(pushed)
    assert len(unknown) <= kills


def note(lines: list[str], pushed: list[str], pulled: list[str]) -> None:
    for line in lines:
        word, _, item = line.partition(" ")
        if item.count(" ") == 1 and word in ("pushed", "pulled"):
            (pushed if word == "pushed" else pulled).append(item)


STEPPER = """
def transacted(cache, value, prefix):
    with cache.transact():
        return cache.push(value, prefix) is not None
cache = dolium.Cache(sys.argv[1], eviction_policy="none")
say("ready")
while step := hear():
    say(repr(eval(step)))
"""


@pytest.mark.parametrize("prefix", [None, "jobs"], ids=["plain", "prefix"])
def test_queue_is_one_for_processes_that_take_turns(tmp_path, prefix):
    """Each process follows what the other does, directly or in the tier."""
    random_ = random.Random(2)
    model: deque[str] = deque()
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(STEPPER, tmp_path)) for _ in range(3)]
        for child in children:
            child.line("ready")
        for count in range(1500):
            child = random_.choice(children)
            side = random_.choice(["front", "back"])
            kinds = {"push": 9, "pull": 9, "peek": 3, "large": 1, "transact": 1, "clear": 0.2, "set": 4}
            kind = random_.choices(list(kinds), list(kinds.values()))[0]
            if kind in ("push", "large"):
                value = f"{count}" if kind == "push" else f"{count}" * 30_000
                child.tell(f"cache.push({value!r}, {prefix!r}, side={side!r}) is None")
                child.line("False")
                (model.append if side == "back" else model.appendleft)(value)
            elif kind == "transact":
                # Its changes are in no log.
                child.tell(f"transacted(cache, 't{count}', {prefix!r})")
                child.line("True")
                model.append(f"t{count}")
            elif kind == "clear":
                child.tell("cache.clear() >= 0")
                child.line("True")
                model.clear()
            elif kind == "set":
                child.tell(f"cache.set('other', {count})")
                child.line("True")
            else:
                child.tell(f"cache.{kind}({prefix!r}, side={side!r})[1]")
                expected = model[0 if side == "front" else -1] if model else None
                child.line(repr(expected))
                if kind == "pull" and model:
                    (model.popleft if side == "front" else model.pop)()
        for child in children:
            child.tell()
            child.finish()


ITEMS = 8_000
BUSY = f"""
cache = dolium.Cache(sys.argv[1])
number, pulled = int(sys.argv[2]), []
say("ready")
hear()
for count in range({ITEMS}):
    cache.push(f"{{number}}.{{count}}", retry=True)
    pulled.append(cache.pull(retry=True)[1])
say(*[item for item in pulled if item is not None])
"""


def test_pushes_of_one_moment_get_different_numbers(tmp_path):
    """Each worker looks at the end of the queue while another has just moved it."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Child(BUSY, tmp_path, number, seconds=240)) for number in range(4)]
        for worker in workers:
            worker.line("ready")
        for worker in workers:
            worker.tell()
        pulled = [item for worker in workers for item in worker.line().split()]
        for worker in workers:
            worker.finish()
    with dolium.Cache(tmp_path) as cache:
        while (item := cache.pull())[0] is not None:
            pulled.append(item[1])
    assert len(pulled) == len(set(pulled)) == ITEMS * len(workers)
