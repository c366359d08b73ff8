"""Shapes that no machine can hold: an exception at the line that asks for them, whatever asks."""

import struct

import numpy as np
import pytest

from oxgrad import MXNetError, nd

# An empty axis does not make the others harmless: strides are products of all.
HUGE = [(2**40, 2**40), (0, 2**62, 2**62), (2**62, 0, 2**62), (2**63 - 1,), (2**62, 2)]


@pytest.mark.parametrize("shape", HUGE)
@pytest.mark.parametrize(
    "make",
    [
        nd.zeros,
        nd.ones,
        nd.empty,
        lambda shape: nd.full(shape, 7),
        lambda shape: nd.random.uniform(shape=shape),
        lambda shape: nd.random.normal(shape=shape),
        lambda shape: nd.random.exponential(shape=shape),
        lambda shape: nd.random.gamma(shape=shape),
        lambda shape: nd.random.poisson(shape=shape),
        lambda shape: nd.random.negative_binomial(shape=shape),
        lambda shape: nd.random.generalized_negative_binomial(shape=shape),
        lambda shape: nd.random.randint(0, 9, shape=shape),
        lambda shape: nd.random.multinomial(nd.array([0.5, 0.5]), shape=shape),
        lambda shape: nd.sample_uniform(nd.zeros(2), nd.ones(2), shape=shape),
        lambda shape: nd.sample_normal(nd.zeros(2), nd.ones(2), shape=shape),
        lambda shape: nd.sample_exponential(nd.ones(2), shape=shape),
        lambda shape: nd.sample_gamma(nd.ones(2), nd.ones(2), shape=shape),
        lambda shape: nd.sample_poisson(nd.ones(2), shape=shape),
        lambda shape: nd.sample_negative_binomial(nd.ones(2), nd.ones(2), shape=shape),
        lambda shape: nd.sample_generalized_negative_binomial(nd.ones(2), nd.ones(2), shape=shape),
        lambda shape: nd.scatter_nd(nd.ones(1), nd.zeros((len(shape), 1)), shape=shape),
        lambda shape: nd.zeros((0,) * len(shape)).reshape(shape),
        lambda shape: nd.ones((1,) * len(shape)).broadcast_to(shape),
        lambda shape: nd.broadcast_axis(nd.ones((1,) * len(shape)), axis=range(len(shape)), size=shape),
        lambda shape: nd.tile(nd.ones((2, 3)), reps=shape),
    ],
)
def test_shapes(make, shape):
    with pytest.raises((MemoryError, MXNetError, ValueError)):
        make(shape).asnumpy()


@pytest.mark.parametrize("n", [2**40, 2**62, 2**63 - 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: nd.arange(n),
        lambda n: nd.linspace(0, 1, n),
        lambda n: nd.eye(n),
        lambda n: nd.eye(2, n),
        lambda n: nd.one_hot(nd.ones(2), n),
        lambda n: nd.repeat(nd.ones((2, 3)), n),
        lambda n: nd.repeat(nd.ones((2, 3)), n, axis=1),
        lambda n: nd.diag(nd.ones(2), k=n),
        lambda n: nd.diag(nd.ones(2), k=-n),
        lambda n: nd.pad(nd.ones((1, 1, 2, 2)), mode="constant", pad_width=(0, 0, 0, 0, n, n, 0, 0)),
        lambda n: nd.pad(nd.ones((1, 1, 2, 2)), mode="edge", pad_width=(0, 0, 0, 0, 0, n, 0, 0)),
        lambda n: nd.concat(*[nd.zeros((n // 2, 0), dtype="int8")] * 5, dim=0),
        lambda n: nd.zeros((0, 1, n // 8)) + nd.zeros((0, n // 8, 1)),
    ],
)
def test_lengths(make, n):
    with pytest.raises((MemoryError, MXNetError)):
        out = make(n)
        assert out.size == 0
        out.asnumpy()
        if n < 2**62:
            raise MemoryError("an empty array of that shape can be counted")


@pytest.mark.parametrize("shape", HUGE)
def test_files(shape):
    head = struct.pack(f"<Iii{len(shape)}q", 0xF993FAC9, 0, len(shape), *shape) + struct.pack("<iii", 1, 0, 0)
    file = struct.pack("<QQQ", 0x112, 0, 1) + head + bytes(64)
    with pytest.raises(MXNetError):
        nd.load_frombuffer(file)


def test_what_fits_is_made():
    assert nd.zeros((0, 2**40)).shape == (0, 2**40)
    assert nd.random.uniform(shape=(2**40, 0)).asnumpy().shape == (2**40, 0)
    assert (nd.zeros((2**20, 1, 0)) + nd.zeros((1, 2**20, 0))).shape == (2**20, 2**20, 0)
    assert np.asarray(nd.zeros((0, 3)).asnumpy()).dtype == np.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: nd.linalg.makediag(nd.ones(3), offset=2**31),
        lambda: nd.linalg.maketrian(nd.ones(3), offset=-(2**31)),
        lambda: nd.contrib.BilinearResize2D(nd.ones((1, 1, 2, 2)), height=2**29, width=2**29),
        lambda: nd.UpSampling(nd.ones((1, 1, 2**10, 2**10)), scale=2**19, sample_type="nearest"),
        lambda: nd.GridGenerator(nd.ones((1, 6)), transform_type="affine", target_shape=(2**20, 2**20)),
        lambda: nd.unravel_index(nd.zeros((2**40,)), shape=(3, 4)),
        lambda: nd.contrib.index_array(nd.zeros((2**40,))),
    ],
)
def test_other_operators(make):
    with pytest.raises((MemoryError, MXNetError)):
        make().asnumpy()
