"""`pick`, and its gradient: zeros but for one element of each row, which softmax reads without having them written."""

from __future__ import annotations

import numpy as np
import pytest

from oxgrad import autograd, nd

RNG = np.random.default_rng(0)
# The short one is computed at once; the gradient of the long one waits until it is read.
SHAPES = [(5, 7), (96, 300)]


def picked(rows: int, n: int, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    return RNG.normal(size=(rows, n)).astype(dtype), RNG.integers(0, n, rows)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def one_hot(index: np.ndarray, n: int) -> np.ndarray:
    return (index[:, None] == np.arange(n)).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("log", [True, False])
def test_gradient_through_softmax(shape, dtype, log):
    x, index = picked(*shape, dtype)
    weight = RNG.normal(size=shape[0]).astype(dtype)
    a = nd.array(x, dtype=dtype)
    a.attach_grad()
    with autograd.record():
        y = nd.pick((nd.log_softmax if log else nd.softmax)(a), nd.array(index))
    y.backward(nd.array(weight, dtype=dtype))
    p, hot, w = softmax(x.astype("float64")), one_hot(index, shape[1]), weight.astype("float64")[:, None]
    want = w * (hot - p) if log else w * p * (hot - (p * hot).sum(-1, keepdims=True))
    tolerance = {"float16": 4e-3, "float32": 2e-6, "float64": 1e-14}[dtype]
    np.testing.assert_allclose(a.grad.asnumpy().astype("float64"), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_read_by_itself_and_by_others(shape):
    x, index = picked(*shape, "float32")
    a = nd.array(x)
    a.attach_grad()
    with autograd.record():
        y = nd.pick(a, nd.array(index)) * 3
        z = (a * a).sum()
    autograd.backward([y, z])
    np.testing.assert_allclose(a.grad.asnumpy(), 3 * one_hot(index, shape[1]) + 2 * x, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("mode", ["clip", "wrap"])
@pytest.mark.parametrize("index_dtype", ["float32", "int32", "int64"])
def test_axes_and_modes(shape, axis, mode, index_dtype):
    x = RNG.normal(size=shape)
    n, others = shape[axis], shape[1 - axis % 2]
    index = RNG.integers(-2 * n, 2 * n, others)
    inside = index % n if mode == "wrap" else index.clip(0, n - 1)
    a = nd.array(x, dtype="float64")
    a.attach_grad()
    with autograd.record():
        y = nd.pick(a, nd.array(index, dtype=index_dtype), axis=axis, mode=mode)
    y.backward()
    np.testing.assert_array_equal(y.asnumpy(), np.take_along_axis(x, np.expand_dims(inside, axis), axis).squeeze(axis))
    hot = one_hot(inside, n)
    np.testing.assert_array_equal(a.grad.asnumpy(), hot.T if axis == 0 else hot)


@pytest.mark.parametrize("shape", SHAPES)
def test_second_order(shape):
    x, index = picked(*shape)
    a = nd.array(x, dtype="float64")
    a.attach_grad()
    with autograd.record():
        y = nd.pick(nd.log_softmax(a), nd.array(index))
        (first,) = autograd.grad(y, [a], create_graph=True, retain_graph=True)
        z = (first * first).sum()
    z.backward()
    p, hot = softmax(x), one_hot(index, shape[1])
    # d/dx of |hot - p|^2 is 2 (p (p - hot) - p sum(p (p - hot))).
    d = p - hot
    want = 2 * (p * d - p * (p * d).sum(-1, keepdims=True))
    np.testing.assert_allclose(a.grad.asnumpy(), want, rtol=1e-12, atol=1e-14)


def test_a_head_that_is_not_finite_stays_in_its_row():
    x, index = picked(96, 300, "float32")
    a = nd.array(x)
    a.attach_grad()
    with autograd.record():
        y = nd.pick(nd.log_softmax(a), nd.array(index))
    head = np.ones(96, "float32")
    head[7], head[9] = np.nan, np.inf
    y.backward(nd.array(head))
    got = a.grad.asnumpy()
    finite = np.ones(96, bool)
    finite[[7, 9]] = False
    assert np.isfinite(got[finite]).all()
    assert np.isnan(got[7]).all()
    assert not np.isfinite(got[9]).any()


def test_misfits():
    a = nd.ones((3, 4))
    with pytest.raises(Exception, match="pick: index has shape"):
        nd.pick(a, nd.ones((2,)))
    with pytest.raises(Exception, match="pick: axis"):
        nd.pick(a, nd.ones((3,)), axis=None)
    with pytest.raises(IndexError, match="pick: nothing to pick"):
        nd.pick(nd.zeros((3, 0)), nd.ones((3,)))
