"""``python -m oxgrad``: one page about this installation."""

from __future__ import annotations

import os
import platform
import subprocess
import sys


def page() -> str:
    """The page as text."""
    import oxgrad
    from oxgrad import _core

    timed = "import time; t = time.perf_counter(); import oxgrad; print(time.perf_counter() - t)"
    loaded = 1e3 * float(
        subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout
    )
    stats = _core.stats()
    mib = 1 << 20
    lines = [
        f"oxgrad {oxgrad.__version__}",
        f"  Python     {platform.python_version()} on {platform.platform()}",
        f"  import     {loaded:.1f} ms, NumPy {'loaded' if 'numpy' in sys.modules else 'not loaded'}",
        f"  CPU        {_cpu_name()}, {stats['simd']}",
        f"  threads    {stats['threads']} (OXGRAD_NUM_THREADS={os.environ.get('OXGRAD_NUM_THREADS', 'not set')})",
        f"  memory     {stats['live_bytes'] / mib:.1f} MiB in arrays, {stats['kept_bytes'] / mib:.1f} MiB kept,"
        f" at most {stats['pool_cap'] / mib:.0f} MiB (OXGRAD_POOL_MB)",
        f"  operators  {len(_core.records())} records, {len(_core.operators)} names",
        f"  GPU        {_gpu()}",
    ]
    return "\n".join(lines)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpu() -> str:
    from oxgrad import gpu

    try:
        found = gpu.adapters()
    except gpu.GpuError as error:
        return f"none: {error}"
    lines = []
    for i, adapter in enumerate(found):
        lines.append(f"gpu({i}): {adapter['name']}, {adapter['kind']}, {adapter['backend']}, {adapter['driver']}")
        lines.append(f"  at most {adapter['max_binding'] / (1 << 20):.0f} MiB in one array")
        lines.append(f"  features: {', '.join(adapter['features'])}")
    return "\n             ".join(lines)


if __name__ == "__main__":
    print(page())
