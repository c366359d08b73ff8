"""Whole steps: a perceptron's training step, attention, LSTM cells unrolled, and the small calls between kernels."""

from __future__ import annotations

from cases import Case, x


def attention(batch: int, length: int, width: int, grad=0) -> Case:
    scale = width**-0.5

    def nd_form(nd, q, k, v):
        return nd.batch_dot(nd.softmax(nd.batch_dot(q, k, transpose_b=True) * scale), v)

    def numpy_form(np, q, k, v):
        s = q @ k.swapaxes(1, 2) * scale
        e = np.exp(s - s.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True) @ v

    return Case(
        f"attention {batch}x{length}x{width}" + (" fwd+bwd" if grad else ""),
        tuple(x(batch, length, width, seed=i) for i in range(3)),
        nd=nd_form,
        numpy=numpy_form,
        jax=lambda jax, q, k, v: jax.nn.softmax(q @ k.swapaxes(1, 2) * scale, -1) @ v,
        torch=lambda torch, q, k, v: torch.softmax(q @ k.swapaxes(1, 2) * scale, -1) @ v,
        grad=grad,
    )


def mlp(batch: int, widths: tuple) -> Case:
    """Three layers with ReLU and softmax cross entropy: the gradients of all parameters, and one SGD update's worth of
    arithmetic on each (the new parameters are computed, not kept, so that every call does the same work)."""
    shapes = [(a, b) for a, b in zip(widths, widths[1:], strict=False)]
    params = [p for a, b in shapes for p in (x(a, b, low=-0.05, high=0.05, seed=a), x(1, b, low=0, high=0.1, seed=b))]
    layers = len(shapes)

    def run(relu, add, dot, log_softmax, pick, ps):
        h = ps[-2]
        for i in range(layers):
            h = add(dot(h, ps[2 * i]), ps[2 * i + 1])
            h = relu(h) if i + 1 < layers else h
        return -pick(log_softmax(h), ps[-1])

    return Case(
        f"mlp {batch}x{'x'.join(map(str, widths))} fwd+bwd",
        (*params, x(batch, widths[0], seed=5), x(batch, dtype="int32", low=0, high=widths[-1], seed=6)),
        nd=lambda nd, *ps: run(nd.relu, nd.broadcast_add, nd.dot, nd.log_softmax, nd.pick, ps),
        jax=lambda jax, *ps: run(
            jax.nn.relu,
            lambda a, b: a + b,
            lambda a, b: a @ b,
            jax.nn.log_softmax,
            lambda a, i: jax.numpy.take_along_axis(a, i[:, None], 1),
            ps,
        ),
        torch=lambda torch, *ps: run(
            torch.relu,
            lambda a, b: a + b,
            lambda a, b: a @ b,
            lambda a: torch.log_softmax(a, -1),
            lambda a, i: torch.gather(a, 1, i.long()[:, None]),
            ps,
        ),
        grad=2 * layers,
    )


def lstm(batch: int, steps: int, inputs: int, hidden: int, grad=True) -> Case:
    def run(sigmoid, tanh, add, dot, zeros, part, ps):
        wx, wh, b, xs = ps
        h = c = zeros
        for t in range(steps):
            z = add(dot(xs[t], wx) + dot(h, wh), b)
            i, f, g, o = (part(z, k * hidden, (k + 1) * hidden) for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
        return h

    ranges = {"low": -0.2, "high": 0.2}
    return Case(
        f"lstm {steps} steps {batch}x{hidden}" + (" fwd+bwd" if grad else ""),
        (
            x(inputs, 4 * hidden, **ranges),
            x(hidden, 4 * hidden, seed=1, **ranges),
            x(1, 4 * hidden, seed=2, **ranges),
            x(steps, batch, inputs, seed=3),
        ),
        nd=lambda nd, *ps: run(
            nd.sigmoid,
            nd.tanh,
            nd.broadcast_add,
            nd.dot,
            nd.zeros((batch, hidden)),
            lambda z, a, b: nd.slice_axis(z, axis=1, begin=a, end=b),
            ps,
        ),
        jax=lambda jax, *ps: run(
            jax.nn.sigmoid,
            jax.numpy.tanh,
            lambda a, b: a + b,
            lambda a, b: a @ b,
            jax.numpy.zeros((batch, hidden)),
            lambda z, a, b: z[:, a:b],
            ps,
        ),
        torch=lambda torch, *ps: run(
            torch.sigmoid,
            torch.tanh,
            lambda a, b: a + b,
            lambda a, b: a @ b,
            torch.zeros(batch, hidden),
            lambda z, a, b: z[:, a:b],
            ps,
        ),
        grad=3 if grad else 0,
    )


def sgd(n: int, label: str) -> Case:
    def plain(_, w, g):
        return w - 0.1 * (g + 1e-4 * w)

    return Case(f"sgd {label}", (x(n), x(n, seed=1)), nd=plain, numpy=plain, jax=plain, torch=plain)


def small(label: str, nd, numpy, torch=None, shape=(4, 4), jax=None) -> Case:
    return Case(label, (x(*shape),), nd=nd, numpy=numpy, torch=torch or numpy, jax=jax)


NUMBERS = [float(i) for i in range(10)]

CASES = [
    attention(8, 64, 64),
    attention(8, 256, 64),
    attention(96, 128, 64),
    attention(8, 64, 64, grad=3),
    attention(96, 128, 64, grad=3),
    mlp(64, (784, 128, 64, 10)),
    mlp(32, (20, 32, 5)),
    mlp(256, (784, 512, 512, 10)),
    lstm(32, 8, 64, 64, grad=False),
    lstm(32, 8, 64, 64),
    lstm(32, 35, 200, 200),
    sgd(10**4, "10^4"),
    sgd(10**6, "10^6"),
    small("index a row", lambda nd, a: a[1], lambda _, a: a[1]),
    small("sum().asscalar()", lambda nd, a: a.sum().asscalar(), lambda _, a: a.sum().item()),
    small(
        "array of a list",
        lambda nd, a: nd.array(NUMBERS),
        lambda np, a: np.array(NUMBERS, dtype=np.float32),
        lambda torch, a: torch.tensor(NUMBERS),
    ),
    small(
        "zeros 64x64",
        lambda nd, a: nd.zeros((64, 64)),
        lambda np, a: np.zeros((64, 64), dtype=np.float32),
        lambda torch, a: torch.zeros((64, 64)),
    ),
    small(
        "asnumpy 64x64", lambda nd, a: a.asnumpy(), lambda np, a: a.copy(), lambda torch, a: a.numpy().copy(), (64, 64)
    ),
]
