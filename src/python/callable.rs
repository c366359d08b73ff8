//! One callable type for all ops: a record as a Python function or method.

use crate::autograd::NDArray;
use crate::base::Error;
use crate::base::error::Kind as ErrorKind;
use crate::graph::op::Kind;
use crate::graph::params::Default;
use crate::graph::{Args, Op, Param, Var, apply, apply1};
use crate::ops;
use crate::python::args::{kind_name, kind_type, parse};
use crate::python::ndarray::{PyNDArray, number};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use smallvec::SmallVec;

/// Elements from which other Python threads may run while an op computes.
const DETACH: usize = 16 << 10;

// An operator of `oxgrad.nd`, made from its record. No doc comment: it would hide the docstring of each operator.
#[pyclass(frozen, name = "Operator", module = "oxgrad._core")]
pub struct PyOp {
    op: &'static Op,
    name: &'static str,
}

// An operator bound to the array whose method it is.
#[pyclass(frozen, name = "BoundOperator", module = "oxgrad._core")]
pub struct PyBoundOp {
    op: &'static Op,
    this: Py<PyNDArray>,
}

type Inputs = SmallVec<[Var; 3]>;

/// An array argument, and its handle where it has one.
fn input(op: &'static Op, name: &str, value: &Bound<'_, PyAny>) -> PyResult<(Var, Option<NDArray>)> {
    if let Ok(array) = value.cast::<PyNDArray>() {
        let handle = &array.get().inner;
        return Ok((handle.var()?, (!op.writes.is_empty()).then(|| handle.clone())));
    }
    // MXNet's helpers of two operands take numbers in either place.
    if matches!(op.kind, Kind::Map(_))
        && op.inputs.len() == 2
        && let Some(scalar) = number(value)
    {
        return Ok((Var::new(crate::tensor::Tensor::Scalar(scalar)), None));
    }
    let message = format!("{}: Argument {name} must have NDArray type, but got {}", op.name, value.repr()?);
    Err(Error::new(ErrorKind::Assert, message).into())
}

struct Call<'py> {
    inputs: Inputs,
    /// Of the inputs, where the op writes to some.
    handles: SmallVec<[Option<NDArray>; 3]>,
    args: Args,
    out: Option<Bound<'py, PyAny>>,
}

/// Splits Python arguments into arrays, parameters and `out`.
#[inline]
fn bind<'py>(
    op: &'static Op,
    this: Option<&Bound<'py, PyAny>>,
    positional: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Call<'py>> {
    let mut call = Call { inputs: Inputs::new(), handles: SmallVec::new(), args: Args::new(), out: None };
    let variadic = op.inputs.first().is_some_and(|name| name.starts_with('*'));
    let mut given: SmallVec<[Option<Bound<'py, PyAny>>; 4]> = smallvec::smallvec![None; op.inputs.len()];
    op.params.iter().for_each(|spec| call.args.push(spec.default.value()));
    let mut named: SmallVec<[bool; 16]> = SmallVec::from_elem(false, op.params.len());
    let mut next_param = 0;
    let mut seen = 0;
    let push = |call: &mut Call<'py>, name: &str, value: &Bound<'py, PyAny>| -> PyResult<()> {
        let (var, handle) = input(op, name, value)?;
        call.inputs.push(var);
        if !op.writes.is_empty() {
            call.handles.push(handle);
        }
        Ok(())
    };
    for value in this.cloned().into_iter().chain(positional.iter()) {
        let is_array = value.cast::<PyNDArray>().is_ok();
        if variadic {
            if is_array || seen == call.inputs.len() && next_param == 0 && !is_param_like(&value) {
                push(&mut call, &op.inputs[0][1..], &value)?;
                seen += 1;
                continue;
            }
        } else if seen < given.len() {
            let optional = op.inputs[seen].ends_with('?');
            if is_array || !optional {
                given[seen] = Some(value);
                seen += 1;
                continue;
            }
            if value.is_none() {
                seen += 1;
                continue;
            }
        }
        // After the parameters comes `out`, as in MXNet's generated functions.
        if next_param < op.params.len() {
            call.args[next_param] = parse(op.name, &op.params[next_param], &value)?;
            named[next_param] = true;
            next_param += 1;
        } else if next_param == op.params.len() && call.out.is_none() {
            if !value.is_none() {
                call.out = Some(value);
            }
            next_param += 1;
        } else if !value.is_none() && !value.is_instance_of::<PyString>() {
            let message = format!("{}: too many positional arguments, expected {}", op.name, signature(op));
            return Err(Error::typ(message).into());
        }
    }
    if let Some(keywords) = keywords {
        for (key, value) in keywords.iter() {
            let key = key.cast::<PyString>()?.to_str()?;
            if let Some(i) = op.params.iter().position(|p| p.name == key) {
                call.args[i] = parse(op.name, &op.params[i], &value)?;
                named[i] = true;
            } else if let Some(i) = op.inputs.iter().position(|n| n.trim_end_matches('?') == key) {
                if !value.is_none() {
                    given[i] = Some(value);
                }
            } else if key == "out" {
                if !value.is_none() {
                    call.out = Some(value);
                }
            } else if key != "name" && key != "ctx" && key != "num_args" && !(op.params.is_empty()) {
                let known: Vec<_> = op.params.iter().map(|p| p.name).collect();
                let message =
                    format!("{}: Cannot find argument '{key}', Possible Arguments: {}", op.name, known.join(", "));
                return Err(Error::op(message).into());
            }
        }
    }
    if !variadic {
        for (name, value) in op.inputs.iter().zip(&given) {
            let plain = name.trim_end_matches('?');
            match value {
                Some(value) => push(&mut call, plain, value)?,
                None if name.ends_with('?') => {}
                None => {
                    let message = format!(
                        "{}: expects {} inputs, but got {}: '{plain}' is missing, expected {}",
                        op.name,
                        op.inputs.len(),
                        call.inputs.len(),
                        signature(op)
                    );
                    return Err(Error::op(message).into());
                }
            }
        }
    }
    if let Some((spec, _)) = op.params.iter().zip(&named).find(|(p, named)| !**named && p.default == Default::Required)
    {
        let message =
            format!("{}: Required parameter {} of {} is not presented", op.name, spec.name, kind_name(spec.kind));
        return Err(Error::op(message).into());
    }
    Ok(call)
}

/// Whether a positional value after arrays can only be a parameter.
fn is_param_like(value: &Bound<'_, PyAny>) -> bool {
    value.extract::<f64>().is_ok() || value.is_none() || value.is_instance_of::<PyString>()
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
    if let Some(Ok(array)) = this.map(|this| this.cast::<PyNDArray>()) {
        inputs.push(array.get().inner.var()?);
    }
    for value in positional.iter_borrowed() {
        match value.cast::<PyNDArray>() {
            Ok(array) => inputs.push(array.get().inner.var()?),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(apply1(op, &inputs, &Args::new())?))
}

fn run<'py>(
    py: Python<'py>,
    op: &'static Op,
    this: Option<&Bound<'py, PyAny>>,
    positional: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(var) = plain_call(op, this, positional, keywords)? {
        return Ok(PyNDArray::wrap(py, var)?.into_any());
    }
    let mut call = bind(op, this, positional, keywords)?;
    if op.inputs.is_empty()
        && let Some(i) = op.params.iter().position(|p| p.name == "ctx")
        && call.args[i] == Param::None
    {
        call.args[i] = Param::Device(crate::python::context::current(py)?);
    }
    let work: usize = call.inputs.iter().map(Var::numel).sum();
    let outs = if work >= DETACH || op.inputs.is_empty() {
        crate::python::system::check_signals(py)?;
        py.detach(|| apply(op, &call.inputs, &call.args))?
    } else {
        apply(op, &call.inputs, &call.args)?
    };
    let mut outs = outs;
    let writes = op.written(call.inputs.len());
    let shown = outs.len().saturating_sub(writes.len());
    for (var, i) in outs.drain(shown..).zip(writes) {
        if let Some(Some(handle)) = call.handles.get(i) {
            handle.assign(op.name, var)?;
        }
    }
    if let Some(out) = call.out {
        return assign_out(op, outs.into_vec(), out);
    }
    if let [_] = outs.as_slice()
        && let Some(var) = outs.pop()
    {
        // Numbers in, number out.
        if let crate::tensor::Tensor::Scalar(s) = var.tensor {
            let whole = call
                .inputs
                .iter()
                .all(|v| matches!(v.tensor, crate::tensor::Tensor::Scalar(crate::tensor::Scalar::Int(_))));
            let v = s.to_f64();
            return if whole && v.fract() == 0.0 && v.abs() < 9e15 {
                Ok((v as i64).into_pyobject(py)?.into_any())
            } else {
                Ok(v.into_pyobject(py)?.into_any())
            };
        }
        return Ok(PyNDArray::wrap(py, var)?.into_any());
    }
    let list: Vec<_> = outs.into_iter().map(|v| PyNDArray::wrap(py, v)).collect::<PyResult<_>>()?;
    Ok(PyList::new(py, list)?.into_any())
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
        run(py, self.op, None, args, kwargs)
    }
    fn __get__<'py>(
        slf: Bound<'py, Self>,
        obj: &Bound<'py, PyAny>,
        _class: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match obj.cast::<PyNDArray>() {
            Ok(array) => {
                let bound = PyBoundOp { op: slf.get().op, this: array.clone().unbind() };
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
        doc(self.op)
    }
    #[getter]
    fn __text_signature__(&self) -> String {
        format!("({})", parameters(self.op, false).join(", ").replace("=...", "=None"))
    }
    fn __repr__(&self) -> String {
        format!("<operator {}>", signature(self.op))
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
        run(py, self.op, Some(self.this.bind(py).as_any()), args, kwargs)
    }
    #[getter]
    fn __name__(&self) -> &'static str {
        self.op.name
    }
    #[getter]
    fn __doc__(&self) -> String {
        doc(self.op)
    }
}

/// The operator of a name.
#[pyfunction]
fn operator(name: &str) -> PyResult<PyOp> {
    match ops::find(name) {
        Some(op) => Ok(PyOp { op, name: op.aliases.iter().copied().find(|a| *a == name).unwrap_or(op.name) }),
        None => Err(Error::new(ErrorKind::Key, format_args!("operator: no operator '{name}'")).into()),
    }
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
            Kind::Kernel { .. } => ("kernel", ""),
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
    for op in ops::all() {
        for name in std::iter::once(op.name).chain(op.aliases.iter().copied()) {
            let object = Bound::new(py, PyOp { op, name })?;
            all.set_item(name, &object)?;
            if op.method && !name.starts_with('_') && !class.hasattr(name)? {
                class.setattr(name, object)?;
            }
        }
    }
    m.add("operators", all)
}
