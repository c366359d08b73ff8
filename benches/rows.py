"""Softmax and normalization of rows, forward and backward, and losses made of them."""

from __future__ import annotations

from cases import Case, x


def shape_label(shape: tuple) -> str:
    return "x".join(map(str, shape))


def softmax(shape: tuple, axis=-1, log=False, grad=0, quick=False) -> Case:
    def plain(np, a):
        z = a - a.max(axis, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis, keepdims=True)
        return z - np.log(total) if log else e / total

    name = "log_softmax" if log else "softmax"
    label = shape_label(shape) + ("" if axis == -1 else f" axis {axis}") + (" fwd+bwd" if grad else "")
    # Squared, so that the gradient is not that of a constant.
    power = 2 if grad else 1
    return Case(
        f"{name} {label}",
        (x(*shape),),
        nd=lambda nd, a: getattr(nd, name)(a, axis=axis) ** power if grad else getattr(nd, name)(a, axis=axis),
        numpy=plain,
        jax=lambda jax, a: getattr(jax.nn, name)(a, axis) ** power,
        torch=lambda torch, a: getattr(torch, name)(a, axis) ** power if grad else getattr(torch, name)(a, axis),
        grad=grad,
        quick=quick,
    )


def layer_norm(rows: int, n: int, grad=0) -> Case:
    def jax_form(jax, a, gamma, beta):
        mean = a.mean(-1, keepdims=True)
        var = ((a - mean) ** 2).mean(-1, keepdims=True)
        y = (a - mean) * jax.lax.rsqrt(var + 1e-5) * gamma + beta
        return y**2 if grad else y

    def nd_form(nd, a, gamma, beta):
        y = nd.LayerNorm(a, gamma, beta)
        return y * y if grad else y

    def torch_form(torch, a, gamma, beta):
        y = torch.nn.functional.layer_norm(a, (n,), gamma, beta)
        return y * y if grad else y

    def numpy_form(np, a, gamma, beta):
        d = a - a.mean(-1, keepdims=True)
        return d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5) * gamma + beta

    return Case(
        f"layer norm {rows}x{n}" + (" fwd+bwd" if grad else ""),
        (x(rows, n), x(n, seed=1), x(n, seed=2)),
        nd=nd_form,
        numpy=numpy_form,
        jax=jax_form,
        torch=torch_form,
        grad=grad,
    )


def cross_entropy(rows: int, n: int) -> Case:
    labels = x(rows, dtype="int32", low=0, high=n, seed=3)
    return Case(
        f"cross entropy {rows}x{n} fwd+bwd",
        (x(rows, n), labels),
        nd=lambda nd, a, i: -nd.pick(nd.log_softmax(a), i),
        jax=lambda jax, a, i: -jax.numpy.take_along_axis(jax.nn.log_softmax(a), i[:, None], 1),
        torch=lambda torch, a, i: torch.nn.functional.cross_entropy(a, i.long(), reduction="none"),
        grad=1,
    )


def softmax_f16(rows: int, n: int) -> Case:
    return Case(
        f"softmax {rows}x{n} f16",
        (x(rows, n, dtype="float16"),),
        nd=lambda nd, a: nd.softmax(a),
        jax=lambda jax, a: jax.nn.softmax(a),
        torch=lambda torch, a: torch.softmax(a, -1),
        check=False,
    )


CASES = [
    *(softmax(s) for s in ((16, 10), (64, 10), (64, 1000), (1000, 1000), (32, 32000), (100000, 10))),
    softmax((64, 128, 128)),
    softmax((1000, 1000), axis=0),
    softmax((32, 21, 32, 32), axis=1),
    *(softmax(s, log=True) for s in ((64, 10), (1000, 1000), (32, 32000), (100000, 10))),
    *(softmax(s, log=log, grad=1) for s in ((64, 10), (64, 1000), (1000, 1000)) for log in (False, True)),
    softmax_f16(256, 1024),
    *(layer_norm(r, n) for r, n in ((8, 64), (128, 768), (1024, 1024), (4096, 256))),
    *(layer_norm(r, n, grad=3) for r, n in ((8, 64), (128, 768), (1024, 1024))),
    cross_entropy(64, 10),
    cross_entropy(256, 1000),
    cross_entropy(64, 32000),
]
