"""diskcache on the directory while dolium drains, and after everybody was killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
import warnings

import dolium
import pytest
from helpers.children import Child, run

NAMES = "abc"
KEYS = 50
HAS_TIER = os.environ.get("DOLIUM_HOT_SIZE") != "0"
ROUNDS = 20 if os.environ.get("DOLIUM_TORTURE") else 3

# Says "s n" when `n` is set, "f n" when it is in the database.
WRITER = f"""
cache = dolium.Cache(sys.argv[1])
name = sys.argv[2]
say("ready")
for n in range(10**9):
    cache.set(f"{{name}}{{n % {KEYS}}}", n, retry=True)
    say("s", n)
    if n % 97 == 96:
        cache.flush()
        say("f", n)
"""

READER = f"""
import diskcache
say("ready")
while True:
    with diskcache.Cache(sys.argv[1]) as cache:
        for key in list(cache)[:20]:
            n = cache.get(key, retry=True)
            assert n is None or n % {KEYS} == int(key[1:]), (key, n)
        say(len(cache))
"""


LOOK = """
import diskcache, json
with diskcache.Cache(sys.argv[1]) as cache:
    say(json.dumps({key: cache[key] for key in cache}))
    if sys.argv[2] == "write":
        cache["foreign"] = 1
"""


def newest(lines: list[str], kind: str, name: str) -> dict[str, int]:
    """The newest value of each key of a writer, up to the last that it said of that kind."""
    said = [int(words[1]) for words in map(str.split, lines) if words[0] == kind and len(words) == 2]
    return {f"{name}{n % KEYS}": n for n in range(said[-1] + 1)} if said else {}


def all_die(directory, seconds: float) -> tuple[dict[str, int], dict[str, int]]:
    """Three writers and diskcache work, then all are killed. What was acknowledged, and what of it was drained."""
    acknowledged, drained = {}, {}
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(Child(WRITER, directory, name)) for name in NAMES}
        readers = [stack.enter_context(Child(READER, directory)) for _ in range(2)]
        children = [*writers.values(), *readers]
        for child in children:
            child.line("ready")
        time.sleep(seconds)
        for child in children:
            assert child.process.poll() is None, child.errors
            child.process.kill()
        for reader in readers:
            assert len(reader.kill()) > 1, "it opened the cache again and again"
        for name, writer in writers.items():
            lines = writer.kill()
            acknowledged |= newest(lines, "s", name)
            drained |= newest(lines, "f", name)
    assert len(acknowledged) == len(drained) == KEYS * len(NAMES)
    return acknowledged, drained


def has(found: dict[str, int], least: dict[str, int]) -> bool:
    """Every key has a number that it was given, and none an older one than `least` says."""
    ours = {key: n for key, n in found.items() if key != "foreign"}
    assert [key for key, n in ours.items() if n % KEYS != int(key[1:])] == []
    assert {key: (n, ours.get(key)) for key, n in least.items() if ours.get(key, -1) < n} == {}
    return True


def seen_by_diskcache(directory, then: str = "leave") -> dict[str, int]:
    (line,) = run(LOOK, directory, then)
    return json.loads(line)


@pytest.mark.slow
@pytest.mark.parametrize("then", ["dolium first", "diskcache reads first", "diskcache writes first"])
def test_drained_writes_survive_the_death_of_all_processes(tmp_path, then):
    """And what waited does too, unless diskcache has changed rows since: what it wrote is newer."""
    chance = random.Random(7)
    for round_ in range(ROUNDS):
        directory = tmp_path / str(round_)
        acknowledged, drained = all_die(directory, chance.uniform(0.3, 0.8))
        least = acknowledged
        if then != "dolium first":
            seen = seen_by_diskcache(directory, then.split()[1].removesuffix("s"))
            assert has(seen, drained)
            if then == "diskcache writes first":
                least = seen
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            cache = dolium.Cache(directory)
            cache["mine"] = 0
            del cache["mine"]
            assert has({key: cache[key] for key in cache}, least)
            assert ("foreign" in cache) == (then == "diskcache writes first")
            assert [str(problem.message) for problem in cache.check()] == []
            cache.close()
        given_up = ["another program changed" in str(warning.message) for warning in told]
        assert given_up == [True] * (HAS_TIER and least is not acknowledged)
        assert has(seen_by_diskcache(directory), least)
