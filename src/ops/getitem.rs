//! What indexing is made of: strided picks, rows by number, and their transposes.

use crate::base::error::{Error, OrThrow};
use crate::base::{DType, Layout, Result};
use crate::cpu;
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Kind, Meta, Op, Var, apply1};
use crate::ops::expr::shape_of;
use crate::ops::{Ops, device};
use crate::tensor::Tensor;
use crate::tensor::kernel::Dense;
use crate::{ensure, rule, with_dtype};
use smallvec::smallvec;

const DATA: &[&str] = &["data"];

crate::params! {
    /// A resolved basic key: for each axis of the source the first index, the step and the count; then the shape of the
    /// result, in which axes of length one may have come or gone.
    pub struct PickParams {
        start: Ints, K::Ints, D::Required, "First index of each axis.";
        step: Ints, K::Ints, D::Required, "Step of each axis.";
        count: Ints, K::Ints, D::Required, "Number of elements of each axis.";
        shape: Ints, K::Ints, D::Required, "Shape of the result.";
    }
}

/// The layout that a resolved key picks from an array of this layout, before axes of length one come or go.
pub fn picked(layout: &Layout, p: &PickParams) -> Layout {
    let mut out = layout.clone();
    for axis in 0..p.start.len() {
        out = out.slice(axis, p.start[axis] as isize, p.step[axis] as isize, p.count[axis] as usize);
    }
    out
}

pub static PICK_VIEW: Op = Op {
    name: "_basic_index",
    aliases: &[],
    doc: "The elements that slices and whole numbers pick, as a view.",
    inputs: DATA,
    params: PickParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, args| {
        let p = PickParams::read(args);
        for (axis, &dim) in t.shape().iter().enumerate() {
            let (start, step, count) = (p.start[axis], p.step[axis], p.count[axis]);
            let last = start.saturating_add(step.saturating_mul((count - 1).max(0)));
            let inside = count == 0 || (start >= 0 && start < dim as i64 && last >= 0 && last < dim as i64);
            ensure!(inside, Index, "_basic_index: axis {axis}, got {start}..{last}, expected within {dim}");
        }
        t.with_layout(picked(&t.layout()?, &p))?.reshaped(&shape_of(&p.shape))
    }),
    grad: rule!(
        Linear | c,
        g | [{
            let p = PickParams::read(c.args);
            let into: Ints = c.shape(0).iter().map(|&d| d as i64).collect();
            let counts = shape_of(&p.count);
            let args = PlaceParams { start: p.start, step: p.step, count: p.count, shape: p.shape, into }.args();
            g.reshape(&counts).with(&PLACE, args)
        }]
    ),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda data, start, step, count, shape: data[tuple(slice(a, a + s * n if a + s * n >= 0 else None, s) for a, s, n in zip(start, step, count))].reshape(shape)",
        calls: &[
            (&[&[3, 4]], "start=(0, 3), step=(2, -2), count=(2, 2), shape=(2, 2)"),
            (&[&[3, 4]], "start=(1, 0), step=(1, 1), count=(1, 4), shape=(4,)"),
        ],
    },
};

crate::params! {
    pub struct PlaceParams {
        start: Ints, K::Ints, D::Required, "First index of each axis.";
        step: Ints, K::Ints, D::Required, "Step of each axis.";
        count: Ints, K::Ints, D::Required, "Number of elements of each axis.";
        shape: Ints, K::Ints, D::Required, "Shape of what was picked.";
        into: Ints, K::Ints, D::Required, "Shape of the result.";
    }
}
pub static PLACE: Op = Op {
    name: "_basic_place",
    aliases: &[],
    doc: "Zeros with the array at the places that `_basic_index` picks: its transpose.",
    inputs: DATA,
    params: PlaceParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = PlaceParams::read(args);
            ensure!(shape_of(&p.count) == metas[0].shape, "_basic_place: data, expected shape {:?}", p.count);
            let fits = p.into.iter().zip(p.start.iter().zip(&p.step).zip(&p.count)).all(|(&dim, ((&a, &s), &n))| {
                let last = a.saturating_add(s.saturating_mul(n - 1));
                n == 0 || (a >= 0 && a < dim && last >= 0 && last < dim)
            });
            ensure!(
                fits && p.into.len() == p.count.len(),
                Index,
                "_basic_place: the picked places lie outside {:?}",
                p.into
            );
            Ok(smallvec![metas[0].with_shape(shape_of(&p.into))])
        },
        cpu: |ins, args, outs| {
            let p = PlaceParams::read(args);
            let into = Layout::contiguous(&shape_of(&p.into));
            let pick = PickParams { start: p.start, step: p.step, count: p.count, shape: p.shape };
            let layout = picked(&into, &pick);
            let (data, step) = ins[0].dense_runs((layout.shape.len() > 1) as usize)?;
            with_dtype!(ins[0].dtype(), T => {
                cpu::moves::place(data.slice::<T>(), step, outs[0].slice::<T>(), &into, &layout)
            });
            Ok(())
        },
        gpu: Some(|t, args, wanted| {
            let p = PlaceParams::read(args);
            let pick = PickParams { start: p.start, step: p.step, count: p.count, shape: p.shape };
            device::put_into_zeros(&t[0], &picked(&Layout::contiguous(&wanted[0].shape), &pick), &wanted[0])
        }),
    },
    grad: rule!(
        Linear | c,
        g | [{
            let p = PlaceParams::read(c.args);
            let shape = p.count.clone();
            g.with(&PICK_VIEW, PickParams { start: p.start, step: p.step, count: p.count, shape }.args())
        }]
    ),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "",
        calls: &[(&[&[2, 2]], "start=(0, 3), step=(2, -2), count=(2, 2), shape=(2, 2), into=(3, 4)")],
    },
};

// ---- rows by number -----------------------------------------------------------------------------------------------

/// Row numbers, each checked to be one of `rows`.
pub struct RowNumbers(Dense);

impl RowNumbers {
    pub fn of(name: &str, index: &Tensor, axis: usize, rows: usize) -> Result<RowNumbers> {
        let index = RowNumbers(index.cast(DType::I64)?.dense()?);
        // One comparison for both ends: a negative number is a huge one without its sign.
        let outside = index.get().iter().fold(false, |any, &i| any | (i as u64 >= rows as u64));
        match index.get().iter().find(|&&i| outside && i as u64 >= rows as u64) {
            Some(i) => {
                let message = format_args!("{name}: index {i} is out of bounds for axis {axis} with size {rows}");
                Err(Error::index(message))
            }
            None => Ok(index),
        }
    }
    pub fn get(&self) -> &[i64] {
        self.0.slice()
    }
}

/// How many rows an axis has, and the elements of one.
fn rows_along(shape: &[usize], axis: usize) -> (usize, usize) {
    (shape[axis], shape[axis + 1..].iter().product())
}

crate::params! {
    pub struct TakeRowsParams { axis: i64, K::Int, D::Int(0), "The axis whose elements are rows."; }
}
pub static TAKE_ROWS: Op = Op {
    name: "_take_rows",
    aliases: &[],
    doc: "Rows of an array by int64 numbers: the shape of `index` stands where the axis was.",
    inputs: &["data", "index"],
    params: TakeRowsParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::LateKernel {
        infer: |metas, args| {
            let axis = axis_index("_take_rows", TakeRowsParams::read(args).axis, metas[0].shape.len())?;
            ensure!(
                matches!(metas[1].dtype, DType::I64 | DType::I32),
                "_take_rows: index, got {}, expected whole numbers",
                metas[1].dtype
            );
            let (before, after) = (&metas[0].shape[..axis], &metas[0].shape[axis + 1..]);
            let shape = before.iter().chain(&metas[1].shape).chain(after).copied().collect();
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |ins, args, outs| {
            let axis = axis_index("_take_rows", TakeRowsParams::read(args).axis, ins[0].ndim())?;
            let index = RowNumbers::of("take", &ins[1], axis, ins[0].shape()[axis])?;
            let data = ins[0].dense()?;
            let (rows, row) = rows_along(ins[0].shape(), axis);
            with_dtype!(ins[0].dtype(), T => {
                cpu::index::take_rows(data.slice::<T>(), index.get(), rows, row, outs[0].slice::<T>())
            });
            Ok(())
        },
        gpu: Some(|t, args, wanted| match TakeRowsParams::read(args).axis {
            0 => device::take_rows(t, args, wanted),
            _ => Ok(None),
        }),
    },
    grad: rule!(
        FromInputs | c,
        g | [
            {
                let shape = c.shape(0).to_vec();
                g.add_rows_along(TakeRowsParams::read(c.args).axis as usize, c.input(1), &shape)
            },
            Var::scalar(0.0)
        ]
    ),
    check: Check { range: Err("an index input"), like: "", calls: &[] },
};

crate::params! {
    pub struct AddRowsParams {
        shape: Ints, K::Ints, D::Required, "Shape of the result.";
        axis: i64, K::Int, D::Int(0), "The axis whose elements are rows.";
    }
}
pub static ADD_ROWS: Op = Op {
    name: "_add_rows",
    aliases: &[],
    doc: "Zeros of a shape with rows added at int64 numbers: the transpose of `_take_rows`.",
    inputs: &["data", "index"],
    params: AddRowsParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = AddRowsParams::read(args);
            let shape = shape_of(&p.shape);
            let axis = axis_index("_add_rows", p.axis, shape.len())?;
            let kept: usize = shape.iter().enumerate().map(|(a, &d)| if a == axis { 1 } else { d }).product();
            let have: usize = metas[0].shape.iter().product();
            ensure!(have == metas[1].shape.iter().product::<usize>() * kept, "_add_rows: data does not fit the rows");
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |ins, args, outs| {
            let p = AddRowsParams::read(args);
            let shape = shape_of(&p.shape);
            let axis = axis_index("_add_rows", p.axis, shape.len())?;
            let index = RowNumbers::of("take", &ins[1], axis, shape[axis])?;
            let (data, step) = ins[0].dense_runs(axis + ins[1].ndim())?;
            let (rows, row) = rows_along(&shape, axis);
            with_dtype!(ins[0].dtype(), T => {
                cpu::index::add_rows(data.slice::<T>(), step, index.get(), rows, row, outs[0].slice::<T>())
            });
            Ok(())
        },
        gpu: Some(|t, args, wanted| match AddRowsParams::read(args).axis {
            0 => device::add_rows("take", t, wanted, false),
            _ => Ok(None),
        }),
    },
    grad: rule!(
        FromInputs | c,
        g | [
            {
                let shape = c.shape(0).to_vec();
                g.take_axis(AddRowsParams::read(c.args).axis as usize, c.input(1)).reshape(&shape)
            },
            Var::scalar(0.0)
        ]
    ),
    check: Check { range: Err("an index input"), like: "", calls: &[] },
};

pub static PUT_ROWS: Op = Op {
    name: "_put_rows",
    aliases: &[],
    doc: "Zeros of a shape with rows put at int64 numbers; the last of equal numbers stays.",
    inputs: &["data", "index"],
    params: AddRowsParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let shape = shape_of(&AddRowsParams::read(args).shape);
            let row: usize = shape.get(1..).unwrap_or_default().iter().product();
            let have: usize = metas[0].shape.iter().product();
            ensure!(
                have == metas[1].shape.iter().product::<usize>() * row,
                "scatter_nd: data does not fit the indices"
            );
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |ins, args, outs| {
            let shape = shape_of(&AddRowsParams::read(args).shape);
            let index = RowNumbers::of("scatter_nd", &ins[1], 0, shape[0])?;
            let data = ins[0].dense()?;
            let row = shape[1..].iter().product::<usize>();
            with_dtype!(ins[0].dtype(), T => {
                let out = outs[0].slice::<T>();
                out.fill(T::default());
                cpu::index::put_rows(data.slice::<T>(), index.get(), row, out);
            });
            Ok(())
        },
        gpu: Some(|t, _, wanted| device::add_rows("scatter_nd", t, wanted, true)),
    },
    grad: rule!(
        FromInputs | c,
        g | [
            {
                let shape = c.shape(0).to_vec();
                g.take_rows(c.input(1)).reshape(&shape)
            },
            Var::scalar(0.0)
        ]
    ),
    check: Check { range: Err("an index input"), like: "", calls: &[] },
};

impl Var {
    /// Rows by number; `index` holds int64.
    pub fn take_rows(&self, index: &Var) -> Var {
        self.take_axis(0, index)
    }
    /// Elements of an axis by number; the axes of `index` take its place.
    pub fn take_axis(&self, axis: usize, index: &Var) -> Var {
        if axis > 0 && self.tensor.device().is_gpu() {
            // The shader takes leading rows.
            let mut order: Vec<usize> = (0..self.ndim()).collect();
            order[..=axis].rotate_right(1);
            let (k, taken) = (index.ndim(), self.transpose(&order).take_rows(index));
            let back: Vec<usize> = (k..k + axis).chain(0..k).chain(k + axis..taken.ndim()).collect();
            return taken.transpose(&back);
        }
        let args = TakeRowsParams { axis: axis as i64 }.args();
        apply1(&TAKE_ROWS, &[self.clone(), index.detached()], &args).or_throw()
    }
    /// The transpose of [`Var::take_rows`]: these rows added into zeros of `shape`.
    pub fn add_rows(&self, index: &Var, shape: &[usize]) -> Var {
        self.add_rows_along(0, index, shape)
    }
    /// The transpose of [`Var::take_axis`].
    pub fn add_rows_along(&self, axis: usize, index: &Var, shape: &[usize]) -> Var {
        let args = AddRowsParams { shape: shape.iter().map(|&d| d as i64).collect(), axis: axis as i64 }.args();
        apply1(&ADD_ROWS, &[self.clone(), index.detached()], &args).or_throw()
    }
    /// Rows put into zeros of `shape`.
    pub fn put_rows(&self, index: &Var, shape: &[usize]) -> Var {
        let args = AddRowsParams { shape: shape.iter().map(|&d| d as i64).collect(), axis: 0 }.args();
        apply1(&PUT_ROWS, &[self.clone(), index.detached()], &args).or_throw()
    }
    /// The elements that a resolved basic key picks.
    pub fn pick_view(&self, p: PickParams) -> Var {
        self.with(&PICK_VIEW, p.args())
    }
    /// Elements `start..start + count` of an axis, every `step`-th.
    pub fn slice(&self, axis: usize, start: i64, step: i64, count: usize) -> Var {
        let mut p = PickParams {
            start: smallvec![0; self.ndim()],
            step: smallvec![1; self.ndim()],
            count: self.shape().iter().map(|&d| d as i64).collect(),
            shape: smallvec![],
        };
        (p.start[axis], p.step[axis], p.count[axis]) = (start, step, count as i64);
        p.shape = p.count.clone();
        self.pick_view(p)
    }
}

/// Whole numbers of a range; too many to hold are an error.
pub fn numbers(range: std::ops::Range<i64>) -> Result<Vec<i64>> {
    let n = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
    crate::base::buffer::probe(n.saturating_mul(8))?;
    Ok(range.collect())
}

/// Whole numbers as an int64 array.
pub fn index_var(shape: &[usize], index: &[i64]) -> Result<Var> {
    Tensor::from_slice(shape, index).map(Var::new)
}

/// The metadata of one output like another with a new shape.
pub fn one(meta: &Meta, shape: crate::base::Shape) -> smallvec::SmallVec<[Meta; 1]> {
    smallvec![meta.with_shape(shape)]
}

pub static OPS: Ops = &[&PICK_VIEW, &PLACE, &TAKE_ROWS, &ADD_ROWS, &PUT_ROWS];
