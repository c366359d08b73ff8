//! The register tile of the matrix product and the loops for a matrix times a vector, once, generic over the vector unit.
//!
//! One register tile of C (`MR` rows, one or two vectors wide) is kept in registers while k runs. Rows of B are loaded as
//! vectors, elements of A are broadcast from wherever they lie, so that nothing has to be copied first.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// One tile to compute. `a` is walked by `a_row` and `a_col`; a row of `b` and of `c` is contiguous.
pub struct Tile<T> {
    pub k: usize,
    pub a: *const T,
    pub a_row: isize,
    pub a_col: isize,
    pub b: *const T,
    pub b_row: isize,
    pub c: *mut T,
    pub c_row: isize,
    /// Columns, at most `NR`.
    pub cols: usize,
    pub accumulate: bool,
}

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
    /// Brings a line that is about to be used into the cache.
    /// # Safety
    /// See the trait; `p` may be any address.
    unsafe fn prefetch(p: *const T);
    /// A tile of `rows` rows, at most `MR`.
    /// # Safety
    /// See [`tile`].
    #[inline]
    unsafe fn rows(t: &Tile<T>, rows: usize) {
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
    /// [`tile`], compiled for this vector unit.
    /// # Safety
    /// See [`tile`].
    unsafe fn run<const R: usize, const NV: usize, const COPIED: bool>(t: &Tile<T>);
    /// [`dots`], compiled for this vector unit.
    /// # Safety
    /// See [`dots`].
    unsafe fn dots(d: &Gemv<T>);
    /// [`axpys`], compiled for this vector unit.
    /// # Safety
    /// See [`axpys`].
    unsafe fn axpys(d: &Gemv<T>);
}

/// `C = A·B` or `C += A·B` for `R` rows and at most `NV` vectors of columns.
///
/// # Safety
/// The CPU has the unit `S`; the pointers of `t` cover `R × k`, `k × cols` and `R × cols` elements at the given strides;
/// `cols` is above `(NV - 1) · LANES` and at most `NV · LANES`.
#[inline(always)]
unsafe fn tile<T: Copy, S: Simd<T>, const R: usize, const NV: usize, const COPIED: bool>(t: &Tile<T>) {
    // SAFETY: every address is inside the areas that the caller vouches for; vectors but the last are full.
    unsafe {
        let mask = S::mask(t.cols - (NV - 1) * S::LANES);
        let mut acc = [[S::zero(); NV]; R];
        let (mut a, mut b) = (t.a, t.b);
        // A pointer for every four rows, unrelated to the compiler: one chain of additions through all rows would take
        // longer than the multiplications.
        let mut rows: [*const T; 4] =
            std::array::from_fn(|i| std::hint::black_box(t.a.wrapping_offset(4 * i as isize * t.a_row)));
        if t.accumulate {
            for i in 0..R {
                S::prefetch(t.c.offset(i as isize * t.c_row));
                S::prefetch(t.c.offset(i as isize * t.c_row).wrapping_add(t.cols - 1));
            }
        }
        for _ in 0..t.k {
            let mut row = [S::zero(); NV];
            for (v, x) in row.iter_mut().enumerate() {
                let p = b.add(v * S::LANES);
                *x = if v + 1 < NV { S::load(p) } else { S::load_part(p, mask) };
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let x =
                    if COPIED { S::splat(a.add(i)) } else { S::splat(rows[i / 4].offset((i % 4) as isize * t.a_row)) };
                for v in 0..NV {
                    acc[v] = S::fma(x, row[v], acc[v]);
                }
            }
            if COPIED {
                (a, b) = (a.wrapping_add(S::PAD), b.wrapping_add(S::NR));
            } else {
                rows = rows.map(|row| row.wrapping_offset(t.a_col));
                b = b.wrapping_offset(t.b_row);
            }
        }
        for (i, acc) in acc.iter().enumerate() {
            let c = t.c.offset(i as isize * t.c_row);
            for (v, &x) in acc.iter().enumerate() {
                let p = c.add(v * S::LANES);
                if v + 1 < NV {
                    S::store(p, if t.accumulate { S::add(S::load(p), x) } else { x });
                } else {
                    S::store_part(p, mask, if t.accumulate { S::add(S::load_part(p, mask), x) } else { x });
                }
            }
        }
    }
}

/// A matrix times a vector: `y[i] (+)= Σ m[i, l] · x[l]`.
pub struct Gemv<T> {
    pub rows: usize,
    pub k: usize,
    pub m: *const T,
    /// The stride that is not one: of rows for [`dots`], of columns for [`axpys`].
    pub stride: isize,
    pub x: *const T,
    pub y: *mut T,
    pub y_stride: isize,
    pub accumulate: bool,
}

/// Rows are contiguous: a dot product for each, four at a time so that `x` is loaded once.
///
/// # Safety
/// The CPU has the unit `S`; the pointers of `d` cover what it describes.
#[inline(always)]
unsafe fn dots<T: Copy + std::ops::Add<Output = T>, S: Simd<T>>(d: &Gemv<T>) {
    // SAFETY: the caller vouches for the areas; the last step of a row is a partial vector.
    unsafe {
        let mut i = 0;
        while i + 4 <= d.rows {
            dot_rows::<T, S, 4, 2>(d, i);
            i += 4;
        }
        while i < d.rows {
            dot_rows::<T, S, 1, 8>(d, i);
            i += 1;
        }
    }
}

/// `R` dot products from row `i`, each with `U` running sums.
///
/// # Safety
/// As [`dots`], with `i + R` at most `rows`.
#[inline(always)]
unsafe fn dot_rows<T: Copy + std::ops::Add<Output = T>, S: Simd<T>, const R: usize, const U: usize>(
    d: &Gemv<T>,
    i: usize,
) {
    // SAFETY: the caller vouches for the areas; the last step of a row is a partial vector.
    unsafe {
        let m = d.m.offset(i as isize * d.stride);
        let mut acc = [[S::zero(); U]; R];
        let mut l = 0;
        while l + U * S::LANES <= d.k {
            for u in 0..U {
                let at = l + u * S::LANES;
                let x = S::load(d.x.add(at));
                for (r, acc) in acc.iter_mut().enumerate() {
                    acc[u] = S::fma(S::load(m.offset(r as isize * d.stride).add(at)), x, acc[u]);
                }
            }
            l += U * S::LANES;
        }
        while l < d.k {
            let mask = S::mask((d.k - l).min(S::LANES));
            let x = S::load_part(d.x.add(l), mask);
            for (r, acc) in acc.iter_mut().enumerate() {
                acc[0] = S::fma(S::load_part(m.offset(r as isize * d.stride).add(l), mask), x, acc[0]);
            }
            l += S::LANES;
        }
        for (r, acc) in acc.iter().enumerate() {
            let mut lanes = [*d.x; 32];
            let sum = acc[1..].iter().fold(acc[0], |s, &v| S::add(s, v));
            S::store(lanes.as_mut_ptr(), sum);
            let mut width = S::LANES;
            while width > 1 {
                width /= 2;
                for j in 0..width {
                    lanes[j] = lanes[j] + lanes[j + width];
                }
            }
            let y = d.y.offset((i + r) as isize * d.y_stride);
            *y = if d.accumulate { *y + lanes[0] } else { lanes[0] };
        }
    }
}

/// Columns are contiguous, and so is `y`: adds four scaled columns at a time to a piece of `y` that stays in cache.
///
/// # Safety
/// The CPU has the unit `S`; the pointers of `d` cover what it describes and `y_stride` is 1.
#[inline(always)]
unsafe fn axpys<T: Copy, S: Simd<T>>(d: &Gemv<T>) {
    const PIECE: usize = 2048;
    // SAFETY: the caller vouches for the areas; `from..to` lies in `0..rows` and `l + R` is at most `k`.
    unsafe {
        let mut from = 0;
        while from < d.rows {
            let to = (from + PIECE).min(d.rows);
            let mut l = 0;
            while l + 4 <= d.k {
                axpy_columns::<T, S, 4>(d, from, to, l);
                l += 4;
            }
            while l < d.k {
                axpy_columns::<T, S, 1>(d, from, to, l);
                l += 1;
            }
            from = to;
        }
    }
}

/// Adds columns `l..l + R` to `y[from..to]`; the first columns replace what was there unless accumulating.
///
/// # Safety
/// As [`axpys`], with `to` at most `rows` and `l + R` at most `k`.
#[inline(always)]
unsafe fn axpy_columns<T: Copy, S: Simd<T>, const R: usize>(d: &Gemv<T>, from: usize, to: usize, l: usize) {
    // SAFETY: as the caller says; the last step is a partial vector.
    unsafe {
        let read = d.accumulate || l > 0;
        let mut x = [S::zero(); R];
        for (r, x) in x.iter_mut().enumerate() {
            *x = S::splat(d.x.add(l + r));
        }
        let column = |r: usize, at: usize| d.m.offset((l + r) as isize * d.stride).add(at);
        let mut at = from;
        while at + S::LANES <= to {
            let y = d.y.add(at);
            let mut sum = if read { S::load(y) } else { S::zero() };
            for (r, &x) in x.iter().enumerate() {
                sum = S::fma(S::load(column(r, at)), x, sum);
            }
            S::store(y, sum);
            at += S::LANES;
        }
        if at < to {
            let (y, mask) = (d.y.add(at), S::mask(to - at));
            let mut sum = if read { S::load_part(y, mask) } else { S::zero() };
            for (r, &x) in x.iter().enumerate() {
                sum = S::fma(S::load_part(column(r, at), mask), x, sum);
            }
            S::store_part(y, mask, sum);
        }
    }
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
        unsafe fn dots(d: &Gemv<$t>) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn go<S: Simd<$t>>(d: &Gemv<$t>) {
                // SAFETY: as the caller of `dots` says.
                unsafe { dots::<$t, S>(d) }
            }
            // SAFETY: the caller vouches for the CPU and the areas.
            unsafe { go::<Self>(d) }
        }
        unsafe fn axpys(d: &Gemv<$t>) {
            $(#[target_feature(enable = $feature)])?
            unsafe fn go<S: Simd<$t>>(d: &Gemv<$t>) {
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
     [$zero:ident $splat:ident $load:ident $store:ident $fma:ident $add:ident $load_part:ident $store_part:ident]) => {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: each method is the instruction of that name; the trait's conditions are the instruction's own.
        unsafe impl Simd<$t> for $unit {
            type V = $v;
            type M = $m;
            const LANES: usize = $lanes;
            const MR: usize = $rows;
            compiled!($t, $feature);
            x86!(@method zero() -> $v, $zero());
            x86!(@method splat(p: *const $t) -> $v, $splat(*p));
            x86!(@method load(p: *const $t) -> $v, $load(p));
            x86!(@method store(p: *mut $t, v: $v) -> (), $store(p, v));
            x86!(@method mask(n: usize) -> $m, $mask(n));
            x86!(@method load_part(p: *const $t, m: $m) -> $v, $load_part(m, p));
            x86!(@method store_part(p: *mut $t, m: $m, v: $v) -> (), $store_part(p, m, v));
            x86!(@method fma(a: $v, b: $v, c: $v) -> $v, $fma(a, b, c));
            x86!(@method add(a: $v, b: $v) -> $v, $add(a, b));
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
/// AVX2 with FMA: 16 registers of 32 bytes.
#[derive(Clone, Copy)]
pub struct Middle;
/// What every CPU of the target has: arrays that the compiler turns into SSE2 or NEON.
#[derive(Clone, Copy)]
pub struct Plain;

x86!(Wide, f32, __m512, u16, 16, 14, "avx512f", |n: usize| ((1u32 << n) - 1) as u16,
    [_mm512_setzero_ps _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_fmadd_ps _mm512_add_ps
     _mm512_maskz_loadu_ps _mm512_mask_storeu_ps]);
x86!(Wide, f64, __m512d, u8, 8, 14, "avx512f", |n: usize| ((1u32 << n) - 1) as u8,
    [_mm512_setzero_pd _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_fmadd_pd _mm512_add_pd
     _mm512_maskz_loadu_pd _mm512_mask_storeu_pd]);
x86!(Middle, f32, __m256, __m256i, 8, 6, "avx2,fma",
    |n: usize| _mm256_loadu_si256([[-1i32; 8], [0; 8]].as_flattened().as_ptr().add(8 - n).cast()),
    [_mm256_setzero_ps _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_fmadd_ps _mm256_add_ps
     load_part_f32 _mm256_maskstore_ps]);
x86!(Middle, f64, __m256d, __m256i, 4, 6, "avx2,fma",
    |n: usize| _mm256_loadu_si256([[-1i64; 4], [0; 4]].as_flattened().as_ptr().add(4 - n).cast()),
    [_mm256_setzero_pd _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_fmadd_pd _mm256_add_pd
     load_part_f64 _mm256_maskstore_pd]);

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
            unsafe fn prefetch(_: *const $t) {}
        }
    };
}
plain!(f32, 4);
plain!(f64, 2);
