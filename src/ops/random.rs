//! Random draws on MXNet's streams, bit for bit for the same seed.

use crate::base::{DType, Device, Error, Result, Shape};
use crate::cpu::pool;
use crate::cpu::random::{Mt19937, Streams, laws, with_streams};
use crate::graph::params::{Ints, Read};
use crate::graph::{Args, Check, Grad, Kind, Meta, Op};
use crate::ops::Ops;
use crate::ops::expr::shape_of;
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use crate::{ensure, with_dtype};
use half::f16;
use smallvec::smallvec;

const RANDOM: Check = Check { range: Err("random"), like: "", calls: &[] };
/// Draws from which the independent engines run on all threads.
const GRAIN: usize = 8 << 10;

/// A law of two parameters (the second ignored by laws of one).
struct Law {
    name: &'static str,
    /// What is wrong with the parameters, if anything.
    check: fn(f64, f64) -> Option<&'static str>,
    f32: fn(&mut Mt19937, f64, f64) -> f32,
    f64: fn(&mut Mt19937, f64, f64) -> f64,
    /// A faster way to fill many float32 draws of the same parameters.
    bulk: Option<fn(&mut Mt19937, f32, f32, &mut [f32])>,
}

fn fine(ok: bool, why: &'static str) -> Option<&'static str> {
    if ok { None } else { Some(why) }
}

static UNIFORM_LAW: Law = Law {
    name: "random.uniform",
    check: |low, high| fine(low <= high, "low must not be above high"),
    f32: |e, low, high| laws::uniform_f32(e, low as f32, high as f32),
    f64: |e, low, high| laws::uniform_f64(e, low as f32, high as f32),
    bulk: Some(crate::cpu::random::fill_uniform_f32),
};
static NORMAL_LAW: Law = Law {
    name: "random.normal",
    check: |_, scale| fine(scale > 0.0, "scale must be positive"),
    f32: |e, loc, scale| laws::normal_f32(e, loc as f32, scale as f32),
    f64: |e, loc, scale| laws::normal_f64(e, loc as f32 as f64, scale as f32 as f64),
    bulk: Some(crate::cpu::random::fill_normal_f32),
};
static EXPONENTIAL_LAW: Law = Law {
    name: "random.exponential",
    check: |lam, _| fine(lam > 0.0, "lam must be positive"),
    f32: |e, lam, _| laws::exponential_f32(e, lam as f32),
    f64: |e, lam, _| laws::exponential_f64(e, lam as f32 as f64),
    bulk: None,
};
static GAMMA_LAW: Law = Law {
    name: "random.gamma",
    check: |alpha, beta| fine(alpha > 0.0 && beta > 0.0, "alpha and beta must be positive"),
    f32: |e, alpha, beta| laws::gamma_f32(e, alpha as f32, beta as f32),
    f64: |e, alpha, beta| laws::gamma_f64(e, alpha as f32 as f64, beta as f32 as f64),
    bulk: None,
};
static POISSON_LAW: Law = Law {
    name: "random.poisson",
    check: |lam, _| fine(lam >= 0.0, "lam must not be negative"),
    f32: |e, lam, _| laws::poisson(e, lam as f32),
    f64: |e, lam, _| laws::poisson(e, lam as f32) as f64,
    bulk: None,
};
static NEGATIVE_BINOMIAL_LAW: Law = Law {
    name: "random.negative_binomial",
    check: |k, p| fine(k >= 0.0 && (0.0..=1.0).contains(&p), "k must not be negative, p must be in [0, 1]"),
    f32: |e, k, p| laws::negative_binomial(e, k as f32, p as f32),
    f64: |e, k, p| laws::negative_binomial(e, k as f32, p as f32) as f64,
    bulk: None,
};
static GENERALIZED_LAW: Law = Law {
    name: "random.generalized_negative_binomial",
    check: |mu, alpha| fine(mu >= 0.0 && alpha >= 0.0, "mu and alpha must not be negative"),
    f32: |e, mu, alpha| laws::generalized_negative_binomial(e, mu as f32, alpha as f32),
    f64: |e, mu, alpha| laws::generalized_negative_binomial(e, mu as f32, alpha as f32) as f64,
    bulk: None,
};

/// Runs a draw for every element, each engine on its own run of elements, in parallel where there are many.
fn fill<T: Send>(streams: &mut Streams, out: &mut [T], draw: impl Fn(&mut Mt19937, usize, &mut [T]) + Sync) {
    let n = out.len();
    let jobs = streams.jobs(out);
    if n < GRAIN || pool::threads() == 1 {
        jobs.into_iter().for_each(|(e, first, part)| draw(e, first, part));
    } else {
        pool::each(jobs, |(e, first, part)| draw(e, first, part));
    }
}

fn each<T>(part: &mut [T], first: usize, mut f: impl FnMut(usize) -> T) {
    part.iter_mut().enumerate().for_each(|(i, o)| *o = f(first + i));
}

/// Fills an output with draws; `at(i)` gives the parameters of element `i`.
fn run(
    law: &'static Law,
    dtype: DType,
    out: &mut Output,
    one: Option<(f64, f64)>,
    at: &(dyn Fn(usize) -> (f64, f64) + Sync),
) {
    with_streams(|s| match dtype {
        DType::F32 => fill(s, out.slice::<f32>(), |e, first, part| match (law.bulk, one) {
            (Some(bulk), Some((a, b))) => bulk(e, a as f32, b as f32, part),
            _ => each(part, first, |i| {
                let (a, b) = at(i);
                (law.f32)(e, a, b)
            }),
        }),
        DType::F64 => fill(s, out.slice::<f64>(), |e, first, part| {
            each(part, first, |i| {
                let (a, b) = at(i);
                (law.f64)(e, a, b)
            });
        }),
        _ => fill(s, out.slice::<f16>(), |e, first, part| {
            // Gamma in float16 is the float32 draw rounded.
            let narrow = std::ptr::eq(law, &GAMMA_LAW);
            each(part, first, |i| {
                let (a, b) = at(i);
                if narrow { f16::from_f32((law.f32)(e, a, b)) } else { f16::from_f64((law.f64)(e, a, b)) }
            });
        }),
    });
}

/// The last parameters of every law: shape, ctx, dtype.
fn tail(name: &str, args: &Args) -> Result<Meta> {
    let n = args.len();
    let dims = <Option<Ints>>::read(&args[n - 3]).unwrap_or_else(|| smallvec![1]);
    let device = <Option<Device>>::read(&args[n - 2]).unwrap_or(Device::CPU);
    let dtype = <Option<DType>>::read(&args[n - 1]).unwrap_or(DType::F32);
    ensure!(dtype.is_float(), "{name}: dtype, got {dtype}, expected float16, float32 or float64");
    ensure!(
        !dims.is_empty() && dims.iter().all(|&d| d >= 0),
        "{name}: shape, got {dims:?}, expected lengths of 0 or more"
    );
    Ok(Meta { shape: shape_of(&dims), dtype, device })
}

fn check(law: &Law, a: f64, b: f64) -> Result<()> {
    match (law.check)(a, b) {
        Some(why) => Err(Error::op(format_args!("{}: {why}, got {a} and {b}", law.name))),
        None => Ok(()),
    }
}

/// Numbers of the parameters before the tail.
fn numbers(args: &Args, tail: usize) -> (f64, f64) {
    let n = args.len() - tail;
    (f64::read(&args[0]), if n > 1 { f64::read(&args[1]) } else { 0.0 })
}

macro_rules! law {
    ($law:ident, $scalar:ident, $like:ident, $sample:ident, $params:ident, $like_params:ident, $names:expr, $like_names:expr, $sample_names:expr, $sample_inputs:expr, $doc:literal,
     { $($p:ident : $default:expr, $pdoc:literal;)* }) => {
        $crate::params! {
            pub struct $params {
                $($p: f64, K::Float, D::Float($default), $pdoc;)*
                shape: Option<Ints>, K::Ints, D::None, "Shape of the result; one draw where absent.";
                ctx: Option<Device>, K::Device, D::None, "Device of the result.";
                dtype: Option<DType>, K::DType, D::None, "float32 unless given.";
            }
        }
        pub static $scalar: Op = Op {
            name: $names[0],
            aliases: $names.split_at(1).1,
            doc: $doc,
            inputs: &[],
            params: $params::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |_, args| {
                    let (a, b) = numbers(args, 3);
                    check(&$law, a, b)?;
                    Ok(smallvec![tail($law.name, args)?])
                },
                cpu: |_, args, outs| {
                    let dtype = tail($law.name, args)?.dtype;
                    let (a, b) = numbers(args, 3);
                    run(&$law, dtype, &mut outs[0], Some((a, b)), &|_| (a, b));
                    Ok(())
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: RANDOM,
        };
        $crate::params! {
            pub struct $like_params { $($p: f64, K::Float, D::Float($default), $pdoc;)* }
        }
        pub static $like: Op = Op {
            name: $like_names[0],
            aliases: $like_names.split_at(1).1,
            doc: $doc,
            inputs: &["data"],
            params: $like_params::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |metas, args| {
                    let (a, b) = numbers(args, 0);
                    check(&$law, a, b)?;
                    ensure!(metas[0].dtype.is_float(), "{}: data, got {}, expected a float dtype", $law.name, metas[0].dtype);
                    Ok(smallvec![metas[0].clone()])
                },
                cpu: |ins, args, outs| {
                    let (a, b) = numbers(args, 0);
                    run(&$law, ins[0].dtype(), &mut outs[0], Some((a, b)), &|_| (a, b));
                    Ok(())
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: RANDOM,
        };
        pub static $sample: Op = Op {
            name: $sample_names[0],
            aliases: $sample_names.split_at(1).1,
            doc: $doc,
            inputs: $sample_inputs,
            params: SampleParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |metas, args| infer_sample($law.name, metas, args),
                cpu: |ins, args, outs| cpu_sample(&$law, ins, args, outs),
                gpu: None,
            },
            grad: Grad::Zero,
            check: RANDOM,
        };
    };
}

crate::params! {
    pub struct SampleParams {
        shape: Option<Ints>, K::Ints, D::None, "Shape drawn for each parameter; one draw where absent.";
        dtype: Option<DType>, K::DType, D::None, "The parameters' dtype where it is a float, else float32.";
    }
}

fn infer_sample(name: &str, metas: &[Meta], args: &Args) -> Result<smallvec::SmallVec<[Meta; 1]>> {
    let p = SampleParams::read(args);
    for meta in metas {
        ensure!(meta.shape == metas[0].shape, "{name}: parameters of one shape expected");
        ensure!(meta.dtype.is_float(), "{name}: parameters, got {}, expected a float dtype", meta.dtype);
    }
    let dtype = p.dtype.unwrap_or(metas[0].dtype);
    ensure!(dtype.is_float(), "{name}: dtype, got {dtype}, expected a float dtype");
    let extra = p.shape.unwrap_or_default();
    ensure!(extra.iter().all(|&d| d >= 0), "{name}: shape has a negative length");
    let shape: Shape = metas[0].shape.iter().copied().chain(extra.iter().map(|&d| d as usize)).collect();
    Ok(smallvec![Meta { shape, dtype, device: metas[0].device }])
}

fn cpu_sample(law: &'static Law, ins: &[Tensor], args: &Args, outs: &mut [Output]) -> Result<()> {
    let a = ins[0].to_vec::<f64>()?;
    let b = ins.get(1).map_or(Ok(vec![0.0; a.len()]), |t| t.to_vec::<f64>())?;
    for (&a, &b) in a.iter().zip(&b) {
        check(law, a, b)?;
    }
    let p = SampleParams::read(args);
    let per: usize = p.shape.unwrap_or_default().iter().map(|&d| d as usize).product();
    run(law, p.dtype.unwrap_or(ins[0].dtype()), &mut outs[0], None, &|i| (a[i / per], b[i / per]));
    Ok(())
}

law!(UNIFORM_LAW, UNIFORM, UNIFORM_LIKE, SAMPLE_UNIFORM, UniformParams, UniformLikeParams,
    &["_random_uniform", "random_uniform", "uniform"], &["_random_uniform_like"], &["_sample_uniform", "sample_uniform"],
    &["low", "high"], "Draws between `low` and `high`, all equally likely.",
    { low: 0.0, "Lower bound."; high: 1.0, "Upper bound."; });
law!(NORMAL_LAW, NORMAL, NORMAL_LIKE, SAMPLE_NORMAL, NormalParams, NormalLikeParams,
    &["_random_normal", "random_normal", "normal"], &["_random_normal_like"], &["_sample_normal", "sample_normal"],
    &["mu", "sigma"], "Draws from a normal distribution.",
    { loc: 0.0, "Mean."; scale: 1.0, "Standard deviation."; });
law!(EXPONENTIAL_LAW, EXPONENTIAL, EXPONENTIAL_LIKE, SAMPLE_EXPONENTIAL, ExponentialParams, ExponentialLikeParams,
    &["_random_exponential", "random_exponential", "exponential"], &["_random_exponential_like"],
    &["_sample_exponential", "sample_exponential"], &["lam"], "Draws from an exponential distribution of rate `lam`.",
    { lam: 1.0, "Rate."; });
law!(GAMMA_LAW, GAMMA_DRAW, GAMMA_LIKE, SAMPLE_GAMMA, GammaParams, GammaLikeParams,
    &["_random_gamma", "random_gamma"], &["_random_gamma_like"], &["_sample_gamma", "sample_gamma"],
    &["alpha", "beta"], "Draws from a gamma distribution of shape `alpha` and scale `beta`.",
    { alpha: 1.0, "Shape."; beta: 1.0, "Scale."; });
law!(POISSON_LAW, POISSON, POISSON_LIKE, SAMPLE_POISSON, PoissonParams, PoissonLikeParams,
    &["_random_poisson", "random_poisson", "poisson"], &["_random_poisson_like"], &["_sample_poisson", "sample_poisson"],
    &["lam"], "Draws from a Poisson distribution.",
    { lam: 1.0, "Mean."; });
law!(NEGATIVE_BINOMIAL_LAW, NEGATIVE_BINOMIAL, NEGATIVE_BINOMIAL_LIKE, SAMPLE_NEGATIVE_BINOMIAL, NbParams, NbLikeParams,
    &["_random_negative_binomial", "random_negative_binomial", "negative_binomial"], &["_random_negative_binomial_like"],
    &["_sample_negative_binomial", "sample_negative_binomial"], &["k", "p"],
    "Draws the failures before `k` successes of probability `p`.",
    { k: 1.0, "Successes."; p: 1.0, "Probability of success."; });
law!(GENERALIZED_LAW, GENERALIZED, GENERALIZED_LIKE, SAMPLE_GENERALIZED, GnbParams, GnbLikeParams,
    &["_random_generalized_negative_binomial", "random_generalized_negative_binomial", "generalized_negative_binomial"],
    &["_random_generalized_negative_binomial_like"],
    &["_sample_generalized_negative_binomial", "sample_generalized_negative_binomial"], &["mu", "alpha"],
    "Draws from a negative binomial distribution of mean `mu` and dispersion `alpha`.",
    { mu: 1.0, "Mean."; alpha: 1.0, "Dispersion."; });

crate::params! {
    pub struct RandintParams {
        low: i64, K::Int, D::Required, "Smallest draw.";
        high: i64, K::Int, D::Required, "End, not included.";
        shape: Option<Ints>, K::Ints, D::None, "Shape of the result; one draw where absent.";
        ctx: Option<Device>, K::Device, D::None, "Device of the result.";
        dtype: Option<DType>, K::DType, D::None, "int32 unless int64 is given.";
    }
}
pub static RANDINT: Op = Op {
    name: "_random_randint",
    aliases: &["random_randint"],
    doc: "Draws whole numbers from `low` up to, not including, `high`.",
    inputs: &[],
    params: RandintParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |_, args| {
            let p = RandintParams::read(args);
            let dtype = p.dtype.unwrap_or(DType::I32);
            ensure!(
                matches!(dtype, DType::I32 | DType::I64),
                "random.randint: dtype, got {dtype}, expected int32 or int64"
            );
            ensure!(p.low < p.high, "random.randint: low must be below high, got {} and {}", p.low, p.high);
            ensure!(p.high.checked_sub(p.low).is_some(), "random.randint: the range {}..{} is too wide", p.low, p.high);
            let dims = p.shape.unwrap_or_else(|| smallvec![1]);
            ensure!(
                !dims.is_empty() && dims.iter().all(|&d| d >= 0),
                "random.randint: shape, got {dims:?}, expected lengths of 0 or more"
            );
            Ok(smallvec![Meta { shape: shape_of(&dims), dtype, device: p.ctx.unwrap_or(Device::CPU) }])
        },
        cpu: |_, args, outs| {
            let p = RandintParams::read(args);
            with_streams(|s| match p.dtype.unwrap_or(DType::I32) {
                DType::I64 => fill(s, outs[0].slice::<i64>(), |e, first, part| {
                    each(part, first, |_| laws::randint(e, p.low, p.high));
                }),
                _ => fill(s, outs[0].slice::<i32>(), |e, first, part| {
                    each(part, first, |_| laws::randint(e, p.low, p.high) as i32);
                }),
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: RANDOM,
};

crate::params! {
    pub struct MultinomialParams {
        shape: Option<Ints>, K::Ints, D::None, "Draws for each row of probabilities; one where absent.";
        get_prob: bool, K::Bool, D::Bool(false), "Whether the logarithm of each draw's probability comes too.";
        dtype: DType, K::DType, D::DType(DType::I32), "Dtype of the draws.";
    }
}
pub static MULTINOMIAL: Op = Op {
    name: "_sample_multinomial",
    aliases: &["sample_multinomial"],
    doc: "Draws positions with the probabilities of a row. The rows are not normalised.",
    inputs: &["data"],
    params: MultinomialParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = MultinomialParams::read(args);
            let data = &metas[0];
            ensure!(
                data.dtype.is_float() && !data.shape.is_empty(),
                "random.multinomial: data, got {}, expected rows of floats",
                data.dtype
            );
            ensure!(data.shape.last() != Some(&0), "random.multinomial: data has no probabilities");
            let dims = p.shape.unwrap_or_default();
            ensure!(dims.iter().all(|&d| d >= 0), "random.multinomial: shape has a negative length");
            let rows = &data.shape[..data.shape.len() - 1];
            let mut shape: Shape = rows.iter().copied().chain(dims.iter().map(|&d| d as usize)).collect();
            if shape.is_empty() {
                shape.push(1);
            }
            let drawn = Meta { shape: shape.clone(), dtype: p.dtype, device: data.device };
            Ok(if p.get_prob { smallvec![drawn, data.with_shape(shape)] } else { smallvec![drawn] })
        },
        cpu: |ins, args, outs| {
            let p = MultinomialParams::read(args);
            let classes = ins[0].shape().last().copied().unwrap_or(1);
            let draws: usize = p.shape.unwrap_or_default().iter().map(|&d| d as usize).product();
            let data = ins[0].to_vec::<f64>()?;
            let round: fn(f64) -> f32 =
                if ins[0].dtype() == DType::F16 { |x| f16::from_f64(x).to_f32() } else { |x| x as f32 };
            let drawn = with_streams(|s| crate::cpu::random::multinomial(s.single(), &data, classes, draws, round));
            with_dtype!(p.dtype, T => outs[0].slice::<T>().iter_mut().zip(&drawn).for_each(|(o, &k)| *o = crate::base::Element::from_i64(k as i64)));
            if p.get_prob {
                let log = |i: usize| {
                    let k = drawn[i];
                    if k < classes { data[i / draws * classes + k].ln() } else { f64::NAN }
                };
                with_dtype!(ins[0].dtype(), T => outs[1].slice::<T>().iter_mut().enumerate().for_each(|(i, o)| *o = crate::base::Element::from_f64(log(i))));
            }
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: RANDOM,
};

pub static SHUFFLE: Op = Op {
    name: "_shuffle",
    aliases: &["shuffle"],
    doc: "The rows of an array in random order.",
    inputs: &["data"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| {
            ensure!(!metas[0].shape.is_empty(), "shuffle: an array with rows expected, got shape ()");
            Ok(smallvec![metas[0].clone()])
        },
        cpu: |ins, _, outs| {
            let (n, vector) = (ins[0].shape()[0], ins[0].ndim() == 1);
            let order = with_streams(|s| {
                use crate::cpu::random::{shuffle_1d, shuffle_rows};
                if vector { shuffle_1d(s.single(), n) } else { shuffle_rows(s.single(), n) }
            });
            let index: Vec<i64> = order.into_iter().map(|i| i as i64).collect();
            let row = ins[0].shape()[1..].iter().product();
            let data = ins[0].dense()?;
            with_dtype!(ins[0].dtype(), T => crate::cpu::index::take_rows(data.slice::<T>(), &index, row, outs[0].slice::<T>()));
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: RANDOM,
};

pub static OPS: Ops = &[
    &UNIFORM,
    &UNIFORM_LIKE,
    &SAMPLE_UNIFORM,
    &NORMAL,
    &NORMAL_LIKE,
    &SAMPLE_NORMAL,
    &EXPONENTIAL,
    &EXPONENTIAL_LIKE,
    &SAMPLE_EXPONENTIAL,
    &GAMMA_DRAW,
    &GAMMA_LIKE,
    &SAMPLE_GAMMA,
    &POISSON,
    &POISSON_LIKE,
    &SAMPLE_POISSON,
    &NEGATIVE_BINOMIAL,
    &NEGATIVE_BINOMIAL_LIKE,
    &SAMPLE_NEGATIVE_BINOMIAL,
    &GENERALIZED,
    &GENERALIZED_LIKE,
    &SAMPLE_GENERALIZED,
    &RANDINT,
    &MULTINOMIAL,
    &SHUFFLE,
];
