"""Directories written by one are opened by the other, both ways and in turns; the counts stay right."""

from __future__ import annotations

import io
import random
import time
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import Child

from .oracle import Oracle, Raised
from .test_random_operations import same

VALUES: list[Any] = [
    None, True, 0, -1, 2**63 - 1, -(2**63), 2**100, 0.0, 1.5, float("inf"), "", "text", "grün\0", b"",
    b"\0\xff", (1, "two", None), [1, [2]], {"a": {1, 2}}, frozenset({1}), "x" * 40_000,
    "ü" * 40_000, b"\r\n" * 40_000,     list(range(20_000)), {"long": "y" * 40_000},
]  # fmt: skip
KEYS: list[Any] = [
    "text", "", "grün\0", b"bytes", b"", 0, -1, 2**63 - 1, -(2**63), 1.5, float("inf"), None, True, 2**63, (),
    (1,), ("module.function", 1, "two", None, 2.5), (b"a", ("b", (None,))), "n" * 5000, frozenset(),
]  # fmt: skip
KINDS = [
    pytest.param("Cache", {}, id="Cache"),
    pytest.param("Cache", {"disk_min_file_size": 0}, id="files"),
    pytest.param(
        "Cache", {"eviction_policy": "least-recently-used", "tag_index": True, "statistics": True}, id="lru"
    ),
    pytest.param("Cache", {"disk": "JSONDisk"}, id="JSONDisk"),
    pytest.param(
        "FanoutCache", {"timeout": 60}, id="FanoutCache"
    ),  # its own 10 ms are short for a busy machine
    pytest.param("FanoutCache", {"shards": 3, "timeout": 60}, id="3 shards"),
]
# What diskcache's check() does not know of; ours, and named so in docs/design.md.
OURS = ("cache.hot", "cache.lock", "cache.lease")


def ours(kind: str, directory: Path, options: dict[str, Any]) -> Any:
    options = {**options, **({"disk": dolium.JSONDisk} if options.get("disk") else {})}
    return getattr(dolium, kind)(directory, **options)


def entries(options: dict[str, Any]) -> list[tuple[Any, Any, dict[str, Any]]]:
    keys, values = KEYS, VALUES
    if options.get("disk") == "JSONDisk":
        keys = [key for key in KEYS if key is None or type(key) in (int, float, str)]
        values = [value for value in VALUES if value is None or type(value) in (bool, int, float, str)]
    extras = [{}, {"tag": "t"}, {"expire": 10_000}, {"tag": 5, "expire": -10_000}, {"tag": b"t"}]
    found = [(f"value-{n}", value, extras[n % 5]) for n, value in enumerate(values)]
    return found + [(key, n, extras[n % 3]) for n, key in enumerate(keys)]


def sound(foreign: Any) -> None:
    assert [line for line in foreign.check() if not any(name in line for name in OURS)] == []


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_diskcache_reads_what_dolium_wrote(oracle, tmp_path, kind, options):
    cache = ours(kind, tmp_path, {"cull_limit": 0, **options})
    for key, value, extra in entries(options):
        assert cache.set(key, value, **extra) is True
    assert cache.check() == []
    expected = {repr(key): cache.get(key, expire_time=True, tag=True) for key, _, _ in entries(options)}
    order = list(cache)
    cache.close()
    foreign = oracle.open(kind, tmp_path, **options)
    sound(foreign)
    assert list(foreign) == order
    assert len(foreign) == len(order)
    for key, value, extra in entries(options):
        found = foreign.get(key, expire_time=True, tag=True)
        assert same(found, expected[repr(key)])
        assert found[0] == (None if extra.get("expire", 1) < 0 else value)
    assert foreign.expire() == sum(extra.get("expire", 1) < 0 for _, _, extra in entries(options))
    sound(foreign)
    foreign.close()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_dolium_reads_what_diskcache_wrote(oracle, tmp_path, kind, options):
    foreign = oracle.open(kind, tmp_path, **{"cull_limit": 0, **options})
    for key, value, extra in entries(options):
        foreign.set(key, value, **extra)
    order = list(foreign)
    expected = {repr(key): foreign.get(key, expire_time=True, tag=True) for key, _, _ in entries(options)}
    foreign.close()
    cache = ours(kind, tmp_path, options)
    assert cache.check() == []
    assert list(cache) == order
    assert len(cache) == len(order)
    for key, _, _ in entries(options):
        assert same(cache.get(key, expire_time=True, tag=True), expected[repr(key)])
        assert (key in cache) is (expected[repr(key)] != (None, None, None)) or expected[repr(key)][0] is None
    assert cache.expire() == sum(extra.get("expire", 1) < 0 for _, _, extra in entries(options))
    assert cache.check() == []
    cache.close()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_in_turns(oracle, tmp_path, kind, options):
    """Written by both in turns for a while: every row is right, and so are the counts that each keeps."""
    chance = random.Random(5)
    model: dict[Any, Any] = {}
    values = ["small", "x" * 40_000, 5, "ü" * 33_000]
    if "disk" not in options:
        values += [b"y" * 50_000, [1, 2], tuple(range(9000))]
    for turn in range(6):
        foreign = turn % 2
        cache = oracle.open(kind, tmp_path, **options) if foreign else ours(kind, tmp_path, options)
        assert len(cache) == len(model)
        for _ in range(40):
            key = chance.choice([f"k{chance.randrange(30)}", chance.randrange(10)])
            action = chance.randrange(10)
            if action < 6:
                model[key] = chance.choice(values)
                cache.set(key, model[key], tag="even" if turn % 2 else "odd")
            elif action < 8:
                assert cache.pop(key) == model.pop(key, None)
            else:
                assert cache.delete(key) is (model.pop(key, None) is not None)
        assert {key: cache.get(key) for key in cache} == model
        if turn % 2:
            sound(cache)
        else:
            assert cache.check() == []
        cache.close()


def test_settings_cross_over(oracle, tmp_path):
    cache = dolium.Cache(tmp_path, cull_limit=3, disk_min_file_size=77, statistics=True, size_limit=10**7)
    cache["a"] = 1
    assert (cache.get("a"), cache.get("b")) == (1, None)
    cache.close()
    foreign = oracle.open("Cache", tmp_path)
    names = ["cull_limit", "disk_min_file_size", "statistics", "size_limit", "eviction_policy"]
    assert [foreign.attribute(name) for name in names] == [3, 77, 1, 10**7, "least-recently-stored"]
    assert tuple(foreign.stats()) == (1, 1)
    foreign.reset("cull_limit", 4)
    foreign.reset("eviction_policy", "least-recently-used")
    foreign.get("b")
    foreign.close()
    again = dolium.Cache(tmp_path)
    assert (again.cull_limit, again.eviction_policy) == (4, "least-recently-used")
    assert again.stats() == (1, 2)
    again.close()


def test_schema_is_diskcaches_and_ours_beside_it(oracle, tmp_path):
    listing = """
        SELECT type, name, tbl_name, sql FROM sqlite_master
        WHERE name NOT LIKE '%olium%' AND name NOT LIKE 'sqlite_%' ORDER BY name
    """
    theirs = oracle.open("Cache", tmp_path / "theirs", tag_index=True)
    cache = dolium.Cache(tmp_path / "ours", tag_index=True)
    cache["a"] = 1
    cache.close()
    opened = oracle.open("Cache", tmp_path / "ours", tag_index=True)

    def plain(rows: Any) -> list[Any]:
        return [tuple(" ".join(str(part).split()).replace("( ", "(") for part in row) for row in rows]

    # Read before diskcache could add anything: by itself it would add what is missing.
    assert [row[:3] for row in plain(opened.sql(listing))] == [row[:3] for row in plain(theirs.sql(listing))]
    pragma = "PRAGMA table_info(Cache)"
    assert opened.sql(pragma) == theirs.sql(pragma)
    assert opened.sql("PRAGMA index_info(Cache_key_raw)") == theirs.sql("PRAGMA index_info(Cache_key_raw)")
    assert opened.sql("PRAGMA auto_vacuum") == [(1,)]


def test_rows_are_diskcaches_rows(oracle, tmp_path):
    """Columns byte for byte, but for the random file name, the times and the trailer after a pickle."""
    theirs = oracle.open("Cache", tmp_path / "theirs")
    cache = dolium.Cache(tmp_path / "ours")
    for key, value, extra in entries({}):
        theirs.set(key, value, tag=extra.get("tag"))
        cache.set(key, value, tag=extra.get("tag"))
    cache.close()
    again = oracle.open("Cache", tmp_path / "ours")
    columns = (
        "SELECT key, raw, tag, mode, size, filename IS NULL, typeof(value), value FROM Cache ORDER BY rowid"
    )
    for ours_row, their_row in zip(again.sql(columns), theirs.sql(columns), strict=True):
        pickled_value, size, value = ours_row[3] == 4, ours_row[4], ours_row[7]
        assert ours_row[:4] == their_row[:4]
        assert ours_row[5:7] == their_row[5:7]
        if pickled_value:
            assert size in (their_row[4], their_row[4] + 24)
            assert value is None or value[:-24] == their_row[7]
        else:
            assert (size, value) == (their_row[4], their_row[7])
    cache.close()


def test_streams_cross_over(oracle, tmp_path):
    cache = dolium.Cache(tmp_path)
    cache.set("stream", io.BytesIO(b"\r\n\0" * 5000), read=True)
    cache.close()
    foreign = oracle.open("Cache", tmp_path)
    assert foreign.read("stream") == b"\r\n\0" * 5000
    foreign.close()


def test_queues_cross_over(oracle, tmp_path):
    cache = dolium.Cache(tmp_path)
    assert cache.push("a") == 500_000_000_000_000
    cache.push("b", prefix="q")
    cache.close()
    foreign = oracle.open("Cache", tmp_path)
    assert foreign.push("c") == 500_000_000_000_001
    assert tuple(foreign.pull("q"))[1] == "b"
    foreign.push("d", prefix="q")
    foreign.close()
    again = dolium.Cache(tmp_path)
    assert [again.pull()[1], again.pull()[1], again.pull("q")[1]] == ["a", "c", "d"]
    again.close()


def test_deques_cross_over(oracle, tmp_path):
    deque = dolium.Deque([1, "two", "x" * 40_000, None], directory=str(tmp_path))
    deque.appendleft((0, "front"))
    deque.cache.close()
    foreign = oracle.open("Deque", tmp_path)
    assert list(foreign) == [(0, "front"), 1, "two", "x" * 40_000, None]
    foreign.append("theirs")
    foreign.popleft()
    foreign.rotate(1)
    foreign.attribute("directory")
    again = dolium.Deque(directory=str(tmp_path))
    assert list(again) == ["theirs", 1, "two", "x" * 40_000, None]
    again.cache.close()


def test_indexes_cross_over(oracle, tmp_path):
    index = dolium.Index(str(tmp_path), {"b": 1, "a": [2], ("t", 1): "x" * 40_000})
    index.cache.close()
    foreign = oracle.open("Index", tmp_path)
    assert list(foreign) == ["b", "a", ("t", 1)]
    assert foreign[("t", 1)] == "x" * 40_000
    foreign["c"] = {"k": None}
    assert foreign.pop("b") == 1
    again = dolium.Index(str(tmp_path))
    assert dict(again) == {"a": [2], ("t", 1): "x" * 40_000, "c": {"k": None}}
    assert list(again) == ["a", ("t", 1), "c"]
    again.cache.close()


def test_parts_of_a_fanout_cache_cross_over(oracle, tmp_path):
    cache = dolium.FanoutCache(tmp_path, shards=2)
    cache.cache("some/name")["a"] = 1
    cache.deque("jobs").extend("abc")
    cache.index("table")["k"] = "v"
    cache.close()
    assert oracle.open("Cache", tmp_path / "cache" / "some" / "name")["a"] == 1
    assert list(oracle.open("Deque", tmp_path / "deque" / "jobs")) == ["a", "b", "c"]
    assert list(oracle.open("Index", tmp_path / "index" / "table")) == ["k"]


def test_memoized_results_cross_over(oracle, tmp_path):
    """The key of a call is the one that diskcache makes."""
    cache = dolium.Cache(tmp_path)

    @cache.memoize(name="f")
    def function(*args: Any, **kwargs: Any) -> int:
        return 5

    for args, kwargs in [((), {}), ((1, "a"), {}), ((1,), {"x": 2, "b": None}), (((1, (2,)),), {"k": (3,)})]:
        function(*args, **kwargs)
    keys = list(cache)
    cache.close()
    foreign = oracle.open("Cache", tmp_path)
    assert keys == [
        ("f", None),
        ("f", 1, "a", None),
        ("f", 1, None, "b", None, "x", 2),
        ("f", (1, (2,)), None, "k", (3,)),
    ]
    assert [foreign.get(key) for key in keys] == [5] * 4
    assert [key in foreign for key in keys] == [True] * 4


@pytest.mark.slow
def test_diskcache_opens_while_dolium_writes(oracle, tmp_path):
    """Opening rewrites diskcache's settings each time; nothing that dolium counts may be turned back."""
    with Child(
        """
        cache = dolium.Cache(sys.argv[1])
        say("writing")
        n = 0
        while True:
            cache.set(n % 50, "x" * (40_000 if n % 7 == 0 else 10), retry=True)
            cache.incr("total", retry=True)
            if n % 11 == 0:
                cache.delete(n % 50, retry=True)
            n += 1
            if n % 50 == 0:
                say(n)
            if n >= 600:
                break
        cache.close()
        """,
        tmp_path,
    ) as writer:
        writer.line("writing")
        for _ in range(60):
            foreign = oracle.open("Cache", tmp_path)
            foreign.close()
            if writer.process.poll() is not None:
                break
        writer.finish()
    # dolium first: files that wait for a checkpoint, which diskcache's reading put off, are its to unlink.
    cache = dolium.Cache(tmp_path)
    assert cache["total"] == 600
    cache.flush()
    assert cache.check() == []
    cache.close()
    foreign = oracle.open("Cache", tmp_path)
    assert foreign["total"] == 600
    sound(foreign)
    foreign.close()


@pytest.mark.slow
def test_both_write_at_once(oracle, tmp_path):
    """Without a hot tier SQLite's own locks hold between them: no increment of either is lost."""
    with Child(
        """
        cache = dolium.Cache(sys.argv[1], hot_size=0)
        cache["started"] = 1
        say("started")
        for n in range(300):
            cache.incr("total", retry=True)
            cache.set("large", "d" * 50_000, retry=True)
        cache.close()
        """,
        tmp_path,
    ) as writer:
        writer.line("started")
        foreign = oracle.open("Cache", tmp_path, timeout=60)
        for _ in range(300):
            foreign.incr("total", retry=True)
            foreign.set("large", "f" * 50_000, retry=True)
        foreign.close()
        writer.finish()
    cache = dolium.Cache(tmp_path)
    assert cache["total"] == 600
    assert cache["large"] in ("d" * 50_000, "f" * 50_000)
    assert cache.check() == []
    cache.close()


@pytest.mark.slow
def test_both_write_at_once_with_a_hot_tier(oracle, tmp_path):
    """Of one key the later word holds, and nothing is torn; what only one of them writes is exact."""
    with Child(
        """
        cache = dolium.Cache(sys.argv[1], hot_size=-1)
        cache["started"] = 1
        say("started")
        for n in range(3000):
            cache.incr("ours", retry=True)
            cache.set("both", "d" * (n % 7000), retry=True)
        cache.close()
        """,
        tmp_path,
    ) as writer:
        writer.line("started")
        foreign = oracle.open("Cache", tmp_path, timeout=60)
        for n in range(300):
            foreign.incr("theirs", retry=True)
            foreign.set("both", "f" * (n * 100), retry=True)
        foreign.close()
        writer.finish()
    cache = dolium.Cache(tmp_path)
    assert (cache["ours"], cache["theirs"]) == (3000, 300)
    assert cache["both"].strip("d") == "" or cache["both"].strip("f") == ""
    assert cache.check() == []
    cache.close()


def eventually(condition):
    """The hot tier looks ten times a second for what other programs have written."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_a_session_sees_what_diskcache_wrote_meanwhile(oracle, tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["a"] = "ours"
    cache.flush()
    foreign = oracle.open("Cache", tmp_path)
    foreign["a"] = "theirs"
    foreign["b"] = "theirs"
    assert eventually(lambda: cache["a"] == "theirs")
    assert (cache["b"], len(cache)) == ("theirs", 2)
    cache["a"] = "ours again"
    cache.flush()
    assert foreign["a"] == "ours again"
    foreign.delete("b")
    assert eventually(lambda: "b" not in cache)
    assert len(cache) == 1
    foreign.close()
    assert cache.check() == []
    cache.close()


def test_diskcache_refuses_nothing_that_dolium_signed(oracle, tmp_path):
    """The trailer lies behind the pickle's end, where no reader looks."""
    cache = dolium.Cache(tmp_path)
    cache["inline"], cache["file"] = [1, 2], ["z" * 50_000]
    cache.close()
    foreign = oracle.open("Cache", tmp_path)
    assert (foreign["inline"], foreign["file"]) == ([1, 2], ["z" * 50_000])
    with pytest.raises(Raised) as raised:
        foreign["nobody"]
    assert raised.value.names[0] == "KeyError"
    foreign.close()


def test_the_oracle_is_the_real_one(oracle, tmp_path):
    assert isinstance(oracle, Oracle)
    foreign = oracle.open("Cache", tmp_path)
    foreign["nan"] = float("nan")
    assert foreign["nan"] is None
    oracle.now(time.time() + 10**6)
    foreign.set("k", 1, expire=5)
    oracle.now(None)
    assert foreign.get("k", expire_time=True)[1] > time.time() + 10**5
    foreign.close()
