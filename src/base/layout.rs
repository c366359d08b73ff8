//! Shapes and strides: how a run of memory is seen as an array.

use crate::base::{DType, Error, Result};
use smallvec::{SmallVec, smallvec};

pub type Shape = SmallVec<[usize; 4]>;
pub type Strides = SmallVec<[isize; 4]>;

/// A view of a buffer: element `(i, j, …)` lies at `offset + i*strides[0] + j*strides[1] + …`, in elements.
#[derive(Debug, PartialEq)]
pub struct Layout {
    pub shape: Shape,
    pub strides: Strides,
    pub offset: usize,
}

/// The bytes of an array, or `MemoryError`. Whatever makes a value from lengths of the caller's asks this first, so
/// products of a value's lengths never overflow: an empty axis does not make the others harmless, strides are products.
#[inline]
pub fn bytes(shape: &[usize], dtype: DType) -> Result<usize> {
    let whole = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d.max(1)));
    match whole {
        Some(whole) if whole <= isize::MAX as usize => Ok(if shape.contains(&0) { 0 } else { whole }),
        _ => Err(Error::memory(usize::MAX)),
    }
}

/// A copy of lengths or strides. Up to four are copied one by one, which is faster than a call of `memcpy`.
#[inline]
pub fn copied<T: Copy + Default>(dims: &[T]) -> SmallVec<[T; 4]> {
    let none = T::default();
    match *dims {
        [] => SmallVec::new(),
        [a] => SmallVec::from_buf_and_len([a, none, none, none], 1),
        [a, b] => SmallVec::from_buf_and_len([a, b, none, none], 2),
        [a, b, c] => SmallVec::from_buf_and_len([a, b, c, none], 3),
        [a, b, c, d] => SmallVec::from_buf([a, b, c, d]),
        _ => dims.into(),
    }
}

/// Whether two lists of lengths are the same. Compared one by one, which is faster than a call of `memcmp`.
#[inline(always)]
pub fn same(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x == y)
}

/// The strides of a C-contiguous array.
#[inline]
pub fn c_strides(shape: &[usize]) -> Strides {
    match *shape {
        [_] => return copied(&[1]),
        [_, n] => return copied(&[n.max(1) as isize, 1]),
        _ => {}
    }
    let mut strides: Strides = smallvec![0; shape.len()];
    let mut step = 1isize;
    for (stride, &dim) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= dim.max(1) as isize;
    }
    strides
}

/// `2x3`-like text of a shape for messages: `(2, 3)`, `(2,)`, `()`.
pub fn show(shape: &[usize]) -> String {
    let dims: Vec<String> = shape.iter().map(|d| d.to_string()).collect();
    match dims.len() {
        1 => format!("({},)", dims[0]),
        _ => format!("({})", dims.join(", ")),
    }
}

/// The common shape of two operands by NumPy's rule, right-aligned; `None` where they do not fit.
#[inline]
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Shape> {
    if a == b {
        return Some(copied(a));
    }
    let n = a.len().max(b.len());
    let mut out: Shape = smallvec![0; n];
    for i in 0..n {
        let x = if i + a.len() >= n { a[i + a.len() - n] } else { 1 };
        let y = if i + b.len() >= n { b[i + b.len() - n] } else { 1 };
        out[i] = match (x, y) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return None,
        };
    }
    Some(out)
}

/// Strides that repeat an array over a larger shape: zero along the axes that it lacks or has once.
pub fn broadcast_strides(from: &[usize], strides: &[isize], to: &[usize]) -> Strides {
    if from == to {
        return copied(strides);
    }
    let lead = to.len() - from.len();
    let mut out: Strides = smallvec![0; to.len()];
    for i in 0..from.len() {
        if from[i] == to[lead + i] {
            out[lead + i] = strides[i];
        }
    }
    out
}

impl Clone for Layout {
    #[inline]
    fn clone(&self) -> Layout {
        Layout { shape: copied(&self.shape), strides: copied(&self.strides), offset: self.offset }
    }
}

impl Layout {
    pub fn contiguous(shape: &[usize]) -> Layout {
        Layout { shape: copied(shape), strides: c_strides(shape), offset: 0 }
    }
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether the elements lie in C order without gaps. Axes of length one do not matter.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        is_contiguous(&self.shape, &self.strides)
    }
    /// The view with axes in another order.
    pub fn permute(&self, axes: &[usize]) -> Layout {
        Layout {
            shape: axes.iter().map(|&a| self.shape[a]).collect(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
        }
    }
    /// The view repeated to a larger shape with zero strides. The shapes must be broadcastable.
    pub fn broadcast_to(&self, shape: &[usize]) -> Layout {
        let strides = broadcast_strides(&self.shape, &self.strides, shape);
        Layout { shape: copied(shape), strides, offset: self.offset }
    }
    /// The same elements in C order under another shape, where no copy is needed.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape) });
        }
        // Only axes of length one may come and go: the common case of expand_dims and squeeze on a strided view.
        let mut strides: Strides = smallvec![];
        let mut old = self.shape.iter().zip(&self.strides).filter(|(d, _)| **d != 1);
        for &dim in shape {
            if dim == 1 {
                strides.push(0);
                continue;
            }
            match old.next() {
                Some((&d, &s)) if d == dim => strides.push(s),
                _ => return None,
            }
        }
        old.next().is_none().then(|| Layout { shape: copied(shape), strides, offset: self.offset })
    }
    /// Rows `start, start+step, …` (`len` of them) of an axis.
    pub fn slice(&self, axis: usize, start: isize, step: isize, len: usize) -> Layout {
        let mut out = self.clone();
        if len > 0 {
            out.offset = (out.offset as isize + start * out.strides[axis]) as usize;
        }
        out.strides[axis] *= step;
        out.shape[axis] = len;
        out
    }
    /// Drops an axis at one index.
    pub fn select(&self, axis: usize, index: usize) -> Layout {
        let mut out = self.slice(axis, index as isize, 1, 1);
        out.shape.remove(axis);
        out.strides.remove(axis);
        out
    }
}

#[inline]
pub fn is_contiguous(shape: &[usize], strides: &[isize]) -> bool {
    match (shape, strides) {
        (&[n], &[s]) => return s == 1 || n <= 1,
        (&[_, n], &[r, s]) if s == 1 && r == n as isize => return true,
        _ => {}
    }
    let mut step = 1isize;
    for (&dim, &stride) in shape.iter().zip(strides).rev() {
        if dim == 0 {
            return true;
        }
        if dim != 1 {
            if stride != step {
                return false;
            }
            step *= dim as isize;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_is_right_aligned() {
        assert_eq!(broadcast(&[2, 1], &[3]).unwrap().as_slice(), &[2, 3]);
        assert_eq!(broadcast(&[0, 3], &[1, 3]).unwrap().as_slice(), &[0, 3]);
        assert!(broadcast(&[2], &[3]).is_none());
    }

    #[test]
    fn shapes_that_no_machine_counts() {
        assert_eq!(bytes(&[2, 3], DType::F64).unwrap(), 48);
        assert_eq!(bytes(&[], DType::F64).unwrap(), 8);
        assert_eq!(bytes(&[1 << 40, 0], DType::F32).unwrap(), 0);
        for shape in
            [&[0, 1 << 62, 1 << 62][..], &[1 << 62, 1 << 62, 0], &[1 << 62, 2], &[usize::MAX], &[usize::MAX, 0]]
        {
            assert_eq!(bytes(shape, DType::F32).err().unwrap().kind, crate::base::Kind::Memory, "{shape:?}");
        }
    }

    #[test]
    fn views_of_a_matrix() {
        let m = Layout::contiguous(&[2, 3]);
        assert!(!m.permute(&[1, 0]).is_contiguous());
        assert_eq!(m.select(0, 1).offset, 3);
        assert_eq!(m.slice(1, 2, -1, 3).strides.as_slice(), &[3, -1]);
        assert!(m.permute(&[1, 0]).reshape(&[6]).is_none());
        assert_eq!(m.permute(&[1, 0]).reshape(&[3, 1, 2]).unwrap().strides.as_slice(), &[1, 0, 3]);
    }
}
