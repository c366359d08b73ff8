//! Runs a program and folds its one output along axes, without writing the unreduced values to memory.

use crate::base::{Buffer, DType, Element, Level};
use crate::cpu::map::{LeafSpec, Shared, grain, leaves};
use crate::cpu::plan::{Frame, MAX_TILE, Plan};
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::turn::turn;
use crate::ir::{FoldTile, Program, ReduceFn};
use crate::with_dtype;

/// Columns that are folded side by side: their accumulators stay in the first-level cache.
const WIDTH: usize = 512;
/// Fewer pieces than this are cut along the folded axis. Not a number of threads: sums must not depend on it.
const PIECES: usize = 16;
/// Rows up to this long are turned and folded as columns.
const SHORT: usize = 48;

pub use crate::ir::Extent;

/// Accumulators of one dtype class; both kinds are eight bytes.
pub struct Folder<'a> {
    f: &'a ReduceFn,
    rows: FoldTile,
    columns: FoldTile,
    float: bool,
}

impl<'a> Folder<'a> {
    pub fn new(f: &'a ReduceFn, source: DType) -> Folder<'a> {
        let level = Level::get();
        let (rows, columns) = ((f.tile)(source, level, false), (f.tile)(source, level, true));
        Folder { f, rows, columns, float: source.is_float() }
    }
    /// Folds `acc.len()` runs of `n` elements, one behind the other, into an accumulator each.
    ///
    /// # Safety
    /// `x` must hold the runs, of the source dtype.
    pub unsafe fn rows(&self, x: *const u8, n: usize, acc: &mut [u64]) {
        // SAFETY: the caller vouches for the elements; an accumulator is one word.
        unsafe { (self.rows)(x, n, n, acc.len(), acc.as_mut_ptr().cast()) };
    }
    /// Folds `rows` runs of `acc.len()` elements, one behind the other, element by element.
    ///
    /// # Safety
    /// As [`Folder::rows`].
    pub unsafe fn columns(&self, x: *const u8, rows: usize, acc: &mut [u64]) {
        // SAFETY: as above.
        unsafe { (self.columns)(x, acc.len(), acc.len(), rows, acc.as_mut_ptr().cast()) };
    }
    pub fn start(&self) -> u64 {
        if self.float { self.f.start.0.to_bits() } else { self.f.start.1 as u64 }
    }
    pub fn join(&self, a: u64, b: u64) -> u64 {
        if self.float {
            (self.f.join.0)(f64::from_bits(a), f64::from_bits(b)).to_bits()
        } else {
            (self.f.join.1)(a as i64, b as i64) as u64
        }
    }
    /// Finishes totals and stores them as elements of the output from `first` on.
    ///
    /// # Safety
    /// `out` must have room for those elements of `dtype`.
    pub unsafe fn store(&self, totals: &[u64], n: usize, dtype: DType, out: *mut u8, first: usize) {
        let (float, int) = self.f.finish;
        with_dtype!(dtype, T => {
            // SAFETY: the caller vouches for the room.
            let out = unsafe { (out as *mut T).add(first) };
            for (i, &acc) in totals.iter().enumerate() {
                let v = if !self.float && dtype == DType::Bool {
                    // The truth of the exact result: the mean of [true, false] is not zero.
                    T::from_f64(float(acc as i64 as f64, n))
                } else if self.float {
                    T::from_f64(float(f64::from_bits(acc), n))
                } else {
                    T::from_i64(int(acc as i64, n))
                };
                // SAFETY: as above.
                unsafe { *out.add(i) = v };
            }
        })
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
    let direct = plan.direct(reg);
    let out = target.ptr();
    let job = Job { plan: &plan, folder: &folder, direct, reg, size: source.size(), extent, dtype, out };
    let blocks = inner.div_ceil(WIDTH);
    let grain = grain(program);
    if outer * blocks >= PIECES || outer * inner * reduce < 2 * grain {
        job.whole(blocks, grain);
    } else {
        job.cut(blocks, grain);
    }
}

struct Job<'a, 'p> {
    plan: &'a Plan<'p>,
    folder: &'a Folder<'p>,
    /// Where the values lie, if they need not be computed.
    direct: Option<*const u8>,
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

    /// Every result is folded by one thread.
    fn whole(&self, blocks: usize, grain: usize) {
        let Extent { outer, reduce, inner } = self.extent;
        let shared = Shared(self);
        if inner == 1 {
            return pool::split(outer, grain.div_ceil(reduce.max(1)), |from, to| {
                let job = *shared.get();
                // SAFETY: the leaves cover the extent, and pieces write results of their own.
                job.with_space(|space| unsafe { job.rows(from, to, space) });
            });
        }
        pool::split(outer * blocks, grain.div_ceil((reduce * inner.min(WIDTH)).max(1)), |from, to| {
            let job = *shared.get();
            job.with_space(|space| {
                for piece in from..to {
                    let (o, block) = (piece / blocks, piece % blocks);
                    let (col, end) = (block * inner / blocks, (block + 1) * inner / blocks);
                    let mut acc = [job.folder.start(); WIDTH];
                    let acc = &mut acc[..end - col];
                    // SAFETY: as above.
                    unsafe {
                        job.columns(o, 0, reduce, col, acc, space);
                        job.folder.store(acc, reduce, job.dtype, job.out, o * inner + col);
                    }
                }
            });
        });
    }

    /// Few results of many elements: the folded axis is cut in pieces of fixed size, so that the sum does not depend on
    /// threads, and the pieces' results are joined in order.
    fn cut(&self, blocks: usize, grain: usize) {
        let Extent { outer, reduce, inner } = self.extent;
        let piece = (2 * grain).div_ceil(inner.min(WIDTH));
        let parts = reduce.div_ceil(piece);
        let mut found = vec![self.folder.start(); outer * parts * inner];
        let shared = Shared((self, found.as_mut_ptr()));
        pool::split(outer * parts * blocks, 1, |from, to| {
            let (job, found) = *shared.get();
            job.with_space(|space| {
                for i in from..to {
                    let (block, part) = (i % blocks, i / blocks);
                    let (col, end) = (block * inner / blocks, (block + 1) * inner / blocks);
                    let (o, r) = (part / parts, part % parts * piece);
                    let len = piece.min(reduce - r);
                    // SAFETY: the leaves cover the extent; each piece has accumulators of its own.
                    unsafe {
                        let acc = std::slice::from_raw_parts_mut(found.add(part * inner + col), end - col);
                        if inner == 1 {
                            acc[0] = job.row(o * reduce + r, len, space);
                        } else {
                            job.columns(o, r, len, col, acc, space);
                        }
                    }
                }
            });
        });
        for o in 0..outer {
            let (first, rest) = found[o * parts * inner..][..parts * inner].split_at_mut(inner);
            for part in rest.chunks_exact(inner) {
                first.iter_mut().zip(part).for_each(|(a, &b)| *a = self.folder.join(*a, b));
            }
            // SAFETY: `inner` results of block `o`.
            unsafe { self.folder.store(first, reduce, self.dtype, self.out, o * inner) };
        }
    }

    /// Computes a tile and says where its values lie.
    ///
    /// # Safety
    /// Leaves must be readable at the elements asked for, at most one tile unless they are direct.
    unsafe fn tile(&self, start: usize, n: usize, space: Space) -> *const u8 {
        if let Some(x) = self.direct {
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
        if self.direct.is_some() { MAX_TILE } else { self.plan.tile }
    }

    /// Folds whole rows `from..to` and stores their results.
    ///
    /// # Safety
    /// As [`Job::tile`]; the results are this thread's.
    unsafe fn rows(&self, from: usize, to: usize, space: Space) {
        let reduce = self.extent.reduce;
        let count = (self.tile_len() / reduce.max(1)).clamp(1, 256);
        let mut totals = [0; 256];
        for o in (from..to).step_by(count) {
            let count = count.min(to - o);
            let totals = &mut totals[..count];
            totals.fill(self.folder.start());
            // SAFETY: as the caller says; a tile holds `count` rows.
            unsafe {
                if count == 1 {
                    totals[0] = self.row(o * reduce, reduce, space);
                } else {
                    let x = self.tile(o * reduce, count * reduce, space);
                    let acc = totals.as_mut_ptr().cast();
                    if reduce > SHORT || count < 8 || !matches!(self.size, 4 | 8) {
                        (self.folder.rows)(x, reduce, reduce, count, acc);
                    } else {
                        let turned = space.values.add(MAX_TILE * 8);
                        let (from, to) = (reduce as isize, count as isize);
                        match self.size {
                            4 => turn::<f32>(x.cast(), from, turned.cast(), to, count, reduce),
                            _ => turn::<f64>(x.cast(), from, turned.cast(), to, count, reduce),
                        }
                        (self.folder.columns)(turned, count, count, reduce, acc);
                    }
                }
                self.folder.store(totals, reduce, self.dtype, self.out, o);
            }
        }
    }

    /// Folds `len` elements from `start` into one accumulator.
    ///
    /// # Safety
    /// As [`Job::tile`].
    unsafe fn row(&self, start: usize, len: usize, space: Space) -> u64 {
        let mut acc = self.folder.start();
        let most = if self.direct.is_some() { len.max(1) } else { self.plan.tile };
        for done in (0..len).step_by(most) {
            let n = most.min(len - done);
            // SAFETY: the caller vouches for the leaves; the tile holds `n` values.
            unsafe {
                let x = self.tile(start + done, n, space);
                (self.folder.rows)(x, n, n, 1, (&raw mut acc).cast());
            }
        }
        acc
    }

    /// Folds rows `r..r + len`, columns from `col` on, of result block `o` into one accumulator a column.
    ///
    /// # Safety
    /// As [`Job::tile`].
    unsafe fn columns(&self, o: usize, r: usize, len: usize, col: usize, acc: &mut [u64], space: Space) {
        let Extent { reduce, inner, .. } = self.extent;
        let width = acc.len();
        let start = |row: usize| (o * reduce + r + row) * inner + col;
        if width == inner && inner <= WIDTH / 8 {
            // SAFETY: as the caller says.
            return unsafe { self.narrow(start(0), len, acc, space) };
        }
        let most = if self.direct.is_some() {
            len.max(1)
        } else if width == inner {
            // Several rows to a tile: running the program has a cost of its own.
            (self.plan.tile / width).max(1)
        } else {
            1
        };
        for i in (0..len).step_by(most) {
            let rows = most.min(len - i);
            let stride = if self.direct.is_some() { inner } else { width };
            // SAFETY: as the caller says; the tile holds `rows` runs of `width` values.
            unsafe {
                if width <= self.tile_len() {
                    let x = self.tile(start(i), if rows == 1 { width } else { rows * width }, space);
                    (self.folder.columns)(x, width, stride, rows, acc.as_mut_ptr().cast());
                    continue;
                }
                for (k, acc) in acc.chunks_mut(self.plan.tile).enumerate() {
                    let x = self.tile(start(i) + k * self.plan.tile, acc.len(), space);
                    (self.folder.columns)(x, acc.len(), acc.len(), 1, acc.as_mut_ptr().cast());
                }
            }
        }
    }

    /// Columns of a narrow block: several of its rows are folded as one long row, and their accumulators joined.
    ///
    /// # Safety
    /// As [`Job::tile`].
    unsafe fn narrow(&self, start: usize, len: usize, acc: &mut [u64], space: Space) {
        let inner = acc.len();
        // Rows in one long row, long rows in one tile.
        let side = (self.tile_len().min(WIDTH) / inner).min(len).max(1);
        let tall = if self.direct.is_some() { len } else { (self.plan.tile / (side * inner)).max(1) };
        let mut lanes = [self.folder.start(); WIDTH];
        let lanes = &mut lanes[..side * inner];
        let mut row = 0;
        while row + side <= len {
            let rows = tall.min((len - row) / side);
            // SAFETY: as the caller says; the tile holds the rows.
            unsafe {
                let x = self.tile(start + row * inner, rows * side * inner, space);
                (self.folder.columns)(x, side * inner, side * inner, rows, lanes.as_mut_ptr().cast());
            }
            row += rows * side;
        }
        while row < len {
            // SAFETY: as above.
            unsafe {
                let x = self.tile(start + row * inner, inner, space);
                (self.folder.columns)(x, inner, inner, 1, lanes.as_mut_ptr().cast());
            }
            row += 1;
        }
        for lane in lanes.chunks_exact(inner) {
            acc.iter_mut().zip(lane).for_each(|(a, &b)| *a = self.folder.join(*a, b));
        }
    }
}
