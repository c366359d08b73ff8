//! Large products: blocks of A and B are copied into the order in which the register tiles read them.
//!
//! The plan is the usual one: `k` is cut so that a panel of B (one tile wide) stays in the first-level cache, and rows so
//! that a block of A stays in the second. What is read in order anyway, or too seldom to pay for the copy, is used where
//! it lies. Cuts of `k` do not depend on threads, so neither does any bit of the result.

use super::kernel::{Simd, Tile};
use super::{Gemm, Job, Mat, scattered};
use crate::cpu::map::Shared;
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::turn::turn;

/// Steps of `k` to a block: a panel of B takes 32 KiB.
const KC: usize = 256;
/// The same where B is read in place and its rows are far apart: no more pages than the first TLB holds.
const KC_FAR: usize = 64;
/// Tiles to a block of A: 170 KiB.
const TILES: usize = 12;
/// Panels of B that are copied at once: 2 MiB.
const PANELS: usize = 64;
/// Panels from which a block of A is read often enough to be copied.
const COPY_A: usize = 8;
/// Tiles up to which B is read in place.
const IN_PLACE: usize = 2;

/// How a product is cut.
struct Cuts {
    kc: usize,
    tiles: usize,
    panels: usize,
    copy_a: bool,
    copy_b: bool,
}

impl Cuts {
    fn of<T: Gemm, S: Simd<T>>(job: &Job<T>) -> Cuts {
        let (tiles, panels) = (job.m.div_ceil(S::MR), job.n.div_ceil(S::NR));
        let size = size_of::<T>() as isize;
        let copy_b = job.b.col != 1 || tiles > IN_PLACE && job.k * job.n * size_of::<T>() > 24 << 10;
        let far = !copy_b && job.b.row.abs() * size >= 2048;
        // Rows a multiple of a page apart fall into the same few sets of the cache.
        let crowded = job.a.row.max(job.a.col) * size % 2048 == 0;
        let copy_a = panels >= COPY_A || panels > 1 && (crowded || job.a.col != 1 && job.a.row != 1);
        let most = if far { KC_FAR } else { KC };
        let kc = job.k.div_ceil(job.k.div_ceil(most));
        Cuts { kc, tiles, panels, copy_a: copy_a && tiles > 1, copy_b }
    }
}

/// The product on all threads of the pool if `threads` is above one.
///
/// # Safety
/// As `Job::matrix`; the CPU has `S`.
pub unsafe fn packed<T: Gemm, S: Simd<T>>(job: &Job<T>, threads: usize) {
    let cuts = Cuts::of::<T, S>(job);
    let Cuts { kc, panels, copy_b, .. } = cuts;
    let room = if copy_b { panels.min(PANELS) * S::NR * kc } else { 0 };
    scratch::with(Slot::Panels, room, |space: *mut T| {
        for first in (0..panels).step_by(PANELS) {
            let last = panels.min(first + PANELS);
            for l in (0..job.k).step_by(kc) {
                let len = kc.min(job.k - l);
                // SAFETY: the blocks lie inside the caller's views, and the space has room for the panels.
                unsafe {
                    if copy_b {
                        copy_panels::<T, S>(job, first..last, l, len, space, threads);
                    }
                    multiply::<T, S>(job, &cuts, first..last, l, len, copy_b.then_some(space), threads);
                }
            }
        }
    });
}

/// Copies panels of B, each `len` rows of `NR` elements one behind the other; missing columns are zero.
///
/// # Safety
/// As [`packed`]; `space` has room for the panels.
unsafe fn copy_panels<T: Gemm, S: Simd<T>>(
    job: &Job<T>,
    panels: std::ops::Range<usize>,
    l: usize,
    len: usize,
    space: *mut T,
    threads: usize,
) {
    let shared = Shared((*job, space));
    let count = panels.len();
    let some = |from: usize, to: usize| {
        let (job, space) = *shared.get();
        let cols = |p: usize| S::NR.min(job.n - (panels.start + p) * S::NR);
        let place = |p: usize| space.wrapping_add(p * len * S::NR);
        // SAFETY: rows `l..l + len` of the panels' columns are inside B; the space has room.
        unsafe {
            for p in (from..to).filter(|&p| cols(p) < S::NR) {
                (0..len * S::NR).for_each(|i| *place(p).add(i) = T::ZERO);
            }
            if job.b.col == 1 {
                // Along the rows of B, so that memory is read in order.
                for i in 0..len {
                    for p in from..to {
                        let row = job.b.at(l + i, (panels.start + p) * S::NR).ptr;
                        if cols(p) == S::NR {
                            std::ptr::copy_nonoverlapping(row, place(p).add(i * S::NR), S::NR);
                        } else {
                            std::ptr::copy_nonoverlapping(row, place(p).add(i * S::NR), cols(p));
                        }
                    }
                }
                return;
            }
            for p in from..to {
                let b = job.b.at(l, (panels.start + p) * S::NR);
                copy_turned(b.ptr, b.col, b.row, cols(p), len, place(p), S::NR);
            }
        }
    };
    let pieces = if threads < 2 || count * len * S::NR < 32 << 10 { 1 } else { (2 * threads).min(count) };
    pool::run(pieces, |i| some(i * count / pieces, (i + 1) * count / pieces));
}

/// `out[j * width + i] = src[i * row + j * col]` for `i` below `rows`, `j` below `cols`.
///
/// # Safety
/// The elements of both sides are inside their memory.
unsafe fn copy_turned<T: Gemm>(
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

/// Adds the product of columns `l..l + len` of A with these rows of some panels of B.
///
/// # Safety
/// As [`packed`]; `copied` holds the panels if they were copied.
unsafe fn multiply<T: Gemm, S: Simd<T>>(
    job: &Job<T>,
    cuts: &Cuts,
    panels: std::ops::Range<usize>,
    l: usize,
    len: usize,
    copied: Option<*mut T>,
    threads: usize,
) {
    let mut blocks = cuts.tiles.div_ceil(TILES);
    let mut groups = 1;
    if threads > 1 {
        // Each thread gets a few pieces, of whole rows where there are enough.
        blocks = blocks.next_multiple_of(2 * threads).min(cuts.tiles);
        groups = (2 * threads).div_ceil(blocks).min(panels.len());
    }
    let shared = Shared((*job, copied));
    // Rows are shared out evenly among tiles, so that none is much lower than the rest.
    let row = |tile: usize| tile * job.m / cuts.tiles;
    let piece = |i: usize| {
        let (job, copied) = *shared.get();
        let (block, group) = (i / groups, i % groups);
        let (from, to) = (block * cuts.tiles / blocks, (block + 1) * cuts.tiles / blocks);
        let start = panels.start + group * panels.len() / groups;
        let end = panels.start + (group + 1) * panels.len() / groups;
        let room = if cuts.copy_a { (to - from) * S::PAD * len } else { 0 };
        scratch::with(Slot::Rows, room, |space: *mut T| {
            // SAFETY: tiles and panels lie inside the caller's views and the copies.
            unsafe {
                if cuts.copy_a {
                    for t in from..to {
                        let a = job.a.at(row(t), l);
                        let out = space.add((t - from) * S::PAD * len);
                        copy_turned(a.ptr, a.row, a.col, row(t + 1) - row(t), len, out, S::PAD);
                    }
                }
                for p in start..end {
                    let (b, b_row) = match copied {
                        Some(space) => (space.add((p - panels.start) * len * S::NR).cast_const(), S::NR as isize),
                        None => (job.b.at(l, p * S::NR).ptr, job.b.row),
                    };
                    for t in from..to {
                        let a = if cuts.copy_a {
                            Mat { ptr: space.add((t - from) * S::PAD * len).cast_const(), row: 1, col: S::PAD as isize }
                        } else {
                            job.a.at(row(t), l)
                        };
                        let c = job.part(row(t), p * S::NR, 0, 0).c;
                        let cols = S::NR.min(job.n - p * S::NR);
                        let tile = Tile {
                            k: len,
                            a: a.ptr,
                            a_row: a.row,
                            a_col: a.col,
                            b,
                            b_row,
                            c,
                            c_row: job.c_row,
                            cols,
                            accumulate: job.accumulate || l > 0,
                        };
                        if job.c_col == 1 || cols == 1 {
                            S::rows(&tile, row(t + 1) - row(t));
                        } else {
                            scattered::<T, S>(tile, row(t + 1) - row(t), job.c_col);
                        }
                    }
                }
            }
        });
    };
    if blocks * groups < 2 || threads < 2 {
        (0..blocks * groups).for_each(piece)
    } else {
        pool::run(blocks * groups, piece)
    }
}
