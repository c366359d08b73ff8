//! Kernels on the rows of an array: softmax and layer normalization, and their gradients. A row is read from memory once
//! and stays in cache while the passes over it run.

use crate::base::{Element, Level};
use crate::cpu::cast::cast_tile;
use crate::cpu::feed::Feed;
use crate::cpu::lanes::{Lane, Load, Plain, Powers};
use crate::cpu::map::Shared;
use crate::cpu::math::Real;
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::turn::turn;
use crate::ir::{In, Tile};
use std::cell::Cell;

mod kernels;
mod strips;
use kernels::*;

/// Element types that rows are computed in.
pub trait Row: Real + Element + Lane {
    /// Vectors of them, by instruction set.
    type Plain: Load<Self, A = Self> + Powers;
    type Avx2: Load<Self, A = Self> + Powers;
    type Avx512: Load<Self, A = Self> + Powers;
}

macro_rules! row {
    ($t:ty, $lanes:literal, $avx2:ident, $avx512:ident) => {
        impl Row for $t {
            type Plain = Plain<$t, $lanes>;
            #[cfg(target_arch = "x86_64")]
            type Avx2 = crate::cpu::lanes::x86::$avx2;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = crate::cpu::lanes::x86::$avx512;
            #[cfg(not(target_arch = "x86_64"))]
            type Avx2 = Plain<$t, $lanes>;
            #[cfg(not(target_arch = "x86_64"))]
            type Avx512 = Plain<$t, $lanes>;
        }
    };
}
row!(f32, 8, S8, S16);
row!(f64, 4, D4, D8);

/// Which of the softmax family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Soft {
    Plain,
    Log,
}

/// The shape of the work: `outer` blocks of `n` elements at steps of `inner`.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
}

impl Extent {
    pub fn of(shape: &[usize], axis: usize) -> Extent {
        let (outer, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        Extent { outer, n: shape[axis], inner }
    }
    fn len(&self) -> usize {
        self.outer * self.n * self.inner
    }
}

/// Elements that one piece of a parallel loop should have: the work on each is that of several map instructions.
const GRAIN: usize = pool::GRAIN / 4;
/// Elements of short rows that are worked on together: they stay in the first-level cache.
const TOGETHER: usize = 2048;
/// Columns that are folded side by side.
const WIDTH: usize = 256;
/// Elements of a block of columns, which is read several times.
const IN_CACHE: usize = 64 << 10;
/// Rows up to this long are worked on as columns.
const SHORT: usize = 48;

/// Runs `f(from, to)` over rows of `n` elements, on all threads where that pays.
fn split_rows(rows: usize, n: usize, f: impl Fn(usize, usize) + Sync) {
    pool::split(rows, if rows * n < 2 * GRAIN { rows.max(1) } else { 1 }, f);
}

/// Calls `f(start, rows)` for contiguous rows of the output: a few short ones together, or a long one.
fn by_rows<T: Send>(n: usize, out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync) {
    let rows = out.len().checked_div(n).unwrap_or(0);
    assert_eq!(out.len(), rows * n, "rows: whole rows");
    let shared = Shared(out.as_mut_ptr());
    let group = (TOGETHER / n.max(1)).clamp(1, GROUP);
    split_rows(rows, n, |from, to| {
        for r in (from..to).step_by(group) {
            let count = group.min(to - r);
            // SAFETY: each row is inside `out` and handed out once.
            f(r * n, unsafe { std::slice::from_raw_parts_mut(shared.get().wrapping_add(r * n), count * n) });
        }
    });
}

/// Calls `f(inputs, rows)` for contiguous rows, in another dtype than that of the memory.
fn by_rows_cast<S: Element, T: Row, const K: usize>(
    n: usize,
    ins: [&[S]; K],
    out: &mut [S],
    f: impl Fn([&[T]; K], &mut [T]) + Sync,
) {
    assert!(ins.iter().all(|x| x.len() == out.len()), "rows: whole rows");
    let (widen, narrow) = (cast_tile(S::DTYPE, T::DTYPE), cast_tile(T::DTYPE, S::DTYPE));
    by_rows(n, out, |start, out| {
        let n = out.len();
        scratch::with(Slot::Values, (K + 1) * n, |space: *mut T| {
            let place = |k: usize| space.wrapping_add(k * n);
            let run = |tile: Tile, from: *const u8, to: *mut u8| {
                // SAFETY: both ends hold `n` elements of the tile's dtypes.
                unsafe { tile(&[In { ptr: from, splat: false }], to, n, &[]) }
            };
            for (k, x) in ins.iter().enumerate() {
                run(widen, x[start..start + n].as_ptr().cast(), place(k).cast());
            }
            // SAFETY: the places are apart; the inputs were written just now. Of the output each element is written
            // before it is read.
            unsafe {
                let found = std::array::from_fn(|k| std::slice::from_raw_parts(place(k).cast_const(), n));
                f(found, std::slice::from_raw_parts_mut(place(K), n));
            }
            run(narrow, place(K).cast_const().cast(), out.as_mut_ptr().cast());
        });
    });
}

/// Turns blocks of short rows into columns, where a vector holds one element of each of many rows: calls
/// `f(width, inputs, out)` on blocks whose columns lie `width` apart, and turns the result back.
fn by_turned<T: Row, const K: usize>(
    n: usize,
    ins: [&[T]; K],
    out: &mut [T],
    f: impl Fn(usize, [&[T]; K], &[Cell<T>]) + Sync,
) {
    let rows = out.len() / n;
    assert!(ins.iter().all(|x| x.len() == rows * n) && out.len() == rows * n, "rows: whole rows");
    let shared = Shared(out.as_mut_ptr());
    pool::split(rows, GRAIN.div_ceil(n).next_multiple_of(64), |from, to| {
        scratch::with(Slot::Blocks, (K + 1) * n * ROUND, |space: *mut T| {
            for first in (from..to).step_by(ROUND) {
                let width = ROUND.min(to - first);
                let block = |k: usize| space.wrapping_add(k * n * ROUND);
                // SAFETY: rows `first..first + width` are inside the slices, and a block has room for them; each row is
                // written by one thread.
                unsafe {
                    for (k, x) in ins.iter().enumerate() {
                        turn(x[first * n..].as_ptr(), n as isize, block(k), width as isize, width, n);
                    }
                    // So that the block is not without values.
                    block(0).copy_to_nonoverlapping(block(K), width * n);
                    let found = std::array::from_fn(|k| std::slice::from_raw_parts(block(k).cast_const(), width * n));
                    f(width, found, std::slice::from_raw_parts(block(K).cast(), width * n));
                    turn(block(K).cast_const(), width as isize, shared.get().add(first * n), n as isize, n, width);
                }
            }
        });
    });
}

/// Calls `f(start, width, out)` for each block of columns: it writes elements `i * inner + c` of `out`, which begins at
/// `start`, for each `c` below `width`.
fn by_columns<T: Send>(e: Extent, out: &mut [T], f: impl Fn(usize, usize, &[Cell<T>]) + Sync) {
    assert_eq!(out.len(), e.len(), "rows: the extent covers the output");
    if out.is_empty() {
        return;
    }
    // All passes over a block find it in the second-level cache.
    let width = (IN_CACHE / e.n.max(1)).next_multiple_of(ROUND).min(WIDTH).min(e.inner);
    let blocks = e.inner.div_ceil(width);
    let shared = Shared(out.as_mut_ptr());
    pool::split(e.outer * blocks, GRAIN.div_ceil(e.n * width), |from, to| {
        for piece in from..to {
            let col = piece % blocks * width;
            let start = piece / blocks * e.n * e.inner + col;
            let width = width.min(e.inner - col);
            let len = (e.n - 1) * e.inner + width;
            // SAFETY: the range is inside `out`. Ranges of several threads interleave, so they are cells, and each
            // thread touches the columns of its own block only.
            f(start, width, unsafe { std::slice::from_raw_parts(shared.get().wrapping_add(start).cast(), len) });
        }
    });
}

/// A length as it counts.
fn whole(length: i64) -> usize {
    usize::try_from(length).unwrap_or(0)
}

/// Rows longer than [`SHORT`] and up to this long can be fed: they stay in the second-level cache.
const FED: usize = 16 << 10;

impl Extent {
    /// Whether a row kernel may take its input as a [`Feed`].
    pub fn fed(self) -> bool {
        self.inner == 1 && self.n > SHORT && self.n <= FED
    }
}

/// Softmax of `scale * x` along the last axis, `n` elements long, or its logarithm.
pub fn softmax_rows<T: Row>(x: &Feed<T>, y: &mut [T], n: usize, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert_eq!(x.count(), y.len(), "softmax: the rows cover the output");
    by_rows(n, y, |start, y| x.row(start, y.len(), |x| soft_rows(level, x, y, n, scale, kind)));
}

/// The gradient of [`softmax_rows`] from its result and the gradient that comes in.
pub fn softmax_grad_rows<T: Row>(y: &[T], g: &Feed<T>, out: &mut [T], n: usize, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert!(y.len() == out.len() && g.count() == out.len(), "softmax: the rows cover the output");
    by_rows(n, out, |start, out| {
        let y = &y[start..start + out.len()];
        g.row(start, out.len(), |g| soft_rows_grad(level, y, g, out, n, scale, kind))
    });
}

/// As [`softmax_grad_rows`] where all that comes in is one element of each row, at a place.
pub fn softmax_grad_put<T: Row>(y: &[T], g: &[T], at: &[i64], out: &mut [T], n: usize, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert!(
        y.len() == out.len() && g.len() * n == out.len() && at.len() == g.len(),
        "softmax: one element for each row"
    );
    by_rows(n, out, |start, out| {
        let (y, r) = (&y[start..start + out.len()], start / n);
        let rows = r..r + out.len() / n;
        soft_rows_put(level, y, &g[rows.clone()], &at[rows], out, n, scale, kind);
    });
}

/// Softmax of `scale * x` along an axis, or its logarithm. `lengths`, one for each row, cut rows short: the rest is zero.
pub fn softmax<T: Row>(x: &[T], y: &mut [T], e: Extent, scale: f64, kind: Soft, lengths: Option<&[i64]>) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert_eq!(x.len(), e.len(), "softmax: the extent covers the input");
    assert!(lengths.is_none_or(|l| l.len() == e.outer * e.inner), "softmax: one length for each row");
    if let Some(lengths) = lengths
        && e.inner > 1
    {
        // Rows of many lengths are computed one by one, gathered.
        let (mut row, mut out) = (vec![T::of(0.0); e.n], vec![T::of(0.0); e.n]);
        for (r, &len) in lengths.iter().enumerate() {
            let start = r / e.inner * e.n * e.inner + r % e.inner;
            let len = whole(len).min(e.n);
            (0..len).for_each(|i| row[i] = x[start + i * e.inner]);
            out.fill(T::of(0.0));
            soft_rows(level, &row[..len], &mut out[..len], len.max(1), scale, kind);
            (0..e.n).for_each(|i| y[start + i * e.inner] = out[i]);
        }
        return;
    }
    if e.inner == 1 && e.n <= SHORT && lengths.is_none() && e.outer >= 16 {
        return by_turned(e.n, [x], y, |width, [x], y| {
            soft_columns(level, x, y, e.n, width, width, scale, kind);
        });
    }
    if e.inner == 1 {
        return by_rows(e.n, y, |start, y| {
            let Some(lengths) = lengths else {
                return soft_rows(level, &x[start..start + y.len()], y, e.n, scale, kind);
            };
            for (start, y) in (start..).step_by(e.n).zip(y.chunks_exact_mut(e.n)) {
                let len = whole(lengths[start / e.n]).min(e.n);
                let (head, tail) = y.split_at_mut(len);
                soft_rows(level, &x[start..start + len], head, len.max(1), scale, kind);
                tail.fill(T::of(0.0));
            }
        });
    }
    by_columns(e, y, |start, width, y| {
        soft_columns(level, &x[start..], y, e.n, e.inner, width, scale, kind);
    });
}

/// The gradient of [`softmax`] from its result and the gradient that comes in.
pub fn softmax_grad<T: Row>(y: &[T], g: &[T], out: &mut [T], e: Extent, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    assert!(y.len() == e.len() && g.len() == e.len(), "softmax: the extent covers the inputs");
    if e.inner == 1 && e.n <= SHORT && e.outer >= 16 {
        return by_turned(e.n, [y, g], out, |width, [y, g], out| {
            soft_columns_grad(level, y, g, out, e.n, width, width, scale, kind);
        });
    }
    if e.inner == 1 {
        return by_rows(e.n, out, |start, out| {
            let all = start..start + out.len();
            soft_rows_grad(level, &y[all.clone()], &g[all], out, e.n, scale, kind)
        });
    }
    by_columns(e, out, |start, width, out| {
        soft_columns_grad(level, &y[start..], &g[start..], out, e.n, e.inner, width, scale, kind);
    });
}

/// [`softmax`] of rows along the last axis, `n` elements each, computed in `T`.
pub fn softmax_cast<S: Element, T: Row>(x: &[S], y: &mut [S], n: usize, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    by_rows_cast(n, [x], y, |[x], y| soft_rows::<T>(level, x, y, n, scale, kind));
}

/// [`softmax_grad`] of rows along the last axis, `n` elements each, computed in `T`.
pub fn softmax_grad_cast<S: Element, T: Row>(y: &[S], g: &[S], out: &mut [S], n: usize, scale: f64, kind: Soft) {
    let (level, scale) = (Level::get(), T::of(scale));
    by_rows_cast(n, [y, g], out, |[y, g], out| soft_rows_grad::<T>(level, y, g, out, n, scale, kind));
}

/// Normalizes rows of `n` elements to mean zero and variance one, then `* gamma + beta`.
pub fn layer_norm<T: Row>(
    x: &[T],
    affine: Option<(&[T], &[T])>,
    n: usize,
    eps: f64,
    y: &mut [T],
    mean: &mut [T],
    std: &mut [T],
) {
    let rows = mean.len();
    assert!(x.len() == rows * n && y.len() == rows * n && std.len() == rows, "layer norm: rows of one length");
    assert!(affine.is_none_or(|(g, b)| g.len() == n && b.len() == n), "layer norm: a scale and shift for each element");
    let level = Level::get();
    let shared = Shared((y.as_mut_ptr(), mean.as_mut_ptr(), std.as_mut_ptr()));
    split_rows(rows, n, |from, to| {
        for r in from..to {
            let (y, mean, std) = *shared.get();
            // SAFETY: each row writes its own elements, inside the slices checked above.
            let (y, mean, std) = unsafe {
                (
                    std::slice::from_raw_parts_mut(y.wrapping_add(r * n), n),
                    &mut *mean.wrapping_add(r),
                    &mut *std.wrapping_add(r),
                )
            };
            norm_row(level, &x[r * n..(r + 1) * n], affine.map(|a| a.0), affine.map(|a| a.1), eps, y, mean, std);
        }
    });
}

/// The gradient of [`layer_norm`] with respect to `x`.
pub fn layer_norm_grad<T: Row>(
    x: &[T],
    g: &Feed<T>,
    gamma: Option<&[T]>,
    n: usize,
    mean: &[T],
    std: &[T],
    out: &mut [T],
) {
    let rows = mean.len();
    let whole = x.len() == rows * n && g.count() == rows * n && std.len() == rows;
    assert!(whole && gamma.is_none_or(|g| g.len() == n), "layer norm: rows of one length");
    let level = Level::get();
    by_rows(n, out, |start, out| {
        for (start, out) in (start..).step_by(n).zip(out.chunks_exact_mut(n)) {
            let r = start / n;
            g.row(start, n, |g| norm_row_grad(level, &x[start..start + n], g, gamma, mean[r], std[r], out));
        }
    });
}
