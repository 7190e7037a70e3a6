"""T40: arrays that keep no more precision than is wanted. `DOLIUM_TORTURE=1` tries a billion values."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from dolium.codecs.rounding import Rounding
from hypothesis import given, settings
from hypothesis import strategies as st

HALVES = np.arange(1 << 16, dtype="u2").view("f2")
ERRORS = [
    5e-324,
    1e-320,
    1e-45,
    5e-8,
    1e-9,
    1e-3,
    0.3,
    1.0,
    1e5,
    40_000.0,
    65_504.0,
    1e30,
    3e38,
    1e39,
    1e300,
    1.7e308,
]
ERRORS += [2.0**exponent for exponent in range(-30, 20)]
RELATIVE = [2**-11, 0.5, 0.9, 0.1, 1e-3, 2**-23, 2**-24, 2**-52, 2**-53, 1e-300]


BATCH = 100_000


def batches(errors: list[float]) -> range:
    """How often each of these errors is tried with a batch of both types."""
    return range(1_000_000_000 // (2 * BATCH * len(errors)) + 1 if "DOLIUM_TORTURE" in os.environ else 1)


def bits(values: Any) -> Any:
    return values.view(f"u{values.itemsize}")


def check(values: Any, max_error: float | None, relative_error: float | None) -> None:
    rounding = Rounding.of(max_error, relative_error)
    assert rounding is not None
    rounded = rounding.rounded(values)
    is_finite = np.isfinite(values)
    exact, found = values[is_finite].astype("g"), rounded[is_finite].astype("g")
    bound = max_error if max_error is not None else np.longdouble(relative_error) * abs(exact)
    assert (abs(found - exact) <= bound).all()
    stays = ~is_finite | (values == 0)
    assert (bits(rounded[stays]) == bits(values[stays])).all(), "NaN, infinities and zeros"
    assert (bits(rounding.rounded(rounded)) == bits(rounded)).all(), "rounded twice"
    assert (np.signbit(rounded) == np.signbit(values)).all()


@pytest.mark.parametrize("error", ERRORS)
def test_T40_greatest_error_holds_for_every_value(error: float):
    check(HALVES, error, None)
    rng = np.random.default_rng(1)
    for _ in batches(ERRORS):
        check(rng.integers(0, 1 << 32, BATCH, dtype="u4").view("f4"), error, None)
        check(rng.integers(0, 1 << 64, BATCH, dtype="u8").view("f8"), error, None)
        with np.errstate(over="ignore"):
            near = (rng.integers(-1000, 1000, 10_000) + 0.5) * error
        check(near[np.isfinite(near)], error, None)


@pytest.mark.parametrize("error", RELATIVE)
def test_T40_relative_error_holds_for_every_value(error: float):
    check(HALVES, None, error)
    rng = np.random.default_rng(2)
    for _ in batches(RELATIVE):
        check(rng.integers(0, 1 << 32, BATCH, dtype="u4").view("f4"), None, error)
        check(rng.integers(0, 1 << 64, BATCH, dtype="u8").view("f8"), None, error)


@settings(deadline=None, max_examples=500)
@given(st.floats(), st.floats(5e-324, 1e308))
def test_T40_bound_holds_for_any_float_and_error(value: float, error: float):
    check(np.array([value, np.nextafter(value, 0)]), error, None)


def test_rounding_keeps_dtype_shape_and_the_argument():
    for dtype in ("<f2", ">f4", "<f8", ">c8", "c16"):
        array = np.linspace(0, 1, 12).astype(dtype).reshape(3, 4)
        before = array.copy()
        rounding = Rounding.of(0.1, None)
        assert rounding is not None
        rounded = rounding.rounded(array.T)
        assert (rounded.dtype, rounded.shape) == (array.dtype, (4, 3))
        assert (array == before).all()
        assert abs(rounded - array.T).max() <= 0.15


def test_rounding_refuses_other_elements_and_errors():
    rounding = Rounding.of(0.1, None)
    assert rounding is not None
    for array in (np.arange(3), np.array(["a"]), np.zeros(3, np.longdouble)):
        with pytest.raises(TypeError, match="float"):
            rounding.rounded(array)
    for errors in ((0, None), (-1.0, None), (float("nan"), None), (None, 0), (None, 1.0), (0.1, 0.1)):
        with pytest.raises(ValueError, match="error"):
            Rounding.of(*errors)
