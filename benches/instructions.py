#!/usr/bin/env python3
"""How many instructions oxgrad's own code takes for calls on few elements, against a limit for each.

    python benches/instructions.py            # needs valgrind; run it on a release build

Times of small calls are too noisy to assert; instructions under callgrind repeat. Counted is what runs in oxgrad's
compiled module, its allocator included, without the interpreter, so that the figures hold for every Python. A call
fails that takes more than TOLERANCE above its record; one that takes less by as much asks for a new record.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TOLERANCE = 0.15
RUNS = 200
# Name: instructions for each call (for `tape node`, for each of 100 nodes recorded and walked back).
RECORD = {
    "a + a": 1460,
    "a * 2.0": 1345,
    "exp(a)": 1770,
    "x[1]": 953,
    "x[1] = 2.0": 1255,
    "a.reshape((2, 2))": 1485,
    "a.sum().asscalar()": 2990,
    "nd.array(list)": 1525,
    "dot 2x2": 3765,
    "2*x*x 2x2 forward and backward": 11860,
    "tape node": 3390,
    "a row added to 64x128": 8910,
}


def workloads() -> dict[str, tuple[Callable[[], object], int]]:
    """What each name runs, and how many units of it."""
    from oxgrad import autograd, nd

    a, x, numbers = nd.array([1, 2, 3, 4]), nd.array([[1, 2], [3, 4]]), [1.0, 2.0, 3.0, 4.0]
    table, row = nd.ones((64, 128)), nd.array([0.5] * 128)
    table[0] = 2.0
    x.attach_grad()

    def square() -> None:
        with autograd.record():
            y = 2 * x * x
        y.backward()

    def tape() -> None:
        with autograd.record():
            y = x
            for _ in range(100):
                y = y * 1.0
        y.backward()

    found: dict[str, tuple[Callable[[], object], int]] = {
        "a + a": (lambda: a + a, 1),
        "a * 2.0": (lambda: a * 2.0, 1),
        "exp(a)": (lambda: nd.exp(a), 1),
        "x[1]": (lambda: x[1], 1),
        "x[1] = 2.0": (lambda: a.__setitem__(1, 2.0), 1),
        "a.reshape((2, 2))": (lambda: a.reshape((2, 2)), 1),
        "a.sum().asscalar()": (lambda: a.sum().asscalar(), 1),
        "nd.array(list)": (lambda: nd.array(numbers), 1),
        "dot 2x2": (lambda: nd.dot(x, x), 1),
        "2*x*x 2x2 forward and backward": (square, 1),
        "tape node": (tape, 100),
        "a row added to 64x128": (lambda: (table + row).wait_to_read(), 1),
    }
    assert found.keys() == RECORD.keys()
    return found


def run() -> None:
    """Under callgrind: each call of `getpid` ends a part of the count."""
    for call, _ in workloads().values():
        for _ in range(20):
            call()
        os.getpid()
        for _ in range(RUNS):
            call()
        os.getpid()


def count(part: Path) -> int:
    """Instructions that one part of the count spent in oxgrad's module."""
    objects: dict[str, str] = {}
    total, inside, of_call = 0, False, False
    for line in part.read_text().splitlines():
        if named := re.match(r"(c?ob)=(\(\d+\))(?: (.*))?", line):
            kind, key, name = named.groups()
            if name is not None:
                objects[key] = name
            if kind == "ob":
                inside = "_core." in objects.get(key, "")
        elif line.startswith("calls="):
            of_call = True
        elif cost := re.match(r"[+*-]?\d* (\d+)$", line):
            # The line after `calls=` is what the called function took; that is counted where it ran.
            if inside and not of_call:
                total += int(cost[1])
            of_call = False
    return total


def main() -> int:
    if "--run" in sys.argv:
        run()
        return 0
    if shutil.which("valgrind") is None:
        print("instructions: valgrind is not installed, nothing was counted", file=sys.stderr)
        return 2
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "part"
        command = ["valgrind", "--tool=callgrind", "--dump-before=getpid", "--compress-strings=yes"]
        command += [f"--callgrind-out-file={out}", sys.executable, __file__, "--run"]
        subprocess.run(command, check=True, capture_output=True)
        parts = sorted(out.parent.glob("part.*"), key=lambda p: int(p.suffix[1:]))
        # After the start, warm-ups and counted runs take turns.
        counted = parts[-2 * len(RECORD) :][1::2]
        assert len(counted) == len(RECORD), f"{len(parts)} parts"
        print(f"{'instructions in oxgrad':34}{'now':>8}{'record':>8}{'ratio':>7}")
        for (name, record), (_, units), part in zip(RECORD.items(), workloads().values(), counted, strict=True):
            now = count(part) / RUNS / units
            ratio = now / record if record else float("inf")
            below = "  lower: record it" if ratio < 1 - TOLERANCE else ""
            note = "  above its limit" if ratio > 1 + TOLERANCE else below
            print(f"{name:34}{now:8.0f}{record:8}{ratio:7.2f}{note}")
            worst = max(worst, ratio)
    return int(worst > 1 + TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
