"""Functions that remember: the call, the key, methods, and what a wrapped function offers."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
from pathlib import Path
from typing import Any

import dolium
import pytest


@pytest.fixture(params=[dolium.Cache, dolium.FanoutCache], ids=["Cache", "FanoutCache"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with request.param(tmp_path) as cache:
        yield cache


class Calls(list[Any]):
    """What a function was called with."""

    def __call__(self, *args: Any) -> Any:
        self.append(args)
        return args


calls = Calls()
shared = dolium.Cache()


@shared.cached
def doubled(number: float) -> float:
    calls(number)
    return number * 2


class Shape:
    def __init__(self, width: int) -> None:
        self.width = width

    def __fingerprint__(self) -> object:
        return self.width

    @shared.cached
    def area(self, height: int, unit: str = "m") -> str:
        """The area."""
        calls(self.width, height)
        return f"{self.width * height} {unit}2"

    @classmethod
    @shared.cached
    def inside(cls, number: int) -> Any:
        return calls(cls.__name__, number)

    @shared.cached
    @classmethod
    def outside(cls, number: int) -> Any:
        return calls(cls.__name__, number)

    @staticmethod
    @shared.cached
    def static_inside(number: int) -> Any:
        return calls(number)

    @shared.cached
    @staticmethod
    def static_outside(number: int) -> Any:
        return calls(number)


class Square(Shape):
    pass


@pytest.fixture(autouse=True)
def _fresh() -> None:
    calls.clear()
    shared.clear()


def test_one_call_in_three_spellings_is_computed_once(cache: Any):
    @cache.cached
    def f(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> Any:
        return calls(a, b, rest, c, more)

    first = f(1)
    assert f(a=1) == f(1, 2) == f(1, c=3) == first
    assert f(1, 2, 5, d=1, e=2) == f(1, 2, 5, e=2, d=1) == (1, 2, (5,), 3, {"d": 1, "e": 2})
    assert len(calls) == 2


def test_t04_keyword_only_parameter_without_default_is_bound(cache: Any):
    @cache.cached
    def f(a: int, /, b: int, *, c: int) -> Any:
        return calls(a, b, c)

    assert f(1, 2, c=3) == f(1, c=3, b=2) == (1, 2, 3)
    assert len(calls) == 1
    with pytest.raises(TypeError, match="c"):
        f(1, 2)


def test_a_mutable_default_counts_as_it_is_at_the_call(cache: Any):
    default = [1]

    @cache.cached
    def f(items: list[int] = default) -> int:
        calls()
        return sum(items)

    assert f() == f([1]) == 1
    default.append(2)
    assert f() == 3
    assert len(calls) == 2


def test_types_keep_equal_arguments_apart(cache: Any):
    """cashews gives `f('1')` what `f(1)` returned."""

    @cache.cached
    def f(value: object) -> str:
        return repr(value)

    for value in (1, 1.0, True, "1", b"1", None, "None", (1,), [1]):
        assert f(value) == repr(value)


def test_two_objects_of_a_class_are_two_arguments(cache: Any):
    """cashews gives the second object of a class the result of the first."""

    @cache.cached
    def f(shape: Shape) -> int:
        return shape.width

    assert (f(Shape(1)), f(Shape(2)), f(Shape(1))) == (1, 2, 1)


def test_t10_a_part_that_cannot_be_told_apart_raises(cache: Any):
    @cache.cached
    def f(options: dict[str, object], x: int = 0) -> None:
        calls()

    with pytest.raises(dolium.UnkeyableError, match="argument 'options'"):
        f({"client": object()})
    assert len(cache) == 0
    assert not calls


def test_t16_a_method_without_identity_for_self_raises(cache: Any):
    class Model:
        @cache.cached
        def predict(self, x: int) -> int:
            return x

    with pytest.raises(dolium.UnkeyableError, match="argument 'self'"):
        Model().predict(1)


def test_rules_leave_parameters_out_and_replace_them(cache: Any):
    @cache.cached(key={"client": None, "x": round})
    def f(client: object, x: float) -> float:
        return calls(x)[0]

    assert f(object(), 1.2) == f(object(), 0.9) == 1.2
    with pytest.raises(TypeError, match="'clent' is no parameter"):
        cache.cached(key={"clent": None})(lambda client: client)


def test_one_rule_for_all_arguments_makes_the_key(cache: Any):
    @cache.cached(key=lambda a, b=0: a + b)
    def f(a: int, b: int = 0) -> Any:
        return calls(a, b)

    assert f(1, 2) == f(3) == (1, 2)


def test_closed_over_values_are_part_of_the_key(cache: Any):
    def make(factor: int) -> Any:
        @cache.cached
        def times(x: int) -> int:
            return x * factor

        return times

    assert (make(2)(5), make(3)(5), make(2)(5)) == (10, 15, 10)
    assert len(cache) == 2


def test_partials_keep_what_they_bound(cache: Any):
    def f(a: int, b: int) -> Any:
        return calls(a, b)

    one, two = (cache.cached(functools.partial(f, bound)) for bound in (1, 2))
    assert (one(5), two(5), one(b=5)) == ((1, 5), (2, 5), (1, 5))
    assert len(calls) == 2


def test_methods_count_self_by_its_fingerprint():
    assert Shape(2).area(3) == Shape(2).area(height=3) == Shape.area(Shape(2), 3) == "6 m2"
    assert Shape(3).area(3) == "9 m2"
    assert calls == [(2, 3), (3, 3)]


def test_bound_methods_offer_what_functions_offer():
    shape = Shape(2)
    assert shape.area.entry(3) is None
    assert shape.area(3) == "6 m2"
    assert shape.area.key(3) == Shape.area.key(shape, 3)
    assert shape.area.entry(3).value == Shape.area.entry(shape, 3).value == "6 m2"
    assert shape.area.refresh(3) == Shape.area.refresh(shape, 3) == "6 m2"
    assert len(calls) == 3
    assert shape.area.invalidate(3)
    assert not Shape.area.invalidate(shape, 3)
    assert shape.area.version == Shape.area.version
    assert shape.area.__name__ == "area"
    assert shape.area.__doc__ == "The area."
    assert shape.area.__wrapped__(3) == "6 m2"
    assert shape.area == shape.area
    assert shape.area != Shape(2).area
    shape.area(3)
    assert shape.area.clear() == 1


def test_no_reference_to_self_is_kept():
    import gc
    import weakref

    shape = Shape(2)
    shape.area(3)
    gone = weakref.ref(shape)
    del shape
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", ["inside", "outside"])
def test_class_methods_work_in_either_order_of_decorators(name: str):
    assert getattr(Shape, name)(1) == getattr(Shape, name)(1) == ("Shape", 1)
    assert getattr(Shape(1), name)(1) == ("Shape", 1)
    assert getattr(Square, name)(1) == ("Square", 1)
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["static_inside", "static_outside"])
def test_static_methods_work_in_either_order_of_decorators(name: str):
    assert getattr(Shape, name)(1) == getattr(Shape(2), name)(1) == (1,)
    assert len(calls) == 1
    assert getattr(Shape, name).invalidate(1)


def test_wrapped_functions_are_pickled_by_name():
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert copy.deepcopy(doubled) is doubled
    assert pickle.loads(pickle.dumps(Shape.area)) is Shape.area
    area = pickle.loads(pickle.dumps(Shape(2).area))
    assert area(3) == "6 m2"


def test_what_is_known_of_a_function_stays(cache: Any):
    def f(a: int) -> int:
        """Says so."""
        return a

    wrapped = cache.cached(f)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == ("f", "Says so.", f)
    assert inspect.signature(wrapped) == inspect.signature(f)
    assert repr(wrapped).startswith("<cached ")


def test_an_entry_says_what_is_known_of_a_result(cache: Any):
    @cache.cached(expire=dolium.Term(100, stale=50), tag="t")
    def f(a: int) -> int:
        return a

    assert f.entry(1) is None
    f(1)
    entry = f.entry(1)
    assert entry.value == 1
    assert not entry.raised
    assert entry.fresh_until == pytest.approx(entry.stored + 100, abs=5)
    assert entry.expires == pytest.approx(entry.stored + 150, abs=5)
    assert 0 <= entry.seconds < 60
    assert 5 <= entry.size < 50
    assert cache.get(f.key(1), tag=True) == (1, "t")


def test_the_key_shows_name_version_and_plain_arguments(cache: Any):
    @cache.cached(version="3", name="mine")
    def f(a: int, b: str, c: list[int]) -> int:
        return a

    name, version, *parts = f.key(1, "b", [2])
    assert (name, version, parts[:2]) == ("mine", "3", [1, "b"])
    assert isinstance(parts[2], bytes)
    assert len(parts[2]) == 20


def test_refresh_computes_and_replaces(cache: Any):
    results = iter("ab")

    @cache.cached(key=lambda: 0)
    def f() -> str:
        return next(results)

    assert (f(), f(), f.refresh(), f()) == ("a", "a", "b", "b")


def test_clear_forgets_results_of_this_function_alone(cache: Any):
    def f(a: int) -> int:
        return a

    old, new = (cache.cached(name="f()", version=version)(f) for version in "12")
    other = cache.cached(name="g()", version="1")(f)
    for wrapped in (old, new, other):
        wrapped(1), wrapped(2)
    assert new.clear(old_versions=True) == 2
    assert new.entry(1) is not None
    assert old.entry(1) is None
    assert new.clear() == 2
    assert len(cache) == 2
    assert other.entry(1) is not None


def test_info_counts_what_became_of_calls(cache: Any):
    @cache.cached(version="1")
    def f(a: int) -> int:
        if a < 0:
            raise ValueError
        return a

    f(1), f(1), f(2)
    with pytest.raises(ValueError, match=r"^$"):
        f(-1)
    info = f.info()
    assert (info.hits, info.misses, info.stale, info.waited, info.failed) == (1, 3, 0, 0, 1)
    assert info.seconds_spent > 0
    assert info.seconds_saved > 0


def test_T06_a_fixed_version_outlives_a_changed_message(cache: Any, tmp_path: Path) -> None:
    """The code counts unless a version is given: a new log message then throws no result away."""
    texts = [f"def slow(n):\n    print('{word} to work')\n    return n * 2\n" for word in ("going", "about")]
    for version, ran in ((None, 2), ("1", 1)):
        said: list[str] = []
        for text in texts:
            space: dict[str, Any] = {"__name__": "job", "print": said.append}
            path = tmp_path / f"{version}-{len(said)}.py"
            path.write_text(text)
            exec(compile(text, str(path), "exec"), space)
            slow = cache.cached(version=version, key={})(space["slow"])
            assert slow(4) == 8
            assert slow(4) == 8
        assert len(said) == ran


def test_a_passed_version_replaces_that_of_the_code(cache: Any):
    one = cache.cached(version="1", name="f()")(lambda: calls("one"))
    same = cache.cached(version="1", name="f()")(lambda: calls("same"))
    two = cache.cached(version="2", name="f()")(lambda: calls("two"))
    assert (one(), same(), two()) == (("one",), ("one",), ("two",))
    assert (one.version, two.version) == ("1", "2")


def test_t05_two_functions_of_one_name_are_two(cache: Any):
    def first() -> Any:
        @cache.cached(name="f()")
        def f() -> str:
            return "first"

        return f

    def second() -> Any:
        @cache.cached(name="f()")
        def f() -> str:
            return "second"

        return f

    assert (first()(), second()(), first()()) == ("first", "second", "first")


def test_a_function_without_code_needs_a_version(cache: Any):
    with pytest.raises(TypeError, match="pass version="):
        cache.cached(len)
    assert cache.cached(version="1", key=len)(len)([1, 2]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 3}, "version: 3 is no text"),
        ({"wait": -1}, "wait: -1 is negative"),
        ({"expire": "soon"}, "Term: fresh is 'soon'"),
        ({"errors": {int: 1}}, "errors: <class 'int'> is no class of exceptions"),
        ({"key": {"a": 5}}, "the rule for 'a' is 5"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(cache: Any, options: Any, message: str):
    with pytest.raises((TypeError, ValueError), match=message):
        cache.cached(**options)(lambda a: a)


def test_what_is_no_function_is_refused(cache: Any):
    with pytest.raises(TypeError, match="is no function"):
        cache.cached("name")


def test_explain_names_the_argument_that_made_a_miss(cache: Any):
    @cache.cached(version="1")
    def f(a: int, b: int) -> int:
        return a + b

    assert "a miss" in f.explain(1, 2)
    f(1, 2)
    assert "a hit" in f.explain(1, 2)
    assert "argument 'b' differs from the nearest result that is kept: 2 there, 3 here" in f.explain(1, 3)


def test_explain_names_the_version_that_is_kept(cache: Any):
    def f() -> None: ...

    cache.cached(version="1", name="f()")(f)()
    said = cache.cached(version="2", name="f()")(f).explain()
    assert "it is kept for version '1'; the version is '2' now" in said


def test_results_of_a_reopened_cache_are_found(tmp_path: Path):
    for _ in range(2):
        with dolium.Cache(tmp_path) as cache:
            wrapped = cache.cached(version="1", name="f()")(lambda a: [*calls(a)])
            assert wrapped([1, {2}]) == [[1, {2}]]
    assert len(calls) == 1


def test_a_disk_that_refuses_keys_fails_no_call(tmp_path: Path):
    with dolium.Cache(tmp_path, disk=dolium.JSONDisk) as cache:
        wrapped = cache.cached(version="1")(lambda a: [*calls(a)])
        assert wrapped(1) == wrapped(1) == [1]
        with pytest.warns(dolium.UnstoredResultWarning):
            assert wrapped([2]) == wrapped([2]) == [[2]]
    assert len(calls) == 3


def test_wrapped_functions_count_as_the_functions_they_wrap(cache: Any):
    def make(factor: int, version: str | None) -> Any:
        @cache.cached(version=version)
        def times(x: int) -> int:
            return x * factor

        @cache.cached(version="1")
        def outer(x: int) -> int:
            return times(x)

        return outer

    for version in (None, "1"):
        assert [make(factor, version)(5) for factor in (2, 3, 2)] == [10, 15, 10]
