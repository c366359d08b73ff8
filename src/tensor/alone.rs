//! A deferred value that is one function of ready arrays: there is nothing to fuse it with, so that neither a region nor a
//! plan is made, which take longer than a few thousand elements do. Rows of it are found once and walked in even steps.

use crate::base::layout::{Strides, broadcast_strides};
use crate::base::{Buffer, Level, Result};
use crate::cpu::cast::cast_tile;
use crate::cpu::pool;
use crate::cpu::small::{INPUTS, Rows, by_rows};
use crate::cpu::stream::STREAM;
use crate::tensor::expr::Expr;
use crate::tensor::region::Data;
use crate::tensor::{Storage, Tensor, Value};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// Elements of a cheap function for one thread, at least.
const GRAIN: usize = 2 * pool::GRAIN;
/// Elements up to which a dying input is left alone: a region would write the result over it.
const SMALL: usize = 256 << 10;
/// Shorter rows are left to a region, which takes several at once.
const SHORT: usize = 32;

/// The elements of a value, if it is such a function of arrays in rows at even steps.
pub fn alone(value: &Value, expr: &Expr) -> Result<Option<Buffer>> {
    let shape = &value.shape[..];
    let n: usize = shape.iter().product();
    let (ins, imm): (&[Tensor], &[f64]) = match expr {
        Expr::Map { ins, imm, .. } => (ins, imm),
        Expr::Cast { input } => (std::slice::from_ref(input), &[]),
        _ => return Ok(None),
    };
    if n == 0 || ins.len() > INPUTS {
        return Ok(None);
    }
    let Some(first) = ins.iter().find(|t| matches!(t, Tensor::Array(_))) else { return Ok(None) };
    let from = first.dtype();
    let (tile, price) = match expr {
        Expr::Map { f, .. } if f.compute_dtype(from) == from => match (f.tile)(from, Level::get()) {
            Some(tile) => (tile, f.cost()),
            None => return Ok(None),
        },
        Expr::Map { .. } => return Ok(None),
        _ => (cast_tile(from, value.dtype), 1),
    };
    let bytes = n * value.dtype.size();
    // Past the caches results are stored by a region.
    if bytes >= STREAM {
        return Ok(None);
    }
    let mut arrays: SmallVec<[(&Storage, Strides); INPUTS]> = SmallVec::new();
    for t in ins {
        if let Tensor::Array(input) = t {
            let Some(storage) = input.ready.get() else { return Ok(None) };
            if n > SMALL && Arc::strong_count(input) == 1 && Data::sole(storage) {
                return Ok(None);
            }
            arrays.push((storage, broadcast_strides(&input.shape, &storage.strides, shape)));
        }
    }
    let (lead, width, splats) = rows(shape, &arrays);
    let grain = GRAIN / price as usize;
    // Short rows are taken several at once by a region, and long ones cut for threads.
    if width < SHORT || n >= 2 * grain && width > n / 8 {
        return Ok(None);
    }
    let Some(group) = groups(&shape[..lead], &arrays) else { return Ok(None) };
    let mut operands: SmallVec<[Rows; INPUTS]> = SmallVec::new();
    let mut next = 0;
    for t in ins {
        operands.push(match t {
            Tensor::Scalar(number) => Rows::Number(*number),
            Tensor::Array(_) => {
                let (storage, strides) = &arrays[next];
                let step = |axes: Range<usize>| even(&shape[axes.clone()], &strides[axes]).unwrap_or(0);
                let steps = [step(0..group), step(group..lead)];
                next += 1;
                Rows::Array(&storage.buffer, storage.offset, steps, splats[next - 1])
            }
        });
    }
    let mut out = Buffer::new(bytes)?;
    let form = [shape[..group].iter().product(), shape[group..lead].iter().product(), width];
    by_rows(tile, [from, value.dtype], form, &operands, imm, grain, &mut out);
    Ok(Some(out))
}

/// The longest rows along which every array lies in order, or has one element for all: the axes before them, their length,
/// and of each array whether its elements repeat.
fn rows(shape: &[usize], arrays: &[(&Storage, Strides)]) -> (usize, usize, SmallVec<[bool; INPUTS]>) {
    let (mut lead, mut width) = (shape.len(), 1);
    let mut splats: SmallVec<[bool; INPUTS]> = SmallVec::from_elem(true, arrays.len());
    while let Some(axis) = lead.checked_sub(1) {
        let fits = |((_, strides), splat): (&(&Storage, Strides), &bool)| match strides[axis] {
            0 => width == 1 || *splat,
            stride => (width == 1 || !*splat) && stride == width as isize,
        };
        if shape[axis] > 1 {
            if !arrays.iter().zip(&splats).all(fits) {
                break;
            }
            splats.iter_mut().zip(arrays).for_each(|(splat, (_, strides))| *splat = strides[axis] == 0);
            width *= shape[axis];
        }
        lead = axis;
    }
    (lead, width, splats)
}

/// Where the leading axes part into two groups in each of which every array goes on in even steps; one may be empty.
fn groups(shape: &[usize], arrays: &[(&Storage, Strides)]) -> Option<usize> {
    let all_even = |axes: Range<usize>| {
        arrays.iter().all(|(_, strides)| even(&shape[axes.clone()], &strides[axes.clone()]).is_some())
    };
    (0..shape.len().max(1)).find(|&group| all_even(0..group) && all_even(group..shape.len()))
}

/// The step from one index to the next over these axes taken as one.
fn even(shape: &[usize], strides: &[isize]) -> Option<usize> {
    let mut step: Option<(isize, isize)> = None; // and the stride that the next axis out must have
    for (&dim, &stride) in shape.iter().zip(strides).rev().filter(|(dim, _)| **dim > 1) {
        step = match step {
            None => Some((stride, stride * dim as isize)),
            Some((step, next)) if next == stride => Some((step, next * dim as isize)),
            Some(_) => return None,
        };
    }
    usize::try_from(step.map_or(0, |s| s.0)).ok()
}
