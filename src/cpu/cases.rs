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
