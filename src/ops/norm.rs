//! Normalization over axes.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::ensure;
use crate::graph::op::axis_index;
use crate::graph::{Args, Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::activation::float_only;
use crate::ops::nn::check_shape;
use crate::ops::reduce::MEAN;
use crate::ops::row_norm::row_norm;
use crate::tensor::Tensor;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

type Outs = SmallVec<[Var; 1]>;
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

// ---- LayerNorm ------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct LayerNormParams {
        axis: i64, K::Int, D::Int(-1), "The axis to normalize over.";
        eps: f64, K::Float, D::Float(1e-5), "Added to the variance.";
        output_mean_var: bool, K::Bool, D::Bool(false), "Whether to give `[output, mean, deviation]`.";
    }
}

fn layer_norm(v: &[Var], args: &Args) -> Result<Outs> {
    let (p, name, x) = (LayerNormParams::read(args), "LayerNorm", &v[0]);
    float_only(name, x.dtype())?;
    let axis = axis_index(name, p.axis, x.ndim())?;
    let n = x.shape()[axis];
    check_shape(name, "gamma", &v[1], &[n])?;
    check_shape(name, "beta", &v[2], &[n])?;
    let last = axis + 1 == x.ndim();
    // The axis to the end, and back.
    let there: Vec<usize> = (0..x.ndim()).filter(|&a| a != axis).chain([axis]).collect();
    let mut back = vec![0; there.len()];
    there.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    let mut outs = row_norm(&if last { x.clone() } else { x.transpose(&there) }, &v[1..], p.eps);
    if !p.output_mean_var {
        outs.truncate(1);
    }
    Ok(if last { outs } else { outs.iter().map(|o| o.transpose(&back)).collect() })
}

pub static LAYER_NORM: Op = Op {
    name: "LayerNorm",
    aliases: &[],
    doc: "Normalizes along an axis to mean zero and variance one, then `* gamma + beta`. With `output_mean_var` also gives \
          the mean and the standard deviation `sqrt(var + eps)`.",
    inputs: &["data", "gamma", "beta"],
    params: LayerNormParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| layer_norm(v, args).or_throw()),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, gamma, beta: (data - data.mean(-1, keepdims=True)) / np.sqrt(data.var(-1, keepdims=True) + 1e-5) \
               * gamma + beta",
        calls: &[(&[&[2, 5], &[5], &[5]], ""), (&[&[2, 3, 4], &[4], &[4]], "")],
    },
};

// ---- InstanceNorm, GroupNorm ----------------------------------------------------------------------------------------

crate::params! {
    pub struct InstanceNormParams { eps: f64, K::Float, D::Float(1e-3), "Added to the variance."; }
}

/// A parameter for each index of axis one, to broadcast against `ndim` axes.
fn along(param: &Var, axis: usize, ndim: usize) -> Var {
    let mut shape = vec![1; ndim];
    shape[axis] = param.numel();
    param.reshape(&shape)
}

fn instance_norm(v: &[Var], args: &Args) -> Result<Var> {
    let (name, x) = ("InstanceNorm", &v[0]);
    ensure!(x.ndim() >= 3, "{name}: data, got shape {}, expected three axes or more", show(x.shape()));
    let channels = x.shape()[1];
    check_shape(name, "gamma", &v[1], &[channels])?;
    check_shape(name, "beta", &v[2], &[channels])?;
    let rows = x.reshape(&[x.shape()[0] * channels, x.shape()[2..].iter().product()]);
    let y = row_norm(&rows, &[], InstanceNormParams::read(args).eps).swap_remove(0).reshape(x.shape());
    Ok(y * along(&v[1], 1, x.ndim()) + along(&v[2], 1, x.ndim()))
}

pub static INSTANCE_NORM: Op = Op {
    name: "InstanceNorm",
    aliases: &[],
    doc: "Normalizes each channel (axis one) of each sample over its other axes, then `* gamma + beta` for each channel.",
    inputs: &["data", "gamma", "beta"],
    params: InstanceNormParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![instance_norm(v, args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, gamma, beta: (data - data.mean(-1, keepdims=True)) / np.sqrt(data.var(-1, keepdims=True) + 1e-3) \
               * gamma[:, None] + beta[:, None]",
        calls: &[(&[&[2, 3, 4], &[3], &[3]], "")],
    },
};

crate::params! {
    pub struct GroupNormParams {
        num_groups: i64, K::Int, D::Int(1), "Into how many groups the channels (axis one) are divided.";
        eps: f64, K::Float, D::Float(1e-5), "Added to the variance.";
        output_mean_var: bool, K::Bool, D::Bool(false), "Whether to give `[output, mean, deviation]`.";
    }
}

fn group_norm(v: &[Var], args: &Args) -> Result<Outs> {
    let (p, name, x) = (GroupNormParams::read(args), "GroupNorm", &v[0]);
    ensure!(x.ndim() >= 3, "{name}: data, got shape {}, expected three axes or more", show(x.shape()));
    let (n, channels) = (x.shape()[0], x.shape()[1]);
    let fits = p.num_groups > 0 && channels.is_multiple_of(p.num_groups as usize);
    ensure!(fits, "{name}: num_groups, got {}, expected a divisor of {channels} channels", p.num_groups);
    let groups = p.num_groups as usize;
    check_shape(name, "gamma", &v[1], &[groups])?;
    check_shape(name, "beta", &v[2], &[groups])?;
    let rows = x.reshape(&[n, groups, x.shape()[1..].iter().product::<usize>() / groups]);
    let mut outs = row_norm(&rows, &[], p.eps);
    outs[0] = (&outs[0] * along(&v[1], 1, 3) + along(&v[2], 1, 3)).reshape(x.shape());
    if !p.output_mean_var {
        outs.truncate(1);
    }
    for row in outs.iter_mut().skip(1) {
        *row = row.reshape(&[n, groups]);
    }
    Ok(outs)
}

pub static GROUP_NORM: Op = Op {
    name: "GroupNorm",
    aliases: &[],
    doc: "Normalizes each group of channels of each sample, then `* gamma + beta` for each group: both have shape \
          `(num_groups,)`.",
    inputs: &["data", "gamma", "beta"],
    params: GroupNormParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| group_norm(v, args).or_throw()),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, gamma, beta, num_groups=1: (lambda r: ((r - r.mean(-1, keepdims=True)) / \
               np.sqrt(r.var(-1, keepdims=True) + 1e-5) * gamma[:, None] + beta[:, None]).reshape(data.shape))(\
               data.reshape(len(data), num_groups, -1))",
        calls: &[(&[&[2, 4, 3], &[2], &[2]], "num_groups=2"), (&[&[2, 3, 2], &[1], &[1]], "")],
    },
};

// ---- L2Normalization, LRN -------------------------------------------------------------------------------------------

crate::params! {
    pub struct L2Params {
        eps: f64, K::Float, D::Float(1e-10), "Added to the sum of squares.";
        mode: Arc<str>, K::Choice(&["channel", "instance", "spatial"]), D::Str("instance"),
            "Over which axes: all but the first, axis one, or all from the third on.";
    }
}

pub static L2_NORMALIZATION: Op = Op {
    name: "L2Normalization",
    aliases: &[],
    doc: "`data / sqrt(sum(data**2) + eps)`, the sum over each sample, over channels, or over places.",
    inputs: &["data"],
    params: L2Params::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let (p, x) = (L2Params::read(args), &v[0]);
        let (least, axes): (usize, Vec<usize>) = match &*p.mode {
            "channel" => (2, vec![1]),
            "spatial" => (3, (2..x.ndim()).collect()),
            _ => (1, (1..x.ndim()).collect()),
        };
        let enough = || {
            ensure!(
                x.ndim() >= least,
                "L2Normalization: data, got shape {}, expected {least} axes or more",
                show(x.shape())
            );
            Ok(())
        };
        enough().or_throw();
        smallvec![x / (x.square().sum_axes(&axes, true) + p.eps).sqrt()]
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda data, mode='instance', eps=1e-10: data / np.sqrt((data * data).sum({'channel': (1,), \
               'spatial': tuple(range(2, data.ndim)), 'instance': tuple(range(1, data.ndim))}[mode], keepdims=True) + eps)",
        calls: &[(&[&[2, 3, 4]], ""), (&[&[2, 3, 4]], "mode='channel'"), (&[&[2, 3, 4]], "mode='spatial', eps=0.5")],
    },
};

crate::params! {
    pub struct LrnParams {
        nsize: i64, K::Int, D::Required, "Width of the window over channels (axis one).";
        alpha: f64, K::Float, D::Float(1e-4), "Weight of the sum of squares, divided by `nsize`.";
        beta: f64, K::Float, D::Float(0.75), "Exponent.";
        knorm: f64, K::Float, D::Float(2.0), "Added to the weighted sum.";
    }
}

fn lrn(x: &Var, args: &Args) -> Result<Var> {
    let (p, name) = (LrnParams::read(args), "LRN");
    ensure!(x.ndim() >= 2, "{name}: data, got shape {}, expected two axes or more", show(x.shape()));
    ensure!(p.nsize > 0 && p.nsize % 2 == 1, "{name}: nsize, got {}, expected an odd number", p.nsize);
    float_only(name, x.dtype())?;
    let (n, c, half) = (x.shape()[0], x.shape()[1], p.nsize as usize / 2);
    // Sums over a window of channels are a product with a banded matrix of ones.
    let band: Vec<f32> = (0..c * c).map(|i| ((i / c).abs_diff(i % c) <= half) as u8 as f32).collect();
    let band = Var::new(Tensor::from_slice(&[1, c, c], &band)?.cast(x.dtype())?.on_device(x.tensor.device())?)
        .broadcast_to(&[n, c, c]);
    let squares = x.square().reshape(&[n, c, x.shape()[2..].iter().product()]);
    let sums = band.batch_dot(&squares, false, false).reshape(x.shape());
    Ok(x * (sums * (p.alpha / p.nsize as f64) + p.knorm).pow(-p.beta))
}

pub static LRN: Op = Op {
    name: "LRN",
    aliases: &[],
    doc: "Local response normalization: `data / (knorm + alpha / nsize * s)**beta` with `s` the sum of squares over a window \
          of `nsize` channels.",
    inputs: &["data"],
    params: LrnParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![lrn(&v[0], args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, nsize, alpha=1e-4, beta=0.75, knorm=2: data / (knorm + alpha / nsize * sum((np.pad(data, \
               [(0, 0), (nsize // 2, nsize // 2), (0, 0)])[:, i:i + data.shape[1]])**2 for i in range(nsize)))**beta",
        calls: &[(&[&[2, 5, 3]], "nsize=3"), (&[&[1, 4, 2]], "nsize=3, alpha=0.5, beta=0.5")],
    },
};

// ---- BatchNorm ------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct BatchNormParams {
        eps: f64, K::Float, D::Float(1e-3), "Added to the variance.";
        momentum: f64, K::Float, D::Float(0.9), "How much of the moving statistics an update keeps.";
        fix_gamma: bool, K::Bool, D::Bool(true), "Whether `gamma` counts as one and gets no gradient.";
        use_global_stats: bool, K::Bool, D::Bool(false), "Whether to use the moving statistics while training too.";
        output_mean_var: bool, K::Bool, D::Bool(false), "Whether to give `[output, mean, 1 / deviation]`.";
        axis: i64, K::Int, D::Int(1), "The axis of channels.";
        cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored.";
        min_calib_range: Option<f64>, K::Ignored, D::None, "Ignored.";
        max_calib_range: Option<f64>, K::Ignored, D::None, "Ignored.";
    }
}

fn batch_norm(v: &[Var], args: &Args) -> Result<Outs> {
    let (p, name) = (BatchNormParams::read(args), "BatchNorm");
    let dtype = v[0].dtype();
    float_only(name, dtype)?;
    let axis = axis_index(name, p.axis, v[0].ndim())?;
    let channels = v[0].shape()[axis];
    for (what, param) in ["gamma", "beta", "moving_mean", "moving_var"].into_iter().zip(&v[1..]) {
        check_shape(name, what, param, &[channels])?;
    }
    // Half-precision data come with float32 parameters.
    let x = if dtype == DType::F16 { v[0].cast(v[1].dtype()) } else { v[0].clone() };
    let axes: Vec<usize> = (0..x.ndim()).filter(|&a| a != axis).collect();
    let wide = |param: &Var| along(param, axis, x.ndim());
    let batch = crate::graph::mode::is_training() && !p.use_global_stats;
    let (mean, var) = if batch {
        let mean = x.fold(&MEAN, &axes, true);
        let var = (&x - &mean).square().fold(&MEAN, &axes, true);
        (mean, var)
    } else {
        (wide(&v[3].detached()), wide(&v[4].detached()))
    };
    let inverse = 1.0 / (&var + p.eps).sqrt();
    let slope = if p.fix_gamma { inverse.clone() } else { &inverse * wide(&v[1]) };
    let y = (&x - &mean) * slope + wide(&v[2]);
    let mut outs: Outs = smallvec![y.cast(dtype)];
    if p.output_mean_var {
        outs.extend([mean.reshape(&[channels]), inverse.reshape(&[channels])]);
    }
    for (moving, new) in [(&v[3], &mean), (&v[4], &var)] {
        let moving = moving.detached();
        outs.push(if batch {
            moving * p.momentum + new.detached().reshape(&[channels]) * (1.0 - p.momentum)
        } else {
            moving
        });
    }
    Ok(outs)
}

pub static BATCH_NORM: Op = Op {
    name: "BatchNorm",
    aliases: &[],
    doc: "Normalizes each channel over all other axes, then `* gamma + beta`: by the statistics of the batch while training, \
          else by the moving ones. Training moves them: `moving * momentum + batch * (1 - momentum)`, with the biased \
          variance. `gamma` counts as one unless `fix_gamma=False`.",
    inputs: &["data", "gamma", "beta", "moving_mean", "moving_var"],
    params: BatchNormParams::SPEC,
    method: false,
    writes: &[3, 4],
    kind: Kind::Compose(|v, args| batch_norm(v, args).or_throw()),
    grad: Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda data, gamma, beta, mean, var: (data - mean[:, None]) / np.sqrt(var[:, None] + 1e-3) + beta[:, None]",
        calls: &[(&[&[2, 3, 4], &[3], &[3], &[3], &[3]], "")],
    },
};

pub static OPS: Ops = &[&LAYER_NORM, &INSTANCE_NORM, &GROUP_NORM, &L2_NORMALIZATION, &LRN, &BATCH_NORM];
