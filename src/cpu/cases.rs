//! Tiles that look at their operands first. An exponent that stands for all elements is mostly a small whole number or a
//! half, which take no logarithm; angles are mostly small, and then few bits of pi are enough.

use crate::base::{DType, Level};
use crate::cpu::isa::Isa;
use crate::cpu::math::{Real, near};
use crate::cpu::tiles::{loop1, loop2, padded};
use crate::ir::{In, Tile};

/// # Safety
/// As [`Tile`], of two operands.
#[inline(always)]
unsafe fn power<T: Real + Default, I: Isa>(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
    // SAFETY: the caller vouches for the operands.
    unsafe {
        if ins[1].splat {
            let (y, x) = (*ins[1].ptr.cast::<T>(), &ins[..1]);
            if y == T::of(2.0) {
                return loop1::<T>(x, out, n, |x| x * x);
            }
            if y == T::of(1.0) {
                return loop1::<T>(x, out, n, |x| x);
            }
            if y == T::of(3.0) {
                return loop1::<T>(x, out, n, |x| x * x * x);
            }
            if y == T::of(-1.0) {
                return loop1::<T>(x, out, n, |x| T::of(1.0) / x);
            }
            if y == T::of(0.5) {
                return loop1::<T>(x, out, n, root::<T, I>);
            }
        }
        #[cfg(target_arch = "x86_64")]
        if I::WIDE && size_of::<T>() == 4 {
            return crate::cpu::math::wide::pow(ins, out, n);
        }
        padded::<T>(
            ins,
            out,
            n,
            #[inline(always)]
            |ins, out, n| {
                loop2::<T>(
                    ins,
                    out,
                    n,
                    #[inline(always)]
                    |x, y| x.powf::<I>(y),
                )
            },
        );
    }
}

/// The square root as IEEE 754 has it for a power: no negative zero, and infinity for minus infinity.
#[inline(always)]
fn root<T: Real, I: Isa>(x: T) -> T {
    let endless = T::of(f64::INFINITY);
    let r = (x + T::of(0.0)).sqrt::<I>();
    if x == -endless { endless } else { r }
}

macro_rules! waves {
    ($body:ident, $near:ident, $any:ident) => {
        /// # Safety
        /// As [`Tile`], of one operand.
        #[inline(always)]
        unsafe fn $body<T: Real + Default, I: Isa>(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
            // SAFETY: the caller vouches for the operand.
            unsafe {
                let given = std::slice::from_raw_parts(ins[0].ptr.cast::<T>(), if ins[0].splat { 1 } else { n });
                let near = near(given);
                padded::<T>(
                    ins,
                    out,
                    n,
                    #[inline(always)]
                    |ins, out, n| match near {
                        true => loop1::<T>(
                            ins,
                            out,
                            n,
                            #[inline(always)]
                            |x| x.$near::<I>(),
                        ),
                        false => loop1::<T>(
                            ins,
                            out,
                            n,
                            #[inline(always)]
                            |x| x.$any::<I>(),
                        ),
                    },
                );
            }
        }
    };
}
waves!(sine, sin_near, sin);
waves!(cosine, cos_near, cos);
waves!(tangent, tan_near, tan);

macro_rules! tiles {
    ($($name:ident: $body:ident, $doc:literal;)+) => {
        $(
            #[doc = $doc]
            pub fn $name(dtype: DType, level: Level) -> Option<Tile> {
                match dtype {
                    DType::F32 => Some(crate::by_level!(level, f32, Tile, (ins: &[In], out: *mut u8, n: usize, imm: &[f64]), $body)),
                    DType::F64 => Some(crate::by_level!(level, f64, Tile, (ins: &[In], out: *mut u8, n: usize, imm: &[f64]), $body)),
                    _ => None,
                }
            }
        )+
    };
}
tiles! {
    pow_tile: power, "The tile of `x^y`.";
    sin_tile: sine, "The tile of the sine.";
    cos_tile: cosine, "The tile of the cosine.";
    tan_tile: tangent, "The tile of the tangent.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any base and exponent, either of which may stand for all.
    #[test]
    fn powers() {
        const ODD: [f32; 22] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            -0.5,
            2.0,
            -2.0,
            3.0,
            -3.0,
            1.5,
            0.75,
            0.999_999_94,
            1.000_000_1,
            1e-45,
            -1e-40,
            3e38,
            -3e38,
            16_777_217.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        let more = |k: u32| (0..60).map(move |i: u32| f32::from_bits((i * 71_582_788).wrapping_mul(k) & 0xBFFF_FFFF));
        let bases: Vec<f32> = ODD.into_iter().chain(more(1)).chain((0..80).map(|i| 0.7 + 0.01 * i as f32)).collect();
        let exponents: Vec<f32> = ODD.into_iter().chain((0..50).map(|i| (i as f32 - 25.0) * 1.37)).collect();
        let run = |level, x: &[f32], y: &[f32], n: usize| {
            let of = |v: &[f32]| In { ptr: v.as_ptr().cast(), splat: v.len() == 1 };
            let mut out = vec![0.0f32; n];
            let tile = pow_tile(DType::F32, level).unwrap();
            // SAFETY: the slices hold `n` elements or one, and the level is what the CPU has.
            unsafe { tile(&[of(x), of(y)], out.as_mut_ptr().cast(), n, &[]) };
            out
        };
        for level in [Level::Baseline, Level::get()] {
            for &y in &exponents {
                let got = run(level, &bases, &[y], bases.len());
                let pairs = run(level, &bases, &vec![y; bases.len()], bases.len());
                for ((&x, &got), &other) in bases.iter().zip(&got).zip(&pairs) {
                    let want = f64::from(x).powf(f64::from(y)) as f32;
                    let near = |v: f32| {
                        (v.to_bits() as i32).abs_diff(want.to_bits() as i32) <= 1 || v.is_nan() && want.is_nan()
                    };
                    assert!(near(got) && near(other), "{level:?} {x:e}^{y:e}: {got:e} and {other:e}, not {want:e}");
                    assert!(near(run(level, &[x], &[y], 3)[2]), "{level:?} {x:e}^{y:e} for all");
                }
            }
        }
    }

    /// Exponents that are products give what the power gives, to an ulp and in every corner.
    #[test]
    fn short_powers() {
        let x: Vec<f32> = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-30, -1e-42, 3e38]
            .into_iter()
            .chain((0..200).map(|i| (i as f32 - 100.0) * 0.37))
            .collect();
        for y in [2.0f32, 1.0, 3.0, -1.0, 0.5] {
            for level in [Level::Baseline, Level::get()] {
                let mut out = vec![0.0f32; x.len()];
                let ins = [
                    In { ptr: x.as_ptr().cast(), splat: false },
                    In { ptr: std::ptr::from_ref(&y).cast(), splat: true },
                ];
                let tile = pow_tile(DType::F32, level).unwrap();
                // SAFETY: the vectors hold the elements, and the level is what the CPU has.
                unsafe { tile(&ins, out.as_mut_ptr().cast(), x.len(), &[]) };
                for (&x, &got) in x.iter().zip(&out) {
                    let want = f64::from(x).powf(f64::from(y)) as f32;
                    let near = (got.to_bits() as i32).abs_diff(want.to_bits() as i32) <= 1;
                    assert!(near || got.is_nan() && want.is_nan(), "{x}^{y}: {got}, not {want}");
                }
            }
        }
    }
}
