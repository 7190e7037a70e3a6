"""What dolium adds to diskcache's calls: bulk, info, keys, flush, max_age, tags on counters, no limit."""

from __future__ import annotations

import math
import os
import pickle
import time
from pathlib import Path

import dolium
import pytest
from dolium import HotTier

GONE, LATER = -1, 1000


def test_set_many_and_get_many(cache):
    expected = {f"k{n}": "x" * (n * 100) for n in range(500)}
    assert cache.set_many(expected) == 500
    assert len(cache) == 500
    assert cache.get_many(expected) == expected
    assert cache.get_many(["k1", "nobody", "k2"]) == {"k1": "x" * 100, "k2": "x" * 200}
    assert cache.get_many([]) == {}
    assert cache.set_many({}) == 0
    assert cache.get_many(iter(["k0"])) == {"k0": ""}
    assert cache["k499"] == "x" * 49_900


def test_get_many_keeps_the_order_asked_for(cache):
    cache.set_many({name: name for name in "abcdef"})
    assert list(cache.get_many(list("fbdzac"))) == list("fbdac")
    assert cache.get_many(["a", "a"]) == {"a": "a"}


def test_set_many_with_expire_and_tag(cache):
    assert cache.set_many({"a": 1, "b": "x" * 50_000}, expire=LATER, tag="t") == 2
    value, expire_time, tag = cache.get("b", expire_time=True, tag=True)
    assert (value, tag) == ("x" * 50_000, "t")
    assert expire_time == pytest.approx(time.time() + LATER, abs=100)
    assert cache.set_many({"a": 2}) == 1
    assert cache.get("a", expire_time=True, tag=True) == (2, None, None)
    assert cache.evict("t") == 1


def test_many_overwrites(cache):
    cache.set_many({"a": "old" * 20_000, "b": "old"})
    cache.set_many({"a": "new", "b": "new" * 20_000})
    assert cache.get_many(["a", "b"]) == {"a": "new", "b": "new" * 20_000}
    assert len(cache) == 2


def test_add_many_adds_what_is_missing(cache):
    cache["a"] = "first"
    cache.set("gone", 1, expire=GONE)
    assert cache.add_many({"a": "second", "b": 2, "gone": 3}) == 2
    assert cache.get_many(["a", "b", "gone"]) == {"a": "first", "b": 2, "gone": 3}
    assert cache.add_many({"a": 1, "b": 1}, expire=LATER, tag="t") == 0
    assert cache.add_many({"c": 1}, expire=LATER, tag="t") == 1
    assert cache.get("c", tag=True) == (1, "t")


def test_delete_many(cache):
    cache.set_many({n: "x" * 40_000 if n % 2 else n for n in range(50)})
    cache.set("gone", 1, expire=GONE)
    assert cache.delete_many([*range(20), "nobody"]) == 20
    assert cache.delete_many([]) == 0
    assert len(cache) == 31 or len(cache) == 30  # the expired one may have been swept meanwhile
    assert sorted(key for key in cache if key != "gone") == list(range(20, 50))


def test_get_many_passes_over_expired(cache):
    cache.set("a", 1, expire=GONE)
    cache.set("b", 2, expire=LATER)
    assert cache.get_many(["a", "b"]) == {"b": 2}


@pytest.mark.needs("any")
def test_many_with_keys_of_every_type(cache):
    entries = {1: "int", "1": "str", b"1": "bytes", (1, "1"): "tuple", None: "none", 2.5: "float"}
    assert cache.set_many(entries) == 6
    assert cache.get_many(entries) == entries
    assert cache.delete_many(entries) == 6


def test_set_many_is_all_or_nothing(cache, backend):
    cache["a"] = "old"
    with pytest.raises(Exception, match=r"(?i)pickle|json|serializable|generator"):
        cache.set_many({"a": "new", "b": 1, "c": (n for n in range(3))})
    assert (cache["a"], "b" in cache, "c" in cache) == ("old", False, False)


def test_many_inside_a_transaction(cache):
    cache["a"] = "old"

    def change():
        with cache.transact():
            cache.set_many({"a": "new", "b": 1})
            cache.delete_many(["a"])
            assert cache.get_many(["a", "b"]) == {"b": 1}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert cache.get_many(["a", "b"]) == {"a": "old"}


@pytest.mark.needs("native")
def test_info(cache, directory):
    before = time.time()
    cache.set("small", "x" * 100, expire=LATER, tag="t")
    cache.set("large", b"x" * 100_000)
    after = time.time()
    small, large = cache.info("small"), cache.info("large")
    assert before <= small.store_time <= after
    assert before <= small.access_time
    assert before + LATER <= small.expire_time <= after + LATER
    assert (small.tag, large.tag, large.expire_time) == ("t", None, None)
    assert small.access_count == 0
    assert 100 <= small.size < 1000
    assert 100_000 <= large.size < 101_000
    assert Path(large.path).read_bytes() == b"x" * 100_000
    assert Path(large.path).is_relative_to(directory)
    assert cache.info("nobody") is None
    cache.set("gone", 1, expire=GONE)
    assert cache.info("gone") is None


@pytest.mark.needs("native")
def test_keys_by_tag_and_prefix(cache):
    cache.set("user:1", 1, tag="t")
    cache.set("user:2", 2)
    cache.set("page:1", 3, tag="t")
    cache.set(b"user:1", 4, tag="t")
    cache.set(5, 5, tag=b"t")
    cache.set(("user:1",), 6)
    assert set(cache.keys(prefix="user:")) == {"user:1", "user:2"}
    assert set(cache.keys(tag="t")) == {"user:1", "page:1", b"user:1"}
    assert set(cache.keys(tag="t", prefix="user:")) == {"user:1"}
    assert set(cache.keys(tag=b"t")) == {5}
    assert len(list(cache.keys())) == 6
    assert list(cache.keys(prefix="nobody")) == []
    assert list(cache.keys(tag="nobody")) == []


@pytest.mark.needs("native")
@pytest.mark.parametrize("prefix", ["%", "_", "a%", "\0", "ü", "\U0010ffff", "*", "[a]"])
def test_a_prefix_is_taken_literally(cache, prefix):
    for key in (
        "a",
        "ab",
        "b",
        "%",
        "%%",
        "_x",
        "a%b",
        "\0x",
        "ü1",
        "\U0010ffff\U0010ffff",
        "*a",
        "[a]b",
        "u",
    ):
        cache[key] = 1
    assert set(cache.keys(prefix=prefix)) == {key for key in cache if key.startswith(prefix)}


def test_flush(cache):
    cache["a"] = 1
    cache["large"] = "x" * 100_000
    assert cache.flush() is None
    assert cache["a"] == 1


def test_max_age(cache):
    cache["a"] = 1
    assert cache.get("a", max_age=1000) == 1
    time.sleep(0.02)
    assert cache.get("a", max_age=0.01) is None
    assert cache.get("a", "old", max_age=0.01) == "old"
    assert cache.get("a", max_age=None) == 1
    assert cache["a"] == 1  # too old for one caller is not expired
    cache["a"] = 2
    assert cache.get("a", max_age=1000, tag=True) == (2, None)
    assert cache.get("nobody", "default", max_age=5) == "default"


@pytest.mark.needs("counts")
def test_incr_with_expire_and_tag(cache):
    assert cache.incr("n", expire=LATER, tag="t") == 1
    value, expire_time, tag = cache.get("n", expire_time=True, tag=True)
    assert (value, tag) == (1, "t")
    assert expire_time == pytest.approx(time.time() + LATER, abs=100)
    assert cache.incr("n") == 2
    assert cache.get("n", expire_time=True, tag=True) == (2, expire_time, "t")
    assert cache.decr("m", expire=LATER, tag="t") == -1
    assert cache.evict("t") == 2


@pytest.mark.needs("one")
def test_no_size_limit(backend, directory):
    cache = backend.open(directory, size_limit=None)
    for n in range(50):
        cache[n] = "x" * 1000
    assert cache.size_limit == math.inf  # as those who pass inf to diskcache read it
    assert len(cache) == 50
    assert cache.cull() == 0
    cache.close()
    again = backend.open(directory)
    assert again.size_limit == math.inf
    again["a"] = 1
    assert len(again) == 51
    again.close()


def test_read_only(backend, directory):
    cache = backend.open(directory)
    cache.set("a", "x" * 50_000, tag="t")
    cache.set("b", 1)
    cache.close()
    reader = backend.open(directory, read_only=True)
    assert reader["a"] == "x" * 50_000
    assert reader.get("a", tag=True)[1] == "t"
    assert "b" in reader
    assert sorted(reader) == ["a", "b"]
    assert len(reader) == 2
    assert reader.get_many(["a", "b", "c"])["b"] == 1
    for write in (
        lambda: reader.set("c", 1),
        lambda: reader.__setitem__("c", 1),
        lambda: reader.delete("a"),
        lambda: reader.pop("a"),
        lambda: reader.add("c", 1),
        lambda: reader.touch("a", 5),
        reader.clear,
        lambda: reader.evict("t"),
        lambda: reader.set_many({"c": 1}),
    ):
        with pytest.raises(dolium.errors.DoliumError, match=r"(?i)read.?only"):
            write()
    reader.close()
    again = backend.open(directory)
    assert sorted(again) == ["a", "b"]
    again.close()


def test_read_only_of_nothing(backend, directory):
    with pytest.raises(OSError, match=str(directory.name)):
        len(backend.open(directory, read_only=True))
    assert not directory.exists()


@pytest.mark.needs("native")
def test_repr_shows_the_directory(cache):
    cache["a"] = 1
    assert cache.directory in repr(cache)
    assert type(cache).__name__ in repr(cache)
    assert "1" in repr(cache)
    assert cache.directory.replace("&", "&amp;") in cache._repr_html_()


@pytest.mark.needs("native")
def test_stats_and_repr_do_not_need_the_directory(backend, directory):
    cache = backend.open(directory)
    assert isinstance(repr(cache), str)
    cache.close()
    assert isinstance(repr(cache), str)


@pytest.mark.needs("native")
def test_stats_tell_what_goes_on_in_the_hot_tier(cache, backend):
    cache["a"] = 1
    assert cache.get("a") == 1
    assert cache.delete("a")
    assert cache.get("a") is None
    cache.set("gone", 1, expire=-1)
    cache.expire()
    stats = cache.stats()
    assert stats == (stats.hits, stats.misses) == (1, 1)
    assert (stats.evicted, stats.refused) == (0, 0)
    if backend.settings.get("hot_size") == 0 or os.environ.get("DOLIUM_HOT_SIZE") == "0":
        assert stats.hot == HotTier(processes=1, missing="turned off by hot_size = 0")
    else:
        assert (stats.hot.missing, stats.hot.processes) == (None, 1)
        assert (stats.hot.sets, stats.hot.deletes, stats.hot.expirations) == (2, 1, 1)
        assert (stats.hot.hits, stats.hot.misses) == (1, 1)
    again = pickle.loads(pickle.dumps(stats))
    assert (again, again.hot) == (stats, stats.hot)
