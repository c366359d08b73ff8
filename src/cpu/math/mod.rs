//! Functions of one and two real numbers, written so that a loop over a tile of them becomes vector code.
//!
//! Bodies are straight lines: polynomials, bit patterns, and selects between values that are both computed. Inlined into
//! a loop that enables an instruction set they vectorise for it. `tests.rs` bounds the error of each function.

mod exp;
mod log;
mod pow;
mod special;
#[cfg(test)]
mod tests;
mod trig;
#[cfg(target_arch = "x86_64")]
pub mod wide;

use super::isa::Isa;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// Element functions of real numbers, compiled per instruction set `I`.
pub trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// Up to this size of argument [`sin_near`](Real::sin_near) and its kin are right.
    const TRIG_NEAR: Self;
    /// A power of two that the smallest results of [`exp_down`](Real::exp_down) are lifted by, out of the subnormal.
    const DOWN: f64;

    fn of(v: f64) -> Self;
    fn to_f64(self) -> f64;
    /// `self * b + c`, rounded once where the instruction set has that.
    fn mul_add<I: Isa>(self, b: Self, c: Self) -> Self;

    fn exp<I: Isa>(self) -> Self;
    /// `e^x / DOWN`, where `x` is not above zero, or by its rounding only: two thirds of the time of [`exp`](Real::exp).
    fn exp_down<I: Isa>(self) -> Self;
    fn exp2<I: Isa>(self) -> Self;
    fn expm1<I: Isa>(self) -> Self;
    fn log<I: Isa>(self) -> Self;
    fn log2<I: Isa>(self) -> Self;
    fn log10<I: Isa>(self) -> Self;
    fn log1p<I: Isa>(self) -> Self;
    /// `1 / (1 + e^-x)`.
    fn sigmoid<I: Isa>(self) -> Self;
    /// `log(1 + e^x)`.
    fn softrelu<I: Isa>(self) -> Self;
    fn sinh<I: Isa>(self) -> Self;
    fn cosh<I: Isa>(self) -> Self;
    fn tanh<I: Isa>(self) -> Self;
    fn asinh<I: Isa>(self) -> Self;
    fn acosh<I: Isa>(self) -> Self;
    fn atanh<I: Isa>(self) -> Self;
    fn sin<I: Isa>(self) -> Self;
    fn cos<I: Isa>(self) -> Self;
    fn tan<I: Isa>(self) -> Self;
    /// [`sin`](Real::sin) for a loop whose arguments all pass [`near`]: twice as fast in f32, and vector code in f64 too.
    fn sin_near<I: Isa>(self) -> Self;
    fn cos_near<I: Isa>(self) -> Self;
    /// Three times as fast as [`tan`](Real::tan) in f32, and no faster in f64.
    fn tan_near<I: Isa>(self) -> Self;
    fn asin<I: Isa>(self) -> Self;
    fn acos<I: Isa>(self) -> Self;
    fn atan<I: Isa>(self) -> Self;
    /// The angle of the point `(x, self)`.
    fn atan2<I: Isa>(self, x: Self) -> Self;
    fn powf<I: Isa>(self, y: Self) -> Self;
    fn cbrt<I: Isa>(self) -> Self;
    fn hypot<I: Isa>(self, y: Self) -> Self;
    fn sqrt<I: Isa>(self) -> Self;
    fn erf<I: Isa>(self) -> Self;
    fn erfinv<I: Isa>(self) -> Self;
    fn gamma<I: Isa>(self) -> Self;
    /// `log |gamma(x)|`.
    fn lgamma<I: Isa>(self) -> Self;
    fn digamma<I: Isa>(self) -> Self;
    /// The `n`-th derivative of digamma.
    fn polygamma<I: Isa>(n: u32, x: Self) -> Self;

    fn abs(self) -> Self;
    fn copysign(self, sign: Self) -> Self;
    /// C's `fmod`: the remainder with the sign of the dividend, exact.
    fn rem(self, b: Self) -> Self;
    /// The nearest integer, halves to even.
    fn rint<I: Isa>(self) -> Self;
    fn floor<I: Isa>(self) -> Self;
    fn ceil<I: Isa>(self) -> Self;
    fn trunc<I: Isa>(self) -> Self;

    /// Halves away from zero.
    #[inline(always)]
    fn round<I: Isa>(self) -> Self {
        let t = self.trunc::<I>();
        let up = t + Self::of(1.0).copysign(self);
        if (self - t).abs() >= Self::of(0.5) { up } else { t }
    }

    /// Halves toward minus infinity, as MXNet's `rint`.
    #[inline(always)]
    fn rint_half_down<I: Isa>(self) -> Self {
        let f = self.floor::<I>();
        let r = if self - f > Self::of(0.5) { f + Self::of(1.0) } else { f };
        r.copysign(self)
    }

    /// -1, 0 or 1; 0 for nan and +0 for -0.
    #[inline(always)]
    fn sign(self) -> Self {
        let zero = Self::of(0.0);
        let s = if self > zero { Self::of(1.0) } else { zero };
        if self < zero { Self::of(-1.0) } else { s }
    }

    #[inline(always)]
    #[allow(clippy::eq_op)]
    fn is_nan(self) -> bool {
        self != self
    }

    /// The larger; a nan wins, and of two zeros the second.
    #[inline(always)]
    fn max(self, b: Self) -> Self {
        if (self > b) | self.is_nan() { self } else { b }
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        if (self < b) | self.is_nan() { self } else { b }
    }

    /// The remainder with the divisor's sign; 0 for a zero divisor.
    #[inline(always)]
    fn rem_floor<I: Isa>(self, b: Self) -> Self {
        let zero = Self::of(0.0);
        let r = self.rem(b);
        let r = if (r != zero) & ((r < zero) != (b < zero)) { r + b } else { r };
        if b == zero { zero } else { r }
    }

    #[inline(always)]
    fn rsqrt<I: Isa>(self) -> Self {
        Self::of(1.0) / self.sqrt::<I>()
    }

    #[inline(always)]
    fn rcbrt<I: Isa>(self) -> Self {
        Self::of(1.0) / self.cbrt::<I>()
    }
}

/// Whether `sin_near` and its kin serve the whole tile.
#[inline(always)]
pub fn near<T: Real>(tile: &[T]) -> bool {
    let far = |x: T| (x > T::TRIG_NEAR) | (x < -T::TRIG_NEAR);
    !tile.iter().fold(false, |any, &x| any | far(x))
}

/// [`Real::mul_add`] under a name that the floats' own method does not hide.
trait Fused: Real {
    #[inline(always)]
    fn fma<I: Isa>(self, b: Self, c: Self) -> Self {
        Real::mul_add::<I>(self, b, c)
    }
}

impl<T: Real> Fused for T {}

/// The polynomial with the coefficients `c`, lowest first: Horner's rule on even and odd powers apart, so that two short
/// chains run side by side where one would wait for itself.
#[inline(always)]
fn poly<T: Real, I: Isa, const N: usize>(x: T, c: [T; N]) -> T {
    let z = x * x;
    let (mut p, mut q) = (c[N - 1], c[N - 2]);
    for k in (0..N - 2).rev() {
        (p, q) = (q, p.fma::<I>(z, c[k]));
    }
    p.fma::<I>(x, q)
}

/// Methods that hand `self` to a function of their own.
macro_rules! forward {
    ($($name:ident => $f:expr;)*) => {
        $(#[inline(always)]
        fn $name<I: Isa>(self) -> Self {
            let f = $f;
            f(self)
        })*
    };
}

/// What both types do in the same words.
macro_rules! shared {
    ($t:ident, $whole:literal) => {
        #[inline(always)]
        fn mul_add<I: Isa>(self, b: Self, c: Self) -> Self {
            if I::FMA { $t::mul_add(self, b, c) } else { self * b + c }
        }
        #[inline(always)]
        fn abs(self) -> Self {
            $t::abs(self)
        }
        #[inline(always)]
        fn copysign(self, sign: Self) -> Self {
            $t::copysign(self, sign)
        }
        #[inline(always)]
        fn rem(self, b: Self) -> Self {
            self % b
        }
        #[inline(always)]
        fn sqrt<I: Isa>(self) -> Self {
            $t::sqrt(self)
        }
        // Without rounding instructions these would be library calls: adding and taking away the smallest number that
        // has no fraction bits rounds as well.
        #[inline(always)]
        fn rint<I: Isa>(self) -> Self {
            if I::FMA {
                return self.round_ties_even();
            }
            let a = $t::abs(self);
            let r = ((a + $whole) - $whole).copysign(self);
            if a < $whole { r } else { self }
        }
        #[inline(always)]
        fn floor<I: Isa>(self) -> Self {
            if I::FMA {
                return $t::floor(self);
            }
            let r = self.rint::<I>();
            if r > self { r - 1.0 } else { r }
        }
        #[inline(always)]
        fn ceil<I: Isa>(self) -> Self {
            -Real::floor::<I>(-self)
        }
        #[inline(always)]
        fn trunc<I: Isa>(self) -> Self {
            Real::floor::<I>($t::abs(self)).copysign(self)
        }
    };
}

impl Real for f32 {
    const TRIG_NEAR: f32 = 32_768.0;
    const DOWN: f64 = 1.0 / (1u128 << 64) as f64;

    #[inline(always)]
    fn of(v: f64) -> f32 {
        v as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    shared! { f32, 8_388_608.0 }
    forward! {
        exp => exp::exp_32::<I>;
        exp_down => exp::exp_down_32::<I>;
        exp2 => exp::exp2_32::<I>;
        expm1 => exp::expm1_32::<I>;
        sinh => exp::sinh_32::<I>;
        cosh => exp::cosh_32::<I>;
        tanh => exp::tanh_32::<I>;
        sigmoid => exp::sigmoid_32::<I>;
        softrelu => exp::softrelu_32::<I>;
        log => log::log_32::<I>;
        log2 => log::log2_32::<I>;
        log10 => log::log10_32::<I>;
        log1p => log::log1p_32::<I>;
        asinh => log::asinh_32::<I>;
        acosh => log::acosh_32::<I>;
        atanh => log::atanh_32::<I>;
        sin => trig::sin_32::<I>;
        cos => trig::cos_32::<I>;
        tan => trig::tan_32::<I>;
        sin_near => trig::sin_near_32::<I>;
        cos_near => trig::cos_near_32::<I>;
        tan_near => trig::tan_near_32::<I>;
        asin => trig::asin_32::<I>;
        acos => trig::acos_32::<I>;
        atan => trig::atan_32::<I>;
        cbrt => pow::cbrt_32::<I>;
        erf => special::erf_32::<I>;
        erfinv => |x| special::erfinv(f64::from(x)) as f32;
        gamma => |x| special::gamma(f64::from(x)) as f32;
        lgamma => |x| special::lgamma(f64::from(x)) as f32;
        digamma => |x| special::digamma(f64::from(x)) as f32;
    }
    #[inline(always)]
    fn polygamma<I: Isa>(n: u32, x: f32) -> f32 {
        special::polygamma(n, f64::from(x)) as f32
    }
    #[inline(always)]
    fn atan2<I: Isa>(self, x: f32) -> f32 {
        trig::atan2_32::<I>(self, x)
    }
    #[inline(always)]
    fn powf<I: Isa>(self, y: f32) -> f32 {
        pow::powf_32::<I>(self, y)
    }
    #[inline(always)]
    fn hypot<I: Isa>(self, y: f32) -> f32 {
        let (a, b) = (f64::from(self), f64::from(y));
        let h = (a * a + b * b).sqrt() as f32;
        // An infinite leg wins over a nan one.
        let endless = (self.abs() == f32::INFINITY) | (y.abs() == f32::INFINITY);
        if endless { f32::INFINITY } else { h }
    }
}

impl Real for f64 {
    const TRIG_NEAR: f64 = 1_048_576.0;
    const DOWN: f64 = f64::from_bits((1023 - 512) << 52);

    #[inline(always)]
    fn of(v: f64) -> f64 {
        v
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    shared! { f64, 4_503_599_627_370_496.0 }
    forward! {
        exp => exp::exp_64::<I>;
        exp_down => exp::exp_down_64::<I>;
        exp2 => exp::exp2_64::<I>;
        expm1 => exp::expm1_64::<I>;
        sinh => f64::sinh;
        cosh => f64::cosh;
        tanh => exp::tanh_64::<I>;
        sigmoid => exp::sigmoid_64::<I>;
        softrelu => exp::softrelu_64::<I>;
        log => log::log_64::<I>;
        log2 => f64::log2;
        log10 => f64::log10;
        log1p => log::log1p_64::<I>;
        asinh => libm::asinh;
        acosh => libm::acosh;
        atanh => libm::atanh;
        sin => trig::sin_any::<I>;
        cos => trig::cos_any::<I>;
        tan => f64::tan;
        sin_near => trig::sin_64::<I>;
        cos_near => trig::cos_64::<I>;
        tan_near => f64::tan;
        asin => f64::asin;
        acos => f64::acos;
        atan => f64::atan;
        cbrt => f64::cbrt;
        erf => libm::erf;
        erfinv => special::erfinv;
        gamma => special::gamma;
        lgamma => special::lgamma;
        digamma => special::digamma;
    }
    #[inline(always)]
    fn polygamma<I: Isa>(n: u32, x: f64) -> f64 {
        special::polygamma(n, x)
    }
    #[inline(always)]
    fn atan2<I: Isa>(self, x: f64) -> f64 {
        f64::atan2(self, x)
    }
    #[inline(always)]
    fn powf<I: Isa>(self, y: f64) -> f64 {
        f64::powf(self, y)
    }
    #[inline(always)]
    fn hypot<I: Isa>(self, y: f64) -> f64 {
        f64::hypot(self, y)
    }
}
