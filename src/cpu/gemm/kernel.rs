//! The register tile of the matrix product, once, generic over the vector unit.
//!
//! One tile of C (`MR` rows, one or two vectors wide) is kept in registers while k runs. Rows of B are loaded as vectors,
//! elements of A are broadcast from wherever they lie, so that nothing has to be copied first.

use super::simd::Simd;

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

/// `C = A·B` or `C += A·B` for `R` rows and at most `NV` vectors of columns.
///
/// # Safety
/// The CPU has the unit `S`; the pointers of `t` cover `R × k`, `k × cols` and `R × cols` elements at the given strides;
/// `cols` is above `(NV - 1) · LANES` and at most `NV · LANES`.
#[inline(always)]
pub unsafe fn tile<T: Copy, S: Simd<T>, const R: usize, const NV: usize, const COPIED: bool>(t: &Tile<T>) {
    // SAFETY: every address is inside the areas that the caller vouches for; vectors but the last are full.
    unsafe {
        let mask = S::mask(t.cols - (NV - 1) * S::LANES);
        let mut acc = [[S::zero(); NV]; R];
        let (mut a, mut b) = (t.a, t.b);
        // A pointer for every four rows, unrelated to the compiler: one chain of additions through all rows would take
        // longer than the multiplications.
        let mut rows: [*const T; 4] =
            std::array::from_fn(|i| std::hint::black_box(t.a.wrapping_offset(4 * i as isize * t.a_row)));
        if t.accumulate || t.k >= 64 {
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

/// Copies `k` rows of `cols` elements of B, at most `NR`, one behind the other; columns that are missing are zero.
///
/// # Safety
/// The CPU has the unit `S`; the rows are readable and `out` has room for `k · NR` elements.
#[inline(always)]
pub unsafe fn copy_panel<T: Copy, S: Simd<T>>(b: *const T, b_row: isize, k: usize, cols: usize, out: *mut T) {
    let (mut b, mut out) = (b, out);
    let (first, second) = (cols.min(S::LANES), cols.saturating_sub(S::LANES));
    // SAFETY: as the caller says.
    unsafe {
        let (left, right) = (S::mask(first), S::mask(second.max(1)));
        for _ in 0..k {
            if cols == S::NR {
                S::store(out, S::load(b));
                S::store(out.add(S::LANES), S::load(b.add(S::LANES)));
            } else {
                S::store(out, S::load_part(b, left));
                let rest = if second > 0 { S::load_part(b.add(S::LANES), right) } else { S::zero() };
                S::store(out.add(S::LANES), rest);
            }
            (b, out) = (b.wrapping_offset(b_row), out.add(S::NR));
        }
    }
}
