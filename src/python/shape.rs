//! Methods that give an array another shape and have forms of their own beside the operators'.

use crate::autograd::NDArray;
use crate::base::error::{Kind, catch};
use crate::base::layout::few;
use crate::base::{Error, Shape};
use crate::graph::Var;
use crate::graph::params::Ints;
use crate::python::args::int;
use crate::python::error::guard;
use crate::python::ndarray::PyNDArray;
use crate::python::views;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

pub fn reshape<'py>(
    py: Python<'py>,
    array: &NDArray,
    shape: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyNDArray>> {
    let mut target: Option<Bound<'py, PyAny>> = match shape.len() {
        0 => None,
        1 => Some(shape.get_item(0)?),
        _ => Some(shape.clone().into_any()),
    };
    let mut reverse = false;
    for (key, value) in kwargs.into_iter().flat_map(|k| k.iter()) {
        match key.extract::<String>()?.as_str() {
            "shape" => target = Some(value),
            "reverse" => reverse = value.extract()?,
            other => {
                return Err(PyTypeError::new_err(format!("reshape() got an unexpected keyword argument '{other}'")));
            }
        }
    }
    let target = target.ok_or_else(|| Error::new(Kind::Assert, "reshape: shape must be given"))?;
    if target.is_instance_of::<pyo3::types::PyString>() {
        return Err(PyTypeError::new_err("reshape: shape must be ints"));
    }
    let code = |i: &Bound<'_, PyAny>| int(i).ok_or_else(|| PyTypeError::new_err("reshape: shape must be ints"));
    let codes: Ints = match target.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter_borrowed().map(|i| code(&i)).collect::<PyResult<_>>()?,
        Err(_) => match int(&target) {
            Some(one) => Ints::from_slice(&[one]),
            None => target.try_iter()?.map(|i| code(&i?)).collect::<PyResult<_>>()?,
        },
    };
    let var = array.var()?;
    // Lengths without codes.
    let mut dims: Shape = few(codes.iter().map(|&code| code as usize));
    if codes.iter().all(|&code| code > 0)
        && dims.iter().try_fold(1, |n: usize, &d| n.checked_mul(d)) == Some(var.numel())
        && let Some(out) = guard(|| Ok(views::reshaped(&var, &dims)?))?
    {
        return PyNDArray::handle(py, array.view(0, dims, out));
    }
    let fit = crate::ops::shape::resolve_reshape("reshape", var.shape(), &codes, reverse);
    dims = match fit {
        Ok(dims) if !(codes.is_empty() && var.ndim() != 0) => dims,
        // The method answers ValueError where the function has MXNetError.
        _ => {
            let tuple = PyTuple::new(py, codes.iter())?.repr()?.to_string();
            return Err(PyValueError::new_err(format!(
                "Cannot reshape array of size {} into shape {tuple}",
                var.numel()
            )));
        }
    };
    let out = catch(|| var.reshape(&dims))?;
    let out =
        Var { tensor: out.tensor, edge: out.edge.or(if dims.as_slice() == var.shape() { var.edge } else { None }) };
    PyNDArray::handle(py, array.view(0, dims, out))
}

pub fn broadcast_to<'py>(
    py: Python<'py>,
    array: &NDArray,
    shape: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyNDArray>> {
    let dims: Vec<usize> = match int(shape) {
        Some(one) => vec![usize::try_from(one).unwrap_or(usize::MAX)],
        None => shape.extract()?,
    };
    let var = array.var()?;
    if crate::base::layout::broadcast(var.shape(), &dims).is_none_or(|s| s.as_slice() != dims.as_slice()) {
        let message = format!(
            "cannot broadcast array with shape {} to {}",
            crate::base::layout::show(var.shape()),
            crate::base::layout::show(&dims)
        );
        return Err(PyValueError::new_err(message));
    }
    PyNDArray::wrap(py, catch(|| var.broadcast_to(&dims))?)
}
