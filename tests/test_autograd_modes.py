"""Recording and training modes: scopes, nesting, exceptions, threads."""

import threading

import pytest

from oxgrad import MXNetError, autograd, nd


def variable(values):
    x = nd.array(values)
    x.attach_grad()
    return x


def flags():
    return autograd.is_recording(), autograd.is_training()


SCOPES = [
    (autograd.record, {}, (True, True)),
    (autograd.record, {"train_mode": False}, (True, False)),
    (autograd.pause, {}, (False, False)),
    (autograd.pause, {"train_mode": True}, (False, True)),
    (autograd.train_mode, {}, (False, True)),
    (autograd.predict_mode, {}, (False, False)),
]


@pytest.mark.parametrize(("scope", "keywords", "expected"), SCOPES)
def test_scope_sets_and_restores(scope, keywords, expected):
    assert flags() == (False, False)
    with scope(**keywords) as entered:
        assert entered is None
        assert flags() == expected
    assert flags() == (False, False)


def test_mode_scopes_leave_recording_alone():
    with autograd.record():
        with autograd.predict_mode():
            assert flags() == (True, False)
            with autograd.pause(train_mode=True):
                assert flags() == (False, True)
            assert flags() == (True, False)
        assert flags() == (True, True)


def test_exception_restores():
    with pytest.raises(ZeroDivisionError), autograd.record():
        with autograd.pause():
            raise ZeroDivisionError
    assert flags() == (False, False)


def test_one_scope_object_entered_twice():
    scope = autograd.record()
    with scope, scope:
        assert flags() == (True, True)
    assert flags() == (False, False)


def test_set_functions_return_the_previous_value():
    assert autograd.set_recording(True) is False
    assert autograd.set_recording(False) is True
    assert autograd.set_training(True) is False
    assert autograd.set_training(False) is True


def test_modes_belong_to_a_thread():
    seen = []
    x = variable([2.0])

    def work():
        seen.append(flags())
        seen.append(x * x)

    with autograd.record():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert flags() == (True, True)
    assert seen[0] == (False, False)
    with pytest.raises(MXNetError, match=r"autograd\.record\(\)"):
        seen[1].backward()


def test_graph_of_another_thread():
    x = variable([3.0])
    made = []

    def work():
        with autograd.record():
            made.append(x * x)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    made[0].backward()
    assert x.grad.asscalar() == 6


def test_backward_inside_record_keeps_the_mode():
    x = variable([3.0])
    with autograd.record():
        y = x * x
        y.backward()
        assert flags() == (True, True)
    assert x.grad.asscalar() == 6


def test_dropout_follows_the_mode():
    x = nd.ones(1000)
    assert nd.Dropout(x, p=0.5).asnumpy().min() == 1
    with autograd.train_mode():
        assert nd.Dropout(x, p=0.5).asnumpy().min() == 0
    with autograd.record(train_mode=False):
        assert nd.Dropout(x, p=0.5).asnumpy().min() == 1
