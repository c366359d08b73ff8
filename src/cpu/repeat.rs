//! Folding one element that stands for many.

use crate::base::{Buffer, DType, Level};
use crate::cpu::pool;
use crate::ir::ReduceFn;

/// Elements folded side by side.
const SIDE: usize = 512;

/// Folds each of `n` elements of `from`, which lie from element `offset` on, with itself, `times` in all, and stores
/// results of `to`. Parts are doubled, so that this takes as many steps as `times` has bits.
pub fn fold_repeated(
    f: &ReduceFn,
    (from, to): (DType, DType),
    source: &Buffer,
    offset: usize,
    n: usize,
    times: usize,
    out: &mut Buffer,
) {
    assert!((offset + n) * from.size() <= source.bytes(), "fold: the elements reach past their buffer");
    assert!(n * to.size() <= out.bytes() && times > 0, "fold: the results do not fit their buffer");
    pool::count_work(n * to.size());
    let tiles = (f.tiles)(from, Level::get());
    for first in (0..n).step_by(SIDE) {
        let count = SIDE.min(n - first);
        let (x, out) = (source.ptr().wrapping_add((offset + first) * from.size()), out.ptr());
        // An accumulator is at most a word.
        let start = [tiles.start; SIDE];
        let (mut part, mut sum, mut left) = (start, start, times);
        // SAFETY: elements and results were checked to lie inside their buffers; each array holds `SIDE` accumulators.
        unsafe {
            (tiles.rows)(x, 1, 1, count, part.as_mut_ptr().cast(), false);
            while left > 0 {
                if left & 1 == 1 {
                    (tiles.join)(sum.as_mut_ptr().cast(), part.as_ptr().cast(), count);
                }
                left >>= 1;
                let half = part;
                (tiles.join)(part.as_mut_ptr().cast(), half.as_ptr().cast(), count);
            }
            (tiles.store)(sum.as_ptr().cast(), count, times, to, out.wrapping_add(first * to.size()));
        }
    }
}
