"""What the records' `like` expressions call: NumPy references that NumPy itself does not have."""

import itertools
import math

import numpy as np


def reduce(function, data, axis=None, keepdims=False, exclude=False):
    """NumPy's reduction with MXNet's extras: `exclude`, and shape (1,) for a full one."""
    axes = tuple(range(data.ndim)) if axis in (None, ()) else tuple(np.atleast_1d(axis) % data.ndim)
    if exclude:
        axes = tuple(a for a in range(data.ndim) if a not in axes)
    return np.atleast_1d(function(data, axis=axes, keepdims=keepdims))


def pick(data, index, axis, keepdims):
    at = np.clip(np.trunc(index).astype(int), 0, data.shape[axis] - 1)
    at = np.expand_dims(at, axis) if at.ndim < data.ndim else at
    return np.take_along_axis(data, at, axis).reshape(np.take(data, [0] if keepdims else 0, axis).shape)


def polygamma(n, x):
    k = np.arange(200000.0)
    tail = (x[..., None] * 0 + 200000.0) ** -n / n
    return (-1) ** (n + 1) * math.factorial(n) * (np.sum((x[..., None] + k) ** -(n + 1.0), -1) + tail[..., 0])


def numeric(f, x, eps=1e-5):
    return (f(x + eps) - f(x - eps)) / (2 * eps)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def windows(data, kernel, stride, pad, fill):
    """For each place of the output, its position and the window of the padded data there."""
    n = len(kernel)
    stride, pad = stride or (1,) * n, pad or (0,) * n
    data = np.pad(data, [(0, 0), (0, 0), *[(p, p) for p in pad]], constant_values=fill)
    out = [(d - k) // s + 1 for d, k, s in zip(data.shape[2:], kernel, stride, strict=True)]
    for at in itertools.product(*map(range, out)):
        cut = tuple(slice(a * s, a * s + k) for a, s, k in zip(at, stride, kernel, strict=True))
        yield at, out, data[(slice(None), slice(None), *cut)]


def conv(data, weight, stride=None, pad=None):
    result = None
    for at, out, window in windows(data, weight.shape[2:], stride, pad, 0.0):
        if result is None:
            result = np.zeros((len(data), len(weight), *out))
        result[(slice(None), slice(None), *at)] = np.tensordot(window, weight, (range(1, data.ndim),) * 2)
    return result


def deconv(data, weight, stride=None):
    """The transpose of `conv`: each element adds its multiple of the kernel."""
    n, kernel = data.ndim - 2, weight.shape[2:]
    stride = stride or (1,) * n
    shape = [s * (d - 1) + k for s, d, k in zip(stride, data.shape[2:], kernel, strict=True)]
    result = np.zeros((len(data), weight.shape[1], *shape))
    for at in itertools.product(*map(range, data.shape[2:])):
        cut = tuple(slice(a * s, a * s + k) for a, s, k in zip(at, stride, kernel, strict=True))
        result[(slice(None), slice(None), *cut)] += np.tensordot(data[(slice(None), slice(None), *at)], weight, 1)
    return result


def pooling(data, kernel, pool_type="max", stride=None, pad=None):
    result = None
    for at, out, window in windows(data, kernel, stride, pad, -np.inf if pool_type == "max" else 0.0):
        if result is None:
            result = np.zeros((*data.shape[:2], *out))
        axes = tuple(range(2, data.ndim))
        found = {"max": np.max, "sum": np.sum, "avg": np.mean}[pool_type](window, axis=axes)
        result[(slice(None), slice(None), *at)] = found
    return result


def descents(arrays, num_weights, lrs=None, wds=None):
    """New weights of gradient descent; momentum is 0, so a third array of each weight does not count."""
    if lrs is None:
        *arrays, lrs, wds = arrays
    group = len(arrays) // num_weights
    return [w - lr * (g + wd * w) for w, g, lr, wd in zip(arrays[::group], arrays[1::group], lrs, wds, strict=True)]


def rnn(x, flat, state, cell=None, *, state_size, num_layers, mode, bidirectional=False):
    """A recurrent layer step by step; weights come first in `flat`, then biases."""
    gates = {"lstm": 4, "gru": 3}.get(mode, 1)
    directions = 1 + bidirectional
    at = 0

    def cut(*shape):
        nonlocal at
        at += math.prod(shape)
        return flat[at - math.prod(shape) : at].reshape(shape)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    rows, weights = gates * state_size, []
    for layer in range(num_layers):
        inputs = directions * state_size if layer else x.shape[2]
        weights += [(cut(rows, inputs), cut(rows, state_size)) for _ in range(directions)]
    biases = [(cut(rows), cut(rows)) for _ in weights]
    for layer in range(num_layers):
        outs = []
        for k in range(layer * directions, (layer + 1) * directions):
            (wi, ws), (bi, bs) = weights[k], biases[k]
            h, c = state[k], None if cell is None else cell[k]
            steps = list(x if k % directions == 0 else x[::-1])
            for t, step in enumerate(steps):
                a, b = step @ wi.T + bi, h @ ws.T + bs
                if mode == "lstm":
                    i, f, g, o = np.split(a + b, 4, 1)
                    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                    h = sigmoid(o) * np.tanh(c)
                elif mode == "gru":
                    (ar, az, an), (br, bz, bn) = np.split(a, 3, 1), np.split(b, 3, 1)
                    z = sigmoid(az + bz)
                    h = (1 - z) * np.tanh(an + sigmoid(ar + br) * bn) + z * h
                else:
                    h = np.tanh(a + b)
                steps[t] = h
            outs.append(np.array(steps if k % directions == 0 else steps[::-1]))
        x = np.concatenate(outs, 2)
    return x


def ctc(data, label, blank_label="first"):
    """Minus the logarithm of the summed probability of every path that gives the labels."""
    steps, batch, classes = data.shape
    blank = 0 if blank_label == "first" else classes - 1
    p = softmax(data)
    found = []
    for n in range(batch):
        want = [int(v) for v in label[n] if int(v) > (0 if blank == 0 else -1)]
        total = 0.0
        for path in itertools.product(range(classes), repeat=steps):
            short = [k for k, _ in itertools.groupby(path) if k != blank]
            if short == want:
                total += math.prod(p[t, n, k] for t, k in enumerate(path))
        found.append(-math.log(total))
    return np.array(found)
