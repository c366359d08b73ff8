//! Folding one element that stands for many.

use crate::base::{Buffer, DType};
use crate::cpu::fold::Folder;
use crate::cpu::pool;
use crate::ir::ReduceFn;

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
    let folder = Folder::new(f, from);
    for first in (0..n).step_by(512) {
        let mut totals = [folder.start(); 512];
        let totals = &mut totals[..512.min(n - first)];
        // SAFETY: elements and results were checked to lie inside their buffers.
        unsafe { folder.rows(source.ptr().wrapping_add((offset + first) * from.size()), 1, totals) };
        for total in totals.iter_mut() {
            let (mut part, mut left, mut sum) = (*total, times, None);
            while left > 0 {
                if left & 1 == 1 {
                    sum = Some(sum.map_or(part, |sum| folder.join(sum, part)));
                }
                part = folder.join(part, part);
                left >>= 1;
            }
            *total = sum.unwrap_or(part);
        }
        // SAFETY: as above.
        unsafe { folder.store(totals, times, to, out.ptr(), first) };
    }
}
