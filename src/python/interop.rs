//! Memory of other libraries: the buffer protocol and DLPack. The one place of this room with `unsafe`.

use crate::autograd::NDArray;
use crate::base::dtype::Bool;
use crate::base::layout::{bytes, c_strides, few};
use crate::base::{Buffer, DType, Device, Error, Result, Shape};
use crate::python::ndarray::PyNDArray;
use crate::tensor::{Storage, Tensor};
use numpy::{PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PyDict};
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// A view of an object's memory through the buffer protocol, released when dropped.
pub struct Bytes {
    view: Box<ffi::Py_buffer>,
}

// SAFETY: the view keeps its exporter alive; reads and the release happen with the interpreter attached.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: the view was filled by PyObject_GetBuffer and is released once.
        Python::attach(|_| unsafe { ffi::PyBuffer_Release(&mut *self.view) });
    }
}

/// What one element of a buffer is.
#[derive(Clone, Copy)]
enum Item {
    Own(DType),
    I16,
    U16,
    U32,
    U64,
}

fn item(format: &str, size: usize) -> Option<Item> {
    let code = format.trim_start_matches(['@', '=', '<', '|']);
    Some(match (code, size) {
        ("f", 4) => Item::Own(DType::F32),
        ("d", 8) => Item::Own(DType::F64),
        ("e", 2) => Item::Own(DType::F16),
        ("?", 1) => Item::Own(DType::Bool),
        ("B" | "c", 1) => Item::Own(DType::U8),
        ("b", 1) => Item::Own(DType::I8),
        ("h", 2) => Item::I16,
        ("H", 2) => Item::U16,
        ("i" | "l" | "q", 4) => Item::Own(DType::I32),
        ("i" | "l" | "q", 8) => Item::Own(DType::I64),
        ("I" | "L" | "Q", 4) => Item::U32,
        ("I" | "L" | "Q", 8) => Item::U64,
        _ => return None,
    })
}

impl Bytes {
    fn get(value: &Bound<'_, PyAny>, flags: i32) -> Option<Bytes> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: the object is alive and the view is ours to fill; an error is cleared.
        unsafe {
            if ffi::PyObject_CheckBuffer(value.as_ptr()) == 0 {
                return None;
            }
            if ffi::PyObject_GetBuffer(value.as_ptr(), &mut *view, flags) != 0 {
                ffi::PyErr_Clear();
                return None;
            }
        }
        Some(Bytes { view })
    }

    /// The C-contiguous memory of an object, made so by NumPy where it is not; `None` where it has no buffer.
    pub fn read(value: &Bound<'_, PyAny>) -> PyResult<Option<Bytes>> {
        let flags = ffi::PyBUF_FORMAT | ffi::PyBUF_C_CONTIGUOUS;
        if let Some(bytes) = Bytes::get(value, flags) {
            return Ok(Some(bytes));
        }
        // SAFETY: asks whether the type has the protocol; the object is alive.
        if unsafe { ffi::PyObject_CheckBuffer(value.as_ptr()) } == 0 || !value.hasattr("flags")? {
            return Ok(None);
        }
        let array = value.py().import("numpy")?.call_method1("ascontiguousarray", (value,))?;
        Ok(Bytes::get(&array, flags))
    }

    fn shape(&self) -> Shape {
        let n = self.view.ndim as usize;
        if n == 0 {
            return Shape::new();
        }
        if self.view.shape.is_null() {
            return [self.view.len as usize / self.view.itemsize.max(1) as usize].into_iter().collect();
        }
        // SAFETY: a filled view has `ndim` extents.
        unsafe { std::slice::from_raw_parts(self.view.shape, n) }.iter().map(|&d| d as usize).collect()
    }

    fn format(&self) -> Option<Item> {
        if self.view.format.is_null() {
            return item("B", self.view.itemsize as usize);
        }
        // SAFETY: a non-null format is a C string that lives as long as the view.
        let text = unsafe { CStr::from_ptr(self.view.format) };
        item(text.to_str().ok()?, self.view.itemsize as usize)
    }

    fn elements<T: Copy>(&self) -> &[T] {
        let n = self.view.len as usize / size_of::<T>();
        if n == 0 {
            return &[];
        }
        // SAFETY: the view covers `len` contiguous bytes; NumPy aligns elements, and an unaligned view is refused.
        unsafe {
            let ptr = self.view.buf as *const T;
            assert!(ptr.is_aligned(), "buffer: unaligned memory");
            std::slice::from_raw_parts(ptr, n)
        }
    }

    /// A copy of the elements in a dtype; `None` for an element type that has no meaning here.
    pub fn tensor(&self, dtype: DType) -> Result<Option<Tensor>> {
        let Some(item) = self.format() else { return Ok(None) };
        let shape = self.shape();
        fn wide<T: Copy>(from: &[T], to: impl Fn(T) -> i64) -> Vec<i64> {
            from.iter().map(|&v| to(v)).collect()
        }
        let tensor = match item {
            Item::Own(own) => crate::with_dtype!(own, T => Tensor::from_slice::<T>(&shape, self.elements::<T>()))?,
            Item::I16 => Tensor::from_slice(&shape, &wide(self.elements::<i16>(), |v| v as i64))?,
            Item::U16 => Tensor::from_slice(&shape, &wide(self.elements::<u16>(), |v| v as i64))?,
            Item::U32 => Tensor::from_slice(&shape, &wide(self.elements::<u32>(), |v| v as i64))?,
            Item::U64 => Tensor::from_slice(&shape, &wide(self.elements::<u64>(), |v| v as i64))?,
        };
        tensor.cast(dtype).map(Some)
    }

    /// The memory itself as an array, without a copy; writes are seen by both sides.
    pub fn share(self) -> Result<Tensor> {
        let Some(Item::Own(dtype)) = self.format() else {
            return Err(Error::typ("from_numpy: the element type is not supported"));
        };
        let (shape, len, ptr) = (self.shape(), self.view.len as usize, self.view.buf as *mut u8);
        // SAFETY: the memory is valid as long as the view, which the buffer keeps.
        let buffer = unsafe { Buffer::foreign(ptr, len, Box::new(self)) };
        Ok(Tensor::from_buffer(shape, dtype, Device::CPU, buffer))
    }
}

/// NumPy's array class, where it has been imported.
fn array_class(py: Python<'_>) -> PyResult<Option<&Py<PyAny>>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if CLASS.get(py).is_none() {
        let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
        if let Some(numpy) = modules.get_item("numpy")?
            && let Ok(class) = numpy.getattr("ndarray")
        {
            let _ = CLASS.set(py, class.unbind());
        }
    }
    Ok(CLASS.get(py))
}

/// NumPy's element type of an element type of ours.
trait Counterpart {
    type Of: numpy::Element;
}
macro_rules! counterparts {
    ($($t:ty => $of:ty),+) => {$(
        impl Counterpart for $t {
            type Of = $of;
        }
    )+};
}
counterparts!(f32 => f32, f64 => f64, half::f16 => half::f16, u8 => u8, i8 => i8, i32 => i32, i64 => i64, Bool => bool);

/// A copy of a NumPy array as it is; `None` for another object, and for an array that has to be converted.
pub fn copied(value: &Bound<'_, PyAny>, dtype: DType, device: Device) -> PyResult<Option<Tensor>> {
    fn read<N: numpy::Element>(value: &Bound<'_, PyAny>, dtype: DType, device: Device) -> PyResult<Option<Tensor>> {
        let Some(array) = value.cast::<PyArrayDyn<N>>().ok().filter(|array| array.is_c_contiguous()) else {
            return Ok(None);
        };
        let shape: Shape = few(array.shape().iter().copied());
        let bytes = bytes(&shape, dtype)?;
        // SAFETY: the array is contiguous, so that its elements begin at `data`; they are copied as bytes, with the
        // interpreter attached.
        let from =
            if bytes == 0 { &[] } else { unsafe { std::slice::from_raw_parts(array.data().cast::<u8>(), bytes) } };
        let buffer = Buffer::build(bytes, |buffer| crate::cpu::moves::copy(from, buffer.slice_mut::<u8>(0, bytes)))?;
        let strides = c_strides(&shape);
        Ok(Some(Tensor::ready(shape, dtype, device, Storage { buffer, strides, offset: 0 })))
    }
    if !array_class(value.py())?.is_some_and(|class| value.get_type().is(class)) {
        return Ok(None);
    }
    crate::with_dtype!(dtype, T => read::<<T as Counterpart>::Of>(value, dtype, device))
}

/// A fresh NumPy array of a shape with these bytes as its elements. NumPy must have been imported.
pub fn fresh<'py>(py: Python<'py>, shape: &[usize], dtype: DType, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    fn filled<'py, N: numpy::Element>(py: Python<'py>, shape: &[usize], bytes: &[u8]) -> Bound<'py, PyAny> {
        // SAFETY: a new array is contiguous and nobody else sees it; it is filled before it is read.
        unsafe {
            let array = PyArrayDyn::<N>::new(py, shape, false);
            let to = std::slice::from_raw_parts_mut(array.data().cast::<u8>(), array.len() * size_of::<N>());
            crate::cpu::moves::copy(bytes, to);
            array.into_any()
        }
    }
    crate::with_dtype!(dtype, T => Ok(filled::<<T as Counterpart>::Of>(py, shape, bytes)))
}

// ---- DLPack: https://dmlc.github.io/dlpack/latest/c_api.html ----------------------------------------------------

#[repr(C)]
struct DLTensor {
    data: *mut c_void,
    device: [i32; 2],
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct DLManaged {
    tensor: DLTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut DLManaged)>,
}

const NAME: &CStr = c"dltensor";
const USED: &CStr = c"used_dltensor";

/// What a capsule of ours keeps alive.
struct Exported {
    _buffer: Arc<Buffer>,
    dims: Vec<i64>,
}

unsafe extern "C" fn delete(managed: *mut DLManaged) {
    // SAFETY: called once by the consumer with the pointer made in `export`.
    unsafe {
        drop(Box::from_raw((*managed).context as *mut Exported));
        drop(Box::from_raw(managed));
    }
}

unsafe extern "C" fn drop_capsule(capsule: *mut ffi::PyObject) {
    // SAFETY: a capsule still named "dltensor" was not consumed, so the memory is ours to free.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) == 1 {
            let managed = ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()) as *mut DLManaged;
            if let Some(deleter) = (*managed).deleter {
                deleter(managed);
            }
        }
    }
}

fn dl_code(dtype: DType) -> (u8, u8) {
    match dtype {
        DType::I8 | DType::I32 | DType::I64 => (0, dtype.size() as u8 * 8),
        DType::U8 => (1, 8),
        DType::F16 | DType::F32 | DType::F64 => (2, dtype.size() as u8 * 8),
        DType::Bool => (6, 8),
    }
}

/// A DLPack capsule of the array's memory, without a copy.
pub fn export<'py>(py: Python<'py>, array: &Bound<'py, PyNDArray>) -> PyResult<Bound<'py, PyAny>> {
    let handle = &array.get().inner;
    let tensor = handle.tensor()?.contiguous()?;
    let storage = tensor.storage()?.clone();
    let mut dims: Vec<i64> = tensor.shape().iter().map(|&d| d as i64).collect();
    dims.extend(storage.strides.iter().map(|&s| s as i64));
    let (code, bits) = dl_code(tensor.dtype());
    let ndim = tensor.ndim();
    let data = storage.buffer.ptr().wrapping_add(storage.offset * tensor.dtype().size());
    let exported = Box::into_raw(Box::new(Exported { _buffer: storage.buffer, dims }));
    // SAFETY: `exported` was just made; its vector does not move while the box lives.
    let shape = unsafe { (*exported).dims.as_mut_ptr() };
    let managed = Box::into_raw(Box::new(DLManaged {
        tensor: DLTensor {
            data: data.cast(),
            device: [1, 0],
            ndim: ndim as i32,
            code,
            bits,
            lanes: 1,
            shape,
            strides: shape.wrapping_add(ndim),
            byte_offset: 0,
        },
        context: exported.cast(),
        deleter: Some(delete),
    }));
    // SAFETY: the capsule takes ownership of `managed`; its destructor frees what was not consumed.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyCapsule_New(managed.cast(), NAME.as_ptr(), Some(drop_capsule))) }
}

/// A consumed DLPack tensor, freed with its own deleter.
struct Imported(*mut DLManaged);
// SAFETY: the producer's memory may be used and freed from any thread, as DLPack demands of CPU tensors.
unsafe impl Send for Imported {}
// SAFETY: as above.
unsafe impl Sync for Imported {}

impl Drop for Imported {
    fn drop(&mut self) {
        // SAFETY: the pointer was taken from a capsule once, and the deleter is called once. Producers may need Python.
        Python::attach(|_| unsafe {
            if let Some(deleter) = (*self.0).deleter {
                deleter(self.0);
            }
        });
    }
}

/// An array on the memory of a DLPack capsule, or of an object with `__dlpack__`.
#[pyfunction]
fn from_dlpack<'py>(py: Python<'py>, source: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
    let capsule = match source.cast::<PyCapsule>() {
        Ok(capsule) => capsule.clone().into_any(),
        Err(_) => source.call_method0("__dlpack__")?,
    };
    // SAFETY: a valid capsule named "dltensor" holds a DLManagedTensor; renaming it marks it consumed.
    let imported = unsafe {
        if ffi::PyCapsule_IsValid(capsule.as_ptr(), NAME.as_ptr()) != 1 {
            return Err(Error::value("from_dlpack: expected an unused 'dltensor' capsule").into());
        }
        let managed = ffi::PyCapsule_GetPointer(capsule.as_ptr(), NAME.as_ptr()) as *mut DLManaged;
        ffi::PyCapsule_SetName(capsule.as_ptr(), USED.as_ptr());
        Imported(managed)
    };
    // SAFETY: the managed tensor lives until its deleter runs.
    let t = unsafe { &(*imported.0).tensor };
    let dtype = match (t.code, t.bits, t.lanes) {
        (0, 8, 1) => DType::I8,
        (0, 32, 1) => DType::I32,
        (0, 64, 1) => DType::I64,
        (1, 8, 1) => DType::U8,
        (2, 16, 1) => DType::F16,
        (2, 32, 1) => DType::F32,
        (2, 64, 1) => DType::F64,
        (6, 8, 1) => DType::Bool,
        (code, bits, lanes) => {
            let message =
                format!("from_dlpack: element type (code {code}, {bits} bits, {lanes} lanes) is not supported");
            return Err(Error::typ(message).into());
        }
    };
    if t.device[0] != 1 {
        return Err(Error::value("from_dlpack: only CPU memory can be taken").into());
    }
    let n = t.ndim as usize;
    // SAFETY: shape and, where given, strides have `ndim` entries.
    let (shape, strides): (Shape, Option<Vec<i64>>) = unsafe {
        let dims = |p: *mut i64| if n == 0 { &[][..] } else { std::slice::from_raw_parts(p, n) };
        (dims(t.shape).iter().map(|&d| d as usize).collect(), (!t.strides.is_null()).then(|| dims(t.strides).to_vec()))
    };
    if let Some(strides) = strides {
        let strides: Vec<isize> = strides.iter().map(|&s| s as isize).collect();
        if !crate::base::layout::is_contiguous(&shape, &strides) {
            return Err(Error::value("from_dlpack: strided memory: pass a contiguous array").into());
        }
    }
    let ptr = (t.data as *mut u8).wrapping_add(t.byte_offset as usize);
    let bytes = crate::base::layout::bytes(&shape, dtype)?;
    // SAFETY: the producer keeps the memory valid until the deleter, which the buffer calls when dropped.
    let buffer = unsafe { Buffer::foreign(ptr, bytes, Box::new(imported)) };
    PyNDArray::handle(py, NDArray::on_shared_memory(Tensor::from_buffer(shape, dtype, Device::CPU, buffer)))
}

/// An array on a NumPy array's own memory.
#[pyfunction]
fn share_memory<'py>(py: Python<'py>, source: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
    let bytes = Bytes::read(source)?.ok_or_else(|| Error::typ("from_numpy: expected a NumPy array"))?;
    PyNDArray::handle(py, NDArray::on_shared_memory(bytes.share()?))
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(from_dlpack, m)?)?;
    m.add_function(wrap_pyfunction!(share_memory, m)?)
}
