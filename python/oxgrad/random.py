"""Random draws and ``seed``: the functions of ``nd.random``, and the seed of their streams."""

from __future__ import annotations

from typing import Any

from . import _core
from .ndarray import random as _draws
from .ndarray.random import *  # noqa: F403

__all__ = ["seed", *_draws.__all__]


def seed(seed_state: int, ctx: Any = "all") -> None:
    """Reseeds the streams; without a call they start at seed 0 in every process.

    >>> import oxgrad as mx
    >>> mx.random.seed(42)
    >>> mx.nd.random.uniform(shape=1).asscalar().item()
    0.8290936350822449
    """
    try:
        number = seed_state.__index__()
    except AttributeError:
        raise ValueError("seed_state must be int") from None
    # MXNet takes the seed as a C int.
    _core.seed((number + 2**31) % 2**32 - 2**31, ctx != "all")
