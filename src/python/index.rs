//! `x[key]` and `x[key] = value`: Python keys resolved to strided picks or rows by number.

use crate::autograd::NDArray;
use crate::base::error::catch;
use crate::base::layout::{c_strides, copied};
use crate::base::{DType, Error, Layout, Result, Shape};
use crate::graph::Var;
use crate::ops::getitem::{PickParams, index_var, picked};
use crate::python::convert;
use crate::python::error::guard;
use crate::python::ndarray::PyNDArray;
use crate::python::operand::number;
use crate::python::rows::{Rows, pick, rows};
use crate::python::views::{self, Picked};
use crate::tensor::{Scalar, Storage, Tensor};
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyFloat, PyInt, PyList, PyRange, PySlice, PyString, PyTuple};
use smallvec::{SmallVec, smallvec};

/// One entry of a key after `...` has been spread.
pub enum Item {
    /// A whole number: the axis goes.
    At(i64),
    Slice {
        start: i64,
        step: i64,
        count: i64,
    },
    /// `None`: a new axis of length one.
    New,
    /// Whole numbers of any shape along one axis.
    Many {
        shape: Shape,
        index: Vec<i64>,
    },
}

/// A key resolved against a shape.
struct Key {
    items: Vec<Item>,
    advanced: bool,
}

fn bad_key(key: &Bound<'_, PyAny>) -> PyErr {
    PyValueError::new_err(format!(
        "NDArray does not support slicing with key {} of type {}: use ints, slices, None, Ellipsis, or arrays of ints or bools",
        key.repr().map_or_else(|_| "?".into(), |r| r.to_string()),
        key.get_type()
    ))
}

/// A whole number used as an index: Python's or NumPy's, not an array.
fn whole(key: &Bound<'_, PyAny>) -> Option<i64> {
    if key.cast::<PyNDArray>().is_ok() || key.is_instance_of::<PyFloat>() {
        return None;
    }
    match number(key)? {
        Scalar::Int(i) => Some(i),
        Scalar::Float(_) => None,
    }
}

fn is_list(key: &Bound<'_, PyAny>) -> bool {
    key.is_instance_of::<PyList>() || key.is_instance_of::<PyRange>()
}

/// The array behind an advanced key, and whether it is a mask.
fn array_key(key: &Bound<'_, PyAny>) -> PyResult<Option<(Tensor, bool)>> {
    if let Ok(array) = key.cast::<PyNDArray>() {
        let tensor = array.get().inner.tensor()?;
        let mask = tensor.dtype() == DType::Bool || array.get().inner.is_mask();
        return Ok(Some((tensor, mask)));
    }
    let listed = is_list(key) || key.is_instance_of::<PyTuple>();
    let class = key.get_type();
    if !listed && !(class.name()?.to_str()? == "ndarray" && class.module()?.to_str()? == "numpy") {
        return Ok(None);
    }
    let is_bool =
        if listed { all_bool(key)? } else { key.getattr("dtype")?.getattr("kind")?.extract::<String>()? == "b" };
    let tensor = convert::tensor(key, Some(if is_bool { DType::Bool } else { DType::F64 }), crate::base::Device::CPU)
        .map_err(|_| bad_key(key))?;
    Ok(Some((tensor, is_bool)))
}

/// Whether a nest of lists holds bools only (and at least one).
fn all_bool(key: &Bound<'_, PyAny>) -> PyResult<bool> {
    if key.is_instance_of::<PyBool>() {
        return Ok(true);
    }
    if key.is_instance_of::<PyList>() || key.is_instance_of::<PyTuple>() {
        let mut some = false;
        for item in key.try_iter()? {
            if !all_bool(&item?)? {
                return Ok(false);
            }
            some = true;
        }
        return Ok(some);
    }
    Ok(false)
}

fn resolve(shape: &[usize], key: &Bound<'_, PyAny>) -> PyResult<Key> {
    let entries: SmallVec<[Bound<'_, PyAny>; 4]> = match key.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().collect(),
        Err(_) => smallvec![key.clone()],
    };
    // How many axes the entries use up, to know what `...` stands for. A mask uses as many as it has.
    let mut arrays: Vec<Option<(Tensor, bool)>> = Vec::with_capacity(entries.len());
    let (mut used, mut dots) = (0usize, 0usize);
    for entry in &entries {
        let mut array = None;
        if entry.is_instance_of::<PyEllipsis>() {
            dots += 1;
        } else if entry.is_none() {
        } else if entry.is_instance_of::<PySlice>() || whole(entry).is_some() {
            used += 1;
        } else {
            if entry.is_instance_of::<PyString>() {
                return Err(bad_key(entry));
            }
            array = Some(array_key(entry)?.ok_or_else(|| bad_key(entry))?);
            used += array.as_ref().map_or(1, |(t, mask)| if *mask { t.ndim() } else { 1 });
        }
        arrays.push(array);
    }
    if dots > 1 {
        return Err(PyIndexError::new_err("Cannot use more than one ellipsis (...) for indexing"));
    }
    if used > shape.len() {
        let message =
            format!("too many indices for array: array is {}-dimensional, but {used} were indexed", shape.len());
        return Err(PyIndexError::new_err(message));
    }
    let full = |dim: usize| Item::Slice { start: 0, step: 1, count: dim as i64 };
    let (mut items, mut axis, mut advanced) = (Vec::with_capacity(shape.len() + 2), 0usize, false);
    for (entry, array) in entries.iter().zip(arrays) {
        if entry.is_instance_of::<PyEllipsis>() {
            for _ in 0..shape.len() - used {
                items.push(full(shape[axis]));
                axis += 1;
            }
        } else if entry.is_none() {
            items.push(Item::New);
        } else if let Some((tensor, mask)) = array {
            advanced = true;
            if mask {
                mask_items(&tensor, &shape[axis..], &mut items)?;
                axis += tensor.ndim();
            } else {
                items.push(many(&tensor, shape[axis], axis)?);
                axis += 1;
            }
        } else if let Ok(slice) = entry.cast::<PySlice>() {
            items.push(slice_item(slice, shape[axis])?);
            axis += 1;
        } else if let Some(i) = whole(entry) {
            let dim = shape[axis] as i64;
            if i < -dim || i >= dim {
                return Err(out_of_bounds(i, axis, dim));
            }
            items.push(Item::At(if i < 0 { i + dim } else { i }));
            axis += 1;
        }
    }
    items.extend(shape[axis..].iter().map(|&d| full(d)));
    Ok(Key { items, advanced })
}

#[inline]
pub fn slice_item(slice: &Bound<'_, PySlice>, dim: usize) -> PyResult<Item> {
    let py = slice.py();
    for part in [intern!(py, "start"), intern!(py, "stop"), intern!(py, "step")] {
        // An NDArray has __index__, but a float one as a bound is a mistake.
        let bound = slice.getattr(part)?;
        if !bound.is_none() && !bound.is_exact_instance_of::<PyInt>() && bound.cast::<PyNDArray>().is_ok() {
            return Err(PyTypeError::new_err("slice bounds must be ints, got an NDArray: use asscalar()"));
        }
    }
    let found = slice.indices(dim as isize)?;
    Ok(Item::Slice { start: found.start as i64, step: found.step as i64, count: found.slicelength as i64 })
}

/// Whole numbers along an axis, checked, negative ones counted from the end.
fn many(tensor: &Tensor, dim: usize, axis: usize) -> PyResult<Item> {
    let mut index: Vec<i64> = tensor.to_vec::<i64>()?;
    for i in &mut index {
        if *i < -(dim as i64) || *i >= dim as i64 {
            return Err(out_of_bounds(*i, axis, dim as i64));
        }
        if *i < 0 {
            *i += dim as i64;
        }
    }
    Ok(Item::Many { shape: tensor.shape().into(), index })
}

/// A mask as the numbers of its true elements, one list to each of its axes.
fn mask_items(mask: &Tensor, shape: &[usize], items: &mut Vec<Item>) -> PyResult<()> {
    let dims: Shape = mask.shape().into();
    if dims.as_slice() != &shape[..dims.len()] {
        let message = format!(
            "boolean index did not match indexed array: the mask has shape {}, the array {}",
            crate::base::layout::show(&dims),
            crate::base::layout::show(shape)
        );
        return Err(PyIndexError::new_err(message));
    }
    let truth = mask.cast(DType::Bool)?.to_vec::<crate::base::dtype::Bool>()?;
    let mut lists: Vec<Vec<i64>> = vec![Vec::new(); dims.len()];
    for (flat, _) in truth.iter().enumerate().filter(|(_, t)| t.0 != 0) {
        let mut rest = flat;
        for axis in (0..dims.len()).rev() {
            lists[axis].push((rest % dims[axis]) as i64);
            rest /= dims[axis];
        }
    }
    items.extend(lists.into_iter().map(|index| Item::Many { shape: smallvec![index.len()], index }));
    Ok(())
}

#[cold]
pub fn out_of_bounds(i: i64, axis: usize, dim: i64) -> PyErr {
    PyIndexError::new_err(format!("index {i} is out of bounds for axis {axis} with size {dim}"))
}

pub fn get<'py>(py: Python<'py>, array: &NDArray, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
    guard(|| picked_by(py, array, key))
}

fn picked_by<'py>(py: Python<'py>, array: &NDArray, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
    let var = array.var()?;
    let memory = views::memory(&var)?;
    if let Some(storage) = memory
        && let Ok(i) = key.cast_exact::<PyInt>()
        && let Some((out, first)) = views::row(&var, storage, i.extract().unwrap_or(i64::MAX))?
    {
        return PyNDArray::handle(py, array.view(first, copied(out.shape()), out));
    }
    if let Some(storage) = memory
        && let Some(picked) = Picked::new(var.shape(), &storage.strides, key)?
    {
        let (out, first, run) = (picked.of(&var, storage), picked.first as usize, picked.is_run());
        return match run {
            true => PyNDArray::handle(py, array.view(first, picked.shape, out)),
            false => PyNDArray::wrap(py, out),
        };
    }
    let key = resolve(var.shape(), key)?;
    if !key.advanced {
        let p = pick(var.shape(), &key.items);
        // A contiguous run is a view of the cell: writes through it are seen.
        let layout = picked(&Layout::contiguous(var.shape()), &p);
        let (offset, run) = (layout.offset, layout.is_contiguous());
        let shape: Shape = p.shape.iter().map(|&d| d as usize).collect();
        let out = catch(|| var.pick_view(p))?;
        return match run {
            true => PyNDArray::handle(py, array.view(offset, shape, out)),
            false => PyNDArray::wrap(py, out),
        };
    }
    let rows = rows(var.shape(), &key.items)?;
    let out = catch(|| -> Result<Var> {
        let all = var.pick_view(PickParams {
            start: rows.basic.start.clone(),
            step: rows.basic.step.clone(),
            count: rows.basic.count.clone(),
            shape: rows.basic.shape.clone(),
        });
        let mut flat: Shape = smallvec![rows.row_count()];
        flat.extend(rows.rest.iter().copied());
        let table = all.transpose(&rows.order).reshape(&flat);
        let taken = table.take_rows(&index_var(&rows.shape, &rows.index)?);
        let placed = rows.placement();
        let out = if placed.iter().enumerate().all(|(i, &a)| i == a) { taken } else { taken.transpose(&placed) };
        Ok(out.reshape(&rows.result_shape()))
    })??;
    PyNDArray::wrap(py, out)
}

/// The value of an assignment as an array or number.
fn value_var(value: &Bound<'_, PyAny>, dtype: DType) -> PyResult<Var> {
    if let Ok(array) = value.cast::<PyNDArray>() {
        return Ok(array.get().inner.var()?);
    }
    if let Some(scalar) = number(value) {
        return Ok(Var::new(Tensor::Scalar(scalar)));
    }
    if value.is_none() {
        return Ok(Var::scalar(f64::NAN));
    }
    convert::tensor(value, Some(dtype), crate::base::Device::CPU).map(Var::new).map_err(|_| {
        PyTypeError::new_err(format!("NDArray does not support assignment with type {}", value.get_type()))
    })
}

/// The value with the leading axes of length one that it has too many taken off, checked to broadcast to `shape`.
fn fit(value: Var, shape: &[usize]) -> PyResult<Var> {
    if matches!(value.tensor, Tensor::Scalar(_)) {
        return Ok(value);
    }
    let mut dims: Shape = value.shape().into();
    while dims.len() > shape.len() && dims.first() == Some(&1) {
        dims.remove(0);
    }
    let fits = crate::base::layout::broadcast(&dims, shape).is_some_and(|s| s.as_slice() == shape);
    if !fits {
        let message = format!(
            "operands could not be broadcast together: cannot assign an array of shape {} to a selection of shape {}",
            crate::base::layout::show(value.shape()),
            crate::base::layout::show(shape)
        );
        return Err(PyValueError::new_err(message));
    }
    Ok(if dims.as_slice() == value.shape() { value } else { catch(|| value.reshape(&dims))? })
}

/// What a run of memory is written from.
enum Source<'a> {
    Number(Scalar),
    Run(&'a Storage),
}

impl<'a> Source<'a> {
    /// `None` for a value that has to be computed, cast or repeated first.
    fn of(value: &'a Var, shape: &[usize], dtype: DType) -> Option<Source<'a>> {
        match &value.tensor {
            Tensor::Scalar(number) => Some(Source::Number(*number)),
            array if array.shape() != shape || array.dtype() != dtype => None,
            array => array.in_order().map(Source::Run),
        }
    }
}

pub fn set(array: &NDArray, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    guard(|| write_by(array, key, value))
}

fn write_by(array: &NDArray, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let shape = array.shape();
    let dtype = array.dtype();
    let value = value_var(value, dtype)?;
    // A run of memory takes a number, or elements that are ready, without a layout; a whole array takes a value as it is.
    if let Some(picked) = Picked::new(&shape, &c_strides(&shape), key)?.filter(|p| p.is_run())
        && let Some(source) = Source::of(&value, &picked.shape, dtype)
    {
        if picked.shape == shape {
            return Ok(array.assign("setitem", value)?);
        }
        array.check_part("setitem", &value)?;
        let (n, first): (usize, usize) = (picked.shape.iter().product(), picked.first as usize);
        return Ok(array.modify(|buffer, offset| {
            crate::with_dtype!(dtype, T => {
                let out = buffer.slice_mut::<T>(offset + first, n);
                match source {
                    Source::Number(number) => out.fill(number.to::<T>()),
                    Source::Run(storage) => out.copy_from_slice(storage.buffer.slice::<T>(storage.offset, n)),
                }
            });
            Ok(())
        })?);
    }
    let resolved = resolve(&shape, key)?;
    if !resolved.advanced {
        let p = pick(&shape, &resolved.items);
        let target: Shape = p.shape.iter().map(|&d| d as usize).collect();
        let layout = picked(&Layout::contiguous(&shape), &p);
        let value = fit(value, &target)?;
        if layout.shape == shape && layout.is_contiguous() && target == shape {
            return Ok(array.assign("setitem", value)?);
        }
        let part = layout.reshape(&target).ok_or_else(|| Error::value("setitem: the selection has no layout"))?;
        return Ok(array.write_part("setitem", &part, value)?);
    }
    let rows = rows(&shape, &resolved.items)?;
    let value = fit(value, &rows.result_shape())?;
    Ok(set_rows(array, &shape, &rows, value)?)
}

/// Writes rows by number: the offset of every element is worked out by picking from an array of offsets.
fn set_rows(array: &NDArray, shape: &[usize], rows: &Rows, value: Var) -> Result<()> {
    let dtype = array.dtype();
    let n: usize = shape.iter().product();
    let offsets = catch(|| -> Result<Vec<i64>> {
        let all: Vec<i64> = (0..n as i64).collect();
        let numbers = index_var(shape, &all)?.pick_view(PickParams {
            start: rows.basic.start.clone(),
            step: rows.basic.step.clone(),
            count: rows.basic.count.clone(),
            shape: rows.basic.shape.clone(),
        });
        let mut flat: Shape = smallvec![rows.row_count()];
        flat.extend(rows.rest.iter().copied());
        let taken = numbers.transpose(&rows.order).reshape(&flat).take_rows(&index_var(&rows.shape, &rows.index)?);
        taken.transpose(&rows.placement()).reshape(&rows.result_shape()).to_vec::<i64>()
    })??;
    let target = rows.result_shape();
    // The value may lie in the memory that is written.
    let value = Var { tensor: value.tensor.unshared()?, edge: value.edge };
    let value = match value.tensor {
        Tensor::Scalar(s) => Var::new(Tensor::full(&target, dtype, crate::base::Device::CPU, s)?),
        Tensor::Array(_) => Var { tensor: catch(|| value.cast(dtype).broadcast_to(&target))?.tensor, edge: value.edge },
    };
    array.check_part("setitem", &value)?;
    let dense = value.tensor.dense()?;
    array.modify(|buffer, offset| {
        crate::with_dtype!(dtype, T => {
            let out = buffer.slice_mut::<T>(offset, n);
            dense.slice::<T>().iter().zip(&offsets).for_each(|(&v, &at)| out[at as usize] = v);
        });
        Ok(())
    })
}
