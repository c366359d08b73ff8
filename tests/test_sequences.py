"""Sequences of different lengths: masks, last steps, recurrent layers, CTC."""

import numpy as np
import pytest
import reference

from oxgrad import MXNetError, autograd, nd
from oxgrad.test_utils import check_numeric_gradient

LENGTHS = nd.array([1, 3, 2])


def steps(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape)


def test_lengths():
    x = steps(3, 3, 2)
    data = nd.array(x, dtype="float64")
    behind = np.arange(3)[:, None] >= np.array([1, 3, 2])
    masked = nd.SequenceMask(data, LENGTHS, use_sequence_length=True, value=-9).asnumpy()
    np.testing.assert_array_equal(masked, np.where(behind[..., None], -9, x))
    turned = nd.SequenceMask(data.swapaxes(0, 1), LENGTHS, use_sequence_length=True, value=-9, axis=1)
    np.testing.assert_array_equal(turned.asnumpy(), masked.swapaxes(0, 1))
    last = nd.SequenceLast(data, LENGTHS, use_sequence_length=True).asnumpy()
    np.testing.assert_array_equal(last, [x[0, 0], x[2, 1], x[1, 2]])
    back = nd.SequenceReverse(data, LENGTHS, use_sequence_length=True).asnumpy()
    np.testing.assert_array_equal(back[:, 2], x[[1, 0, 2], 2])
    np.testing.assert_array_equal(back[:, :2], np.stack([x[:, 0], x[::-1, 1]], 1))


def test_gradients_of_picked_steps():
    def picked(x):
        last = nd.SequenceLast(x, LENGTHS, use_sequence_length=True)
        return nd.sin(last).sum() + nd.cos(nd.SequenceReverse(x, LENGTHS, use_sequence_length=True) * x).sum()

    check_numeric_gradient(picked, [steps(3, 3, 2)], order=2, rtol=1e-5, atol=1e-5)


MODES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


def parameters(mode, inputs=2, size=3, directions=2):
    gates = MODES[mode] * size
    return np.random.default_rng(1).uniform(-1, 1, directions * gates * (inputs + size + 2))


@pytest.mark.parametrize("mode", MODES)
def test_a_short_sequence_is_as_if_alone(mode):
    """Both directions stop where the sequence ends; behind it there is nothing."""
    x, flat = steps(4, 3, 2), parameters(mode)
    states = [nd.array(steps(2, 3, 3), dtype="float64") for _ in range(2 if mode == "lstm" else 1)]
    how = {"state_size": 3, "num_layers": 1, "mode": mode, "bidirectional": True, "state_outputs": True}
    lengths, args = [1, 4, 2], [nd.array(v, dtype="float64") for v in (x, flat)]
    whole = nd.RNN(*args, *states, sequence_length=nd.array(lengths), use_sequence_length=True, **how)
    for n, length in enumerate(lengths):
        own = [nd.array(x[:length, n : n + 1], dtype="float64"), args[1]]
        alone = nd.RNN(*own, *[s[:, n : n + 1] for s in states], **how)
        np.testing.assert_allclose(whole[0].asnumpy()[:length, n], alone[0].asnumpy()[:, 0])
        assert not whole[0].asnumpy()[length:, n].any()
        for a, b in zip(whole[1:], alone[1:], strict=True):
            np.testing.assert_allclose(a.asnumpy()[:, n], b.asnumpy()[:, 0])


def test_states_of_a_recurrent_layer():
    x, flat, h, c = steps(3, 2, 2), parameters("lstm", directions=1), steps(1, 2, 3), steps(1, 2, 3)
    arrays = [nd.array(v, dtype="float64") for v in (x, flat, h, c)]
    how = {"state_size": 3, "num_layers": 1, "mode": "lstm"}
    out, last, cell = nd.RNN(*arrays, state_outputs=True, **how)
    np.testing.assert_allclose(out.asnumpy(), reference.rnn(x, flat, h, c, **how))
    np.testing.assert_array_equal(last.asnumpy()[0], out.asnumpy()[-1])
    clipped = nd.RNN(*arrays, state_outputs=True, lstm_state_clip_min=-0.1, lstm_state_clip_max=0.1, **how)[2]
    assert abs(clipped.asnumpy()).max() <= 0.1 < abs(cell.asnumpy()).max()


def test_dropout_between_layers():
    x, h = nd.ones((2, 1, 2)), nd.zeros((2, 1, 2))
    flat = nd.ones(2 * (2 * 2 + 2 * 2 + 4)) * 0.1
    how = {"state_size": 2, "num_layers": 2, "mode": "rnn_tanh", "p": 1.0}
    plain = nd.RNN(x, flat, h, **how)
    with autograd.record():
        dropped = nd.RNN(x, flat, h, **how)
    # All of the second layer's input is dropped: only its biases are left.
    assert (plain.asnumpy() > dropped.asnumpy()).all()


WRONG_RNN = [
    lambda x, p, h, how: nd.RNN(x, p[:-1], h, **how),
    lambda x, p, h, how: nd.RNN(x, p, nd.ones((1, 1, 4)), **how),
    lambda x, p, h, how: nd.RNN(x[0], p, h, **how),
    lambda x, p, h, how: nd.RNN(x, p, h, h, **how),
    lambda x, p, h, how: nd.RNN(x, p, h, **{**how, "mode": "lstm"}),
    lambda x, p, h, how: nd.RNN(x, p, h, **{**how, "mode": "other"}),
    lambda x, p, h, how: nd.RNN(x, p, h, **{**how, "state_size": 0}),
    lambda x, p, h, how: nd.RNN(x, p, h, **{**how, "num_layers": 2**40}),
    lambda x, p, h, how: nd.RNN(x, p, h, projection_size=2, **how),
    lambda x, p, h, how: nd.RNN(x, p, h, use_sequence_length=True, **how),
]


@pytest.mark.parametrize("wrong", WRONG_RNN)
def test_wrong_recurrent_layers(wrong):
    with pytest.raises(MXNetError, match="RNN"):
        wrong(
            nd.ones((2, 1, 2)), nd.ones(21), nd.ones((1, 1, 3)), {"state_size": 3, "num_layers": 1, "mode": "rnn_tanh"}
        )


def test_ctc_with_lengths():
    x, label = steps(5, 3, 4), np.array([[1, 2, 2], [3, 3, 0], [2, 0, 0]], "float32")
    data = nd.array(x, dtype="float64")
    expected = reference.ctc(x, label)
    np.testing.assert_allclose(nd.CTCLoss(data, nd.array(label)).asnumpy(), expected, rtol=1e-9)
    lengths = nd.array([5, 4, 2])
    short = nd.ctc_loss(data, nd.array(label), lengths, use_data_lengths=True).asnumpy()
    for n, length in enumerate([5, 4, 2]):
        np.testing.assert_allclose(short[n], reference.ctc(x[:length, n : n + 1], label[n : n + 1])[0], rtol=1e-9)
    cut = nd.ctc_loss(data, nd.array(label), label_lengths=nd.array([2, 1, 0]), use_label_lengths=True).asnumpy()
    cut_label = np.array([[1, 2], [3, 0], [0, 0]], "float32")
    np.testing.assert_allclose(cut, reference.ctc(x, cut_label), rtol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: nd.CTCLoss(nd.ones((5, 2, 4)), nd.ones((3, 2))),
        lambda: nd.CTCLoss(nd.ones((5, 2)), nd.ones((5, 2))),
        lambda: nd.CTCLoss(nd.ones((5, 2, 4)), nd.ones((2, 2)) * 4),
        lambda: nd.CTCLoss(nd.ones((5, 2, 4)), nd.ones((2, 2)), use_data_lengths=True),
        lambda: nd.CTCLoss(nd.ones((5, 2, 4)), nd.ones((2, 2)), nd.array([6, 1]), use_data_lengths=True),
        lambda: nd.SequenceReverse(nd.ones((3, 2)), nd.ones(3), use_sequence_length=True),
        lambda: nd.SequenceLast(nd.ones((3, 2)), nd.array([0, 1]), use_sequence_length=True),
        lambda: nd.SequenceMask(nd.ones((3, 2)), nd.ones(2)),
        lambda: nd.SequenceMask(nd.ones((3, 2)), axis=2),
    ],
)
def test_wrong_sequences(wrong):
    with pytest.raises(MXNetError, match="expected|got"):
        wrong()
