//! Matrix products of strided operands: bounds are checked here, the loops are in `gemm`.

use crate::base::{Buffer, DType, Element};
use crate::cpu::gemm::{self, Mat};
use crate::cpu::map::Shared;
use crate::cpu::pool;

/// A matrix product costs this many multiplications before another thread pays.
const WORK: usize = 64 << 10;
/// The smallest product costs as much as so many multiplications.
const LEAST: usize = 512;
/// Products of fewer multiplications are not divided where there are several: each goes to one thread.
const SHARED: usize = 8 << 20;

/// A matrix in a buffer: strides between rows and columns, in elements.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub buffer: &'a Buffer,
    pub row: isize,
    pub col: isize,
}

impl Matrix<'_> {
    /// Panics unless `rows` × `cols` elements at each offset lie inside the buffer.
    fn check<T>(&self, rows: usize, cols: usize, offsets: impl Iterator<Item = usize>) {
        let (mut low, mut high) = (0isize, 0isize);
        for (len, stride) in [(rows, self.row), (cols, self.col)] {
            let reach = stride * (len as isize - 1);
            if reach < 0 { low += reach } else { high += reach }
        }
        for offset in offsets {
            let end = (offset as isize + high + 1) as usize * size_of::<T>();
            assert!(
                offset as isize + low >= 0 && end <= self.buffer.bytes(),
                "dot: an operand reaches past its buffer"
            );
        }
    }
    fn at<T>(&self, offset: usize) -> Mat<T> {
        Mat { ptr: self.buffer.ptr().cast_const().cast::<T>().wrapping_add(offset), row: self.row, col: self.col }
    }
}

/// Element types that have a matrix product.
pub trait Product: Element {
    /// # Safety
    /// Both operands and `c` must hold the matrices that the sizes describe; rows of `c` are `c_row` apart.
    #[allow(clippy::too_many_arguments)]
    unsafe fn gemm(
        m: usize,
        n: usize,
        k: usize,
        a: Mat<Self>,
        b: Mat<Self>,
        c: *mut Self,
        c_row: isize,
        accumulate: bool,
        threads: usize,
    );
}

macro_rules! product {
    ($t:ty, $gemm:path) => {
        impl Product for $t {
            unsafe fn gemm(
                m: usize,
                n: usize,
                k: usize,
                a: Mat<$t>,
                b: Mat<$t>,
                c: *mut $t,
                c_row: isize,
                accumulate: bool,
                threads: usize,
            ) {
                // SAFETY: the caller vouches for the operands.
                unsafe { $gemm(m, n, k, a, b, c, c_row, 1, accumulate, threads) }
            }
        }
    };
}
product!(f32, gemm::gemm_f32);
product!(f64, gemm::gemm_f64);

/// The sizes of a product: `m × k` by `k × n`.
#[derive(Clone, Copy, Debug)]
pub struct Dims {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// `out[i] = a[i] · b[i]` (added to what is there with `accumulate`) for each pair of offsets into the operands;
/// results are `m × n`, C order, one after another.
pub fn batch<T: Product>(
    Dims { m, n, k }: Dims,
    a: Matrix,
    b: Matrix,
    offsets: &[(usize, usize)],
    out: &mut [T],
    accumulate: bool,
) {
    assert_eq!(out.len(), offsets.len() * m * n, "dot: the results fill the output");
    debug_assert!(matches!(T::DTYPE, DType::F32 | DType::F64));
    if out.is_empty() {
        return;
    }
    if k == 0 {
        return if !accumulate {
            out.fill(T::default())
        };
    }
    a.check::<T>(m, k, offsets.iter().map(|o| o.0));
    b.check::<T>(k, n, offsets.iter().map(|o| o.1));
    let shared = Shared(out.as_mut_ptr());
    let views = Shared((a.at::<T>(0), b.at::<T>(0)));
    let one = |i: usize, threads: usize| {
        let ((a, b), c) = (*views.get(), shared.get().wrapping_add(i * m * n));
        let a = Mat { ptr: a.ptr.wrapping_add(offsets[i].0), ..a };
        let b = Mat { ptr: b.ptr.wrapping_add(offsets[i].1), ..b };
        // SAFETY: operands and output were checked above; each `i` writes a result of its own.
        unsafe { T::gemm(m, n, k, a, b, c, n as isize, accumulate, threads) };
    };
    let work = m * n * k;
    let threads = pool::threads();
    if threads > 1 && offsets.len() >= 2 * threads && work < SHARED {
        let grain = (WORK / work.max(LEAST)).max(1);
        pool::split(offsets.len(), grain, |from, to| (from..to).for_each(|i| one(i, 1)));
    } else {
        pool::count_loop();
        (0..offsets.len()).for_each(|i| one(i, threads));
    }
}
