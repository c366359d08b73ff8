//! Functions that are cut off at a bound, and a value for nan.

use crate::graph::{Check, Kind, Op, Var};
use crate::ir::MapFn;
use crate::ir::tile::Compute::{Float, Native};
use crate::ops::Ops;
use crate::ops::binary::{GREATER_EQUAL, LESSER_EQUAL, MAXIMUM, MINIMUM};
use crate::ops::unary::{CALLS, DATA, IS_NAN};
use crate::{float_tiles, num_tiles, rule};

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
}

pub static OPS: Ops = &[&CLIP, &HARD_SIGMOID, &SMOOTH_L1, &NAN_TO];
