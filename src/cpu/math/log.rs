//! Logarithms, and the inverse hyperbolic functions that are made of them.

use super::exp::{LN2_HI_32, LN2_HI_64, LN2_LO_32, LN2_LO_64};
use super::{Fused, Real, poly};
use crate::cpu::isa::Isa;
use std::f64::consts::{LN_2, LOG2_E, LOG10_2, LOG10_E};

const THREE_QUARTERS_32: i32 = 0x3F40_0000;

/// `x = 2^k (1 + f)` with `1 + f` between 3/4 and 3/2, for positive finite `x`.
#[inline(always)]
fn split_32(x: f32) -> (f32, f32) {
    let tiny = x < f32::MIN_POSITIVE;
    let x = if tiny { x * 8_388_608.0 } else { x };
    let bits = x.to_bits() as i32;
    let e = bits.wrapping_sub(THREE_QUARTERS_32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    (e as f32 - if tiny { 23.0 } else { 0.0 }, m - 1.0)
}

/// As [`split_32`] between `sqrt(1/2)` and `sqrt(2)`. `WIDENED` says that `x` came from an f32, so it is never subnormal
/// here.
#[inline(always)]
fn split_64<const WIDENED: bool>(x: f64) -> (f64, f64) {
    let tiny = !WIDENED && x < f64::MIN_POSITIVE;
    let x = if tiny { x * 18_014_398_509_481_984.0 } else { x };
    let (k, m) = split_bits_64(x, if tiny { 54.0 } else { 0.0 });
    (k, m - 1.0)
}

const ROOT_HALF_64: u64 = 0x3FE6_A09E_667F_3BCD;

/// `k - less` and `1 + f` of [`split_64`]. The exponent becomes a number by bit pasting: AVX2 has neither a 64-bit
/// arithmetic shift nor a 64-bit conversion.
#[inline(always)]
fn split_bits_64(x: f64, less: f64) -> (f64, f64) {
    let bits = x.to_bits().wrapping_add(0x3FF0_0000_0000_0000 - ROOT_HALF_64);
    let k = f64::from_bits((bits >> 52) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0 + less);
    (k, f64::from_bits((bits & 0x000F_FFFF_FFFF_FFFF).wrapping_add(ROOT_HALF_64)))
}

/// `1 + x = 2^k (1 + f)` for `-1 < x < inf`, with at most one rounding of `f`, and none where `k` is 0.
#[inline(always)]
fn split_sum_32<I: Isa>(x: f32) -> (f32, f32) {
    let e = ((1.0 + x).to_bits() as i32).wrapping_sub(THREE_QUARTERS_32) >> 23;
    // 2^(2-k), for 2^-k may be too small to be normal.
    let s = f32::from_bits((129i32.wrapping_sub(e) << 23) as u32);
    (e as f32, (0.25 * x).fma::<I>(s, s.fma::<I>(0.25, -1.0)))
}

/// As [`split_sum_32`].
#[inline(always)]
fn split_sum_64<I: Isa>(x: f64) -> (f64, f64) {
    let (k, m) = split_bits_64(1.0 + x, 0.0);
    // The difference of 1 + x and m is the exponent's alone.
    let s = f64::from_bits(m.to_bits().wrapping_sub((1.0 + x).to_bits()).wrapping_add(0x4010_0000_0000_0000));
    (k, (0.25 * x).fma::<I>(s, s.fma::<I>(0.25, -1.0)))
}

/// `log(1 + f) = f - half + rest` with `half = f^2 / 2`.
#[inline(always)]
fn parts_32<I: Isa>(f: f32) -> (f32, f32) {
    let z = f * f;
    let p = poly::<_, I, _>(
        f,
        [
            0.333_334_5,
            -0.250_001_07,
            0.199_908_27,
            -0.166_468_84,
            0.144_779_6,
            -0.131_647_05,
            0.104_729_36,
            -0.045_149_833,
        ],
    );
    (0.5 * z, z * f * p)
}

/// As [`parts_32`], through `log(1 + f) = 2 atanh(f / (2 + f))`; `SHORT` stops at 37 bits.
#[inline(always)]
fn parts_64<const SHORT: bool, I: Isa>(f: f64) -> (f64, f64) {
    let s = f / (2.0 + f);
    let z = s * s;
    let p = if SHORT {
        poly::<_, I, _>(z, [0.6666666563791948, 0.40000337131323443, 0.2853717266143744, 0.2358493557274671])
    } else {
        poly::<_, I, _>(
            z,
            [
                0.6666666666666735,
                0.39999999999408764,
                0.2857142874387731,
                0.2222219840310522,
                0.1818357402217062,
                0.1531378159506934,
                0.14798839512743792,
            ],
        )
    };
    let half = 0.5 * f * f;
    (half, s * z.fma::<I>(p, half))
}

/// The values that the polynomial cannot give: nan below `edge`, -inf there, inf and nan as they came.
#[inline(always)]
fn ends<T: Real>(y: T, x: T, edge: f64) -> T {
    let edge = T::of(edge);
    let y = if x < T::of(f64::INFINITY) { y } else { x };
    let y = if x > edge { y } else { T::of(f64::NEG_INFINITY) };
    // True for nan too, whose payload-free answer is nan as well.
    if x >= edge { y } else { T::of(f64::NAN) }
}

#[inline(always)]
pub(super) fn log_32<I: Isa>(x: f32) -> f32 {
    let (k, f) = split_32(x);
    let (half, rest) = parts_32::<I>(f);
    let low = k.fma::<I>(LN2_LO_32, rest) - half;
    ends(k.fma::<I>(LN2_HI_32, f + low), x, 0.0)
}

#[inline(always)]
pub(super) fn log_64<I: Isa>(x: f64) -> f64 {
    let (k, f) = split_64::<false>(x);
    let (half, rest) = parts_64::<false, I>(f);
    let low = half - k.fma::<I>(LN2_LO_64, rest);
    ends(k.fma::<I>(LN2_HI_64, f - low), x, 0.0)
}

/// The rounding error of `u = 1 + x`, over `u`: what `log(u)` lacks of `log(1 + x)`.
#[inline(always)]
fn lost<T: Real>(x: T, u: T) -> T {
    let one = T::of(1.0);
    let c = if u < T::of(2.0) { x - (u - one) } else { one - (u - x) };
    c / u
}

#[inline(always)]
pub(super) fn log1p_32<I: Isa>(x: f32) -> f32 {
    let (k, f) = split_sum_32::<I>(x);
    let (half, rest) = parts_32::<I>(f);
    let low = k.fma::<I>(LN2_LO_32, rest) - half;
    let y = ends(k.fma::<I>(LN2_HI_32, f + low), x, -1.0);
    if x.abs() < 2.0e-8 { x } else { y }
}

#[inline(always)]
pub(super) fn log1p_64<I: Isa>(x: f64) -> f64 {
    let (k, f) = split_sum_64::<I>(x);
    let (half, rest) = parts_64::<false, I>(f);
    let low = half - k.fma::<I>(LN2_LO_64, rest);
    let y = ends(k.fma::<I>(LN2_HI_64, f - low), x, -1.0);
    if x.abs() < 5.0e-17 { x } else { y }
}

/// `base + log(1 + e)` for `0 <= e <= 1`, where one polynomial reaches; about the middle its coefficients fall fast.
#[inline(always)]
pub(super) fn log1p_unit_32<I: Isa>(base: f32, e: f32) -> f32 {
    let p = poly::<_, I, _>(
        e - 0.5,
        [
            0.378_139_56,
            -0.179_224_86,
            0.093_231_78,
            -0.051_090_39,
            0.028_908_014,
            -0.016_642_114,
            0.010_145_334,
            -0.006_975_888,
            0.003_414_847_4,
        ],
    );
    e + (-e * e).fma::<I>(p, base)
}

/// As [`log1p_unit_32`] through a logarithm without ends to mind; for the lost bits `1 / u` may be a straight line.
#[inline(always)]
pub(super) fn log1p_unit_64<I: Isa>(base: f64, e: f64) -> f64 {
    let u = 1.0 + e;
    let high = u > std::f64::consts::SQRT_2;
    let f = if high { 0.5 * u } else { u } - 1.0;
    let (half, rest) = parts_64::<false, I>(f);
    let lost = (e - (u - 1.0)) * (1.5 - 0.5 * u);
    let low = rest + (if high { LN2_LO_64 } else { 0.0 } + lost) - half;
    base + (f + low + if high { LN2_HI_64 } else { 0.0 })
}

#[inline(always)]
pub(super) fn log10_32<I: Isa>(x: f32) -> f32 {
    let wide = f64::from(x);
    let (k, f) = split_64::<true>(wide);
    let (half, rest) = parts_64::<true, I>(f);
    ends(k.fma::<I>(LOG10_2, (f - (half - rest)) * LOG10_E), wide, 0.0) as f32
}

#[inline(always)]
pub(super) fn log2_32<I: Isa>(x: f32) -> f32 {
    ends(log2_short::<I>(f64::from(x)), f64::from(x), 0.0) as f32
}

/// `log2(x)` to 37 bits, for positive finite `x` that came from an f32.
#[inline(always)]
pub(super) fn log2_short<I: Isa>(x: f64) -> f64 {
    let (k, f) = split_64::<true>(x);
    let (half, rest) = parts_64::<true, I>(f);
    (f - (half - rest)).fma::<I>(LOG2_E, k)
}

/// `log(1 + x)` to 37 bits, for `x > -1`.
#[inline(always)]
fn log1p_short<I: Isa>(x: f64) -> f64 {
    let u = 1.0 + x;
    let (k, f) = split_64::<true>(u);
    let (half, rest) = parts_64::<true, I>(f);
    k.fma::<I>(LN_2, f - (half - (rest + lost(x, u))))
}

#[inline(always)]
pub(super) fn asinh_32<I: Isa>(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let z = a * a;
    let y = log1p_short::<I>(a + z / (1.0 + (1.0 + z).sqrt())) as f32;
    // Infinity would meet inf / inf above.
    (if x.abs() < f32::INFINITY { y } else { x }).copysign(x)
}

#[inline(always)]
pub(super) fn acosh_32<I: Isa>(x: f32) -> f32 {
    let t = f64::from(x) - 1.0;
    let t = t + (t * (t + 2.0)).sqrt();
    let y = log1p_short::<I>(t) as f32;
    let y = if x < f32::INFINITY { y } else { x };
    if x >= 1.0 { y } else { f32::NAN }
}

#[inline(always)]
pub(super) fn atanh_32<I: Isa>(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let y = 0.5 * log1p_short::<I>(2.0 * a / (1.0 - a));
    let y = if a < 1.0 { y } else { f64::INFINITY };
    let y = if a <= 1.0 { y } else { f64::NAN };
    (y as f32).copysign(x)
}
