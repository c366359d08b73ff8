//! Functions of float32 with AVX-512, where a table of sixteen numbers lies in one register: so short a polynomial is left
//! that they take half the instructions of the forms that the compiler makes vectors of. Here are exponentials:
//!
//! `x = (16 m + j) ln 2 / 16 + r`, `T = 2^(j / 16)`, and `e^x = 2^m (T + T (e^r - 1))`. What rounding took from `T` is a
//! second table.

mod log;
mod pow;

use crate::ir::In;
use log::log_16;
pub use pow::pow;
use std::arch::x86_64::*;
use std::f32::consts::{LOG2_E, SQRT_2};

/// `2^(j / 16)`, and what rounding took from it.
static ROOTS: [[f32; 16]; 2] = [
    [
        1.0, 1.0442737, 1.0905077, 1.1387886, 1.1892071, 1.2418578, 1.2968396, 1.3542556, SQRT_2, 1.4768262, 1.5422108,
        1.6104903, 1.6817929, 1.7562522, 1.8340081, 1.9152066,
    ],
    [
        0.0,
        4.833_47e-8,
        -1.307_754e-8,
        5.386_222_3e-8,
        3.797_635_3e-8,
        4.496_838e-8,
        -4.018_999_5e-8,
        -1.012_334_9e-8,
        2.420_323_5e-8,
        -4.500_899e-8,
        8.070_905e-9,
        9.836_217e-9,
        -2.475_532_7e-8,
        -9.235_77e-9,
        -1.123_927_8e-8,
        9.845_328e-9,
    ],
];

/// Rounds to an integer, which stays in the low bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2 / 16` in two parts.
const STEP: f32 = 0.043_321_7;
const STEP_LOW: f32 = -1.190_408_9e-10;

/// `e^x` for `x` from -104 to 89, with one rounding where it is subnormal.
///
/// # Safety
/// The CPU has AVX-512, here and below.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn power(x: __m512) -> __m512 {
    let round = _mm512_set1_ps(ROUND);
    let t = _mm512_fmadd_ps(x, _mm512_set1_ps(16.0 * LOG2_E), round);
    let n = _mm512_sub_ps(t, round);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(STEP), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(STEP_LOW), r);
    // SAFETY: the tables have sixteen numbers.
    let [root, low] = unsafe { ROOTS.each_ref().map(|table| _mm512_loadu_ps(table.as_ptr())) };
    let j = _mm512_castps_si512(t);
    let (root, low) = (_mm512_permutexvar_ps(j, root), _mm512_permutexvar_ps(j, low));
    let p = _mm512_fmadd_ps(r, _mm512_set1_ps(0.166_670_6), _mm512_set1_ps(0.500_014_7));
    let p = _mm512_fmadd_ps(r, p, _mm512_set1_ps(1.0));
    let y = _mm512_add_ps(root, _mm512_fmadd_ps(_mm512_mul_ps(root, r), p, low));
    // This takes the whole part of its second operand.
    _mm512_scalef_ps(y, _mm512_mul_ps(n, _mm512_set1_ps(0.0625)))
}

// The instructions for extremes give their second operand where one is nan.

/// # Safety
/// As [`power`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn exp_16(x: __m512) -> __m512 {
    let x = _mm512_max_ps(_mm512_set1_ps(-104.0), x);
    // SAFETY: as the caller says.
    unsafe { power(_mm512_min_ps(_mm512_set1_ps(89.0), x)) }
}

/// `1 / (1 + e)` or `e / (1 + e)` with `e = e^-|x|`.
///
/// # Safety
/// As [`power`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn sigmoid_16(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let down = _mm512_max_ps(_mm512_set1_ps(-104.0), _mm512_or_ps(x, _mm512_set1_ps(-0.0)));
    // SAFETY: as the caller says.
    let e = unsafe { power(down) };
    let top = _mm512_mask_mov_ps(one, _mm512_movepi32_mask(_mm512_castps_si512(x)), e);
    _mm512_div_ps(top, _mm512_add_ps(one, e))
}

/// `1 - 2 / (e^(2 |x|) + 1)`, or a polynomial where that would cancel.
///
/// # Safety
/// As [`power`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn tanh_16(x: __m512) -> __m512 {
    let (sign, round, one) = (_mm512_set1_ps(-0.0), _mm512_set1_ps(ROUND), _mm512_set1_ps(1.0));
    let a = _mm512_andnot_ps(sign, x);
    let z = _mm512_mul_ps(a, a);
    let mut p = _mm512_set1_ps(-0.005_679_875_6);
    for c in [0.020_618_778, -0.053_734_26, 0.133_313_88, -0.333_332_8] {
        p = _mm512_fmadd_ps(p, z, _mm512_set1_ps(c));
    }
    let near = _mm512_fmadd_ps(_mm512_mul_ps(a, z), p, a);
    let b = _mm512_min_ps(_mm512_set1_ps(10.0), a);
    let t = _mm512_fmadd_ps(b, _mm512_set1_ps(32.0 * LOG2_E), round);
    let n = _mm512_sub_ps(t, round);
    // Half of r, so that the polynomial's coefficients are other ones.
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.5 * STEP), b);
    // SAFETY: the table has sixteen numbers.
    let root = unsafe { _mm512_loadu_ps(ROOTS[0].as_ptr()) };
    let j = _mm512_castps_si512(t);
    let up = _mm512_and_si512(_mm512_slli_epi32::<19>(j), _mm512_set1_epi32(0xFF80_0000_u32 as i32));
    let root = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(_mm512_permutexvar_ps(j, root)), up));
    let p = _mm512_fmadd_ps(r, _mm512_set1_ps(4.0 / 3.0), _mm512_set1_ps(2.0));
    let p = _mm512_fmadd_ps(r, p, _mm512_set1_ps(2.0));
    let e = _mm512_fmadd_ps(_mm512_mul_ps(root, r), p, root);
    let far = _mm512_sub_ps(one, _mm512_div_ps(_mm512_set1_ps(2.0), _mm512_add_ps(e, one)));
    // nan is not below, and comes through the other.
    let y = _mm512_mask_mov_ps(far, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, _mm512_set1_ps(0.625)), near);
    _mm512_or_ps(y, _mm512_and_ps(sign, x))
}

macro_rules! tiles {
    ($($name:ident, $f:ident;)*) => {$(
        /// # Safety
        /// As [`Tile`](crate::ir::Tile) of float32, and the CPU has AVX-512.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
        pub unsafe fn $name(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
            let (x, out) = (ins[0].ptr.cast::<f32>(), out.cast::<f32>());
            // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`.
            unsafe {
                if ins[0].splat {
                    let v = _mm512_cvtss_f32($f(_mm512_set1_ps(*x)));
                    return (0..n).for_each(#[inline(always)] |i| *out.add(i) = v);
                }
                let mut i = 0;
                while i + 16 <= n {
                    _mm512_storeu_ps(out.add(i), $f(_mm512_loadu_ps(x.add(i))));
                    i += 16;
                }
                if i < n {
                    let rest = ((1u32 << (n - i)) - 1) as u16;
                    _mm512_mask_storeu_ps(out.add(i), rest, $f(_mm512_maskz_loadu_ps(rest, x.add(i))));
                }
            }
        }
    )*};
}
tiles! {
    exp, exp_16;
    log, log_16;
    sigmoid, sigmoid_16;
    tanh, tanh_16;
}
