//! Softmax and its relatives.

use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::cpu::feed::Feed;
use crate::cpu::rows::{self, Extent, Row, Soft};
use crate::graph::op::axis_index;
use crate::graph::{Args, Check, Grad, GradCtx, Kind, Meta, Op, Var, apply1};
use crate::ops::{Ops, device};
use crate::tensor::Tensor;
use crate::tensor::kernel::{Dense, Output};
use crate::{ensure, rule};
use half::f16;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));
const CALLS: &[(&[&[usize]], &str)] = &[
    (&[&[2, 3]], ""),
    (&[&[2, 3, 4]], "axis=1"),
    (&[&[2, 3, 4]], "axis=0, temperature=2.0"),
    (&[&[4]], "temperature=0.5"),
];

crate::params! {
    pub struct SoftmaxParams {
        axis: i64, K::Int, D::Int(-1), "The axis along which elements are normalized.";
        temperature: Option<f64>, K::Float, D::None, "What elements are divided by first; one where absent.";
        dtype: Option<DType>, K::DType, D::None, "Dtype of the result; that of `data` where absent.";
        use_length: Option<bool>, K::Bool, D::Bool(false), "Whether `length` says how many elements of each row count.";
    }
}

impl SoftmaxParams {
    fn scale(&self) -> f64 {
        1.0 / self.temperature.unwrap_or(1.0)
    }
}

/// The dtype that rows are computed in.
fn wide(a: DType, b: DType) -> DType {
    if a == DType::F64 || b == DType::F64 { DType::F64 } else { DType::F32 }
}

fn infer(name: &str, m: &[Meta], args: &Args) -> Result<SmallVec<[Meta; 1]>> {
    let p = SoftmaxParams::read(args);
    let data = &m[0];
    let axis = axis_index(name, p.axis, data.shape.len())?;
    let dtype = p.dtype.unwrap_or(data.dtype);
    ensure!(dtype.is_float(), "{name}: dtype, got {dtype}, expected a float dtype");
    match (m.get(1), p.use_length.unwrap_or(false)) {
        (None, false) => {}
        (Some(length), true) => {
            let mut rows = data.shape.clone();
            rows.remove(axis);
            ensure!(
                matches!(length.dtype, DType::I32 | DType::I64),
                "{name}: length, got {}, expected int32 or int64",
                length.dtype
            );
            ensure!(
                length.shape == rows,
                "{name}: length, got shape {}, expected {}",
                show(&length.shape),
                show(&rows)
            );
        }
        (found, _) => {
            let got = found.map_or("none", |_| "one");
            crate::ensure!(false, "{name}: length, got {got}, expected it with use_length=True only");
        }
    }
    Ok(smallvec![Meta { dtype, ..data.clone() }])
}

/// Runs `f` on the rows of `x` and the result, both of dtype `T`.
fn fed<T: Row>(x: &Tensor, out: &mut Output, f: impl FnOnce(&Feed<T>, &mut [T])) -> Result<()> {
    x.feed::<T, _>(|x| f(x, out.slice()))
}

/// Whether rows of float16 can be widened one by one.
fn in_halves(a: DType, b: DType, e: Extent) -> bool {
    (a, b) == (DType::F16, DType::F16) && e.inner == 1
}

/// Runs a kernel on `T` slices of the operands; where the result has another dtype, it is converted.
fn in_rows<T: Row>(ins: &[Tensor], out: &mut Output, dtype: DType, f: impl Fn(&[&[T]], &mut [T])) -> Result<()> {
    let dense = Dense::all(ins, T::DTYPE)?;
    let slices: SmallVec<[&[T]; 3]> = dense.iter().map(|d| d.slice::<T>()).collect();
    if dtype == T::DTYPE {
        f(&slices, out.slice::<T>());
        return Ok(());
    }
    let mut temp = vec![T::default(); ins[0].numel()];
    f(&slices, &mut temp);
    crate::with_dtype!(dtype, U => crate::cpu::cast::cast_slice(&temp, out.slice::<U>()));
    Ok(())
}

fn forward(t: &[Tensor], args: &Args, out: &mut [Output], sign: f64, kind: Soft) -> Result<()> {
    let p = SoftmaxParams::read(args);
    let axis = axis_index("softmax", p.axis, t[0].ndim())?;
    let extent = Extent::of(t[0].shape(), axis);
    let lengths = match t.get(1) {
        Some(length) => Some(length.to_vec::<i64>()?),
        None => None,
    };
    let dtype = p.dtype.unwrap_or(t[0].dtype());
    let scale = sign * p.scale();
    if in_halves(t[0].dtype(), dtype, extent) && lengths.is_none() {
        let x = t[0].dense()?;
        rows::softmax_cast::<f16, f32>(x.slice(), out[0].slice(), extent.n, scale, kind);
        return Ok(());
    }
    if t[0].dtype() == dtype && extent.fed() && lengths.is_none() {
        return match dtype {
            DType::F64 => fed::<f64>(&t[0], &mut out[0], |x, y| rows::softmax_rows(x, y, extent.n, scale, kind)),
            _ => fed::<f32>(&t[0], &mut out[0], |x, y| rows::softmax_rows(x, y, extent.n, scale, kind)),
        };
    }
    if wide(t[0].dtype(), dtype) == DType::F64 {
        in_rows::<f64>(&t[..1], &mut out[0], dtype, |x, y| {
            rows::softmax(x[0], y, extent, scale, kind, lengths.as_deref())
        })
    } else {
        in_rows::<f32>(&t[..1], &mut out[0], dtype, |x, y| {
            rows::softmax(x[0], y, extent, scale, kind, lengths.as_deref())
        })
    }
}

fn on_gpu(t: &[Tensor], args: &Args, wanted: &[Meta], sign: f64, kind: Soft) -> Result<Option<SmallVec<[Tensor; 1]>>> {
    let p = SoftmaxParams::read(args);
    if t.len() > 1 {
        return Ok(None);
    }
    let axis = axis_index("softmax", p.axis, t[0].ndim())?;
    device::softmax(&t[0], axis, sign * p.scale(), kind == Soft::Log, &wanted[0])
}

/// The gradient of `softmax` and `softmin`; `log` for the logarithm.
fn gradient(c: &GradCtx, g: &Var, sign: f64, log: bool) -> Var {
    let p = SoftmaxParams::read(c.args);
    c.output(0).softmax_grad(g, p.axis, sign * p.scale(), log)
}

macro_rules! softmax {
    ($id:ident, $name:literal, $inputs:expr, $doc:literal, $sign:literal, $kind:ident, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: $inputs,
            params: SoftmaxParams::SPEC,
            method: true,
            writes: &[],
            kind: Kind::Kernel {
                infer: |m, args| infer($name, m, args),
                cpu: |t, args, out| forward(t, args, out, $sign, Soft::$kind),
                gpu: Some(|t, args, wanted| on_gpu(t, args, wanted, $sign, Soft::$kind)),
            },
            grad: rule!(FromOutput | c, g | [gradient(c, g, $sign, Soft::$kind == Soft::Log), Var::scalar(0.0)]),
            check: Check { range: ANY, like: $like, calls: CALLS },
        };
    };
}

softmax!(
    SOFTMAX,
    "softmax",
    &["data", "length?"],
    "`exp(data / temperature)` divided by its sum along an axis. With `use_length=True`, elements from `length` on are \
     zero.",
    1.0,
    Plain,
    "lambda data, axis=-1, temperature=1.0: softmax(data / temperature, axis)"
);
softmax!(
    SOFTMIN,
    "softmin",
    DATA,
    "Softmax of `-data`.",
    -1.0,
    Plain,
    "lambda data, axis=-1, temperature=1.0: softmax(-data / temperature, axis)"
);
softmax!(
    LOG_SOFTMAX,
    "log_softmax",
    DATA,
    "Logarithm of `softmax`, computed without overflow or cancellation.",
    1.0,
    Log,
    "lambda data, axis=-1, temperature=1.0: np.log(softmax(data / temperature, axis))"
);

// ---- gradient -------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct SoftmaxGradParams {
        axis: i64, K::Int, D::Int(-1), "The axis of the softmax.";
        scale: f64, K::Float, D::Float(1.0), "What the result is multiplied by.";
        log: bool, K::Bool, D::Bool(false), "Whether `output` is the logarithm of a softmax.";
    }
}

impl Var {
    fn softmax_grad(&self, g: &Var, axis: i64, scale: f64, log: bool) -> Var {
        use crate::base::error::OrThrow;
        let g = g.cast(self.dtype());
        apply1(&SOFTMAX_GRAD, &[self.clone(), g], &SoftmaxGradParams { axis, scale, log }.args()).or_throw()
    }
    /// Softmax along an axis.
    pub fn softmax(&self, axis: i64) -> Var {
        self.with(&SOFTMAX, SoftmaxParams { axis, temperature: None, dtype: None, use_length: None }.args())
    }
    pub fn log_softmax(&self, axis: i64) -> Var {
        self.with(&LOG_SOFTMAX, SoftmaxParams { axis, temperature: None, dtype: None, use_length: None }.args())
    }
}

pub static SOFTMAX_GRAD: Op = Op {
    name: "_softmax_grad",
    aliases: &[],
    doc: "The gradient of softmax from its output: `scale * output * (head - sum(output * head))`, or with `log` \
          `scale * (head - exp(output) * sum(head))`.",
    inputs: &["output", "head"],
    params: SoftmaxGradParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |m, args| {
            axis_index("_softmax_grad", SoftmaxGradParams::read(args).axis, m[0].shape.len())?;
            ensure!(
                m[0] == m[1] && m[0].dtype.is_float(),
                "_softmax_grad: float arrays of one shape and dtype expected"
            );
            Ok(smallvec![m[0].clone()])
        },
        cpu: |t, args, out| {
            let p = SoftmaxGradParams::read(args);
            let extent = Extent::of(t[0].shape(), axis_index("_softmax_grad", p.axis, t[0].ndim())?);
            let kind = if p.log { Soft::Log } else { Soft::Plain };
            let dtype = t[0].dtype();
            if in_halves(dtype, dtype, extent) {
                let (y, g) = (t[0].dense()?, t[1].dense()?);
                rows::softmax_grad_cast::<f16, f32>(y.slice(), g.slice(), out[0].slice(), extent.n, p.scale, kind);
                return Ok(());
            }
            if extent.inner == 1
                && let Some((values, places)) = t[1].placed_in_rows()
            {
                let (y, v, at) = (t[0].dense()?, values.dense()?, places.dense()?);
                let (at, n) = (at.slice::<i64>(), extent.n);
                match dtype {
                    DType::F64 => {
                        rows::softmax_grad_put::<f64>(y.slice(), v.slice(), at, out[0].slice(), n, p.scale, kind)
                    }
                    _ => rows::softmax_grad_put::<f32>(y.slice(), v.slice(), at, out[0].slice(), n, p.scale, kind),
                }
                return Ok(());
            }
            if extent.fed() {
                let (y, n) = (t[0].dense()?, extent.n);
                return match dtype {
                    DType::F64 => fed::<f64>(&t[1], &mut out[0], |g, out| {
                        rows::softmax_grad_rows(y.slice(), g, out, n, p.scale, kind)
                    }),
                    _ => fed::<f32>(&t[1], &mut out[0], |g, out| {
                        rows::softmax_grad_rows(y.slice(), g, out, n, p.scale, kind)
                    }),
                };
            }
            if dtype == DType::F64 {
                in_rows::<f64>(t, &mut out[0], dtype, |x, y| rows::softmax_grad(x[0], x[1], y, extent, p.scale, kind))
            } else {
                in_rows::<f32>(t, &mut out[0], dtype, |x, y| rows::softmax_grad(x[0], x[1], y, extent, p.scale, kind))
            }
        },
        gpu: Some(|t, args, wanted| {
            let p = SoftmaxGradParams::read(args);
            device::softmax_grad(t, axis_index("_softmax_grad", p.axis, t[0].ndim())?, p.scale, p.log, &wanted[0])
        }),
    },
    grad: rule!(
        FromInputs | c,
        h | [
            {
                let p = SoftmaxGradParams::read(c.args);
                let (y, g) = (c.input(0), c.input(1));
                let axis = [axis_index("_softmax_grad", p.axis, y.ndim()).unwrap_or(0)];
                if p.log {
                    -(h * y.exp() * g.sum_axes(&axis, true)) * p.scale
                } else {
                    (h * (g - (g * y).sum_axes(&axis, true)) - g * (h * y).sum_axes(&axis, true)) * p.scale
                }
            },
            {
                let p = SoftmaxGradParams::read(c.args);
                let y = c.input(0);
                if p.log {
                    let axis = [axis_index("_softmax_grad", p.axis, y.ndim()).unwrap_or(0)];
                    (h - (h * y.exp()).sum_axes(&axis, true)) * p.scale
                } else {
                    y.softmax_grad(h, p.axis, p.scale, false)
                }
            }
        ]
    ),
    check: Check {
        range: ANY,
        like: "lambda output, head, axis=-1, scale=1.0, log=False: scale * (head - np.exp(output) * head.sum(axis, keepdims=True) \
               if log else output * (head - (output * head).sum(axis, keepdims=True)))",
        calls: &[
            (&[&[2, 3], &[2, 3]], ""),
            (&[&[2, 3, 2], &[2, 3, 2]], "axis=1, scale=0.5"),
            (&[&[2, 3], &[2, 3]], "log=True"),
        ],
    },
};

// ---- older names ----------------------------------------------------------------------------------------------------

crate::params! {
    pub struct SoftmaxActivationParams {
        mode: Arc<str>, K::Choice(&["instance", "channel"]), D::Str("instance"),
            "`instance`: over all axes but the first; `channel`: along axis one.";
    }
}

pub static SOFTMAX_ACTIVATION: Op = Op {
    name: "SoftmaxActivation",
    aliases: &[],
    doc: "Softmax over all elements of each sample, or along axis one. Use `softmax` in new code.",
    inputs: DATA,
    params: SoftmaxActivationParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let x = &v[0];
        if &*SoftmaxActivationParams::read(args).mode == "channel" {
            return smallvec![x.softmax(1)];
        }
        smallvec![flat(x).softmax(-1).reshape(x.shape())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, mode='instance': softmax(data, 1) if mode == 'channel' else \
               softmax(data.reshape(len(data), -1), 1).reshape(data.shape)",
        calls: &[(&[&[2, 3]], ""), (&[&[2, 3, 2]], ""), (&[&[2, 3, 2]], "mode='channel'")],
    },
};

/// All axes but the first as one.
pub fn flat(x: &Var) -> Var {
    let lead = x.shape().first().copied().unwrap_or(1);
    x.reshape(&[lead, x.shape().iter().skip(1).product()])
}

pub static OPS: Ops = &[&SOFTMAX, &SOFTMIN, &LOG_SOFTMAX, &SOFTMAX_GRAD, &SOFTMAX_ACTIVATION];
