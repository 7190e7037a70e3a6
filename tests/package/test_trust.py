"""Foreign pickles: plain data loads, everything else is refused before any of it runs.

Each attack is tried with every protocol, and would leave a file behind if it ran.
"""

from __future__ import annotations

import _codecs
import builtins
import collections
import copyreg
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import logging
import math
import operator
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import threading
import types
import uuid
import zoneinfo
from typing import Any

import pytest
from dolium._dolium import plain_names
from dolium.errors import DoliumError, UntrustedValueError
from dolium.trust import loads, names
from helpers.names import named
from hypothesis import given
from hypothesis import strategies as st

PROTOCOLS = range(6)
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def same(a: object, b: object) -> bool:
    """Equal, of equal types all the way down, and NaN is NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, (list, tuple, collections.deque)):
        return len(a) == len(b) and all(map(same, a, b))  # type: ignore[arg-type]
    if isinstance(a, dict):
        return len(a) == len(b) and all(  # type: ignore[arg-type]
            same(x, y)
            for x, y in zip(a.items(), b.items(), strict=True)  # type: ignore[attr-defined]
        )
    return a == b


# -- Plain data loads -----------------------------------------------------------------------------

PLAIN = [
    None, True, False, 0, 255, 256, -1, 2**31, -(2**63), 2**2000, -(2**2000),
    1.5, -0.0, math.inf, math.nan, 1 + 2j,
    "", "text", "\ud800", "é" * 300, "line\nline\\", b"", b"\x00\xff\n", bytearray(b""), bytearray(b"\xff"),
    [], [1, [2]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": {1: None}}, set(), {1, 2},
    frozenset(), frozenset({(1, "a")}), range(3), range(5, 0, -2), slice(1, None, 2), ...,
    dt.date(2020, 2, 29), dt.date.max, dt.time(1, 2, 3, 4), dt.time(1, fold=1), dt.datetime.max,
    dt.datetime(2020, 1, 2, 3, 4, 5, 6, fold=1), dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc),
    dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=-3), "name")), dt.timezone.utc,
    dt.timedelta(-1, 2, 3), dt.timezone(dt.timedelta(minutes=1)),
    decimal.Decimal("1.50"), decimal.Decimal("-Infinity"), fractions.Fraction(-1, 3),
    uuid.UUID(int=5), uuid.UUID(int=2**127), uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe),
    [uuid.UUID(int=n) for n in range(3)],
    pathlib.Path("/a/b"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("c:/x"),
    collections.OrderedDict(a=1, b=2), collections.deque([1, 2], 5), collections.deque([1]),
    collections.defaultdict(list, a=[1]), collections.defaultdict(None, a=1), collections.Counter("aab"),
]  # fmt: skip


@every_protocol
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_plain_data_loads(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    loaded = loads(data)
    assert same(loaded, value)
    # Both at once, and nested: values that need the interpreter next to those that do not.
    for outer in ([value, value], {"key": value}, (value, uuid.UUID(int=3))):
        assert same(loads(memoryview(pickle.dumps(outer, protocol))), outer)


@every_protocol
def test_details_that_equality_does_not_see(protocol: int) -> None:
    deque = loads(pickle.dumps(collections.deque([1], 5), protocol))
    assert deque.maxlen == 5
    table = loads(pickle.dumps(collections.defaultdict(list), protocol))
    table["new"].append(1)
    assert table == {"new": [1]}
    for moment in (dt.datetime(2020, 1, 1, fold=1), dt.time(1, fold=1)):
        data = pickle.dumps(moment, protocol)
        assert loads(data).fold == pickle.loads(data).fold == (protocol > 3)
    assert loads(pickle.dumps(uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe), protocol)).is_safe.value == 0


@every_protocol
def test_identity_and_cycles_survive(protocol: int) -> None:
    value: list[Any] = [uuid.UUID(int=1)]
    value += [value[0], value]
    loaded = loads(pickle.dumps(value, protocol))
    assert loaded[0] is loaded[1]
    assert loaded[2] is loaded


@every_protocol
def test_time_zones_load(protocol: int) -> None:
    try:
        zone = zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("no time zones here")
    value = dt.datetime(2020, 7, 1, tzinfo=zone)
    loaded = loads(pickle.dumps([value, zone], protocol))
    assert loaded == [value, zone]
    assert loaded[0].utcoffset() == dt.timedelta(hours=2)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.dates() | st.times() | st.datetimes() | st.timedeltas() | st.uuids() | st.decimals()
    | st.complex_numbers() | st.fractions(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(plain, st.sampled_from(PROTOCOLS))
def test_what_loads_here_is_what_pickle_loads(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert pickle.dumps(loads(data), 2) == pickle.dumps(pickle.loads(data), 2)


def test_what_follows_the_pickle_is_ignored() -> None:
    for value in ([1], uuid.UUID(int=1)):
        assert loads(pickle.dumps(value) + b"\xf7dm\xf5" + bytes(20)) == value


# -- numpy ----------------------------------------------------------------------------------------

try:
    import numpy as np
except ImportError:
    np = None
needs_numpy = pytest.mark.skipif(np is None, reason="numpy is not installed")


def arrays() -> list[Any]:
    assert np is not None
    return [
        np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(5),
        np.zeros((0, 3)),
        np.array([True, False]), np.array([1 + 2j]), np.array([1], ">i4"), np.array(["a", "bcd"]),
        np.array([b"a", b"\xff\xfe"]), np.array(["2020-01-01", "NaT"], "M8[D]"), np.array([5], "m8[25ms]"),
        np.array([5], "m8"), np.zeros(2, [("a", ">f4"), ("b", "U3"), ("c", "i2", (2, 2))]),
        np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)), np.zeros(1, [(("title",
        "name"), "i4")]),
        np.zeros(3, "V5"), np.float16([1.5]), np.longdouble([1.5]),
        np.float64(1.5), np.int8(-3), np.bool_(True), np.str_("text"), np.bytes_(b"x"), np.void(b"ab"),
        np.datetime64("2020-01-01T00:00", "ns"), np.timedelta64(3, "h"), np.complex64(1j),
        np.zeros(1, [("a", "i4"), ("b", "f8")])[0], np.dtype("<f4"), np.dtype([("a", "i4")]),
    ]  # fmt: skip


@needs_numpy
@every_protocol
@pytest.mark.parametrize("index", range(len(arrays()) if np is not None else 0))
def test_arrays_and_scalars_load(index: int, protocol: int) -> None:
    value = arrays()[index]
    loaded = loads(pickle.dumps([value, value, 1], protocol))[1]
    assert type(loaded) is type(value)
    if isinstance(value, np.dtype):
        assert loaded == value
        return
    assert loaded.dtype == value.dtype
    assert loaded.dtype.byteorder == value.dtype.byteorder
    assert loaded.dtype.isalignedstruct == value.dtype.isalignedstruct
    assert loaded.shape == value.shape
    assert loaded.tobytes() == value.tobytes()
    assert loaded.flags.f_contiguous == value.flags.f_contiguous
    if isinstance(value, np.ndarray):
        assert loaded.flags.writeable


@needs_numpy
@every_protocol
def test_arrays_of_objects_are_refused(protocol: int, touch: Touch) -> None:
    for value in (
        np.array([touch], object),
        np.array([None], object),
        np.zeros(1, [("a", "i4"), ("b", object)]),
        np.zeros(1, [("a", object, (2,))]),
        np.dtype(object),
        np.ma.array([1]),
        np.rec.array([(1, 2)]),
        np.random.default_rng(1),
        np.add,
    ):
        refused(pickle.dumps(value, protocol))


@needs_numpy
def test_array_types_cannot_reach_beyond_their_memory() -> None:
    """numpy's own ``__setstate__`` takes these, and then reads and writes where it is told."""

    class Raw:
        def __init__(self, *parts: Any) -> None:
            self.parts = parts

        def __reduce__(self) -> Any:
            return self.parts

    def dtype(code: str, *state: Any) -> Raw:
        return Raw(np.dtype, (code, False, True), state)

    small = np.dtype("i8")
    states = [
        ("V8", 3, "|", None, ("a",), {"a": (small, 1000)}, 8, 1, 16),
        ("V8", 3, "|", None, ("a",), {"a": (small, -1000)}, 8, 1, 16),
        ("V8", 3, "|", None, ("a",), {"a": (small, 4)}, 8, 1, 16),
        ("V8", 3, "|", None, ("a",), {}, 8, 1, 16),
        ("V8", 3, "|", None, ("a",), {"a": (small, 0)}, -8, 1, 16),
        ("V8", 3, "|", (small, (-5,)), None, None, 8, 1, 0),
        ("V8", 3, "|", (small, (2**62, 2**62)), None, None, 8, 1, 0),
        ("M8", 4, "<", None, None, None, -1, -1, 0, ({}, (b"ns", 0, 1, 1))),
        ("M8", 4, "<", None, None, None, -1, -1, 0, ({}, (b"ns] , O", 1, 1, 1))),
        ("i8", 4, "<", None, None, None, -1, -1, 0, {"metadata": 1}),
    ]
    for code, *state in states:
        refused(pickle.dumps(dtype(code, *state), 2))
    # The size of a type whose code says another: the code counts.
    loaded = loads(pickle.dumps(dtype("V8", 3, "|", None, None, None, 2**40, 1, 0), 2))
    assert loaded.itemsize == 8

    rebuild = np.zeros(1).__reduce__()[0]
    for shape, data in (((5,), b"12345678"), ((-1,), b"12345678"), ((2**61, 8), b""), ((1.0,), b"12345678")):
        refused(pickle.dumps(Raw(rebuild, (np.ndarray, (0,), b"b"), (1, shape, small, False, data)), 2))
        frombuffer = np.zeros(1).__reduce_ex__(5)[0]
        refused(pickle.dumps(Raw(frombuffer, (data, small, shape, "C")), 4))
    refused(pickle.dumps(Raw(rebuild, (np.ndarray, (0,), b"b"), (1, (1,), small, False, [5])), 2))


def test_numpy_is_imported_only_for_its_own_names() -> None:
    code = (
        "import pickle, sys, uuid; from dolium.trust import loads;"
        "loads(pickle.dumps([1, uuid.UUID(int=1)])); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- Attacks --------------------------------------------------------------------------------------


class Touch:
    """Something that, if it ever ran, would leave a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def touch(tmp_path: pathlib.Path) -> Any:
    yield Touch(tmp_path / "touched")
    assert not (tmp_path / "touched").exists(), "an attack ran"


def refused(data: bytes) -> str:
    with pytest.raises(UntrustedValueError) as caught:
        loads(data)
    return str(caught.value)


def test_the_error_says_what_and_what_to_do() -> None:
    message = refused(pickle.dumps(os.getcwd))
    assert f"{os.name}.getcwd" in message
    assert 'trust="all"' in message
    assert issubclass(UntrustedValueError, DoliumError)
    assert issubclass(UntrustedValueError, ValueError)


@every_protocol
def test_a_hostile_reduce_does_not_run(protocol: int, touch: Touch) -> None:
    for value in (touch, [1, touch], {"a": (touch,)}, {touch: 1}, collections.defaultdict(list, a=touch)):
        refused(pickle.dumps(value, protocol))


class Color(enum.Enum):
    RED = 1


class Plain:
    def __setstate__(self, state: Any) -> None:
        raise AssertionError("ran")


class Reduces:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


GADGETS = [
    eval, exec, compile, open, getattr, setattr, __import__, print, type, object, map, vars, globals, super,
    os.system, os.popen, os.remove, subprocess.Popen, subprocess.run, operator.attrgetter,
    operator.itemgetter,
    operator.methodcaller, functools.partial, functools.reduce, types.FunctionType, types.CodeType,
    types.SimpleNamespace, pickle.loads, pickle.Unpickler, copyreg.__newobj__, io.FileIO, io.BytesIO,
    threading.Thread, collections.namedtuple, collections.UserDict, collections.ChainMap, pathlib.Path.unlink,
    str.format, "".join, bytes.fromhex, dt.datetime.now, uuid.uuid4, uuid.getnode, decimal.Context,
    Color, Plain,
    zoneinfo.reset_tzpath, logging.FileHandler, memoryview, property,
]  # fmt: skip


@every_protocol
@pytest.mark.parametrize("gadget", GADGETS, ids=named)
def test_no_other_callable_is_reached(gadget: Any, protocol: int) -> None:
    for args in ((), ("touch /nonexistent/x",), ("a", "b")):
        try:
            data = pickle.dumps(Reduces(gadget, args), protocol)
        except (pickle.PicklingError, TypeError, AttributeError):
            continue
        refused(data)


@every_protocol
def test_classes_and_functions_are_no_data(protocol: int) -> None:
    for value in (
        int,
        dict,
        dt.date,
        [dt.date, 1],
        (dt.date,),
        {1: bytes},
        {dt.timedelta: 1},
        uuid.UUID,
        len,
        collections.deque,
        [uuid.UUID],
        (1, (dt.timezone, 2)),
        frozenset({set}),
    ):
        refused(pickle.dumps(value, protocol))


@every_protocol
def test_instances_of_other_classes_are_refused(protocol: int) -> None:
    class_instances: list[Any] = [
        Color.RED,
        Plain(),
        Reduces(Plain, (), {"a": 1}),
        ValueError("x"),
        types.SimpleNamespace(),
    ]
    for value in class_instances:
        refused(pickle.dumps(value, protocol))


class SubDict(dict):  # type: ignore[type-arg]
    pass


class SubZone(dt.tzinfo):
    pass


@every_protocol
def test_subclasses_are_refused(protocol: int) -> None:
    for value in (SubDict(a=1), collections.defaultdict(SubDict), dt.datetime(2020, 1, 1, tzinfo=SubZone())):
        refused(pickle.dumps(value, protocol))


@every_protocol
def test_arguments_are_checked(protocol: int) -> None:
    name_arguments: list[tuple[Any, ...]] = [
        (collections.defaultdict, (os.getcwd,)),
        (collections.defaultdict, (collections.defaultdict,)),
        (collections.defaultdict, (uuid.UUID,)),
        (collections.defaultdict, (list, {1: 2})),
        (slice, (int, str)),
        (slice, (dt.date,)),
        (set, ([dt.date],)),
        (set, ((dt.date, 1),)),
        (collections.OrderedDict, ([(1, dt.date)],)),
        (collections.Counter, ({1: 2}, 3)),
        (collections.Counter, ("aab",)),
        (collections.deque, ([int],)),
        (getattr, (zoneinfo.ZoneInfo, "clear_cache")),
        (getattr, (zoneinfo.ZoneInfo, "__class__")),
        (getattr, (dt.date, "_unpickle")),
        (getattr, ({}, "_unpickle")),
        (getattr, (zoneinfo.ZoneInfo, "_unpickle", 5)),
        (zoneinfo.ZoneInfo, ("../../../etc/passwd",)),
        (zoneinfo.ZoneInfo, ("/etc/passwd",)),
        (zoneinfo.ZoneInfo, (5,)),
        (bytes, (10**12,)),
        (bytearray, (10**12,)),
        (bytearray, ("x", "rot13")),
        (complex, ("1",)),
        (decimal.Decimal, (1.5,)),
        (decimal.Decimal, ([0, (1,), 0],)),
        (fractions.Fraction, ("1e999999999",)),
        (fractions.Fraction, (1.5,)),
        (fractions.Fraction, (1, 0)),
        (range, (1, 2, 0)),
        (range, ("a",)),
        (pathlib.Path("x").__class__, (b"x",)),
        (pathlib.Path("x").__class__, (["x"],)),
        (uuid.UUID, ("00000000-0000-0000-0000-000000000000",)),
        (uuid.UUID, (), {"int": "x"}),
        (uuid.UUID, (), {"int": 1, "hex": 2}),
        (uuid.UUID, (), (None, {"int": 1})),
        (dt.date, (b"\x07\xe4\x0d\x01",)),
        (dt.date, (b"\x07\xe4\x01\x00",)),
        (dt.time, (b"\x7f\x02\x03\x00\x00\x04",)),
        (dt.datetime, (b"\x07\xe4\x01\x01\x18\x00\x00\x00\x00\x00",)),
        (dt.datetime, (2020, 1, 1)),
        (dt.datetime, (b"\x07\xe4\x01\x01\x00\x00\x00\x00\x00\x00", 5)),
        (dt.timedelta, (1.5,)),
        (dt.timedelta, (10**12,)),
        (dt.timezone, (5,)),
        (dt.timezone, (dt.timedelta(days=5),)),
        (copyreg._reconstructor, (Plain, object, None)),  # type: ignore[attr-defined]
        (copyreg._reconstructor, (dict, object, None)),  # type: ignore[attr-defined]
        (copyreg._reconstructor, (uuid.UUID, dict, {})),  # type: ignore[attr-defined]
        (_codecs.encode, ("x", "rot13")),
        (_codecs.encode, ("x", "idna")),
        (_codecs.encode, ("x",)),
        (_codecs.encode, (b"x", "hex")),
        (_codecs.decode, (b"x", "unicode_escape")),
    ]
    for parts in name_arguments:
        refused(pickle.dumps(Reduces(*parts), protocol))


# What `pickle` would not write: opcodes by hand.

DATE = b"\x8c\x08datetime\x8c\x04date\x93"
CONTAINERS = {
    "list": b"]",
    "dict": b"}",
    "set": b"\x8f",
    "tuple": b")",
    "text": b"\x8c\x01x",
    "number": b"K\x01",
    "bytearray": b"\x96\x01\0\0\0\0\0\0\0a",
    "date": DATE + b"C\x04\x07\xe4\x01\x01\x85R",
    "class": DATE,
    "maker": b"cuuid\nUUID\n",
    "uuid": b"cuuid\nUUID\n)\x81}\x8c\x03intK\x01sb",
    "ordered": b"ccollections\nOrderedDict\n)R",
    "deque": b"ccollections\ndeque\n)R",
    "path": b"cpathlib\nPurePosixPath\n\x8c\x01a\x85R",
    "fraction": b"cfractions\nFraction\nK\x01K\x02\x86R",
    "zone": b"czoneinfo\nZoneInfo\n\x8c\x03UTC\x85R",
    "decimal": b"cdecimal\nDecimal\n\x8c\x011\x85R",
}


@pytest.mark.parametrize("target", CONTAINERS, ids=str)
def test_no_attribute_is_set_and_no_state_restored(target: str) -> None:
    """BUILD sets attributes, or calls ``__setstate__``, of whatever is on the stack."""
    before = {cls: dict(vars(cls)) for cls in (dt.date, uuid.UUID, fractions.Fraction, decimal.Decimal)}
    value = CONTAINERS[target]
    states = [
        b"}\x8c\x01aK\x01s",
        b"N}\x8c\x09__class__K\x01s\x86",
        b"N}\x8c\x08__init__" + DATE + b"s\x86",
        b"}\x8c\x04keys" + DATE + b"s",
        b"N}\x8c\x0a_numerator\x8c\x01xs\x86",
        b"N}\x8c\x05_make" + DATE + b"s\x86",
        DATE,
    ]
    for state in states:
        refused(b"\x80\x05" + value + state + b"b.")
        refused(b"\x80\x05cuuid\nUUID\n0" + value + state + b"b.")
    assert before == {cls: dict(vars(cls)) for cls in before}
    assert loads(pickle.dumps(dt.date(2020, 1, 1))) == dt.date(2020, 1, 1)
    assert loads(pickle.dumps(uuid.UUID(int=1))) == uuid.UUID(int=1)


OPCODES = {
    "dotted name": b"\x80\x04\x8c\x08datetime\x8c\x08date.now\x93)R.",
    "dotted builtin": b"\x80\x04\x8c\x08builtins\x8c\x0bstr.__mro__\x93.",
    "dotted global": b"cuuid\nos.system\n(S'true'\ntR.",
    "module with a space": b"cuuid UUID\nx\n.",
    "name as bytes": b"\x80\x04C\x08datetime\x8c\x04date\x93.",
    "name of a number": b"\x80\x04K\x01K\x02\x93.",
    "python 2 system": b"cposix\nsystem\n(S'true'\ntR.",
    "python 2 eval": b"c__builtin__\neval\n(S'1'\ntR.",
    "python 2 getattr": b"c__builtin__\ngetattr\n(c__builtin__\ndict\nS'get'\ntR.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "inst of a class": b"(iuuid\nUUID\n.",
    "obj": b"(cos\nsystem\nS'true'\no.",
    "obj of a class": b"(cuuid\nUUID\nK\x01o.",
    "newobj": b"\x80\x02cos\nsystem\n)\x81.",
    "newobj of a maker": b"\x80\x02cdatetime\ndate\n)\x81.",
    "newobj of builtin": b"\x80\x02c__builtin__\nobject\n)\x81.",
    "newobj_ex": b"\x80\x04cuuid\nUUID\n)}\x92.",
    "newobj of data": b"\x80\x02]K\x01\x81.",
    "call of data": b"\x80\x02](tR.",
    "call of a result": b"\x80\x02cuuid\nUUID\n)R)R.",
    "persid": b"Pid\n.",
    "binpersid": b"K\x01Q.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "ext1": b"\x80\x02\x82\x01.",
    "ext2": b"\x80\x02\x83\x01\x01.",
    "ext4": b"\x80\x02\x84\x01\x01\0\0.",
    "half a uuid": b"\x80\x02cuuid\nUUID\n)\x81.",
    "half a uuid in a list": b"\x80\x02]cuuid\nUUID\n)\x81a.",
    "half a uuid as a key": b"\x80\x02}cuuid\nUUID\n)\x81K\x01s.",
    "uuid inside its own state": b"\x80\x02cuuid\nUUID\n)\x81q\0}U\x03inth\0sb.",
    "name in a nested tuple": b"\x80\x02cuuid\nUUID\n\x85\x85q\0]h\0a.",
    "memo of a name": b"\x80\x02cuuid\nUUID\nq\0]h\0a.",
    "items of a list": b"\x80\x02]K\x01K\x02scuuid\nUUID\n0.",
    "append to a path": b"\x80\x02cpathlib\nPurePosixPath\n)RK\x01a.",
    "append to a set": b"\x80\x04\x8fK\x01acuuid\nUUID\n0.",
    "add to a list": b"\x80\x04](K\x01\x90cuuid\nUUID\n0.",
    "odd items": b"\x80\x02}(K\x01ucuuid\nUUID\n0.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "empty": b"",
    "only stop": b".",
    "no stop": b"\x80\x04N",
    "pop beyond a mark": b"cuuid\nUUID\nK\x01(\x85.",
    "mark without end": b"cuuid\nUUID\nt.",
    "truncated": pickle.dumps(list(range(1000)))[:-5],
    "truncated text": b"X\xff\xff\xff\x7fabc",
    "text of python 2": b"cuuid\nUUID\n0U\x01\xff.",
    "bytes beyond all memory": b"\x8e\0\0\0\0\0\0\0\x01",
    "text beyond all memory": b"\x8d\0\0\0\0\0\0\0\x01",
    "bytearray beyond all memory": b"\x96\0\0\0\0\0\0\0\x01",
    "bytes of negative size": b"\x8e" + b"\xff" * 8,
    "number of negative size": b"\x8b" + b"\xff" * 4,
    "unknown memo": b"cuuid\nUUID\n0h\x05.",
    "unknown opcode": b"cuuid\nUUID\n0\xff.",
    "huge number": b"L" + b"9" * 10_000 + b"L\n." if sys.version_info >= (3, 11) else b"",
    "protocol of the future": b"\x80\x63N.",
}  # fmt: skip


@pytest.mark.parametrize("name", OPCODES, ids=str)
def test_opcodes_made_by_hand(name: str) -> None:
    refused(OPCODES[name])


def test_extension_code_of_a_refused_name_stays_refused() -> None:
    """``pickle`` keeps what an extension code stands for, and does not ask ``find_class`` again."""
    code = 0x0DFF
    copyreg.add_extension("builtins", "eval", code)
    try:
        data = pickle.dumps(eval, 2)
        assert b"\x83" in data
        refused(data)
        assert pickle.loads(data) is eval
        refused(data)
        assert loads(pickle.dumps([1, {2: "x"}])) == [1, {2: "x"}]
    finally:
        copyreg.remove_extension("builtins", "eval", code)
        copyreg.clear_extension_cache()


def test_nothing_is_imported() -> None:
    name = "this"
    assert name not in sys.modules
    for data in (
        b"cthis\ns\n.",
        b"\x80\x04\x8c\x04this\x8c\x01s\x93.",
        b"cdatetime.this\ns\n.",
        b"(ithis\ns\n.",
    ):
        refused(data)
    assert name not in sys.modules


@given(st.binary(max_size=60))
def test_noise_is_refused_or_data(noise: bytes) -> None:
    check_noise(noise)


SNIPPETS = st.sampled_from(
    [*CONTAINERS.values(), *b"()]}NKRbtaesud012.\x81\x85\x86\x87\x88\x8f\x90\x91\x93\x94".hex(" ").split()]
).map(lambda part: part if isinstance(part, bytes) else bytes.fromhex(part))


@given(st.lists(SNIPPETS, max_size=15))
def test_random_programs_are_refused_or_data(parts: list[bytes]) -> None:
    check_noise(b"\x80\x05" + b"".join(parts) + b".")


DATA = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    memoryview,
    list,
    tuple,
    dict,
    set,
    frozenset,
    type(...),
    range,
    slice,
    dt.date,
    dt.time,
    dt.datetime,
    dt.timedelta,
    dt.timezone,
    decimal.Decimal,
    uuid.UUID,
    fractions.Fraction,
    collections.deque,
    collections.OrderedDict,
    collections.Counter,
    zoneinfo.ZoneInfo,
    pathlib.PurePosixPath,
    collections.defaultdict,
)


def check_noise(data: bytes) -> None:
    try:
        value = loads(data)
    except UntrustedValueError:
        return
    todo, seen = [value], set()
    while todo:
        item = todo.pop()
        assert type(item) in DATA
        if id(item) not in seen:
            seen.add(id(item))
            if isinstance(item, dict):
                todo += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple, set, frozenset, collections.deque)):
                todo += item


def test_tuples_too_deep_to_hash_are_refused() -> None:
    """Python hashes a tuple by recursion, and no limit of its own ends that before the stack does."""
    assert "too deeply" in refused(b"}" + b")" + b"\x85" * 1_000_000 + b"Ns.")
    deep = loads(b"})" + b"\x85" * 5000 + b"Ns.")
    assert list(deep.values()) == [None]


def test_each_name_of_the_table_is_rebuilt_by_a_function() -> None:
    """The native module has the table, this package the functions; neither has one more."""
    makers = {maker for _, maker, _ in plain_names().values() if maker is not None}
    assert makers == {*names._MAKERS, *names._CONSTANTS}  # pyright: ignore[reportPrivateUsage]
    for (module, name), (present, _, _) in plain_names().items():
        found = names.lookup(module, name)
        assert found is ... or found.where == present
    with pytest.raises(UntrustedValueError):
        names.lookup("builtins", "eval")


def test_a_pickle_can_not_poison_the_next_one() -> None:
    before = dict(vars(builtins))
    for data in OPCODES.values():
        refused(data)
    assert dict(vars(builtins)).keys() == before.keys()
    for value in PLAIN:
        assert same(loads(pickle.dumps(value)), value)
