"""Comparisons for tests, with MXNet's names.

>>> from oxgrad import nd, test_utils
>>> test_utils.assert_almost_equal(nd.ones(2), [1.0, 1.0])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from . import _core, autograd
from ._core import NDArray, array
from .context import Context, current_context

__all__ = [
    "almost_equal",
    "assert_almost_equal",
    "assert_exception",
    "assert_loops",
    "check_numeric_gradient",
    "default_context",
    "same",
]


def _numpy(value: Any) -> Any:
    import numpy as np

    return value.asnumpy() if isinstance(value, NDArray) else np.asarray(value)


def default_context() -> Context:
    """The context that tests run on."""
    return current_context()


def same(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, element by element."""
    import numpy as np

    return bool(np.array_equal(_numpy(a), _numpy(b)))


def almost_equal(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-3, equal_nan: bool = False) -> bool:
    """Whether two arrays are equal within ``atol + rtol * abs(b)``."""
    import numpy as np

    return bool(np.allclose(_numpy(a), _numpy(b), rtol=rtol, atol=atol, equal_nan=equal_nan))


def assert_almost_equal(
    a: Any,
    b: Any,
    rtol: float = 1e-4,
    atol: float = 1e-3,
    names: Sequence[str] = ("a", "b"),
    equal_nan: bool = False,
) -> None:
    """Raises ``AssertionError`` with the elements that differ unless :func:`almost_equal`."""
    import numpy as np

    np.testing.assert_allclose(
        _numpy(a), _numpy(b), rtol=rtol, atol=atol, equal_nan=equal_nan, err_msg=f"{names[0]} differs from {names[1]}"
    )


def assert_exception(function: Callable[..., Any], exception: type[BaseException], *args: Any, **kwargs: Any) -> None:
    """Raises ``AssertionError`` unless the call raises the exception."""
    try:
        function(*args, **kwargs)
    except exception:
        return
    raise AssertionError(f"{function} did not raise {exception.__name__}")


@contextmanager
def assert_loops(n: int, *arrays: NDArray) -> Iterator[None]:
    """Raises ``AssertionError`` unless the block runs ``n`` loops over memory.

    >>> from oxgrad import nd, test_utils
    >>> x = nd.random.uniform(shape=10000)
    >>> with test_utils.assert_loops(1):
    ...     y = nd.sigmoid(nd.tanh(x * 0.5 + 1) * x - 0.3)
    ...     y.wait_to_read()
    """
    for a in arrays:
        a.wait_to_read()
    before = _core.stats()["loops"]
    yield
    found = _core.stats()["loops"] - before
    if found != n:
        raise AssertionError(f"expected {n} loops over memory, got {found}")


def check_numeric_gradient(
    function: Callable[..., NDArray],
    inputs: Sequence[Any],
    order: int = 2,
    eps: float = 1e-5,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    seed: int = 0,
) -> None:
    """Checks gradients of ``function`` up to ``order`` along random directions, in float64.

    The derivative of ``sum(c * f(x + t v))`` by ``t`` at zero is compared with a central difference; for the second
    order the same is done to the gradient.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    points = [np.asarray(_numpy(v), dtype="float64") for v in inputs]

    def gradient(f: Callable[..., NDArray]) -> Callable[..., NDArray]:
        weights: list[Any] = []
        directions = [rng.standard_normal(p.shape) for p in points]

        def derived(*xs: NDArray) -> NDArray:
            y = f(*xs)
            if not weights:
                weights.append(rng.standard_normal(y.shape))
            head = (y * array(weights[0], dtype="float64")).sum()
            for x in xs:
                # What does not depend on an input has a gradient of zero, not none.
                head = head + 0 * x.sum()
            grads = autograd.grad(head, list(xs), create_graph=True)
            total = None
            for g, v in zip(grads, directions, strict=True):
                part = (g * array(v, dtype="float64")).sum()
                total = part if total is None else total + part
            assert total is not None
            return total

        def along(t: float) -> float:
            xs = [array(p + t * v, dtype="float64") for p, v in zip(points, directions, strict=True)]
            for x in xs:
                x.attach_grad()
            with autograd.record():
                y = f(*xs)
            if not weights:
                weights.append(rng.standard_normal(y.shape))
            return float((y.asnumpy() * weights[0]).sum())

        xs = [array(p, dtype="float64") for p in points]
        for x in xs:
            x.attach_grad()
        with autograd.record():
            found = float(derived(*xs).asscalar())
        expected = (along(eps) - along(-eps)) / (2 * eps)
        if not abs(found - expected) <= atol + rtol * max(abs(found), abs(expected), 1.0):
            raise AssertionError(f"gradient along a random direction: got {found}, finite difference {expected}")
        return derived

    for _ in range(order):
        function = gradient(function)
