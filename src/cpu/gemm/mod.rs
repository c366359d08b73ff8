//! The matrix product on strided views.
//!
//! One kernel, a tile of C held in registers (`kernel.rs`), under two loops: small products read their operands where
//! they lie, larger ones copy blocks of them first (`packed.rs`). A matrix times a vector or a few columns, which is bound
//! by memory, reads the matrix once in order (`thin.rs`). All are written once, for any vector unit (`simd.rs`).
#![allow(clippy::too_many_arguments, reason = "sizes, three operands and their strides, as in BLAS")]

mod kernel;
mod packed;
mod simd;
#[cfg(test)]
mod tests;
mod thin;

use crate::base::Level;
use crate::cpu::map::Shared;
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use kernel::Tile;
use packed::{copy_turned, packed};
#[cfg(target_arch = "x86_64")]
use simd::{Middle, Wide};
use simd::{Plain, Simd};
use thin::Thin;

/// A matrix to read: element `(i, j)` is at `ptr + i·row + j·col`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<T> {
    pub ptr: *const T,
    pub row: isize,
    pub col: isize,
}

/// Multiply-adds below which a second thread costs more than it brings.
const PARALLEL: usize = 1 << 17;
/// The same for a matrix times a vector, in elements of the matrix.
const PARALLEL_GEMV: usize = 1 << 16;
/// Steps of `k`, at most, that are summed apart where C is too small to share out, and multiply-adds to such a piece.
/// Fixed, so that threads do not change the sum.
const LONG: usize = 8192;
const PIECE: usize = 2 << 20;
/// Columns of C up to which vectors run along `k`.
const THIN: usize = 8;
/// Elements of C up to which `k` is cut in such pieces.
const SMALL_C: usize = 1024;

/// One product; the fields are those of [`gemm_f32`].
#[derive(Clone, Copy)]
pub struct Job<T> {
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    c_row: isize,
    c_col: isize,
    accumulate: bool,
}
// SAFETY: `a` and `b` are only read, and the parts of `c` that jobs on different threads write do not overlap.
unsafe impl<T> Send for Job<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Job<T> {}

impl<T> Mat<T> {
    fn at(self, i: usize, j: usize) -> Self {
        Mat { ptr: self.ptr.wrapping_offset(i as isize * self.row + j as isize * self.col), ..self }
    }
    fn moved(self, by: isize) -> Self {
        Mat { ptr: self.ptr.wrapping_offset(by), ..self }
    }
    fn transposed(self) -> Self {
        Mat { row: self.col, col: self.row, ..self }
    }
}

impl<T: Gemm> Job<T> {
    /// The same product seen as `Cᵀ = Bᵀ·Aᵀ`.
    fn transposed(self) -> Self {
        let (a, b) = (self.b.transposed(), self.a.transposed());
        Job { m: self.n, n: self.m, a, b, c_row: self.c_col, c_col: self.c_row, ..self }
    }
    /// The part of C of `m × n` elements at `(i, j)`.
    fn part(self, i: usize, j: usize, m: usize, n: usize) -> Self {
        let c = self.c.wrapping_offset(i as isize * self.c_row + j as isize * self.c_col);
        Job { m, n, a: self.a.at(i, 0), b: self.b.at(0, j), c, ..self }
    }

    /// The product `i` of a batch.
    fn nth(self, i: usize, steps: [isize; 3]) -> Self {
        let [a, b, c] = steps.map(|step| i as isize * step);
        let (a, b) = (self.a.moved(a), self.b.moved(b));
        Job { a, b, c: self.c.wrapping_offset(c), ..self }
    }

    /// # Safety
    /// See [`gemm_f32`].
    unsafe fn run(self, threads: usize) {
        let job = if self.c_col != 1 && self.c_row == 1 { self.transposed() } else { self };
        // SAFETY: the views are the caller's, or parts of them.
        unsafe {
            if job.m == 0 || job.n == 0 {
                return;
            }
            if job.k == 0 {
                if !job.accumulate {
                    (0..job.m * job.n).for_each(|i| *job.part(i / job.n, i % job.n, 1, 1).c = T::ZERO);
                }
                return;
            }
            if job.m == 1 && job.n == 1 && job.k >= 2 * job.piece() {
                job.long(threads);
            } else if job.n == 1 && (job.a.col == 1 || job.a.row == 1 || job.k == 1) {
                job.gemv(threads);
            } else if job.m == 1 && (job.b.row == 1 || job.b.col == 1 || job.k == 1) {
                job.transposed().gemv(threads);
            } else {
                job.matrix(threads);
            }
        }
    }

    /// # Safety
    /// As [`Job::run`], with no side 0.
    unsafe fn matrix(self, threads: usize) {
        // SAFETY: the views are the caller's.
        unsafe {
            if self.m * self.n <= SMALL_C && self.k >= 2 * self.piece() {
                return self.long(threads);
            }
            // The other side of the product, where that makes the short operand the one that is copied, or none.
            let few_rows = self.b.col != 1 && self.b.row == 1 && self.m < self.n && self.m <= 32;
            let few_columns = self.a.col != 1 && self.a.row == 1 && self.n < self.m && self.n <= 14;
            let job = if few_rows || few_columns { self.transposed() } else { self };
            let thin = job.n <= THIN && job.a.col == 1 && job.k >= 32 * job.n && (job.b.row == 1 || job.m >= 32);
            if thin { job.thin(threads) } else { T::product(&job, threads) }
        }
    }

    /// Steps of `k` to a piece of a long product.
    fn piece(&self) -> usize {
        (PIECE / (self.m * self.n)).min(LONG)
    }

    /// A product of long rows and columns: pieces of `k` give a C each, which are added up in order.
    ///
    /// # Safety
    /// As [`Job::matrix`].
    unsafe fn long(self, threads: usize) {
        let (each, size) = (self.piece(), self.m * self.n);
        let pieces = self.k.div_ceil(each);
        // Where there is little to multiply there may still be much to read.
        let threads = if self.k * size.max(self.m + self.n) < PARALLEL { 1 } else { threads };
        let mut parts = vec![T::ZERO; pieces * size];
        let shared = Shared((self, parts.as_mut_ptr()));
        let piece = |i: usize| {
            let (job, parts) = *shared.get();
            let (l, c) = (i * each, parts.wrapping_add(i * size));
            let (a, b) = (job.a.at(0, l), job.b.at(l, 0));
            let k = each.min(job.k - l);
            // SAFETY: a range of the caller's `k`; each piece writes its own part.
            unsafe { Job { k, a, b, c, c_row: job.n as isize, c_col: 1, accumulate: false, ..job }.run(1) };
        };
        if threads > 1 {
            pool::run(pieces, piece)
        } else {
            (0..pieces).for_each(piece)
        }
        // Halves are added to each other: the errors of many sums one after the other would show.
        let mut count = pieces;
        while count > 1 {
            let half = count.div_ceil(2);
            let (low, high) = parts.split_at_mut(half * size);
            low.iter_mut().zip(&high[..(count - half) * size]).for_each(|(l, &h)| *l = *l + h);
            count = half;
        }
        for (i, &sum) in parts[..size].iter().enumerate() {
            // SAFETY: an element of C.
            unsafe {
                let c = self.part(i / self.n, i % self.n, 1, 1).c;
                *c = if self.accumulate { *c + sum } else { sum };
            }
        }
    }

    /// A few long columns: rows of A and columns of B are multiplied along `k`.
    ///
    /// # Safety
    /// As [`Job::matrix`], with rows of A contiguous.
    unsafe fn thin(self, threads: usize) {
        let copy = self.b.row != 1;
        scratch::with(Slot::Panels, if copy { self.n * self.k } else { 0 }, |space: *mut T| {
            let mut b = self.b;
            if copy {
                // SAFETY: the space has room for all of B.
                unsafe { copy_turned(b.ptr, b.row, b.col, self.k, self.n, space, self.k) };
                b = Mat { ptr: space.cast_const(), row: 1, col: self.k as isize };
            }
            let threads = if self.m * self.n * self.k < PARALLEL { 1 } else { threads };
            // SAFETY: the caller's views, or the copy.
            unsafe { Job { b, ..self }.by_rows(true, threads) };
        });
    }

    /// The product when C is a column: memory-bound, so A is read once, in order.
    ///
    /// # Safety
    /// As [`Job::run`], with `n == 1`.
    unsafe fn gemv(self, threads: usize) {
        let along = self.a.col == 1 || self.k == 1 && self.a.row != 1;
        let threads = if self.m * self.k < PARALLEL_GEMV { 1 } else { threads };
        let mut x = Vec::new();
        let mut x_ptr = self.b.ptr;
        // SAFETY: elements of the caller's views.
        unsafe {
            if self.b.row != 1 && self.k > 1 {
                x.extend((0..self.k).map(|l| *self.b.at(l, 0).ptr));
                x_ptr = x.as_ptr();
            }
            let whole = Job { b: Mat { ptr: x_ptr, row: 1, col: 0 }, ..self };
            if along || self.c_row == 1 {
                return whole.by_rows(along, threads);
            }
            let mut y: Vec<T> =
                (0..self.m).map(|i| if self.accumulate { *self.part(i, 0, 1, 1).c } else { T::ZERO }).collect();
            Job { c: y.as_mut_ptr(), c_row: 1, ..whole }.by_rows(along, threads);
            y.iter().enumerate().for_each(|(i, &y)| *self.part(i, 0, 1, 1).c = y);
        }
    }

    /// Rows of the product, shared out to threads.
    ///
    /// # Safety
    /// As [`Job::run`], with columns of B contiguous; `along` the rows of A, which are contiguous, or along its columns,
    /// where C is one contiguous column.
    unsafe fn by_rows(self, along: bool, threads: usize) {
        let shared = Shared(self);
        let rows = |from: usize, to: usize| {
            let Job { k, n: cols, a, b, c, c_row, c_col, accumulate, .. } =
                shared.get().part(from, 0, to - from, self.n);
            let d = Thin {
                rows: to - from,
                cols,
                k,
                m: a.ptr,
                stride: if along { a.row } else { a.col },
                x: b.ptr,
                x_col: b.col,
                y: c,
                y_row: c_row,
                y_col: c_col,
                accumulate,
            };
            // SAFETY: rows of the caller's product, each in one piece.
            unsafe { T::thin(along, &d) };
        };
        if threads < 2 || self.m < 64 {
            return rows(0, self.m);
        }
        let piece = self.m.div_ceil(2 * threads).next_multiple_of(16);
        pool::run(self.m.div_ceil(piece), |i| rows(i * piece, self.m.min((i + 1) * piece)));
    }
}

/// A tile of C whose columns are not contiguous: computed beside, then copied.
///
/// # Safety
/// As a tile of `rows`, but for the stride of the columns of C.
unsafe fn scattered<T: Gemm, S: Simd<T>>(t: Tile<T>, rows: usize, c_col: isize) {
    let mut beside = [T::ZERO; 14 * 32];
    // SAFETY: `beside` holds the largest tile; the rest is the caller's.
    unsafe {
        S::rows(&Tile { c: beside.as_mut_ptr(), c_row: 32, accumulate: false, ..t }, rows);
        for j in 0..t.cols {
            for i in 0..rows {
                let c = t.c.offset(i as isize * t.c_row + j as isize * c_col);
                *c = if t.accumulate { *c + beside[i * 32 + j] } else { beside[i * 32 + j] };
            }
        }
    }
}

/// The element types that a matrix product exists for.
pub trait Gemm: Copy + Send + Sync + std::ops::Add<Output = Self> + 'static {
    const ZERO: Self;
    /// A product with the best vector unit.
    ///
    /// # Safety
    /// See [`gemm_f32`]; no side of the product is 0.
    #[doc(hidden)]
    unsafe fn product(job: &Job<Self>, threads: usize);
    /// A matrix times a few columns with the best vector unit, on this thread.
    ///
    /// # Safety
    /// The pointers of `d` cover what it describes, at the strides it names.
    #[doc(hidden)]
    unsafe fn thin(along: bool, d: &Thin<Self>);
}

macro_rules! gemm {
    ($t:ty) => {
        impl Gemm for $t {
            const ZERO: Self = 0.0;
            unsafe fn product(job: &Job<$t>, threads: usize) {
                // SAFETY: the level is what the CPU has; the rest is the caller's.
                unsafe {
                    match Level::get() {
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx512 => packed::<$t, Wide>(job, threads),
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx2 => packed::<$t, Middle>(job, threads),
                        _ => packed::<$t, Plain>(job, threads),
                    }
                }
            }
            unsafe fn thin(along: bool, d: &Thin<$t>) {
                // SAFETY: as above.
                unsafe {
                    match (Level::get(), along) {
                        #[cfg(target_arch = "x86_64")]
                        (Level::Avx512, true) => <Wide as Simd<$t>>::dots(d),
                        #[cfg(target_arch = "x86_64")]
                        (Level::Avx512, false) => <Wide as Simd<$t>>::axpys(d),
                        #[cfg(target_arch = "x86_64")]
                        (Level::Avx2, true) => <Middle as Simd<$t>>::dots(d),
                        #[cfg(target_arch = "x86_64")]
                        (Level::Avx2, false) => <Middle as Simd<$t>>::axpys(d),
                        (_, true) => <Plain as Simd<$t>>::dots(d),
                        (_, false) => <Plain as Simd<$t>>::axpys(d),
                    }
                }
            }
        }
    };
}
gemm!(f32);
gemm!(f64);

/// `C = A·B`, or `C += A·B` when accumulating; A is `m × k`, B is `k × n`. Strides are in elements and may have any sign.
/// Runs on this thread, or on all of the pool if `threads` is above one.
///
/// # Safety
/// The views cover their elements; C is writable, overlaps neither A nor B, and no two of its elements coincide.
pub unsafe fn gemm_f32(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<f32>,
    b: Mat<f32>,
    c: *mut f32,
    c_row: isize,
    c_col: isize,
    accumulate: bool,
    threads: usize,
) {
    // SAFETY: as the caller says.
    unsafe { Job { m, n, k, a, b, c, c_row, c_col, accumulate }.run(threads) }
}

/// [`gemm_f32`] for doubles.
///
/// # Safety
/// See [`gemm_f32`].
pub unsafe fn gemm_f64(
    m: usize,
    n: usize,
    k: usize,
    a: Mat<f64>,
    b: Mat<f64>,
    c: *mut f64,
    c_row: isize,
    c_col: isize,
    accumulate: bool,
    threads: usize,
) {
    // SAFETY: as the caller says.
    unsafe { Job { m, n, k, a, b, c, c_row, c_col, accumulate }.run(threads) }
}

/// `batch` products of one shape; `steps` are the distances from one matrix of A, B and C to the next, 0 for an operand
/// that all share. Many small products are spread over the threads; large ones are split inside.
///
/// # Safety
/// As [`gemm_f32`] for each product; the matrices of C do not overlap.
pub unsafe fn batch_gemm<T: Gemm>(
    batch: usize,
    steps: [isize; 3],
    m: usize,
    n: usize,
    k: usize,
    a: Mat<T>,
    b: Mat<T>,
    c: *mut T,
    c_row: isize,
    c_col: isize,
    accumulate: bool,
    threads: usize,
) {
    let first = Job { m, n, k, a, b, c, c_row, c_col, accumulate };
    // SAFETY: as the caller says of each product.
    let one = move |i: usize, threads: usize| unsafe { first.nth(i, steps).run(threads) };
    let work = m * n * k;
    let small = batch >= threads && work < 16 * PARALLEL;
    if threads > 1 && small && batch * work >= PARALLEL {
        let run = batch.div_ceil(4 * threads).max(PARALLEL / (8 * work));
        pool::run(batch.div_ceil(run), |i| (i * run..batch.min((i + 1) * run)).for_each(|i| one(i, 1)));
    } else {
        (0..batch).for_each(|i| one(i, threads));
    }
}
