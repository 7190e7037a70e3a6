"""Memoized functions: the same keys as diskcache, every kind of cache, coroutine functions too."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import dolium
import pytest
from dolium.core import args_to_key, full_name
from helpers.names import named
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(params=["Cache", "FanoutCache", "Index"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "Index":
        index = dolium.Index(str(tmp_path))
        yield index
        index.cache.close()
    else:
        with getattr(dolium, request.param)(str(tmp_path)) as cache:
            yield cache


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Any]:
    with dolium.Cache(str(tmp_path)) as cache:
        yield cache


class Counted:
    """A function of anything that notes how it is called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return len(self.calls)


# Keys


def test_full_name_is_module_and_qualified_name():
    assert full_name(Counted.__call__) == f"{__name__}.Counted.__call__"
    assert full_name(os.path.join) == "posixpath.join"


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (((), {}, False, ()), ("f", None)),
        (((1, "a"), {}, False, ()), ("f", 1, "a", None)),
        (((1,), {"b": 2, "a": 3}, False, ()), ("f", 1, None, "a", 3, "b", 2)),
        (((1,), {"b": 2.5}, True, ()), ("f", 1, None, "b", 2.5, int, float)),
        (((1, 2, 3), {}, False, {0, 2}), ("f", 2, None)),
        (((1, 2), {"a": 3}, True, {0, "a"}), ("f", 2, None, int)),
        (((1, 2), {"a": 3}, False, [1]), ("f", 1, None, "a", 3)),
        (((None,), {}, True, ()), ("f", None, None, type(None))),
    ],
)
def test_args_to_key_has_the_layout_of_diskcache(arguments: Any, key: tuple[Any, ...]):
    assert args_to_key(("f",), *arguments) == key


ARGUMENTS = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.booleans())


@given(
    args=st.lists(ARGUMENTS, max_size=4).map(tuple),
    kwargs=st.dictionaries(st.sampled_from("abcd"), ARGUMENTS),
    typed=st.booleans(),
    ignore=st.sets(st.integers(0, 4) | st.sampled_from("abcd")),
)
def test_args_to_key_makes_the_keys_of_diskcache(args: Any, kwargs: Any, typed: bool, ignore: Any):
    theirs = pytest.importorskip("diskcache.core").args_to_key
    mine = args_to_key(("f",), args, kwargs, typed, ignore)
    other = theirs(("f",), args, kwargs, typed, ignore)
    assert mine == other
    assert [type(part) for part in mine] == [type(part) for part in other]


def test_results_are_shared_with_diskcache_both_ways(plain: Any):
    program = f"""
        import {{package}}
        with {{package}}.Cache({plain.directory!r}) as cache:
            @cache.memoize(name="shared")
            def shared(number, unit="s"):
                print("computing")
                return [number, unit]
            assert shared(3) == [3, "s"]
            assert shared(4, unit="h") == [4, "h"]
    """

    def run(package: str) -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        code = textwrap.dedent(program.format(package=package))
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
        ).stdout

    for first, second in [("dolium", "diskcache"), ("diskcache", "dolium")]:
        plain.clear()
        plain.close()
        assert run(first) == "computing\n" * 2
        assert run(second) == ""


# Functions


def test_a_result_is_computed_once_and_kept_under_its_key(cache: Any):
    @cache.memoize()
    def double(number: int) -> int:
        """Doubles."""
        calls.append(number)
        return number * 2

    calls: list[int] = []
    assert [double(2), double(2), double(3)] == [4, 4, 6]
    assert calls == [2, 3]
    assert cache[double.__cache_key__(2)] == 4
    assert double.__cache_key__(2) == (f"{__name__}.{double.__qualname__}", 2, None)
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")
    assert double.__wrapped__(5) == 10
    assert calls == [2, 3, 5]
    assert inspect.signature(double) == inspect.signature(double.__wrapped__)


@pytest.mark.parametrize("result", [None, False, 0, (), dolium.ENOVAL], ids=str)
def test_every_result_is_kept(plain: Any, result: Any):
    calls = []

    @plain.memoize()
    def give() -> Any:
        calls.append(1)
        return result

    first, second = give(), give()
    assert first == result
    if result is not dolium.ENOVAL:
        assert second == result
        assert len(calls) == 1


def test_typed_keeps_types_apart(cache: Any):
    if isinstance(cache, dolium.Index):
        loose, strict = cache.memoize("loose"), cache.memoize("strict", True)
    else:
        loose, strict = cache.memoize("loose"), cache.memoize("strict", typed=True)
    loose, strict = loose(Counted()), strict(Counted())
    assert [strict("a"), strict(3), strict(3.0), strict(3)] == [1, 2, 3, 2]
    assert [loose("a"), loose("a"), loose(b="a")] == [1, 1, 2]


def test_names_are_shared_and_separate(plain: Any):
    one, other, third = (plain.memoize(name=name)(Counted()) for name in ("x", "x", "y"))
    assert one(1) == 1
    assert one(2) == 2
    assert other(2) == 2
    assert third(2) == 1


def test_expire_and_tag_are_those_of_the_entry(plain: Any):
    function = plain.memoize(name="f", expire=60, tag="t")(Counted())
    function(1)
    _, expire_time, tag = plain.get(("f", 1, None), expire_time=True, tag=True)
    assert 50 < expire_time - time.time() <= 60
    assert tag == "t"


@pytest.mark.parametrize("expire", [0, -1])
def test_with_no_lifetime_it_is_looked_up_but_not_stored(plain: Any, expire: int):
    function = plain.memoize(name="f", expire=expire)(Counted())
    assert [function(1), function(1)] == [1, 2]
    assert len(plain) == 0
    plain[("f", 1, None)] = "kept by another"
    assert function(1) == "kept by another"


@pytest.mark.parametrize("use", ["memoize", "memoize()"])
def test_without_parentheses_is_an_error(cache: Any, use: str):
    decorator = cache.memoize if use == "memoize" else cache.memoize()
    if use == "memoize":
        with pytest.raises(TypeError, match="write @"):
            decorator(len)
    else:
        assert decorator(Counted.__call__)


def test_exceptions_are_not_kept(plain: Any):
    calls = []

    @plain.memoize()
    def fail() -> None:
        calls.append(1)
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            fail()
    assert len(calls) == 2
    assert len(plain) == 0


def test_the_key_attribute_can_be_replaced(plain: Any):
    function = plain.memoize()(lambda number: number + 1)
    function.__cache_key__ = lambda number: f"mine-{number}"
    function(1)
    assert dict.fromkeys(plain) == {"mine-1": None}


@pytest.mark.parametrize(
    "ignore", [{"note"}, ["note"], ("note", 7), "note", frozenset({"note", "x"})], ids=named
)
def test_an_ignored_name_is_ignored_however_it_is_passed(plain: Any, ignore: Any):
    calls = []

    @plain.memoize(name="f", ignore=ignore)
    def function(number: int, note: str = "", more: int = 0) -> int:
        calls.append(number)
        return number

    function(1)
    function(1, "a")
    function(1, note="b")
    assert calls == [1]
    assert list(plain) == [("f", 1, None)]
    function(1, "a", 5)
    function(1, "b", 5)
    assert calls == [1, 1]
    assert list(plain)[1:] == [("f", 1, 5, None)]


def test_ignoring_the_name_of_star_args_ignores_them_all(plain: Any):
    def function(one: int, *rest: int, key: int = 0) -> int:
        return 0

    key = plain.memoize(name="f", ignore={"rest"})(function).__cache_key__
    assert key(1) == key(1, 2, 3) == ("f", 1, None)
    assert key(1, 2, key=3) == ("f", 1, None, "key", 3)


def test_self_can_be_ignored(plain: Any):
    calls = []

    class Shop:
        lock = threading.Lock()  # which cannot be pickled

        @plain.memoize(name="price", ignore={"self"})
        def price(self, item: str) -> int:
            calls.append(item)
            return len(item)

    assert Shop().price("tea") == Shop().price("tea") == 3
    assert calls == ["tea"]
    assert Shop.price.invalidate(Shop(), "tea")


def test_positions_are_ignored_as_in_diskcache(plain: Any):
    key = plain.memoize(name="f", ignore={0})(lambda a, b: 0).__cache_key__
    assert key(1, 2) == ("f", 2, None)
    assert key(a=1, b=2) == ("f", None, "a", 1, "b", 2)


def test_a_function_without_signature_takes_ignore_too(plain: Any):
    assert plain.memoize(name="max", ignore={"key"})(max)(1, 2, key=abs) == 2
    assert list(plain) == [("max", 1, 2, None)]


def test_invalidate_and_refresh(cache: Any):
    counted = Counted()
    function = cache.memoize("f")(counted)
    assert function(1, a=2) == 1
    assert function.refresh(1, a=2) == 2
    assert function(1, a=2) == 2
    assert function.invalidate(1, a=2) is True
    assert function.invalidate(1, a=2) is False
    assert function(1, a=2) == 3


def test_a_result_that_was_refused_is_computed_again(plain: Any):
    function = plain.memoize("f")(Counted())
    function(1)
    plain._sql("UPDATE Cache SET mode = 4, value = ?", (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",))
    with pytest.warns(dolium.UntrustedValueWarning):
        assert function(1) == 2
    assert function(1) == 2


def test_what_cannot_be_stored_is_the_callers_to_know(plain: Any):
    with pytest.raises(TypeError, match="pickle"):
        plain.memoize()(lambda: (number for number in range(3)))()


# Coroutine functions


def test_a_coroutine_function_is_awaited_once(cache: Any):
    calls = []

    @cache.memoize("double")
    async def double(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        return number * 2

    async def main() -> None:
        assert [await double(2), await double(2), await double(3)] == [4, 4, 6]
        assert calls == [2, 3]
        assert await double.refresh(2) == 4
        assert await double.invalidate(2) is True
        assert await double.invalidate(2) is False
        assert await double(2) == 4
        assert calls == [2, 3, 2, 2]

    assert inspect.iscoroutinefunction(double)
    asyncio.run(main())
    assert cache[("double", 2, None)] == 4


class AsyncCallable:
    async def __call__(self, number: int) -> int:
        return number + 1


@pytest.mark.parametrize(
    "function",
    [functools.partial(AsyncCallable().__call__), AsyncCallable(), AsyncMock(return_value=6)],
    ids=["partial", "object", "mock"],
)
def test_everything_that_gives_a_coroutine_is_recognized(plain: Any, function: Any):
    memoized = plain.memoize(name="f")(function)
    assert asyncio.run(memoized(5)) == asyncio.run(memoized(5)) == 6
    assert plain[("f", 5, None)] == 6


def test_tasks_of_one_loop_wait_for_one_computation(cache: Any):
    calls = []

    @cache.memoize()
    async def slow(*parts: Any) -> list[Any]:
        calls.append(parts)
        await asyncio.sleep(0.02)
        return [len(calls)]

    async def main() -> None:
        results = await asyncio.gather(*[slow([1]) for _ in range(10)])
        assert results == [[1]] * 10
        assert len(set(map(id, results))) == 10  # each has its own
        assert await asyncio.gather(slow(1), slow(True), slow("1"), slow(1.5)) != [[2]] * 4
        assert len(calls) == 5

    asyncio.run(main())


def test_failure_reaches_all_waiting_callers_and_is_not_kept(plain: Any):
    calls = []

    @plain.memoize()
    async def fail() -> None:
        calls.append(1)
        await asyncio.sleep(0.01)
        raise LookupError

    async def main() -> None:
        results = await asyncio.gather(*[fail() for _ in range(3)], return_exceptions=True)
        assert [type(result) for result in results] == [LookupError] * 3
        assert len(calls) == 1
        with pytest.raises(LookupError):
            await fail()
        assert len(calls) == 2

    asyncio.run(main())


def test_cancelled_first_task_leaves_the_computation_to_others(plain: Any):
    calls = []

    @plain.memoize()
    async def slow() -> int:
        calls.append(1)
        await asyncio.sleep(0.02)
        return len(calls)

    async def main() -> None:
        first, *others = [asyncio.create_task(slow()) for _ in range(3)]
        await asyncio.sleep(0.005)
        first.cancel()
        assert await asyncio.gather(*others) == [1, 1]
        with pytest.raises(asyncio.CancelledError):
            await first
        waiting = asyncio.create_task(slow.refresh())
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(main())
    assert len(calls) == 2


def test_cancelled_waiting_task_disturbs_no_other(plain: Any):
    @plain.memoize()
    async def slow() -> int:
        await asyncio.sleep(0.02)
        return 1

    async def main() -> None:
        tasks = [asyncio.create_task(slow()) for _ in range(3)]
        await asyncio.sleep(0.005)
        tasks[1].cancel()
        assert await tasks[0] == await tasks[2] == 1

    asyncio.run(main())


def test_reaching_ones_own_key_again_does_not_wait_for_itself(plain: Any):
    depth = 0

    @plain.memoize()
    async def nested(key: int) -> int:
        nonlocal depth
        depth += 1
        if depth < 3:
            (inner,) = await asyncio.gather(nested(key))
            return inner + 1
        return 0

    assert asyncio.run(asyncio.wait_for(nested(1), 5)) == 2


def test_it_works_inside_a_transaction(plain: Any):
    @plain.memoize()
    async def one() -> int:
        return 1

    async def main() -> None:
        with plain.transact():
            assert await one() == 1

    asyncio.run(asyncio.wait_for(main(), 5))
    assert len(plain) == 1


def test_storing_does_not_hold_up_the_loop(plain: Any):
    @plain.memoize()
    async def one() -> int:
        return 1

    release = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with plain.transact():
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)

    async def main() -> None:
        task = asyncio.create_task(one())
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not task.done()  # it waits for the transaction; the loop does not
        release.set()
        assert await task == 1

    asyncio.run(asyncio.wait_for(main(), 10))
    thread.join()


def test_each_event_loop_is_served(plain: Any):
    calls = []

    @plain.memoize()
    async def slow(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0.01)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*[slow(number % 3) for number in range(9)])

    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(main()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0, 1, 2] * 3] * 3
    assert 3 <= len(calls) <= 9


def test_a_coroutine_function_runs_without_asyncio(plain: Any):
    @plain.memoize()
    async def one() -> int:
        return 1

    for _ in range(2):
        coroutine = one()
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert stop.value.value == 1
