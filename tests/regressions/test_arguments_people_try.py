"""Arguments that people try are understood, or refused in words that say what to write."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import dolium
import pytest

HOUR = timedelta(hours=1)


def expires_in(cache: Any, key: Any) -> float:
    return cache.get(key, expire_time=True)[1] - time.time()


def heard(action: Any) -> list[str]:
    """What an action warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(warning.message) for warning in caught]


# Times


@pytest.mark.parametrize("make", [dolium.Cache, dolium.FanoutCache])
def test_a_timedelta_is_a_time_wherever_seconds_are(tmp_path: Path, make: Any) -> None:
    with make(tmp_path, timeout=timedelta(milliseconds=1500)) as cache:
        assert cache.timeout == 1.5
        cache.set("set", 1, expire=HOUR)
        cache.add("add", 1, expire=HOUR)
        cache.set("touch", 1)
        cache.touch("touch", HOUR)
        cache.incr("incr", expire=HOUR)
        cache.decr("decr", expire=HOUR)
        cache.set_many({"set_many": 1}, expire=HOUR)
        cache.add_many({"add_many": 1}, expire=HOUR)
        for key in cache:
            assert 3500 < expires_in(cache, key) <= 3600, key
        assert len(cache) == 7
        assert cache.get("set", max_age=HOUR) == 1
        assert cache.get("set", max_age=timedelta(seconds=-1)) is None


def test_a_queue_takes_a_timedelta(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        assert 3500 < expires_in(cache, cache.push("x", expire=HOUR)) <= 3600


def test_memoizing_takes_a_timedelta(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        for decorate in (cache.memoize(expire=HOUR), dolium.memoize_stampede(cache, HOUR, name="other")):
            function = decorate(abs)
            assert function(-1) == function(-1) == 1
            assert 3500 < expires_in(cache, function.__cache_key__(-1)) <= 3600
        assert cache.memoize(expire=timedelta(0))(len)("abc") == 3
        assert len(cache) == 2


@pytest.mark.parametrize("kind", [dolium.Lock, dolium.RLock, dolium.BoundedSemaphore])
def test_recipes_take_a_timedelta(tmp_path: Path, kind: Any) -> None:
    with dolium.Cache(tmp_path) as cache:
        with kind(cache, "held", expire=HOUR):
            assert 3500 < expires_in(cache, "held") <= 3600
        average = dolium.Averager(cache, "average", expire=HOUR)
        average.add(1)
        assert 3500 < expires_in(cache, "average") <= 3600

        @dolium.throttle(cache, 1, timedelta(seconds=30), name="calls", expire=HOUR, sleep_func=pytest.fail)
        def call() -> int:
            return 1

        assert call() == 1
        assert 3500 < expires_in(cache, "calls") <= 3600

        @dolium.barrier(cache, kind, name="turn", expire=HOUR)
        def turn() -> float:
            return expires_in(cache, "turn")

        assert 3500 < turn() <= 3600


def test_django_takes_a_timedelta(tmp_path: Path) -> None:
    pytest.importorskip("django")
    backend = dolium.DjangoCache(
        str(tmp_path),
        {"TIMEOUT": timedelta(minutes=10), "DATABASE_TIMEOUT": timedelta(seconds=2), "SHARDS": 1},
    )
    try:
        assert backend.default_timeout == 600
        assert backend._cache.timeout == 2
        backend.set("default", 1)
        backend.set("hour", 1, timeout=HOUR)
        backend.set("over", 1, timeout=timedelta(0))
        assert backend.memoize(timeout=HOUR)(abs)(-1) == 1

        def left(key: str) -> float:
            return backend.get(key, expire_time=True)[1] - time.time()

        assert 500 < left("default") <= 600 < 3500 < left("hour") <= 3600
        assert backend.get("over") is None
    finally:
        backend._cache.close()


def test_what_is_no_time_is_refused_in_words(tmp_path: Path) -> None:
    with (
        dolium.Cache(tmp_path) as cache,
        pytest.raises(TypeError, match=r"seconds.*timedelta.*not str"),
    ):
        cache.set("a", 1, expire="1 hour")


# Settings


@pytest.mark.parametrize(
    ("text", "size"),
    [("2 GiB", 2**31), ("500 MB", 500_000_000), ("1GB", 10**9), ("1.5 kib", 1536), ("4096", 4096)],
)
@pytest.mark.parametrize("make", [dolium.Cache, dolium.FanoutCache])
def test_a_size_may_have_a_unit(tmp_path: Path, make: Any, text: str, size: int) -> None:
    with make(tmp_path, size_limit=text, **({"shards": 4} if make is dolium.FanoutCache else {})) as cache:
        assert cache.size_limit == size
        cache.size_limit = "10 kB"
        assert cache.size_limit == 10_000
        assert cache.reset("size_limit", "1 KiB") == 1024


@pytest.mark.parametrize("wrong", ["", "much", "GB", "-1", "1 GBit", "inf", "1,5 GB", b"5", float("nan")])
@pytest.mark.parametrize("make", [dolium.Cache, dolium.FanoutCache])
def test_no_other_text_is_a_size(tmp_path: Path, make: Any, wrong: Any) -> None:
    with pytest.raises(ValueError, match="size_limit cannot be") as refused:
        make(tmp_path / "new", size_limit=wrong)
    assert isinstance(refused.value, dolium.DoliumError)
    assert "Text(" not in str(refused.value)
    assert not (tmp_path / "new").exists(), "what is wrong is refused before anything is made"


def test_settings_that_are_numbers_take_texts_of_numbers(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path, cull_limit="7", disk_min_file_size="1 KiB") as cache:
        assert (cache.cull_limit, cache.disk_min_file_size) == (7, 1024)
        with pytest.raises(ValueError, match="cull_limit cannot be 'ten'; write a number"):
            cache.reset("cull_limit", "ten")
        with pytest.raises(TypeError, match="size_limit must be None"):
            cache.reset("size_limit", [1])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("size_limt", "size_limit"),
        ("SIZE_LIMIT", "size_limit"),
        ("MAX_ENTRIES", "size_limit"),
        ("evictionpolicy", "eviction_policy"),
        ("readonly", "read_only"),
        ("mine", None),
    ],
)
def test_an_unknown_setting_warns_once_with_the_one_meant(
    tmp_path: Path, name: str, meant: str | None
) -> None:
    def open_twice() -> None:
        for _ in range(2):
            with dolium.Cache(tmp_path, **{name: 5}) as cache:
                assert getattr(cache, name) == 5, "it is stored, as in diskcache"

    (message,) = heard(open_twice)
    assert f"no setting '{name}'" in message
    assert str(tmp_path) in message
    assert (f"do you mean '{meant}'?" in message) == (meant is not None)


def test_known_settings_warn_of_nothing(tmp_path: Path) -> None:
    settings = {**dolium.DEFAULT_SETTINGS, "hot_size": 0, "count": 3, "disk_compress_level": 2}

    def work() -> None:
        dolium.Cache(tmp_path, disk=dolium.JSONDisk, **settings).close()

    assert heard(work) == []


def test_an_unknown_setting_of_a_fanout_cache_warns_once(tmp_path: Path) -> None:
    assert len(heard(lambda: dolium.FanoutCache(tmp_path, shards=4, cul_limit=3).close())) == 1


def test_reset_of_an_unknown_setting_warns_or_refuses(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        (message,) = heard(lambda: cache.reset("cull_limits", 5))
        assert "do you mean 'cull_limit'?" in message
        assert heard(lambda: cache.reset("cull_limits", 6)) == []
        with pytest.raises(ValueError, match="no setting 'statistic'; do you mean 'statistics'"):
            cache.reset("statistic")


def test_django_options_warn_alike(tmp_path: Path) -> None:
    pytest.importorskip("django")
    options = {"MAX_ENTRIES": 1000, "size_limt": 5}

    def work() -> None:
        dolium.DjangoCache(str(tmp_path), {"OPTIONS": options})._cache.close()

    messages = heard(work)
    assert len(messages) == 2
    assert all("do you mean 'size_limit'?" in message for message in messages)


def test_a_policy_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="eviction_policy cannot be 'lru'; write 'none', 'least-recently-stored'"
    ):
        dolium.Cache(tmp_path, eviction_policy="lru")
    with pytest.raises(ValueError, match="eviction_policy cannot be None"):
        dolium.Cache(tmp_path, eviction_policy=None)
    with pytest.raises(ValueError, match="trust must be 'signed', 'all' or 'none', not 'everyone'"):
        dolium.Cache(tmp_path, trust="everyone")


def test_policies_of_ones_own_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "does not run eviction policies of your own"
    table = dolium.EVICTION_POLICY
    own = {"init": None, "get": None, "cull": "SELECT {fields} FROM Cache ORDER BY size LIMIT ?"}
    with pytest.raises(TypeError, match=sentence):
        table["largest-first"] = own
    with pytest.raises(TypeError, match=sentence):
        table.update(largest=own)
    with pytest.raises(TypeError, match=sentence):
        table["least-recently-stored"]["cull"] = own["cull"]
    for copied in (copy.deepcopy(table), pickle.loads(pickle.dumps(table)), dict(table)):
        copied["largest-first"] = own
    assert sorted(table) == ["least-frequently-used", "least-recently-stored", "least-recently-used", "none"]

    class Own(dolium.Cache):
        EVICTION_POLICY: ClassVar[Any] = {"largest-first": own}

    with pytest.raises(TypeError, match=sentence):
        Own(tmp_path)
    monkeypatch.setattr("dolium.core.EVICTION_POLICY", {"largest-first": own})
    with pytest.raises(TypeError, match=sentence):
        dolium.Cache(tmp_path)


# Decorators


def test_a_decorator_without_brackets_says_what_to_write(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        decorators = [
            (cache.memoize, r"write @cache\.memoize\(\)"),
            (
                lambda function: dolium.memoize_stampede(cache, function),
                r"write @memoize_stampede\(cache, expire\)",
            ),
            (
                lambda function: dolium.throttle(cache, 1, 1, function),
                r"write @throttle\(cache, count, seconds\)",
            ),
            (lambda function: dolium.barrier(cache, dolium.Lock, function), r"write @barrier\(cache, Lock\)"),
            (dolium.Index.fromcache(cache).memoize, r"write @cache\.memoize\(\)"),
        ]
        for decorate, words in decorators:
            with pytest.raises(TypeError, match=words):
                decorate(len)


# Keys and values


@pytest.mark.parametrize("disk", [dolium.Disk, dolium.JSONDisk])
def test_what_cannot_be_pickled_names_its_key(tmp_path: Path, disk: Any) -> None:
    with dolium.Cache(tmp_path, disk=disk) as cache:
        for value in (lambda: 1, threading.Lock()):
            stores = [
                lambda value=value: cache.set("the key", value),
                lambda value=value: cache.add("the key", value),
                lambda value=value: cache.set_many({"the key": value}),
                lambda value=value: cache.__setitem__("the key", value),
            ]
            for store in stores:
                with pytest.raises(
                    dolium.UnpicklableError, match="value of key 'the key' cannot be"
                ) as refused:
                    store()
                assert isinstance(refused.value, type(refused.value.__cause__))
                assert isinstance(refused.value, dolium.DoliumError)
            with pytest.raises(dolium.UnpicklableError, match="the value cannot be stored"):
                cache.push(value)
        with pytest.raises(dolium.UnpicklableError, match=r"the key <function .* cannot be stored"):
            cache.get(lambda: 1)
        assert len(cache) == 0


def test_an_error_of_the_objects_own_comes_through(tmp_path: Path) -> None:
    class Broken:
        def __reduce__(self) -> Any:
            raise LookupError("mine")

    with dolium.Cache(tmp_path) as cache, pytest.raises(LookupError, match=r"^mine$"):
        cache.set("a", Broken())


def test_what_cannot_be_added_to_names_its_key(tmp_path: Path) -> None:
    for disk in (dolium.Disk, dolium.JSONDisk):
        with dolium.Cache(tmp_path / disk.__name__, disk=disk) as cache:
            cache["text"] = "x"
            with pytest.raises(
                TypeError, match=r"value of key 'text' is of type .*; only an int or a float"
            ) as refused:
                cache.incr("text")
            assert isinstance(refused.value, dolium.DoliumError)


def test_messages_about_arguments_name_public_classes(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache:
        for call in (cache.get, lambda: cache.set("a", 1, ttl=5), cache.pop, cache.touch):
            with pytest.raises(TypeError, match=r"Cache\.\w+\(\)") as refused:
                call()
            assert "Store" not in str(refused.value)
        with pytest.raises(TypeError, match="the tag must be None, an int, float, str or bytes, not list"):
            cache.set("a", 1, tag=[])
        with pytest.raises(KeyError, match="side must be 'front' or 'back', not 'left'"):
            cache.push("a", side="left")


# Directories


def test_a_file_in_place_of_the_directory_is_called_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    words = f"{file} is a file, and a cache needs a directory"
    for make in (dolium.Cache, dolium.FanoutCache):
        for options in ({}, {"read_only": True}):
            with pytest.raises(OSError, match=words) as refused:
                make(file, **options)
            assert refused.value.errno in (errno.EEXIST, errno.ENOTDIR)
            assert refused.value.filename == str(file)
            assert "Path(" not in str(refused.value)
        # It may be a directory before the first write, which is when it is needed.
        with make(file / "below") as cache, pytest.raises(OSError, match=words):
            cache.set("a", 1, retry=True)


def test_a_directory_that_is_missing_is_enoent(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file or directory") as refused:
        dolium.Cache(tmp_path / "none", read_only=True)
    assert refused.value.errno == errno.ENOENT
    assert refused.value.filename == str(tmp_path / "none")
    assert isinstance(refused.value, dolium.StorageError)


DENIED = """
import json, os, sys, dolium, warnings
warnings.simplefilter("ignore")
path, action = sys.argv[1:]
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    cache = dolium.Cache(path)
    cache.set("a", 1) if action == "set" else cache.get("a")
except OSError as error:
    print(json.dumps([type(error).__name__, error.errno, str(error), isinstance(error, PermissionError)]))
"""


@pytest.mark.parametrize(
    ("action", "what", "mode"), [("set", ".", 0o555), ("get", "cache.db", 0), ("set", "cache.db", 0o444)]
)
def test_a_missing_right_is_eacces_with_owner_and_mode(action: str, what: str, mode: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="dolium-tests-") as place:
        directory = Path(place) / "cache"
        with dolium.Cache(directory) as cache:
            cache["a"] = 1
        os.chmod(place, 0o755)
        os.chmod(directory, 0o777)
        for file in directory.iterdir():
            file.chmod(0o666)
        os.chmod(directory / what, mode)
        run = subprocess.run(
            [sys.executable, "-c", DENIED, str(directory), action], capture_output=True, text=True, check=True
        )
        os.chmod(directory, 0o700)
    kind, number, message, is_permission_error = json.loads(run.stdout)
    assert (kind, number, is_permission_error) == ("AccessDeniedError", errno.EACCES, True), message
    assert f"belongs to user {os.geteuid()} and group {os.getegid()} and has mode {mode:04o}" in message
    assert str(directory) in message
    assert "read-only" not in message
