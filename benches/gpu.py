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


def timed(run, wait, repeats: int = 10) -> float:
    """The best of some runs, in seconds."""
    run()
    wait()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        wait()
        best = min(best, time.perf_counter() - start)
    return best


def speed() -> None:
    """A table: ours, PyTorch's, and the share of what copying reaches."""
    gpu = mx.gpu()
    n = 1 << 24
    x = nd.array(np.ones(n, "float32"), ctx=gpu)
    rows = [("x * 2 + 1, 16 Mi elements, GB/s", 8 * n / timed(lambda: (x * 2 + 1).wait_to_read(), nd.waitall) / 1e9)]
    for size in (1024, 2048, 4096):
        a = nd.array(np.ones((size, size), "float32"), ctx=gpu)
        seconds = timed(lambda a=a: nd.dot(a, a).wait_to_read(), nd.waitall, 5)
        rows.append((f"dot {size}, TFLOP/s", 2 * size**3 / seconds / 1e12))
    print(mx.gpu.stats()["device"])
    try:
        import torch

        peer = torch.cuda.is_available()
    except ImportError:
        peer = False
    theirs = [None] * len(rows)
    if peer:
        torch.backends.cuda.matmul.allow_tf32 = False
        t = torch.ones(n, device="cuda")
        theirs[0] = 8 * n / timed(lambda: t * 2 + 1, torch.cuda.synchronize) / 1e9
        for i, size in enumerate((1024, 2048, 4096), 1):
            b = torch.ones(size, size, device="cuda")
            theirs[i] = 2 * size**3 / timed(lambda b=b: b @ b, torch.cuda.synchronize) / 1e12
    for (name, ours), other in zip(rows, theirs, strict=True):
        print(f"{name:36} {ours:10.2f}" + (f"   PyTorch {other:10.2f}" if other else ""))


if __name__ == "__main__":
    if sys.argv[1:] == ["speed"]:
        speed()
    else:
        for name, value in replay().items():
            print(f"{name}: {value:.2f} us per launch")
