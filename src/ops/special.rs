//! The error function, the gamma function and their kin.

use crate::graph::{Check, Kind, Op};
use crate::ir::MapFn;
use crate::ir::tile::Compute::Float;
use crate::ops::Ops;
use crate::ops::unary::{CALLS, DATA, unary};
use crate::{float_tiles, rule};

// MXNet computes these from the root of pi in float32, and its float64 gradients show it.
const TWO_OVER_ROOT_PI: f64 = 2.0 / 1.772_453_9_f32 as f64;
const HALF_ROOT_PI: f64 = 0.886_226_95_f32 as f64;

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

pub static OPS: Ops = &[&ERF, &ERFINV, &GAMMA, &GAMMALN, &DIGAMMA, &POLYGAMMA];
