//! Optimizer updates of many weights in one call, and those that take the gradient's scale as an array.
//!
//! Arrays come in groups: weight, gradient and states of the first, then of the second, and so on.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::ensure;
use crate::graph::mode::Scope;
use crate::graph::params::Read;
use crate::graph::{Args, Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::optim::{MomentumParams, Outs, SgdParams, average, mixed, run, scaled, sgd, sgd_mom};
use smallvec::smallvec;
use std::sync::Arc;

const STATES: std::result::Result<(f64, f64), &str> = Err("not differentiated");

/// Updates each group by `new(i, arrays, single arrays)`, which gives a weight and its states. All weights come first,
/// then the states of each group, as `writes` wants them.
pub(super) fn each(
    op: &Op,
    v: &[Var],
    count: i64,
    args: &Args,
    new: impl Fn(usize, &[Var], &[Var], &Args) -> Result<Outs>,
) -> Outs {
    let _scope = Scope::enter(Some(false), None);
    let (groups, rest) = op.groups(v, Some(count)).or_throw();
    let (mut weights, mut states) = (Outs::new(), Outs::new());
    for (i, group) in groups.into_iter().enumerate() {
        let mut outs = run(op.name, group, args, |v, args| new(i, v, rest, args).or_throw());
        states.extend(outs.drain(1..));
        weights.extend(outs);
    }
    weights.extend(states);
    weights
}

/// Number `i` of a list that has one for each weight.
pub(super) fn nth(op: &Op, what: &str, list: &[f64], i: usize, count: i64) -> Result<f64> {
    ensure!(list.len() == count as usize, "{}: {what}, got {} numbers, expected {count}", op.name, list.len());
    Ok(list[i] as f32 as f64)
}

// ---- gradient descent -----------------------------------------------------------------------------------------------

crate::params! {
    pub struct MultiParams {
        lrs: Arc<[f64]>, K::Floats, D::Required, "Learning rate of each weight.";
        wds: Arc<[f64]>, K::Floats, D::Required, "Weight decay of each weight.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What gradients are multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of a rescaled gradient; none where negative.";
        num_weights: i64, K::Int, D::Int(1), "Number of weights.";
    }
}
crate::params! {
    pub struct MultiMomentumParams {
        lrs: Arc<[f64]>, K::Floats, D::Required, "Learning rate of each weight.";
        wds: Arc<[f64]>, K::Floats, D::Required, "Weight decay of each weight.";
        momentum: f64, K::Float, D::Float(0.0), "How much of the last step is kept.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What gradients are multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of a rescaled gradient; none where negative.";
        num_weights: i64, K::Int, D::Int(1), "Number of weights.";
    }
}
crate::params! {
    pub struct PreloadedParams {
        rescale_grad: f64, K::Float, D::Float(1.0), "What gradients are multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of a rescaled gradient; none where negative.";
        num_weights: i64, K::Int, D::Int(1), "Number of weights.";
    }
}
crate::params! {
    pub struct PreloadedMomentumParams {
        momentum: f64, K::Float, D::Float(0.0), "How much of the last step is kept.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What gradients are multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of a rescaled gradient; none where negative.";
        num_weights: i64, K::Int, D::Int(1), "Number of weights.";
    }
}

/// Gradient descent in all its forms: what the record has for inputs and parameters says which.
fn descend(op: &'static Op, v: &[Var], args: &Args) -> Outs {
    fn named<T: Read>(op: &Op, args: &Args, name: &str) -> Option<T> {
        op.params.iter().position(|p| p.name == name).map(|i| T::read(&args[i]))
    }
    let has = |name: &str| op.inputs.contains(&name);
    let count = named(op, args, "num_weights").unwrap_or(1);
    each(op, v, count, args, |i, v, rest, args| {
        let rate = |what: &str, k: usize| match named::<Arc<[f64]>>(op, args, what) {
            Some(list) => nth(op, what, &list, i, count),
            None => nth(op, what, &rest[k].tensor.to_vec::<f64>()?, i, count),
        };
        let (lr, wd) = (rate("lrs", 0)?, rate("wds", 1)?);
        let rescale_grad = named(op, args, "rescale_grad").unwrap_or(1.0);
        let clip_gradient = named(op, args, "clip_gradient").unwrap_or(-1.0);
        let momentum = named(op, args, "momentum").unwrap_or(0.0);
        let step = |w: &Var, g: &Var| {
            if has("*mom") {
                let p = MomentumParams { lr, momentum, wd, rescale_grad, clip_gradient, lazy_update: None };
                let (w, mom) = sgd_mom(w, g, &v[2], &p);
                return (w, Some(mom));
            }
            (sgd(w, g, &SgdParams { lr, wd, rescale_grad, clip_gradient, lazy_update: None }), None)
        };
        if has("*weight32") {
            return Ok(mixed(v, &v[op.group() - 1], step));
        }
        let (w, mom) = step(&v[0], &v[1]);
        Ok([Some(w), mom].into_iter().flatten().collect())
    })
}

macro_rules! descent {
    ($($id:ident $name:literal [$($input:literal),+] $writes:expr, $params:ident, $calls:expr;)+) => {
        $(pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: "Gradient descent of many weights: the arrays of the first, then those of the second, and so on.",
            inputs: &[$($input),+],
            params: $params::SPEC,
            method: false,
            writes: $writes,
            kind: Kind::Compose(|v, args| descend(&$id, v, args)),
            grad: Grad::Composed,
            check: Check { range: STATES, like: "lambda *arrays, **kw: descents(arrays, **kw)", calls: $calls },
        };)+
    };
}
const LISTS: &str = "num_weights=2, lrs=(0.5, 0.25), wds=(0.125, 0)";
descent! {
    MULTI_SGD "multi_sgd_update" ["*weight", "*grad"] &[], MultiParams,
        &[(&[&[3], &[3], &[2, 2], &[2, 2]], LISTS)];
    MULTI_SGD_MOM "multi_sgd_mom_update" ["*weight", "*grad", "*mom"] &[2], MultiMomentumParams,
        &[(&[&[3], &[3], &[3], &[2, 2], &[2, 2], &[2, 2]], LISTS)];
    MULTI_MP_SGD "multi_mp_sgd_update" ["*weight", "*grad", "*weight32"] &[2], MultiParams, &[];
    MULTI_MP_SGD_MOM "multi_mp_sgd_mom_update" ["*weight", "*grad", "*mom", "*weight32"] &[2, 3], MultiMomentumParams, &[];
    PRELOADED_SGD "preloaded_multi_sgd_update" ["*weight", "*grad", "lrs", "wds"] &[], PreloadedParams,
        &[(&[&[3], &[3], &[2, 2], &[2, 2], &[2], &[2]], "num_weights=2")];
    PRELOADED_SGD_MOM "preloaded_multi_sgd_mom_update" ["*weight", "*grad", "*mom", "lrs", "wds"] &[2],
        PreloadedMomentumParams, &[(&[&[3], &[3], &[3], &[2, 2], &[2, 2], &[2, 2], &[2], &[2]], "num_weights=2")];
    PRELOADED_MP_SGD "preloaded_multi_mp_sgd_update" ["*weight", "*grad", "*weight32", "lrs", "wds"] &[2],
        PreloadedParams, &[];
    PRELOADED_MP_SGD_MOM "preloaded_multi_mp_sgd_mom_update" ["*weight", "*grad", "*mom", "*weight32", "lrs", "wds"]
        &[2, 3], PreloadedMomentumParams, &[];
}

// ---- AdamW ----------------------------------------------------------------------------------------------------------

/// What the gradient is multiplied by, an array of one number; `None` where it says that the step is to be skipped.
fn scale_of(name: &str, scale: &Var) -> Result<Option<f64>> {
    ensure!(scale.numel() == 1, "{name}: rescale_grad, got shape {}, expected one number", show(scale.shape()));
    let scale = scale.tensor.item()?.to_f64();
    Ok((scale.is_finite() && scale != 0.0).then_some(scale))
}

/// Learning rate, the decays of the means, epsilon, weight decay, eta, and the limit of the gradient.
struct AdamW {
    lr: f64,
    betas: (f64, f64),
    epsilon: f64,
    wd: f64,
    eta: f64,
    bound: f64,
}

/// The new weight, mean and variance; as they are where the scale is zero or not finite.
fn adamw(w: &Var, g: &Var, mean: &Var, var: &Var, scale: Option<f64>, p: &AdamW) -> [Var; 3] {
    let Some(scale) = scale else { return [w.clone(), mean.clone(), var.clone()] };
    let g = scaled(g, scale, p.bound);
    let (mean, var) = (average(mean, &g, p.betas.0), average(var, &g.square(), p.betas.1));
    let step = &mean * p.lr / (var.sqrt() + p.epsilon) + w * p.wd;
    [w - step * p.eta, mean, var]
}

/// The update on `copy`, the float32 master of the weight; the weight in its own dtype comes first.
fn mixed_adamw(v: &[Var], copy: &Var, scale: Option<f64>, p: &AdamW) -> Outs {
    let [w32, mean, var] = adamw(copy, &v[1].cast(DType::F32), &v[2], &v[3], scale, p);
    smallvec![w32.cast(v[0].dtype()), mean, var, w32]
}

crate::params! {
    pub struct AdamWParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        beta1: f64, K::Float, D::Float(0.9), "Decay of the mean.";
        beta2: f64, K::Float, D::Float(0.999), "Decay of the variance.";
        epsilon: f64, K::Float, D::Float(1e-8), "Added to the root, against division by zero.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        eta: f64, K::Float, D::Required, "What the whole step is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the rescaled gradient; none where negative.";
    }
}
impl AdamWParams {
    fn step(&self) -> AdamW {
        let betas = (self.beta1, self.beta2);
        AdamW { lr: self.lr, betas, epsilon: self.epsilon, wd: self.wd, eta: self.eta, bound: self.clip_gradient }
    }
}

pub static ADAMW: Op = Op {
    name: "_adamw_update",
    aliases: &[],
    doc: "AdamW: moving means of the gradient and its square, then \
          `weight - eta * (lr * mean / (sqrt(var) + epsilon) + wd * weight)`. The gradient is multiplied by the array \
          `rescale_grad`; where that is zero or not finite nothing changes.",
    inputs: &["weight", "grad", "mean", "var", "rescale_grad"],
    params: AdamWParams::SPEC,
    method: false,
    writes: &[2, 3],
    kind: Kind::Compose(|v, args| {
        let scale = scale_of("adamw_update", &v[4]).or_throw();
        run("adamw_update", &v[..4], args, |v, args| {
            adamw(&v[0], &v[1], &v[2], &v[3], scale, &AdamWParams::read(args).step()).into_iter().collect()
        })
    }),
    grad: Grad::Composed,
    check: Check {
        range: STATES,
        like: "lambda w, g, m, v, r, lr, eta, wd=0: \
               w - eta * (lr * (0.9 * m + 0.1 * r * g) / (np.sqrt(0.999 * v + 0.001 * (r * g)**2) + 1e-8) + wd * w)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3], &[2, 3], &[1]], "lr=0.25, eta=0.5, wd=0.125")],
    },
};
pub static MP_ADAMW: Op = Op {
    name: "_mp_adamw_update",
    aliases: &[],
    doc: "`_adamw_update` on a float32 copy of the weight.",
    inputs: &["weight", "grad", "mean", "var", "weight32", "rescale_grad"],
    params: AdamWParams::SPEC,
    method: false,
    writes: &[2, 3, 4],
    kind: Kind::Compose(|v, args| {
        let scale = scale_of("mp_adamw_update", &v[5]).or_throw();
        run("mp_adamw_update", &v[..5], args, |v, args| mixed_adamw(v, &v[4], scale, &AdamWParams::read(args).step()))
    }),
    grad: Grad::Composed,
    check: Check { range: STATES, like: "", calls: &[] },
};

crate::params! {
    pub struct MultiAdamWParams {
        lrs: Arc<[f64]>, K::Floats, D::Required, "Learning rate of each weight.";
        beta1: f64, K::Float, D::Float(0.9), "Decay of the mean.";
        beta2: f64, K::Float, D::Float(0.999), "Decay of the variance.";
        epsilon: f64, K::Float, D::Float(1e-8), "Added to the root, against division by zero.";
        wds: Arc<[f64]>, K::Floats, D::Required, "Weight decay of each weight.";
        etas: Arc<[f64]>, K::Floats, D::Required, "What the whole step of each weight is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of a rescaled gradient; none where negative.";
        num_weights: i64, K::Int, D::Int(1), "Number of weights.";
    }
}
macro_rules! multi_adamw {
    ($id:ident, $name:literal, [$($input:literal),+], $writes:expr, $doc:literal, |$v:ident, $scale:ident, $step:ident| $new:expr) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: &[$($input,)+ "rescale_grad"],
            params: MultiAdamWParams::SPEC,
            method: false,
            writes: $writes,
            kind: Kind::Compose(|v, args| {
                let count = MultiAdamWParams::read(args).num_weights;
                each(&$id, v, count, args, |i, $v, rest, args| {
                    let p = MultiAdamWParams::read(args);
                    let $scale = scale_of($name, &rest[0])?;
                    let pick = |what, list: &[f64]| nth(&$id, what, list, i, count);
                    let $step = AdamW {
                        lr: pick("lrs", &p.lrs)?,
                        betas: (p.beta1, p.beta2),
                        epsilon: p.epsilon,
                        wd: pick("wds", &p.wds)?,
                        eta: pick("etas", &p.etas)?,
                        bound: p.clip_gradient,
                    };
                    Ok($new)
                })
            }),
            grad: Grad::Composed,
            check: Check { range: STATES, like: "", calls: &[] },
        };
    };
}
multi_adamw!(
    MULTI_ADAMW,
    "_multi_adamw_update",
    ["*weight", "*grad", "*mean", "*var"],
    &[2, 3],
    "`_adamw_update` of many weights.",
    |v, scale, step| adamw(&v[0], &v[1], &v[2], &v[3], scale, &step).into_iter().collect()
);
multi_adamw!(
    MULTI_MP_ADAMW,
    "_multi_mp_adamw_update",
    ["*weight", "*grad", "*mean", "*var", "*weight32"],
    &[2, 3, 4],
    "`_mp_adamw_update` of many weights.",
    |v, scale, step| mixed_adamw(v, &v[4], scale, &step)
);

pub static OPS: Ops = &[
    &MULTI_SGD,
    &MULTI_SGD_MOM,
    &MULTI_MP_SGD,
    &MULTI_MP_SGD_MOM,
    &PRELOADED_SGD,
    &PRELOADED_SGD_MOM,
    &PRELOADED_MP_SGD,
    &PRELOADED_MP_SGD_MOM,
    &ADAMW,
    &MP_ADAMW,
    &MULTI_ADAMW,
    &MULTI_MP_ADAMW,
];
