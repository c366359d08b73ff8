//! The natural logarithm of float32 with AVX-512: a table of inverses leaves so small an argument that five terms do.

use crate::cpu::math::exp::{LN2_HI_32, LN2_LO_32};
use std::arch::x86_64::*;

/// Of sixteen parts of `[3/4, 3/2)`, numbered by the first four bits behind the point: about the inverse of the middle, and
/// minus its logarithm, to the last place of `ln 2`'s high part and beyond it. Next to one it is one, so that logarithms near
/// zero keep their digits.
static PARTS: [[f32; 16]; 3] = [
    [
        1.0, 0.9142857, 0.8648649, 0.82051283, 0.7804878, 0.74418604, 0.7111111, 0.68085104, 1.3061224, 1.254902,
        1.2075472, 1.1636363, 1.122807, 1.0847458, 1.0491803, 1.0,
    ],
    [
        0.0,
        0.08961487,
        0.14518738,
        0.1978302,
        0.24783325,
        0.2954712,
        0.34092712,
        0.38441467,
        -0.26705933,
        -0.22705078,
        -0.18859863,
        -0.1515503,
        -0.11582947,
        -0.081344604,
        -0.04800415,
        0.0,
    ],
    [
        0.0,
        -2.7150622e-6,
        -5.3922995e-6,
        -4.469904e-6,
        2.9492044e-6,
        -6.974787e-6,
        -5.6126726e-7,
        -2.9422763e-6,
        -3.438588e-6,
        -6.7047754e-6,
        7.4481036e-6,
        4.2650652e-7,
        -2.3552022e-6,
        -1.0368244e-6,
        -5.0129165e-6,
        0.0,
    ],
];

/// `k ln 2 - log c + log(1 + f)` with `x = 2^k m` and `m c = 1 + f`. The sum of the first two is exact. Zero and infinity go
/// through the exponent.
///
/// # Safety
/// The CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
pub unsafe fn log_16(x: __m512) -> __m512 {
    let one = _mm512_set1_ps(1.0);
    let m = _mm512_getmant_ps::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_ZERO>(x);
    // From 3/2 on the exponent is the next one.
    let k = _mm512_getexp_ps(x);
    let k = _mm512_mask_add_ps(k, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(m, one), k, one);
    let j = _mm512_srli_epi32::<19>(_mm512_castps_si512(m));
    // SAFETY: the tables have sixteen numbers.
    let [inverse, high, low] = PARTS.each_ref().map(
        #[inline(always)]
        |table| _mm512_permutexvar_ps(j, unsafe { _mm512_loadu_ps(table.as_ptr()) }),
    );
    let f = _mm512_fmsub_ps(m, inverse, one);
    let mut p = _mm512_set1_ps(-0.156_308_81);
    for c in [0.200_055_57, -0.250_012_16, 0.333_333_34, -0.5] {
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
    }
    let low = _mm512_fmadd_ps(k, _mm512_set1_ps(LN2_LO_32), low);
    let low = _mm512_fmadd_ps(_mm512_mul_ps(f, f), p, low);
    let y = _mm512_add_ps(_mm512_fmadd_ps(k, _mm512_set1_ps(LN2_HI_32), high), _mm512_add_ps(f, low));
    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
    _mm512_mask_mov_ps(y, below, _mm512_set1_ps(f32::NAN))
}
