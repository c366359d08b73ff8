"""Shaders as text, run by wgpu alone and compared with NumPy in float64, so that neither hides the other.

Accuracy of the functions in units of the last place.
"""

import math
import statistics

import numpy as np
import pytest
from gpu_support import needs_gpu

from oxgrad import _core

pytestmark = needs_gpu

RECORDS = {r["name"]: r for r in _core.records()}
TEXT = {(name, variant): text for name, variant, text in (_core._gpu_shaders())}


@pytest.fixture(scope="module")
def device():
    import wgpu

    return wgpu.gpu.enumerate_adapters_sync()[0].request_device_sync()


def launch(device, text, params, inputs, outputs, grid):
    """One launch: inputs are arrays, outputs `(elements, dtype)` or arrays to begin with."""
    import wgpu

    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    ring = device.create_buffer_with_data(
        data=bytes(params).ljust(512, b"\0"), usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST
    )
    buffers = [device.create_buffer_with_data(data=np.ascontiguousarray(a), usage=usage) for a in inputs]
    buffers += [
        device.create_buffer_with_data(data=o, usage=usage)
        if isinstance(o, np.ndarray)
        else device.create_buffer(size=4 * o[0], usage=usage)
        for o in outputs
    ]
    kinds = ["uniform"] + ["read-only-storage"] * len(inputs) + ["storage"] * len(outputs)
    layout = device.create_bind_group_layout(
        entries=[
            {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": kind}}
            for i, kind in enumerate(kinds)
        ]
    )
    pipeline = device.create_compute_pipeline(
        layout=device.create_pipeline_layout(bind_group_layouts=[layout]),
        compute={"module": device.create_shader_module(code=text), "entry_point": "main"},
    )
    entries = [{"binding": i, "resource": {"buffer": b}} for i, b in enumerate([ring, *buffers])]
    group = device.create_bind_group(layout=layout, entries=entries)
    encoder = device.create_command_encoder()
    run = encoder.begin_compute_pass()
    run.set_pipeline(pipeline)
    run.set_bind_group(0, group)
    run.dispatch_workgroups(*grid)
    run.end()
    device.queue.submit([encoder.finish()])
    types = [o.dtype if isinstance(o, np.ndarray) else o[1] for o in outputs]
    found = buffers[len(inputs) :]
    return [np.frombuffer(device.queue.read_buffer(b), t).copy() for b, t in zip(found, types, strict=True)]


def words(*values):
    """Parameters: whole numbers as they are, floats by their bits."""
    return b"".join(np.float32(v).tobytes() if isinstance(v, float) else np.int32(v).tobytes() for v in values)


# ---- generated ----

GENERATED = sorted(n for n, r in RECORDS.items() if r["gpu"] == "generated")
LIKE = {"np": np, "math": math}


@pytest.mark.parametrize("name", [n for n in GENERATED if RECORDS[n]["kind"] == "map" and RECORDS[n]["like"]])
@pytest.mark.parametrize("n", [64, 61])
def test_generated_maps(device, name, n):
    import reference

    record = RECORDS[name]
    keywords = eval(f"dict({record['calls'][0][1]})", {})
    floats = [p for p in record["params"] if "float" in p[1]]
    imm = [float(keywords.get(p[0], eval(p[2], {}) or 0.0)) for p in floats]
    count, launches = _core._gpu_generated(name, "float32", n, imm)
    low, high = record["range"] if isinstance(record["range"], tuple) else (-2.0, 2.0)
    rng = np.random.default_rng(0)
    xs = [rng.uniform(low, high, n).astype("float32") for _ in range(count)]
    ((text, params, grid),) = launches
    (found,) = launch(device, text, params, xs, [(n, "float32")], grid)
    names = {**LIKE, "statistics": statistics, **{k: v for k, v in vars(reference).items() if not k.startswith("_")}}
    expected = eval(record["like"], names)(*(x.astype("float64") for x in xs), **keywords)
    np.testing.assert_allclose(found, expected, rtol=4e-6 if "pow" in name else 2e-6, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in GENERATED if RECORDS[n]["kind"] == "reduce"])
@pytest.mark.parametrize("n", [1, 63, 1000])
def test_generated_reductions(device, name, n):
    count, launches = _core._gpu_generated(name, "float32", n, [])
    x = np.random.default_rng(0).uniform(0.9, 1.1, n).astype("float32")
    for text, params, grid in launches:
        (x,) = launch(device, text, params, [x], [(n, "float32")], grid)
    x = np.random.default_rng(0).uniform(0.9, 1.1, n).astype("float32") if not launches else x
    wide = np.random.default_rng(0).uniform(0.9, 1.1, n).astype("float32").astype("float64")
    expected = {"_norm2": lambda v: np.sqrt((v * v).sum())}.get(name) or getattr(np, name)
    np.testing.assert_allclose(x[0], expected(wide), rtol=1e-5)


# The largest error in units of the last place, over an interval; measured on software Vulkan, with a little room.
ACCURACY = [
    ("exp", np.exp, -87, 88.5, 2),
    ("expm1", np.expm1, -10, 10, 3),
    ("log", np.log, 1e-30, 1e30, 2),
    ("log", np.log, 0.5, 2, 2),
    ("log2", np.log2, 0.5, 2, 3),
    ("log10", np.log10, 0.5, 2, 3),
    ("log1p", np.log1p, -0.9, 10, 4),
    ("tanh", np.tanh, -12, 12, 2),
    ("tanh", np.tanh, 1e-6, 1e-2, 2),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), -80, 80, 4),
    ("sin", np.sin, -3.1, 3.1, 2),
    ("sin", np.sin, -1e6, 1e6, 3),
    ("cos", np.cos, -1e6, 1e6, 3),
    ("tan", np.tan, -1.5, 1.5, 4),
    ("arcsin", np.arcsin, -1, 1, 4),
    ("arccos", np.arccos, -1, 0.99, 4),
    ("arctan", np.arctan, -100, 100, 4),
    ("sinh", np.sinh, -80, 80, 4),
    ("cosh", np.cosh, -80, 80, 3),
    ("arcsinh", np.arcsinh, -100, 100, 4),
    ("arccosh", np.arccosh, 1.01, 100, 5),
    ("arctanh", np.arctanh, -0.99, 0.99, 5),
    ("erf", np.vectorize(math.erf), -4, 4, 5),
    ("cbrt", np.cbrt, -100, 100, 2),
]


@pytest.mark.parametrize("name,function,low,high,bound", ACCURACY)
def test_accuracy(device, name, function, low, high, bound):
    n = 1 << 15
    rng = np.random.default_rng(5)
    even = low > 0 and high / low > 1000
    x = np.exp(rng.uniform(math.log(low), math.log(high), n)) if even else rng.uniform(low, high, n)
    x = x.astype("float32")
    _, ((text, params, grid),) = _core._gpu_generated(name, "float32", n, [])
    (found,) = launch(device, text, params, [x], [(n, "float32")], grid)
    exact = function(x.astype("float64"))
    ulp = np.spacing(np.abs(exact).astype("float32")).astype("float64")
    assert (np.abs(found - exact) / ulp).max() <= bound


def test_accuracy_of_powers(device):
    n = 1 << 15
    rng = np.random.default_rng(6)
    x, y = np.exp(rng.uniform(-9, 9, n)).astype("float32"), rng.uniform(-9, 9, n).astype("float32")
    _, ((text, params, grid),) = _core._gpu_generated("broadcast_power", "float32", n, [])
    (found,) = launch(device, text, params, [x, y], [(n, "float32")], grid)
    exact = x.astype("float64") ** y
    inside = (exact < 3e38) & (exact > 1.2e-38)
    ulp = np.spacing(exact[inside].astype("float32")).astype("float64")
    assert (np.abs(found[inside] - exact[inside]) / ulp).max() <= 3


# ---- written by hand ----


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("variant,n", [(0, 10), (1, 300)])
def test_rows(device, variant, n):
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(70, n)).astype("float32"), rng.normal(size=(70, n)).astype("float32")
    grid, size = (70 if variant else 2, 1, 1), (x.size, "float32")
    wide = x.astype("float64")
    for log in (0, 1):
        params = words(70, n, 1, 1.0, log)
        (y,) = launch(device, TEXT["softmax", variant], params, [x], [size], grid)
        s = softmax(wide)
        expected = np.log(s) if log else s
        np.testing.assert_allclose(y.reshape(x.shape), expected, rtol=5e-6, atol=1e-6)
        out = expected.astype("float32")
        (d,) = launch(device, TEXT["softmax_grad", variant], params, [out, g], [size], grid)
        grad = g - s * g.sum(-1, keepdims=True) if log else s * (g - (s * g).sum(-1, keepdims=True))
        np.testing.assert_allclose(d.reshape(x.shape), grad, rtol=1e-4, atol=1e-5)
    gamma, beta = rng.normal(size=n).astype("float32"), rng.normal(size=n).astype("float32")
    outs = [size, (70, "float32"), (70, "float32")]
    y, mean, dev = launch(device, TEXT["row_norm", variant], words(70, n, 1e-5), [x, gamma, beta], outs, grid)
    m, d = wide.mean(-1, keepdims=True), np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y.reshape(x.shape), (wide - m) / d * gamma + beta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.stack([mean, dev]), np.stack([m[:, 0], d[:, 0]]), rtol=1e-5, atol=1e-6)
    (back,) = launch(device, TEXT["row_norm_grad", variant], words(70, n), [x, mean, dev, g, gamma], [size], grid)
    a, u = g * gamma.astype("float64"), (wide - m) / d
    expected = (a - a.mean(-1, keepdims=True) - u * (a * u).mean(-1, keepdims=True)) / d
    np.testing.assert_allclose(back.reshape(x.shape), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [64, 128])
def test_matmul(device, side):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 150, 33)).astype("float32"), rng.normal(size=(2, 65, 33)).astype("float32")
    # b is transposed by its strides; the sum is cut in parts of 16.
    tm, tn = -(-150 // side), -(-65 // side)
    for turned in (False, True):
        sa, sb = ((1, 150), (65, 1)) if turned else ((33, 1), (1, 33))
        params = words(150, 65, 33, tm, tn, 2, 16, 0, *sa, 150 * 33, 0, *sb, 65 * 33, 6)
        data = [np.ascontiguousarray(x.transpose(0, 2, 1)) for x in (a, b)] if turned else [a, b]
        grid = (6 * tm * tn, 1, 1)
        (out,) = launch(device, TEXT["matmul", side // 128], params, data, [(6 * 150 * 65, "float32")], grid)
        found = out.reshape(3, 2, 150, 65).astype("float64").sum(0)
        np.testing.assert_allclose(found, a.astype("float64") @ b.transpose(0, 2, 1), rtol=1e-4, atol=1e-5)


def test_moves(device):
    rng = np.random.default_rng(0)
    x, index = rng.normal(size=(7, 5)).astype("float32"), rng.integers(0, 7, 90).astype("int32")
    (taken,) = launch(device, TEXT["take_rows", 0], words(450, 5), [x, index], [(450, "float32")], (8, 1, 1))
    np.testing.assert_array_equal(taken.reshape(90, 5), x[index])
    rows, expected = rng.normal(size=(90, 5)).astype("float32"), np.zeros((7, 5))
    np.add.at(expected, index, rows.astype("float64"))
    zeros = np.zeros((7, 5), "float32")
    (added,) = launch(device, TEXT["add_rows", 0], words(5, 0, 90, 0), [rows, index], [zeros], (1, 1, 1))
    (gathered,) = launch(device, TEXT["gather_add", 0], words(35, 5, 0, 90, 0), [rows, index], [zeros], (1, 1, 1))
    np.testing.assert_allclose(added.reshape(7, 5), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(added, gathered)
    for variant, kind in ((0, "float32"), (1, "int32")):
        hot = TEXT["one_hot", variant]
        params = words(90 * 7, 7, 1.0, 0.0)
        (out,) = launch(device, hot, params, [index.astype(kind)], [(90 * 7, "float32")], (10, 1, 1))
        np.testing.assert_array_equal(out.reshape(90, 7), np.eye(7)[index])
    params = words(35, 0, 3, 0, 1, 1, 1, 1, 5, 7, 0, 0, 0, 0, 1, 5, 0, 0, 0, 0, 7, 1)
    (turned,) = launch(device, TEXT["copy", 0], params, [x], [np.zeros(40, "float32")], (1, 1, 1))
    np.testing.assert_array_equal(turned[3:38].reshape(5, 7), x.T)
    (filled,) = launch(device, TEXT["fill", 0], words(30, 2.5), [], [np.zeros(40, "float32")], (1, 1, 1))
    assert (filled[:30] == 2.5).all() and (filled[30:] == 0).all()
