//! Powers of float32 with AVX-512, in float64: a table takes the place of the logarithm's division, and another leaves the
//! exponential a short polynomial.

use crate::ir::In;
use std::arch::x86_64::*;
use std::f64::consts::SQRT_2;

/// Of sixteen parts of `[3/4, 3/2)`, numbered by the first four bits behind the point: about the inverse of the middle, and
/// minus its logarithm to base two. Next to one it is one, so that logarithms near zero keep their digits.
static INVERSES: [f64; 16] = [
    1.0,
    0.9142857193946838,
    0.8648648858070374,
    0.8205128312110901,
    0.7804877758026123,
    0.7441860437393188,
    0.7111111283302307,
    0.6808510422706604,
    1.3061224222183228,
    1.2549020051956177,
    1.2075471878051758,
    1.163636326789856,
    1.1228070259094238,
    1.0847457647323608,
    1.049180269241333,
    1.0,
];
static LOGS: [f64; 16] = [
    0.0,
    0.12928300888327973,
    0.20945333069497424,
    0.285402200051646,
    0.35755205836266307,
    0.4262647600765558,
    0.4918530613956992,
    0.5545888973605297,
    -0.3852901263252734,
    -0.32757470908585296,
    -0.27207956693463203,
    -0.21864024079244804,
    -0.16710999658417397,
    -0.11735695332538766,
    -0.06926258182024388,
    0.0,
];
/// `2^(j / 16)`.
static ROOTS: [f64; 16] = [
    1.0,
    1.0442737824274138,
    1.0905077326652577,
    1.1387886347566916,
    1.189207115002721,
    1.241857812073484,
    1.2968395546510096,
    1.3542555469368927,
    SQRT_2,
    1.4768261459394993,
    1.5422108254079407,
    1.6104903319492543,
    1.681792830507429,
    1.7562521603732995,
    1.8340080864093424,
    1.9152065613971474,
];
/// `log2(1 + f) / f` for `-1/32 <= f <= 1/16` to 34 bits, highest power first.
const LOG: [f64; 6] = [
    -0.222614928183236,
    0.2884979435121372,
    -0.36069875174480165,
    0.48089856551061483,
    -0.7213475126887063,
    1.4426950408614667,
];
/// `(2^(r / 16) - 1) / r` for `|r| <= 1/2` to 23 bits, of at most `1 / 46`.
const EXP: [f64; 3] = [1.3551125806810134e-5, 0.0009384123218642026, 0.04332169877505423];

/// The numbers of a table that the low four bits choose.
///
/// # Safety
/// The CPU has AVX-512, here and below.
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn chosen(table: &[f64; 16], j: __m512i) -> __m512d {
    // SAFETY: two halves of the table.
    let [low, high] = unsafe { [_mm512_loadu_pd(table.as_ptr()), _mm512_loadu_pd(table.as_ptr().add(8))] };
    _mm512_permutex2var_pd(low, j, high)
}

/// # Safety
/// As [`chosen`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn polynomial<const N: usize>(x: __m512d, c: &[f64; N]) -> __m512d {
    let mut p = _mm512_set1_pd(c[0]);
    for &c in &c[1..] {
        p = _mm512_fmadd_pd(p, x, _mm512_set1_pd(c));
    }
    p
}

/// `2^(y log2 a)` for `a >= 0`; zero and infinity go through the exponent.
///
/// # Safety
/// As [`chosen`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn power_8(a: __m512d, y: __m512d) -> __m512d {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    // SAFETY: as the caller says.
    unsafe {
        let m = _mm512_getmant_pd::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_ZERO>(a);
        // From 3/2 on the exponent is the next one: a little above 4/3, so that all float32 below stay below.
        let k = _mm512_getexp_pd(_mm512_mul_pd(a, _mm512_set1_pd(1.33333334)));
        let j = _mm512_srli_epi64::<48>(_mm512_castpd_si512(m));
        let f = _mm512_fmadd_pd(m, chosen(&INVERSES, j), _mm512_set1_pd(-1.0));
        let log = _mm512_add_pd(k, _mm512_fmadd_pd(f, polynomial(f, &LOG), chosen(&LOGS, j)));
        // 2^200 and 2^-200 are infinity and zero in float32. nan is the second operand, which then is the result.
        let t = _mm512_max_pd(_mm512_set1_pd(-200.0), _mm512_mul_pd(y, log));
        let t = _mm512_min_pd(_mm512_set1_pd(200.0), t);
        let sixteen = _mm512_set1_pd(16.0);
        let s = _mm512_fmadd_pd(t, sixteen, _mm512_set1_pd(MAGIC));
        let n = _mm512_sub_pd(s, _mm512_set1_pd(MAGIC));
        let r = _mm512_fmsub_pd(t, sixteen, n);
        let root = chosen(&ROOTS, _mm512_castpd_si512(s));
        let z = _mm512_fmadd_pd(_mm512_mul_pd(root, r), polynomial(r, &EXP), root);
        _mm512_scalef_pd(z, _mm512_mul_pd(n, _mm512_set1_pd(1.0 / 16.0)))
    }
}

/// [`power_8`] of absolute values, then the special cases of IEEE 754 in rising order of precedence.
///
/// # Safety
/// As [`chosen`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
unsafe fn pow_16(x: __m512, y: __m512) -> __m512 {
    const NEAREST: i32 = 8;
    let (sign, one) = (_mm512_set1_ps(-0.0), _mm512_set1_ps(1.0));
    let a = _mm512_andnot_ps(sign, x);
    // SAFETY: as the caller says.
    let [low, high] = unsafe {
        let low = |v: __m512| _mm512_cvtps_pd(_mm512_castps512_ps256(v));
        let high = |v: __m512| _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(v));
        [power_8(low(a), low(y)), power_8(high(a), high(y))].map(|r| _mm512_cvtpd_ps(r))
    };
    let r = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high);
    let half = _mm512_mul_ps(_mm512_set1_ps(0.5), y);
    let whole = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(_mm512_roundscale_ps::<NEAREST>(y), y);
    let odd = whole & _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(_mm512_roundscale_ps::<NEAREST>(half), half);
    let r = _mm512_mask_or_ps(r, odd, r, _mm512_and_ps(sign, x));
    let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
    let finite = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_set1_ps(f32::NEG_INFINITY));
    let r = _mm512_mask_mov_ps(r, below & finite & !whole, _mm512_set1_ps(f32::NAN));
    // (-1)^±inf, where 0 * inf gave nan; and what is one whatever the other is.
    let endless = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(_mm512_andnot_ps(sign, y), _mm512_set1_ps(f32::INFINITY));
    let turned = endless & _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, _mm512_set1_ps(-1.0));
    let zeroth = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(y, _mm512_setzero_ps());
    let of_one = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(x, one);
    _mm512_mask_mov_ps(r, turned | zeroth | of_one, one)
}

/// # Safety
/// As [`Tile`](crate::ir::Tile) of two operands of float32, and the CPU has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
pub unsafe fn pow(ins: &[In], out: *mut u8, n: usize) {
    let out = out.cast::<f32>();
    let (x, y) = (ins[0].ptr.cast::<f32>(), ins[1].ptr.cast::<f32>());
    for i in (0..n).step_by(16) {
        let part = if n - i >= 16 { 0xFFFF } else { ((1u32 << (n - i)) - 1) as u16 };
        // SAFETY: the caller vouches for `n` elements (one if splat) and room for `n`; no others are touched.
        unsafe {
            let load = |p: *const f32, splat: bool| {
                if splat { _mm512_set1_ps(*p) } else { _mm512_maskz_loadu_ps(part, p.add(i)) }
            };
            _mm512_mask_storeu_ps(out.add(i), part, pow_16(load(x, ins[0].splat), load(y, ins[1].splat)));
        }
    }
}
