//! Copies between layouts.

use crate::base::{Buffer, Element, Layout};
use crate::cpu::map::Shared;
use crate::cpu::pool;

/// Elements that are worth moving by another thread.
const GRAIN: usize = 32 << 10;

/// Copies all elements, on all threads where they are many: one alone does not use the memory's bandwidth.
pub fn copy<T: Element>(from: &[T], to: &mut [T]) {
    assert_eq!(from.len(), to.len(), "copy: slices of one length");
    let grain = GRAIN * 4 / size_of::<T>();
    if from.len() < 2 * grain {
        return to.copy_from_slice(from);
    }
    let piece = from.len().div_ceil(4 * pool::threads()).max(grain);
    pool::each(to.chunks_mut(piece).zip(from.chunks(piece)).collect(), |(to, from)| to.copy_from_slice(from));
}

/// Writes `src`, in C order, into the elements that `layout` picks from the buffer.
pub fn scatter_strided<T: Element>(src: &[T], buffer: &mut Buffer, layout: &Layout) {
    let elements = buffer.bytes() / size_of::<T>();
    scatter_into(src, buffer.slice_mut::<T>(0, elements), layout);
}

/// Writes `src`, in C order, into the elements that `layout` picks from a slice.
pub fn scatter_into<T: Element>(src: &[T], all: &mut [T], layout: &Layout) {
    let n = layout.numel();
    if n == 0 {
        return;
    }
    if layout.is_contiguous() {
        return all[layout.offset..layout.offset + n].copy_from_slice(&src[..n]);
    }
    for_each_row(layout, |row, start, step, len| {
        let src = &src[row * len..(row + 1) * len];
        if step == 1 {
            all[start..start + len].copy_from_slice(src);
        } else {
            for (i, &v) in src.iter().enumerate() {
                all[(start as isize + i as isize * step) as usize] = v;
            }
        }
    });
}

/// Zeros, but for the elements that `picked` names, which are `src` in C order. Where there are two axes or more, runs
/// behind the first are `run` elements apart, 0 where one stands for all. Both layouts are of one array.
pub fn place<T: Element>(src: &[T], run: usize, out: &mut [T], whole: &Layout, picked: &Layout) {
    let block = whole.strides.first().map_or(1, |&s| s.unsigned_abs());
    let (rows, count) = (out.len().checked_div(block).unwrap_or(0), picked.shape.first().copied().unwrap_or(1));
    if picked.shape.len() < 2 || count == 0 || block == 0 {
        out.fill(T::default());
        return scatter_into(src, out, picked);
    }
    // Blocks of the first axis: cleared and written while they are in the cache.
    let (first, step) = (picked.offset / block, picked.strides[0] / block as isize);
    let inner =
        Layout { shape: picked.shape[1..].into(), strides: picked.strides[1..].into(), offset: picked.offset % block };
    let (size, target) = (inner.numel(), Shared(out.as_mut_ptr()));
    pool::split(rows, GRAIN.div_ceil(block), |from, to| {
        // SAFETY: pieces are disjoint runs of whole blocks of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * block), (to - from) * block) };
        for (row, out) in (from..to).zip(out.chunks_exact_mut(block)) {
            out.fill(T::default());
            let apart = row as isize - first as isize;
            let k = if step == 0 { apart } else { apart / step };
            if k >= 0 && (k as usize) < count && k * step == apart {
                scatter_into(&src[k as usize * run..][..size], out, &inner);
            }
        }
    });
}

/// Calls `f(row, start, step, len)` for each innermost run of a layout, in C order.
pub fn for_each_row(layout: &Layout, mut f: impl FnMut(usize, usize, isize, usize)) {
    let last = layout.shape.len().saturating_sub(1);
    let (len, step) = match layout.shape.last() {
        Some(&len) => (len, layout.strides[last]),
        None => (1, 1),
    };
    let rows: usize = layout.shape[..last].iter().product();
    let mut index = vec![0usize; last];
    let mut start = layout.offset as isize;
    for row in 0..rows {
        f(row, start as usize, step, len);
        for axis in (0..last).rev() {
            index[axis] += 1;
            start += layout.strides[axis];
            if index[axis] < layout.shape[axis] {
                break;
            }
            start -= layout.strides[axis] * layout.shape[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// Rows put together from parts: row `i` of `out` is row `i` of each part, one behind the other.
pub fn interleave<T: Element>(parts: &[&[T]], widths: &[usize], total: usize, out: &mut [T]) {
    if total == 0 {
        return;
    }
    let rows = out.len() / total;
    let target = Shared(out.as_mut_ptr());
    if rows < 2 * pool::threads() {
        // Few long rows: each run is cut.
        let mut at = 0;
        for (part, &width) in parts.iter().zip(widths) {
            for row in 0..rows {
                let from = &part[row * width..][..width];
                pool::split(width, GRAIN, |a, b| {
                    // SAFETY: the run lies in its own place of the row.
                    unsafe {
                        let to = target.get().add(row * total + at + a);
                        std::ptr::copy_nonoverlapping(from[a..b].as_ptr(), to, b - a);
                    }
                });
            }
            at += width;
        }
        return;
    }
    pool::split(rows, GRAIN.div_ceil(total), |from, to| {
        // SAFETY: pieces are disjoint runs of whole rows of `out`.
        let out = unsafe { std::slice::from_raw_parts_mut(target.get().add(from * total), (to - from) * total) };
        if widths.iter().all(|&width| width == 1) {
            return zip(parts, from, out);
        }
        // Short runs cost more to call a copy for than to copy.
        let short = widths.iter().all(|&width| width <= SHORT);
        for (row, out) in (from..to).zip(out.chunks_exact_mut(total)) {
            let mut at = 0;
            for (part, &width) in parts.iter().zip(widths) {
                let (to, from) = (&mut out[at..at + width], &part[row * width..][..width]);
                if short {
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                } else {
                    to.copy_from_slice(from);
                }
                at += width;
            }
        }
    });
}

/// Runs up to this long are copied element by element.
const SHORT: usize = 4;
/// Elements of a block that stays in the first-level cache.
const BLOCK: usize = 2048;

/// Element `i` of each part, from `first` on, one behind the other.
fn zip<T: Element>(parts: &[&[T]], first: usize, out: &mut [T]) {
    /// With the number of parts known, the compiler interleaves vectors.
    fn few<T: Element, const K: usize>(parts: [&[T]; K], out: &mut [T]) {
        let (out, _) = out.as_chunks_mut::<K>();
        let parts = parts.map(|part| &part[..out.len()]);
        for (i, out) in out.iter_mut().enumerate() {
            *out = std::array::from_fn(|k| parts[k][i]);
        }
    }
    match *parts {
        [a, b] => few([a, b].map(|part| &part[first..]), out),
        [a, b, c] => few([a, b, c].map(|part| &part[first..]), out),
        [a, b, c, d] => few([a, b, c, d].map(|part| &part[first..]), out),
        _ => {
            let rows = (BLOCK / parts.len()).max(1);
            for (block, out) in out.chunks_mut(rows * parts.len()).enumerate() {
                for (k, part) in parts.iter().enumerate() {
                    let part = &part[first + block * rows..];
                    out[k..].iter_mut().step_by(parts.len()).zip(part).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }
}
