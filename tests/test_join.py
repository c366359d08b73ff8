"""Joins of narrow parts, which are interleaved instead of copied run by run, on one thread and on many."""

from __future__ import annotations

import numpy as np
import pytest

from oxgrad import nd


def parts(count: int, shape: tuple, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 100, shape).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("rows", [1, 7, 1000, 70_001])
def test_stack_along_the_last_axis(rows, count, dtype):
    xs = parts(count, (rows,), dtype)
    got = nd.stack(*[nd.array(x, dtype=dtype) for x in xs], axis=1)
    np.testing.assert_array_equal(got.asnumpy(), np.stack(xs, 1))


@pytest.mark.parametrize("widths", [(1, 1), (2, 1), (4, 4, 4), (1, 5), (3, 2, 1, 4)])
@pytest.mark.parametrize("rows", [1, 50, 40_000])
def test_concat_of_narrow_arrays(rows, widths):
    xs = [parts(1, (rows, width), "float32")[0] for width in widths]
    got = nd.concat(*[nd.array(x) for x in xs], dim=1)
    np.testing.assert_array_equal(got.asnumpy(), np.concatenate(xs, 1))


@pytest.mark.parametrize("n", [0, 1, 1000, 1_000_003])
def test_numpy_and_back(n):
    x = np.arange(n, dtype="float32")
    y = nd.array(x) if n else nd.zeros((0,))
    np.testing.assert_array_equal(y.asnumpy(), x)


@pytest.mark.parametrize("shape", [(3, 60), (17, 100), (40, 512), (5, 513), (2, 3000)])
def test_log_softmax_of_rows(shape):
    """Groups of rows, whole and in part, against float64; a row of -inf gives nan, a single inf too."""
    x = np.random.default_rng(0).normal(0, 4, shape).astype("float32")
    x[-1] = -np.inf
    got = nd.log_softmax(nd.array(x)).asnumpy()
    z = x[:-1].astype("float64")
    z -= z.max(1, keepdims=True)
    np.testing.assert_allclose(got[:-1], z - np.log(np.exp(z).sum(1, keepdims=True)), rtol=3e-6, atol=3e-6)
    assert np.isnan(got[-1]).all()
