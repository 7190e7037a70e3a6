"""Fingerprints: equal if and only if types and contents are equal, in every process and on every Python."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import importlib.resources
import math
import os
import pathlib
import pickle
import re
import subprocess
import sys
import threading
import time
import types
import uuid
import weakref
import zoneinfo
from typing import Any

import attrs
import blake3
import dolium
import pydantic
import pytest
from dolium import UnkeyableError, fingerprint
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that depend on the code object alone: these tests are of names, closures and defaults."""

    def code(function: Any) -> str:
        return function.__code__.co_code.hex() if hasattr(function, "__code__") else function.__qualname__

    monkeypatch.setitem(sys.modules, "dolium.functions.version", types.SimpleNamespace(code=code))


# A second implementation, after docs/design.md


def leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def real(number: float) -> bytes:
    import struct

    return b"\0\0\0\0\0\0\xf8\x7f" if math.isnan(number) else struct.pack("<d", number)


def digest(encoding: bytes) -> bytes:
    return blake3.blake3(b"\x01" + encoding).digest()[:20]


def form(value: Any) -> bytes:
    encoding = encode(value)
    return encoding if len(encoding) <= 64 else b"#" + digest(encoding)


def encode(value: Any) -> bytes:
    kind = type(value)
    if value is None or kind is bool or value is ...:
        return {None: b"n", False: b"f", True: b"t", ...: b"e"}[value]
    if kind is int:
        bits = (value if value >= 0 else ~value).bit_length()
        return sized(b"i", value.to_bytes(bits // 8 + 1 if value else 0, "little", signed=True))
    if kind is float:
        return b"d" + real(value)
    if kind is complex:
        return b"c" + real(value.real) + real(value.imag)
    if kind is str:
        return sized(b"s", value.encode("utf-8", "surrogatepass"))
    if kind in (bytes, bytearray):
        return sized(b"b" if kind is bytes else b"B", bytes(value))
    if kind in (tuple, list):
        return (b"(" if kind is tuple else b"[") + leb(len(value)) + b"".join(map(form, value))
    if kind in (set, frozenset):
        return (b"{" if kind is set else b"<") + leb(len(value)) + b"".join(sorted(map(form, value)))
    if kind is dict:
        entries = sorted(form(key) + form(item) for key, item in value.items())
        return b":" + leb(len(value)) + b"".join(entries)
    assert kind in (range, slice)
    return (b"r" if kind is range else b"l") + form(value.start) + form(value.stop) + form(value.step)


def sized(tag: bytes, data: bytes) -> bytes:
    return tag + leb(len(data)) + data


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=80)
hashables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | texts
    | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values = st.recursive(
    hashables | st.builds(range, st.integers(-9, 9)) | st.builds(bytearray, st.binary(max_size=80)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(hashables, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
    ),
    max_leaves=12,
)
few = st.recursive(
    st.sampled_from([0, 1, 1.0, True, False, 0.0, -0.0, "", "1", b"", b"1", None, float("nan"), 1j]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(texts, inner, max_size=2)
    ),
    max_leaves=3,
)


def reordered(value: Any) -> Any:
    """The same contents, made in another order, and nothing shared."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(reordered, value))
    if isinstance(value, dict):
        return {reordered(key): reordered(item) for key, item in reversed(value.items())}
    if isinstance(value, (set, frozenset)):
        return type(value)(reversed(list(map(reordered, value))))
    return value


@given(values)
@settings(deadline=None)
def test_fingerprint_is_what_the_design_says(value: Any) -> None:
    assert fingerprint(value) == digest(encode(value))


@given(values)
@settings(deadline=None)
def test_copies_share_a_fingerprint(value: Any) -> None:
    expected = fingerprint(value)
    assert fingerprint(copy.deepcopy(value)) == expected
    assert fingerprint(pickle.loads(pickle.dumps(value))) == expected
    assert fingerprint(reordered(value)) == expected


@given(few, few)
@settings(deadline=None, max_examples=400)
def test_fingerprints_are_equal_iff_values_are(one: Any, other: Any) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (encode(one) == encode(other))


def test_types_of_equal_numbers_count() -> None:
    import numpy as np

    found = {fingerprint(value) for value in (1, 1.0, True, 1 + 0j, np.int64(1), np.int32(1), np.float64(1))}
    assert len(found) == 7
    assert fingerprint(0.0) != fingerprint(-0.0)
    assert fingerprint(float("nan")) == fingerprint(-math.nan)


@pytest.mark.parametrize("size", [63, 64, 65, 1 << 16, (1 << 20) + 3])
def test_text_and_bytes_of_any_length_count_whole(size: int) -> None:
    for value in (b"x" * size, "x" * size, bytearray(b"x" * size)):
        assert fingerprint(value) == digest(encode(value))
        assert fingerprint([value, value]) == digest(encode([value, value]))
    assert fingerprint(b"x" * size) != fingerprint(b"x" * (size - 1) + b"y")


def test_long_lists_are_hashed_as_they_grow() -> None:
    value = [[*range(50_000)], {"a": ("x" * 20,) * 5_000}]
    assert fingerprint(value) == digest(encode(value))


def test_large_integers_count_whole() -> None:
    for bits in (62, 63, 64, 65, 127, 128, 500, 5000):
        for number in (1 << bits, (1 << bits) - 1, -(1 << bits), -(1 << bits) - 1):
            assert fingerprint(number) == digest(encode(number)), number


# Golden values: one per row of the table, the same on every Python


class Color(enum.Enum):
    RED = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Card:
    suit: str
    rank: int = 1


@attrs.define
class Coin:
    value: int


class Model(pydantic.BaseModel):
    name: str
    size: int = 3


class Named(str):
    pass


class Own:
    def __fingerprint__(self) -> object:
        return "own"


def golden() -> dict[str, Any]:
    import numpy as np
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from PIL import Image
    from scipy import sparse

    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    moment = datetime.datetime(2026, 11, 27, 12, 30, 1, 5, tzinfo=zone)
    image = Image.new("P", (3, 2), 1)
    image.putpalette([1, 2, 3, 4, 5, 6])
    fields = np.array([(1, 2.5), (3, 4.5)], np.dtype([("a", "<i4"), ("b", "<f8")], align=True))
    frame = {"n": [1, 2], "t": ["a", "b"]}
    return {
        "none": None,
        "number": [True, 2**70, -1, 1.5, 2j, float("nan")],
        "text": ["", "ä\ud800", "x" * 100, b"b", bytearray(b"B")],
        "containers": [(1,), [1], {1, "a"}, frozenset({2}), {"b": 1, "a": ()}, range(3), slice(1, None)],
        "ordered dict": collections.OrderedDict(b=1, a=2),
        "named tuple": Point(1, 2),
        "enum": [Color.RED, Right.READ | Right.WRITE],
        "decimal": [decimal.Decimal("1.50"), decimal.Decimal("NaN"), fractions.Fraction(1, 3)],
        "uuid": uuid.UUID(int=5),
        "path": [pathlib.PurePosixPath("/a/b"), pathlib.PureWindowsPath("c:/x")],
        "time": [moment, moment.date(), moment.timetz(), datetime.timedelta(1, 2, 3), datetime.timezone.utc],
        "pattern": re.compile("a+", re.IGNORECASE),
        "dataclass": Card("hearts"),
        "attrs": Coin(2),
        "pydantic": Model(name="x"),
        "subclass": Named("x"),
        "array": np.arange(6, dtype="<i4").reshape(2, 3),
        "big-endian": np.arange(3, dtype=">f8"),
        "structured": fields,
        "times": np.array(["2026-01-01"], "M8[s]"),
        "masked": np.ma.masked_array(np.array([1.0, 2.0]), mask=[False, True], fill_value=9.0),
        "objects": np.array([1, "a", None], object),
        "scalar": [np.float32(1.5), np.str_("x"), np.bool_(True)],
        "dtype": [np.dtype("<i4"), fields.dtype],
        # pandas 3 makes texts of another dtype than pandas 2, if it is not told which.
        "frame": pd.DataFrame(
            {
                "n": np.array([1, 2], "<i8"),
                "c": pd.Categorical.from_codes([0, 1], pd.Index(["a", "b"], dtype=object)),
            }
        ).set_axis(pd.Index(["n", "c"], dtype=object), axis=1),
        "series": pd.Series(pd.array([1, None], dtype="Int64"), name="s"),
        "arrow": pa.table(frame),
        "polars": pl.DataFrame(frame),
        "sparse": sparse.csr_array(np.array([[0.0, 1.0], [2.0, 0.0]])),
        "image": image,
        "functions": [len, [1].index, str.upper, int, functools.partial(len, [1]), math],
        "own": Own(),
    }


GOLDEN: dict[str, str] = {
    "none": "876994339381e5fb02b5faa6f50b781669d1b06f",
    "number": "b61616132ec45dc65e11a649d8a5e3a30d11e0c0",
    "text": "cf838b5d50289490d3a4e170686bc4d31c42774f",
    "containers": "91111c49a97817490405d982afde066a76806329",
    "ordered dict": "4c9586573c23d288635e63bd567fa59b4578767d",
    "named tuple": "37b699ead210f92287f3e2fa45fc88e1184b9eda",
    "enum": "033566799d991e83f5609f57ddd164da8d32ac4d",
    "decimal": "3abdac92ad35d7c43c2af74387a0e6ab1406eebe",
    "uuid": "b8392eeb0ef355535ffdc4194fe11073d23819dd",
    "path": "593cf5d6660ba6ed274b07a62cd87a7cf77c9500",
    "time": "a9b87fa1f7ddf298ab5cf37750b3837e8eab3b46",
    "pattern": "79a73bd0a59fecfc959f0f9328be3e955828c28d",
    "dataclass": "ba9b57edcdcf424edeb88119728f30176db65680",
    "attrs": "ac04d1ed04c8cdb1eecc011dac4f3c3bb5a2558a",
    "pydantic": "cc854edbfd6361b394a0a98320f83c8a39a36390",
    "subclass": "7a52d2fdd37373839247127396952c06f225b2d2",
    "array": "615fce3275299c218cc2c1d7481f3c564f9ea1ac",
    "big-endian": "b380bef1a6c8f764776860c579cb1cd6b48d4503",
    "structured": "ce5d218ae12284b4139f765e675a32b67435ae71",
    "times": "7dba325688ea1878522f0aec987f84e84b8724f1",
    "masked": "833bc3a77e1156cbd1a0f4d4384f5e00775a57d8",
    "objects": "c3af1c3f81b9126343997ae05391a6d210febf22",
    "scalar": "07ff935d922f18f078c759b8ecb78a925fdf5326",
    "dtype": "5352f21a1d4e930cb54c1df43fdac394e9a6fb9e",
    "frame": "b6b16ab887845dae4aa95af09e9af93923d3505c",
    "series": "33335dd2a40536eb3ff6725f985152dcb0221411",
    "arrow": "614cf19fbce301721b8b7fdcd70570ed30291efb",
    "polars": "b85bdc544da5145fe179a714b319c82960e024b0",
    "sparse": "411325f01ddc5a9ed7f97fa7344cd4bc78334af3",
    "image": "31985f57c1e577a323ac08450cdb85154015b306",
    "functions": "e10cbb7e9be9800015af9b427df5629a9823b323",
    "own": "f8468eba4b23e55f649a1bbdfbebf21433542d2c",
}


def test_golden_fingerprints_stay_what_they_are() -> None:
    found = {name: fingerprint(value).hex() for name, value in golden().items()}
    assert found == GOLDEN


def test_rows_of_the_table_differ() -> None:
    assert len(set(map(fingerprint, golden().values()))) == len(golden())


PROGRAM = """
import sys
sys.path[:0] = {path!r}
from package import test_fingerprint
from dolium import fingerprint
print({{name: fingerprint(value).hex() for name, value in test_fingerprint.golden().items()}})
"""


def test_T15_processes_of_any_hash_seed_agree() -> None:
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    program = PROGRAM.format(path=[tests])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )
        for seed in range(6)
    ]
    found = {process.communicate(timeout=100)[0] for process in running}
    assert len(found) == 1
    assert str(GOLDEN) == found.pop().strip()


# Objects


def test_instances_count_with_all_that_they_keep() -> None:
    @dataclasses.dataclass
    class Shape:
        sides: int

        @functools.cached_property
        def name(self) -> str:
            return f"{self.sides}-gon"

    one, other = Shape(3), Shape(3)
    before = fingerprint(one)
    assert one.name == "3-gon"
    assert fingerprint(one) == before == fingerprint(other)
    other.hidden = 1  # type: ignore[attr-defined]
    assert fingerprint(other) != before


def test_slots_of_every_base_count() -> None:
    @dataclasses.dataclass(slots=True)
    class Base:
        x: int

    class Below(Base):
        __slots__ = ("__secret",)

        def __init__(self, x: int, secret: int) -> None:
            super().__init__(x)
            self.__secret = secret

    assert fingerprint(Below(1, 2)) == fingerprint(Below(1, 2))
    assert len({fingerprint(value) for value in (Base(1), Below(1, 2), Below(1, 3), Below(2, 2))}) == 4


def test_subclasses_count_by_type_contents_and_attributes() -> None:
    class Money(float):
        unit = "EUR"

    class Table(dict):
        def items(self) -> Any:
            return []

    class Moment(datetime.datetime):
        pass

    class Price(decimal.Decimal):
        pass

    cheap, dear = Money(1.5), Money(1.5)
    assert fingerprint(cheap) == fingerprint(dear) != fingerprint(1.5)
    dear.unit = "USD"
    assert fingerprint(cheap) != fingerprint(dear)
    assert fingerprint(Table(a=1)) != fingerprint(Table(a=2))
    assert fingerprint(Moment(2026, 1, 1)) != fingerprint(datetime.datetime(2026, 1, 1))
    assert fingerprint(Price("1")) != fingerprint(Price("2"))


def test_classes_that_may_hide_state_are_refused() -> None:
    class Plain:
        pass

    hiding = (
        collections.defaultdict(int),
        collections.deque(),
        Plain(),
        object(),
        iter([]),
        threading.Lock(),
    )
    with (importlib.resources.files("tzdata") / "zoneinfo/UTC").open("rb") as file:
        nameless = zoneinfo.ZoneInfo.from_file(file)
    for value in (*hiding, nameless):
        with pytest.raises(UnkeyableError):
            fingerprint(value)


def test_zones_and_folds_count() -> None:
    berlin, rome = zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("Europe/Rome")
    times = [
        datetime.datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold)
        for zone in (berlin, rome, None)
        for fold in (0, 1)
    ]
    assert len(set(map(fingerprint, times))) == 6


def test_pydantic_fields_that_were_set_count() -> None:
    class Loose(pydantic.BaseModel, extra="allow"):
        x: int = 1
        _hidden: int = pydantic.PrivateAttr(default=0)

    assert fingerprint(Loose(x=1)) == fingerprint(Loose(x=1)) != fingerprint(Loose())
    assert fingerprint(Loose(x=1, y=2)) != fingerprint(Loose(x=1, y=3))
    changed = Loose(x=1)
    changed._hidden = 5
    assert fingerprint(changed) != fingerprint(Loose(x=1))


def test_registered_function_speaks_for_a_type() -> None:
    class Client:
        def __init__(self, url: str) -> None:
            self.url = url
            self.lock = threading.Lock()

    class Special(Client):
        pass

    with pytest.raises(UnkeyableError):
        fingerprint(Client("a"))
    fingerprint.register(Client, lambda client: client.url)
    assert fingerprint(Client("a")) == fingerprint(Client("a")) != fingerprint(Client("b"))
    assert fingerprint(Special("a")) != fingerprint(Client("a"))
    fingerprint.register(Client, lambda client: None)
    assert fingerprint(Client("a")) == fingerprint(Client("b"))


def test_register_refuses_what_cannot_speak() -> None:
    for kind in (int, dict, type(None), object, "Client"):
        with pytest.raises(TypeError, match=r"fingerprint\.register"):
            fingerprint.register(kind, str)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no function"):
        fingerprint.register(Own, "x")  # type: ignore[arg-type]


def test_method_of_an_object_speaks_for_it() -> None:
    class Client:
        def __init__(self, url: str) -> None:
            self.url = url

        def __fingerprint__(self) -> object:
            return self.url

    assert fingerprint(Client("a")) == fingerprint(Client("a")) != fingerprint(Client("b"))
    assert fingerprint(Own()) == fingerprint(Own()) != fingerprint("own")


def test_types_are_not_kept_alive() -> None:
    class Passing(str):
        pass

    fingerprint(Passing("x"))
    reference = weakref.ref(Passing)
    del Passing
    gc.collect()
    assert reference() is None


# Functions


def make(number: Any) -> Any:
    def inner(x: int) -> Any:
        return number, x

    return inner


def test_functions_count_with_closures_and_defaults() -> None:
    assert fingerprint(make(1)) == fingerprint(make(1)) != fingerprint(make(2))
    one, other = [lambda x=n: x for n in (1, 2)]
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(functools.partial(make, 1)) != fingerprint(functools.partial(make, 2))
    assert fingerprint([1].append) == fingerprint([1].append) != fingerprint([2].append)
    assert fingerprint(Card("a").__init__) != fingerprint(Card("b").__init__)


def test_function_that_calls_itself_has_a_fingerprint() -> None:
    def outer() -> Any:
        def fact(n: int) -> int:
            return 1 if n < 2 else n * fact(n - 1)

        return fact

    assert fingerprint(outer()) == fingerprint(outer())


def test_empty_free_variables_are_values() -> None:
    def outer(fill: bool) -> Any:
        def inner() -> Any:
            return late

        if fill:
            late = None
        else:
            del fill
        return inner

    assert fingerprint(outer(False)) == fingerprint(outer(False)) != fingerprint(outer(True))


# Refusals


class Client:
    """A type without a fingerprint, of a module that is private."""


Client.__module__, Client.__qualname__ = "httpx._client", "Client"


@pytest.mark.parametrize(
    ("value", "way"),
    [
        ({"a": [0, {"client": Client()}]}, "the value['a'][1]['client'] is an httpx.Client,"),
        (Card("x", Client()), "the value.rank is an httpx.Client,"),  # type: ignore[arg-type]
        ({Client(): 1}, "the value.keys() is an httpx.Client,"),
        ([{1, Client()}], "the value[0]{…} is an httpx.Client,"),
        (functools.partial(len, Client()), "the value.args[0] is an httpx.Client,"),
        (make(Client()), "the value.__closure__['number'] is an httpx.Client,"),
        (iter([]), "the value is a list_iterator,"),
    ],
)
def test_refusal_names_the_part(value: Any, way: str) -> None:
    with pytest.raises(UnkeyableError, match=re.escape(way)):
        fingerprint(value)
    assert issubclass(UnkeyableError, (TypeError, dolium.DoliumError))


def test_refused_value_has_no_fingerprint_in_part() -> None:
    circle: list[Any] = [1, {}]
    circle[1]["again"] = circle
    with pytest.raises(UnkeyableError, match="the value contains itself"):
        fingerprint(circle)
    with pytest.raises(UnkeyableError, match=r"the value\['x'\] contains itself"):
        fingerprint({"x": circle})
    card = Card("x")
    card.suit = card  # type: ignore[assignment]
    with pytest.raises(UnkeyableError, match="contains itself"):
        fingerprint(card)


def test_error_of_a_registered_function_is_raised() -> None:
    class Broken:
        def __fingerprint__(self) -> object:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fingerprint([Broken()])


# The acceptance tests of public threads


def test_t01_shared_parts_do_not_count() -> None:
    part = [1, 2, "x" * 100]
    assert fingerprint((part, part)) == fingerprint((part, copy.copy(part)))
    text = "abc"
    assert fingerprint([text, text]) == fingerprint(["abc", "".join("abc")])


def test_t01_shared_parts_are_walked_once() -> None:
    graph: Any = [1]
    for _ in range(40):
        graph = [graph, graph]
    start = time.monotonic()
    fingerprint(graph)
    assert time.monotonic() - start < 20  # 2^40 parts would take days

    class Counted:
        calls = 0

        def __fingerprint__(self) -> object:
            Counted.calls += 1
            return "x" * 10_000

    counted = Counted()
    fingerprint([[*range(2000)], [counted] * 1000])
    assert Counted.calls == 1


def test_t03_keys_are_never_compared() -> None:
    nan = decimal.Decimal("NaN")
    value = {nan: 1, decimal.Decimal("-NaN"): 2, "a": 3, None: 4, 1j: 5}
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))
    assert fingerprint({nan, "a", 1}) == fingerprint({1, "a", nan})
    assert fingerprint({float("nan"): 1, float("-nan"): 2}) != fingerprint({float("nan"): 2})


def test_t10_value_that_cannot_be_told_raises() -> None:
    with pytest.raises(UnkeyableError):
        fingerprint({"model": "x", "tools": [Client()]})


def test_t11_depth_has_no_limit() -> None:
    def nested(inner: Any, depth: int) -> Any:
        for _ in range(depth):
            inner = [inner]
        return inner

    assert fingerprint(nested(1, 50_000)) != fingerprint(nested(2, 50_000))
    assert fingerprint(nested(1, 50_000)) == fingerprint(nested(1, 50_000))


def test_t14_containers_of_the_same_items_differ() -> None:
    same = ([0, 1], (0, 1), {0, 1}, frozenset({0, 1}), range(2), {0: 1}, b"\0\1", bytearray(b"\0\1"))
    assert len(set(map(fingerprint, same))) == len(same)


def test_t17_deep_parts_of_a_prompt_count() -> None:
    def prompt(image: str) -> Any:
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]}]

    assert fingerprint(prompt("data:1")) != fingerprint(prompt("data:2"))


# The process


def test_interpreter_runs_while_memory_is_hashed() -> None:
    data = bytearray(300_000_000)
    ticks = 0
    done = threading.Event()

    def hash_it() -> None:
        fingerprint(data)
        done.set()

    thread = threading.Thread(target=hash_it)
    thread.start()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    assert ticks > 2


def test_import_of_dolium_imports_no_fingerprints() -> None:
    program = (
        "import sys, dolium; print([name for name in sys.modules if name.startswith('dolium.functions.f')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    # A lock waits as a flight does.
    assert found.stdout.strip() == "['dolium.functions.flight']"


def test_fingerprints_import_no_library() -> None:
    program = """
import sys, dolium
before = {*sys.modules}
dolium.fingerprint([1, "a", {2: range(3)}, (), sys])
new = sys.modules.keys() - before
print(sorted({"dataclasses", "inspect", "numpy", "pandas", "pyarrow"} & new))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
