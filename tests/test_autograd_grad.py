"""`autograd.grad`, gradients of gradients, and the mistakes that each of them names."""

import numpy as np
import pytest

import oxgrad as mx
from oxgrad import MXNetError, autograd, nd


def variable(values, req="write", dtype=None):
    x = nd.array(values, dtype=dtype)
    x.attach_grad(req)
    return x


def test_grad_returns_a_list_and_leaves_buffers():
    x, w = variable([2.0]), variable([5.0])
    with autograd.record():
        y = x * x * w
    (found,) = autograd.grad(y, x, retain_graph=True)
    assert found.asscalar() == 20
    by_w, by_x = autograd.grad(y, [w, x], head_grads=nd.array([10.0]))
    assert (by_w.asscalar(), by_x.asscalar()) == (40, 200)
    assert (x.grad.asscalar(), w.grad.asscalar()) == (0, 0)
    with pytest.raises(MXNetError, match="retain_graph=True"):
        autograd.grad(y, x)


ORDERS = [
    (lambda x: x * x * x, lambda x: [3 * x**2, 6 * x, 6 + 0 * x]),
    (lambda x: x**4, lambda x: [4 * x**3, 12 * x**2, 24 * x]),
    (nd.sin, lambda x: [np.cos(x), -np.sin(x), -np.cos(x)]),
    (nd.log, lambda x: [1 / x, -1 / x**2, 2 / x**3]),
    (lambda x: nd.exp(2 * x), lambda x: [2 * np.exp(2 * x), 4 * np.exp(2 * x), 8 * np.exp(2 * x)]),
    (lambda x: 1 / x, lambda x: [-1 / x**2, 2 / x**3, -6 / x**4]),
    (lambda x: nd.tanh(x), None),
    (lambda x: (x.reshape((3, 1)) * x.reshape((1, 3))).sum() * x, None),
]


@pytest.mark.parametrize("case", range(len(ORDERS)))
def test_three_orders(case):
    function, exact = ORDERS[case]
    at = np.array([0.5, 1.25, 2.0])
    x = variable(at, dtype="float64")
    with autograd.record():
        y = function(x)
        found = []
        for _ in range(3):
            (y,) = autograd.grad(y, x, create_graph=True)
            found.append(y)
    if exact is not None:
        for order, expected in enumerate(exact(at)):
            assert np.allclose(found[order].asnumpy(), expected), order + 1
    # Each order is the derivative of the one before.
    eps = 1e-5

    def derivative(values, order):
        v = variable(values, dtype="float64")
        with autograd.record():
            y = function(v)
            for _ in range(order):
                (y,) = autograd.grad(y, v, create_graph=True)
        return y.asnumpy().sum()

    for order in (1, 2, 3):
        for k in range(3):
            step = eps * (np.arange(3) == k)
            difference = (derivative(at + step, order - 1) - derivative(at - step, order - 1)) / (2 * eps)
            assert np.isclose(found[order - 1].asnumpy()[k], difference, rtol=1e-5, atol=1e-6)


def test_backward_through_a_gradient():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = (x * x * x).sum()
        (first,) = autograd.grad(y, x, create_graph=True)
        penalty = (first * first).sum() + y
    penalty.backward()
    assert x.grad.asnumpy().tolist() == [36 + 3, 36 * 8 + 12]


def test_a_gradient_without_create_graph_is_a_constant():
    x = variable([3.0])
    with autograd.record():
        (first,) = autograd.grad(x * x, x)
        y = first * x
    y.backward()
    assert x.grad.asscalar() == 6


def unrecorded():
    return nd.ones(2).backward()


def recorded(act):
    def run():
        x = variable([1.0, 2.0, 3.0])
        with autograd.record():
            y = x * 2
        act(x, y)

    return run


MISTAKES = [
    (unrecorded, MXNetError, r"autograd\.record\(\).*attach_grad\(\)"),
    (lambda: autograd.backward([]), MXNetError, "at least one head"),
    (lambda: autograd.backward(5), TypeError, "got int"),
    (recorded(lambda x, y: y.backward(nd.ones(2))), MXNetError, r"got float32 \(2,\), expected float32 \(3,\)"),
    (recorded(lambda x, y: y.backward(nd.ones((1, 3)))), MXNetError, "head gradient"),
    (recorded(lambda x, y: y.backward(nd.ones(3, dtype="float64"))), MXNetError, "got float64"),
    (recorded(lambda x, y: autograd.backward([y], [None, None])), AssertionError, "2 for 1 head"),
    (recorded(lambda x, y: autograd.grad(y, [])), AssertionError, "at least one variable"),
    (recorded(lambda x, y: autograd.grad(y, nd.ones(3))), MXNetError, r"variable 1.*attach_grad\(\)"),
    (recorded(lambda x, y: autograd.grad(y, [x, variable([1.0])])), MXNetError, "variable 2 is unreachable"),
    (recorded(lambda x, y: autograd.grad(y, y)), MXNetError, "variable 1"),
]


@pytest.mark.parametrize("case", range(len(MISTAKES)))
def test_mistakes_name_the_remedy(case):
    act, error, text = MISTAKES[case]
    with pytest.raises(error, match=text):
        act()
    assert not autograd.is_recording()


def test_a_refused_head_gradient_leaves_the_graph():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = x * x
    with pytest.raises(MXNetError):
        y.backward(nd.ones(5))
    y.backward()
    assert x.grad.asnumpy().tolist() == [2, 4]


def test_gradient_is_on_the_context_of_its_variable():
    x = variable([1.0])
    with autograd.record():
        y = x.as_in_context(mx.cpu(1)) * 2
    y.backward()
    assert y.ctx == mx.cpu(1) and x.grad.ctx == mx.cpu(0)


NOT_ARRAYS = [
    lambda x, y: autograd.backward([y, 5]),
    lambda x, y: y.backward([1]),
    lambda x, y: autograd.backward(y, [5]),
    lambda x, y: autograd.grad(y, 5),
    lambda x, y: autograd.grad(y, [5]),
    lambda x, y: autograd.mark_variables(5, 6),
]


@pytest.mark.parametrize("case", range(len(NOT_ARRAYS)))
def test_what_is_no_array_is_a_type_error(case):
    with pytest.raises(TypeError, match="NDArray|not iterable"):
        recorded(NOT_ARRAYS[case])()
