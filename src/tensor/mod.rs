//! The immutable value: shape, dtype, device, and data that is ready or deferred.
//!
//! `expr` describes deferred element work, `region` gathers it into a program, `force` runs it, `alone` runs what there is
//! nothing to fuse with, `feed` hands it to kernels row by row, `small` computes small arrays at once, `kernel` holds what
//! kernels need to read and make values, `params_file` reads and writes MXNet's files, `gpu` is all of this for values on a
//! GPU.

mod alone;
pub mod expr;
pub mod feed;
mod force;
pub mod gpu;
pub mod kernel;
pub mod params_file;
pub mod region;
mod small;

use crate::base::buffer::placed;
use crate::base::layout::{bytes, c_strides, copied, is_contiguous};
use crate::base::{Buffer, DType, Device, Element, Layout, Result, Shape, Strides};
pub use crate::ir::program::Scalar;
use expr::Expr;
use std::sync::atomic::{AtomicU8, AtomicU32};
use std::sync::{Arc, Mutex, OnceLock};

/// Data in memory: a strided view of a buffer.
pub struct Storage {
    pub buffer: Arc<Buffer>,
    pub strides: Strides,
    pub offset: usize,
}

impl Clone for Storage {
    #[inline]
    fn clone(&self) -> Storage {
        Storage { buffer: self.buffer.clone(), strides: copied(&self.strides), offset: self.offset }
    }
}

/// A value: an array, or a number that takes the dtype of the arrays it meets.
#[derive(Clone)]
pub enum Tensor {
    Array(Arc<Value>),
    Scalar(Scalar),
}

pub struct Value {
    pub shape: Shape,
    pub dtype: DType,
    pub device: Device,
    pub(crate) ready: Ready,
    /// What to compute; taken when it has been.
    pub(crate) expr: Mutex<Option<Box<Expr>>>,
    /// An upper bound of the element operations that forcing this takes.
    pub(crate) weight: AtomicU32,
    /// How often others computed this on their way, instead of reading it.
    pub(crate) redone: AtomicU8,
}

/// A value's data: there from the start, or set once, when it has been computed.
pub(crate) enum Ready {
    Now(Storage),
    Later(OnceLock<Storage>),
    /// The host's copy of a value of a GPU, once there is one. `get` does not give it, so that no fast path takes it.
    Copy(OnceLock<Storage>),
}

impl Ready {
    #[inline]
    pub fn get(&self) -> Option<&Storage> {
        match self {
            Ready::Now(storage) => Some(storage),
            Ready::Later(cell) => cell.get(),
            Ready::Copy(_) => None,
        }
    }
    /// What is in host memory, of a value of any device.
    pub fn host(&self) -> Option<&Storage> {
        match self {
            Ready::Now(storage) => Some(storage),
            Ready::Later(cell) | Ready::Copy(cell) => cell.get(),
        }
    }
    /// Sets the data of a deferred value; the first storage stays.
    pub fn set(&self, storage: Storage) {
        if let Ready::Later(cell) | Ready::Copy(cell) = self {
            let _ = cell.set(storage);
        }
    }
    pub fn take(&mut self) -> Option<Storage> {
        self.replace().into_inner()
    }
    pub fn into_inner(self) -> Option<Storage> {
        match self {
            Ready::Now(storage) => Some(storage),
            Ready::Later(cell) | Ready::Copy(cell) => cell.into_inner(),
        }
    }
    fn replace(&mut self) -> Ready {
        std::mem::replace(self, Ready::Later(OnceLock::new()))
    }
}

impl AsRef<Tensor> for Tensor {
    #[inline]
    fn as_ref(&self) -> &Tensor {
        self
    }
}

impl Tensor {
    #[inline(always)]
    pub fn ready(shape: Shape, dtype: DType, device: Device, storage: Storage) -> Tensor {
        if device.is_gpu() {
            return Tensor::copy_of_gpu(shape, dtype, device, storage);
        }
        Tensor::Array(placed(|| Value {
            shape,
            dtype,
            device,
            ready: Ready::Now(storage),
            expr: Mutex::new(None),
            weight: 0.into(),
            redone: 0.into(),
        }))
    }
    #[cold]
    fn copy_of_gpu(shape: Shape, dtype: DType, device: Device, storage: Storage) -> Tensor {
        let ready = Ready::Copy(storage.into());
        Tensor::Array(Arc::new(Value {
            shape,
            dtype,
            device,
            ready,
            expr: Mutex::new(None),
            weight: 0.into(),
            redone: 0.into(),
        }))
    }
    /// A C-contiguous array over a whole buffer.
    #[inline]
    pub fn from_buffer(shape: Shape, dtype: DType, device: Device, buffer: Buffer) -> Tensor {
        let strides = c_strides(&shape);
        Tensor::ready(shape, dtype, device, Storage { buffer: Arc::new(buffer), strides, offset: 0 })
    }
    /// An array of elements copied from a slice.
    pub fn from_slice<T: Element>(shape: &[usize], data: &[T]) -> Result<Tensor> {
        let bytes = bytes(shape, T::DTYPE)?;
        crate::ensure!(bytes == std::mem::size_of_val(data), "array: {} elements for another shape", data.len());
        let mut buffer = Buffer::new(bytes)?;
        crate::cpu::moves::copy(data, buffer.slice_mut::<T>(0, data.len()));
        Ok(Tensor::from_buffer(copied(shape), T::DTYPE, Device::CPU, buffer))
    }
    /// One value repeated over a shape, without memory for each element.
    pub fn full(shape: &[usize], dtype: DType, device: Device, value: Scalar) -> Result<Tensor> {
        bytes(shape, dtype)?;
        let buffer = Buffer::build(8, |buffer| {
            crate::with_dtype!(dtype, T => buffer.slice_mut::<T>(0, 1)[0] = value.to::<T>());
        })?;
        let strides = Strides::from_elem(0, shape.len());
        Ok(Tensor::ready(copied(shape), dtype, device, Storage { buffer, strides, offset: 0 }))
    }
    pub fn scalar(value: f64) -> Tensor {
        Tensor::Scalar(Scalar::Float(value))
    }

    #[inline]
    pub fn shape(&self) -> &[usize] {
        match self {
            Tensor::Array(value) => &value.shape,
            Tensor::Scalar(_) => &[],
        }
    }
    #[inline]
    pub fn ndim(&self) -> usize {
        self.shape().len()
    }
    #[inline]
    pub fn numel(&self) -> usize {
        self.shape().iter().product()
    }
    #[inline]
    pub fn dtype(&self) -> DType {
        match self {
            Tensor::Array(value) => value.dtype,
            Tensor::Scalar(Scalar::Float(_)) => DType::F64,
            Tensor::Scalar(Scalar::Int(_)) => DType::I64,
        }
    }
    #[inline]
    pub fn device(&self) -> Device {
        match self {
            Tensor::Array(value) => value.device,
            Tensor::Scalar(_) => Device::CPU,
        }
    }
    pub fn is_deferred(&self) -> bool {
        matches!(self, Tensor::Array(value) if value.ready.get().is_none())
    }
    /// The same elements on another device: shared where the memory is the same, else copied.
    pub fn on_device(&self, device: Device) -> Result<Tensor> {
        if self.device() == device {
            return Ok(self.clone());
        }
        if self.device().is_gpu() || device.is_gpu() {
            return self.gpu_on_device(device);
        }
        Ok(Tensor::ready(copied(self.shape()), self.dtype(), device, self.storage()?.clone()))
    }
    /// The layout of the data; forces it.
    pub fn layout(&self) -> Result<Layout> {
        if self.on_gpu() {
            return self.gpu_layout();
        }
        let storage = self.storage()?;
        Ok(Layout { shape: copied(self.shape()), strides: copied(&storage.strides), offset: storage.offset })
    }
    /// A view of the same buffer under another layout, in elements.
    pub fn with_layout(&self, layout: Layout) -> Result<Tensor> {
        if self.on_gpu() {
            return self.gpu_with_layout(layout);
        }
        let storage = self.storage()?;
        let storage = Storage { buffer: storage.buffer.clone(), strides: layout.strides, offset: layout.offset };
        Ok(Tensor::ready(layout.shape, self.dtype(), self.device(), storage))
    }
    /// The elements under another shape: a view where the layout allows, else a copy. Sizes must agree.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Tensor> {
        bytes(shape, self.dtype())?;
        match self.layout()?.reshape(shape) {
            Some(layout) => self.with_layout(layout),
            None => self.contiguous()?.reshaped(shape),
        }
    }
    pub fn is_contiguous(&self) -> Result<bool> {
        if self.on_gpu() {
            return Ok(self.gpu_layout()?.is_contiguous());
        }
        Ok(is_contiguous(self.shape(), &self.storage()?.strides))
    }
    /// The same elements in C order without gaps: itself, or a copy.
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous()? { Ok(self.clone()) } else { self.copied() }
    }
    /// A value in memory of our own: itself, or a copy of what lies in another library's.
    pub fn unshared(self) -> Result<Tensor> {
        match self {
            Tensor::Array(_) if self.storage()?.buffer.is_foreign() => self.copied(),
            _ => Ok(self),
        }
    }
    /// A fresh C-contiguous copy.
    pub fn copied(&self) -> Result<Tensor> {
        self.cast_copy(self.dtype())
    }
}
