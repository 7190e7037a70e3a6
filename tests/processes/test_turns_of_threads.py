"""A call with many keys lets the other threads of the process run meanwhile, however long it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.children import run

# A thread notes how much the main thread has computed between two of its turns. That does not depend on the load of the
# machine, except where this gives a turn of the thread to another program: hence the least of many calls. A call that
# keeps the interpreter's lock while it converts all items computes as long as `pickle` does, and longer.
WATCH = """
import pickle
calls, count = 40, 40_000
values = {f"key {n}": tuple(range(n, n + 60)) for n in range(count)}
pickles = [pickle.dumps(value, 5) for value in values.values()]
clock = time.pthread_getcpuclockid(threading.main_thread().ident)
longest, stop = 0.0, threading.Event()

def computed():
    return time.clock_gettime(clock)

def watch():
    global longest
    last = computed()
    while not stop.is_set():
        now = computed()
        longest = max(longest, now - last)
        last = now

begin = computed()
if sys.argv[2] == "get_many":
    objects = [pickle.loads(value) for value in pickles]
else:
    pickles = [pickle.dumps(value, 5) for value in values.values()]
alone = computed() - begin

cache = dolium.Cache(sys.argv[1], size_limit=None)
keys = list(values)
cache.set_many(values)
call = {
    "set_many": lambda: cache.set_many(values),
    "add_many": lambda: cache.add_many(values),
    "get_many": lambda: cache.get_many(keys),
}[sys.argv[2]]
threading.Thread(target=watch).start()
kept = []
for _ in range(calls):
    longest = 0.0
    call()
    kept.append(longest)
    if longest < alone / 2:
        break
stop.set()
say(alone, min(kept))
"""


@pytest.mark.parametrize("call", ["set_many", "add_many", "get_many"])
def test_threads_get_their_turn_during_a_bulk_call(tmp_path: Path, call: str) -> None:
    (said,) = run(WATCH, tmp_path, call, seconds=120)
    alone, kept = map(float, said.split())
    assert kept < alone * 3 / 4
