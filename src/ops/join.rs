//! Putting arrays together, and picking along an axis.

use crate::base::error::OrThrow;
use crate::base::{Error, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::{Check, Grad, Grads, Kind, Op, Var, apply1};
use crate::ops::Ops;
use crate::tensor::kernel::Dense;
use crate::{ensure, with_dtype};
use smallvec::{SmallVec, smallvec};

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

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
    kind: Kind::LateKernel {
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
                // Whether so many can be counted is asked where memory is taken.
                shape[axis] = shape[axis].saturating_add(meta.shape[axis]);
            }
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |ins, args, outs| {
            let axis = axis_index("concat", ConcatParams::read(args).dim, ins[0].ndim())?;
            let widths: SmallVec<[usize; 4]> = ins.iter().map(|t| t.shape()[axis..].iter().product()).collect();
            let total: usize = widths.iter().sum();
            let dense = Dense::all(ins, ins[0].dtype())?;
            with_dtype!(ins[0].dtype(), T => {
                let parts: SmallVec<[&[T]; 4]> = dense.iter().map(|d| d.slice::<T>()).collect();
                crate::cpu::moves::interleave(&parts, &widths, total, outs[0].slice::<T>());
            });
            Ok(())
        },
        gpu: Some(|t, args, wanted| {
            crate::ops::device::concat(t, axis_index("concat", ConcatParams::read(args).dim, t[0].ndim())?, &wanted[0])
        }),
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

pub static OPS: Ops = &[&CONCAT, &STACK, &ADD_N];
