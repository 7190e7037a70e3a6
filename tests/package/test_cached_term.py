"""Terms of results: fresh, stale, on_error, early, lifetimes of results and of exceptions, renewals."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium import Term
from dolium.functions.background import THREADS, Renewals
from dolium.functions.renewal import is_early
from dolium.functions.results import Known
from helpers.children import Child, run


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Counter:
    """A function that returns how often it was called, and raises if it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __fingerprint__(self) -> object:
        return None

    def __call__(self, *_: object) -> int:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.calls


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_a_term_says_what_makes_no_sense():
    assert Term(timedelta(minutes=1), stale=timedelta(hours=1)) == Term(60, stale=3600)
    with pytest.raises(ValueError, match="stale is -1 seconds"):
        Term(1, stale=-1)
    with pytest.raises(ValueError, match="not a number"):
        Term(float("nan"))
    with pytest.raises(TypeError, match="on_error is '5'"):
        Term(1, on_error="5")  # type: ignore[arg-type]


@pytest.mark.parametrize("lifetime", [60, timedelta(minutes=1), Term(60)])
def test_a_result_is_used_as_long_as_it_is_fresh(cache: Any, clock: Clock, counter: Counter, lifetime: Any):
    f = cache.cached(version="1", expire=lifetime)(counter)
    assert f() == 1
    clock.now += 59.5
    assert f() == 1
    clock.now += 1
    assert f() == 2


@pytest.mark.parametrize("lifetime", [0, -5, timedelta(0), Term(0, stale=5), lambda result: 0])
def test_a_lifetime_of_zero_stores_nothing(cache: Any, counter: Counter, lifetime: Any):
    f = cache.cached(version="1", expire=lifetime)(counter)
    assert (f(), f()) == (1, 2)
    assert len(cache) == 0


def test_a_lifetime_of_zero_looks_results_up(cache: Any, counter: Counter):
    cache.cached(version="1", name="f()")(counter)()
    assert cache.cached(version="1", name="f()", expire=0)(counter)() == 1


def test_each_result_has_its_own_lifetime(cache: Any, clock: Clock):
    def seconds(result: int) -> float | None:
        return None if result > 10 else result

    f = cache.cached(version="1", expire=seconds)(lambda a: a)
    f(0), f(5), f(11)
    assert [f.entry(a) is not None for a in (0, 5, 11)] == [False, True, True]
    clock.now += 6
    assert [f.entry(a) is not None for a in (5, 11)] == [False, True]


def test_a_lifetime_that_cannot_be_made_fails_no_call(cache: Any):
    f = cache.cached(version="1", expire=lambda result: result["missing"])(lambda: {"a": 1})
    with pytest.warns(dolium.UnstoredResultWarning, match="KeyError"):
        assert f() == {"a": 1}
    assert len(cache) == 0


def test_a_stale_result_is_returned_and_renewed_once(cache: Any, clock: Clock, counter: Counter):
    f = cache.cached(version="1", expire=Term(60, stale=600))(counter)
    assert f() == 1
    clock.now += 61
    assert f() == 1
    until(lambda: f.entry().value == 2)
    assert f() == 2
    assert counter.calls == 2
    assert f.info().stale == 1


def test_a_result_older_than_stale_is_computed(cache: Any, clock: Clock, counter: Counter):
    f = cache.cached(version="1", expire=Term(60, stale=10, on_error=600))(counter)
    f()
    clock.now += 71
    assert f() == 2


def test_an_old_result_stands_in_for_an_exception(
    cache: Any, clock: Clock, counter: Counter, caplog: pytest.LogCaptureFixture
):
    f = cache.cached(version="1", expire=Term(60, on_error=600))(counter)
    assert f() == 1
    clock.now += 61
    counter.error = OSError("down")
    with caplog.at_level(logging.WARNING, "dolium"):
        assert f() == 1
    assert "OSError" in caplog.text
    assert "older result" in caplog.text
    assert f() == 1
    assert counter.calls == 2, "the function is not tried again for a second"
    clock.now += 600
    with pytest.raises(OSError, match="down"):
        f()


def test_a_function_is_tried_again_after_a_pause(
    cache: Any, clock: Clock, counter: Counter, monkeypatch: pytest.MonkeyPatch
):
    from dolium.functions import calls

    monkeypatch.setattr(calls, "LEAST_PAUSE", 0.01)
    f = cache.cached(version="1", expire=Term(60, on_error=600))(counter)
    f()
    clock.now += 61
    counter.error = OSError("down")
    assert f() == 1
    time.sleep(0.05)
    counter.error = None
    assert f() == 3


def test_a_renewal_that_fails_leaves_the_stale_result(cache: Any, clock: Clock, counter: Counter):
    f = cache.cached(version="1", expire=Term(60, stale=600))(counter)
    f()
    clock.now += 61
    counter.error = OSError("down")
    assert f() == 1
    until(lambda: counter.calls == 2 and not f._calls.renewing)
    assert f() == 1
    time.sleep(0.05)
    assert counter.calls == 2


def test_exceptions_of_named_types_are_stored_and_raised_again(cache: Any, clock: Clock, counter: Counter):
    f = cache.cached(version="1", errors={LookupError: 30})(counter)
    counter.error = KeyError("not there", 5)
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            f()
        assert caught.value.args == ("not there", 5)
    assert counter.calls == 1
    assert f.entry().raised
    assert isinstance(f.entry().value, KeyError)
    clock.now += 31
    counter.error = None
    assert f() == 2


def test_t25_no_other_exception_is_stored(cache: Any, counter: Counter):
    f = cache.cached(version="1", errors={LookupError: 30})(counter)
    counter.error = OSError("down")
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            f()
    assert counter.calls == 2
    assert len(cache) == 0


class Odd(LookupError):
    """An exception that does not come back equal."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


def test_exception_that_comes_back_unequal_is_not_stored(cache: Any, counter: Counter):
    f = cache.cached(version="1", errors={LookupError: 30})(counter)
    counter.error = Odd(5)
    for _ in range(2):
        with pytest.raises(Odd, match="code 5"):
            f()
    assert counter.calls == 2
    assert len(cache) == 0


def test_an_exception_that_is_an_answer_replaces_an_old_result(cache: Any, clock: Clock, counter: Counter):
    f = cache.cached(version="1", expire=Term(60, on_error=600), errors={KeyError: 30})(counter)
    f()
    clock.now += 61
    counter.error = KeyError("gone")
    for _ in range(2):
        with pytest.raises(KeyError):
            f()
    assert counter.calls == 2


def test_early_renewal_is_likelier_the_older_the_result_is():
    def share(seconds: float, left: float) -> float:
        known = Known(0, False, 0.0, 1000.0, None, seconds, 5)
        return sum(is_early(known, 1.0, 1000.0 - left) for _ in range(2000)) / 2000

    assert share(1.0, 100.0) == 0
    assert 0.3 < share(1.0, 1.0) < 0.45
    assert share(1.0, 0.0001) > 0.95
    assert share(10.0, 1.0) > 0.8


def test_a_result_is_renewed_before_its_time(cache: Any, clock: Clock, counter: Counter):
    f = cache.cached(version="1", expire=Term(60, early=1e9))(counter)
    assert f() == 1
    clock.now += 30
    assert f() == 1
    until(lambda: f.entry().value == 2)
    assert f.info().stale == 0


def test_a_stale_coroutine_result_is_renewed_by_a_task(cache: Any, clock: Clock, counter: Counter):
    @cache.cached(version="1", expire=Term(60, stale=600), key=lambda: 0)
    async def f() -> int:
        assert threading.current_thread() is threading.main_thread()
        return counter()

    async def main() -> None:
        assert await f() == 1
        clock.now += 61
        assert await f() == await f() == 1
        while (await f.entry()).value == 1:
            await asyncio.sleep(0.005)
        assert await f() == 2
        assert counter.calls == 2

    asyncio.run(main())


def test_t29_a_renewal_that_hangs_stops_no_caller_with_a_value(cache: Any, clock: Clock):
    release = threading.Event()
    calls = 0

    @cache.cached(version="1", expire=Term(60, stale=600), key=lambda: 0)
    def f() -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            release.wait(30)
        return calls

    try:
        assert f() == 1
        clock.now += 61
        for _ in range(50):
            assert f() == 1
        until(lambda: calls == 2)
        assert f() == 1
    finally:
        release.set()
    until(lambda: f() == 2)


def test_t29_a_renewal_whose_task_is_cancelled_lets_go(cache: Any, clock: Clock):
    calls = 0

    @cache.cached(version="1", expire=Term(60, stale=600), key=lambda: 0)
    async def f() -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.sleep(30)
        return calls

    async def first() -> None:
        assert await f() == 1
        clock.now += 61
        assert await f() == 1
        while calls < 2:
            await asyncio.sleep(0.005)

    asyncio.run(first())  # which cancels the renewal

    async def second() -> None:
        assert await f() == 1
        while (await f.entry()).value == 1:
            await asyncio.sleep(0.005)
        assert await f() == 3

    asyncio.run(asyncio.wait_for(second(), 20))


def test_at_most_four_threads_renew():
    renewals = Renewals()
    release, running, most = threading.Event(), [], []
    lock = threading.Lock()

    def job() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        release.wait(20)
        with lock:
            running.pop()

    for _ in range(20):
        assert renewals.start(job)
    until(lambda: len(running) == THREADS)
    time.sleep(0.05)
    assert max(most) == THREADS == 4
    release.set()
    until(lambda: len(most) == 20 and not running)


STALE = """
from dolium import Term
cache = dolium.Cache(sys.argv[1])
slow = float(sys.argv[2])
@cache.cached(version="1", name="f()", expire=Term(0.05, stale=1000))
def f():
    if slow:
        say("begun")
        time.sleep(slow)
    return os.getpid()
"""


def test_t23_a_renewal_that_is_killed_lets_another_process_renew(tmp_path: Path):
    run(STALE + "f()", tmp_path, 0)
    time.sleep(0.1)
    with Child(STALE + "f(); hear()", tmp_path, 1000) as child:
        assert child.line() == "begun"
        child.process.kill()
        child.process.wait()
    script = STALE + "\nold = f()\nwhile f.entry().value == old: time.sleep(0.01)\nsay('renewed')"
    assert "renewed" in run(script, tmp_path, 0)


def test_one_process_of_several_renews(tmp_path: Path):
    run(STALE + "f()", tmp_path, 0)
    time.sleep(0.1)
    children = [Child(STALE + "hear(); f(); hear()", tmp_path, 1.0) for _ in range(4)]
    try:
        for child in children:
            child.tell("")
        time.sleep(0.7)
        begun = 0
        for child in children:
            child.tell("")
            with child:
                begun += sum("begun" in line for line in child.finish())
        assert begun == 1
    finally:
        for child in children:
            child.process.kill()


def test_a_process_that_exits_waits_a_second_for_renewals(tmp_path: Path):
    run(STALE + "f()", tmp_path, 0)
    time.sleep(0.1)
    began = time.monotonic()
    run(STALE + "f()", tmp_path, 1000)
    assert time.monotonic() - began < 30
    old = dolium.Cache(tmp_path)._known_result(("f()", "1"))[0]
    run(STALE + "f()", tmp_path, 0.2)
    assert dolium.Cache(tmp_path)._known_result(("f()", "1"))[0] != old
