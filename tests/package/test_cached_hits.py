"""The short way of a hit: it finds what the long way finds, and runs no code of Python's."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import Any

import dolium
import pytest

PLACES = ("functions/cached.py", "functions/calls.py", "functions/modes.py", "dolium/memo.py", "<string>")
"""Where the code of a call is; what binds arguments is compiled from a text."""

ARGUMENTS = [
    (1, 2.5, "three"),
    (True, None, -0.0),
    (float("nan"), 1 << 80, "x" * 65),
    ("\ud800", b"bytes", (1, 2)),
    (-(1 << 63), (1 << 63) - 1, "ä" * 32),
]


@pytest.fixture(params=[dolium.Cache, dolium.FanoutCache])
def cache(request: Any, tmp_path: Any):
    with request.param(str(tmp_path)) as cache:
        yield cache


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=repr)
def test_a_hit_has_the_key_that_the_function_tells(cache: Any, arguments: tuple[Any, ...]):
    @cache.cached(version="1")
    def function(a: Any, b: Any, c: Any) -> int:
        return 1

    assert function(*arguments) == 1
    assert list(cache) == [function.key(*arguments)] or any(part != part for part in arguments)
    assert function.entry(*arguments) is not None
    assert function(*arguments[:2], c=arguments[2]) == function(*arguments) == 1
    assert (function.info().hits, function.info().misses) == (2, 1)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=repr)
def test_memoize_finds_what_a_key_in_python_stored(cache: Any, arguments: tuple[Any, ...]):
    calls: list[Any] = []

    @cache.memoize(name="function")
    def function(*args: Any) -> int:
        calls.append(args)
        return 1

    cache[function.__cache_key__(*arguments)] = 2
    assert (function(*arguments), calls) == (2, [])


def python_calls(call: Any) -> list[str]:
    seen: list[str] = []

    def note(frame: Any, event: str, _: object) -> None:
        # What asks a test's clock for the time runs in test runs that have one, and in no program.
        if event == "call" and frame.f_code.co_filename.endswith(PLACES):
            seen.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def test_a_hit_by_position_runs_no_code_of_python(cache: Any):
    @cache.cached(version="1")
    def function(a: int, b: int, c: int = 3) -> int:
        return a + b + c

    function(1, 2, 3)
    function(1, 2, 3)
    assert python_calls(lambda: function(1, 2, 3)) == []
    assert python_calls(lambda: function(1, 2)) == ["bind"]


def test_a_hit_of_memoize_runs_its_wrapper_alone(cache: Any):
    @cache.memoize()
    def function(a: int) -> int:
        return a

    function(1)
    function(1)
    assert python_calls(lambda: function(1)) == ["wrapper"]


def test_a_cache_with_its_own_get_is_asked_by_memoize(tmp_path: Any):
    class Own(dolium.Cache):
        def get(self, *args: Any, **kwargs: Any) -> Any:
            return "own"

    with Own(str(tmp_path)) as cache:
        assert cache.memoize()(lambda: 1)() == "own"


def test_a_wrapped_function_that_calls_itself_is_collected(cache: Any):
    def made() -> Any:
        @cache.cached(version="1")
        def function(n: int) -> int:
            return n and function(n - 1)

        assert function(2) == function(2) == 0
        return weakref.ref(function)

    gone = made()
    gc.collect()
    assert gone() is None
