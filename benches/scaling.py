"""Scaling tables: time against size, against tape length and against threads, and their pictures.

python benches/run.py --scaling                     # the tables
python benches/run.py --scaling --pictures docs/img # and SVG pictures of them (needs matplotlib)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

SIZES = [10**k for k in range(1, 9)]
TAPES = [10**k for k in range(2, 7)]
# What is measured against size: a name and an expression of `x`.
WORK = {
    "x * x": "x * x",
    "exp": "nd.exp(x)",
    "sum": "x.sum()",
    "six operations": "nd.sigmoid(nd.tanh(x * 0.5 + 1) * x - 0.3)",
}


def best(f, seconds: float = 0.1) -> float:
    """The fastest of five calls or more after the first, which takes memory from the system, in seconds."""
    f()
    least, calls, end = float("inf"), 0, time.perf_counter() + seconds
    while True:
        calls += 1
        start = time.perf_counter()
        f()
        now = time.perf_counter()
        least = min(least, now - start)
        if now > end and calls >= 5:
            return least


def measure() -> dict:
    """All curves in this process, whose number of threads is fixed."""
    import numpy as np

    from oxgrad import autograd, nd

    out: dict = {"size": {name: [] for name in WORK}, "tape": []}
    for n in SIZES:
        x = nd.array(np.random.default_rng(0).random(n, dtype=np.float32))
        for name, text in WORK.items():
            f = eval(f"lambda: ({text}).wait_to_read()", {"nd": nd, "x": x})
            out["size"][name].append(best(f) / n * 1e9)
    for n in TAPES:
        x = nd.ones((2,))
        x.attach_grad()

        def step(n=n, x=x):
            with autograd.record():
                y = x
                for _ in range(n):
                    y = y * 1.0
            y.backward()

        out["tape"].append(best(step) / n * 1e9)
    return out


def tables(threads: int, pictures: Path | None) -> None:
    curves = {}
    for count in sorted({1, threads}):
        env = dict(os.environ, OXGRAD_NUM_THREADS=str(count))
        done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, check=True)
        curves[count] = json.loads(done.stdout)
    for count, found in curves.items():
        print(f"\nnanoseconds for an element, {count} thread{'s' * (count > 1)}")
        print(f"{'elements':>12}" + "".join(f"{name:>16}" for name in WORK))
        for i, n in enumerate(SIZES):
            print(f"{n:>12,}" + "".join(f"{found['size'][name][i]:>16.3f}" for name in WORK))
    print("\nnanoseconds for a tape node, recorded and run back")
    for i, n in enumerate(TAPES):
        print(f"{n:>12,}{curves[1]['tape'][i]:>16.1f}")
    if pictures:
        draw(curves, pictures)


def draw(curves: dict, home: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    # The same picture for the same numbers.
    matplotlib.rcParams["svg.hashsalt"] = "oxgrad"
    from matplotlib import pyplot

    home.mkdir(parents=True, exist_ok=True)

    def picture(name: str, title: str, label: str, lines: dict) -> None:
        figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
        for text, (x, y) in lines.items():
            axes.loglog(x, y, marker=".", label=text)
        axes.set(xlabel=label, ylabel="ns", title=title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        figure.savefig(home / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)

    most = max(curves)
    picture(
        "scaling_size",
        f"time for an element, {most} threads",
        "elements",
        {name: (SIZES, curves[most]["size"][name]) for name in WORK},
    )
    picture("scaling_tape", "time for a tape node", "nodes", {"y * 1.0": (TAPES, curves[1]["tape"])})
    picture(
        "scaling_threads",
        "six operations, time for an element",
        "elements",
        {f"{count} threads": (SIZES, found["size"]["six operations"]) for count, found in curves.items()},
    )


if __name__ == "__main__":
    print(json.dumps(measure()))
