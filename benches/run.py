#!/usr/bin/env python3
"""oxgrad beside other libraries: the same work on the same inputs, in one run, as one table of times and ratios.

    python benches/run.py                       # everything; the first run installs the peers
    python benches/run.py --quick               # arrays up to 10^5 elements and short rounds
    python benches/run.py --peers numpy,jax --only chain

Each library runs in a process of its own, with the same number of threads. NumPy is the one beside oxgrad; every other
peer gets its own environment, `.venv-bench-NAME`, made when it is first asked for; one that has the peer already, put
there by hand, is used as it is. A peer that cannot be installed is named and left out.

Libraries take turns: one round of one, then one of the next, while all others are stopped. A figure is the median over
rounds of the fastest repetition in a round. A ratio below 1 means that oxgrad is faster than the best peer.

What is timed ends when the result is in memory: results that a library may still be working on are waited for. In
`fwd+bwd` that result is the gradient. JAX is jitted, except in `control flow`, whose loop it cannot reverse under jit.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib.metadata
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scaling
from workloads import LIBRARIES, UNITS, WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "numpy": [],
    "jax": ["jax"],
    "mxnet": ["mxnet==1.9.1", "numpy==1.23.5"],
    "torch": ["torch", "numpy", "--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0"],
}
THREAD_VARIABLES = ["OXGRAD_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]

# --- one library's process: a line with a workload's index in, a line with its time and a checksum out


def checksum(result, meaningful: bool) -> list:
    """The number of elements and, unless the result is random, their sum."""
    parts = result if isinstance(result, (list, tuple)) else [result]
    arrays = [np.asarray(p.asnumpy() if hasattr(p, "asnumpy") else p, dtype=np.float64) for p in parts]
    return [sum(a.size for a in arrays), sum(float(a.sum()) for a in arrays) if meaningful else 0.0]


def worker(name: str, target: float) -> None:
    out, sys.stdout = sys.stdout, sys.stderr
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with its parent, even while it is stopped
    library = LIBRARIES[name](name)
    print(json.dumps(importlib.metadata.version(name)), file=out, flush=True)
    gc.disable()
    current, call, number, unit = None, None, 1, 1
    clock = time.perf_counter
    for line in sys.stdin:
        index, check = int(line), None
        _, method, argument, _ = WORKLOADS[index]
        if index != current:
            current, call = index, None
            gc.collect()
            make = getattr(library, method, None)
            call = make(argument) if make else None
            if call is None:
                print("null", file=out, flush=True)
                continue
            number, unit = 1, UNITS.get(method, lambda _: 1)(argument)
            check = checksum(call(), getattr(argument, "check", True))
            while True:  # as many calls as fill a repetition
                start = clock()
                for _ in range(number):
                    call()
                took = clock() - start
                if took >= target:
                    break
                number = max(2 * number, int(number * min(target / max(took, 1e-9), 10)))
        best = math.inf
        for _ in range(5):
            start = clock()
            for _ in range(number):
                call()
            best = min(best, clock() - start)
        print(json.dumps([best / number / unit * 1e6, check]), file=out, flush=True)


# --- the table


def interpreter(peer: str) -> str:
    """The Python that has a peer, after making its environment where there is none."""
    if not PACKAGES[peer]:
        return sys.executable
    home = ROOT / f".venv-bench-{peer}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (home / "installed").exists():
        print(f"installing {peer} into {home.name} ...", file=sys.stderr)
        run = {"check": True, "capture_output": True, "text": True, "timeout": 1200}
        subprocess.run([sys.executable, "-m", "venv", str(home)], **run)
        if subprocess.run([python, "-c", f"import {peer}"], capture_output=True).returncode:
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[peer]], **run)
        (home / "installed").touch()
    return str(python)


class Process:
    def __init__(self, name: str, args: argparse.Namespace):
        self.name = name
        env = dict(os.environ, **{v: str(args.threads) for v in THREAD_VARIABLES}, JAX_PLATFORMS="cpu")
        if name != "oxgrad":
            for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
                env.pop(variable, None)
        python = sys.executable if name == "oxgrad" else interpreter(name)
        command = [python, "-W", "ignore", __file__, "--worker", name, "--target", str(args.target)]
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        cpus = sorted(os.sched_getaffinity(0))[: args.threads] if hasattr(os, "sched_setaffinity") else None
        pin = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
        self.process = subprocess.Popen(command, env=env, text=True, preexec_fn=pin, **pipes)
        try:
            self.version = self.answer()
        except RuntimeError:
            self.close()
            raise
        self.turn("SIGSTOP")

    def turn(self, name: str) -> None:
        if hasattr(signal, name):
            self.process.send_signal(getattr(signal, name))

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(self.errors.read().strip() or f"the process ended with {self.process.wait()}")
        return json.loads(line)

    def round(self, index: int):
        """One round: its time and, the first time, the result's size and sum; `None` where there is no counterpart."""
        self.turn("SIGCONT")
        print(index, file=self.process.stdin, flush=True)
        answer = self.answer()
        self.turn("SIGSTOP")
        return answer

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.communicate()


def shown(us: float | None) -> str:
    return "-" if us is None else f"{us:,.3f}" if us < 10 else f"{us:,.1f}" if us < 1000 else f"{us:,.0f}"


def start(name: str, args: argparse.Namespace) -> Process | None:
    try:
        return Process(name, args)
    except (RuntimeError, OSError, subprocess.SubprocessError) as e:
        why = (getattr(e, "stderr", None) or str(e)).strip().splitlines()[-1]
        print(f"{name} is left out: {why}", file=sys.stderr)
        return None


def measure(index: int, rounds: int, processes: list[Process]) -> tuple[dict, dict]:
    """The median time and the checksum of each library that has the workload."""
    times: dict[str, list[float]] = {p.name: [] for p in processes}
    checks = {}
    for turn in range(rounds):
        for p in processes:
            if (turn == 0 or times[p.name]) and (answer := p.round(index)):
                times[p.name].append(answer[0])
                checks.setdefault(p.name, answer[1])
    return {n: statistics.median(t) for n, t in times.items() if t}, checks


def theme_of(argument) -> str:
    """The file that a case comes from."""
    return getattr(argument, "theme", "basic")


def compare(args: argparse.Namespace, processes: list[Process]) -> None:
    print(f"{platform.machine()}, {args.threads} threads, Python {platform.python_version()}; µs, lower is better")
    print(", ".join(f"{p.name} {p.version}" for p in processes), end="\n\n")
    names = [p.name for p in processes]
    print(f"{'workload':34}" + "".join(f"{n:>13}" for n in names) + f"{'ratio':>9}  best peer")
    ratios, rows = [], []
    for index, (workload, _, argument, quick) in enumerate(WORKLOADS):
        if not any(part in f"{theme_of(argument)} {workload}" for part in args.only) or (args.quick and not quick):
            continue
        us, checks = measure(index, args.rounds, processes)
        row = f"{workload:34}" + "".join(f"{shown(us.get(n)):>13}" for n in names)
        if peers := {n: t for n, t in us.items() if n != "oxgrad"}:
            best = min(peers, key=peers.__getitem__)
            ratios.append(us["oxgrad"] / peers[best])
            row += f"{ratios[-1]:9.2f}  {best}"
        print(row, flush=True)
        rows.append({"workload": workload, "us": us})
        size, total = checks["oxgrad"]
        for n, (its_size, its_total) in checks.items():
            if its_size != size or not math.isclose(its_total, total, rel_tol=1e-3, abs_tol=1e-4 * size):
                print(f"  {n} gives another result: {its_size} elements, sum {its_total:g}; oxgrad {size}, {total:g}")
    if ratios:
        print(f"\ngeometric mean of {len(ratios)} ratios: {statistics.geometric_mean(ratios):.2f}")
    if args.json:
        args.json.write_text(json.dumps({"versions": {p.name: p.version for p in processes}, "rows": rows}, indent=1))


def main() -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=lambda s: [n for n in s.split(",") if n], default=list(PACKAGES))
    parser.add_argument("--quick", action="store_true", help="smaller arrays, shorter rounds")
    parser.add_argument(
        "--only",
        default=[""],
        type=lambda s: s.split(","),
        metavar="A,B",
        help="only workloads with one of these in theme or name",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the times to a file as well")
    parser.add_argument("--target", type=float, help="seconds of one repetition (default: 0.02; 0.002 with --quick)")
    parser.add_argument("--threads", type=int, default=cpus, help="threads for each library (default: all)")
    parser.add_argument("--rounds", type=int, help="turns of each library (default: 7; 3 with --quick)")
    parser.add_argument("--scaling", action="store_true", help="oxgrad alone: time against size, tape length, threads")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="with --scaling: draw the curves as SVG files")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.peers) - set(PACKAGES):
        parser.error(f"peers are {', '.join(PACKAGES)}, not {', '.join(sorted(unknown))}")
    if args.scaling:
        scaling.tables(args.threads, args.pictures)
        return 0
    if args.worker:
        worker(args.worker, args.target)
        return 0
    args.target = args.target or (0.002 if args.quick else 0.02)
    args.rounds = args.rounds or (3 if args.quick else 7)
    processes = [p for name in ["oxgrad", *args.peers] if (p := start(name, args))]
    try:
        if not processes or processes[0].name != "oxgrad":
            return 1
        compare(args, processes)
    except RuntimeError as e:
        print(f"a library failed: {e}", file=sys.stderr)
        return 1
    finally:
        for p in processes:
            p.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
