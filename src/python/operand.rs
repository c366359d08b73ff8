//! The other operand of a Python operator: an array, a number, or a NumPy array.

use crate::autograd::NDArray;
use crate::graph::Var;
use crate::python::convert;
use crate::python::ndarray::PyNDArray;
use crate::tensor::{Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};

/// A Python or NumPy number.
#[inline]
pub fn number(value: &Bound<'_, PyAny>) -> Option<Scalar> {
    if let Ok(v) = value.cast::<PyFloat>() {
        return Some(Scalar::Float(v.value()));
    }
    if let Ok(v) = value.cast::<PyInt>() {
        // A bool is an int too. What does not fit 64 bits is taken as a float, as MXNet's text transport does.
        return v.extract::<i64>().map(Scalar::Int).or_else(|_| v.extract::<f64>().map(Scalar::Float)).ok();
    }
    numpy_number(value)
}

#[cold]
fn numpy_number(value: &Bound<'_, PyAny>) -> Option<Scalar> {
    let class = value.get_type();
    if class.module().ok()?.to_str().ok()? != "numpy" || value.hasattr("__len__").ok()? && value.len().is_ok() {
        return None;
    }
    if value.getattr("ndim").ok()?.extract::<usize>().ok()? != 0 {
        return None;
    }
    let item = value.call_method0("item").ok()?;
    if item.is_instance_of::<PyBool>() || item.is_instance_of::<PyInt>() {
        return item.extract::<i64>().ok().map(Scalar::Int);
    }
    item.extract::<f64>().ok().map(Scalar::Float)
}

/// The other operand: an array, a number, or a NumPy array, which takes this array's dtype.
#[inline]
pub fn operand(this: &NDArray, other: &Bound<'_, PyAny>) -> PyResult<Option<Var>> {
    // The commonest first, by their very class: it takes next to no time to see.
    if let Ok(v) = other.cast_exact::<PyFloat>() {
        return Ok(Some(Var::new(Tensor::Scalar(Scalar::Float(v.value())))));
    }
    if let Ok(array) = other.cast::<PyNDArray>() {
        return Ok(Some(array.get().inner.var()?));
    }
    if let Some(scalar) = number(other) {
        return Ok(Some(Var::new(Tensor::Scalar(scalar))));
    }
    other_operand(this, other)
}

#[cold]
fn other_operand(this: &NDArray, other: &Bound<'_, PyAny>) -> PyResult<Option<Var>> {
    let class = other.get_type();
    if class.name()?.to_str()? == "ndarray" && class.module()?.to_str()? == "numpy" {
        let tensor = convert::tensor(other, Some(this.dtype()), this.device())?;
        return Ok(Some(Var::new(tensor)));
    }
    Ok(None)
}
