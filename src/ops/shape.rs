//! The same elements in another shape or order.

use crate::base::{Error, Layout, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Kind, Op};
use crate::ops::Ops;
use crate::ops::expr::shape_of;
use crate::tensor::Tensor;
use crate::{ensure, rule};

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
        ensure!(shape.iter().product::<usize>() == t.numel(), "_view_as: {} elements under another size", t.numel());
        t.reshaped(&shape)
    }),
    grad: rule!(Linear |c, g| [g.reshape(c.shape(0))]),
    check: Check { range: ANY, like: "lambda data, shape: data.reshape(shape)", calls: &[(&[&[2, 3]], "shape=(3, 2)")] },
};

/// `broadcast_to` without codes: what gradient rules use.
pub static EXPAND: Op = Op {
    name: "_expand",
    aliases: &[],
    doc: "Repeats an array to a larger shape by NumPy's rule, without copying.",
    inputs: DATA,
    params: ShapeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, args| expand(t, &shape_of(&ShapeParams::read(args).shape))),
    grad: rule!(Linear |c, g| [g.sum_to(c.shape(0))]),
    check: Check { range: ANY, like: "lambda data, shape: np.broadcast_to(data, shape)", calls: &[(&[&[2, 1]], "shape=(2, 3)")] },
};

pub fn expand(t: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let fits = crate::base::layout::broadcast(t.shape(), shape).is_some_and(|s| s.as_slice() == shape);
    ensure!(fits, "broadcast_to: got shape {}, cannot become {}", crate::base::layout::show(t.shape()), crate::base::layout::show(shape));
    t.with_layout(t.layout()?.broadcast_to(shape))
}

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
    grad: rule!(Linear |c, g| [{
        let axes = axes_of(&TransposeParams::read(c.args), g.ndim()).unwrap_or_default();
        let mut back = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(i, &a)| back[a] = i);
        g.transpose(&back)
    }]),
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
            source.get(at).copied().ok_or_else(|| Error::op(format_args!("{}: the codes use more axes than there are", show())))
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

pub static OPS: Ops = &[&VIEW_AS, &EXPAND, &TRANSPOSE];
