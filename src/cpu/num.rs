//! Arithmetic that floats and integers share, with MXNet's rules for the corners.

use crate::cpu::math::Real;

/// A number that element functions compute in: f32, f64, u8, i8, i32, i64. Integers wrap; division by zero gives zero.
pub trait Num: Copy + PartialOrd + PartialEq + 'static {
    fn of(v: f64) -> Self;
    fn truth(v: bool) -> Self;
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    fn div(self, o: Self) -> Self;
    /// Remainder with the divisor's sign; zero where the divisor is zero.
    fn rem(self, o: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    fn sign(self) -> Self;
    /// The larger; nan from either side; the right one on ties.
    fn max(self, o: Self) -> Self;
    fn min(self, o: Self) -> Self;
    fn is_nan(self) -> bool;
    #[inline(always)]
    fn nonzero(self) -> bool {
        self != Self::of(0.0)
    }
}

macro_rules! real_num {
    ($t:ty) => {
        impl Num for $t {
            #[inline(always)]
            fn of(v: f64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn truth(v: bool) -> Self {
                if v { 1.0 } else { 0.0 }
            }
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                self + o
            }
            #[inline(always)]
            fn sub(self, o: Self) -> Self {
                self - o
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                self * o
            }
            #[inline(always)]
            fn div(self, o: Self) -> Self {
                self / o
            }
            #[inline(always)]
            fn rem(self, o: Self) -> Self {
                Real::rem_floor::<crate::cpu::isa::Baseline>(self, o)
            }
            #[inline(always)]
            fn neg(self) -> Self {
                -self
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            #[inline(always)]
            fn sign(self) -> Self {
                Real::sign(self)
            }
            #[inline(always)]
            fn max(self, o: Self) -> Self {
                Real::max(self, o)
            }
            #[inline(always)]
            fn min(self, o: Self) -> Self {
                Real::min(self, o)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
        }
    };
}
real_num!(f32);
real_num!(f64);

macro_rules! int_num {
    ($t:ty) => {
        impl Num for $t {
            #[inline(always)]
            fn of(v: f64) -> Self {
                <$t as crate::base::Element>::from_f64(v)
            }
            #[inline(always)]
            fn truth(v: bool) -> Self {
                v as $t
            }
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                self.wrapping_add(o)
            }
            #[inline(always)]
            fn sub(self, o: Self) -> Self {
                self.wrapping_sub(o)
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                self.wrapping_mul(o)
            }
            #[inline(always)]
            fn div(self, o: Self) -> Self {
                if o == 0 { 0 } else { self.wrapping_div(o) }
            }
            #[inline(always)]
            fn rem(self, o: Self) -> Self {
                if o == 0 {
                    return 0;
                }
                let r = self.wrapping_rem(o);
                // The remainder takes the divisor's sign.
                if r != 0 && (r < 0 as $t) != (o < 0 as $t) { r.wrapping_add(o) } else { r }
            }
            #[inline(always)]
            fn neg(self) -> Self {
                self.wrapping_neg()
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn abs(self) -> Self {
                if self < 0 as $t { self.wrapping_neg() } else { self }
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn sign(self) -> Self {
                if self == 0 {
                    0
                } else if self < 0 as $t {
                    (0 as $t).wrapping_sub(1)
                } else {
                    1
                }
            }
            #[inline(always)]
            fn max(self, o: Self) -> Self {
                if self > o { self } else { o }
            }
            #[inline(always)]
            fn min(self, o: Self) -> Self {
                if self < o { self } else { o }
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
        }
    };
}
int_num!(u8);
int_num!(i8);
int_num!(i32);
int_num!(i64);
