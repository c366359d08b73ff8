//! The matrix product on strided views.
//!
//! Large products go to the `gemm` crate, which packs and blocks for the caches. Small ones, where packing would cost more
//! than the product, and a matrix times a vector, which is bound by memory, use the loops in `gemm_kernel.rs`.
#![allow(clippy::too_many_arguments, reason = "sizes, three operands and their strides, as in BLAS")]

use super::gemm_kernel::{Gemv, Plain, Simd, Tile};
#[cfg(target_arch = "x86_64")]
use super::gemm_kernel::{Middle, Wide};
use crate::base::Level;
use ::gemm::Parallelism;

/// A matrix to read: element `(i, j)` is at `ptr + i·row + j·col`.
#[derive(Clone, Copy, Debug)]
pub struct Mat<T> {
    pub ptr: *const T,
    pub row: isize,
    pub col: isize,
}

/// Multiply-adds, times bytes of an element, up to which the register tiles beat the crate: 1.3 to 5 times for floats up
/// to 32³, 1.5 times for doubles at 16³; they are as fast at 40³ and 32³.
const SMALL: usize = 1 << 18;
/// Multiply-adds below which a second thread costs more than it brings.
const PARALLEL: usize = 1 << 19;
/// The same for a matrix times a vector: a matrix that leaves the second-level cache.
const PARALLEL_GEMV: usize = 1 << 18;

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
            if job.n == 1 && (job.a.col == 1 || job.a.row == 1 || job.k == 1) {
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
    #[rustfmt::skip]
    unsafe fn matrix(self, threads: usize) {
        let Job { m, n, k, a, b, c, c_row, c_col, accumulate } = self;
        let work = m * n * k;
        if work <= SMALL / size_of::<T>() {
            // SAFETY: the views are the caller's.
            return unsafe { T::small(&self) };
        }
        let threads = if work < PARALLEL || threads < 2 { Parallelism::None } else { Parallelism::Rayon(threads) };
        let (one, plain) = (T::ONE, false);
        // SAFETY: the views are the caller's; C is read only when accumulating.
        unsafe {
            ::gemm::gemm(
                m, n, k, c, c_col, c_row, accumulate, a.ptr, a.col, a.row, b.ptr, b.col, b.row,
                one, one, plain, plain, plain, threads,
            );
        }
    }

    /// The product when C is a column: memory-bound, so A is read once, in order.
    ///
    /// # Safety
    /// As [`Job::run`], with `n == 1`.
    unsafe fn gemv(self, threads: usize) {
        let by_rows = self.a.col == 1 || self.k == 1 && self.a.row != 1;
        let mut x = Vec::new();
        let mut x_ptr = self.b.ptr;
        // SAFETY: elements of the caller's views.
        unsafe {
            if self.b.row != 1 && self.k > 1 {
                x.extend((0..self.k).map(|l| *self.b.at(l, 0).ptr));
                x_ptr = x.as_ptr();
            }
            let whole = Job { b: Mat { ptr: x_ptr, row: 1, col: 0 }, ..self };
            if by_rows || self.c_row == 1 {
                return whole.gemv_split(by_rows, if self.m * self.k < PARALLEL_GEMV { 1 } else { threads });
            }
            let mut y: Vec<T> =
                (0..self.m).map(|i| if self.accumulate { *self.part(i, 0, 1, 1).c } else { T::ZERO }).collect();
            Job { c: y.as_mut_ptr(), c_row: 1, ..whole }.gemv_split(by_rows, 1);
            y.iter().enumerate().for_each(|(i, &y)| *self.part(i, 0, 1, 1).c = y);
        }
    }

    /// # Safety
    /// As [`Job::gemv`], with `b` contiguous, and `c` too unless `by_rows`.
    unsafe fn gemv_split(self, by_rows: bool, pieces: usize) {
        // SAFETY: the two parts are disjoint in C.
        unsafe {
            if pieces < 2 || self.m < 64 {
                let stride = if by_rows { self.a.row } else { self.a.col };
                let (rows, k, m, x, y) = (self.m, self.k, self.a.ptr, self.b.ptr, self.c);
                return T::gemv(
                    by_rows,
                    &Gemv { rows, k, m, stride, x, y, y_stride: self.c_row, accumulate: self.accumulate },
                );
            }
            let left = pieces / 2;
            let cut = (self.m * left / pieces).next_multiple_of(16);
            let (one, two) = (self.part(0, 0, cut, 1), self.part(cut, 0, self.m - cut, 1));
            rayon::join(|| one.gemv_split(by_rows, left), || two.gemv_split(by_rows, pieces - left));
        }
    }
}

/// A product without packing, except that rows of B are made contiguous where they are not.
///
/// # Safety
/// See [`gemm_f32`]; the CPU has `S`; no side is 0.
unsafe fn small<T: Gemm, S: Simd<T>>(job: &Job<T>) {
    let &Job { m, n, k, a, mut b, c_col, accumulate, .. } = job;
    let mut rows_of_b = Vec::new();
    // SAFETY: elements and tiles of the caller's views.
    unsafe {
        if b.col != 1 && n > 1 {
            rows_of_b.reserve_exact(k * n);
            (0..k).for_each(|l| rows_of_b.extend((0..n).map(|j| *b.at(l, j).ptr)));
            b = Mat { ptr: rows_of_b.as_ptr(), row: n as isize, col: 1 };
        }
        for j in (0..n).step_by(S::NR) {
            for i in (0..m).step_by(S::MR) {
                let (part, cols) = (job.part(i, j, 0, 0), S::NR.min(n - j));
                let (a, b) = (a.at(i, 0), b.at(0, j));
                let (a, a_row, a_col, b, b_row) = (a.ptr, a.row, a.col, b.ptr, b.row);
                let tile = Tile { k, a, a_row, a_col, b, b_row, c: part.c, c_row: part.c_row, cols, accumulate };
                if c_col == 1 || cols == 1 {
                    tiles::<T, S>(tile, S::MR.min(m - i));
                } else {
                    scattered::<T, S>(tile, S::MR.min(m - i), c_col);
                }
            }
        }
    }
}

/// A tile of C whose columns are not contiguous: computed beside, then copied.
///
/// # Safety
/// As [`tiles`], but for the stride of the columns of C.
unsafe fn scattered<T: Gemm, S: Simd<T>>(t: Tile<T>, rows: usize, c_col: isize) {
    let mut beside = [T::ZERO; 14 * 32];
    // SAFETY: `beside` holds the largest tile; the rest is the caller's.
    unsafe {
        tiles::<T, S>(Tile { c: beside.as_mut_ptr(), c_row: 32, accumulate: false, ..t }, rows);
        for i in 0..rows {
            for j in 0..t.cols {
                let c = t.c.offset(i as isize * t.c_row + j as isize * c_col);
                *c = if t.accumulate { *c + beside[i * 32 + j] } else { beside[i * 32 + j] };
            }
        }
    }
}

/// At most `MR` rows of tiles, the largest that fit first.
///
/// # Safety
/// See `tile` in `gemm_kernel.rs`.
#[inline]
unsafe fn tiles<T: Gemm, S: Simd<T>>(mut t: Tile<T>, mut rows: usize) {
    macro_rules! largest {
        ($($r:literal)*) => { $(
            while $r <= S::MR && rows >= $r {
                if t.cols > S::LANES { S::run::<$r, 2>(&t) } else { S::run::<$r, 1>(&t) }
                rows -= $r;
                t.a = t.a.wrapping_offset($r * t.a_row);
                t.c = t.c.wrapping_offset($r * t.c_row);
            }
        )* };
    }
    // SAFETY: `run` gets as many rows as are left.
    unsafe {
        if S::MR >= 14 {
            largest!(14 8);
        } else {
            largest!(8 6);
        }
        largest!(4 2 1);
    }
}

/// The element types that a matrix product exists for.
pub trait Gemm: Copy + Send + Sync + std::ops::Add<Output = Self> + 'static {
    const ZERO: Self;
    const ONE: Self;
    /// A small product with the best vector unit, on this thread.
    ///
    /// # Safety
    /// See [`gemm_f32`]; no side of the product is 0.
    #[doc(hidden)]
    unsafe fn small(job: &Job<Self>);
    /// A matrix times a vector with the best vector unit, on this thread.
    ///
    /// # Safety
    /// The pointers of `d` cover what it describes, at the strides it names.
    #[doc(hidden)]
    unsafe fn gemv(by_rows: bool, d: &Gemv<Self>);
}

macro_rules! gemm {
    ($t:ty) => {
        impl Gemm for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            unsafe fn small(job: &Job<$t>) {
                // SAFETY: the level is what the CPU has; the rest is the caller's.
                unsafe {
                    match Level::get() {
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx512 => small::<$t, Wide>(job),
                        #[cfg(target_arch = "x86_64")]
                        Level::Avx2 => small::<$t, Middle>(job),
                        _ => small::<$t, Plain>(job),
                    }
                }
            }
            unsafe fn gemv(by_rows: bool, d: &Gemv<$t>) {
                // SAFETY: as above.
                unsafe {
                    match (Level::get(), by_rows) {
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
/// Runs on the calling thread's rayon pool, with at most `threads` threads.
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
        rayon::scope(|scope| {
            for from in (0..batch).step_by(run) {
                let one = &one;
                scope.spawn(move |_| (from..batch.min(from + run)).for_each(|i| one(i, 1)));
            }
        });
    } else {
        (0..batch).for_each(|i| one(i, threads));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that repeat with no short period.
    fn fill<T>(n: usize, seed: usize, from: impl Fn(f64) -> T) -> Vec<T> {
        (0..n).map(|i| from(((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 - 0.5)).collect()
    }

    /// Against a product in doubles, within the bound for any order of summation: `(k + 2) · eps · Σ|a·b|`.
    macro_rules! check {
        ($name:ident, $t:ty, $gemm:path) => {
            fn $name(
                m: usize,
                n: usize,
                k: usize,
                ta: bool,
                tb: bool,
                tc: bool,
                gap: usize,
                accumulate: bool,
                threads: usize,
            ) {
                let strides = |r: usize, c: usize, t: bool| if t { (gap, gap * r + 1) } else { (gap * c + 1, gap) };
                let from = |x: f64| x as $t;
                let (a, b) = (fill(gap * m * k + m + k + 9, 1, from), fill(gap * n * k + n + k + 9, 2, from));
                let before = fill(gap * m * n + m + n + 9, 3, from);
                let mut c = before.clone();
                let ((ar, ac), (br, bc), (cr, cc)) = (strides(m, k, ta), strides(k, n, tb), strides(m, n, tc));
                let am = Mat { ptr: a.as_ptr(), row: ar as isize, col: ac as isize };
                let bm = Mat { ptr: b.as_ptr(), row: br as isize, col: bc as isize };
                // SAFETY: the vectors hold the views.
                unsafe { $gemm(m, n, k, am, bm, c.as_mut_ptr(), cr as isize, cc as isize, accumulate, threads) };
                let mut want: Vec<(f64, f64)> = before.iter().map(|&x| (x as f64, 0.0)).collect();
                for i in 0..m {
                    for j in 0..n {
                        let w = &mut want[i * cr + j * cc];
                        *w = if accumulate { (w.0, w.0.abs()) } else { (0.0, 0.0) };
                        for l in 0..k {
                            let x = a[i * ar + l * ac] as f64 * b[l * br + j * bc] as f64;
                            *w = (w.0 + x, w.1 + x.abs());
                        }
                    }
                }
                // Elements between those of C have a bound of zero: they must not be touched.
                let eps = <$t>::EPSILON as f64 * (k + 2) as f64;
                for (i, (&got, &(want, size))) in c.iter().zip(&want).enumerate() {
                    let ok = (got as f64 - want).abs() <= eps * size;
                    assert!(ok, "{m}×{n}×{k} {ta} {tb} {tc} gap {gap} add {accumulate} at {i}: {got} {want}");
                }
            }
        };
    }
    check!(check_f32, f32, gemm_f32);
    check!(check_f64, f64, gemm_f64);

    #[rustfmt::skip]
    const SHAPES: &[[usize; 3]] = &[
        [0, 3, 3], [3, 0, 3], [3, 3, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 70], [1, 33, 1], [17, 1, 1], [1, 40, 9],
        [70, 1, 300], [1, 70, 131], [2, 2, 2], [3, 5, 7], [8, 8, 8], [14, 32, 5], [15, 33, 17], [16, 16, 16],
        [29, 31, 400], [13, 300, 20], [70, 65, 64], [100, 17, 390], [61, 530, 33],
    ];

    #[test]
    fn agrees_with_a_plain_product() {
        for &[m, n, k] in SHAPES {
            for form in 0..16 {
                let (ta, tb, tc, add) = (form & 1 > 0, form & 2 > 0, form & 4 > 0, form & 8 > 0);
                for gap in [1, 2] {
                    check_f32(m, n, k, ta, tb, tc, gap, add, 2);
                    check_f64(m, n, k, ta, tb, tc, gap, add, 1);
                }
            }
        }
    }

    #[test]
    fn large_products_and_vectors() {
        check_f32(350, 300, 800, false, false, false, 1, false, 1);
        check_f32(350, 300, 800, true, true, false, 1, true, 3);
        check_f64(40, 2100, 20, false, true, false, 1, false, 2);
        check_f64(700, 130, 390, true, false, false, 1, false, 2);
        check_f32(3000, 1, 200, false, false, false, 1, false, 2);
        check_f32(3000, 1, 200, true, false, false, 2, true, 2);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (m, n, k) = (150, 170, 900);
        let (a, b) = (fill(m * k, 1, |x| x as f32), fill(k * n, 2, |x| x as f32));
        let run = |threads| {
            let mut c = vec![0.0f32; m * n];
            let (am, bm) =
                (Mat { ptr: a.as_ptr(), row: k as isize, col: 1 }, Mat { ptr: b.as_ptr(), row: n as isize, col: 1 });
            // SAFETY: the vectors hold the views.
            unsafe { gemm_f32(m, n, k, am, bm, c.as_mut_ptr(), n as isize, 1, false, threads) };
            c
        };
        assert!(run(1) == run(2) && run(1) == run(5));
    }

    #[test]
    fn reversed_and_shared_views() {
        // A is walked backwards; B has zero strides, so every element is the same.
        let (a, two, mut c) = ([1.0f32, 2.0, 3.0, 4.0], [2.0f32], [0.0f32; 4]);
        let (am, bm) = (Mat { ptr: &a[3], row: -2, col: -1 }, Mat { ptr: two.as_ptr(), row: 0, col: 0 });
        // SAFETY: the arrays hold the views.
        unsafe { gemm_f32(2, 2, 2, am, bm, c.as_mut_ptr(), 2, 1, false, 1) };
        assert_eq!(c, [14.0, 14.0, 6.0, 6.0]);
    }

    #[test]
    fn large_reversed_and_shared_views() {
        // Past `SMALL`: A is walked backwards, every row of B is the same.
        let s = 60;
        let (a, b, mut c) = (fill(s * s, 1, |x| x), fill(s, 2, |x| x), vec![0.0; s * s]);
        let (am, bm) =
            (Mat { ptr: &a[s * s - 1], row: -(s as isize), col: -1 }, Mat { ptr: b.as_ptr(), row: 0, col: 1 });
        // SAFETY: the vectors hold the views; C is walked backwards too.
        unsafe { gemm_f64(s, s, s, am, bm, &mut c[s * s - 1], -(s as isize), -1, false, 2) };
        for (i, c) in c.chunks(s).enumerate() {
            let row: f64 = a[i * s..(i + 1) * s].iter().sum();
            assert!((0..s).all(|j| (c[j] - row * b[s - 1 - j]).abs() < 1e-12));
        }
    }

    #[test]
    fn batches_agree_with_single_products() {
        for (batch, m, n, k) in
            [(0, 2, 2, 2), (1, 5, 6, 7), (300, 9, 10, 11), (3, 100, 90, 80), (50, 1, 20, 900), (4, 2, 2, 0)]
        {
            let (a, b) = (fill(batch * m * k, 1, |x| x), fill(k * n, 2, |x| x));
            let (mut c, mut want) = (vec![7.0; batch * m * n], vec![7.0; batch * m * n]);
            let (am, bm) =
                (Mat { ptr: a.as_ptr(), row: k as isize, col: 1 }, Mat { ptr: b.as_ptr(), row: n as isize, col: 1 });
            let steps = [(m * k) as isize, 0, (m * n) as isize];
            // SAFETY: the vectors hold the views.
            unsafe {
                batch_gemm(batch, steps, m, n, k, am, bm, c.as_mut_ptr(), n as isize, 1, false, 2);
                for i in 0..batch {
                    let am = Mat { ptr: a[i * m * k..].as_ptr(), ..am };
                    gemm_f64(m, n, k, am, bm, want[i * m * n..].as_mut_ptr(), n as isize, 1, false, 1);
                }
            }
            assert_eq!(c, want);
        }
    }
}
