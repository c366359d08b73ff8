#!/usr/bin/env python3
"""The Markdown table of docs/performance.md from a run of the bench.

    python benches/run.py --json run.json && python benches/table.py run.json [before.json]

The floor is what the machine allows: multiply-adds over the fastest rate that any library reached in a product, and
for arrays that no cache holds, bytes over the fastest rate that any library reached in a sum. With an older run beside
it, its times are in the column `before`.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from workloads import WORKLOADS


def flops(name: str, shapes: list[tuple]) -> float:
    """Of a product, as its name and shapes say; 0 for other work."""
    if not name.startswith(("dot ", "batch_dot")) or "fwd" in name:
        return 0.0
    a, b = (list(shape) for shape in shapes[:2])
    batch = 1
    if name.startswith("batch_dot"):
        batch = a.pop(0)
        b.pop(0)
    columns = 1 if len(b) == 1 else b[0] if " bT" in name else b[-1]
    return 2.0 * batch * int(np.prod(a)) * columns


def moved(name: str, argument) -> float:
    """Bytes that a pass over large arrays reads and writes; 0 where it is not one pass, or small."""
    if name.startswith("sum 10^7"):
        return 4e7
    if "10^7" not in name:
        return 0.0
    count = len(argument.inputs) if hasattr(argument, "inputs") else 1
    return 4e7 * (count + 1)


def read(path: str) -> list[dict]:
    return json.loads(Path(path).read_text())["rows"]


def shown(us: float | None) -> str:
    return "" if us is None else f"{us:,.2f}" if us < 10 else f"{us:,.1f}" if us < 1000 else f"{us:,.0f}"


def rate(rows: list[dict], work: dict, wanted: Callable[[str], bool]) -> float:
    """The fastest rate at which any library did the wanted workloads, in flops or bytes for a microsecond."""
    chosen = [(work[row["workload"]], row["us"].values()) for row in rows if wanted(row["workload"])]
    return max((amount / us for amount, times in chosen for us in times), default=0.0)


def main() -> int:
    rows, older = read(sys.argv[1]), {}
    if sys.argv[2:]:
        older = {row["workload"]: row["us"].get("oxgrad") for row in read(sys.argv[2])}
    work, products = {}, set()
    for name, _, argument, _ in WORKLOADS:
        count = flops(name, [make().shape for make in getattr(argument, "inputs", ())] if "dot" in name else [])
        work[name] = count or moved(name, argument)
        products |= {name} if count else set()
    single = rate(rows, work, lambda name: name in products and "f64" not in name)
    double = rate(rows, work, lambda name: name in products and "f64" in name)
    memory = rate(rows, work, lambda name: name == "sum 10^7")
    print(f"Floors: {single / 1e3:,.0f} GFLOP/s in float32, {double / 1e3:,.0f} in float64, {memory / 1e3:,.0f} GB/s.")
    print("\n| workload | oxgrad | before | best peer | | ratio | floor | share |")
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    ratios = []
    for row in rows:
        name, ours = row["workload"], row["us"]["oxgrad"]
        peer, best = min(((t, n) for n, t in row["us"].items() if n != "oxgrad"), default=(None, ""))
        ratios += [ours / peer] if peer else []
        floor = work[name] / ((double if "f64" in name else single) if name in products else memory) or None
        cells = [name, shown(ours), shown(older.get(name)), shown(peer), best, f"{ours / peer:.2f}" if peer else ""]
        print(f"| {' | '.join(cells)} | {shown(floor)} | {f'{100 * floor / ours:.0f} %' if floor else ''} |")
    above = sum(ratio > 1 for ratio in ratios)
    print(f"\nGeometric mean of {len(ratios)} ratios: {statistics.geometric_mean(ratios):.2f}; {above} are above 1.0.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
