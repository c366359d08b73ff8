"""Arrays and their operators: ``oxgrad.nd``.

Operators are made from the records of the compiled core; creation, helpers and files are in the modules beside this
one.
"""

from .. import _core
from .._core import NDArray, array, from_dlpack
from . import contrib as contrib
from . import creation, helpers, methods, numpy_protocol
from . import linalg as linalg
from . import random as random
from .creation import *  # noqa: F403
from .helpers import *  # noqa: F403

methods.install(NDArray)
numpy_protocol.install(NDArray)

# Every operator under each of its names; what a helper of this package defines goes before it.
for _name, _operator in _core.operators.items():
    globals().setdefault(_name, _operator)
del _name, _operator

op = __import__("sys").modules[__name__]
_internal = op

__all__ = ["NDArray", "array", "contrib", "from_dlpack", "linalg", "random", *creation.__all__, *helpers.__all__]
__all__ += [_n for _n in _core.operators if not _n.startswith("_")]
