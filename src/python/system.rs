//! Process-wide matters: counters, memory pool, threads, fork, Ctrl-C.

use crate::base::{Level, buffer};
use crate::cpu::pool;
use crate::graph::node;
use crate::python::error::guard;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Lets Ctrl-C through before a long kernel starts.
pub fn check_signals(py: Python<'_>) -> PyResult<()> {
    py.check_signals()
}

/// Counters for tests and for `python -m oxgrad`: loops over memory that this thread ran, bytes they wrote, buffers taken from the pool
/// and how many of them were reused, bytes live and kept, tape nodes alive.
#[pyfunction]
fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let memory = buffer::stats();
    let d = PyDict::new(py);
    d.set_item("loops", pool::loops())?;
    d.set_item("bytes_written", pool::bytes_written())?;
    d.set_item("buffers_taken", memory.taken)?;
    d.set_item("buffers_reused", memory.reused)?;
    d.set_item("live_bytes", memory.live_bytes)?;
    d.set_item("kept_bytes", memory.kept_bytes)?;
    d.set_item("pool_cap", buffer::cap())?;
    d.set_item("nodes", node::live())?;
    d.set_item("threads", pool::threads())?;
    d.set_item("simd", Level::get().name())?;
    Ok(d)
}

/// Gives the memory kept for reuse back to the system.
#[pyfunction]
fn empty_cache() {
    buffer::empty_cache();
}

/// Reseeds the random streams; the form with a context seeds the second stream differently, as in MXNet.
#[pyfunction]
fn seed(seed_state: i32, with_context: bool) {
    crate::cpu::random::with_streams(|s| if with_context { s.seed_ctx(seed_state) } else { s.seed(seed_state) });
}

/// Test hook: a panic inside Rust, to show that it reaches Python as an exception.
#[pyfunction]
fn _panic() -> PyResult<()> {
    guard(|| panic!("asked for by a test"))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    crate::cpu::fork::arrange();
    m.add_function(wrap_pyfunction!(stats, m)?)?;
    m.add_function(wrap_pyfunction!(empty_cache, m)?)?;
    m.add_function(wrap_pyfunction!(seed, m)?)?;
    m.add_function(wrap_pyfunction!(_panic, m)?)
}
