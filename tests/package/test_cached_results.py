"""What calls return: the same at a miss and a hit, whatever happens to the cache; modes; generators."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium.functions.modes import MODE
from helpers.children import run


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("not me")


class Unloadable:
    """Can be stored, and not read."""

    def __reduce__(self) -> Any:
        return _fail, ()


def _fail() -> None:
    raise RuntimeError("cannot be loaded")


class Text(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**63,
        1.5,
        "",
        "grün",
        "\udcff",
        b"",
        b"\0",
        (1, [2]),
        {"a": {1}},
        Text("t"),
        float("inf"),
        ["x" * 50_000],
        b"y" * 50_000,
    ],
    ids=lambda value: repr(value)[:15],
)
def test_a_miss_returns_what_a_hit_will_return(cache: Any, value: Any):
    f = cache.cached(version="1", key={"value": None})(lambda: value)
    missed, hit = f(), f()
    assert missed == hit == value
    assert type(missed) is type(hit) is type(value)
    assert f.info().hits == 1


def test_t18_each_call_returns_an_object_of_its_own(cache: Any):
    kept: list[Any] = []

    @cache.cached(version="1", key={"kept": None})
    def f() -> list[int]:
        kept.append([1])
        return kept[0]

    results = [f(), f(), f()]
    results[0].append(2)
    results[1].append(3)
    kept[0].append(4)
    assert f() == [1]
    assert len({id(result) for result in results}) == 3


def test_a_miss_returns_what_storing_makes_of_a_value(cache: Any):
    class Lossy:
        def __reduce__(self) -> Any:
            return str, ("lossy",)

    f = cache.cached(version="1", key=lambda: 0)(lambda a=0: Lossy())
    assert f() == f() == "lossy"


@pytest.mark.parametrize("value", [Unpicklable(), Unloadable()], ids=["unpicklable", "unloadable"])
def test_t21_what_cannot_be_stored_is_returned_with_one_warning(cache: Any, value: Any):
    f = cache.cached(version="1", name="mine", key={"value": None})(lambda a: value)
    with pytest.warns(dolium.UnstoredResultWarning, match=f"mine.*{type(value).__name__}"):
        assert f(1) is value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f(1) is value
        assert f(2) is value
    assert len(cache) == 0


def test_a_result_that_is_too_large_is_returned(tmp_path: Path):
    with dolium.Cache(tmp_path, size_limit=100_000) as cache:
        f = cache.cached(version="1")(lambda: b"x" * 200_000)
        with pytest.warns(dolium.ValueTooLargeWarning):
            assert len(f()) == len(f()) == 200_000
        assert len(cache) == 0


def test_a_read_only_cache_fails_no_call(tmp_path: Path):
    with dolium.Cache(tmp_path) as cache:
        cache.cached(version="1", name="f()")(lambda a: a)(1)
    with dolium.Cache(tmp_path, read_only=True) as cache:
        f = cache.cached(version="1", name="f()")(lambda a: a + 1)
        assert f(1) == 1
        with pytest.warns(dolium.UnstoredResultWarning, match="ReadOnlyError"):
            assert f(2) == 3


def test_a_cache_that_stays_locked_fails_no_call(tmp_path: Path):
    import sqlite3

    with dolium.Cache(tmp_path, timeout=0.05) as cache:
        cache["other"] = 1
        cache.close()
        with sqlite3.connect(tmp_path / "cache.db", isolation_level=None) as foreign:
            foreign.execute("BEGIN IMMEDIATE")
            f = cache.cached(version="1", expire=1000)(lambda: b"x" * 100_000)
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                assert len(f()) == 100_000
            foreign.execute("ROLLBACK")
        foreign.close()


@pytest.mark.parametrize("damage", ["x'df'", "x'df0205000001'", "x'ff'", "NULL", "5", "'text'"])
def test_a_damaged_result_is_a_miss(cache: Any, damage: str):
    f = cache.cached(version="1")(lambda: {"fresh"})
    f()
    cache._sql(f"UPDATE Cache SET value = {damage}")
    assert f() == f() == {"fresh"}
    assert f.info().hits == 1


def test_a_lost_file_of_a_result_is_a_miss(cache: Any):
    f = cache.cached(version="1")(lambda: ["x" * 100_000])
    f()
    (path,) = Path(cache.directory).rglob("*.val")
    path.unlink()
    assert f() == ["x" * 100_000]
    assert f.info().hits == 0


def test_a_value_that_is_no_result_is_a_miss(cache: Any):
    f = cache.cached(version="1")(lambda: 5)
    cache[f.key()] = 7
    assert f.entry() is None
    assert f() == f() == 5


def test_an_unsigned_result_of_others_is_not_loaded(tmp_path: Path):
    script = """
cache = dolium.Cache(sys.argv[1])
f = cache.cached(version="1", name="f()")(lambda: [os.getcwd])
f()
"""
    run(script, tmp_path, env={"DOLIUM_SIGNING_KEY": "the key of another user"})
    with dolium.Cache(tmp_path) as cache:
        f = cache.cached(version="1", name="f()")(lambda: ["computed"])
        with pytest.warns(dolium.UntrustedValueWarning):
            assert f() == ["computed"]
        assert f() == ["computed"]


# Modes


def test_t20_mode_only_lets_no_function_run(cache: Any):
    f = cache.cached(version="1")(lambda a: [a])
    f(1)
    with dolium.using("only"):
        assert f(1) == [1]
        with pytest.raises(dolium.NotCachedError, match=r"no result for \(2\)") as caught:
            f(2)
    assert caught.value.function == f.key(2)[0]
    assert caught.value.key == f.key(2)
    assert len(cache) == 1


def test_t20_mode_refresh_computes_and_replaces(cache: Any):
    results = iter(range(9))
    f = cache.cached(version="1", key={"results": None})(lambda: next(results))
    assert f() == 0
    with dolium.using("refresh"):
        assert (f(), f()) == (1, 2)
    assert f() == 2


def test_t20_mode_off_does_not_touch_the_cache(cache: Any):
    results = iter(range(9))
    f = cache.cached(version="1", key={"results": None})(lambda: next(results))
    with dolium.using("off"):
        assert (f(), f()) == (0, 1)
    assert len(cache) == 0
    f()
    with dolium.using("off"):
        assert f() == 3
    assert f() == 2


def test_mode_off_needs_no_key(cache: Any):
    f = cache.cached(version="1")(lambda a: a)
    with dolium.using("off"):
        assert f(marker := object()) is marker


def test_modes_nest_and_end_with_their_block(cache: Any):
    with suppress(RuntimeError), dolium.using("off"):
        with dolium.using("only"):
            assert MODE.get() == "only"
        assert MODE.get() == "off"
        raise RuntimeError
    assert MODE.get() == "normal"
    with pytest.raises(ValueError, match="'sometimes' is no mode"):
        dolium.using("sometimes")  # type: ignore[arg-type]


def test_a_mode_holds_for_its_thread_alone(cache: Any):
    seen: list[str] = []
    with dolium.using("only"):
        thread = threading.Thread(target=lambda: seen.append(MODE.get()))
        thread.start()
        thread.join()
    assert seen == ["normal"]


def test_the_environment_sets_the_mode_of_a_process(tmp_path: Path):
    script = """
cache = dolium.Cache(sys.argv[1])
f = cache.cached(version="1")(lambda: 5)
try:
    say(f())
except dolium.NotCachedError:
    say("refused")
with dolium.using("normal"):
    say(f())
"""
    said = run(script, tmp_path, env={"DOLIUM_MODE": "only"})
    assert said == ["refused", "5"]


def test_modes_hold_for_coroutines_and_generators(cache: Any):
    import asyncio

    @cache.cached(version="1")
    async def answer() -> int:
        return 5

    @cache.cached(version="1")
    def numbers() -> Iterator[int]:
        yield 5

    with dolium.using("only"):
        with pytest.raises(dolium.NotCachedError):
            asyncio.run(answer())
        with pytest.raises(dolium.NotCachedError):
            next(numbers())
    with dolium.using("off"):
        assert asyncio.run(answer()) == 5
        assert list(numbers()) == [5]
    assert len(cache) == 0
    with dolium.using("refresh"):
        assert asyncio.run(answer()) == 5
        assert list(numbers()) == [5]
    with dolium.using("only"):
        assert asyncio.run(answer()) == 5
        assert list(numbers()) == [5]


# Generators


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def numbers(cache: Any, made: list[int]) -> Any:
    @cache.cached(version="1", key={"made": None})
    def numbers(count: int) -> Iterator[Any]:
        for number in range(count):
            made.append(number)
            yield [number]
        return "the end"

    return numbers


def test_t19_items_come_as_they_are_made_and_are_kept_at_the_end(numbers: Any, made: list[int]):
    first = numbers(3)
    assert next(first) == [0]
    assert made == [0]
    assert list(first) == [[1], [2]]
    assert list(numbers(3)) == list(numbers(3)) == [[0], [1], [2]]
    assert made == [0, 1, 2]
    assert numbers.entry(3).value == [[0], [1], [2]]
    assert numbers.info().hits == 2


def test_t19_a_generator_that_is_broken_off_keeps_nothing(cache: Any, numbers: Any):
    first = numbers(3)
    next(first)
    first.close()
    assert list(first) == []
    assert len(cache) == 0
    second = numbers(3)
    next(second)
    del second
    gc.collect()
    assert len(cache) == 0
    assert list(numbers(3)) == [[0], [1], [2]]


def test_t19_nothing_can_be_sent_or_thrown_into_a_generator(numbers: Any):
    playing = numbers(3)
    assert playing.send(None) == [0]
    with pytest.raises(TypeError, match="sent into"):
        playing.send(5)
    with pytest.raises(TypeError, match="thrown into"):
        playing.throw(ValueError)


def test_what_a_generator_returns_is_kept(numbers: Any):
    def outer() -> Iterator[Any]:
        said.append((yield from numbers(2)))

    said: list[Any] = []
    for _ in range(2):
        assert list(outer()) == [[0], [1]]
    assert said == ["the end", "the end"]


def test_items_that_a_caller_changes_are_kept_as_they_came(numbers: Any):
    for item in numbers(2):
        item.append("changed")
    for item in numbers(2):
        item.append("changed again")
    assert list(numbers(2)) == [[0], [1]]


def test_a_generator_that_raises_keeps_nothing(cache: Any):
    @cache.cached(version="1")
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("down")

    for _ in range(2):
        playing = broken()
        assert next(playing) == 1
        with pytest.raises(OSError, match="down"):
            next(playing)
        assert list(playing) == []
    assert len(cache) == 0
    assert broken.info().failed == 0


def test_items_that_cannot_be_stored_are_returned(cache: Any):
    item = Unpicklable()
    f = cache.cached(version="1", key={"item": None})(_yielding(item))
    with pytest.warns(dolium.UnstoredResultWarning, match="not me"):
        assert list(f()) == [item]
    assert list(f()) == [item]


def _yielding(item: Any) -> Any:
    def f() -> Iterator[Any]:
        yield item

    return f


def test_two_threads_make_the_items_of_a_generator_once(cache: Any, made: list[int]):
    begun, go_on = threading.Event(), threading.Event()

    @cache.cached(version="1", key=lambda: 0)
    def slow() -> Iterator[int]:
        made.append(1)
        yield 1
        begun.set()
        go_on.wait(20)
        yield 2

    results: list[list[int]] = []
    threads = [threading.Thread(target=lambda: results.append(list(slow()))) for _ in range(5)]
    threads[0].start()
    begun.wait(20)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert results == [[1, 2]] * 5
    assert made == [1]


def test_a_waiter_takes_over_a_generator_that_is_dropped(cache: Any):
    @cache.cached(version="1")
    def two() -> Iterator[int]:
        yield 1
        yield 2

    first = two()
    next(first)
    results: list[list[int]] = []
    thread = threading.Thread(target=lambda: results.append(list(two())))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive(), "it waits for the first"
    del first
    gc.collect()
    thread.join(20)
    assert results == [[1, 2]]


def test_t19_asynchronous_generators_are_kept(cache: Any, made: list[int]):
    import asyncio

    @cache.cached(version="1", key={"made": None})
    async def numbers(count: int) -> AsyncIterator[Any]:
        for number in range(count):
            made.append(number)
            yield [number]

    async def main() -> None:
        first = numbers(2)
        assert await anext(first) == [0]
        assert made == [0]
        assert [item async for item in first] == [[1]]
        assert [item async for item in numbers(2)] == [[0], [1]]
        assert made == [0, 1]
        assert (await numbers.entry(2)).value == [[0], [1]]
        broken = numbers(3)
        await anext(broken)
        await broken.aclose()
        assert await numbers.entry(3) is None
        with pytest.raises(TypeError, match="sent into"):
            await numbers(3).asend(5)
        assert [item async for item in numbers(3)] == [[0], [1], [2]]

    asyncio.run(main())


def test_generator_methods_are_kept(cache: Any):
    class Source:
        def __fingerprint__(self) -> object:
            return 1

        @cache.cached(version="1")
        def items(self, count: int) -> Iterator[int]:
            yield from range(count)

    source = Source()
    assert list(source.items(3)) == list(Source.items(source, 3)) == [0, 1, 2]
    assert source.items.entry(3).value == [0, 1, 2]
    assert source.items.invalidate(3)


def test_a_forked_child_finds_results(cache: Any):
    f = cache.cached(version="1")(lambda a=0: os.getpid())
    mine = f()
    if not (child := os.fork()):
        os._exit(0 if f() == mine else 1)
    assert os.waitpid(child, 0)[1] == 0
