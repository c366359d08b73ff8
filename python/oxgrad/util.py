"""Small functions of MXNet's ``util``."""

from __future__ import annotations

import os

__all__ = ["getenv", "is_np_array", "is_np_shape", "setenv"]


def is_np_shape() -> bool:
    """Whether NumPy's shape rules are on: arrays without axes and without elements always work here."""
    return False


def is_np_array() -> bool:
    """Whether arrays are NumPy-style by default: they are not."""
    return False


def getenv(name: str) -> str | None:
    """An environment variable."""
    return os.environ.get(name)


def setenv(name: str, value: str) -> None:
    """Sets an environment variable."""
    os.environ[name] = value
