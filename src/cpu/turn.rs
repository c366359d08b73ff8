//! Transposed copies: blocks go through vector registers, where rows become columns.

/// `dst[j * to + i] = src[i * from + j]` for `i` below `rows` and `j` below `cols`.
///
/// # Safety
/// Every element named by the formula is inside its memory, and the two do not overlap.
pub unsafe fn turn<T: Copy>(src: *const T, from: isize, dst: *mut T, to: isize, rows: usize, cols: usize) {
    // SAFETY: the caller vouches for the elements; equal size makes the casts exact, and the CPU has what is called.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if crate::base::Level::get() != crate::base::Level::Baseline {
            match size_of::<T>() {
                4 => return x86::turn_4(src.cast(), from, dst.cast(), to, rows, cols),
                8 => return x86::turn_8(src.cast(), from, dst.cast(), to, rows, cols),
                _ => {}
            }
        }
        // Blocks that stay in the first-level cache on both sides.
        for j0 in (0..cols).step_by(16) {
            for i0 in (0..rows).step_by(16) {
                scalar(src, from, dst, to, i0..rows.min(i0 + 16), j0..cols.min(j0 + 16));
            }
        }
    }
}

/// # Safety
/// As [`turn`], for the elements in both ranges.
#[inline(always)]
unsafe fn scalar<T: Copy>(
    src: *const T,
    from: isize,
    dst: *mut T,
    to: isize,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
) {
    for j in cols {
        for i in rows.clone() {
            // SAFETY: as the caller says.
            unsafe { *dst.offset(j as isize * to + i as isize) = *src.offset(i as isize * from + j as isize) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::scalar;
    use std::arch::x86_64::*;

    macro_rules! blocks {
        ($name:ident, $t:ty, $side:literal, $tile:ident) => {
            /// # Safety
            /// As [`turn`](super::turn); the CPU has AVX2.
            #[target_feature(enable = "avx2")]
            pub unsafe fn $name(src: *const $t, from: isize, dst: *mut $t, to: isize, rows: usize, cols: usize) {
                if rows < $side || cols < $side {
                    // SAFETY: as the caller says.
                    return unsafe { scalar(src, from, dst, to, 0..rows, 0..cols) };
                }
                for j in (0..cols).step_by($side) {
                    for i in (0..rows).step_by($side) {
                        // The last block of a row or column of blocks reaches back, over elements that are copied twice.
                        let (i, j) = (i.min(rows - $side) as isize, j.min(cols - $side) as isize);
                        // SAFETY: blocks lie inside what the caller vouches for.
                        unsafe { $tile(src.offset(i * from + j), from, dst.offset(j * to + i), to) };
                    }
                }
            }
        };
    }
    blocks!(turn_4, f32, 8, tile_4);
    blocks!(turn_8, f64, 4, tile_8);

    /// # Safety
    /// Eight rows of eight elements on both sides; the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn tile_4(src: *const f32, from: isize, dst: *mut f32, to: isize) {
        // SAFETY: as the caller says.
        unsafe {
            for half in 0..2 {
                // Rows i and i + 4 side by side, four columns of each.
                let pair = |i: isize| {
                    let p = src.offset(i * from + half * 4);
                    let low = _mm256_castps128_ps256(_mm_loadu_ps(p));
                    _mm256_insertf128_ps(low, _mm_loadu_ps(p.offset(4 * from)), 1)
                };
                let (a, b, c, d) = (pair(0), pair(1), pair(2), pair(3));
                let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let out = dst.offset(half * 4 * to);
                _mm256_storeu_ps(out, _mm256_shuffle_ps(ab_low, cd_low, 0x44));
                _mm256_storeu_ps(out.offset(to), _mm256_shuffle_ps(ab_low, cd_low, 0xEE));
                _mm256_storeu_ps(out.offset(2 * to), _mm256_shuffle_ps(ab_high, cd_high, 0x44));
                _mm256_storeu_ps(out.offset(3 * to), _mm256_shuffle_ps(ab_high, cd_high, 0xEE));
            }
        }
    }

    /// # Safety
    /// Four rows of four elements on both sides; the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn tile_8(src: *const f64, from: isize, dst: *mut f64, to: isize) {
        // SAFETY: as the caller says.
        unsafe {
            for half in 0..2 {
                let pair = |i: isize| {
                    let p = src.offset(i * from + half * 2);
                    let low = _mm256_castpd128_pd256(_mm_loadu_pd(p));
                    _mm256_insertf128_pd(low, _mm_loadu_pd(p.offset(2 * from)), 1)
                };
                let (a, b) = (pair(0), pair(1));
                let out = dst.offset(half * 2 * to);
                _mm256_storeu_pd(out, _mm256_unpacklo_pd(a, b));
                _mm256_storeu_pd(out.offset(to), _mm256_unpackhi_pd(a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + PartialEq + std::fmt::Debug>(from: impl Fn(usize) -> T) {
        for (rows, cols) in [(0, 3), (1, 1), (3, 5), (8, 8), (9, 17), (16, 4), (33, 40)] {
            let (wide, tall) = (cols + 3, rows + 2);
            let src: Vec<T> = (0..rows * wide + 8).map(&from).collect();
            let mut dst = vec![from(0); cols * tall + 8];
            let before = dst.clone();
            // SAFETY: the vectors hold the views.
            unsafe { turn(src.as_ptr(), wide as isize, dst.as_mut_ptr(), tall as isize, rows, cols) };
            for (at, &v) in dst.iter().enumerate() {
                let (j, i) = (at / tall, at % tall);
                let want = if i < rows && j < cols { src[i * wide + j] } else { before[at] };
                assert_eq!(v, want, "{rows}x{cols} at {j}, {i}");
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        check(|i| i as f32);
        check(|i| i as f64);
        check(|i| i as u16);
        check(|i| i as u8);
    }
}
