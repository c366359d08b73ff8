//! Vectors of accumulators for folds: the same few operations on one number, on a vector register, and on an array where
//! there is no register for it.

use crate::base::Element;
use crate::cpu::isa::Isa;
use crate::cpu::math::Real;
use crate::cpu::num::Num;

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

/// What the step of a fold may do with an accumulator and an element.
pub trait Lane: Copy {
    fn add(self, o: Self) -> Self;
    fn sub(self, o: Self) -> Self;
    fn mul(self, o: Self) -> Self;
    /// `self + x * x`, rounded once where the CPU has that.
    #[inline(always)]
    fn add_square(self, x: Self) -> Self {
        self.add(x.mul(x))
    }
    /// The larger; nan from either side.
    fn max(self, o: Self) -> Self;
    fn min(self, o: Self) -> Self;
    /// [`max`](Lane::max) where nan does not matter: one instruction, where that takes three.
    #[inline(always)]
    fn peak(self, o: Self) -> Self {
        self.max(o)
    }
    /// [`min`](Lane::min), as [`peak`](Lane::peak).
    #[inline(always)]
    fn pit(self, o: Self) -> Self {
        self.min(o)
    }
    /// `yes` where this is nan, else `no`.
    fn if_nan(self, yes: Self, no: Self) -> Self;
}

impl<T: Num> Lane for T {
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Num::add(self, o)
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Num::sub(self, o)
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Num::mul(self, o)
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        Num::max(self, o)
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        Num::min(self, o)
    }
    #[inline(always)]
    fn if_nan(self, yes: Self, no: Self) -> Self {
        if Num::is_nan(self) { yes } else { no }
    }
}

/// A function of two accumulators that works on vectors of them too.
pub trait Pair {
    fn of<L: Lane>(a: L, b: L) -> L;
}

/// A vector of accumulators.
///
/// # Safety
/// Methods may run only on a CPU that has the vector's instructions, and pointers cover what the method says.
pub unsafe trait Pack: Lane {
    /// One accumulator.
    type A: Lane;
    const LANES: usize;
    /// # Safety
    /// See the trait.
    unsafe fn splat(v: Self::A) -> Self;
    /// # Safety
    /// See the trait; `p` is readable for `LANES` accumulators.
    unsafe fn get(p: *const Self::A) -> Self;
    /// # Safety
    /// See the trait; `p` is readable for `n` accumulators, fewer than `LANES`. What the other lanes hold is not said.
    unsafe fn get_part(p: *const Self::A, n: usize) -> Self;
    /// # Safety
    /// See the trait; `p` is writable for `LANES` accumulators.
    unsafe fn put(self, p: *mut Self::A);
    /// # Safety
    /// See the trait; `p` is writable for `n` accumulators, fewer than `LANES`.
    unsafe fn put_part(self, p: *mut Self::A, n: usize);
    /// All lanes joined.
    /// # Safety
    /// See the trait.
    unsafe fn total<J: Pair>(self) -> Self::A;
}

/// A vector of accumulators made of elements `T`.
///
/// # Safety
/// As [`Pack`].
pub unsafe trait Load<T>: Pack {
    /// # Safety
    /// See [`Pack`]; `x` is readable for `LANES` elements.
    unsafe fn load(x: *const T) -> Self;
    /// `n` elements, fewer than `LANES`, and lanes of `rest`.
    /// # Safety
    /// See [`Pack`]; `x` is readable for `n` elements.
    unsafe fn load_part(x: *const T, n: usize, rest: Self) -> Self;
}

/// Powers of e, a vector at a time.
///
/// # Safety
/// As [`Pack`].
pub unsafe trait Powers: Pack<A: Real> {
    /// Whether this is quicker than a loop over numbers that the compiler makes vectors of.
    const QUICK: bool = false;
    /// [`Real::exp_down`] of each lane.
    /// # Safety
    /// See [`Pack`].
    #[inline(always)]
    unsafe fn exp_down<I: Isa>(self) -> Self {
        let mut lanes = [Self::A::of(0.0); 16];
        const { assert!(Self::LANES <= 16) };
        // SAFETY: the caller vouches for the CPU, and a vector fits.
        unsafe {
            self.put(lanes.as_mut_ptr());
            for lane in &mut lanes[..Self::LANES] {
                *lane = lane.exp_down::<I>();
            }
            Self::get(lanes.as_ptr())
        }
    }
}

// SAFETY: plain Rust, for every CPU.
unsafe impl<A: Acc + Real, const N: usize> Powers for Plain<A, N> {}

/// The accumulator type of a dtype.
pub trait Acc: Lane + Default {
    fn start(both: (f64, i64)) -> Self;
    fn widen<T: Element>(x: T) -> Self;
    fn to_f64(self) -> f64;
    fn to_i64(self) -> i64;
    const FLOAT: bool;
}

macro_rules! acc {
    ($($t:ty, $float:literal, |$both:ident| $start:expr, |$x:ident| $widen:expr;)*) => {$(
        impl Acc for $t {
            const FLOAT: bool = $float;
            #[inline(always)]
            fn start($both: (f64, i64)) -> $t {
                $start
            }
            #[inline(always)]
            fn widen<T: Element>($x: T) -> $t {
                $widen
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
        }
    )*};
}
// An integer that holds the extremes of its own dtype only starts at those.
acc! {
    f64, true, |s| s.0, |x| x.to_f64();
    f32, true, |s| s.0 as f32, |x| x.to_f64() as f32;
    i64, false, |s| s.1, |x| x.to_i64();
    i32, false, |s| s.1.clamp(i32::MIN.into(), i32::MAX.into()) as i32, |x| x.to_i64() as i32;
    i8, false, |s| s.1.clamp(i8::MIN.into(), i8::MAX.into()) as i8, |x| x.to_i64() as i8;
    u8, false, |s| s.1.clamp(0, u8::MAX.into()) as u8, |x| x.to_i64() as u8;
}

/// A vector for any CPU: the compiler finds the registers.
#[derive(Clone, Copy)]
pub struct Plain<A, const N: usize>([A; N]);

impl<A: Acc, const N: usize> Plain<A, N> {
    #[inline(always)]
    fn with(self, o: Self, f: impl Fn(A, A) -> A) -> Self {
        let mut out = self;
        out.0.iter_mut().zip(o.0).for_each(|(a, b)| *a = f(*a, b));
        out
    }
}

impl<A: Acc, const N: usize> Lane for Plain<A, N> {
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        self.with(o, A::add)
    }
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        self.with(o, A::sub)
    }
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        self.with(o, A::mul)
    }
    #[inline(always)]
    fn max(self, o: Self) -> Self {
        self.with(o, A::max)
    }
    #[inline(always)]
    fn min(self, o: Self) -> Self {
        self.with(o, A::min)
    }
    #[inline(always)]
    fn if_nan(self, yes: Self, no: Self) -> Self {
        let mut out = no;
        for i in 0..N {
            out.0[i] = self.0[i].if_nan(yes.0[i], no.0[i]);
        }
        out
    }
}

/// The same pointer, but the compiler does not see how it moves from one step of a loop to the next: else it would make
/// vectors of the same lane of several steps, gathered one by one, and not of the lanes side by side.
// The pointer is only hidden, not followed.
#[allow(clippy::pointers_in_nomem_asm_block)]
#[inline(always)]
fn alone<T>(x: *const T) -> *const T {
    let mut same = x;
    // SAFETY: no instruction at all.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) same, options(pure, nomem, nostack, preserves_flags));
    }
    same
}

// SAFETY: plain Rust, for every CPU.
unsafe impl<A: Acc, const N: usize> Pack for Plain<A, N> {
    type A = A;
    const LANES: usize = N;
    #[inline(always)]
    unsafe fn splat(v: A) -> Self {
        Plain([v; N])
    }
    #[inline(always)]
    unsafe fn get(p: *const A) -> Self {
        // SAFETY: the caller vouches for the elements, here and below.
        unsafe { Plain(p.cast::<[A; N]>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn get_part(p: *const A, n: usize) -> Self {
        let mut out = [A::default(); N];
        // SAFETY: as above.
        (0..n).for_each(|i| out[i] = unsafe { *p.add(i) });
        Plain(out)
    }
    #[inline(always)]
    unsafe fn put(self, p: *mut A) {
        // SAFETY: as above.
        unsafe { p.cast::<[A; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn put_part(self, p: *mut A, n: usize) {
        // SAFETY: as above.
        (0..n).for_each(|i| unsafe { *p.add(i) = self.0[i] });
    }
    #[inline(always)]
    unsafe fn total<J: Pair>(self) -> A {
        let mut lanes = self.0;
        let mut half = N / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = J::of(lanes[i], lanes[i + half]);
            }
            half /= 2;
        }
        lanes[0]
    }
}

// SAFETY: as above.
unsafe impl<T: Element, A: Acc, const N: usize> Load<T> for Plain<A, N> {
    #[inline(always)]
    unsafe fn load(x: *const T) -> Self {
        // SAFETY: as above.
        let x = unsafe { alone(x).cast::<[T; N]>().read_unaligned() };
        Plain(x.map(A::widen))
    }
    #[inline(always)]
    unsafe fn load_part(x: *const T, n: usize, rest: Self) -> Self {
        let mut out = rest.0;
        // SAFETY: as above.
        (0..n).for_each(|i| out[i] = A::widen(unsafe { *x.add(i) }));
        Plain(out)
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86;
