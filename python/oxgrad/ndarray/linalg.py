"""Matrices, and stacks of them in the last two axes: ``nd.linalg``.

>>> from oxgrad import nd
>>> nd.linalg.potrf(nd.array([[4.0, 2.0], [2.0, 5.0]]))
<BLANKLINE>
[[2. 0.]
 [1. 2.]]
<NDArray 2x2 @cpu(0)>
"""

from typing import Any

from ._namespace import member, members


def __getattr__(name: str) -> Any:
    return member(__name__, "_linalg_", name)


def __dir__() -> list[str]:
    return members("_linalg_")
