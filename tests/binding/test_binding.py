"""The conversions between Python and the engine: what goes in comes out, whatever it is.

What caches do is tested in `contract`; here is what only the boundary can get wrong.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import enum
import gc
import inspect
import io
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
import warnings
import weakref
from collections import namedtuple
from decimal import Decimal
from pathlib import Path

import dolium
import pytest
from dolium import _dolium
from dolium.core import ENOVAL, Constant
from helpers.names import named

Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Thing:
    """Pickled by reference to this class: more than plain data."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    def __hash__(self) -> int:
        return 1


KEYS = [
    "",
    "text",
    "a\0b",
    "\ud800",
    "ü😀",
    b"",
    b"\0\xff",
    0,
    -1,
    2**63 - 1,
    -(2**63),
    2**63,
    -(2**63) - 1,
    10**100,
    0.5,
    -0.0,
    float("inf"),
    None,
    True,
    False,
    (),
    ("f", 1, None, 2.5, b"x", ("nested", ())),
    frozenset({1, "a"}),
    Point(1, ("a", 2)),
    Colour.RED,
    Access.READ,
    Access.READ | Access.WRITE,
    uuid.UUID(int=7),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=-1, microseconds=1),
    1 + 2j,
    Decimal("1.50"),
]

VALUES = [
    *KEYS,
    [1, [2]],
    {"a": {1, 2}},
    bytearray(b"abc"),
    "a\r\nb\r" * 20_000,
    "ü" * 40_000,
    b"\r\n" * 40_000,
    [0] * 40_000,
    Thing(),
    Point(1, 2),
]


@pytest.fixture(params=[dolium.Cache, dolium.FanoutCache])
def cache(request, tmp_path):
    with request.param(tmp_path / "cache") as cache:
        yield cache


@pytest.mark.parametrize("key", KEYS, ids=named)
def test_keys_come_back_as_they_went_in(cache, key):
    cache[key] = "value"
    assert cache[key] == "value"
    assert key in cache
    (found,) = cache
    assert found == key
    assert type(found) is type(key)
    assert cache.pop(key) == "value"
    assert key not in cache


def test_a_key_that_is_not_a_number_is_found(cache):
    cache[float("nan")] = 1
    assert cache[float("nan")] == 1
    (found,) = cache
    assert found != found


@pytest.mark.parametrize("value", VALUES, ids=named)
def test_values_come_back_as_they_went_in(cache, value):
    cache["key"] = value
    found = cache["key"]
    assert found == value
    assert type(found) is type(value)
    assert cache.pop("key") == value


def test_equal_numbers_are_one_key_and_true_is_another(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache[1] = "number"
    cache[True] = "truth"
    assert cache[1.0] == "number"
    assert cache[True] == "truth"
    assert len(cache) == 2


def test_subclasses_of_plain_types_are_keys_of_their_own(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache[(1, 2)] = "tuple"
    cache[Point(1, 2)] = "point"
    assert cache[(1, 2)] == "tuple"
    assert cache[Point(1, 2)] == "point"


def test_unsigned_key_does_not_hide_the_others(tmp_path):
    cache = dolium.Cache(tmp_path, trust="none")
    cache["a"] = 1
    cache[Thing()] = 2
    cache["b"] = 3
    with pytest.warns(dolium.UntrustedValueWarning, match="key is left out"):
        assert list(cache) == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(cache) == ["a", "b"]
    trusting = dolium.Cache(tmp_path, trust="all")
    assert list(trusting) == ["a", Thing(), "b"]


def _forge(cache, key, value):
    """Put a pickle that dolium did not write under a key."""
    cache[key] = 0
    cache._sql("UPDATE Cache SET mode = 4, value = ? WHERE key = ?", (pickle.dumps(value), key))


def test_a_refused_value_is_a_miss_and_stays(tmp_path):
    cache = dolium.Cache(tmp_path)
    _forge(cache, "key", Thing())
    with pytest.warns(dolium.UntrustedValueWarning, match="treated as missing"):
        assert cache.get("key", "default") == "default"
    assert cache.pop("key", "default") == "default"
    assert cache.get("key", 0, expire_time=True, tag=True) == (0, None, None)
    assert cache.get_many(["key"]) == {}
    with pytest.raises(KeyError):
        cache["key"]
    with pytest.raises(dolium.UntrustedValueError):
        cache._strict()["key"]
    with pytest.raises(dolium.UntrustedValueError):
        cache._strict().pop("key")
    assert "key" in cache
    assert cache._refused > 0
    assert dolium.Cache(tmp_path, trust="all")["key"] == Thing()


def test_refused_items_of_queues_stay(tmp_path):
    cache = dolium.Cache(tmp_path)
    key = cache.push(0)
    _forge(cache, key, Thing())
    with pytest.warns(dolium.UntrustedValueWarning):
        assert cache.pull() == (None, None)
    assert cache.peek(default="nothing") == "nothing"
    with pytest.raises(dolium.UntrustedValueError):
        cache._strict().pull()
    assert len(cache) == 1


def test_foreign_plain_data_is_loaded(tmp_path):
    cache = dolium.Cache(tmp_path)
    _forge(cache, "key", {"a": [1, (2, None)]})
    assert cache["key"] == {"a": [1, (2, None)]}
    assert cache.pop("key") == {"a": [1, (2, None)]}


def test_trust_none_loads_data_and_nothing_else(tmp_path):
    dolium.Cache(tmp_path).set_many({"data": [1], "thing": Thing()})
    cache = dolium.Cache(tmp_path, trust="none")
    assert cache["data"] == [1]
    with pytest.warns(dolium.UntrustedValueWarning):
        assert cache.get("thing") is None


def test_an_unknown_trust_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="trust must be"):
        dolium.Cache(tmp_path, trust="everybody")


def test_flags_are_what_is_true_or_false(cache):
    cache.set("key", "value", read=None, retry=1)
    assert cache.get("key", expire_time=1, tag=[]) == ("value", None)


def test_signatures_are_readable():
    parameters = inspect.signature(dolium.Cache.set).parameters
    assert list(parameters) == ["self", "key", "value", "expire", "read", "tag", "retry", "codec"]
    assert parameters["read"].default is False


def test_integers_of_any_size_add_up(cache):
    assert cache.incr("n", 2**63 - 1) == 2**63 - 1
    assert cache.incr("n") == 2**63
    assert cache.incr("n", 2**64) == 2**63 + 2**64
    assert cache.decr("n", 2**64) == 2**63
    assert cache.decr("n") == 2**63 - 1
    assert cache.incr("n", -(2**63)) == -1
    assert cache["n"] == -1


def test_incr_keeps_expiry_and_tag_of_large_numbers(cache):
    cache.set("n", 2**63 - 1, expire=1000, tag="t")
    _, expires, _ = cache.get("n", expire_time=True, tag=True)
    cache.incr("n")
    assert cache.get("n", expire_time=True, tag=True) == (2**63, expires, "t")


def test_incr_refuses_what_is_no_number(cache):
    cache["key"] = "text"
    with pytest.raises(TypeError):
        cache.incr("key")
    cache["key"] = True
    with pytest.raises(TypeError):
        cache.incr("key")
    assert cache["key"] is True
    with pytest.raises(KeyError) as raised:
        cache.incr("missing", default=None)
    assert raised.value.args == ("missing",)


def test_incr_stores_expiry_and_tag_of_new_keys(cache):
    cache.incr("n", expire=1000, tag="t")
    value, expires, tag = cache.get("n", expire_time=True, tag=True)
    assert (value, tag) == (1, "t")
    assert expires > time.time()


def test_max_age(cache):
    cache["key"] = 1
    assert cache.get("key", max_age=1000) == 1
    time.sleep(0.01)
    assert cache.get("key", "old", max_age=0.001) == "old"


def test_files_are_read_in_pieces(cache):
    class Slow(io.RawIOBase):
        def __init__(self):
            self.left = [b"a" * 10, b"b" * 100_000, b"c"]

        def read(self, size=-1):
            return self.left.pop(0) if self.left else b""

    assert cache.set("key", Slow(), read=True)
    assert cache["key"] == b"a" * 10 + b"b" * 100_000 + b"c"
    with cache.read("key") as file:
        assert file.read(11) == b"a" * 10 + b"b"
        assert Path(file.name).stat().st_size == 100_011
    assert cache.info("key").path == file.name


def test_what_a_file_raises_comes_through_and_changes_nothing(cache):
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise ZeroDivisionError("broken")

    cache["key"] = "old"
    with pytest.raises(ZeroDivisionError, match="broken"):
        cache.set("key", Broken(), read=True)
    with pytest.raises(TypeError, match="binary mode"):
        cache.set("key", io.StringIO("text"), read=True)
    assert cache["key"] == "old"
    assert cache.check() == []


def test_what_pickle_raises_comes_through_and_changes_nothing(cache):
    cache["key"] = "old"
    with pytest.raises(Exception, match="pickle"):
        cache["key"] = threading.Lock()
    with pytest.raises(Exception, match="pickle"):
        cache[threading.Lock()] = 1
    with pytest.raises(Exception, match="pickle"):
        cache.set_many({"other": 1, "key": threading.Lock()})
    assert cache["key"] == "old"
    assert len(cache) == 1


def test_small_bytes_can_be_read_as_a_file(cache):
    cache["key"] = b"abc"
    with cache.read("key") as file:
        assert file.read() == b"abc"
    with pytest.raises(KeyError):
        cache.read("missing")


def test_settings_are_attributes(tmp_path):
    cache = dolium.Cache(tmp_path, cull_limit=7, my_own="x")
    assert (cache.cull_limit, cache.my_own, cache.eviction_policy) == (7, "x", "least-recently-stored")
    cache.cull_limit = 3
    assert cache.cull_limit == 3
    cache.anything = [1]
    assert cache.anything == [1]
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = cache.nothing_like_it
    with pytest.raises(ValueError, match="no setting"):
        cache.reset("nothing_like_it")
    cache["a"] = 1
    assert cache.count == 1


def test_no_limit(tmp_path):
    cache = dolium.Cache(tmp_path, size_limit=None)
    assert cache.size_limit == float("inf")
    cache["key"] = 1
    cache = dolium.Cache(tmp_path)
    assert cache.size_limit == float("inf")
    assert cache.reset("size_limit", None) == float("inf")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_caches_pickle(cache, protocol):
    cache["key"] = 1
    other = pickle.loads(pickle.dumps(cache, protocol))
    assert type(other) is type(cache)
    assert other["key"] == 1
    assert copy.copy(cache)["key"] == 1


def test_the_state_of_a_cache_is_its_positional_arguments(tmp_path):
    class Named(dolium.Cache):
        def __init__(self, directory=None, timeout=60, disk=dolium.Disk, name="", **settings):
            self.name = name
            super().__init__(directory, timeout, disk, **settings)

        def __getstate__(self):
            return (*super().__getstate__(), self.name)

    assert dolium.Cache(tmp_path, 3).__getstate__() == (str(tmp_path), 3, dolium.Disk)
    globals()["Named"] = Named
    Named.__qualname__ = "Named"
    try:
        other = pickle.loads(pickle.dumps(Named(tmp_path, name="n")))
    finally:
        del globals()["Named"]
    assert other.name == "n"


def test_an_object_that_is_not_open_says_so():
    cache = dolium.Cache.__new__(dolium.Cache)
    with pytest.raises(RuntimeError, match="not open"):
        cache.get("key")
    assert "not open" in repr(cache)
    cache.close()


def test_caches_die(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["key"] = 1
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None


def test_repr_names_directory_entries_and_size(cache):
    cache["key"] = 1
    assert cache.directory in repr(cache)
    assert "entries: 1" in repr(cache)
    assert "<table>" in cache._repr_html_()


def test_errors_are_what_callers_of_diskcache_catch():
    assert issubclass(dolium.DatabaseError, sqlite3.OperationalError)
    assert issubclass(dolium.DamagedStoreError, sqlite3.DatabaseError)
    assert issubclass(dolium.StorageFullError, (OSError, sqlite3.OperationalError))
    assert issubclass(dolium.UntrustedValueError, ValueError)
    for name in dolium.__all__:
        error = getattr(dolium, name)
        if isinstance(error, type) and issubclass(error, Exception) and not issubclass(error, Warning):
            assert issubclass(error, dolium.DoliumError)


def test_a_timeout_of_a_bulk_removal_says_how_many_are_gone(tmp_path):
    cache = dolium.Cache(tmp_path, timeout=0.01)
    cache["key"] = 1
    with _locked(tmp_path):
        with pytest.raises(dolium.Timeout) as raised:
            cache.clear()
        assert raised.value.args[0] == 0
        with pytest.raises(dolium.Timeout):
            cache.set("key", 2)
    assert cache["key"] == 1


def test_a_fanout_cache_swallows_timeouts(tmp_path):
    cache = dolium.FanoutCache(tmp_path, shards=1)
    cache["key"] = 1
    with _locked(tmp_path / "000"):
        assert cache.set("key", 2) is False
        assert cache.add("other", 2) is False
        assert cache.touch("key") is False
        assert cache.incr("key") is None
        assert cache.delete("key") is False
        assert cache.pop("key", "default") == "default"
        assert cache.pop("key", 0, expire_time=True) == (0, None)
    assert cache["key"] == 1


@contextlib.contextmanager
def _locked(directory):
    """Another thread has a transaction open."""
    begun, end = threading.Event(), threading.Event()

    def hold():
        with dolium.Cache(directory).transact():
            begun.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_ctrl_c_ends_a_wait(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["key"] = 1

    def interrupt(*_):
        raise KeyboardInterrupt("from the handler")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with _locked(tmp_path):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt, match="from the handler"):
                cache.set("key", 2)
            assert time.monotonic() - start < 5
    finally:
        signal.signal(signal.SIGALRM, before)
    assert cache["key"] == 1


def test_sql_looks_like_a_cursor(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache.set_many({"a": 1, "b": 2})
    cursor = cache._sql("SELECT key, value FROM Cache ORDER BY key")
    assert [column[0] for column in cursor.description] == ["key", "value"]
    assert cursor.fetchone() == ("a", 1)
    assert cursor.fetchall() == [("b", 2)]
    assert cursor.fetchone() is None
    assert list(cache._con.execute("SELECT count(*) FROM Cache")) == [(2,)]
    changed = cache._con.executemany("UPDATE Cache SET value = ? WHERE key = ?", [(3, "a"), (4, "b")])
    assert changed.rowcount == 2
    assert (cache["a"], cache["b"]) == (3, 4)
    with pytest.raises(sqlite3.OperationalError):
        cache._sql("SELECT nothing FROM nowhere")


def test_packed_values_of_rust_programs_are_read(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["key"] = 0
    packed = bytes.fromhex("82a161 93 01 ff c0 a162 c3".replace(" ", ""))
    cache._sql("UPDATE Cache SET mode = 16, value = ?", (packed,))
    assert cache["key"] == {"a": [1, -1, None], "b": True}
    cache._sql("UPDATE Cache SET value = ?", (packed[:-1],))
    with pytest.raises(ValueError, match="cut off"):
        cache["key"]


def test_constants_are_what_they_were(tmp_path):
    assert pickle.loads(pickle.dumps(ENOVAL)) is ENOVAL
    assert repr(ENOVAL) == "ENOVAL"
    assert pickle.loads(pickle.dumps(Constant("OTHER"))) == Constant("OTHER")
    cache = dolium.Cache(tmp_path)
    cache[("f", ENOVAL)] = 1
    assert cache[("f", ENOVAL)] == 1


def test_the_bytes_of_a_key_with_a_constant_are_diskcaches():
    constant = b"\x8c\x0ediskcache.core\x8c\x08Constant\x93\x8c\x06ENOVAL\x85\x85\x81"
    expected = b"\x80\x05\x95+\0\0\0\0\0\0\0\x8c\x01f" + constant + b"\x86."
    assert _dolium._canonical(("f", ENOVAL), 5) == expected


def test_old_pickle_protocols_are_kept(tmp_path):
    cache = dolium.Cache(tmp_path, disk_pickle_protocol=2)
    cache[("a", 1)] = [1]
    ((key, value),) = cache._sql("SELECT key, value FROM Cache").fetchall()
    assert key[:2] == value[:2] == b"\x80\x02"
    assert dolium.Cache(tmp_path)[("a", 1)] == [1]


def test_iterators_can_be_used_by_several_threads(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache.set_many((number, number) for number in range(2000))
    keys, met = iter(cache), []

    def walk():
        while True:
            try:
                met.append(next(keys))
            except ValueError:
                continue
            except StopIteration:
                return

    threads = [threading.Thread(target=walk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(met) == list(range(2000))


def test_closing_in_an_exit_handler_is_quiet(tmp_path):
    program = (
        "import atexit, sys, dolium\n"
        "cache = dolium.Cache(sys.argv[1])\n"
        "cache['key'] = [1]\n"
        "atexit.register(lambda: print(cache['key']))\n"
        "class Last:\n"
        "    def __del__(self): cache.close()\n"
        "last = Last()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[1]\n", "")


class Reversing(dolium.Disk):
    """Stores texts backwards; its `store` is of the time before `key`."""

    removed: list[str]

    def __init__(self, directory, suffix="", **kwargs):
        super().__init__(directory, **kwargs)
        self.suffix = suffix
        self.removed = []

    def store(self, value, read):
        return super().store(value if read else value[::-1] + self.suffix, read)

    def fetch(self, mode, filename, value, read):
        value = super().fetch(mode, filename, value, read)
        return value if read else value.removesuffix(self.suffix)[::-1]

    def remove(self, file_path):
        self.removed.append(file_path)
        super().remove(file_path)


@pytest.mark.parametrize("kind", [dolium.Cache, dolium.FanoutCache])
def test_a_disk_of_the_users(tmp_path, kind):
    cache = kind(tmp_path, disk=Reversing, disk_suffix="!")
    cache["key"] = "abc"
    assert cache["key"] == "abc"
    assert isinstance(cache.disk, Reversing)
    assert "cba!" in {
        row
        for shard in getattr(cache, "_shards", [cache])
        for (row,) in shard._sql("SELECT value FROM Cache")
    }
    assert list(cache) == ["key"]
    assert cache.add("key", "other") is False
    assert cache.pop("key") == "abc"
    assert kind(tmp_path, disk=Reversing).disk.suffix == "!"


def test_a_disk_sees_every_file_that_goes(tmp_path):
    cache = dolium.Cache(tmp_path, disk=Reversing, disk_min_file_size=1)
    big = "x" * 100

    def files():
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.val")}

    for remove in (
        lambda: cache.set("key", "new"),
        lambda: cache.delete("key"),
        lambda: cache.pop("key"),
        cache.clear,
        lambda: cache.evict("t"),
        lambda: cache.delete_many(["key"]),
    ):
        cache.set("key", big, tag="t")
        (before,) = files()
        remove()
        assert before in cache.disk.removed
        assert before not in files()
        cache.clear()
    assert cache.push(big) == 500000000000000
    assert cache.peek() == (500000000000000, big)
    assert cache.pull() == (500000000000000, big)
    assert files() == set()


def test_what_a_disk_raises_comes_through(tmp_path):
    class Failing(dolium.Disk):
        def fetch(self, mode, filename, value, read):
            raise LookupError("broken")

        def get(self, key, raw):
            raise LookupError("key broken")

    cache = dolium.Cache(tmp_path, disk=Failing)
    cache["key"] = 1
    with pytest.raises(LookupError, match="broken"):
        cache.get("key")
    with pytest.raises(LookupError, match="key broken"):
        list(cache)
    with pytest.raises(LookupError, match="broken"):
        cache.pop("key")
    assert "key" in cache


def test_a_disk_signs_pickles_for_their_keys(tmp_path):
    class Plain(dolium.Disk):
        pass

    cache = dolium.Cache(tmp_path, disk=Plain)
    cache["key"] = Thing()
    assert cache["key"] == Thing()
    assert dolium.Cache(tmp_path)["key"] == Thing()
    assert cache.push(Thing()) == 500000000000000
    assert cache.pull() == (500000000000000, Thing())
    _forge(cache, "key", Thing())
    with pytest.warns(dolium.UntrustedValueWarning):
        assert cache.get("key", "default") == "default"


def test_json(tmp_path):
    cache = dolium.Cache(tmp_path, disk=dolium.JSONDisk, disk_compress_level=6)
    cache[["a", 1]] = {"b": [1.5, None, True, "ü" * 50_000]}
    assert cache[["a", 1]] == {"b": [1.5, None, True, "ü" * 50_000]}
    assert list(cache) == [["a", 1]]
    assert cache.peekitem() == (["a", 1], cache[["a", 1]])


def test_disk_must_be_a_disk(tmp_path):
    for disk in (int, dolium.Disk("x"), None):
        with pytest.raises(ValueError, match="disk must subclass"):
            dolium.Cache(tmp_path, disk=disk)


def test_queues_of_a_fanout_cache_are_elsewhere(tmp_path):
    cache = dolium.FanoutCache(tmp_path)
    for name in ("push", "pull", "peek", "peekitem"):
        assert not hasattr(cache, name)
    assert cache.deque("jobs").append(1) is None
    assert cache._count == len(cache._shards) == 8
    assert cache._hash("abc") == 38600999


def test_sorted_keys_of_shards_are_merged(tmp_path):
    cache = dolium.FanoutCache(tmp_path)
    keys = [-5, 0.5, 1, 2**40, "a", "b", "ü", b"a", b"\xff"]
    cache.set_many(dict.fromkeys(reversed(keys), 0))
    assert list(cache.iterkeys()) == keys
    assert list(cache.iterkeys(reverse=True)) == keys[::-1]
    assert sorted(map(repr, cache.keys())) == sorted(map(repr, keys))


def test_kept_rows_are_evicted_last(tmp_path):
    cache = dolium.Cache(tmp_path)
    assert cache._keep("lock", 1) is True
    assert cache._keep("lock", 2, add=True) is False
    assert cache["lock"] == 1
    assert cache.info("lock").access_count == 2**62


def test_transactions_of_the_thread_are_known(cache):
    assert not cache._in_transaction()
    with cache.transact():
        assert cache._in_transaction()
        with cache.transact():
            cache["key"] = 1
        assert cache._strict()._in_transaction()
    assert not cache._in_transaction()
    with pytest.raises(TypeError), cache.transact():
        cache["key"] = cache["key"] + cache
    assert cache["key"] == 1


def test_combinations_of_flags_that_are_no_members_are_refused(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache[Colour.RED] = 1
    forged = _dolium._canonical(Colour.RED, 5).replace(b"K\x01", b"K\x07")
    cache._sql("UPDATE Cache SET key = ?", (forged,))
    with pytest.warns(dolium.UntrustedValueWarning):
        assert list(cache) == []


def test_constants_in_keys_come_back(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache[(1, ENOVAL)] = 1
    ((_, constant),) = cache
    assert constant is ENOVAL


def test_files_follow_the_transaction(tmp_path):
    cache = dolium.Cache(tmp_path, disk=Reversing, disk_min_file_size=1)
    cache["key"] = "old"
    (old,) = tmp_path.rglob("*.val")
    with contextlib.suppress(ZeroDivisionError), cache.transact():
        cache.pop("key")
        cache["key"] = "new"
        raise ZeroDivisionError
    assert list(tmp_path.rglob("*.val")) == [old]
    assert cache["key"] == "old"
    with cache.transact():
        cache["key"] = "new"
    assert cache["key"] == "new"
    assert not old.exists()


def test_subinterpreters_are_refused(tmp_path):
    program = (
        "import dolium\n"
        "try:\n"
        "    import _interpreters as interpreters\n"
        "except ImportError:\n"
        "    import _xxsubinterpreters as interpreters\n"
        "other = interpreters.create()\n"
        "failed = interpreters.run_string(other, 'try:\\n import dolium\\nexcept ImportError as e: print(e)')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "interpreter" in done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_child_leaves_files_of_its_parents_transaction_alone(tmp_path):
    cache = dolium.Cache(tmp_path, disk=Reversing, disk_min_file_size=1)
    cache["key"] = "old"
    transaction = cache.transact()
    with transaction:
        cache["key"] = "new"
        if not os.fork():
            with contextlib.suppress(BaseException):
                transaction.__exit__(KeyError, KeyError(), None)
            os._exit(0)
        os.wait()
    assert cache["key"] == "new"
    assert cache.check() == []


def test_attributes_of_the_native_disk_are_settings_of_its_cache(tmp_path):
    """Assigning them is how programs of diskcache set them for one process."""
    cache = dolium.Cache(tmp_path)
    cache.disk.min_file_size = 10
    cache.disk.pickle_protocol = 2
    cache["file"], cache["pickle"] = "x" * 10, [1]
    assert len(list(tmp_path.rglob("*.val"))) == 1
    assert cache._sql("SELECT value FROM Cache WHERE key = 'pickle'").fetchall()[0][0].startswith(b"\x80\x02")
    assert (cache.disk_min_file_size, cache.disk_pickle_protocol) == (10, 2)
    cache.reset("disk_min_file_size", 100)
    assert cache.disk.min_file_size == 100
    assert copy.copy(pickle.loads(pickle.dumps(cache.disk))).pickle_protocol == 2
    stored = dict(cache._sql("SELECT key, value FROM Settings").fetchall())
    assert (stored["disk_min_file_size"], stored["disk_pickle_protocol"]) == (100, 5)
    cache.close()
