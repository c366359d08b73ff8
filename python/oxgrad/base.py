"""Errors and the types that MXNet's checks name."""

from __future__ import annotations

import sys
from typing import Any

from ._core import MXNetError

__all__ = ["MXNetError", "integer_types", "numeric_types", "string_types"]

string_types = (str,)


def __getattr__(name: str) -> Any:
    # These tuples hold NumPy's scalar classes, and importing oxgrad must not import NumPy.
    if name not in ("numeric_types", "integer_types"):
        raise AttributeError(f"module 'oxgrad.base' has no attribute {name!r}")
    import numpy as np

    module = sys.modules[__name__]
    vars(module)["numeric_types"] = (float, int, int, np.generic)
    vars(module)["integer_types"] = (int, int, np.int32, np.int64)
    return vars(module)[name]
