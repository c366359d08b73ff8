"""NumPy's functions on arrays: recorded where they are elementwise or join arrays, else on copies."""

import numpy as np
import pytest

from oxgrad import autograd, nd

UNARY = (
    "sin cos tan sinh cosh tanh arcsin arctan exp expm1 log log2 log1p sqrt cbrt square negative abs floor sign".split()
)
BINARY = "add subtract multiply divide power maximum minimum hypot remainder less greater_equal not_equal".split()
DATA = np.array([[0.2, 0.5], [0.7, 0.9]], "float32")


def variable(values=DATA):
    x = nd.array(values)
    x.attach_grad()
    return x


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    x = variable()
    with autograd.record():
        y = getattr(np, name)(x)
    y.backward()
    grad = x.grad.asnumpy()
    with autograd.record():
        own = getattr(nd, name)(x)
    own.backward()
    assert type(y) is type(x) and np.array_equal(y.asnumpy(), own.asnumpy())
    np.testing.assert_array_equal(grad, x.grad.asnumpy())
    np.testing.assert_allclose(y.asnumpy(), getattr(np, name)(DATA), rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    function, other = getattr(np, name), DATA[::-1].copy()
    x = variable()
    for args, plain in (
        ((x, nd.array(other)), (DATA, other)),
        ((x, other), (DATA, other)),
        ((other, x), (other, DATA)),
        ((x, 0.5), (DATA, 0.5)),
        ((np.float32(0.5), x), (np.float32(0.5), DATA)),
    ):
        y = function(*args)
        assert isinstance(y, nd.NDArray) and y.dtype is np.float32
        np.testing.assert_allclose(y.asnumpy(), function(*plain), rtol=1e-6)


def test_an_array_of_numpy_on_the_left():
    x = variable()
    with autograd.record():
        y = (DATA * x + np.float32(2) - np.ones(2)).sum()
    y.backward()
    np.testing.assert_array_equal(x.grad.asnumpy(), DATA)


def test_joins_and_sums():
    x = variable()
    with autograd.record():
        y = np.concatenate([x, DATA], axis=1) * 2
        z = np.stack((x, x), axis=-1)
        whole = y.sum() + z.sum() + np.sum(x) + np.add.reduce(x, axis=1).sum() + np.concatenate([x, x], axis=None).sum()
    whole.backward()
    assert y.shape == (2, 4) and z.shape == (2, 2, 2)
    assert x.grad.asnumpy().tolist() == [[8, 8], [8, 8]]


def test_out():
    x, plain, own = variable(), np.zeros((2, 2), "float32"), nd.zeros((2, 2))
    assert np.sqrt(x, out=plain) is plain and np.sqrt(x, out=own) is own
    np.testing.assert_allclose(plain, np.sqrt(DATA))
    np.testing.assert_array_equal(own.asnumpy(), plain)
    plain += x
    np.testing.assert_allclose(plain, np.sqrt(DATA) + DATA)


def test_other_functions_take_copies():
    x = variable()
    assert np.allclose(x, DATA) and np.array_equal(x, DATA) and np.unique(x).shape == (4,)
    np.testing.assert_allclose(x, DATA)
    assert isinstance(np.linalg.inv(x), np.ndarray) and np.isnan(x).asnumpy().sum() == 0
    for function in (np.arctan2, np.gcd):
        with pytest.raises(TypeError):
            function(x, x)
