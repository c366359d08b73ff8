//! Picking elements by position: gathers, scatters, flat positions, diagonals.

use crate::base::error::OrThrow;
use crate::base::{DType, Element, Error, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Args, Check, Grad, Kind, Op, Var};
use crate::ops::getitem::index_var;
use crate::ops::init::checked_shape;
use crate::ops::{Ops, device};
use crate::{ensure, with_dtype};
use smallvec::smallvec;
use std::sync::Arc;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));
const INDEX: std::result::Result<(f64, f64), &str> = Err("an index input");
const FLAT: std::result::Result<(f64, f64), &str> = Err("constant almost everywhere");
const MODES: &[&str] = &["clip", "wrap", "raise"];

/// Indices as numbers of `0..n`: what lies outside is clipped, wrapped around, or an error.
fn resolve(name: &str, index: &Var, n: usize, mode: &str) -> Result<Vec<i64>> {
    let n = n as i64;
    ensure!(n > 0 || index.numel() == 0, Index, "{name}: nothing to pick from an axis of length 0");
    let mut list = index.tensor.to_vec::<i64>()?;
    for i in &mut list {
        *i = match mode {
            "wrap" => i.rem_euclid(n),
            "raise" if *i < 0 || *i >= n => {
                return Err(Error::index(format_args!("{name}: index {i} is out of bounds for an axis of length {n}")));
            }
            _ => (*i).clamp(0, n - 1),
        };
    }
    Ok(list)
}

crate::params! {
    pub struct TakeParams {
        axis: i64, K::Int, D::Int(0), "The axis to pick from.";
        mode: Arc<str>, K::Choice(MODES), D::Str("clip"), "What happens to an index outside: `clip`, `wrap` or `raise`.";
    }
}
pub static TAKE: Op = Op {
    name: "take",
    aliases: &[],
    doc: "Elements of an axis by number; the axes of `indices` take its place.",
    inputs: &["a", "indices"],
    params: TakeParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = TakeParams::read(args);
        let axis = axis_index("take", p.axis, v[0].ndim()).or_throw();
        if let Some(index) = device::row_numbers_of(&v[1], &v[0], v[0].shape()[axis], &p.mode).or_throw() {
            return smallvec![v[0].take_axis(axis, &index)];
        }
        let index = resolve("take", &v[1], v[0].shape()[axis], &p.mode).or_throw();
        smallvec![v[0].take_axis(axis, &index_var(v[1].shape(), &index).or_throw())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: INDEX,
        like: "lambda a, indices, axis=0, mode='clip': np.take(a, np.trunc(indices).astype(int), axis, mode=mode)",
        calls: &[(&[&[3, 4], &[2, 2]], ""), (&[&[3, 4], &[2]], "axis=1, mode='wrap'")],
    },
};

crate::params! {
    pub struct EmbeddingParams {
        input_dim: i64, K::Int, D::Required, "Number of rows of `weight`.";
        output_dim: i64, K::Int, D::Required, "Length of a row.";
        dtype: Option<DType>, K::DType, D::None, "Accepted; the result has the dtype of `weight`.";
        sparse_grad: bool, K::Bool, D::Bool(false), "Accepted; gradients are dense.";
    }
}
pub static EMBEDDING: Op = Op {
    name: "Embedding",
    aliases: &[],
    doc: "Rows of `weight` by number; numbers outside are clipped.",
    inputs: &["data", "weight"],
    params: EmbeddingParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = EmbeddingParams::read(args);
        if v[1].shape() != [p.input_dim as usize, p.output_dim as usize] {
            Error::op(format_args!(
                "Embedding: weight, got shape {}, expected ({}, {})",
                crate::base::layout::show(v[1].shape()),
                p.input_dim,
                p.output_dim
            ))
            .throw();
        }
        if let Some(index) = device::row_numbers_of(&v[0], &v[1], v[1].shape()[0], "clip").or_throw() {
            return smallvec![v[1].take_rows(&index)];
        }
        let index = resolve("Embedding", &v[0], v[1].shape()[0], "clip").or_throw();
        smallvec![v[1].take_rows(&index_var(v[0].shape(), &index).or_throw())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: INDEX,
        like: "lambda data, weight, input_dim, output_dim: weight[np.clip(np.trunc(data).astype(int), 0, input_dim - 1)]",
        calls: &[(&[&[2, 2], &[3, 4]], "input_dim=3, output_dim=4")],
    },
};

// ---- n-dimensional positions --------------------------------------------------------------------------------------

/// Row numbers of positions `(M, …)` in the first `M` axes of `shape`; negative ones wrap once.
fn positions(name: &str, indices: &Var, shape: &[usize]) -> Result<(usize, Vec<i64>)> {
    let m = indices.shape().first().copied().unwrap_or(0);
    ensure!(m >= 1 && m <= shape.len(), "{name}: indices have {m} rows, expected 1 to {}", shape.len());
    let list = indices.tensor.to_vec::<i64>()?;
    let n = list.len() / m;
    let mut flat = vec![0i64; n];
    for (axis, row) in list.chunks_exact(n.max(1)).enumerate().take(m) {
        let dim = shape[axis] as i64;
        for (f, &i) in flat.iter_mut().zip(row) {
            ensure!(i >= -dim && i < dim, Index, "{name}: index {i} is out of bounds for axis {axis} with size {dim}");
            *f = *f * dim + if i < 0 { i + dim } else { i };
        }
    }
    Ok((m, flat))
}

pub static GATHER_ND: Op = Op {
    name: "gather_nd",
    aliases: &[],
    doc: "Elements by position: row `k` of `indices` numbers axis `k` of `data`.",
    inputs: &["data", "indices"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let (m, rows) = positions("gather_nd", &v[1], v[0].shape()).or_throw();
        let mut table: Shape = smallvec![v[0].shape()[..m].iter().product()];
        table.extend(v[0].shape()[m..].iter().copied());
        let out = v[0].reshape(&table).take_rows(&index_var(&v[1].shape()[1..], &rows).or_throw());
        smallvec![if out.ndim() == 0 { out.reshape(&[1]) } else { out }]
    }),
    grad: Grad::Composed,
    check: Check {
        range: INDEX,
        like: "lambda data, indices: data[tuple(np.trunc(indices).astype(int))]",
        calls: &[(&[&[3, 4], &[2, 5]], ""), (&[&[3, 4], &[1, 2]], "")],
    },
};

crate::params! {
    pub struct ScatterParams { shape: Ints, K::Ints, D::Required, "Shape of the result."; }
}
pub static SCATTER_ND: Op = Op {
    name: "scatter_nd",
    aliases: &[],
    doc: "Zeros with elements put at positions; the last of equal positions stays.",
    inputs: &["data", "indices"],
    params: ScatterParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let dims = ScatterParams::read(args).shape;
        let shape = checked_shape("scatter_nd", &dims, v[0].dtype()).or_throw();
        let (m, rows) = positions("scatter_nd", &v[1], &shape).or_throw();
        let row: Shape = shape[m..].into();
        let expected: Shape = v[1].shape()[1..].iter().chain(&row).copied().collect();
        if v[0].shape() != expected.as_slice() {
            Error::op(format_args!(
                "scatter_nd: data, got shape {}, expected {}",
                crate::base::layout::show(v[0].shape()),
                crate::base::layout::show(&expected)
            ))
            .throw();
        }
        let mut table: Shape = smallvec![shape[..m].iter().product()];
        table.extend(row.iter().copied());
        let index = index_var(&[rows.len()], &rows).or_throw();
        smallvec![v[0].put_rows(&index, &table).reshape(&shape)]
    }),
    grad: Grad::Composed,
    check: Check { range: INDEX, like: "", calls: &[] },
};

// ---- flat positions -----------------------------------------------------------------------------------------------

/// The lengths of an array that positions are in; all but the first count.
fn lengths(name: &str, args: &Args) -> Result<Ints> {
    let dims = ScatterParams::read(args).shape;
    // The first length is not used, and may be -1.
    ensure!(
        !dims.is_empty() && dims[1..].iter().all(|&d| d > 0),
        "{name}: shape, got {dims:?}, expected positive numbers"
    );
    Ok(dims)
}

pub static RAVEL: Op = Op {
    name: "ravel_multi_index",
    aliases: &["_ravel_multi_index"],
    doc: "Flat positions in an array of `shape`: row `k` of `data` numbers axis `k`.",
    inputs: &["data"],
    params: ScatterParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let m = lengths("ravel_multi_index", args)?.len();
            ensure!(
                metas[0].shape.first() == Some(&m),
                "ravel_multi_index: data, got shape {}, expected {m} rows",
                crate::base::layout::show(&metas[0].shape)
            );
            let rest = &metas[0].shape[1..];
            Ok(smallvec![metas[0].with_shape(if rest.is_empty() { smallvec![1] } else { rest.into() })])
        },
        cpu: |ins, args, outs| {
            let dims = lengths("ravel_multi_index", args)?;
            let index = ins[0].to_vec::<i64>()?;
            with_dtype!(ins[0].dtype(), T => {
                let out = outs[0].slice::<T>();
                let n = out.len();
                for (k, slot) in out.iter_mut().enumerate() {
                    let step = |sum: i64, (i, &d): (usize, &i64)| sum.wrapping_mul(d).wrapping_add(index[i * n + k]);
                    *slot = T::from_i64(dims.iter().enumerate().fold(0, step));
                }
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: FLAT,
        like: "lambda data, shape: np.tensordot(np.cumprod((1, *shape[:0:-1]))[::-1], np.trunc(data), 1)",
        calls: &[(&[&[2, 3]], "shape=(3, 4)"), (&[&[3, 2, 2]], "shape=(-1, 4, 2)")],
    },
};

pub static UNRAVEL: Op = Op {
    name: "unravel_index",
    aliases: &["_unravel_index"],
    doc: "The inverse of `ravel_multi_index`: row `k` numbers axis `k` of an array of `shape`.",
    inputs: &["data"],
    params: ScatterParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let m = lengths("unravel_index", args)?.len();
            Ok(smallvec![metas[0].with_shape([m].into_iter().chain(metas[0].shape.iter().copied()).collect())])
        },
        cpu: |ins, args, outs| {
            let dims = lengths("unravel_index", args)?;
            let index = ins[0].to_vec::<i64>()?;
            with_dtype!(ins[0].dtype(), T => {
                let out = outs[0].slice::<T>();
                for (k, &flat) in index.iter().enumerate() {
                    let mut rest = flat;
                    for (i, &d) in dims.iter().enumerate().skip(1).rev() {
                        out[i * index.len() + k] = T::from_i64(rest % d);
                        rest /= d;
                    }
                    out[k] = T::from_i64(rest);
                }
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: FLAT,
        like: "lambda data, shape: np.array([np.trunc(data), np.zeros_like(data)])",
        calls: &[(&[&[2, 3]], "shape=(3, 1)")],
    },
};

// ---- diagonals, shapes --------------------------------------------------------------------------------------------

crate::params! {
    pub struct DiagParams {
        k: i64, K::Int, D::Int(0), "Which diagonal; above the main one where positive.";
        axis1: i64, K::Int, D::Int(0), "First axis of the matrices.";
        axis2: i64, K::Int, D::Int(1), "Second axis of the matrices.";
    }
}
pub static DIAG: Op = Op {
    name: "diag",
    aliases: &[],
    doc: "A matrix with a vector on a diagonal, or the diagonal of matrices as the last axis.",
    inputs: &["data"],
    params: DiagParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = DiagParams::read(args);
        let x = &v[0];
        if p.k.unsigned_abs() > u32::MAX as u64 {
            Error::op(format_args!("diag: Diagonal does not exist: k={}", p.k)).throw();
        }
        if x.ndim() == 1 {
            let n = x.shape()[0] + p.k.unsigned_abs() as usize;
            checked_shape("diag", &[n as i64, n as i64], x.dtype()).or_throw();
            let index: Vec<i64> =
                (0..x.shape()[0] as i64).map(|i| (i + (-p.k).max(0)) * n as i64 + i + p.k.max(0)).collect();
            return smallvec![x.put_rows(&index_var(&[index.len()], &index).or_throw(), &[n * n]).reshape(&[n, n])];
        }
        let (a, b) =
            (axis_index("diag", p.axis1, x.ndim()).or_throw(), axis_index("diag", p.axis2, x.ndim()).or_throw());
        if a == b {
            Error::op("diag: axis1 and axis2 must differ").throw();
        }
        let mut order: Vec<usize> = (0..x.ndim()).filter(|&i| i != a && i != b).collect();
        order.extend([a, b]);
        let moved = x.transpose(&order);
        let (rows, cols) = (x.shape()[a] as i64, x.shape()[b] as i64);
        let len = (rows - (-p.k).max(0)).min(cols - p.k.max(0));
        if len <= 0 {
            Error::op(format_args!("diag: Diagonal does not exist: k={} of {rows} x {cols}", p.k)).throw();
        }
        let outer: usize = moved.shape()[..x.ndim() - 2].iter().product();
        let step = rows * cols;
        let index: Vec<i64> = (0..outer as i64)
            .flat_map(|o| (0..len).map(move |i| o * step + (i + (-p.k).max(0)) * cols + i + p.k.max(0)))
            .collect();
        let mut shape: Shape = moved.shape()[..x.ndim() - 2].into();
        shape.push(len as usize);
        smallvec![moved.take_flat(&index, &shape)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, k=0: np.diag(data, k)",
        calls: &[(&[&[3]], "k=1"), (&[&[3, 4]], ""), (&[&[3, 4]], "k=-1")],
    },
};

pub static SHAPE_ARRAY: Op = Op {
    name: "shape_array",
    aliases: &[],
    doc: "The shape as an int64 array.",
    inputs: &["data"],
    params: &[],
    method: true,
    writes: &[],
    kind: Kind::View(|t, _| {
        let dims: Vec<i64> = t.shape().iter().map(|&d| d as i64).collect();
        crate::tensor::Tensor::from_slice(&[dims.len()], &dims)?.on_device(t.device())
    }),
    grad: Grad::Zero,
    check: Check { range: FLAT, like: "lambda data: np.array(data.shape)", calls: &[(&[&[2, 3]], "")] },
};
pub static SIZE_ARRAY: Op = Op {
    name: "size_array",
    aliases: &[],
    doc: "The number of elements as an int64 array.",
    inputs: &["data"],
    params: &[],
    method: true,
    writes: &[],
    kind: Kind::View(|t, _| crate::tensor::Tensor::from_slice(&[1], &[t.numel() as i64])?.on_device(t.device())),
    grad: Grad::Zero,
    check: Check { range: FLAT, like: "lambda data: np.array([data.size])", calls: &[(&[&[2, 3]], "")] },
};

pub static OPS: Ops = &[&TAKE, &EMBEDDING, &GATHER_ND, &SCATTER_ND, &RAVEL, &UNRAVEL, &DIAG, &SHAPE_ARRAY, &SIZE_ARRAY];
