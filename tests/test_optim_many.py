"""Updates of many weights at once do to each what the update of one does."""

import numpy as np
import pytest

from oxgrad import MXNetError, nd

SHAPES = [(3,), (2, 2)]
RATES = {"lrs": [0.5, 0.125], "wds": [0.25, 0.0]}


def states(count, dtype="float32"):
    """Groups of `count` arrays, one group for each weight."""
    rng = np.random.default_rng(0)
    return [[nd.array(rng.uniform(0.1, 1, shape), dtype=dtype) for _ in range(count)] for shape in SHAPES]


def flat(groups):
    return [array for group in groups for array in group]


def check(many, one, groups, tolerance=1e-6):
    """Runs both on copies; weights and states must end the same."""
    other = [[array.copy() for array in group] for group in groups]
    many(groups, [group[0] for group in groups])
    for i, group in enumerate(other):
        one(i, group)
    for a, b in zip(flat(groups), flat(other), strict=True):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=tolerance, atol=tolerance)


HOW = {"rescale_grad": 0.5, "clip_gradient": 0.3}


@pytest.mark.parametrize("name,count", [("sgd", 2), ("mp_sgd", 3), ("sgd_mom", 3), ("mp_sgd_mom", 4)])
@pytest.mark.parametrize("preloaded", [False, True])
def test_gradient_descent(name, count, preloaded):
    how = {**HOW, **({"momentum": 0.9} if "mom" in name else {})}
    groups = states(count)
    if name.startswith("mp"):
        groups = [[w.astype("float16"), g.astype("float16"), *rest] for w, g, *rest in groups]

    def many(groups, out):
        if preloaded:
            rates = [nd.array(RATES["lrs"]), nd.array(RATES["wds"])]
            getattr(nd, f"preloaded_multi_{name}_update")(*flat(groups), *rates, num_weights=2, out=out, **how)
        else:
            getattr(nd, f"multi_{name}_update")(*flat(groups), num_weights=2, out=out, **RATES, **how)

    def one(i, group):
        update = getattr(nd, f"{name}_update")
        update(*group, lr=RATES["lrs"][i], wd=RATES["wds"][i], out=group[0], **how)

    check(many, one, groups)


@pytest.mark.parametrize("mixed", [False, True])
def test_adamw(mixed):
    etas = [1.0, 0.5]
    groups = states(5 if mixed else 4)
    if mixed:
        groups = [[w.astype("float16"), g.astype("float16"), *rest] for w, g, *rest in groups]
    name = "mp_adamw_update" if mixed else "adamw_update"

    def many(groups, out):
        update = getattr(nd.contrib, f"multi_{name}")
        update(*map(list, zip(*groups, strict=True)), 0.5, RATES["lrs"], RATES["wds"], etas, out=out)

    def one(i, group):
        update = getattr(nd.contrib, name)
        update(*group, nd.array([0.5]), lr=RATES["lrs"][i], wd=RATES["wds"][i], eta=etas[i], out=group[0])

    check(many, one, groups)


@pytest.mark.parametrize("scale", [0.0, float("inf"), float("nan")])
def test_adamw_skips_a_bad_scale(scale):
    (group, _) = states(4)
    before = [array.asnumpy() for array in group]
    nd.contrib.adamw_update(*group, scale, lr=0.5, eta=1.0, out=group[0])
    assert all((a.asnumpy() == b).all() for a, b in zip(group, before, strict=True))


@pytest.mark.parametrize("mixed", [False, True])
def test_lamb(mixed):
    groups = states(5 if mixed else 4)
    name = "mp_lamb_update" if mixed else "lamb_update"

    def many(groups, out):
        lists = map(list, zip(*groups, strict=True))
        getattr(nd.contrib, f"multi_{name}")(*lists, [1, 2], RATES["lrs"], RATES["wds"], out=out, clip_gradient=0.3)

    def one(i, group):
        master = group[4] if mixed else group[0]
        direction = getattr(nd, f"{name}_phase1")(*group, t=i + 1, wd=RATES["wds"][i], clip_gradient=0.3)
        norms = [x.square().sum().sqrt() for x in (master, direction)]
        new = nd.lamb_update_phase2(master, direction, *norms, lr=RATES["lrs"][i])
        group[0][:] = new
        if mixed:
            group[4][:] = new

    check(many, one, groups, 2e-6)


def test_rates_of_lars():
    lrs, w, g, wds = (nd.array(v) for v in ([0.5, 0.5, 0.25], [4.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.1, 0.1, 0.1]))
    found = nd.multi_lars(lrs, w, g, wds, eta=0.5, eps=0.0, rescale_grad=2.0).asnumpy()
    np.testing.assert_allclose(found, [0.5 * 0.5 * 2 / (2 + 0.2), 0.5, 0.25], rtol=1e-6)


def test_lists_of_arrays():
    x = nd.array([1.0, np.nan])
    assert nd.all_finite(nd.ones(3)).asscalar() == 1 and nd.all_finite(x).asscalar() == 0
    assert nd.multi_all_finite(nd.ones(3), x, num_arrays=2).asscalar() == 0
    arrays = [nd.ones((2, 3)), nd.ones(4, dtype="int32")]
    assert nd.reset_arrays(*arrays, num_arrays=2) == []
    assert not arrays[0].asnumpy().any() and not arrays[1].asnumpy().any()
    wide = nd.amp_multicast(nd.ones(2, dtype="float16"), nd.ones(3), num_outputs=2)
    assert [a.dtype for a in wide] == [np.float32, np.float32]
    narrow = nd.amp_multicast(nd.ones(2, dtype="float16"), nd.ones(3), num_outputs=2, cast_narrow=True)
    assert [a.dtype for a in narrow] == [np.float16, np.float16]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a: nd.multi_sgd_update(a, a, a, num_weights=2, lrs=[1, 1], wds=[0, 0]),
        lambda a: nd.multi_sgd_update(a, a, num_weights=2, lrs=[1, 1], wds=[0, 0]),
        lambda a: nd.multi_sgd_update(a, a, num_weights=1, lrs=[1, 1], wds=[0, 0]),
        lambda a: nd.multi_sgd_update(num_weights=0, lrs=[], wds=[]),
        lambda a: nd.multi_sgd_update(a, nd.ones(3), num_weights=1, lrs=[1], wds=[0]),
        lambda a: nd.preloaded_multi_sgd_update(a, a, a, a, num_weights=2),
        lambda a: nd.multi_sum_sq(a, a, num_arrays=3),
        lambda a: nd.contrib.adamw_update(a, a, a, a, nd.ones(2), lr=1, eta=1),
    ],
)
def test_wrong_groups(wrong):
    with pytest.raises(MXNetError):
        wrong(nd.ones(2))
