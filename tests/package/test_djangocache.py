"""`DjangoCache` keeps what Django promises of every cache backend, and adds what dolium can do.

The first half goes through the promises of Django's manual; the second through tags, files, named caches,
memoizing, and what a site does with a backend: threads, requests, subclasses, settings.
"""

from __future__ import annotations

import asyncio
import copy
import datetime
import io
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "helpers.django_settings")

import django
import django.core.cache
import dolium
from django.core import signals
from django.core.cache import CacheHandler
from django.core.cache.backends.base import InvalidCacheBackendError
from django.test import Client, override_settings
from dolium import DjangoCache, FanoutCache

django.setup()


def configuration(directory: Path, **changes: Any) -> dict[str, Any]:
    """Settings of several aliases for one directory."""
    base = {"BACKEND": "dolium.DjangoCache", "LOCATION": str(directory), "SHARDS": 3, **changes}
    return {
        "default": base,
        "prefix": {**base, "KEY_PREFIX": "prefix"},
        "v2": {**base, "VERSION": 2},
        "custom": {**base, "KEY_FUNCTION": "helpers.django_settings.key_function", "KEY_PREFIX": "x"},
        "short": {**base, "TIMEOUT": 60},
        "forever": {**base, "TIMEOUT": None},
        "never": {**base, "TIMEOUT": 0},
    }


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[CacheHandler]:
    handler = CacheHandler(configuration(tmp_path / "site"))
    yield handler
    backend: Any = handler["default"]
    assert backend._cache.check() == []
    backend._cache.close()


@pytest.fixture
def cache(caches: CacheHandler) -> Any:
    return caches["default"]


# What Django promises: one key


def test_set_and_get(cache: Any):
    assert cache.get("key") is None
    assert cache.get("key", "default") == "default"
    cache.set("key", "value")
    assert cache.get("key", "default") == "value"
    cache.set("none", None)
    assert cache.get("none", "default") is None


VALUES = [
    "text",
    "ünï\r\ncødé",
    b"\x00bytes",
    zlib.compress(b"binary"),
    42,
    2**80,
    -1.5,
    True,
    None,
    [1, 2, {"a": (1, 2)}],
    {"set": {1, 2}},
    datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone.utc),
    "long" * 20_000,
    b"long" * 20_000,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:12])
def test_values_of_all_kinds_come_back(cache: Any, value: Any):
    for write in (cache.set, cache.add):
        cache.clear()
        write("key", value)
        found = cache.get("key")
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("key", ["ascii", "Iñtërnâtiônàlizætiøn", "x" * 300, "a b\nc", 5, (1, "a")], ids=str)
def test_keys_of_all_kinds_are_taken_without_a_warning(cache: Any, key: Any):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.set(key, "value")
        assert cache.get(key) == "value"
        assert cache.get_many([key]) == {key: "value"}


def test_add_sets_only_what_is_missing(cache: Any):
    assert cache.add("key", 1) is True
    assert cache.add("key", 2) is False
    assert cache.get("key") == 1


def test_delete_and_pop(cache: Any):
    cache.set("key", 1)
    assert cache.delete("key") is True
    assert cache.delete("key") is False
    assert cache.get("key") is None
    cache.set("key", 1)
    assert cache.pop("key") == 1
    assert cache.pop("key") is None
    assert cache.pop("key", 5) == 5


def test_has_key_and_in(cache: Any):
    cache.set("key", None)
    assert cache.has_key("key")
    assert "key" in cache
    assert not cache.has_key("other")
    assert "other" not in cache


def test_incr_and_decr(cache: Any):
    cache.set("answer", 41)
    assert cache.incr("answer") == 42
    assert cache.incr("answer", 10) == 52
    assert cache.decr("answer", 10) == 42
    assert cache.decr("answer") == 41
    assert cache.decr("answer", 50) == -9
    assert cache.incr("answer", -1) == -10
    assert cache.get("answer") == -10
    for method in (cache.incr, cache.decr):
        with pytest.raises(ValueError, match="Key ':1:missing' not found"):
            method("missing")
        with pytest.raises(ValueError, match="not found"):
            method("missing", -1)
    assert cache.incr("new", default=5) == 6


def test_get_or_set(cache: Any):
    assert cache.get_or_set("key", "first") == "first"
    assert cache.get_or_set("key", "second") == "first"
    assert cache.get_or_set("called", lambda: "value") == "value"
    assert cache.get_or_set("none", lambda: None) is None
    assert cache.get("none", "default") is None
    assert cache.get_or_set("key", "second", version=2) == "second"


def test_get_or_set_stores_named_exceptions(cache: Any):
    calls = []

    def fail() -> None:
        calls.append(1)
        raise LookupError("no such page")

    for _ in range(2):
        with pytest.raises(LookupError, match="no such page"):
            cache.get_or_set("key", fail, errors={LookupError: 60})
    assert calls == [1]
    assert cache.get("key") is None
    assert cache.get_or_set("key", lambda: 5, version=2, errors={LookupError: 60}) == 5
    cache.delete("key")
    assert cache.get_or_set("key", lambda: 6) == 6


# What Django promises: time


def test_timeouts(cache: Any):
    cache.set("soon", 1, timeout=0.5)
    cache.add("soon too", 1, 0.5)
    cache.set("whole", 1, timeout=60)
    cache.set("later", 1, timeout=60 * 60 * 24 * 30 + 1)  # which memcached would take for a date
    assert cache.get("soon") == cache.get("soon too") == 1
    time.sleep(0.6)
    assert cache.get("soon") is None
    assert not cache.has_key("soon too")
    assert cache.add("soon", 2)
    assert cache.get("whole") == cache.get("later") == 1


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_a_timeout_of_zero_or_less_is_over_at_once(cache: Any, timeout: float):
    cache.set("key", 1, timeout=timeout)
    assert cache.get("key") is None
    cache.set("key", 1)
    cache.set("key", 2, timeout=timeout)
    assert "key" not in cache
    assert cache.add("key", 3, timeout=timeout)
    assert cache.get("key") is None
    cache.set_many({"a": 1, "b": 2}, timeout=timeout)
    assert cache.get_many(["a", "b"]) == {}
    cache.set("key", 1)
    assert cache.touch("key", timeout=timeout)
    assert "key" not in cache


def test_a_timeout_of_none_is_for_ever(cache: Any):
    cache.set("set", 1, None)
    cache.add("add", 1, None)
    cache.set_many({"many": 1}, None)
    cache.set("touch", 1, 60)
    cache.touch("touch", None)
    for key in ("set", "add", "many", "touch"):
        assert cache.get(key, expire_time=True) == (1, None)


def test_the_default_timeout_is_the_setting(caches: CacheHandler, cache: Any):
    def remaining(alias: str) -> Any:
        backend: Any = caches[alias]
        backend.set("key", 1)
        return backend.get("key", expire_time=True)[1]

    assert 290 < remaining("default") - time.time() <= 300
    assert 50 < remaining("short") - time.time() <= 60
    assert remaining("forever") is None
    assert remaining("never") is None
    assert "key" not in cache


def test_touch(cache: Any):
    cache.set("key", 1, timeout=0.5)
    assert cache.touch("key", 60)
    time.sleep(0.6)
    assert cache.get("key") == 1
    assert cache.touch("key", timeout=None)
    assert not cache.touch("missing")
    assert cache.touch("key")
    assert 290 < cache.get("key", expire_time=True)[1] - time.time() <= 300


# What Django promises: versions and prefixes


def test_versions_are_apart(caches: CacheHandler, cache: Any):
    v2 = caches["v2"]
    cache.set("key", 1)
    assert cache.get("key", version=2) is None
    assert v2.get("key") is None
    v2.set("key", 2)
    assert [cache.get("key"), cache.get("key", version=2), v2.get("key", version=1)] == [1, 2, 1]
    assert cache.add("key", 3, version=3)
    assert not cache.add("key", 3, version=2)
    assert cache.incr("key", version=2) == 3
    assert cache.decr("key", 2, version=1) == -1
    assert cache.has_key("key", version=3)
    assert cache.touch("key", version=3)
    assert cache.delete("key", version=3)
    assert not cache.touch("key", version=3)
    cache.set_many({"a": 1, "b": 2}, version=2)
    assert cache.get_many(["a", "b"]) == {}
    assert v2.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    cache.delete_many(["a"], version=2)
    assert v2.get_many(["a", "b"]) == {"b": 2}
    assert cache.pop("b", version=2) == 2


@pytest.mark.parametrize("alias", ["default", "v2"])
def test_incr_version_and_decr_version(caches: CacheHandler, alias: str):
    cache = caches[alias]
    first = cache.version
    cache.set("key", 1)
    assert cache.incr_version("key") == first + 1
    assert cache.get("key") is None
    assert cache.get("key", version=first + 1) == 1
    assert cache.decr_version("key", version=first + 1) == first
    assert cache.get("key") == 1
    for method in (cache.incr_version, cache.decr_version):
        with pytest.raises(ValueError, match="not found"):
            method("missing")
    cache.set("none", None)
    assert cache.incr_version("none") == first + 1


def test_prefixes_and_key_functions_are_apart(caches: CacheHandler, cache: Any):
    for alias in ("default", "prefix", "custom"):
        caches[alias].set("key", alias)
    assert [caches[alias].get("key") for alias in ("default", "prefix", "custom")] == [
        "default",
        "prefix",
        "custom",
    ]
    assert set(cache._cache) == {":1:key", "prefix:1:key", "CUSTOM-x-1-key"}


# What Django promises: many keys


def test_get_many(cache: Any):
    cache.set_many({"a": 1, "b": None, "c": 3}, timeout=60)
    assert cache.get_many(["a", "b", "missing"]) == {"a": 1, "b": None}
    assert cache.get_many(iter(["c", "a"])) == {"a": 1, "c": 3}
    assert cache.get_many([]) == {}


def test_set_many_lists_what_was_not_set(cache: Any):
    assert cache.set_many({"a": 1, "b": 2}) == []
    assert cache.set_many({}) == []
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
    assert 290 < cache.get("b", expire_time=True)[1] - time.time() <= 300


def test_set_many_names_a_value_that_is_larger_than_the_cache(tmp_path: Path):
    backend = DjangoCache(str(tmp_path), {"SHARDS": 2, "OPTIONS": {"size_limit": 200_000}})
    with pytest.warns(dolium.ValueTooLargeWarning):
        assert backend.set_many({"small": 1, "large": b"x" * 500_000}) == ["large"]
    assert backend.get("small") == 1
    backend._cache.close()


def test_delete_many_and_clear(cache: Any):
    cache.set_many(dict.fromkeys("abcd", 1))
    assert cache.delete_many(iter("abx")) is None
    assert sorted(cache.get_many("abcd")) == ["c", "d"]
    assert cache.clear() == 2
    assert cache.get_many("abcd") == {}


# What Django promises: failures, responses, requests


class Unpicklable:
    def __getstate__(self) -> None:
        raise pickle.PickleError("not this one")


def test_what_cannot_be_stored_raises_and_changes_nothing(cache: Any):
    cache.set("key", "old")
    for write in (cache.set, cache.add):
        with pytest.raises(pickle.PickleError):
            write("key" if write == cache.set else "other", Unpicklable())
    with pytest.raises(pickle.PickleError):
        cache.set_many({"a": 1, "b": Unpicklable()})
    assert cache.get("key") == "old"
    assert "other" not in cache


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    """Django's own `caches`, set to dolium."""
    with override_settings(CACHES=configuration(tmp_path / "site")):
        yield django.core.cache.caches["default"]
        django.core.cache.caches["default"]._cache.close()


def test_pages_and_fragments_are_cached(site: Any):
    client = Client()
    first = client.get("/cached")
    assert client.get("/cached").content == first.content
    assert client.get("/cached?other").content != first.content
    assert client.get("/plain").content != client.get("/plain").content
    with override_settings(
        MIDDLEWARE=[
            "django.middleware.cache.UpdateCacheMiddleware",
            "django.middleware.cache.FetchFromCacheMiddleware",
        ]
    ):
        assert Client().get("/plain").content == Client().get("/plain").content
    from django.template import engines

    template = engines["django"].from_string("{% load cache %}{% cache 60 name %}{{ x }}{% endcache %}")
    assert template.render({"x": 1}) == template.render({"x": 2}) == "1"


def test_close_after_each_request_keeps_the_cache_open(site: Any):
    site.set("key", 1)
    descriptors = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for _ in range(1_000):
        signals.request_finished.send(sender=None)
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == len(descriptors)  # all are still open
    site.close(some="keyword")
    assert site.get("key") == 1
    assert site.deque("d") is site.deque("d")


def test_a_thread_has_its_own_object_for_the_same_cache(caches: CacheHandler, cache: Any):
    found: list[Any] = []

    def work(number: int) -> None:
        backend = caches["default"]
        backend.set(number, number)
        backend.incr("count")
        found.append(backend)
        backend.close()

    cache.set("count", 0)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(backend) for backend in [cache, *found]}) == 9
    assert cache.get("count") == 8
    assert cache.get_many(range(8)) == {number: number for number in range(8)}


def test_asynchronous_methods(cache: Any):
    async def main() -> None:
        await cache.aset("key", 1, timeout=60)
        assert await cache.aget("key") == 1
        assert await cache.aget("missing", "default") == "default"
        assert await cache.aadd("key", 2) is False
        assert await cache.aincr("key") == 2
        assert await cache.adecr("key") == 1
        with pytest.raises(ValueError, match="not found"):
            await cache.aincr("missing")
        assert await cache.atouch("key", 60) is True
        assert await cache.ahas_key("key") is True
        assert await cache.aget_or_set("other", lambda: 3) == 3
        assert await cache.aset_many({"a": 1, "b": 2}) == []
        assert await cache.aget_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert await cache.adelete_many(["a"]) is None
        assert await cache.aincr_version("b") == 2
        assert await cache.adecr_version("b", version=2) == 1
        assert await cache.adelete("b") is True
        await cache.aclear()
        assert await cache.aget("key") is None
        await cache.aclose()

    asyncio.run(main())


# What dolium adds


def test_files_as_values(cache: Any):
    data = b"file" * 20_000
    assert cache.set("file", io.BytesIO(data), read=True)
    assert not cache.add("file", io.BytesIO(b""), read=True)
    for reader in (cache.read("file"), cache.get("file", read=True)):
        with reader:
            assert reader.read() == data
    assert cache.get("file") == data
    with pytest.raises(KeyError):
        cache.read("missing")
    with pytest.raises(KeyError):
        cache.read("file", version=2)


def test_tags(cache: Any):
    cache.create_tag_index()
    cache.set("a", 1, tag="red")
    cache.add("b", 2, tag="red")
    cache.set_many({"c": 3, "d": 4}, tag="blue")
    assert cache.get("a", tag=True) == (1, "red")
    assert cache.pop("b", tag=True) == (2, "red")
    assert cache.evict("red") == 1
    assert cache.evict("blue") == 2
    assert "a" not in cache
    cache.drop_tag_index()


def test_counts_and_sweeps(cache: Any):
    assert cache.stats() == (0, 0)
    cache.set("a", 1)
    cache.get("a")
    cache.get("b")
    assert cache.stats(enable=False, reset=True) == (1, 1)
    assert cache.stats() == (0, 0)
    cache.set("old", 1, timeout=-1)
    assert cache.expire() in (0, 1)  # writing may have removed it already
    assert cache.cull() == 0
    assert cache.get("a") == 1


def test_named_caches_deques_and_indexes(cache: Any):
    cache.cache("one")["key"] = 1
    assert type(cache.cache("one")) is dolium.Cache
    assert cache.cache("one") is cache.cache("one")
    deque = cache.deque("two/deep", maxlen=2)
    deque.extend("abc")
    assert list(deque) == ["b", "c"]
    assert deque.directory == os.path.join(cache.directory, "deque", "two", "deep")
    index = cache.index("three")
    index["key"] = 1
    assert index.cache.eviction_policy == deque.cache.eviction_policy == "none"
    cache.clear()
    assert cache.cache("one")["key"] == index["key"] == 1


def test_memoize(cache: Any):
    calls = []

    @cache.memoize(name="f", timeout=60, tag="t", ignore={"note"})
    def function(number: int, note: str = "") -> int:
        calls.append(number)
        return number + 1

    assert [function(1), function(1, "x"), function(2)] == [2, 2, 3]
    assert calls == [1, 2]
    assert function.__cache_key__(1) == ("f", 1, None)
    assert cache.get(("f", 1, None), tag=True) == (2, "t")
    assert cache._cache[":1:('f', 1, None)"] == 2
    assert function.invalidate(1)
    assert function.refresh(2) == 3
    assert function(1) == 2
    assert calls == [1, 2, 2, 1]
    with pytest.raises(TypeError, match="write @"):
        cache.memoize(function)


def test_memoize_with_versions_and_timeouts(cache: Any):
    calls = []

    def memoized(**options: Any) -> Any:
        @cache.memoize(name="f", **options)
        def function() -> int:
            calls.append(options)
            return len(calls)

        return function

    assert memoized(timeout=0)() != memoized(timeout=-1)()
    assert memoized(version=2)() == memoized(version=2)() == 3
    assert memoized()() == 4
    assert 290 < cache.get(("f", None), expire_time=True)[1] - time.time() <= 300
    assert memoized(timeout=None, version=3)() == 5
    assert cache.get(("f", None), version=3, expire_time=True) == (5, None)


def test_memoize_of_a_coroutine_function(cache: Any):
    @cache.memoize(name="f")
    async def function(number: int) -> int:
        await asyncio.sleep(0.01)
        return number + 1

    async def main() -> None:
        assert await asyncio.gather(function(1), function(1)) == [2, 2]
        assert await function.invalidate(1)

    asyncio.run(main())


# Settings, subclasses, names


def test_settings_reach_the_cache(tmp_path: Path):
    options = {"size_limit": 2**20, "cull_limit": 3, "MAX_ENTRIES": 500, "disk_min_file_size": 0}
    handler = CacheHandler(configuration(tmp_path, DATABASE_TIMEOUT=0.5, OPTIONS=options))
    backend: Any = handler["default"]
    assert backend._cache.cull_limit == 3
    assert backend._cache.timeout == 0.5
    assert len(backend._cache._shards) == 3
    assert backend.directory == backend._directory == str(tmp_path)
    backend._cache.close()


def test_directory_stands_in_for_location(tmp_path: Path):
    backend = DjangoCache("", {"DIRECTORY": str(tmp_path / "here")})
    assert backend.directory == str(tmp_path / "here")
    backend._cache.close()


def test_a_subclass_may_exchange_the_cache(tmp_path: Path):
    class Recreated(DjangoCache):
        def recreate(self) -> None:
            self._cache.close()
            self._cache = FanoutCache(str(tmp_path / "new"), 2, 0.01)

    backend = Recreated(str(tmp_path / "old"), {"SHARDS": 2})
    backend.set("key", 1)
    backend.recreate()
    assert backend.get("key") is None
    assert backend.directory == str(tmp_path / "new")
    backend.set("key", 2)
    backend._cache.close()
    assert DjangoCache(str(tmp_path / "old"), {"SHARDS": 2}).get("key") == 1


def test_contents_outlive_the_object(caches: CacheHandler, cache: Any):
    cache.set("key", [1])
    again = CacheHandler(copy.deepcopy(caches.settings))["default"]
    assert again is not cache
    assert again.get("key") == [1]


def python(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_importing_dolium_does_not_import_django():
    assert python("import dolium, sys; print('django' in sys.modules)") == "False\n"
    program = "import sys; sys.modules['django'] = None; import dolium; print(hasattr(dolium, 'Cache'))"
    assert python(program) == "True\n"


def test_settings_written_for_diskcache_find_it(tmp_path: Path):
    program = f"""
import dolium
dolium.install_as_diskcache()
from django.core.cache import CacheHandler
settings = {{'BACKEND': 'diskcache.DjangoCache', 'LOCATION': {str(tmp_path)!r}}}
backend = CacheHandler({{'default': settings}})['default']
backend.set('key', 1)
print(type(backend) is dolium.DjangoCache, backend.get('key'))
"""
    assert python(program) == "True 1\n"


def test_a_misspelt_backend_is_djangos_error(tmp_path: Path):
    with pytest.raises(InvalidCacheBackendError):
        CacheHandler(configuration(tmp_path, BACKEND="dolium.DjangoCash"))["default"]
