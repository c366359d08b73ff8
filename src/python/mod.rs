//! The only room that knows Python: the `_core` module, its callables made from op records, and conversions.

mod args;
mod autograd;
mod bind;
mod callable;
mod context;
mod convert;
mod error;
mod files;
mod gpu;
mod index;
mod interop;
mod ndarray;
mod operand;
mod rows;
mod shape;
mod system;
mod views;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: crate::base::buffer::Allocator = crate::base::buffer::Allocator;

/// The compiled half of `oxgrad`.
#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("MXNetError", m.py().get_type::<error::MXNetError>())?;
    m.add_class::<ndarray::PyNDArray>()?;
    callable::register(m)?;
    autograd::register(m)?;
    context::register(m)?;
    convert::register(m)?;
    files::register(m)?;
    gpu::register(m)?;
    interop::register(m)?;
    system::register(m)
}
