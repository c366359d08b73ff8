//! Picking elements by position: gathers, scatters, one-hot, where, positions of extremes.

use crate::base::error::OrThrow;
use crate::base::{DType, Element, Error, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Op, Var, apply1};
use crate::ir::MapFn;
use crate::ir::tile::Compute::Native;
use crate::ops::Ops;
use crate::ops::expr::shape_of;
use crate::ops::getitem::index_var;
use crate::{ensure, num_tiles, rule, with_dtype};
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
    pub struct PickParams {
        axis: Option<i64>, K::OptInt, D::Int(-1), "The axis to pick from.";
        keepdims: bool, K::Bool, D::Bool(false), "Whether the axis stays, with length one.";
        mode: Arc<str>, K::Choice(&["clip", "wrap"]), D::Str("clip"), "What happens to an index outside.";
    }
}
pub static PICK: Op = Op {
    name: "pick",
    aliases: &["choose_element_0index"],
    doc: "One element of an axis for each place of the other axes, by number.",
    inputs: &["data", "index"],
    params: PickParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = PickParams::read(args);
        let data = &v[0];
        let axis = match p.axis {
            Some(axis) => axis_index("pick", axis, data.ndim()),
            None => Err(Error::op("pick: axis, got None, expected an int")),
        }
        .or_throw();
        let (n, inner): (usize, usize) = (data.shape()[axis], data.shape()[axis + 1..].iter().product());
        let mut index = resolve("pick", &v[1], n, &p.mode).or_throw();
        if index.len() * n != data.numel() {
            Error::op(format_args!(
                "pick: index has shape {}, expected that of data {} without axis {axis}",
                crate::base::layout::show(v[1].shape()),
                crate::base::layout::show(data.shape())
            ))
            .throw();
        }
        for (k, i) in index.iter_mut().enumerate() {
            *i = ((k / inner.max(1) * n) as i64 + *i) * inner as i64 + (k % inner.max(1)) as i64;
        }
        let mut shape: Shape = data.shape().into();
        if p.keepdims {
            shape[axis] = 1;
        } else {
            shape.remove(axis);
        }
        if shape.is_empty() {
            shape.push(1);
        }
        smallvec![data.take_flat(&index, &shape)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: INDEX,
        like: "lambda data, index, axis=-1, keepdims=False: pick(data, index, axis, keepdims)",
        calls: &[(&[&[3, 4], &[3]], ""), (&[&[3, 4], &[4]], "axis=0, keepdims=True")],
    },
};

pub static BATCH_TAKE: Op = Op {
    name: "batch_take",
    aliases: &[],
    doc: "One element of each row by number.",
    inputs: &["a", "indices"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        smallvec![
            apply1(&PICK, v, &PickParams { axis: Some(-1), keepdims: false, mode: "clip".into() }.args()).or_throw()
        ]
    }),
    grad: Grad::Composed,
    check: Check {
        range: INDEX,
        like: "lambda a, indices: pick(a, indices, -1, False)",
        calls: &[(&[&[3, 4], &[3]], "")],
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
        if dims.iter().any(|&d| d < 0) {
            Error::op("scatter_nd: shape has a negative length").throw();
        }
        let shape = shape_of(&dims);
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

// ---- one-hot, where -----------------------------------------------------------------------------------------------

crate::params! {
    pub struct OneHotParams {
        depth: i64, K::Int, D::Required, "Length of the new last axis.";
        on_value: f64, K::Float, D::Float(1.0), "The value at the index.";
        off_value: f64, K::Float, D::Float(0.0), "The value elsewhere.";
        dtype: DType, K::DType, D::DType(DType::F32), "Dtype of the result.";
    }
}
pub static ONE_HOT: Op = Op {
    name: "one_hot",
    aliases: &[],
    doc: "A row for each index with `on_value` at it; an index outside gives a row of `off_value`.",
    inputs: &["indices"],
    params: OneHotParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = OneHotParams::read(args);
            ensure!(p.depth >= 0, "one_hot: depth, got {}, expected 0 or more", p.depth);
            let mut meta = metas[0].clone();
            meta.shape.push(p.depth as usize);
            meta.dtype = p.dtype;
            Ok(smallvec![meta])
        },
        cpu: |ins, args, outs| {
            let p = OneHotParams::read(args);
            let index = ins[0].to_vec::<i64>()?;
            with_dtype!(p.dtype, T => {
                let out = outs[0].slice::<T>();
                out.fill(T::from_f64(p.off_value));
                for (k, &i) in index.iter().enumerate() {
                    if i >= 0 && i < p.depth {
                        out[k * p.depth as usize + i as usize] = T::from_f64(p.on_value);
                    }
                }
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check { range: FLAT, like: "", calls: &[] },
};

pub static SELECT: Op = Op {
    name: "_select",
    aliases: &[],
    doc: "`x` where `condition` is not zero, else `y`: arrays of one dtype that broadcast.",
    inputs: &["condition", "x", "y"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "_select",
        compute: Native,
        tile: num_tiles!(|c, x, y| if c.nonzero() { x } else { y }),
        wgsl: "select({2}, {1}, {0} != 0)",
    }),
    grad: rule!(
        FromInputs | c,
        g | [Var::scalar(0.0), select(c.input(0), g, &Var::scalar(0.0)), select(c.input(0), &Var::scalar(0.0), g)]
    ),
    check: Check {
        range: ANY,
        like: "lambda condition, x, y: np.where(condition, x, y)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3]], ""), (&[&[2, 1], &[2, 3], &[3]], "")],
    },
};

pub fn select(condition: &Var, x: &Var, y: &Var) -> Var {
    apply1(&SELECT, &[condition.clone(), x.clone(), y.clone()], &Default::default()).or_throw()
}

pub static WHERE: Op = Op {
    name: "where",
    aliases: &[],
    doc: "`x` where `condition` is not zero, else `y`. The condition has their shape, or one number for each row.",
    inputs: &["condition", "x", "y"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let (c, x, y) = (&v[0], &v[1], &v[2]);
        (|| -> Result<()> {
            ensure!(
                x.shape() == y.shape() && x.dtype() == y.dtype(),
                "where: x and y must have one shape and dtype, got {} {} and {} {}",
                x.dtype(),
                crate::base::layout::show(x.shape()),
                y.dtype(),
                crate::base::layout::show(y.shape())
            );
            let rows = c.ndim() == 1 && x.ndim() > 0 && c.shape()[0] == x.shape()[0];
            ensure!(
                c.shape() == x.shape() || rows,
                "where: condition, got shape {}, expected {} or one number for each row",
                crate::base::layout::show(c.shape()),
                crate::base::layout::show(x.shape())
            );
            Ok(())
        })()
        .or_throw();
        let mut truth = c.cast(DType::Bool).cast(x.dtype());
        if c.shape() != x.shape() {
            let mut shape: Shape = smallvec![1; x.ndim()];
            shape[0] = x.shape()[0];
            truth = truth.reshape(&shape);
        }
        smallvec![select(&truth, x, y)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda condition, x, y: np.where(condition, x, y)",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3]], "")],
    },
};

// ---- positions of extremes ----------------------------------------------------------------------------------------

crate::params! {
    pub struct ArgParams {
        axis: Option<i64>, K::Int, D::None, "The axis; the flattened array where absent.";
        keepdims: bool, K::Bool, D::Bool(false), "Whether the axis stays, with length one.";
    }
}

macro_rules! arg_extreme {
    ($id:ident, $name:literal, $doc:literal, $better:expr, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: &["data"],
            params: ArgParams::SPEC,
            method: true,
            writes: &[],
            kind: Kind::Kernel {
                infer: |metas, args| {
                    let p = ArgParams::read(args);
                    let mut shape = metas[0].shape.clone();
                    ensure!(
                        !shape.contains(&0),
                        "{}: an empty array has no extreme, got shape {}",
                        $name,
                        crate::base::layout::show(&shape)
                    );
                    match p.axis {
                        Some(axis) => {
                            let axis = axis_index($name, axis, shape.len())?;
                            if p.keepdims {
                                shape[axis] = 1;
                            } else {
                                shape.remove(axis);
                            }
                        }
                        None if p.keepdims => shape.iter_mut().for_each(|d| *d = 1),
                        None => shape.clear(),
                    }
                    if shape.is_empty() {
                        shape.push(1);
                    }
                    Ok(smallvec![metas[0].with_shape(shape)])
                },
                cpu: |ins, args, outs| {
                    let dims = ins[0].shape();
                    let (n, inner) = match ArgParams::read(args).axis {
                        Some(axis) => {
                            let axis = axis_index($name, axis, dims.len())?;
                            (dims[axis], dims[axis + 1..].iter().product())
                        }
                        None => (ins[0].numel(), 1usize),
                    };
                    let data = ins[0].dense()?;
                    with_dtype!(ins[0].dtype(), T => {
                        let better: fn(T, T) -> bool = $better;
                        crate::cpu::index::arg_best(data.slice::<T>(), n, inner, better, outs[0].slice::<T>());
                    });
                    Ok(())
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: Check {
                range: FLAT,
                like: $like,
                calls: &[(&[&[3, 4]], ""), (&[&[3, 4]], "axis=0"), (&[&[2, 3, 4]], "axis=1, keepdims=True")],
            },
        };
    };
}
// Positions come in the dtype of the data, and a nan wins, as in MXNet.
arg_extreme!(
    ARGMAX,
    "argmax",
    "Position of the largest element, in the dtype of the data; the first of equal ones.",
    |new, best| new > best,
    "lambda data, axis=None, keepdims=False: np.argmax(data, axis, keepdims=keepdims)"
);
arg_extreme!(
    ARGMIN,
    "argmin",
    "Position of the smallest element, in the dtype of the data; the first of equal ones.",
    |new, best| new < best,
    "lambda data, axis=None, keepdims=False: np.argmin(data, axis, keepdims=keepdims)"
);

pub static ARGMAX_CHANNEL: Op = Op {
    name: "argmax_channel",
    aliases: &[],
    doc: "Position of the largest element along the second axis.",
    inputs: &["data"],
    params: &[],
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, _| smallvec![v[0].with(&ARGMAX, ArgParams { axis: Some(1), keepdims: false }.args())]),
    grad: Grad::Composed,
    check: Check { range: FLAT, like: "lambda data: np.argmax(data, 1)", calls: &[(&[&[3, 4]], "")] },
};

// ---- running sums, diagonals, shapes ------------------------------------------------------------------------------

crate::params! {
    pub struct CumsumParams {
        axis: Option<i64>, K::Int, D::None, "The axis; the flattened array where absent.";
        dtype: Option<DType>, K::DType, D::None, "Dtype of the result.";
    }
}
pub static RUNNING_SUM: Op = Op {
    name: "_running_sum",
    aliases: &[],
    doc: "Sums of the elements up to each one along an axis.",
    inputs: &["data"],
    params: ArgParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            axis_index("cumsum", ArgParams::read(args).axis.unwrap_or(0), metas[0].shape.len())?;
            Ok(smallvec![metas[0].clone()])
        },
        cpu: |ins, args, outs| {
            let dims = ins[0].shape();
            let axis = axis_index("cumsum", ArgParams::read(args).axis.unwrap_or(0), dims.len())?;
            let (n, inner) = (dims[axis], dims[axis + 1..].iter().product());
            let data = ins[0].dense()?;
            with_dtype!(ins[0].dtype(), T => crate::cpu::index::running_sum(data.slice::<T>(), n, inner, outs[0].slice::<T>()));
            Ok(())
        },
        gpu: None,
    },
    grad: rule!(
        Linear | c,
        g | [{
            let axis = ArgParams::read(c.args).axis.unwrap_or(0);
            let flip = |x: &Var| {
                let a = if axis < 0 { axis + x.ndim() as i64 } else { axis };
                x.with(&crate::ops::join::FLIP, crate::ops::join::FlipParams { axis: smallvec![a] }.args())
            };
            flip(&flip(g).with(&RUNNING_SUM, c.args.clone()))
        }]
    ),
    check: Check {
        range: ANY,
        like: "lambda data, axis=0: np.cumsum(data, axis)",
        calls: &[(&[&[3, 4]], "axis=0"), (&[&[3, 4]], "axis=1")],
    },
};
pub static CUMSUM: Op = Op {
    name: "cumsum",
    aliases: &[],
    doc: "Sums of the elements up to each one along an axis.",
    inputs: &["a"],
    params: CumsumParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = CumsumParams::read(args);
        let x = p.dtype.map_or_else(|| v[0].clone(), |d| v[0].cast(d));
        let x = if p.axis.is_none() { x.reshape(&[x.numel()]) } else { x };
        smallvec![x.with(&RUNNING_SUM, ArgParams { axis: p.axis, keepdims: false }.args())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda a, axis=None: np.cumsum(a, axis)",
        calls: &[(&[&[3, 4]], ""), (&[&[3, 4]], "axis=1")],
    },
};

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
        if x.ndim() == 1 {
            let n = x.shape()[0] + p.k.unsigned_abs() as usize;
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
        crate::tensor::Tensor::from_slice(&[dims.len()], &dims)
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
    kind: Kind::View(|t, _| crate::tensor::Tensor::from_slice(&[1], &[t.numel() as i64])),
    grad: Grad::Zero,
    check: Check { range: FLAT, like: "lambda data: np.array([data.size])", calls: &[(&[&[2, 3]], "")] },
};

pub static OPS: Ops = &[
    &TAKE,
    &PICK,
    &BATCH_TAKE,
    &EMBEDDING,
    &GATHER_ND,
    &SCATTER_ND,
    &ONE_HOT,
    &SELECT,
    &WHERE,
    &ARGMAX,
    &ARGMIN,
    &ARGMAX_CHANNEL,
    &RUNNING_SUM,
    &CUMSUM,
    &DIAG,
    &SHAPE_ARRAY,
    &SIZE_ARRAY,
];
