"""What a launch costs on the CPU, and how fast a GPU is beside PyTorch on the same card.

python benches/gpu.py replay     microseconds for each launch of a batch, driver and library included
python benches/gpu.py speed      elementwise bandwidth and matrix products; wants a card, and PyTorch beside it
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

import oxgrad as mx
from oxgrad import _core, nd


def replay(launches: int = 60, rounds: int = 200) -> dict[str, float]:
    """Microseconds per launch: recording it, and replaying it (encode and submit, not waited for)."""
    gpu = mx.gpu()
    xs = [nd.array(np.ones(64, "float32"), ctx=gpu) for _ in range(8)]
    record, send = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        for i in range(launches):
            y = xs[i % 8] + xs[(i + 3) % 8]
            y.wait_to_read()
        middle = time.perf_counter()
        _core._gpu_flush()
        end = time.perf_counter()
        nd.waitall()
        record.append((middle - start) / launches)
        send.append((end - middle) / launches)
    steady = slice(rounds // 4, None)
    return {"record": 1e6 * statistics.median(record[steady]), "replay": 1e6 * min(send[steady])}


def timed(run, wait, repeats: int = 7) -> float:
    """Seconds for one call: the median of some tries, each of as many calls as take 20 ms, waited for together."""

    def calls(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait()
        return (time.perf_counter() - start) / count

    calls(3)
    count = max(3, min(500, int(0.02 / calls(3))))
    return statistics.median(calls(count) for _ in range(repeats))


def workloads(array, form):
    """Name, the unit, units of one call, and the call. `form` names what the two libraries call differently."""
    rng = np.random.default_rng(0)

    def new(*shape):
        return array((rng.random(shape) - 0.5).astype("float32"))

    x, y, wide = new(1 << 24), new(1 << 24), new(4096, 4096)
    moved = 8 * (1 << 24) / 1e9
    yield "x * 2 + 1", "GB/s", moved, lambda: x * 2 + 1
    yield "x + y", "GB/s", 1.5 * moved, lambda: x + y
    yield "tanh(exp(x) * y + x) / 2", "GB/s", 1.5 * moved, lambda: form["tanh"](form["exp"](x) * y + x) / 2
    yield "sum of all", "GB/s", moved / 2, lambda: form["sum"](wide, None)
    yield "sum over rows, axis 0", "GB/s", moved / 2, lambda: form["sum"](wide, 0)
    yield "sum along rows, axis 1", "GB/s", moved / 2, lambda: form["sum"](wide, 1)
    yield "softmax of 4096x4096", "GB/s", moved, lambda: form["softmax"](wide)
    yield "transpose of 4096x4096", "GB/s", moved, lambda: form["turned"](wide)
    table, rows = new(50000, 256), array(rng.integers(0, 50000, 16384).astype("int32"))
    yield "16384 rows of 256", "GB/s", 8 * 16384 * 256 / 1e9, lambda: form["rows"](table, rows)
    for size in (256, 1024, 2048, 4096):
        a, b = new(size, size), new(size, size)
        yield f"dot {size}", "TFLOP/s", 2 * size**3 / 1e12, lambda a=a, b=b: form["dot"](a, b)
    a, b = new(64, 256, 256), new(64, 256, 256)
    yield "batch_dot 64x256x256", "TFLOP/s", 2 * 64 * 256**3 / 1e12, lambda: form["batch_dot"](a, b)
    small = new(64)
    yield "x + x of 64", "M calls/s", 1e-6, lambda: small + small
    yield (
        "perceptron step 256x784x512x512x10",
        "steps/s",
        1,
        form["step"](new, array(rng.integers(0, 10, 256).astype("int32"))),
    )


def our_step(new, labels):
    weights = [new(a, b) * 0.1 for a, b in ((784, 512), (512, 512), (512, 10))]
    x = new(256, 784)
    for w in weights:
        w.attach_grad()

    def run():
        with mx.autograd.record():
            h = x
            for i, w in enumerate(weights):
                h = nd.dot(h, w)
                h = nd.relu(h) if i < 2 else h
            loss = -nd.pick(nd.log_softmax(h), labels).mean()
        loss.backward()
        for w in weights:
            w -= 0.1 * w.grad
        return weights[-1]

    return run


def speed() -> None:
    """A table: ours, PyTorch's eager mode in float32 on the same card, and the ratio."""
    gpu = mx.gpu()

    def array(values):
        return nd.array(values, dtype=values.dtype, ctx=gpu)

    def ready(run):
        return lambda: run().wait_to_read()

    ours = {
        "tanh": nd.tanh,
        "exp": nd.exp,
        "sum": lambda a, axis: a.sum() if axis is None else a.sum(axis=axis),
        "softmax": nd.softmax,
        "turned": lambda a: nd.transpose(a) + 0,
        "rows": nd.take,
        "dot": nd.dot,
        "batch_dot": nd.batch_dot,
        "step": our_step,
    }
    table = [(name, unit, units / timed(ready(run), nd.waitall)) for name, unit, units, run in workloads(array, ours)]
    print(mx.gpu.stats()["device"])
    theirs = [None] * len(table)
    try:
        import torch
    except ImportError:
        torch = None
    if torch and torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = False
        theirs = [units / timed(run, torch.cuda.synchronize) for _, _, units, run in workloads(*peer(torch))]
    for (name, unit, value), other in zip(table, theirs, strict=True):
        print(
            f"{name:36} {value:10.3f} {unit:10}" + (f" PyTorch {other:10.3f}   {value / other:5.2f}" if other else "")
        )


def peer(torch):
    """How PyTorch makes an array, and its names."""

    def array(values):
        return torch.from_numpy(values).cuda()

    def their_step(new, labels):
        weights = [(new(a, b) * 0.1).requires_grad_() for a, b in ((784, 512), (512, 512), (512, 10))]
        x = new(256, 784)
        labels = labels.long()

        def run():
            h = x
            for i, w in enumerate(weights):
                h = h @ w
                h = torch.relu(h) if i < 2 else h
            loss = -torch.log_softmax(h, -1).gather(1, labels[:, None]).mean()
            grads = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for w, g in zip(weights, grads, strict=True):
                    w -= 0.1 * g

        return run

    return array, {
        "tanh": torch.tanh,
        "exp": torch.exp,
        "sum": lambda a, axis: a.sum() if axis is None else a.sum(axis),
        "softmax": lambda a: torch.softmax(a, -1),
        "turned": lambda a: a.t().contiguous(),
        "rows": lambda t, i: t[i],
        "dot": lambda a, b: a @ b,
        "batch_dot": lambda a, b: a @ b,
        "step": their_step,
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["speed"]:
        speed()
    else:
        for name, value in replay().items():
            print(f"{name}: {value:.2f} us per launch")
