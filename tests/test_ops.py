"""Every record, from its own `check`: values against NumPy, gradients to order two, layouts, dtypes, corners."""

import statistics

import numpy as np
import pytest
import reference

import oxgrad as mx
from oxgrad import _core, autograd, nd
from oxgrad.test_utils import check_numeric_gradient

RECORDS = {record["name"]: record for record in _core.records()}
CASES = [(name, i) for name, r in RECORDS.items() for i in range(len(r["calls"]))]
SMOOTH = [(name, i) for name, i in CASES if isinstance(RECORDS[name]["range"], tuple) and not RECORDS[name]["writes"]]
MAPS = [(name, i) for name, i in SMOOTH if RECORDS[name]["kind"] == "map"]


NAMES = {name: value for name, value in vars(reference).items() if not name.startswith("_")}
NAMES.update(mx=mx, statistics=statistics)


def call(name, i, seed=0):
    """Inputs, keyword arguments of call `i` of a record."""
    record = RECORDS[name]
    shapes, keywords = record["calls"][i]
    low, high = record["range"] if isinstance(record["range"], tuple) else (-2.0, 2.0)
    if name.endswith(("_update", "_phase1", "_phase2")):
        # States of optimizers are averages of squares: not negative.
        low, high = 0.1, 2.0
    rng = np.random.default_rng([seed, i, *name.encode()])
    return [rng.uniform(low, high, shape) for shape in shapes], eval(f"dict({keywords})", dict(NAMES))


def arrays(name, inputs):
    """The inputs as float64, but for the half-precision weights and gradients of `mp_` updates."""
    if not name.startswith("mp_"):
        return [nd.array(x, dtype="float64") for x in inputs]
    halves = 1 if name.endswith("phase2") else 2
    return [nd.array(x, dtype="float16" if k < halves else "float32") for k, x in enumerate(inputs)]


def run(name, inputs, keywords):
    out = _core.operators[name](*inputs, **keywords)
    return out if isinstance(out, list) else [out]


@pytest.mark.parametrize("name,i", [c for c in CASES if RECORDS[c[0]]["like"]])
def test_value_is_numpys(name, i):
    inputs, keywords = call(name, i)
    expected = eval(RECORDS[name]["like"], dict(NAMES))(*inputs, **keywords)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    found = run(name, arrays(name, inputs), keywords)
    # Half precision; hyper-parameters rounded to float32, as MXNet does; everything else.
    tolerance = 5e-3 if name.startswith("mp_") else 5e-6 if RECORDS[name]["writes"] else 1e-6
    for e, f in zip(expected, found, strict=True):
        e = np.asarray(e, dtype="float64")
        # MXNet has no shape (): what NumPy gives so is (1,), but for an array asked for with that shape.
        e = e if keywords.get("shape") == () else np.atleast_1d(e)
        assert f.shape == e.shape
        np.testing.assert_allclose(f.asnumpy(), e, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("name,i", SMOOTH)
def test_gradients_to_order_two(name, i):
    inputs, keywords = call(name, i)
    tolerance = {"erf": 1e-6, "erfinv": 1e-6}.get(name, 2e-6)

    def function(*xs):
        outs = run(name, xs, keywords)
        # sin makes every op part of something curved, and mixes all outputs.
        total = nd.sin(outs[0].reshape((-1,))).sum()
        for out in outs[1:]:
            total = total + nd.sin(out.reshape((-1,))).sum()
        return total

    check_numeric_gradient(function, inputs, order=2, rtol=max(tolerance, 5e-6), atol=5e-6)


@pytest.mark.parametrize(
    "name,i", [c for c in CASES if RECORDS[c[0]]["kind"] in ("map", "reduce", "view", "compose") and c[0][:3] != "mp_"]
)
def test_strided_inputs_give_the_same(name, i):
    inputs, keywords = call(name, i)
    plain = run(name, [nd.array(x, dtype="float64") for x in inputs], keywords)
    # The same values as every other element of a wider array, and as a transposed one.
    wide = [nd.array(np.repeat(x, 2, axis=-1), dtype="float64") for x in inputs]
    strided = run(name, [w[..., ::2] for w in wide], keywords)
    turned = run(name, [nd.array(x.T.copy(), dtype="float64").T for x in inputs], keywords)
    for p, s, t in zip(plain, strided, turned, strict=True):
        np.testing.assert_array_equal(p.asnumpy(), s.asnumpy())
        np.testing.assert_array_equal(p.asnumpy(), t.asnumpy())


@pytest.mark.parametrize("name,i", MAPS)
def test_fused_equals_unfused(name, i):
    shapes, keywords = call(name, i)
    low, high = RECORDS[name]["range"]
    rng = np.random.default_rng(1)
    big = [nd.array(rng.uniform(low, high, (60, 50)), dtype="float32") for _ in shapes]
    # Deferred: three operations, one region. Alone: each result is read before the next.
    fused = (run(name, [b * 1 for b in big], keywords)[0] + 1) * 0.5
    alone = [b * 1 for b in big]
    for a in alone:
        a.wait_to_read()
    step = run(name, alone, keywords)[0]
    step.wait_to_read()
    step = step + 1
    step.wait_to_read()
    np.testing.assert_array_equal(fused.asnumpy(), (step * 0.5).asnumpy())


@pytest.mark.parametrize("name,i", MAPS)
def test_empty_and_one_element(name, i):
    inputs, keywords = call(name, i)
    record = RECORDS[name]
    empty = run(name, [nd.array(np.zeros((0, 3)), dtype="float32") for _ in inputs], keywords)[0]
    assert empty.shape == (0, 3) and empty.asnumpy().size == 0
    low, high = record["range"]
    for shape in ((1,), ()):
        xs = [nd.array(np.full(shape, (low + high) / 2), dtype="float64") for _ in inputs]
        for x in xs:
            x.attach_grad()
        with autograd.record():
            y = run(name, xs, keywords)[0]
        assert y.shape == shape
        y.backward()
        assert all(x.grad.shape == shape and np.isfinite(x.grad.asnumpy()).all() for x in xs)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("name", sorted({n for n, _ in CASES if RECORDS[n]["kind"] == "map"}))
def test_dtype_is_kept(name, dtype):
    inputs, keywords = call(name, 0)
    xs = [nd.array(np.abs(x) + 1, dtype=dtype) for x in inputs]
    out = run(name, xs, keywords)[0]
    assert np.dtype(out.dtype).name == dtype


@pytest.mark.parametrize("name", sorted({n for n, _ in CASES if RECORDS[n]["kind"] == "map"}))
def test_special_values_do_not_depend_on_the_path(name):
    """nan, infinities, signed zero and denormals: small arrays (one tile) and large ones (fused) agree bit for bit."""
    inputs, keywords = call(name, 0)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0, 3.4e38, -3.4e38], "float32")
    grids = [g.reshape(-1) for g in np.meshgrid(*[special] * len(inputs))]
    small = run(name, [nd.array(g) for g in grids], keywords)[0].asnumpy()
    times = 4096 // len(grids[0]) + 1
    large = run(name, [nd.array(np.tile(g, times)) for g in grids], keywords)[0].asnumpy()
    np.testing.assert_array_equal(np.tile(small, times), large)


def test_every_operator_is_documented_and_named():
    for record in RECORDS.values():
        operator = _core.operators[record["name"]]
        assert operator.__doc__.startswith(record["doc"].split("\n")[0])
        assert record["signature"].startswith(record["name"] + "(")
    assert nd.broadcast_add.__name__ == "broadcast_add" and nd.add.__name__ == "add"


def test_untested_gradients_say_why():
    for record in RECORDS.values():
        if not isinstance(record["range"], tuple):
            assert len(record["range"]) > 5, record["name"]
