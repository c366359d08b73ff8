"""One function of ready arrays, which runs without a region, and cheap values that many read."""

import numpy as np
import pytest

from oxgrad import _core, nd

# Shapes of the operands: rows, columns, channels, both at once, one element, several axes, short rows.
PAIRS = [
    ((3000,), (3000,)),
    ((70, 100), (1, 100)),
    ((70, 100), (70, 1)),
    ((1, 100), (70, 1)),
    ((4, 6, 10, 20), (1, 6, 1, 1)),
    ((4, 6, 10, 20), (4, 1, 10, 20)),
    ((4, 6, 10, 20), (1, 6, 1, 20)),
    ((4, 6, 10, 20), (4, 1, 1, 1)),
    ((300, 17), (1, 17)),
    ((9, 5000), (9, 1)),
    ((700, 1000), (1, 1000)),
    ((8, 64, 30, 30), (1, 64, 1, 1)),
    ((2, 100000), (2, 1)),
    ((5, 1, 900), (1, 7, 900)),
    ((3, 1000), (1, 1)),
]


def made(shape, dtype, order):
    a = np.random.default_rng(len(shape)).integers(-9, 9, shape).astype(dtype)
    if order == "turned":
        return a, nd.array(np.ascontiguousarray(a.T), dtype=dtype).T
    if order == "part":
        wide = np.concatenate([a, a], axis=-1)
        return a, nd.slice_axis(nd.array(wide, dtype=dtype), axis=-1, begin=0, end=shape[-1])
    return a, nd.array(a, dtype=dtype)


@pytest.mark.parametrize("order", ["plain", "turned", "part"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
@pytest.mark.parametrize("shapes", PAIRS, ids=str)
def test_two_operands(shapes, dtype, order):
    (a, x), (b, y) = made(shapes[0], dtype, order), made(shapes[1], dtype, "plain")
    for found, expected in (
        (x - y, a - b),
        (y - x, b - a),
        (x * 3, a * 3),
        (nd.broadcast_maximum(x, y), np.maximum(a, b)),
    ):
        assert found.dtype == a.dtype
        np.testing.assert_array_equal(found.asnumpy(), expected)


@pytest.mark.parametrize("order", ["plain", "turned", "part"])
@pytest.mark.parametrize("to", ["float32", "float64", "float16", "int32", "uint8", "int64", "bool"])
def test_conversion(to, order):
    a, x = made((70, 101), "float32", order)
    a, x = abs(a), nd.abs(x)
    np.testing.assert_array_equal(x.astype(to).asnumpy(), a.astype(to))


def test_one_loop():
    x, y = nd.ones((100, 200)) + 0, nd.array(np.ones((1, 200), "float32"))
    x = nd.array(x.asnumpy())
    before = _core.stats()
    (x + y).wait_to_read()
    after = _core.stats()
    assert after["loops"] - before["loops"] == 1
    assert after["bytes_written"] - before["bytes_written"] == x.size * 4


def test_a_cheap_value_is_written_when_it_is_read_again_and_again():
    x = nd.array(np.random.rand(300, 300))
    y = x * 2
    written = []
    for _ in range(5):
        before = _core.stats()["bytes_written"]
        (y + x).sum().wait_to_read()
        written.append(_core.stats()["bytes_written"] - before)
    assert written[0] == written[1] == 4, "redone on the way, twice"
    assert written[2] == 4 * x.size + 4, "then written"
    assert written[3] == written[4] == 4, "and read from then on"


def test_numpy_arrays_are_converted_once():
    x = nd.array(np.random.rand(300, 300), dtype="float32")
    before = _core.stats()["bytes_written"]
    for _ in range(3):
        x.sum().wait_to_read()
    assert _core.stats()["bytes_written"] - before == 12
