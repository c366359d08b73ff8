//! `NDArray`: the class a user holds. Methods that are ops come from their records; here is the rest.

use crate::autograd::{GradReq, NDArray};
use crate::base::Error;
use crate::graph::{Args, Op, Var, apply_own, apply1};
use crate::ops::binary as b;
use crate::python::args::dtype as parse_dtype;
use crate::python::operand::operand;
use crate::python::{autograd, context, convert, index, interop, shape, views};
use crate::tensor::Scalar;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyTuple};

/// A multi-dimensional array on a device, with MXNet's methods and operators.
#[pyclass(frozen, weakref, name = "NDArray", module = "oxgrad.ndarray")]
pub struct PyNDArray {
    pub inner: NDArray,
}

impl PyNDArray {
    #[inline]
    pub fn wrap(py: Python<'_>, var: Var) -> PyResult<Bound<'_, PyNDArray>> {
        PyNDArray::handle(py, NDArray::new(var))
    }
    #[inline]
    pub fn handle(py: Python<'_>, inner: NDArray) -> PyResult<Bound<'_, PyNDArray>> {
        Bound::new(py, PyNDArray { inner })
    }
    #[inline]
    fn arithmetic<'py>(
        &self,
        op: &'static Op,
        other: &Bound<'py, PyAny>,
        reflected: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = other.py();
        let Some(other) = operand(&self.inner, other)? else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let this = self.inner.var()?;
        let inputs = if reflected { [other, this] } else { [this, other] };
        Ok(PyNDArray::wrap(py, apply_own(op, inputs)?)?.into_any())
    }
    fn in_place(&self, op: &'static Op, symbol: &str, other: &Bound<'_, PyAny>) -> PyResult<()> {
        let other = operand(&self.inner, other)?.ok_or_else(|| unsupported(other))?;
        let result = apply_own(op, [self.inner.var()?, other])?;
        Ok(self.inner.assign_result(symbol, result)?)
    }
    fn unary_method<'py>(&self, py: Python<'py>, op: &'static Op, args: Args) -> PyResult<Bound<'py, PyNDArray>> {
        PyNDArray::wrap(py, apply1(op, &[self.inner.var()?], &args)?)
    }
    fn item_value(&self, what: &str) -> PyResult<Scalar> {
        let tensor = self.inner.tensor()?;
        if tensor.numel() != 1 {
            let message = format!(
                "{what}: only an array of one element can be converted, got shape {}",
                crate::base::layout::show(tensor.shape())
            );
            return Err(PyTypeError::new_err(message));
        }
        Ok(tensor.item()?)
    }
}

fn unsupported(other: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("type {} not supported", other.get_type()))
}

#[pymethods]
impl PyNDArray {
    /// NumPy leaves binary operators to this class, so that they are recorded.
    #[classattr]
    fn __array_priority__() -> f64 {
        1000.0
    }
    #[classattr]
    fn __array_ufunc__() -> Option<bool> {
        None
    }

    // ---- what it is ----

    /// Length of each axis.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.inner.shape())
    }
    /// NumPy's scalar class of the elements.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::numpy_class(py, self.inner.dtype())
    }
    /// Number of elements.
    #[getter]
    fn size(&self) -> usize {
        self.inner.shape().iter().product()
    }
    /// Number of axes.
    #[getter]
    fn ndim(&self) -> usize {
        self.inner.shape().len()
    }
    /// The device.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        context::object(py, self.inner.device())
    }
    /// The device.
    #[getter]
    fn ctx<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.context(py)
    }
    /// Storage type: always `default`, dense.
    #[getter]
    fn stype(&self) -> &'static str {
        "default"
    }
    /// Whether the array may be written.
    #[getter]
    fn writable(&self) -> bool {
        true
    }
    /// A number that identifies the array.
    #[getter(handle)]
    fn handle_id(&self) -> usize {
        self.inner.id()
    }
    /// The array with its axes reversed.
    #[getter(T)]
    fn t<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyNDArray>> {
        if let Some(out) = views::reversed(&self.inner.var()?)? {
            return PyNDArray::wrap(py, out);
        }
        let args = crate::ops::shape::TransposeParams { axes: None }.args();
        self.unary_method(py, &crate::ops::shape::TRANSPOSE, args)
    }

    // ---- reading ----

    /// A fresh NumPy array with a copy of the elements.
    fn asnumpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::asnumpy(py, &self.inner.tensor()?)
    }
    /// The only element as a NumPy scalar. `ValueError` where there are more.
    fn asscalar<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tensor = self.inner.tensor()?;
        if tensor.numel() != 1 {
            return Err(PyValueError::new_err("The current array is not a scalar"));
        }
        if tensor.ndim() > 1 {
            return convert::asnumpy(py, &tensor);
        }
        if tensor.is_deferred() {
            py.detach(|| tensor.force())?;
        }
        convert::scalar(py, &tensor)
    }
    /// The only element as a Python number.
    fn item<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.item_value("item")? {
            Scalar::Float(v) => v.into_pyobject(py)?.into_any(),
            Scalar::Int(v) => v.into_pyobject(py)?.into_any(),
        })
    }
    /// The elements as nested lists of Python numbers.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.asnumpy(py)?.call_method0("tolist")
    }
    /// Waits until the value is computed.
    fn wait_to_read(&self, py: Python<'_>) -> PyResult<()> {
        match self.inner.pending()? {
            Some(tensor) => Ok(py.detach(|| tensor.force())?),
            None => Ok(()),
        }
    }
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            return Err(PyValueError::new_err("__array__: a NumPy array of an NDArray is a copy, got copy=False"));
        }
        let array = self.asnumpy(py)?;
        match dtype {
            Some(dtype) if !dtype.is_none() => array.call_method1("astype", (dtype,)),
            _ => Ok(array),
        }
    }
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = self.asnumpy(py)?.str()?.to_string();
        let dims: Vec<String> = self.inner.shape().iter().map(|d| d.to_string()).collect();
        Ok(format!("\n{text}\n<NDArray {} @{}>", dims.join("x"), self.inner.device()))
    }
    fn __len__(&self) -> PyResult<usize> {
        self.inner
            .shape()
            .first()
            .copied()
            .ok_or_else(|| Error::index("len: an array without axes has no length").into())
    }
    fn __bool__(&self) -> PyResult<bool> {
        let tensor = self.inner.tensor()?;
        match tensor.numel() {
            0 => Ok(false),
            1 => Ok(match tensor.item()? {
                Scalar::Float(v) => v != 0.0,
                Scalar::Int(v) => v != 0,
            }),
            _ => Err(PyValueError::new_err("The truth value of an NDArray with multiple elements is ambiguous.")),
        }
    }
    fn __float__(&self) -> PyResult<f64> {
        Ok(self.item_value("float")?.to_f64())
    }
    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.item_value("int")? {
            Scalar::Float(v) => v.into_pyobject(py)?.call_method0("__int__"),
            Scalar::Int(v) => Ok(v.into_pyobject(py)?.into_any()),
        }
    }
    fn __index__(&self) -> PyResult<i64> {
        match self.item_value("index")? {
            Scalar::Int(v) => Ok(v),
            Scalar::Float(_) => Err(PyTypeError::new_err("index: only an array of integers can be an index")),
        }
    }
    fn __hash__(&self) -> usize {
        self.inner.id() >> 4
    }

    // ---- operators ----

    fn __add__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::ADD, other, false)
    }
    fn __radd__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::ADD, other, true)
    }
    fn __sub__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::SUB, other, false)
    }
    fn __rsub__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::SUB, other, true)
    }
    fn __mul__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::MUL, other, false)
    }
    fn __rmul__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::MUL, other, true)
    }
    fn __truediv__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::DIV, other, false)
    }
    fn __rtruediv__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::DIV, other, true)
    }
    fn __mod__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::MOD, other, false)
    }
    fn __rmod__<'py>(&self, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::MOD, other, true)
    }
    fn __pow__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        _modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::POW, other, false)
    }
    fn __rpow__<'py>(
        &self,
        other: &Bound<'py, PyAny>,
        _modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.arithmetic(&b::POW, other, true)
    }
    fn __iadd__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.in_place(&b::ADD, "+=", other)
    }
    fn __isub__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.in_place(&b::SUB, "-=", other)
    }
    fn __imul__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.in_place(&b::MUL, "*=", other)
    }
    fn __itruediv__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.in_place(&b::DIV, "/=", other)
    }
    fn __imod__(&self, other: &Bound<'_, PyAny>) -> PyResult<()> {
        self.in_place(&b::MOD, "%=", other)
    }
    fn __neg__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyNDArray>> {
        self.unary_method(py, &crate::ops::unary::NEGATIVE, Args::new())
    }
    fn __abs__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyNDArray>> {
        self.unary_method(py, &crate::ops::unary::ABS, Args::new())
    }
    fn __richcmp__<'py>(&self, other: &Bound<'py, PyAny>, op: CompareOp) -> PyResult<Bound<'py, PyAny>> {
        let record = match op {
            CompareOp::Eq => &b::EQUAL,
            CompareOp::Ne => &b::NOT_EQUAL,
            CompareOp::Lt => &b::LESSER,
            CompareOp::Le => &b::LESSER_EQUAL,
            CompareOp::Gt => &b::GREATER,
            CompareOp::Ge => &b::GREATER_EQUAL,
        };
        let found = self.arithmetic(record, other, false)?;
        if let Ok(array) = found.cast::<PyNDArray>() {
            array.get().inner.set_mask();
        }
        // `x == None` would otherwise be False without a word.
        if found.is(other.py().NotImplemented().bind(other.py())) { Err(unsupported(other)) } else { Ok(found) }
    }

    // ---- indexing ----

    fn __getitem__<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
        index::get(py, &self.inner, key)
    }
    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        index::set(&self.inner, key, value)
    }
    fn __iter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let n = slf.get().__len__()?;
        let rows: Vec<_> = (0..n)
            .map(|i| index::get(py, &slf.get().inner, &i.into_pyobject(py)?.into_any()))
            .collect::<PyResult<_>>()?;
        Ok(PyList::new(py, rows)?.try_iter()?.into_any())
    }

    fn __reversed__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let mut rows = PyNDArray::__iter__(slf)?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        rows.reverse();
        Ok(PyList::new(py, rows)?.try_iter()?.into_any())
    }

    // ---- copies, casts, devices ----

    /// The elements converted to a dtype; itself with `copy=False` where it has that dtype.
    #[pyo3(signature = (dtype, copy=true))]
    fn astype<'py>(slf: Bound<'py, Self>, dtype: &Bound<'py, PyAny>, copy: bool) -> PyResult<Bound<'py, Self>> {
        let this = &slf.get().inner;
        let want = if dtype.is_none() { crate::base::DType::F32 } else { parse_dtype(dtype)? };
        if this.dtype() == want {
            return if copy { slf.get().copy(slf.py()) } else { Ok(slf) };
        }
        slf.get().unary_method(slf.py(), &crate::ops::unary::CAST, crate::ops::unary::CastParams { dtype: want }.args())
    }
    /// A new array with the same elements.
    fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyNDArray>> {
        self.unary_method(py, &crate::ops::unary::IDENTITY, Args::new())
    }
    fn __copy__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyNDArray>> {
        self.copy(py)
    }
    fn __deepcopy__<'py>(&self, py: Python<'py>, _memo: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
        PyNDArray::wrap(py, self.inner.var()?.detached())
    }
    /// Writes the elements into another array, or makes a copy on a context.
    fn copyto<'py>(slf: Bound<'py, Self>, other: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = &slf.get().inner;
        if let Ok(target) = other.cast::<PyNDArray>() {
            if target.get().inner.same(this) {
                py.import("warnings")?.call_method1("warn", ("You are attempting to copy an array to itself",))?;
                return Ok(PyBool::new(py, false).to_owned().into_any());
            }
            let (from, to) = (this.shape(), target.get().inner.shape());
            if from != to {
                let message = format!(
                    "copyto: got an array of shape {}, expected {}",
                    crate::base::layout::show(&to),
                    crate::base::layout::show(&from)
                );
                return Err(Error::op(message).into());
            }
            target.get().inner.assign("copyto", this.var()?)?;
            return Ok(other.clone());
        }
        if other.hasattr("device_type")? {
            let var = this.var()?;
            let tensor = var.tensor.on_device(context::parse(other)?)?;
            return Ok(PyNDArray::wrap(py, Var { tensor, edge: var.edge })?.into_any());
        }
        Err(PyTypeError::new_err(format!("copyto does not support type {}", other.get_type())))
    }
    /// The array on a context: itself where it is there.
    fn as_in_context<'py>(slf: Bound<'py, Self>, context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        let device = context::parse(context)?;
        let this = &slf.get().inner;
        if this.device() == device {
            return Ok(slf);
        }
        let var = this.var()?;
        PyNDArray::wrap(slf.py(), Var { tensor: var.tensor.on_device(device)?, edge: var.edge })
    }
    /// Another name of `as_in_context`.
    fn as_in_ctx<'py>(slf: Bound<'py, Self>, ctx: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        PyNDArray::as_in_context(slf, ctx)
    }

    // ---- shape ----

    /// The elements under another shape, with MXNet's codes 0, -1, -2, -3, -4; a view that shares memory.
    #[pyo3(signature = (*shape, **kwargs))]
    fn reshape<'py>(
        &self,
        py: Python<'py>,
        shape: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyNDArray>> {
        shape::reshape(py, &self.inner, shape, kwargs)
    }
    /// The array repeated to a larger shape by NumPy's rule.
    #[pyo3(signature = (shape))]
    fn broadcast_to<'py>(&self, py: Python<'py>, shape: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyNDArray>> {
        shape::broadcast_to(py, &self.inner, shape)
    }

    // ---- autograd ----

    /// Marks the array as a variable with a zero gradient of its own.
    #[pyo3(signature = (grad_req="write", stype=None))]
    fn attach_grad(&self, grad_req: &str, stype: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let _ = stype;
        let req: GradReq = autograd::grad_req(grad_req)?;
        Ok(self.inner.attach_grad(req)?)
    }
    /// The gradient of a marked array, or `None`.
    #[getter]
    fn grad<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyNDArray>>> {
        self.inner.grad().map(|g| PyNDArray::handle(py, g)).transpose()
    }
    /// The same memory without history.
    fn detach<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyNDArray>> {
        let var = self.inner.var()?.detached();
        PyNDArray::handle(py, self.inner.view(0, var.shape().into(), var))
    }
    /// Gradients of this array into the buffers of marked variables.
    #[pyo3(signature = (out_grad=None, retain_graph=false, train_mode=true))]
    fn backward(
        &self,
        py: Python<'_>,
        out_grad: Option<&Bound<'_, PyNDArray>>,
        retain_graph: bool,
        train_mode: bool,
    ) -> PyResult<()> {
        let head_grad = out_grad.map(|g| g.get().inner.var()).transpose()?;
        let heads = [self.inner.var()?];
        let walk = crate::autograd::backward::Walk { retain_graph, create_graph: false, train_mode };
        Ok(crate::autograd::backward_in(&heads, &[head_grad], walk, &|rest| py.detach(rest))?)
    }

    // ---- exchange ----

    #[pyo3(signature = (**_kwargs))]
    fn __dlpack__<'py>(slf: Bound<'py, Self>, _kwargs: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        interop::export(slf.py(), &slf)
    }
    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }
    /// A DLPack capsule of the memory.
    fn to_dlpack_for_read<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        interop::export(slf.py(), &slf)
    }
    /// A DLPack capsule of the memory.
    fn to_dlpack_for_write<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        interop::export(slf.py(), &slf)
    }
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let bytes = crate::tensor::params_file::write_record(&self.inner.tensor()?)?;
        Ok((py.import("oxgrad._core")?.getattr("_rebuild")?, (PyBytes::new(py, &bytes),)))
    }
}
