//! The vector units that the loops of the matrix product are written for, and the compilation of the loops for each.

use super::kernel::{Tile, copy_panel, tile};
use super::thin::{Thin, axpys, dots};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A vector unit with elements of type `T`.
///
/// # Safety
/// The instructions of an implementor may run only on a CPU that has them; pointers cover what the name says.
pub unsafe trait Simd<T: Copy>: Copy {
    type V: Copy;
    /// Which of the lanes take part in a partial load or store.
    type M: Copy;
    const LANES: usize;
    /// Rows of the largest tile, which is two vectors wide.
    const MR: usize;
    const NR: usize = 2 * Self::LANES;
    /// Distance between steps of a copied block of A: the rows of a tile, rounded up for the vectors that copy them.
    const PAD: usize = Self::MR.next_multiple_of(8);
    /// Columns up to which [`Simd::narrow`] takes a tile.
    const NARROW: usize = 0;

    /// # Safety
    /// See the trait.
    unsafe fn zero() -> Self::V;
    /// # Safety
    /// See the trait; `p` is readable.
    unsafe fn splat(p: *const T) -> Self::V;
    /// # Safety
    /// See the trait; `p` is readable for `LANES` elements.
    unsafe fn load(p: *const T) -> Self::V;
    /// # Safety
    /// See the trait; `p` is writable for `LANES` elements.
    unsafe fn store(p: *mut T, v: Self::V);
    /// # Safety
    /// See the trait; `n` is 1 to `LANES`.
    unsafe fn mask(n: usize) -> Self::M;
    /// # Safety
    /// See the trait; `p` is readable for the lanes of `m`. Other lanes are zero.
    unsafe fn load_part(p: *const T, m: Self::M) -> Self::V;
    /// # Safety
    /// See the trait; `p` is writable for the lanes of `m`.
    unsafe fn store_part(p: *mut T, m: Self::M, v: Self::V);
    /// `a * b + c`
    /// # Safety
    /// See the trait.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// # Safety
    /// See the trait.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// The sum of the lanes.
    /// # Safety
    /// See the trait.
    unsafe fn sum(v: Self::V) -> T;
    /// Brings a line that is about to be used into the cache.
    /// # Safety
    /// See the trait; `p` may be any address.
    unsafe fn prefetch(p: *const T);
    /// A tile of `rows` rows, at most `MR`.
    /// # Safety
    /// See [`tile`].
    #[inline]
    unsafe fn rows(t: &Tile<T>, rows: usize) {
        if t.cols <= Self::NARROW {
            // SAFETY: as the caller says.
            return unsafe { Self::narrow(t, rows) };
        }
        let wide = t.cols > Self::LANES;
        let copied = t.a_row == 1 && t.a_col == Self::PAD as isize && t.b_row == Self::NR as isize;
        macro_rules! pick {
            ($($r:literal)*) => {
                match rows {
                    // SAFETY: as the caller says.
                    $($r => unsafe {
                        match (wide, copied) {
                            (true, true) => Self::run::<$r, 2, true>(t),
                            (true, false) => Self::run::<$r, 2, false>(t),
                            (false, _) => Self::run::<$r, 1, false>(t),
                        }
                    },)*
                    _ => unreachable!("a tile has 1 to {} rows", Self::MR),
                }
            };
        }
        if Self::MR > 8 { pick!(1 2 3 4 5 6 7 8 9 10 11 12 13 14) } else { pick!(1 2 3 4 5 6 7 8) }
    }
    /// A tile of at most `NARROW` columns, where shorter vectors take less time.
    /// # Safety
    /// See [`tile`].
    unsafe fn narrow(t: &Tile<T>, rows: usize) {
        // SAFETY: as the caller says.
        unsafe { Self::rows(t, rows) }
    }
    /// [`copy_panel`], compiled for this vector unit.
    /// # Safety
    /// See [`copy_panel`].
    unsafe fn panel(b: *const T, b_row: isize, k: usize, cols: usize, out: *mut T);
    /// [`tile`], compiled for this vector unit.
    /// # Safety
    /// See [`tile`].
    unsafe fn run<const R: usize, const NV: usize, const COPIED: bool>(t: &Tile<T>);
    /// [`dots`], compiled for this vector unit.
    /// # Safety
    /// See [`dots`].
    unsafe fn dots(d: &Thin<T>);
    /// [`axpys`], compiled for this vector unit.
    /// # Safety
    /// See [`axpys`].
    unsafe fn axpys(d: &Thin<T>);
}

/// The methods that compile the generic loops inside a function that enables the instruction set.
macro_rules! compiled {
    ($t:ty $(, $feature:literal)?) => {
        #[inline]
        unsafe fn run<const R: usize, const NV: usize, const COPIED: bool>(t: &Tile<$t>) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn go<S: Simd<$t>, const R: usize, const NV: usize, const COPIED: bool>(t: &Tile<$t>) {
                // SAFETY: as the caller of `run` says.
                unsafe { tile::<$t, S, R, NV, COPIED>(t) }
            }
            // SAFETY: the caller vouches for the CPU and the areas.
            unsafe { go::<Self, R, NV, COPIED>(t) }
        }
        unsafe fn panel(b: *const $t, b_row: isize, k: usize, cols: usize, out: *mut $t) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn go<S: Simd<$t>>(b: *const $t, b_row: isize, k: usize, cols: usize, out: *mut $t) {
                // SAFETY: as the caller of `panel` says.
                unsafe { copy_panel::<$t, S>(b, b_row, k, cols, out) }
            }
            // SAFETY: the caller vouches for the CPU and the areas.
            unsafe { go::<Self>(b, b_row, k, cols, out) }
        }
        unsafe fn dots(d: &Thin<$t>) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn go<S: Simd<$t>>(d: &Thin<$t>) {
                // SAFETY: as the caller of `dots` says.
                unsafe { dots::<$t, S>(d) }
            }
            // SAFETY: the caller vouches for the CPU and the areas.
            unsafe { go::<Self>(d) }
        }
        unsafe fn axpys(d: &Thin<$t>) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn go<S: Simd<$t>>(d: &Thin<$t>) {
                // SAFETY: as the caller of `axpys` says.
                unsafe { axpys::<$t, S>(d) }
            }
            // SAFETY: the caller vouches for the CPU and the areas.
            unsafe { go::<Self>(d) }
        }
    };
}

/// The x86 units: the methods are single instructions.
macro_rules! x86 {
    ($unit:ident, $t:ty, $v:ty, $m:ty, $lanes:literal, $rows:literal, $feature:literal, $mask:expr,
     [$zero:ident $splat:ident $load:ident $store:ident $fma:ident $add:ident $sum:ident $load_part:ident
      $store_part:ident] $(, $half:ident)?) => {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: each method is the instruction of that name; the trait's conditions are the instruction's own.
        unsafe impl Simd<$t> for $unit {
            type V = $v;
            type M = $m;
            const LANES: usize = $lanes;
            const MR: usize = $rows;
            compiled!($t, $feature);
            $(
                const NARROW: usize = <$half as Simd<$t>>::LANES;
                unsafe fn narrow(t: &Tile<$t>, rows: usize) {
                    // SAFETY: as the caller says; who has the longer vectors has these.
                    unsafe { <$half as Simd<$t>>::rows(t, rows) }
                }
            )?
            x86!(@method zero() -> $v, $zero());
            x86!(@method splat(p: *const $t) -> $v, $splat(*p));
            x86!(@method load(p: *const $t) -> $v, $load(p));
            x86!(@method store(p: *mut $t, v: $v) -> (), $store(p, v));
            x86!(@method mask(n: usize) -> $m, $mask(n));
            x86!(@method load_part(p: *const $t, m: $m) -> $v, $load_part(m, p));
            x86!(@method store_part(p: *mut $t, m: $m, v: $v) -> (), $store_part(p, m, v));
            x86!(@method fma(a: $v, b: $v, c: $v) -> $v, $fma(a, b, c));
            x86!(@method add(a: $v, b: $v) -> $v, $add(a, b));
            x86!(@method sum(v: $v) -> $t, $sum(v));
            x86!(@method prefetch(p: *const $t) -> (), _mm_prefetch(p.cast(), _MM_HINT_T0));
        }
    };
    (@method $name:ident($($arg:ident: $ty:ty),*) -> $out:ty, $body:expr) => {
        #[inline(always)]
        #[allow(unused_unsafe, reason = "the masks of AVX-512 are plain numbers")]
        unsafe fn $name($($arg: $ty),*) -> $out {
            // SAFETY: the caller vouches for the CPU and the pointer.
            unsafe { $body }
        }
    };
}

/// AVX-512: 32 registers of 64 bytes.
#[derive(Clone, Copy)]
pub struct Wide;
/// The same registers, 32 bytes of each: for the last few columns of C.
#[derive(Clone, Copy)]
pub struct Half;
/// AVX2 with FMA: 16 registers of 32 bytes.
#[derive(Clone, Copy)]
pub struct Middle;
/// What every CPU of the target has: arrays that the compiler turns into SSE2 or NEON.
#[derive(Clone, Copy)]
pub struct Plain;

x86!(Wide, f32, __m512, u16, 16, 14, "avx512f,avx512vl", |n: usize| ((1u32 << n) - 1) as u16,
    [_mm512_setzero_ps _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_fmadd_ps _mm512_add_ps
     _mm512_reduce_add_ps _mm512_maskz_loadu_ps _mm512_mask_storeu_ps], Half);
x86!(Wide, f64, __m512d, u8, 8, 14, "avx512f,avx512vl", |n: usize| ((1u32 << n) - 1) as u8,
    [_mm512_setzero_pd _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_fmadd_pd _mm512_add_pd
     _mm512_reduce_add_pd _mm512_maskz_loadu_pd _mm512_mask_storeu_pd], Half);
x86!(Half, f32, __m256, u8, 8, 14, "avx512f,avx512vl", |n: usize| ((1u32 << n) - 1) as u8,
    [_mm256_setzero_ps _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_add_ps
     sum_f32 _mm256_maskz_loadu_ps _mm256_mask_storeu_ps]);
x86!(Half, f64, __m256d, u8, 4, 14, "avx512f,avx512vl", |n: usize| ((1u32 << n) - 1) as u8,
    [_mm256_setzero_pd _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_fmadd_pd _mm256_add_pd
     sum_f64 _mm256_maskz_loadu_pd _mm256_mask_storeu_pd]);
x86!(Middle, f32, __m256, __m256i, 8, 6, "avx2,fma",
    |n: usize| _mm256_loadu_si256([[-1i32; 8], [0; 8]].as_flattened().as_ptr().add(8 - n).cast()),
    [_mm256_setzero_ps _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_add_ps
     sum_f32 load_part_f32 _mm256_maskstore_ps]);
x86!(Middle, f64, __m256d, __m256i, 4, 6, "avx2,fma",
    |n: usize| _mm256_loadu_si256([[-1i64; 4], [0; 4]].as_flattened().as_ptr().add(4 - n).cast()),
    [_mm256_setzero_pd _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_fmadd_pd _mm256_add_pd
     sum_f64 load_part_f64 _mm256_maskstore_pd]);

/// # Safety
/// The CPU has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn sum_f32(v: __m256) -> f32 {
    // SAFETY: as the caller says.
    unsafe {
        let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps(v, v, 1)))
    }
}

/// # Safety
/// The CPU has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn sum_f64(v: __m256d) -> f64 {
    // SAFETY: as the caller says.
    unsafe {
        let v = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
        _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)))
    }
}

/// The arguments in the order that AVX-512 has.
///
/// # Safety
/// The CPU has AVX2 and `p` is readable for the lanes of `m`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_part_f32(m: __m256i, p: *const f32) -> __m256 {
    // SAFETY: as the caller says.
    unsafe { _mm256_maskload_ps(p, m) }
}

/// The arguments in the order that AVX-512 has.
///
/// # Safety
/// The CPU has AVX2 and `p` is readable for the lanes of `m`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_part_f64(m: __m256i, p: *const f64) -> __m256d {
    // SAFETY: as the caller says.
    unsafe { _mm256_maskload_pd(p, m) }
}

macro_rules! plain {
    ($t:ty, $lanes:literal) => {
        // SAFETY: plain Rust that touches the lanes that the trait names.
        unsafe impl Simd<$t> for Plain {
            type V = [$t; $lanes];
            type M = usize;
            const LANES: usize = $lanes;
            const MR: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };
            compiled!($t);
            #[inline(always)]
            unsafe fn zero() -> Self::V {
                [0.0; $lanes]
            }
            #[inline(always)]
            unsafe fn splat(p: *const $t) -> Self::V {
                // SAFETY: the caller vouches for the pointer; the same below.
                [unsafe { *p }; $lanes]
            }
            #[inline(always)]
            unsafe fn load(p: *const $t) -> Self::V {
                // SAFETY: see `splat`.
                unsafe { p.cast::<Self::V>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(p: *mut $t, v: Self::V) {
                // SAFETY: see `splat`.
                unsafe { p.cast::<Self::V>().write_unaligned(v) }
            }
            #[inline(always)]
            unsafe fn mask(n: usize) -> usize {
                n
            }
            #[inline(always)]
            unsafe fn load_part(p: *const $t, m: usize) -> Self::V {
                if m == $lanes {
                    // SAFETY: see `splat`.
                    return unsafe { Self::load(p) };
                }
                // SAFETY: see `splat`; lanes from `m` on are not read.
                std::array::from_fn(|i| if i < m { unsafe { *p.add(i) } } else { 0.0 })
            }
            #[inline(always)]
            unsafe fn store_part(p: *mut $t, m: usize, v: Self::V) {
                for (i, &x) in v.iter().enumerate().take(m) {
                    // SAFETY: see `splat`; lanes from `m` on are not written.
                    unsafe { *p.add(i) = x };
                }
            }
            #[inline(always)]
            unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // Without the instruction, `mul_add` would be a library call.
                std::array::from_fn(|i| {
                    if cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] }
                })
            }
            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                std::array::from_fn(|i| a[i] + b[i])
            }
            #[inline(always)]
            unsafe fn sum(v: Self::V) -> $t {
                v.iter().sum()
            }
            #[inline(always)]
            unsafe fn prefetch(_: *const $t) {}
        }
    };
}
plain!(f32, 4);
plain!(f64, 2);
