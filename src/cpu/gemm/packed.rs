//! Products by register tiles: blocks of A and B are copied into the order in which the tiles read them.
//!
//! `k` is cut so that a panel of B (one tile wide) stays in the first-level cache, and rows so that a block of A stays in
//! the second. What is read in order anyway, or too seldom to pay for the copy, is used where it lies; small products
//! copy nothing. Threads take rectangles of C and copy what they need by themselves: nobody waits for anybody. Cuts of
//! `k` do not depend on the rectangles, so neither does any bit of the result.

use super::kernel::Tile;
use super::simd::Simd;
use super::{Gemm, Job, Mat, PARALLEL, scattered};
use crate::cpu::map::Shared;
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::turn::turn;

/// Steps of `k` to a block: each is one more pass over C, and a block of A still fits the second-level cache.
const KC: usize = 384;
/// The same where B is read in place and its rows are far apart: no more pages than the first TLB holds.
const KC_FAR: usize = 64;
/// Tiles to a block of A: 290 KiB, in float64 twice that.
const TILES: usize = 12;
/// Panels of B that are copied at once: 3 MiB.
const PANELS: usize = 64;
/// Rows of B that are copied through all panels at a time where each row begins a page of its own.
const STRIPE: usize = 8;
/// Tiles of rows up to which a product no wider than a tile is done at once.
const SHORT: usize = 3;
/// Panels from which a block of A is read often enough to be copied.
const COPY_A: usize = 8;
/// Tiles up to which B is read in place; the second where a page holds two of its rows.
const IN_PLACE: [usize; 2] = [2, 5];
/// Bytes from one row of B to the next from which each begins a page of its own.
const PAGE: usize = 4096;
/// Bytes of B that are read in place by any number of tiles.
const NEAR: usize = 24 << 10;
/// Rectangles of C for each thread: a thread that comes late, or is slowed down, takes fewer.
const SHARES: usize = 2;

/// What holds for every rectangle of C.
#[derive(Clone, Copy)]
struct Cuts {
    kc: usize,
    copy_b: bool,
}

impl Cuts {
    fn of<T: Gemm, S: Simd<T>>(job: &Job<T>) -> Cuts {
        let few = IN_PLACE[usize::from(job.b.row.unsigned_abs() * size_of::<T>() <= PAGE / 2)];
        let copy_b = job.b.col != 1 || job.m > few * S::MR && job.k * job.n * size_of::<T>() > NEAR;
        let far = !copy_b && job.b.row.unsigned_abs() * size_of::<T>() >= 2048;
        let most = if far { KC_FAR } else { KC };
        let kc = if job.k <= most { job.k } else { job.k.div_ceil(job.k.div_ceil(most)) };
        Cuts { kc, copy_b }
    }
}

/// The product, on all threads of the pool if `threads` is above one and there is enough to do.
///
/// # Safety
/// As `Job::matrix`; the CPU has `S`.
pub unsafe fn packed<T: Gemm, S: Simd<T>>(job: &Job<T>, threads: usize) {
    if job.m <= SHORT * S::MR && job.n <= S::NR && job.k <= KC && job.b.col == 1 && job.c_col == 1 {
        // SAFETY: as the caller says.
        return unsafe { at_once::<T, S>(job) };
    }
    let cuts = Cuts::of::<T, S>(job);
    if threads < 2 || job.m * job.n * job.k < PARALLEL {
        // SAFETY: as the caller says.
        return unsafe { blocks::<T, S>(job, cuts) };
    }
    let (rows, cols) = grid::<T, S>(job, cuts, SHARES * threads);
    let (tiles, panels) = (job.m.div_ceil(S::MR), job.n.div_ceil(S::NR));
    let shared = Shared(*job);
    pool::run(rows * cols, |i| {
        let job = shared.get();
        let (r, c) = (i / cols, i % cols);
        // Rows are shared out evenly among tiles, columns in whole panels.
        let row = |r: usize| r * tiles / rows * job.m / tiles;
        let col = |c: usize| (c * panels / cols * S::NR).min(job.n);
        // SAFETY: a part of the caller's product.
        unsafe { blocks::<T, S>(&job.part(row(r), col(c), row(r + 1) - row(r), col(c + 1) - col(c)), cuts) }
    });
}

/// A product of a tile or two: nothing is worth copying or cutting.
///
/// # Safety
/// As [`packed`], with rows of B and C contiguous and no wider than a tile.
unsafe fn at_once<T: Gemm, S: Simd<T>>(job: &Job<T>) {
    let &Job { m, n, k, a, b, c, c_row, accumulate, .. } = job;
    let mut row = 0;
    while row < m {
        let rows = (m - row).div_ceil((m - row).div_ceil(S::MR));
        let (a_at, c) = (a.at(row, 0).ptr, c.wrapping_offset(row as isize * c_row));
        let tile =
            Tile { k, a: a_at, a_row: a.row, a_col: a.col, b: b.ptr, b_row: b.row, c, c_row, cols: n, accumulate };
        // SAFETY: these rows of the caller's product.
        unsafe { S::rows(&tile, rows) };
        row += rows;
    }
}

/// Rows and columns of rectangles, at least `parts` of them where C is large enough, that read and copy the least: each
/// reads its rows of A and its columns of B.
fn grid<T: Gemm, S: Simd<T>>(job: &Job<T>, cuts: Cuts, parts: usize) -> (usize, usize) {
    let (tiles, panels) = (job.m.div_ceil(S::MR), job.n.div_ceil(S::NR));
    let cost = |(rows, cols): (usize, usize)| {
        // Too few parts leave threads without work; B costs more where it is copied by every row of parts.
        let idle = parts.saturating_sub(rows * cols) * (job.m * job.k + job.n * job.k);
        idle + cols * job.m * job.k + rows * job.n * job.k * if cuts.copy_b { 2 } else { 1 }
    };
    let forms = (1..=parts.min(tiles)).map(|rows| (rows, parts.div_ceil(rows).min(panels)));
    forms.min_by_key(|&form| cost(form)).unwrap_or((1, 1))
}

/// A rectangle of C on this thread.
///
/// # Safety
/// As [`packed`].
unsafe fn blocks<T: Gemm, S: Simd<T>>(job: &Job<T>, cuts: Cuts) {
    let (tiles, panels) = (job.m.div_ceil(S::MR), job.n.div_ceil(S::NR));
    let size = size_of::<T>() as isize;
    // Rows a multiple of a page apart fall into the same few sets of the cache.
    let crowded = job.a.row.max(job.a.col) * size % 2048 == 0;
    let copy_a = tiles > 1 && (panels >= COPY_A || panels > 1 && (crowded || job.a.col != 1 && job.a.row != 1));
    let (Cuts { kc, copy_b }, plan) = (cuts, Plan { tiles, l: 0, len: cuts.kc });
    if !copy_a && !copy_b {
        for l in (0..job.k).step_by(kc) {
            // SAFETY: as the caller says.
            unsafe {
                multiply::<T, S>(job, Plan { l, len: kc.min(job.k - l), ..plan }, 0..tiles, 0..panels, None, None)
            };
        }
        return;
    }
    let height = tiles.div_ceil(tiles.div_ceil(TILES));
    let room = |copy: bool, n: usize| if copy { n * kc } else { 0 };
    scratch::with(Slot::Panels, room(copy_b, panels.min(PANELS) * S::NR), |for_b: *mut T| {
        scratch::with(Slot::Rows, room(copy_a, height * S::PAD), |for_a: *mut T| {
            let (copied_a, copied_b) = (copy_a.then_some(for_a), copy_b.then_some(for_b));
            for first in (0..panels).step_by(PANELS) {
                let some = first..panels.min(first + PANELS);
                for l in (0..job.k).step_by(kc) {
                    let plan = Plan { l, len: kc.min(job.k - l), ..plan };
                    // SAFETY: the blocks lie inside the caller's views, and there is room for the copies.
                    unsafe {
                        if copy_b {
                            plan.panels::<T, S>(job, some.clone(), for_b);
                        }
                        for from in (0..tiles).step_by(height) {
                            let block = from..tiles.min(from + height);
                            if copy_a {
                                block.clone().for_each(|t| plan.rows::<T, S>(job, t, from, for_a));
                            }
                            multiply::<T, S>(job, plan, block, some.clone(), copied_a, copied_b);
                        }
                    }
                }
            }
        })
    });
}

/// Steps `l..l + len` of a product whose rows are cut into tiles.
#[derive(Clone, Copy)]
struct Plan {
    tiles: usize,
    l: usize,
    len: usize,
}

impl Plan {
    /// The first row of a tile: rows are shared out evenly, so that no tile is much lower than the rest.
    fn row<T>(&self, job: &Job<T>, tile: usize) -> usize {
        tile * job.m / self.tiles
    }

    /// Copies panels of B, one behind the other: rows of `NR` elements; missing columns are zero.
    ///
    /// # Safety
    /// As [`packed`]; `space` has room for the panels.
    unsafe fn panels<T: Gemm, S: Simd<T>>(&self, job: &Job<T>, panels: std::ops::Range<usize>, space: *mut T) {
        let far = job.b.col == 1 && job.b.row.unsigned_abs() * size_of::<T>() >= PAGE;
        let stripe = if far { STRIPE } else { self.len };
        for from in (0..self.len).step_by(stripe) {
            let len = stripe.min(self.len - from);
            for p in panels.clone() {
                let (b, cols) = (job.b.at(self.l + from, p * S::NR), S::NR.min(job.n - p * S::NR));
                let out = space.wrapping_add(((p - panels.start) * self.len + from) * S::NR);
                // SAFETY: these rows of the panel's columns are inside B; the space has room.
                unsafe {
                    if b.col == 1 {
                        S::panel(b.ptr, b.row, len, cols, out);
                        continue;
                    }
                    if cols < S::NR {
                        std::ptr::write_bytes(out, 0, len * S::NR);
                    }
                    copy_turned(b.ptr, b.col, b.row, cols, len, out, S::NR);
                }
            }
        }
    }

    /// Copies the rows of tile `t` of A behind those from `first` on: columns of `PAD` elements.
    ///
    /// # Safety
    /// As [`packed`]; `space` has room for the tiles.
    unsafe fn rows<T: Gemm, S: Simd<T>>(&self, job: &Job<T>, t: usize, first: usize, space: *mut T) {
        let (a, rows) = (job.a.at(self.row(job, t), self.l), self.row(job, t + 1) - self.row(job, t));
        // SAFETY: the rows are inside A; the space has room.
        unsafe {
            copy_turned(a.ptr, a.row, a.col, rows, self.len, space.add((t - first) * S::PAD * self.len), S::PAD);
        }
    }
}

/// `out[j * width + i] = src[i * row + j * col]` for `i` below `rows`, `j` below `cols`.
///
/// # Safety
/// The elements of both sides are inside their memory.
pub unsafe fn copy_turned<T: Gemm>(
    src: *const T,
    row: isize,
    col: isize,
    rows: usize,
    cols: usize,
    out: *mut T,
    width: usize,
) {
    // SAFETY: as the caller says.
    unsafe {
        if col == 1 {
            return turn(src, row, out, width as isize, rows, cols);
        }
        for j in 0..cols {
            let (src, out) = (src.offset(j as isize * col), out.add(j * width));
            if row == 1 {
                std::ptr::copy_nonoverlapping(src, out, rows);
            } else {
                (0..rows).for_each(|i| *out.add(i) = *src.offset(i as isize * row));
            }
        }
    }
}

/// Adds the product of some columns of A with these rows of some panels of B.
///
/// # Safety
/// As [`packed`]; what is copied is of these tiles and panels.
unsafe fn multiply<T: Gemm, S: Simd<T>>(
    job: &Job<T>,
    plan: Plan,
    tiles: std::ops::Range<usize>,
    panels: std::ops::Range<usize>,
    copied_a: Option<*mut T>,
    copied_b: Option<*mut T>,
) {
    let Plan { l, len, .. } = plan;
    for p in panels.clone() {
        let (b, b_row) = match copied_b {
            Some(space) => (space.wrapping_add((p - panels.start) * len * S::NR).cast_const(), S::NR as isize),
            None => (job.b.at(l, p * S::NR).ptr, job.b.row),
        };
        let cols = S::NR.min(job.n - p * S::NR);
        for t in tiles.clone() {
            let row = plan.row(job, t);
            let rows = plan.row(job, t + 1) - row;
            let a = match copied_a {
                Some(space) => {
                    let ptr = space.wrapping_add((t - tiles.start) * S::PAD * len).cast_const();
                    Mat { ptr, row: 1, col: S::PAD as isize }
                }
                None => job.a.at(row, l),
            };
            let c = job.part(row, p * S::NR, 0, 0).c;
            let accumulate = job.accumulate || l > 0;
            let tile =
                Tile { k: len, a: a.ptr, a_row: a.row, a_col: a.col, b, b_row, c, c_row: job.c_row, cols, accumulate };
            // SAFETY: the tile lies inside the caller's views and the copies.
            unsafe {
                if job.c_col == 1 || cols == 1 {
                    S::rows(&tile, rows);
                } else {
                    scattered::<T, S>(tile, rows, job.c_col);
                }
            }
        }
    }
}
