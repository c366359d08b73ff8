//! Conversions between dtypes, a tile at a time.

use crate::base::{DType, Element, Level};
use crate::ir::{In, Tile};
use crate::with_dtype;

/// # Safety
/// As [`Tile`]: one operand of dtype `T`, result of dtype `U`.
#[inline(always)]
unsafe fn convert<T: Element, U: Element>(ins: &[In], out: *mut u8, n: usize) {
    let (x, out) = (ins[0].ptr as *const T, out as *mut U);
    // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
    unsafe {
        if ins[0].splat {
            let v = (*x).cast::<U>();
            for i in 0..n {
                *out.add(i) = v;
            }
        } else {
            for i in 0..n {
                *out.add(i) = (*x.add(i)).cast::<U>();
            }
        }
    }
}

/// # Safety
/// As [`convert`].
unsafe fn plain<T: Element, U: Element>(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
    // SAFETY: as the caller says.
    unsafe { convert::<T, U>(ins, out, n) }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use half::f16;
    use std::arch::x86_64::*;

    /// # Safety
    /// As [`convert`]; the CPU has AVX2.
    #[target_feature(enable = "avx2,fma,bmi2")]
    pub unsafe fn avx2<T: Element, U: Element>(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
        // SAFETY: as the caller says.
        unsafe { convert::<T, U>(ins, out, n) }
    }

    /// # Safety
    /// As [`convert`]; the CPU has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
    pub unsafe fn avx512<T: Element, U: Element>(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
        // SAFETY: as the caller says.
        unsafe { convert::<T, U>(ins, out, n) }
    }

    /// Some elements at a time by one instruction that does just what [`Element::cast`] does.
    macro_rules! by {
        ($lanes:literal, $name:ident, $feature:literal, $from:ty, $to:ty, |$x:ident, $y:ident| $step:expr) => {
            /// # Safety
            /// As [`convert`]; the CPU has the instruction set.
            #[target_feature(enable = $feature)]
            pub unsafe fn $name(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
                let whole = if ins[0].splat { 0 } else { n / $lanes * $lanes };
                let ($x, $y) = (ins[0].ptr as *const $from, out as *mut $to);
                for i in (0..whole).step_by($lanes) {
                    // SAFETY: so many elements are inside both.
                    unsafe {
                        let ($x, $y) = ($x.add(i), $y.add(i));
                        $step
                    }
                }
                let rest = [In { ptr: if whole > 0 { $x.wrapping_add(whole).cast() } else { ins[0].ptr }, ..ins[0] }];
                // SAFETY: the elements that are left.
                unsafe { convert::<$from, $to>(&rest, $y.wrapping_add(whole).cast(), n - whole) }
            }
        };
    }
    by!(8, f16_to_f32, "avx2,f16c", f16, f32, |x, y| _mm256_storeu_ps(y, _mm256_cvtph_ps(_mm_loadu_si128(x.cast()))));
    by!(8, f32_to_f16, "avx2,f16c", f32, f16, |x, y| _mm_storeu_si128(
        y.cast(),
        _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(x))
    ));
    by!(32, f16_to_f32_wide, "avx512f,avx512vl,avx2", f16, f32, |x, y| {
        let (a, b) = (_mm256_loadu_si256(x.cast()), _mm256_loadu_si256(x.add(16).cast()));
        _mm512_storeu_ps(y, _mm512_cvtph_ps(a));
        _mm512_storeu_ps(y.add(16), _mm512_cvtph_ps(b));
    });
    by!(32, f32_to_f16_wide, "avx512f,avx512vl,avx2", f32, f16, |x, y| {
        let (a, b) = (_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(16)));
        _mm256_storeu_si256(y.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(a));
        _mm256_storeu_si256(y.add(16).cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(b));
    });
    by!(8, f32_to_i32, "avx2", f32, i32, |x, y| _mm256_storeu_si256(y.cast(), _mm256_cvttps_epi32(_mm256_loadu_ps(x))));
}

/// The tile that converts `from` to `to`.
pub fn cast_tile(from: DType, to: DType) -> Tile {
    #[cfg(target_arch = "x86_64")]
    {
        let level = Level::get();
        if level != Level::Baseline && is_x86_feature_detected!("f16c") {
            match (from, to) {
                (DType::F16, DType::F32) if level == Level::Avx512 => return x86::f16_to_f32_wide,
                (DType::F32, DType::F16) if level == Level::Avx512 => return x86::f32_to_f16_wide,
                (DType::F16, DType::F32) => return x86::f16_to_f32,
                (DType::F32, DType::F16) => return x86::f32_to_f16,
                (DType::F32, DType::I32) => return x86::f32_to_i32,
                _ => {}
            }
        }
        match level {
            Level::Avx512 => return with_dtype!(from, T => with_dtype!(to, U => x86::avx512::<T, U> as Tile)),
            Level::Avx2 => return with_dtype!(from, T => with_dtype!(to, U => x86::avx2::<T, U> as Tile)),
            Level::Baseline => {}
        }
    }
    with_dtype!(from, T => with_dtype!(to, U => plain::<T, U> as Tile))
}

/// Converts a slice, on all threads where it is long.
pub fn cast_slice<T: Element, U: Element>(from: &[T], to: &mut [U]) {
    assert_eq!(from.len(), to.len(), "cast: slices of one length");
    let tile = cast_tile(T::DTYPE, U::DTYPE);
    crate::cpu::pool::fill(to, |start, part| {
        let ins = [In { ptr: from[start..start + part.len()].as_ptr().cast(), splat: false }];
        // SAFETY: both are slices of `part.len()` elements of the tile's dtypes.
        unsafe { tile(&ins, part.as_mut_ptr().cast(), part.len(), &[]) };
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// Against the element's own conversion, corners and odd lengths included.
    fn check<T: Element, U: Element>(values: &[T]) {
        for n in [0, 1, 7, 8, 9, values.len()] {
            let mut out = vec![U::default(); n];
            cast_slice(&values[..n], &mut out);
            for (v, got) in values.iter().zip(&out) {
                let want = v.cast::<U>();
                assert!(*got == want || got.to_f64().is_nan() && want.to_f64().is_nan(), "{v:?}: {got:?} {want:?}");
            }
        }
    }

    #[test]
    fn vectors_convert_as_elements_do() {
        let mut values: Vec<f32> = (0..=u16::MAX).map(|b| f32::from_bits(u32::from(b) << 16 | 0x8765)).collect();
        values.extend([65519.9, 65520.0, 5.96e-8, 2.98e-8, 2147483520.0, 2147483648.0, -2147483648.0, 0.5, -0.5]);
        check::<f32, f16>(&values);
        check::<f32, i32>(&values);
        check::<f32, u8>(&values);
        check::<f32, f64>(&values);
        check::<f32, i64>(&values);
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        check::<f16, f32>(&halves);
        check::<f16, i8>(&halves);
        check::<i32, f32>(&(-5000..5000).map(|i| i * 429_001).collect::<Vec<i32>>());
    }
}
