"""Settings, statistics, volume, check, eviction: what the cache knows and does about itself."""

from __future__ import annotations

import os
import pickle
import threading
import warnings

import dolium
import pytest

DEFAULTS = {
    "statistics": 0, "tag_index": 0, "eviction_policy": "least-recently-stored", "size_limit": 2**30,
    "cull_limit": 10, "sqlite_auto_vacuum": 1, "sqlite_cache_size": 2**13, "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 2**26, "sqlite_synchronous": 1, "disk_min_file_size": 2**15,
    "disk_pickle_protocol": pickle.HIGHEST_PROTOCOL,
}  # fmt: skip

KIB = 1024


@pytest.fixture(autouse=True)
def evictions_are_expected():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?i).*evict")
        yield


# -- Settings --------------------------------------------------------------------------------------


def test_settings_are_attributes(cache, backend):
    given = {key: value for key, value in backend.settings.items() if key in DEFAULTS}
    expected = {**DEFAULTS, **given}
    if "sharded" in backend.able:
        del expected["size_limit"]
    assert {name: getattr(cache, name) for name in expected} == expected


def test_default_settings_table(backend):
    assert dolium.DEFAULT_SETTINGS == DEFAULTS


def test_settings_survive(open_cache, cache):
    other = open_cache(cull_limit=5, statistics=True, disk_min_file_size=100)
    assert (other.cull_limit, other.statistics, other.disk_min_file_size) == (5, 1, 100)
    assert other.disk.min_file_size == 100
    other.close()


@pytest.mark.needs("native")
def test_settings_that_are_not_passed_are_the_stored_ones(backend, directory):
    cache = backend.open(directory, cull_limit=5, disk_min_file_size=100)
    cache["a"] = 1  # opening alone writes nothing
    cache.close()
    again = backend.kind(directory)
    assert (again.cull_limit, again.disk_min_file_size, again.disk.min_file_size) == (5, 100, 100)
    again.close()


def test_reset_stores_a_setting(cache, open_cache):
    assert cache.reset("cull_limit", 3) == 3
    assert cache.cull_limit == 3
    assert cache.reset("cull_limit") == 3
    cache.reset("disk_min_file_size", 10)
    assert cache.disk.min_file_size == 10
    cache.close()
    assert cache.cull_limit == 3


def test_reset_reads_what_another_wrote(cache, open_cache):
    other = open_cache()
    other.reset("cull_limit", 7)
    assert cache.reset("cull_limit") == 7
    assert cache.cull_limit == 7


@pytest.mark.needs("one")
def test_reset_without_update_stays_here(cache, open_cache, backend):
    before = cache.cull_limit
    assert cache.reset("cull_limit", 77, update=False) == 77
    assert cache.cull_limit == 77
    assert cache.reset("cull_limit") == before


def test_unknown_settings_are_accepted(backend, directory, open_cache):
    cache = open_cache(size=5, no_such_setting="x")
    cache["a"] = 1
    assert cache["a"] == 1


@pytest.mark.needs("one")
def test_settings_are_assignable(cache):
    cache.size_limit = 123_456
    assert cache.size_limit == 123_456
    cache.cull_limit = 0
    assert cache.cull_limit == 0


def test_an_attribute_that_does_not_exist(cache):
    with pytest.raises((AttributeError, AssertionError)):
        _ = cache.no_such_thing


def test_directory_timeout_and_disk(cache, directory, backend):
    assert cache.directory == str(directory)
    assert cache.timeout == 60
    assert type(cache.disk) is backend.settings.get("disk", dolium.Disk)
    with pytest.raises(AttributeError):
        cache.directory = "elsewhere"


def test_a_disk_that_is_none(directory):
    for wrong in (dict, None, "disk", 5):
        with pytest.raises(ValueError, match="Disk"):
            dolium.Cache(directory, disk=wrong)
        with pytest.raises(ValueError, match="Disk"):
            dolium.FanoutCache(directory, disk=wrong)


# -- Statistics ------------------------------------------------------------------------------------


def test_stats_count_when_enabled(cache, backend):
    assert cache.stats(enable=True) == (0, 0)
    cache["a"] = 1
    for _ in range(3):
        cache["a"]
        cache.get("nobody")
    cache.get("a")
    cache.set("gone", 1, expire=-1)
    cache.get("gone")
    assert cache.stats(enable=False, reset=True) == (4, 4)
    cache["a"]
    assert cache.stats() == (1, 0)


def test_stats_are_shared(cache, open_cache):
    cache.stats(enable=True)
    other = open_cache()
    other["a"] = 1
    other["a"]
    other.get("b")
    other.close()
    assert cache.stats() == (1, 1)


def test_statistics_off_counts_in_memory_alone(cache):
    cache.stats(enable=False)
    cache["a"] = 1
    cache["a"]
    assert cache.stats() == (1, 0)


# -- Volume and check ------------------------------------------------------------------------------


def test_volume_grows_and_shrinks(cache):
    assert isinstance(cache.volume(), int)
    for n in range(50):  # so that every shard has its database
        cache[n] = 1
    empty = cache.volume()
    for n in range(20):
        cache[n] = os.urandom(30 * KIB).hex()
    full = cache.volume()
    assert full >= empty + 20 * 30 * KIB  # (JSONDisk halves hexadecimal digits)
    cache.clear()
    assert cache.volume() < empty + 10 * 30 * KIB


def value_files(directory):
    return sorted(path for path in directory.rglob("*.val"))


def test_check_finds_a_missing_file(backend, directory):
    cache = backend.open(directory)
    cache["large"] = os.urandom(60 * KIB).hex()
    cache["small"] = 1
    path = max(value_files(directory), key=lambda path: path.stat().st_size)
    path.unlink()
    found = [str(problem.message) for problem in cache.check()]
    assert any(path.name in message for message in found)
    assert cache.get("large", "missing") == "missing"
    assert cache.check(fix=True)
    cache.check(fix=True)  # the directory that the file left empty
    assert cache.check() == []
    assert "large" not in cache
    assert cache["small"] == 1
    cache.close()


def test_check_finds_a_file_of_the_wrong_size(backend, directory):
    cache = backend.open(directory)
    cache["large"] = os.urandom(60 * KIB).hex()
    path = max(value_files(directory), key=lambda path: path.stat().st_size)
    with path.open("ab") as file:
        file.write(b"more")
    found = [str(problem.message) for problem in cache.check()]
    assert any(path.name in message for message in found)
    assert cache.check(fix=True)
    assert cache.check() == []
    cache.close()


def test_check_finds_what_does_not_belong(backend, directory):
    cache = backend.open(directory)
    cache["a"] = 1
    place = directory if "one" in backend.able else directory / "000"
    (place / "ab" / "cd").mkdir(parents=True)
    stray = place / "ab" / "stray.val"
    stray.write_bytes(b"x")
    for path in (stray, place / "ab", place / "ab" / "cd"):
        os.utime(path, (1, 1))  # a fresh one may be just being written, or made for what will be
    found = cache.check()
    assert {problem.category for problem in found} == {dolium.UnknownFileWarning, dolium.EmptyDirWarning}
    assert any("stray.val" in str(problem.message) for problem in found)
    assert any("cd" in str(problem.message) for problem in found)
    cache.check(fix=True)
    cache.check(fix=True)  # the directory that the file left empty
    assert cache.check() == []
    assert not stray.exists()
    assert cache["a"] == 1
    cache.close()


@pytest.mark.needs("native")
def test_check_corrects_count_and_size(backend, directory):
    cache = backend.open(directory)
    for n in range(30):
        cache[n] = "x" * 40_000
    shards = getattr(cache, "_shards", [cache])
    for shard in shards:
        shard.reset("count", 1000)
        shard.reset("size", 1000)
    assert len(cache.check()) == 2 * len(shards)
    assert len(cache.check(fix=True)) == 2 * len(shards)
    assert cache.check() == []
    assert len(cache) == 30
    cache.close()


# -- Eviction --------------------------------------------------------------------------------------


def fill(cache, numbers, size=20 * KIB):
    for n in numbers:
        cache.set(n, os.urandom(size // 2).hex())


@pytest.mark.parametrize("policy", ["least-recently-stored", "least-recently-used", "least-frequently-used"])
def test_volume_stays_near_the_limit(backend, directory, policy):
    if backend.settings.get("cull_limit") == 0:
        return
    cache = backend.open(directory, eviction_policy=policy, size_limit=3_000 * KIB)
    fill(cache, range(400))
    assert cache.volume() < 3_600 * KIB
    assert 20 < len(cache) < 400
    assert 399 in cache
    assert cache.check() == []
    cache.close()


@pytest.mark.needs("one")
def test_policy_none_keeps_everything(backend, directory):
    cache = backend.open(directory, eviction_policy="none", size_limit=100 * KIB)
    fill(cache, range(30))
    assert len(cache) == 30
    assert cache.cull() == 0
    cache.close()


@pytest.mark.needs("one")
def test_cull_limit_zero_leaves_it_to_cull(backend, directory):
    cache = backend.open(
        directory, eviction_policy="least-recently-stored", size_limit=300 * KIB, cull_limit=0
    )
    fill(cache, range(100))
    assert len(cache) == 100
    removed = cache.cull()
    assert removed > 0
    assert len(cache) == 100 - removed
    assert cache.volume() <= 300 * KIB
    assert 99 in cache
    assert 0 not in cache
    cache.close()


@pytest.mark.needs("one")
def test_cull_removes_expired_entries_first(backend, directory):
    cache = backend.open(directory, eviction_policy="least-recently-stored", cull_limit=0)
    fill(cache, range(50))
    for n in range(40, 50):
        cache.touch(n, -1)
    assert cache.cull() == 10
    assert sorted(cache) == list(range(40))
    cache.close()


@pytest.mark.needs("one")
def test_least_recently_stored_goes_first(backend, directory):
    cache = backend.open(directory, eviction_policy="least-recently-stored", cull_limit=0, size_limit=10**9)
    fill(cache, range(60))
    fill(cache, range(20))
    cache.reset("size_limit", cache.volume() - 200 * KIB)
    assert cache.cull() > 0
    assert set(range(20)) <= set(cache)
    assert 20 not in cache
    cache.close()


@pytest.mark.needs("one")
def test_least_recently_used_goes_first(backend, directory):
    cache = backend.open(directory, eviction_policy="least-recently-used", cull_limit=0, size_limit=10**9)
    fill(cache, range(60))
    for n in range(20):
        assert n in cache
        cache[n]
    cache.reset("size_limit", cache.volume() - 200 * KIB)
    assert cache.cull() > 0
    assert set(range(20)) <= set(cache)
    assert 20 not in cache
    cache.close()


@pytest.mark.needs("one")
def test_least_frequently_used_goes_first(backend, directory):
    cache = backend.open(directory, eviction_policy="least-frequently-used", cull_limit=0, size_limit=10**9)
    fill(cache, range(60))
    for n in range(20):
        for _ in range(n % 3 + 1):
            cache[n]
    cache.reset("size_limit", cache.volume() - 200 * KIB)
    assert cache.cull() > 0
    assert set(range(20)) <= set(cache)
    assert len(cache) < 60
    cache.close()


def test_an_unknown_policy_is_refused(backend, directory):
    with pytest.raises((KeyError, ValueError)):
        backend.open(directory, eviction_policy="no-such-policy")["a"] = 1


# -- Closing, opening, copying ---------------------------------------------------------------------


def test_close_and_use_again(cache):
    cache["a"] = 1
    cache.close()
    assert cache["a"] == 1
    cache.close()
    cache.close()
    cache["b"] = 2
    assert sorted(cache) == ["a", "b"]


def test_with_closes(open_cache):
    with open_cache() as cache:
        cache["a"] = 1
        with cache as same:
            assert same is cache
    assert cache["a"] == 1


def test_two_objects_on_one_directory(cache, open_cache):
    other = open_cache()
    cache["a"] = 1
    assert other["a"] == 1
    other["a"] = 2
    assert cache["a"] == 2
    with other.transact():
        other["b"] = 1
        assert cache.get("b", "not yet") in ("not yet", 1)
    other.close()
    assert cache["b"] == 1


def test_pickled(cache, backend):
    cache["a"] = 1
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(cache, protocol))
        assert type(copy) is type(cache)
        assert copy.directory == cache.directory
        assert copy.timeout == cache.timeout
        assert type(copy.disk) is type(cache.disk)
        assert copy["a"] == 1
        copy.close()


@pytest.mark.needs("one")
def test_state_is_the_constructors_arguments(cache):
    assert cache.__getstate__() == (cache.directory, cache.timeout, type(cache.disk))


@pytest.mark.needs("sharded")
def test_state_of_shards_is_the_constructors_arguments(cache, backend):
    shards = backend.settings.get("shards", 8)
    assert cache.__getstate__() == (cache.directory, shards, cache.timeout, type(cache.disk))


def test_directories_of_every_kind(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_PLACE", str(tmp_path / "variable"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, expected in [
        (tmp_path / "path", "path"), (str(tmp_path / "deep" / "er"), "deep/er"), ("$CACHE_PLACE", "variable"),
        ("~/cache", "home/cache"),
    ]:  # fmt: skip
        cache = backend.open(given)
        cache["a"] = 1
        assert cache.directory == str(tmp_path / expected)
        assert (tmp_path / expected).is_dir()
        cache.close()


def test_a_number_is_a_directory(backend, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = backend.open(41)
    cache["a"] = 1
    assert cache.directory == str(tmp_path / "41")
    assert (tmp_path / "41").is_dir()
    cache.close()


def test_without_a_directory(backend):
    cache, other = backend.kind(**backend.settings), backend.kind(**backend.settings)
    assert cache.directory != other.directory
    cache["a"] = 1
    assert "a" not in other
    cache.close()
    other.close()


def test_a_file_in_the_way(backend, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        backend.open(tmp_path / "file" / "cache")["a"] = 1


# -- memoize ---------------------------------------------------------------------------------------


@pytest.mark.needs("any")
def test_memoize(cache):
    calls = []

    @cache.memoize()
    def double(x, y=0):
        calls.append((x, y))
        return x * 2 + y

    assert [double(2), double(2), double(3, y=1), double(3, y=1)] == [4, 4, 7, 7]
    assert calls == [(2, 0), (3, 1)]
    assert double.__name__ == "double"
    assert double.__wrapped__(5) == 10
    assert cache[double.__cache_key__(2)] == 4
    assert len(cache) == 2


@pytest.mark.needs("any")
def test_memoize_options(cache):
    @cache.memoize("name", typed=True, expire=1000, tag="t", ignore={1, "skip"})
    def first(x, ignored=None, skip=None):
        return x

    assert first(1, 5, skip=1) == 1
    assert first(1.0, 6) == 1.0
    assert type(first(1)) is int
    assert first.__cache_key__(1)[0] == "name"
    assert cache.evict("t") == 2

    with pytest.raises(TypeError):

        @cache.memoize
        def forgot():
            return 1


@pytest.mark.needs("any")
def test_memoize_keeps_none_and_recurses(cache):
    calls = []

    @cache.memoize(expire=0)
    def never_kept():
        calls.append(1)

    @cache.memoize()
    def fibonacci(n):
        calls.append(n)
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    @cache.memoize()
    def nothing():
        calls.append("nothing")

    assert fibonacci(30) == 832_040
    assert len(calls) == 31
    assert nothing() is nothing() is None
    never_kept()
    never_kept()
    assert len(calls) == 34


def test_threads_share_one_object(cache):
    errors = []

    def work(number):
        try:
            for n in range(20):
                cache.set(f"{number}-{n}", [number, n], retry=True)
                assert cache[f"{number}-{n}"] == [number, n]
                assert cache.pop(f"{number}-{n}", retry=True) == [number, n]
                cache.set(f"{number}-{n}", n, retry=True)
            cache.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(cache) == 120
