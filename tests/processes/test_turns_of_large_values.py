"""Storing and reading a large value lets the other threads of the process run meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.children import run

# As in `test_turns_of_threads`. A call that keeps the interpreter's lock while it copies the value computes about as
# long as `bytes` takes to copy a bytearray, which keeps it. Threads may ask for the lock often, so that all else counts
# little.
WATCH = """
import pickle
import numpy
from dolium.codecs import Pickle, Zstd
sys.setswitchinterval(0.0005)
calls, count = 60, 48 << 20
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

several = bytes(range(256)) * (count >> 8)
value, codec = {
    "bytearray": lambda: (bytearray(several), None),
    "bytes in a list": lambda: ([several], None),
    "array": lambda: (numpy.frombuffer(bytearray(several)), None),
    "array by Pickle": lambda: (numpy.frombuffer(bytearray(several)), Pickle()),
    "bytes by Zstd": lambda: (several, Zstd(-5)),
    "text": lambda: ("some text " * (count // 10), None),
    "text of other letters": lambda: ("\\xe9\\u20ac" * (count // 5), None),
}[sys.argv[3]]()
array = bytearray(several)

def alone():
    begin = computed()
    copy = bytes(array)
    return computed() - begin

alone = min(alone() for _ in range(5))
cache = dolium.Cache(sys.argv[1], size_limit=None)
call = {
    "set": lambda value: cache.set("key", value, codec=codec),
    "get": lambda value: cache.get("key"),
}[sys.argv[2]]
cache.set("key", value, codec=codec)
assert type(cache["key"]) is type(value)
threading.Thread(target=watch).start()
kept = []
for _ in range(calls):
    # Text keeps what it was encoded to.
    new = value + "." if isinstance(value, str) else value
    time.sleep(0.01)
    longest = 0.0
    found = call(new)
    kept.append(longest)
    if longest < alone / 2:
        break
stop.set()
say(alone, min(kept))
"""

KINDS = [
    "bytearray",
    "bytes in a list",
    "array",
    "array by Pickle",
    "bytes by Zstd",
    "text",
    "text of other letters",
]


@pytest.mark.parametrize("kind", KINDS)
def test_threads_get_their_turn_while_it_is_stored(tmp_path: Path, kind: str) -> None:
    (said,) = run(WATCH, tmp_path, "set", kind, seconds=120)
    alone, kept = map(float, said.split())
    assert kept < alone * 2 / 3


@pytest.mark.parametrize("kind", KINDS)
def test_threads_get_their_turn_while_it_is_read(tmp_path: Path, kind: str) -> None:
    (said,) = run(WATCH, tmp_path, "get", kind, seconds=120)
    alone, kept = map(float, said.split())
    assert kept < alone * 2 / 3
