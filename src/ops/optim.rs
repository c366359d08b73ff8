//! Optimizer updates of one weight (`optim_norm`: by norms, `optim_many`: of many weights): each gives the new weight and then the new states, which are written to the arrays that `writes` names.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::ensure;
use crate::graph::mode::Scope;
use crate::graph::{Args, Check, Grad, Kind, Op, Param, Var};
use crate::ops::Ops;
use crate::ops::activation::float_only;
use crate::ops::binary::GREATER;
use crate::ops::bounded::{CLIP, ClipParams};
use smallvec::SmallVec;

pub(super) type Outs = SmallVec<[Var; 1]>;

/// Example calls of an update, without and with weight decay.
macro_rules! calls {
    ($($shape:expr),+) => { &[(&[$($shape),+], "lr=0.1"), (&[$($shape),+], "lr=0.1, wd=0.01")] };
}

/// A record of an update; `$new` gives the new weight and states, in that order.
macro_rules! update {
    ($id:ident, $name:literal, $doc:literal, [$($input:literal),+], $writes:expr, $params:ident, |$v:ident, $p:ident| $new:expr,
     $like:literal, $calls:expr) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: &[$($input),+],
            params: $params::SPEC,
            method: false,
            writes: $writes,
            kind: Kind::Compose(|v, args| {
                fn new($v: &[Var], $p: &$params) -> Outs {
                    $new.into_iter().collect()
                }
                run($name, v, args, |v, args| new(v, &$params::read(args)))
            }),
            grad: Grad::Composed,
            check: Check { range: Err("not differentiated"), like: $like, calls: $calls },
        };
    };
}

/// Checks the inputs of an update and runs it off the tape.
pub(super) fn run(name: &str, v: &[Var], args: &Args, new: impl Fn(&[Var], &Args) -> Outs) -> Outs {
    (|| -> Result<()> {
        for input in v {
            float_only(name, input.dtype())?;
            ensure!(
                input.shape() == v[0].shape(),
                "{name}: got shapes {} and {}, expected states and gradient of the weight's shape",
                show(v[0].shape()),
                show(input.shape())
            );
        }
        Ok(())
    })()
    .or_throw();
    let _scope = Scope::enter(Some(false), None);
    let v: SmallVec<[Var; 6]> = v.iter().map(Var::detached).collect();
    // MXNet keeps hyper-parameters in float32, which a float64 weight can tell: `1 - beta2` differs in the fifth digit.
    let args = args.iter().map(|arg| match arg {
        Param::Float(v) => Param::Float(*v as f32 as f64),
        other => other.clone(),
    });
    new(&v, &args.collect())
}

/// Limits to `[-bound, bound]` where the bound is not negative.
pub(super) fn clip(x: Var, bound: f64) -> Var {
    if bound < 0.0 { x } else { x.with(&CLIP, ClipParams { a_min: -bound, a_max: bound }.args()) }
}

/// The gradient, rescaled and limited.
pub(super) fn scaled(g: &Var, rescale: f64, bound: f64) -> Var {
    clip(if rescale == 1.0 { g.clone() } else { g * rescale }, bound)
}

/// The same with weight decay inside the limit.
fn decayed(g: &Var, w: &Var, rescale: f64, wd: f64, bound: f64) -> Var {
    let g = if rescale == 1.0 { g.clone() } else { g * rescale };
    clip(if wd == 0.0 { g } else { g + w * wd }, bound)
}

/// `beta * old + (1 - beta) * new`.
pub(super) fn average(old: &Var, new: &Var, beta: f64) -> Var {
    old * beta + new * (1.0 - beta)
}

pub(super) use update;

// ---- gradient descent -----------------------------------------------------------------------------------------------

crate::params! {
    pub struct SgdParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the rescaled gradient; none where negative.";
        lazy_update: Option<bool>, K::Ignored, D::None, "Ignored: for row-sparse gradients.";
    }
}
crate::params! {
    pub struct MomentumParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        momentum: f64, K::Float, D::Float(0.0), "How much of the last step is kept.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the rescaled gradient; none where negative.";
        lazy_update: Option<bool>, K::Ignored, D::None, "Ignored: for row-sparse gradients.";
    }
}

pub(super) fn sgd(w: &Var, g: &Var, p: &SgdParams) -> Var {
    w * (1.0 - p.lr * p.wd) - scaled(g, p.rescale_grad, p.clip_gradient) * p.lr
}

/// The new weight and momentum.
pub(super) fn sgd_mom(w: &Var, g: &Var, mom: &Var, p: &MomentumParams) -> (Var, Var) {
    let mom = mom * p.momentum - w * (p.lr * p.wd) - scaled(g, p.rescale_grad, p.clip_gradient) * p.lr;
    (w + &mom, mom)
}

fn nag_mom(w: &Var, g: &Var, mom: &Var, p: &MomentumParams) -> (Var, Var) {
    let step = (scaled(g, p.rescale_grad, p.clip_gradient) + w * p.wd) * p.lr;
    let mom = mom * p.momentum - &step;
    (w + &mom * p.momentum - step, mom)
}

update!(
    SGD_UPDATE,
    "sgd_update",
    "Gradient descent: `(1 - lr * wd) * weight - lr * grad`.",
    ["weight", "grad"],
    &[],
    SgdParams,
    |v, p| [sgd(&v[0], &v[1], p)],
    "lambda w, g, lr, wd=0: (1 - lr * wd) * w - lr * g",
    calls!(&[2, 3], &[2, 3])
);

update!(
    SGD_MOM_UPDATE,
    "sgd_mom_update",
    "Gradient descent with momentum: `mom = momentum * mom - lr * (grad + wd * weight)`, then `weight + mom`.",
    ["weight", "grad", "mom"],
    &[2],
    MomentumParams,
    |v, p| {
        let (w, mom) = sgd_mom(&v[0], &v[1], &v[2], p);
        [w, mom]
    },
    "lambda w, g, m, lr, wd=0: w - lr * (g + wd * w)",
    calls!(&[2, 3], &[2, 3], &[2, 3])
);

update!(
    NAG_MOM_UPDATE,
    "nag_mom_update",
    "Nesterov's accelerated gradient: `step = lr * (grad + wd * weight)`, `mom = momentum * mom - step`, then \
     `weight + momentum * mom - step`.",
    ["weight", "grad", "mom"],
    &[2],
    MomentumParams,
    |v, p| {
        let (w, mom) = nag_mom(&v[0], &v[1], &v[2], p);
        [w, mom]
    },
    "lambda w, g, m, lr, wd=0: w - lr * (g + wd * w)",
    calls!(&[2, 3], &[2, 3], &[2, 3])
);

update!(
    SIGNSGD_UPDATE,
    "signsgd_update",
    "`(1 - lr * wd) * weight - lr * sign(grad)`.",
    ["weight", "grad"],
    &[],
    SgdParams,
    |v, p| [&v[0] * (1.0 - p.lr * p.wd) - v[1].sign() * p.lr],
    "lambda w, g, lr, wd=0: (1 - lr * wd) * w - lr * np.sign(g)",
    calls!(&[2, 3], &[2, 3])
);

crate::params! {
    pub struct SignumParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        momentum: f64, K::Float, D::Float(0.0), "How much of the last step is kept.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay inside the momentum.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the rescaled gradient; none where negative.";
        wd_lh: f64, K::Float, D::Float(0.0), "Weight decay outside the momentum.";
    }
}
update!(
    SIGNUM_UPDATE,
    "signum_update",
    "`mom = momentum * mom - (1 - momentum) * (grad + wd * weight)`, then `(1 - lr * wd_lh) * weight + lr * sign(mom)`.",
    ["weight", "grad", "mom"],
    &[2],
    SignumParams,
    |v, p| {
        let g = scaled(&v[1], p.rescale_grad, p.clip_gradient);
        let mom = &v[2] * p.momentum - &v[0] * ((1.0 - p.momentum) * p.wd) - g * (1.0 - p.momentum);
        [&v[0] * (1.0 - p.lr * p.wd_lh) + mom.sign() * p.lr, mom]
    },
    "lambda w, g, m, lr, wd=0: w - lr * np.sign(g + wd * w)",
    calls!(&[2, 3], &[2, 3], &[2, 3])
);

// ---- adaptive -------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct AdamParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        beta1: f64, K::Float, D::Float(0.9), "Decay of the mean.";
        beta2: f64, K::Float, D::Float(0.999), "Decay of the variance.";
        epsilon: f64, K::Float, D::Float(1e-8), "Added to the root, against division by zero.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the gradient; none where negative.";
        lazy_update: Option<bool>, K::Ignored, D::None, "Ignored: for row-sparse gradients.";
    }
}
update!(
    ADAM_UPDATE,
    "adam_update",
    "Adam without bias correction (fold it into `lr`): moving means of the gradient and its square, then \
     `weight - lr * mean / (sqrt(var) + epsilon)`.",
    ["weight", "grad", "mean", "var"],
    &[2, 3],
    AdamParams,
    |v, p| {
        let g = decayed(&v[1], &v[0], p.rescale_grad, p.wd, p.clip_gradient);
        let (mean, var) = (average(&v[2], &g, p.beta1), average(&v[3], &g.square(), p.beta2));
        [&v[0] - (&mean * p.lr) / (var.sqrt() + p.epsilon), mean, var]
    },
    "lambda w, g, m, v, lr, wd=0: w - lr * (0.9 * m + 0.1 * (g + wd * w)) / (np.sqrt(0.999 * v + 0.001 * (g + wd * w)**2) + 1e-8)",
    calls!(&[2, 3], &[2, 3], &[2, 3], &[2, 3])
);

crate::params! {
    pub struct RmsPropParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        gamma1: f64, K::Float, D::Float(0.95), "Decay of the mean square.";
        epsilon: f64, K::Float, D::Float(1e-8), "Added under the root, against division by zero.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the gradient; none where negative.";
        clip_weights: f64, K::Float, D::Float(-1.0), "Limit of the weight; none where negative.";
    }
}
update!(
    RMSPROP_UPDATE,
    "rmsprop_update",
    "RMSProp: a moving mean `n` of the squared gradient, then `weight - lr * grad / sqrt(n + epsilon)`.",
    ["weight", "grad", "n"],
    &[2],
    RmsPropParams,
    |v, p| {
        let g = decayed(&v[1], &v[0], p.rescale_grad, p.wd, p.clip_gradient);
        let n = average(&v[2], &g.square(), p.gamma1);
        [clip(&v[0] - (g * p.lr) / (&n + p.epsilon).sqrt(), p.clip_weights), n]
    },
    "lambda w, g, n, lr, wd=0: w - lr * (g + wd * w) / np.sqrt(0.95 * n + 0.05 * (g + wd * w)**2 + 1e-8)",
    calls!(&[2, 3], &[2, 3], &[2, 3])
);

crate::params! {
    pub struct RmsPropAlexParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        gamma1: f64, K::Float, D::Float(0.95), "Decay of the means.";
        gamma2: f64, K::Float, D::Float(0.9), "How much of the last step is kept.";
        epsilon: f64, K::Float, D::Float(1e-8), "Added under the root, against division by zero.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the gradient; none where negative.";
        clip_weights: f64, K::Float, D::Float(-1.0), "Limit of the weight; none where negative.";
    }
}
update!(
    RMSPROPALEX_UPDATE,
    "rmspropalex_update",
    "RMSProp as Graves has it: moving means `n` of the squared gradient and `g` of the gradient, a step \
     `delta = gamma2 * delta - lr * grad / sqrt(n - g**2 + epsilon)`, then `weight + delta`.",
    ["weight", "grad", "n", "g", "delta"],
    &[2, 3, 4],
    RmsPropAlexParams,
    |v, p| {
        let g = decayed(&v[1], &v[0], p.rescale_grad, p.wd, p.clip_gradient);
        let (n, mean) = (average(&v[2], &g.square(), p.gamma1), average(&v[3], &g, p.gamma1));
        let delta = &v[4] * p.gamma2 - (g * p.lr) / (&n - mean.square() + p.epsilon).sqrt();
        [clip(&v[0] + &delta, p.clip_weights), n, mean, delta]
    },
    "lambda w, g, n, m, d, lr, wd=0: w + 0.9 * d - lr * (g + wd * w) / np.sqrt(0.95 * n + 0.05 * (g + wd * w)**2 \
        - (0.95 * m + 0.05 * (g + wd * w))**2 + 1e-8)",
    calls!(&[2, 3], &[2, 3], &[2, 3], &[2, 3], &[2, 3])
);

crate::params! {
    pub struct FtrlParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        lamda1: f64, K::Float, D::Float(0.01), "L1 regularization.";
        beta: f64, K::Float, D::Float(1.0), "Per-coordinate learning rate beta.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_gradient: f64, K::Float, D::Float(-1.0), "Limit of the gradient; none where negative.";
    }
}
update!(
    FTRL_UPDATE,
    "ftrl_update",
    "Follow the regularized leader: `z += grad - (sqrt(n + grad**2) - sqrt(n)) * weight / lr`, `n += grad**2`, then \
     `(sign(z) * lamda1 - z) / ((beta + sqrt(n)) / lr + wd)` where `abs(z) > lamda1`, else zero.",
    ["weight", "grad", "z", "n"],
    &[2, 3],
    FtrlParams,
    |v, p| {
        let g = scaled(&v[1], p.rescale_grad, p.clip_gradient);
        let n = &v[3] + g.square();
        let z = &v[2] + &g - ((n.sqrt() - v[3].sqrt()) * &v[0]) * (1.0 / p.lr);
        let large = z.abs().binary(&GREATER, &Var::scalar(p.lamda1));
        let w = ((z.sign() * p.lamda1 - &z) / ((n.sqrt() + p.beta) * (1.0 / p.lr) + p.wd)) * large;
        [w, z, n]
    },
    "lambda w, g, z, n, lr, wd=0: (lambda z, n: (np.sign(z) * 0.01 - z) / ((1 + np.sqrt(n)) / lr + wd) * (abs(z) > 0.01))(\
        z + g - (np.sqrt(n + g * g) - np.sqrt(n)) * w / lr, n + g * g)",
    calls!(&[2, 3], &[2, 3], &[2, 3], &[2, 3])
);

crate::params! {
    pub struct FtmlParams {
        lr: f64, K::Float, D::Required, "Learning rate.";
        beta1: f64, K::Float, D::Float(0.6), "Decay of the moving direction.";
        beta2: f64, K::Float, D::Float(0.999), "Decay of the variance.";
        epsilon: f64, K::Float, D::Float(1e-8), "Added to the root, against division by zero.";
        t: i64, K::Int, D::Required, "Number of this update, from one.";
        wd: f64, K::Float, D::Float(0.0), "Weight decay.";
        rescale_grad: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        clip_grad: f64, K::Float, D::Float(-1.0), "Limit of the gradient; none where negative.";
    }
}
pub static FTML_UPDATE: Op = Op {
    name: "ftml_update",
    aliases: &[],
    doc: "Follow the moving leader: a moving mean `v` of the squared gradient, \
          `d' = (1 - beta1**t) / lr * (sqrt(v / (1 - beta2**t)) + epsilon)`, \
          `z = beta1 * z + (1 - beta1) * grad - (d' - beta1 * d) * weight`, then `-z / d'`.",
    inputs: &["weight", "grad", "d", "v", "z"],
    params: FtmlParams::SPEC,
    method: false,
    writes: &[2, 3, 4],
    kind: Kind::Compose(|v, args| {
        run("ftml_update", v, args, |v, args| {
            let p = FtmlParams::read(args);
            let g = decayed(&v[1], &v[0], p.rescale_grad, p.wd, p.clip_grad);
            let var = average(&v[3], &g.square(), p.beta2);
            let t = p.t as f64;
            let root = (&var * (1.0 / (1.0 - p.beta2.powf(t)))).sqrt() + p.epsilon;
            let d = root * ((1.0 - p.beta1.powf(t)) / p.lr);
            let z = average(&v[4], &g, p.beta1) - (&d - &v[2] * p.beta1) * &v[0];
            [-(&z / &d), d, var, z].into_iter().collect()
        })
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("not differentiated"),
        like: "lambda w, g, d, v, z, lr, t: (lambda d1, v: -(0.6 * z + 0.4 * g - (d1 - 0.6 * d) * w) / d1)(\
               (1 - 0.6**t) / lr * (np.sqrt((0.999 * v + 0.001 * g * g) / (1 - 0.999**t)) + 1e-8), v)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3], &[2, 3], &[2, 3]], "lr=0.1, t=1")],
    },
};

// ---- with a float32 master copy of the weight -----------------------------------------------------------------------

/// Runs an update on the float32 copies; the new weight in the dtype of the first input comes first.
pub(super) fn mixed(v: &[Var], copy: &Var, new: impl Fn(&Var, &Var) -> (Var, Option<Var>)) -> Outs {
    let (w32, state) = new(copy, &v[1].cast(DType::F32));
    [Some(w32.cast(v[0].dtype())), state, Some(w32)].into_iter().flatten().collect()
}

update!(
    MP_SGD_UPDATE,
    "mp_sgd_update",
    "`sgd_update` on a float32 copy of the weight.",
    ["weight", "grad", "weight32"],
    &[2],
    SgdParams,
    |v, p| mixed(v, &v[2], |w, g| (sgd(w, g, p), None)),
    "lambda w, g, w32, lr, wd=0: (1 - lr * wd) * w32 - lr * g",
    calls!(&[2, 3], &[2, 3], &[2, 3])
);
update!(
    MP_SGD_MOM_UPDATE,
    "mp_sgd_mom_update",
    "`sgd_mom_update` on a float32 copy of the weight.",
    ["weight", "grad", "mom", "weight32"],
    &[2, 3],
    MomentumParams,
    |v, p| mixed(v, &v[3], |w, g| {
        let (w, mom) = sgd_mom(w, g, &v[2], p);
        (w, Some(mom))
    }),
    "lambda w, g, m, w32, lr, wd=0: w32 - lr * (g + wd * w32)",
    calls!(&[2, 3], &[2, 3], &[2, 3], &[2, 3])
);
update!(
    MP_NAG_MOM_UPDATE,
    "mp_nag_mom_update",
    "`nag_mom_update` on a float32 copy of the weight.",
    ["weight", "grad", "mom", "weight32"],
    &[2, 3],
    MomentumParams,
    |v, p| mixed(v, &v[3], |w, g| {
        let (w, mom) = nag_mom(w, g, &v[2], p);
        (w, Some(mom))
    }),
    "lambda w, g, m, w32, lr, wd=0: w32 - lr * (g + wd * w32)",
    calls!(&[2, 3], &[2, 3], &[2, 3], &[2, 3])
);

pub static OPS: Ops = &[
    &SGD_UPDATE,
    &SGD_MOM_UPDATE,
    &NAG_MOM_UPDATE,
    &SIGNSGD_UPDATE,
    &SIGNUM_UPDATE,
    &ADAM_UPDATE,
    &RMSPROP_UPDATE,
    &RMSPROPALEX_UPDATE,
    &FTRL_UPDATE,
    &FTML_UPDATE,
    &MP_SGD_UPDATE,
    &MP_SGD_MOM_UPDATE,
    &MP_NAG_MOM_UPDATE,
];
