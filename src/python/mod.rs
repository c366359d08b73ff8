//! The only room that knows Python: the `_core` module, its callables made from op records, and conversions.

mod args;
mod autograd;
mod callable;
mod context;
mod convert;
mod error;
mod files;
mod gpu;
mod index;
mod interop;
mod ndarray;
mod rows;
mod system;

use pyo3::prelude::*;

// An op on few elements makes and drops a handful of small blocks: what the allocator costs is a fifth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The compiled half of `oxgrad`.
#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("MXNetError", m.py().get_type::<error::MXNetError>())?;
    m.add_class::<ndarray::PyNDArray>()?;
    callable::register(m)?;
    autograd::register(m)?;
    convert::register(m)?;
    files::register(m)?;
    gpu::register(m)?;
    interop::register(m)?;
    system::register(m)
}
