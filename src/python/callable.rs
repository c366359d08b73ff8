//! One callable type for all ops: a record as a Python function or method.

use crate::base::Error;
use crate::base::error::Kind as ErrorKind;
use crate::graph::op::Kind;
use crate::graph::params::Default;
use crate::graph::{Args, Op, Param, Var, apply, apply_own, apply1};
use crate::ops;
use crate::python::args::{kind_name, kind_type};
use crate::python::bind::{Call, Form, bind};
use crate::python::ndarray::PyNDArray;
use crate::tensor::{Scalar, Tensor};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Elements from which other Python threads may run while an op computes.
const DETACH: usize = 16 << 10;

// An operator of `oxgrad.nd`, made from its record. No doc comment: it would hide the docstring of each operator.
#[pyclass(frozen, name = "Operator", module = "oxgrad._core")]
pub struct PyOp {
    form: &'static Form,
    name: &'static str,
}

// An operator bound to the array whose method it is.
#[pyclass(frozen, name = "BoundOperator", module = "oxgrad._core")]
pub struct PyBoundOp {
    form: &'static Form,
    this: Py<PyNDArray>,
}

/// A call with arrays alone, as many as the op has, of an element function without parameters: nothing to bind, and
/// nothing to wait for, since large arrays are deferred.
#[inline]
fn plain_call<'py>(
    op: &'static Op,
    this: Option<&Bound<'py, PyAny>>,
    positional: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Var>> {
    let given = positional.len() + this.is_some() as usize;
    if !matches!(op.kind, Kind::Map(_)) || !op.params.is_empty() || keywords.is_some() || given != op.inputs.len() {
        return Ok(None);
    }
    let mut inputs: SmallVec<[Var; 2]> = SmallVec::new();
    let mut add = |value: &Bound<'py, PyAny>| -> PyResult<bool> {
        let Ok(array) = value.cast::<PyNDArray>() else { return Ok(false) };
        inputs.push(array.get().inner.var()?);
        Ok(true)
    };
    if let Some(this) = this
        && !add(this)?
    {
        return Ok(None);
    }
    for value in positional.iter_borrowed() {
        if !add(&value)? {
            return Ok(None);
        }
    }
    Ok(Some(match inputs.len() {
        1 => match inputs.pop() {
            Some(one) => apply_own(op, [one])?,
            None => return Ok(None),
        },
        2 => match inputs.into_inner() {
            Ok(two) => apply_own(op, two)?,
            Err(_) => return Ok(None),
        },
        _ => apply1(op, &inputs, &Args::new())?,
    }))
}

/// Elements that an op reads, or makes where it reads none; many where nobody knows.
fn work(form: &Form, call: &Call<'_>) -> usize {
    if !form.op.inputs.is_empty() {
        return call.inputs.iter().map(Var::numel).sum();
    }
    match form.shape.map(|i| &call.args[i]) {
        Some(Param::Ints(dims)) => dims.iter().fold(1, |n: usize, &d| n.saturating_mul(d.max(0) as usize)),
        _ => usize::MAX,
    }
}

fn run<'py>(
    py: Python<'py>,
    form: &Form,
    this: Option<&Bound<'py, PyAny>>,
    positional: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let op = form.op;
    if let Some(var) = plain_call(op, this, positional, keywords)? {
        return Ok(PyNDArray::wrap(py, var)?.into_any());
    }
    let mut call = Call::new();
    bind(&mut call, form, this, positional, keywords)?;
    if let Some(i) = form.context
        && call.args[i] == Param::None
    {
        call.args[i] = Param::Device(crate::python::context::current(py)?);
    }
    let mut outs = if work(form, &call) >= DETACH {
        crate::python::system::check_signals(py)?;
        py.detach(|| apply(op, &call.inputs, &call.args))?
    } else {
        apply(op, &call.inputs, &call.args)?
    };
    if !op.writes.is_empty() {
        let writes = op.written(call.inputs.len());
        let shown = outs.len().saturating_sub(writes.len());
        for (var, i) in outs.drain(shown..).zip(writes) {
            if let Some(Some(handle)) = call.handles.get(i) {
                handle.assign(op.name, var)?;
            }
        }
    }
    if let Some(out) = call.out {
        return assign_out(op, outs.into_vec(), out);
    }
    if let [_] = outs.as_slice()
        && let Some(var) = outs.pop()
    {
        return match var.tensor {
            Tensor::Scalar(s) => number_out(py, &call.inputs, s),
            Tensor::Array(_) => Ok(PyNDArray::wrap(py, var)?.into_any()),
        };
    }
    let list: Vec<_> = outs.into_iter().map(|v| PyNDArray::wrap(py, v)).collect::<PyResult<_>>()?;
    Ok(PyList::new(py, list)?.into_any())
}

/// Numbers in, number out.
#[cold]
fn number_out<'py>(py: Python<'py>, inputs: &[Var], result: Scalar) -> PyResult<Bound<'py, PyAny>> {
    let whole = inputs.iter().all(|v| matches!(v.tensor, Tensor::Scalar(Scalar::Int(_))));
    let v = result.to_f64();
    Ok(if whole && v.fract() == 0.0 && v.abs() < 9e15 {
        (v as i64).into_pyobject(py)?.into_any()
    } else {
        v.into_pyobject(py)?.into_any()
    })
}

fn assign_out<'py>(op: &'static Op, outs: Vec<Var>, out: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let targets: Vec<Bound<'py, PyNDArray>> = match out.cast::<PyNDArray>() {
        Ok(one) => vec![one.clone()],
        Err(_) => match out.try_iter() {
            Ok(items) => items.map(|i| Ok(i?.cast_into::<PyNDArray>()?)).collect::<PyResult<_>>()?,
            Err(_) => {
                return Err(
                    Error::typ(format_args!("{}: out, got {}, expected an NDArray", op.name, out.get_type())).into()
                );
            }
        },
    };
    if targets.len() > outs.len() {
        return Err(
            Error::op(format_args!("{}: out has {} arrays, the op {}", op.name, targets.len(), outs.len())).into()
        );
    }
    for (target, var) in targets.iter().zip(&outs) {
        let handle = &target.get().inner;
        if handle.shape().as_slice() != var.shape() {
            let message = format!(
                "{}: out has shape {}, the result {}",
                op.name,
                crate::base::layout::show(&handle.shape()),
                crate::base::layout::show(var.shape())
            );
            return Err(Error::op(message).into());
        }
    }
    for (target, var) in targets.iter().zip(outs) {
        target.get().inner.assign(op.name, var)?;
    }
    Ok(out)
}

/// `name(data, axis=None, keepdims=False, out=None)`.
pub fn signature(op: &Op) -> String {
    format!("{}({})", op.name, parameters(op, false).join(", "))
}

/// Parameters as Python source, with types for a stub or without.
fn parameters(op: &Op, typed: bool) -> Vec<String> {
    let mut out = Vec::new();
    let scalars = matches!(op.kind, Kind::Map(_)) && op.inputs.len() == 2;
    for name in op.shown_inputs() {
        let (plain, optional) = (name.trim_end_matches('?'), name.ends_with('?'));
        let class = if scalars { "NDArray | float" } else { "NDArray" };
        out.push(match (typed, optional) {
            (true, true) => format!("{plain}: {class} | None = ..."),
            (true, false) => format!("{plain}: {class}"),
            (false, true) => format!("{plain}=None"),
            (false, false) => plain.to_string(),
        });
    }
    for p in op.params {
        let none = if matches!(p.default, Default::None) { " | None" } else { "" };
        out.push(match (typed, p.default) {
            (true, Default::Required) => format!("{}: {} = ...", p.name, kind_type(p.kind)),
            (true, _) => format!("{}: {}{none} = ...", p.name, kind_type(p.kind)),
            (false, Default::Required) => format!("{}=...", p.name),
            (false, default) => format!("{}={}", p.name, default.python()),
        });
    }
    out.push(if typed { "out: _Out = ...".into() } else { "out=None".into() });
    out
}

/// The docstring: what it computes, arrays, parameters.
fn doc(op: &Op) -> String {
    let mut text = format!("{}\n", op.doc);
    if !op.inputs.is_empty() || !op.params.is_empty() {
        text.push_str("\nParameters\n----------\n");
    }
    for name in op.shown_inputs() {
        let optional = if name.ends_with('?') { ", optional" } else { "" };
        text.push_str(&format!("{} : NDArray{optional}\n", name.trim_end_matches('?')));
    }
    for p in op.params {
        let default = match p.default {
            Default::Required => ", required".into(),
            default => format!(", default {}", default.python()),
        };
        text.push_str(&format!("{} : {}{default}\n    {}\n", p.name, kind_name(p.kind), p.doc));
    }
    text.push_str("out : NDArray, optional\n    Where the result is written.\n");
    if matches!(op.grad, crate::graph::Grad::Zero) {
        text.push_str("\nThe gradient is zero.\n");
    }
    text
}

#[pymethods]
impl PyOp {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        run(py, self.form, None, args, kwargs)
    }
    fn __get__<'py>(
        slf: Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match obj.cast::<PyNDArray>() {
            Ok(array) => {
                let bound = PyBoundOp { form: slf.get().form, this: array.clone().unbind() };
                Ok(Bound::new(obj.py(), bound)?.into_any())
            }
            Err(_) => Ok(slf.into_any()),
        }
    }
    #[getter]
    fn __name__(&self) -> &'static str {
        self.name
    }
    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.name
    }
    #[getter]
    fn __doc__(&self) -> String {
        doc(self.form.op)
    }
    #[getter]
    fn __text_signature__(&self) -> String {
        format!("({})", parameters(self.form.op, false).join(", ").replace("=...", "=None"))
    }
    fn __repr__(&self) -> String {
        format!("<operator {}>", signature(self.form.op))
    }
    fn __reduce__(&self, py: Python<'_>) -> PyResult<(Py<PyAny>, (&'static str,))> {
        Ok((py.import("oxgrad._core")?.getattr("operator")?.unbind(), (self.name,)))
    }
}

#[pymethods]
impl PyBoundOp {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        run(py, self.form, Some(self.this.bind(py).as_any()), args, kwargs)
    }
    #[getter]
    fn __name__(&self) -> &'static str {
        self.form.op.name
    }
    #[getter]
    fn __doc__(&self) -> String {
        doc(self.form.op)
    }
}

/// The forms of all ops, in the order of their records.
fn forms(py: Python<'_>) -> &'static [Form] {
    static FORMS: PyOnceLock<Vec<Form>> = PyOnceLock::new();
    FORMS.get_or_init(py, || ops::all().map(|op| Form::new(py, op)).collect())
}

/// The operator of a name.
#[pyfunction]
fn operator(py: Python<'_>, name: &str) -> PyResult<PyOp> {
    static NAMES: PyOnceLock<HashMap<&'static str, &'static Form>> = PyOnceLock::new();
    let names = NAMES.get_or_init(py, || {
        let named = |form: &'static Form| [form.op.name].into_iter().chain(form.op.aliases.iter().copied());
        forms(py).iter().flat_map(|form| named(form).map(move |name| (name, form))).collect()
    });
    let found = names.get_key_value(name);
    let (&name, &form) =
        found.ok_or_else(|| Error::new(ErrorKind::Key, format_args!("operator: no operator '{name}'")))?;
    Ok(PyOp { form, name })
}

/// Every record as a dictionary: what docs, stubs and the table-driven tests are made from.
#[pyfunction]
fn records(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for op in ops::all() {
        let d = PyDict::new(py);
        d.set_item("name", op.name)?;
        d.set_item("aliases", op.aliases.to_vec())?;
        d.set_item("doc", op.doc)?;
        d.set_item("inputs", op.inputs.to_vec())?;
        d.set_item(
            "params",
            op.params.iter().map(|p| (p.name, kind_name(p.kind), p.default.python(), p.doc)).collect::<Vec<_>>(),
        )?;
        d.set_item("method", op.method)?;
        d.set_item("writes", op.writes.to_vec())?;
        d.set_item("signature", signature(op))?;
        d.set_item("typed", parameters(op, true))?;
        let (kind, wgsl) = match &op.kind {
            Kind::Map(f) => ("map", f.wgsl),
            Kind::Reduce(f) => ("reduce", f.wgsl.step),
            Kind::View(_) | Kind::Views(_) => ("view", ""),
            Kind::Kernel { .. } | Kind::LateKernel { .. } => ("kernel", ""),
            Kind::Compose(_) => ("compose", ""),
        };
        d.set_item("kind", kind)?;
        d.set_item("wgsl", wgsl)?;
        d.set_item("gpu", op.gpu_form())?;
        d.set_item(
            "grad",
            match op.grad {
                crate::graph::Grad::Zero => "zero",
                crate::graph::Grad::Composed => "composed",
                crate::graph::Grad::Linear(_) => "linear",
                crate::graph::Grad::FromInputs(_) => "inputs",
                crate::graph::Grad::FromOutput(_) => "output",
                crate::graph::Grad::FromBoth(_) => "both",
            },
        )?;
        match op.check.range {
            Ok(range) => d.set_item("range", range)?,
            Err(why) => d.set_item("range", why)?,
        }
        d.set_item("like", op.check.like)?;
        let calls: Vec<(Vec<Vec<usize>>, &str)> =
            op.check.calls.iter().map(|(shapes, kw)| (shapes.iter().map(|s| s.to_vec()).collect(), *kw)).collect();
        d.set_item("calls", calls)?;
        list.append(d)?;
    }
    Ok(list)
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add_class::<PyOp>()?;
    m.add_class::<PyBoundOp>()?;
    m.add_function(wrap_pyfunction!(operator, m)?)?;
    m.add_function(wrap_pyfunction!(records, m)?)?;
    let class = py.get_type::<PyNDArray>();
    let all = PyDict::new(py);
    for form in forms(py) {
        let op = form.op;
        for name in std::iter::once(op.name).chain(op.aliases.iter().copied()) {
            let object = Bound::new(py, PyOp { form, name })?;
            all.set_item(name, &object)?;
            if op.method && !name.starts_with('_') && !class.hasattr(name)? {
                class.setattr(name, object)?;
            }
        }
    }
    m.add("operators", all)
}
