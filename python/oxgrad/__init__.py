"""Tensors and autograd with MXNet's ``nd`` and ``autograd`` surface, on a Rust core.

>>> from oxgrad import nd, autograd
>>> x = nd.array([[1, 2], [3, 4]])
>>> x.attach_grad()
>>> with autograd.record():
...     y = 2 * x * x
>>> y.backward()
>>> x.grad
<BLANKLINE>
[[ 4.  8.]
 [12. 16.]]
<NDArray 2x2 @cpu(0)>

``import oxgrad as mx`` reads like MXNet.
"""

from . import autograd, base, context, gpu, ndarray, random, util
from . import ndarray as nd
from . import random as rnd
from ._core import MXNetError, __version__, empty_cache
from .context import Context, cpu, cpu_pinned, current_context
from .ndarray import NDArray

__all__ = [
    "Context",
    "MXNetError",
    "NDArray",
    "__version__",
    "autograd",
    "base",
    "context",
    "cpu",
    "cpu_pinned",
    "current_context",
    "empty_cache",
    "gpu",
    "nd",
    "ndarray",
    "random",
    "rnd",
    "util",
]
