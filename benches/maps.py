"""Element functions, broadcasting and reductions."""

from __future__ import annotations

from cases import Case, named, x

SIZES = {"10^3": 10**3, "10^5": 10**5, "10^7": 10**7}
JAX_ERF = {"jax": None}


def maps(name: str, low=0.5, high=1.5, sizes=tuple(SIZES), only=("numpy", "jax", "torch"), **names) -> list[Case]:
    return [named(name, x(SIZES[s], low=low, high=high), label=s, only=only, **names) for s in sizes]


def erf(size: str) -> Case:
    return Case(
        f"erf {size}",
        (x(SIZES[size]),),
        nd=lambda nd, a: nd.erf(a),
        jax=lambda jax, a: jax.scipy.special.erf(a),
        torch=lambda torch, a: torch.erf(a),
    )


def add(label: str, a: tuple, b: tuple) -> Case:
    return Case(
        f"add {label}",
        (x(*a), x(*b, seed=1)),
        nd=lambda nd, p, q: nd.broadcast_add(p, q),
        numpy=lambda _, p, q: p + q,
        jax=lambda _, p, q: p + q,
        torch=lambda _, p, q: p + q,
    )


def same(label: str, f, *inputs, nd=None, grad=0) -> Case:
    return Case(label, inputs, nd=nd or f, numpy=f, jax=f, torch=f, grad=grad)


def where(n: int, label: str) -> Case:
    return Case(
        f"where {label}",
        (x(n), x(n, seed=1)),
        nd=lambda nd, a, b: nd.where(a > b, a, b),
        numpy=lambda np, a, b: np.where(a > b, a, b),
        jax=lambda jax, a, b: jax.numpy.where(a > b, a, b),
        torch=lambda torch, a, b: torch.where(a > b, a, b),
    )


def clip(n: int, label: str) -> Case:
    return Case(
        f"clip {label}",
        (x(n),),
        nd=lambda nd, a: nd.clip(a, 0.7, 1.2),
        numpy=lambda np, a: np.clip(a, 0.7, 1.2),
        jax=lambda jax, a: jax.numpy.clip(a, 0.7, 1.2),
        torch=lambda torch, a: torch.clip(a, 0.7, 1.2),
    )


def reduce(name: str, shape: tuple, axis, torch_name=None, dtype="float32", grad=0) -> Case:
    label = "x".join(map(str, shape)) + (f" axis {axis}" if axis is not None else "")
    label += (" f64" if dtype == "float64" else "") + (" fwd+bwd" if grad else "")
    kw = {} if axis is None else {"axis": axis}
    dims = {} if axis is None else {"dim": axis}
    norm = name == "norm"
    torch_name = torch_name or ("amax" if name == "max" else name)
    return Case(
        f"{name} {label}",
        (x(*shape, dtype=dtype),),
        nd=lambda nd, a: getattr(nd, name)(a, **kw),
        numpy=lambda np, a: getattr(np.linalg if norm else np, name)(a, **kw),
        jax=lambda jax, a: getattr(jax.numpy.linalg if norm else jax.numpy, name)(a, **kw),
        torch=lambda torch, a: getattr(torch.linalg if norm else torch, "vector_norm" if norm else torch_name)(
            a, **dims
        ),
        grad=grad,
    )


def argmax(shape: tuple, axis) -> Case:
    return Case(
        f"argmax {'x'.join(map(str, shape))} axis {axis}",
        (x(*shape),),
        nd=lambda nd, a: nd.argmax(a, axis=axis),
        numpy=lambda np, a: np.argmax(a, axis),
        jax=lambda jax, a: jax.numpy.argmax(a, axis),
        torch=lambda torch, a: torch.argmax(a, axis),
    )


def random(name: str, n: int, label: str) -> Case:
    import_key = {"numpy": lambda np, _: RNG.setdefault("r", np.random.default_rng(0))}
    draw = {"uniform": ("random", "uniform", "rand"), "normal": ("standard_normal", "normal", "randn")}[name]
    return Case(
        f"random {name} {label}",
        (x(1),),
        nd=lambda nd, _: getattr(nd.random, name)(shape=(n,)),
        numpy=lambda np, a: getattr(import_key["numpy"](np, a), draw[0])(n, dtype=np.float32),
        jax=lambda jax, a: getattr(jax.random, draw[1])(jax.random.PRNGKey(a[0].astype("int32")), (n,)),
        torch=lambda torch, _: getattr(torch, draw[2])(n),
        check=False,
    )


RNG: dict = {}

CASES = [
    *maps("exp"),
    *maps("log"),
    *maps("tanh"),
    *maps("sin"),
    *maps("sqrt", sizes=("10^5", "10^7")),
    *(erf(s) for s in SIZES),
    *(same(f"pow {s}", lambda _, a: a**1.7, x(n)) for s, n in SIZES.items()),
    *(same(f"mul {s}", lambda _, a, b: a * b, x(n), x(n, seed=1)) for s, n in SIZES.items()),
    *(same(f"greater {s}", lambda _, a, b: a > b, x(n), x(n, seed=1)) for s, n in SIZES.items()),
    *(same(f"square {s}", lambda _, a: a * a, x(n), grad=1) for s, n in SIZES.items()),
    *(where(n, s) for s, n in SIZES.items()),
    *(clip(n, s) for s, n in SIZES.items()),
    add("row 1000x1000", (1000, 1000), (1, 1000)),
    add("column 1000x1000", (1000, 1000), (1000, 1)),
    add("row 64x128", (64, 128), (1, 128)),
    add("column 64x128", (64, 128), (64, 1)),
    add("outer 1000", (1000, 1), (1, 1000)),
    add("channel 32x64x28x28", (32, 64, 28, 28), (1, 64, 1, 1)),
    same(
        "bias 256x512",
        lambda _, a, b: a + b,
        x(256, 512),
        x(1, 512),
        nd=lambda nd, a, b: nd.broadcast_add(a, b),
        grad=2,
    ),
    *(reduce("sum", (1000, 1000), axis) for axis in (None, 0, 1)),
    *(reduce("sum", (100, 100, 100), axis) for axis in (0, 1, 2)),
    reduce("sum", (64, 64), 0),
    reduce("sum", (64, 64), 1),
    reduce("sum", (32, 64, 28, 28), (0, 2, 3)),
    reduce("sum", (10**6, 8), 1),
    reduce("sum", (10**6, 8), 0),
    reduce("sum", (3163, 3163), 0),
    reduce("sum", (3163, 3163), 1),
    reduce("sum", (1000, 1000), None, dtype="float64"),
    reduce("sum", (1000, 1000), 1, grad=1),
    reduce("mean", (1000, 1000), 0),
    reduce("mean", (1000, 1000), 1),
    *(reduce("max", (1000, 1000), axis) for axis in (None, 0, 1)),
    reduce("norm", (1000, 1000), None),
    reduce("prod", (100, 1000), 1),
    argmax((1000, 1000), 0),
    argmax((1000, 1000), 1),
    argmax((10**6,), 0),
    argmax((64, 10), 1),
    *(random(name, n, s) for name in ("uniform", "normal") for s, n in (("10^3", 10**3), ("10^6", 10**6))),
]
