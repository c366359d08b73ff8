//! Rows normalized to mean zero and variance one: the kernel under the normalization layers, and its gradient.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result, Shape};
use crate::cpu::rows::{self, Row};
use crate::ensure;
use crate::graph::{Args, Check, Grad, GradCtx, Grads, Kind, Meta, Op, Var, apply, apply1};
use crate::ops::activation::float_only;
use crate::ops::reduce::MEAN;
use crate::ops::{Ops, device};
use crate::tensor::Tensor;
use crate::tensor::kernel::{Dense, Output};
use smallvec::{SmallVec, smallvec};

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

crate::params! {
    pub struct RowNormParams { eps: f64, K::Float, D::Float(1e-5), "Added to the variance."; }
}

/// The shape of one value for each row.
fn per_row(shape: &[usize]) -> Shape {
    let mut out: Shape = shape.into();
    out.iter_mut().next_back().into_iter().for_each(|d| *d = 1);
    out
}

fn infer(m: &[Meta], _: &Args) -> Result<SmallVec<[Meta; 1]>> {
    let name = "_row_norm";
    float_only(name, m[0].dtype)?;
    ensure!(m[0].shape.last().is_some_and(|&n| n > 0), "{name}: got shape {}, expected elements", show(&m[0].shape));
    for param in &m[1..] {
        let last = &m[0].shape[m[0].shape.len() - 1..];
        let fits = param.shape.as_slice() == last && param.dtype == m[0].dtype;
        ensure!(fits, "{name}: got {} {}, expected {} {}", param.dtype, show(&param.shape), m[0].dtype, show(last));
    }
    let row = m[0].with_shape(per_row(&m[0].shape));
    Ok(smallvec![m[0].clone(), row.clone(), row])
}

fn forward<T: Row>(t: &[Tensor], eps: f64, out: &mut [Output]) -> Result<()> {
    let n = t[0].shape().last().copied().unwrap_or(1);
    let dense = Dense::all(t, T::DTYPE)?;
    let affine = if let [_, gamma, beta] = &dense[..] { Some((gamma.slice::<T>(), beta.slice::<T>())) } else { None };
    let x = dense[0].slice::<T>();
    let [y, mean, std] = out else { return Ok(()) };
    if t[0].dtype() == T::DTYPE {
        rows::layer_norm(x, affine, n, eps, y.slice::<T>(), mean.slice::<T>(), std.slice::<T>());
        return Ok(());
    }
    let rows = x.len() / n;
    let (mut wy, mut wm, mut ws) = (vec![T::default(); x.len()], vec![T::default(); rows], vec![T::default(); rows]);
    rows::layer_norm(x, affine, n, eps, &mut wy, &mut wm, &mut ws);
    for (out, wide) in [(y, wy), (mean, wm), (std, ws)] {
        narrow(out, t[0].dtype(), &wide);
    }
    Ok(())
}

/// Stores values computed in a wider dtype.
fn narrow<T: Row>(out: &mut Output, dtype: DType, wide: &[T]) {
    crate::with_dtype!(dtype, U => crate::cpu::cast::cast_slice(wide, out.slice::<U>()));
}

/// Whether a gradient is the constant zero that stands for an output nobody used.
fn absent(g: &Var) -> bool {
    g.edge.is_none() && g.tensor.number().is_some_and(|n| n.to_f64() == 0.0)
}

/// Rows with mean zero and variance one.
fn hat(x: &Var, mean: &Var, std: &Var) -> Var {
    (x - mean) / std
}

fn row_norm_rule(c: &GradCtx, grads: &[Var]) -> Grads {
    let (g, x, mean, std) = (&grads[0], c.input(0), c.output(1), c.output(2));
    let n = c.shape(0).last().copied().unwrap_or(1);
    let mut out = Grads::new();
    out.push(c.needs(0).then(|| {
        let mut ins = vec![x.clone(), mean.clone(), std.clone(), g.clone()];
        if c.count() > 1 {
            ins.push(c.input(1).clone());
        }
        let mut dx = apply1(&ROW_NORM_GRAD, &ins, &Args::new()).or_throw();
        if !absent(&grads[1]) {
            dx = dx + &grads[1] * (1.0 / n as f64);
        }
        if !absent(&grads[2]) {
            dx = dx + hat(x, mean, std) * (&grads[2] * (1.0 / n as f64));
        }
        dx
    }));
    out.push(c.needs(1).then(|| (g * hat(x, mean, std)).sum_to(&[n])));
    out.push(c.needs(2).then(|| g.sum_to(&[n])));
    out
}

pub static ROW_NORM: Op = Op {
    name: "_row_norm",
    aliases: &[],
    doc: "Rows (the last axis) with mean zero and variance one, `* gamma + beta`; their means; their standard deviations.",
    inputs: &["data", "gamma?", "beta?"],
    params: RowNormParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer,
        cpu: |t, args, out| {
            let eps = RowNormParams::read(args).eps;
            if t[0].dtype() == DType::F64 { forward::<f64>(t, eps, out) } else { forward::<f32>(t, eps, out) }
        },
        gpu: Some(|t, args, wanted| device::row_norm(t, RowNormParams::read(args).eps, wanted)),
    },
    grad: Grad::FromBoth(row_norm_rule),
    check: Check {
        range: ANY,
        like: "lambda data, gamma=1, beta=0, eps=1e-5: ((data - data.mean(-1, keepdims=True)) / \
               np.sqrt(data.var(-1, keepdims=True) + eps) * gamma + beta, data.mean(-1, keepdims=True), \
               np.sqrt(data.var(-1, keepdims=True) + eps))",
        calls: &[(&[&[2, 5]], ""), (&[&[2, 3, 4], &[4], &[4]], "")],
    },
};

fn backward<T: Row>(t: &[Tensor], out: &mut Output) -> Result<()> {
    let n = t[0].shape().last().copied().unwrap_or(1);
    // The gradient that comes in is read once, and computed on the way.
    let head = t[3].cast(T::DTYPE)?;
    let dense = Dense::all(t[..3].iter().chain(t.get(4)), T::DTYPE)?;
    let s: SmallVec<[&[T]; 4]> = dense.iter().map(|d| d.slice::<T>()).collect();
    let gamma = s.get(3).copied();
    head.feed::<T, _>(|head| {
        if t[0].dtype() == T::DTYPE {
            rows::layer_norm_grad(s[0], head, gamma, n, s[1], s[2], out.slice::<T>());
        } else {
            let mut wide = vec![T::default(); s[0].len()];
            rows::layer_norm_grad(s[0], head, gamma, n, s[1], s[2], &mut wide);
            narrow(out, t[0].dtype(), &wide);
        }
    })
}

/// The mean of each row.
fn row_mean(x: &Var) -> Var {
    x.fold(&MEAN, &[x.ndim() - 1], true)
}
fn row_sum(x: &Var) -> Var {
    x.sum_axes(&[x.ndim() - 1], true)
}

// With a = head * gamma, u = (data - mean) / std and P(v) = (v - mean(v) - u * mean(v * u)) / std, the op is P(a). P is
// its own transpose, and `du` below is the gradient with respect to u.
pub static ROW_NORM_GRAD: Op = Op {
    name: "_row_norm_grad",
    aliases: &[],
    doc: "The gradient of `_row_norm` with respect to `data`, mean and deviation taken into account.",
    inputs: &["data", "mean", "std", "head", "gamma?"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |m, _| {
            let row = per_row(&m[0].shape);
            ensure!(
                m[3] == m[0] && m[1].shape == row && m[2].shape == row && m.iter().all(|o| o.dtype == m[0].dtype),
                "_row_norm_grad: rows and one value for each expected"
            );
            Ok(smallvec![m[0].clone()])
        },
        cpu: |t, _, out| {
            if t[0].dtype() == DType::F64 { backward::<f64>(t, &mut out[0]) } else { backward::<f32>(t, &mut out[0]) }
        },
        gpu: Some(device::row_norm_grad),
    },
    grad: Grad::FromBoth(|c, grads| {
        let (h, x, mean, std, g) = (&grads[0], c.input(0), c.input(1), c.input(2), c.input(3));
        let u = hat(x, mean, std);
        let a = if c.count() > 4 { g * c.input(4) } else { g.clone() };
        let du = -(h * row_mean(&(&a * &u)) + &a * row_mean(&(h * &u))) / std;
        let back =
            || apply1(&ROW_NORM_GRAD, &[x.clone(), mean.clone(), std.clone(), h.clone()], &Args::new()).or_throw();
        let mut out = Grads::new();
        out.push(c.needs(0).then(|| &du / std));
        out.push(c.needs(1).then(|| -(row_sum(&du) / std)));
        out.push(c.needs(2).then(|| -(row_sum(&(h * c.output(0) + &du * &u)) / std)));
        out.push(c.needs(3).then(|| if c.count() > 4 { back() * c.input(4) } else { back() }));
        out.push(c.needs(4).then(|| (back() * g).sum_to(c.shape(4))));
        out
    }),
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda data, mean, std, head: (lambda u: (head - head.mean(-1, keepdims=True) - \
               u * (head * u).mean(-1, keepdims=True)) / std)((data - mean) / std)",
        calls: &[(&[&[2, 5], &[2, 1], &[2, 1], &[2, 5]], "")],
    },
};

/// `[normalized, mean, deviation]` of rows.
pub fn row_norm(x: &Var, affine: &[Var], eps: f64) -> SmallVec<[Var; 1]> {
    let mut ins: SmallVec<[Var; 3]> = smallvec![x.clone()];
    ins.extend(affine.iter().cloned());
    apply(&ROW_NORM, &ins, &RowNormParams { eps }.args()).or_throw()
}

pub static OPS: Ops = &[&ROW_NORM, &ROW_NORM_GRAD];
