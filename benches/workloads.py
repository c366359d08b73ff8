"""The workloads of run.py, and what each library does for them."""

from __future__ import annotations

import dataclasses
import os

import cases
import maps
import matrix
import models
import moves
import numpy as np
import rows

THEMES = {"matrix": matrix, "maps": maps, "rows": rows, "moves": moves, "models": models}
CASES = [dataclasses.replace(case, theme=theme) for theme, file in THEMES.items() for case in file.CASES]
# A workload: its name, the method of a library below, the argument, and whether --quick runs it.
SIZES = [("10^3", 10**3), ("10^5", 10**5), ("10^7", 10**7)]
WORKLOADS = [
    ("add4", "add", 4, True),
    ("2*x*x 2x2 fwd+bwd", "square", (2, 2), True),
    ("control flow fwd+bwd", "control_flow", None, True),
    *((f"chain {name} fwd", "chain", n, n < 10**6) for name, n in SIZES),
    *((f"chain {name} fwd+bwd", "chain_grad", n, n < 10**6) for name, n in SIZES),
    ("2*x*x 10^7 fwd+bwd", "square", (10**7,), False),
    *((f"sum {name}", "sum", n, n < 10**6) for name, n in SIZES),
    *((f"tape node of {name}", "tape", n, n < 10**6) for name, n in [("10^2", 100), ("10^4", 10**4), ("10^6", 10**6)]),
    *((case.name, "case", case, case.quick) for case in CASES),
]
# What one call's time is divided by.
UNITS = {"tape": lambda n: n}


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32) + np.float32(0.5)


UNIFORM = [0.5488135, 0.5928446]  # nd.random.uniform(shape=2) in a fresh process


class Library:
    """What a library does for each workload: a method takes the argument and gives the function to time. A workload
    without a method is one that the library has no counterpart of."""


class NumPy(Library):
    def add(self, n):
        a = data(n)
        return lambda: a + a

    def chain(self, n):
        x = data(n)
        return lambda: 1 / (1 + np.exp(-(np.tanh(x * 0.5 + 1) * x - 0.3)))

    def sum(self, n):
        return data(n).sum

    def case(self, case):
        return cases.for_numpy(case)


class NDArray(Library):
    """oxgrad and MXNet: one source for both."""

    def __init__(self, name: str):
        if name == "oxgrad":
            from oxgrad import autograd, nd
        else:
            from mxnet import autograd, nd
        self.nd, self.autograd = nd, autograd
        # oxgrad computes arrays of few elements at once, so that there is nothing to wait for.
        self.waits_from = 1000 if name == "oxgrad" else 0
        if name == "oxgrad":
            self.tape = self.tape_nodes

    def done(self, f, n):
        if n < self.waits_from:
            return f

        def run():
            y = f()
            y.wait_to_read()
            return y

        return run

    def graded(self, f, x):
        x.attach_grad()
        record = self.autograd.record

        def run():
            with record():
                y = f(x)
            y.backward()
            return x.grad

        return self.done(run, x.size)

    def array(self, *shape):
        return self.nd.array(data(*shape))

    def six(self, x):
        nd = self.nd
        return nd.sigmoid(nd.tanh(x * 0.5 + 1) * x - 0.3)

    def add(self, n):
        a = self.array(n)
        return self.done(lambda: a + a, n)

    def square(self, shape):
        return self.graded(lambda x: 2 * x * x, self.array(*shape))

    def control_flow(self, _):
        def f(a):
            b = a * 2
            while b.norm().asscalar() < 1000:
                b = b * 2
            return b[0] if b.sum().asscalar() > 0 else b[1]

        return self.graded(f, self.nd.array(UNIFORM))

    def chain(self, n):
        x = self.array(n)
        return self.done(lambda: self.six(x), n)

    def chain_grad(self, n):
        return self.graded(self.six, self.array(n))

    def sum(self, n):
        return self.done(self.array(n).sum, n)

    def case(self, case):
        return cases.for_ndarray(case, self.nd, self.autograd)

    def tape_nodes(self, n):
        def f(y):
            for _ in range(n):
                y = y * 1.0
            return y

        return self.graded(f, self.array(2))


class Jax(Library):
    def __init__(self, _name: str):
        import jax

        self.jax, self.jnp = jax, jax.numpy

    def jitted(self, f, *shape):
        x, f = self.jnp.asarray(data(*shape)), self.jax.jit(f)
        return lambda: f(x).block_until_ready()

    def six(self, x):
        return self.jax.nn.sigmoid(self.jnp.tanh(x * 0.5 + 1) * x - 0.3)

    def add(self, n):
        return self.jitted(lambda a: a + a, n)

    def square(self, shape):
        return self.jitted(self.jax.grad(lambda x: (2 * x * x).sum()), *shape)

    def control_flow(self, _):
        def f(a):
            b = a * 2
            while self.jnp.linalg.norm(b) < 1000:
                b = b * 2
            return b[0] if b.sum() > 0 else b[1]

        a, grad = self.jnp.asarray(UNIFORM, dtype="float32"), self.jax.grad(f)
        return lambda: grad(a).block_until_ready()

    def chain(self, n):
        return self.jitted(self.six, n)

    def chain_grad(self, n):
        return self.jitted(self.jax.grad(lambda x: self.six(x).sum()), n)

    def sum(self, n):
        return self.jitted(lambda x: x.sum(), n)

    def case(self, case):
        return cases.for_jax(case, self.jax)


class Torch(Library):
    def __init__(self, _name: str):
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.torch = torch

    def array(self, *shape):
        return self.torch.from_numpy(data(*shape))

    def six(self, x):
        return self.torch.sigmoid(self.torch.tanh(x * 0.5 + 1) * x - 0.3)

    def graded(self, f, x):
        x.requires_grad_()
        ones = self.torch.ones_like(f(x))

        def run():
            x.grad = None
            f(x).backward(ones)
            return x.grad

        return run

    def add(self, n):
        a = self.array(n)
        return lambda: a + a

    def square(self, shape):
        return self.graded(lambda x: 2 * x * x, self.array(*shape))

    def control_flow(self, _):
        def f(a):
            b = a * 2
            while b.norm().item() < 1000:
                b = b * 2
            return b[0] if b.sum().item() > 0 else b[1]

        return self.graded(f, self.torch.tensor(UNIFORM))

    def chain(self, n):
        x = self.array(n)
        return lambda: self.six(x)

    def chain_grad(self, n):
        return self.graded(self.six, self.array(n))

    def sum(self, n):
        return self.array(n).sum

    def case(self, case):
        return cases.for_torch(case, self.torch)


LIBRARIES = {"oxgrad": NDArray, "numpy": lambda _: NumPy(), "jax": Jax, "mxnet": NDArray, "torch": Torch}
