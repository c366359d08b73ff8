"""Arrays in which one element stands for many: computed and folded without loops, with the results of any array."""

import numpy as np
import pytest

from oxgrad import _core, autograd, nd

FOLDS = ["sum", "mean", "prod", "max", "min", "nansum", "nanprod", "norm"]


def spread(value, shape, dtype):
    """The same numbers twice: repeated, and each in memory of its own."""
    a = np.broadcast_to(np.asarray(value, dtype=dtype), shape)
    return nd.broadcast_to(nd.array(np.asarray(value, dtype=dtype), dtype=dtype), shape=shape), nd.array(a, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "uint8"])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2)])
@pytest.mark.parametrize("name", FOLDS)
def test_folds(name, axis, dtype):
    value = np.array([[[1], [2], [0]]]) if dtype != "float64" else np.array([[[1.001], [np.nan], [-0.0]]])
    repeated, plain = spread(value, (40, 3, 50), dtype)
    kw = {} if axis is None else {"axis": axis}
    found, expected = getattr(nd, name)(repeated, **kw), getattr(nd, name)(plain, **kw)
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-6 if dtype != "float16" else 1e-3)


def test_one_element_is_computed_for_all():
    x = nd.full((1000, 1000), 2.0)
    before = _core.stats()["bytes_written"]
    y = nd.exp(x * 3 - 5) > 1
    y.wait_to_read()
    assert _core.stats()["bytes_written"] - before < 100
    assert y.shape == x.shape and (y.asnumpy() == 1).all()
    y[3, 4] = 7
    assert y.asnumpy().sum() == 10**6 + 6 and x[3, 4].asscalar() == 2


def test_gradient_of_what_was_broadcast():
    x, b = nd.random.uniform(shape=(100, 50)), nd.random.uniform(shape=(1, 50))
    x.attach_grad()
    b.attach_grad()
    with autograd.record():
        y = 3 * (x + b)
    y.backward()
    assert (x.grad.asnumpy() == 3).all() and (b.grad.asnumpy() == 300).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("repeated", [True, False])
def test_take_along_any_axis(axis, repeated):
    a, index = np.arange(2.0 * 5 * 7).reshape(2, 5, 7), np.array([[1, 0], [1, 1]])
    x = nd.array(a)
    x.attach_grad()
    with autograd.record():
        y = nd.take(x, nd.array(index), axis=axis)
    head = np.ones(y.shape) if repeated else np.arange(1.0, 1 + y.size).reshape(y.shape)
    y.backward(nd.array(head))
    taken = np.take(a, index, axis)
    expected = np.zeros(a.shape)
    place = tuple([slice(None)] * axis + [index])
    np.add.at(expected, place, head)
    assert (y.asnumpy() == taken).all() and (x.grad.asnumpy() == expected).all()
