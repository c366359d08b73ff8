//! Python data as arrays and arrays as NumPy data. NumPy is imported when first needed, never by `import oxgrad`.

use crate::base::layout::{c_strides, copied};
use crate::base::{Buffer, DType, Device, Element, Error, Result, Shape};
use crate::python::args::dtype as parse_dtype;
use crate::python::context;
use crate::python::interop::Bytes;
use crate::python::ndarray::PyNDArray;
use crate::tensor::{Storage, Tensor};
use crate::with_dtype;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};

const NOT_AN_ARRAY: &str =
    "array: source_array must be array like object: a number, a regular nest of lists, or an array";

/// Numbers read from nested lists: floats, with the integers kept apart as long as all are integers.
#[derive(Default)]
struct Numbers {
    floats: Vec<f64>,
    ints: Vec<i64>,
    all_int: bool,
}

impl Numbers {
    fn push(&mut self, v: f64, i: Option<i64>) {
        self.floats.push(v);
        match i {
            Some(i) if self.all_int => self.ints.push(i),
            _ => self.all_int = false,
        }
    }
}

/// The items of a list or tuple, each as [`nested`].
fn each<'py>(
    len: usize,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    (depth, shape): (usize, &mut Shape),
    out: &mut Numbers,
) -> Option<()> {
    if depth == shape.len() {
        // The first element of each level sets the shape; a number met before makes the nest ragged.
        if !out.floats.is_empty() || depth > 32 {
            return None;
        }
        if shape.iter().all(|&d| d == 1) {
            out.floats.reserve(len);
            out.ints.reserve(if out.all_int { len } else { 0 });
        }
        shape.push(len);
    } else if shape[depth] != len {
        return None;
    }
    for item in items {
        match item.cast_exact::<PyFloat>() {
            // The commonest without another call.
            Ok(v) if shape.len() == depth + 1 => {
                out.floats.push(v.value());
                out.all_int = false;
            }
            _ => nested(&item, depth + 1, shape, out)?,
        }
    }
    Some(())
}

/// Reads a regular nest of lists and tuples of Python numbers. `None` where NumPy should read it instead.
fn nested(value: &Bound<'_, PyAny>, depth: usize, shape: &mut Shape, out: &mut Numbers) -> Option<()> {
    if let Ok(v) = value.cast_exact::<PyFloat>() {
        out.push(v.value(), None);
        return (depth == shape.len()).then_some(());
    }
    if let Ok(v) = value.cast_exact::<PyInt>() {
        let v = v.extract::<i64>().ok()?;
        out.push(v as f64, Some(v));
        return (depth == shape.len()).then_some(());
    }
    if let Ok(v) = value.cast_exact::<PyBool>() {
        out.push(v.is_true() as i64 as f64, Some(v.is_true() as i64));
        return (depth == shape.len()).then_some(());
    }
    if let Ok(list) = value.cast::<PyList>() {
        return each(list.len(), list.iter(), (depth, shape), out);
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return each(tuple.len(), tuple.iter(), (depth, shape), out);
    }
    None
}

/// An array of any Python data. Lists and arrays become float32 unless a dtype is given, as in MXNet.
pub fn tensor(value: &Bound<'_, PyAny>, dtype: Option<DType>, device: Device) -> PyResult<Tensor> {
    if let Ok(array) = value.cast::<PyNDArray>() {
        let tensor = array.get().inner.tensor()?;
        return Ok(tensor.cast(dtype.unwrap_or(tensor.dtype()))?.on_device(device)?);
    }
    let want = dtype.unwrap_or(DType::F32);
    if let Some(tensor) = crate::python::interop::copied(value, want, device)? {
        return Ok(tensor);
    }
    let mut shape = Shape::new();
    let mut numbers = Numbers { all_int: true, ..Numbers::default() };
    let direct = nested(value, 0, &mut shape, &mut numbers);
    if direct.is_some() && shape.iter().product::<usize>() == numbers.floats.len() {
        return Ok(from_numbers(&shape, &numbers, want, device)?);
    }
    if let Some(tensor) = from_memory(value, want, device)? {
        return Ok(tensor);
    }
    // What is left (ranges, lists of NumPy scalars, objects with __array__) is NumPy's to read.
    let py = value.py();
    if value.is_instance_of::<PyString>() {
        return Err(Error::typ(NOT_AN_ARRAY).into());
    }
    let numpy = py.import("numpy")?;
    let source = numpy.call_method1("array", (value,)).map_err(|_| PyErr::from(Error::typ(NOT_AN_ARRAY)))?;
    let source = if source.getattr("dtype")?.getattr("kind")?.extract::<String>()? == "O" {
        // MXNet reads None as nan.
        source.call_method1("astype", ("float32",)).map_err(|_| PyErr::from(Error::typ(NOT_AN_ARRAY)))?
    } else if !source.getattr("dtype")?.getattr("isnative")?.extract::<bool>()? {
        let native = source.getattr("dtype")?.call_method1("newbyteorder", ("=",))?;
        source.call_method1("astype", (native,))?
    } else {
        source
    };
    from_memory(&source, want, device)?.ok_or_else(|| Error::typ(NOT_AN_ARRAY).into())
}

fn from_numbers(shape: &[usize], numbers: &Numbers, dtype: DType, device: Device) -> Result<Tensor> {
    let n = numbers.floats.len();
    let buffer = Buffer::build(n * dtype.size(), |buffer| {
        with_dtype!(dtype, T => {
            let out = buffer.slice_mut::<T>(0, n);
            if numbers.all_int && !T::FLOAT {
                out.iter_mut().zip(&numbers.ints).for_each(|(o, &v)| *o = T::from_i64(v));
            } else {
                out.iter_mut().zip(&numbers.floats).for_each(|(o, &v)| *o = T::from_f64(v));
            }
        })
    })?;
    let strides = c_strides(shape);
    Ok(Tensor::ready(copied(shape), dtype, device, Storage { buffer, strides, offset: 0 }))
}

/// An array from an object with the buffer protocol: copied and converted.
fn from_memory(value: &Bound<'_, PyAny>, dtype: DType, device: Device) -> PyResult<Option<Tensor>> {
    let Some(bytes) = Bytes::read(value)? else {
        return Ok(None);
    };
    let Some(tensor) = bytes.tensor(dtype)? else {
        return Ok(None);
    };
    // Converted once: a deferred conversion would be redone by whoever reads the array.
    tensor.force()?;
    Ok(Some(tensor.on_device(device)?))
}

/// NumPy's scalar class of a dtype: what `x.dtype` gives.
pub fn numpy_class<'py>(py: Python<'py>, dtype: DType) -> PyResult<Bound<'py, PyAny>> {
    static CLASSES: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let classes = once(py, &CLASSES, || {
        let numpy = py.import("numpy")?;
        DType::ALL
            .iter()
            .map(|d| Ok(numpy.getattr(if *d == DType::Bool { "bool_" } else { d.name() })?.unbind()))
            .collect::<PyResult<Vec<_>>>()
    })?;
    Ok(classes[dtype as usize].bind(py).clone())
}

/// NumPy's description of a dtype: what its functions take without a detour.
fn numpy_dtype(py: Python<'_>, dtype: DType) -> PyResult<&Py<PyAny>> {
    static DTYPES: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let dtypes = once(py, &DTYPES, || {
        let of = py.import("numpy")?.getattr("dtype")?;
        DType::ALL.iter().map(|d| Ok(of.call1((numpy_class(py, *d)?,))?.unbind())).collect::<PyResult<Vec<_>>>()
    })?;
    Ok(&dtypes[dtype as usize])
}

/// The only element of an array as NumPy's scalar. Made from its bytes, as unpickling does: NumPy's classes take a
/// Python number by way of an array.
pub fn scalar<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let dtype = tensor.dtype();
    let make = once(py, &MAKE, || {
        let make = numpy_class(py, DType::F32)?.call0()?.call_method0("__reduce__")?.get_item(0)?;
        Ok(make.unbind())
    })?;
    let (storage, size) = (tensor.storage()?, dtype.size());
    let bytes = PyBytes::new(py, storage.buffer.slice::<u8>(storage.offset * size, size));
    make.bind(py).call1((numpy_dtype(py, dtype)?.bind(py), bytes))
}

/// The value of a cell, made first where it has none. Nothing is held meanwhile: an import takes long, and a fork while
/// another thread is in it would leave the cell locked in the child.
fn once<'a, T: Send + Sync>(
    py: Python<'_>,
    cell: &'a PyOnceLock<T>,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<&'a T> {
    if cell.get(py).is_none() {
        let made = make()?;
        let _ = cell.set(py, made);
    }
    cell.get(py).ok_or_else(|| Error::op("a cell is empty").into())
}

/// A fresh NumPy array with a copy of the elements.
pub fn asnumpy<'py>(py: Python<'py>, tensor: &Tensor) -> PyResult<Bound<'py, PyAny>> {
    static NUMPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if tensor.is_deferred() {
        py.detach(|| tensor.force())?;
    }
    // Its absence is an error here; the library behind `fresh` would panic.
    once(py, &NUMPY, || Ok(py.import("numpy")?.into_any().unbind()))?;
    let dense = tensor.dense()?;
    crate::python::interop::fresh(py, tensor.shape(), tensor.dtype(), dense.bytes(tensor.dtype()))
}

/// The array's dtype from a Python argument, `None` meaning the default.
pub fn optional_dtype(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<DType>> {
    match value {
        Some(v) if !v.is_none() => Ok(Some(parse_dtype(v)?)),
        _ => Ok(None),
    }
}

/// A new array from a number, a nest of lists, or another array.
#[pyfunction]
#[pyo3(signature = (source_array, ctx=None, dtype=None))]
fn array<'py>(
    py: Python<'py>,
    source_array: &Bound<'py, PyAny>,
    ctx: Option<&Bound<'py, PyAny>>,
    dtype: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyNDArray>> {
    let dtype = optional_dtype(dtype)?;
    let device = match ctx {
        Some(ctx) if !ctx.is_none() => Some(context::parse(ctx)?),
        _ => None,
    };
    if let Ok(source) = source_array.cast::<PyNDArray>() {
        // A copy of an array stays on the tape.
        let handle = &source.get().inner;
        let device = device.unwrap_or(handle.device());
        let out = crate::base::error::catch(|| {
            let var = handle.var()?;
            let dtype = dtype.unwrap_or(var.dtype());
            let var = if var.dtype() == dtype { var.unary(&crate::ops::unary::IDENTITY) } else { var.cast(dtype) };
            Ok::<_, Error>(crate::graph::Var { tensor: var.tensor.on_device(device)?, edge: var.edge })
        })??;
        return PyNDArray::wrap(py, out);
    }
    let device = match device {
        Some(device) => device,
        None => context::current(py)?,
    };
    PyNDArray::wrap(py, crate::graph::Var::new(tensor(source_array, dtype, device)?))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(array, m)?)
}
