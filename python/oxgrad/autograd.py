"""Recording, backward, and functions with a gradient of your own.

>>> from oxgrad import autograd, nd
>>> x = nd.array([1.0, 2.0])
>>> x.attach_grad()
>>> with autograd.record():
...     y = 2 * x * x
>>> y.backward()
>>> x.grad
<BLANKLINE>
[4. 8.]
<NDArray 2 @cpu(0)>
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from . import _core
from ._core import NDArray, Scope, is_recording, is_training, record, set_recording, set_training

__all__ = [
    "Function",
    "backward",
    "grad",
    "is_recording",
    "is_training",
    "mark_variables",
    "pause",
    "predict_mode",
    "record",
    "set_recording",
    "set_training",
    "train_mode",
]


def pause(train_mode: bool = False) -> Scope:
    """A scope in which nothing is recorded."""
    return Scope(False, train_mode)


def train_mode() -> Scope:
    """A scope in which dropout and the like are active, recorded or not."""
    return Scope(None, True)


def predict_mode() -> Scope:
    """A scope in which dropout and the like are inactive, recorded or not."""
    return Scope(None, False)


def mark_variables(
    variables: NDArray | Sequence[NDArray],
    gradients: NDArray | Sequence[NDArray],
    grad_reqs: str | Sequence[str] = "write",
) -> None:
    """Marks arrays as variables with given gradient arrays.

    ``grad_reqs`` is ``'write'``, ``'add'`` or ``'null'``, for all or for each.
    """
    if isinstance(variables, NDArray) != isinstance(gradients, NDArray):
        raise TypeError("mark_variables: variables and gradients must both be arrays, or both lists")
    many = [variables] if isinstance(variables, NDArray) else list(variables)
    grads = [gradients] if isinstance(gradients, NDArray) else list(gradients)
    reqs = [grad_reqs] * len(many) if isinstance(grad_reqs, str) else list(grad_reqs)
    if not len(many) == len(grads) == len(reqs):
        counts = f"{len(many)} variables, {len(grads)} gradients, {len(reqs)} grad_reqs"
        raise ValueError(f"mark_variables: got {counts}, expected as many of each")
    _core.mark_variables(many, grads, reqs)


def _heads(
    heads: NDArray | Sequence[NDArray], head_grads: NDArray | Sequence[NDArray | None] | None
) -> tuple[list[NDArray], list[NDArray | None] | None]:
    if isinstance(heads, NDArray):
        if head_grads is not None and not isinstance(head_grads, NDArray):
            head_grads = list(head_grads)
            if len(head_grads) != 1:
                raise AssertionError(f"head_grads: got {len(head_grads)} for one head")
            return [heads], head_grads
        return [heads], None if head_grads is None else [head_grads]
    if not isinstance(heads, (list, tuple)):
        raise TypeError(f"heads: got {type(heads).__name__}, expected an NDArray or a list of them")
    if isinstance(head_grads, NDArray):
        head_grads = [head_grads]
    return list(heads), None if head_grads is None else list(head_grads)


def backward(
    heads: NDArray | Sequence[NDArray],
    head_grads: NDArray | Sequence[NDArray | None] | None = None,
    retain_graph: bool = False,
    train_mode: bool = True,
) -> None:
    """Gradients of ``heads`` into the buffers of marked variables.

    A missing head gradient is ones. The graph is freed on the way unless ``retain_graph``.
    """
    many, grads = _heads(heads, head_grads)
    _core.backward(many, grads, bool(retain_graph), bool(train_mode))


def grad(
    heads: NDArray | Sequence[NDArray],
    variables: NDArray | Sequence[NDArray],
    head_grads: NDArray | Sequence[NDArray | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    train_mode: bool = True,
) -> list[NDArray]:
    """Gradients of ``heads`` with respect to marked ``variables``, returned as a list.

    Buffers of the variables do not change. With ``create_graph`` the gradients are recorded themselves, so that they
    can be differentiated again, to any order.
    """
    many, grads = _heads(heads, head_grads)
    wanted = [variables] if isinstance(variables, NDArray) else list(variables)
    if not wanted:
        raise AssertionError("grad: at least one variable expected, got none")
    retain = create_graph if retain_graph is None else retain_graph
    return _core.grad(many, wanted, grads, bool(retain), bool(create_graph), bool(train_mode))


def get_symbol(x: NDArray) -> Any:
    """Not available: there is no symbolic graph."""
    raise NotImplementedError("get_symbol: symbols are not part of this package")


def _arrays(what: str, values: Iterable[Any]) -> None:
    for value in values:
        if not isinstance(value, NDArray):
            raise TypeError(f"{what}: got {type(value).__name__}, expected an NDArray or several")


class Function:
    """A function whose gradient you write: override ``forward`` and ``backward``, call an instance once.

    >>> from oxgrad import autograd, nd
    >>> class Sigmoid(autograd.Function):
    ...     def forward(self, x):
    ...         y = 1 / (1 + nd.exp(-x))
    ...         self.save_for_backward(y)
    ...         return y
    ...     def backward(self, dy):
    ...         (y,) = self.saved_tensors
    ...         return dy * y * (1 - y)
    >>> x = nd.array([0.0])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = Sigmoid()(x)
    >>> y.backward()
    >>> x.grad.asscalar().item()
    0.25
    """

    _used = False
    saved_tensors: tuple[NDArray, ...] = ()

    def save_for_backward(self, *args: NDArray) -> None:
        """Keeps arrays for ``backward`` as ``self.saved_tensors``."""
        self.saved_tensors = args

    def forward(self, *inputs: NDArray) -> NDArray | Sequence[NDArray]:
        """The outputs; runs with recording off."""
        raise NotImplementedError

    def backward(self, *output_grads: NDArray) -> NDArray | Sequence[NDArray | None]:
        """One gradient for each input, from one for each output."""
        raise NotImplementedError

    def __call__(self, *inputs: NDArray) -> Any:
        """Runs ``forward`` and records it."""
        if self._used:
            raise AssertionError("Each Function instance can only be called once. Please create another instance.")
        self._used = True
        name = type(self).__name__
        _arrays(name, inputs)
        previous = set_recording(False)
        try:
            outputs = self.forward(*inputs)
        finally:
            set_recording(previous)
        if not previous:
            return outputs
        single = isinstance(outputs, NDArray)
        many: list[Any] = list(outputs) if not single and isinstance(outputs, Iterable) else [outputs]
        _arrays(f"{name}.forward", many)
        recorded = _core.attach_function(self, list(inputs), many)
        if single:
            return recorded[0]
        return type(outputs)(recorded) if isinstance(outputs, (list, tuple)) else recorded
