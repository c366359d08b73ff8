"""A workload as data: its inputs, and one expression for each library, run the way that library's users would.

An expression gets the library's module and the inputs as that library's arrays. `nd` serves oxgrad and MXNet. With
`grad=k` the work is forward, backward and the gradients of the first `k` inputs; JAX is jitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    name: str
    inputs: tuple
    nd: Callable
    numpy: Callable | None = None
    jax: Callable | None = None
    torch: Callable | None = None
    grad: int = 0
    quick: bool = False
    check: bool = True
    theme: str = ""


def x(*shape: int, dtype="float32", low=0.5, high=1.5, seed=0):
    """An input of uniform numbers, made when it is needed; whole numbers for an integer dtype."""

    def make() -> np.ndarray:
        rng = np.random.default_rng((seed, *shape))
        if np.issubdtype(np.dtype(dtype), np.integer):
            return rng.integers(int(low), int(high), shape, dtype=dtype)
        return (rng.random(shape) * (high - low) + low).astype(dtype)

    return make


def named(name: str, *inputs, label="", only=("numpy", "jax", "torch"), args=(), **names) -> Case:
    """A function that every library has under one name, or under the one in `names`."""

    def form(library):
        found = names.get(library, name)
        if library == "jax":
            return lambda m, *xs: getattr(m.numpy, found)(*xs, *args)
        return lambda m, *xs: getattr(m, found)(*xs, *args)

    forms = {library: form(library) for library in only}
    return Case(f"{name} {label}".strip(), inputs, form("nd"), **forms)


# --- how each library runs a case


def waited(y):
    for part in y if isinstance(y, (list, tuple)) else [y]:
        if hasattr(part, "wait_to_read"):
            part.wait_to_read()
    return y


def for_ndarray(case: Case, nd, autograd):
    """oxgrad and MXNet: what is timed ends when the result is in memory."""
    arrays = [nd.array(a, dtype=a.dtype) for a in (make() for make in case.inputs)]
    if not case.grad:
        first = case.nd(nd, *arrays)
        if isinstance(first, (list, tuple)) or not hasattr(first, "wait_to_read"):
            return lambda: waited(case.nd(nd, *arrays))

        def forward():
            y = case.nd(nd, *arrays)
            y.wait_to_read()
            return y

        return forward
    for a in arrays[: case.grad]:
        a.attach_grad()

    def both():
        with autograd.record():
            y = case.nd(nd, *arrays)
        y.backward()
        grads = [a.grad for a in arrays[: case.grad]]
        for g in grads:
            g.wait_to_read()
        return grads

    return both


def for_numpy(case: Case):
    if case.numpy is None or case.grad:
        return None
    arrays = [make() for make in case.inputs]
    return lambda: case.numpy(np, *arrays)


def for_jax(case: Case, jax):
    if case.jax is None:
        return None
    arrays = [make() for make in case.inputs]
    if any(a.dtype == np.float64 for a in arrays):
        jax.config.update("jax_enable_x64", True)
    arrays = [jax.numpy.asarray(a) for a in arrays]
    if case.grad:
        f = jax.grad(lambda *xs: case.jax(jax, *xs).sum(), argnums=tuple(range(case.grad)))
    else:
        f = lambda *xs: case.jax(jax, *xs)  # noqa: E731
    f = jax.jit(f)
    return lambda: jax.block_until_ready(f(*arrays))


def for_torch(case: Case, torch):
    if case.torch is None:
        return None
    arrays = [torch.from_numpy(make()) for make in case.inputs]
    if not case.grad:
        return lambda: case.torch(torch, *arrays)
    leaves = arrays[: case.grad]
    for a in leaves:
        a.requires_grad_()
    ones = torch.ones_like(case.torch(torch, *arrays))

    def run():
        for a in leaves:
            a.grad = None
        case.torch(torch, *arrays).backward(ones)
        return [a.grad for a in leaves]

    return run
