"""The array object: creation, dtypes, text, scalars, operators, copies and contexts."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import oxgrad as mx
from oxgrad import MXNetError, nd

DTYPES = ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool"]


def values(x):
    return x.asnumpy().tolist()


# ---- creation ----


@pytest.mark.parametrize("dtype", [*DTYPES, np.int16, np.uint32, np.uint64])
def test_array_is_float32_unless_told(dtype):
    x = nd.array(np.array([0, 1, 1]).astype(dtype))
    assert x.dtype is np.float32 and values(x) == [0, 1, 1]
    if isinstance(dtype, str):
        y = nd.array([0, 1, 1], dtype=dtype)
        assert y.dtype is getattr(np, "bool_" if dtype == "bool" else dtype)
        assert y.asnumpy().dtype == dtype
        assert nd.array(y).dtype is y.dtype


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (3, 3.0),
        (range(3), [0, 1, 2]),
        ([[1, 2], (3, 4)], [[1, 2], [3, 4]]),
        ([], []),
        ([[], []], [[], []]),
        (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (np.arange(6)[::-2], [5, 3, 1]),
        ([True, 2.5], [1, 2.5]),
        ([np.float64(1.5), np.int8(-1)], [1.5, -1]),
    ],
)
def test_array_of(source, expected):
    assert values(nd.array(source)) == expected


def test_other_byte_order():
    assert values(nd.array(np.array([1, 2], ">f4"))) == [1, 2]


def test_casts_on_creation():
    assert values(nd.array([300, -1, 2.7], dtype="uint8")) == [44, 255, 2]
    assert values(nd.array([2**53 + 1], dtype="int64")) == [2**53 + 1]
    assert nd.array([1], dtype=int).dtype is np.int64
    assert nd.array([1], dtype=float).dtype is np.float64
    assert nd.array([1], dtype=np.dtype("int8")).dtype is np.int8
    assert np.isnan(nd.array(None).asnumpy())


def test_array_copies():
    source = np.ones(3, "float32")
    x = nd.array(source)
    y = nd.array(x)
    source[0], x[1] = 5, 6
    assert values(x) == [1, 6, 1] and values(y) == [1, 1, 1]


@pytest.mark.parametrize("shape", [3, (3,), [2, 3], (), (0, 3), (1, 1, 1, 1, 1, 1, 2)])
def test_filled(shape):
    expected = np.zeros(shape)
    for function, value in ((nd.zeros, 0), (nd.ones, 1), (nd.empty, 0), (full, 2.5)):
        if function is full and shape == ():
            continue  # the next test
        x = function(shape)
        assert x.shape == expected.shape and x.dtype is np.float32
        assert x.size == expected.size and x.ndim == expected.ndim
        assert np.array_equal(x.asnumpy(), expected + value)


def full(shape):
    return nd.full(shape, 2.5)


def test_full_without_axes():
    assert values(full(())) == 2.5


def test_ranges():
    assert values(nd.arange(3)) == [0, 1, 2]
    assert values(nd.arange(5, 1, -2)) == [5, 3]
    assert values(nd.arange(1, 3, repeat=2)) == [1, 1, 2, 2]
    assert nd.arange(3).dtype is np.float32 and nd.arange(3, dtype=None).dtype is np.float64
    assert values(nd.linspace(0, 10, 5, dtype="int32")) == [0, 2, 5, 7, 10]
    assert values(nd.linspace(2, 10, 1)) == [2]
    assert values(nd.linspace(0, 1, 4, endpoint=False)) == [0, 0.25, 0.5, 0.75]
    assert np.array_equal(nd.eye(2, 4, 1).asnumpy(), np.eye(2, 4, 1))
    assert nd.zeros_like(nd.ones(2, dtype="int8")).dtype is np.int8
    assert values(nd.full((2,), 7.5, dtype="int32")) == [7, 7]


MISTAKES = [
    (lambda: nd.array("a"), TypeError, "source_array must be array like"),
    (lambda: nd.array([[1], [2, 3]]), TypeError, "array like"),
    (lambda: nd.array([1], dtype="int16"), KeyError, "int16"),
    (lambda: nd.array([1], dtype="bogus"), TypeError, "data type 'bogus' not understood"),
    (lambda: nd.ones(1, dtype="int16"), MXNetError, "int16"),
    (lambda: nd.ones(-1), MXNetError, "shape"),
    (lambda: nd.ones("a"), MXNetError, "shape"),
    (lambda: nd.arange(0), MXNetError, "Invalid range"),
    (lambda: nd.arange(1, 2, 0), MXNetError, "step"),
    (lambda: nd.zeros(2, foo=1), MXNetError, "argument 'foo'"),
    (lambda: nd.ones(2, 3), MXNetError, "Invalid context string 3"),
    (lambda: nd.zeros(2, ctx="cpu"), MXNetError, "Invalid context string cpu"),
    (lambda: nd.zeros(2, ctx=mx.gpu(77)), MXNetError, "gpu"),
    (lambda: mx.Context("tpu"), KeyError, "tpu"),
    (lambda: nd.ones(2) + nd.ones(3), MXNetError, r"\(2,\) and \(3,\)"),
    (lambda: nd.ones(2) + nd.ones(2, dtype="int32"), MXNetError, "float32 and int32: use astype"),
    (lambda: nd.ones(2) + [1, 2], TypeError, "list"),
    (lambda: None * nd.ones(2), TypeError, "NoneType"),
    (lambda: nd.ones(2) == "a", TypeError, "not supported"),
    (lambda: nd.ones(2) + 1j, TypeError, "complex"),
    (lambda: nd.ones((2, 3)).reshape((4,)), ValueError, "size 6 into shape"),
    (lambda: nd.ones((2, 3)).broadcast_to((4, 3)), ValueError, r"\(2, 3\) to \(4, 3\)"),
    (lambda: nd.dot(nd.ones((2, 3)), nd.ones((2, 3))), MXNetError, r"dot: got shapes"),
    (lambda: nd.sum(nd.ones(2), axis=3), MXNetError, "sum: axis out of range, got 3"),
    (lambda: nd.clip(nd.ones(2), a_min=None, a_max=1), MXNetError, "clip: a_min"),
    (lambda: nd.exp(5), AssertionError, "must have NDArray type, but got 5"),
    (lambda: nd.ones(2).asscalar(), ValueError, "not a scalar"),
    (lambda: bool(nd.ones(2)), ValueError, "ambiguous"),
    (lambda: float(nd.ones(2)), TypeError, "one element"),
    (lambda: len(nd.array(3)), IndexError, "len"),
    (lambda: nd.ones(2).copyto(nd.ones(3)), MXNetError, "copyto"),
    (lambda: nd.ones(2).copyto(5), TypeError, "int"),
    (lambda: nd.ones(2).foo, AttributeError, "foo"),
    (lambda: setattr(nd.ones(2), "foo", 1), AttributeError, "foo"),
    (lambda: setattr(nd.ones(2), "shape", (1, 2)), AttributeError, "shape"),
    (lambda: nd.nonexist, AttributeError, "nonexist"),
    (lambda: nd.from_numpy(np.ones((2, 3)).T), ValueError, "C-contiguous"),
]


@pytest.mark.parametrize("case", range(len(MISTAKES)))
def test_mistakes(case):
    act, error, text = MISTAKES[case]
    with pytest.raises(error, match=text):
        act()


# ---- text and scalars ----

TEXTS = [
    (lambda: nd.array([[1, 2], [3, 4]]), "\n[[1. 2.]\n [3. 4.]]\n<NDArray 2x2 @cpu(0)>"),
    (lambda: nd.arange(3, dtype="int32", ctx=mx.cpu(1)), "\n[0 1 2]\n<NDArray 3 @cpu(1)>"),
    (lambda: nd.array(3), "\n3.0\n<NDArray  @cpu(0)>"),
    (lambda: nd.zeros((2, 0)), "\n[]\n<NDArray 2x0 @cpu(0)>"),
    (lambda: nd.array([1, 0], dtype="bool"), "\n[ True False]\n<NDArray 2 @cpu(0)>"),
    (lambda: [nd.ones(1), nd.zeros(1)], "[\n[1.]\n<NDArray 1 @cpu(0)>, \n[0.]\n<NDArray 1 @cpu(0)>]"),
]


@pytest.mark.parametrize("case", range(len(TEXTS)))
def test_text(case):
    make, expected = TEXTS[case]
    x = make()
    assert repr(x) == str(x) == f"{x}" == expected


def test_text_follows_numpy():
    x = nd.arange(5000) / 3
    assert repr(x) == f"\n{x.asnumpy()}\n<NDArray 5000 @cpu(0)>" and "..." in repr(x)
    with np.printoptions(precision=2):
        assert "[0.33]" in repr(nd.array([1 / 3]))
    with pytest.raises(TypeError):
        f"{nd.ones(1):.2f}"


def test_scalars():
    assert type(nd.array([5]).asscalar()) is np.float32
    assert np.array_equal(nd.array([[5]]).asscalar(), [[5]])
    assert type(nd.array([5], dtype="int8").asscalar()) is np.int8
    assert (float(nd.array([2.5])), int(nd.array([[7]])), float(nd.array(3))) == (2.5, 7, 3)
    assert [1, 2, 3][nd.array([1], dtype="int32")] == 2
    assert [bool(nd.array(v)) for v in ([], [0], [[3]], [np.nan])] == [False, False, True, True]
    assert nd.ones((2, 3)).sum().shape == nd.dot(nd.ones(2), nd.ones(2)).shape == (1,)
    x = nd.ones(2)
    assert len({x, x, nd.ones(2)}) == 2
    assert 1 in nd.array([1, 2]) and 3 not in nd.array([1, 2])


# ---- copies, files of one array, other libraries ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 2)])
def test_pickle_and_deepcopy(dtype, shape):
    x = nd.ones(shape, dtype=dtype, ctx=mx.cpu(2))
    x.attach_grad()
    for again in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
        assert again.shape == x.shape and again.dtype is x.dtype
        assert np.array_equal(again.asnumpy(), x.asnumpy()) and again.grad is None
        again[...] = 0
        assert x.asnumpy().all() and not again.asnumpy().any()
    assert copy.deepcopy(x).ctx == copy.copy(x).ctx == x.ctx


def test_asnumpy_is_an_own_copy():
    x = nd.ones(3)
    found = x.asnumpy()
    found[:] = 5
    assert found.flags.owndata and found.flags.writeable and values(x) == [1, 1, 1]
    assert np.asarray(x).dtype == np.float32 and np.asarray(x, dtype="int8").tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack(dtype):
    x = nd.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    seen = np.from_dlpack(x)
    assert seen.dtype == dtype and np.array_equal(seen, x.asnumpy())
    for again in (
        nd.from_dlpack(x),
        nd.from_dlpack(x.to_dlpack_for_read()),
        nd.from_dlpack(nd.to_dlpack_for_write(x)),
        nd.from_dlpack(np.array(seen)),
    ):
        assert again.dtype is x.dtype and np.array_equal(again.asnumpy(), x.asnumpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_numpy_shares(dtype):
    a = np.zeros((2, 3), dtype)
    x, y = nd.from_numpy(a, zero_copy=False), nd.from_numpy(a)
    assert not a.flags.writeable and y.dtype is a.dtype.type
    y[:, 1] = 1
    assert a.tolist() == [[0, 1, 0], [0, 1, 0]] and not x.asnumpy().any()
    if dtype != "bool":
        y += nd.ones((2, 3), dtype=dtype)
        assert a.tolist() == [[1, 2, 1], [1, 2, 1]]


def test_writes_to_shared_memory_beside_a_view():
    a = np.arange(6.0).reshape(2, 3)
    y = nd.from_numpy(a)
    y[0] += 1
    assert a.tolist() == [[1, 2, 3], [3, 4, 5]]
    y[1] = y[0]
    assert a.tolist() == [[1, 2, 3], [1, 2, 3]]
    view = y[0]
    y[:] = 7
    assert values(view) == [7, 7, 7] and (a == 7).all()
    y[:] = y
    assert (a == 7).all()


def test_from_numpy_outlives_its_source():
    x = nd.from_numpy(np.arange(1000.0))
    y = x + 1
    del x
    assert values(y)[-1] == 1000


def test_contexts():
    assert repr(mx.cpu(1)) == "cpu(1)" and mx.cpu() == mx.Context("cpu", 0) != mx.cpu(1)
    assert mx.Context(mx.cpu(3)) == mx.cpu(3) and hash(mx.cpu(3)) == hash(mx.Context("cpu", 3))
    with mx.cpu(2) as ctx:
        assert mx.current_context() == ctx == nd.ones(1).ctx == nd.array([1]).context
        with mx.cpu(1):
            assert nd.zeros(1).ctx == mx.cpu(1)
        assert nd.random.uniform(shape=1).ctx == ctx
    assert mx.current_context() == mx.cpu(0)
    x = nd.ones(2, ctx=mx.cpu(1))
    assert (x + nd.ones(2)).ctx == mx.cpu(1)
    assert x.as_in_context(mx.cpu(1)) is x and x.copyto(mx.cpu(3)).ctx == mx.cpu(3)
    with pytest.raises(MXNetError, match="gpu"):
        x.as_in_context(mx.gpu(77))


def test_copyto_and_astype():
    x, y = nd.array([1.7, -2.7]), nd.zeros(2, dtype="int32")
    assert x.copyto(y) is y and values(y) == [1, -2]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert x.copyto(x) is False
    assert len(seen) == 1
    assert x.astype("float32", copy=False) is x and x.astype("float32") is not x
    assert values(x.astype("uint8")) == [1, 254] and values(x.astype("bool")) == [True, True]
    assert values(nd.array([np.nan, np.inf, 1e20]).astype("int32")) == [-(2**31)] * 3
