"""Random draws and ``seed``: the functions of ``nd.random``, and the seed of their streams."""

from .ndarray.random import *  # noqa: F403
