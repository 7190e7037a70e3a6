"""Keys get the bytes that Python's own pickle gives them, without calling it."""

from __future__ import annotations

import datetime as dt
import enum
import io
import pickle
import pickletools
import uuid
from typing import Any

import pytest
from dolium._dolium import _canonical
from hypothesis import given
from hypothesis import strategies as st

PROTOCOLS = (4, 5)
LONGEST = 64 * 1024
"""Longer keys are stored by their digest: `regressions/test_keys_cost_their_graph.py` looks at their frames."""


def without_memo(value: Any, protocol: int) -> bytes:
    """Python's pickle without references to what was written before."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol)
    pickler.fast = True
    pickler.dump(value)
    return pickletools.optimize(buffer.getvalue())


class Color(enum.Enum):
    RED = "r"
    BLUE = (1, 2)


class Number(enum.IntEnum):
    ONE = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Outer:
    class Inner(enum.Enum):
        X = 5


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**3000), max_value=2**3000)
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.timedeltas()
    | st.sampled_from([*Color, *Number, *Flags, Flags.A | Flags.B, Outer.Inner.X])
)
keys = st.recursive(scalars, lambda inner: st.lists(inner, max_size=6).map(tuple), max_leaves=20)
# A frozenset of one element has one order only.
keys |= keys.map(lambda key: (frozenset([key]), frozenset()))


@given(keys, st.sampled_from(PROTOCOLS))
def test_bytes_are_those_of_pickle(key: Any, protocol: int) -> None:
    ours = _canonical(key, protocol)
    assert ours == without_memo(key, protocol)
    assert repr(pickle.loads(ours)) == repr(key)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [0, 255, 256, 65_530, 65_531, 65_532, 65_535, 65_536, 65_537, 200_000])
def test_frames_are_cut_like_those_of_pickle(size: int, protocol: int) -> None:
    for key in (("x" * size,), (b"x" * size, 1, "y"), ("a", b"x" * size), ("é" * size, 2**64, b"x" * size)):
        expected = pickletools.optimize(pickle.dumps(key, protocol))
        assert _canonical(key, protocol) == expected or len(expected) > LONGEST
    many = tuple(range(size))
    expected = without_memo(many, protocol)
    assert _canonical(many, protocol) == expected or len(expected) > LONGEST


@given(
    st.frozensets(st.integers() | st.text() | st.tuples(st.integers(), st.text())), st.sampled_from(PROTOCOLS)
)
def test_equal_frozensets_have_equal_bytes(value: frozenset[Any], protocol: int) -> None:
    ours = _canonical((value,), protocol)
    assert pickle.loads(ours) == (value,)
    # Another order of insertion, hence often of iteration.
    assert _canonical((frozenset(sorted(value, key=repr, reverse=True)),), protocol) == ours
    elements = sorted(without_memo((x,), protocol)[11:-2] for x in value)
    assert ours.endswith(b"(" + b"".join(elements) + b"\x91\x85.")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_object_twice_is_written_twice(protocol: int) -> None:
    text = "".join(["a", "b"])
    once = _canonical((text, text), protocol)
    assert once == _canonical((text, "".join(["a", "b"])), protocol)
    assert once == without_memo((text, text), protocol)
    assert once != pickletools.optimize(pickle.dumps((text, text), protocol))


class Text(str):
    __slots__ = ()


class Pair(tuple):  # type: ignore[type-arg]
    __slots__ = ()


class Day(dt.date):
    pass


class Loud(enum.Enum):
    A = 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Loud, (1,)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "key",
    [
        (Text("a"),),
        Pair((1, 2)),
        ([1],),
        ({1: 2},),
        (object,),
        (Loud.A,),
        uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe),
        Day(2020, 1, 1),
    ],
    ids=repr,
)
def test_what_is_not_plain_is_left_to_pickle(key: Any, protocol: int) -> None:
    """Subclasses may pickle as they please, so they are never written natively, or just as they are."""
    ours = _canonical(key, protocol)
    assert ours == without_memo(key, protocol)


@pytest.mark.parametrize("protocol", range(4))
def test_older_protocols_are_left_to_pickle(protocol: int) -> None:
    assert _canonical((1, "a"), protocol) == pickletools.optimize(pickle.dumps((1, "a"), protocol))
