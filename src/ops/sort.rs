//! Order along an axis: sort, argsort, topk. Equal elements keep their order, and nan comes last.

use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::cpu::order::{exact_to, select_rows, sort_rows};
use crate::graph::op::axis_index;
use crate::graph::{Check, Grad, Kind, Meta, Op, Var};
use crate::ops::Ops;
use crate::ops::expr::one;
use crate::{ensure, rule, with_dtype};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

// ---- on the last axis -------------------------------------------------------------------------------------------

crate::params! {
    pub struct RowParams {
        descending: bool, K::Bool, D::Required, "Whether the largest element comes first.";
        k: i64, K::Int, D::Int(0), "How many positions to find; all where zero.";
    }
}

fn row_length(name: &str, shape: &[usize]) -> Result<usize> {
    let n = shape.last().copied().unwrap_or(1);
    ensure!(n <= u32::MAX as usize, "{name}: an axis of at most {} elements expected, got {n}", u32::MAX);
    Ok(n)
}

/// The positions that sort the last axis.
fn order(x: &Var, descending: bool, k: usize) -> Var {
    x.with(&ORDER, RowParams { descending, k: k as i64 }.args())
}

pub static SORT_ROWS: Op = Op {
    name: "_sort_rows",
    aliases: &[],
    doc: "The last axis sorted.",
    inputs: DATA,
    params: RowParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |ins, _| {
            row_length("sort", &ins[0].shape)?;
            Ok(smallvec![ins[0].clone()])
        },
        cpu: |ins, args, outs| {
            let (n, data) = (row_length("sort", ins[0].shape())?, ins[0].dense()?);
            if ins[0].numel() > 0 {
                let descending = RowParams::read(args).descending;
                with_dtype!(ins[0].dtype(), T => sort_rows(data.slice::<T>(), n, descending, outs[0].slice::<T>()));
            }
            Ok(())
        },
        gpu: None,
    },
    grad: rule!(
        FromInputs | c,
        g | [{
            let axis = g.ndim().saturating_sub(1);
            let n = g.shape().last().copied().unwrap_or(1);
            if g.numel() == 0 {
                g.clone()
            } else {
                g.add_along(&order(c.input(0), RowParams::read(c.args).descending, n), axis, n)
            }
        }]
    ),
    check: Check {
        range: ANY,
        like: "lambda data, descending: -np.sort(-data) if descending else np.sort(data)",
        calls: &[(&[&[3, 4]], "descending=False"), (&[&[5]], "descending=True")],
    },
};

pub static ORDER: Op = Op {
    name: "_order_rows",
    aliases: &[],
    doc: "The int64 positions of the first `k` elements of the last axis in sorted order.",
    inputs: DATA,
    params: RowParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |ins, args| {
            let n = row_length("topk", &ins[0].shape)?;
            let k = RowParams::read(args).k;
            ensure!(0 <= k && k <= n as i64, "topk: k, got {k}, expected at most {n}");
            let mut shape = ins[0].shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = if k == 0 { n } else { k as usize };
            }
            Ok(smallvec![Meta { shape, dtype: DType::I64, device: ins[0].device }])
        },
        cpu: |ins, args, outs| {
            let (n, data, p) = (row_length("topk", ins[0].shape())?, ins[0].dense()?, RowParams::read(args));
            let k = if p.k == 0 { n } else { p.k as usize };
            if ins[0].numel() > 0 {
                with_dtype!(ins[0].dtype(), T => select_rows(data.slice::<T>(), n, k, p.descending, outs[0].slice::<i64>()));
            }
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: Err("constant almost everywhere"),
        like: "lambda data, descending, k=0: np.argsort(-data if descending else data, kind='stable')[..., :k or None]",
        calls: &[(&[&[3, 4]], "descending=False"), (&[&[5]], "descending=True, k=2")],
    },
};

/// The array with `axis` as its last one (flat where there is none), and how to put a result's last axis back.
fn rows(name: &str, x: &Var, axis: Option<i64>) -> Result<(Var, usize)> {
    let Some(axis) = axis else { return Ok((x.reshape(&[x.numel()]), 0)) };
    let axis = axis_index(name, axis, x.ndim())?;
    Ok((exchanged(x, axis), axis))
}

/// The array with `axis` and the last one exchanged.
fn exchanged(x: &Var, axis: usize) -> Var {
    let last = x.ndim() - 1;
    if axis == last {
        return x.clone();
    }
    let mut axes: SmallVec<[usize; 4]> = (0..=last).collect();
    axes.swap(axis, last);
    x.transpose(&axes)
}

/// Positions in the dtype that was asked for, which must hold them.
fn numbered(name: &str, index: Var, n: usize, dtype: DType) -> Result<Var> {
    ensure!(
        n as u64 <= exact_to(dtype).saturating_add(1),
        "{name}: dtype, got {dtype}, expected one that holds positions up to {n}"
    );
    Ok(index.cast(dtype))
}

// ---- sort and argsort -------------------------------------------------------------------------------------------

crate::params! {
    pub struct SortParams {
        axis: Option<i64>, K::OptInt, D::Int(-1), "The axis; the flat array where `None`.";
        is_ascend: bool, K::Bool, D::Bool(true), "Whether the smallest element comes first.";
    }
}

pub static SORT: Op = Op {
    name: "sort",
    aliases: &[],
    doc: "The elements of an axis in order, nan last.",
    inputs: DATA,
    params: SortParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        one((|| {
            let p = SortParams::read(args);
            let (x, axis) = rows("sort", &v[0], p.axis)?;
            Ok(exchanged(&x.with(&SORT_ROWS, RowParams { descending: !p.is_ascend, k: 0 }.args()), axis))
        })())
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, axis=-1, is_ascend=True: np.sort(data, axis) if is_ascend else -np.sort(-data, axis)",
        calls: &[(&[&[3, 4]], ""), (&[&[3, 4]], "axis=0, is_ascend=False"), (&[&[2, 3]], "axis=None")],
    },
};

crate::params! {
    pub struct ArgsortParams {
        axis: Option<i64>, K::OptInt, D::Int(-1), "The axis; the flat array where `None`.";
        is_ascend: bool, K::Bool, D::Bool(true), "Whether the smallest element comes first.";
        dtype: DType, K::DType, D::DType(DType::F32), "Dtype of the positions.";
    }
}

pub static ARGSORT: Op = Op {
    name: "argsort",
    aliases: &[],
    doc: "The positions that put an axis in order; equal elements keep theirs, and nan comes last.",
    inputs: DATA,
    params: ArgsortParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        one((|| {
            let p = ArgsortParams::read(args);
            let (x, axis) = rows("argsort", &v[0], p.axis)?;
            let n = x.shape()[x.ndim() - 1];
            numbered("argsort", exchanged(&order(&x, !p.is_ascend, n), axis), n, p.dtype)
        })())
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("constant almost everywhere"),
        like: "lambda data, axis=-1, is_ascend=True: np.argsort(data if is_ascend else -data, axis, kind='stable')",
        calls: &[(&[&[3, 4]], ""), (&[&[3, 4]], "axis=0, is_ascend=False"), (&[&[2, 3]], "axis=None")],
    },
};

// ---- topk -------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct TopkParams {
        axis: Option<i64>, K::OptInt, D::Int(-1), "The axis; the flat array where `None`.";
        k: i64, K::Int, D::Int(1), "How many elements; the whole axis where less than one.";
        ret_typ: Arc<str>, K::Choice(&["value", "indices", "mask", "both"]), D::Str("indices"), "What to return: the elements, their positions, a mask of ones at them, or elements and positions.";
        is_ascend: bool, K::Bool, D::Bool(false), "Whether the smallest elements are wanted.";
        dtype: DType, K::DType, D::DType(DType::F32), "Dtype of the positions.";
    }
}

fn topk(x: &Var, p: TopkParams) -> Result<SmallVec<[Var; 1]>> {
    let shape = x.shape();
    let (x, axis) = rows("topk", x, p.axis)?;
    let last = x.ndim() - 1;
    let n = x.shape()[last];
    ensure!(p.k <= n as i64, "topk: k, got {}, expected at most {n} in {}", p.k, show(shape));
    let k = if p.k < 1 { n } else { p.k as usize };
    let index = order(&x, !p.is_ascend, k);
    let value = || exchanged(&x.take_along(&index, last), axis);
    let positions = || numbered("topk", exchanged(&index, axis), n, p.dtype);
    Ok(match &*p.ret_typ {
        "value" => smallvec![value()],
        "mask" => {
            let ones = x.full_like(index.shape(), 1.0);
            smallvec![exchanged(&ones.add_along(&index, last, n), axis).reshape(shape)]
        }
        // Positions stay on the tape, with a gradient of zero.
        "both" => smallvec![value(), positions()?],
        _ => smallvec![positions()?],
    })
}

pub static TOPK: Op = Op {
    name: "topk",
    aliases: &[],
    doc: "The `k` largest elements of an axis in order, or their positions, or a mask; equal elements keep their order, and nan comes last.",
    inputs: DATA,
    params: TopkParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| crate::base::error::OrThrow::or_throw(topk(&v[0], TopkParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, axis=-1, k=1, ret_typ='indices', is_ascend=False: (lambda order: \
               np.take_along_axis(data, order, axis) if ret_typ == 'value' else order)(\
               np.take(np.argsort(data if is_ascend else -data, axis, kind='stable'), range(k), axis))",
        calls: &[(&[&[3, 4]], "k=2, ret_typ='value'"), (&[&[3, 4]], "axis=0, k=2, is_ascend=True, ret_typ='value'")],
    },
};

pub static OPS: Ops = &[&SORT_ROWS, &ORDER, &SORT, &ARGSORT, &TOPK];
