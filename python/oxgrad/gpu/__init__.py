"""Arrays on a GPU, through wgpu-py: ``pip install oxgrad[gpu]``.

``mx.gpu(0)`` is the context of the first adapter, and this module is what else there is to say about GPUs:

    x = nd.ones((2, 3), ctx=mx.gpu())
    mx.gpu.is_available()

Nothing here imports wgpu before a GPU is asked for.
"""

from __future__ import annotations

import os
import sys
import types
import warnings
from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import NDArray
from ..context import Context
from ._errors import GpuDeviceLost, GpuError, GpuFallbackWarning, GpuOutOfMemory, GpuUnavailable

__all__ = [
    "GpuDeviceLost",
    "GpuError",
    "GpuFallbackWarning",
    "GpuOutOfMemory",
    "GpuUnavailable",
    "adapters",
    "coverage",
    "empty_cache",
    "from_buffer",
    "is_available",
    "reset",
    "run_wgsl",
    "stats",
    "synchronize",
    "use_device",
]


def _drivers() -> dict[int, Any]:
    from . import _driver

    return _driver.drivers


def is_available() -> bool:
    """Whether there is a package, a driver and an adapter."""
    from . import _driver

    try:
        return bool(_driver.adapters())
    except GpuUnavailable:
        return False


def adapters() -> list[dict[str, Any]]:
    """The adapters behind ``gpu(0)``, ``gpu(1)``, …: name, kind, driver, and what one launch may bind."""
    from . import _driver

    found = []
    for adapter in _driver.adapters():
        info, limits = adapter.info, adapter.limits
        found.append(
            {
                "name": info["device"],
                "kind": info["adapter_type"],
                "backend": info["backend_type"],
                "driver": info["description"],
                "max_binding": limits["max-storage-buffer-binding-size"],
                "features": sorted(adapter.features),
            }
        )
    return found


def use_device(device: Any) -> None:
    """Makes ``gpu(0)`` a ``wgpu.GPUDevice`` of yours, so that buffers can be shared. Call it before the first array."""
    from . import _driver

    if 0 in _core._gpu_opened():
        raise GpuError("use_device: gpu(0) is in use: call it before the first array, or after reset()")
    _driver.use(device)


def synchronize() -> None:
    """Waits until everything computed so far is there."""
    _core._gpu_wait()


def empty_cache() -> None:
    """Gives the device memory kept for reuse back."""
    _core._gpu_empty_cache()


def reset() -> None:
    """Forgets all devices. Arrays on them are lost; the next use opens them again."""
    from . import _driver

    _core._gpu_reset()
    _driver.forget()


def stats(device_id: int = 0) -> dict[str, Any]:
    """Counters since the device was opened (dispatches, batches, pipelines, uploads, reads and so on), and bytes."""
    return _core._gpu_stats(device_id)


def from_buffer(buffer: Any, shape: Sequence[int], dtype: Any = "float32", device_id: int = 0) -> NDArray:
    """An array on a ``wgpu.GPUBuffer`` of the same device, without a copy.

    The buffer needs the usages STORAGE, COPY_SRC and COPY_DST. Who writes into it afterwards changes the array.
    """
    _core._gpu_stats(device_id)
    driver = _drivers()[device_id]
    missing = [name for name in ("STORAGE", "COPY_SRC", "COPY_DST") if not buffer.usage & driver.usage[name]]
    if missing:
        raise GpuError(f"from_buffer: the buffer lacks the usage {', '.join(missing)}")
    size = buffer.size
    return _core._gpu_adopt(device_id, size, list(shape), dtype, lambda number: driver.adopt(number, buffer))


def run_wgsl(
    code: str,
    inputs: Sequence[NDArray],
    out_shapes: Sequence[Sequence[int]],
    grid: int,
    dtypes: Sequence[Any] | None = None,
    params: Sequence[int] = (),
) -> list[NDArray]:
    """Runs a compute shader with the entry point ``main`` in ``grid`` workgroups; gives its outputs.

    Group 0 has ``params`` (32-bit words) at binding 0, ``inputs`` from binding 1 on as ``var<storage, read>`` arrays,
    and then the outputs as ``var<storage, read_write>``. More than 65535 workgroups are spread over x and y. A mistake
    in the shader shows when an output is read. Within an ``autograd.Function`` it is differentiable as that says.
    """
    kinds = list(dtypes) if dtypes is not None else ["float32"] * len(out_shapes)
    if len(kinds) != len(out_shapes):
        raise GpuError(f"run_wgsl: got {len(kinds)} dtypes and {len(out_shapes)} shapes, expected as many")
    outs = [(list(shape), kind) for shape, kind in zip(out_shapes, kinds, strict=True)]
    return _core._gpu_run(code, list(inputs), outs, grid, [int(p) & 0xFFFFFFFF for p in params])


def coverage() -> dict[str, list[str]]:
    """Operators by what their records say about GPUs: own shader, generated shader, view, composed, host."""
    table: dict[str, list[str]] = {}
    for record in _core.records():
        table.setdefault(record["gpu"], []).append(record["name"])
    return {form: sorted(names) for form, names in sorted(table.items())}


_told: set[tuple[str, str]] = set()


def _note_fallback(op: str, dtype: str) -> None:
    text = f"{op}: no GPU form for {dtype}: runs on the host"
    if os.environ.get("OXGRAD_GPU_STRICT", "") not in ("", "0"):
        raise GpuError(text + ", which OXGRAD_GPU_STRICT forbids")
    if (op, dtype) not in _told:
        _told.add((op, dtype))
        warnings.warn(text, GpuFallbackWarning, stacklevel=3)


class _Module(types.ModuleType):
    """This module is also MXNet's function ``gpu``."""

    def __call__(self, device_id: int = 0) -> Context:
        return Context("gpu", device_id)


sys.modules[__name__].__class__ = _Module
