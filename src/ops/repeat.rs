//! Repeated elements, padding, and channels laid out in the plane.

use crate::base::error::OrThrow;
use crate::base::{Error, Result, Shape};
use crate::ensure;
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::getitem::numbers;
use crate::ops::init::checked_shape;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

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
        let out: Shape = (0..n).map(|i| rep(i).saturating_mul(dim(i))).collect();
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
        out[axis] = out[axis].saturating_mul(p.repeats as usize);
        smallvec![x.reshape(&apart).broadcast_to(&wide).reshape(&out)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, repeats, axis=None: np.repeat(data, repeats, axis)",
        calls: &[(&[&[2, 3]], "repeats=2"), (&[&[2, 3]], "repeats=2, axis=1")],
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
        let wide =
            |a: usize| (x.shape()[a] as i64).saturating_add(p.pad_width[2 * a]).saturating_add(p.pad_width[2 * a + 1]);
        checked_shape("pad", &(0..x.ndim()).map(wide).collect::<Ints>(), x.dtype()).or_throw();
        if &*p.mode == "constant" {
            let into: Ints = (0..x.ndim()).map(wide).collect();
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
            let index = numbers(-before..n + behind)
                .or_throw()
                .into_iter()
                .map(|i| match (&*p.mode, i) {
                    ("reflect", i) if i < 0 => -i,
                    ("reflect", i) if i >= n => 2 * (n - 1) - i,
                    _ => i.clamp(0, n - 1),
                })
                .collect::<Vec<i64>>();
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

pub static OPS: Ops = &[&TILE, &REPEAT, &PAD, &DEPTH_TO_SPACE, &SPACE_TO_DEPTH];
