//! Deferred element work: building expressions, with every check made here, at the user's line.

use crate::base::layout::{broadcast, bytes, few, show};
use crate::base::{Buffer, DType, Error, Layout, Result, Shape};
use crate::cpu::repeat::fold_repeated;
use crate::cpu::small::Operand;
use crate::ensure;
use crate::ir::program::Scalar;
use crate::ir::tile::Compute;
use crate::ir::{MapFn, ReduceFn};
use crate::tensor::kernel::Output;
use crate::tensor::{Ready, Storage, Tensor, Value, small};
use smallvec::{SmallVec, smallvec};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};

/// Arrays of at most this many elements fit the first-level cache: they are computed at once. To fuse a few functions of
/// them takes longer than it saves.
pub const SMALL: usize = 4096;
/// Element operations that one forced region may hold.
pub const CAP: u32 = 64;

/// What a deferred value is made of.
pub enum Expr {
    Map {
        f: &'static MapFn,
        ins: SmallVec<[Tensor; 3]>,
        imm: SmallVec<[f64; 2]>,
    },
    Cast {
        input: Tensor,
    },
    /// A reduction of `input`; `axes` says which are folded.
    Reduce {
        f: &'static ReduceFn,
        input: Tensor,
        axes: SmallVec<[bool; 4]>,
    },
    /// A kernel's own loop over `ins`, for a result that may never be read.
    Kernel {
        ins: SmallVec<[Tensor; 3]>,
        run: Box<KernelLoop>,
    },
    /// Zeros but for one element of each row along the last axis: the values, and their places as int64. A kernel that
    /// reads such rows may take just these.
    Put {
        ins: SmallVec<[Tensor; 3]>,
        run: Box<KernelLoop>,
    },
    /// Nothing: it is done, and the result is in device memory.
    Gpu(crate::tensor::gpu::Resident),
}

/// Writes a kernel's result.
pub type KernelLoop = dyn Fn(&[Tensor], &mut [Output]) -> Result<()> + Send + Sync;

impl Expr {
    pub fn inputs(&self) -> &[Tensor] {
        match self {
            Expr::Map { ins, .. } | Expr::Kernel { ins, .. } | Expr::Put { ins, .. } => ins,
            Expr::Cast { input } | Expr::Reduce { input, .. } => std::slice::from_ref(input),
            Expr::Gpu(_) => &[],
        }
    }
}

impl Tensor {
    /// Makes a deferred value, forcing its inputs first where the region would grow past the cap.
    pub(crate) fn deferred(shape: Shape, like: &Tensor, dtype: DType, expr: Expr) -> Result<Tensor> {
        bytes(&shape, dtype)?;
        let mut weight = 1u32;
        for input in expr.inputs() {
            if let Tensor::Array(value) = input
                && value.ready.get().is_none()
            {
                weight = weight.saturating_add(value.weight.load(Relaxed));
            }
        }
        if weight > CAP {
            for input in expr.inputs() {
                input.force()?;
            }
            weight = 1;
        }
        let device = like.device();
        let cell = OnceLock::new();
        Ok(Tensor::Array(Arc::new(Value {
            shape,
            dtype,
            device,
            ready: if device.is_gpu() { Ready::Copy(cell) } else { Ready::Later(cell) },
            expr: Mutex::new(Some(Box::new(expr))),
            weight: weight.into(),
            redone: 0.into(),
        })))
    }

    /// An element function of arrays that broadcast together, and numbers. Arrays must have one dtype; numbers take it.
    #[inline]
    pub fn map<T: AsRef<Tensor>>(name: &str, f: &'static MapFn, ins: &[T], imm: &[f64]) -> Result<Tensor> {
        match small::map(f, ins, imm)? {
            Some(done) => Ok(done),
            None => {
                let ins: SmallVec<[&Tensor; 3]> = few(ins.iter().map(AsRef::as_ref));
                Tensor::map_any(name, f, &ins, imm)
            }
        }
    }

    /// [`Tensor::map`] of any operands: with every check, and deferred unless small.
    fn map_any(name: &str, f: &'static MapFn, ins: &[&Tensor], imm: &[f64]) -> Result<Tensor> {
        let Some(first) = ins.iter().find(|t| matches!(t, Tensor::Array(_))) else {
            return Tensor::map_numbers(name, f, ins, imm);
        };
        let dtype = first.dtype();
        let mut shape: Option<Shape> = None;
        let mut gpu = false;
        for t in ins {
            let Tensor::Array(value) = *t else { continue };
            gpu |= value.device.is_gpu();
            if value.dtype != dtype {
                return Err(Error::op(format_args!(
                    "{name}: arrays of one dtype, got {dtype} and {}: use astype",
                    value.dtype
                )));
            }
            shape = match shape {
                None => Some(Shape::from_slice(&value.shape)),
                Some(s) if s == value.shape => Some(s),
                Some(s) => Some(broadcast(&s, &value.shape).ok_or_else(|| {
                    Error::op(format_args!(
                        "{name}: operands could not be broadcast together, got shapes {} and {}",
                        show(&s),
                        show(&value.shape)
                    ))
                })?),
            };
        }
        let shape = shape.unwrap_or_default();
        if gpu {
            return crate::tensor::gpu::map(name, f, dtype, shape, ins, imm);
        }
        // A boolean array with a number computes in int64, as MXNet does.
        if dtype == DType::Bool && f.compute == Compute::Native && ins.iter().any(|t| matches!(t, Tensor::Scalar(_))) {
            let ins: SmallVec<[Tensor; 3]> = ins.iter().map(|t| t.cast(DType::I64)).collect::<Result<_>>()?;
            return Tensor::map(name, f, &ins, imm);
        }
        let at_once = bytes(&shape, dtype)? <= SMALL * dtype.size();
        if !at_once && let Some(single) = ins.iter().map(|t| t.single()).collect::<Option<SmallVec<[Tensor; 3]>>>() {
            return Tensor::map(name, f, &single, imm)?.repeated(shape);
        }
        let ins = few(ins.iter().map(|t| t.scalar_as(dtype)));
        let out = Tensor::deferred(shape, first, dtype, Expr::Map { f, ins, imm: imm.into() })?;
        if at_once {
            out.force()?;
        }
        Ok(out)
    }

    /// The number as an array of `dtype` would hold it.
    pub(crate) fn scalar_as(&self, dtype: DType) -> Tensor {
        match self {
            Tensor::Scalar(s) => Tensor::Scalar(s.cast(dtype)),
            array => array.clone(),
        }
    }

    /// Numbers only: computed in float64.
    fn map_numbers(name: &str, f: &'static MapFn, ins: &[&Tensor], imm: &[f64]) -> Result<Tensor> {
        let operands: SmallVec<[Operand; 4]> = ins
            .iter()
            .map(|t| match t {
                Tensor::Scalar(s) => Operand::Number(*s),
                Tensor::Array(_) => Operand::Number(Scalar::Float(f64::NAN)),
            })
            .collect();
        let mut out = Buffer::new(8)?;
        crate::cpu::small::map(f, DType::F64, (&[], 1), &operands, imm, &mut out)
            .ok_or_else(|| Error::op(format_args!("{name}: no form for numbers")))?;
        Ok(Tensor::scalar(out.slice::<f64>(0, 1)[0]))
    }

    /// The array converted to another dtype; itself where it has that dtype.
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        match self {
            Tensor::Scalar(s) => Ok(Tensor::Scalar(s.cast(dtype))),
            Tensor::Array(value) if value.dtype == dtype => Ok(self.clone()),
            Tensor::Array(_) => self.cast_deferred(dtype),
        }
    }

    fn cast_deferred(&self, dtype: DType) -> Result<Tensor> {
        if self.device().is_gpu() {
            return crate::tensor::gpu::cast(self, dtype);
        }
        if let Tensor::Array(value) = self
            && let Some(done) = small::cast(value, dtype)?
        {
            return Ok(done);
        }
        let out = Tensor::deferred(self.shape().into(), self, dtype, Expr::Cast { input: self.clone() })?;
        if self.numel() <= SMALL {
            out.force()?;
        }
        Ok(out)
    }

    /// The element that stands for all, as an array of one; a number as it is. `None` where elements may differ.
    fn single(&self) -> Option<Tensor> {
        let Tensor::Array(value) = self else { return Some(self.clone()) };
        let storage = value.ready.get()?;
        let repeats = value.shape.iter().zip(&storage.strides).all(|(&dim, &stride)| stride == 0 || dim == 1);
        repeats.then(|| {
            let one = Storage { buffer: storage.buffer.clone(), strides: smallvec![1], offset: storage.offset };
            Tensor::ready(smallvec![1], value.dtype, value.device, one)
        })
    }

    /// An array of one element repeated over a shape.
    fn repeated(&self, shape: Shape) -> Result<Tensor> {
        let (strides, offset) = (shape.iter().map(|_| 0).collect(), self.storage()?.offset);
        self.with_layout(Layout { shape, strides, offset })
    }

    /// A reduction of a ready array over axes along which one element stands for all: gradients of sums, and sums of
    /// gradients of what was broadcast.
    fn reduce_repeated(
        &self,
        f: &'static ReduceFn,
        axes: &[bool],
        shape: &Shape,
        dtype: DType,
    ) -> Result<Option<Tensor>> {
        let Tensor::Array(value) = self else { return Ok(None) };
        let Some(storage) = value.ready.get() else { return Ok(None) };
        let (mut layout, mut times) = (self.layout()?, 1);
        for (axis, _) in axes.iter().enumerate().filter(|(_, folded)| **folded) {
            if layout.shape[axis] > 1 && storage.strides[axis] != 0 {
                return Ok(None);
            }
            times *= std::mem::replace(&mut layout.shape[axis], 1);
        }
        if times < 2 {
            return Ok(None);
        }
        let source = self.with_layout(layout)?.contiguous()?;
        let (data, n) = (source.storage()?, source.numel());
        let mut out = Buffer::new(n * dtype.size())?;
        fold_repeated(f, (value.dtype, dtype), &data.buffer, data.offset, n, times, &mut out);
        Ok(Some(Tensor::from_buffer(shape.clone(), dtype, value.device, out)))
    }

    /// A fresh C-contiguous copy in a dtype.
    pub fn cast_copy(&self, dtype: DType) -> Result<Tensor> {
        let out = self.cast_deferred(dtype)?;
        out.force()?;
        Ok(out)
    }

    /// Folds the axes marked in `axes`; `keepdims` leaves them with length one. A full reduction gives shape `(1,)`,
    /// MXNet's scalar, unless `keepdims`.
    pub fn reduce(
        name: &str,
        f: &'static ReduceFn,
        input: &Tensor,
        axes: &[bool],
        keepdims: bool,
        out_dtype: DType,
    ) -> Result<Tensor> {
        ensure!(axes.len() == input.ndim(), "{name}: got {} axes marks for {} axes", axes.len(), input.ndim());
        let mut shape: Shape = smallvec![];
        for (&dim, &folded) in input.shape().iter().zip(axes) {
            match (folded, keepdims) {
                (false, _) => shape.push(dim),
                (true, true) => shape.push(1),
                (true, false) => {}
            }
        }
        if shape.is_empty() {
            shape.push(1);
        }
        let n = input.numel();
        if input.device().is_gpu() {
            return crate::tensor::gpu::reduce(name, f, input, axes, keepdims, out_dtype, shape);
        }
        if n > SMALL
            && let Some(done) = input.reduce_repeated(f, axes, &shape, out_dtype)?
        {
            return Ok(done);
        }
        if n <= SMALL {
            if let Tensor::Array(value) = input
                && let Some(done) = small::reduce(f, value, axes, &shape, out_dtype)?
            {
                return Ok(done);
            }
            let expr = Expr::Reduce { f, input: input.clone(), axes: axes.into() };
            let out = Tensor::deferred(shape, input, out_dtype, expr)?;
            out.force()?;
            return Ok(out);
        }
        Tensor::deferred(shape, input, out_dtype, Expr::Reduce { f, input: input.clone(), axes: axes.into() })
    }
}
