"""Random draws on MXNet's CPU streams, bit for bit for the same seed.

>>> import oxgrad as mx
>>> mx.random.seed(0)
>>> mx.nd.random.uniform(shape=2)
<BLANKLINE>
[0.5488135 0.5928446]
<NDArray 2 @cpu(0)>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._core import NDArray, operator
from ..context import Context

__all__ = [
    "exponential",
    "exponential_like",
    "gamma",
    "gamma_like",
    "generalized_negative_binomial",
    "generalized_negative_binomial_like",
    "multinomial",
    "negative_binomial",
    "negative_binomial_like",
    "normal",
    "normal_like",
    "poisson",
    "poisson_like",
    "randint",
    "randn",
    "shuffle",
    "uniform",
    "uniform_like",
]

_Shape = int | Sequence[int] | None
_Param = float | NDArray


# Of each law the operators with numbers and with arrays for parameters.
_LAWS = {
    law: (operator("_random_" + law), operator("_sample_" + law))
    for law in (
        "exponential",
        "gamma",
        "generalized_negative_binomial",
        "negative_binomial",
        "normal",
        "poisson",
        "uniform",
    )
}


def _draw(
    law: str,
    names: tuple[str, ...],
    params: tuple[_Param, ...],
    shape: _Shape,
    dtype: Any,
    ctx: Context | None,
    out: NDArray | None,
) -> NDArray:
    # Arguments go on by position: keywords would be packed into dictionaries first.
    arrays = 0
    for name, value in zip(names, params, strict=True):
        if isinstance(value, NDArray):
            arrays += 1
        elif isinstance(value, str):
            # An op's own parameters may be text, as in files; a law's are numbers.
            raise ValueError(f"random.{law}: {name}, got {value!r}, expected a number or an NDArray")
    shape, dtype = _like(shape, dtype, out)
    if arrays == 0:
        return _LAWS[law][0](*params, shape, ctx, dtype, out)
    if arrays < len(params):
        raise AssertionError(f"random.{law}: parameters must be all numbers or all NDArrays")
    return _LAWS[law][1](*params, shape, dtype, out)


def _like(shape: _Shape, dtype: Any, out: NDArray | None) -> tuple[_Shape, Any]:
    """Shape and dtype of a draw: those of ``out`` where they are not given."""
    if isinstance(dtype, str) and dtype == "None":
        dtype = None
    if out is not None:
        return out.shape if shape is None else shape, out.dtype if dtype is None else dtype
    return shape, dtype


def uniform(
    low: _Param = 0,
    high: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws between ``low`` and ``high``, all equally likely; arrays give one set of draws to each element."""
    return _draw("uniform", ("low", "high"), (low, high), shape, dtype, ctx, out)


def normal(
    loc: _Param = 0,
    scale: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws from a normal distribution of mean ``loc`` and standard deviation ``scale``."""
    return _draw("normal", ("loc", "scale"), (loc, scale), shape, dtype, ctx, out)


def randn(*shape: int, loc: _Param = 0, scale: _Param = 1, dtype: Any = None, **kwargs: Any) -> NDArray:
    """Draws from a normal distribution; the shape is given as separate numbers."""
    return normal(loc, scale, shape, dtype, kwargs.get("ctx"), kwargs.get("out"))


def exponential(
    scale: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws from an exponential distribution of mean ``scale``."""
    lam: Any = 1.0 / scale
    return _draw("exponential", ("lam",), (lam,), shape, dtype, ctx, out)


def gamma(
    alpha: _Param = 1,
    beta: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws from a gamma distribution of shape ``alpha`` and scale ``beta``."""
    return _draw("gamma", ("alpha", "beta"), (alpha, beta), shape, dtype, ctx, out)


def poisson(
    lam: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws from a Poisson distribution of mean ``lam``."""
    return _draw("poisson", ("lam",), (lam,), shape, dtype, ctx, out)


def negative_binomial(
    k: _Param = 1,
    p: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws the failures before ``k`` successes of probability ``p``."""
    return _draw("negative_binomial", ("k", "p"), (k, p), shape, dtype, ctx, out)


def generalized_negative_binomial(
    mu: _Param = 1,
    alpha: _Param = 1,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws from a negative binomial distribution of mean ``mu`` and dispersion ``alpha``."""
    return _draw("generalized_negative_binomial", ("mu", "alpha"), (mu, alpha), shape, dtype, ctx, out)


def randint(
    low: int,
    high: int,
    shape: _Shape = None,
    dtype: Any = None,
    ctx: Context | None = None,
    out: NDArray | None = None,
    **kwargs: Any,
) -> NDArray:
    """Draws whole numbers from ``low`` up to, not including, ``high``; int32 unless int64 is given."""
    shape, dtype = _like(shape, dtype, out)
    return operator("_random_randint")(low, high, shape, ctx, dtype, out)


def multinomial(
    data: NDArray, shape: _Shape = None, get_prob: bool = False, out: Any = None, dtype: Any = "int32", **kwargs: Any
) -> Any:
    """Draws positions with the probabilities of each row of ``data``; with ``get_prob`` their logarithms too."""
    return operator("_sample_multinomial")(data, shape=shape, get_prob=get_prob, out=out, dtype=dtype)


def shuffle(data: NDArray, **kwargs: Any) -> NDArray:
    """The rows of an array in random order."""
    return operator("_shuffle")(data, **kwargs)


def uniform_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`uniform` of the shape and dtype of an array."""
    return operator("_random_uniform_like")(data, **kwargs)


def normal_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`normal` of the shape and dtype of an array."""
    return operator("_random_normal_like")(data, **kwargs)


def exponential_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`exponential` of the shape and dtype of an array."""
    return operator("_random_exponential_like")(data, **kwargs)


def gamma_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`gamma` of the shape and dtype of an array."""
    return operator("_random_gamma_like")(data, **kwargs)


def poisson_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`poisson` of the shape and dtype of an array."""
    return operator("_random_poisson_like")(data, **kwargs)


def negative_binomial_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`negative_binomial` of the shape and dtype of an array."""
    return operator("_random_negative_binomial_like")(data, **kwargs)


def generalized_negative_binomial_like(data: NDArray, **kwargs: Any) -> NDArray:
    """:func:`generalized_negative_binomial` of the shape and dtype of an array."""
    return operator("_random_generalized_negative_binomial_like")(data, **kwargs)
