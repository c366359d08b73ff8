//! Arrays repeated to a larger shape, by zero strides where that is possible.

use crate::base::error::OrThrow;
use crate::base::layout::bytes;
use crate::base::{Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Op};
use crate::ops::Ops;
use crate::ops::expr::shape_of;
use crate::ops::shape::ShapeParams;
use crate::tensor::Tensor;
use crate::{ensure, rule};
use smallvec::smallvec;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

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
    grad: rule!(Linear | c, g | [g.sum_to(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, shape: np.broadcast_to(data, shape)",
        calls: &[(&[&[2, 1]], "shape=(2, 3)")],
    },
};

pub fn expand(t: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let fits = crate::base::layout::broadcast(t.shape(), shape).is_some_and(|s| s.as_slice() == shape);
    ensure!(
        fits,
        "broadcast_to: got shape {}, cannot become {}",
        crate::base::layout::show(t.shape()),
        crate::base::layout::show(shape)
    );
    bytes(shape, t.dtype())?;
    t.with_layout(t.layout()?.broadcast_to(shape))
}

pub static BROADCAST_TO: Op = Op {
    name: "broadcast_to",
    aliases: &[],
    doc: "Axes of length one repeated to a shape; 0 in the shape keeps an axis.",
    inputs: DATA,
    params: ShapeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, args| {
        let p = ShapeParams::read(args);
        ensure!(p.shape.len() == t.ndim(), "broadcast_to: shape, got {} axes, expected {}", p.shape.len(), t.ndim());
        let shape: Shape =
            p.shape.iter().zip(t.shape()).map(|(&d, &have)| if d == 0 { have } else { d.max(0) as usize }).collect();
        expand(t, &shape)
    }),
    grad: rule!(Linear | c, g | [g.sum_to(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, shape: np.broadcast_to(data, tuple(s or d for s, d in zip(shape, data.shape)))",
        calls: &[(&[&[2, 1]], "shape=(0, 3)"), (&[&[1, 1]], "shape=(2, 3)")],
    },
};

crate::params! {
    pub struct BroadcastAxisParams {
        axis: Ints, K::Ints, D::Ints(&[]), "Axis or axes of length one to repeat.";
        size: Ints, K::Ints, D::Ints(&[]), "How often, for each axis.";
    }
}
pub static BROADCAST_AXIS: Op = Op {
    name: "broadcast_axis",
    aliases: &["broadcast_axes"],
    doc: "Axes of length one repeated.",
    inputs: DATA,
    params: BroadcastAxisParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::View(|t, args| {
        let p = BroadcastAxisParams::read(args);
        ensure!(p.axis.len() == p.size.len(), "broadcast_axis: got {} axes and {} sizes", p.axis.len(), p.size.len());
        let mut shape: Shape = t.shape().into();
        for (&axis, &size) in p.axis.iter().zip(&p.size) {
            ensure!(axis >= 0, "broadcast_axis: axis, got {axis}, expected 0 or more");
            let axis = axis_index("broadcast_axis", axis, t.ndim())?;
            ensure!(
                shape[axis] == 1 && size >= 0,
                "broadcast_axis: axis {axis} has length {}, expected 1",
                shape[axis]
            );
            shape[axis] = size as usize;
        }
        expand(t, &shape)
    }),
    grad: rule!(Linear | c, g | [g.sum_to(c.shape(0))]),
    check: Check {
        range: ANY,
        like: "lambda data, axis, size: np.repeat(data, size, axis)",
        calls: &[(&[&[2, 1]], "axis=1, size=3")],
    },
};

crate::params! {
    pub struct BroadcastLikeParams {
        lhs_axes: Option<Ints>, K::Ints, D::None, "Axes of `lhs` to repeat; all where absent.";
        rhs_axes: Option<Ints>, K::Ints, D::None, "Axes of `rhs` whose lengths are taken.";
    }
}
pub static BROADCAST_LIKE: Op = Op {
    name: "broadcast_like",
    aliases: &[],
    doc: "`lhs` repeated to the shape of `rhs`.",
    inputs: &["lhs", "rhs"],
    params: BroadcastLikeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = BroadcastLikeParams::read(args);
        let shape = (|| -> Result<Shape> {
            let (Some(la), Some(ra)) = (&p.lhs_axes, &p.rhs_axes) else {
                ensure!(
                    v[0].ndim() == v[1].ndim(),
                    "broadcast_like: got {} and {} axes, expected as many",
                    v[0].ndim(),
                    v[1].ndim()
                );
                return Ok(v[1].shape().into());
            };
            ensure!(la.len() == ra.len() && !la.is_empty(), "broadcast_like: lhs_axes and rhs_axes must be as many");
            let mut shape: Shape = v[0].shape().into();
            for (&l, &r) in la.iter().zip(ra) {
                let (l, r) =
                    (axis_index("broadcast_like", l, v[0].ndim())?, axis_index("broadcast_like", r, v[1].ndim())?);
                shape[l] = v[1].shape()[r];
            }
            Ok(shape)
        })()
        .or_throw();
        smallvec![v[0].broadcast_to(&shape)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda lhs, rhs: np.broadcast_to(lhs, rhs.shape)",
        calls: &[(&[&[2, 1], &[2, 3]], "")],
    },
};

pub static OPS: Ops = &[&EXPAND, &BROADCAST_TO, &BROADCAST_AXIS, &BROADCAST_LIKE];
