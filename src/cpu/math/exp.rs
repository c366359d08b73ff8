//! Exponentials: `exp`, `exp2`, `expm1` and what follows from them.
//!
//! All split `x = n ln 2 + r` with `|r| <= ln 2 / 2`, take a polynomial for `e^r` and put `2^n` in through the exponent bits.

use super::log::{log1p_unit_32, log1p_unit_64};
use super::{Fused, Real, poly};
use crate::cpu::isa::Isa;

// ln 2 in two parts; the high part has so few bits that `n * HI` is exact for every exponent `n`.
pub(super) const LN2_HI_32: f32 = 0.693_145_75;
pub(super) const LN2_LO_32: f32 = 1.428_606_8e-6;
pub(super) const LN2_HI_64: f64 = 0.6931471805598903;
pub(super) const LN2_LO_64: f64 = 5.497923018708371e-14;

// Adding this rounds to an integer and leaves that integer, plus two exponent biases, in the low bits.
const ROUND_32: f32 = 12_582_912.0 + 254.0;
const ROUND_64: f64 = 6_755_399_441_055_744.0 + 2046.0;

/// `e^r - 1 - r` for `|r| <= ln 2 / 2`, plus `lo`: what rounding took from `r`.
#[inline(always)]
fn small_32<I: Isa>(r: f32, lo: f32) -> f32 {
    let p = poly::<_, I, _>(r, [0.5, 0.166_665_42, 0.041_666_277, 0.008_366_762, 0.001_394_676_9]);
    (r * r).fma::<I>(p, lo)
}

/// As [`small_32`].
#[inline(always)]
fn small_64<I: Isa>(r: f64, lo: f64) -> f64 {
    let p = poly::<_, I, _>(
        r,
        [
            0.5000000000000011,
            0.1666666666666646,
            0.04166666666652843,
            0.008333333333472042,
            0.0013888888943834102,
            0.00019841269544396768,
            2.4801493016443377e-05,
            2.7557558926488527e-06,
            2.7630252614570556e-07,
            2.500733918924112e-08,
        ],
    );
    (r * r).fma::<I>(p, lo)
}

/// `y * 2^n`, `n` being in `t` as [`ROUND_32`] leaves it. Two steps, so that subnormal results round once. The other bits
/// of `t` are shifted out.
#[inline(always)]
fn scale_32(y: f32, t: f32) -> f32 {
    let biased = t.to_bits();
    let half = biased >> 1;
    let rest = biased.wrapping_sub(half);
    y * f32::from_bits(half << 23) * f32::from_bits(rest << 23)
}

#[inline(always)]
fn scale_64(y: f64, t: f64) -> f64 {
    let biased = t.to_bits();
    let half = biased >> 1;
    let rest = biased.wrapping_sub(half);
    y * f64::from_bits(half << 52) * f64::from_bits(rest << 52)
}

/// Keeps `x` in the interval and nan as it is.
#[inline(always)]
fn clamp<T: Real>(x: T, lo: f64, hi: f64) -> T {
    // The limit first in each comparison: so both are one instruction, which gives back a nan in its second place.
    let (lo, hi) = (T::of(lo), T::of(hi));
    let x = if lo > x { lo } else { x };
    if hi < x { hi } else { x }
}

/// `e^x = 2^n (1 + s)`: `s`, and `n` as [`scale_32`] takes it.
#[inline(always)]
fn exp_parts_32<I: Isa>(x: f32) -> (f32, f32) {
    let x = clamp(x, -104.0, 89.0);
    let t = x.fma::<I>(std::f32::consts::LOG2_E, ROUND_32);
    let n = t - ROUND_32;
    let hi = (-n).fma::<I>(LN2_HI_32, x);
    let r = (-n).fma::<I>(LN2_LO_32, hi);
    let lo = (-n).fma::<I>(LN2_LO_32, hi - r);
    (r + small_32::<I>(r, lo), t)
}

#[inline(always)]
pub(super) fn exp_32<I: Isa>(x: f32) -> f32 {
    let (s, t) = exp_parts_32::<I>(x);
    scale_32(1.0 + s, t)
}

/// `e^x` for `|x| <= 25`, where nothing overflows on the way and one part of ln 2 is enough for a fused multiply.
#[inline(always)]
pub(super) fn exp_mid<I: Isa>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let t = x.fma::<I>(std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = if I::FMA { (-n).fma::<I>(std::f32::consts::LN_2, x) } else { x - n * LN2_HI_32 - n * LN2_LO_32 };
    (1.0 + (r + small_32::<I>(r, 0.0))) * f32::from_bits(t.to_bits().wrapping_add(127) << 23)
}

/// `2^64 e^x` for `x` up to about zero: one multiplication puts the power in, where a result that may be subnormal takes
/// two, and nothing overflows.
#[inline(always)]
pub(super) fn exp_down_32<I: Isa>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0 + 127.0 + 64.0;
    let x = if -104.0 > x { -104.0 } else { x };
    let t = x.fma::<I>(std::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = (-n).fma::<I>(LN2_LO_32, (-n).fma::<I>(LN2_HI_32, x));
    // Horner's rule: here many vectors are on their way, and steps count, not how they wait for each other.
    let p = [0.008_366_762_f32, 0.041_666_277, 0.166_665_42, 0.5, 1.0, 1.0];
    let p = p.into_iter().fold(
        0.001_394_676_9,
        #[inline(always)]
        |p: f32, c| p.fma::<I>(r, c),
    );
    p * f32::from_bits(t.to_bits() << 23)
}

/// `2^512 e^x`, as [`exp_down_32`].
#[inline(always)]
pub(super) fn exp_down_64<I: Isa>(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0 + 1023.0 + 512.0;
    let x = if -746.0 > x { -746.0 } else { x };
    let t = x.fma::<I>(std::f64::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = (-n).fma::<I>(LN2_LO_64, (-n).fma::<I>(LN2_HI_64, x));
    (1.0 + (r + small_64::<I>(r, 0.0))) * f64::from_bits(t.to_bits() << 52)
}

#[inline(always)]
pub(super) fn exp_64<I: Isa>(x: f64) -> f64 {
    let x = clamp(x, -746.0, 710.0);
    let t = x.fma::<I>(std::f64::consts::LOG2_E, ROUND_64);
    let n = t - ROUND_64;
    let r = (-n).fma::<I>(LN2_HI_64, x);
    let r = (-n).fma::<I>(LN2_LO_64, r);
    scale_64(1.0 + (r + small_64::<I>(r, 0.0)), t)
}

#[inline(always)]
pub(super) fn exp2_32<I: Isa>(x: f32) -> f32 {
    let x = clamp(x, -151.0, 129.0);
    let t = x + ROUND_32;
    let r = (x - (t - ROUND_32)) * std::f32::consts::LN_2;
    scale_32(1.0 + (r + small_32::<I>(r, 0.0)), t)
}

#[inline(always)]
pub(super) fn exp2_64<I: Isa>(x: f64) -> f64 {
    let x = clamp(x, -1076.0, 1025.0);
    let t = x + ROUND_64;
    let r = (x - (t - ROUND_64)) * std::f64::consts::LN_2;
    scale_64(1.0 + (r + small_64::<I>(r, 0.0)), t)
}

/// `2^n (1 + r + w) - 1` as `2 ((s - 1/2 + s r) + s w)` with `s = 2^(n-1)`, which cannot overflow; `s w` is the small part.
#[inline(always)]
pub(super) fn expm1_32<I: Isa>(x: f32) -> f32 {
    let y = clamp(x, -18.0, 89.0);
    let t = y.fma::<I>(std::f32::consts::LOG2_E, ROUND_32);
    let n = t - ROUND_32;
    let hi = (-n).fma::<I>(LN2_HI_32, y);
    let r = (-n).fma::<I>(LN2_LO_32, hi);
    let lo = (-n).fma::<I>(LN2_LO_32, hi - r);
    let w = small_32::<I>(r, lo);
    let s = f32::from_bits(t.to_bits().wrapping_sub(0x4B40_0000 + 128) << 23);
    let e = 2.0 * s.fma::<I>(w, s.fma::<I>(r, s - 0.5));
    // Below this x is the answer, its sign and its subnormal bits included.
    if x.abs() < 2.0e-8 { x } else { e }
}

/// Half of `e^x - 1`, large part and small, for `-38 <= x <= 710`.
#[inline(always)]
fn half_expm1_64<I: Isa>(x: f64) -> (f64, f64) {
    let t = x.fma::<I>(std::f64::consts::LOG2_E, ROUND_64);
    let n = t - ROUND_64;
    let hi = (-n).fma::<I>(LN2_HI_64, x);
    let r = (-n).fma::<I>(LN2_LO_64, hi);
    let lo = (-n).fma::<I>(LN2_LO_64, hi - r);
    let w = small_64::<I>(r, lo);
    let s = f64::from_bits(t.to_bits().wrapping_sub(0x4338_0000_0000_0000 + 1024) << 52);
    (s.fma::<I>(r, s - 0.5), s * w)
}

#[inline(always)]
pub(super) fn expm1_64<I: Isa>(x: f64) -> f64 {
    let (large, small) = half_expm1_64::<I>(clamp(x, -38.0, 710.0));
    if x.abs() < 5.0e-17 { x } else { 2.0 * (large + small) }
}

/// `2^t` for `|t| <= 1000`, good to 30 bits: the last step of the single-precision power.
#[inline(always)]
pub(super) fn exp2_short<I: Isa>(t: f64) -> f64 {
    let magic = ROUND_64 - 1023.0;
    let shifted = t + magic;
    let r = (t - (shifted - magic)) * std::f64::consts::LN_2;
    let p = poly::<_, I, _>(
        r,
        [0.5000000096704101, 0.16666517188569738, 0.041666200737643516, 0.00836908951004296, 0.0013950834201643626],
    );
    (1.0 + (r * r).fma::<I>(p, r)) * f64::from_bits(shifted.to_bits() << 52)
}

/// A polynomial where `1 - 2 / (e^2x + 1)` would cancel.
#[inline(always)]
pub(super) fn tanh_32<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let z = a * a;
    let p = poly::<_, I, _>(z, [-0.333_332_8, 0.133_313_88, -0.053_734_26, 0.020_618_778, -0.005_679_875_6]);
    let near = (a * z).fma::<I>(p, a);
    let far = if 10.0 < a { 10.0 } else { a };
    let far = 1.0 - 2.0 / (exp_mid::<I>(far + far) + 1.0);
    (if a < 0.625 { near } else { far }).copysign(x)
}

/// `h / (h + 1)` with `h = (e^2x - 1) / 2`, and what both sums lost put back to first order.
#[inline(always)]
pub(super) fn tanh_64<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let b = if 20.0 < a { 20.0 } else { a };
    let (large, small) = half_expm1_64::<I>(b + b);
    let h = large + small;
    let h_lost = small - (h - large);
    let d = h + 1.0;
    let d_lost = h - (d - 1.0);
    let q = h / d;
    // 1 - q is 1 / d, but for rounding when that is tiny; then little was lost.
    let rest = if a < 15.0 { 1.0 - q } else { 0.0 };
    let y = (h_lost * rest - q * d_lost).fma::<I>(rest, q).copysign(x);
    if a < 1.0e-9 { x } else { y }
}

/// With `e^-|x| = 2^-m (1 + s)`: the right half is `2^m / (2^m + 1 + s)` and the left `(1 + s)` over the same.
#[inline(always)]
pub(super) fn sigmoid_32<I: Isa>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let a = x.abs();
    let a = if 104.0 < a { 104.0 } else { a };
    let t = a.fma::<I>(std::f32::consts::LOG2_E, ROUND);
    let m = t - ROUND;
    let r = m.fma::<I>(LN2_LO_32, m.fma::<I>(LN2_HI_32, -a));
    let s = r + small_32::<I>(r, 0.0);
    // 2^m in two parts, since the answers of the far left are subnormal; there the 1 is lost in 2^m anyway.
    let m = (t.to_bits() as i32).wrapping_sub(0x4B40_0000);
    let part = m.min(100);
    let power = f32::from_bits((part.wrapping_add(127) << 23) as u32);
    let rest = f32::from_bits((part.wrapping_sub(m).wrapping_add(127) << 23) as u32);
    let (y, one) = (1.0 + s, power + 1.0);
    let d = one + s;
    let left = x < 0.0;
    let q = if left { y * rest } else { power } / d;
    // What the two sums lost goes back over a reciprocal that is within an eighth: enough, for it weighs a few ulps.
    let lost = if left { (s - (y - 1.0)) * rest } else { 0.0 } - q * (s - (d - one));
    lost.fma::<I>(f32::from_bits(0x7EF3_11C7_u32.wrapping_sub(d.to_bits())), q)
}

/// `1 / (1 + e^-x)`, from the side where the exponential is small so that the left tail keeps its bits.
#[inline(always)]
pub(super) fn sigmoid_64<I: Isa>(x: f64) -> f64 {
    let e = exp_64::<I>(-x.abs());
    let top = if x < 0.0 { e } else { 1.0 };
    top / (1.0 + e)
}

/// `log(1 + e^x)` as `max(x, 0) + log(1 + e^-|x|)`; nan comes through the first term.
#[inline(always)]
pub(super) fn softrelu_32<I: Isa>(x: f32) -> f32 {
    let base = if x < 0.0 { 0.0 } else { x };
    let (s, t) = exp_parts_32::<I>(-x.abs());
    let y = 1.0 + s;
    let (e, lost) = (scale_32(y, t), scale_32(s - (y - 1.0), t));
    // What the exponential's last rounding lost, times a line for the slope 1 / (1 + e).
    log1p_unit_32::<I>(lost.fma::<I>(1.0 - 0.5 * e, base), e)
}

#[inline(always)]
pub(super) fn softrelu_64<I: Isa>(x: f64) -> f64 {
    let base = if x < 0.0 { 0.0 } else { x };
    log1p_unit_64::<I>(base, exp_64::<I>(-x.abs()))
}

#[inline(always)]
pub(super) fn sinh_32<I: Isa>(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let e = expm1_64::<I>(if a > 90.0 { 90.0 } else { a });
    ((0.5 * (e + e / (e + 1.0))) as f32).copysign(x)
}

#[inline(always)]
pub(super) fn cosh_32<I: Isa>(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let e = exp_64::<I>(if a > 90.0 { 90.0 } else { a });
    (0.5 * (e + 1.0 / e)) as f32
}
