"""Methods of ``NDArray`` that are plain combinations of operators."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import NDArray, operator


def names() -> list[str]:
    """The methods below."""
    own = (n for n, f in globals().items() if callable(f) and getattr(f, "__module__", None) == __name__)
    return [n for n in own if n not in ("install", "names") and not n.startswith("_")]


def install(cls: type[NDArray]) -> None:
    """Attaches the methods below to the class."""
    for name in names():
        setattr(cls, name, globals()[name])


def as_nd_ndarray(self: NDArray) -> NDArray:
    """Itself."""
    return self


def gpu_buffer(self: NDArray) -> Any:
    """The ``wgpu.GPUBuffer`` that holds the elements, in C order, without a copy where they lie so."""
    from ..gpu import _drivers

    device, number = _core._gpu_export(self)
    return _drivers()[device].buffer(number)


def tostype(self: NDArray, stype: str) -> NDArray:
    """Itself: storage is always dense."""
    if stype != "default":
        from ..base import MXNetError

        raise MXNetError(f"tostype: got '{stype}', expected 'default': sparse storage is not part of this package")
    return self


def split_v2(self: NDArray, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False) -> Any:
    """Parts of the array along an axis."""
    from .helpers import split_v2 as split

    return split(self, indices_or_sections, axis, squeeze_axis)


def broadcast_like(self: NDArray, other: NDArray) -> NDArray:
    """The array repeated to another's shape."""
    return operator("broadcast_like")(self, other)


def slice_assign(self: NDArray, rhs: NDArray, begin: Any, end: Any, step: Any = ()) -> NDArray:
    """Writes an array into the elements that ``begin``, ``end``, ``step`` pick."""
    self[_slices(begin, end, step)] = rhs
    return self


def slice_assign_scalar(self: NDArray, scalar: float, begin: Any, end: Any, step: Any = ()) -> NDArray:
    """Writes a number into the elements that ``begin``, ``end``, ``step`` pick."""
    self[_slices(begin, end, step)] = scalar
    return self


def _slices(begin: Any, end: Any, step: Any) -> tuple[slice, ...]:
    steps = tuple(step) or (None,) * len(begin)
    return tuple(slice(b, e, s) for b, e, s in zip(begin, end, steps, strict=True))
