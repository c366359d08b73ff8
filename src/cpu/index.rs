//! Rows by number: gather, scatter and scatter-add. Numbers are checked by the caller.

use crate::base::Element;
use crate::cpu::map::Shared;
use crate::cpu::pool;

/// Elements from which rows are moved by all threads.
const GRAIN: usize = 32 << 10;

/// `out[i] = data[index[i]]`, rows of `row` elements.
pub fn take_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    assert_eq!(out.len(), index.len() * row);
    if row == 0 {
        return;
    }
    if out.len() < 2 * GRAIN {
        return copy_rows(data, index, row, out);
    }
    let target = Shared(out.as_mut_ptr());
    pool::split(index.len(), GRAIN.div_ceil(row), |from, to| {
        // SAFETY: pieces are disjoint runs of whole rows of `out`.
        let part = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * row), (to - from) * row) };
        copy_rows(data, &index[from..to], row, part);
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

/// `out = 0; out[index[i]] += data[i]`, in the order of `index`, so the sum is the same on any number of threads.
pub fn add_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    out.fill(T::default());
    for (data, &i) in data.chunks_exact(row.max(1)).zip(index) {
        for (o, &v) in out[i as usize * row..][..row].iter_mut().zip(data) {
            *o = if T::FLOAT { T::from_f64(o.to_f64() + v.to_f64()) } else { T::from_i64(o.to_i64().wrapping_add(v.to_i64())) };
        }
    }
}

/// `out[index[i]] = data[i]`, in order: the last of equal numbers stays.
pub fn put_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    for (data, &i) in data.chunks_exact(row.max(1)).zip(index) {
        out[i as usize * row..][..row].copy_from_slice(data);
    }
}
