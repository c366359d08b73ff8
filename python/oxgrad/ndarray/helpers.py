"""Functions of ``nd`` that are more than one operator: files, joins, waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import NDArray, operator

__all__ = [
    "concatenate",
    "load",
    "load_frombuffer",
    "moveaxis",
    "onehot_encode",
    "save",
    "split_v2",
    "to_dlpack_for_read",
    "to_dlpack_for_write",
    "waitall",
]


def waitall() -> None:
    """Waits for all work. Only GPUs work in the background."""
    _core._gpu_wait()


def concatenate(arrays: Sequence[NDArray], axis: int = 0, always_copy: bool = True) -> NDArray:
    """Joins a list of arrays along an existing axis."""
    if not arrays:
        raise AssertionError("concatenate: at least one array expected, got none")
    if not isinstance(arrays[0], NDArray):
        raise AssertionError(f"concatenate: got {type(arrays[0]).__name__}, expected NDArrays")
    if not always_copy and len(arrays) == 1:
        return arrays[0]
    return operator("concat")(*arrays, dim=axis)


def moveaxis(tensor: NDArray, source: int | Sequence[int], destination: int | Sequence[int]) -> NDArray:
    """Moves axes to other places; the others keep their order."""

    def axes(given: int | Sequence[int], name: str) -> list[int]:
        many = [given] if isinstance(given, int) else list(given)
        found = [a + tensor.ndim if a < 0 else a for a in many]
        if len(set(found)) != len(found) or any(not 0 <= a < tensor.ndim for a in found):
            raise ValueError(f"moveaxis: {name}, got {given}, expected different axes of {tensor.ndim}")
        return found

    sources, targets = axes(source, "source"), axes(destination, "destination")
    if len(sources) != len(targets):
        raise ValueError("moveaxis: source and destination must have the same number of elements")
    order = [a for a in range(tensor.ndim) if a not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        order.insert(target, origin)
    return operator("transpose")(tensor, axes=order)


def split_v2(ary: NDArray, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False) -> Any:
    """Parts of an array along an axis: a number of equal parts, or the indices where parts begin."""
    split = operator("_split_v2")
    if not isinstance(indices_or_sections, int):
        return split(ary, indices=(0, *indices_or_sections), axis=axis, squeeze_axis=squeeze_axis)
    if indices_or_sections <= 0 or ary.shape[axis] % indices_or_sections:
        got = f"{ary.shape[axis]} by {indices_or_sections}"
        raise ValueError(f"array split does not result in an equal division: {got}")
    return split(ary, sections=indices_or_sections, axis=axis, squeeze_axis=squeeze_axis)


def onehot_encode(indices: NDArray, out: NDArray) -> NDArray:
    """Writes one-hot rows of ``indices`` into ``out``."""
    out[:] = operator("one_hot")(indices, depth=out.shape[1])
    return out


def to_dlpack_for_read(data: NDArray) -> Any:
    """A DLPack capsule of the memory."""
    return data.to_dlpack_for_read()


def to_dlpack_for_write(data: NDArray) -> Any:
    """A DLPack capsule of the memory."""
    return data.to_dlpack_for_write()


def save(fname: str, data: NDArray | Sequence[NDArray] | dict[str, NDArray]) -> None:
    """Saves arrays in MXNet's ``.params`` format: one array, a list, or a dict of names.

    The file is written beside the target and renamed, so a failed save leaves the old file.
    """
    if not isinstance(fname, str):
        raise AttributeError(f"save: fname, got {type(fname).__name__}, expected str")
    names: list[str] = []
    if isinstance(data, NDArray):
        arrays = [data]
    elif isinstance(data, dict):
        names, arrays = list(data), list(data.values())
        if not all(isinstance(name, str) for name in names):
            raise TypeError("save only accept dict str->NDArray or list of NDArray")
    elif isinstance(data, list):
        arrays = data
    else:
        raise ValueError("data needs to either be a NDArray, dict of str, NDArray pairs or a list of NDarrays.")
    if not all(isinstance(array, NDArray) for array in arrays):
        raise TypeError("save only accept dict str->NDArray or list of NDArray")
    _core.save_params(fname, arrays, names)


def _loaded(found: tuple[list[NDArray], list[str]]) -> list[NDArray] | dict[str, NDArray]:
    arrays, names = found
    return dict(zip(names, arrays, strict=True)) if names else arrays


def load(fname: str) -> list[NDArray] | dict[str, NDArray]:
    """Arrays of a ``.params`` file: a list, or a dict where they have names."""
    if not isinstance(fname, str):
        raise TypeError(f"fname required to be a string, got {type(fname).__name__}")
    return _loaded(_core.load_params(fname))


def load_frombuffer(buf: bytes) -> list[NDArray] | dict[str, NDArray]:
    """Arrays of the bytes of a ``.params`` file."""
    if not isinstance(buf, (bytes, bytearray, memoryview)):
        raise TypeError(f"load_frombuffer: got {type(buf).__name__}, expected bytes")
    return _loaded(_core.load_params_bytes(bytes(buf)))
