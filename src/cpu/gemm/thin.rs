//! Products with a column or a few: bound by reading the matrix, which is read once, in order.

use super::simd::Simd;

/// A matrix times a few columns: `y[i, j] (+)= Σ m[i, l] · x[l, j]`.
pub struct Thin<T> {
    pub rows: usize,
    /// One for [`axpys`].
    pub cols: usize,
    pub k: usize,
    pub m: *const T,
    /// The stride that is not one: of rows for [`dots`], of columns for [`axpys`].
    pub stride: isize,
    /// Each column is contiguous.
    pub x: *const T,
    pub x_col: isize,
    pub y: *mut T,
    pub y_row: isize,
    pub y_col: isize,
    pub accumulate: bool,
}

/// Rows are contiguous: a dot product for each and each column, blocks of them at a time, so that what is loaded is used
/// several times.
///
/// # Safety
/// The CPU has the unit `S`; the pointers of `d` cover what it describes.
#[inline(always)]
pub unsafe fn dots<T: Copy + std::ops::Add<Output = T>, S: Simd<T>>(d: &Thin<T>) {
    // As many sums as there are registers for.
    let most = if S::MR > 8 || d.cols == 1 { 4 } else { 2 };
    let mut i = 0;
    while i < d.rows {
        let high = if d.rows - i >= most { most } else { 1 };
        let mut j = 0;
        while j < d.cols {
            let wide = (d.cols - j).min(4);
            // SAFETY: as the caller says.
            unsafe {
                match (high, wide) {
                    (4, 1) => block::<T, S, 4, 1, 2>(d, i, j),
                    (4, 2) => block::<T, S, 4, 2, 2>(d, i, j),
                    (4, 3) => block::<T, S, 4, 3, 1>(d, i, j),
                    (4, _) => block::<T, S, 4, 4, 1>(d, i, j),
                    (2, 1) => block::<T, S, 2, 1, 4>(d, i, j),
                    (2, 2) => block::<T, S, 2, 2, 2>(d, i, j),
                    (2, 3) => block::<T, S, 2, 3, 1>(d, i, j),
                    (2, _) => block::<T, S, 2, 4, 1>(d, i, j),
                    (_, 1) => block::<T, S, 1, 1, 8>(d, i, j),
                    (_, 2) => block::<T, S, 1, 2, 4>(d, i, j),
                    (_, 3) => block::<T, S, 1, 3, 2>(d, i, j),
                    (_, _) => block::<T, S, 1, 4, 2>(d, i, j),
                }
            }
            j += wide;
        }
        i += high;
    }
}

/// `R` times `N` dot products from row `i` and column `j`, each with `U` running sums.
///
/// # Safety
/// As [`dots`], with `i + R` at most `rows` and `j + N` at most `cols`.
#[inline(always)]
unsafe fn block<T, S: Simd<T>, const R: usize, const N: usize, const U: usize>(d: &Thin<T>, i: usize, j: usize)
where
    T: Copy + std::ops::Add<Output = T>,
{
    // SAFETY: the caller vouches for the areas; the last step of a row is a partial vector.
    unsafe {
        let m = d.m.offset(i as isize * d.stride);
        let x = d.x.offset(j as isize * d.x_col);
        let mut acc = [[[S::zero(); N]; R]; U];
        let mut l = 0;
        while l + U * S::LANES <= d.k {
            for (u, acc) in acc.iter_mut().enumerate() {
                let at = l + u * S::LANES;
                let mut columns = [S::zero(); N];
                for (n, column) in columns.iter_mut().enumerate() {
                    *column = S::load(x.offset(n as isize * d.x_col).add(at));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let row = S::load(m.offset(r as isize * d.stride).add(at));
                    for n in 0..N {
                        acc[n] = S::fma(row, columns[n], acc[n]);
                    }
                }
            }
            l += U * S::LANES;
        }
        while l < d.k {
            let mask = S::mask((d.k - l).min(S::LANES));
            let mut columns = [S::zero(); N];
            for (n, column) in columns.iter_mut().enumerate() {
                *column = S::load_part(x.offset(n as isize * d.x_col).add(l), mask);
            }
            for (r, acc) in acc[0].iter_mut().enumerate() {
                let row = S::load_part(m.offset(r as isize * d.stride).add(l), mask);
                for n in 0..N {
                    acc[n] = S::fma(row, columns[n], acc[n]);
                }
            }
            l += S::LANES;
        }
        for r in 0..R {
            for n in 0..N {
                let mut sum = acc[0][r][n];
                for part in &acc[1..] {
                    sum = S::add(sum, part[r][n]);
                }
                let sum = S::sum(sum);
                let y = d.y.offset((i + r) as isize * d.y_row + (j + n) as isize * d.y_col);
                *y = if d.accumulate { *y + sum } else { sum };
            }
        }
    }
}

/// Columns are contiguous, and so is `y`: adds some scaled columns at a time to a piece of `y` that stays in cache.
///
/// # Safety
/// The CPU has the unit `S`; the pointers of `d` cover what it describes and `y_row` is 1.
#[inline(always)]
pub unsafe fn axpys<T: Copy, S: Simd<T>>(d: &Thin<T>) {
    const PIECE: usize = 2048;
    // SAFETY: the caller vouches for the areas; `from..to` lies in `0..rows` and `l + R` is at most `k`.
    unsafe {
        let mut from = 0;
        while from < d.rows {
            let to = (from + PIECE).min(d.rows);
            let mut l = 0;
            while l + 8 <= d.k {
                axpy_columns::<T, S, 8>(d, from, to, l);
                l += 8;
            }
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
unsafe fn axpy_columns<T: Copy, S: Simd<T>, const R: usize>(d: &Thin<T>, from: usize, to: usize, l: usize) {
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
