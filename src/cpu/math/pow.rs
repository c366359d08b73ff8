//! Powers and cube roots.

use super::exp::exp2_short;
use super::log::log2_short;
use super::{Fused, Real};
use crate::cpu::isa::Isa;

/// `x^y = 2^(y log2 |x|)` in f64, then the special cases of IEEE 754 in rising order of precedence.
#[inline(always)]
pub(super) fn powf_32<I: Isa>(x: f32, y: f32) -> f32 {
    let (a, e) = (f64::from(x.abs()), f64::from(y));
    let l = log2_short::<I>(a);
    let l = if a < f64::INFINITY { l } else { a };
    let l = if a == 0.0 { f64::NEG_INFINITY } else { l };
    let t = e * l;
    // 2^200 and 2^-200 are already infinity and zero in f32.
    let t = if t < -200.0 { -200.0 } else { t };
    let t = if t > 200.0 { 200.0 } else { t };
    let r = exp2_short::<I>(t) as f32;

    let whole = y.rint::<I>() == y;
    let half = 0.5 * y;
    let odd = whole & (half.rint::<I>() != half);
    let r = if odd { r.copysign(x) } else { r };
    let r = if (x < 0.0) & (x > f32::NEG_INFINITY) & !whole { f32::NAN } else { r };
    // (-1)^±inf, where 0 * inf gave nan.
    let r = if (x == -1.0) & (y.abs() == f32::INFINITY) { 1.0 } else { r };
    if (y == 0.0) | (x == 1.0) { 1.0 } else { r }
}

/// A guess from a third of the bits, then two steps of Halley: 5, 15, 45 good bits.
#[inline(always)]
pub(super) fn cbrt_32<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let tiny = a < f32::MIN_POSITIVE;
    let a = if tiny { a * 16_777_216.0 } else { a };
    // The division by three happens in f64, whose low bits then hold the whole part.
    let third = f64::from(a.to_bits() as i32).fma::<I>(1.0 / 3.0, 4_503_599_627_370_496.0 + 709_921_077.0);
    let w = f64::from(a);
    let r = f64::from(f32::from_bits(third.to_bits() as u32));
    let r = halley(r, w);
    let r = halley(r, w);
    let r = if tiny { r * (1.0 / 256.0) } else { r };
    let y = (r as f32).copysign(x);
    if (a > 0.0) & (a < f32::INFINITY) { y } else { x }
}

#[inline(always)]
fn halley(r: f64, w: f64) -> f64 {
    let c = r * r * r;
    r * (c + 2.0 * w) / (2.0 * c + w)
}
