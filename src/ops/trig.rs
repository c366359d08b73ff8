//! Trigonometric and hyperbolic functions, and degrees.

use crate::graph::{Check, Kind, Op};
use crate::ir::MapFn;
use crate::ir::tile::Compute::Float;
use crate::ops::Ops;
use crate::ops::unary::{CALLS, DATA, unary};
use crate::{float_tiles, rule};
use std::f64::consts::PI;

unary!(
    SIN,
    "sin",
    true,
    "Sine of radians, element by element.",
    Float,
    crate::cpu::cases::sin_tile,
    "oxg_sin({0})",
    rule!(FromInputs | c, g | [g * c.input(0).cos()]),
    Ok((-2.0, 2.0)),
    "lambda data: np.sin(data)"
);
unary!(
    COS,
    "cos",
    true,
    "Cosine of radians, element by element.",
    Float,
    crate::cpu::cases::cos_tile,
    "oxg_cos({0})",
    rule!(FromInputs | c, g | [-(g * c.input(0).sin())]),
    Ok((-2.0, 2.0)),
    "lambda data: np.cos(data)"
);
unary!(
    TAN,
    "tan",
    true,
    "Tangent of radians, element by element.",
    Float,
    crate::cpu::cases::tan_tile,
    "oxg_tan({0})",
    rule!(FromOutput | c, g | [g * (c.output(0).square() + 1.0)]),
    Ok((-1.0, 1.0)),
    "lambda data: np.tan(data)"
);
unary!(
    ARCSIN,
    "arcsin",
    true,
    "Inverse sine in radians, element by element.",
    Float,
    float_tiles!(|x| x.asin::<I>()),
    "oxg_asin({0})",
    rule!(FromInputs | c, g | [g / (1.0 - c.input(0).square()).sqrt()]),
    Ok((-0.8, 0.8)),
    "lambda data: np.arcsin(data)"
);
unary!(
    ARCCOS,
    "arccos",
    true,
    "Inverse cosine in radians, element by element.",
    Float,
    float_tiles!(|x| x.acos::<I>()),
    "oxg_acos({0})",
    rule!(FromInputs | c, g | [-(g / (1.0 - c.input(0).square()).sqrt())]),
    Ok((-0.8, 0.8)),
    "lambda data: np.arccos(data)"
);
unary!(
    ARCTAN,
    "arctan",
    true,
    "Inverse tangent in radians, element by element.",
    Float,
    float_tiles!(|x| x.atan::<I>()),
    "oxg_atan({0})",
    rule!(FromInputs | c, g | [g / (c.input(0).square() + 1.0)]),
    Ok((-2.0, 2.0)),
    "lambda data: np.arctan(data)"
);
unary!(
    SINH,
    "sinh",
    true,
    "Hyperbolic sine, element by element.",
    Float,
    float_tiles!(|x| x.sinh::<I>()),
    "oxg_sinh({0})",
    rule!(FromInputs | c, g | [g * c.input(0).cosh()]),
    Ok((-2.0, 2.0)),
    "lambda data: np.sinh(data)"
);
unary!(
    COSH,
    "cosh",
    true,
    "Hyperbolic cosine, element by element.",
    Float,
    float_tiles!(|x| x.cosh::<I>()),
    "oxg_cosh({0})",
    rule!(FromInputs | c, g | [g * c.input(0).sinh()]),
    Ok((-2.0, 2.0)),
    "lambda data: np.cosh(data)"
);
unary!(
    TANH,
    "tanh",
    true,
    "Hyperbolic tangent, element by element.",
    Float,
    float_tiles!(|x| x.tanh::<I>(), wide tanh),
    "oxg_tanh({0})",
    rule!(FromOutput | c, g | [g * (1.0 - c.output(0).square())]),
    Ok((-2.0, 2.0)),
    "lambda data: np.tanh(data)"
);
unary!(
    ARCSINH,
    "arcsinh",
    true,
    "Inverse hyperbolic sine, element by element.",
    Float,
    float_tiles!(|x| x.asinh::<I>()),
    "oxg_asinh({0})",
    rule!(FromInputs | c, g | [g / (c.input(0).square() + 1.0).sqrt()]),
    Ok((-2.0, 2.0)),
    "lambda data: np.arcsinh(data)"
);
unary!(
    ARCCOSH,
    "arccosh",
    true,
    "Inverse hyperbolic cosine, element by element; nan below one.",
    Float,
    float_tiles!(|x| x.acosh::<I>()),
    "oxg_acosh({0})",
    rule!(FromInputs | c, g | [g / (c.input(0).square() - 1.0).sqrt()]),
    Ok((1.5, 3.0)),
    "lambda data: np.arccosh(data)"
);
unary!(
    ARCTANH,
    "arctanh",
    true,
    "Inverse hyperbolic tangent, element by element.",
    Float,
    float_tiles!(|x| x.atanh::<I>()),
    "oxg_atanh({0})",
    rule!(FromInputs | c, g | [g / (1.0 - c.input(0).square())]),
    Ok((-0.8, 0.8)),
    "lambda data: np.arctanh(data)"
);
unary!(
    DEGREES,
    "degrees",
    true,
    "Radians to degrees, element by element.",
    Float,
    float_tiles!(|x| x * T::of(180.0 / PI)),
    "{0} * 57.29577951308232",
    rule!(Linear | c, g | [g * (180.0 / PI)]),
    Ok((-2.0, 2.0)),
    "lambda data: np.degrees(data)"
);
unary!(
    RADIANS,
    "radians",
    true,
    "Degrees to radians, element by element.",
    Float,
    float_tiles!(|x| x * T::of(PI / 180.0)),
    "{0} * 0.017453292519943295",
    rule!(Linear | c, g | [g * (PI / 180.0)]),
    Ok((-2.0, 2.0)),
    "lambda data: np.radians(data)"
);

pub static OPS: Ops = &[
    &SIN, &COS, &TAN, &ARCSIN, &ARCCOS, &ARCTAN, &SINH, &COSH, &TANH, &ARCSINH, &ARCCOSH, &ARCTANH, &DEGREES, &RADIANS,
];
