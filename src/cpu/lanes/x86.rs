//! Vectors of float accumulators in AVX2 and AVX-512 registers.

use super::{Lane, Load, Pack, Pair, Powers};
use crate::cpu::isa::Isa;
use half::f16;
use std::arch::x86_64::*;
use std::f32::consts::SQRT_2;

/// Four float64.
#[derive(Clone, Copy)]
pub struct D4(__m256d);
/// Eight float64.
#[derive(Clone, Copy)]
pub struct D8(__m512d);
/// Eight float32.
#[derive(Clone, Copy)]
pub struct S8(__m256);
/// Sixteen float32.
#[derive(Clone, Copy)]
pub struct S16(__m512);

/// `a + b` by the units that multiply: those that add are busy with conversions to float64.
macro_rules! add_by_fma {
    ($name:ident, $v:ty, $reg:ident, $feature:literal, $one:expr) => {
        /// # Safety
        /// The CPU has the instruction.
        #[target_feature(enable = $feature)]
        #[inline]
        unsafe fn $name(a: $v, b: $v) -> $v {
            let mut sum = a;
            // SAFETY: one instruction on registers. The compiler would make an addition of a multiplication by one.
            unsafe {
                std::arch::asm!("vfmadd231pd {s}, {b}, {one}", s = inlateout($reg) sum, b = in($reg) b,
                    one = in($reg) $one, options(pure, nomem, nostack, preserves_flags));
            }
            sum
        }
    };
}
add_by_fma!(add_4, __m256d, ymm_reg, "avx2,fma", _mm256_set1_pd(1.0));
add_by_fma!(add_8, __m512d, zmm_reg, "avx512f", _mm512_set1_pd(1.0));

macro_rules! lane {
    ($name:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $max:ident, $min:ident, |$nan:ident, $yes:ident, $no:ident| $pick:expr) => {
        impl Lane for $name {
            #[inline(always)]
            fn add(self, o: Self) -> Self {
                // SAFETY: such a value exists only where the CPU has the instructions, here and below.
                unsafe { $name($add(self.0, o.0)) }
            }
            #[inline(always)]
            fn sub(self, o: Self) -> Self {
                // SAFETY: as above.
                unsafe { $name($sub(self.0, o.0)) }
            }
            #[inline(always)]
            fn mul(self, o: Self) -> Self {
                // SAFETY: as above.
                unsafe { $name($mul(self.0, o.0)) }
            }
            #[inline(always)]
            fn add_square(self, x: Self) -> Self {
                // SAFETY: as above.
                unsafe { $name($fma(x.0, x.0, self.0)) }
            }
            // The instruction gives the second operand where one is nan.
            #[inline(always)]
            fn max(self, o: Self) -> Self {
                // SAFETY: as above.
                self.if_nan(self, unsafe { $name($max(self.0, o.0)) })
            }
            #[inline(always)]
            fn min(self, o: Self) -> Self {
                // SAFETY: as above.
                self.if_nan(self, unsafe { $name($min(self.0, o.0)) })
            }
            #[inline(always)]
            fn peak(self, o: Self) -> Self {
                // SAFETY: as above.
                unsafe { $name($max(self.0, o.0)) }
            }
            #[inline(always)]
            fn pit(self, o: Self) -> Self {
                // SAFETY: as above.
                unsafe { $name($min(self.0, o.0)) }
            }
            #[inline(always)]
            fn if_nan(self, yes: Self, no: Self) -> Self {
                let ($nan, $yes, $no) = (self.0, yes.0, no.0);
                // SAFETY: as above.
                unsafe { $name($pick) }
            }
        }
    };
}
lane!(D4, add_4, _mm256_sub_pd, _mm256_mul_pd, _mm256_fmadd_pd, _mm256_max_pd, _mm256_min_pd, |v, yes, no| {
    _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_UNORD_Q>(v, v))
});
lane!(S8, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps, |v, yes, no| {
    _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v))
});
lane!(D8, add_8, _mm512_sub_pd, _mm512_mul_pd, _mm512_fmadd_pd, _mm512_max_pd, _mm512_min_pd, |v, yes, no| {
    _mm512_mask_mov_pd(no, _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(v, v), yes)
});
lane!(S16, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps, _mm512_max_ps, _mm512_min_ps, |v, yes, no| {
    _mm512_mask_mov_ps(no, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v), yes)
});

/// The first `n` of eight words all ones.
///
/// # Safety
/// The CPU has AVX2; `n` is at most eight.
#[inline(always)]
unsafe fn words(n: usize) -> __m256i {
    static MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: eight words from `8 - n` are inside.
    unsafe { _mm256_loadu_si256(MASK.as_ptr().wrapping_add(8 - n).cast()) }
}
/// The first `n` of four words of eight bytes all ones.
///
/// # Safety
/// As [`words`]; `n` is at most four.
#[inline(always)]
unsafe fn longs(n: usize) -> __m256i {
    // SAFETY: as the caller says.
    unsafe { _mm256_cvtepi32_epi64(_mm256_castsi256_si128(words(n))) }
}

macro_rules! pack {
    ($name:ident, $a:ty, $lanes:literal, $splat:ident, $get:ident, $put:ident,
     part |$p:ident, $n:ident| $get_part:expr, |$q:ident, $v:ident, $k:ident| $put_part:expr,
     total |$all:ident, $join:ident| $total:expr) => {
        // SAFETY: each method does what the trait says with instructions that the type's name stands for.
        unsafe impl Pack for $name {
            type A = $a;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn splat(v: $a) -> Self {
                // SAFETY: the caller vouches for the CPU and the pointers, here and below.
                unsafe { $name($splat(v)) }
            }
            #[inline(always)]
            unsafe fn get(p: *const $a) -> Self {
                // SAFETY: as above.
                unsafe { $name($get(p)) }
            }
            #[inline(always)]
            unsafe fn get_part($p: *const $a, $n: usize) -> Self {
                // SAFETY: as above.
                unsafe { $name($get_part) }
            }
            #[inline(always)]
            unsafe fn put(self, p: *mut $a) {
                // SAFETY: as above.
                unsafe { $put(p, self.0) }
            }
            #[inline(always)]
            unsafe fn put_part(self, $q: *mut $a, $k: usize) {
                let $v = self.0;
                // SAFETY: as above.
                unsafe { $put_part }
            }
            #[inline(always)]
            unsafe fn total<J: Pair>(self) -> $a {
                let $all = self.0;
                let $join = J::of::<Self>;
                // SAFETY: as above.
                unsafe { $total }
            }
        }
    };
}
pack!(
    D4,
    f64,
    4,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    part | p,
    n | _mm256_maskload_pd(p, longs(n)),
    |p, v, n| _mm256_maskstore_pd(p, longs(n), v),
    total | v,
    join | {
        let v = join(D4(v), D4(_mm256_permute2f128_pd::<1>(v, v))).0;
        _mm256_cvtsd_f64(join(D4(v), D4(_mm256_permute_pd::<5>(v))).0)
    }
);
pack!(
    S8,
    f32,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    part | p,
    n | _mm256_maskload_ps(p, words(n)),
    |p, v, n| _mm256_maskstore_ps(p, words(n), v),
    total | v,
    join | {
        let v = join(S8(v), S8(_mm256_permute2f128_ps::<1>(v, v))).0;
        let v = join(S8(v), S8(_mm256_permute_ps::<0x4E>(v))).0;
        _mm256_cvtss_f32(join(S8(v), S8(_mm256_permute_ps::<0xB1>(v))).0)
    }
);
pack!(
    D8,
    f64,
    8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    part | p,
    n | _mm512_maskz_loadu_pd(((1u32 << n) - 1) as u8, p),
    |p, v, n| _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as u8, v),
    total | v,
    _join | J::of(D4(_mm512_castpd512_pd256(v)), D4(_mm512_extractf64x4_pd::<1>(v))).total::<J>()
);
pack!(
    S16,
    f32,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    part | p,
    n | _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, p),
    |p, v, n| _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as u16, v),
    total | v,
    _join | J::of(S8(_mm512_castps512_ps256(v)), S8(_mm512_extractf32x8_ps::<1>(v))).total::<J>()
);

macro_rules! load {
    ($name:ident, $t:ty, |$x:ident| $load:expr, |$p:ident, $n:ident, $rest:ident| $part:expr) => {
        // SAFETY: as for the pack.
        unsafe impl Load<$t> for $name {
            #[inline(always)]
            unsafe fn load($x: *const $t) -> Self {
                // SAFETY: the caller vouches for the CPU and the elements.
                unsafe { $name($load) }
            }
            #[inline(always)]
            unsafe fn load_part($p: *const $t, $n: usize, rest: Self) -> Self {
                let $rest = rest.0;
                // SAFETY: as above.
                unsafe { $name($part) }
            }
        }
    };
}

/// Up to eight halves, zero behind them.
///
/// # Safety
/// `x` is readable for `n` elements, at most eight; the CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn halves(x: *const f16, n: usize) -> __m128i {
    let mut all = [f16::ZERO; 8];
    // SAFETY: as the caller says.
    unsafe {
        std::ptr::copy_nonoverlapping(x, all.as_mut_ptr(), n);
        _mm_loadu_si128(all.as_ptr().cast())
    }
}

load!(D4, f32, |x| _mm256_cvtps_pd(_mm_loadu_ps(x)), |x, n, rest| {
    let v = _mm256_cvtps_pd(_mm_maskload_ps(x, _mm256_castsi256_si128(words(n))));
    _mm256_blendv_pd(rest, v, _mm256_castsi256_pd(longs(n)))
});
load!(D4, f64, |x| _mm256_loadu_pd(x), |x, n, rest| {
    let mask = longs(n);
    _mm256_blendv_pd(rest, _mm256_maskload_pd(x, mask), _mm256_castsi256_pd(mask))
});
load!(D4, f16, |x| _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(x.cast()))), |x, n, rest| {
    let v = _mm256_cvtps_pd(_mm_cvtph_ps(halves(x, n)));
    _mm256_blendv_pd(rest, v, _mm256_castsi256_pd(longs(n)))
});
load!(S8, f32, |x| _mm256_loadu_ps(x), |x, n, rest| {
    let mask = words(n);
    _mm256_blendv_ps(rest, _mm256_maskload_ps(x, mask), _mm256_castsi256_ps(mask))
});
load!(S8, f16, |x| _mm256_cvtph_ps(_mm_loadu_si128(x.cast())), |x, n, rest| {
    _mm256_blendv_ps(rest, _mm256_cvtph_ps(halves(x, n)), _mm256_castsi256_ps(words(n)))
});
load!(D8, f32, |x| _mm512_cvtps_pd(_mm256_loadu_ps(x)), |x, n, rest| {
    let mask = ((1u32 << n) - 1) as u8;
    _mm512_mask_cvtps_pd(rest, mask, _mm256_maskz_loadu_ps(mask, x))
});
load!(D8, f64, |x| _mm512_loadu_pd(x), |x, n, rest| _mm512_mask_loadu_pd(rest, ((1u32 << n) - 1) as u8, x));
load!(D8, f16, |x| _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(x.cast()))), |x, n, rest| {
    let mask = ((1u32 << n) - 1) as u8;
    _mm512_mask_cvtps_pd(rest, mask, _mm256_cvtph_ps(_mm_maskz_loadu_epi16(mask, x.cast())))
});
load!(S16, f32, |x| _mm512_loadu_ps(x), |x, n, rest| _mm512_mask_loadu_ps(rest, ((1u32 << n) - 1) as u16, x));
load!(S16, f16, |x| _mm512_cvtph_ps(_mm256_loadu_si256(x.cast())), |x, n, rest| {
    let mask = ((1u32 << n) - 1) as u16;
    _mm512_mask_cvtph_ps(rest, mask, _mm256_maskz_loadu_epi16(mask, x.cast()))
});

// SAFETY: as for the packs; the methods are the trait's own.
unsafe impl Powers for S8 {}
unsafe impl Powers for D4 {}
unsafe impl Powers for D8 {}
// SAFETY: instructions of AVX-512 F, which the type's name stands for.
unsafe impl Powers for S16 {
    const QUICK: bool = true;

    /// `x = (16 m + j) ln 2 / 16 + r`, and `2^m (t + t (e^r - 1))` with `t = 2^(j / 16)` from a table that is a register.
    /// With so small an `r` a polynomial of degree three is enough, and multiplications are what such loops wait for.
    #[inline(always)]
    unsafe fn exp_down<I: Isa>(self) -> Self {
        const ROUND: f32 = 12_582_912.0 + 16.0 * 64.0;
        const STEP_HI: f32 = 0.043_321_7;
        const STEP_LO: f32 = -1.190_408_9e-10;
        // SAFETY: as above.
        unsafe {
            let x = _mm512_max_ps(_mm512_set1_ps(-104.0), self.0);
            let t = _mm512_fmadd_ps(x, _mm512_set1_ps(16.0 * std::f32::consts::LOG2_E), _mm512_set1_ps(ROUND));
            let n = _mm512_sub_ps(t, _mm512_set1_ps(ROUND));
            let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(STEP_HI), x);
            let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(STEP_LO), r);
            let bits = _mm512_castps_si512(t);
            // The lowest four bits choose, those above them are the exponent.
            let up = _mm512_and_si512(_mm512_slli_epi32::<19>(bits), _mm512_set1_epi32(0xFF80_0000_u32 as i32));
            let root = _mm512_castps_si512(_mm512_permutexvar_ps(bits, _mm512_loadu_ps(ROOTS.as_ptr())));
            let power = _mm512_castsi512_ps(_mm512_add_epi32(root, up));
            let p = _mm512_fmadd_ps(r, _mm512_set1_ps(0.166_670_1), _mm512_set1_ps(0.500_016_33));
            let p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0));
            S16(_mm512_fmadd_ps(_mm512_mul_ps(power, r), p, power))
        }
    }
}

/// `2^(j / 16)`.
static ROOTS: [f32; 16] = [
    1.0, 1.0442737, 1.0905077, 1.1387886, 1.1892071, 1.2418578, 1.2968396, 1.3542556, SQRT_2, 1.4768262, 1.5422108,
    1.6104903, 1.6817929, 1.7562522, 1.8340081, 1.9152066,
];
