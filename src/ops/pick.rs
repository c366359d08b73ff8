//! One element of an axis for each place of the others, and the transpose of that.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{Element, Error, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Op, Var, apply1};
use crate::ops::expr::shape_of;
use crate::ops::{Ops, device};
use crate::tensor::Tensor;
use crate::tensor::expr::{Expr, SMALL};
use crate::tensor::gpu::common_device;
use crate::tensor::kernel::Output;
use crate::{ensure, rule, with_dtype};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Rows above this are long enough that their gradients are worth being kept as places and values.
const LONG_ROW: usize = 48;
const INDEX: std::result::Result<(f64, f64), &str> = Err("an index input");

crate::params! {
    pub struct PickParams {
        axis: Option<i64>, K::OptInt, D::Int(-1), "The axis to pick from.";
        keepdims: bool, K::Bool, D::Bool(false), "Whether the axis stays, with length one.";
        mode: Arc<str>, K::Choice(&["clip", "wrap"]), D::Str("clip"), "What happens to an index outside.";
    }
}

impl PickParams {
    /// The axis of data of `ndim` axes.
    fn along(&self, ndim: usize) -> Result<usize> {
        let axis = self.axis.ok_or_else(|| Error::op("pick: axis, got None, expected an int"))?;
        axis_index("pick", axis, ndim)
    }
}

/// Indices as numbers of `0..n`.
fn numbers(index: &Tensor, n: usize, mode: &str) -> Result<SmallVec<[i64; 64]>> {
    let (dense, n, wrap) = (index.dense()?, n as i64, mode == "wrap");
    let mut out = SmallVec::with_capacity(index.numel());
    with_dtype!(index.dtype(), T => {
        out.extend(dense.slice::<T>().iter().map(|i| {
            let i = i.to_i64();
            if wrap { i.rem_euclid(n) } else { i.clamp(0, n - 1) }
        }));
    });
    Ok(out)
}

/// Where the elements with these numbers of an axis are, in C order; places of the other axes are counted in `inner`.
fn positions(index: &mut [i64], n: usize, inner: usize) {
    let (n, mut outer, mut within) = (n as i64, 0, 0);
    for i in index {
        *i = (outer * n + *i) * inner as i64 + within;
        within += 1;
        if within == inner as i64 {
            (outer, within) = (outer + 1, 0);
        }
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
    kind: Kind::Kernel {
        infer: |m, args| {
            let (p, data) = (PickParams::read(args), &m[0].shape);
            let axis = p.along(data.len())?;
            let (n, count) = (data[axis], m[1].shape.iter().product::<usize>());
            ensure!(n > 0 || count == 0, Index, "pick: nothing to pick from an axis of length 0");
            ensure!(
                count * n == data.iter().product::<usize>(),
                "pick: index has shape {}, expected that of data {} without axis {axis}",
                show(&m[1].shape),
                show(data)
            );
            let mut shape: Shape = crate::base::layout::copied(data);
            if p.keepdims {
                shape[axis] = 1;
            } else {
                shape.remove(axis);
            }
            if shape.is_empty() {
                shape.push(1);
            }
            Ok(smallvec![m[0].with_shape(shape)])
        },
        cpu: |t, args, out| {
            common_device("pick", t)?;
            let (p, data) = (PickParams::read(args), &t[0]);
            let axis = p.along(data.ndim())?;
            let (n, inner) = (data.shape()[axis], data.shape()[axis + 1..].iter().product());
            let mut index = numbers(&t[1], n, &p.mode)?;
            positions(&mut index, n, inner);
            let dense = data.dense()?;
            with_dtype!(data.dtype(), T => {
                let from = dense.slice::<T>();
                for (out, &i) in out[0].slice::<T>().iter_mut().zip(&index) {
                    *out = from[i as usize];
                }
            });
            Ok(())
        },
        gpu: Some(|t, args, _| {
            let p = PickParams::read(args);
            device::pick(&t[0], &t[1], p.along(t[0].ndim())?, p.keepdims, &p.mode)
        }),
    },
    grad: rule!(
        FromInputs | c,
        g | [put(g, c.input(1), c.shape(0), &PickParams::read(c.args)).or_throw(), Var::scalar(0.0)]
    ),
    check: Check {
        range: INDEX,
        like: "lambda data, index, axis=-1, keepdims=False: pick(data, index, axis, keepdims)",
        calls: &[(&[&[3, 4], &[3]], ""), (&[&[3, 4], &[4]], "axis=0, keepdims=True")],
    },
};

crate::params! {
    pub struct PutParams {
        shape: Ints, K::Ints, D::Required, "Shape of the result.";
        axis: i64, K::Int, D::Int(-1), "The axis that `pick` picks from.";
        mode: Arc<str>, K::Choice(&["clip", "wrap"]), D::Str("clip"), "What happens to an index outside.";
    }
}
pub static PUT: Op = Op {
    name: "_put",
    aliases: &[],
    doc: "Zeros of a shape but for one element at each place of the other axes, by number: the transpose of `pick`.",
    inputs: &["data", "index"],
    params: PutParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |m, args| Ok(smallvec![m[0].with_shape(shape_of(&PutParams::read(args).shape))]),
        cpu: |t, args, out| {
            let p = PutParams::read(args);
            let (shape, axis) = (shape_of(&p.shape), p.axis as usize);
            let mut index = numbers(&t[1], shape[axis], &p.mode)?;
            positions(&mut index, shape[axis], shape[axis + 1..].iter().product());
            let dense = t[0].dense()?;
            with_dtype!(t[0].dtype(), T => put_each(dense.slice::<T>(), &index, out[0].slice::<T>()));
            Ok(())
        },
        gpu: Some(|t, args, wanted| {
            let p = PutParams::read(args);
            device::put(&t[0], &t[1], &wanted[0].shape, p.axis as usize, &p.mode)
        }),
    },
    grad: rule!(
        FromInputs | c,
        g | [
            {
                let p = PutParams::read(c.args);
                let args = PickParams { axis: Some(p.axis), keepdims: false, mode: p.mode }.args();
                apply1(&PICK, &[g.clone(), c.input(1).clone()], &args).or_throw().reshape(c.shape(0))
            },
            Var::scalar(0.0)
        ]
    ),
    check: Check { range: INDEX, like: "", calls: &[] },
};

/// Zeros with elements at their positions.
fn put_each<T: Element>(data: &[T], positions: &[i64], out: &mut [T]) {
    crate::cpu::pool::fill(out, |_, part| part.fill(T::default()));
    for (&x, &i) in data.iter().zip(positions) {
        out[i as usize] = x;
    }
}

/// [`PUT`]. Of long rows it is not computed before it is read: the gradient of softmax needs only the elements.
fn put(g: &Var, index: &Var, shape: &[usize], p: &PickParams) -> Result<Var> {
    let axis = p.along(shape.len())?;
    let (n, len) = (shape[axis], shape.iter().product::<usize>());
    if g.edge.is_none() && !g.tensor.on_gpu() && axis + 1 == shape.len() && n > LONG_ROW && len > SMALL {
        let index = numbers(&index.tensor, n, &p.mode)?;
        let run = |ins: &[Tensor], out: &mut [Output]| {
            let (data, index) = (ins[0].dense()?, ins[1].dense()?);
            let mut index: SmallVec<[i64; 64]> = index.slice::<i64>().into();
            positions(&mut index, out[0].last(), 1);
            with_dtype!(ins[0].dtype(), T => put_each(data.slice::<T>(), &index, out[0].slice::<T>()));
            Ok(())
        };
        let ins = smallvec![g.tensor.clone(), Tensor::from_slice(&[index.len()], &index)?];
        return Ok(Var::new(Tensor::deferred(
            shape.into(),
            &g.tensor,
            g.dtype(),
            Expr::Put { ins, run: Box::new(run) },
        )?));
    }
    let shape = shape.iter().map(|&d| d as i64).collect();
    let args = PutParams { shape, axis: axis as i64, mode: p.mode.clone() }.args();
    apply1(&PUT, &[g.clone(), index.detached()], &args)
}

pub static BATCH_TAKE: Op = Op {
    name: "batch_take",
    aliases: &[],
    doc: "One element of each row by number.",
    inputs: &["a", "indices"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let p = PickParams { axis: Some(-1), keepdims: false, mode: "clip".into() };
        smallvec![apply1(&PICK, v, &p.args()).or_throw()]
    }),
    grad: Grad::Composed,
    check: Check {
        range: INDEX,
        like: "lambda a, indices: pick(a, indices, -1, False)",
        calls: &[(&[&[3, 4], &[3]], "")],
    },
};

pub static OPS: Ops = &[&PICK, &PUT, &BATCH_TAKE];
