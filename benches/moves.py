"""Moving elements: transposes, slices, joins, gathers and their gradients, conversions."""

from __future__ import annotations

from cases import Case, x


def move(label: str, nd, plain, torch=None, *inputs, grad=0, jax=None, quick=False) -> Case:
    return Case(label, inputs, nd=nd, numpy=plain, jax=jax or plain, torch=torch or plain, grad=grad, quick=quick)


def transpose(shape: tuple, axes: tuple, dtype="float32") -> Case:
    label = "x".join(map(str, shape)) + " to " + "".join(map(str, axes)) + (" f64" if dtype == "float64" else "")
    return Case(
        f"transpose {label}",
        (x(*shape, dtype=dtype),),
        # A copy in the new order, in every library.
        nd=lambda nd, a: nd.transpose(a, axes=axes) + 0,
        numpy=lambda np, a: np.ascontiguousarray(a.transpose(axes)),
        jax=lambda jax, a: a.transpose(axes) + 0,
        torch=lambda torch, a: a.permute(axes).contiguous(),
    )


def concat(label: str, axis: int, *shapes: tuple, grad=0) -> Case:
    return Case(
        f"concat {label}" + (" fwd+bwd" if grad else ""),
        tuple(x(*s, seed=i) for i, s in enumerate(shapes)),
        nd=lambda nd, *a: nd.concat(*a, dim=axis) ** (2 if grad else 1) if grad else nd.concat(*a, dim=axis),
        numpy=lambda np, *a: np.concatenate(a, axis),
        jax=lambda jax, *a: jax.numpy.concatenate(a, axis) ** (2 if grad else 1),
        torch=lambda torch, *a: torch.cat(a, axis) ** 2 if grad else torch.cat(a, axis),
        grad=grad,
    )


def stack(n: int, shape: tuple, axis: int) -> Case:
    return Case(
        f"stack {n} of {shape[0]}x{shape[1]} axis {axis}",
        tuple(x(*shape, seed=i) for i in range(n)),
        nd=lambda nd, *a: nd.stack(*a, axis=axis),
        numpy=lambda np, *a: np.stack(a, axis),
        jax=lambda jax, *a: jax.numpy.stack(a, axis),
        torch=lambda torch, *a: torch.stack(a, axis),
    )


def embedding(rows: int, width: int, batch: tuple, grad=False) -> Case:
    label = f"{rows}x{width} by {'x'.join(map(str, batch))}" + (" fwd+bwd" if grad else "")
    return Case(
        f"embedding {label}",
        (x(rows, width), x(*batch, dtype="int32", low=0, high=rows, seed=1)),
        nd=lambda nd, w, i: nd.Embedding(i, w, input_dim=rows, output_dim=width),
        numpy=lambda np, w, i: w[i],
        jax=lambda jax, w, i: w[i],
        torch=lambda torch, w, i: torch.nn.functional.embedding(i, w),
        grad=1 if grad else 0,
    )


def take(shape: tuple, count: int, axis: int, grad=0) -> Case:
    return Case(
        f"take {'x'.join(map(str, shape))} {count} axis {axis}" + (" fwd+bwd" if grad else ""),
        (x(*shape), x(count, dtype="int32", low=0, high=shape[axis], seed=1)),
        nd=lambda nd, a, i: nd.take(a, i, axis=axis),
        numpy=lambda np, a, i: np.take(a, i, axis),
        jax=lambda jax, a, i: jax.numpy.take(a, i, axis, mode="clip"),
        torch=lambda torch, a, i: torch.index_select(a, axis, i),
        grad=grad,
    )


def pick(rows: int, n: int) -> Case:
    return Case(
        f"pick {rows}x{n}",
        (x(rows, n), x(rows, dtype="int32", low=0, high=n, seed=1)),
        nd=lambda nd, a, i: nd.pick(a, i),
        numpy=lambda np, a, i: np.take_along_axis(a, i[:, None], 1),
        jax=lambda jax, a, i: jax.numpy.take_along_axis(a, i[:, None], 1),
        torch=lambda torch, a, i: torch.gather(a, 1, i.long()[:, None]),
    )


def one_hot(rows: int, n: int) -> Case:
    return Case(
        f"one_hot {rows}x{n}",
        (x(rows, dtype="int32", low=0, high=n),),
        nd=lambda nd, i: nd.one_hot(i, n),
        numpy=lambda np, i: np.eye(n, dtype=np.float32)[i],
        jax=lambda jax, i: jax.nn.one_hot(i, n),
        torch=lambda torch, i: torch.nn.functional.one_hot(i.long(), n).float(),
    )


def cast(a: str, b: str, n: int, label: str) -> Case:
    return Case(
        f"cast {a} to {b} {label}",
        (x(n, dtype=a, low=0, high=100),),
        nd=lambda nd, v: v.astype(b),
        numpy=lambda np, v: v.astype(b),
        jax=lambda jax, v: v.astype(b),
        torch=lambda torch, v: v.to(getattr(torch, b)),
        check=False,
    )


CASES = [
    transpose((64, 64), (1, 0)),
    transpose((256, 256), (1, 0)),
    transpose((1000, 1000), (1, 0)),
    transpose((3000, 3000), (1, 0)),
    transpose((1000, 1000), (1, 0), dtype="float64"),
    transpose((32, 64, 28, 28), (0, 2, 3, 1)),
    transpose((32, 28, 28, 64), (0, 3, 1, 2)),
    transpose((16, 128, 8, 64), (0, 2, 1, 3)),
    transpose((100, 100, 100), (2, 1, 0)),
    move("slice rows 500 of 1000x1000", lambda nd, a: a[250:750] + 0, lambda _, a: a[250:750] + 0, None, x(1000, 1000)),
    move(
        "slice columns 500 of 1000x1000",
        lambda nd, a: nd.slice_axis(a, axis=1, begin=250, end=750) + 0,
        lambda _, a: a[:, 250:750] + 0,
        None,
        x(1000, 1000),
    ),
    move(
        "slice columns fwd+bwd",
        lambda nd, a: nd.slice_axis(a, axis=1, begin=250, end=750) * 2,
        lambda _, a: a[:, 250:750] * 2,
        None,
        x(1000, 1000),
        grad=1,
    ),
    move(
        "flip 1000x1000",
        lambda nd, a: nd.flip(a, axis=1) + 0,
        lambda np, a: np.ascontiguousarray(a[:, ::-1]),
        lambda torch, a: torch.flip(a, (1,)),
        x(1000, 1000),
        jax=lambda _, a: a[:, ::-1] + 0,
    ),
    concat("2 of 1000x500 axis 1", 1, (1000, 500), (1000, 500)),
    concat("2 of 500x1000 axis 0", 0, (500, 1000), (500, 1000)),
    concat("4 of 64x32 axis 1", 1, *[(64, 32)] * 4),
    concat("2 of 256x512 axis 1", 1, (256, 512), (256, 512), grad=2),
    stack(10, (100, 100), 0),
    stack(10, (100, 100), 1),
    stack(32, (64, 128), 1),
    move(
        "tile 100x100 by 4x4",
        lambda nd, a: nd.tile(a, reps=(4, 4)),
        lambda np, a: np.tile(a, (4, 4)),
        lambda torch, a: torch.tile(a, (4, 4)),
        x(100, 100),
        jax=lambda jax, a: jax.numpy.tile(a, (4, 4)),
    ),
    embedding(10000, 64, (32, 35)),
    embedding(10000, 256, (64, 128)),
    embedding(10000, 64, (32, 35), grad=True),
    embedding(10000, 256, (64, 128), grad=True),
    take((10000, 64), 1000, 0),
    take((1000, 1000), 500, 1),
    take((1000, 64), 4096, 0, grad=1),
    pick(64, 10),
    pick(1000, 1000),
    one_hot(1000, 100),
    cast("float32", "float64", 10**6, "10^6"),
    cast("float32", "float16", 10**6, "10^6"),
    cast("float16", "float32", 10**6, "10^6"),
    cast("int32", "float32", 10**6, "10^6"),
    cast("float32", "int32", 10**6, "10^6"),
]
