"""Random keys against NumPy: reading, writing, and gradients of what was read."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, basic_indices, broadcastable_shapes

from oxgrad import autograd, nd

RANDOM = settings(max_examples=100, deadline=None)
SHAPES = array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


def start(shape):
    values = np.arange(1.0, 1 + int(np.prod(shape))).reshape(shape)
    return values, nd.array(values, dtype="float64")


def spelled(key, how):
    """The same key with its index arrays as lists, NDArrays of ints or of floats."""
    if isinstance(key, tuple):
        return tuple(spelled(k, how) for k in key)
    if not isinstance(key, np.ndarray):
        return key
    if how == "list":
        return key.tolist()
    if how == "numpy":
        return key
    return nd.array(key, dtype="bool" if key.dtype == bool else how)


@st.composite
def basic(draw):
    shape = draw(SHAPES)
    return shape, draw(basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))


@st.composite
def advanced(draw):
    """A shape and a key with index arrays that broadcast together, whole numbers, slices, `None` and `...`."""
    shape = draw(SHAPES)
    joint = draw(array_shapes(min_dims=1, max_dims=2, max_side=4))
    used = draw(st.integers(1, len(shape)))
    from_the_end = used < len(shape) and draw(st.booleans())
    axes = range(len(shape) - used, len(shape)) if from_the_end else range(used)
    key = [...] if from_the_end else []
    picked = draw(st.sets(st.sampled_from(list(axes)), min_size=1))
    for axis in axes:
        n = shape[axis]
        if axis in picked:
            dims = draw(st.sampled_from([joint, joint[-1:], (1,) * len(joint)]))
            key.append(draw(arrays("int64", dims, elements=st.integers(-n, n - 1))))
        else:
            key.append(draw(st.one_of(st.slices(n), st.integers(-n, n - 1))))
        if draw(st.integers(0, 7)) == 0:
            key.append(None)
    return shape, tuple(key) if len(key) > 1 or draw(st.booleans()) else key[0]


@st.composite
def masks(draw):
    shape = draw(SHAPES)
    axes = draw(st.integers(1, len(shape)))
    mask = draw(arrays("bool", shape[:axes]))
    rest = draw(basic_indices(shape[axes:], allow_ellipsis=False)) if axes < len(shape) else ()
    rest = rest if isinstance(rest, tuple) else (rest,)
    return shape, (mask, *rest) if rest else mask


SPELLINGS = st.sampled_from(["numpy", "int32", "float32", "list"])


def shape_of(a, key):
    """NumPy's shape of `a[key]`, but for new axes where index arrays lie side by side: MXNet counts their places as if
    the index arrays gave no axes."""
    items = key if isinstance(key, tuple) else (key,)
    if not any(isinstance(item, np.ndarray) for item in items):
        return np.shape(a[key])
    indexed = [isinstance(item, (int, np.ndarray)) for item in items]
    first, last = indexed.index(True), len(items) - indexed[::-1].index(True)
    if not all(indexed[first:last]):
        return np.shape(a[key])
    widths = (item.ndim if isinstance(item, np.ndarray) and item.dtype.kind == "b" else 1 for item in items)
    used = sum(width for item, width in zip(items, widths, strict=True) if not (item is None or item is ...))
    dims = list(a[tuple(item for item in items if item is not None)].shape)
    place = 0
    for item in items:
        if item is None:
            dims.insert(place, 1)
        place += a.ndim - used if item is ... else not isinstance(item, (int, np.ndarray))
    return tuple(dims)


def check_get(shape, key, how):
    a, x = start(shape)
    expected, found = np.atleast_1d(a[key].reshape(shape_of(a, key))), x[spelled(key, how)]
    items = key if isinstance(key, tuple) else (key,)
    if sum(isinstance(item, int) for item in items) == len(shape):
        expected = expected.reshape(1)  # one element has shape (1,) in MXNet, whatever `None` stands beside it
    assert found.shape == expected.shape
    assert np.array_equal(found.asnumpy(), expected)


def check_set(shape, key, how, data):
    a, x = start(shape)
    target = shape_of(a, key)
    dims = data.draw(broadcastable_shapes(target, max_dims=len(target), max_side=5)) if target else (1,)
    assume(np.broadcast_shapes(dims, target) == target or target == ())
    value = -np.arange(1.0, 1 + int(np.prod(dims))).reshape(dims)
    a[key] = np.broadcast_to(value, target).reshape(np.shape(a[key])) if target else value[0]
    x[spelled(key, how)] = data.draw(st.sampled_from([nd.array(value, dtype="float64"), value]))
    assert np.array_equal(x.asnumpy(), a)
    a[key], x[spelled(key, how)] = 0.5, 0.5
    assert np.array_equal(x.asnumpy(), a)


def check_gradient(shape, key, how):
    a, x = start(shape)
    x.attach_grad()
    with autograd.record():
        part = x[spelled(key, how)]
        y = part * part
    head = np.arange(1.0, 1 + part.size).reshape(part.shape)
    if part.size:
        y.backward(nd.array(head, dtype="float64"))
    expected, head = np.zeros(shape), head.reshape(np.shape(a[key]))
    # The gradient of element i is what each of its uses sends back, added up.
    np.add.at(expected, key, head * 2 * a[key])
    assert np.allclose(x.grad.asnumpy(), expected)


@RANDOM
@given(basic())
@example(((2, 3), (None, 1, 2)))
@example(((3,), slice(2, 1)))
@example(((2, 3), (slice(None), slice(3, 3))))
def test_basic_get(case):
    check_get(*case, "numpy")


@RANDOM
@given(basic(), st.data())
def test_basic_set(case, data):
    check_set(*case, "numpy", data)


@RANDOM
@given(basic())
def test_basic_gradient(case):
    check_gradient(*case, "numpy")


@RANDOM
@given(advanced(), SPELLINGS)
@example(((2, 3, 4), (np.array([0, 1]), slice(None), np.array([0, 1]))), "list")
@example(((2, 3, 4), (np.array([0, 1]), None)), "int32")
@example(((2, 3, 4), (np.array([[0, 1]]), slice(None), None)), "list")
@example(((2, 3, 4), (0, np.array([0, 2]))), "list")
def test_advanced_get(case, how):
    check_get(*case, how)


@RANDOM
@given(advanced(), SPELLINGS, st.data())
def test_advanced_set(case, how, data):
    check_set(*case, how, data)


@RANDOM
@given(advanced(), SPELLINGS)
def test_advanced_gradient(case, how):
    check_gradient(*case, how)


@RANDOM
@given(masks(), st.sampled_from(["numpy", "list", "mask"]), st.data())
def test_masks(case, how, data):
    shape, key = case
    check_get(shape, key, how)
    check_set(shape, key, how, data)
    check_gradient(shape, key, how)


@RANDOM
@given(arrays("float32", SHAPES, elements=st.integers(-3, 3)), st.integers(-3, 3))
def test_comparisons_select(a, bound):
    x = nd.array(a)
    assert np.array_equal(x[x > bound].asnumpy(), a[a > bound])
    x[x <= bound] = 9
    assert np.array_equal(x.asnumpy(), np.where(a <= bound, 9, a))


def test_floats_truncate_and_bools_are_numbers():
    _, x = start((2, 3))
    assert np.array_equal(x[[0.9, 1.9]].asnumpy(), x.asnumpy())
    assert x[True].asnumpy().tolist() == [4, 5, 6] and x[np.int64(1)].shape == (3,)
    assert x[range(2), range(1, 3)].asnumpy().tolist() == [2, 6]


def test_last_write_wins():
    x = nd.zeros((2, 2))
    x[[0, 0]] = nd.array([[1, 2], [3, 4]])
    assert x.asnumpy().tolist() == [[3, 4], [0, 0]]


def test_values_are_cast():
    x = nd.zeros(3, dtype="uint8")
    x[:] = nd.array([-1.7, 300, 2.9])
    assert x.asnumpy().tolist() == [255, 44, 2]
    y = nd.zeros(2)
    y[:] = None
    assert np.isnan(y.asnumpy()).all()
    y[0] = True
    y[1] = np.float64(2.5)
    assert y.asnumpy().tolist() == [1, 2.5]
    y[:] = nd.ones((1, 1, 2), dtype="int32")
    assert y.asnumpy().tolist() == [1, 1]


MISTAKES = [
    ((lambda x: x[2]), IndexError, "index 2 is out of bounds for axis 0 with size 2"),
    ((lambda x: x[-3]), IndexError, "index -3"),
    ((lambda x: x[:, 3]), IndexError, "axis 1 with size 3"),
    ((lambda x: x[[0, 2]]), IndexError, "index 2 is out of bounds"),
    ((lambda x: x[nd.array([-3])]), IndexError, "index -3"),
    ((lambda x: x[0, 0, 0]), IndexError, "too many indices"),
    ((lambda x: x[..., ...]), IndexError, "ellipsis"),
    ((lambda x: x[[True, False, True]]), IndexError, "boolean index"),
    ((lambda x: x[[0, 1], [0, 1, 2]]), ValueError, "not broadcastable"),
    ((lambda x: x["a"]), ValueError, "slicing with key 'a'"),
    ((lambda x: x[1.5]), ValueError, "slicing with key 1.5"),
    ((lambda x: x[{}]), ValueError, "slicing with key"),
    ((lambda x: x[::0]), ValueError, "step"),
    ((lambda x: x[nd.array([0]) :]), TypeError, "asscalar"),
    ((lambda x: x.__setitem__(0, [1, 2])), ValueError, "broadcast"),
    ((lambda x: x.__setitem__(0, "ab")), TypeError, "str"),
]


@pytest.mark.parametrize("case", range(len(MISTAKES)))
def test_mistakes(case):
    act, error, text = MISTAKES[case]
    with pytest.raises(error, match=text):
        act(nd.ones((2, 3)))
