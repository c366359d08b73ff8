"""Errors of the GPU, and whether this process was forked off one that used it."""

from __future__ import annotations

import os

from .._core import MXNetError


class GpuError(MXNetError):
    """Something went wrong on the GPU."""


class GpuUnavailable(GpuError):
    """There is no package, no driver or no adapter. The message says what to install."""


class GpuOutOfMemory(GpuError, MemoryError):
    """The GPU has no memory left, even after everything kept for reuse was given back."""


class GpuDeviceLost(GpuError):
    """The device is gone, and with it the arrays on it. ``oxgrad.gpu.reset()`` opens it again."""


class GpuFallbackWarning(UserWarning):
    """An operator on a GPU array ran on the host. ``OXGRAD_GPU_STRICT=1`` makes it an error."""


_pid = os.getpid()
_used = False


def mark_used() -> None:
    """A device was opened in this process."""
    global _used
    _used = True


def forked() -> bool:
    """Whether a parent of this process had a device: the driver's threads and locks are then in no usable state."""
    return _used and os.getpid() != _pid
