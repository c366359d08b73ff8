//! Convolution and its transpose.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result, Shape};
use crate::cpu::conv::{Conv, Real, Space, Windows};
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Kind, Meta, Op, Var, apply1};
use crate::ops::Ops;
use crate::ops::nn::{check_bias, check_shape};
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use crate::{ensure, rule};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

// ---- geometry -------------------------------------------------------------------------------------------------------

/// A tuple with one entry for each axis of space; `default` where it is empty.
pub fn per_axis(name: &str, what: &str, given: &Ints, ndim: usize, least: i64, default: i64) -> Result<Ints> {
    if given.is_empty() {
        return Ok(smallvec![default; ndim]);
    }
    ensure!(given.len() == ndim, "{name}: {what}, got {} numbers, expected {ndim} as in kernel", given.len());
    let fits = given.iter().all(|&v| v >= least && v < 1 << 31);
    ensure!(fits, "{name}: {what}, got {:?}, expected {least} or more", given.as_slice());
    Ok(given.clone())
}

/// Up to three axes as three, ones (or another neutral number) in front.
pub fn space(dims: impl DoubleEndedIterator<Item = usize>, neutral: usize) -> Space {
    let mut out = [neutral; 3];
    out.iter_mut().rev().zip(dims.rev()).for_each(|(o, d)| *o = d);
    out
}

fn counts(v: &Ints, neutral: usize) -> Space {
    space(v.iter().map(|&v| v as usize), neutral)
}

crate::params! {
    pub struct GeometryParams {
        kernel: Ints, K::Ints, D::Required, "Size of the window.";
        stride: Ints, K::Ints, D::Required, "Step from window to window.";
        dilate: Ints, K::Ints, D::Required, "Step inside the window.";
        pad: Ints, K::Ints, D::Required, "Zeros on each side.";
        groups: i64, K::Int, D::Int(1), "Into how many groups channels are divided.";
        size: Ints, K::Ints, D::Required, "Size of the space that windows read.";
    }
}

impl GeometryParams {
    /// The windows over space.
    fn windows(&self, name: &str) -> Result<Windows> {
        let n = self.kernel.len();
        let mut out: SmallVec<[usize; 3]> = smallvec![];
        for i in 0..n {
            let (size, pad) = (self.size[i], self.pad[i]);
            let reach = self.dilate[i] * (self.kernel[i] - 1) + 1;
            let room = size + 2 * pad - reach;
            ensure!(
                room >= 0,
                "{name}: kernel, got {reach} on axis {i} with dilation, expected at most {}",
                size + 2 * pad
            );
            out.push((room / self.stride[i] + 1) as usize);
        }
        Ok(Windows {
            size: counts(&self.size, 1),
            out: space(out.into_iter(), 1),
            kernel: counts(&self.kernel, 1),
            stride: counts(&self.stride, 1),
            dilate: counts(&self.dilate, 1),
            pad: counts(&self.pad, 0),
        })
    }
    fn out(&self, windows: &Windows) -> Shape {
        windows.out[3 - self.kernel.len()..].into()
    }
    fn size(&self) -> Shape {
        self.size.iter().map(|&d| d as usize).collect()
    }
    /// The convolution of `n` samples with `groups * c` channels to `groups * f`.
    fn conv(&self, name: &str, n: usize, c: usize, f: usize) -> Result<Conv> {
        Ok(Conv { n, groups: self.groups as usize, c, f, windows: self.windows(name)? })
    }
}

fn check_dtype(name: &str, m: &[Meta]) -> Result<()> {
    let fits = m[0].dtype == m[1].dtype && matches!(m[0].dtype, DType::F32 | DType::F64);
    ensure!(fits, "{name}: dtypes, got {} and {}, expected float32 or float64 for both", m[0].dtype, m[1].dtype);
    Ok(())
}

fn shaped(like: &Meta, lead: [usize; 2], rest: &[usize]) -> SmallVec<[Meta; 1]> {
    smallvec![like.with_shape(lead.into_iter().chain(rest.iter().copied()).collect())]
}

type Run<T> = fn(&Conv, &[T], &[T], &mut [T]);

fn run(a: &Tensor, b: &Tensor, conv: &Conv, out: &mut Output, f32s: Run<f32>, f64s: Run<f64>) -> Result<()> {
    let (da, db) = (a.dense()?, b.dense()?);
    if a.dtype() == DType::F64 {
        f64s(conv, da.slice(), db.slice(), out.slice());
    } else {
        f32s(conv, da.slice(), db.slice(), out.slice());
    }
    Ok(())
}

// ---- three products that are each other's gradients -----------------------------------------------------------------

fn product(op: &'static Op, a: &Var, b: &Var, args: &Args) -> Var {
    apply1(op, &[a.clone(), b.clone()], args).or_throw()
}

macro_rules! product {
    ($id:ident, $name:literal, $doc:literal, $inputs:expr, $infer:expr, |$m:ident, $p:ident| $conv:expr, $run:ident,
     $grad_a:expr, $grad_b:expr, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: $inputs,
            params: GeometryParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::LateKernel {
                infer: |m, args| {
                    check_dtype($name, m)?;
                    let infer: fn(&[Meta], &GeometryParams, &Windows) -> SmallVec<[Meta; 1]> = $infer;
                    let p = GeometryParams::read(args);
                    Ok(infer(m, &p, &p.windows($name)?))
                },
                cpu: |$m, args, out| {
                    let $p = GeometryParams::read(args);
                    let conv = $conv?;
                    fn go<T: Real>(conv: &Conv, a: &[T], b: &[T], out: &mut [T]) {
                        conv.$run(a, b, out)
                    }
                    run(&$m[0], &$m[1], &conv, &mut out[0], go::<f32>, go::<f64>)
                },
                gpu: None,
            },
            grad: rule!(
                FromInputs | c,
                g | [
                    {
                        let (op, first): (&'static Op, bool) = $grad_a;
                        if first { product(op, g, c.input(1), c.args) } else { product(op, c.input(1), g, c.args) }
                    },
                    {
                        let (op, first): (&'static Op, bool) = $grad_b;
                        if first { product(op, g, c.input(0), c.args) } else { product(op, c.input(0), g, c.args) }
                    }
                ]
            ),
            check: Check { range: ANY, like: $like, calls: &[] },
        };
    };
}

product!(
    CONV,
    "_conv",
    "Cross-correlation of samples `(N, C, …)` with weights `(F, C / groups, …)`.",
    &["data", "weight"],
    |m, p, w| shaped(&m[0], [m[0].shape[0], m[1].shape[0]], &p.out(w)),
    |t, p| p.conv("_conv", t[0].shape()[0], t[1].shape()[1], t[1].shape()[0] / p.groups as usize),
    forward,
    (&CONV_DATA, true),
    (&CONV_WEIGHT, false),
    "lambda data, weight: conv(data, weight)"
);

product!(
    CONV_DATA,
    "_conv_data",
    "The transpose of `_conv` as a map of the data.",
    &["head", "weight"],
    |m, p, _| shaped(&m[0], [m[0].shape[0], m[1].shape[1] * p.groups as usize], &p.size()),
    |t, p| p.conv("_conv_data", t[0].shape()[0], t[1].shape()[1], t[1].shape()[0] / p.groups as usize),
    backward_data,
    (&CONV, true),
    (&CONV_WEIGHT, true),
    "lambda head, weight: conv_data(head, weight)"
);

product!(
    CONV_WEIGHT,
    "_conv_weight",
    "The transpose of `_conv` as a map of the weight.",
    &["data", "head"],
    |m, p, _| {
        let kernel: Shape = p.kernel.iter().map(|&k| k as usize).collect();
        shaped(&m[0], [m[1].shape[1], m[0].shape[1] / p.groups as usize], &kernel)
    },
    |t, p| {
        let groups = p.groups as usize;
        p.conv("_conv_weight", t[0].shape()[0], t[0].shape()[1] / groups, t[1].shape()[1] / groups)
    },
    backward_weight,
    (&CONV_DATA, false),
    (&CONV, false),
    "lambda data, head: conv_weight(data, head)"
);

// ---- Convolution ----------------------------------------------------------------------------------------------------

const LAYOUTS: &[&str] = &["NCW", "NCHW", "NCDHW", "NHWC", "NDHWC"];

crate::params! {
    pub struct ConvParams {
        kernel: Ints, K::Ints, D::Required, "Size of the window: one to three numbers.";
        stride: Ints, K::Ints, D::Ints(&[]), "Step from window to window; one by default.";
        dilate: Ints, K::Ints, D::Ints(&[]), "Step inside the window; one by default.";
        pad: Ints, K::Ints, D::Ints(&[]), "Zeros on each side; none by default.";
        num_filter: i64, K::Int, D::Required, "How many channels come out.";
        num_group: i64, K::Int, D::Int(1), "Into how many groups channels are divided.";
        workspace: Option<i64>, K::Ignored, D::None, "Ignored.";
        no_bias: bool, K::Bool, D::Bool(false), "Whether there is no bias.";
        cudnn_tune: Option<i64>, K::Ignored, D::None, "Ignored.";
        cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored.";
        layout: Option<Arc<str>>, K::Choice(LAYOUTS), D::None, "The order of axes; channels come second.";
    }
}

/// Checks what convolutions share; gives the rank of space.
fn check_layer(name: &str, x: &Var, kernel: &Ints, filters: i64, groups: i64, layout: Option<&str>) -> Result<usize> {
    let rank = kernel.len();
    ensure!((1..=3).contains(&rank), "{name}: kernel, got {rank} numbers, expected one to three");
    ensure!(
        x.ndim() == rank + 2,
        "{name}: data, got shape {}, expected {} axes for a kernel of {rank} numbers",
        show(x.shape()),
        rank + 2
    );
    ensure!(
        kernel.iter().all(|&k| (1..1 << 31).contains(&k)),
        "{name}: kernel, got {:?}, expected one or more",
        kernel.as_slice()
    );
    ensure!(
        layout.is_none_or(|l| l.starts_with("NC")),
        "{name}: layout, got {}, expected channels second",
        layout.unwrap_or("")
    );
    let channels = x.shape()[1] as i64;
    ensure!(
        filters > 0 && groups > 0 && filters % groups == 0 && channels % groups == 0,
        "{name}: num_group, got {groups}, expected a divisor of {channels} channels and {filters} filters"
    );
    Ok(rank)
}

fn with_bias(name: &str, y: Var, v: &[Var], filters: usize) -> Result<Var> {
    let Some(bias) = v.get(2) else { return Ok(y) };
    check_shape(name, "bias", bias, &[filters])?;
    let mut shape = vec![1; y.ndim()];
    shape[1] = filters;
    Ok(y + bias.reshape(&shape))
}

fn weight_shape(lead: usize, inner: usize, kernel: &Ints) -> Shape {
    [lead, inner].into_iter().chain(kernel.iter().map(|&k| k as usize)).collect()
}

fn convolution(v: &[Var], args: &Args) -> Result<Var> {
    let (p, name, x) = (ConvParams::read(args), "Convolution", &v[0]);
    check_bias(name, v, p.no_bias)?;
    let rank = check_layer(name, x, &p.kernel, p.num_filter, p.num_group, p.layout.as_deref())?;
    let (filters, groups) = (p.num_filter as usize, p.num_group as usize);
    check_shape(name, "weight", &v[1], &weight_shape(filters, x.shape()[1] / groups, &p.kernel))?;
    let geometry = GeometryParams {
        stride: per_axis(name, "stride", &p.stride, rank, 1, 1)?,
        dilate: per_axis(name, "dilate", &p.dilate, rank, 1, 1)?,
        pad: per_axis(name, "pad", &p.pad, rank, 0, 0)?,
        groups: p.num_group,
        size: x.shape()[2..].iter().map(|&d| d as i64).collect(),
        kernel: p.kernel,
    };
    geometry.windows(name)?;
    with_bias(name, product(&CONV, x, &v[1], &geometry.args()), v, filters)
}

pub static CONVOLUTION: Op = Op {
    name: "Convolution",
    aliases: &[],
    doc: "Cross-correlation over one to three axes of space, plus a bias. Data `(N, C, …)`, weight \
          `(num_filter, C / num_group, *kernel)`; the rank is the length of `kernel`.",
    inputs: &["data", "weight", "bias?"],
    params: ConvParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![convolution(v, args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, weight, bias, kernel, num_filter, **kw: conv(data, weight, **kw) + \
               bias.reshape(-1, *[1] * (data.ndim - 2))",
        calls: &[
            (&[&[2, 2, 5], &[3, 2, 3], &[3]], "kernel=(3,), num_filter=3"),
            (&[&[1, 2, 4, 5], &[2, 2, 3, 2], &[2]], "kernel=(3, 2), num_filter=2, stride=(2, 1), pad=(1, 0)"),
        ],
    },
};

// ---- Deconvolution --------------------------------------------------------------------------------------------------

crate::params! {
    pub struct DeconvParams {
        kernel: Ints, K::Ints, D::Required, "Size of the window: one to three numbers.";
        stride: Ints, K::Ints, D::Ints(&[]), "Step from window to window; one by default.";
        dilate: Ints, K::Ints, D::Ints(&[]), "Step inside the window; one by default.";
        pad: Ints, K::Ints, D::Ints(&[]), "How much is cut on each side; none by default.";
        adj: Ints, K::Ints, D::Ints(&[]), "How much is added at the far side; less than the stride.";
        target_shape: Ints, K::Ints, D::Ints(&[]), "Size of the result, from which `pad` and `adj` follow.";
        num_filter: i64, K::Int, D::Required, "How many channels come out.";
        num_group: i64, K::Int, D::Int(1), "Into how many groups channels are divided.";
        workspace: Option<i64>, K::Ignored, D::None, "Ignored.";
        no_bias: bool, K::Bool, D::Bool(true), "Whether there is no bias.";
        cudnn_tune: Option<i64>, K::Ignored, D::None, "Ignored.";
        cudnn_off: Option<bool>, K::Ignored, D::None, "Ignored.";
        layout: Option<Arc<str>>, K::Choice(LAYOUTS), D::None, "The order of axes; channels come second.";
    }
}

fn deconvolution(v: &[Var], args: &Args) -> Result<Var> {
    let (p, name, x) = (DeconvParams::read(args), "Deconvolution", &v[0]);
    check_bias(name, v, p.no_bias)?;
    let rank = check_layer(name, x, &p.kernel, p.num_filter, p.num_group, p.layout.as_deref())?;
    let (filters, groups) = (p.num_filter as usize, p.num_group as usize);
    check_shape(name, "weight", &v[1], &weight_shape(x.shape()[1], filters / groups, &p.kernel))?;
    let stride = per_axis(name, "stride", &p.stride, rank, 1, 1)?;
    let dilate = per_axis(name, "dilate", &p.dilate, rank, 1, 1)?;
    let mut pad = per_axis(name, "pad", &p.pad, rank, 0, 0)?;
    let mut adj = per_axis(name, "adj", &p.adj, rank, 0, 0)?;
    let target = per_axis(name, "target_shape", &p.target_shape, rank, 0, 0)?;
    let mut size = Ints::new();
    for i in 0..rank {
        let whole = stride[i] * (x.shape()[i + 2] as i64 - 1) + dilate[i] * (p.kernel[i] - 1) + 1;
        if target.iter().any(|&t| t > 0) {
            let total = whole - target[i];
            ensure!(total >= 0, "{name}: target_shape, got {} on axis {i}, expected at most {whole}", target[i]);
            (pad[i], adj[i]) = ((total + 1) / 2, total % 2);
        }
        ensure!(
            adj[i] < stride[i],
            "{name}: adj, got {} on axis {i}, expected less than the stride {}",
            adj[i],
            stride[i]
        );
        size.push(whole - 2 * pad[i] + adj[i]);
    }
    ensure!(size.iter().all(|&d| d > 0), "{name}: pad, got {:?}, expected less", pad.as_slice());
    let geometry = GeometryParams { kernel: p.kernel, stride, dilate, pad, groups: p.num_group, size };
    let places = geometry.out(&geometry.windows(name)?);
    ensure!(places.as_slice() == &x.shape()[2..], "{name}: data, got shape {}", show(x.shape()));
    with_bias(name, product(&CONV_DATA, x, &v[1], &geometry.args()), v, filters)
}

pub static DECONVOLUTION: Op = Op {
    name: "Deconvolution",
    aliases: &[],
    doc: "The transpose of a convolution, plus a bias where `no_bias=False`. Data `(N, C, …)`, weight \
          `(C, num_filter / num_group, *kernel)`; the result has `stride * (n - 1) + dilate * (kernel - 1) + 1 - 2 * pad + adj` \
          points on an axis.",
    inputs: &["data", "weight", "bias?"],
    params: DeconvParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![deconvolution(v, args).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, weight, kernel, num_filter, **kw: deconv(data, weight, **kw)",
        calls: &[(&[&[1, 2, 4], &[2, 3, 3]], "kernel=(3,), num_filter=3, stride=(2,)")],
    },
};

pub static OPS: Ops = &[&CONV, &CONV_DATA, &CONV_WEIGHT, &CONVOLUTION, &DECONVOLUTION];
