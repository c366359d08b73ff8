//! Sine, cosine and tangent, and their inverses.

use super::{Fused, Real, poly};
use crate::cpu::isa::Isa;
use std::f64::consts::{FRAC_PI_2, PI, TAU};

// 1 / 2 pi in pieces of 29 bits, so that a piece times an f32 is exact in f64; the tails continue after three pieces.
const TURN_0: f64 = 0.15915494225919247;
const TURN_1: f64 = 8.327028684640414e-10;
const TURN_2: f64 = 5.69002511952534e-19;
const TURN_3: f64 = 6.317065083361892e-27;
const TURN_4: f64 = 5.595982707708916e-36;
const TAIL_3: f64 = 6.317065088957875e-27;
const TAIL_5: f64 = 6.551007954373285e-45;

// pi / 2 in pieces of 33 bits: exact times any quarter count below 2^20.
const QUARTER_0: f64 = 1.5707963267341256;
const QUARTER_1: f64 = 6.077100506303966e-11;
const QUARTER_2: f64 = 2.0222662487111665e-21;
const QUARTER_3: f64 = 8.4784276603689e-32;

const ROUND: f64 = 6_755_399_441_055_744.0;

/// The nearest quarter turn to `x` (its two low bits count) and what `x` has beyond it, in radians, for every finite `x`.
///
/// Whole turns are dropped from each exact product. From 2^81 on the first two pieces give whole turns only, so the
/// window moves on: four pieces serve the full range without a branch.
#[inline(always)]
fn reduce_32<I: Isa>(x: f32) -> (u32, f64) {
    let far = x.abs() >= 2_417_851_639_229_258_349_412_352.0;
    let x = f64::from(x);
    let a = x * if far { TURN_2 } else { TURN_0 };
    let b = x * if far { TURN_3 } else { TURN_1 };
    let c = x * if far { TURN_4 } else { TURN_2 };
    let a = a - a.rint::<I>();
    let b = b - b.rint::<I>();
    let c = c - c.rint::<I>();
    let tail = x.fma::<I>(if far { TAIL_5 } else { TAIL_3 }, c);
    let q = (a + (b + tail)).fma::<I>(4.0, ROUND);
    let rest = (a - 0.25 * (q - ROUND)) + b + tail;
    (q.to_bits() as u32, rest * TAU)
}

/// As [`reduce_32`] with the remainder in two parts, for `|x| <= TRIG_NEAR`.
#[inline(always)]
fn reduce_64<I: Isa>(x: f64) -> (u64, f64, f64) {
    let q = x.fma::<I>(1.0 / FRAC_PI_2, ROUND);
    let n = q - ROUND;
    // Exact: both products are, and the difference needs no more bits than x has.
    let a = (-n).fma::<I>(QUARTER_0, x);
    let (r, e) = minus(a, n * QUARTER_1);
    let (r, f) = minus(r, n * QUARTER_2);
    (q.to_bits(), r, (-n).fma::<I>(QUARTER_3, e + f))
}

/// `a - b`, and the error of that.
#[inline(always)]
fn minus(a: f64, b: f64) -> (f64, f64) {
    let d = a - b;
    let v = d - a;
    (d, (a - (d - v)) - (b + v))
}

/// Sine and cosine of `|r| <= pi / 4` to 27 bits.
#[inline(always)]
fn short<I: Isa>(r: f64) -> (f64, f64) {
    let z = r * r;
    let s = poly::<_, I, _>(z, [-0.16666654874840958, 0.008332173536228617, -0.00019516650500938637]);
    let c = poly::<_, I, _>(z, [0.041666646760266386, -0.0013887361795909198, 2.4437751022440933e-05]);
    ((r * z).fma::<I>(s, r), z.fma::<I>(z.fma::<I>(c, -0.5), 1.0))
}

/// Sine and cosine of `r + lo` to the last bit or nearly.
#[inline(always)]
fn long<I: Isa>(r: f64, lo: f64) -> (f64, f64) {
    let z = r * r;
    let s = poly::<_, I, _>(
        z,
        [
            -0.16666666666666632,
            0.008333333333322332,
            -0.00019841269829735554,
            2.755731366486846e-06,
            -2.5050753600325755e-08,
            1.58965194394555e-10,
        ],
    );
    let c = poly::<_, I, _>(
        z,
        [
            0.0416666666666666,
            -0.0013888888888873997,
            2.480158728939832e-05,
            -2.755731432680703e-07,
            2.087571964359825e-09,
            -1.135945226965467e-11,
        ],
    );
    let half = 0.5 * z;
    let sine = r + (r * z).fma::<I>(s, lo * (1.0 - half));
    // 1 - half rounds; what it loses goes back in with the small terms.
    let w = 1.0 - half;
    let cosine = w + ((1.0 - w) - half + (z * z).fma::<I>(c, -r * lo));
    (sine, cosine)
}

// pi / 2 in full single-precision pieces: a fused multiply takes a whole quarter count times each.
const QUARTER_32: [f32; 3] = [1.570_796_4, -4.371_139e-8, -1.715_124_5e-15];

/// As [`reduce_32`] in single precision with the remainder in two parts, for `|x| <= TRIG_NEAR` and fused multiplies.
#[inline(always)]
fn reduce_near_32<I: Isa>(x: f32) -> (u32, f32, f32) {
    const ROUND: f32 = 12_582_912.0;
    let q = x.fma::<I>(std::f32::consts::FRAC_2_PI, ROUND);
    let n = q - ROUND;
    // Exact: the difference is a multiple of the last bit of pi / 2, and small.
    let a = (-n).fma::<I>(QUARTER_32[0], x);
    // The product is rounded first: a remainder much smaller than it would not keep the rest of a fused one.
    let b = n * QUARTER_32[1];
    let r = a - b;
    let lost = ((a - r) - b) - n.fma::<I>(QUARTER_32[1], -b);
    (q.to_bits(), r, (-n).fma::<I>(QUARTER_32[2], lost))
}

/// Sine and cosine of `r + lo`, `|r| <= pi / 4`, in single precision.
#[inline(always)]
fn single<I: Isa>(r: f32, lo: f32) -> (f32, f32) {
    let z = r * r;
    let s = poly::<_, I, _>(z, [-0.166_666_55, 0.008_332_173, -0.000_195_166_5]);
    let c = poly::<_, I, _>(z, [0.041_666_646, -0.001_388_736_1, 2.443_775e-5]);
    let half = 0.5 * z;
    let w = 1.0 - half;
    let sine = r + (r * z).fma::<I>(s, lo);
    // 1 - half rounds; what it loses goes back in with the small terms.
    let cosine = w + ((1.0 - w) - half + (z * z).fma::<I>(c, -r * lo));
    (sine, cosine)
}

#[inline(always)]
fn sine_of<I: Isa>(x: f32, (q, r): (u32, f64)) -> f32 {
    let (s, c) = short::<I>(r);
    let y = (if q & 1 == 0 { s } else { c }) as f32;
    let y = f32::from_bits(y.to_bits() ^ ((q & 2) << 30));
    // Tiny x is the answer, with the sign of its zero.
    if x.abs() < 1.0e-4 { x } else { y }
}

#[inline(always)]
fn cosine_of<I: Isa>((q, r): (u32, f64)) -> f32 {
    let (s, c) = short::<I>(r);
    let y = (if q & 1 == 0 { c } else { s }) as f32;
    f32::from_bits(y.to_bits() ^ ((q.wrapping_add(1) & 2) << 30))
}

#[inline(always)]
pub(super) fn sin_32<I: Isa>(x: f32) -> f32 {
    sine_of::<I>(x, reduce_32::<I>(x))
}

#[inline(always)]
pub(super) fn cos_32<I: Isa>(x: f32) -> f32 {
    cosine_of::<I>(reduce_32::<I>(x))
}

#[inline(always)]
pub(super) fn sin_near_32<I: Isa>(x: f32) -> f32 {
    if !I::FMA {
        return sin_32::<I>(x);
    }
    let (q, r, lo) = reduce_near_32::<I>(x);
    let (s, c) = single::<I>(r, lo);
    let y = if q & 1 == 0 { s } else { c };
    // The sign of zero is the argument's; elsewhere it is the quarter's.
    let y = f32::from_bits(y.to_bits() ^ ((q & 2) << 30));
    if x == 0.0 { x } else { y }
}

#[inline(always)]
pub(super) fn cos_near_32<I: Isa>(x: f32) -> f32 {
    if !I::FMA {
        return cos_32::<I>(x);
    }
    let (q, r, lo) = reduce_near_32::<I>(x);
    let (s, c) = single::<I>(r, lo);
    let y = if q & 1 == 0 { c } else { s };
    f32::from_bits(y.to_bits() ^ ((q.wrapping_add(1) & 2) << 30))
}

#[inline(always)]
pub(super) fn tan_32<I: Isa>(x: f32) -> f32 {
    let (q, r) = reduce_32::<I>(x);
    let (s, c) = short::<I>(r);
    let odd = q & 1 == 1;
    let (top, bottom) = (if odd { -c } else { s }, if odd { s } else { c });
    let y = (top / bottom) as f32;
    if x.abs() < 1.0e-4 { x } else { y }
}

/// The tangent of `r + lo` near a multiple of pi, and `-1` over it near the odd quarters.
#[inline(always)]
pub(super) fn tan_near_32<I: Isa>(x: f32) -> f32 {
    if !I::FMA {
        return tan_32::<I>(x);
    }
    let (q, r, lo) = reduce_near_32::<I>(x);
    let z = r * r;
    let p =
        poly::<_, I, _>(z, [0.333_331_56, 0.133_388_3, 0.053_409_174, 0.024_436_57, 0.003_110_896_6, 0.009_390_171]);
    let w = (r * z).fma::<I>(p, lo.fma::<I>(z, lo));
    let t = r + w;
    let y = -1.0 / t;
    // What the sum lost counts once more in the quotient.
    let y = ((w - (t - r)) * y).fma::<I>(y, y);
    let y = if q & 1 == 0 { t } else { y };
    // The sign of zero is the argument's.
    if x == 0.0 { x } else { y }
}

#[inline(always)]
pub(super) fn sin_64<I: Isa>(x: f64) -> f64 {
    let (q, r, lo) = reduce_64::<I>(x);
    let (s, c) = long::<I>(r, lo);
    let y = if q & 1 == 0 { s } else { c };
    let y = f64::from_bits(y.to_bits() ^ ((q & 2) << 62));
    if x.abs() < 1.0e-9 { x } else { y }
}

#[inline(always)]
pub(super) fn cos_64<I: Isa>(x: f64) -> f64 {
    let (q, r, lo) = reduce_64::<I>(x);
    let (s, c) = long::<I>(r, lo);
    let y = if q & 1 == 0 { c } else { s };
    f64::from_bits(y.to_bits() ^ ((q.wrapping_add(1) & 2) << 62))
}

/// Large arguments need hundreds of bits of pi: the library has them.
#[inline(always)]
pub(super) fn sin_any<I: Isa>(x: f64) -> f64 {
    if x.abs() <= <f64 as Real>::TRIG_NEAR { sin_64::<I>(x) } else { x.sin() }
}

#[inline(always)]
pub(super) fn cos_any<I: Isa>(x: f64) -> f64 {
    if x.abs() <= <f64 as Real>::TRIG_NEAR { cos_64::<I>(x) } else { x.cos() }
}

/// The angle of the point `(x, y)` in the first quadrant, to 28 bits.
#[inline(always)]
fn angle<I: Isa>(y: f64, x: f64) -> f64 {
    let steep = y > x;
    let (small, large) = (if steep { x } else { y }, if steep { y } else { x });
    // 0 / 0 counts as 0 and inf / inf as 1; a nan stays one.
    let t = small / large;
    let t = if large == 0.0 { 0.0 } else { t };
    let t = if small == f64::INFINITY { 1.0 } else { t };
    let z = t * t;
    let p = poly::<_, I, _>(
        z,
        [
            -0.33333302953089056,
            0.19998667747267426,
            -0.1426552930665799,
            0.1095895567405701,
            -0.08423232223118203,
            0.058295387169335765,
            -0.03151308635932524,
            0.011093737112898076,
            -0.0018334662274149098,
        ],
    );
    let a = (t * z).fma::<I>(p, t);
    if steep { FRAC_PI_2 - a } else { a }
}

#[inline(always)]
fn horner<I: Isa, const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut p = c[N - 1];
    for k in (0..N - 1).rev() {
        p = p.fma::<I>(x, c[k]);
    }
    p
}

/// A polynomial up to 1; beyond, pi / 2 in two parts and the same of minus the reciprocal.
#[inline(always)]
pub(super) fn atan_32<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let steep = a > 1.0;
    let t = if steep { -1.0 / a } else { a };
    let z = t * t;
    // Low and high terms apart: even and odd ones would cancel and cost bits.
    let low = horner::<I, _>(z, [-0.333_331_53, 0.199_937_67, -0.142_110_03, 0.106_657_855]);
    let high = horner::<I, _>(z, [-0.075_517_24, 0.043_205_857, -0.016_364_133, 0.002_919_722_8]);
    let p = ((z * z) * (z * z)).fma::<I>(high, low);
    let (base, tail) = (if steep { QUARTER_32[0] } else { 0.0 }, if steep { QUARTER_32[1] } else { 0.0 });
    let y = base + t;
    // What the first sum lost goes in with the small terms.
    let y = y + (t * z).fma::<I>(p, ((base - y) + t) + tail);
    y.copysign(x)
}

#[inline(always)]
pub(super) fn atan2_32<I: Isa>(y: f32, x: f32) -> f32 {
    let a = angle::<I>(f64::from(y.abs()), f64::from(x.abs()));
    let a = if x.is_sign_negative() { PI - a } else { a };
    let a = if x.is_nan() || y.is_nan() { f64::NAN } else { a };
    (a as f32).copysign(y)
}

#[inline(always)]
pub(super) fn asin_32<I: Isa>(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let y = angle::<I>(a, ((1.0 - a) * (1.0 + a)).sqrt());
    ((if a <= 1.0 { y } else { f64::NAN }) as f32).copysign(x)
}

#[inline(always)]
pub(super) fn acos_32<I: Isa>(x: f32) -> f32 {
    let x = f64::from(x);
    let y = 2.0 * angle::<I>((1.0 - x).sqrt(), (1.0 + x).sqrt());
    (if x.abs() <= 1.0 { y } else { f64::NAN }) as f32
}
