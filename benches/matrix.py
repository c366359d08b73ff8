"""Matrix products: square, thin, transposed, batched; matrix times vector."""

from __future__ import annotations

from cases import Case, x


def dot(label: str, a: tuple, b: tuple, ta=False, tb=False, dtype="float32", quick=False) -> Case:
    def plain(_, p, q):
        return (p.T if ta else p) @ (q.T if tb else q)

    return Case(
        f"dot {label}",
        (x(*a, dtype=dtype), x(*b, dtype=dtype, seed=1)),
        nd=lambda nd, p, q: nd.dot(p, q, transpose_a=ta, transpose_b=tb),
        numpy=plain,
        jax=plain,
        torch=plain,
        quick=quick,
    )


def batch_dot(n: int, a: tuple, b: tuple, tb=False, grad=0) -> Case:
    def plain(_, p, q):
        return p @ (q.swapaxes(-1, -2) if tb else q)

    label = f"{n}x{a[0]}x{a[1]}" + (" bT" if tb else "") + (" fwd+bwd" if grad else "")
    return Case(
        f"batch_dot {label}",
        (x(n, *a), x(n, *b, seed=1)),
        nd=lambda nd, p, q: nd.batch_dot(p, q, transpose_b=tb),
        numpy=plain,
        jax=plain,
        torch=plain,
        grad=grad,
    )


CASES = [
    *(dot(f"{n}", (n, n), (n, n), quick=n < 600) for n in (8, 16, 32, 64, 128, 256, 512, 1024, 2048)),
    *(dot(f"{n} f64", (n, n), (n, n), dtype="float64") for n in (32, 64, 128, 256, 512, 1024)),
    *(dot(f"{n} aT", (n, n), (n, n), ta=True) for n in (32, 64, 128, 512)),
    *(dot(f"{n} bT", (n, n), (n, n), tb=True) for n in (32, 64, 128, 512)),
    dot("512 aT bT", (512, 512), (512, 512), ta=True, tb=True),
    dot("10000x32x32", (10000, 32), (32, 32)),
    dot("64x784x128", (64, 784), (784, 128)),
    dot("32x512x2048", (32, 512), (512, 2048)),
    dot("784x64x128 aT", (64, 784), (64, 128), ta=True),
    dot("1000x1000x8", (1000, 1000), (1000, 8)),
    dot("8x1000x1000", (8, 1000), (1000, 1000)),
    dot("4096x4x4096", (4096, 4), (4, 4096)),
    dot("16x65536x16", (16, 65536), (65536, 16)),
    dot("gemv 512", (512, 512), (512,)),
    dot("gemv 2048", (2048, 2048), (2048,)),
    dot("gemv 2048 aT", (2048, 2048), (2048, 1), ta=True),
    dot("vector 10^5", (10**5,), (10**5,)),
    batch_dot(64, (32, 32), (32, 32)),
    batch_dot(16, (128, 64), (128, 64), tb=True),
    batch_dot(512, (8, 8), (8, 8)),
    batch_dot(8, (256, 256), (256, 256)),
    batch_dot(64, (32, 32), (32, 32), grad=2),
]
