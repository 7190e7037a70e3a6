"""What comes back is what went in, and an equal key is found."""

from __future__ import annotations

import collections
import enum
import math
import subprocess
import sys
import warnings

import dolium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture
def cache(tmp_path):
    cache = dolium.Cache(tmp_path / "cache")
    yield cache
    assert [str(problem.message) for problem in cache.check()] == []
    cache.close()


@pytest.mark.parametrize("size", [1, 100, 32_766, 32_767, 32_768, 70_000, 1_000_000])
@pytest.mark.parametrize("unit", ["\r\n", "\r", "\n", "a\r\nb\rc\n", "\x85\u2028\r\n"])
def test_text_comes_back_byte_for_byte_at_every_size(cache, unit, size):
    text = (unit * (size // len(unit) + 1))[:size]
    cache["k"] = text
    assert cache["k"] == text
    cache.set_many({"k": text})
    assert cache.pop("k") == text
    cache.push(text)
    assert cache.pull()[1] == text


@settings(max_examples=50)
@given(st.text(st.characters(), max_size=50), st.integers(1, 2000))
def test_any_text_comes_back(shared, text, times):
    shared[text] = text * times
    assert shared[text] == text * times
    assert shared.pop(text) == text * times


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    cache = dolium.Cache(tmp_path_factory.mktemp("shared"))
    yield cache
    cache.close()


@settings(max_examples=50)
@given(st.binary(max_size=50), st.integers(1, 2000))
def test_any_bytes_come_back(shared, data, times):
    shared[data] = data * times
    assert shared[data] == data * times
    assert shared.pop(data) == data * times


@settings(max_examples=100)
@given(st.one_of(st.integers(), st.floats(allow_nan=False)))
def test_any_number_comes_back(shared, number):
    shared[number] = number
    assert repr(shared[number]) == repr(number)
    assert shared.pop(number) == number


def test_nan_comes_back_as_nan(cache):
    cache["nan"] = math.nan
    assert math.isnan(cache["nan"])
    assert math.isnan(cache.get("nan", tag=True)[0])
    cache["list"] = [math.nan]
    assert math.isnan(cache["list"][0])
    cache[math.nan] = "found"
    assert cache[float("nan")] == "found"
    assert cache.delete(float("nan")) is True


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud800" * 40_000])
def test_lone_surrogates_are_kept(cache, text):
    """As os.fsdecode makes them of file names that are no UTF-8."""
    cache["k"] = text
    assert cache["k"] == text
    cache[text] = 1
    assert cache[text] == 1
    assert text in list(cache)
    assert cache.delete(text) is True


def test_counters_go_past_64_bits(cache):
    cache["n"] = 2**63 - 1
    assert cache.incr("n") == 2**63
    assert cache["n"] == 2**63
    assert cache.incr("n", 2**70) == 2**63 + 2**70
    assert cache.decr("n", 2**70 + 1) == 2**63 - 1
    assert cache.incr("m", default=-(2**63), delta=-1) == -(2**63) - 1
    assert cache.incr("big", 2**200) == 2**200
    assert cache["big"] == 2**200


def test_equal_numbers_are_equal_keys_and_true_is_none_of_them(cache):
    cache[1] = "one"
    assert cache[1.0] == "one"
    assert True not in cache
    cache[True] = "true"
    assert (cache[1], cache[1.0], cache[True]) == ("one", "one", "true")


def test_equal_tuples_are_equal_keys_whatever_they_share(cache):
    """pickle writes a reference where a part is the same object; diskcache then finds nothing."""
    shared = "".join(["sh", "ared"])
    copy = "".join(["sh", "ared"])
    pair = (1, "x")
    for one, two in [
        ((shared, shared), (shared, copy)),
        ((pair, pair), ((1, "x"), (1, "x"))),
        (("f", 1000, 1000), ("f", 1000, int("1000"))),
        (((), ((),)), ((), ((),))),
        ((b"k" * 3, b"k" * 3), (b"k" * 3, bytes([107] * 3))),
    ]:
        cache[one] = "found"
        assert cache[two] == "found"
        assert cache.delete(two) is True
        assert one not in cache


class Colour(enum.Enum):
    RED = 1


class Whole(enum.IntEnum):
    ONE = 1


Point = collections.namedtuple("Point", "x y")


def test_keys_of_many_types_are_found_again_in_another_process(tmp_path):
    """Also with another hash seed: the order of a frozenset must not matter."""
    script = """
import dolium, sys, datetime, uuid, decimal, fractions, pathlib
keys = [
    None, True, 2**70, -2**70, (), (1, (2, (3,))), frozenset({"a", "b", "c", 1, 2.5, None}), (frozenset("xyz"), "k"),
    datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.time(1, 2),
    datetime.timedelta(1, 2, 3),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), uuid.UUID(int=7), decimal.Decimal("1.5"),
    fractions.Fraction(1, 3), pathlib.PurePosixPath("/a/b"), 1 + 2j, ("f", "x", "x", None, "k", "x"),
    [1, 2], {"a": 1}, {1, 2},
]
cache = dolium.Cache(sys.argv[1])
for number, key in enumerate(keys):
    if sys.argv[2] == "write":
        cache[key] = number
    else:
        assert cache.get(key) == number, (key, cache.get(key))
assert len(cache) == len(keys)
"""
    for seed, action in [("1", "write"), ("2", "read"), ("3", "read")]:
        subprocess.run(
            [sys.executable, "-c", script, tmp_path, action],
            check=True,
            env={"PATH": "/usr/bin", "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )


def test_enum_and_namedtuple_keys_differ_from_plain_ones(cache):
    cache[Colour.RED], cache[Whole.ONE], cache[Point(1, 2)], cache[(1, 2)] = (
        "enum",
        "int enum",
        "point",
        "tuple",
    )
    assert (cache[Colour.RED], cache[Whole.ONE], cache[Point(1, 2)], cache[(1, 2)]) == (
        "enum", "int enum", "point", "tuple",
    )  # fmt: skip
    assert 1 not in cache
    assert set(cache) == {Colour.RED, Whole.ONE, Point(1, 2), (1, 2)}


def test_subclasses_of_str_and_int_keep_their_type(cache):
    class Text(str):
        __slots__ = ()

    globals()["Text"] = Text
    Text.__qualname__ = "Text"
    cache["k"] = Text("x")
    assert type(cache["k"]) is Text
    cache["flag"] = True
    assert cache["flag"] is True


def test_a_value_that_cannot_be_read_is_a_miss_and_says_so_once(tmp_path):
    """dc#206, speasy, cachy: entries of classes that have gone. The row is kept."""
    script = """
import dolium, sys
class Gone:
    pass
cache = dolium.Cache(sys.argv[1])
cache["gone"], cache["also"], cache["fine"] = Gone(), [Gone()], 1
"""
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    cache = dolium.Cache(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key in ("gone", "also"):
            try:
                found = cache.get(key, "missing")
            except AttributeError:
                # What pickle says of our own pickles; a program can see which class is missing.
                found = "missing"
            assert found == "missing"
        assert cache["fine"] == 1
        assert len(cache) == 3
    cache.close()


def test_numpy_arrays_come_back_without_trust(tmp_path):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(100_000, dtype="float32").reshape(100, 1000)
    cache = dolium.Cache(tmp_path)
    cache["array"], cache["scalar"] = array, numpy.float64(1.5)
    found = cache["array"]
    assert found.dtype == array.dtype
    assert (found == array).all()
    assert cache["scalar"] == 1.5
    none = dolium.Cache(tmp_path, trust="none")
    assert (none["array"] == array).all()
    none.close()
    cache.close()
