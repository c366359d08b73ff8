//! Cutting arrays: slices, reversed axes, equal parts.

use crate::base::error::OrThrow;
use crate::base::{Error, Result, Shape};
use crate::ensure;
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, GradCtx, Grads, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::getitem::PickParams;
use crate::tensor::Tensor;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

/// First index and count of a Python slice on an axis.
pub fn slice_range(dim: usize, begin: Option<i64>, end: Option<i64>, step: i64) -> (i64, i64) {
    let n = dim as i64;
    let clamp = |v: i64, low: i64, high: i64| (if v < 0 { v.saturating_add(n) } else { v }).clamp(low, high);
    if step > 0 {
        let (a, b) = (begin.map_or(0, |v| clamp(v, 0, n)), end.map_or(n, |v| clamp(v, 0, n)));
        (a, ((b - a).max(0) + step - 1) / step)
    } else {
        let (a, b) = (begin.map_or(n - 1, |v| clamp(v, -1, n - 1)), end.map_or(-1, |v| clamp(v, -1, n - 1)));
        (a.max(0), ((a - b).max(0) - step - 1) / -step)
    }
}

fn whole(v: &Var) -> PickParams {
    let count: Ints = v.shape().iter().map(|&d| d as i64).collect();
    PickParams { start: smallvec![0; v.ndim()], step: smallvec![1; v.ndim()], shape: count.clone(), count }
}

crate::params! {
    pub struct SliceParams {
        begin: Arc<[Option<i64>]>, K::OptInts, D::Required, "First index of each axis.";
        end: Arc<[Option<i64>]>, K::OptInts, D::Required, "End of each axis, not included.";
        step: Arc<[Option<i64>]>, K::OptInts, D::None, "Step of each axis.";
    }
}
pub static SLICE: Op = Op {
    name: "slice",
    aliases: &["crop"],
    doc: "The elements from `begin` to `end` along the first axes, as Python's slices.",
    inputs: DATA,
    params: SliceParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = SliceParams::read(args);
        let mut pick = whole(&v[0]);
        (|| -> Result<()> {
            ensure!(p.begin.len() == p.end.len(), "slice: begin has {} entries, end {}", p.begin.len(), p.end.len());
            ensure!(
                p.begin.len() <= v[0].ndim(),
                "slice: begin, got {} axes, expected at most {}",
                p.begin.len(),
                v[0].ndim()
            );
            ensure!(
                p.step.is_empty() || p.step.len() == p.begin.len(),
                "slice: step must have as many entries as begin"
            );
            for axis in 0..p.begin.len() {
                let step = p.step.get(axis).copied().flatten().unwrap_or(1);
                ensure!(step != 0, "slice: step of axis {axis} is 0");
                let (start, count) = slice_range(v[0].shape()[axis], p.begin[axis], p.end[axis], step);
                ensure!(count > 0 || axis == 0 || v[0].shape()[axis] == 0, "slice: axis {axis} would be empty");
                (pick.start[axis], pick.step[axis], pick.count[axis]) = (start, step, count);
            }
            Ok(())
        })()
        .or_throw();
        pick.shape = pick.count.clone();
        smallvec![v[0].pick_view(pick)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, begin, end, step=(): data[tuple(slice(*x) for x in zip(begin, end, step or (None,) * len(begin)))]",
        calls: &[
            (&[&[3, 4]], "begin=(0, 1), end=(2, 3)"),
            (&[&[3, 4]], "begin=(None, 3), end=(None, 0), step=(2, -1)"),
        ],
    },
};

crate::params! {
    pub struct SliceAxisParams {
        axis: i64, K::Int, D::Required, "The axis.";
        begin: i64, K::Int, D::Required, "First index.";
        end: Option<i64>, K::Int, D::None, "End, not included; the axis' length where absent.";
    }
}
pub static SLICE_AXIS: Op = Op {
    name: "slice_axis",
    aliases: &[],
    doc: "The elements from `begin` to `end` along one axis.",
    inputs: DATA,
    params: SliceAxisParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = SliceAxisParams::read(args);
        let (axis, begin, count) = (|| -> Result<(usize, i64, usize)> {
            let axis = axis_index("slice_axis", p.axis, v[0].ndim())?;
            let n = v[0].shape()[axis] as i64;
            let fix = |i: i64| if i < 0 { i + n } else { i };
            let (begin, end) = (fix(p.begin), p.end.map_or(n, fix));
            ensure!(begin >= 0 && begin < end && end <= n, "slice_axis: got {begin}..{end}, expected a part of 0..{n}");
            Ok((axis, begin, (end - begin) as usize))
        })()
        .or_throw();
        smallvec![v[0].slice(axis, begin, 1, count)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, axis, begin, end: np.take(data, range(*slice(begin, end).indices(data.shape[axis])), axis)",
        calls: &[(&[&[3, 4]], "axis=1, begin=1, end=3"), (&[&[3, 4]], "axis=-2, begin=-2, end=None")],
    },
};

crate::params! {
    pub struct SliceLikeParams { axes: Option<Ints>, K::Ints, D::None, "Axes to cut; all where absent."; }
}
pub static SLICE_LIKE: Op = Op {
    name: "slice_like",
    aliases: &[],
    doc: "The leading part of an array, as long as another array is.",
    inputs: &["data", "shape_like"],
    params: SliceLikeParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let mut pick = whole(&v[0]);
        (|| -> Result<()> {
            let axes: Vec<i64> = match SliceLikeParams::read(args).axes {
                Some(axes) if !axes.is_empty() => axes.to_vec(),
                _ => {
                    ensure!(
                        v[0].ndim() == v[1].ndim(),
                        "slice_like: got {} and {} axes, expected as many",
                        v[0].ndim(),
                        v[1].ndim()
                    );
                    (0..v[0].ndim() as i64).collect()
                }
            };
            for axis in axes {
                let a = axis_index("slice_like", axis, v[0].ndim())?;
                let b = axis_index("slice_like", axis, v[1].ndim())?;
                ensure!(
                    v[1].shape()[b] <= v[0].shape()[a],
                    "slice_like: axis {a}, got {}, expected at most {}",
                    v[1].shape()[b],
                    v[0].shape()[a]
                );
                pick.count[a] = v[1].shape()[b] as i64;
            }
            Ok(())
        })()
        .or_throw();
        pick.shape = pick.count.clone();
        smallvec![v[0].pick_view(pick)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, shape_like: data[tuple(slice(d) for d in shape_like.shape)]",
        calls: &[(&[&[3, 4], &[2, 2]], "")],
    },
};

crate::params! {
    pub struct FlipParams { axis: Ints, K::Ints, D::Required, "Axis or axes to reverse."; }
}
pub static FLIP: Op = Op {
    name: "flip",
    aliases: &["reverse"],
    doc: "The elements in reverse order along axes.",
    inputs: DATA,
    params: FlipParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let mut pick = whole(&v[0]);
        for axis in FlipParams::read(args).axis {
            // MXNet has no negative axes here.
            let axis = if axis < 0 {
                Err(Error::op(format_args!("flip: axis, got {axis}, expected 0 or more")))
            } else {
                axis_index("flip", axis, v[0].ndim())
            };
            let axis = axis.or_throw();
            (pick.start[axis], pick.step[axis]) = ((pick.count[axis] - 1).max(0), -1);
        }
        smallvec![v[0].pick_view(pick)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, axis: np.flip(data, axis)",
        calls: &[(&[&[3, 4]], "axis=1"), (&[&[2, 3]], "axis=(0, 1)")],
    },
};

// ---- parts ----

/// The parts of an axis that begin at `starts`, as views; `squeeze` drops the axis, where each has length one.
fn parts(name: &str, t: &Tensor, axis: usize, starts: &[usize], squeeze: bool) -> Result<SmallVec<[Tensor; 1]>> {
    let (layout, n) = (t.layout()?, t.shape()[axis]);
    let ends = starts[1..].iter().copied().chain([n]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let len = end.saturating_sub(start);
            let part = layout.slice(axis, start as isize, 1, len);
            if !squeeze {
                return t.with_layout(part);
            }
            ensure!(len == 1, "{name}: squeeze_axis needs parts of length one, got {len}");
            let part = part.select(axis, 0);
            if part.shape.is_empty() { t.with_layout(part)?.reshaped(&[1]) } else { t.with_layout(part) }
        })
        .collect()
}

/// The gradient of parts: what came for each of them, joined.
fn joined(c: &GradCtx, grads: &[Var], axis: i64, squeeze: bool) -> Grads {
    let axis = axis_index(c.op.name, axis, c.shape(0).len()).or_throw();
    let mut one: Shape = c.shape(0).into();
    one[axis] = 1;
    let parts: Vec<Var> = grads.iter().map(|g| if squeeze { g.reshape(&one) } else { g.clone() }).collect();
    smallvec![Some(Var::concat(&parts, axis))]
}

crate::params! {
    pub struct SplitParams {
        num_outputs: i64, K::Int, D::Required, "Number of parts.";
        axis: i64, K::Int, D::Int(1), "The axis to cut.";
        squeeze_axis: bool, K::Bool, D::Bool(false), "Whether the axis goes, where parts have length one.";
    }
}
pub static SPLIT: Op = Op {
    name: "split",
    aliases: &["SliceChannel"],
    doc: "Equal parts along an axis, the second by default: a list, or one array where there is one part.",
    inputs: DATA,
    params: SplitParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Views(|t, args| {
        let p = SplitParams::read(args);
        let axis = axis_index("split", p.axis, t.ndim())?;
        let n = t.shape()[axis];
        let count = usize::try_from(p.num_outputs).unwrap_or(0);
        ensure!(
            count > 0 && n.is_multiple_of(count) && (n == 0) <= (count == 1),
            "split: {n} elements of axis {axis} in {} parts",
            p.num_outputs
        );
        let starts: Vec<usize> = (0..count).map(|i| i * (n / count)).collect();
        parts("split", t, axis, &starts, p.squeeze_axis)
    }),
    grad: Grad::Linear(|c, grads| {
        let p = SplitParams::read(c.args);
        joined(c, grads, p.axis, p.squeeze_axis)
    }),
    check: Check {
        range: ANY,
        like: "lambda data, num_outputs, axis=1, squeeze_axis=False: \
               [np.squeeze(p, axis) if squeeze_axis else p for p in np.split(data, num_outputs, axis)]",
        calls: &[
            (&[&[2, 4]], "num_outputs=2"),
            (&[&[4, 2]], "num_outputs=2, axis=0"),
            (&[&[2, 3, 4]], "num_outputs=3, squeeze_axis=True"),
            (&[&[3]], "num_outputs=3, axis=-1, squeeze_axis=True"),
        ],
    },
};

crate::params! {
    pub struct SplitV2Params {
        indices: Ints, K::Ints, D::Ints(&[]), "Where each part begins, the first one included.";
        axis: i64, K::Int, D::Int(1), "The axis to cut.";
        squeeze_axis: bool, K::Bool, D::Bool(false), "Whether the axis goes, where parts have length one.";
        sections: i64, K::Int, D::Int(0), "Number of equal parts, instead of `indices`.";
    }
}
pub static SPLIT_V2: Op = Op {
    name: "_split_v2",
    aliases: &[],
    doc: "Parts along an axis that begin at given indices, or equal ones.",
    inputs: DATA,
    params: SplitV2Params::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Views(|t, args| {
        let p = SplitV2Params::read(args);
        let axis = axis_index("split_v2", p.axis, t.ndim())?;
        let n = t.shape()[axis];
        let starts: Vec<usize> = if p.sections > 0 {
            let count = p.sections as usize;
            ensure!(n.is_multiple_of(count), "split_v2: {n} elements of axis {axis} in {count} parts");
            (0..n).step_by((n / count).max(1)).collect()
        } else {
            // NumPy's rule: counted from either end, and clipped.
            let start = |&i: &i64| (if i < 0 { i.saturating_add(n as i64) } else { i }).clamp(0, n as i64) as usize;
            p.indices.iter().map(start).collect()
        };
        ensure!(starts.first() == Some(&0), "split_v2: indices, the first part begins at 0");
        // Parts that run backwards are empty, and their gradients would not join to the whole.
        ensure!(starts.is_sorted(), "split_v2: indices, got {:?}, expected rising ones", p.indices);
        parts("split_v2", t, axis, &starts, p.squeeze_axis)
    }),
    grad: Grad::Linear(|c, grads| {
        let p = SplitV2Params::read(c.args);
        joined(c, grads, p.axis, p.squeeze_axis)
    }),
    check: Check {
        range: ANY,
        like: "lambda data, indices=(), axis=1, sections=0: np.split(data, sections or indices[1:], axis)",
        calls: &[
            (&[&[6, 2]], "indices=(0, 1, 4), axis=0"),
            (&[&[2, 4]], "sections=2"),
            (&[&[5]], "indices=(0, -2, 7), axis=0"),
        ],
    },
};

pub static OPS: Ops = &[&SLICE, &SLICE_AXIS, &SLICE_LIKE, &FLIP, &SPLIT, &SPLIT_V2];
