"""`nd.contrib`: control flow, masks and copies of rows, planes at other sizes; densities."""

import math

import numpy as np
import pytest

from oxgrad import MXNetError, autograd, nd
from oxgrad.test_utils import check_numeric_gradient


def test_foreach():
    data, state = nd.array([[1, 2], [3, 4], [5, 6]]), nd.array([10, 20])
    outs, last = nd.contrib.foreach(lambda x, s: ([x + s[0], x], [s[0] + 1]), data, [state])
    assert outs[0].asnumpy().tolist() == [[11, 22], [14, 25], [17, 28]]
    assert (outs[1].asnumpy() == data.asnumpy()).all() and last[0].asnumpy().tolist() == [13, 23]
    both, none = nd.contrib.foreach(lambda x, s: (x[0] * x[1], s), [data, data], [])
    assert (both.asnumpy() == data.asnumpy() ** 2).all() and none == []


def test_while_loop():
    def step(i, s):
        return s + i, [i + 1, s * 2]

    outs, last = nd.contrib.while_loop(lambda i, s: i < 3, step, [nd.array([0]), nd.array([1])], max_iterations=5)
    assert outs.reshape(5).asnumpy().tolist() == [1, 3, 6, 0, 0] and [v.asscalar() for v in last] == [3, 8]
    outs, last = nd.contrib.while_loop(lambda i: i < 0, lambda i: (i, i + 1), nd.array([0]), max_iterations=5)
    assert outs == [] and last.asscalar() == 0
    with pytest.raises(ValueError, match="max_iterations"):
        nd.contrib.while_loop(lambda i: i < 3, lambda i: (i, i + 1), nd.array([0]))


def test_control_flow_is_differentiable():
    def function(x):
        outs, last = nd.contrib.foreach(lambda row, s: (row * s, nd.sin(s + row)), x, x[0])
        _, (_, power) = nd.contrib.while_loop(
            lambda i, s: i < 2, lambda i, s: (s, [i + 1, s * x[1]]), [nd.zeros(1), x[2]], max_iterations=3
        )
        chosen = nd.contrib.cond(nd.array([1]), lambda: power * last, lambda: power)
        return outs.sum() + chosen.sum()

    x = np.random.default_rng(0).uniform(-1, 1, (3, 2))
    check_numeric_gradient(function, [x], order=2, rtol=1e-5, atol=1e-5)


def test_rows():
    x = nd.array([[1, 2], [3, 4], [5, 6]])
    x.attach_grad()
    new = nd.array([[7, 8]])
    new.attach_grad()
    with autograd.record():
        kept = nd.contrib.boolean_mask(x, nd.array([1, 0, 2]))
        copied = nd.contrib.index_copy(x, nd.array([1]), new)
        y = (kept * 3).sum() + (copied * 10).sum()
    y.backward()
    assert kept.asnumpy().tolist() == [[1, 2], [5, 6]] and copied.asnumpy().tolist() == [[1, 2], [7, 8], [5, 6]]
    assert x.grad.asnumpy().tolist() == [[13, 13], [0, 0], [13, 13]] and new.grad.asnumpy().tolist() == [[10, 10]]
    assert nd.contrib.boolean_mask(x, nd.zeros(3)).shape == (0, 2)


def test_tests():
    x = nd.array([1, math.nan, math.inf, -math.inf])
    names = ("isnan", "isinf", "isfinite")
    assert [getattr(nd.contrib, n)(x).asnumpy().tolist() for n in names] == [[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]
    close = nd.contrib.allclose(x, x + 1e-9)
    assert close.shape == () and close.dtype is np.uint8 and close.asscalar() == 1
    assert nd.contrib.allclose(x, x, equal_nan=False).asscalar() == 0
    assert nd.contrib.allclose(nd.ones(2), nd.array([1, 1.1])).asscalar() == 0


def test_gradients_on_purpose():
    x = nd.array([0.4, -1.6])
    x.attach_grad()
    for function, value, grad in (
        (nd.contrib.round_ste, [0, -2], [1, 1]),
        (nd.contrib.sign_ste, [1, -1], [1, 1]),
        (lambda v: nd.contrib.gradientmultiplier(v, scalar=-0.5), x.asnumpy().tolist(), [-0.5, -0.5]),
    ):
        with autograd.record():
            y = function(x)
        y.backward()
        assert y.asnumpy().tolist() == value and x.grad.asnumpy().tolist() == grad


def test_attention():
    rng = np.random.default_rng(0)
    q, k, v = (rng.uniform(-1, 1, (3, 2, 2, 4)) for _ in range(3))
    packed = nd.array(np.stack([q, k, v], 3).reshape(3, 2, -1), dtype="float64")
    scores = nd.contrib.interleaved_matmul_selfatt_qk(packed, heads=2)
    np.testing.assert_allclose(scores.asnumpy(), np.einsum("tnhd,snhd->nhts", q, k).reshape(4, 3, 3) / 2)
    out = nd.contrib.interleaved_matmul_selfatt_valatt(packed, scores, heads=2)
    expected = np.einsum("nhts,snhd->tnhd", scores.asnumpy().reshape(2, 2, 3, 3), v).reshape(3, 2, -1)
    np.testing.assert_allclose(out.asnumpy(), expected)
    plain, pair = (
        nd.array(q.reshape(3, 2, -1), dtype="float64"),
        nd.array(np.stack([k, v], 3).reshape(3, 2, -1), dtype="float64"),
    )
    cross = nd.contrib.interleaved_matmul_encdec_qk(plain, pair, heads=2)
    np.testing.assert_allclose(cross.asnumpy(), scores.asnumpy())
    np.testing.assert_allclose(nd.contrib.interleaved_matmul_encdec_valatt(pair, cross, heads=2).asnumpy(), expected)


def test_planes_at_other_sizes():
    x = nd.array(np.arange(12).reshape((1, 1, 4, 3)))
    # Recorded from MXNet 1.9.1.
    assert nd.contrib.BilinearResize2D(x, height=3, width=2).asnumpy().ravel().tolist() == [0, 2, 4.5, 6.5, 9, 11]
    assert nd.contrib.BilinearResize2D(x, mode="to_odd_up").shape == (1, 1, 5, 3)
    assert nd.contrib.BilinearResize2D(x, nd.ones((1, 1, 2, 2)), mode="like").shape == (1, 1, 2, 2)
    corner = nd.array([[[[-1, 1.2, 0.5]], [[-1, 1, 0]]]])
    np.testing.assert_allclose(nd.BilinearSampler(x, corner).asnumpy().ravel(), [0, 11 * 0.8, 6], rtol=1e-5)
    same = nd.SpatialTransformer(
        x, nd.array([[1, 0, 0, 0, 1, 0]]), transform_type="affine", sampler_type="bilinear", target_shape=(4, 3)
    )
    np.testing.assert_allclose(same.asnumpy(), x.asnumpy(), atol=1e-5)
    still = nd.GridGenerator(nd.zeros((1, 2, 4, 3)), transform_type="warp")
    np.testing.assert_allclose(nd.BilinearSampler(x, still).asnumpy(), x.asnumpy(), atol=1e-5)


def test_densities_sum_to_one():
    k = nd.arange(200, dtype="float64").reshape((1, -1))
    one = [nd.array([v], dtype="float64") for v in (3.0, 0.4)]
    for density in (
        nd.random_pdf_poisson(k, one[0]),
        nd.random_pdf_negative_binomial(k, *one),
        nd.random_pdf_generalized_negative_binomial(k, *one),
    ):
        np.testing.assert_allclose(density.asnumpy().sum(), 1, rtol=1e-9)
    p = nd.array([[[0.2, 0.3, 0.5]]], dtype="float64")
    uniform = nd.random_pdf_dirichlet(p, nd.ones((1, 3), dtype="float64"))
    np.testing.assert_allclose(uniform.asnumpy(), 2)
    x = nd.array([[0.5, 1.5]], dtype="float64")
    np.testing.assert_allclose(nd.random_pdf_uniform(x, one[1] * 0, one[0]).asnumpy(), 1 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: nd.contrib.boolean_mask(nd.ones((3, 2)), nd.ones(2)),
        lambda: nd.contrib.index_copy(nd.ones((3, 2)), nd.array([1]), nd.ones((2, 2))),
        lambda: nd.contrib.allclose(nd.ones(2), nd.ones(3)),
        lambda: nd.contrib.interleaved_matmul_selfatt_qk(nd.ones((3, 2, 10)), heads=2),
        lambda: nd.contrib.BilinearResize2D(nd.ones((2, 3)), height=2, width=2),
        lambda: nd.contrib.BilinearResize2D(nd.ones((1, 1, 2, 3)), height=0, width=2),
        lambda: nd.contrib.AdaptiveAvgPooling2D(nd.ones((1, 1, 2, 3)), output_size=(0, 1)),
        lambda: nd.BilinearSampler(nd.ones((1, 1, 2, 3)), nd.ones((1, 3, 2, 2))),
        lambda: nd.GridGenerator(nd.ones((1, 5)), transform_type="affine", target_shape=(2, 2)),
        lambda: nd.UpSampling(nd.ones((1, 1, 2, 3)), nd.ones((1, 1, 3, 3)), scale=2, sample_type="nearest"),
        lambda: nd.Crop(nd.ones((1, 1, 2, 3)), num_args=1, h_w=(3, 3)),
        lambda: nd.random_pdf_normal(nd.ones((2, 3)), nd.ones(3), nd.ones(3)),
    ],
)
def test_errors(wrong):
    with pytest.raises(MXNetError, match="got|expected"):
        wrong()


def test_index_copy_out_of_range():
    with pytest.raises(IndexError, match="out of bounds"):
        nd.contrib.index_copy(nd.ones((3, 2)), nd.array([3]), nd.ones((1, 2)))
