"""`nd.linalg` where a matrix must have a factor: what it is, its gradients to order two, and what has none."""

import numpy as np
import pytest

from oxgrad import MXNetError, autograd, nd
from oxgrad.test_utils import check_numeric_gradient

STACKS = [(3, 3), (2, 3, 3), (1, 1)]


def matrix(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def positive(a):
    """Symmetric positive definite, from anything."""
    return nd.linalg.syrk(a) + nd.eye(a.shape[-1], dtype="float64")


def curved(*outs):
    return sum((nd.sin(out).sum() for out in outs), nd.zeros(1, dtype="float64"))


FACTORS = {
    "potrf": lambda a: curved(nd.linalg.potrf(positive(a))),
    "potrf upper": lambda a: curved(nd.linalg.potrf(positive(a), lower=False)),
    "potri": lambda a: curved(nd.linalg.potri(nd.linalg.potrf(positive(a)))),
    "inverse": lambda a: curved(nd.linalg.inverse(positive(a))),
    "det": lambda a: curved(nd.linalg.det(positive(a))),
    "slogdet": lambda a: curved(nd.linalg.slogdet(positive(a))[1]),
    "syevd": lambda a: curved(*nd.linalg.syevd(positive(a))),
    "gelqf": lambda a: curved(*nd.linalg.gelqf(positive(a))),
}


@pytest.mark.parametrize("shape", STACKS)
@pytest.mark.parametrize("name", FACTORS)
def test_gradients_to_order_two(name, shape):
    check_numeric_gradient(FACTORS[name], [matrix(shape)], order=2, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", STACKS)
def test_factors(shape):
    a = positive(nd.array(matrix(shape), dtype="float64"))
    n, data = shape[-1], a.asnumpy()
    low, up = nd.linalg.potrf(a).asnumpy(), nd.linalg.potrf(a, lower=False).asnumpy()
    np.testing.assert_allclose(low, np.linalg.cholesky(data), atol=1e-12)
    np.testing.assert_allclose(up, np.swapaxes(low, -1, -2), atol=1e-12)
    np.testing.assert_allclose(
        nd.linalg.potri(nd.array(low, dtype="float64")).asnumpy(), np.linalg.inv(data), atol=1e-10
    )
    u, values = (x.asnumpy() for x in nd.linalg.syevd(a))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(data), atol=1e-12)
    np.testing.assert_allclose(u @ data, values[..., None] * u, atol=1e-10)
    wide = nd.concat(a, a, dim=len(shape) - 1)
    q, factor = (x.asnumpy() for x in nd.linalg.gelqf(wide))
    np.testing.assert_allclose(factor @ q, wide.asnumpy(), atol=1e-10)
    np.testing.assert_allclose(q @ np.swapaxes(q, -1, -2), np.broadcast_to(np.eye(n), shape), atol=1e-12)
    assert (np.triu(factor, 1) == 0).all()


def test_singular_matrices():
    zero = nd.zeros((2, 2))
    sign, log = nd.linalg.slogdet(zero)
    assert sign.asscalar() == 0 and log.asscalar() == -np.inf and nd.linalg.det(zero).asscalar() == 0
    zero.attach_grad()
    with autograd.record():
        y = nd.linalg.det(zero)
    y.backward()
    assert not zero.grad.asnumpy().any()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: nd.linalg.inverse(nd.ones((2, 2))),
        lambda: nd.linalg.potrf(-nd.eye(2)),
        lambda: nd.linalg.potrf(nd.ones((2, 3))),
        lambda: nd.linalg.potrf(nd.ones(3)),
        lambda: nd.linalg.potrf(nd.eye(2, dtype="int32")),
        lambda: nd.linalg.gelqf(nd.ones((3, 2))),
        lambda: nd.linalg.trsm(nd.eye(3), nd.ones((2, 3))),
        lambda: nd.linalg.trmm(nd.eye(3), nd.ones((3, 2)), rightside=True),
        lambda: nd.linalg.gemm2(nd.ones((2, 3)), nd.ones((2, 3))),
        lambda: nd.linalg.gemm(nd.ones((2, 3)), nd.ones((3, 2)), nd.ones((3, 3))),
        lambda: nd.linalg.syrk(nd.ones(3)),
        lambda: nd.linalg.maketrian(nd.ones(4)),
        lambda: nd.linalg.extractdiag(nd.ones((3, 3)), offset=3),
        lambda: nd.linalg.makediag(nd.ones(3), offset=2**40),
    ],
)
def test_errors(wrong):
    with pytest.raises((MXNetError, MemoryError)):
        wrong()


def test_names():
    assert nd.linalg_gemm.__doc__ == nd.linalg.gemm.__doc__
    assert {"gemm", "potrf", "syevd"} <= set(dir(nd.linalg))
    with pytest.raises(AttributeError, match="nothing"):
        nd.linalg.nothing  # noqa: B018
