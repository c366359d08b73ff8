//! The driver of GPUs as the core sees it: one Python object on wgpu-py. And what `oxgrad.gpu` needs of the core.

use crate::base::lock::wait_outside;
use crate::base::{DType, Device, Error, Kind, Result, Shape};
use crate::gpu::driver::{Batch, BufferId, Caps, Driver};
use crate::gpu::runtime::{self, open_with, opened, runtime};
use crate::gpu::tape::Launch;
use crate::gpu::{Runtime, kernels, map, native};
use crate::graph::{Kind as OpKind, Var};
use crate::ir::Program;
use crate::ops;
use crate::python::args::dtype as parse_dtype;
use crate::python::error::carry;
use crate::python::ndarray::PyNDArray;
use crate::tensor::Tensor;
use crate::tensor::gpu::note_fallback;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Mutex;

/// The driver. One thread at a time: whoever waits for its turn does so without the interpreter.
struct PyDriver {
    object: Py<PyAny>,
    caps: Caps,
    turn: Mutex<()>,
}

/// An exception of the driver; running out of memory is told apart, as the runtime can do something about it.
fn failure(py: Python<'_>, error: PyErr) -> Error {
    let memory = error.is_instance_of::<PyMemoryError>(py);
    let error = carry(error);
    if memory { error.of_kind(Kind::Memory) } else { error }
}

impl PyDriver {
    fn open(id: i32) -> Result<Box<dyn Driver>> {
        Python::attach(|py| {
            let object = py.import("oxgrad.gpu._driver")?.call_method1("open_device", (id,))?;
            let (name, max_binding, max_groups) = object.call_method0("caps")?.extract()?;
            let caps = Caps { name, max_binding, max_groups };
            Ok(Box::new(PyDriver { object: object.unbind(), caps, turn: Mutex::new(()) }) as Box<dyn Driver>)
        })
        .map_err(carry)
    }
    fn submit(&self, py: Python<'_>, b: &Batch) -> PyResult<()> {
        let list = |items: Vec<Bound<'_, PyTuple>>| PyList::new(py, items).map(Bound::unbind);
        let pipelines = b.pipelines.iter().map(|p| (p.id, &p.label, &p.source, p.inputs, p.outputs).into_pyobject(py));
        let groups = b.groups.iter().map(|g| (g.id, g.inputs, g.buffers.to_vec()).into_pyobject(py));
        let uploads = b.uploads.iter().map(|u| (u.buffer, PyBytes::new(py, &u.bytes)).into_pyobject(py));
        let commands =
            b.commands.iter().map(|c| (c.pipeline, c.group, c.grid[0], c.grid[1], c.params).into_pyobject(py));
        self.object.call_method1(
            py,
            "submit",
            (
                b.create.clone(),
                list(pipelines.collect::<PyResult<_>>()?)?,
                list(groups.collect::<PyResult<_>>()?)?,
                list(uploads.collect::<PyResult<_>>()?)?,
                PyBytes::new(py, &b.params),
                list(commands.collect::<PyResult<_>>()?)?,
                b.drop_groups.clone(),
                b.drop.clone(),
            ),
        )?;
        Ok(())
    }
}

impl Driver for PyDriver {
    fn caps(&self) -> &Caps {
        &self.caps
    }
    fn replay(&self, next: &mut dyn FnMut() -> Option<Batch>, done: &mut dyn FnMut(Batch, Result<()>)) -> Result<()> {
        Python::attach(|py| {
            let _turn = self.turn.lock_py_attached(py);
            while let Some(batch) = next() {
                let outcome = self.submit(py, &batch).map_err(|e| failure(py, e));
                done(batch, outcome);
            }
            Ok(())
        })
    }
    fn read(&self, buffer: BufferId, offset: u64, out: &mut [u8]) -> Result<()> {
        Python::attach(|py| {
            let _turn = self.turn.lock_py_attached(py);
            let bytes = self.object.call_method1(py, "read", (buffer, offset, out.len()))?;
            let copied = PyBuffer::<u8>::get(bytes.bind(py)).and_then(|b| b.copy_to_slice(py, out));
            self.object.call_method0(py, "read_done")?;
            copied
        })
        .map_err(|e| Python::attach(|py| failure(py, e)))
    }
    fn wait(&self) -> Result<()> {
        Python::attach(|py| self.object.call_method0(py, "wait").map(drop).map_err(|e| failure(py, e)))
    }
}

/// Warns once of each op and dtype that ran on the host.
fn note(op: &str, dtype: DType) -> Result<()> {
    Python::attach(|py| {
        static TOLD: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        TOLD.import(py, "oxgrad.gpu", "_note_fallback")?.call1((op, dtype.name()))?;
        Ok(())
    })
    .map_err(carry)
}

/// Opens the device where it is a GPU: an error says what is missing.
pub fn ensure_open(device: Device) -> Result<()> {
    runtime(device.id).map(drop)
}

// ---- what oxgrad.gpu calls ----

fn gpu(id: i32) -> Device {
    Device { kind: crate::base::device::DeviceType::Gpu, id }
}

/// Counters and memory of a device that is in use: dispatches, batches, buffers, pipelines and groups made, uploads,
/// reads, bytes in arrays and bytes kept.
#[pyfunction]
fn _gpu_stats(py: Python<'_>, id: i32) -> PyResult<Bound<'_, PyDict>> {
    let runtime = runtime(id)?;
    let (c, (live, kept)) = (runtime.counts(), runtime.memory());
    let d = PyDict::new(py);
    d.set_item("device", &runtime.caps().name)?;
    for (name, value) in [
        ("dispatches", c.dispatches),
        ("batches", c.batches),
        ("buffers", c.buffers),
        ("pipelines", c.pipelines),
        ("groups", c.groups),
        ("uploads", c.uploads),
        ("reads", c.reads),
        ("live_bytes", live),
        ("kept_bytes", kept),
        ("max_binding", runtime.caps().max_binding),
    ] {
        d.set_item(name, value)?;
    }
    Ok(d)
}

/// Numbers of the devices in use.
#[pyfunction]
fn _gpu_opened() -> Vec<i32> {
    opened().iter().map(|r| r.id).collect()
}

/// Sends everything recorded and waits for all devices in use.
#[pyfunction]
fn _gpu_wait(py: Python<'_>) -> PyResult<()> {
    py.detach(|| opened().iter().try_for_each(|r| r.wait()))?;
    Ok(())
}

/// Sends everything recorded, without waiting.
#[pyfunction]
fn _gpu_flush(py: Python<'_>) -> PyResult<()> {
    py.detach(|| opened().iter().try_for_each(|r| r.flush()))?;
    Ok(())
}

/// Gives device memory kept for reuse back.
#[pyfunction]
fn _gpu_empty_cache() -> PyResult<()> {
    Ok(opened().iter().try_for_each(|r| r.empty_cache())?)
}

/// Forgets all devices; arrays on them are lost.
#[pyfunction]
fn _gpu_reset() {
    runtime::reset();
}

/// The memory of an array, in C order: `(device, number of the buffer)`. From now on it is never reused.
#[pyfunction]
fn _gpu_export(py: Python<'_>, array: &Bound<'_, PyNDArray>) -> PyResult<(i32, BufferId)> {
    let inner = array.get().inner.clone();
    let tensor = inner.tensor()?;
    if !tensor.on_gpu() {
        return Err(Error::op(format_args!(
            "gpu_buffer: got a {} array of shape {} on {}, expected float32 or int32 elements on a GPU",
            tensor.dtype(),
            crate::base::layout::show(tensor.shape()),
            tensor.device()
        ))
        .into());
    }
    let data = py.detach(|| -> Result<_> {
        let mut data = tensor.device_dense()?;
        if data.offset != 0 {
            data = tensor.copied()?.device_data()?;
        }
        data.buffer.runtime.export(&data.buffer)?;
        // The array goes on with the memory that was given away.
        let (shape, dtype) = (Shape::from(tensor.shape()), tensor.dtype());
        inner.hold(Tensor::from_device(shape, dtype, tensor.device(), data.buffer.clone()));
        Ok(data)
    })?;
    Ok((data.buffer.runtime.id, data.buffer.id))
}

/// How many elements a shape of the user has, if that can be said.
fn elements(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64))
}

/// An array of memory that `give(number)` tells the driver about.
#[pyfunction]
fn _gpu_adopt<'py>(
    py: Python<'py>,
    id: i32,
    bytes: u64,
    shape: Vec<usize>,
    dtype: &Bound<'py, PyAny>,
    give: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyNDArray>> {
    let dtype = parse_dtype(dtype)?;
    let need = elements(&shape).map_or(u64::MAX, |n| n.saturating_mul(4));
    if !native(dtype) || need == 0 || need > bytes {
        return Err(Error::op(format_args!(
            "from_buffer: got {dtype} {} and a buffer of {bytes} bytes, expected float32 or int32 elements that fit it",
            crate::base::layout::show(&shape)
        ))
        .into());
    }
    let buffer = runtime(id)?.adopt(bytes, |number| give.call1((number,)).map(drop).map_err(carry))?;
    PyNDArray::wrap(py, Var::new(Tensor::from_device(shape.as_slice().into(), dtype, gpu(id), buffer)))
}

/// Runs a shader of the user: inputs at bindings from 1 on, then outputs; numbers at binding 0.
#[pyfunction]
fn _gpu_run<'py>(
    py: Python<'py>,
    code: &str,
    inputs: Vec<Bound<'py, PyNDArray>>,
    outputs: Vec<(Vec<usize>, Bound<'py, PyAny>)>,
    groups: u64,
    params: Vec<u32>,
) -> PyResult<Vec<Bound<'py, PyNDArray>>> {
    let bad = |text: String| PyErr::from(Error::op(format_args!("run_wgsl: {text}")));
    let mut data = Vec::new();
    for input in &inputs {
        let tensor = input.get().inner.tensor()?;
        if !tensor.on_gpu() {
            return Err(bad(format!("got an array on {}, expected float32 or int32 on a GPU", tensor.device())));
        }
        let dense = tensor.device_dense()?;
        data.push(if dense.offset == 0 { dense } else { tensor.copied()?.device_data()? });
    }
    let id = data.first().map_or(0, |d| d.buffer.runtime.id);
    let runtime = runtime(id)?;
    let (most, words) = (crate::gpu::driver::BINDINGS, crate::gpu::driver::WINDOW / 4);
    if outputs.is_empty() || groups == 0 || data.len() + outputs.len() > most || params.len() > words {
        return Err(bad(format!("expected at least one output and group, {most} arrays and {words} numbers at most")));
    }
    let mut made = Vec::new();
    for (shape, dtype) in &outputs {
        let dtype = parse_dtype(dtype)?;
        let n = elements(shape).unwrap_or(0);
        if !native(dtype) || n == 0 {
            return Err(bad(format!("got an output of {n} {dtype} elements, expected float32 or int32 elements")));
        }
        made.push((Shape::from(shape.as_slice()), dtype, runtime.alloc(n.saturating_mul(4))?));
    }
    let hash = BuildHasherDefault::<DefaultHasher>::default();
    let key = vec![3, hash.hash_one(code), hash.hash_one((code.len(), code)), data.len() as u64];
    // Code that the device has not seen goes alone: if it is wrong, nothing else is lost with it.
    let fresh = !runtime.has_pipeline(&key);
    if fresh {
        py.detach(|| runtime.flush())?;
    }
    let launch = Launch {
        key,
        label: "run_wgsl",
        inputs: data.iter().map(|d| d.buffer.id).collect(),
        outputs: made.iter().map(|(_, _, b)| b.id).collect(),
        updates: false,
        groups,
        params,
    };
    runtime.launch(launch, || code.to_owned())?;
    if fresh {
        py.detach(|| runtime.flush())?;
    }
    made.into_iter().map(|(s, d, b)| PyNDArray::wrap(py, Var::new(Tensor::from_device(s, d, gpu(id), b)))).collect()
}

// ---- shaders as text, for tests that run them without us ----

/// The hand-written shaders as they are compiled: `(name, variant, text)`.
#[pyfunction]
fn _gpu_shaders() -> Vec<(&'static str, u64, String)> {
    let rows = kernels::ROWS.iter().flat_map(|s| [(s.name, 0, kernels::text(s, 0)), (s.name, 1, kernels::text(s, 1))]);
    let others = [&kernels::ONE_HOT, &kernels::MATMUL].map(|s| (s.name, 1, kernels::text(s, 1)));
    rows.chain(kernels::PLAIN.iter().map(|s| (s.name, 0, kernels::text(s, 0)))).chain(others).collect()
}

/// The launches of a map or a reduction over all `n` elements: `(text, parameters, grid)` each, and the number of inputs
/// of the first. `None` where the op has no generated shader for the dtype.
#[pyfunction]
fn _gpu_generated(
    py: Python<'_>,
    name: &str,
    dtype: &Bound<'_, PyAny>,
    n: usize,
    imm: Vec<f64>,
) -> PyResult<Option<(usize, Vec<(String, Py<PyBytes>, Vec<u32>)>)>> {
    let dtype = parse_dtype(dtype)?;
    let op = ops::find(name).ok_or_else(|| Error::new(Kind::Key, format_args!("no operator '{name}'")))?;
    let (paper, sheet) = crate::gpu::driver::Paper::new();
    let runtime = Runtime::new(-1, Box::new(paper));
    let operand = || -> Result<_> {
        let data =
            map::GpuStorage { buffer: runtime.alloc(4 * n as u64)?, strides: [1].into_iter().collect(), offset: 0 };
        Ok(map::Operand::Data(data))
    };
    let operands = op.inputs.iter().map(|_| operand()).collect::<Result<Vec<_>>>()?;
    let mut program = Program { leaves: vec![dtype; operands.len()], ..Program::default() };
    match &op.kind {
        OpKind::Map(f) if crate::gpu::wgsl::has_map(f, dtype) => {
            let ins: Vec<_> = (0..operands.len() as u32).map(crate::ir::Source::Reg).collect();
            let out = program.map(f, dtype, &ins, &imm);
            program.outputs.push(out);
            map::run_map(&runtime, &program, &operands, &[n], &[])?;
        }
        OpKind::Reduce(f) if crate::gpu::wgsl::has_fold(f, dtype) => {
            program.outputs.push(0);
            let extent = crate::ir::Extent { outer: 1, reduce: n, inner: 1 };
            map::run_fold(&runtime, &program, &operands, &[n], f, extent)?;
        }
        _ => return Ok(None),
    }
    runtime.flush()?;
    let batch = sheet.lock().unwrap_or_else(|e| e.into_inner()).pop().unwrap_or_default();
    let launches = batch.commands.iter().map(|c| {
        let text = batch.pipelines.iter().find(|p| p.id == c.pipeline).map(|p| p.source.clone()).unwrap_or_default();
        let at = c.params as usize;
        let end = (at + crate::gpu::driver::WINDOW).min(batch.params.len());
        (text, PyBytes::new(py, &batch.params[at..end]).unbind(), c.grid.to_vec())
    });
    Ok(Some((operands.len(), launches.collect())))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    wait_outside(|until| Python::attach(|py| py.detach(until)));
    open_with(PyDriver::open);
    note_fallback(note);
    m.add_function(wrap_pyfunction!(_gpu_stats, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_opened, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_wait, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_flush, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_empty_cache, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_export, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_adopt, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_run, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_shaders, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_generated, m)?)?;
    m.add_function(wrap_pyfunction!(_gpu_reset, m)?)
}
