//! One draw of each distribution from one engine.
//!
//! Every step is rounded where MXNet rounds it: do not fuse, reorder or widen the arithmetic. 16-bit arrays take the
//! `f64` form of uniform, normal and exponential and the `f32` form of gamma, and round the result.
//! MXNet keeps scalar parameters as `f32`, so for the `f64` forms the caller rounds a scalar to `f32` first; elements
//! of a `f64` parameter array stay as they are.

use std::f32::consts::{LN_2, PI};
use std::ops::Sub;

use super::Mt19937;

/// Uniform between `low` and `high`, both included: see [`Mt19937::unit_f32`].
#[inline]
pub fn uniform_f32(e: &mut Mt19937, low: f32, high: f32) -> f32 {
    low + (high - low) * e.unit_f32()
}

/// As [`uniform_f32`], from two words. The width is rounded in the type of the bounds: `f32` for scalars.
#[inline]
pub fn uniform_f64<P>(e: &mut Mt19937, low: P, high: P) -> f64
where
    P: Copy + Into<f64> + Sub<Output = P>,
{
    low.into() + (high - low).into() * e.unit_f64()
}

/// Normal with mean `loc` and standard deviation `scale`.
#[inline]
pub fn normal_f32(e: &mut Mt19937, loc: f32, scale: f32) -> f32 {
    polar_f32(e) * scale + loc
}

/// As [`normal_f32`], from four words a trial.
#[inline]
pub fn normal_f64(e: &mut Mt19937, loc: f64, scale: f64) -> f64 {
    polar_f64(e) * scale + loc
}

/// Exponential with rate `lam`, which MXNet takes as `1 / scale` rounded to `f32`.
#[inline]
pub fn exponential_f32(e: &mut Mt19937, lam: f32) -> f32 {
    (-(1.0 - f64::from(e.unit_f32())).ln() / f64::from(lam)) as f32
}

/// As [`exponential_f32`], from two words.
#[inline]
pub fn exponential_f64(e: &mut Mt19937, lam: f64) -> f64 {
    -(1.0 - e.unit_f64()).ln() / lam
}

/// Gamma of shape `alpha` and scale `beta`, by Marsaglia and Tsang, with MXNet's own recipe for `alpha < 1`.
///
/// `alpha` must be positive; where no draw could ever be accepted (negative, infinite, nan) the result is nan.
pub fn gamma_f32(e: &mut Mt19937, alpha: f32, beta: f32) -> f32 {
    let small = alpha < 1.0;
    let d = (f64::from(alpha) + if small { 2.0 / 3.0 } else { -1.0 / 3.0 }) as f32;
    let k = (9.0 * f64::from(d)).sqrt() as f32;
    let c = (1.0 / f64::from(k)) as f32;
    if !(d > 0.0 && d.is_finite()) {
        return f32::NAN;
    }
    let v = loop {
        let z = polar_f32(e);
        if z > -k {
            let x = 1.0 + c * z;
            let v = x * x * x;
            if accepts(f64::from(e.unit_f32()), f64::from(z), f64::from(v), f64::from(d)) {
                break v;
            }
        }
    };
    let sample = d * v * beta;
    if small {
        (f64::from(sample) * f64::from(e.unit_f32()).powf(f64::from((1.0 / f64::from(alpha)) as f32))) as f32
    } else {
        sample
    }
}

/// As [`gamma_f32`], all in double.
pub fn gamma_f64(e: &mut Mt19937, alpha: f64, beta: f64) -> f64 {
    let small = alpha < 1.0;
    let d = alpha + if small { 2.0 / 3.0 } else { -1.0 / 3.0 };
    let k = (9.0 * d).sqrt();
    let c = 1.0 / k;
    if !(d > 0.0 && d.is_finite()) {
        return f64::NAN;
    }
    let v = loop {
        let z = polar_f64(e);
        if z > -k {
            let x = 1.0 + c * z;
            let v = x * x * x;
            if accepts(e.unit_f64(), z, v, d) {
                break v;
            }
        }
    };
    let sample = d * v * beta;
    if small { sample * e.unit_f64().powf(1.0 / alpha) } else { sample }
}

/// Poisson of mean `lam`, for every dtype. `lam` must not be negative.
pub fn poisson(e: &mut Mt19937, lam: f32) -> f32 {
    if lam < 12.0 { poisson_small(e, lam) } else { poisson_large(e, lam) }
}

/// Failures before the `k`-th success of probability `p`: a Poisson law whose mean is gamma distributed.
pub fn negative_binomial(e: &mut Mt19937, k: f32, p: f32) -> f32 {
    let lam = gamma_f32(e, k, (1.0 - p) / p);
    poisson(e, lam)
}

/// Negative binomial by its mean `mu` and dispersion `alpha`; `alpha` 0 is [`poisson`].
pub fn generalized_negative_binomial(e: &mut Mt19937, mu: f32, alpha: f32) -> f32 {
    let lam = if alpha == 0.0 { mu } else { gamma_f32(e, 1.0 / alpha, alpha * mu) };
    poisson(e, lam)
}

/// An integer in `low..high`, from two words for 32 and 64 bits alike. An empty range gives `low`.
#[inline]
pub fn randint(e: &mut Mt19937, low: i64, high: i64) -> i64 {
    let first = u64::from(e.next_u32());
    let word = (first << 31) + u64::from(e.next_u32());
    if high <= low {
        return low;
    }
    low.wrapping_add((word % high.abs_diff(low)) as i64)
}

/// Whether dropout keeps an element. `keep` is `1 - p` in `f32`; kept elements are divided by it.
#[inline]
pub fn dropout_keep_f32(e: &mut Mt19937, keep: f32) -> bool {
    e.unit_f32() <= keep
}

/// As [`dropout_keep_f32`] for `f64` and 16-bit arrays.
#[inline]
pub fn dropout_keep_f64(e: &mut Mt19937, keep: f32) -> bool {
    e.unit_f64() as f32 <= keep
}

/// As [`dropout_keep_f32`] for a mask that is shared along axes: MXNet then drops a tie.
#[inline]
pub fn dropout_keep_axes_f32(e: &mut Mt19937, keep: f32) -> bool {
    e.unit_f32() < keep
}

/// As [`dropout_keep_axes_f32`] for `f64` and 16-bit arrays.
#[inline]
pub fn dropout_keep_axes_f64(e: &mut Mt19937, keep: f32) -> bool {
    (e.unit_f64() as f32) < keep
}

/// The polar method. It yields two numbers; MXNet throws the first away.
#[inline]
fn polar_f32(e: &mut Mt19937) -> f32 {
    loop {
        let x = 2.0 * e.unit_f32() - 1.0;
        let y = 2.0 * e.unit_f32() - 1.0;
        let square = x * x + y * y;
        if square > 0.0 && square <= 1.0 {
            return y * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

#[inline]
fn polar_f64(e: &mut Mt19937) -> f64 {
    loop {
        let x = 2.0 * e.unit_f64() - 1.0;
        let y = 2.0 * e.unit_f64() - 1.0;
        let square = x * x + y * y;
        if square > 0.0 && square <= 1.0 {
            return y * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

/// Marsaglia and Tsang's test.
#[inline]
fn accepts(u: f64, z: f64, v: f64, d: f64) -> bool {
    (1.0 - u).ln() < 0.5 * z * z + d * (1.0 - v + v.ln())
}

/// Counts the uniform numbers whose product stays above exp(-lam).
fn poisson_small(e: &mut Mt19937, lam: f32) -> f32 {
    let limit = (-lam).exp();
    let mut product = e.unit_f32();
    let mut count = 0.0;
    while product > limit {
        product *= e.unit_f32();
        count += 1.0;
    }
    count
}

/// Rejection under a Lorentzian.
fn poisson_large(e: &mut Mt19937, lam: f32) -> f32 {
    // The original's constant is one step below the nearest `f32` to pi.
    const NEARLY_PI: f32 = PI.next_down();
    let width = (2.0 * lam).sqrt();
    let ln_lam = lam.ln();
    let g = lam * ln_lam - ln_gamma(lam + 1.0);
    loop {
        let y = (NEARLY_PI * e.unit_f32()).tan();
        let sample = width * y + lam;
        if sample < 0.0 {
            continue;
        }
        let count = sample.floor();
        let height = (count * ln_lam - ln_gamma(count + 1.0) - g).exp();
        // In double up to here: `rare_roundings` fails otherwise.
        let ratio = (0.9 * (1.0 + f64::from(y * y)) * f64::from(height)) as f32;
        // An infinite or nan mean makes the ratio nan; stop then.
        if e.unit_f32() <= ratio || ratio.is_nan() {
            return count;
        }
    }
}

/// ln Γ(x) with the bits of glibc, for whole x from 1 and any x from 8: a count or a large mean, plus one.
fn ln_gamma(x: f32) -> f32 {
    /// ln 0!, …, ln 6!
    const LN_FACTORIALS: [f32; 7] = [0.0, 0.0, LN_2, 1.791_759_5, 3.178_053_9, 4.787_492, 6.579_251_3];
    /// (ln 2π − 1) / 2.
    const OFFSET: f32 = 0.418_938_55;
    /// Stirling's series in x⁻¹, x⁻³, x⁻⁵, …
    const SERIES: [f32; 6] = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    if x < 8.0 {
        return LN_FACTORIALS[(x as usize).clamp(1, 7) - 1];
    }
    let z = 1.0 / x;
    let series = SERIES.iter().rev().fold(0.0, |sum, term| term + z * z * sum);
    (x - 0.5) * (x.ln() - 1.0) + (OFFSET + z * series)
}
