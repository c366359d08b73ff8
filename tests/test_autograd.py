"""Marking, backward, and writes beside recording."""

import numpy as np
import pytest

from oxgrad import MXNetError, autograd, nd


def variable(values, req="write", dtype=None):
    x = nd.array(values, dtype=dtype)
    x.attach_grad(req)
    return x


# ---- marking ----


def test_gradient_array():
    x = nd.array([[1, 2]], dtype="float64")
    assert x.grad is None
    x.attach_grad()
    assert x.grad.shape == (1, 2) and x.grad.dtype == np.float64
    x.grad[:] = 7
    assert x.grad.asnumpy().tolist() == [[7, 7]]
    for derived in (x[0], x.copy(), x.detach()):
        assert derived.grad is None
    with pytest.raises(AttributeError):
        x.grad = nd.ones((1, 2))
    x.attach_grad()
    assert x.grad.asnumpy().tolist() == [[0, 0]]


def test_attach_to_a_result_cuts_the_graph():
    x = variable([1.0, 2.0])
    x.grad[:] = 9
    with autograd.record():
        y = x * x
        y.attach_grad()
        z = y * 3
    z.backward()
    assert y.grad.asnumpy().tolist() == [3, 3]
    assert x.grad.asnumpy().tolist() == [9, 9]


def test_attach_again_leaves_old_graphs_their_buffer():
    x = variable([1.0])
    old = x.grad
    with autograd.record():
        y = x * 5
    x.attach_grad()
    y.backward()
    assert (old.asscalar(), x.grad.asscalar()) == (5, 0)


def test_grad_req_add_and_write():
    for req, expected in (("write", 2), ("add", 6)):
        x = variable([1.0], req)
        for _ in range(3):
            with autograd.record():
                y = x * x
            y.backward()
        assert x.grad.asscalar() == expected


@pytest.mark.parametrize("fan_out", range(1, 10))
def test_add_with_fan_out(fan_out):
    x = variable([2.0, 3.0], "add")
    for _ in range(2):
        with autograd.record():
            y = sum(x * k for k in range(1, fan_out + 1))
        y.backward()
    assert x.grad.asnumpy().tolist() == [fan_out * (fan_out + 1.0)] * 2


def test_null():
    x, w = variable([1.0], "null"), variable([2.0])
    with autograd.record():
        y = x * w
    assert x.grad.asscalar() == 0
    y.backward(retain_graph=True)
    assert x.grad.asscalar() == 0 and w.grad.asscalar() == 1
    y.backward()
    assert x.grad is None
    only = variable([1.0], "null")
    with autograd.record():
        y = only * 2
    with pytest.raises(MXNetError, match="require gradients"):
        y.backward()


def test_mark_variables():
    x, g = nd.array([1.0, 2.0]), nd.array([10.0, 10.0])
    autograd.mark_variables([x], [g], "add")
    with autograd.record():
        y = x * x
    y.backward()
    assert g.asnumpy().tolist() == [12, 14]
    autograd.mark_variables(x, g)
    with autograd.record():
        y = x * 3
    y.backward()
    assert g.asnumpy().tolist() == [3, 3]


MARKING = [
    (lambda x: x.attach_grad("ad"), KeyError, "'write', 'add' or 'null'"),
    (lambda x: autograd.mark_variables([x], x), TypeError, "both lists"),
    (lambda x: autograd.mark_variables([x], []), ValueError, "1 variables, 0 gradients"),
    (lambda x: autograd.mark_variables(x, nd.ones(5)), MXNetError, r"\(5,\).*\(3,\)"),
    (lambda x: autograd.mark_variables(x, nd.ones(3, dtype="float64")), MXNetError, "float64.*float32"),
]


@pytest.mark.parametrize(("act", "error", "text"), MARKING)
def test_marking_mistakes(act, error, text):
    x = nd.ones(3)
    with pytest.raises(error, match=text):
        act(x)
    assert x.grad is None


# ---- backward ----


def test_head_gradients():
    x = variable([1.0, 2.0])
    with autograd.record():
        y, z = x * x, x * 3
    autograd.backward([y, z], [nd.array([10.0, 100.0]), None], retain_graph=True)
    assert x.grad.asnumpy().tolist() == [23, 403]
    y.backward(nd.array([1.0, 0.0]))
    assert x.grad.asnumpy().tolist() == [2, 0]


def test_equal_heads_are_summed():
    x = variable([1.0, 2.0])
    with autograd.record():
        y = x * x
    autograd.backward([y, y, y], [nd.ones(2), None, nd.ones(2) * 3])
    assert x.grad.asnumpy().tolist() == [10, 20]


def test_backward_of_a_leaf():
    x = variable([1.0, 2.0])
    for _ in range(2):
        x.backward(nd.array([5.0, 6.0]))
        assert x.grad.asnumpy().tolist() == [5, 6]


def test_unreached_leaf_keeps_its_gradient():
    x, w = variable([1.0]), variable([1.0])
    w.grad[:] = 4
    with autograd.record():
        y, _ = x * 0, w * 2
    y.backward()
    assert (x.grad.asscalar(), w.grad.asscalar()) == (0, 4)


def test_retain_graph():
    x = variable([3.0])
    with autograd.record():
        y = x * x
        z = y + 1
    for _ in range(3):
        z.backward(retain_graph=True)
        assert x.grad.asscalar() == 6
    z.backward()
    with pytest.raises(MXNetError, match="retain_graph=True"):
        z.backward()
    with autograd.record():
        y = nd.exp(x)
        a, b = y * 2, y * 3
    a.backward()
    with pytest.raises(MXNetError, match="both at once"):
        b.backward()


BROADCASTS = [
    ((2, 3), (3,)),
    ((2, 3), (2, 1)),
    ((1, 3), (4, 1)),
    ((1,), (2, 2, 2)),
    ((2, 1, 3), (4, 1)),
    ((0, 3), (3,)),
]


@pytest.mark.parametrize("shapes", BROADCASTS)
def test_broadcast_gradients(shapes):
    a, b = (variable(np.arange(np.prod(s)).reshape(s) + 1.0) for s in shapes)
    with autograd.record():
        y = a * b
    y.backward()
    whole = np.broadcast_shapes(*shapes)
    for x, other in ((a, b), (b, a)):
        full = np.broadcast_to(other.asnumpy(), whole)
        lead = full.ndim - x.ndim
        axes = (*range(lead), *(lead + i for i, n in enumerate(x.shape) if n == 1 and whole[lead + i] != 1))
        assert np.array_equal(x.grad.asnumpy(), full.sum(axis=axes, keepdims=True).reshape(x.shape))


WRITES = [
    ("x[:] =", lambda x: x.__setitem__(slice(None), 100)),
    ("x[0] =", lambda x: x.__setitem__(0, 100)),
    ("x[[1]] =", lambda x: x.__setitem__([1], 100)),
    ("x +=", lambda x: x.__iadd__(100)),
    ("view", lambda x: x[0:1].__setitem__(slice(None), 100)),
    ("copyto", lambda x: nd.ones(2).copyto(x)),
    ("out=", lambda x: nd.exp(nd.ones(2), out=x)),
]
FUNCTIONS = [lambda x: x * x * 0.5, nd.square, nd.exp, nd.softmax, lambda x: nd.dot(x, x), lambda x: x.norm() * x[0:1]]


@pytest.mark.parametrize("write", [w for _, w in WRITES], ids=[name for name, _ in WRITES])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_writes_after_record_do_not_change_gradients(write, force, function):
    found = []
    for late_write in (lambda x: None, write):
        x = variable([1.5, 2.5])
        with autograd.record():
            y = function(x)
            z = y * y
        if force:
            z.wait_to_read()
        late_write(x)
        z.backward()
        found.append(x.grad.asnumpy())
    assert np.array_equal(*found)


def test_writes_to_a_result_do_not_change_gradients():
    x = variable([1.5, 2.5])
    with autograd.record():
        y = nd.exp(x)
        z = y * y
    y[:] = 1000
    z.backward()
    assert np.allclose(x.grad.asnumpy(), 2 * np.exp([3, 5]))


def test_plain_values_on_the_tape_are_kept_too():
    x, w = variable([1.0]), nd.array([3.0])
    with autograd.record():
        y = x * w
    w[:] = 7
    y.backward()
    assert x.grad.asscalar() == 3


RECORDED_WRITES = [
    ("x[0]=", lambda x, o: x.__setitem__(0, 5), "pause"),
    ("x[:]=", lambda x, o: x.__setitem__(slice(None), 5), "pause"),
    ("x+=", lambda x, o: x.__iadd__(1), "pause"),
    ("out=x", lambda x, o: nd.exp(o, out=x), "pause"),
    ("o[0]=x", lambda x, o: o.__setitem__(0, x[0]), "concat, stack or where"),
    ("o+=x", lambda x, o: o.__iadd__(x), "concat, stack or where"),
]


@pytest.mark.parametrize(("name", "write", "remedy"), RECORDED_WRITES, ids=[w[0] for w in RECORDED_WRITES])
def test_writes_that_recording_forbids(name, write, remedy):
    x, o = variable([1.0, 2.0]), nd.zeros(2)
    with autograd.record():
        y = x * x
        with pytest.raises(MXNetError, match=remedy):
            write(x, o)
    assert x.asnumpy().tolist() == [1, 2] and o.asnumpy().tolist() == [0, 0]
    y.backward()
    assert x.grad.asnumpy().tolist() == [2, 4]
    with autograd.record(), autograd.pause():
        x += 1
    assert x.asnumpy().tolist() == [2, 3]


def test_writes_that_recording_allows():
    x = variable([1.0, 2.0])
    targets = [nd.zeros(2) for _ in range(3)]
    with autograd.record():
        targets[0][:] = x
        x.copyto(targets[1])
        nd.square(x, out=targets[2])
        loss = targets[0] + targets[1] * 10 + targets[2] * 100
    loss.backward()
    assert x.grad.asnumpy().tolist() == [211, 411]
