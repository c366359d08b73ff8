"""`autograd.Function`: gradients that a user writes, and what is wrong with wrong ones."""

import gc
import weakref

import pytest

from oxgrad import MXNetError, autograd, nd


def variable(values, req="write"):
    x = nd.array(values)
    x.attach_grad(req)
    return x


class Scaled(autograd.Function):
    """`a * b`, with gradients that `rule` makes of (a, b, dy)."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, a, b):
        assert not autograd.is_recording()
        self.save_for_backward(a, b)
        return a * b

    def backward(self, dy):
        assert not autograd.is_recording()
        return self.rule(*self.saved_tensors, dy)


def run(rule, req=("write", "write")):
    a, b = variable([1.0, 2.0], req[0]), variable([3.0, 4.0], req[1])
    for array in (a, b):
        array.grad[:] = 50
    with autograd.record():
        y = Scaled(rule)(a, b)
    y.backward()
    return [None if array.grad is None else array.grad.asnumpy().tolist() for array in (a, b)]


def right(a, b, dy):
    return dy * b, dy * a


def test_function():
    assert run(right) == [[3, 4], [1, 2]]
    assert run(lambda a, b, dy: list(right(a, b, dy))) == [[3, 4], [1, 2]]


def test_function_with_grad_reqs():
    assert run(right, ("add", "write")) == [[53, 54], [1, 2]]
    assert run(right, ("null", "add")) == [None, [51, 52]]


def test_none_is_no_gradient():
    assert run(lambda a, b, dy: (None, dy * a)) == [[50, 50], [1, 2]]
    assert run(lambda a, b, dy: (dy * b, None)) == [[3, 4], [50, 50]]


def test_gradient_is_fitted_to_the_input():
    assert run(lambda a, b, dy: (nd.array([7.0]), nd.ones(2, dtype="float64"))) == [[7, 7], [1, 1]]


WRONG = [
    (lambda a, b, dy: dy, MXNetError, "Scaled.backward.*got 1, expected 2"),
    (lambda a, b, dy: (dy, dy, dy), MXNetError, "Scaled.backward.*got 3, expected 2"),
    (lambda a, b, dy: None, MXNetError, "got 1, expected 2"),
    (lambda a, b, dy: (dy, "text"), TypeError, "Scaled.backward.*NDArray or None"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_wrong_gradients(case):
    rule, error, text = WRONG[case]
    with pytest.raises(error, match=text):
        run(rule)
    assert not autograd.is_recording() and not autograd.is_training()


def test_gradient_of_a_wrong_shape_names_the_function():
    with pytest.raises(MXNetError, match=r"Scaled.backward.*got.*\(5,\), expected.*\(2,\)"):
        run(lambda a, b, dy: (dy, nd.ones(5)))


def test_exceptions_arrive_as_they_are():
    class MyError(Exception):
        pass

    thrown = MyError("mine")

    def rule(a, b, dy):
        raise thrown

    with pytest.raises(MyError) as caught:
        run(rule)
    assert caught.value is thrown
    assert any(entry.name == "rule" for entry in caught.traceback)
    for error in (KeyboardInterrupt, StopIteration, MXNetError, MemoryError):

        def fail(a, b, dy, error=error):
            raise error("x")

        with pytest.raises(error):
            run(fail)
    assert run(right) == [[3, 4], [1, 2]]


def test_exception_in_forward_keeps_recording_on():
    class Bad(autograd.Function):
        def forward(self, x):
            raise LookupError("no")

    with autograd.record():
        with pytest.raises(LookupError):
            Bad()(variable([1.0]))
        assert autograd.is_recording()


def test_function_with_several_outputs():
    seen = []

    class Two(autograd.Function):
        def forward(self, x):
            return x * 2, x * 3

        def backward(self, da, db):
            seen.append((da.asnumpy().tolist(), db.asnumpy().tolist()))
            return da * 2 + db * 3

    x = variable([1.0, 1.0])
    with autograd.record():
        out = Two()(x)
        assert isinstance(out, tuple)
        y = out[0] * 10
    y.backward()
    assert seen == [([10, 10], [0, 0])]
    assert x.grad.asnumpy().tolist() == [20, 20]


def test_function_is_called_once_and_only_taped_under_record():
    f = Scaled(right)
    f(nd.ones(2), nd.ones(2))
    with pytest.raises(AssertionError, match="once"):
        f(nd.ones(2), nd.ones(2))
    y = Scaled(right)(variable([1.0]), variable([1.0]))
    with pytest.raises(MXNetError):
        y.backward()


def test_function_is_released_with_its_graph():
    f = Scaled(right)
    alive = weakref.ref(f)
    a = variable([1.0])
    with autograd.record():
        y = f(a, a)
    del f
    gc.collect()
    assert alive() is not None
    y.backward()
    gc.collect()
    assert a.grad.asscalar() == 2
    assert alive() is None


def test_forward_may_return_its_input():
    class Times7(autograd.Function):
        def forward(self, x):
            return x

        def backward(self, dy):
            return dy * 7

    x = variable([1.0, 2.0])
    with autograd.record():
        y = Times7()(x)
    y.backward()
    assert x.grad.asnumpy().tolist() == [7, 7] and y is not x


def test_backward_may_use_autograd_itself():
    class Square(autograd.Function):
        def forward(self, x):
            self.save_for_backward(x)
            return x * x

        def backward(self, dy):
            z = self.saved_tensors[0].copy()
            z.attach_grad()
            with autograd.record():
                y = z * z
            y.backward(dy)
            return z.grad

    x = variable([3.0])
    with autograd.record():
        y = Square()(x) * 2
    y.backward()
    assert x.grad.asscalar() == 12 and not autograd.is_recording()


class Returns(autograd.Function):
    def __init__(self, forward, backward):
        self.results = forward, backward

    def forward(self, *inputs):
        return self.results[0]

    def backward(self, dy):
        return self.results[1]


TYPES = [
    (lambda x: Returns(5, x)(x), "Returns.forward: .*int.*expected an NDArray"),
    (lambda x: Returns(None, x)(x), "Returns.forward: .*NoneType.*expected an NDArray"),
    (lambda x: Returns(x * 2, 3.0)(x).backward(), "Returns.backward: .*float.*expected an NDArray"),
    (lambda x: Returns(x * 2, x)(x, 5), "Returns: .*int.*expected an NDArray"),
]


@pytest.mark.parametrize("case", range(len(TYPES)))
def test_messages_name_the_function(case):
    act, text = TYPES[case]
    x = variable([1.0])
    with pytest.raises(TypeError, match=text), autograd.record():
        act(x)
