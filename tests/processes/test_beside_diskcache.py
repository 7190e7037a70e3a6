"""diskcache on the directory while dolium drains, and after everybody was killed."""

from __future__ import annotations

import contextlib
import os
import random
import time
import warnings

import diskcache
import dolium
import pytest

from .children import Child

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


def has(cache, least: dict[str, int]) -> dict[str, int]:
    """What is in a cache: every key with a number that it was given, none older than `least` says."""
    found = {key: cache[key] for key in cache if key != "foreign"}
    assert [key for key, n in found.items() if n % KEYS != int(key[1:])] == []
    assert {key: (n, found.get(key)) for key, n in least.items() if found.get(key, -1) < n} == {}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("then", ["dolium first", "diskcache reads first", "diskcache writes first"])
def test_what_was_drained_survives_the_death_of_all_beside_diskcache_whoever_comes_next(tmp_path, then):
    """And what waited does too, unless diskcache has changed rows since: what it wrote is newer."""
    chance = random.Random(7)
    for round_ in range(ROUNDS):
        directory = tmp_path / str(round_)
        acknowledged, drained = all_die(directory, chance.uniform(0.3, 0.8))
        least = acknowledged
        if then != "dolium first":
            with diskcache.Cache(directory) as other:
                seen = has(other, drained)
                if then == "diskcache writes first":
                    other["foreign"] = 1
                    least = seen
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            cache = dolium.Cache(directory)
            cache["mine"] = 0
            del cache["mine"]
            has(cache, least)
            assert ("foreign" in cache) == (then == "diskcache writes first")
            assert [str(problem.message) for problem in cache.check()] == []
            cache.close()
        given_up = ["another program changed" in str(warning.message) for warning in told]
        assert given_up == [True] * (HAS_TIER and least is not acknowledged)
        with diskcache.Cache(directory) as other:
            has(other, least)
