//! The same elements in another shape or order.

use crate::base::layout::bytes;
use crate::base::{Error, Layout, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Op};
use crate::ops::Ops;
use crate::ops::expr::shape_of;
use crate::{ensure, rule};
use smallvec::smallvec;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

crate::params! {
    pub struct ShapeParams { shape: Ints, K::Ints, D::Required, "The shape of the result."; }
}

/// `reshape` without codes: what gradient rules use.
pub static VIEW_AS: Op = Op {
    name: "_view_as",
    aliases: &[],
    doc: "The same elements in C order under a shape of the same size.",
    inputs: DATA,
    params: ShapeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, args| {
        let shape = shape_of(&ShapeParams::read(args).shape);
        let size = bytes(&shape, t.dtype())?;
        ensure!(size == t.numel() * t.dtype().size(), "_view_as: {} elements under another size", t.numel());
        t.reshaped(&shape)
    }),
    grad: rule!(Linear | c, g | [g.reshape(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, shape: data.reshape(shape)",
        calls: &[(&[&[2, 3]], "shape=(3, 2)")],
    },
};

crate::params! {
    pub struct TransposeParams { axes: Option<Ints>, K::Ints, D::None, "The order of axes; reversed where absent or empty."; }
}

/// The axes as indices, each once.
fn axes_of(p: &TransposeParams, ndim: usize) -> Result<Shape> {
    let axes = match &p.axes {
        Some(axes) if !axes.is_empty() => axes,
        _ => return Ok((0..ndim).rev().collect()),
    };
    ensure!(axes.len() == ndim, "transpose: axes, got {} of them, expected {ndim}", axes.len());
    let mut out = Shape::new();
    for &axis in axes {
        // MXNet has no negative axes here.
        ensure!(axis >= 0, "transpose: axis out of range, got {axis}, expected 0..{}", ndim - 1);
        let axis = axis_index("transpose", axis, ndim)?;
        ensure!(!out.contains(&axis), "transpose: axis {axis} is given twice");
        out.push(axis);
    }
    Ok(out)
}

pub static TRANSPOSE: Op = Op {
    name: "transpose",
    aliases: &[],
    doc: "Axes in another order; reversed by default.",
    inputs: DATA,
    params: TransposeParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::View(|t, args| {
        let axes = axes_of(&TransposeParams::read(args), t.ndim())?;
        t.with_layout(Layout::permute(&t.layout()?, &axes))
    }),
    grad: rule!(
        Linear | c,
        g | [{
            let axes = axes_of(&TransposeParams::read(c.args), g.ndim()).unwrap_or_default();
            let mut back = vec![0; axes.len()];
            axes.iter().enumerate().for_each(|(i, &a)| back[a] = i);
            g.transpose(&back)
        }]
    ),
    check: Check {
        range: ANY,
        like: "lambda data, axes=None: np.transpose(data, axes)",
        calls: &[(&[&[2, 3]], ""), (&[&[2, 3, 4]], "axes=(1, 2, 0)"), (&[&[3]], "")],
    },
};

/// The shape that MXNet's reshape codes make of `from`: 0 keeps an axis, -1 is inferred, -2 keeps all that are left, -3
/// joins two, -4 splits one in the two numbers that follow. `reverse` applies them from the right.
pub fn resolve_reshape(name: &str, from: &[usize], codes: &[i64], reverse: bool) -> Result<Shape> {
    let total: usize = from.iter().product();
    let mut source: Vec<i64> = from.iter().map(|&d| d as i64).collect();
    let mut codes = codes.to_vec();
    if reverse {
        source.reverse();
        codes.reverse();
    }
    let show = || format!("{name}: cannot reshape {} with {codes:?}", crate::base::layout::show(from));
    let (mut out, mut infer, mut at, mut i) = (Vec::<i64>::new(), None, 0usize, 0usize);
    while i < codes.len() {
        let dim = |at: usize| {
            source
                .get(at)
                .copied()
                .ok_or_else(|| Error::op(format_args!("{}: the codes use more axes than there are", show())))
        };
        match codes[i] {
            0 if source.is_empty() => out.push(0),
            0 if at >= source.len() && total == 0 => out.push(0),
            0 => {
                out.push(dim(at)?);
                at += 1;
            }
            -1 => {
                ensure!(infer.is_none(), "{}: only one axis can be inferred", show());
                infer = Some(out.len());
                out.push(1);
                at += 1;
            }
            -2 => {
                out.extend(source.get(at..).unwrap_or_default());
                at = source.len();
            }
            -3 => {
                out.push(dim(at)? * dim(at + 1)?);
                at += 2;
            }
            -4 => {
                // With `reverse` the two numbers come before their code.
                let (a, b) = match (codes.get(i + 1), codes.get(i + 2)) {
                    (Some(&a), Some(&b)) => (a, b),
                    _ => return Err(Error::op(format_args!("{}: -4 needs two numbers", show()))),
                };
                let whole = dim(at)?;
                ensure!(a != -1 || b != -1, "{}: both parts of a split cannot be inferred", show());
                ensure!(a >= -1 && b >= -1 && a != 0 && b != 0, "{}: the parts of a split must be positive", show());
                let a = if a == -1 { whole / b } else { a };
                let b = if b == -1 { whole / a } else { b };
                ensure!(a.checked_mul(b) == Some(whole), "{}: {a} x {b} is not {whole}", show());
                out.extend([a, b]);
                at += 1;
                i += 2;
            }
            n if n > 0 => {
                out.push(n);
                at += 1;
            }
            n => return Err(Error::op(format_args!("{}: unknown code {n}", show()))),
        }
        i += 1;
    }
    if let Some(slot) = infer {
        let known = out.iter().try_fold(1i64, |n, &d| n.checked_mul(d)).unwrap_or(0);
        ensure!(known > 0 && total as i64 % known == 0, "{}: {total} elements do not divide", show());
        out[slot] = total as i64 / known;
    }
    let size = out.iter().try_fold(1i64, |n, &d| n.checked_mul(d));
    ensure!(size == Some(total as i64), "{}: target shape size is different to the current {total}", show());
    if reverse {
        out.reverse();
    }
    Ok(out.into_iter().map(|d| d as usize).collect())
}

crate::params! {
    pub struct ReshapeParams {
        shape: Option<Ints>, K::Ints, D::None, "The new shape, or codes: 0 keeps an axis, -1 is inferred, -2 keeps the rest, -3 joins two, -4 splits one.";
        reverse: bool, K::Bool, D::Bool(false), "Whether codes are read from the right.";
        target_shape: Option<Ints>, K::Ints, D::None, "Older name of `shape`; one 0 is inferred.";
        keep_highest: bool, K::Bool, D::Bool(false), "With `target_shape`: the first axis stays.";
    }
}
pub static RESHAPE: Op = Op {
    name: "reshape",
    aliases: &["Reshape"],
    doc: "The same elements in C order under another shape.",
    inputs: DATA,
    params: ReshapeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, args| {
        let p = ReshapeParams::read(args);
        let codes = match (p.shape, p.target_shape) {
            (Some(shape), _) => shape,
            (None, Some(mut target)) => {
                if p.keep_highest && !target.is_empty() {
                    target[0] = t.shape().first().copied().unwrap_or(1) as i64;
                }
                target.into_iter().map(|d| if d == 0 { -1 } else { d }).collect()
            }
            (None, None) => return Err(Error::op("reshape: Required parameter shape is not presented")),
        };
        t.reshaped(&resolve_reshape("reshape", t.shape(), &codes, p.reverse)?)
    }),
    grad: rule!(Linear | c, g | [g.reshape(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, shape, reverse=False: data.reshape(mx.nd.array(data).reshape(shape, reverse=reverse).shape)",
        calls: &[
            (&[&[2, 3, 4]], "shape=(4, 0, 2)"),
            (&[&[2, 3, 4]], "shape=(-3, -1)"),
            (&[&[2, 3, 4]], "shape=(-4, 1, 2, -2)"),
            (&[&[10, 5, 4]], "shape=(-1, 0), reverse=True"),
        ],
    },
};

crate::params! {
    pub struct ReshapeLikeParams {
        lhs_begin: Option<i64>, K::Int, D::None, "First axis of `lhs` to replace.";
        lhs_end: Option<i64>, K::Int, D::None, "End of the axes of `lhs` to replace.";
        rhs_begin: Option<i64>, K::Int, D::None, "First axis of `rhs` to take.";
        rhs_end: Option<i64>, K::Int, D::None, "End of the axes of `rhs` to take.";
    }
}
pub static RESHAPE_LIKE: Op = Op {
    name: "reshape_like",
    aliases: &[],
    doc: "The elements of `lhs` under the shape of `rhs`, or with a range of its axes replaced by one of `rhs`.",
    inputs: &["lhs", "rhs"],
    params: ReshapeLikeParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = ReshapeLikeParams::read(args);
        let bound = |at: Option<i64>, n: usize, default: usize| match at {
            None => default,
            Some(at) => (if at < 0 { at + n as i64 } else { at }).clamp(0, n as i64) as usize,
        };
        let (l, r) = (v[0].shape(), v[1].shape());
        let (lb, le) = (bound(p.lhs_begin, l.len(), 0), bound(p.lhs_end, l.len(), l.len()));
        let (rb, re) = (bound(p.rhs_begin, r.len(), 0), bound(p.rhs_end, r.len(), r.len()));
        let shape: Shape = l[..lb.min(le)].iter().chain(&r[rb.min(re)..re]).chain(&l[le..]).copied().collect();
        smallvec![v[0].reshape(&shape)]
    }),
    grad: Grad::Composed,
    check: Check { range: ANY, like: "lambda lhs, rhs: lhs.reshape(rhs.shape)", calls: &[(&[&[2, 3], &[3, 2]], "")] },
};

crate::params! {
    pub struct AxisParams { axis: i64, K::Int, D::Required, "Where the new axis goes."; }
}
pub static EXPAND_DIMS: Op = Op {
    name: "expand_dims",
    aliases: &[],
    doc: "A new axis of length one.",
    inputs: DATA,
    params: AxisParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::View(|t, args| {
        let axis = axis_index("expand_dims", AxisParams::read(args).axis, t.ndim() + 1)?;
        let mut shape: Shape = t.shape().into();
        shape.insert(axis, 1);
        t.reshaped(&shape)
    }),
    grad: rule!(Linear | c, g | [g.reshape(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, axis: np.expand_dims(data, axis)",
        calls: &[(&[&[2, 3]], "axis=0"), (&[&[2, 3]], "axis=-1")],
    },
};

crate::params! {
    pub struct SqueezeParams { axis: Option<Ints>, K::Ints, D::None, "Axis or axes of length one to drop; all of them where absent."; }
}
pub static SQUEEZE: Op = Op {
    name: "squeeze",
    aliases: &[],
    doc: "Drops axes of length one; one axis always stays.",
    inputs: DATA,
    params: SqueezeParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::View(|t, args| {
        let mut drop: Vec<bool> = t.shape().iter().map(|&d| d == 1).collect();
        if let Some(axes) = SqueezeParams::read(args).axis {
            drop.fill(false);
            for axis in axes {
                let axis = axis_index("squeeze", axis, t.ndim())?;
                ensure!(t.shape()[axis] == 1, "squeeze: axis {axis} has length {}, expected 1", t.shape()[axis]);
                ensure!(!drop[axis], "squeeze: axis {axis} is given twice");
                drop[axis] = true;
            }
        }
        let mut shape: Shape = t.shape().iter().zip(&drop).filter(|(_, d)| !**d).map(|(&d, _)| d).collect();
        if shape.is_empty() {
            shape.push(1);
        }
        t.reshaped(&shape)
    }),
    grad: rule!(Linear | c, g | [g.reshape(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, axis=None: np.squeeze(data, axis)",
        calls: &[(&[&[2, 1, 3, 1]], ""), (&[&[2, 1, 3]], "axis=1")],
    },
};

pub static FLATTEN: Op = Op {
    name: "flatten",
    aliases: &["Flatten"],
    doc: "Two axes: the first, and all others as one.",
    inputs: DATA,
    params: &[],
    method: true,
    writes: &[],
    kind: Kind::View(|t, _| {
        let first = t.shape().first().copied().unwrap_or(1);
        let rest: usize = t.shape().iter().skip(1).product();
        t.reshaped(&[first, rest])
    }),
    grad: rule!(Linear | c, g | [g.reshape(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data: data.reshape(len(data), -1)",
        calls: &[(&[&[2, 3, 4]], ""), (&[&[3]], "")],
    },
};

crate::params! {
    pub struct SwapParams {
        dim1: i64, K::Int, D::Int(0), "One axis.";
        dim2: i64, K::Int, D::Int(0), "The other axis.";
    }
}
pub static SWAPAXES: Op = Op {
    name: "swapaxes",
    aliases: &["SwapAxis"],
    doc: "Two axes exchanged.",
    inputs: DATA,
    params: SwapParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::View(|t, args| {
        let p = SwapParams::read(args);
        let (a, b) = (axis_index("swapaxes", p.dim1, t.ndim())?, axis_index("swapaxes", p.dim2, t.ndim())?);
        let mut axes: Vec<usize> = (0..t.ndim()).collect();
        axes.swap(a, b);
        t.with_layout(t.layout()?.permute(&axes))
    }),
    grad: rule!(Linear | c, g | [g.with(&SWAPAXES, c.args.clone())]),
    check: Check {
        range: ANY,
        like: "lambda data, dim1, dim2: np.swapaxes(data, dim1, dim2)",
        calls: &[(&[&[2, 3, 4]], "dim1=0, dim2=2"), (&[&[2, 3]], "dim1=-1, dim2=0")],
    },
};

pub static OPS: Ops = &[&VIEW_AS, &TRANSPOSE, &RESHAPE, &RESHAPE_LIKE, &EXPAND_DIMS, &SQUEEZE, &FLATTEN, &SWAPAXES];
