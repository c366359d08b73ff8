"""Devices, as MXNet's contexts.

>>> import oxgrad as mx
>>> mx.cpu()
cpu(0)
>>> with mx.cpu(1):
...     mx.nd.ones((2,)).context
cpu(1)
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import ClassVar

from ._core import _entered, empty_cache

__all__ = ["Context", "cpu", "cpu_pinned", "current_context", "gpu", "gpu_memory_info", "num_gpus"]


class _Stack(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Context] = []


_stack = _Stack()


class Context:
    """A device: its type (``'cpu'``, ``'gpu'``, ``'cpu_pinned'``, ``'cpu_shared'``) and number.

    Every CPU number is the same memory. As a context manager it becomes the default of this thread.
    """

    devtype2str: ClassVar[dict[int, str]] = {1: "cpu", 2: "gpu", 3: "cpu_pinned", 5: "cpu_shared"}
    devstr2type: ClassVar[dict[str, int]] = {"cpu": 1, "gpu": 2, "cpu_pinned": 3, "cpu_shared": 5}

    __slots__ = ("__weakref__", "device_id", "device_typeid")

    device_typeid: int
    device_id: int

    def __init__(self, device_type: str | Context, device_id: int = 0) -> None:
        if isinstance(device_type, Context):
            self.device_typeid = device_type.device_typeid
            self.device_id = device_type.device_id
        else:
            self.device_typeid = Context.devstr2type[device_type]
            self.device_id = device_id

    @property
    def device_type(self) -> str:
        """The type's name."""
        return Context.devtype2str[self.device_typeid]

    def empty_cache(self) -> None:
        """Gives the memory kept for reuse back to the system."""
        empty_cache()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return (self.device_typeid, self.device_id) == (other.device_typeid, other.device_id)

    def __hash__(self) -> int:
        return hash((self.device_typeid, self.device_id))

    def __repr__(self) -> str:
        return f"{self.device_type}({self.device_id})"

    def __enter__(self) -> Context:
        _stack.contexts.append(self)
        _entered(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _stack.contexts.pop()
        _entered(False)

    def __reduce__(self) -> tuple[type[Context], tuple[str, int]]:
        return (Context, (self.device_type, self.device_id))


_default = Context("cpu", 0)


def _current_or_none() -> Context | None:
    return _stack.contexts[-1] if _stack.contexts else None


def current_context() -> Context:
    """The context of the innermost ``with`` block of this thread; ``cpu(0)`` outside."""
    return _current_or_none() or _default


def cpu(device_id: int = 0) -> Context:
    """A CPU context."""
    return Context("cpu", device_id)


def cpu_pinned(device_id: int = 0) -> Context:
    """A CPU context of page-locked memory; here the same memory as ``cpu()``."""
    return Context("cpu_pinned", device_id)


def gpu(device_id: int = 0) -> Context:
    """A GPU context. Arrays can live there where wgpu (``pip install oxgrad[gpu]``) and a driver are installed."""
    return Context("gpu", device_id)


def num_gpus() -> int:
    """Number of GPUs that arrays can live on."""
    from .gpu import _driver
    from .gpu._errors import GpuUnavailable

    try:
        return len(_driver.adapters())
    except GpuUnavailable:
        return 0


def gpu_memory_info(device_id: int = 0) -> tuple[int, int]:
    """Free and total bytes of a GPU, as far as can be told.

    No portable interface says how much memory a card has. The total is the largest buffer that the device gives, the
    free bytes are that less what arrays of this process take.
    """
    from . import gpu as module

    stats = module.stats(device_id)
    total = int(module._drivers()[device_id].device.limits["max-buffer-size"])
    return max(total - int(stats["live_bytes"]) - int(stats["kept_bytes"]), 0), total
