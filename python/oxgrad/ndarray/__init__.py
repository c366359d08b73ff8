"""Arrays and their operators: ``oxgrad.nd``.

Operators are made from the records of the compiled core; creation, helpers and files are in the modules beside this
one.
"""

from .. import _core
from .._core import NDArray, array, from_dlpack
from . import creation, helpers, methods
from . import random as random
from .creation import *  # noqa: F403
from .helpers import *  # noqa: F403

methods.install(NDArray)

# Every operator under each of its names; what a helper of this package defines goes before it.
for _name, _operator in _core.operators.items():
    globals().setdefault(_name, _operator)
del _name, _operator

op = __import__("sys").modules[__name__]
_internal = op

__all__ = ["NDArray", "array", "from_dlpack", "random", *creation.__all__, *helpers.__all__]
__all__ += [_n for _n in _core.operators if not _n.startswith("_")]
