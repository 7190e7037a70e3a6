"""Arrays with no more precision than is wanted.

**A greatest error** e: let q = 2^⌊log2(2e)⌋, so that q ≤ 2e. A finite value x becomes x' = q · r(x / q), where r
rounds to the nearest integer, ties to even.

*Proof that |x - x'| ≤ e.* Dividing by a power of two is exact, unless the quotient is so small that r makes 0 of it
anyway. So |x / q - r(x / q)| ≤ ½, and the product of q with an integer of at most 2^p (p is the number of bits of the
mantissa) is exact as well. Hence |x - x'| ≤ q / 2 ≤ e. A value of 2^p · q or more is a multiple of q already and
stays; so does one whose x' would be infinite. Multiples of q stay when they are rounded again, so rounding never
drifts. ∎

**A relative error** e: of the mantissa k = ⌈log2(1 / e)⌉ - 1 bits stay, rounded to even. The error is at most half of
the last bit that stays, which is 2^-(k+1) ≤ e of the power of two below |x|. Subnormal values have fewer bits and
stay.

NaN, infinities and the signs of zeros stay bit for bit.
"""

from __future__ import annotations

from math import frexp, isfinite
from typing import Any

from ..errors import UnstorableError
from .libraries import library

__all__ = ["Rounding"]

_MANTISSA = {2: 10, 4: 23, 8: 52}
_LEAST = {2: -24, 4: -149, 8: -1074}
"""The exponent of the smallest positive value."""
_LARGEST = {2: 15, 4: 127, 8: 1023}
_BLOCK = 1 << 15
"""Elements that are rounded while they are in the processor's cache."""


class Rounding:
    """A step before an encoding that loses nothing: decoders know nothing of it."""

    def __init__(self, exponent: int | None, bits: int | None) -> None:
        self._exponent = exponent
        self._bits = bits

    @classmethod
    def of(cls, max_error: float | None, relative_error: float | None) -> Rounding | None:
        if max_error is None and relative_error is None:
            return None
        if max_error is not None and relative_error is not None:
            raise ValueError("max_error and relative_error exclude each other; pass one of them")
        if max_error is not None:
            if not (max_error > 0 and isfinite(max_error)):
                raise ValueError(f"max_error: {max_error!r} is no positive number")
            # frexp is exact, where a logarithm may round up: max_error = m · 2^n with ½ ≤ m < 1.
            return cls(frexp(max_error)[1], None)
        assert relative_error is not None
        if not 0 < relative_error < 1:
            raise ValueError(f"relative_error: {relative_error!r} is not between 0 and 1")
        # 1 / e is in (2^(-n), 2^(1 - n)], so that ⌈log2(1 / e)⌉ is 1 - n.
        return cls(None, -frexp(relative_error)[1])

    def rounded(self, array: Any) -> Any:
        """A rounded copy, or the array if its values stay."""
        np = library("numpy")

        dtype = array.dtype
        size = dtype.itemsize // (2 if dtype.kind == "c" else 1)
        if dtype.kind not in "fc" or size not in _MANTISSA:
            raise UnstorableError(
                f"Array: only float and complex elements can be rounded, not {dtype}; leave out the error"
            )
        copy = np.array(array, dtype.newbyteorder("="), order="C")
        flat = copy.reshape(-1).view(f"f{size}")
        with np.errstate(all="ignore"):
            for begin in range(0, flat.size, _BLOCK):
                block = flat[begin : begin + _BLOCK]
                if self._exponent is not None:
                    _to_multiples(block, self._exponent, size)
                elif self._bits is not None:
                    _to_bits(block, self._bits, size)
        return copy.astype(dtype, copy=False)


def _to_multiples(block: Any, exponent: int, size: int) -> None:
    np = library("numpy")

    if exponent <= _LEAST[size]:
        return  # each value is a multiple already
    # A step larger than all values makes zeros of all that are nearer to 0.
    exponent = min(exponent, _LARGEST[size] + 2)
    work = np.dtype("f4") if size == 2 else block.dtype
    if size == 8 or size == 4:
        # In two factors, since one may not be a value.
        first, second = -exponent // 2, -exponent - -exponent // 2
        down = (work.type(2.0) ** first, work.type(2.0) ** second)
        up = (work.type(2.0) ** -second, work.type(2.0) ** -first)
    else:
        down = (work.type(2.0) ** -exponent, work.type(1))
        up = (work.type(2.0) ** exponent, work.type(1))
    steps = block.astype(work) * down[0] * down[1]
    integers = np.rint(steps)
    rounded = (integers * up[0] * up[1]).astype(block.dtype)
    changes = (np.abs(steps) < 2.0 ** _MANTISSA[size]) & np.isfinite(rounded) & (integers != steps)
    np.copyto(block, rounded, where=changes)


def _to_bits(block: Any, bits: int, size: int) -> None:
    np = library("numpy")

    drop = _MANTISSA[size] - bits
    if drop <= 0:
        return
    words = block.view(f"u{size}")
    unsigned = words.dtype.type
    one = unsigned(1)
    half = unsigned((1 << (drop - 1)) - 1)
    mask = unsigned(~((1 << drop) - 1) & ((1 << (8 * size)) - 1))
    rounded = (words + (half + ((words >> unsigned(drop)) & one))) & mask
    is_normal = np.isfinite(block) & (np.abs(block) >= np.finfo(block.dtype).smallest_normal)
    np.copyto(words, rounded, where=is_normal & np.isfinite(rounded.view(block.dtype)))
