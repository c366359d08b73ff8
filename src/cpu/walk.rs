//! Reading a strided view in another array's C order: the coalesced axes and a cursor over them.

use crate::base::{Shape, Strides};
use crate::cpu::turn::turn;
use smallvec::smallvec;

/// A view to read in C order over an iteration shape.
#[derive(Clone)]
pub struct Walk {
    shape: Shape,
    strides: Strides,
    size: usize,
}

impl Walk {
    /// Axes that lie one behind the other in memory become one; axes of length one go.
    pub fn new(shape: &[usize], strides: &[isize], size: usize) -> Walk {
        let mut out = Walk { shape: smallvec![], strides: smallvec![], size };
        for (&dim, &stride) in shape.iter().zip(strides) {
            if dim == 1 {
                continue;
            }
            match (out.shape.last_mut(), out.strides.last_mut()) {
                (Some(d), Some(s)) if *s == stride * dim as isize => {
                    *d *= dim;
                    *s = stride;
                }
                _ => {
                    out.shape.push(dim);
                    out.strides.push(stride);
                }
            }
        }
        if out.shape.is_empty() {
            out.shape.push(1);
            out.strides.push(0);
        }
        out
    }

    /// Whether a run of elements is a run of memory.
    pub fn is_flat(&self) -> bool {
        self.shape.len() == 1 && (self.strides[0] == 1 || self.shape[0] == 1)
    }
    /// Whether every element is the same one.
    pub fn is_splat(&self) -> bool {
        self.shape.len() == 1 && self.strides[0] == 0
    }

    /// Bytes of an element.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The length of the innermost axis and the step along it.
    pub fn last(&self) -> (usize, isize) {
        let last = self.shape.len() - 1;
        (self.shape[last], self.strides[last])
    }

    /// The axis around the innermost one: its length and the step along it; a single row where there is none.
    pub fn around(&self) -> (usize, isize) {
        match self.shape.len() {
            0 | 1 => (1, 0),
            n => (self.shape[n - 2], self.strides[n - 2]),
        }
    }

    /// Where element `start` lies, in bytes from element zero.
    pub fn offset(&self, start: usize) -> isize {
        let (mut rest, mut offset) = (start, 0);
        for (&dim, &stride) in self.shape.iter().zip(&self.strides).rev() {
            offset += (rest % dim) as isize * stride;
            rest /= dim;
        }
        offset * self.size as isize
    }

    /// The walk from element `start` on, step by step.
    pub fn steps(&self, start: usize) -> Steps<'_> {
        let mut index: Shape = smallvec![0; self.shape.len()];
        let mut rest = start;
        for (i, &dim) in index.iter_mut().zip(&self.shape).rev() {
            *i = rest % dim;
            rest /= dim;
        }
        Steps { walk: self, index }
    }

    /// Where the innermost axis is walked in leaps: the axis along which memory is contiguous, as its length and the
    /// number of rows from one step along it to the next.
    pub fn turned(&self) -> Option<(usize, usize)> {
        let last = self.shape.len() - 1;
        if matches!(self.strides[last], 0 | 1) {
            return None;
        }
        let axis = self.strides[..last].iter().position(|&s| s == 1)?;
        Some((self.shape[axis], self.shape[axis + 1..last].iter().product()))
    }

    /// Copies elements `start..start + n` of the view into `out`.
    ///
    /// # Safety
    /// `base` must point at element zero of the view, all of it readable; `out` must have room for `n` elements.
    pub unsafe fn gather(&self, base: *const u8, start: usize, n: usize, out: *mut u8) {
        // SAFETY: the caller vouches for both ends; the CPU has what is called.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if crate::base::Level::get() != crate::base::Level::Baseline {
                return self.gather_avx2(base, start, n, out);
            }
            self.gather_sized(base, start, n, out);
        }
    }

    /// # Safety
    /// As [`Walk::gather`]; the CPU has AVX2, which turns runs around faster.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn gather_avx2(&self, base: *const u8, start: usize, n: usize, out: *mut u8) {
        // SAFETY: as the caller says.
        unsafe { self.gather_sized(base, start, n, out) };
    }

    /// # Safety
    /// As [`Walk::gather`].
    #[inline(always)]
    unsafe fn gather_sized(&self, base: *const u8, start: usize, n: usize, out: *mut u8) {
        // SAFETY: the caller vouches for both ends; the element type only sets the copy width.
        unsafe {
            match self.size {
                1 => self.gather_as::<u8>(base.cast(), start, n, out.cast()),
                2 => self.gather_as::<u16>(base.cast(), start, n, out.cast()),
                4 => self.gather_as::<u32>(base.cast(), start, n, out.cast()),
                _ => self.gather_as::<u64>(base.cast(), start, n, out.cast()),
            }
        }
    }

    /// # Safety
    /// As [`Walk::gather`].
    #[inline(always)]
    unsafe fn gather_as<T: Copy>(&self, base: *const T, start: usize, n: usize, mut out: *mut T) {
        let last = self.shape.len() - 1;
        let (row, step) = (self.shape[last], self.strides[last]);
        if let (&[rows, _], &[1, _], 0) = (&self.shape[..], &self.strides[..], start)
            && n == rows * row
        {
            // SAFETY: the view's elements, in `row` runs; `out` has room for all.
            return unsafe { turn(base, step, out, row as isize, row, rows) };
        }
        // Position of `start`: the index along each outer axis and the offset it stands for.
        let mut index: Shape = smallvec![0; last];
        let mut rest = start / row;
        let mut offset = 0isize;
        for axis in (0..last).rev() {
            index[axis] = rest % self.shape[axis];
            rest /= self.shape[axis];
            offset += index[axis] as isize * self.strides[axis];
        }
        let (mut col, mut left) = (start % row, n);
        while left > 0 {
            let run = (row - col).min(left);
            // SAFETY: the indices stay inside the view's shape, and `out` advances by what was asked for.
            unsafe {
                let from = base.offset(offset + col as isize * step);
                match step {
                    1 => std::ptr::copy_nonoverlapping(from, out, run),
                    0 => {
                        let v = *from;
                        for i in 0..run {
                            *out.add(i) = v;
                        }
                    }
                    -1 => {
                        for i in 0..run {
                            *out.add(i) = *from.sub(i);
                        }
                    }
                    _ => {
                        for i in 0..run {
                            *out.add(i) = *from.offset(i as isize * step);
                        }
                    }
                }
                out = out.add(run);
            }
            (left, col) = (left - run, 0);
            for axis in (0..last).rev() {
                index[axis] += 1;
                offset += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                offset -= self.strides[axis] * self.shape[axis] as isize;
                index[axis] = 0;
            }
        }
    }
}

/// A position in a walk that moves on along the innermost axis.
pub struct Steps<'a> {
    walk: &'a Walk,
    index: Shape,
}

impl Steps<'_> {
    /// Moves on by `n` elements, at most to the end of the innermost axis, and gives the distance in bytes.
    #[inline]
    pub fn advance(&mut self, n: usize) -> isize {
        // Taken out of their lists once: this runs for each row.
        let (shape, strides, index) = (&self.walk.shape[..], &self.walk.strides[..], &mut self.index[..]);
        let Some(last) = shape.len().checked_sub(1).filter(|_| strides.len() == shape.len()) else { return 0 };
        let index = &mut index[..=last];
        index[last] += n;
        let mut by = n as isize * strides[last];
        let mut axis = last;
        while index[axis] == shape[axis] {
            by -= strides[axis] * shape[axis] as isize;
            index[axis] = 0;
            if axis == 0 {
                break;
            }
            axis -= 1;
            index[axis] += 1;
            by += strides[axis];
        }
        by * self.walk.size as isize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_read_in_pieces() {
        let data: Vec<u32> = (0..6).collect();
        let walk = Walk::new(&[3, 2], &[1, 3], 4);
        for start in 0..6 {
            for n in 0..=6 - start {
                let mut out = vec![99u32; n];
                // SAFETY: the view covers `data`, the output has room.
                unsafe { walk.gather(data.as_ptr().cast(), start, n, out.as_mut_ptr().cast()) };
                assert_eq!(out, [0, 3, 1, 4, 2, 5][start..start + n]);
            }
        }
    }

    #[test]
    fn steps_are_offsets() {
        let walk = Walk::new(&[3, 2, 4], &[0, 20, 3], 8);
        let (mut steps, mut offset) = (walk.steps(0), 0);
        for start in (0..22).step_by(2) {
            assert_eq!(offset, walk.offset(start));
            assert_eq!(walk.steps(start).index, steps.index);
            offset += steps.advance(2);
        }
    }

    #[test]
    fn contiguous_axes_coalesce() {
        assert!(Walk::new(&[2, 3, 4], &[12, 4, 1], 4).is_flat());
        assert!(Walk::new(&[2, 3], &[0, 0], 4).is_splat());
        assert!(!Walk::new(&[2, 3], &[0, 1], 4).is_flat());
    }
}
