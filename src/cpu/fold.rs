//! Runs a program and folds its one output along axes, without writing the unreduced values to memory.

use crate::base::{Buffer, DType, Level};
use crate::cpu::map::{LeafSpec, Shared, grain, leaves};
use crate::cpu::plan::{Frame, Leaf, MAX_TILE, Plan};
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::turn::turn;
use crate::ir::{FoldTiles, Program, ReduceFn};

/// Columns that are folded side by side: their accumulators stay in the first-level cache.
const WIDTH: usize = 2048;
/// Columns of the narrowest block that wide rows are divided into: shorter pieces of rows are slow to read.
const NARROW: usize = 512;
/// Fewer pieces than this are cut along the folded axis. Not a number of threads: sums must not depend on it.
const PIECES: usize = 16;
/// Elements of such a cut, at least.
const CUT: usize = 64 << 10;
/// Rows up to this long are turned and folded as columns.
const SHORT: usize = 24;
/// Accumulators of narrow columns: several rows side by side.
const SIDE: usize = 256;
/// Rows of leaves that a tile should not cross.
const LONG: usize = 256;
/// Shorter runs of memory are gathered before they are folded.
const RUN: usize = 32;

pub use crate::ir::Extent;

/// The loops of a reduction for one dtype. Accumulators lie in words, packed from the first byte on.
pub struct Folder {
    tiles: FoldTiles,
}

impl Folder {
    pub fn new(f: &ReduceFn, source: DType) -> Folder {
        Folder { tiles: (f.tiles)(source, Level::get()) }
    }
    /// Folds `acc.len()` runs of `n` elements, one behind the other, into an accumulator each.
    ///
    /// # Safety
    /// `x` must hold the runs, of the source dtype.
    pub unsafe fn rows(&self, x: *const u8, n: usize, acc: &mut [u64]) {
        // SAFETY: the caller vouches for the elements; an accumulator is at most a word.
        unsafe { (self.tiles.rows)(x, n, n, acc.len(), acc.as_mut_ptr().cast(), false) };
    }
    /// Folds `rows` runs of `acc.len()` elements, one behind the other, element by element.
    ///
    /// # Safety
    /// As [`Folder::rows`].
    pub unsafe fn columns(&self, x: *const u8, rows: usize, acc: &mut [u64]) {
        // SAFETY: as above.
        unsafe { (self.tiles.columns)(x, acc.len(), acc.len(), rows, acc.as_mut_ptr().cast()) };
    }
    /// A word of accumulators that nothing was folded into.
    pub fn start(&self) -> u64 {
        self.tiles.start
    }
    /// Finishes totals and stores them as elements of the output from `first` on.
    ///
    /// # Safety
    /// `out` must have room for those elements of `dtype`.
    pub unsafe fn store(&self, totals: &[u64], n: usize, dtype: DType, out: *mut u8, first: usize) {
        let to = out.wrapping_add(first * dtype.size());
        // SAFETY: the caller vouches for the room; there is a word to each accumulator.
        unsafe { (self.tiles.store)(totals.as_ptr().cast(), totals.len(), n, dtype, to) };
    }
    /// Sets `n` accumulators to their start value.
    ///
    /// # Safety
    /// `acc` has room for them in whole words.
    unsafe fn clear(&self, acc: *mut u8, n: usize) {
        // SAFETY: the caller vouches for the words.
        (0..(n * self.tiles.size).div_ceil(8)).for_each(|i| unsafe { *acc.cast::<u64>().add(i) = self.tiles.start });
    }
}

/// Folds the program's only output over `extent`, where `shape` has its axes in that order, and writes
/// `outer * inner` results of `dtype`: one loop over memory.
pub fn run_fold(
    program: &Program,
    specs: &mut [LeafSpec],
    shape: &[usize],
    f: &ReduceFn,
    extent: Extent,
    dtype: DType,
    target: &mut Buffer,
) {
    let Extent { outer, reduce, inner } = extent;
    assert_eq!(outer * reduce * inner, shape.iter().product::<usize>(), "fold: the extent covers the shape");
    assert!(target.bytes() >= outer * inner * dtype.size(), "fold: the results do not fit their buffer");
    pool::count_bytes(outer * inner * dtype.size());
    if outer * inner == 0 {
        return pool::count_loop();
    }
    let ready = leaves(specs, shape);
    let plan = Plan::new(program, &ready, false, &[]);
    let reg = program.outputs[0];
    let source = program.dtype(reg);
    let folder = Folder::new(f, source);
    let from = match plan.leaf(reg) {
        Some(leaf) if leaf.walk.is_flat() => From::Flat(leaf.ptr),
        Some(leaf) if leaf.walk.last().1 == 1 && leaf.walk.last().0 >= RUN => From::Runs(leaf),
        _ => From::Tiles,
    };
    let out = target.ptr();
    let job =
        Job { plan: &plan, tiles: &folder.tiles, folder: &folder, from, reg, size: source.size(), extent, dtype, out };
    job.run(grain(program));
}

/// Where the values come from.
#[derive(Clone, Copy)]
enum From<'a> {
    /// They lie one behind the other.
    Flat(*const u8),
    /// They lie in runs of memory.
    Runs(&'a Leaf),
    /// They are computed or gathered, a tile at a time.
    Tiles,
}

struct Job<'a, 'p> {
    plan: &'a Plan<'p>,
    tiles: &'a FoldTiles,
    folder: &'a Folder,
    from: From<'a>,
    reg: u32,
    size: usize,
    extent: Extent,
    dtype: DType,
    out: *mut u8,
}

/// Memory of one thread's part.
#[derive(Clone, Copy)]
struct Space {
    frame: Frame,
    values: *mut u8,
}

impl Job<'_, '_> {
    /// Calls `f` with this thread's working memory.
    fn with_space(&self, f: impl FnOnce(Space)) {
        scratch::with(Slot::Registers, self.plan.scratch(), |scratch: *mut u8| {
            scratch::with(Slot::Values, 2 * MAX_TILE * 8, |values: *mut u8| {
                f(Space { frame: Frame { scratch, blocks: std::ptr::null_mut() }, values });
            });
        });
    }

    fn run(&self, grain: usize) {
        let Extent { outer, reduce, inner } = self.extent;
        let small = outer * reduce * inner < 2 * grain;
        if inner == 1 {
            return if small || outer >= PIECES { self.whole_rows(small) } else { self.cut(1, 2 * grain) };
        }
        // Blocks of columns as wide as the accumulators allow, or narrower, so that nothing need be cut.
        let widest = inner.div_ceil(WIDTH);
        let blocks = PIECES.div_ceil(outer).min(inner / NARROW).max(widest);
        if small || outer * blocks >= PIECES { self.whole_columns(blocks, small) } else { self.cut(widest, CUT) }
    }

    /// Every row is folded by one thread.
    fn whole_rows(&self, small: bool) {
        let shared = Shared(self);
        let outer = self.extent.outer;
        pool::split(outer, if small { outer } else { 1 }, |from, to| {
            let job = *shared.get();
            // SAFETY: the leaves cover the extent, and pieces write results of their own.
            job.with_space(|space| unsafe { job.rows(from, to, space) });
        });
    }

    /// Every column is folded by one thread.
    fn whole_columns(&self, blocks: usize, small: bool) {
        let Extent { outer, reduce, inner } = self.extent;
        let shared = Shared(self);
        let pieces = outer * blocks;
        pool::split(pieces, if small { pieces } else { 1 }, |from, to| {
            let job = *shared.get();
            job.with_space(|space| {
                scratch::with(Slot::Sums, WIDTH, |acc: *mut u64| {
                    for piece in from..to {
                        let (o, block) = (piece / blocks, piece % blocks);
                        let (col, end) = (block * inner / blocks, (block + 1) * inner / blocks);
                        let to = job.out.wrapping_add((o * inner + col) * job.dtype.size());
                        // SAFETY: the leaves cover the extent, and pieces write results of their own; a block is at most
                        // `WIDTH` wide.
                        unsafe {
                            job.folder.clear(acc.cast(), end - col);
                            job.columns(o, 0, reduce, col, end - col, acc.cast(), space);
                            (job.tiles.store)(acc.cast_const().cast(), end - col, reduce, job.dtype, to);
                        }
                    }
                });
            });
        });
    }

    /// Few results of many elements: the folded axis is cut in pieces of a size that does not depend on threads, so that
    /// sums do not either, and the pieces' results are joined in order.
    fn cut(&self, blocks: usize, least: usize) {
        let Extent { outer, reduce, inner } = self.extent;
        let most = (outer * reduce * inner / (2 * PIECES)).max(least);
        let piece = (most * blocks).div_ceil(inner).next_multiple_of(8);
        let parts = reduce.div_ceil(piece);
        // Whole words to each part's accumulators.
        let apart = (inner * self.tiles.size).next_multiple_of(8);
        scratch::with(Slot::Sums, outer * parts * apart / 8, |found: *mut u64| {
            let found = found.cast::<u8>();
            let shared = Shared((self, found));
            pool::split(outer * parts * blocks, 1, |from, to| {
                let (job, found) = *shared.get();
                job.with_space(|space| {
                    for i in from..to {
                        let (block, part) = (i % blocks, i / blocks);
                        let edge = |b: usize| (b * inner / blocks).next_multiple_of(8).min(inner);
                        let (col, end) = (edge(block), edge(block + 1));
                        let (o, r) = (part / parts, part % parts * piece);
                        let len = piece.min(reduce - r);
                        // SAFETY: the leaves cover the extent; each piece has accumulators of its own, in whole words
                        // since columns begin at multiples of eight.
                        unsafe {
                            let acc = found.add(part * apart + col * job.tiles.size);
                            job.folder.clear(acc, end - col);
                            if inner == 1 {
                                job.row(o * reduce + r, len, acc, space);
                            } else {
                                job.columns(o, r, len, col, end - col, acc, space);
                            }
                        }
                    }
                });
            });
            for o in 0..outer {
                let first = found.wrapping_add(o * parts * apart);
                let to = self.out.wrapping_add(o * inner * self.dtype.size());
                // SAFETY: every part's accumulators were written above; `inner` results of block `o`.
                unsafe {
                    for part in 1..parts {
                        (self.tiles.join)(first, first.add(part * apart), inner);
                    }
                    (self.tiles.store)(first, inner, reduce, self.dtype, to);
                }
            }
        });
    }

    /// Computes a tile and says where its values lie.
    ///
    /// # Safety
    /// Leaves must be readable at the elements asked for, at most one tile unless they are flat.
    unsafe fn tile(&self, start: usize, n: usize, space: Space) -> *const u8 {
        if let From::Flat(x) = self.from {
            return x.wrapping_add(start * self.size);
        }
        let out = space.values;
        // SAFETY: the caller vouches for the leaves; scratch and values have a tile's room.
        unsafe { self.plan.run(start, n, space.frame, |_| out) };
        let found = self.plan.result(self.reg, start, n, space.frame);
        if found.ptr.is_null() {
            return out;
        }
        if found.splat {
            // SAFETY: one element of `size` bytes is readable; `values` has room for `n`.
            unsafe {
                for i in 0..n {
                    std::ptr::copy_nonoverlapping(found.ptr, out.add(i * self.size), self.size);
                }
            }
            return out;
        }
        found.ptr
    }

    /// Elements that [`Job::tile`] may be asked for at once.
    fn tile_len(&self) -> usize {
        if matches!(self.from, From::Flat(_)) { MAX_TILE } else { self.plan.tile }
    }

    /// Folds whole rows `from..to` and stores their results.
    ///
    /// # Safety
    /// As [`Job::tile`]; the results are this thread's.
    unsafe fn rows(&self, from: usize, to: usize, space: Space) {
        const MOST: usize = 256;
        let reduce = self.extent.reduce;
        let turned = reduce <= SHORT && to - from >= 8 && matches!(self.size, 4 | 8);
        let count = match self.from {
            From::Flat(_) if !turned => MOST,
            // Runs that are no shorter than a row are read where they lie, row by row.
            From::Runs(leaf) if leaf.walk.last().0 >= reduce => 1,
            _ => (self.tile_len() / reduce.max(1)).clamp(1, MOST),
        };
        let mut totals = [0u64; MOST];
        let acc = totals.as_mut_ptr().cast::<u8>();
        for o in (from..to).step_by(count) {
            let count = count.min(to - o);
            // SAFETY: as the caller says; a tile holds `count` rows.
            unsafe {
                self.folder.clear(acc, count);
                if count == 1 {
                    self.row(o * reduce, reduce, acc, space);
                } else {
                    let x = self.tile(o * reduce, count * reduce, space);
                    if turned && count >= 8 {
                        let turned = space.values.add(MAX_TILE * 8);
                        let (from, to) = (reduce as isize, count as isize);
                        match self.size {
                            4 => turn::<f32>(x.cast(), from, turned.cast(), to, count, reduce),
                            _ => turn::<f64>(x.cast(), from, turned.cast(), to, count, reduce),
                        }
                        (self.tiles.columns)(turned, count, count, reduce, acc);
                    } else {
                        (self.tiles.rows)(x, reduce, reduce, count, acc, false);
                    }
                }
                let to = self.out.wrapping_add(o * self.dtype.size());
                (self.tiles.store)(acc, count, reduce, self.dtype, to);
            }
        }
    }

    /// Folds `len` elements from `start` into one accumulator.
    ///
    /// # Safety
    /// As [`Job::tile`].
    unsafe fn row(&self, start: usize, len: usize, acc: *mut u8, space: Space) {
        let mut done = 0;
        while done < len {
            let (at, left) = (start + done, len - done);
            // SAFETY: the caller vouches for the leaves; the runs or tile hold the values.
            unsafe {
                let (x, n, rows, apart) = match self.from {
                    From::Flat(x) => (x.wrapping_add(at * self.size), left, 1, 0),
                    From::Runs(leaf) => {
                        let (run, (count, apart)) = (leaf.walk.last().0, leaf.walk.around());
                        let x = leaf.ptr.wrapping_offset(leaf.walk.offset(at));
                        let n = left.min(run - at % run);
                        // Whole runs at even steps, as many as there are.
                        let rows = if n == run && apart >= 0 { (left / run).min(count - at / run % count) } else { 1 };
                        (x, n, rows, apart.max(0) as usize)
                    }
                    From::Tiles => {
                        // Leaves with long rows are read where they lie, if no tile crosses one.
                        let row = if self.plan.row >= LONG { self.plan.row } else { usize::MAX };
                        let n = left.min(self.plan.tile).min(row - at % row);
                        (self.tile(at, n, space), n, 1, 0)
                    }
                };
                (self.tiles.rows)(x, n, apart, rows, acc, true);
                done += n * rows;
            }
        }
    }

    /// Folds rows `r..r + len`, `width` columns from `col` on, of result block `o` into one accumulator a column.
    ///
    /// # Safety
    /// As [`Job::tile`].
    #[allow(clippy::too_many_arguments, reason = "a block of columns, and where it goes")]
    unsafe fn columns(&self, o: usize, r: usize, len: usize, col: usize, width: usize, acc: *mut u8, space: Space) {
        let Extent { reduce, inner, .. } = self.extent;
        let start = |row: usize| (o * reduce + r + row) * inner + col;
        if width == inner && inner <= SIDE / 4 && len >= 4 * (SIDE / inner) {
            // SAFETY: as the caller says.
            return unsafe { self.narrow(start(0), len, inner, acc, space) };
        }
        let mut i = 0;
        while i < len {
            // SAFETY: as the caller says; the memory or tile holds `rows` runs of `width` values.
            unsafe {
                if let Some((x, stride, rows)) = self.rows_at(start(i)) {
                    let rows = rows.min(len - i);
                    (self.tiles.columns)(x, width, stride, rows, acc);
                    i += rows;
                } else if width <= self.plan.tile {
                    // Several rows to a tile: running the program has a cost of its own.
                    let rows = if width == inner { (self.plan.tile / width).min(len - i) } else { 1 };
                    let x = self.tile(start(i), rows * width, space);
                    (self.tiles.columns)(x, width, width, rows, acc);
                    i += rows;
                } else {
                    for k in (0..width).step_by(self.plan.tile) {
                        let n = self.plan.tile.min(width - k);
                        let x = self.tile(start(i) + k, n, space);
                        (self.tiles.columns)(x, n, n, 1, acc.add(k * self.tiles.size));
                    }
                    i += 1;
                }
            }
        }
    }

    /// Rows that lie in memory from element `start` on: where, how far apart, how many.
    fn rows_at(&self, start: usize) -> Option<(*const u8, usize, usize)> {
        let Extent { inner, .. } = self.extent;
        match self.from {
            From::Flat(x) => Some((x.wrapping_add(start * self.size), inner, usize::MAX)),
            From::Runs(leaf) => {
                let (run, (count, apart)) = (leaf.walk.last().0, leaf.walk.around());
                let x = leaf.ptr.wrapping_offset(leaf.walk.offset(start));
                if run % inner != 0 {
                    None
                } else if run > inner || apart < 0 {
                    Some((x, inner, (run - start % run).div_ceil(inner)))
                } else {
                    Some((x, apart as usize, count - start / run % count))
                }
            }
            From::Tiles => None,
        }
    }

    /// Columns of a narrow block: several of its rows are folded as one long row, and their accumulators joined.
    ///
    /// # Safety
    /// As [`Job::tile`].
    unsafe fn narrow(&self, start: usize, len: usize, inner: usize, acc: *mut u8, space: Space) {
        // Rows in one long row: a number that fills whole vectors, if it can be.
        let side = SIDE.min(self.tile_len()) / inner;
        let side = if side > 8 { side & !7 } else { side };
        let wide = side * inner;
        let mut lanes = [0u64; SIDE];
        let lanes = lanes.as_mut_ptr().cast::<u8>();
        let mut row = 0;
        // SAFETY: as the caller says; the tile holds the rows.
        unsafe {
            self.folder.clear(lanes, wide);
            if let From::Flat(x) = self.from
                && len >= 64 * side
            {
                // Eight streams, each read from one end to the other; not a power of two apart, which caches dislike.
                let apart = (len / side / 8 - 1) | 1;
                for i in 0..apart {
                    let x = x.wrapping_add((start + i * wide) * self.size);
                    (self.tiles.columns)(x, wide, apart * wide, 8, lanes);
                }
                row = 8 * apart * side;
            }
            let tall = (self.tile_len() / wide).max(1);
            while row + side <= len {
                let rows = tall.min((len - row) / side);
                let x = self.tile(start + row * inner, rows * wide, space);
                (self.tiles.columns)(x, wide, wide, rows, lanes);
                row += rows * side;
            }
            if row < len {
                let x = self.tile(start + row * inner, (len - row) * inner, space);
                (self.tiles.columns)(x, inner, inner, len - row, lanes);
            }
            for lane in 0..side {
                (self.tiles.join)(acc, lanes.add(lane * inner * self.tiles.size), inner);
            }
        }
    }
}
