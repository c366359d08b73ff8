//! Optimizer updates that look at norms of whole arrays: LAMB and LARS.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::ensure;
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::binary::{EQUAL, MAXIMUM, MINIMUM};
use crate::ops::optim::{Outs, average, run, scaled, update};
use crate::ops::optim_many::{each, nth};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

crate::params! {
    pub struct LambParams {
        beta1: f64, K::Float, D::Float(0.9), "Decay of the mean.";
        beta2: f64, K::Float, D::Float(0.999), "Decay of the variance.";
        epsilon: f64, K::Float, D::Float(1e-6), "Added to the root, against division by zero.";
        t: i64, K::Int, D::Required, "Number of this update, from one.";
        bias_correction: bool, K::Bool, D::Bool(true), "Whether means are corrected for their start at zero.";
        wd: f64, K::Float, D::Required, "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the gradient; none where negative.";
    }
}

/// The direction, and the new mean and variance.
pub(super) fn lamb_direction(w: &Var, g: &Var, mean: &Var, var: &Var, p: &LambParams) -> [Var; 3] {
    let g = scaled(g, p.rescale_grad, p.clip_gradient);
    let (mean, var) = (average(mean, &g, p.beta1), average(var, &g.square(), p.beta2));
    let fix = |beta: f64| if p.bias_correction { 1.0 / (1.0 - beta.powf(p.t as f64)) } else { 1.0 };
    let step = (&mean * fix(p.beta1)) / ((&var * fix(p.beta2)).sqrt() + p.epsilon);
    [step + w * p.wd, mean, var]
}

update!(
    LAMB_UPDATE_PHASE1,
    "lamb_update_phase1",
    "The direction of LAMB: moving means of the gradient and its square, `mean / (sqrt(var) + epsilon) + wd * weight`.",
    ["weight", "grad", "mean", "var"],
    &[2, 3],
    LambParams,
    |v, p| lamb_direction(&v[0], &v[1], &v[2], &v[3], p),
    "lambda w, g, m, v, **kw: lamb(w, g, m, v, **kw)",
    &[]
);
update!(
    MP_LAMB_UPDATE_PHASE1,
    "mp_lamb_update_phase1",
    "`lamb_update_phase1` on a float32 copy of the weight.",
    ["weight", "grad", "mean", "var", "weight32"],
    &[2, 3],
    LambParams,
    |v, p| lamb_direction(&v[4], &v[1].cast(DType::F32), &v[2], &v[3], p),
    "lambda w, g, m, v, w32, **kw: lamb(w32, g, m, v, **kw)",
    &[]
);

crate::params! {
    pub struct LambStepParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        lower_bound: f64, K::Float, D::Float(-1.0), "Lowest norm of the weight; none where negative.";
        upper_bound: f64, K::Float, D::Float(-1.0), "Highest norm of the weight; none where negative.";
    }
}

/// `w - lr * ratio * g` with the ratio of the norms `r1` and `r2`, one where either is zero.
pub(super) fn lamb_step(w: &Var, g: &Var, r1: &Var, r2: &Var, p: &LambStepParams) -> Var {
    let (low, high) = (p.lower_bound, p.upper_bound);
    let r1 = if low >= 0.0 { r1.binary(&MAXIMUM, &Var::scalar(low)) } else { r1.clone() };
    let r1 = if high >= 0.0 { r1.binary(&MINIMUM, &Var::scalar(high)) } else { r1 };
    let zero = |r: &Var| r.binary(&EQUAL, &Var::scalar(0.0));
    let either = zero(&r1).binary(&MAXIMUM, &zero(r2));
    // Where a norm is zero the quotient is made finite, then taken out.
    let ratio = &r1 / (r2 + zero(r2)) * (1.0 - &either) + either;
    w - g * (ratio * p.lr)
}

/// Checks the norms that come with the arrays, and runs the step off the tape.
fn lamb_run(name: &str, v: &[Var], norms: [usize; 2], args: &Args, new: impl Fn(&[Var], &Args) -> Outs) -> Outs {
    let norms = [&v[norms[0]], &v[norms[1]]];
    (|| -> Result<()> {
        for norm in norms {
            ensure!(norm.numel() == 1, "{name}: r1 and r2, got shape {}, expected one number each", show(norm.shape()));
        }
        Ok(())
    })()
    .or_throw();
    let arrays: SmallVec<[Var; 3]> =
        v.iter().filter(|a| !norms.iter().any(|n| std::ptr::eq(*n, *a))).cloned().collect();
    run(name, &arrays, args, |_, args| new(v, args))
}

pub static LAMB_UPDATE_PHASE2: Op = Op {
    name: "lamb_update_phase2",
    aliases: &[],
    doc: "The step of LAMB: `weight - lr * ratio * g`, where `ratio` is `r1 / r2`, the norms of weight and direction.",
    inputs: &["weight", "g", "r1", "r2"],
    params: LambStepParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        lamb_run("lamb_update_phase2", v, [2, 3], args, |v, args| {
            [lamb_step(&v[0].detached(), &v[1], &v[2], &v[3], &LambStepParams::read(args))].into_iter().collect()
        })
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("not differentiated"),
        like: "lambda w, g, r1, r2, lr: w - lr * r1 / r2 * g",
        calls: &[(&[&[2, 3], &[2, 3], &[1], &[1]], "lr=0.1")],
    },
};
pub static MP_LAMB_UPDATE_PHASE2: Op = Op {
    name: "mp_lamb_update_phase2",
    aliases: &[],
    doc: "`lamb_update_phase2` on a float32 copy of the weight, which stays as it is, as in MXNet.",
    inputs: &["weight", "g", "r1", "r2", "weight32"],
    params: LambStepParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        lamb_run("mp_lamb_update_phase2", v, [2, 3], args, |v, args| {
            let w32 = lamb_step(&v[4].detached(), &v[1], &v[2], &v[3], &LambStepParams::read(args));
            [w32.cast(v[0].dtype())].into_iter().collect()
        })
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("not differentiated"),
        like: "lambda w, g, r1, r2, w32, lr: w32 - lr * r1 / r2 * g",
        calls: &[(&[&[2, 3], &[2, 3], &[1], &[1], &[2, 3]], "lr=0.1")],
    },
};

crate::params! {
    pub struct MultiLambParams {
        learning_rates: Arc<[f64]>, K::Floats, D::Required, "Learning rate of each weight.";
        beta1: f64, K::Float, D::Float(0.9), "Decay of the mean.";
        beta2: f64, K::Float, D::Float(0.999), "Decay of the variance.";
        epsilon: f64, K::Float, D::Float(1e-6), "Added to the root, against division by zero.";
        wds: Arc<[f64]>, K::Floats, D::Required, "Weight decay of each weight.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What gradients are multiplied by.";
        lower_bound: f64, K::Float, D::Float(-1.0), "Lowest norm of a weight; none where negative.";
        upper_bound: f64, K::Float, D::Float(-1.0), "Highest norm of a weight; none where negative.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of a gradient; none where negative.";
        bias_correction: bool, K::Bool, D::Bool(true), "Whether means are corrected for their start at zero.";
        step_count: Ints, K::Ints, D::Required, "Number of this update of each weight, from one.";
        num_tensors: i64, K::Int, D::Int(1), "Number of weights.";
    }
}

/// Both phases for one weight, on its master copy.
fn lamb(op: &Op, i: usize, w: &Var, v: &[Var], p: &MultiLambParams) -> Result<[Var; 3]> {
    let steps: Vec<f64> = p.step_count.iter().map(|&t| t as f64).collect();
    let direction = LambParams {
        beta1: p.beta1,
        beta2: p.beta2,
        epsilon: p.epsilon,
        t: nth(op, "step_count", &steps, i, p.num_tensors)? as i64,
        bias_correction: p.bias_correction,
        wd: nth(op, "wds", &p.wds, i, p.num_tensors)?,
        rescale_grad: p.rescale_grad,
        clip_gradient: p.clip_gradient,
    };
    let [step, mean, var] = lamb_direction(w, &v[1].cast(w.dtype()), &v[2], &v[3], &direction);
    let norm = |x: &Var| x.square().sum_axes(&(0..x.ndim()).collect::<Vec<_>>(), false).sqrt();
    let lr = nth(op, "learning_rates", &p.learning_rates, i, p.num_tensors)?;
    let bounds = LambStepParams { lr, lower_bound: p.lower_bound, upper_bound: p.upper_bound };
    Ok([lamb_step(w, &step, &norm(w), &norm(&step), &bounds), mean, var])
}

pub static MULTI_LAMB: Op = Op {
    name: "_multi_lamb_update",
    aliases: &[],
    doc: "Both phases of LAMB for many weights.",
    inputs: &["*weight", "*grad", "*mean", "*var"],
    params: MultiLambParams::SPEC,
    method: false,
    writes: &[2, 3],
    kind: Kind::Compose(|v, args| {
        each(&MULTI_LAMB, v, MultiLambParams::read(args).num_tensors, args, |i, v, _, args| {
            Ok(lamb(&MULTI_LAMB, i, &v[0], v, &MultiLambParams::read(args))?.into_iter().collect())
        })
    }),
    grad: Grad::Composed,
    check: Check { range: Err("not differentiated"), like: "", calls: &[] },
};
pub static MULTI_MP_LAMB: Op = Op {
    name: "_multi_mp_lamb_update",
    aliases: &[],
    doc: "Both phases of LAMB for many weights, on float32 copies.",
    inputs: &["*weight", "*grad", "*mean", "*var", "*weight32"],
    params: MultiLambParams::SPEC,
    method: false,
    writes: &[2, 3, 4],
    kind: Kind::Compose(|v, args| {
        each(&MULTI_MP_LAMB, v, MultiLambParams::read(args).num_tensors, args, |i, v, _, args| {
            let [w32, mean, var] = lamb(&MULTI_MP_LAMB, i, &v[4], v, &MultiLambParams::read(args))?;
            Ok(smallvec![w32.cast(v[0].dtype()), mean, var, w32])
        })
    }),
    grad: Grad::Composed,
    check: Check { range: Err("not differentiated"), like: "", calls: &[] },
};

// ---- LARS -----------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct LarsParams {
        eta: f64, K::Float, D::Required, "What the ratio of the norms is multiplied by.";
        eps: f64, K::Float, D::Required, "Added to the denominator, against division by zero.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What gradients are multiplied by.";
    }
}
pub static MULTI_LARS: Op = Op {
    name: "multi_lars",
    aliases: &[],
    doc: "Learning rates of LARS: each multiplied by `eta * |w| / (|g| + wd * |w| + eps)`, where both norms are positive. \
          The norms come as sums of squares, as `multi_sum_sq` gives them.",
    inputs: &["lrs", "weights_sum_sq", "grads_sum_sq", "wds"],
    params: LarsParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        run("multi_lars", v, args, |v, args| {
            let p = LarsParams::read(args);
            let (w, g) = (v[1].sqrt(), v[2].sqrt() * p.rescale_grad);
            let both = w.sign() * g.sign();
            // Where a norm is zero the quotient is made finite, then taken out.
            let ratio = &w * p.eta / (g + &v[3] * &w + p.eps + (1.0 - &both));
            [&v[0] * (ratio * &both + (1.0 - &both))].into_iter().collect()
        })
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("not differentiated"),
        like: "lambda lr, w, g, wd, eta, eps: \
               np.where(w * g > 0, lr * eta * np.sqrt(abs(w)) / (np.sqrt(abs(g)) + wd * np.sqrt(abs(w)) + eps), lr)",
        calls: &[],
    },
};

pub static OPS: Ops = &[
    &MULTI_LAMB,
    &MULTI_MP_LAMB,
    &MULTI_LARS,
    &LAMB_UPDATE_PHASE1,
    &MP_LAMB_UPDATE_PHASE1,
    &LAMB_UPDATE_PHASE2,
    &MP_LAMB_UPDATE_PHASE2,
];
