"""Operators outside the common set, and control flow: ``nd.contrib``.

>>> from oxgrad import nd
>>> nd.contrib.foreach(lambda x, total: (total + x, total + x), nd.array([1.0, 2.0, 3.0]), nd.zeros(1))[0].reshape(3)
<BLANKLINE>
[1. 3. 6.]
<NDArray 3 @cpu(0)>
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .._core import NDArray, operator
from ..context import Context, current_context
from ._namespace import member, members
from .random import uniform as uniform

_Arrays = NDArray | Sequence[Any]
_Numbers = Sequence[float]


def __getattr__(name: str) -> Any:
    return member(__name__, "_contrib_", name)


def __dir__() -> list[str]:
    return sorted({*members("_contrib_"), *(n for n in globals() if not n.startswith("_"))})


def isnan(data: NDArray) -> NDArray:
    """One where an element is nan, else zero."""
    return data != data


def isinf(data: NDArray) -> NDArray:
    """One where an element is infinite, else zero."""
    return data.abs() == math.inf


def isfinite(data: NDArray) -> NDArray:
    """One where an element is neither nan nor infinite, else zero."""
    return data.abs() < math.inf


def rand_zipfian(
    true_classes: NDArray, num_sampled: int, range_max: int, ctx: Context | None = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Classes of ``0..range_max`` drawn with probability ``log((k + 2) / (k + 1)) / log(range_max + 1)``.

    Returns them, and how often the true classes and the drawn ones are expected among ``num_sampled`` draws.
    """
    whole = math.log(range_max + 1)
    ctx = current_context() if ctx is None else ctx
    drawn = uniform(0, whole, shape=(num_sampled,), dtype="float64", ctx=ctx)
    sampled = (drawn.exp() - 1).astype("int64") % range_max

    def expected(classes: NDArray) -> NDArray:
        k = classes.astype("float64")
        return ((k + 2) / (k + 1)).log() / whole * num_sampled

    return sampled, expected(true_classes.as_in_context(ctx)), expected(sampled)


# ---- control flow ----


def _many(values: Any, what: str) -> list[Any]:
    if values is None:
        return []
    many = [values] if isinstance(values, NDArray) else values
    if not isinstance(many, (list, tuple)):
        raise AssertionError(f"{what}: got {type(values).__name__}, expected an NDArray or a list of them")
    for value in many:
        if not isinstance(value, NDArray):
            _many(value, what)
    return list(many)


def _stacked(steps: list[Any], pad: int = 0) -> Any:
    """The outputs of all steps along a new first axis, with zeros for steps that did not run."""
    if not isinstance(steps[0], NDArray):
        return [_stacked(list(values), pad) for values in zip(*steps, strict=True)]
    whole = operator("stack")(*steps, axis=0)
    if not pad:
        return whole
    empty = operator("zeros")(shape=(pad, *steps[0].shape), dtype=steps[0].dtype, ctx=steps[0].ctx)
    return operator("concat")(whole, empty, dim=0)


def _rows(data: Any, i: int) -> Any:
    return data[i] if isinstance(data, NDArray) else [_rows(part, i) for part in data]


def _length(data: Any) -> int:
    return len(data) if isinstance(data, NDArray) else _length(data[0])


def foreach(body: Callable[[Any, Any], tuple[Any, Any]], data: _Arrays, init_states: _Arrays, name: str = "") -> Any:
    """Calls ``body(row, states)`` for each row of ``data``: it gives an output and the next states.

    Returns the outputs along a new first axis, and the last states.
    """
    _many(data, "foreach: data")
    _many(init_states, "foreach: init_states")
    states, steps = init_states, []
    for i in range(_length(data)):
        out, states = body(_rows(data, i), states)
        _many(out, "foreach: output of the body")
        steps.append(out)
    return (_stacked(steps) if steps else []), states


def _truth(value: Any, what: str) -> bool:
    if isinstance(value, NDArray):
        return bool(value.asscalar())
    raise TypeError(f"{what}: got {type(value).__name__}, expected an NDArray of one element")


def while_loop(
    cond: Callable[..., NDArray],
    func: Callable[..., tuple[Any, Any]],
    loop_vars: _Arrays,
    max_iterations: int | None = None,
    name: str = "",
) -> Any:
    """Calls ``func(*loop_vars)``, which gives an output and the next variables, as long as ``cond(*loop_vars)`` holds.

    Returns the outputs along a new first axis of length ``max_iterations``, zeros behind the last step, and the last
    variables.
    """
    if max_iterations is None:
        raise ValueError("max_iterations should be specified")
    if not _many(loop_vars, "while_loop: loop_vars"):
        raise ValueError("while_loop: loop_vars, got none, expected at least one")
    single = isinstance(loop_vars, NDArray)
    steps: list[Any] = []
    variables = _many(loop_vars, "while_loop: loop_vars")
    while len(steps) < max_iterations and _truth(cond(*variables), "while_loop: cond"):
        out, new = func(*variables)
        new = _many(new, "while_loop: new variables")
        if len(new) != len(variables):
            raise ValueError(f"while_loop: got {len(new)} new variables, expected {len(variables)}")
        variables = new
        steps.append([] if out is None else out)
    outputs = _stacked(steps, max_iterations - len(steps)) if steps else []
    return outputs, (variables[0] if single else variables)


def cond(pred: NDArray, then_func: Callable[[], Any], else_func: Callable[[], Any], name: str = "") -> Any:
    """What ``then_func()`` gives where ``pred`` is not zero, else what ``else_func()`` gives."""
    return then_func() if _truth(pred, "cond: pred") else else_func()


# ---- optimizers whose gradient scale is an array ----


def _scale(weight: NDArray, rescale_grad: float | NDArray) -> NDArray:
    if isinstance(rescale_grad, NDArray):
        return rescale_grad
    return operator("full")(shape=(1,), val=rescale_grad, ctx=weight.ctx)


def adamw_update(
    weight: NDArray,
    grad: NDArray,
    mean: NDArray,
    var: NDArray,
    rescale_grad: float | NDArray,
    lr: float,
    eta: float,
    **kwargs: Any,
) -> NDArray:
    """AdamW; nothing changes where ``rescale_grad`` is zero or not finite."""
    scale = _scale(weight, rescale_grad)
    return operator("_adamw_update")(weight, grad, mean, var, scale, lr=lr, eta=eta, **kwargs)


def mp_adamw_update(
    weight: NDArray,
    grad: NDArray,
    mean: NDArray,
    var: NDArray,
    weight32: NDArray,
    rescale_grad: float | NDArray,
    lr: float,
    eta: float,
    **kwargs: Any,
) -> NDArray:
    """:func:`adamw_update` on a float32 copy of the weight."""
    scale = _scale(weight, rescale_grad)
    return operator("_mp_adamw_update")(weight, grad, mean, var, weight32, scale, lr=lr, eta=eta, **kwargs)


def _grouped(*lists: Sequence[NDArray]) -> list[NDArray]:
    return [array for group in zip(*lists, strict=True) for array in group]


def multi_adamw_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    rescale_grad: float | NDArray,
    lrs: _Numbers,
    wds: _Numbers,
    etas: _Numbers,
    out: Any = None,
    name: str | None = None,
    size: int = 0,
    **kwargs: Any,
) -> Any:
    """:func:`adamw_update` of many weights."""
    arrays = [*_grouped(weights, grads, mean, var), _scale(weights[0], rescale_grad)]
    count = size or len(weights)
    return operator("_multi_adamw_update")(*arrays, lrs=lrs, wds=wds, etas=etas, num_weights=count, out=out, **kwargs)


def multi_mp_adamw_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    weights32: Sequence[NDArray],
    rescale_grad: float | NDArray,
    lrs: _Numbers,
    wds: _Numbers,
    etas: _Numbers,
    out: Any = None,
    name: str | None = None,
    size: int = 0,
    **kwargs: Any,
) -> Any:
    """:func:`mp_adamw_update` of many weights."""
    arrays = [*_grouped(weights, grads, mean, var, weights32), _scale(weights[0], rescale_grad)]
    count = size or len(weights)
    return operator("_multi_mp_adamw_update")(
        *arrays, lrs=lrs, wds=wds, etas=etas, num_weights=count, out=out, **kwargs
    )


def multi_lamb_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    step_count: Sequence[int],
    lrs: _Numbers,
    wds: _Numbers,
    out: Any = None,
    num_tensors: int = 0,
    **kwargs: Any,
) -> Any:
    """Both phases of LAMB for many weights."""
    count = num_tensors or len(weights)
    return operator("_multi_lamb_update")(
        *_grouped(weights, grads, mean, var),
        learning_rates=lrs,
        wds=wds,
        step_count=step_count,
        num_tensors=count,
        out=out,
        **kwargs,
    )


def multi_mp_lamb_update(
    weights: Sequence[NDArray],
    grads: Sequence[NDArray],
    mean: Sequence[NDArray],
    var: Sequence[NDArray],
    weights32: Sequence[NDArray],
    step_count: Sequence[int],
    lrs: _Numbers,
    wds: _Numbers,
    out: Any = None,
    num_tensors: int = 0,
    **kwargs: Any,
) -> Any:
    """Both phases of LAMB for many weights, on float32 copies."""
    count = num_tensors or len(weights)
    return operator("_multi_mp_lamb_update")(
        *_grouped(weights, grads, mean, var, weights32),
        learning_rates=lrs,
        wds=wds,
        step_count=step_count,
        num_tensors=count,
        out=out,
        **kwargs,
    )
