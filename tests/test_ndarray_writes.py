"""Operators, in-place forms, views, overlapping assignments, and writes that fail."""

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oxgrad import MXNetError, nd

FLOATS = ["float16", "float32", "float64"]
INTS = ["int8", "uint8", "int32", "int64"]
COMPARE = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
BINARY = [operator.add, operator.sub, operator.mul, *COMPARE]


def values(x):
    return x.asnumpy().tolist()


# ---- operators ----


@pytest.mark.parametrize("dtype", FLOATS + INTS)
@pytest.mark.parametrize("op", BINARY, ids=lambda f: f.__name__)
def test_binary(op, dtype):
    a, b = np.array([[1], [2], [7]]).astype(dtype), np.array([[3, 2, 5]]).astype(dtype)
    x, y = nd.array(a, dtype=dtype), nd.array(b, dtype=dtype)
    pairs = [(op(x, y), op(a, b)), (op(x, 3), op(a, a.dtype.type(3))), (op(3, y), op(b.dtype.type(3), b))]
    for found, expected in pairs:
        assert found.dtype is a.dtype.type
        assert np.array_equal(found.asnumpy(), expected.astype(dtype))


def test_division_and_remainder():
    x = nd.array([-7, 7, 5.5, -5.5])
    assert np.allclose((x / 2).asnumpy(), [-3.5, 3.5, 2.75, -2.75])
    assert np.allclose((x % 3).asnumpy(), [2, 1, 2.5, 0.5])
    assert np.allclose((x % -3).asnumpy(), [-1, -2, -0.5, -2.5])
    assert values(x % 0) == [0, 0, 0, 0]
    i = nd.array([-7, 7], dtype="int32")
    assert values(i / 2) == [-3, 3] and values(i % 3) == [2, 1] and values(i / 0) == values(i % 0) == [0, 0]
    assert values(7 / nd.array([2, -2], dtype="int32")) == [3, -3]
    assert (i / 2).dtype is np.int32


def test_powers():
    x = nd.array([1, 2, 4])
    assert values(x**2) == [1, 4, 16] and values(2**x) == [2, 4, 16] and values(x**0.5) == [1, np.sqrt(2, dtype="f"), 2]
    assert values(x**x) == [1, 4, 256] and values(pow(x, -1)) == [1, 0.5, 0.25]
    before = x
    x **= 2
    assert x is not before and values(before) == [1, 2, 4]


def test_scalars_are_cast_to_the_array():
    i = nd.array([1, 2, 3], dtype="int32")
    assert values(i * 1.5) == [1, 2, 3] and values(i > 1.5) == [0, 1, 1] and values(i + np.float64(2.9)) == [3, 4, 5]
    assert values(nd.array([0], dtype="int64") + (2**53 + 1)) == [2**53 + 1]
    assert values(nd.ones(1, dtype="uint8") - 2) == [255]
    assert (np.float32(2) * nd.ones(2)).shape == (2,)
    assert values(-nd.array([1, -2])) == [-1, 2] and values(abs(nd.array([1, -2]))) == [1, 2]


@pytest.mark.parametrize("act", [lambda x: x // 2, lambda x: x @ x, lambda x: +x, lambda x: x & x, lambda x: ~x])
def test_operators_that_are_not_defined(act):
    with pytest.raises(TypeError):
        act(nd.ones(2))


def test_in_place():
    x = nd.array([[1, 2], [3, 4]])
    same, view = x, x[1]
    x += 1
    x *= nd.array([2, 3])
    x -= nd.array([[1], [2]])
    x /= 2
    x %= 4
    assert x is same and values(x) == [[1.5, 0], [3, 2.5]] and values(view) == [3, 2.5]
    view += 10
    assert values(x)[1] == [13, 12.5]
    i = nd.array([3], dtype="int32")
    i /= 2
    assert values(i) == [1] and i.dtype is np.int32


# ---- writes that fail ----

FAILS = [
    ("shape grows", lambda x: x.__iadd__(nd.ones((3, 1, 3))), MXNetError),
    ("shape differs", lambda x: x.__iadd__(nd.ones(2)), MXNetError),
    ("dtype differs", lambda x: x.__imul__(nd.ones(3, dtype="float64")), MXNetError),
    ("set wrong shape", lambda x: x.__setitem__(0, [1, 2]), ValueError),
    ("set all, wrong shape", lambda x: x.__setitem__(slice(None), nd.ones(2)), ValueError),
    ("set scalar place", lambda x: x.__setitem__((0, 1), nd.array([5, 6])), ValueError),
    ("set wrong type", lambda x: x.__setitem__(0, object()), TypeError),
    ("set ragged", lambda x: x.__setitem__(slice(None), [[1], [2, 3]]), TypeError),
    ("index", lambda x: x.__setitem__(2, 1), IndexError),
    ("advanced index", lambda x: x.__setitem__([0, 7], 1), IndexError),
    ("array index", lambda x: x.__setitem__(nd.array([0, -3]), 1), IndexError),
    ("second axis", lambda x: x.__setitem__((slice(None), [0, 3]), 1), IndexError),
    ("too many", lambda x: x.__setitem__((0, 0, 0), 1), IndexError),
    ("mask", lambda x: x.__setitem__(nd.array([1, 0, 1]) > 0, 1), IndexError),
    ("key", lambda x: x.__setitem__("a", 1), ValueError),
    ("step", lambda x: x.__setitem__(slice(None, None, 0), 1), ValueError),
    ("out shape", lambda x: nd.exp(nd.ones(5), out=x), MXNetError),
    ("out of dot", lambda x: nd.dot(nd.ones((2, 3)), nd.ones((2, 2)), out=x), MXNetError),
    ("copyto", lambda x: nd.ones(5).copyto(x), MXNetError),
    ("draw", lambda x: nd.random.uniform(shape=5, out=x), MXNetError),
    ("delete", lambda x: x.__delitem__(0), (AttributeError, NotImplementedError)),
]


@pytest.mark.parametrize(("name", "write", "error"), FAILS, ids=[name for name, *_ in FAILS])
def test_failed_writes_leave_the_array(name, write, error):
    for base in (
        nd.arange(6).reshape((2, 3)),
        nd.arange(12).reshape((4, 3))[0:2],
        nd.from_numpy(np.arange(6, dtype="float32")),
    ):
        x = base.reshape((2, 3))
        view = x[1]
        with pytest.raises(error):
            write(x)
        assert values(x) == [[0, 1, 2], [3, 4, 5]] and values(view) == [3, 4, 5]
        assert x.shape == (2, 3)


# ---- views ----

# Keys on an array of shape (2, 3, 4): a view where the elements are one contiguous run.
VIEWS = [
    (0, True),
    (-1, True),
    (slice(0, 1), True),
    (slice(None), True),
    (..., True),
    ((), True),
    (None, True),
    ((0, 1), True),
    ((0, 1, 2), True),
    ((0, slice(1, 3)), True),
    ((1, 1, slice(1, 3)), True),
    ((slice(0, 1), slice(1, 2), slice(0, 2)), True),
    ((None, 0), True),
    ((0, None, 1), True),
    (slice(0, 1, 2), True),
    ((slice(None), 1), False),
    ((slice(None), slice(0, 2)), False),
    ((0, slice(None), 1), False),
    (slice(None, None, -1), False),
    ([0, 1], False),
    (np.array([1]), False),
]


@pytest.mark.parametrize(("key", "is_view"), VIEWS)
def test_views(key, is_view):
    x = nd.zeros((2, 3, 4))
    part = x[key]
    part[...] = 1
    assert x.asnumpy().sum() == (part.size if is_view else 0)
    x[:] = 5
    assert set(part.asnumpy().ravel()) == {5.0 if is_view else 1.0}


def test_views_of_views():
    x = nd.zeros((4, 6))
    row = x[1:3]
    grid = row.reshape((3, 4))
    cell = grid[1][2:]
    flat = cell.detach()
    flat += 3
    grid[2] = 9
    assert values(x[1:3].reshape((3, 4))) == [[0] * 4, [0, 0, 3, 3], [9] * 4]
    assert values(cell) == [3, 3] and x.asnumpy().sum() == 6 + 36
    del x, row, grid
    cell += 1
    assert values(flat) == [4, 4]


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x.T,
        lambda x: x.transpose(),
        lambda x: x.expand_dims(0),
        lambda x: x.flatten(),
        lambda x: x.swapaxes(0, 1),
        lambda x: nd.reshape(x, shape=(3, 2)),
        lambda x: x.copy(),
        lambda x: x.astype("float32"),
        lambda x: nd.BlockGrad(x),
        lambda x: x + 0,
    ],
)
def test_copies(act):
    x = nd.zeros((2, 3))
    y = act(x)
    y[:] = 1
    z = act(x)
    x[:] = 2
    assert set(y.asnumpy().ravel()) == {1.0} and set(z.asnumpy().ravel()) == {0.0}


def test_results_keep_the_values_they_were_made_of():
    x = nd.arange(4)
    y = x * 2 + 1
    x[:] = 100
    z = x.sum()
    x += 1
    assert values(y) == [1, 3, 5, 7] and values(z) == [400] and values(x) == [101] * 4


# ---- overlap ----


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_overlapping_assignment(data):
    n = data.draw(st.integers(1, 12))
    slices = st.slices(n)
    to = data.draw(slices)
    count = len(range(n)[to])
    source = data.draw(slices.filter(lambda s: len(range(n)[s]) in (1, count)))
    a, x = np.arange(float(n)), nd.arange(n)
    a[to] = a[source].copy()
    x[to] = x[source]
    assert np.array_equal(x.asnumpy(), a)


def test_overlapping_examples():
    x = nd.arange(5)
    x[::-1] = x
    assert values(x) == [4, 3, 2, 1, 0]
    x[1:] += x[:-1]
    assert values(x) == [4, 7, 5, 3, 1]
    m = nd.arange(4).reshape((2, 2))
    m[:] = m.T
    assert values(m) == [[0, 2], [1, 3]]
    m += m[0]
    assert values(m) == [[0, 4], [1, 5]]
    nd.broadcast_add(m, m[1], out=m)
    assert values(m) == [[1, 9], [2, 10]]


# ---- iteration ----


def test_iteration():
    x = nd.arange(6).reshape((3, 2))
    rows = list(x)
    rows[1][:] = 9
    assert len(x) == 3 and values(x) == [[0, 1], [9, 9], [4, 5]] and [r.shape for r in rows] == [(2,)] * 3
    v = nd.array([3, 1, 2])
    assert [e.shape for e in v] == [(1,)] * 3
    assert [e.asscalar() for e in sorted(v)] == [1, 2, 3]
    assert (max(v).asscalar(), min(v).asscalar(), sum(v).asscalar()) == (3, 1, 6)
    a, b, c = v
    assert (a + b + c).asscalar() == 6 and list(nd.zeros((0, 3))) == []


def test_reversed():
    assert [e.asscalar() for e in reversed(nd.array([3, 1, 2]))] == [2, 1, 3]
