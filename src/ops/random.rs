//! Random arrays, drawn as MXNet draws them: the same numbers for the same seed, on any number of threads.
//!
//! Integers, multinomial and shuffle are in `choice`. Each law has three records: with numbers for parameters, with arrays for parameters, and with the shape and dtype
//! of an array.

use crate::base::layout::show;
use crate::base::{DType, Element, Result};
use crate::cpu::pool;
use crate::cpu::random::{self as draw, Job, Mt19937, with_streams};
use crate::ensure;
use crate::graph::params::{Default, Ints, ParamKind, Read};
use crate::graph::{Args, Check, Grad, Kind, Meta, Op, Param, ParamSpec};
use crate::ops::Ops;
use crate::ops::init::{checked_shape, place};
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use half::f16;
use smallvec::{SmallVec, smallvec};

/// `mx.random.seed(seed)`.
pub fn seed(seed: i32) {
    with_streams(|streams| streams.seed(seed));
}

/// `mx.random.seed(seed, ctx=…)`, which leaves the generator of multinomial and shuffle in another state.
pub fn seed_ctx(seed: i32) {
    with_streams(|streams| streams.seed_ctx(seed));
}

// ---- laws ----

/// A law of one or two parameters (the second is then ignored).
struct Law {
    name: &'static str,
    count: usize,
    check: fn(f64, f64) -> Result<()>,
    /// A run of elements of float32.
    f32s: fn(&mut Mt19937, f32, f32, &mut [f32]),
    /// One element of float64, from parameters of its own precision.
    f64: fn(&mut Mt19937, f64, f64) -> f64,
    /// The same from numbers, which MXNet keeps in float32.
    scalar_f64: fn(&mut Mt19937, f32, f32) -> f64,
    /// Whether float16 takes the float64 form; else the float32 one.
    wide_f16: bool,
}

/// Elements below which a call stays on its thread.
const GRAIN: usize = 8 << 10;

/// Runs the jobs of a call on all threads where there is enough to draw.
fn spread<T: Send>(jobs: Vec<Job<T>>, n: usize, f: impl Fn(&mut Mt19937, usize, &mut [T]) + Sync) {
    if n < GRAIN || pool::threads() == 1 {
        jobs.into_iter().for_each(|(engine, first, part)| f(engine, first, part));
    } else {
        pool::each(jobs, |(engine, first, part)| f(engine, first, part));
    }
}

/// Fills `out` with `f(engine, first, part)`.
pub(super) fn fill<T: Element>(out: &mut Output, f: impl Fn(&mut Mt19937, usize, &mut [T]) + Sync + Send) {
    let out = out.slice::<T>();
    let n = out.len();
    with_streams(|streams| spread(streams.jobs(out), n, f));
}

pub(super) fn each<T: Element>(part: &mut [T], mut f: impl FnMut(usize) -> T) {
    part.iter_mut().enumerate().for_each(|(i, slot)| *slot = f(i));
}

impl Law {
    /// Draws with numbers for parameters.
    fn scalar(&self, (a, b): (f64, f64), dtype: DType, out: &mut Output) {
        let (a, b) = (a as f32, b as f32);
        match dtype {
            DType::F64 => fill::<f64>(out, |e, _, part| each(part, |_| (self.scalar_f64)(e, a, b))),
            DType::F16 => fill::<f16>(out, |e, _, part| each(part, |_| self.half(e, (a, b)))),
            _ => fill::<f32>(out, |e, _, part| (self.f32s)(e, a, b, part)),
        }
    }

    fn half(&self, e: &mut Mt19937, (a, b): (f32, f32)) -> f16 {
        f16::from_f64(if self.wide_f16 { (self.scalar_f64)(e, a, b) } else { self.one(e, a, b) as f64 })
    }

    fn one(&self, e: &mut Mt19937, a: f32, b: f32) -> f32 {
        let mut out = [0.0];
        (self.f32s)(e, a, b, &mut out);
        out[0]
    }

    /// Draws with an array for each parameter: `per` elements for each of theirs.
    fn tensors(&self, inputs: &[Tensor], dtype: DType, out: &mut Output) -> Result<()> {
        let values: Vec<Vec<f64>> = inputs.iter().map(Tensor::to_vec::<f64>).collect::<Result<_>>()?;
        let (a, b) = (&values[0], values.last().unwrap_or(&values[0]));
        let per = |n: usize| n / a.len().max(1);
        match dtype {
            DType::F64 => {
                let per = per(out.slice::<f64>().len());
                fill::<f64>(out, |e, first, part| {
                    each(part, |i| {
                        let k = (first + i) / per;
                        (self.f64)(e, a[k], b[k])
                    })
                });
            }
            DType::F16 => {
                let per = per(out.slice::<f16>().len());
                fill::<f16>(out, |e, first, part| {
                    each(part, |i| {
                        let k = (first + i) / per;
                        self.half(e, (a[k] as f32, b[k] as f32))
                    })
                });
            }
            _ => {
                let per = per(out.slice::<f32>().len());
                fill::<f32>(out, |e, first, part| {
                    let mut at = 0;
                    while at < part.len() {
                        // The run of elements that share their parameters.
                        let k = (first + at) / per;
                        let end = ((k + 1) * per - first).min(part.len());
                        (self.f32s)(e, a[k] as f32, b[k] as f32, &mut part[at..end]);
                        at = end;
                    }
                });
            }
        }
        Ok(())
    }
}

// ---- the three records of a law ----

const fn number(name: &'static str, default: f64, doc: &'static str) -> ParamSpec {
    ParamSpec { name, kind: ParamKind::Float, default: Default::Float(default), doc }
}
const fn whole(name: &'static str, default: i64, doc: &'static str) -> ParamSpec {
    ParamSpec { name, kind: ParamKind::Int, default: Default::Int(default), doc }
}
const SHAPE: ParamSpec = ParamSpec {
    name: "shape",
    kind: ParamKind::Ints,
    default: Default::None,
    doc: "The shape of the result, one element where absent; an int gives one dimension.",
};
const PER: ParamSpec = ParamSpec {
    name: "shape",
    kind: ParamKind::Ints,
    default: Default::None,
    doc: "The shape of what is drawn for each element of the parameters: it follows theirs.",
};
const CTX: ParamSpec = ParamSpec {
    name: "ctx",
    kind: ParamKind::Device,
    default: Default::None,
    doc: "Where the array goes; the CPU where absent.",
};
const DTYPE: ParamSpec = ParamSpec {
    name: "dtype",
    kind: ParamKind::DType,
    default: Default::None,
    doc: "The element type: float32 where absent, float64 or float16.",
};

fn read<T: Read>(args: &Args, i: usize) -> T {
    T::read(args.get(i).unwrap_or(&Param::None))
}

impl Law {
    fn pair(&self, args: &Args) -> Result<(f64, f64)> {
        let pair = (read(args, 0), if self.count > 1 { read(args, 1) } else { 0.0 });
        (self.check)(pair.0, pair.1)?;
        Ok(pair)
    }
    fn infer_scalar(&self, args: &Args) -> Result<SmallVec<[Meta; 1]>> {
        self.pair(args)?;
        let dtype = float(self.name, read::<Option<DType>>(args, self.count + 2).unwrap_or(DType::F32))?;
        let dims = read::<Option<Ints>>(args, self.count).unwrap_or_else(|| smallvec![1]);
        let shape = checked_shape(self.name, &dims, dtype)?;
        Ok(smallvec![Meta { shape, dtype, device: place(read(args, self.count + 1))? }])
    }
    fn infer_like(&self, metas: &[Meta], args: &Args) -> Result<SmallVec<[Meta; 1]>> {
        self.pair(args)?;
        float(self.name, metas[0].dtype)?;
        Ok(smallvec![metas[0].clone()])
    }
    fn infer_tensors(&self, metas: &[Meta], args: &Args) -> Result<SmallVec<[Meta; 1]>> {
        let first = &metas[0];
        for other in &metas[1..] {
            ensure!(
                other.shape == first.shape && other.dtype == first.dtype,
                "{}: parameters of one shape and dtype, got {} {} and {} {}",
                self.name,
                first.dtype,
                show(&first.shape),
                other.dtype,
                show(&other.shape)
            );
        }
        ensure!(first.dtype != DType::Bool, "{}: parameters, got bool, expected numbers", self.name);
        let dtype = float(self.name, read::<Option<DType>>(args, 1).unwrap_or(DType::F32))?;
        let mut dims: Ints = first.shape.iter().map(|&d| d as i64).collect();
        dims.extend(read::<Ints>(args, 0));
        Ok(smallvec![Meta { shape: checked_shape(self.name, &dims, dtype)?, dtype, device: first.device }])
    }
}

pub(super) fn float(name: &str, dtype: DType) -> Result<DType> {
    ensure!(dtype.is_float(), "{name}: dtype, got {dtype}, expected float32, float64 or float16");
    Ok(dtype)
}

pub(super) const RANDOM: std::result::Result<(f64, f64), &str> = Err("random");

/// The records of a law, numbers and arrays for parameters, then like an array.
macro_rules! law {
    ($scalar:ident $like:ident $sample:ident, $law:ident, $base:literal, $aliases:expr, $like_aliases:expr, $doc:literal,
     [$($param:expr),+], [$($input:literal),+], $call:literal) => {
        pub static $scalar: Op = Op {
            name: concat!("_random_", $base),
            aliases: $aliases,
            doc: concat!("Draws from ", $doc, "."),
            inputs: &[],
            params: &[$($param,)+ SHAPE, CTX, DTYPE],
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |_, args| $law.infer_scalar(args),
                cpu: |_, args, out| {
                    let dtype = read::<Option<DType>>(args, $law.count + 2).unwrap_or(DType::F32);
                    $law.scalar($law.pair(args)?, dtype, &mut out[0]);
                    Ok(())
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: Check { range: RANDOM, like: "", calls: &[(&[], concat!($call, "shape=(2, 3)"))] },
        };
        pub static $like: Op = Op {
            name: concat!("_random_", $base, "_like"),
            aliases: $like_aliases,
            doc: concat!("Draws from ", $doc, ", as many and of the dtype as an array."),
            inputs: &["data"],
            params: &[$($param,)+],
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |metas, args| $law.infer_like(metas, args),
                cpu: |inputs, args, out| {
                    $law.scalar($law.pair(args)?, inputs[0].dtype(), &mut out[0]);
                    Ok(())
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: Check { range: RANDOM, like: "", calls: &[(&[&[2, 3]], "")] },
        };
        pub static $sample: Op = Op {
            name: concat!("_sample_", $base),
            aliases: &[concat!("sample_", $base)],
            doc: concat!("Draws from ", $doc, " for each element of the parameters, which are arrays of one shape."),
            inputs: &[$($input),+],
            params: &[PER, DTYPE],
            method: false,
            writes: &[],
            kind: Kind::Kernel {
                infer: |metas, args| $law.infer_tensors(metas, args),
                cpu: |inputs, args, out| {
                    let dtype = read::<Option<DType>>(args, 1).unwrap_or(DType::F32);
                    $law.tensors(inputs, dtype, &mut out[0])
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: Check { range: RANDOM, like: "", calls: &[] },
        };
    };
}

// ---- uniform, normal, exponential, gamma ----

static UNIFORM_LAW: Law = Law {
    name: "uniform",
    count: 2,
    check: |low, high| {
        ensure!(
            low.is_finite() && high.is_finite() && low <= high,
            "uniform: low must not be above high, got {low} and {high}"
        );
        Ok(())
    },
    f32s: draw::fill_uniform_f32,
    f64: draw::uniform_f64::<f64>,
    scalar_f64: draw::uniform_f64::<f32>,
    wide_f16: true,
};
law!(UNIFORM UNIFORM_LIKE SAMPLE_UNIFORM, UNIFORM_LAW, "uniform", &["random_uniform", "uniform"], &[],
    "the uniform law between `low` and `high`",
    [number("low", 0.0, "The lower end."), number("high", 1.0, "The upper end.")], ["low", "high"], "");

static NORMAL_LAW: Law = Law {
    name: "normal",
    count: 2,
    check: |_, scale| {
        ensure!(scale > 0.0, "normal: scale must be positive, got {scale}");
        Ok(())
    },
    f32s: draw::fill_normal_f32,
    f64: draw::normal_f64,
    scalar_f64: |e, loc, scale| draw::normal_f64(e, loc as f64, scale as f64),
    wide_f16: true,
};
law!(NORMAL NORMAL_LIKE SAMPLE_NORMAL, NORMAL_LAW, "normal", &["random_normal", "normal"], &[],
    "the normal law",
    [number("loc", 0.0, "The mean."), number("scale", 1.0, "The standard deviation.")], ["mu", "sigma"], "");

static EXPONENTIAL_LAW: Law = Law {
    name: "exponential",
    count: 1,
    check: |lam, _| {
        ensure!(lam > 0.0, "exponential: lam must be positive, got {lam}");
        Ok(())
    },
    f32s: |e, lam, _, out| each(out, |_| draw::exponential_f32(e, lam)),
    f64: |e, lam, _| draw::exponential_f64(e, lam),
    scalar_f64: |e, lam, _| draw::exponential_f64(e, lam as f64),
    wide_f16: true,
};
law!(EXPONENTIAL EXPONENTIAL_LIKE SAMPLE_EXPONENTIAL, EXPONENTIAL_LAW, "exponential",
    &["random_exponential", "exponential"], &[], "the exponential law",
    [number("lam", 1.0, "The rate: one over the mean.")], ["lam"], "");

static GAMMA_LAW: Law = Law {
    name: "gamma",
    count: 2,
    check: |alpha, beta| {
        ensure!(alpha > 0.0 && beta > 0.0, "gamma: alpha and beta must be positive, got {alpha} and {beta}");
        Ok(())
    },
    f32s: |e, alpha, beta, out| each(out, |_| draw::gamma_f32(e, alpha, beta)),
    f64: draw::gamma_f64,
    scalar_f64: |e, alpha, beta| draw::gamma_f64(e, alpha as f64, beta as f64),
    wide_f16: false,
};
law!(GAMMA GAMMA_LIKE SAMPLE_GAMMA, GAMMA_LAW, "gamma", &["random_gamma"], &[], "the gamma law",
    [number("alpha", 1.0, "The shape."), number("beta", 1.0, "The scale.")], ["alpha", "beta"], "");

// ---- counts ----

/// A law of counts: float32 in every dtype.
macro_rules! counts {
    ($id:ident, $name:literal, $count:literal, $check:expr, |$e:ident, $a:ident, $b:ident| $one:expr) => {
        static $id: Law = Law {
            name: $name,
            count: $count,
            check: $check,
            f32s: |$e, $a, $b, out| each(out, |_| $one),
            f64: |$e, a, b| {
                let ($a, $b) = (a as f32, b as f32);
                let _ = $b;
                $one as f64
            },
            scalar_f64: |$e, $a, $b| {
                let _ = $b;
                $one as f64
            },
            wide_f16: false,
        };
    };
}

counts!(
    POISSON_LAW,
    "poisson",
    1,
    |lam, _| {
        ensure!(lam >= 0.0 && lam.is_finite(), "poisson: lam must not be negative, got {lam}");
        Ok(())
    },
    |e, lam, _b| draw::poisson(e, lam)
);
law!(POISSON POISSON_LIKE SAMPLE_POISSON, POISSON_LAW, "poisson", &["random_poisson", "poisson"], &[],
    "the Poisson law", [number("lam", 1.0, "The mean.")], ["lam"], "");

counts!(
    NEGATIVE_BINOMIAL_LAW,
    "negative_binomial",
    2,
    |k, p| {
        ensure!(k >= 0.0, "negative_binomial: k must not be negative, got {k}");
        ensure!(p > 0.0 && p <= 1.0, "negative_binomial: p must be a probability above 0, got {p}");
        Ok(())
    },
    |e, k, p| draw::negative_binomial(e, k, p)
);
law!(NEGATIVE_BINOMIAL NEGATIVE_BINOMIAL_LIKE SAMPLE_NEGATIVE_BINOMIAL, NEGATIVE_BINOMIAL_LAW, "negative_binomial",
    &["random_negative_binomial", "negative_binomial"], &[],
    "the negative binomial law: failures before the `k`-th success",
    [whole("k", 1, "How many successes."), number("p", 1.0, "The probability of a success.")], ["k", "p"], "");

counts!(
    GENERALIZED_LAW,
    "generalized_negative_binomial",
    2,
    |mu, alpha| {
        ensure!(
            mu >= 0.0 && alpha >= 0.0,
            "generalized_negative_binomial: mu and alpha must not be negative, got {mu} and {alpha}"
        );
        Ok(())
    },
    |e, mu, alpha| draw::generalized_negative_binomial(e, mu, alpha)
);
law!(GENERALIZED GENERALIZED_LIKE SAMPLE_GENERALIZED, GENERALIZED_LAW, "generalized_negative_binomial",
    &["random_generalized_negative_binomial", "generalized_negative_binomial"], &[],
    "the negative binomial law by its mean and dispersion",
    [number("mu", 1.0, "The mean."), number("alpha", 1.0, "The dispersion; 0 is the Poisson law.")],
    ["mu", "alpha"], "");

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
    &GAMMA,
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
];
