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
