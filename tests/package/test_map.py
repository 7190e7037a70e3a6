"""`f.map`: results, order, reading ahead, errors, modes, figures and executors."""

from __future__ import annotations

import itertools
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dolium
import pytest
from dolium.jobs.figures import Figures
from dolium.jobs.outcome import BUSY, VALUE, Report


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


@pytest.fixture
def square(cache: Any) -> Any:
    @cache.cached(version="1")
    def square(number: int) -> int:
        return number * number

    return square


# Results


def test_results_come_in_order_and_are_stored(square: Any):
    run = square.map(range(20), workers=3)
    assert list(run) == [number * number for number in range(20)]
    assert run.figures[:6] == (20, 20, 0, 20, 0, 0)
    with dolium.using("only"):
        assert square(19) == 361


def test_hits_start_no_worker(square: Any, monkeypatch: pytest.MonkeyPatch):
    list(square.map(range(10), workers=2))
    monkeypatch.setattr("dolium.jobs.run.Processes", None)
    run = square.map(range(10))
    assert sum(run) == 285
    assert run.figures.hits == 10
    assert square.info().hits >= 10


def test_iterables_are_positions_and_common_goes_to_all(cache: Any):
    @cache.cached(version="1")
    def joined(first: str, second: str, between: str = "-") -> str:
        return first + between + second

    assert list(joined.map("ab", "cde", common={"between": "+"}, workers=1)) == ["a+c", "b+d"]
    assert joined.entry("a", "c", between="+") is not None


def test_unordered_results_come_as_they_are_ready(cache: Any, tmp_path: Path):
    @cache.cached(version="1")
    def behind_the_gate(number: int) -> int:
        while number == 0 and not (tmp_path / "open").exists():
            time.sleep(0.01)
        return number

    run = behind_the_gate.map(range(4), workers=2, ordered=False)
    assert run.figures.total == 4
    assert sorted(itertools.islice(run, 3)) == [1, 2, 3]
    (tmp_path / "open").touch()
    assert list(run) == [0]
    assert sorted(behind_the_gate.map(range(4), ordered=False)) == [0, 1, 2, 3]


def test_methods_and_generators_map_too(tmp_path: Path):
    cache = dolium.Cache(tmp_path)

    class Scale:
        factor = 3

        def __fingerprint__(self) -> object:
            return self.factor

        @cache.cached(version="1")
        def times(self, number: int) -> int:
            return number * self.factor

        @classmethod
        def _name(cls) -> str:
            return cls.__name__

    @cache.cached(version="1")
    def upto(number: int) -> Iterator[int]:
        yield from range(number)

    assert list(Scale().times.map([1, 2], workers=2)) == [3, 6]
    for _ in range(2):
        assert list(upto.map(range(4), workers=2)) == [[], [0], [0, 1], [0, 1, 2]]
    assert list(upto(3)) == [0, 1, 2]
    assert upto.info().misses == 4


def test_equal_items_are_computed_once(cache: Any, tmp_path: Path):
    @cache.cached(version="1")
    def noted(number: int) -> int:
        with (tmp_path / "log").open("a") as log:
            log.write("x")
        time.sleep(0.05)
        return number

    assert list(noted.map([7] * 6, workers=3)) == [7] * 6
    assert (tmp_path / "log").read_text() == "x"


def test_items_of_other_callers_are_left_for_the_end(cache: Any):
    begun: list[int] = []
    gate, is_begun = threading.Event(), threading.Event()

    @cache.cached(version="1", key={"begun": None, "gate": None, "is_begun": None})
    def held(number: int) -> int:
        begun.append(number)
        is_begun.set()
        assert number or gate.wait(20)
        return number

    other = threading.Thread(target=held, args=(0,))
    other.start()
    assert is_begun.wait(20)
    with ThreadPoolExecutor(1) as pool:
        run = held.map([0, 1], workers=pool, progress=lambda figures: gate.set())
        assert list(run) == [0, 1]
        assert (run.figures.computed, run.figures.shared) == (1, 1)
    other.join()
    assert begun == [0, 1]


@pytest.mark.parametrize("ordered", [True, False])
def test_workers_wait_only_if_nothing_else_can_be_done(square: Any, ordered: bool):
    """Two runs that share their items would stand still if the workers of one waited while there is more to begin."""
    run = square.map(range(9), workers=2, ordered=ordered)
    schedule = run._schedule
    while schedule.wants_more():
        schedule.read()
    for item in [schedule.next() for _ in range(4)]:
        schedule.settle(item, Report(BUSY))
    first, second = schedule.next(), schedule.next()
    assert first.is_patient
    assert second.is_patient
    assert schedule.next() is None, "each worker has an item"
    schedule.settle(first, Report(VALUE, 0))
    assert schedule.next() is None, "a result can be handed out, and then there is more to read"
    assert schedule.take() is first
    schedule.read()
    following = schedule.next()
    assert following.args == (4,)
    assert not following.is_patient


@pytest.mark.parametrize("kind", ["expired", "too large", "no pickle"])
def test_results_that_are_not_stored_come_all_the_same(tmp_path: Path, kind: str):
    cache = dolium.Cache(tmp_path / "cache", size_limit=1_000_000)

    @cache.cached(version="1", expire=0 if kind == "expired" else None)
    def make(number: int) -> Any:
        if kind == "no pickle":
            return lambda: number
        return bytes(2_000_000) if kind == "too large" else number

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(make.map(range(3), workers=2))
    if kind == "no pickle":
        assert [each() for each in found] == [0, 1, 2]
    else:
        assert found == ([bytes(2_000_000)] * 3 if kind == "too large" else [0, 1, 2])
    assert len(cache) == 0


def test_result_that_cannot_leave_its_process_is_an_error(cache: Any):
    @cache.cached(version="1")
    def lock(number: int) -> Any:
        return threading.Lock()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (failure,) = lock.map([1], workers=1, errors="collect")
        assert isinstance(failure.error, dolium.UnpicklableError)
        assert "ThreadPoolExecutor" in str(failure.error)
        with ThreadPoolExecutor(1) as pool:
            (found,) = lock.map([1], workers=pool)
    assert type(found) is type(threading.Lock())


def test_result_that_the_cache_loses_is_computed_again(square: Any, cache: Any):
    """It is removed between the worker's report and the reading of it."""
    run = square.map(range(5), workers=2, progress=lambda figures: cache.clear())
    assert list(run) == [0, 1, 4, 9, 16]
    assert run.figures.computed == 5


# T32: input


def test_t32_input_is_read_at_most_two_workers_ahead(square: Any):
    """Executors of the standard library read all of it first."""
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        for number in itertools.count():
            read += 1
            yield number

    for known in (0, 30):  # without hits, and with them
        read = 0
        run = square.map(numbers(), workers=2)
        for got, result in enumerate(itertools.islice(run, 30), start=1):
            assert result == (got - 1) ** 2
            assert read <= got + 4, known
        run.close()


def test_t32_exception_that_cannot_be_loaded_arrives_as_text(cache: Any):
    """In `multiprocessing.Pool` it hangs the caller."""

    class PickyError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")

    @cache.cached(version="1")
    def picky(number: int) -> int:
        raise PickyError(number, 2)

    with pytest.raises(dolium.WorkerError, match=r"PickyError: 1 and 2"):
        list(picky.map([1], workers=1))
    (failure,) = picky.map([1], workers=1, errors="collect")
    assert "raise PickyError(number, 2)" in failure.traceback


def test_error_of_the_input_comes_after_the_results_before_it(square: Any):
    def numbers() -> Iterator[int]:
        yield 3
        raise OSError("no more")

    run = square.map(numbers(), workers=2)
    assert next(run) == 9
    with pytest.raises(OSError, match="no more"):
        next(run)
    assert list(run) == []


# Errors


@pytest.fixture
def odd_only(cache: Any) -> Any:
    @cache.cached(version="1")
    def odd_only(number: int) -> int:
        if number % 2 == 0:
            raise KeyError(number)
        time.sleep(0.02)
        return number

    return odd_only


def test_first_error_ends_the_run_and_says_how_far_it_came(cache: Any, tmp_path: Path):
    @cache.cached(version="1")
    def two_fails(number: int) -> int:
        """After the odd numbers before it."""
        while number == 2 and len(list(tmp_path.glob("done *"))) < 3:
            time.sleep(0.01)
        if number == 2:
            raise KeyError(number)
        (tmp_path / f"done {number}").touch()
        return number

    run = two_fails.map([1, 3, 5, 2, 7, 9, *range(11, 99, 2)], workers=2)
    results: list[int] = []
    with pytest.raises(KeyError) as raised:
        results.extend(run)
    assert results == [1, 3, 5]
    done = run.figures.done - run.figures.failed
    note = f"{done} done, {50 - done} left"
    assert note in getattr(raised.value, "__notes__", raised.value.args)
    assert "two_fails" in str(raised.value.__cause__)
    assert 3 <= done <= 7, "what was read ahead may be stored, and no more begins"
    assert list(run) == []
    again = two_fails.map([1, 3, 5], workers=2)
    assert list(again) == [1, 3, 5]
    assert again.figures.hits == 3


def test_collected_failures_stand_in_their_places(odd_only: Any):
    run = odd_only.map([1, 2, 3, 4], workers=2, errors="collect")
    results = list(run)
    assert results[::2] == [1, 3]
    assert results[1::2] == run.failures
    assert [failure.item for failure in run.failures] == [2, 4]
    assert [failure.error.args for failure in run.failures] == [(2,), (4,)]
    assert all("raise KeyError(number)" in failure.traceback for failure in run.failures)
    assert odd_only.map([2, 3], workers=1, errors="collect").__next__().item == 2, "it is tried again"


def test_argument_without_a_key_is_a_failure(square: Any):
    run = square.map([object(), 2], workers=1, errors="collect")
    failure, result = run
    assert isinstance(failure.error, dolium.UnkeyableError)
    assert result == 4


def test_stop_iteration_of_the_function_ends_no_loop(cache: Any):
    @cache.cached(version="1")
    def ends(number: int) -> int:
        raise StopIteration

    with ThreadPoolExecutor(1) as pool, pytest.raises(dolium.WorkerError, match="StopIteration"):
        list(ends.map([1], workers=pool))


def test_stored_exceptions_are_hits_that_fail(cache: Any):
    @cache.cached(version="1", errors={LookupError: 60})
    def missing(number: int) -> int:
        raise KeyError(number)

    assert len(list(missing.map([1], workers=1, errors="collect"))) == 1
    with dolium.using("only"), pytest.raises(KeyError):
        list(missing.map([1], workers=1))


def test_old_result_stands_in_for_an_error(cache: Any, tmp_path: Path):
    @cache.cached(version="1", expire=dolium.Term(0.05, on_error=600))
    def flaky(number: int) -> int:
        if (tmp_path / "down").exists():
            raise OSError("down")
        return number

    assert list(flaky.map([1, 2], workers=2)) == [1, 2]
    (tmp_path / "down").touch()
    time.sleep(0.06)
    assert list(flaky.map([1, 2], workers=2)) == [1, 2]
    assert flaky.info().stale == 2


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"workers": 0}, ValueError),
        ({"workers": "two"}, TypeError),
        ({"workers": True}, TypeError),
        ({"errors": "ignore"}, ValueError),
        ({"progress": 3}, TypeError),
    ],
)
def test_map_refuses_options_that_make_no_sense(square: Any, options: Any, kind: type[Exception]):
    with pytest.raises(kind, match="map: "):
        square.map([1], **options)


def test_map_refuses_to_run_over_nothing_and_in_transactions(square: Any, cache: Any):
    with pytest.raises(TypeError, match="iterable"):
        square.map()
    with cache.transact(), pytest.raises(RuntimeError, match="transaction"):
        square.map([1])


# Modes


def test_modes_hold_in_workers(square: Any, cache: Any):
    with dolium.using("only"), pytest.raises(dolium.NotCachedError):
        list(square.map([2], workers=1))
    with dolium.using("off"):
        assert list(square.map([2], workers=1)) == [4]
    assert len(cache) == 0
    list(square.map([2], workers=1))
    before = square.entry(2).stored
    with dolium.using("refresh"):
        run = square.map([2], workers=1)
    assert list(run) == [4], "the mode of the call of map counts"
    assert run.figures.computed == 1
    assert square.entry(2).stored > before


# T34: progress


def test_t34_progress_counts_items_and_hits_spoil_no_estimate(cache: Any):
    """tqdm over a map counts chunks, and takes hits for fast items."""

    @cache.cached(version="1")
    def slow(number: int) -> int:
        if number >= 500:
            time.sleep(0.05)
        return number

    list(slow.map(range(500), workers=2))
    seen: list[Figures] = []
    run = slow.map(range(510), workers=1, progress=seen.append)
    assert len(list(run)) == 510
    assert [figures.done for figures in seen] == list(range(1, 511))
    assert seen[499].remaining is None, "nothing was computed yet"
    for figures in seen[500:]:
        assert figures.left is not None
        assert figures.remaining is not None
        assert figures.remaining >= figures.left * 0.05
    assert (run.figures.hits, run.figures.computed, run.figures.remaining) == (500, 10, 0)


def test_progress_bar_counts_items(square: Any, capfd: pytest.CaptureFixture[str]):
    list(square.map(range(4), workers=1))
    list(square.map(range(7), workers=2, progress=True))
    shown = capfd.readouterr().err
    assert "square" in shown
    assert "7/7" in shown
    assert "hits=4" in shown


def test_run_shows_how_far_it_is(square: Any):
    run = square.map(range(4), workers=2)
    assert next(run) == 0
    assert "of 4 done" in repr(run)
    assert "<table>" in run._repr_html_()
    assert 'max="4"' in run._repr_html_()
    list(run)
    assert repr(run).endswith("4 of 4 done: 4 computed>")
    assert square.map((each for each in [1]), workers=1).figures.left is None


def test_counts_of_workers_reach_the_caller(odd_only: Any):
    list(odd_only.map([1, 2, 3], workers=2, errors="collect"))
    info = odd_only.info()
    assert (info.misses, info.failed) == (3, 1)
    assert info.seconds_spent >= 0.04


# Executors


def test_threads_of_the_caller_are_workers(square: Any):
    seen: set[str] = set()

    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        run = square.map(range(9), workers=pool)
        assert list(run) == [number * number for number in range(9)]
        assert run.figures.computed == 9
        seen.update(thread.name for thread in threading.enumerate())
        assert pool.submit(int).result() == 0, "it is the caller who shuts it down"
    assert any(name.startswith("mine") for name in seen)
    assert square.info().misses == 9


def test_processes_of_the_caller_are_workers(square: Any):
    with ProcessPoolExecutor(2) as pool:
        assert list(square.map(range(9), workers=pool)) == [number * number for number in range(9)]


def test_processes_of_loky_are_workers(square: Any):
    import loky

    pool = loky.get_reusable_executor(max_workers=2)
    try:
        run = square.map(range(9), workers=pool)
        assert list(run) == [number * number for number in range(9)]
    finally:
        pool.shutdown(kill_workers=True)


def test_broken_executor_costs_the_deadly_item_only(cache: Any):
    """concurrent.futures gives up on all that was submitted."""

    @cache.cached(version="1")
    def deadly(number: int) -> int:
        import os

        return number if number != 3 else os._exit(9)

    with ProcessPoolExecutor(2) as pool:
        results = list(deadly.map(range(8), workers=pool, errors="collect"))
    failure = results.pop(3)
    assert results == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(failure.error, dolium.WorkerDiedError)
    assert (failure.error.item, failure.error.status) == (3, 9)


def test_map_works_inside_a_mapped_function(cache: Any):
    @cache.cached(version="1")
    def inner(number: int) -> int:
        return number + 1

    @cache.cached(version="1")
    def outer(number: int) -> int:
        return sum(inner.map(range(number), workers=2))

    assert list(outer.map([2, 3], workers=2)) == [3, 6]
    assert inner.entry(2) is not None
