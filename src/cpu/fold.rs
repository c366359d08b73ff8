//! Runs a program and folds its one output along axes, without writing the unreduced values to memory.

use crate::base::{Buffer, DType, Element, Level};
use crate::cpu::map::{LeafSpec, Plan, Shared, grain, leaves};
use crate::cpu::pool;
use crate::ir::{FoldTile, Program, ReduceFn};
use crate::with_dtype;
use std::sync::Mutex;

/// The iteration space of a reduction, after its axes were put in order: for each of `outer` results, `reduce`
/// elements are folded; where the innermost axis is kept, `inner` results run side by side.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub outer: usize,
    pub reduce: usize,
    pub inner: usize,
}

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
    /// Folds `n` elements into one accumulator.
    ///
    /// # Safety
    /// `x` must hold `n` elements of the source dtype.
    pub unsafe fn row(&self, x: *const u8, n: usize) -> u64 {
        let mut acc = self.start();
        // SAFETY: the caller vouches for the elements; an accumulator is one word.
        unsafe { (self.rows)(x, n, (&raw mut acc).cast()) };
        acc
    }
    /// Folds `n` elements, each into its accumulator.
    ///
    /// # Safety
    /// `x` must hold `n` elements of the source dtype.
    pub unsafe fn columns(&self, x: *const u8, n: usize, acc: &mut [u64]) {
        assert!(acc.len() >= n, "fold: one accumulator for each column");
        // SAFETY: the caller vouches for the elements, the accumulators were counted.
        unsafe { (self.columns)(x, n, acc.as_mut_ptr().cast()) };
    }
    pub fn start(&self) -> u64 {
        if self.float { self.f.start.0.to_bits() } else { self.f.start.1 as u64 }
    }
    fn join(&self, a: u64, b: u64) -> u64 {
        if self.float {
            (self.f.join.0)(f64::from_bits(a), f64::from_bits(b)).to_bits()
        } else {
            (self.f.join.1)(a as i64, b as i64) as u64
        }
    }
    /// Finishes a total and stores it as element `i` of the output.
    ///
    /// # Safety
    /// `out` must have room for element `i` of `dtype`.
    pub unsafe fn store(&self, acc: u64, n: usize, dtype: DType, out: *mut u8, i: usize) {
        with_dtype!(dtype, T => {
            let v = if !self.float && dtype == DType::Bool {
                // The truth of the exact result: the mean of [true, false] is not zero.
                T::from_f64((self.f.finish.0)(acc as i64 as f64, n))
            } else if self.float {
                T::from_f64((self.f.finish.0)(f64::from_bits(acc), n))
            } else {
                T::from_i64((self.f.finish.1)(acc as i64, n))
            };
            // SAFETY: the caller vouches for the room.
            unsafe { *(out as *mut T).add(i) = v };
        })
    }
}

/// Folds the program's only output over `extent`, where `shape` has its axes in that order, and writes
/// `outer * inner` results of `dtype`: one loop over memory.
pub fn run_fold(
    program: &Program,
    mut specs: Vec<LeafSpec>,
    shape: &[usize],
    f: &ReduceFn,
    extent: Extent,
    dtype: DType,
    target: &mut Buffer,
) {
    let Extent { outer, reduce, inner } = extent;
    assert_eq!(outer * reduce * inner, shape.iter().product::<usize>(), "fold: the extent covers the shape");
    assert!(target.bytes() >= outer * inner * dtype.size(), "fold: the results do not fit their buffer");
    let ready = leaves(&mut specs, shape);
    let out = target.ptr();
    let plan = Plan::new(program, &ready);
    let reg = program.outputs[0];
    let source = program.dtype(reg);
    let folder = Folder::new(f, source);
    pool::count_bytes(outer * inner * dtype.size());
    let job = Job { plan: &plan, folder: &folder, reg, size: source.size(), reduce, inner };
    let grain = grain(program);
    let shared = Shared((job, out));
    let results = outer * inner;
    // SAFETY: results are disjoint elements of `out`.
    let store = |acc: u64, i: usize| unsafe { shared.get().0.folder.store(acc, reduce, dtype, shared.get().1, i) };

    if results * 4 >= pool::threads() * 8 || reduce < 2 * grain {
        // Enough results to share among threads: each is folded by one.
        if inner == 1 {
            let rows_per_piece = grain.div_ceil(reduce.max(1));
            pool::split(outer, rows_per_piece, |from, to| {
                let job = &shared.get().0;
                let mut scratch = vec![0u64; job.plan.scratch() / 8];
                for o in from..to {
                    // SAFETY: the caller vouches for the leaves.
                    store(unsafe { job.row(o * reduce, reduce, &mut scratch) }, o);
                }
            });
        } else {
            let width = plan.tile;
            let blocks = inner.div_ceil(width);
            let per_piece = grain.div_ceil((reduce * width.min(inner)).max(1));
            pool::split(outer * blocks, per_piece, |from, to| {
                let job = &shared.get().0;
                let mut scratch = vec![0u64; job.plan.scratch() / 8];
                for piece in from..to {
                    let (o, col) = (piece / blocks, piece % blocks * width);
                    let w = width.min(inner - col);
                    let mut acc = vec![job.folder.start(); w];
                    // SAFETY: the caller vouches for the leaves.
                    unsafe { job.columns(o, 0, reduce, col, w, &mut acc, &mut scratch) };
                    acc.iter().enumerate().for_each(|(i, &a)| store(a, o * inner + col + i));
                }
            });
        }
    } else {
        // Few long results: the reduced axis is cut in pieces of fixed size, so the sum does not depend on threads.
        let piece = grain.max(1);
        let pieces = reduce.div_ceil(piece);
        for o in 0..outer {
            let parts = Mutex::new(vec![Vec::new(); pieces]);
            pool::split(pieces, 1, |from, to| {
                let job = &shared.get().0;
                let mut scratch = vec![0u64; job.plan.scratch() / 8];
                for p in from..to {
                    let (r, len) = (p * piece, piece.min(reduce - p * piece));
                    let mut acc = vec![job.folder.start(); inner];
                    // SAFETY: the caller vouches for the leaves.
                    unsafe {
                        if inner == 1 {
                            acc[0] = job.row(o * reduce + r, len, &mut scratch);
                        } else {
                            for col in (0..inner).step_by(job.plan.tile) {
                                let w = job.plan.tile.min(inner - col);
                                job.columns(o, r, len, col, w, &mut acc[col..col + w], &mut scratch);
                            }
                        }
                    }
                    parts.lock().unwrap_or_else(|e| e.into_inner())[p] = acc;
                }
            });
            let parts = parts.into_inner().unwrap_or_else(|e| e.into_inner());
            for i in 0..inner {
                let total = parts.iter().fold(folder.start(), |acc, part| folder.join(acc, part[i]));
                store(total, o * inner + i);
            }
        }
    }
}

struct Job<'a> {
    plan: &'a Plan<'a>,
    folder: &'a Folder<'a>,
    reg: u32,
    size: usize,
    reduce: usize,
    inner: usize,
}

impl Job<'_> {
    /// Computes a tile and says where its values lie. The scratch must be [`Plan::scratch`] bytes and one tile more
    /// where the program has an output of its own.
    ///
    /// # Safety
    /// Leaves must be readable at the elements asked for.
    unsafe fn tile(&self, start: usize, n: usize, scratch: &mut [u64], values: &mut Vec<u64>) -> *const u8 {
        values.resize(self.plan.tile, 0);
        let out = values.as_mut_ptr().cast::<u8>();
        // SAFETY: the caller vouches for the leaves; scratch and values have a tile's room.
        unsafe { self.plan.run(start, n, scratch.as_mut_ptr().cast(), |_| out) };
        let found = self.plan.result(self.reg, start, scratch.as_mut_ptr().cast());
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

    /// Folds `len` elements from `start` into one accumulator.
    ///
    /// # Safety
    /// As [`Job::tile`].
    unsafe fn row(&self, start: usize, len: usize, scratch: &mut [u64]) -> u64 {
        let mut acc = self.folder.start();
        let mut values = Vec::new();
        let mut done = 0;
        while done < len {
            let n = self.plan.tile.min(len - done);
            // SAFETY: the caller vouches for the leaves; the tile holds `n` values.
            unsafe {
                let x = self.tile(start + done, n, scratch, &mut values);
                (self.folder.rows)(x, n, (&raw mut acc).cast());
            }
            done += n;
        }
        acc
    }

    /// Folds rows `r..r + len`, columns `col..col + acc.len()`, of result block `o` into one accumulator a column.
    ///
    /// # Safety
    /// As [`Job::tile`].
    #[allow(clippy::too_many_arguments)]
    unsafe fn columns(
        &self,
        o: usize,
        r: usize,
        len: usize,
        col: usize,
        width: usize,
        acc: &mut [u64],
        scratch: &mut [u64],
    ) {
        let mut values = Vec::new();
        // Narrow blocks take several rows to a tile: running the program has a cost of its own.
        let rows = if width == self.inner { (self.plan.tile / width).max(1) } else { 1 };
        let mut i = r;
        while i < r + len {
            let rows = rows.min(r + len - i);
            // SAFETY: the caller vouches for the leaves; the tile holds `rows * width` values.
            unsafe {
                let x = self.tile((o * self.reduce + i) * self.inner + col, rows * width, scratch, &mut values);
                for row in 0..rows {
                    (self.folder.columns)(x.add(row * width * self.size), width, acc.as_mut_ptr().cast());
                }
            }
            i += rows;
        }
    }
}
