//! Errors of the crate as Python exceptions, in one place.

use crate::base::error::catch;
use crate::base::{Error, Kind};
use pyo3::exceptions::{
    PyAssertionError, PyIndexError, PyKeyError, PyKeyboardInterrupt, PyMemoryError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;
use std::sync::Arc;

pyo3::create_exception!(
    oxgrad.base,
    MXNetError,
    PyRuntimeError,
    "Misuse of an operator, or an operation that failed: a `RuntimeError`, as in MXNet."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        if let Some(source) = error.source()
            && let Some(original) = source.downcast_ref::<PyErr>()
        {
            return Python::attach(|py| original.clone_ref(py));
        }
        let message = error.message().to_string();
        match error.kind {
            Kind::Op => MXNetError::new_err(message),
            Kind::Value => PyValueError::new_err(message),
            Kind::Type => PyTypeError::new_err(message),
            Kind::Index => PyIndexError::new_err(message),
            Kind::Key => PyKeyError::new_err(message),
            Kind::Assert => PyAssertionError::new_err(message),
            Kind::Memory => PyMemoryError::new_err(message),
            Kind::Interrupt => PyKeyboardInterrupt::new_err(()),
            Kind::Foreign => PyRuntimeError::new_err(message),
        }
    }
}

/// Runs what may panic by a mistake of ours: the panic becomes an ordinary exception.
pub fn guard<R>(f: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
    catch(f)?
}

/// A Python exception on its way through layers that do not know Python.
pub fn carry(error: PyErr) -> Error {
    Error::foreign(error.to_string(), Arc::new(error))
}
