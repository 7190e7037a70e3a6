"""Fingerprints of arrays, frames, tables, tensors and images: contents count whole, layout never."""

from __future__ import annotations

import copy
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from dolium import UnkeyableError, fingerprint
from dolium.functions import arrays as arrays_module
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from scipy import sparse

# NumPy

dtypes = st.sampled_from(
    ["<f8", ">f8", "<f4", "<f2", "<i4", "|u1", "?", "<c16", "<c8", "<U3", "S5", "<M8[ns]", "<m8[s]"]
)


def layouts(array: Any, data: st.DataObject) -> Any:
    """The same array, otherwise in memory."""
    axes = data.draw(st.permutations(range(array.ndim)))
    moved = np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    way = data.draw(st.sampled_from(["moved", "gaps", "reversed", "memory", "pickled"]))
    if way == "gaps":
        wide = np.zeros((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if way == "reversed":
        return np.ascontiguousarray(array[::-1])[::-1]
    if way == "memory":
        place = np.zeros(array.nbytes + 3, np.uint8)[3:].view() if array.nbytes else None
        if place is not None:
            unaligned = place.view(array.dtype).reshape(array.shape)
            unaligned[...] = array
            return unaligned
    # NumPy pickles some arrays in the byte order of the machine.
    return pickle.loads(pickle.dumps(moved)).astype(array.dtype, copy=False) if way == "pickled" else moved


@given(st.data(), npst.arrays(dtypes, npst.array_shapes(max_dims=4, max_side=6)))
@settings(deadline=None, max_examples=200)
def test_layout_never_counts(data: st.DataObject, array: Any) -> None:
    other = layouts(array, data)
    assert other.dtype == array.dtype
    assert fingerprint(other) == fingerprint(array)


@given(npst.arrays("<f8", npst.array_shapes(max_dims=3, max_side=5)), st.data())
@settings(deadline=None)
def test_every_bit_counts(array: Any, data: st.DataObject) -> None:
    before = fingerprint(array)
    changed = array.copy()
    bit = data.draw(st.integers(0, array.nbytes * 8 - 1))
    changed.reshape(-1).view(np.uint8)[bit // 8] ^= 1 << bit % 8
    assert fingerprint(changed) != before


@pytest.mark.parametrize("size", ["u1", "u2", "u4", "u8", "c16", "S3"])
def test_large_arrays_of_any_order_of_axes_are_equal(size: str) -> None:
    shape = (130, 40, 50)
    array = np.random.default_rng(1).integers(0, 255, (*shape, np.dtype(size).itemsize), np.uint8)
    array = array.view(size).reshape(shape)
    for axes in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        moved = np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
        assert fingerprint(moved) == fingerprint(array), axes
    assert fingerprint(array[:, ::2]) == fingerprint(array[:, ::2].copy()) != fingerprint(array)


@pytest.mark.parametrize("shape", [(2, 300_000), (300_000, 2), (1, 200_000), (3, 1, 70_000), (7, 150_001)])
def test_long_rows_of_fortran_order_are_equal(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype="<f8").reshape(shape)
    assert fingerprint(np.asfortranarray(array)) == fingerprint(array)


def test_dtype_shape_and_bytes_of_floats_count() -> None:
    zeros = [
        np.zeros(shape, dtype)
        for shape in ((4,), (2, 2), (4, 1), (0, 2), (2, 0))
        for dtype in ("<f8", ">f8", "<i8")
    ]
    assert len(set(map(fingerprint, zeros))) == len(zeros)
    assert fingerprint(np.array([0.0])) != fingerprint(np.array([-0.0]))
    nans = np.array([0x7FF8000000000000, 0x7FF8000000000001], np.uint64).view(np.float64)
    assert fingerprint(nans[:1]) != fingerprint(nans[1:])
    assert fingerprint(np.float64(1)) != fingerprint(np.array(1.0)) != fingerprint(1.0)
    assert fingerprint(np.array(1.0)) != fingerprint(np.array([1.0]))


def test_memory_map_is_an_array(tmp_path: Path) -> None:
    array = np.arange(100.0)
    np.save(tmp_path / "a.npy", array)
    assert fingerprint(np.load(tmp_path / "a.npy", mmap_mode="r")) == fingerprint(array)


def test_padding_of_fields_and_long_doubles_does_not_count() -> None:
    aligned = np.dtype([("a", "u1"), ("b", "<f8")], align=True)
    memory = [np.full(aligned.itemsize * 3, byte, np.uint8).view(aligned) for byte in (0, 255)]
    for array in memory:
        array["a"], array["b"] = [1, 2, 3], [1.5, 2.5, 3.5]
    assert fingerprint(memory[0]) == fingerprint(memory[1])
    assert fingerprint(memory[0]) == fingerprint(memory[0].astype([("a", "u1"), ("b", "<f8")]))
    assert fingerprint(memory[0]) != fingerprint(memory[0].astype([("a", "u1"), ("c", "<f8")]))
    one, other = (np.full(64, byte, np.uint8).view(np.longdouble) for byte in (0, 255))
    one[:], other[:] = 1.25, 1.25
    assert fingerprint(one) == fingerprint(other) != fingerprint(one + 1)


def test_masked_data_counts_where_it_shows() -> None:
    def masked(*data: float, mask: Any = (False, True), fill: float = 9.0) -> Any:
        return np.ma.masked_array(np.array(data), mask=mask and [*mask], fill_value=fill)

    assert (
        fingerprint(masked(1.0, 2.0)) == fingerprint(masked(1.0, 3.0)) == fingerprint(masked(1.0, 2.0).copy())
    )
    different = [masked(1.0, 2.0), masked(2.0, 2.0), masked(1.0, 2.0, mask=False), masked(1.0, 2.0, fill=8.0)]
    assert len(set(map(fingerprint, different))) == 4
    fields = np.ma.masked_array(np.array([(1, 2.0)], "i4,f8"), mask=[(False, True)])
    assert fingerprint(fields) == fingerprint(fields.copy()) != fingerprint(masked(1.0, 2.0))


def test_objects_in_arrays_count_one_by_one() -> None:
    array = np.array([[1, "a"], [None, (1, 2)]], object)
    assert fingerprint(array) == fingerprint(np.asfortranarray(array)) == fingerprint(copy.deepcopy(array))
    array[1, 1] = (1, 3)
    assert fingerprint(array) != fingerprint(np.array([[1, "a"], [None, (1, 2)]], object)[::-1])
    with pytest.raises(UnkeyableError, match="is an object"):
        fingerprint(np.array([object()]))


def test_variable_strings_count_as_text() -> None:
    kind = np.dtypes.StringDType()
    array = np.array(["a", "b" * 100], kind)
    assert fingerprint(array) == fingerprint(array[::-1][::-1]) != fingerprint(array[::-1])


def test_scalar_types_of_other_packages_count_by_name() -> None:
    half, brain = np.array([1, 2], np.float16), np.array([1, 2], ml_dtypes.bfloat16)
    assert fingerprint(brain) == fingerprint(np.array([1, 9, 2, 9], ml_dtypes.bfloat16)[::2])
    assert (
        len({fingerprint(value) for value in (half, brain, half[0], brain[0], half.dtype, brain.dtype)}) == 6
    )


def test_dtype_by_itself_counts_with_its_layout() -> None:
    packed, aligned = np.dtype("u1,f8"), np.dtype("u1,f8", align=True)
    assert fingerprint(packed) == fingerprint(np.dtype("u1,f8")) != fingerprint(aligned)
    assert fingerprint(np.dtype("<i4")) != fingerprint(np.dtype(">i4"))


def test_t02_subclass_with_a_unit_is_refused() -> None:
    class Quantity(np.ndarray):
        unit = "m"

    plain, fields = np.arange(3.0), np.zeros(2, "i4,f8")
    for value in (plain.view(Quantity), fields.view(np.recarray), np.array(["a"]).view(np.char.chararray)):
        with pytest.raises(UnkeyableError):
            fingerprint(value)
    with pytest.raises(UnkeyableError):
        fingerprint(np.ma.masked_array(np.arange(3.0).view(Quantity)))
    fingerprint.register(Quantity, lambda value: (value.unit, value.view(np.ndarray)))
    one, other = np.arange(3.0).view(Quantity), np.arange(3.0).view(Quantity)
    other.unit = "ft"
    assert fingerprint(one) != fingerprint(other)


def test_t12_every_element_of_a_large_array_counts() -> None:
    array = np.zeros(5_000)
    before = fingerprint(array)
    array[2_500] = 1
    assert fingerprint(array) != before
    with pytest.raises(UnkeyableError, match="no module has"):
        fingerprint(np.frompyfunc(abs, 1, 1))
    assert fingerprint(np.sin) == fingerprint(np.sin) != fingerprint(np.cos)


def test_gaps_are_copied_by_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    contiguous = np.ascontiguousarray

    def watched(array: Any) -> Any:
        nonlocal largest
        largest = max(largest, array.nbytes)
        return contiguous(array)

    array = np.arange(3_000_000.0).reshape(10, 300_000)[:, ::2]
    expected = fingerprint(array.copy())
    monkeypatch.setattr(np, "ascontiguousarray", watched)
    assert fingerprint(array) == expected
    assert 0 < largest <= arrays_module.SLAB


# Frames


def frame() -> Any:
    return pd.DataFrame(
        {
            "integers": np.arange(4),
            "texts": ["a", None, "bb", ""],
            "times": pd.date_range("2020", periods=4, tz="Europe/Berlin"),
            "spans": pd.to_timedelta(range(4), unit="s"),
            "categories": pd.Categorical(["x", "y", None, "x"]),
            "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
            "truth": pd.array([True, None, False, True], dtype="boolean"),
            "objects": [1, "x", None, (1, 2)],
            "sparse": pd.arrays.SparseArray([0, 0, 1, 2]),
            "periods": pd.period_range("2020", periods=4, freq="M"),
            "intervals": pd.interval_range(0, 4),
            "arrow": pd.array([[1], None, [2, 3], []], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        }
    )


def test_t02_layout_of_a_frame_does_not_count() -> None:
    one = frame()
    expected = fingerprint(one)
    doubled = pd.concat([one, one], ignore_index=True)
    others = [
        one.copy(),
        pickle.loads(pickle.dumps(one)),
        one.drop_duplicates("integers"),
        one.loc[[0, 1, 2, 3]],
        one.set_axis(pd.Index([0, 1, 2, 3])),
        doubled.iloc[:4],
        pd.concat([one.iloc[:, :3], one.iloc[:, 3:]], axis=1),
    ]
    for other in others:
        pd.testing.assert_frame_equal(other, one, check_index_type=False)
        assert fingerprint(other) == expected


@pytest.mark.parametrize("name", frame().columns)
def test_every_column_counts(name: str) -> None:
    one, other = frame(), frame()
    for changed in (other.drop(columns=name), other.rename(columns={name: "else"}), other.iloc[::-1]):
        assert fingerprint(changed) != fingerprint(one)
    other[name] = other[name].iloc[[2, 1, 0, 3]].array
    assert fingerprint(other) != fingerprint(one)
    assert fingerprint(one[name]) == fingerprint(frame()[name]) != fingerprint(other[name])


def test_t13_labels_names_and_categories_count() -> None:
    plain = pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0]})
    different = [
        plain,
        plain[["b", "a"]],
        plain.rename(columns={"a": "c"}),
        plain.set_index(pd.Index([5, 6])),
        plain.rename_axis("rows"),
        plain.rename_axis("columns", axis=1),
        plain.astype({"a": "int32"}),
        plain.astype({"a": "category"}),
        plain.astype({"a": pd.CategoricalDtype([2, 1])}),
        plain.astype({"a": pd.CategoricalDtype([1, 2], ordered=True)}),
        plain.astype({"a": object}),
        plain.set_index(pd.MultiIndex.from_tuples([(1, 1), (1, 2)])),
        plain.set_index(pd.date_range("2020", periods=2)),
        plain.assign(a=[[1], [2]]),
        plain.assign(a=[[1], [3]]),
        plain["a"],
        plain["a"].rename("x"),
        plain.to_numpy(),
    ]
    assert len(set(map(fingerprint, different))) == len(different)


def test_levels_that_are_not_used_do_not_count() -> None:
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"])
    assert fingerprint(index[:2]) == fingerprint(index[:2].remove_unused_levels())
    assert fingerprint(index[:2]) != fingerprint(index[2:])


def test_what_lies_under_missing_values_does_not_count() -> None:
    mask = np.array([False, True])
    one, other = (pd.Series(pd.arrays.IntegerArray(np.array([1, under]), mask)) for under in (5, 6))
    assert fingerprint(one) == fingerprint(other)


def test_attributes_and_subclasses_of_frames() -> None:
    class Geo(pd.DataFrame):
        pass

    one, other = frame(), frame()
    other.attrs["source"] = "x"
    assert fingerprint(one) == fingerprint(other)
    with pytest.raises(UnkeyableError):
        fingerprint(Geo(frame()))


def test_scalars_of_pandas_count_by_type_and_value() -> None:
    stamp = pd.Timestamp("2020-01-01")
    scalars = [
        stamp,
        stamp.tz_localize("UTC"),
        stamp + pd.Timedelta(1),
        stamp.to_pydatetime(),
        pd.Timedelta(1),
        pd.Period("2020-01"),
        pd.Interval(0, 1),
        pd.NaT,
        pd.NA,
        pd.CategoricalDtype(["a"]),
        pd.Int64Dtype(),
    ]
    assert len(set(map(fingerprint, scalars))) == len(scalars)
    assert fingerprint(stamp) == fingerprint(pickle.loads(pickle.dumps(stamp)))


# Arrow and polars

COLUMNS: dict[str, Any] = {
    "numbers": pa.array([1, None, 3, 4]),
    "floats": pa.array([1.0, float("nan"), None, 2.0]),
    "truth": pa.array([True, None, False, True]),
    "texts": pa.array(["x", "", None, "long" * 20]),
    "large": pa.array(["x", "", None, "y"], pa.large_string()),
    "views": pa.array(["x", "", None, "a text of more than twelve"], pa.string_view()),
    "bytes": pa.array([b"x", None, b"", b"yy"], pa.binary()),
    "fixed": pa.array([b"xx", None, b"yy", b"zz"], pa.binary(2)),
    "decimals": pa.array([1, None, 2, 3]).cast(pa.decimal128(21, 2)),
    "times": pa.array([1, None, 2, 3], pa.timestamp("us", "Europe/Berlin")),
    "lists": pa.array([[1], None, [], [2, None]]),
    "pairs": pa.array([[1, 2], None, [3, 4], [5, None]], pa.list_(pa.int8(), 2)),
    "structs": pa.array([{"x": 1, "y": "a"}, None, {"x": None, "y": "b"}, {"x": 2, "y": None}]),
    "maps": pa.array([[("a", 1)], None, [], [("b", None)]], pa.map_(pa.string(), pa.int64())),
    "categories": pa.array(["a", None, "b", "a"]).dictionary_encode(),
    "nothing": pa.nulls(4),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_chunks_and_offsets_of_arrow_do_not_count(name: str) -> None:
    array = COLUMNS[name]
    whole = fingerprint(pa.chunked_array([array]))
    assert fingerprint(pa.chunked_array([array[:1], array[1:3], array[3:]])) == whole
    assert fingerprint(pa.chunked_array([pa.concat_arrays([array, array])[4:]])) == whole
    assert fingerprint(pa.table({"a": array})) == fingerprint(
        pa.table({"a": pa.chunked_array([array[:2], array[2:]])})
    )
    items = array.to_pylist()
    for other in (items[1:], [items[1], *items[1:]], items[::-1]):
        assert fingerprint(pa.array(other, array.type)) != fingerprint(array) or name == "nothing"


def test_types_and_names_of_arrow_count() -> None:
    tables = [pa.table({"a": array}) for array in COLUMNS.values()]
    tables += [pa.table({"b": COLUMNS["numbers"]}), pa.table({"a": COLUMNS["numbers"].cast(pa.int32())})]
    assert len(set(map(fingerprint, tables))) == len(tables)


def test_bytes_under_missing_texts_do_not_count() -> None:
    def column(under: bytes) -> Any:
        offsets = pa.array([0, 1, 4, 5], pa.int32()).buffers()[1]
        return pa.StringArray.from_buffers(
            3, offsets, pa.py_buffer(b"x" + under + b"y"), pa.py_buffer(b"\x05")
        )

    assert column(b"abc").to_pylist() == ["x", None, "y"]
    assert (
        fingerprint(column(b"abc")) == fingerprint(column(b"def")) == fingerprint(pa.array(["x", None, "y"]))
    )


def test_stream_that_would_be_used_up_is_refused() -> None:
    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), [])
    with pytest.raises(UnkeyableError):
        fingerprint(reader)


def test_anything_with_an_arrow_stream_counts_by_its_columns() -> None:
    class Relation:
        def __init__(self, *numbers: int) -> None:
            self.table = pa.table({"a": numbers})

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return self.table.__arrow_c_stream__(requested_schema)

    assert fingerprint(Relation(1, 2)) == fingerprint(Relation(1, 2)) != fingerprint(Relation(1, 3))


def test_polars_frames_count_by_their_columns() -> None:
    data = {
        "a": [1, None, 3],
        "b": ["x", "yy", None],
        "c": [[1], None, [2, 3]],
        "d": [{"x": 1}, None, {"x": None}],
    }
    one = pl.DataFrame(data)
    assert (
        fingerprint(one)
        == fingerprint(pl.concat([one[:1], one[1:]], rechunk=False))
        == fingerprint(one.clone())
    )
    kinds = [pl.String, pl.Categorical, pl.Enum(["a", "b"]), pl.Enum(["b", "a"])]
    series = [pl.Series("s", ["a", "b"], kind) for kind in kinds]
    different = [one, one[::-1], one.rename({"a": "z"}), one.select("a"), one["a"], *series]
    assert len(set(map(fingerprint, different))) == len(different)
    assert fingerprint(series[1]) == fingerprint(pl.Series("s", ["b", "a", "b"], pl.Categorical)[1:])
    with pytest.raises(UnkeyableError):
        fingerprint(one.lazy())


# Tensors, sparse matrices, images


class Tensor:
    """What a tensor of PyTorch can do, as far as it is asked for: PyTorch is too large for these tests."""

    is_quantized = False
    layout = "strided"

    def __init__(self, array: Any, dtype: str, device: str = "cpu") -> None:
        self.array, self.dtype, self.device = array, dtype, device

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def cpu(self) -> Tensor:
        return Tensor(self.array, self.dtype)

    def detach(self) -> Tensor:
        return self

    contiguous = resolve_conj = resolve_neg = detach

    def reshape(self, size: int) -> Tensor:
        return Tensor(np.ascontiguousarray(self.array).reshape(size), self.dtype)

    def view(self, dtype: Any) -> Tensor:
        return Tensor(self.array.view(dtype), "uint8")

    def __dlpack__(self, **options: Any) -> object:
        assert self.device == "cpu"
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    Tensor.__module__ = "torch"
    nn = types.SimpleNamespace(Parameter=type("Parameter", (), {}))
    module = types.SimpleNamespace(Tensor=Tensor, nn=nn, strided="strided", uint8=np.uint8)
    monkeypatch.setitem(sys.modules, "torch", module)


@pytest.mark.usefixtures("torch")
def test_tensors_count_without_their_device() -> None:
    array = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert fingerprint(Tensor(array, "torch.bfloat16")) == fingerprint(
        Tensor(array.copy(), "torch.bfloat16", "cuda")
    )
    assert fingerprint(Tensor(array, "torch.bfloat16")) == fingerprint(
        Tensor(np.asfortranarray(array), "torch.bfloat16")
    )
    different = [
        Tensor(array, "torch.bfloat16"),
        Tensor(array, "torch.float16"),
        Tensor(array.T, "torch.bfloat16"),
        Tensor(array + 1, "torch.bfloat16"),
        Tensor(np.zeros((), np.uint16), "torch.bfloat16"),
    ]
    assert len(set(map(fingerprint, different))) == len(different)
    odd = Tensor(array, "torch.float16")
    odd.layout = "sparse_coo"
    with pytest.raises(UnkeyableError, match="layout sparse_coo"):
        fingerprint(odd)


def test_arrays_of_jax_count_as_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Array:
        def __init__(self, array: Any) -> None:
            self.array, self.dtype = array, array.dtype

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.array

    Array.__module__ = "jaxlib.xla"
    kinds = types.SimpleNamespace(issubdtype=lambda dtype, kind: dtype == np.dtype("u4"), extended=None)
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(Array=Array, dtypes=kinds))
    monkeypatch.setitem(sys.modules, "jaxlib", types.SimpleNamespace())
    brain = np.array([1, 2], ml_dtypes.bfloat16)
    assert fingerprint(Array(brain)) == fingerprint(Array(brain[::-1][::-1])) != fingerprint(brain)
    with pytest.raises(UnkeyableError, match="extended"):
        fingerprint(Array(np.zeros(2, "u4")))


def test_sparse_matrices_count_by_place_and_value() -> None:
    rows, columns, data = [0, 1, 1], [1, 0, 0], [1.0, 2.0, 3.0]
    doubled = sparse.coo_array((data, (rows, columns)), shape=(2, 2))
    one = sparse.coo_array(([5.0, 1.0], ([1, 0], [0, 1])), shape=(2, 2))
    assert fingerprint(doubled) == fingerprint(one)
    assert doubled.nnz == 3  # it was not changed
    different = [
        one,
        one.tocsr(),
        one.tocsc(),
        sparse.coo_matrix(one),
        one * 2,
        one.T,
        one.astype("f4"),
        one.toarray(),
    ]
    assert len(set(map(fingerprint, different))) == len(different)
    assert fingerprint(one.tocsr()) == fingerprint(sparse.csr_array(one.toarray()))


def test_t12_mode_size_palette_and_pixels_of_images_count(tmp_path: Path) -> None:
    def image(color: int = 1, palette: int = 1, size: tuple[int, int] = (700, 200), mode: str = "P") -> Any:
        made = Image.new(mode, size, color)
        if mode == "P":
            made.putpalette([palette, 2, 3, 4, 5, 6])
        return made

    dotted = image()
    dotted.putpixel((690, 199), 0)
    different = [
        image(),
        image(0),
        image(palette=9),
        image(size=(200, 700)),
        image(mode="L"),
        image(mode="1"),
        dotted,
    ]
    assert len(set(map(fingerprint, different))) == len(different)
    dotted.save(tmp_path / "dotted.png")
    with Image.open(tmp_path / "dotted.png") as opened:
        assert fingerprint(opened.convert("RGB")) == fingerprint(dotted.convert("RGB"))
    large = Image.effect_noise((1500, 1400), 50)
    assert fingerprint(large) == fingerprint(large.copy()) != fingerprint(large.rotate(180))


def test_images_of_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (2, 2), color) for color in (0, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "moving.gif") as moving, pytest.raises(UnkeyableError, match="several frames"):
        fingerprint(moving)


@pytest.mark.parametrize("rows", [2**16, 2**16 + 1, 3 * 2**16 + 5, 5 * 2**17 - 1])
def test_large_arrays_that_threads_hash_are_those_of_one(rows: int) -> None:
    """Rows of 64 bytes: 4 MiB is what one thread hashes, and Fortran order is hashed by one alone."""
    array = np.random.default_rng(rows).random((rows, 8))
    assert fingerprint(array) == fingerprint(np.asfortranarray(array))
    array[-1, -1] += 1
    assert fingerprint(array) != fingerprint(array[:-1])
