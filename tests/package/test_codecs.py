"""The codecs: every encoder with every filter, what each refuses, and what readers make of each value."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dolium
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from dolium.codecs import Array, Arrow, Auto, Codec, Encoder, Filter, Json, Pickle, Zstd, as_codec
from helpers.children import run
from hypothesis import given, settings
from hypothesis import strategies as st


class Mirror(Filter):
    name = "tests.mirror"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    decode = encode


class Numbers(Encoder):
    name = "tests.numbers"

    def encode(self, value: Any) -> bytes:
        return ",".join(map(str, value)).encode()

    def decode(self, data: bytes) -> Any:
        return [int(part) for part in data.decode().split(",")]


@dataclasses.dataclass
class Answer:
    text: str
    tokens: list[int]


class Model(pydantic.BaseModel):
    name: str
    parts: dict[str, Answer]


TEXT = "all work and no play " * 20
ANSWER = Answer(TEXT, list(range(50)))
MODEL = Model(name="a", parts={"b": ANSWER})
SIGNAL = np.sin(np.arange(40_000) / 50)
FIELDS = np.zeros(500, [("a", "<i4"), ("b", ">f8", (2,)), ("c", [("x", "U2")])])
TABLE = pa.table({"n": range(5000), "t": [TEXT] * 5000})
FRAME = pl.DataFrame({"n": range(5000), "t": ["text"] * 5000})
PANDAS = pd.DataFrame({"n": range(500), "f": [0.5] * 500}, index=pd.RangeIndex(500, name="i"))


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        # Padding of fields holds anything, so elements are compared as values.
        alike = one.dtype == other.dtype and one.shape == other.shape
        if one.dtype.names or one.dtype.hasobject:
            return alike and np.array_equal(one, other)
        return alike and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "equals"):
        return one.equals(other)
    return one == other


VALUES: dict[str, tuple[Encoder, list[Any]]] = {
    "auto": (
        Auto(),
        [None, True, 5, 2**70, 0.5, "", TEXT, "\udcff" * 99, b"", b"b" * 999, [1, {"t": (2,)}],
         SIGNAL, np.array(["o", None]), {"a": [SIGNAL]}, TABLE, FRAME, PANDAS],
    ),
    "pickle": (Pickle(), [None, 5, {TEXT}, SIGNAL, {"a": [SIGNAL, SIGNAL[::2]], "t": TABLE}]),
    "json": (Json(), [None, True, -5, 0.5, TEXT, [], {"a": [1, {"b": None}]}, {"t": [TEXT] * 9}]),
    "json of a dataclass": (Json(Answer), [ANSWER]),
    "json of a model": (Json(Model), [MODEL]),
    "json of a container": (Json(dict[str, list[Model]]), [{"a": [MODEL, MODEL]}, {}]),
    "array": (
        Array(),
        [SIGNAL, SIGNAL.reshape(4, 100, 100), SIGNAL[::-3], np.asfortranarray(SIGNAL.reshape(200, 200)),
         np.array(5.0), np.empty((0, 3)), np.arange(9, dtype=">i2"), FIELDS, np.array(["a", "bcd"]),
         np.array(["2020-01-01", "NaT"], "M8[s]"), np.arange(5) * 1j, np.arange(5, dtype="f2"), np.arange(3) > 1],
    ),
    "arrow": (Arrow(), [TABLE, TABLE.to_batches()[0], FRAME, PANDAS]),
    "own": (Numbers(), [list(range(500))]),
}  # fmt: skip
FILTERS: dict[str, tuple[Filter, ...]] = {
    "plain": (),
    "zstd": (Zstd(),),
    "fast": (Zstd(level=-1),),
    "mirror": (Mirror(),),
    "zstd mirror": (Zstd(), Mirror()),
    "mirror zstd": (Mirror(), Zstd(level=9)),
}
MAPPED = {"pickle": Pickle(mmap=True), "array": Array(mmap=True), "arrow": Arrow(mmap=True)}
CASES = [
    pytest.param(encoder, filters, value, id=f"{name}-{how}-{number}")
    for name, (encoder, values) in VALUES.items()
    for how, filters in FILTERS.items()
    for number, value in enumerate(values)
] + [
    pytest.param(encoder, (), value, id=f"{name}-mapped-{number}")
    for name, encoder in MAPPED.items()
    for number, value in enumerate(VALUES[name][1])
]


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    with dolium.Cache(tmp_path / "cache") as cache:
        yield cache


@pytest.mark.parametrize(("encoder", "filters", "value"), CASES)
def test_each_value_comes_back_by_each_way(tmp_path: Path, encoder: Encoder, filters: Any, value: Any):
    codec = Codec(encoder, *filters)
    for size in (1 << 15, 1 << 40):
        with dolium.Cache(tmp_path / str(size), disk_min_file_size=size) as cache:
            assert cache.set("set", value, codec=codec)
            assert cache.add("add", value, codec=codec)
            assert cache.set_many({"many": value}, codec=codec) == 1
            assert same(cache.get_or_set("or", lambda: value, codec=codec), value)

            @cache.cached(version="1", codec=codec)
            def function() -> Any:
                return value

            assert same(function(), value)
            assert same(function(), value)
            assert function.info().hits == 1
            for key in ("set", "add", "many", "or"):
                assert same(cache[key], value)
                assert same(cache.get_many([key])[key], value)
            assert same(cache.pop("set"), value)
            assert cache.check() == []
        with dolium.Cache(tmp_path / str(size), codec=codec) as cache:
            cache["item"] = value
            key = cache.push(value)
            assert same(cache["item"], value)
            assert same(cache.pull()[1], value)
            assert key
            assert same(cache["add"], value)
        with dolium.Cache(tmp_path / str(size), codec=Json()) as cache:
            assert same(cache["item"], value)


def test_filter_alone_stands_for_auto():
    assert as_codec(Zstd()) == Codec(Auto(), Zstd())
    assert repr(Array(max_error=1e-3) | Zstd(9)) == "Array(max_error=0.001) | Zstd(level=9)"
    assert repr(Mirror() | Zstd()) == "Auto() | Mirror() | Zstd()"


def test_codec_of_no_kind_is_refused(cache: Any):
    for wrong in ("zstd", 3, Zstd):
        with pytest.raises(TypeError, match="codec"):
            cache.set("key", 1, codec=wrong)
        with pytest.raises(TypeError, match="codec"):
            dolium.Cache(codec=wrong)


def test_mapped_encoder_takes_no_filter():
    for encoder in MAPPED.values():
        with pytest.raises(ValueError, match="mmap"):
            encoder | Zstd()


def test_disk_subclass_takes_no_codec(tmp_path: Path):
    with pytest.raises(ValueError, match="codec"):
        dolium.Cache(tmp_path / "a", disk=dolium.JSONDisk, codec=Zstd())
    with dolium.Cache(tmp_path / "b", disk=dolium.JSONDisk) as cache:
        for store in (
            lambda: cache.set("key", 1, codec=Zstd()),
            lambda: cache.set_many({"key": 1}, codec=Zstd()),
            lambda: cache.cached(version="1", codec=Zstd())(len),
        ):
            with pytest.raises(ValueError, match="codec"):
                store()


def test_codec_is_an_option_of_the_object(tmp_path: Path):
    with dolium.FanoutCache(tmp_path / "cache", shards=2, codec=Zstd()) as cache:
        for again in (
            copy.copy(cache),
            pickle.loads(pickle.dumps(cache)),
            cache.cache("sub"),
            cache._shards[0],
        ):
            again["key"] = TEXT
            assert again.info("key").size < 100
    with dolium.FanoutCache(tmp_path / "cache", shards=2) as cache:
        cache["plain"] = TEXT
        assert cache.info("plain").size > 400


def test_locks_and_counters_need_no_codec(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache", codec=Json()) as cache:
        for lock in (dolium.RLock(cache, "lock"), dolium.BoundedSemaphore(cache, "semaphore")):
            for _ in range(2):
                with lock:
                    pass
        assert cache.incr("n") == 1


def test_numbers_and_short_text_are_stored_as_without_codec(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache", codec=Zstd()) as cache:
        cache.set_many({"int": 5, "float": 0.5, "text": "short", "bytes": b"short"})
        assert cache.incr("int") == 6
        rows = cache._sql("SELECT mode, filename FROM Cache").fetchall()
        assert rows == [(1, None)] * 4


@pytest.mark.parametrize("make", [lambda: b"x" * 63, lambda: np.random.default_rng(1).bytes(100_000)])
def test_zstd_stores_plain_what_does_not_shrink(cache: Any, make: Callable[[], bytes]):
    value = make()
    cache.set("key", value, codec=Zstd())
    assert cache.info("key").size >= len(value)
    assert cache["key"] == value


def test_zstd_refuses_a_level_that_is_none():
    for level in (-51, 23):
        with pytest.raises(ValueError, match="level"):
            Zstd(level)


# Encoders


@pytest.mark.parametrize(
    "value", [(1,), {1: 2}, {"a": {None: 1}}, float("nan"), [float("inf")], {1}, b"b", ANSWER, [True, (1,)]]
)
def test_json_refuses_what_it_would_bend(cache: Any, value: Any):
    with pytest.raises(TypeError, match="Json"):
        cache.set("key", value, codec=Json())
    assert "key" not in cache


def test_json_refuses_a_value_that_contains_itself(cache: Any):
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="too deep"):
        cache.set("key", value, codec=Json())


def test_json_refuses_a_value_of_another_type(cache: Any):
    for value in (MODEL, Answer(5, []), Answer(TEXT, [float("nan")])):  # type: ignore[arg-type, list-item]
        with pytest.raises(TypeError, match="Json"):
            cache.set("key", value, codec=Json(Answer))


WITHOUT = """
sys.modules["pydantic"] = None
import dataclasses
from dolium.codecs import Json
@dataclasses.dataclass
class Point:
    x: float
    tags: tuple[str, int]
    rest: "list[Point] | None" = None
cache = dolium.Cache(sys.argv[1])
point = Point(1.0, ("a", 2), [Point(0.5, ("b", 3))])
cache.set("key", point, codec=Json(Point))
assert cache["key"] == point, cache["key"]
try:
    cache.set("key", Point(1.0, ("a", 2), 5), codec=Json(Point))
except TypeError:
    print("refused")
"""


def test_json_rebuilds_dataclasses_without_pydantic(tmp_path: Path):
    assert run(WITHOUT, tmp_path / "cache") == ["refused"]


def test_value_of_a_changed_model_is_a_miss(cache: Any):
    def kind(fields: Any) -> Any:
        made = dataclasses.make_dataclass("Changing", fields)
        made.__module__ = __name__
        return made

    old = kind([("a", int)])
    cache.set("key", old(5), codec=Json(old))
    assert cache["key"] == old(5)
    Json(kind([("a", int), ("b", int, 0)]))
    assert cache.get("key", "miss") == "miss"
    Json(old)
    assert cache["key"] == old(5)


def test_json_of_a_type_is_plain_data_elsewhere(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:
        cache.set("key", Answer("yes", [1]), codec=Json(Answer) | Zstd())
    assert run("print(dolium.Cache(sys.argv[1])['key'])", tmp_path / "cache") == [
        "{'text': 'yes', 'tokens': [1]}"
    ]


@pytest.mark.parametrize("value", [np.array([None]), [1, 2], np.ma.array([1]), np.array([(1, None)], "i4,O")])
def test_array_refuses_objects_and_other_types(cache: Any, value: Any):
    with pytest.raises(TypeError, match="Array"):
        cache.set("key", value, codec=Array())


def test_arrays_that_are_read_may_be_written_to(cache: Any):
    for key, value in {"large": SIGNAL, "small": SIGNAL[:9]}.items():
        cache.set(key, value, codec=Array())
        found = cache[key]
        found[:] = 0
        assert same(cache[key], value)
        cache.set(key, {"a": value}, codec=Pickle())
        cache[key]["a"][:] = 0
        assert same(cache[key], {"a": value})


@pytest.mark.parametrize("encoder", MAPPED.values(), ids=MAPPED)
def test_mapped_values_are_read_only_and_outlive_entries(cache: Any, encoder: Encoder):
    value = pa.table({"a": SIGNAL}) if isinstance(encoder, Arrow) else SIGNAL
    cache.set("key", value, codec=encoder)
    found = cache["key"]
    with open("/proc/self/maps") as maps:
        assert str(cache.directory) in maps.read().replace("cache.hot", "")
    cache["key"] = 5
    cache.cull()
    assert same(found, value)
    if isinstance(found, np.ndarray):
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 1


def test_mapped_file_of_others_is_copied(cache: Any):
    cache.set("key", SIGNAL, codec=Array(mmap=True))
    path = Path(cache.info("key").path)
    path.chmod(0o622)
    found = cache["key"]
    with open("/proc/self/maps") as maps:
        assert str(path) not in maps.read()
    assert same(found, SIGNAL)
    assert not found.flags.writeable


def test_pandas_frame_that_arrow_changes_is_refused(cache: Any):
    changing = [
        pd.DataFrame({"a": [(1,)]}), pd.DataFrame({"a": [[1]]}), pd.Series([1]),
        pd.DataFrame({"a": [1, "b"]}, dtype=object),
    ]  # fmt: skip
    attributes = PANDAS.copy()
    attributes.attrs["unit"] = object
    for value in [*changing, attributes]:
        with pytest.raises(TypeError, match="Arrow"):
            cache.set("key", value, codec=Arrow())


# Own codecs


OTHER = """
import warnings
cache = dolium.Cache(sys.argv[1])
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for key in ("encoder", "encoder", "filter"):
        assert cache.get(key, "miss") == "miss"
        assert cache.get_many([key]) == {}
for warning in told:
    print(warning.category.__name__, str(warning.message).split("which")[0])
"""


def test_unknown_codec_is_a_miss_with_one_warning(tmp_path: Path):
    with dolium.Cache(tmp_path / "cache") as cache:
        cache.set("encoder", [1, 2], codec=Numbers())
        cache.set("filter", "text", codec=Zstd() | Mirror())
    assert run(OTHER, tmp_path / "cache") == [
        "UnreadableValueWarning a value was stored by the encoder 'tests.numbers', ",
        "UnreadableValueWarning a value was stored by the filter 'tests.mirror', ",
    ]


def test_own_filter_sees_every_value(cache: Any):
    for value in (None, 5, "secret", b"secret", [1]):
        cache.set("key", value, codec=Mirror())
        ((stored,),) = cache._sql("SELECT value FROM Cache").fetchall()
        assert b"tests.mirror" in bytes(stored)
        assert b"secret" not in bytes(stored)
        assert cache["key"] == value


def test_codec_without_name_is_refused(cache: Any):
    class Nameless(Filter):
        def encode(self, data: bytes) -> bytes:
            return data

    with pytest.raises(TypeError, match="name"):
        cache.set("key", 1, codec=Nameless())


# Functions


def test_miss_returns_what_a_hit_returns(cache: Any):
    @cache.cached(version="1", codec=Array(max_error=0.1))
    def function() -> Any:
        return SIGNAL

    first, second = function(), function()
    assert same(first, second)
    assert not same(first, SIGNAL)


def test_arrays_of_functions_need_no_codec(cache: Any):
    @cache.cached(version="1")
    def function() -> Any:
        return SIGNAL

    assert same(function(), SIGNAL)
    assert same(function(), SIGNAL)
    with dolium.Cache(cache.directory, trust="none") as other:
        assert same(other[function.key()], SIGNAL), "no pickle"


def test_value_that_a_codec_refuses_is_returned_with_a_warning(cache: Any):
    @cache.cached(version="1", codec=Json())
    def function() -> Any:
        return (1, 2)

    with pytest.warns(dolium.UnstoredResultWarning, match="Json"):
        assert function() == (1, 2)


# Hostile bytes


def test_pickles_are_refused_where_nothing_is_trusted(tmp_path: Path):
    values = {"zstd": ({TEXT, b"b"}, Pickle() | Zstd()), "own": (3j, Pickle() | Mirror())}
    values |= {"buffers": ({"a": SIGNAL}, Pickle()), "mapped": ({"a": SIGNAL}, Pickle(mmap=True))}
    with dolium.Cache(tmp_path / "cache") as cache:
        for key, (value, codec) in values.items():
            cache.set(key, value, codec=codec)
            assert same(cache[key], value)
    with dolium.Cache(tmp_path / "cache", trust="none") as cache, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cache.get_many(["own", "buffers", "mapped"]) == {}


@pytest.mark.parametrize(
    "codec", [Pickle() | Zstd(), Pickle() | Mirror(), Pickle()], ids=["zstd", "own", "buffers"]
)
def test_signed_value_is_bound_to_its_key(tmp_path: Path, codec: Any):
    with dolium.Cache(tmp_path / "cache", disk_min_file_size=1 << 30) as cache:
        cache.set("key", {"a": SIGNAL[:500], "t": TEXT}, codec=codec)
        cache.set("other", {"a": SIGNAL[1:501], "t": TEXT}, codec=codec)
        assert "a" in cache["key"]
    with dolium.Cache(tmp_path / "cache") as cache:
        cache._sql("UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'key') WHERE key = 'other'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert cache.get("other", "miss") == "miss"


def test_mapped_pickle_is_signed_but_for_its_buffers(cache: Any):
    cache.set("key", {"a": SIGNAL}, codec=Pickle(mmap=True))
    path = Path(cache.info("key").path)
    stored = path.read_bytes()
    found = cache["key"]["a"]
    for at, is_read in ((70, False), (len(stored) - 1, False), (len(stored) - 500, True)):
        changed = bytearray(stored)
        changed[at] ^= 1
        path.write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (cache.get("key") is not None) == is_read, at
    del found


def test_T38_no_decoder_takes_objects_or_extension_types(cache: Any):
    """apache/arrow PR 38608: extension types run code; numcodecs#228: headers that ask for objects."""
    with pytest.raises(ValueError, match="without objects"):
        decode(8, b"\x06\0O|\x08\0" + bytes(8))
    kind = pa.uuid()
    table = pa.table({"u": pa.array([b"0" * 16], kind)})
    with pytest.raises(TypeError, match="extension"):
        cache.set("key", table, codec=Arrow())
    assert same(Auto()._body(table, as_codec(Auto())).encoder, 5), "pickled"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)
    with pytest.raises(ValueError, match="extension"):
        decode(9, b"T" + bytes(7) + sink.getvalue().to_pybytes())


def test_compressed_batches_of_arrow_are_refused():
    sink = pa.BufferOutputStream()
    table = pa.table({"t": [TEXT] * 900})
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write(table)
    with pytest.raises(ValueError, match="compressed"):
        decode(9, b"T" + bytes(7) + sink.getvalue().to_pybytes())


def test_T37_lengths_are_checked_before_allocation(cache: Any):
    """python-zstandard#332: 13 bytes ask for a terabyte; zstd-ruby#153: 25 kB become 800 MB."""
    huge = b"\x10\0f<\x08\x01" + bytes([0x80] * 7 + [1]) + bytes(24)
    with pytest.raises(dolium.UnreadableValueError, match="does not fit"):
        decode(8, huge)
    terabyte = b"\x28\xb5\x2f\xfd\xc0\x58" + (1 << 40).to_bytes(8, "little")
    for frame in (terabyte, zeros(800 << 20)):
        body = b"\xdf\x01\x04\x01\x01\x01" + leb(800 << 20) + leb(len(frame)) + frame
        cache["key"] = b"plain"
        cache.close()
        cache._sql("UPDATE Cache SET mode = 2, filename = '.dolium', value = ?", (body,))
        assert cache.get("key", "miss") == "miss"


def zeros(length: int) -> bytes:
    """A frame of Zstandard that becomes so many zeros: blocks that repeat one byte 128 KiB long."""
    blocks = length >> 17
    block = (1 << 17) << 3 | 1 << 1
    body = b"".join((block | (place == blocks - 1)).to_bytes(3, "little") + b"\0" for place in range(blocks))
    return b"\x28\xb5\x2f\xfd\x80\x58" + length.to_bytes(4, "little") + body


def leb(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def decode(encoder: int, data: bytes) -> Any:
    from dolium.codecs.decoding import decode

    return decode(encoder, b"", bytearray(data), False, False)


def bodies() -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for encoder, values in VALUES.values():
        for value in values:
            made = as_codec(encoder)._encode(value)
            if made is None:
                continue
            body = b"".join(made[1]) if isinstance(made[1], tuple) else bytes(made[1])
            if len(body) < 50_000:
                found.append((made[0], body))
    return found


BODIES = bodies()


@pytest.mark.filterwarnings("ignore::dolium.UnreadableValueWarning")
@settings(deadline=None, max_examples=500)
@given(st.sampled_from(range(13)), st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_miss(encoder: int, data: bytes):
    with contextlib.suppress(dolium.UnreadableValueError, dolium.UntrustedValueError):
        decode(encoder, data)


@pytest.mark.filterwarnings("ignore::dolium.UnreadableValueWarning")
@settings(deadline=None, max_examples=1000)
@given(
    st.sampled_from(BODIES),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    st.data(),
)
def test_mutated_bytes_are_a_value_or_a_miss(body: tuple[int, bytes], changes: Any, data: st.DataObject):
    encoder, whole = body
    changed = bytearray(whole)
    for at, byte in changes:
        if at < len(changed):
            changed[at] = byte
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    with contextlib.suppress(dolium.UnreadableValueError, dolium.UntrustedValueError):
        decode(encoder, bytes(changed[:cut]))


def test_import_of_dolium_loads_no_codec(tmp_path: Path):
    program = """
    cache = dolium.Cache(sys.argv[1])
    cache["key"] = [1]
    assert cache["key"] == [1]
    names = ("dolium.codecs", "numpy", "pyarrow", "polars", "pandas", "pydantic")
    print([name for name in names if name in sys.modules])
    from dolium.codecs import Zstd, Json, Auto
    cache.set("key", {"a": "b" * 100}, codec=Json() | Zstd())
    cache.set("key", {"a": "b" * 100}, codec=Zstd())
    print([name for name in names[1:] if name in sys.modules])
    """
    assert run(program, tmp_path / "cache") == ["[]", "[]"]
