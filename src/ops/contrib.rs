//! Small operators of `nd.contrib`: rows by mask, copies of rows, positions, gradients that are not the derivative.

use crate::base::layout::show;
use crate::base::{DType, Error, Result, Shape};
use crate::graph::op::axis_index;
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ir::MapFn;
use crate::ir::tile::Compute::{Float, Native};
use crate::ops::Ops;
use crate::ops::binary::{EQUAL, LESSER_EQUAL};
use crate::ops::expr::one;
use crate::ops::getitem::index_var;
use crate::ops::reduce::MIN;
use crate::ops::select::select;
use crate::{ensure, float_tiles, num_tiles, rule};
use smallvec::smallvec;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));
const FLAT: std::result::Result<(f64, f64), &str> = Err("constant almost everywhere");
const OTHER: std::result::Result<(f64, f64), &str> = Err("its gradient is not its derivative, on purpose");

crate::params! {
    pub struct MaskParams { axis: i64, K::Int, D::Int(0), "The axis to pick from."; }
}
pub static BOOLEAN_MASK: Op = Op {
    name: "_contrib_boolean_mask",
    aliases: &[],
    doc: "The rows of `data` where `index` is not zero.",
    inputs: &["data", "index"],
    params: MaskParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let found = (|| {
            let axis = axis_index("boolean_mask", MaskParams::read(args).axis, v[0].ndim())?;
            let n = v[0].shape()[axis];
            ensure!(v[1].shape() == [n], "boolean_mask: index, got shape {}, expected ({n},)", show(v[1].shape()));
            let marks = v[1].tensor.to_vec::<f64>()?;
            let rows: Vec<i64> = (0..).zip(marks).filter(|(_, m)| *m != 0.0).map(|(i, _)| i).collect();
            Ok(v[0].take_axis(axis, &index_var(&[rows.len()], &rows)?))
        })();
        one(found)
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, index: data[np.asarray(index) != 0]",
        calls: &[(&[&[3, 2], &[3]], "")],
    },
};

pub static INDEX_COPY: Op = Op {
    name: "_contrib_index_copy",
    aliases: &[],
    doc: "`old_tensor` with the rows at `index_vector` replaced by those of `new_tensor`.",
    inputs: &["old_tensor", "index_vector", "new_tensor"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let (old, index, new) = (&v[0], &v[1], &v[2]);
        let found = (|| {
            let rows = old.shape().first().copied().unwrap_or(0) as i64;
            let list = index.tensor.to_vec::<i64>()?;
            let fits = old.ndim() == new.ndim() && old.ndim() > 0 && new.shape()[0] == list.len();
            ensure!(
                fits && old.shape()[1..] == new.shape()[1..] && old.dtype() == new.dtype(),
                "index_copy: got {} {} and {} new rows for {} indices",
                old.dtype(),
                show(old.shape()),
                show(new.shape()),
                list.len()
            );
            if let Some(i) = list.iter().find(|&&i| i < 0 || i >= rows) {
                return Err(Error::index(format_args!("index_copy: index {i} is out of bounds for {rows} rows")));
            }
            let mut mark = vec![0i64; rows as usize];
            list.iter().for_each(|&i| mark[i as usize] = 1);
            let mut shape: Shape = smallvec![1; old.ndim()];
            shape[0] = mark.len();
            let mark = index_var(&shape, &mark)?.cast(old.dtype()).beside(old);
            let placed = new.put_rows(&index_var(&[list.len()], &list)?, old.shape());
            Ok(select(&mark, &placed, old))
        })();
        one(found)
    }),
    grad: Grad::Composed,
    check: Check { range: Err("an index input"), like: "", calls: &[] },
};

crate::params! {
    pub struct AxesParams { axes: Option<Ints>, K::Ints, D::None, "Axes whose positions are wanted; all where absent."; }
}

fn index_axes(axes: Option<Ints>, ndim: usize) -> Result<Vec<usize>> {
    match axes {
        None => Ok((0..ndim).collect()),
        Some(axes) => axes.iter().map(|&a| axis_index("index_array", a, ndim)).collect(),
    }
}

pub static INDEX_ARRAY: Op = Op {
    name: "_contrib_index_array",
    aliases: &[],
    doc: "The position of each element, as int64 along a new last axis.",
    inputs: &["data"],
    params: AxesParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let axes = index_axes(AxesParams::read(args).axes, metas[0].shape.len())?;
            let mut meta = metas[0].clone();
            meta.shape.push(axes.len());
            meta.dtype = DType::I64;
            Ok(smallvec![meta])
        },
        cpu: |ins, args, outs| {
            let shape = ins[0].shape();
            let axes = index_axes(AxesParams::read(args).axes, shape.len())?;
            for (k, row) in outs[0].slice::<i64>().chunks_exact_mut(axes.len().max(1)).enumerate() {
                for (slot, &axis) in row.iter_mut().zip(&axes) {
                    let inner: usize = shape[axis + 1..].iter().product();
                    *slot = (k / inner % shape[axis]) as i64;
                }
            }
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: FLAT,
        like: "lambda data, axes=None: np.stack([np.indices(data.shape)[a] for a in (axes or range(data.ndim))], -1)",
        calls: &[(&[&[4]], ""), (&[&[2, 3, 2]], "axes=(0, 2)")],
    },
};

crate::params! {
    pub struct CloseParams {
        rtol: f64, K::Float, D::Float(1e-5), "Relative tolerance.";
        atol: f64, K::Float, D::Float(1e-8), "Absolute tolerance.";
        equal_nan: bool, K::Bool, D::Bool(true), "Whether nan is close to nan.";
    }
}
pub static ALLCLOSE: Op = Op {
    name: "_contrib_allclose",
    aliases: &[],
    doc: "One where all elements are close, `|a - b| <= atol + rtol * |b|`, else zero: uint8 of shape `()`.",
    inputs: &["a", "b"],
    params: CloseParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = CloseParams::read(args);
        let (a, b) = (v[0].detached(), v[1].detached());
        if a.shape() != b.shape() {
            Error::op(format_args!("allclose: got shapes {} and {}", show(a.shape()), show(b.shape()))).throw();
        }
        let equal = |a: &Var, b: &Var| a.binary(&EQUAL, b);
        let mut close = (&a - &b).abs().binary(&LESSER_EQUAL, &(b.abs() * p.rtol + p.atol)) + equal(&a, &b);
        if p.equal_nan {
            close = close + (1.0 - equal(&a, &a)) * (1.0 - equal(&b, &b));
        }
        let truth = close.cast(DType::Bool).cast(DType::U8);
        let flat = Var::concat(&[truth.reshape(&[truth.numel()]), truth.full_like(&[1], 1.0)], 0);
        smallvec![flat.fold(&MIN, &[0], false).reshape(&[])]
    }),
    grad: Grad::Composed,
    check: Check { range: FLAT, like: "", calls: &[(&[&[2, 3], &[2, 3]], "")] },
};

pub static DIV_SQRT_DIM: Op = Op {
    name: "_contrib_div_sqrt_dim",
    aliases: &[],
    doc: "The array divided by the root of the length of its last axis.",
    inputs: &["data"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        let n = v[0].shape().last().copied().unwrap_or(1);
        smallvec![&v[0] / (n as f64).sqrt()]
    }),
    grad: Grad::Composed,
    check: Check { range: ANY, like: "lambda data: data / np.sqrt(data.shape[-1])", calls: &[(&[&[2, 3]], "")] },
};

crate::params! {
    pub struct QuadraticParams {
        a: f64, K::Float, D::Float(0.0), "Factor of the square.";
        b: f64, K::Float, D::Float(0.0), "Factor of the element.";
        c: f64, K::Float, D::Float(0.0), "What is added.";
    }
}
pub static QUADRATIC: Op = Op {
    name: "_contrib_quadratic",
    aliases: &[],
    doc: "`a * x**2 + b * x + c`, element by element.",
    inputs: &["data"],
    params: QuadraticParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = QuadraticParams::read(args);
        smallvec![(&v[0] * p.a + p.b) * &v[0] + p.c]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, a=0, b=0, c=0: a * data**2 + b * data + c",
        calls: &[(&[&[2, 3]], "a=1, b=2, c=3")],
    },
};

// ---- gradients of another function ----------------------------------------------------------------------------------

crate::params! {
    pub struct MultiplierParams {
        scalar: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        is_int: bool, K::Bool, D::Bool(true), "Accepted and ignored.";
    }
}
pub static GRADIENT_MULTIPLIER: Op = Op {
    name: "_contrib_gradientmultiplier",
    aliases: &[],
    doc: "The array as it is; its gradient is multiplied by a number. A negative one reverses it.",
    inputs: &["data"],
    params: MultiplierParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, _| Ok(t.clone())),
    grad: rule!(Linear | c, g | [g * MultiplierParams::read(c.args).scalar]),
    check: Check { range: OTHER, like: "lambda data: data", calls: &[(&[&[2, 3]], "")] },
};

/// A function that is flat almost everywhere, with the gradient of the identity.
macro_rules! straight_through {
    ($id:ident, $name:literal, $doc:literal, $compute:ident, $tiles:expr, $wgsl:literal, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: &["data"],
            params: &[],
            method: false,
            writes: &[],
            kind: Kind::Map(MapFn { name: $name, compute: $compute, tile: $tiles, wgsl: $wgsl, basic: None }),
            grad: rule!(Linear | c, g | [g.clone()]),
            check: Check { range: OTHER, like: $like, calls: &[(&[&[2, 3]], "")] },
        };
    };
}
straight_through!(
    ROUND_STE,
    "_contrib_round_ste",
    "Nearest whole number, halves away from zero; the gradient passes as if nothing were done.",
    Float,
    float_tiles!(|x| x.round::<I>()),
    "oxg_round({0})",
    "lambda data: np.sign(data) * np.floor(np.abs(data) + 0.5)"
);
straight_through!(
    SIGN_STE,
    "_contrib_sign_ste",
    "Minus one, zero or one by the sign; the gradient passes as if nothing were done.",
    Native,
    num_tiles!(|x| x.sign()),
    "oxg_sign({0})",
    "lambda data: np.sign(data)"
);

// ---- attention of interleaved projections ---------------------------------------------------------------------------

crate::params! {
    pub struct HeadsParams { heads: i64, K::Int, D::Required, "Number of attention heads."; }
}

/// Part `k` of `parts` projections that lie side by side for each head: (time, batch, heads * parts * width) as
/// (batch * heads, time, width).
fn projection(name: &str, x: &Var, heads: i64, parts: usize, k: usize) -> Result<Var> {
    let got = show(x.shape());
    let &[time, batch, channels] = x.shape() else {
        return Err(Error::op(format_args!("{name}: got shape {got}, expected (time, batch, channels)")));
    };
    ensure!(heads > 0 && heads < 1 << 32, "{name}: heads, got {heads}, expected a positive number");
    let heads = heads as usize;
    ensure!(
        channels % (heads * parts) == 0,
        "{name}: got {channels} channels for {heads} heads of {parts} projections"
    );
    let width = channels / (heads * parts);
    let split = x.reshape(&[time, batch * heads, parts, width]);
    Ok(split.slice(2, k as i64, 1, 1).reshape(&[time, batch * heads, width]).transpose(&[1, 0, 2]))
}

fn scores(q: Var, k: Var) -> Result<Var> {
    ensure!(q.shape()[0] == k.shape()[0] && q.shape()[2] == k.shape()[2], "attention: queries and keys do not fit");
    let width = q.shape()[2].max(1) as f64;
    Ok((q / width.sqrt()).batch_dot(&k, false, true))
}

/// Values weighted by attention, back as (time, batch, channels).
fn weighted(name: &str, attention: &Var, values: Var, heads: i64) -> Result<Var> {
    let &[stack, time, width] = values.shape() else { return Err(Error::op(format_args!("{name}: values"))) };
    let fits = attention.ndim() == 3 && attention.shape()[0] == stack && attention.shape()[2] == time;
    ensure!(fits, "{name}: attention, got shape {}, expected ({stack}, …, {time})", show(attention.shape()));
    let out = attention.batch_dot(&values, false, false).transpose(&[1, 0, 2]);
    let heads = heads as usize;
    Ok(out.reshape(&[attention.shape()[1], stack / heads, heads * width]))
}

macro_rules! attention {
    ($id:ident, $name:literal, $doc:literal, [$($input:literal),+], |$v:ident, $heads:ident| $new:expr, $calls:expr) => {
        pub static $id: Op = Op {
            name: concat!("_contrib_", $name),
            aliases: &[],
            doc: $doc,
            inputs: &[$($input),+],
            params: HeadsParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Compose(|v, args| {
                fn new($v: &[Var], $heads: i64) -> Result<Var> {
                    $new
                }
                one(new(v, HeadsParams::read(args).heads))
            }),
            grad: Grad::Composed,
            check: Check { range: ANY, like: "", calls: $calls },
        };
    };
}
attention!(
    SELF_QK,
    "interleaved_matmul_selfatt_qk",
    "Scores of self attention, scaled, from queries, keys and values side by side in each head.",
    ["queries_keys_values"],
    |v, heads| {
        let part = |k| projection("interleaved_matmul_selfatt_qk", &v[0], heads, 3, k);
        scores(part(0)?, part(1)?)
    },
    &[(&[&[3, 2, 12]], "heads=2")]
);
attention!(
    SELF_VALUES,
    "interleaved_matmul_selfatt_valatt",
    "Values of self attention weighted, from queries, keys and values side by side in each head.",
    ["queries_keys_values", "attention"],
    |v, heads| {
        let name = "interleaved_matmul_selfatt_valatt";
        weighted(name, &v[1], projection(name, &v[0], heads, 3, 2)?, heads)
    },
    &[(&[&[3, 2, 12], &[4, 3, 3]], "heads=2")]
);
attention!(
    CROSS_QK,
    "interleaved_matmul_encdec_qk",
    "Scores of attention, scaled, from queries, and keys and values side by side in each head.",
    ["queries", "keys_values"],
    |v, heads| {
        let name = "interleaved_matmul_encdec_qk";
        scores(projection(name, &v[0], heads, 1, 0)?, projection(name, &v[1], heads, 2, 0)?)
    },
    &[(&[&[3, 2, 4], &[2, 2, 8]], "heads=2")]
);
attention!(
    CROSS_VALUES,
    "interleaved_matmul_encdec_valatt",
    "Values weighted by attention, from keys and values side by side in each head.",
    ["keys_values", "attention"],
    |v, heads| {
        let name = "interleaved_matmul_encdec_valatt";
        weighted(name, &v[1], projection(name, &v[0], heads, 2, 1)?, heads)
    },
    &[(&[&[2, 2, 8], &[4, 3, 2]], "heads=2")]
);

pub static OPS: Ops = &[
    &BOOLEAN_MASK,
    &INDEX_COPY,
    &INDEX_ARRAY,
    &ALLCLOSE,
    &DIV_SQRT_DIM,
    &QUADRATIC,
    &GRADIENT_MULTIPLIER,
    &ROUND_STE,
    &SIGN_STE,
    &SELF_QK,
    &SELF_VALUES,
    &CROSS_QK,
    &CROSS_VALUES,
];
