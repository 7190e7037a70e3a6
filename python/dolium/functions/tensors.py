"""What counts of tensors of PyTorch, arrays of JAX, and sparse matrices of SciPy."""

from __future__ import annotations

import sys
from typing import Any

from . import arrays
from .fingerprint import Description, Handler, name_of

__all__ = ["handler"]


def handler(cls: type) -> Handler | None:
    torch: Any = sys.modules.get("torch")
    jax: Any = sys.modules.get("jax")
    sparse: Any = sys.modules.get("scipy.sparse")
    if torch is not None and cls in (torch.Tensor, getattr(torch.nn, "Parameter", None)):
        return _torch
    if jax is not None and issubclass(cls, jax.Array):
        return _jax
    if sparse is not None and issubclass(cls, (sparse.spmatrix, sparse.sparray)):
        return _sparse
    if cls.__module__.startswith(("scipy.", "jax", "torch")):
        from . import standard

        return standard.handler(cls)
    return None


def _torch(value: Any) -> Description:
    torch: Any = sys.modules["torch"]
    if value.layout != torch.strided or value.is_quantized:
        return f"a tensor of layout {value.layout}"
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    # NumPy has no bfloat16 and no float8, so that bytes are asked for. A tensor without axes has none to be split.
    bits = plain.contiguous().reshape(-1).view(torch.uint8)
    from numpy import from_dlpack

    return name_of(value), (str(value.dtype), tuple(value.shape), arrays.raw(from_dlpack(bits)))


def _jax(value: Any) -> Description:
    from numpy import asarray

    jax: Any = sys.modules["jax"]
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        return "an array of JAX with an extended dtype"
    return "jax:Array", arrays.array(asarray(value))


def _sparse(value: Any) -> Description:
    """The elements that are stored, each once, in order of their places. A zero that is stored is an element."""
    places = value.tocoo(copy=True)
    places.sum_duplicates()
    coords = [place.astype("<i8") for place in places.coords]
    return name_of(value), (
        value.shape,
        [arrays.array(place) for place in coords],
        arrays.array(places.data),
    )
