//! `.params` files and pickles.

use crate::graph::Var;
use crate::python::ndarray::PyNDArray;
use crate::tensor::Tensor;
use crate::tensor::params_file as file;
use pyo3::prelude::*;
use std::path::PathBuf;

type Loaded<'py> = (Vec<Bound<'py, PyNDArray>>, Vec<String>);

fn wrap(py: Python<'_>, (arrays, names): (Vec<Tensor>, Vec<String>)) -> PyResult<Loaded<'_>> {
    let arrays = arrays.into_iter().map(|t| PyNDArray::wrap(py, Var::new(t))).collect::<PyResult<_>>()?;
    Ok((arrays, names))
}

#[pyfunction]
fn save_params(py: Python<'_>, fname: PathBuf, arrays: Vec<Bound<'_, PyNDArray>>, names: Vec<String>) -> PyResult<()> {
    let tensors = arrays.iter().map(|a| a.get().inner.tensor()).collect::<Result<Vec<_>, _>>()?;
    crate::python::system::check_signals(py)?;
    Ok(py.detach(|| file::save(&fname, &tensors, &names))?)
}

#[pyfunction]
fn load_params(py: Python<'_>, fname: PathBuf) -> PyResult<Loaded<'_>> {
    let found = py.detach(|| file::load(&fname))?;
    wrap(py, found)
}

#[pyfunction]
fn load_params_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Loaded<'py>> {
    wrap(py, file::read(bytes)?)
}

/// An array from its pickled record.
#[pyfunction]
fn _rebuild<'py>(py: Python<'py>, record: &[u8]) -> PyResult<Bound<'py, PyNDArray>> {
    PyNDArray::wrap(py, Var::new(file::read_record(record)?))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(save_params, m)?)?;
    m.add_function(wrap_pyfunction!(load_params, m)?)?;
    m.add_function(wrap_pyfunction!(load_params_bytes, m)?)?;
    m.add_function(wrap_pyfunction!(_rebuild, m)?)
}
