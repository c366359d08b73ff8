"""Every record on a GPU against the CPU: values, gradients, strided inputs, integers, corners."""

import warnings

import numpy as np
import pytest
from gpu_support import GPU, close, needs_gpu
from test_ops import CASES, RECORDS, call, run

import oxgrad as mx
from oxgrad import autograd, nd

pytestmark = [needs_gpu, pytest.mark.filterwarnings("ignore::oxgrad.gpu.GpuFallbackWarning")]

# Made on the host from the same generator, so equal; called with shapes that say where the result goes.
CREATION = {n for n, r in RECORDS.items() if not r["inputs"]}
VALUES = [c for c in CASES if c[0] not in CREATION and not c[0].startswith("mp_")]
SMOOTH = [c for c in VALUES if isinstance(RECORDS[c[0]]["range"], tuple) and not RECORDS[c[0]]["writes"]]
MAPS = sorted({n for n, _ in VALUES if RECORDS[n]["kind"] == "map"})

# Relative, where the CPU computes in float64 and rounds once.
TOLERANCE = {"broadcast_power": 4e-6, "erfinv": 4e-6, "prod": 2e-6, "nanprod": 2e-6, "BatchNorm": 2e-5, "LRN": 4e-6}
# Second derivatives of products of many factors, and of rows that are not normalized, lose digits on any device.
ROUGH = {"prod": 1e-4, "nanprod": 1e-4, "_row_norm_grad": 2e-3, "_linalg_gelqf": 5e-3, "_random_pdf_dirichlet": 1e-3}
FIRST = {
    "fill_element_0index",
    "amp_multicast",
    "Crop",
    "_contrib_boolean_mask",
    "_random_pdf_dirichlet",
    "SequenceMask",
    "CTCLoss",
}


def both(inputs):
    cpu = [nd.array(x, dtype="float32") for x in inputs]
    return cpu, [x.as_in_context(GPU) for x in cpu]


@pytest.mark.parametrize("name,i", VALUES)
def test_values_are_the_cpus(name, i):
    inputs, keywords = call(name, i)
    cpu, gpu = both(inputs)
    mx.random.seed(1)
    expected = run(name, cpu, keywords)
    mx.random.seed(1)
    found = run(name, gpu, keywords)
    for f, e in zip(found, expected, strict=True):
        assert f.context == GPU
        close(f, e, TOLERANCE.get(name, 1e-6), 1e-6)
    for g, c in zip(gpu, cpu, strict=True):
        close(g, c, 2e-6, 1e-6)


@pytest.mark.parametrize("name,i", SMOOTH)
def test_gradients_are_the_cpus(name, i):
    inputs, keywords = call(name, i)

    def gradients(xs, order):
        for x in xs:
            x.attach_grad()
        with autograd.record():
            total = nd.sin(run(name, xs, keywords)[0].reshape((-1,))).sum()
            if order == 2:
                # Where not every input has a gradient, that of the first.
                wanted = xs[:1] if name.endswith("_like") or name in FIRST else xs
                firsts = autograd.grad(total, wanted, create_graph=True, retain_graph=True)
                total = sum((nd.sin(f.reshape((-1,))).sum() for f in firsts), total)
        total.backward()
        return [x.grad for x in xs]

    for order in (1, 2):
        cpu, gpu = both(inputs)
        for f, e in zip(gradients(gpu, order), gradients(cpu, order), strict=True):
            assert f.context == GPU
            close(f, e, ROUGH.get(name, 2e-5), 1e-5 if order == 1 else 1e-4)


@pytest.mark.parametrize("name,i", [c for c in VALUES if RECORDS[c[0]]["kind"] in ("map", "reduce", "view", "kernel")])
def test_strided_inputs_give_the_same(name, i):
    inputs, keywords = call(name, i)
    _, plain = both(inputs)
    _, wide = both([np.repeat(x, 2, axis=-1) for x in inputs])
    _, turned = both([x.T.copy() for x in inputs])
    outs = []
    for xs in (plain, [w[..., ::2] for w in wide], [t.T for t in turned]):
        mx.random.seed(1)
        outs.append(run(name, xs, keywords))
    for p, s, t in zip(*outs, strict=True):
        close(s, p, 1e-6, 1e-7)
        close(t, p, 1e-6, 1e-7)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.4e38, -3.4e38, 1.2e-38], "float32")


@pytest.mark.parametrize("name", MAPS)
def test_special_values(name):
    """nan where the CPU has it, infinities and zeros with their sign."""
    inputs, keywords = call(name, 0)
    grids = [g.reshape(-1) for g in np.meshgrid(*[SPECIAL] * len(inputs))]
    cpu, gpu = both(grids)
    e, f = run(name, cpu, keywords)[0].asnumpy(), run(name, gpu, keywords)[0].asnumpy()
    np.testing.assert_allclose(f, e, rtol=4e-6, atol=1e-37)
    zero = e == 0
    np.testing.assert_array_equal(np.signbit(f[zero]), np.signbit(e[zero]))


def test_a_denormal_is_itself_or_zero():
    """WGSL lets a device take denormals for zeros, and cards do."""
    x = nd.array([1e-38, -1e-38, 1e-45])
    on_gpu = x.as_in_context(GPU)
    np.testing.assert_array_equal(on_gpu.asnumpy(), x.asnumpy())
    for f in (lambda a: a * 1, lambda a: a + a, lambda a: a > 0, nd.sign, nd.abs, nd.sqrt, nd.exp):
        kept, flushed, found = f(x).asnumpy(), f(x * 0).asnumpy(), f(on_gpu).asnumpy()
        assert (np.isclose(found, kept, rtol=1e-6, atol=0, equal_nan=True) | (found == flushed)).all()


WHOLE = np.array([0, 1, -1, 2, -7, 7, 2**31 - 1, -(2**31), 12345, -54321], "int32")


@pytest.mark.parametrize("name", MAPS)
def test_whole_numbers(name):
    inputs, keywords = call(name, 0)
    grids = [nd.array(g.reshape(-1), dtype="int32") for g in np.meshgrid(*[WHOLE] * len(inputs))]
    e = run(name, grids, keywords)[0]
    f = run(name, [g.as_in_context(GPU) for g in grids], keywords)[0]
    assert f.dtype == e.dtype and f.context == GPU
    np.testing.assert_array_equal(f.asnumpy(), e.asnumpy())


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "nansum"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize(
    "shape,axis", [((5000,), None), ((300, 70), 0), ((70, 300), 1), ((20, 100, 40), (0, 2)), ((9, 65, 64), 1)]
)
def test_large_reductions(name, dtype, shape, axis):
    rng = np.random.default_rng(3)
    x = rng.uniform(0.95, 1.05, shape) if name == "prod" else rng.uniform(-9, 9, shape)
    cpu = nd.array(x, dtype=dtype)
    e = getattr(nd, name)(cpu, axis=axis)
    f = getattr(nd, name)(cpu.as_in_context(GPU), axis=axis)
    close(f, e, 2e-5 if name == "prod" else 2e-6, 3e-4 if dtype == "float32" else 0)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int8", "uint8"])
def test_other_dtypes_stay_right_on_the_host(dtype):
    x = nd.array([[1, 2, 3], [4, 5, 6]], dtype=dtype, ctx=GPU)
    y = (x * 2 + 1).sum(axis=1)
    assert y.context == GPU and np.dtype(y.dtype) == np.dtype(dtype)
    np.testing.assert_array_equal(y.asnumpy(), [15, 33])
    np.testing.assert_array_equal(x.astype("float32").exp().asnumpy() > 0, True)


def test_a_fallback_is_told_once_or_forbidden(monkeypatch):
    mx.gpu._told.clear()
    x = nd.array([1.0, 2.0], dtype="float64", ctx=GPU)
    with pytest.warns(mx.gpu.GpuFallbackWarning, match="sin"):
        nd.sin(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nd.sin(x)
    monkeypatch.setenv("OXGRAD_GPU_STRICT", "1")
    with pytest.raises(mx.gpu.GpuError, match="sin"):
        nd.sin(x)
