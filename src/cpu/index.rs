//! Rows by number: gather, scatter and scatter-add. Numbers are checked by the caller.

use crate::base::Element;
use crate::cpu::map::Shared;
use crate::cpu::pool;

/// Elements from which rows are moved by all threads.
const GRAIN: usize = 16 << 10;

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

/// `out = 0; out[index[i]] += data[i]`, in the order of `index`: threads share out the rows of `out`, so the sum is the
/// same on any number of them.
pub fn add_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    if row == 0 {
        return;
    }
    let rows = out.len() / row;
    let target = Shared(out.as_mut_ptr());
    let each = if out.len() + data.len() < 2 * GRAIN { rows } else { rows.div_ceil(2 * pool::threads()) };
    pool::count_loop();
    pool::run(rows.div_ceil(each.max(1)), |piece| {
        let (from, to) = (piece * each, rows.min((piece + 1) * each));
        // SAFETY: pieces are disjoint runs of whole rows of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * row), (to - from) * row) };
        out.fill(T::default());
        for (data, &i) in data.chunks_exact(row).zip(index) {
            if (from..to).contains(&(i as usize)) {
                add_row(data, &mut out[(i as usize - from) * row..][..row]);
            }
        }
    });
}

/// Adds one row to another. The sum of two floats of a width, made in a wider one, rounds to the same number.
fn add_row<T: Element>(data: &[T], out: &mut [T]) {
    for (o, &v) in out.iter_mut().zip(data) {
        *o = if T::FLOAT {
            T::from_f64(o.to_f64() + v.to_f64())
        } else {
            T::from_i64(o.to_i64().wrapping_add(v.to_i64()))
        };
    }
}

/// `out[index[i]] = data[i]`, in order: the last of equal numbers stays.
pub fn put_rows<T: Element>(data: &[T], index: &[i64], row: usize, out: &mut [T]) {
    for (data, &i) in data.chunks_exact(row.max(1)).zip(index) {
        out[i as usize * row..][..row].copy_from_slice(data);
    }
}

/// Sums up to each element along the middle axis (`n` long).
pub fn running_sum<T: Element>(data: &[T], n: usize, inner: usize, out: &mut [T]) {
    for (data, out) in data.chunks_exact((n * inner).max(1)).zip(out.chunks_exact_mut((n * inner).max(1))) {
        for i in 0..inner {
            let (mut float, mut int) = (0.0, 0i64);
            for k in 0..n {
                let v = data[k * inner + i];
                out[k * inner + i] = if T::FLOAT {
                    float += v.to_f64();
                    T::from_f64(float)
                } else {
                    int = int.wrapping_add(v.to_i64());
                    T::from_i64(int)
                };
            }
        }
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
