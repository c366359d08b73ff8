"""The benchmark runs, and prints a table."""

import re
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parent.parent / "benches" / "run.py"


def bench(*args):
    command = [sys.executable, str(RUN), "--quick", *args]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60)


def test_table():
    done = bench("--peers", "numpy", "--only", "add4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^workload +oxgrad +numpy +ratio", done.stdout, re.M), done.stdout
    row = re.search(r"^add4 +([\d.]+) +([\d.]+) +([\d.]+)  numpy$", done.stdout, re.M)
    assert row, done.stdout
    assert all(float(figure) > 0 for figure in row.groups())
    assert re.search(r"^geometric mean of 1 ratios: [\d.]+$", done.stdout, re.M), done.stdout
    assert "another result" not in done.stdout


def test_unknown_peer():
    done = bench("--peers", "nympy")
    assert done.returncode == 2
    assert "peers are numpy" in done.stderr
