"""New arrays from a shape, a range, or another library's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import MXNetError, NDArray, operator
from ..context import Context

__all__ = ["arange", "empty", "eye", "from_numpy", "full", "linspace", "ones", "zeros"]

_zeros, _ones, _full = operator("_zeros"), operator("_ones"), operator("_full")
_arange, _linspace, _eye = operator("_arange"), operator("_linspace"), operator("_eye")

_Shape = int | Sequence[int]


def _check(name: str, ctx: Any, unknown: dict[str, Any]) -> None:
    if unknown:
        key = next(iter(unknown))
        raise MXNetError(f"{name}: Cannot find argument '{key}', Possible Arguments: shape, ctx, dtype, out")
    if ctx is not None and not isinstance(ctx, (Context, str)):
        raise MXNetError(f"{name}: Invalid context string {ctx}, expected a Context such as cpu(0)")


def zeros(
    shape: _Shape, ctx: Context | str | None = None, dtype: Any = None, out: NDArray | None = None, **kwargs: Any
) -> NDArray:
    """Zeros of a shape; float32 by default.

    >>> from oxgrad import nd
    >>> nd.zeros((1, 2))
    <BLANKLINE>
    [[0. 0.]]
    <NDArray 1x2 @cpu(0)>
    """
    if kwargs:
        kwargs.pop("stype", None)
    if kwargs or ctx is not None:
        _check("zeros", ctx, kwargs)
    return _zeros(shape, ctx, dtype, out)


def ones(
    shape: _Shape, ctx: Context | str | None = None, dtype: Any = None, out: NDArray | None = None, **kwargs: Any
) -> NDArray:
    """Ones of a shape; float32 by default.

    >>> from oxgrad import nd
    >>> nd.ones(2, dtype='int32')
    <BLANKLINE>
    [1 1]
    <NDArray 2 @cpu(0)>
    """
    if kwargs or ctx is not None:
        _check("ones", ctx, kwargs)
    return _ones(shape, ctx, dtype, out)


def empty(shape: _Shape, ctx: Context | str | None = None, dtype: Any = None) -> NDArray:
    """An array of a shape for you to fill; its elements are zeros."""
    return zeros(shape, ctx, dtype)


def full(
    shape: _Shape,
    val: Any,
    ctx: Context | str | None = None,
    dtype: Any = "float32",
    out: NDArray | None = None,
) -> NDArray:
    """One value, or an array that broadcasts, over a shape; float32 by default, whatever the value.

    >>> from oxgrad import nd
    >>> nd.full((2,), 7.5, dtype='int32')
    <BLANKLINE>
    [7 7]
    <NDArray 2 @cpu(0)>
    """
    target = empty(shape, ctx, dtype) if out is None else out
    target[...] = val
    return target


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1.0,
    repeat: int = 1,
    infer_range: bool | None = None,
    ctx: Context | str | None = None,
    dtype: Any = "float32",
) -> NDArray:
    """Evenly spaced numbers from ``start`` up to, not including, ``stop``; each ``repeat`` times.

    With one number it is the stop. float32 by default, float64 for ``dtype=None``. An empty range raises.

    >>> from oxgrad import nd
    >>> nd.arange(1, 3, repeat=2)
    <BLANKLINE>
    [1. 1. 2. 2.]
    <NDArray 4 @cpu(0)>
    """
    if stop is None:
        start, stop = 0, start
    # By position: keywords would be packed into a dictionary first.
    return _arange(start, stop, step, repeat, None, ctx, "float64" if dtype is None else dtype)


def linspace(
    start: float,
    stop: float,
    num: int,
    endpoint: bool = True,
    ctx: Context | str | None = None,
    dtype: Any = "float32",
) -> NDArray:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is the last one if ``endpoint``."""
    return _linspace(start, stop, num, endpoint, ctx, dtype)


def eye(N: int, M: int = 0, k: int = 0, ctx: Context | str | None = None, dtype: Any = None, **kwargs: Any) -> NDArray:
    """Ones on diagonal ``k`` of an ``N`` by ``M`` matrix (square where ``M`` is 0), zeros elsewhere."""
    return _eye(N=N, M=M, k=k, ctx=ctx, dtype="float32" if dtype is None else dtype, **kwargs)


def from_numpy(ndarray: Any, zero_copy: bool = True) -> NDArray:
    """An array of a NumPy array's dtype; with ``zero_copy`` on its very memory.

    A shared NumPy array becomes read-only on NumPy's side. ``ValueError`` where it is not C-contiguous.
    """
    if not zero_copy:
        return _core.array(ndarray, dtype=ndarray.dtype)
    if not ndarray.flags["C_CONTIGUOUS"]:
        raise ValueError("from_numpy: only a C-contiguous array can be shared: use zero_copy=False")
    shared = _core.share_memory(ndarray)
    ndarray.flags["WRITEABLE"] = False
    return shared
