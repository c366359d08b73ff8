//! Lists of arrays at once: are all numbers finite, sums of squares, casts to one dtype, back to zero.

use crate::base::error::OrThrow;
use crate::base::{DType, Error};
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::binary::EQUAL;
use crate::ops::expr::filled;
use smallvec::smallvec;

const FLAT: std::result::Result<(f64, f64), &str> = Err("constant almost everywhere");

/// One where every element of every array is finite, else zero: a float32 array of one element.
fn all_finite(arrays: &[Var]) -> Var {
    // A finite number times zero is zero; anything else gives nan.
    let spoiled = |x: &Var| (x.detached() * 0.0).sum_axes(&axes(x), false).cast(DType::F32);
    let parts: Vec<Var> = arrays.iter().filter(|x| x.numel() > 0).map(|x| spoiled(x).reshape(&[1])).collect();
    match parts.is_empty() {
        true => filled(&[1], DType::F32, arrays[0].tensor.device(), 1.0),
        false => Var::concat(&parts, 0).sum_axes(&[0], false).binary(&EQUAL, &Var::scalar(0.0)),
    }
}

fn axes(x: &Var) -> Vec<usize> {
    (0..x.ndim()).collect()
}

crate::params! {
    pub struct FiniteParams { init_output: bool, K::Bool, D::Bool(true), "Accepted; the result is always made anew."; }
}
pub static ALL_FINITE: Op = Op {
    name: "all_finite",
    aliases: &[],
    doc: "One where all elements are finite, else zero.",
    inputs: &["data"],
    params: FiniteParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| smallvec![all_finite(v)]),
    grad: Grad::Composed,
    check: Check {
        range: FLAT,
        like: "lambda data: np.isfinite(data).all()",
        calls: &[(&[&[2, 3]], ""), (&[&[0, 3]], "")],
    },
};

crate::params! {
    pub struct ManyFiniteParams {
        num_arrays: i64, K::Int, D::Int(1), "Number of arrays.";
        init_output: bool, K::Bool, D::Bool(true), "Accepted; the result is always made anew.";
    }
}
pub static MULTI_ALL_FINITE: Op = Op {
    name: "multi_all_finite",
    aliases: &[],
    doc: "One where all elements of all arrays are finite, else zero.",
    inputs: &["*data"],
    params: ManyFiniteParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        MULTI_ALL_FINITE.groups(v, Some(ManyFiniteParams::read(args).num_arrays)).or_throw();
        smallvec![all_finite(v)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: FLAT,
        like: "lambda *data, num_arrays: all(np.isfinite(x).all() for x in data)",
        calls: &[(&[&[2, 3], &[4]], "num_arrays=2")],
    },
};

crate::params! {
    pub struct CountParams { num_arrays: i64, K::Int, D::Required, "Number of arrays."; }
}
pub static MULTI_SUM_SQ: Op = Op {
    name: "multi_sum_sq",
    aliases: &[],
    doc: "The sum of squares of each array: one number for each, in float32.",
    inputs: &["*data"],
    params: CountParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        MULTI_SUM_SQ.groups(v, Some(CountParams::read(args).num_arrays)).or_throw();
        let sums: Vec<Var> = v.iter().map(|x| x.square().sum_axes(&axes(x), false).reshape(&[1])).collect();
        smallvec![Var::concat(&sums, 0).cast(DType::F32)]
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("the result is float32, too coarse for differences"),
        like: "lambda *data, num_arrays: np.array([(x * x).sum() for x in data], 'float32')",
        calls: &[(&[&[2, 3], &[4]], "num_arrays=2")],
    },
};

pub static RESET_ARRAYS: Op = Op {
    name: "reset_arrays",
    aliases: &[],
    doc: "Sets all elements of the arrays to zero.",
    inputs: &["*data"],
    params: CountParams::SPEC,
    method: false,
    writes: &[0],
    kind: Kind::Compose(|v, args| {
        RESET_ARRAYS.groups(v, Some(CountParams::read(args).num_arrays)).or_throw();
        v.iter().map(|x| x.full_like(x.shape(), 0.0)).collect()
    }),
    grad: Grad::Composed,
    check: Check {
        range: Err("not differentiated"),
        like: "lambda *data, num_arrays: []",
        calls: &[(&[&[2, 3], &[4]], "num_arrays=2")],
    },
};

crate::params! {
    pub struct MulticastParams {
        num_outputs: i64, K::Int, D::Required, "Number of arrays.";
        cast_narrow: bool, K::Bool, D::Bool(false), "Whether to cast to the narrowest dtype instead of the widest.";
    }
}
pub static AMP_MULTICAST: Op = Op {
    name: "amp_multicast",
    aliases: &[],
    doc: "Arrays of float dtypes cast to the widest dtype among them, or to the narrowest.",
    inputs: &["*data"],
    params: MulticastParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = MulticastParams::read(args);
        AMP_MULTICAST.groups(v, Some(p.num_outputs)).or_throw();
        if let Some(x) = v.iter().find(|x| !x.dtype().is_float()) {
            Error::op(format_args!("amp_multicast: data, got {}, expected float dtypes", x.dtype())).throw();
        }
        let size = |d: &DType| d.size();
        let dtypes = v.iter().map(Var::dtype);
        let target = if p.cast_narrow { dtypes.min_by_key(size) } else { dtypes.max_by_key(size) };
        v.iter().map(|x| x.cast(target.unwrap_or(DType::F32))).collect()
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda *data, num_outputs: list(data)",
        calls: &[(&[&[2, 3], &[4]], "num_outputs=2")],
    },
};

pub static OPS: Ops = &[&ALL_FINITE, &MULTI_ALL_FINITE, &MULTI_SUM_SQ, &RESET_ARRAYS, &AMP_MULTICAST];
