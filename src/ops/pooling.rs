//! Pooling.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Error, Result, Shape};
use crate::cpu::conv::{Real, Windows};
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Kind, Meta, Op, Var, apply1};
use crate::ops::Ops;
use crate::ops::activation::float_only;
use crate::ops::conv::{per_axis, space};
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use crate::{ensure, rule};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));
const LINEAR: &str = "lambda *a: pooling(*a)";

// ---- parts ----------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct WindowParams {
        kernel: Ints, K::Ints, D::Required, "Size of the window, three numbers.";
        stride: Ints, K::Ints, D::Required, "Step from window to window.";
        pad: Ints, K::Ints, D::Required, "Padding on each side.";
        size: Ints, K::Ints, D::Required, "Size of the space.";
        out: Ints, K::Ints, D::Required, "How many windows there are.";
    }
}

impl WindowParams {
    fn windows(&self) -> Windows {
        let of = |v: &Ints| space(v.iter().map(|&v| v as usize), 1);
        let (size, out, kernel, stride, pad) =
            (of(&self.size), of(&self.out), of(&self.kernel), of(&self.stride), of(&self.pad));
        Windows { size, out, kernel, stride, dilate: [1; 3], pad }
    }
}

fn places(m: &Meta, args: &Args) -> Shape {
    let w = WindowParams::read(args).windows();
    [m.shape[0], w.out[0], w.out[1], w.out[2]].into()
}
fn points(m: &Meta, args: &Args) -> Shape {
    let w = WindowParams::read(args).windows();
    [m.shape[0], w.size[0], w.size[1], w.size[2]].into()
}

fn run(
    t: &[Tensor],
    args: &Args,
    out: &mut Output,
    f32s: fn(&Windows, &[f32], &[i64], &mut [f32]),
    f64s: fn(&Windows, &[f64], &[i64], &mut [f64]),
) -> Result<()> {
    let w = WindowParams::read(args).windows();
    let dense = t[0].dense()?;
    let index = match t.get(1) {
        Some(index) => index.to_vec::<i64>()?,
        None => Vec::new(),
    };
    match t[0].dtype() {
        DType::F64 => f64s(&w, dense.slice(), &index, out.slice()),
        _ => f32s(&w, dense.slice(), &index, out.slice()),
    }
    Ok(())
}

/// A linear map between planes and windows, and its transpose as gradient.
macro_rules! part {
    ($id:ident, $name:literal, $doc:literal, $inputs:expr, $shape:ident, |$w:ident, $x:ident, $index:ident, $out:ident| $run:expr,
     $back:expr) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: $inputs,
            params: WindowParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |m, args| Ok(smallvec![m[0].with_shape($shape(&m[0], args))]),
                cpu: |t, args, out| {
                    fn go<T: Real>($w: &Windows, $x: &[T], $index: &[i64], $out: &mut [T]) {
                        let _ = $index;
                        $run
                    }
                    run(t, args, &mut out[0], go::<f32>, go::<f64>)
                },
                gpu: None,
            },
            grad: rule!(
                FromInputs | c,
                g | [{
                    let back: &'static Op = $back;
                    let ins: SmallVec<[Var; 2]> =
                        std::iter::once(g.clone()).chain((1..c.count()).map(|i| c.input(i).clone())).collect();
                    apply1(back, &ins, c.args).or_throw()
                }]
            ),
            check: Check { range: ANY, like: LINEAR, calls: &[] },
        };
    };
}

part!(
    WINDOW_SUM,
    "_window_sum",
    "The sum over each window of planes `(N, D, H, W)`.",
    &["data"],
    places,
    |w, x, index, out| w.sum(x, out),
    &WINDOW_SPREAD
);
part!(
    WINDOW_SPREAD,
    "_window_spread",
    "The transpose of `_window_sum`.",
    &["head"],
    points,
    |w, x, index, out| w.spread(x, out),
    &WINDOW_SUM
);
// A window that covers nothing gives the lowest number, as in MXNet.
part!(
    WINDOW_PICK,
    "_window_pick",
    "The point of each window that `index` names.",
    &["data", "index"],
    places,
    |w, x, index, out| w.gather(
        x,
        index,
        T::from_f64(if size_of::<T>() == 4 { f32::MIN as f64 } else { f64::MIN }),
        out
    ),
    &WINDOW_PUT
);
part!(
    WINDOW_PUT,
    "_window_put",
    "The transpose of `_window_pick`.",
    &["head", "index"],
    points,
    |w, x, index, out| w.scatter(x, index, out),
    &WINDOW_PICK
);

pub static WINDOW_ARGMAX: Op = Op {
    name: "_window_argmax",
    aliases: &[],
    doc: "The point of each window where it is largest, the first of equals; -1 where it covers none.",
    inputs: &["data"],
    params: WindowParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |m, args| Ok(smallvec![Meta { shape: places(&m[0], args), dtype: DType::I64, device: m[0].device }]),
        cpu: |t, args, out| {
            let (w, dense) = (WindowParams::read(args).windows(), t[0].dense()?);
            match t[0].dtype() {
                DType::F64 => w.largest(dense.slice::<f64>(), out[0].slice()),
                _ => w.largest(dense.slice::<f32>(), out[0].slice()),
            }
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check { range: Err("constant almost everywhere"), like: LINEAR, calls: &[] },
};

// ---- Pooling --------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct PoolingParams {
        kernel: Ints, K::Ints, D::Ints(&[]), "Size of the window: one to three numbers.";
        pool_type: Arc<str>, K::Choice(&["max", "avg", "sum", "lp"]), D::Str("max"), "What is made of each window.";
        global_pool: bool, K::Bool, D::Bool(false), "Whether one window covers all; kernel, stride and pad do not matter.";
        cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored.";
        pooling_convention: Arc<str>, K::Choice(&["valid", "full"]), D::Str("valid"),
            "Whether a last window that reaches past the end is left out (`valid`) or kept (`full`).";
        stride: Ints, K::Ints, D::Ints(&[]), "Step from window to window; one by default.";
        pad: Ints, K::Ints, D::Ints(&[]), "Padding on each side; none by default.";
        p_value: Option<i64>, K::Int, D::None, "The exponent of `lp`: 1, 2 or 3.";
        count_include_pad: Option<bool>, K::Bool, D::None, "Whether padding counts in the divisor of `avg`; it does by default.";
        layout: Option<Arc<str>>, K::Choice(&["NCW", "NCHW", "NCDHW", "NWC", "NHWC", "NDHWC"]), D::None, "The order of axes.";
    }
}

/// The windows of each axis.
fn windows(p: &PoolingParams, size: &[usize]) -> Result<WindowParams> {
    let (name, rank) = ("Pooling", size.len());
    let dims: Ints = size.iter().map(|&d| d as i64).collect();
    if p.global_pool {
        let one: Ints = smallvec![1; rank];
        return Ok(WindowParams {
            kernel: dims.clone(),
            stride: one.clone(),
            pad: smallvec![0; rank],
            size: dims,
            out: one,
        });
    }
    let kernel = per_axis(name, "kernel", &p.kernel, rank, 1, 1)?;
    let stride = per_axis(name, "stride", &p.stride, rank, 1, 1)?;
    let pad = per_axis(name, "pad", &p.pad, rank, 0, 0)?;
    let full = match &*p.pooling_convention {
        "valid" => false,
        "full" => true,
        other => {
            return Err(Error::op(format_args!("{name}: pooling_convention, got '{other}', expected valid or full")));
        }
    };
    let mut out = Ints::new();
    for i in 0..rank {
        let room = dims[i] + 2 * pad[i] - kernel[i];
        ensure!(room >= 0, "{name}: kernel, got {} on axis {i}, expected at most {}", kernel[i], dims[i] + 2 * pad[i]);
        out.push(1 + if full { (room + stride[i] - 1) / stride[i] } else { room / stride[i] });
    }
    Ok(WindowParams { kernel, stride, pad, size: dims, out })
}

fn three(p: WindowParams) -> WindowParams {
    let fill = |v: Ints, neutral: i64| std::iter::repeat_n(neutral, 3 - v.len()).chain(v).collect();
    WindowParams {
        kernel: fill(p.kernel, 1),
        stride: fill(p.stride, 1),
        pad: fill(p.pad, 0),
        size: fill(p.size, 1),
        out: fill(p.out, 1),
    }
}

fn pooling(x: &Var, args: &Args) -> Result<Var> {
    let (p, name) = (PoolingParams::read(args), "Pooling");
    float_only(name, x.dtype())?;
    let rank = x.ndim().saturating_sub(2);
    let fits = (1..=3).contains(&rank) && (p.global_pool || p.kernel.len() == rank);
    ensure!(fits, "{name}: data, got shape {}, expected (N, C) and an axis for each number of kernel", show(x.shape()));
    if p.layout.as_deref().is_some_and(|l| !l.starts_with("NC")) {
        // Channels to the second place, and back.
        let there: Vec<usize> = [0, rank + 1].into_iter().chain(1..=rank).collect();
        let back: Vec<usize> = std::iter::once(0).chain(2..rank + 2).chain([1]).collect();
        let args = PoolingParams { layout: None, ..p }.args();
        return Ok(pooling(&x.transpose(&there), &args)?.transpose(&back));
    }
    let window = windows(&p, &x.shape()[2..])?;
    let shape: Shape = x.shape()[..2].iter().copied().chain(window.out.iter().map(|&d| d as usize)).collect();
    let window = three(window);
    let (w, args) = (window.windows(), window.args());
    let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let planes = x.cast(dtype).reshape(&[x.shape()[0] * x.shape()[1], w.size[0], w.size[1], w.size[2]]);
    let sum = |x: &Var| apply1(&WINDOW_SUM, std::slice::from_ref(x), &args);
    let y = match &*p.pool_type {
        "max" => {
            let index = apply1(&WINDOW_ARGMAX, &[planes.detached()], &args)?;
            apply1(&WINDOW_PICK, &[planes, index], &args)?
        }
        "sum" => sum(&planes)?,
        "avg" => {
            let counts = w.counts(p.count_include_pad.unwrap_or(true));
            let shares: Vec<f64> = counts.iter().map(|&n| if n == 0 { 0.0 } else { 1.0 / n as f64 }).collect();
            let shares = Tensor::from_slice(&[1, w.out[0], w.out[1], w.out[2]], &shares)?.cast(dtype)?;
            sum(&planes)? * Var::new(shares.on_device(planes.tensor.device())?)
        }
        "lp" => match p.p_value {
            Some(1) => sum(&planes)?,
            Some(2) => sum(&planes.square())?.sqrt(),
            Some(3) => sum(&(planes.square() * &planes))?.pow(1.0 / 3.0),
            other => return Err(Error::op(format_args!("{name}: p_value, got {other:?}, expected 1, 2 or 3 with lp"))),
        },
        other => return Err(Error::op(format_args!("{name}: pool_type, got '{other}', expected max, avg, sum or lp"))),
    };
    Ok(y.reshape(&shape).cast(x.dtype()))
}

pub static POOLING: Op = Op {
    name: "Pooling",
    aliases: &[],
    doc: "The maximum, mean, sum or p-norm over windows of one to three axes of space. Data are `(N, C, …)`.",
    inputs: &["data"],
    params: PoolingParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![pooling(&v[0], args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda data, kernel, pool_type='max', **kw: pooling(data, kernel, pool_type, **kw)",
        calls: &[
            (&[&[1, 2, 6]], "kernel=(2,), stride=(2,)"),
            (&[&[1, 2, 4, 5]], "kernel=(2, 2), pool_type='avg'"),
            (&[&[1, 1, 4, 4]], "kernel=(3, 3), pool_type='sum', pad=(1, 1), stride=(2, 2)"),
        ],
    },
};

pub static OPS: Ops = &[&WINDOW_SUM, &WINDOW_SPREAD, &WINDOW_PICK, &WINDOW_PUT, &WINDOW_ARGMAX, &POOLING];
