//! Views of an array's memory without an op: what `reshape`, `T` and most keys are where nothing is recorded.

use crate::base::layout::{c_strides, copied, is_contiguous};
use crate::base::{Result, Shape, Strides};
use crate::graph::{Var, mode};
use crate::python::index::{Item, out_of_bounds, slice_item};
use crate::tensor::{Storage, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyEllipsis, PyInt, PySlice, PyTuple};

/// The memory of a value whose views need not be recorded; `None` where they must be, or where it is a GPU's.
#[inline]
pub fn memory(var: &Var) -> Result<Option<&Storage>> {
    if var.tensor.device().is_gpu() || var.edge.is_some() && mode::is_recording() {
        return Ok(None);
    }
    var.tensor.storage().map(Some)
}

#[inline]
fn view(var: &Var, storage: &Storage, shape: Shape, strides: Strides, offset: usize) -> Var {
    let storage = Storage { buffer: storage.buffer.clone(), strides, offset };
    Var::new(Tensor::ready(shape, var.tensor.dtype(), var.tensor.device(), storage))
}

/// The array with its axes reversed.
#[inline]
pub fn reversed(var: &Var) -> Result<Option<Var>> {
    let Some(storage) = memory(var)? else { return Ok(None) };
    let (mut shape, mut strides) = (copied(var.shape()), copied(&storage.strides));
    shape.reverse();
    strides.reverse();
    Ok(Some(view(var, storage, shape, strides, storage.offset)))
}

/// The elements of a contiguous array under another shape of the same size.
#[inline]
pub fn reshaped(var: &Var, shape: &[usize]) -> Result<Option<Var>> {
    let Some(storage) = memory(var)?.filter(|s| is_contiguous(var.shape(), &s.strides)) else { return Ok(None) };
    Ok(Some(view(var, storage, copied(shape), c_strides(shape), storage.offset)))
}

/// Row `i` of an array of two axes or more, and where it begins in C order: the key that loops use.
#[inline]
pub fn row(var: &Var, storage: &Storage, i: i64) -> PyResult<Option<(Var, usize)>> {
    let [dim, rest @ ..] = var.shape() else { return Ok(None) };
    if rest.is_empty() {
        return Ok(None);
    }
    let dim = *dim as i64;
    if i < -dim || i >= dim {
        return Err(out_of_bounds(i, 0, dim));
    }
    let i = if i < 0 { i + dim } else { i };
    let offset = (storage.offset as isize + i as isize * storage.strides[0]) as usize;
    let first = i as usize * rest.iter().product::<usize>();
    Ok(Some((view(var, storage, copied(rest), copied(&storage.strides[1..]), offset), first)))
}

/// What a key of whole numbers, slices, `None` and `...` picks.
#[derive(Default)]
pub struct Picked {
    pub shape: Shape,
    strides: Strides,
    /// How far its first element lies from the array's, in memory.
    ahead: isize,
    /// The same in C order, where its strides would be `places`.
    pub first: isize,
    places: Strides,
}

impl Picked {
    #[inline(always)]
    fn axis(&mut self, dim: usize, stride: isize, place: isize) {
        self.shape.push(dim);
        self.strides.push(stride);
        self.places.push(place);
    }

    /// Reads a key for an array of this shape and these strides; `None` for another kind of key, and where it has too
    /// many entries.
    #[inline]
    pub fn new(shape: &[usize], strides: &[isize], key: &Bound<'_, PyAny>) -> PyResult<Option<Picked>> {
        let places = c_strides(shape);
        let mut picked = Picked::default();
        let mut axis = 0;
        let entries = key.cast_exact::<PyTuple>();
        let count = entries.as_ref().map_or(1, |tuple| tuple.len());
        let (mut dots, mut kept) = (false, false);
        for k in 0..count {
            let item;
            let entry = match &entries {
                Ok(tuple) => {
                    item = tuple.get_borrowed_item(k)?;
                    &*item
                }
                Err(_) => key,
            };
            if let Ok(i) = entry.cast_exact::<PyInt>() {
                let Some(&dim) = shape.get(axis) else { return Ok(None) };
                let (i, dim) = (i.extract::<i64>().unwrap_or(i64::MAX), dim as i64);
                if i < -dim || i >= dim {
                    return Err(out_of_bounds(i, axis, dim));
                }
                let i = (if i < 0 { i + dim } else { i }) as isize;
                picked.ahead += i * strides[axis];
                picked.first += i * places[axis];
                axis += 1;
            } else if let Ok(slice) = entry.cast_exact::<PySlice>() {
                let Some(&dim) = shape.get(axis) else { return Ok(None) };
                let Item::Slice { start, step, count } = slice_item(slice, dim)? else { return Ok(None) };
                // An empty slice may begin past the end.
                let (start, step) = if count > 0 { (start as isize, step as isize) } else { (0, 1) };
                picked.ahead += start * strides[axis];
                picked.first += start * places[axis];
                picked.axis(count as usize, step * strides[axis], step * places[axis]);
                (axis, kept) = (axis + 1, true);
            } else if entry.is_none() {
                picked.axis(1, 0, 0);
            } else if entry.is_exact_instance_of::<PyEllipsis>() && !dots {
                // How many axes the entries behind it use is known only where they are none.
                if k + 1 < count {
                    return Ok(None);
                }
                dots = true;
            } else {
                return Ok(None);
            }
        }
        for axis in axis..shape.len() {
            picked.axis(shape[axis], strides[axis], places[axis]);
            kept = true;
        }
        // One element has one axis, as in MXNet, whatever new axes the key has.
        if !kept {
            picked.shape = copied(&[1]);
            (picked.strides, picked.places) = (copied(&[1]), copied(&[1]));
        }
        Ok(Some(picked))
    }

    /// Whether the elements lie side by side where the array's are in C order.
    #[inline]
    pub fn is_run(&self) -> bool {
        is_contiguous(&self.shape, &self.places)
    }

    /// The view of an array that the key was read for.
    #[inline]
    pub fn of(&self, var: &Var, storage: &Storage) -> Var {
        let offset = (storage.offset as isize + self.ahead) as usize;
        view(var, storage, copied(&self.shape), copied(&self.strides), offset)
    }
}
