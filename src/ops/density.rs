//! Densities of the laws that `random` draws from, made of elementwise ops.

use crate::base::layout::show;
use crate::base::{Result, Shape};
use crate::ensure;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::expr::one;
use crate::ops::special::GAMMALN;

crate::params! {
    pub struct DensityParams { is_log: bool, K::Bool, D::Bool(false), "Whether to give the logarithm of the density."; }
}

/// The parameters of a law, each laid along the axes that it shares with the samples.
fn aligned(name: &str, sample: &Var, params: &[Var], own: usize) -> Result<Vec<Var>> {
    params
        .iter()
        .map(|x| {
            let lead = x.ndim().saturating_sub(own);
            ensure!(
                x.dtype() == sample.dtype() && x.dtype().is_float(),
                "{name}: float arrays of one dtype, got {} and {}",
                sample.dtype(),
                x.dtype()
            );
            ensure!(
                lead + own == x.ndim() && sample.ndim() >= x.ndim() && sample.shape()[..lead] == x.shape()[..lead],
                "{name}: got samples of shape {} for parameters of shape {}",
                show(sample.shape()),
                show(x.shape())
            );
            let mut shape: Shape = x.shape()[..lead].into();
            shape.extend(std::iter::repeat_n(1, sample.ndim() - x.ndim()));
            shape.extend(x.shape()[lead..].iter().copied());
            Ok(x.reshape(&shape))
        })
        .collect()
}

fn lgamma(x: &Var) -> Var {
    x.unary(&GAMMALN)
}

/// Of the number of failures before the `k`-th success of probability `p`.
fn negative_binomial(x: &Var, k: &Var, p: &Var) -> Var {
    lgamma(&(x + k)) - lgamma(&(x + 1.0)) - lgamma(k) + k * p.log() + x * (1.0 - p).log()
}

/// A record of a density; `$log` is its logarithm.
macro_rules! density {
    ($id:ident, $name:literal, $own:literal, [$($input:literal),+], |$x:ident, $p:ident| $log:expr, $range:expr, $like:literal, $calls:expr) => {
        pub static $id: Op = Op {
            name: concat!("_random_pdf_", $name),
            aliases: &[concat!("random_pdf_", $name)],
            doc: concat!("The density of the law `", $name, "` at samples, which have the shape of the parameters and then their own."),
            inputs: &["sample", $($input),+],
            params: DensityParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Compose(|v, args| {
                fn log($x: &Var, $p: &[Var]) -> Var {
                    $log
                }
                one(aligned(concat!("random_pdf_", $name), &v[0], &v[1..], $own).map(|p| {
                    let log = log(&v[0], &p);
                    if DensityParams::read(args).is_log { log } else { log.exp() }
                }))
            }),
            grad: Grad::Composed,
            check: Check { range: $range, like: $like, calls: $calls },
        };
    };
}
const ONE: &[(&[&[usize]], &str)] = &[(&[&[2, 3], &[2]], ""), (&[&[1, 4], &[1]], "is_log=True")];
const TWO: &[(&[&[usize]], &str)] = &[(&[&[2, 3], &[2], &[2]], ""), (&[&[2, 2, 3], &[2, 2], &[2, 2]], "")];

density!(
    UNIFORM,
    "uniform",
    0,
    ["low", "high"],
    // MXNet's density does not look where the sample is.
    |x, p| x * 0.0 - (&p[1] - &p[0]).log(),
    Err("a rule for high above low"),
    "",
    &[]
);
density!(
    NORMAL,
    "normal",
    0,
    ["mu", "sigma"],
    |x, p| ((x - &p[0]) / &p[1]).square() * -0.5 - p[1].log() - (2.0 * std::f64::consts::PI).ln() * 0.5,
    Ok((0.5, 2.0)),
    "lambda x, m, s: (lambda m, s: np.exp(-0.5 * ((x - m) / s)**2) / s / np.sqrt(2 * np.pi))(m[..., None], s[..., None])",
    TWO
);
density!(
    EXPONENTIAL,
    "exponential",
    0,
    ["lam"],
    |x, p| p[0].log() - &p[0] * x,
    Ok((0.5, 2.0)),
    "lambda x, a, is_log=False: (lambda a: np.log(a) - a * x if is_log else a * np.exp(-a * x))(a[..., None])",
    ONE
);
density!(
    GAMMA,
    "gamma",
    0,
    ["alpha", "beta"],
    |x, p| &p[0] * p[1].log() + (&p[0] - 1.0) * x.log() - &p[1] * x - lgamma(&p[0]),
    Ok((0.5, 2.0)),
    "lambda x, a, b: (lambda a, b: b**a * x**(a - 1) * np.exp(-b * x) / np.vectorize(math.gamma)(a))(a[..., None], b[..., None])",
    TWO
);
density!(
    POISSON,
    "poisson",
    0,
    ["lam"],
    |x, p| x * p[0].log() - lgamma(&(x + 1.0)) - &p[0],
    Ok((0.5, 2.0)),
    "lambda x, a, is_log=False: (lambda l: l if is_log else np.exp(l))(\
     x * np.log(a)[..., None] - np.vectorize(math.lgamma)(x + 1) - a[..., None])",
    ONE
);
density!(
    NEGATIVE_BINOMIAL,
    "negative_binomial",
    0,
    ["k", "p"],
    |x, p| negative_binomial(x, &p[0], &p[1]),
    Ok((0.2, 0.8)),
    "",
    TWO
);
density!(
    GENERALIZED,
    "generalized_negative_binomial",
    0,
    ["mu", "alpha"],
    |x, p| negative_binomial(x, &p[1].reciprocal(), &(&p[0] * &p[1] + 1.0).reciprocal()),
    Ok((0.5, 2.0)),
    "",
    TWO
);
density!(
    DIRICHLET,
    "dirichlet",
    1,
    ["alpha"],
    |x, p| {
        let last = |v: Var| {
            let axis = v.ndim() - 1;
            v.sum_axes(&[axis], false)
        };
        last((&p[0] - 1.0) * x.log()) - last(lgamma(&p[0])) + lgamma(&last(p[0].clone()))
    },
    Ok((0.5, 2.0)),
    "",
    &[(&[&[2, 3, 4], &[2, 4]], "")]
);

pub static OPS: Ops =
    &[&UNIFORM, &NORMAL, &EXPONENTIAL, &GAMMA, &POISSON, &NEGATIVE_BINOMIAL, &GENERALIZED, &DIRICHLET];
