"""Memoized functions are given results of their own, in the shape that their decorator keeps."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import dolium
import pytest
from differential.oracle import Oracle
from dolium.memo import Pairs
from hypothesis import given
from hypothesis import strategies as st

RESULTS: list[Any] = ["abc", None, 5, [1, 2, 3], ("abc", 1.5), ("a", "b"), (1, 2.5, 3), {}, ("x", -1.0)]


def counted(result: Any) -> Any:
    def f(x: int) -> Any:
        f.calls += 1  # type: ignore[attr-defined]
        return result

    f.calls = 0  # type: ignore[attr-defined]
    return f


@pytest.mark.parametrize("result", RESULTS, ids=repr)
@pytest.mark.parametrize("expire", [None, 60])
def test_from_stampede_to_memoize_is_a_miss(tmp_path: Path, result: Any, expire: float | None) -> None:
    with dolium.Cache(tmp_path) as cache:
        f = counted(result)
        dolium.memoize_stampede(cache, 60)(f)(1)
        memoized = cache.memoize(expire=expire)(f)
        assert [memoized(1), memoized(1)] == [result] * 2
        assert f.calls == 2, "the second call is a hit"


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_from_memoize_to_stampede_is_a_miss(tmp_path: Path, result: Any) -> None:
    with dolium.Cache(tmp_path) as cache:
        f = counted(result)
        cache.memoize()(f)(1)
        stampede = dolium.memoize_stampede(cache, 60)(f)
        assert [stampede(1), stampede(1)] == [result] * 2
        assert f.calls == 2, "the second call is a hit"


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_diskcache_and_dolium_share_stampedes(tmp_path: Path, result: Any) -> None:
    """The pair is the one that diskcache keeps, and one of diskcache is a hit, but no result of `memoize`."""
    with Oracle() as oracle, dolium.Cache(tmp_path) as cache:
        theirs = oracle.open("Cache", tmp_path)
        f = counted(result)
        stampede = dolium.memoize_stampede(cache, 60)(f)
        key = stampede.__cache_key__(1)
        stampede(1)
        cache.flush()
        stored, seconds = theirs[key]
        assert (stored, type(seconds)) == (result, float)
        theirs.set(key, (result, 0.25), expire=60)
        dolium.Cache(tmp_path).flush()
        cache.get("attention", default=None)
        f.calls = 0
        with dolium.Cache(tmp_path, hot_size=0) as fresh:
            assert dolium.memoize_stampede(fresh, 60)(f)(1) == result
            assert f.calls == 0
            assert fresh.memoize()(f)(1) == result
            assert f.calls == 1


@given(st.floats(min_value=0, max_value=1e6))
def test_a_marked_pair_keeps_its_seconds(seconds: float) -> None:
    result, marked = Pairs.make("x", seconds)
    assert result == "x"
    assert Pairs.is_marked((result, marked))
    assert marked == pytest.approx(seconds, rel=1e-7, abs=1e-300)


def test_measured_seconds_are_no_mark() -> None:
    numbers = random.Random(5)
    assert not any(Pairs.is_marked(("x", numbers.random())) for _ in range(10_000))


@pytest.mark.parametrize("how", ["memoize", "stampede"])
def test_functions_of_one_name_warn_once(tmp_path: Path, how: str) -> None:
    with dolium.Cache(tmp_path) as cache:

        def memoize(function: Any) -> Any:
            return (
                cache.memoize()(function)
                if how == "memoize"
                else dolium.memoize_stampede(cache, 60)(function)
            )

        memoize(lambda x: x + 1)
        with pytest.warns(dolium.SharedNameWarning, match=r"<lambda>.*name=") as caught:
            memoize(lambda x: x + 2)
        assert [warning.filename for warning in caught] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            memoize(lambda x: x + 3)


def test_a_redefined_function_warns(tmp_path: Path) -> None:
    with dolium.Cache(tmp_path) as cache, warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):  # a cell that is run again
            scope: dict[str, Any] = {"__name__": "notebook", "cache": cache}
            exec("@cache.memoize()\ndef f(x, y=1): return [x, y, lambda: 5]", scope)
        with pytest.warns(dolium.SharedNameWarning):
            exec("@cache.memoize()\ndef f(x, y=1): return [x, y, lambda: 6]", scope)


@pytest.mark.parametrize("difference", ["closure", "default"])
def test_functions_of_one_code_warn_if_they_hold_different_data(tmp_path: Path, difference: str) -> None:
    def by_closure(step: int) -> Any:
        return lambda x: x + step

    def by_default(step: int) -> Any:
        return lambda x, step=step: x + step

    make = by_closure if difference == "closure" else by_default
    with dolium.Cache(tmp_path) as cache:
        cache.memoize()(make(1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache.memoize()(make(1))
        with pytest.warns(dolium.SharedNameWarning):
            cache.memoize()(make(2))


def test_functions_apart_do_not_warn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dolium.Cache(tmp_path / "a") as one, dolium.Cache(tmp_path / "b") as other:
            one.memoize()(lambda x: 1)
            other.memoize()(lambda x: 2)
            one.memoize(name="own")(lambda x: 3)
            one.memoize(name="shared on purpose")(lambda x: 4)
            one.memoize(name="shared on purpose")(lambda x: 5)
