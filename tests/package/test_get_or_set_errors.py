"""`get_or_set(errors=)`: exceptions that are stored, raised again, and are no values."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dolium
import pytest
from helpers.children import PATIENCE, Child

LONG = 20 * PATIENCE
NOT_FOUND = {LookupError: 60}


@pytest.fixture(params=["Cache", "FanoutCache", "no tier", "JSONDisk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: dict[str, Callable[[], Any]] = {
        "Cache": lambda: dolium.Cache(tmp_path),
        "FanoutCache": lambda: dolium.FanoutCache(tmp_path),
        "no tier": lambda: dolium.Cache(tmp_path, hot_size=0),
        "JSONDisk": lambda: dolium.Cache(tmp_path, disk=dolium.JSONDisk),
    }
    with made[request.param]() as cache:
        yield cache


class Failing:
    """Raises what it was given, and counts its calls."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        raise self.error


class Odd(LookupError):
    """Does not come back equal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


def test_a_named_exception_is_stored_and_raised_again(cache: Any):
    fails = Failing(KeyError("no such page", 7))
    found = []
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            cache.get_or_set("key", fails, errors=NOT_FOUND)
        found.append(caught.value)
    assert fails.calls == 1
    assert [(type(error), error.args) for error in found] == [(KeyError, ("no such page", 7))] * 3
    assert len({id(error) for error in found}) == 3, "each caller has its own"


def test_a_stored_exception_meets_callers_without_errors(cache: Any):
    with pytest.raises(KeyError):
        cache.get_or_set("key", Failing(KeyError(1)), errors=NOT_FOUND)
    with pytest.raises(KeyError):
        cache.get_or_set("key", lambda: 1)


def test_a_stored_exception_is_no_value(cache: Any):
    with pytest.raises(KeyError):
        cache.get_or_set("key", Failing(KeyError(1)), errors=NOT_FOUND)
    assert cache.get("key", "none") == "none"
    assert cache.get_many(["key"]) == {}
    with pytest.raises(KeyError, match="key"):
        cache["key"]
    assert cache.check() == []


@pytest.mark.parametrize(
    "replace",
    [
        lambda cache: cache.set("key", 5),
        lambda cache: cache.add("key", 5),
        lambda cache: cache.set_many({"key": 5}),
        lambda cache: cache.add_many({"key": 5}),
        lambda cache: cache.incr("key", 5),
        lambda cache: cache.delete("key") and cache.get_or_set("key", lambda: 5),
    ],
    ids=["set", "add", "set_many", "add_many", "incr", "delete"],
)
def test_a_value_takes_the_place_of_an_exception(cache: Any, replace: Callable[[Any], Any]):
    with pytest.raises(KeyError):
        cache.get_or_set("key", Failing(KeyError(1)), errors=NOT_FOUND)
    assert replace(cache)
    assert cache["key"] == cache.get_or_set("key", lambda: 6, errors=NOT_FOUND) == 5


def test_pop_misses_a_stored_exception(cache: Any):
    with pytest.raises(KeyError):
        cache.get_or_set("key", Failing(KeyError(1)), errors=NOT_FOUND)
    assert cache.pop("key", "none") == "none"
    assert cache.get_or_set("key", lambda: 5) == 5


def test_each_type_has_its_lifetime(cache: Any, monkeypatch: pytest.MonkeyPatch):
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    errors = {KeyError: 10, LookupError: datetime.timedelta(minutes=1), OSError: dolium.Term(10, stale=99)}
    known = {"a": KeyError(1), "b": IndexError(2), "c": OSError(3)}
    for key, error in known.items():
        with pytest.raises(type(error)):
            cache.get_or_set(key, Failing(error), errors=errors)
    now[0] += 15
    assert cache.get_or_set("a", lambda: "value", errors=errors) == "value"
    with pytest.raises(IndexError):
        cache.get_or_set("b", lambda: "value", errors=errors)
    assert cache.get_or_set("c", lambda: "value", errors=errors) == "value", "none is stale"
    now[0] += 60
    assert cache.get_or_set("b", lambda: "value", errors=errors) == "value"


@pytest.mark.parametrize("error", [ValueError("other"), Odd(5)], ids=["unnamed", "unequal"])
def test_other_exceptions_are_not_stored(cache: Any, error: Exception):
    fails = Failing(error)
    for _ in range(2):
        with pytest.raises(type(error)):
            cache.get_or_set("key", fails, errors=NOT_FOUND)
    assert fails.calls == 2
    assert len(cache) == 0


def test_a_lifetime_of_zero_stores_no_exception(cache: Any):
    with pytest.raises(KeyError):
        cache.get_or_set("key", Failing(KeyError(1)), errors={KeyError: 0})
    assert len(cache) == 0


def test_an_exception_has_the_tag_of_the_entry(cache: Any):
    with pytest.raises(KeyError):
        cache.get_or_set("key", Failing(KeyError(1)), errors=NOT_FOUND, tag="pages")
    assert cache.evict("pages") == 1
    assert cache.get_or_set("key", lambda: 5) == 5


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({int: 1}, "errors: <class 'int'> is no class of exceptions"),
        ({KeyError: "1"}, "Term: fresh is '1'"),
    ],
)
def test_errors_that_make_no_sense_are_refused(cache: Any, errors: Any, message: str):
    with pytest.raises(TypeError, match=message):
        cache.get_or_set("key", lambda: 1, errors=errors)


def test_an_exception_whose_class_is_gone_is_a_miss(cache: Any, monkeypatch: pytest.MonkeyPatch):
    class Gone(Exception):
        __qualname__ = "Gone"

    monkeypatch.setitem(globals(), "Gone", Gone)
    with pytest.raises(Gone):
        cache.get_or_set("key", Failing(Gone(1)), errors={Gone: 60})
    monkeypatch.delitem(globals(), "Gone")
    assert cache.get_or_set("key", lambda: 5) == 5


def test_threads_share_a_stored_exception(cache: Any):
    calls = []

    def fail() -> None:
        calls.append(1)
        time.sleep(0.2)
        raise KeyError("no")

    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(cache.get_or_set, "key", fail, errors=NOT_FOUND) for _ in range(20)]
        assert {type(future.exception(LONG)) for future in futures} == {KeyError}
    assert len(calls) == 1, "those who come late find it stored"


def test_processes_share_a_stored_exception(tmp_path: Path):
    body = """
    cache = dolium.Cache(sys.argv[1])
    def fail():
        say("trying")
        hear()
        raise KeyError("no")
    try:
        cache.get_or_set("key", fail, errors={KeyError: 60})
    except KeyError as error:
        say("raised", error)
    """
    with Child(body, tmp_path) as first:
        first.line("trying")
        with Child(body.replace('say("trying")\n    hear()', 'say("again")'), tmp_path) as second:
            assert second.silent(0.3 * PATIENCE)
            first.tell()
            assert first.finish() == ["raised 'no'"]
            assert second.finish() == ["raised 'no'"]


def test_a_transaction_that_fails_forgets_its_exception(cache: Any):
    with pytest.raises(KeyError), cache.transact():
        cache.get_or_set("key", Failing(KeyError(1)), errors=NOT_FOUND)
    assert cache.get_or_set("key", lambda: 5) == 5


def test_a_read_only_cache_raises_what_it_cannot_store(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache, pytest.raises(KeyError):
        cache.get_or_set("stored", Failing(KeyError(1)), errors=NOT_FOUND)
    with dolium.Cache(tmp_path, read_only=True) as cache:
        for key in ("stored", "other"):
            with pytest.raises(KeyError):
                cache.get_or_set(key, Failing(KeyError(1)), errors=NOT_FOUND)


def test_a_large_exception_is_stored_in_a_file(cache: Any):
    fails = Failing(KeyError("x" * 100_000))
    for _ in range(2):
        with pytest.raises(KeyError, match="xxx"):
            cache.get_or_set("key", fails, errors=NOT_FOUND)
    assert fails.calls == 1
    assert cache.get("key", "none") == "none"
