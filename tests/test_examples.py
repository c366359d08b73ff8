"""The examples run, and reach what they promise."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_support import needs_gpu

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
def test_mlp_digits(tmp_path):
    command = [sys.executable, str(EXAMPLES / "mlp_digits.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    trained, stored = (float(a) for a in re.findall(r"test accuracy ([\d.]+)%", done.stdout))
    assert trained >= 96
    assert stored == trained
    assert (tmp_path / "mlp_digits.params").stat().st_size > 4 * 17_226
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "mlp_digits.png").read_bytes().startswith(b"\x89PNG")


@needs_gpu
@pytest.mark.skipif(importlib.util.find_spec("pygfx") is None, reason="pygfx is not installed")
def test_gpu_picture(tmp_path):
    command = [sys.executable, str(EXAMPLES / "gpu_picture.py"), "--out", str(tmp_path / "picture.png")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    from PIL import Image

    colours = Image.open(tmp_path / "picture.png").convert("RGB").getcolors(1 << 20)

    def near(*colour):
        return sum(n for n, c in colours if max(abs(a - b) for a, b in zip(c, colour, strict=True)) < 8)

    # The surface, and the way down on it, were drawn from the tensors' memory.
    assert near(0x5F, 0xB3, 0xFF) > 10_000 and near(0xFF, 0xB3, 0x47) > 300
