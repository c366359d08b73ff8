"""Random streams: MXNet's values for its seeds, to the bit (uniform) or the last digits printed."""

import numpy as np
import pytest

import oxgrad as mx
from oxgrad import MXNetError, nd


def numbers(text, dtype="float32"):
    return np.array(text.split(), dtype=dtype)


LONG = [0, 62, 63, 64, 126, 500, 944, 945, 998, 999]
LONGER = [0, 68, 69, 137, 138, 35000, 65535, 65536, 69998, 69999]

UNIFORM = [
    (0, 10, None, "0.548813522 0.592844605 0.715189338 0.844265759 0.602763355 0.857945621 0.544883192 0.847251713 "
     "0.423654795 0.623563707"),
    (1, 10, None, "0.523833334 0.0550136715 0.0399629697 0.594532251 0.185965315 0.690353215 0.77279067 0.987887263 "
     "0.552148879 0.0178029761"),
    (42, 10, None, "0.829093635 0.747834921 0.558181345 0.5657354 0.631121457 0.996498585 0.741196394 0.542208433 "
     "0.0979618803 0.370504141"),
    (2147483647, 10, None, "0.80675602 0.351243973 0.805046618 0.395284772 0.329407603 0.50591749 0.932506204 "
     "0.622478426 0.424108118 0.892312169"),
    (0, 1000, LONG, "0.548813522 0.774233699 0.41702199 0.997184813 0.435994893 0.10047397 0.0833491609 0.848817706 "
     "0.477655381 0.465093166"),
    (7, 70000, LONGER, "0.428559452 0.560054064 0.663598001 0.969912171 0.459610879 0.480089396 0.145876959 "
     "0.113012351 0.252502888 0.304814935"),
]  # fmt: skip

NORMAL = [
    (0, 10, None, "2.21220636 0.774003804 1.04344034 1.18392551 1.89171135 -1.23474145 -1.771029 -0.451384455 "
     "0.579383552 -1.85608196"),
    (1, 10, None, "-0.677651525 0.100739479 0.575954378 -0.346925199 -0.221343338 -1.80471897 -0.806429088 1.22033095 "
     "2.23235631 0.200702295"),
    (42, 10, None, "0.529442787 1.97536862 0.291293949 -0.251853853 -0.115503207 -0.689139783 -1.62836349 -0.52586931 "
     "1.24445176 -1.52170992"),
    (0, 1000, LONG, "2.21220636 0.744191647 0.306399673 -0.424386233 -1.30310559 0.278143853 -0.92666918 0.338001162 "
     "-1.80435526 0.873955965"),
]  # fmt: skip

OTHERS = [
    (lambda: nd.random.uniform(-2, 3, shape=10), "float32", "0.744067669 0.964222908 1.57594681 2.22132874 1.01381683 "
     "2.28972816 0.724416018 2.23625851 0.118273973 1.11781859"),
    (lambda: nd.random.uniform(shape=10, dtype="float64"), "float64", "0.59284461651668263 0.84426574425659828 "
     "0.85794561998982988 0.84725173738433124 0.62356369649610832 0.38438170837375663 0.29753460535723419 "
     "0.056712975933163663 0.27265629474158931 0.47766511174464632"),
    (lambda: nd.random.normal(shape=10, dtype="float64"), "float64", "1.1227949407889193 0.070859237682211876 "
     "-1.4223258418434019 -0.29139395545289209 -0.17306963905063258 -0.087673072156657594 1.1253140748675383 "
     "1.220608115232412 0.42837340115946121 1.4143771804329093"),
    (lambda: nd.random.exponential(1, shape=10), "float32", "0.795874536 0.898560345 1.25593066 1.85960436 0.923223078 "
     "1.95154536 0.787201166 1.87896395 0.551048458 0.977006435"),
    (lambda: nd.random.gamma(2, 1, shape=10), "float32", "6.46448851 2.1283226 3.70994282 4.44102955 0.266429126 "
     "0.875756919 2.53212237 8.07756901 1.41228068 3.47699594"),
    (lambda: nd.random.gamma(0.5, 1, shape=10), "float32", "3.96211004 1.93498909 0.684808254 0.000349861104 "
     "0.49067539 0.0140330391 0.401681393 1.03248465 0.541411459 0.732806385"),
    (lambda: nd.random.poisson(4, shape=10), "float32", "9 5 6 5 3 8 6 6 3 4"),
    (lambda: nd.random.poisson(30, shape=10), "float32", "25 26 25 38 24 25 43 14 28 33"),
    (lambda: nd.random.negative_binomial(3, 0.4, shape=10), "float32", "9 5 4 1 12 6 2 1 1 7"),
    (lambda: nd.random.generalized_negative_binomial(2, 0.3, shape=10), "float32", "10 2 1 0 5 3 3 1 2 3"),
    (lambda: nd.random.randint(0, 100, shape=10), "int32", "51 44 3 99 39 14 87 20 56 45"),
    (lambda: nd.random.randint(0, 100, shape=10, dtype="int64"), "int64", "51 44 3 99 39 14 87 20 56 45"),
    (lambda: nd.random.multinomial(nd.array([0.1, 0.2, 0.3, 0.4]), shape=20), "int32",
     "2 2 3 3 3 3 2 3 2 3 3 2 2 1 3 0 3 1 2 2"),
    (lambda: nd.random.shuffle(nd.arange(10)), "float32", "0 2 3 5 9 1 6 8 4 7"),
    (lambda: nd.random.shuffle(nd.arange(10).reshape((10, 1))), "float32", "1 0 6 2 4 3 7 8 9 5"),
    (lambda: nd.Dropout(nd.ones(20), p=0.5, mode="always") > 0, "float32", "0 0 0 0 0 0 0 0 1 0 0 1 1 1 0 1 0 1 1 1"),
    (lambda: nd.Dropout(nd.ones(10), p=0.3, mode="always"), "float32", "1.42857146 1.42857146 0 0 1.42857146 0 "
     "1.42857146 0 1.42857146 1.42857146"),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "n", "at", "text"), UNIFORM)
def test_uniform(seed, n, at, text):
    mx.random.seed(seed)
    found = nd.random.uniform(shape=n).asnumpy()
    assert np.array_equal(found if at is None else found[at], numbers(text))


@pytest.mark.parametrize(("seed", "n", "at", "text"), NORMAL)
def test_normal(seed, n, at, text):
    mx.random.seed(seed)
    found = nd.random.normal(shape=n).asnumpy()
    assert np.array_equal(found if at is None else found[at], numbers(text))


@pytest.mark.parametrize("case", range(len(OTHERS)))
def test_others(case):
    draw, dtype, text = OTHERS[case]
    mx.random.seed(0)
    found = draw().asnumpy().ravel()
    assert found.dtype == dtype
    assert np.array_equal(found, numbers(text, dtype))


def test_streams_go_on():
    mx.random.seed(42)
    nd.random.uniform(shape=10)
    assert np.array_equal(nd.random.uniform(shape=3).asnumpy(), numbers("0.0610445142 0.278053492 0.747076869"))
    mx.random.seed(0)
    nd.random.uniform(shape=10)
    assert np.array_equal(nd.random.normal(shape=10).asnumpy()[:3], numbers("-1.23474145 -1.771029 -0.451384455"))


def drawn(seed, **keywords):
    mx.random.seed(seed, **keywords)
    return nd.random.uniform(shape=200).asnumpy(), nd.random.multinomial(nd.ones(50) / 50, shape=40).asnumpy()


def test_seeds():
    first = drawn(5)
    for again in (5, True + 4, np.int32(5), np.int64(5), 2**32 + 5):
        assert all(np.array_equal(a, b) for a, b in zip(first, drawn(again), strict=True))
    assert not np.array_equal(first[0], drawn(6)[0])
    drawn(-1)
    # The seed of one context gives the same parallel streams, and another single one.
    with_ctx = drawn(5, ctx=mx.cpu(3))
    assert np.array_equal(first[0], with_ctx[0]) and not np.array_equal(first[1], with_ctx[1])
    for bad in ("a", 1.5, None):
        with pytest.raises(ValueError, match="seed_state must be int"):
            mx.random.seed(bad)


def test_numpy_is_left_alone():
    np.random.seed(3)
    expected = np.random.uniform(size=3)
    np.random.seed(3)
    mx.random.seed(1)
    nd.random.uniform(shape=100)
    assert np.array_equal(np.random.uniform(size=3), expected)


def test_the_shape_does_not_matter():
    mx.random.seed(3)
    flat = nd.random.normal(shape=300).asnumpy()
    mx.random.seed(3)
    assert np.array_equal(nd.random.normal(shape=(10, 5, 6)).asnumpy().ravel(), flat)
    mx.random.seed(3)
    out = nd.zeros((300,))
    assert nd.random.normal(out=out) is out and np.array_equal(out.asnumpy(), flat)
    mx.random.seed(3)
    assert np.array_equal(nd.random.randn(30, 10).asnumpy().ravel(), flat)
    with mx.cpu(2):
        assert not np.array_equal(nd.random.normal(shape=300).asnumpy(), flat)  # one generator for all


def test_parameters_as_arrays():
    low, high = nd.array([0.0, 10.0]), nd.array([1.0, 20.0])
    mx.random.seed(0)
    found = nd.random.uniform(low, high, shape=(5,))
    mx.random.seed(0)
    plain = nd.random.uniform(shape=10).asnumpy().reshape(2, 5)
    assert found.shape == (2, 5) and np.allclose(found.asnumpy(), [plain[0], 10 + 10 * plain[1]])
    assert nd.random.normal(low, high).shape == (2,)
    with pytest.raises(AssertionError, match="all NDArrays"):
        nd.random.uniform(low, 3)


MISTAKES = [
    (lambda: nd.random.randint(3, 3), "low must be below high, got 3 and 3"),
    (lambda: nd.random.uniform(2, 1), "low must not be above high"),
    (lambda: nd.random.normal(scale=-1), "scale must be positive"),
    (lambda: nd.random.uniform(dtype="int32"), "dtype, got int32"),
    (lambda: nd.random.uniform(shape=(-2,)), "shape"),
    (lambda: nd.random.uniform(shape=3, out=nd.zeros(4)), "shape"),
    (lambda: nd.random.randint(0, 5, dtype="float32"), "dtype"),
]


@pytest.mark.parametrize("case", range(len(MISTAKES)))
def test_mistakes(case):
    act, text = MISTAKES[case]
    with pytest.raises(MXNetError, match=text):
        act()


def test_a_refused_draw_leaves_the_streams():
    mx.random.seed(0)
    with pytest.raises(MXNetError):
        nd.random.uniform(2, 1, shape=10)
    assert nd.random.uniform(shape=1).asscalar() == np.float32(0.548813522)
