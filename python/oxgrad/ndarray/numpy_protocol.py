"""NumPy functions on arrays of this package: ``np.sin(x)`` is ``nd.sin(x)``, and is recorded like it."""

from __future__ import annotations

import operator as op
from collections.abc import Callable
from typing import Any

from .._core import NDArray, array, operator, operators

# What NumPy calls otherwise, or what Python's operators do.
_UNARY: dict[str, str] = {"absolute": "abs", "fabs": "abs", "deg2rad": "radians", "rad2deg": "degrees"}
_SAME = (
    "sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh exp expm1 log log2 log10 log1p sqrt cbrt "
    "square negative sign floor ceil trunc reciprocal degrees radians logical_not"
)
_UNARY.update({name: name for name in _SAME.split()})

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": op.add,
    "subtract": op.sub,
    "multiply": op.mul,
    "divide": op.truediv,
    "true_divide": op.truediv,
    "power": op.pow,
    "remainder": op.mod,
    "mod": op.mod,
    "equal": op.eq,
    "not_equal": op.ne,
    "less": op.lt,
    "less_equal": op.le,
    "greater": op.gt,
    "greater_equal": op.ge,
}
_BINARY.update({name: operators[f"broadcast_{name}"] for name in ("maximum", "minimum", "hypot")})
_BINARY.update({name: operators[f"broadcast_{name}"] for name in ("logical_and", "logical_or", "logical_xor")})
_TESTS = ("isnan", "isinf", "isfinite")
_REDUCE = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}


def _operand(value: Any, like: NDArray) -> Any:
    """An operand as this package's operators take it: NumPy's arrays take the dtype of the array they meet."""
    if isinstance(value, (NDArray, bool, int, float)):
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return array(value, dtype=like.dtype, ctx=like.ctx)


def __array_ufunc__(self: NDArray, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:  # noqa: N807
    """NumPy's elementwise functions by the operators of the same meaning; others are a ``TypeError``."""
    from . import contrib

    name, out = ufunc.__name__, kwargs.pop("out", None)
    where_to = out[0] if isinstance(out, tuple) else out
    first = next((value for value in inputs if isinstance(value, NDArray)), self)
    if method == "reduce" and name in _REDUCE and set(kwargs) <= {"axis", "keepdims"}:
        how = {"axis": kwargs.get("axis", 0), "keepdims": kwargs.get("keepdims", False)}
        result = operator(_REDUCE[name])(first, **how)
    elif method != "__call__" or kwargs:
        return NotImplemented
    elif name in _UNARY:
        result = operator(_UNARY[name])(first)
    elif name in _TESTS:
        result = getattr(contrib, name)(first)
    elif name in _BINARY:
        result = _BINARY[name](*(_operand(value, first) for value in inputs))
    else:
        return NotImplemented
    if where_to is None:
        return result
    where_to[...] = result if isinstance(where_to, NDArray) else result.asnumpy()
    return where_to


def _concatenate(arrays: Any, axis: int | None = 0) -> NDArray:
    many = list(arrays)
    first = next(value for value in many if isinstance(value, NDArray))
    parts = [_operand(value, first) for value in many]
    if axis is None:
        parts, axis = [part.reshape((-1,)) for part in parts], 0
    return operator("concat")(*parts, dim=axis)


def _stack(arrays: Any, axis: int = 0) -> NDArray:
    many = list(arrays)
    first = next(value for value in many if isinstance(value, NDArray))
    return operator("stack")(*(_operand(value, first) for value in many), axis=axis)


def _reduction(name: str) -> Callable[..., NDArray]:
    def reduce(a: NDArray, axis: Any = None, keepdims: bool = False) -> NDArray:
        return operator(name)(a, axis=axis, keepdims=keepdims)

    return reduce


# Where copies of NumPy's would lose what is recorded.
_FUNCTIONS: dict[str, Callable[..., NDArray]] = {"concatenate": _concatenate, "stack": _stack}
_FUNCTIONS.update({name: _reduction(name) for name in ("sum", "prod", "mean", "max", "min")})
_FUNCTIONS.update({"amax": _reduction("max"), "amin": _reduction("min")})
_FUNCTIONS.update({name: operator(name) for name in ("dot", "transpose", "squeeze", "expand_dims")})


def _plain(value: Any) -> Any:
    """The same with NumPy's arrays instead."""
    if isinstance(value, NDArray):
        return value.asnumpy()
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v) for v in value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def __array_function__(self: NDArray, func: Any, types: Any, args: Any, kwargs: Any) -> Any:  # noqa: N807
    """NumPy's other functions: those that join arrays by ours, the rest on copies, giving what NumPy gives."""
    own = _FUNCTIONS.get(func.__name__)
    if own is not None and func.__module__ == "numpy" and not set(kwargs) - {"axis", "axes", "keepdims"}:
        return own(*args, **kwargs)
    return func(*_plain(tuple(args)), **_plain(kwargs))


def install(cls: type[NDArray]) -> None:
    """Attaches both protocols to the class."""
    # The compiled class says that NumPy knows nothing of it, which holds until this module is loaded.
    for method in (__array_ufunc__, __array_function__):
        setattr(cls, method.__name__, method)
