//! What kernels need: contiguous data as slices, and results made of new buffers.

use crate::base::layout::{c_strides, is_contiguous};
use crate::base::{Buffer, DType, Device, Element, Result, Shape};
use crate::tensor::{Storage, Tensor};
use smallvec::SmallVec;
use std::sync::Arc;

/// A contiguous array ready to read.
pub struct Dense {
    buffer: Arc<Buffer>,
    offset: usize,
    len: usize,
}

impl Dense {
    pub fn new(tensor: &Tensor) -> Result<Dense> {
        let of = |s: &Storage| Dense { buffer: s.buffer.clone(), offset: s.offset, len: tensor.numel() };
        if tensor.is_contiguous()? {
            return Ok(of(tensor.storage()?));
        }
        Ok(of(tensor.copied()?.storage()?))
    }
    /// Several arrays, converted to a dtype.
    pub fn all<'a>(tensors: impl IntoIterator<Item = &'a Tensor>, dtype: DType) -> Result<SmallVec<[Dense; 4]>> {
        // Pushed one by one: collecting results moves each of them three times.
        let mut all = SmallVec::new();
        for tensor in tensors {
            all.push(if tensor.dtype() == dtype { tensor.dense()? } else { tensor.cast(dtype)?.dense()? });
        }
        Ok(all)
    }
    pub fn slice<T: Element>(&self) -> &[T] {
        self.buffer.slice::<T>(self.offset, self.len)
    }
    /// The elements, of `dtype`, as they lie in memory.
    pub fn bytes(&self, dtype: DType) -> &[u8] {
        self.buffer.slice::<u8>(self.offset * dtype.size(), self.len * dtype.size())
    }
}

/// A result under construction.
pub struct Output {
    buffer: Arc<Buffer>,
    len: usize,
    shape: Shape,
    dtype: DType,
    device: Device,
}

impl Output {
    pub fn new(shape: Shape, dtype: DType, device: Device) -> Result<Output> {
        let bytes = crate::base::layout::bytes(&shape, dtype)?;
        let len = bytes / dtype.size();
        crate::cpu::pool::count_bytes(bytes);
        Ok(Output { buffer: Buffer::build(bytes, |_| ())?, len, shape, dtype, device })
    }
    pub fn slice<T: Element>(&mut self) -> &mut [T] {
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => buffer.slice_mut::<T>(0, self.len),
            None => unreachable!("a result under construction has one owner"),
        }
    }
    /// The length of the last axis.
    pub fn last(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
    pub fn done(self) -> Tensor {
        let strides = c_strides(&self.shape);
        Tensor::ready(self.shape, self.dtype, self.device, Storage { buffer: self.buffer, strides, offset: 0 })
    }
    /// The memory alone, for a value that is there already.
    pub fn storage(self) -> Storage {
        let strides = c_strides(&self.shape);
        Storage { buffer: self.buffer, strides, offset: 0 }
    }
}

impl Tensor {
    pub fn dense(&self) -> Result<Dense> {
        Dense::new(self)
    }
    /// The memory of a ready array in C order, unless it is another library's or a GPU's.
    pub fn in_order(&self) -> Option<&Storage> {
        let Tensor::Array(value) = self else { return None };
        value.ready.get().filter(|s| is_contiguous(&value.shape, &s.strides) && !s.buffer.is_foreign())
    }
    /// The elements behind the first `axes` axes, in C order, and how far it is from one run of them to the next: 0 where
    /// one run stands for all, as in the gradient of a sum.
    pub fn dense_runs(&self, axes: usize) -> Result<(Dense, usize)> {
        let mut layout = self.layout()?;
        let run = layout.shape[axes..].iter().product();
        let repeats = (0..axes).all(|axis| layout.strides[axis] == 0 || layout.shape[axis] == 1);
        if self.numel() == 0 || axes == 0 || !repeats {
            return Ok((self.dense()?, run));
        }
        layout.shape[..axes].fill(1);
        Ok((self.with_layout(layout)?.dense()?, 0))
    }
    /// The elements in C order.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let tensor = self.cast(T::DTYPE)?;
        Ok(tensor.dense()?.slice::<T>().to_vec())
    }
    /// The only element of a one-element array, as a number.
    pub fn item(&self) -> Result<crate::ir::program::Scalar> {
        use crate::ir::program::Scalar;
        if let Tensor::Scalar(s) = self {
            return Ok(*s);
        }
        crate::ensure!(self.numel() == 1, Value, "item: one element expected, got {}", self.numel());
        let storage = self.storage()?;
        Ok(crate::with_dtype!(self.dtype(), T => {
            let v = storage.buffer.slice::<T>(storage.offset, 1)[0];
            if T::FLOAT { Scalar::Float(v.to_f64()) } else { Scalar::Int(v.to_i64()) }
        }))
    }
}
