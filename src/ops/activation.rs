//! Activations by name, and the leaky family.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Error, Result};
use crate::cpu::random::{uniform_f32, with_streams};
use crate::graph::{Args, Check, Grad, Kind, Op, Var, mode};
use crate::ir::MapFn;
use crate::ir::tile::Compute::{Float, Native};
use crate::ops::Ops;
use crate::ops::binary::{GREATER, LESSER_EQUAL, MINIMUM};
use crate::ops::unary as u;
use crate::tensor::Tensor;
use crate::{ensure, float_tiles, num_tiles, rule};
use smallvec::{SmallVec, smallvec};
use std::f64::consts::PI;
use std::sync::Arc;

const DATA: &[&str] = &["data"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((0.1, 2.0));

crate::params! {
    pub struct ActivationParams {
        act_type: Arc<str>, K::Choice(&["relu", "sigmoid", "tanh", "softrelu", "softsign"]), D::Required, "Which function.";
    }
}

pub static ACTIVATION: Op = Op {
    name: "Activation",
    aliases: &[],
    doc: "An activation function by name: relu, sigmoid, tanh, softrelu (`log(1 + exp(data))`) or softsign.",
    inputs: DATA,
    params: ActivationParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let x = &v[0];
        smallvec![match &*ActivationParams::read(args).act_type {
            "relu" => x.unary(&u::RELU),
            "sigmoid" => x.sigmoid(),
            "tanh" => x.tanh(),
            "softrelu" => x.unary(&u::SOFTRELU),
            "softsign" => x.unary(&u::SOFTSIGN),
            other => Error::op(format_args!(
                "Activation: act_type, got '{other}', expected relu, sigmoid, tanh, softrelu or softsign"
            ))
            .throw(),
        }]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, act_type: {'relu': lambda x: np.maximum(x, 0), 'sigmoid': lambda x: 1 / (1 + np.exp(-x)), \
               'tanh': np.tanh, 'softrelu': lambda x: np.log1p(np.exp(x)), 'softsign': lambda x: x / (1 + abs(x))}[act_type](data)",
        calls: &[
            (&[&[2, 3]], "act_type='relu'"),
            (&[&[2, 3]], "act_type='sigmoid'"),
            (&[&[3]], "act_type='tanh'"),
            (&[&[3]], "act_type='softrelu'"),
            (&[&[3]], "act_type='softsign'"),
        ],
    },
};

// ---- the leaky family -----------------------------------------------------------------------------------------------

crate::params! {
    pub struct SlopeParams { slope: f64, K::Float, D::Float(0.25), "Slope, or limit, below zero."; }
}

macro_rules! sloped {
    ($id:ident, $name:literal, $doc:literal, $compute:ident, $tiles:expr, $wgsl:literal, $grad:expr, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: DATA,
            params: SlopeParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Map(MapFn { name: $name, compute: $compute, tile: $tiles, wgsl: $wgsl, basic: None }),
            grad: $grad,
            check: Check { range: ANY, like: $like, calls: &[(&[&[2, 3]], ""), (&[&[3]], "slope=0.5")] },
        };
    };
}

sloped!(
    LEAKY,
    "_leaky",
    "The elements, multiplied by `slope` where they are not above zero.",
    Native,
    num_tiles!(|x, [s]| if x > T::of(0.0) { x } else { x.mul(s) }),
    "select({0} * {p0}, {0}, {0} > 0)",
    rule!(
        FromInputs | c,
        g | [{
            let s = SlopeParams::read(c.args).slope;
            g * (positive(c.input(0)) * (1.0 - s) + s)
        }]
    ),
    "lambda data, slope=0.25: np.where(data > 0, data, slope * data)"
);
sloped!(
    ELU,
    "_elu",
    "The elements; `slope * (exp(data) - 1)` where they are not above zero.",
    Float,
    float_tiles!(|x, [s]| if x > T::of(0.0) { x } else { s * x.expm1::<I>() }),
    "select({p0} * oxg_expm1({0}), {0}, {0} > 0.0)",
    rule!(
        FromInputs | c,
        g | [{
            let x = c.input(0);
            let below = x.binary(&LESSER_EQUAL, &Var::scalar(0.0)) * SlopeParams::read(c.args).slope;
            g * (positive(x) + below * x.binary(&MINIMUM, &Var::scalar(0.0)).exp())
        }]
    ),
    "lambda data, slope=0.25: np.where(data > 0, data, slope * np.expm1(data))"
);

fn positive(x: &Var) -> Var {
    x.binary(&GREATER, &Var::scalar(0.0))
}

pub static GELU: Op = Op {
    name: "_gelu",
    aliases: &[],
    doc: "`data * (1 + erf(data / sqrt(2))) / 2`, element by element.",
    inputs: DATA,
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Map(MapFn {
        name: "_gelu",
        compute: Float,
        tile: float_tiles!(|x| T::of(0.5) * x * (T::of(1.0) + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf::<I>())),
        wgsl: "0.5 * {0} * (1.0 + oxg_erf({0} * 0.7071067811865476))",
        basic: None,
    }),
    grad: rule!(
        FromInputs | c,
        g | [{
            let x = c.input(0);
            let below = ((x * std::f64::consts::FRAC_1_SQRT_2).unary(&crate::ops::special::ERF) + 1.0) * 0.5;
            g * (below + x * ((x.square() * -0.5).exp() * (1.0 / (2.0 * PI).sqrt())))
        }]
    ),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda data: data * (1 + np.vectorize(math.erf)(data / math.sqrt(2))) / 2",
        calls: &[(&[&[2, 3]], ""), (&[&[1]], "")],
    },
};

crate::params! {
    pub struct LeakyReluParams {
        act_type: Arc<str>, K::Choice(&["leaky", "prelu", "elu", "selu", "gelu", "rrelu"]), D::Str("leaky"), "Which function.";
        slope: f64, K::Float, D::Float(0.25), "Slope below zero for `leaky`, limit for `elu`.";
        lower_bound: f64, K::Float, D::Float(0.125), "Lowest slope of `rrelu`.";
        upper_bound: f64, K::Float, D::Float(0.334), "Highest slope of `rrelu`.";
    }
}

const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// The slopes of `prelu` in a shape that broadcasts against the data: one, or one for each channel (axis one).
fn channel_slopes(x: &Var, gamma: &Var) -> Result<Var> {
    let channels = x.shape().get(1).or(x.shape().first()).copied().unwrap_or(1);
    let n = gamma.numel();
    ensure!(
        gamma.ndim() == 1 && (n == 1 || n == channels),
        "LeakyReLU: gamma, got shape {}, expected ({channels},) or (1,)",
        show(gamma.shape())
    );
    let mut shape = vec![1; x.ndim()];
    if let Some(dim) = shape.get_mut(usize::from(x.ndim() > 1)) {
        *dim = n;
    }
    Ok(gamma.reshape(&shape))
}

/// Slopes for each element: drawn while training, else their mean.
fn random_slopes(x: &Var, low: f64, high: f64) -> Result<Var> {
    if !mode::is_training() {
        return Ok(x.full_like(x.shape(), (low + high) / 2.0));
    }
    let mut drawn = vec![0f32; x.numel()];
    with_streams(|s| s.fill(&mut drawn, |_, e| uniform_f32(e, low as f32, high as f32)));
    Ok(Var::new(Tensor::from_slice(x.shape(), &drawn)?.cast(x.dtype())?.on_device(x.tensor.device())?))
}

fn leaky_relu(v: &[Var], args: &Args) -> Result<SmallVec<[Var; 1]>> {
    let p = LeakyReluParams::read(args);
    let x = &v[0];
    ensure!(x.dtype().is_float(), "LeakyReLU: dtype, got {}, expected a float dtype", x.dtype());
    ensure!(
        (v.len() == 2) == (&*p.act_type == "prelu"),
        "LeakyReLU: gamma, expected with act_type='prelu' and only there"
    );
    let sloped = |op: &'static Op, slope: f64| x.with(op, SlopeParams { slope }.args());
    let by = |slopes: &Var| x.unary(&u::RELU) + slopes * x.binary(&MINIMUM, &Var::scalar(0.0));
    Ok(smallvec![match &*p.act_type {
        "leaky" => sloped(&LEAKY, p.slope),
        "elu" => sloped(&ELU, p.slope),
        "selu" => sloped(&ELU, SELU_ALPHA) * SELU_SCALE,
        "gelu" => x.unary(&GELU),
        "prelu" => by(&channel_slopes(x, &v[1])?),
        "rrelu" => {
            let mask = random_slopes(x, p.lower_bound, p.upper_bound)?;
            return Ok(smallvec![by(&mask), mask]);
        }
        other => {
            return Err(Error::op(format_args!(
                "LeakyReLU: act_type, got '{other}', expected leaky, prelu, elu, selu, gelu or rrelu"
            )));
        }
    }])
}

pub static LEAKY_RELU: Op = Op {
    name: "LeakyReLU",
    aliases: &[],
    doc: "Functions that are the identity above zero and flatter below: `leaky` and `prelu` (slope, given or learnt in \
          `gamma`), `elu`, `selu`, `gelu` (with the exact error function), and `rrelu`, which draws slopes while training \
          and gives `[output, slopes]`.",
    inputs: &["data", "gamma?"],
    params: LeakyReluParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| leaky_relu(v, args).or_throw()),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, act_type='leaky', slope=0.25: {'leaky': lambda x: np.where(x > 0, x, slope * x), \
               'elu': lambda x: np.where(x > 0, x, slope * np.expm1(x)), \
               'selu': lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), \
               'gelu': lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2}[act_type](data)",
        calls: &[
            (&[&[2, 3]], ""),
            (&[&[2, 3]], "slope=0.5"),
            (&[&[2, 3]], "act_type='elu'"),
            (&[&[3]], "act_type='selu'"),
            (&[&[3]], "act_type='gelu'"),
        ],
    },
};

/// Whether an op takes arrays of this dtype only as floats.
pub fn float_only(name: &str, dtype: DType) -> Result<()> {
    ensure!(dtype.is_float(), "{name}: dtype, got {dtype}, expected a float dtype: use astype");
    Ok(())
}

pub static OPS: Ops = &[&ACTIVATION, &LEAKY, &ELU, &GELU, &LEAKY_RELU];
