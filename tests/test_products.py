"""Products of all sizes: each takes another way through the kernels."""

import numpy as np
import pytest

from oxgrad import nd

TOLERANCE = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
# From a tile to 2^29 multiply-adds, thin ones and odd ends among them.
@pytest.mark.parametrize(
    "m,k,n", [(3, 5, 2), (65, 17, 33), (257, 300, 300), (64, 5000, 64), (1030, 129, 300), (900, 700, 900)]
)
def test_dot_is_numpys(m, k, n, transpose_a, transpose_b, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if transpose_a else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if transpose_b else (k, n)).astype(dtype)
    out = nd.dot(nd.array(a, dtype=dtype), nd.array(b, dtype=dtype), transpose_a=transpose_a, transpose_b=transpose_b)
    left, right = (a.T if transpose_a else a).astype("float64"), (b.T if transpose_b else b).astype("float64")
    expected = left @ right
    assert out.dtype == np.dtype(dtype).type
    assert np.abs(out.asnumpy() - expected).max() <= TOLERANCE[dtype] * np.abs(expected).max()
