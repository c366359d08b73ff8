//! Functions of one array, element by element.

use crate::graph::{Check, Grad, Kind, Op};
use crate::ir::MapFn;
use crate::ir::tile::Basic;
use crate::ir::tile::Compute::{Float, Native};
use crate::ops::Ops;
use crate::{float_tiles, num_tiles, rule};
use std::f64::consts::{LN_2, LN_10};

pub(super) const DATA: &[&str] = &["data"];
pub(super) const CALLS: &[(&[&[usize]], &str)] = &[(&[&[2, 3]], ""), (&[&[1]], "")];
pub(super) const FLAT: Result<(f64, f64), &str> = Err("constant almost everywhere");

/// A record of one input without parameters; every field is given.
macro_rules! unary {
    ($id:ident, $name:literal, $method:literal, $doc:literal, $compute:ident, $tiles:expr, $wgsl:literal,
     $grad:expr, $range:expr, $like:literal) => {
        unary!($id, $name, $method, $doc, $compute, $tiles, $wgsl, $grad, $range, $like, None);
    };
    ($id:ident, $name:literal, $method:literal, $doc:literal, $compute:ident, $tiles:expr, $wgsl:literal,
     $grad:expr, $range:expr, $like:literal, $basic:expr) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: DATA,
            params: &[],
            method: $method,
            writes: &[],
            kind: Kind::Map(MapFn { name: $name, compute: $compute, tile: $tiles, wgsl: $wgsl, basic: $basic }),
            grad: $grad,
            check: Check { range: $range, like: $like, calls: CALLS },
        };
    };
}

pub(super) use unary;

// ---- sign and size ----------------------------------------------------------------------------------------------

unary!(
    NEGATIVE,
    "negative",
    true,
    "`-data`, element by element.",
    Native,
    num_tiles!(|x| x.neg()),
    "-{0}",
    rule!(Linear | c, g | [-g]),
    Ok((-2.0, 2.0)),
    "lambda data: -data"
);
unary!(
    ABS,
    "abs",
    true,
    "Absolute value, element by element.",
    Native,
    num_tiles!(|x| x.abs()),
    "abs({0})",
    rule!(FromInputs | c, g | [g * c.input(0).sign()]),
    Ok((0.5, 2.0)),
    "lambda data: np.abs(data)"
);
unary!(
    SIGN,
    "sign",
    true,
    "Minus one, zero or one by the sign of the element; zero for nan.",
    Native,
    num_tiles!(|x| x.sign()),
    "oxg_sign({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.sign(data)"
);
unary!(
    RECIPROCAL,
    "reciprocal",
    true,
    "`1 / data`, element by element.",
    Float,
    float_tiles!(|x| T::of(1.0) / x),
    "1.0 / {0}",
    rule!(FromOutput | c, g | [-(g * &(c.output(0) * c.output(0)))]),
    Ok((0.5, 2.0)),
    "lambda data: 1 / data"
);
unary!(
    SQUARE,
    "square",
    true,
    "`data ** 2`, element by element.",
    Float,
    float_tiles!(|x| x * x),
    "{0} * {0}",
    rule!(FromInputs | c, g | [g * (c.input(0) * 2.0)]),
    Ok((-2.0, 2.0)),
    "lambda data: data * data",
    Some(Basic::Square)
);

// ---- roots ------------------------------------------------------------------------------------------------------

unary!(
    SQRT,
    "sqrt",
    true,
    "Square root, element by element; nan below zero.",
    Float,
    float_tiles!(|x| x.sqrt::<I>()),
    "oxg_sqrt({0})",
    rule!(FromOutput | c, g | [(g * 0.5) / c.output(0)]),
    Ok((0.5, 2.0)),
    "lambda data: np.sqrt(data)"
);
unary!(
    RSQRT,
    "rsqrt",
    true,
    "`1 / sqrt(data)`, element by element.",
    Float,
    float_tiles!(|x| x.rsqrt::<I>()),
    "oxg_rsqrt({0})",
    rule!(FromBoth | c, g | [(g * -0.5) * (c.output(0) / c.input(0))]),
    Ok((0.5, 2.0)),
    "lambda data: 1 / np.sqrt(data)"
);
unary!(
    CBRT,
    "cbrt",
    true,
    "Cube root, element by element.",
    Float,
    float_tiles!(|x| x.cbrt::<I>()),
    "oxg_cbrt({0})",
    rule!(FromOutput | c, g | [g / (c.output(0).square() * 3.0)]),
    Ok((0.5, 2.0)),
    "lambda data: np.cbrt(data)"
);
unary!(
    RCBRT,
    "rcbrt",
    true,
    "`1 / cbrt(data)`, element by element.",
    Float,
    float_tiles!(|x| x.rcbrt::<I>()),
    "oxg_rcbrt({0})",
    rule!(FromBoth | c, g | [(g * (-1.0 / 3.0)) * (c.output(0) / c.input(0))]),
    Ok((0.5, 2.0)),
    "lambda data: 1 / np.cbrt(data)"
);

// ---- exponentials and logarithms --------------------------------------------------------------------------------

unary!(
    EXP,
    "exp",
    true,
    "`e ** data`, element by element.",
    Float,
    float_tiles!(|x| x.exp::<I>(), wide exp),
    "oxg_exp({0})",
    rule!(FromOutput | c, g | [g * c.output(0)]),
    Ok((-2.0, 2.0)),
    "lambda data: np.exp(data)"
);
unary!(
    EXPM1,
    "expm1",
    true,
    "`exp(data) - 1`, element by element; accurate near zero.",
    Float,
    float_tiles!(|x| x.expm1::<I>()),
    "oxg_expm1({0})",
    rule!(FromOutput | c, g | [g * (c.output(0) + 1.0)]),
    Ok((-2.0, 2.0)),
    "lambda data: np.expm1(data)"
);
unary!(
    LOG,
    "log",
    true,
    "Natural logarithm, element by element.",
    Float,
    float_tiles!(|x| x.log::<I>(), wide log),
    "oxg_log({0})",
    rule!(FromInputs | c, g | [g / c.input(0)]),
    Ok((0.5, 2.0)),
    "lambda data: np.log(data)"
);
unary!(
    LOG2,
    "log2",
    true,
    "Logarithm to base two, element by element.",
    Float,
    float_tiles!(|x| x.log2::<I>()),
    "oxg_log2({0})",
    rule!(FromInputs | c, g | [g / (c.input(0) * LN_2)]),
    Ok((0.5, 2.0)),
    "lambda data: np.log2(data)"
);
unary!(
    LOG10,
    "log10",
    true,
    "Logarithm to base ten, element by element.",
    Float,
    float_tiles!(|x| x.log10::<I>()),
    "oxg_log10({0})",
    rule!(FromInputs | c, g | [g / (c.input(0) * LN_10)]),
    Ok((0.5, 2.0)),
    "lambda data: np.log10(data)"
);
unary!(
    LOG1P,
    "log1p",
    true,
    "`log(1 + data)`, element by element; accurate near zero.",
    Float,
    float_tiles!(|x| x.log1p::<I>()),
    "oxg_log1p({0})",
    rule!(FromInputs | c, g | [g / (c.input(0) + 1.0)]),
    Ok((-0.5, 2.0)),
    "lambda data: np.log1p(data)"
);

// ---- activations ------------------------------------------------------------------------------------------------

unary!(
    RELU,
    "relu",
    true,
    "`max(data, 0)`, element by element; nan stays.",
    Native,
    num_tiles!(|x| if x > T::of(0.0) || x.is_nan() { x } else { T::of(0.0) }),
    "oxg_relu({0})",
    rule!(FromOutput | c, g | [g * c.output(0).unary(&STEP)]),
    Ok((0.5, 2.0)),
    "lambda data: np.maximum(data, 0)"
);
unary!(
    STEP,
    "_step",
    false,
    "One above zero, zero below, nan for nan: the slope of relu.",
    Native,
    num_tiles!(|x| if x.is_nan() { x } else { T::truth(x > T::of(0.0)) }),
    "oxg_step({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.where(np.isnan(data), data, data > 0)"
);
unary!(
    SIGMOID,
    "sigmoid",
    true,
    "`1 / (1 + exp(-data))`, element by element.",
    Float,
    float_tiles!(|x| x.sigmoid::<I>(), wide sigmoid),
    "oxg_sigmoid({0})",
    rule!(FromOutput | c, g | [g * (c.output(0) * (1.0 - c.output(0)))]),
    Ok((-2.0, 2.0)),
    "lambda data: 1 / (1 + np.exp(-data))"
);
unary!(
    SOFTRELU,
    "_softrelu",
    false,
    "`log(1 + exp(data))`, element by element; does not overflow.",
    Float,
    float_tiles!(|x| x.softrelu::<I>()),
    "oxg_softrelu({0})",
    rule!(FromInputs | c, g | [g * c.input(0).sigmoid()]),
    Ok((-2.0, 2.0)),
    "lambda data: np.logaddexp(0, data)"
);
unary!(
    SOFTSIGN,
    "softsign",
    false,
    "`data / (1 + abs(data))`, element by element.",
    Float,
    float_tiles!(|x| x / (T::of(1.0) + x.abs())),
    "oxg_div({0}, 1.0 + abs({0}))",
    rule!(FromInputs | c, g | [g / (c.input(0).abs() + 1.0).square()]),
    Ok((0.5, 2.0)),
    "lambda data: data / (1 + np.abs(data))"
);

// ---- tests ------------------------------------------------------------------------------------------------------

unary!(
    LOGICAL_NOT,
    "logical_not",
    false,
    "One where the element is zero, else zero, in its dtype.",
    Native,
    num_tiles!(|x| T::truth(!x.nonzero())),
    "oxg_bool({0} == 0)",
    Grad::Zero,
    FLAT,
    "lambda data: np.logical_not(data)"
);
unary!(
    IS_NAN,
    "_isnan",
    false,
    "One where the element is nan, else zero, in its dtype.",
    Native,
    num_tiles!(|x| T::truth(x.is_nan())),
    "oxg_bool(oxg_isnan({0}))",
    Grad::Zero,
    FLAT,
    "lambda data: np.isnan(data)"
);
unary!(
    ONES_LIKE,
    "ones_like",
    true,
    "Ones of the shape and dtype of an array.",
    Native,
    num_tiles!(|x| {
        let _ = x;
        T::of(1.0)
    }),
    "1",
    Grad::Zero,
    FLAT,
    "lambda data: np.ones_like(data)"
);
unary!(
    ZEROS_LIKE,
    "zeros_like",
    true,
    "Zeros of the shape and dtype of an array.",
    Native,
    num_tiles!(|x| {
        let _ = x;
        T::of(0.0)
    }),
    "0",
    Grad::Zero,
    FLAT,
    "lambda data: np.zeros_like(data)"
);

// ---- copies and casts -------------------------------------------------------------------------------------------

crate::params! {
    pub struct CastParams { dtype: crate::base::DType, K::DType, D::Required, "Dtype of the result."; }
}
pub static CAST: Op = Op {
    name: "cast",
    aliases: &["Cast", "amp_cast"],
    doc: "Converts elements to another dtype, as C does: floats truncate toward zero. The gradient is cast back.",
    inputs: DATA,
    params: CastParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, args| t.cast(CastParams::read(args).dtype)),
    grad: rule!(Linear | c, g | [g.clone()]),
    check: Check {
        range: Err("changes the dtype"),
        like: "lambda data, dtype: data.astype(dtype)",
        calls: &[(&[&[2, 3]], "dtype='int32'"), (&[&[3]], "dtype='float64'")],
    },
};

/// A record whose result is its input: values are immutable, so a copy is another handle on the same one.
macro_rules! same {
    ($id:ident, $name:literal, $aliases:expr, $doc:literal, $grad:expr, $range:expr) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: $aliases,
            doc: $doc,
            inputs: DATA,
            params: &[],
            method: false,
            writes: &[],
            kind: Kind::View(|t, _| Ok(t.clone())),
            grad: $grad,
            check: Check { range: $range, like: "lambda data: data", calls: CALLS },
        };
    };
}
same!(
    IDENTITY,
    "identity",
    &["_copy"],
    "The same elements in a new array.",
    rule!(Linear | c, g | [g.clone()]),
    Ok((-2.0, 2.0))
);
same!(
    BLOCK_GRAD,
    "BlockGrad",
    &["stop_gradient"],
    "The same elements; no gradient passes.",
    Grad::Zero,
    Err("no gradient by definition")
);
same!(
    MAKE_LOSS,
    "make_loss",
    &[],
    "The same elements; the gradient is one whatever comes in.",
    rule!(Linear | c, g | [g.full_like(c.shape(0), 1.0)]),
    Err("ignores the incoming gradient by definition")
);

pub static OPS: Ops = &[
    &NEGATIVE,
    &ABS,
    &SIGN,
    &RECIPROCAL,
    &SQUARE,
    &SQRT,
    &RSQRT,
    &CBRT,
    &RCBRT,
    &EXP,
    &EXPM1,
    &LOG,
    &LOG2,
    &LOG10,
    &LOG1P,
    &RELU,
    &STEP,
    &SIGMOID,
    &SOFTRELU,
    &SOFTSIGN,
    &LOGICAL_NOT,
    &IS_NAN,
    &ONES_LIKE,
    &ZEROS_LIKE,
    &CAST,
    &IDENTITY,
    &BLOCK_GRAD,
    &MAKE_LOSS,
];
