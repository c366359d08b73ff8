//! Devices as `oxgrad.Context` objects.

use crate::base::device::DeviceType;
use crate::base::{Device, Error};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;
use std::cell::Cell;

/// The device of a `Context`, or of its text (`'cpu(0)'`).
pub fn parse(value: &Bound<'_, PyAny>) -> PyResult<Device> {
    let bad =
        |text: &str| Error::op(format_args!("ctx: Invalid context string {text}, expected a Context such as cpu(0)"));
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_string();
        let parts = text.strip_suffix(')').and_then(|t| t.split_once('('));
        let device = parts.and_then(|(kind, id)| Some(Device { kind: DeviceType::parse(kind)?, id: id.parse().ok()? }));
        return Ok(check(device.ok_or_else(|| bad(&text))?)?);
    }
    let (Ok(kind), Ok(id)) = (value.getattr("device_type"), value.getattr("device_id")) else {
        return Err(bad(&value.str()?.to_string()).into());
    };
    let kind: String = kind.extract()?;
    let kind = DeviceType::parse(&kind).ok_or_else(|| bad(&kind))?;
    Ok(check(Device { kind, id: id.extract()? })?)
}

/// Opens a GPU that is named for the first time; the error says what is missing.
fn check(device: Device) -> crate::base::Result<Device> {
    if device.is_gpu() {
        crate::python::gpu::ensure_open(device)?;
    }
    Ok(device)
}

/// A `Context` object of a device.
pub fn object<'py>(py: Python<'py>, device: Device) -> PyResult<Bound<'py, PyAny>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CLASS.import(py, "oxgrad.context", "Context")?.call1((device.kind.name(), device.id))
}

thread_local! {
    /// How many contexts this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Counts the contexts that this thread is in: outside of all there is nothing to ask Python for.
#[pyfunction]
fn _entered(inside: bool) {
    DEPTH.set(if inside { DEPTH.get() + 1 } else { DEPTH.get().saturating_sub(1) });
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_entered, m)?)
}

/// The current context of this thread, as `with mx.cpu(1):` sets it.
pub fn current(py: Python<'_>) -> PyResult<Device> {
    if DEPTH.get() == 0 {
        return Ok(Device::CPU);
    }
    static STACK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let current = STACK.import(py, "oxgrad.context", "_current_or_none")?.call0()?;
    if current.is_none() { Ok(Device::CPU) } else { parse(&current) }
}
