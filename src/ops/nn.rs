//! Dense layers and dropout.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result, Shape};
use crate::cpu::random::{
    Streams, dropout_keep_axes_f32, dropout_keep_axes_f64, dropout_keep_f64, fill_dropout_f32, with_streams,
};
use crate::ensure;
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Kind, Op, Var, mode};
use crate::ops::Ops;
use crate::ops::activation::float_only;
use crate::ops::softmax::flat;
use crate::tensor::Tensor;
use smallvec::smallvec;
use std::sync::Arc;

// ---- FullyConnected -------------------------------------------------------------------------------------------------

crate::params! {
    pub struct DenseParams {
        num_hidden: i64, K::Int, D::Required, "Length of the result's last axis.";
        no_bias: bool, K::Bool, D::Bool(false), "Whether there is no bias.";
        flatten: bool, K::Bool, D::Bool(true), "Whether all axes but the first are taken as one.";
    }
}

/// Checks that a layer got its bias, or got none.
pub fn check_bias(name: &str, inputs: &[Var], no_bias: bool) -> Result<()> {
    let expected = if no_bias { 2 } else { 3 };
    ensure!(
        inputs.len() == expected,
        "{name}: inputs, got {}, expected {expected} with no_bias={no_bias}",
        inputs.len()
    );
    Ok(())
}

/// Checks the shape of a layer's parameter.
pub fn check_shape(name: &str, what: &str, found: &Var, expected: &[usize]) -> Result<()> {
    ensure!(
        found.shape() == expected,
        "{name}: {what}, got shape {}, expected {}",
        show(found.shape()),
        show(expected)
    );
    Ok(())
}

fn dense(v: &[Var], args: &Args) -> Result<Var> {
    let p = DenseParams::read(args);
    let name = "FullyConnected";
    check_bias(name, v, p.no_bias)?;
    ensure!(p.num_hidden > 0, "{name}: num_hidden, got {}, expected one or more", p.num_hidden);
    ensure!(v[0].ndim() > 0, "{name}: data, expected at least one axis");
    let hidden = p.num_hidden as usize;
    let x = if p.flatten { flat(&v[0]) } else { v[0].clone() };
    check_shape(name, "weight", &v[1], &[hidden, x.shape()[x.ndim() - 1]])?;
    let y = x.dot(&v[1], false, true);
    if p.no_bias {
        return Ok(y);
    }
    check_shape(name, "bias", &v[2], &[hidden])?;
    Ok(y + &v[2])
}

pub static FULLY_CONNECTED: Op = Op {
    name: "FullyConnected",
    aliases: &[],
    doc: "A dense layer: `dot(data, weight.T) + bias`, with weight `(num_hidden, inputs)`. All axes of `data` but the first \
          are taken as one unless `flatten=False`, which works on the last axis.",
    inputs: &["data", "weight", "bias?"],
    params: DenseParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![dense(v, args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda data, weight, bias=0, num_hidden=0, no_bias=False, flatten=True: \
               (data.reshape(len(data), -1) if flatten else data) @ weight.T + bias",
        calls: &[
            (&[&[2, 3], &[4, 3], &[4]], "num_hidden=4"),
            (&[&[2, 3, 2], &[4, 6], &[4]], "num_hidden=4"),
            (&[&[2, 3, 2], &[4, 2]], "num_hidden=4, no_bias=True, flatten=False"),
        ],
    },
};

// ---- Dropout --------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct DropoutParams {
        p: f64, K::Float, D::Float(0.5), "The share of elements that become zero.";
        mode: Arc<str>, K::Choice(&["training", "always"]), D::Str("training"), "When to drop: while training, or always.";
        axes: Option<Ints>, K::Ints, D::None, "Axes along which elements share one fate.";
        cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored.";
    }
}

/// `keep` draws for each element of `shape`, as MXNet draws them.
fn mask(s: &mut Streams, shape: &[usize], dtype: DType, keep: f32, shared: bool) -> Result<Tensor> {
    let n = shape.iter().product();
    let value = 1.0 / keep;
    if dtype == DType::F32 {
        let mut out = vec![0f32; n];
        if shared {
            s.fill(&mut out, |_, e| if dropout_keep_axes_f32(e, keep) { value } else { 0.0 });
        } else {
            s.fill_slices(&mut out, |e, part| fill_dropout_f32(e, keep, value, part));
        }
        return Tensor::from_slice(shape, &out);
    }
    let kept = if shared { dropout_keep_axes_f64 } else { dropout_keep_f64 };
    let value = 1.0 / keep as f64;
    let mut out = vec![0f64; n];
    s.fill(&mut out, |_, e| if kept(e, keep) { value } else { 0.0 });
    Tensor::from_slice(shape, &out)?.cast(dtype)
}

fn dropout(x: &Var, args: &Args) -> Result<Var> {
    let p = DropoutParams::read(args);
    float_only("Dropout", x.dtype())?;
    ensure!((0.0..=1.0).contains(&p.p), "Dropout: p, got {}, expected 0 to 1", p.p);
    ensure!(matches!(&*p.mode, "training" | "always"), "Dropout: mode, got '{}', expected training or always", p.mode);
    let mut shape: Shape = x.shape().into();
    let axes = p.axes.unwrap_or_default();
    for &axis in &axes {
        shape[axis_index("Dropout", axis, x.ndim())?] = 1;
    }
    if p.p == 0.0 || !(mode::is_training() || &*p.mode == "always") {
        return Ok(x.clone());
    }
    if p.p == 1.0 {
        // MXNet gives nan here: zero over zero.
        return Ok(x * 0.0);
    }
    let mask = with_streams(|s| mask(s, &shape, x.dtype(), 1.0 - p.p as f32, !axes.is_empty()))?;
    Ok(x * Var::new(mask.on_device(x.tensor.device())?))
}

pub static DROPOUT: Op = Op {
    name: "Dropout",
    aliases: &[],
    doc: "While training, makes each element zero with probability `p` and divides the others by `1 - p`; otherwise the \
          elements as they are.",
    inputs: &["data"],
    params: DropoutParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![dropout(&v[0], args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: Err("random"),
        like: "lambda data, p=0.5: data",
        calls: &[(&[&[2, 3]], ""), (&[&[3]], "p=0.25")],
    },
};

pub static OPS: Ops = &[&FULLY_CONNECTED, &DROPOUT];
