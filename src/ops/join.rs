//! Cutting arrays apart and putting them together.

use crate::base::error::OrThrow;
use crate::base::{Error, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Grads, Kind, Op, Var, apply1};
use crate::ops::Ops;
use crate::ops::getitem::PickParams;
use crate::{ensure, with_dtype};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

// ---- slices -------------------------------------------------------------------------------------------------------

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

// ---- joins --------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct ConcatParams { dim: i64, K::Int, D::Int(1), "The axis along which arrays are joined."; }
}
pub static CONCAT: Op = Op {
    name: "concat",
    aliases: &["Concat"],
    doc: "Arrays joined along an existing axis, the second by default.",
    inputs: &["*data"],
    params: ConcatParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            ensure!(!metas.is_empty(), "concat: at least one array expected, got none");
            let axis = axis_index("concat", ConcatParams::read(args).dim, metas[0].shape.len())?;
            let mut shape = metas[0].shape.clone();
            for meta in &metas[1..] {
                ensure!(
                    meta.dtype == metas[0].dtype,
                    "concat: Non-uniform data type in Concat, got {} and {}",
                    metas[0].dtype,
                    meta.dtype
                );
                let same =
                    meta.shape.len() == shape.len() && (0..shape.len()).all(|a| a == axis || meta.shape[a] == shape[a]);
                ensure!(
                    same,
                    "concat: shapes must agree but for axis {axis}, got {} and {}",
                    crate::base::layout::show(&metas[0].shape),
                    crate::base::layout::show(&meta.shape)
                );
                shape[axis] += meta.shape[axis];
            }
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |ins, args, outs| {
            let axis = axis_index("concat", ConcatParams::read(args).dim, ins[0].ndim())?;
            let widths: Vec<usize> = ins.iter().map(|t| t.shape()[axis..].iter().product()).collect();
            let total: usize = widths.iter().sum();
            let dense = ins.iter().map(|t| t.dense()).collect::<Result<Vec<_>>>()?;
            with_dtype!(ins[0].dtype(), T => {
                let parts: Vec<&[T]> = dense.iter().map(|d| d.slice::<T>()).collect();
                crate::cpu::moves::interleave(&parts, &widths, total, outs[0].slice::<T>());
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Linear(|c, g| {
        let axis = axis_index("concat", ConcatParams::read(c.args).dim, g[0].ndim()).or_throw();
        let mut start = 0;
        (0..c.count())
            .map(|i| {
                let len = c.shape(i)[axis];
                start += len;
                c.needs(i).then(|| g[0].slice(axis, (start - len) as i64, 1, len))
            })
            .collect::<Grads>()
    }),
    check: Check {
        range: ANY,
        like: "lambda *data, dim=1: np.concatenate(data, dim)",
        calls: &[(&[&[2, 3], &[2, 1]], ""), (&[&[2, 3], &[1, 3], &[2, 3]], "dim=0")],
    },
};

/// Positions along an axis of length `n` as numbers in C order.
fn along(index: &Var, axis: usize, n: usize) -> Vec<i64> {
    let (m, inner): (usize, usize) = (index.shape()[axis], index.shape()[axis + 1..].iter().product());
    let mut flat = index.tensor.to_vec::<i64>().or_throw();
    for (k, at) in flat.iter_mut().enumerate() {
        let (outer, i) = (k / (m * inner).max(1), k % inner.max(1));
        *at = (outer as i64 * n as i64 + *at) * inner as i64 + i as i64;
    }
    flat
}

impl Var {
    /// Arrays joined along an axis.
    pub fn concat(parts: &[Var], axis: usize) -> Var {
        apply1(&CONCAT, parts, &ConcatParams { dim: axis as i64 }.args()).or_throw()
    }
    /// Elements of an axis by number.
    pub fn take_axis(&self, axis: usize, index: &Var) -> Var {
        if axis == 0 {
            return self.take_rows(index);
        }
        let mut order: Vec<usize> = (0..self.ndim()).collect();
        order.remove(axis);
        order.insert(0, axis);
        let k = index.ndim();
        let taken = self.transpose(&order).take_rows(index);
        // The axes of `index` go back to where the axis was.
        let back: Vec<usize> = (k..k + axis).chain(0..k).chain(k + axis..taken.ndim()).collect();
        taken.transpose(&back)
    }
    /// Elements of an axis at an index for each place of the others.
    pub fn take_along(&self, index: &Var, axis: usize) -> Var {
        self.take_flat(&along(index, axis, self.shape()[axis]), index.shape())
    }
    /// Zeros, with an axis of length `size`, to which these elements are added at an index for each.
    pub fn add_along(&self, index: &Var, axis: usize, size: usize) -> Var {
        let mut shape: Shape = index.shape().into();
        shape[axis] = size;
        let flat = along(index, axis, size);
        let index = crate::ops::getitem::index_var(&[flat.len()], &flat).or_throw();
        self.reshape(&[self.numel()]).add_rows(&index, &[shape.iter().product()]).reshape(&shape)
    }
    /// Elements by their number in C order, under a shape.
    pub fn take_flat(&self, index: &[i64], shape: &[usize]) -> Var {
        self.reshape(&[self.numel()]).take_rows(&crate::ops::getitem::index_var(shape, index).or_throw())
    }
}

crate::params! {
    pub struct StackParams { axis: i64, K::Int, D::Int(0), "Where the new axis goes."; }
}
pub static STACK: Op = Op {
    name: "stack",
    aliases: &[],
    doc: "Arrays of one shape joined along a new axis.",
    inputs: &["*data"],
    params: StackParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let axis = (|| -> Result<usize> {
            ensure!(!v.is_empty(), "stack: at least one array expected, got none");
            for x in v {
                ensure!(
                    x.shape() == v[0].shape() && x.dtype() == v[0].dtype(),
                    "stack: arrays of one shape and dtype, got {} {} and {} {}",
                    v[0].dtype(),
                    crate::base::layout::show(v[0].shape()),
                    x.dtype(),
                    crate::base::layout::show(x.shape())
                );
            }
            axis_index("stack", StackParams::read(args).axis, v[0].ndim() + 1)
        })()
        .or_throw();
        let mut shape: Shape = v[0].shape().into();
        shape.insert(axis, 1);
        let parts: Vec<Var> = v.iter().map(|x| x.reshape(&shape)).collect();
        smallvec![Var::concat(&parts, axis)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda *data, axis=0: np.stack(data, axis)",
        calls: &[(&[&[2, 3], &[2, 3]], ""), (&[&[2, 3], &[2, 3]], "axis=-1")],
    },
};

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
    kind: Kind::Compose(|v, args| {
        let p = SplitParams::read(args);
        let (axis, n) = (|| -> Result<(usize, usize)> {
            let axis = axis_index("split", p.axis, v[0].ndim())?;
            let dim = v[0].shape()[axis] as i64;
            ensure!(
                p.num_outputs > 0 && dim % p.num_outputs == 0,
                "split: {dim} elements of axis {axis} in {} parts",
                p.num_outputs
            );
            ensure!(
                !p.squeeze_axis || dim == p.num_outputs,
                "split: squeeze_axis needs parts of length one, got {dim} in {}",
                p.num_outputs
            );
            Ok((axis, p.num_outputs as usize))
        })()
        .or_throw();
        let len = v[0].shape()[axis] / n;
        (0..n)
            .map(|i| {
                let part = v[0].slice(axis, (i * len) as i64, 1, len);
                if !p.squeeze_axis {
                    return part;
                }
                let mut shape: Shape = part.shape().into();
                shape.remove(axis);
                if shape.is_empty() {
                    shape.push(1);
                }
                part.reshape(&shape)
            })
            .collect()
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, num_outputs, axis=1: np.split(data, num_outputs, axis)",
        calls: &[(&[&[2, 4]], "num_outputs=2"), (&[&[4, 2]], "num_outputs=2, axis=0")],
    },
};

// ---- repeats ------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct TileParams { reps: Ints, K::Ints, D::Required, "How often, for each axis."; }
}
pub static TILE: Op = Op {
    name: "tile",
    aliases: &[],
    doc: "The whole array repeated along axes.",
    inputs: DATA,
    params: TileParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let reps = TileParams::read(args).reps;
        if reps.iter().any(|&r| r <= 0) {
            Error::op(format_args!("tile: reps, got {reps:?}, expected positive numbers")).throw();
        }
        let n = reps.len().max(v[0].ndim());
        let dim = |i: usize| if i + v[0].ndim() >= n { v[0].shape()[i + v[0].ndim() - n] } else { 1 };
        let rep = |i: usize| if i + reps.len() >= n { reps[i + reps.len() - n] as usize } else { 1 };
        let apart: Shape = (0..n).flat_map(|i| [1, dim(i)]).collect();
        let wide: Shape = (0..n).flat_map(|i| [rep(i), dim(i)]).collect();
        let out: Shape = (0..n).map(|i| rep(i) * dim(i)).collect();
        smallvec![v[0].reshape(&apart).broadcast_to(&wide).reshape(&out)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, reps: np.tile(data, reps)",
        calls: &[(&[&[2, 3]], "reps=(2, 2)"), (&[&[3]], "reps=(2, 1)"), (&[&[2, 3]], "reps=2")],
    },
};

crate::params! {
    pub struct RepeatParams {
        repeats: i64, K::Int, D::Required, "How often each element.";
        axis: Option<i64>, K::Int, D::None, "The axis; the flattened array where absent.";
    }
}
pub static REPEAT: Op = Op {
    name: "repeat",
    aliases: &[],
    doc: "Each element repeated, one behind the other.",
    inputs: DATA,
    params: RepeatParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = RepeatParams::read(args);
        if p.repeats < 0 {
            Error::op(format_args!("repeat: repeats, got {}, expected 0 or more", p.repeats)).throw();
        }
        let (x, axis) = match p.axis {
            None => (v[0].reshape(&[v[0].numel()]), 0),
            Some(axis) => (v[0].clone(), axis_index("repeat", axis, v[0].ndim()).or_throw()),
        };
        let (mut apart, mut wide, mut out): (Shape, Shape, Shape) =
            (x.shape().into(), x.shape().into(), x.shape().into());
        apart.insert(axis + 1, 1);
        wide.insert(axis + 1, p.repeats as usize);
        out[axis] *= p.repeats as usize;
        smallvec![x.reshape(&apart).broadcast_to(&wide).reshape(&out)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, repeats, axis=None: np.repeat(data, repeats, axis)",
        calls: &[(&[&[2, 3]], "repeats=2"), (&[&[2, 3]], "repeats=2, axis=1")],
    },
};

pub static ADD_N: Op = Op {
    name: "add_n",
    aliases: &["ElementWiseSum"],
    doc: "Sum of any number of arrays of one shape.",
    inputs: &["*data"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        if v.is_empty() || v.iter().any(|x| x.shape() != v[0].shape()) {
            Error::op("add_n: expected arrays of one shape, at least one").throw();
        }
        let first = v[0].unary(&crate::ops::unary::IDENTITY);
        smallvec![v[1..].iter().fold(first, |sum, x| sum + x)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda *data: sum(data)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3]], ""), (&[&[2]], "")],
    },
};

// ---- padding ------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct PadParams {
        mode: Arc<str>, K::Choice(&["constant", "edge", "reflect"]), D::Required, "What the new elements are.";
        pad_width: Ints, K::Ints, D::Required, "Two numbers for each axis: before and behind; zero for the first two axes.";
        constant_value: f64, K::Float, D::Float(0.0), "The value for `constant`.";
    }
}
pub static PAD: Op = Op {
    name: "pad",
    aliases: &["Pad"],
    doc: "New elements around an array of four or five axes.",
    inputs: DATA,
    params: PadParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = PadParams::read(args);
        let x = &v[0];
        (|| -> Result<()> {
            ensure!(x.ndim() == 4 || x.ndim() == 5, "pad: data, got {} axes, expected 4 or 5", x.ndim());
            ensure!(
                p.pad_width.len() == 2 * x.ndim() && p.pad_width.iter().all(|&w| w >= 0),
                "pad: pad_width, expected {} numbers of 0 or more",
                2 * x.ndim()
            );
            ensure!(p.pad_width[..4].iter().all(|&w| w == 0), "pad: pad_width of the first two axes must be 0");
            ensure!(x.dtype().is_float(), "pad: data, got {}, expected a float dtype", x.dtype());
            let reflect = &*p.mode == "reflect";
            let fits = |a: usize| p.pad_width[2 * a].max(p.pad_width[2 * a + 1]) < x.shape()[a] as i64;
            ensure!(!reflect || (0..x.ndim()).all(fits), "pad: reflect needs an axis longer than its padding");
            Ok(())
        })()
        .or_throw();
        if &*p.mode == "constant" {
            let into: Ints =
                (0..x.ndim()).map(|a| x.shape()[a] as i64 + p.pad_width[2 * a] + p.pad_width[2 * a + 1]).collect();
            let args = || {
                crate::ops::getitem::PlaceParams {
                    start: (0..x.ndim()).map(|a| p.pad_width[2 * a]).collect(),
                    step: smallvec![1; x.ndim()],
                    count: x.shape().iter().map(|&d| d as i64).collect(),
                    shape: x.shape().iter().map(|&d| d as i64).collect(),
                    into: into.clone(),
                }
                .args()
            };
            let placed = x.with(&crate::ops::getitem::PLACE, args());
            if p.constant_value == 0.0 {
                return smallvec![placed];
            }
            let inside = x.full_like(x.shape(), 1.0).with(&crate::ops::getitem::PLACE, args());
            return smallvec![placed + (1.0 - inside) * p.constant_value];
        }
        let mut out = x.clone();
        for axis in 2..x.ndim() {
            let (n, before, behind) = (x.shape()[axis] as i64, p.pad_width[2 * axis], p.pad_width[2 * axis + 1]);
            let index: Vec<i64> = (-before..n + behind)
                .map(|i| match (&*p.mode, i) {
                    ("reflect", i) if i < 0 => -i,
                    ("reflect", i) if i >= n => 2 * (n - 1) - i,
                    _ => i.clamp(0, n - 1),
                })
                .collect();
            out = out.take_axis(axis, &crate::ops::getitem::index_var(&[index.len()], &index).or_throw());
        }
        smallvec![out]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, mode, pad_width, constant_value=0: np.pad(data, list(zip(pad_width[::2], pad_width[1::2])), mode, **({'constant_values': constant_value} if mode == 'constant' else {}))",
        calls: &[
            (&[&[1, 1, 2, 3]], "mode='constant', pad_width=(0, 0, 0, 0, 1, 1, 2, 0), constant_value=3"),
            (&[&[1, 1, 2, 3]], "mode='edge', pad_width=(0, 0, 0, 0, 1, 1, 2, 0)"),
            (&[&[1, 1, 2, 3]], "mode='reflect', pad_width=(0, 0, 0, 0, 1, 1, 2, 0)"),
        ],
    },
};

// ---- depth and space ----------------------------------------------------------------------------------------------

crate::params! {
    pub struct BlockParams { block_size: i64, K::Int, D::Required, "Side of a block."; }
}
fn blocks(v: &Var, args: &Args, name: &str, space: bool) -> (usize, SmallVec<[usize; 4]>) {
    let b = BlockParams::read(args).block_size;
    let ok = v.ndim() == 4 && b > 0 && {
        let b = b as usize;
        let divides = |axis: usize, by: usize| v.shape()[axis].is_multiple_of(by);
        if space { divides(1, b * b) } else { divides(2, b) && divides(3, b) }
    };
    if !ok {
        Error::op(format_args!(
            "{name}: shape {} does not divide in blocks of {b}",
            crate::base::layout::show(v.shape())
        ))
        .throw();
    }
    (b as usize, v.shape().into())
}
pub static DEPTH_TO_SPACE: Op = Op {
    name: "depth_to_space",
    aliases: &[],
    doc: "Channels laid out as blocks of the plane.",
    inputs: DATA,
    params: BlockParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let (b, s) = blocks(&v[0], args, "depth_to_space", true);
        let c = s[1] / (b * b);
        let x = v[0].reshape(&[s[0], b, b, c, s[2], s[3]]).transpose(&[0, 3, 4, 1, 5, 2]);
        smallvec![x.reshape(&[s[0], c, s[2] * b, s[3] * b])]
    }),
    grad: Grad::Composed,
    check: Check { range: ANY, like: "", calls: &[(&[&[1, 8, 1, 2]], "block_size=2")] },
};
pub static SPACE_TO_DEPTH: Op = Op {
    name: "space_to_depth",
    aliases: &[],
    doc: "Blocks of the plane laid out as channels.",
    inputs: DATA,
    params: BlockParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let (b, s) = blocks(&v[0], args, "space_to_depth", false);
        let x = v[0].reshape(&[s[0], s[1], s[2] / b, b, s[3] / b, b]).transpose(&[0, 3, 5, 1, 2, 4]);
        smallvec![x.reshape(&[s[0], s[1] * b * b, s[2] / b, s[3] / b])]
    }),
    grad: Grad::Composed,
    check: Check { range: ANY, like: "", calls: &[(&[&[1, 2, 2, 4]], "block_size=2")] },
};

pub static OPS: Ops = &[
    &SLICE,
    &SLICE_AXIS,
    &SLICE_LIKE,
    &FLIP,
    &CONCAT,
    &STACK,
    &SPLIT,
    &TILE,
    &REPEAT,
    &ADD_N,
    &PAD,
    &DEPTH_TO_SPACE,
    &SPACE_TO_DEPTH,
];
