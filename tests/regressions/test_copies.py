"""A copy is the same cache: what a cache was told survives pickle, copy and cloudpickle, in every class."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import django.conf
import dolium
import pytest

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "the oldest pickle": lambda thing: pickle.loads(pickle.dumps(thing, 0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing)),
}
copied = pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
classes = pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])


class Typed(dolium.Cache):
    """The idiom of DVC: the state is the constructor's arguments, and a subclass adds its own."""

    def __init__(self, directory=None, timeout=60, disk=dolium.Disk, type=None, **settings):
        super().__init__(directory, timeout, disk, **settings)
        self._type = type

    def __getstate__(self):
        return (*super().__getstate__(), self._type)


@copied
@classes
def test_a_copy_keeps_trust(kind, tmp_path, make_copy):
    for trust in ("none", "signed", "all"):
        assert make_copy(kind(tmp_path, trust=trust))._trust == trust
        assert make_copy(make_copy(kind(tmp_path, trust=trust)))._trust == trust


@copied
@classes
def test_a_copy_of_a_read_only_cache_only_reads(kind, tmp_path, make_copy):
    with kind(tmp_path) as cache:
        cache["a"] = 1
    again = make_copy(kind(tmp_path, read_only=True, cull_limit=3))
    assert (again["a"], again.cull_limit) == (1, 3)
    with pytest.raises(dolium.ReadOnlyError):
        again["b"] = 2


@copied
@classes
def test_a_copy_keeps_timeout_and_disk(kind, tmp_path, make_copy):
    again = make_copy(kind(tmp_path, timeout=7, disk=dolium.JSONDisk, disk_compress_level=3))
    assert (again.timeout, type(again.disk), again.disk.compress_level) == (7, dolium.JSONDisk, 3)


@copied
def test_a_subclass_adds_to_the_state(tmp_path, make_copy):
    again = make_copy(Typed(tmp_path, 5, type="sha", trust="none"))
    assert (type(again), again._type, again.timeout, again._trust) == (Typed, "sha", 5, "none")


@copied
def test_a_copy_keeps_the_options_of_named_parts(tmp_path, make_copy):
    fanout = dolium.FanoutCache(tmp_path, shards=2, trust="none")
    fanout.cache("pages", timeout=3, disk=dolium.JSONDisk)["a"] = [1]
    fanout.deque("jobs", maxlen=2).extend("abc")
    fanout.index("users")["ada"] = 36
    again = make_copy(fanout)
    pages = again.cache("pages")
    assert (pages.timeout, type(pages.disk), pages._trust, pages["a"]) == (3, dolium.JSONDisk, "none", [1])
    assert (again.deque("jobs").maxlen, list(again.deque("jobs"))) == (2, ["b", "c"])
    assert (dict(again.index("users")), again.index("users").cache._trust) == ({"ada": 36}, "none")
    again.close()
    assert again.deque("jobs").maxlen == float("inf"), "closing forgets named parts"


@copied
def test_a_copy_of_a_shard_keeps_its_options(tmp_path, make_copy):
    shard = make_copy(dolium.FanoutCache(tmp_path, shards=2, trust="none")._shards[1])
    assert (shard._trust, Path(shard.directory).name) == ("none", "001")


@copied
def test_copied_containers_keep_the_options_of_their_cache(tmp_path, make_copy):
    made = dolium.Cache(tmp_path, eviction_policy="none")
    deque = dolium.Deque.fromcache(made, "abc")
    index = dolium.Index.fromcache(dolium.Cache(tmp_path / "index"), a=1)
    for cache in (dolium.Cache(tmp_path, read_only=True), dolium.Cache(tmp_path, 9, trust="none")):
        again = make_copy(dolium.Deque.fromcache(cache, maxlen=4))
        assert list(again) == list(deque)
        assert (again.maxlen, again.cache.timeout) == (4, cache.timeout)
        assert again.cache._options() == cache._options()
    again = make_copy(dolium.Index.fromcache(dolium.Cache(index.directory, read_only=True)))
    assert dict(again) == {"a": 1}
    with pytest.raises(dolium.ReadOnlyError):
        again["b"] = 2


def test_usual_containers_pickle_as_in_diskcache(tmp_path):
    assert dolium.Deque("ab", tmp_path / "d", maxlen=3).__getstate__() == (str(tmp_path / "d"), 3)
    assert dolium.Index(tmp_path / "i").__getstate__() == str(tmp_path / "i")
    assert dolium.Cache(tmp_path, trust="all").__getstate__() == (str(tmp_path), 60, dolium.Disk)


@copied
@pytest.mark.parametrize("recipe", [dolium.Lock, dolium.RLock, dolium.BoundedSemaphore, dolium.Averager])
def test_copied_recipes_keep_the_options_of_their_cache(recipe, tmp_path, make_copy):
    again = make_copy(recipe(dolium.Cache(tmp_path, trust="none"), "key", expire=60, tag="t"))
    assert (again._cache._trust, again._key) == ("none", "key")
    row = again if recipe is dolium.Averager else again._row
    names = ("_expire", "_tag") if recipe is dolium.Averager else ("expire", "tag")
    assert [getattr(row, name) for name in names] == [60, "t"]


@copied
def test_a_copied_django_backend_keeps_its_options(tmp_path, make_copy):
    if not django.conf.settings.configured:
        django.conf.settings.configure()
    options = {"trust": "none", "size_limit": 10**7}
    backend = dolium.DjangoCache(str(tmp_path), {"SHARDS": 2, "TIMEOUT": 9, "OPTIONS": options})
    again = make_copy(backend)
    assert (again._cache._trust, again._cache._count, again.default_timeout) == ("none", 2, 9)


def test_memoized_functions_are_sent_by_value(tmp_path):
    cache = dolium.Cache(tmp_path, trust="none")
    fanout = dolium.FanoutCache(tmp_path / "fanout", shards=2)

    @cache.memoize()
    def plain(x: int) -> int:
        return x + 1

    @cache.memoize()
    async def coroutine(x: int) -> int:
        return x + 2

    @dolium.memoize_stampede(fanout, expire=60)
    async def early(x: int) -> int:
        return x + 3

    @dolium.barrier(cache, dolium.Lock)
    def alone(x: int) -> int:
        return x + 4

    @dolium.throttle(fanout, count=10, seconds=1)
    def throttled(x: int) -> int:
        return x + 5

    assert asyncio.run(coroutine(1)) == 3
    program = """
import asyncio, pickle, sys
functions = pickle.load(sys.stdin.buffer)
async def both(function): return await asyncio.gather(function(1), function(1), function(2))
print([asyncio.run(both(f)) if asyncio.iscoroutinefunction(f) else [f(1), f(2)] for f in functions])
"""
    sent = cloudpickle.dumps([plain, coroutine, early, alone, throttled])
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[[2, 3], [3, 3, 4], [4, 4, 5], [5, 6], [6, 7]]"
    assert plain(2) == 3
    assert plain.__cache_key__(2) in cache


def test_the_mark_of_a_miss_survives_a_pickle():
    from dolium.memo import MISS

    assert pickle.loads(pickle.dumps(MISS)) is MISS
    assert pickle.loads(cloudpickle.dumps(MISS)) is MISS
