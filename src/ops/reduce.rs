//! Reductions over axes.

use crate::base::error::Result;
use crate::graph::op::{ReduceParams, reduce_axes};
use crate::graph::{Check, GradCtx, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::binary::EQUAL;
use crate::ops::unary::IS_NAN;

use crate::base::{DType, Element, Shape};
use crate::tensor::expr::SMALL;
use crate::{ensure, fold, rule, with_dtype};
use smallvec::smallvec;

const DATA: &[&str] = &["data"];
const CALLS: &[(&[&[usize]], &str)] = &[
    (&[&[2, 3]], ""),
    (&[&[2, 3]], "axis=0"),
    (&[&[2, 3, 4]], "axis=(0, 2), keepdims=True"),
    (&[&[2, 3, 4]], "axis=1, exclude=True"),
    (&[&[1]], ""),
];

/// The gradient of a reduction with its folded axes back, so that it broadcasts against the input.
fn expand(c: &GradCtx, g: &Var) -> Var {
    let (marks, _) = reduce_axes(c.op.name, c.shape(0).len(), c.args).unwrap_or_default();
    let kept: Vec<usize> = c.shape(0).iter().zip(&marks).map(|(&d, &m)| if m { 1 } else { d }).collect();
    g.reshape(&kept)
}

/// How many elements are folded into each result.
fn folded(c: &GradCtx) -> f64 {
    let (marks, _) = reduce_axes(c.op.name, c.shape(0).len(), c.args).unwrap_or_default();
    c.shape(0).iter().zip(&marks).map(|(&d, &m)| if m { d } else { 1 }).product::<usize>() as f64
}

macro_rules! reduce {
    ($id:ident, $name:literal, $aliases:expr, $doc:literal, $fold:expr, $grad:expr, $range:expr, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: $aliases,
            doc: $doc,
            inputs: DATA,
            params: ReduceParams::SPEC,
            method: true,
            writes: &[],
            kind: Kind::Reduce($fold),
            grad: $grad,
            check: Check { range: $range, like: $like, calls: CALLS },
        };
    };
}

reduce!(
    SUM,
    "sum",
    &["sum_axis"],
    "Sum over axes. Floats are summed in float64 and rounded once; integers wrap in their own dtype.",
    fold!("sum", 0.0, 0, exact false, |acc, x| acc.add(x), |a, b| a.add(b), finish |v, _| v, |v, _| v,
        wgsl "{0} + {1}", "{0} + {1}", "{0}"),
    rule!(Linear | c, g | [expand(c, g).broadcast_to(c.shape(0))]),
    Ok((-2.0, 2.0)),
    "lambda data, **kw: reduce(np.sum, data, **kw)"
);

reduce!(
    MEAN,
    "mean",
    &[],
    "Mean over axes. Integers truncate toward zero and keep their dtype.",
    fold!("mean", 0.0, 0, exact false, |acc, x| acc.add(x), |a, b| a.add(b),
        finish |v, n| v / n as f64, |v, n| if n == 0 { 0 } else { v / n as i64 },
        wgsl "{0} + {1}", "{0} + {1}", "{0} / {n}"),
    rule!(Linear | c, g | [(expand(c, g) * (1.0 / folded(c))).broadcast_to(c.shape(0))]),
    Ok((-2.0, 2.0)),
    "lambda data, **kw: reduce(np.mean, data, **kw)"
);

// The quotient rule makes the gradient nan where an element is zero, as in MXNet.
reduce!(
    PROD,
    "prod",
    &[],
    "Product over axes. Its gradient is `prod / data`, so nan where an element is zero.",
    fold!("prod", 1.0, 1, exact false, |acc, x| acc.mul(x), |a, b| a.mul(b), finish |v, _| v, |v, _| v,
        wgsl "{0} * {1}", "{0} * {1}", "{0}"),
    rule!(FromBoth | c, g | [&expand(c, &(g * c.output(0))) / c.input(0)]),
    Ok((0.5, 2.0)),
    "lambda data, **kw: reduce(np.prod, data, **kw)"
);

// Every tied element gets the whole gradient, as in MXNet.
reduce!(
    MAX,
    "max",
    &["max_axis"],
    "Largest element over axes; nan where any is nan. Tied elements each get the whole gradient.",
    crate::cpu::best::MAX,
    rule!(FromBoth | c, g | [expand(c, g) * c.input(0).binary(&EQUAL, &expand(c, c.output(0)))]),
    Ok((-2.0, 2.0)),
    "lambda data, **kw: reduce(np.max, data, **kw)"
);

reduce!(
    MIN,
    "min",
    &["min_axis"],
    "Smallest element over axes; nan where any is nan. Tied elements each get the whole gradient.",
    crate::cpu::best::MIN,
    rule!(FromBoth | c, g | [expand(c, g) * c.input(0).binary(&EQUAL, &expand(c, c.output(0)))]),
    Ok((-2.0, 2.0)),
    "lambda data, **kw: reduce(np.min, data, **kw)"
);

reduce!(
    NANSUM,
    "nansum",
    &[],
    "Sum over axes with nan counted as zero.",
    fold!("nansum", 0.0, 0, exact false, |acc, x| x.if_nan(acc, acc.add(x)), |a, b| a.add(b),
        finish |v, _| v, |v, _| v, 
        wgsl "select({0} + {1}, {0}, oxg_isnan({1}))", "{0} + {1}", "{0}"),
    rule!(FromInputs | c, g | [expand(c, g) * (1.0 - c.input(0).unary(&IS_NAN))]),
    Ok((-2.0, 2.0)),
    "lambda data, **kw: reduce(np.nansum, data, **kw)"
);

reduce!(
    NANPROD,
    "nanprod",
    &[],
    "Product over axes with nan counted as one.",
    fold!("nanprod", 1.0, 1, exact false, |acc, x| x.if_nan(acc, acc.mul(x)), |a, b| a.mul(b),
        finish |v, _| v, |v, _| v, 
        wgsl "select({0} * {1}, {0}, oxg_isnan({1}))", "{0} * {1}", "{0}"),
    rule!(
        FromBoth | c,
        g | [{
            let kept = 1.0 - c.input(0).unary(&IS_NAN);
            let safe = c.input(0).nan_to(1.0);
            &(&expand(c, &(g * c.output(0))) / &safe) * kept
        }]
    ),
    Ok((0.5, 2.0)),
    "lambda data, **kw: reduce(np.nanprod, data, **kw)"
);

reduce!(
    SUMSQ_ROOT,
    "_norm2",
    &[],
    "Euclidean norm over axes, accumulated in float64, so float32 neither overflows nor underflows.",
    fold!("norm2", 0.0, 0, exact false, |acc, x| acc.add_square(x), |a, b| a.add(b),
        finish |v, _| v.sqrt(), |v, _| (v as f64).sqrt() as i64,
        wgsl "{0} + {1} * {1}", "{0} + {1}", "oxg_sqrt({0})"),
    rule!(FromBoth | c, g | [&(&expand(c, g) * c.input(0)) / &expand(c, c.output(0))]),
    Ok((0.5, 2.0)),
    "lambda data, **kw: reduce(lambda a, **k: np.sqrt(np.sum(a * a, **k)), data, **kw)"
);

/// The norm of one run by MXNet's recurrence, which scales by the largest element met so far: neither overflow nor
/// underflow, and the same last digit.
fn scaled_norm<T: crate::cpu::math::Real>(run: &[T]) -> T {
    let (mut scale, mut sum) = (T::of(0.0), T::of(1.0));
    for &x in run {
        let x = x.abs();
        if scale < x {
            let ratio = scale / x;
            (sum, scale) = (T::of(1.0) + sum * (ratio * ratio), x);
        } else if x != T::of(0.0) {
            let ratio = x / scale;
            sum = sum + ratio * ratio;
        }
    }
    scale * sum.sqrt::<crate::cpu::isa::Baseline>()
}

pub static SCALED_NORM: Op = Op {
    name: "_scaled_norm",
    aliases: &[],
    doc: "Euclidean norm over axes of a small float array, element after element in its own precision.",
    inputs: DATA,
    params: ReduceParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let (marks, keepdims) = reduce_axes("norm", metas[0].shape.len(), args)?;
            let mut shape = Shape::new();
            for (&dim, &folded) in metas[0].shape.iter().zip(&marks) {
                if keepdims || !folded {
                    shape.push(if folded { 1 } else { dim });
                }
            }
            if shape.is_empty() {
                shape.push(1);
            }
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |ins, args, outs| {
            let (marks, _) = reduce_axes("norm", ins[0].ndim(), args)?;
            if ins[0].dtype() == DType::F32 && marks.iter().all(|&m| m) {
                outs[0].slice::<f32>()[0] = scaled_norm(ins[0].dense()?.slice::<f32>());
                return Ok(());
            }
            let (mut order, folded): (Vec<usize>, Vec<usize>) = (0..ins[0].ndim()).partition(|&a| !marks[a]);
            let n: usize = folded.iter().map(|&a| ins[0].shape()[a]).product();
            order.extend(folded);
            let moved = ins[0].with_layout(ins[0].layout()?.permute(&order))?;
            let dtype = ins[0].dtype();
            if dtype == DType::F64 {
                let data = moved.to_vec::<f64>()?;
                outs[0].slice::<f64>().iter_mut().enumerate().for_each(|(i, o)| *o = scaled_norm(&data[i * n..][..n]));
            } else {
                let data = moved.to_vec::<f32>()?;
                let norms = (0..data.len() / n.max(1)).map(|i| scaled_norm(&data[i * n..][..n]));
                with_dtype!(dtype, T => outs[0].slice::<T>().iter_mut().zip(norms).for_each(|(o, v)| *o = T::from_f64(v as f64)));
            }
            Ok(())
        },
        gpu: None,
    },
    grad: rule!(FromBoth | c, g | [&(&expand(c, g) * c.input(0)) / &expand(c, c.output(0))]),
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda data, **kw: reduce(lambda a, **k: np.sqrt(np.sum(a * a, **k)), data, **kw)",
        calls: CALLS,
    },
};

crate::params! {
    pub struct NormParams {
        ord: i64, K::Int, D::Int(2), "Order: 1 or 2.";
        axis: Option<crate::graph::params::Ints>, K::Ints, D::None, "Axis or axes; all of them where absent.";
        out_dtype: Option<crate::base::DType>, K::DType, D::None, "Dtype of the result.";
        keepdims: bool, K::Bool, D::Bool(false), "Whether reduced axes stay, with length one.";
    }
}

pub static NORM: Op = Op {
    name: "norm",
    aliases: &[],
    doc: "Vector norm over axes: `sum(abs(data))` for `ord=1`, `sqrt(sum(data**2))` for `ord=2`.",
    inputs: DATA,
    params: NormParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        use crate::base::error::OrThrow;
        let p = NormParams::read(args);
        (|| -> Result<()> {
            ensure!(p.ord == 1 || p.ord == 2, "norm: ord, got {}, expected 1 or 2", p.ord);
            ensure!(p.axis.as_ref().is_none_or(|a| a.len() <= 2), "norm: axis, expected at most two axes");
            Ok(())
        })()
        .or_throw();
        let reduce = ReduceParams { axis: p.axis, keepdims: p.keepdims, exclude: false }.args();
        let out = match p.ord {
            1 => v[0].abs().with(&SUM, reduce),
            _ if v[0].numel() <= SMALL && v[0].numel() > 0 && v[0].dtype().is_float() && !v[0].tensor.on_gpu() => {
                v[0].with(&SCALED_NORM, reduce)
            }
            _ => v[0].with(&SUMSQ_ROOT, reduce),
        };
        smallvec![match p.out_dtype {
            Some(dtype) => out.cast(dtype),
            None => out,
        }]
    }),
    grad: crate::graph::Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda data, ord=2, **kw: reduce(lambda a, **k: np.sum(np.abs(a) ** ord, **k) ** (1 / ord), data, **kw)",
        calls: &[
            (&[&[2, 3]], ""),
            (&[&[2, 3]], "ord=1"),
            (&[&[2, 3, 4]], "axis=(0, 2), keepdims=True"),
            (&[&[3, 4]], "ord=1, axis=1"),
        ],
    },
};

pub static OPS: Ops = &[&SUM, &MEAN, &PROD, &MAX, &MIN, &NANSUM, &NANPROD, &SUMSQ_ROOT, &SCALED_NORM, &NORM];
