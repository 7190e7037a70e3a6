"""Descriptors, opening, shards, timeouts: what a program notices only in production."""

from __future__ import annotations

import os
import threading
import time
import warnings

import dolium
import pytest
from helpers.children import Child, run


def descriptors(directory) -> list[str]:
    """The open files below a directory."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if path.startswith(str(directory)):
            found.append(path)
    return found


def test_descriptors_do_not_grow_with_threads(tmp_path):
    """Ten finished threads leave ten descriptors behind in diskcache, until close()."""
    cache = dolium.Cache(tmp_path)
    cache["a"] = "x" * 50_000
    cache["a"]

    def work():
        cache["a"]
        cache["b"] = 1

    def crowd(number):
        threads = [threading.Thread(target=work) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(descriptors(tmp_path))

    crowd(8)
    few = crowd(8)
    assert crowd(64) <= few + 4
    assert few < 30
    cache.close()


def test_descriptors_do_not_grow_with_objects(tmp_path):
    caches = [dolium.Cache(tmp_path) for _ in range(50)]
    for cache in caches:
        cache["a"] = 1
        cache["a"]
    assert len(descriptors(tmp_path)) < 12
    for cache in caches:
        cache.close()


def test_close_leaves_nothing_behind(tmp_path):
    for kind in (dolium.Cache, dolium.FanoutCache):
        directory = tmp_path / kind.__name__
        cache = kind(directory)
        for n in range(30):
            cache[n] = "x" * (n % 2 * 50_000)
        list(cache)
        cache.close()
        assert [
            path for path in descriptors(directory) if "cache.lock" not in path and "cache.hot" not in path
        ] == []
        assert [path.name for path in directory.rglob("*-wal")] == []


def test_a_dropped_cache_leaves_nothing_behind(tmp_path):
    import gc

    for n in range(20):
        cache = dolium.Cache(tmp_path / str(n))
        cache["a"] = 1
        del cache
    gc.collect()
    # What they wrote last is on its way to the disk.
    deadline = time.monotonic() + 5
    while len(descriptors(tmp_path)) >= 30:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sharded_cache_needs_few_descriptors(tmp_path):
    cache = dolium.FanoutCache(tmp_path, shards=8)
    for n in range(100):
        cache[n] = n
    assert len(descriptors(tmp_path)) <= 8 * 6
    cache.close()


def test_cache_can_be_made_at_import_where_no_write_succeeds(tmp_path):
    """AWS Lambda, read-only homes: dspy, vllm and others fail at import."""
    (tmp_path / "file").write_text("")
    cache = dolium.Cache(tmp_path / "file" / "below")
    repr(cache)
    with pytest.raises(OSError, match="below"):
        cache["a"] = 1


@pytest.mark.parametrize(
    "make", [dolium.Cache, dolium.FanoutCache, dolium.Index], ids=lambda kind: kind.__name__
)
def test_it_works_once_its_directory_can_be_made(tmp_path, make):
    """Objects made before and after share one handle, so that a transaction of one is that of the other."""
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    early = make(str(obstacle / "below"))
    assert "a" not in early
    assert len(early) == 0
    with pytest.raises(OSError, match="below"):
        early["a"] = 1
    obstacle.unlink()
    early["a"] = 1
    late = make(str(obstacle / "below"))
    with early.transact():
        late["a"] = 2
    assert early["a"] == late["a"] == 2


def test_settings_passed_at_import_are_stored_by_the_first_write(tmp_path):
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    cache = dolium.Cache(obstacle / "below", size_limit=2**20, cull_limit=3)
    assert (cache.size_limit, cache.cull_limit) == (2**20, 3)
    obstacle.unlink()
    cache["a"] = 1
    run("assert dolium.Cache(sys.argv[1]).cull_limit == 3", obstacle / "below")


def test_opening_takes_no_lock(tmp_path):
    """While another process is in a transaction, for however long."""
    with Child(
        """
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = 1
        with cache.transact():
            cache["a"] = 2
            say("holding")
            hear()
        """,
        tmp_path,
    ) as holder:
        holder.line("holding")
        cache = dolium.Cache(tmp_path, timeout=0.05, statistics=0, cull_limit=10)
        assert cache["a"] == 1
        assert len(cache) == 1
        assert list(cache) == ["a"]
        assert cache.volume() > 0
        cache.close()
        holder.tell()
        holder.finish()
    assert dolium.Cache(tmp_path)["a"] == 2


@pytest.mark.parametrize("again", [1, 3, 8, 16])
def test_the_number_of_shards_is_kept(tmp_path, again):
    """4 shards reopened with the default 8: in diskcache 48 of 100 keys are unreachable."""
    cache = dolium.FanoutCache(tmp_path, shards=4)
    for n in range(100):
        cache[f"key-{n}"] = n
    cache.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = dolium.FanoutCache(tmp_path, shards=again)
        assert [cache.get(f"key-{n}") for n in range(100)] == list(range(100))
        cache["new"] = 1
    assert [warning.category for warning in caught] == [dolium.ShardCountWarning]
    assert len(cache) == 101
    cache.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["000", "001", "002", "003"]


def test_the_number_of_shards_of_diskcache_is_found(tmp_path, real_diskcache):
    real_diskcache(
        "c = diskcache.FanoutCache(sys.argv[1], shards=5)\nfor n in range(50): c[f'k{n}'] = n", tmp_path
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache = dolium.FanoutCache(tmp_path)
        assert [cache.get(f"k{n}") for n in range(50)] == list(range(50))
    cache.close()


def test_fanout_get_gives_tuples_whatever_happens(tmp_path):
    """dc#354: on a timeout diskcache gives the bare default, and the caller's unpacking fails."""
    cache = dolium.FanoutCache(tmp_path, shards=1, timeout=0.01, statistics=True)
    assert cache.get("nobody", 5, expire_time=True) == (5, None)
    assert cache.get("nobody", 5, expire_time=True, tag=True) == (5, None, None)
    cache["a"] = 1
    with Child(
        """
        cache = dolium.FanoutCache(sys.argv[1])
        with cache.transact():
            cache["a"] = 2
            say("holding")
            hear()
        """,
        tmp_path,
    ) as holder:
        holder.line("holding")
        assert cache.get("a", 5, expire_time=True) == (1, None)
        assert cache.pop("a", 5, expire_time=True) == (5, None)
        assert cache.pop("a", 5, expire_time=True, tag=True) == (5, None, None)
        holder.tell()
        holder.finish()
    cache.close()


def test_read_under_any_policy_waits_for_no_writer(tmp_path):
    """In diskcache a get under least-recently-used is a write."""
    for policy in ("least-recently-used", "least-frequently-used"):
        directory = tmp_path / policy
        with Child(
            """
            cache = dolium.Cache(sys.argv[1], eviction_policy=sys.argv[2], statistics=True)
            cache["a"] = 1
            with cache.transact():
                cache["a"] = 2
                say("holding")
                hear()
            """,
            directory,
            policy,
        ) as holder:
            holder.line("holding")
            cache = dolium.Cache(directory, timeout=0.01)
            assert cache["a"] == 1
            assert cache.get("nobody") is None
            assert "a" in cache
            holder.tell()
            holder.finish()
            cache.close()


def test_repr_names_directory_entries_and_size(tmp_path):
    cache = dolium.Cache(tmp_path)
    cache["a"] = "x" * 100_000
    assert repr(str(tmp_path)) in repr(cache)
    assert "entries: 1" in repr(cache)
    assert "kB" in repr(cache)
    assert "<table>" in cache._repr_html_()
    cache.close()


def test_an_unclosed_cache_warns_of_nothing_at_exit(tmp_path):
    lines = run(
        """
        cache = dolium.Cache(sys.argv[1])
        cache["a"] = "x" * 100_000
        fanout = dolium.FanoutCache(sys.argv[1] + "-fan")
        fanout["a"] = 1
        say("end")
        """,
        tmp_path / "cache",
        options=["-X", "dev", "-W", "error"],
    )
    assert lines == ["end"]
