//! Small arrays, computed at once: they fit the first-level cache, so there is nothing to fuse, and what counts is how
//! little happens beside the arithmetic. `None` sends the caller on the general way, errors included.

use crate::base::layout::{c_strides, copied, is_contiguous, same};
use crate::base::{Buffer, DType, Result, Shape};
use crate::cpu::fold::Extent;
use crate::cpu::small::{self, INPUTS, Operand};
use crate::ir::{MapFn, ReduceFn};
use crate::tensor::expr::SMALL;
use crate::tensor::{Ready, Storage, Tensor, Value};
use smallvec::SmallVec;
use std::sync::Arc;

/// A ready value as an operand over its own shape.
#[inline(always)]
fn operand(value: &Value) -> Option<Operand<'_>> {
    let Ready::Now(storage) = &value.ready else { return computed(value) };
    Some(seen(storage, &value.shape))
}

/// [`operand`] of a value that was deferred.
#[cold]
fn computed(value: &Value) -> Option<Operand<'_>> {
    value.ready.get().map(|storage| seen(storage, &value.shape))
}

#[inline(always)]
fn seen<'a>(storage: &'a Storage, shape: &[usize]) -> Operand<'a> {
    if is_contiguous(shape, &storage.strides) {
        Operand::Run(&storage.buffer, storage.offset)
    } else if storage.strides.iter().all(|&s| s == 0) {
        Operand::Splat(&storage.buffer, storage.offset)
    } else {
        Operand::Strided(&storage.buffer, storage.offset, &storage.strides)
    }
}

/// A ready value as an operand over a shape that it broadcasts to.
fn broadcast<'a>(value: &'a Value, shape: &[usize], strides: &'a mut SmallVec<[isize; 4]>) -> Option<Operand<'a>> {
    let storage = value.ready.get()?;
    if value.shape.iter().all(|&d| d == 1) && value.shape.len() <= shape.len() {
        return Some(Operand::Splat(&storage.buffer, storage.offset));
    }
    let lead = shape.len().checked_sub(value.shape.len())?;
    strides.resize(lead, 0);
    for ((&have, &want), &stride) in value.shape.iter().zip(&shape[lead..]).zip(&storage.strides) {
        strides.push(match have == want {
            true => stride,
            false if have == 1 => 0,
            false => return None,
        });
    }
    Some(match strides.iter().all(|&s| s == 0) {
        true => Operand::Splat(&storage.buffer, storage.offset),
        false => Operand::Strided(&storage.buffer, storage.offset, strides),
    })
}

/// A fresh array whose elements `fill` writes.
#[inline(always)]
fn built(shape: Shape, n: usize, dtype: DType, like: &Value, fill: impl FnOnce(&mut Buffer)) -> Result<Tensor> {
    let buffer = Buffer::build(n * dtype.size(), fill)?;
    let strides = c_strides(&shape);
    Ok(Tensor::ready(shape, dtype, like.device, Storage { buffer, strides, offset: 0 }))
}

/// An element function of ready arrays of one dtype, which needs no conversion, and numbers. The result has the shape
/// of an operand.
#[inline]
pub fn map<T: AsRef<Tensor>>(f: &'static MapFn, ins: &[T], imm: &[f64]) -> Result<Option<Tensor>> {
    let mut like: Option<&Arc<Value>> = None;
    for t in ins {
        let Tensor::Array(value) = t.as_ref() else { continue };
        match like {
            None => like = Some(value),
            Some(l) if Arc::ptr_eq(l, value) || l.dtype == value.dtype && same(&l.shape, &value.shape) => {}
            Some(_) => return map_uneven(f, &ins.iter().map(AsRef::as_ref).collect::<SmallVec<[_; INPUTS]>>(), imm),
        }
    }
    let Some(like) = like else { return Ok(None) };
    let size: usize = like.shape.iter().product();
    if size > SMALL || size == 0 || ins.len() > INPUTS || f.compute_dtype(like.dtype) != like.dtype {
        return Ok(None);
    }
    run(f, like, size, ins.len(), imm, |i| match ins[i].as_ref() {
        Tensor::Scalar(number) => Some(Operand::Number(*number)),
        Tensor::Array(value) => operand(value),
    })
}

#[inline(always)]
fn run<'a>(
    f: &'static MapFn,
    like: &Value,
    n: usize,
    count: usize,
    imm: &[f64],
    operand: impl Fn(usize) -> Option<Operand<'a>>,
) -> Result<Option<Tensor>> {
    let Some(mut operands) = small::Operands::new(f, like.dtype, n) else { return Ok(None) };
    for i in 0..count {
        if operand(i).and_then(|operand| operands.push(operand, &like.shape)).is_none() {
            return Ok(None);
        }
    }
    Ok(Some(built(copied(&like.shape), n, like.dtype, like, |out| operands.run(imm, out))?))
}

/// [`map`] of arrays that differ: operands are repeated over the shape of the one with the most elements, then axes.
#[cold]
fn map_uneven(f: &'static MapFn, ins: &[&Tensor], imm: &[f64]) -> Result<Option<Tensor>> {
    let (mut like, mut size): (Option<&Arc<Value>>, usize) = (None, 0);
    for t in ins {
        let Tensor::Array(value) = t else { continue };
        let n = value.shape.iter().product();
        match like {
            Some(l) if l.dtype != value.dtype => return Ok(None),
            Some(l) if (n, value.shape.len()) <= (size, l.shape.len()) => {}
            _ => (like, size) = (Some(value), n),
        }
    }
    let Some(like) = like else { return Ok(None) };
    if size > SMALL || size == 0 || ins.len() > INPUTS || f.compute_dtype(like.dtype) != like.dtype {
        return Ok(None);
    }
    let mut strides: [SmallVec<[isize; 4]>; INPUTS] = Default::default();
    let mut operands: SmallVec<[Operand; INPUTS]> = SmallVec::new();
    for (t, strides) in ins.iter().zip(&mut strides) {
        let found = match t {
            Tensor::Scalar(number) => Some(Operand::Number(*number)),
            Tensor::Array(value) if value.shape == like.shape => operand(value),
            Tensor::Array(value) => broadcast(value, &like.shape, strides),
        };
        match found {
            Some(found) => operands.push(found),
            None => return Ok(None),
        }
    }
    run(f, like, size, operands.len(), imm, |i| Some(operands[i]))
}

/// The array in another dtype, or a copy in its own.
pub fn cast(value: &Arc<Value>, dtype: DType) -> Result<Option<Tensor>> {
    let n: usize = value.shape.iter().product();
    let Some(operand) = operand(value).filter(|_| n <= SMALL && n > 0) else { return Ok(None) };
    let mut done = None;
    let out = built(copied(&value.shape), n, dtype, value, |out| {
        done = small::cast((value.dtype, dtype), (&value.shape, n), operand, out);
    })?;
    Ok(done.map(|()| out))
}

/// A reduction of a ready array over axes that lie side by side.
pub fn reduce(
    f: &'static ReduceFn,
    value: &Arc<Value>,
    axes: &[bool],
    shape: &Shape,
    dtype: DType,
) -> Result<Option<Tensor>> {
    let Some(extent) = adjacent(&value.shape, axes) else { return Ok(None) };
    let n = extent.outer * extent.inner;
    if n * extent.reduce > SMALL || n * extent.reduce == 0 {
        return Ok(None);
    }
    let Some(operand) = operand(value) else { return Ok(None) };
    let mut done = None;
    let out = built(copied(shape), n, dtype, value, |out| {
        done = small::fold(f, (value.dtype, dtype), (&value.shape, extent), operand, out);
    })?;
    Ok(done.map(|()| out))
}

/// The extent of a fold over axes that lie side by side, or `None` where others lie between.
fn adjacent(shape: &[usize], axes: &[bool]) -> Option<Extent> {
    let first = axes.iter().position(|&a| a)?;
    let end = first + axes[first..].iter().take_while(|&&a| a).count();
    if axes[end..].contains(&true) {
        return None;
    }
    let size = |part: &[usize]| part.iter().product();
    Some(Extent { outer: size(&shape[..first]), reduce: size(&shape[first..end]), inner: size(&shape[end..]) })
}
