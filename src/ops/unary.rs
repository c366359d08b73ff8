//! Functions of one array, element by element.

use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ir::MapFn;
use crate::ir::tile::Basic;
use crate::ir::tile::Compute::{Float, Native};
use crate::ops::Ops;
use crate::ops::binary::{GREATER_EQUAL, LESSER_EQUAL, MAXIMUM, MINIMUM, POW};
use crate::{float_tiles, num_tiles, rule};
use std::f64::consts::{LN_2, LN_10, PI};

const DATA: &[&str] = &["data"];
const CALLS: &[(&[&[usize]], &str)] = &[(&[&[2, 3]], ""), (&[&[1]], "")];
const FLAT: Result<(f64, f64), &str> = Err("constant almost everywhere");

// MXNet computes these from the root of pi in float32, and its float64 gradients show it.
const TWO_OVER_ROOT_PI: f64 = 2.0 / 1.772_453_9_f32 as f64;
const HALF_ROOT_PI: f64 = 0.886_226_95_f32 as f64;

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
    float_tiles!(|x| x.exp::<I>()),
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
    float_tiles!(|x| x.log::<I>()),
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

// ---- trigonometry -----------------------------------------------------------------------------------------------

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
    float_tiles!(|x| x.tanh::<I>()),
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

// ---- rounding ---------------------------------------------------------------------------------------------------

unary!(
    FLOOR,
    "floor",
    true,
    "Largest whole number not above the element.",
    Float,
    float_tiles!(|x| x.floor::<I>()),
    "floor({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.floor(data)"
);
unary!(
    CEIL,
    "ceil",
    true,
    "Smallest whole number not below the element.",
    Float,
    float_tiles!(|x| x.ceil::<I>()),
    "ceil({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.ceil(data)"
);
unary!(
    TRUNC,
    "trunc",
    true,
    "The whole part: rounds toward zero.",
    Float,
    float_tiles!(|x| x.trunc::<I>()),
    "trunc({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.trunc(data)"
);
unary!(
    FIX,
    "fix",
    true,
    "Rounds toward zero, as `trunc`.",
    Float,
    float_tiles!(|x| x.trunc::<I>()),
    "trunc({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.fix(data)"
);
unary!(
    ROUND,
    "round",
    true,
    "Nearest whole number; halves away from zero.",
    Float,
    float_tiles!(|x| x.round::<I>()),
    "oxg_round({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.sign(data) * np.floor(np.abs(data) + 0.5)"
);
unary!(
    RINT,
    "rint",
    true,
    "Nearest whole number; halves go down, as in MXNet.",
    Float,
    float_tiles!(|x| x.rint_half_down::<I>()),
    "oxg_rint({0})",
    Grad::Zero,
    FLAT,
    "lambda data: np.ceil(data - 0.5)"
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
    float_tiles!(|x| x.sigmoid::<I>()),
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
    "{0} / (1.0 + abs({0}))",
    rule!(FromInputs | c, g | [g / (c.input(0).abs() + 1.0).square()]),
    Ok((0.5, 2.0)),
    "lambda data: data / (1 + np.abs(data))"
);

// ---- special functions ------------------------------------------------------------------------------------------

unary!(
    ERF,
    "erf",
    false,
    "Error function, element by element.",
    Float,
    float_tiles!(|x| x.erf::<I>()),
    "oxg_erf({0})",
    rule!(FromInputs | c, g | [g * ((-c.input(0).square()).exp() * TWO_OVER_ROOT_PI)]),
    Ok((-2.0, 2.0)),
    "lambda data: np.vectorize(math.erf)(data)"
);
unary!(
    ERFINV,
    "erfinv",
    false,
    "Inverse error function, element by element; nan outside [-1, 1].",
    Float,
    float_tiles!(|x| x.erfinv::<I>()),
    "oxg_erfinv({0})",
    rule!(FromOutput | c, g | [g * (c.output(0).square().exp() * HALF_ROOT_PI)]),
    Ok((-0.8, 0.8)),
    "lambda data: np.vectorize(statistics.NormalDist().inv_cdf)((data + 1) / 2) / math.sqrt(2)"
);
unary!(
    GAMMA,
    "gamma",
    false,
    "Gamma function, element by element.",
    Float,
    float_tiles!(|x| x.gamma::<I>()),
    "oxg_gamma({0})",
    rule!(FromBoth | c, g | [g * (c.output(0) * c.input(0).unary(&DIGAMMA))]),
    Ok((0.5, 3.0)),
    "lambda data: np.vectorize(math.gamma)(data)"
);
unary!(
    GAMMALN,
    "gammaln",
    false,
    "Logarithm of the absolute value of the gamma function, element by element.",
    Float,
    float_tiles!(|x| x.lgamma::<I>()),
    "oxg_lgamma({0})",
    rule!(FromInputs | c, g | [g * c.input(0).unary(&DIGAMMA)]),
    Ok((0.5, 3.0)),
    "lambda data: np.vectorize(math.lgamma)(data)"
);
unary!(
    DIGAMMA,
    "digamma",
    false,
    "Derivative of `gammaln`, element by element.",
    Float,
    float_tiles!(|x| x.digamma::<I>()),
    "oxg_digamma({0})",
    rule!(FromInputs | c, g | [g * c.input(0).with(&POLYGAMMA, PolyParams { n: 1.0 }.args())]),
    Ok((0.5, 3.0)),
    "lambda data: numeric(np.vectorize(math.lgamma), data)"
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

// ---- with parameters --------------------------------------------------------------------------------------------

crate::params! {
    pub struct PolyParams { n: f64, K::Float, D::Float(1.0), "Order of the derivative of `digamma`."; }
}
pub static POLYGAMMA: Op = Op {
    name: "_polygamma",
    aliases: &[],
    doc: "Derivative of order `n` of `digamma`, element by element.",
    inputs: DATA,
    params: PolyParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "_polygamma",
        compute: Float,
        tile: float_tiles!(|x, [n]| T::polygamma::<I>(n.to_f64() as u32, x)),
        wgsl: "oxg_polygamma({0}, {p0})",
        basic: None,
    }),
    grad: rule!(
        FromInputs | c,
        g | [g * c.input(0).with(&POLYGAMMA, PolyParams { n: PolyParams::read(c.args).n + 1.0 }.args())]
    ),
    check: Check {
        range: Ok((1.0, 3.0)),
        like: "lambda data, n=1: polygamma(n, data)",
        calls: &[(&[&[2, 3]], ""), (&[&[3]], "n=2")],
    },
};

crate::params! {
    pub struct ClipParams {
        a_min: f64, K::Float, D::Required, "Lower bound.";
        a_max: f64, K::Float, D::Required, "Upper bound.";
    }
}
/// One inside the bounds (and at nan), zero outside.
fn inside(x: &Var, low: f64, high: f64) -> Var {
    let below = x.binary(&LESSER_EQUAL, &Var::scalar(high));
    let above = x.binary(&GREATER_EQUAL, &Var::scalar(low));
    (below * above).binary(&MAXIMUM, &x.unary(&IS_NAN))
}
pub static CLIP: Op = Op {
    name: "clip",
    aliases: &[],
    doc: "Limits elements to `[a_min, a_max]`. The gradient passes where the element is inside or at a bound.",
    inputs: DATA,
    params: ClipParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "clip",
        compute: Native,
        tile: num_tiles!(|x, [low, high]| if x > high {
            high
        } else if x < low {
            low
        } else {
            x
        }),
        wgsl: "oxg_clip({0}, {p0}, {p1})",
        basic: None,
    }),
    grad: rule!(
        FromInputs | c,
        g | [{
            let p = ClipParams::read(c.args);
            g * inside(c.input(0), p.a_min, p.a_max)
        }]
    ),
    check: Check {
        range: Ok((-0.9, 0.9)),
        like: "lambda data, a_min, a_max: np.clip(data, a_min, a_max)",
        calls: &[(&[&[2, 3]], "a_min=-1, a_max=1"), (&[&[4]], "a_min=-2.5, a_max=0.95")],
    },
};

crate::params! {
    pub struct HardSigmoidParams {
        alpha: f64, K::Float, D::Float(0.2), "Slope.";
        beta: f64, K::Float, D::Float(0.5), "Value at zero.";
    }
}
pub static HARD_SIGMOID: Op = Op {
    name: "hard_sigmoid",
    aliases: &[],
    doc: "`clip(alpha * data + beta, 0, 1)`, element by element.",
    inputs: DATA,
    params: HardSigmoidParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "hard_sigmoid",
        compute: Float,
        tile: float_tiles!(|x, [a, b]| {
            let y = a * x + b;
            if y > T::of(1.0) {
                T::of(1.0)
            } else if y < T::of(0.0) {
                T::of(0.0)
            } else {
                y
            }
        }),
        wgsl: "oxg_clip({p0} * {0} + {p1}, 0.0, 1.0)",
        basic: None,
    }),
    grad: rule!(
        FromOutput | c,
        g | [{
            // Strictly inside: zero at both corners.
            let y = c.output(0);
            let open = y.binary(&crate::ops::binary::GREATER, &Var::scalar(0.0))
                * y.binary(&crate::ops::binary::LESSER, &Var::scalar(1.0));
            (g * HardSigmoidParams::read(c.args).alpha) * open
        }]
    ),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda data, alpha=0.2, beta=0.5: np.clip(alpha * data + beta, 0, 1)",
        calls: &[(&[&[2, 3]], ""), (&[&[3]], "alpha=0.1, beta=0.4")],
    },
};

crate::params! {
    pub struct SmoothL1Params { scalar: f64, K::Float, D::Float(1.0), "Where the square becomes straight: at `1 / scalar**2`."; }
}
pub static SMOOTH_L1: Op = Op {
    name: "smooth_l1",
    aliases: &[],
    doc: "Half the square of `scalar * data` near zero, `abs(data)` less half further out.",
    inputs: DATA,
    params: SmoothL1Params::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "smooth_l1",
        compute: Float,
        tile: float_tiles!(|x, [s]| {
            let s2 = s * s;
            if x.abs() < T::of(1.0) / s2 { T::of(0.5) * s2 * x * x } else { x.abs() - T::of(0.5) / s2 }
        }),
        wgsl: "oxg_smooth_l1({0}, {p0})",
        basic: None,
    }),
    grad: rule!(
        FromInputs | c,
        g | [{
            let s = SmoothL1Params::read(c.args).scalar;
            let slope = (c.input(0) * (s * s)).binary(&MINIMUM, &Var::scalar(1.0)).binary(&MAXIMUM, &Var::scalar(-1.0));
            g * slope
        }]
    ),
    check: Check {
        range: Ok((-0.8, 0.8)),
        like: "lambda data, scalar=1.0: np.where(abs(data) < 1 / scalar**2, 0.5 * (scalar * data)**2, abs(data) - 0.5 / scalar**2)",
        calls: &[(&[&[2, 3]], ""), (&[&[3]], "scalar=0.5")],
    },
};

crate::params! {
    pub struct NanParams { value: f64, K::Float, D::Float(0.0), "What takes the place of nan."; }
}
pub static NAN_TO: Op = Op {
    name: "_nan_to",
    aliases: &[],
    doc: "The elements, with nan replaced by a number.",
    inputs: DATA,
    params: NanParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "_nan_to",
        compute: Native,
        tile: num_tiles!(|x, [v]| if x.is_nan() { v } else { x }),
        wgsl: "select({0}, {p0}, oxg_isnan({0}))",
        basic: None,
    }),
    grad: rule!(FromInputs | c, g | [g * (1.0 - c.input(0).unary(&IS_NAN))]),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda data, value=0.0: np.nan_to_num(data, nan=value)",
        calls: CALLS,
    },
};
impl Var {
    pub fn nan_to(&self, value: f64) -> Var {
        self.with(&NAN_TO, NanParams { value }.args())
    }
    pub fn pow(&self, exponent: f64) -> Var {
        self.binary(&POW, &Var::scalar(exponent))
    }
}

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
    &SIN,
    &COS,
    &TAN,
    &ARCSIN,
    &ARCCOS,
    &ARCTAN,
    &SINH,
    &COSH,
    &TANH,
    &ARCSINH,
    &ARCCOSH,
    &ARCTANH,
    &DEGREES,
    &RADIANS,
    &FLOOR,
    &CEIL,
    &TRUNC,
    &FIX,
    &ROUND,
    &RINT,
    &RELU,
    &STEP,
    &SIGMOID,
    &SOFTRELU,
    &SOFTSIGN,
    &ERF,
    &ERFINV,
    &GAMMA,
    &GAMMALN,
    &DIGAMMA,
    &LOGICAL_NOT,
    &IS_NAN,
    &ONES_LIKE,
    &ZEROS_LIKE,
    &POLYGAMMA,
    &CLIP,
    &HARD_SIGMOID,
    &SMOOTH_L1,
    &NAN_TO,
    &CAST,
    &IDENTITY,
    &BLOCK_GRAD,
    &MAKE_LOSS,
];
