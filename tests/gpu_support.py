"""What the GPU tests share: the reason to skip them, and arrays on both devices."""

import os

# Mesa asks for it; any folder will do.
os.environ.setdefault("XDG_RUNTIME_DIR", "/tmp")

import numpy as np
import pytest

import oxgrad as mx
from oxgrad import nd


def missing():
    """Why there is no GPU here, or an empty text. Where one is required, a lack is a failure instead."""
    if os.environ.get("OXGRAD_REQUIRE_GPU", "") not in ("", "0"):
        return ""
    try:
        nd.zeros((1,), ctx=mx.gpu()).wait_to_read()
    except mx.MXNetError as error:
        return str(error)
    return ""


needs_gpu = pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")
GPU = mx.gpu()


def counted(function):
    """The counters that running something changes, everything sent; and what it gave."""
    nd.waitall()
    before = mx.gpu.stats()
    result = function()
    mx._core._gpu_flush()
    after = mx.gpu.stats()
    keys = ("dispatches", "buffers", "pipelines", "groups", "uploads", "reads", "batches")
    return {k: after[k] - before[k] for k in keys}, result


def close(found, expected, rtol=1e-6, atol=1e-6):
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=rtol, atol=atol)
