//! Rows by number: gather, scatter and scatter-add. Numbers are checked by the caller.

use crate::base::Element;
use crate::cpu::map::Shared;
use crate::cpu::pool;

/// Elements from which rows are moved by all threads.
const GRAIN: usize = 16 << 10;

/// `out[o][i] = data[o][index[i]]`: blocks of `rows` rows of `row` elements, as many as there are.
pub fn take_rows<T: Element>(data: &[T], index: &[i64], rows: usize, row: usize, out: &mut [T]) {
    let taken = index.len() * row;
    if out.is_empty() {
        return;
    }
    assert!(out.len().is_multiple_of(taken) && out.len() / taken * rows * row <= data.len());
    let target = Shared(out.as_mut_ptr());
    let numbers = out.len() / row;
    // Where there is little to move, all of it is one piece.
    pool::split(numbers, GRAIN.div_ceil(row), |from, to| {
        // SAFETY: pieces are disjoint runs of whole rows of `out`.
        let mut part = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * row), (to - from) * row) };
        let (mut block, mut first) = (from / index.len(), from % index.len());
        while !part.is_empty() {
            let count = (index.len() - first).min(part.len() / row);
            let (now, later) = part.split_at_mut(count * row);
            copy_rows(&data[block * rows * row..][..rows * row], &index[first..first + count], row, now);
            (part, block, first) = (later, block + 1, 0);
        }
    });
}

fn copy_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    if row == 1 {
        out.iter_mut().zip(index).for_each(|(o, &i)| *o = data[i as usize]);
        return;
    }
    for (out, &i) in out.chunks_exact_mut(row).zip(index) {
        out.copy_from_slice(&data[i as usize * row..][..row]);
    }
}

/// `out = 0; out[o][index[i]] += data[o][i]`, in the order of `index`: threads share out the rows of `out`, so the sum is
/// the same on any number of them. Rows of `data` are `step` elements apart: `row`, or 0 where one stands for all.
pub fn add_rows<T: Element>(data: &[T], step: usize, index: &[i64], rows: usize, row: usize, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    let all = out.len() / row;
    let target = Shared(out.as_mut_ptr());
    let each = if out.len() + data.len() < 2 * GRAIN { all } else { all.div_ceil(2 * pool::threads()) };
    pool::count_loop();
    pool::run(all.div_ceil(each), |piece| {
        let (from, to) = (piece * each, all.min((piece + 1) * each));
        // SAFETY: pieces are disjoint runs of whole rows of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * row), (to - from) * row) };
        out.fill(T::default());
        for block in from / rows..to.div_ceil(rows) {
            // The rows of this block that are this piece's, as numbers inside the block.
            let (low, high) = (from.max(block * rows) - block * rows, to.min((block + 1) * rows) - block * rows);
            let place = |i: usize| block * rows + i - from;
            for (k, &i) in index.iter().enumerate().filter(|&(_, &i)| (low..high).contains(&(i as usize))) {
                let (from, to) = ((block * index.len() + k) * step, place(i as usize) * row);
                if row == 1 {
                    out[to] = out[to].plus(data[from]);
                } else {
                    add_row(&data[from..][..row], &mut out[to..][..row]);
                }
            }
        }
    });
}

/// Adds one row to another.
fn add_row<T: Element>(data: &[T], out: &mut [T]) {
    for (o, &v) in out.iter_mut().zip(data) {
        *o = o.plus(v);
    }
}

/// `out[index[i]] = data[i]`, in order: the last of equal numbers stays.
pub fn put_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    for (data, &i) in data.chunks_exact(row.max(1)).zip(index) {
        out[i as usize * row..][..row].copy_from_slice(data);
    }
}

/// Calls `f(first_row, rows)` over runs of whole rows of `out`, on all threads when there is enough work.
pub fn pieces<T: Send>(out: &mut [T], row: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if row == 0 || out.is_empty() {
        return;
    }
    let rows = out.len() / row;
    let target = Shared(out.as_mut_ptr());
    pool::split(rows, (pool::GRAIN / row).max(1), |from, to| {
        // SAFETY: the pool's pieces are disjoint runs of whole rows of `out`.
        f(from, unsafe { std::slice::from_raw_parts_mut(target.get().add(from * row), (to - from) * row) });
    });
}
