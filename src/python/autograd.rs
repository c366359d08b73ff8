//! Scopes, backward and user-written functions for `oxgrad.autograd`.

use crate::autograd::backward::Walk;
use crate::autograd::{GradReq, backward_in, function, grad_in};
use crate::base::{Error, Kind, Result};
use crate::graph::mode::Flags;
use crate::graph::node::UserRule;
use crate::graph::{Var, mode};
use crate::python::error::carry;
use crate::python::ndarray::PyNDArray;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex};

/// A scope that sets the flags on entry and restores them on exit: what `record()`, `pause()`, `train_mode()` and
/// `predict_mode()` return.
#[pyclass(frozen, name = "Scope", module = "oxgrad.autograd")]
struct PyScope {
    recording: Option<bool>,
    training: Option<bool>,
    saved: Mutex<SmallVec<[Flags; 4]>>,
}

#[pymethods]
impl PyScope {
    #[new]
    #[pyo3(signature = (recording=None, training=None))]
    fn new(recording: Option<bool>, training: Option<bool>) -> PyScope {
        PyScope { recording, training, saved: Mutex::default() }
    }
    fn __enter__(&self) {
        let before = Flags::set(self.recording, self.training);
        self.saved.lock().unwrap_or_else(|e| e.into_inner()).push(before);
    }
    #[pyo3(signature = (_kind=None, _value=None, _trace=None, /))]
    fn __exit__(
        &self,
        _kind: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) {
        if let Some(before) = self.saved.lock().unwrap_or_else(|e| e.into_inner()).pop() {
            before.restore();
        }
    }
}

/// A scope in which operations are recorded, and (``train_mode``) dropout and the like are active.
#[pyfunction]
#[pyo3(signature = (train_mode=Some(true)), text_signature = "(train_mode=True)")]
fn record(train_mode: Option<bool>) -> PyScope {
    PyScope::new(Some(true), train_mode)
}

#[pyfunction]
fn is_recording() -> bool {
    mode::is_recording()
}
#[pyfunction]
fn is_training() -> bool {
    mode::is_training()
}
#[pyfunction]
fn set_recording(is_recording: bool) -> bool {
    mode::set_recording(is_recording)
}
#[pyfunction]
fn set_training(train_mode: bool) -> bool {
    mode::set_training(train_mode)
}

/// `write`, `add` or `null`; anything else is a `KeyError`, as in MXNet.
pub fn grad_req(text: &str) -> Result<GradReq> {
    match text {
        "write" => Ok(GradReq::Write),
        "add" => Ok(GradReq::Add),
        "null" => Ok(GradReq::Null),
        _ => Err(Error::new(
            Kind::Key,
            format_args!("attach_grad: grad_req, got '{text}', expected 'write', 'add' or 'null'"),
        )),
    }
}

fn vars(list: &[Bound<'_, PyNDArray>]) -> Result<Vec<Var>> {
    list.iter().map(|a| a.get().inner.var()).collect()
}

fn head_grads(list: Option<Vec<Option<Bound<'_, PyNDArray>>>>, n: usize) -> Result<Vec<Option<Var>>> {
    match list {
        None => Ok(vec![None; n]),
        Some(list) => {
            crate::ensure!(list.len() == n, Assert, "backward: head_grads, got {} for {n} heads", list.len());
            list.iter().map(|g| g.as_ref().map(|g| g.get().inner.var()).transpose()).collect()
        }
    }
}

#[pyfunction]
#[pyo3(signature = (heads, head_grads_, retain_graph, train_mode))]
fn backward(
    py: Python<'_>,
    heads: Vec<Bound<'_, PyNDArray>>,
    head_grads_: Option<Vec<Option<Bound<'_, PyNDArray>>>>,
    retain_graph: bool,
    train_mode: bool,
) -> PyResult<()> {
    let grads = head_grads(head_grads_, heads.len())?;
    let heads = vars(&heads)?;
    let walk = Walk { retain_graph, create_graph: false, train_mode };
    Ok(backward_in(&heads, &grads, walk, &|rest| py.detach(rest))?)
}

#[pyfunction]
#[pyo3(signature = (heads, variables, head_grads_, retain_graph, create_graph, train_mode))]
fn grad<'py>(
    py: Python<'py>,
    heads: Vec<Bound<'py, PyNDArray>>,
    variables: Vec<Bound<'py, PyNDArray>>,
    head_grads_: Option<Vec<Option<Bound<'py, PyNDArray>>>>,
    retain_graph: bool,
    create_graph: bool,
    train_mode: bool,
) -> PyResult<Bound<'py, PyList>> {
    let grads = head_grads(head_grads_, heads.len())?;
    let (heads, variables) = (vars(&heads)?, vars(&variables)?);
    let walk = Walk { retain_graph, create_graph, train_mode };
    let found = grad_in(&heads, &variables, &grads, walk, &|rest| py.detach(rest))?;
    let list: Vec<_> = found.into_iter().map(|v| PyNDArray::wrap(py, v)).collect::<PyResult<_>>()?;
    PyList::new(py, list)
}

#[pyfunction]
fn mark_variables(
    variables: Vec<Bound<'_, PyNDArray>>,
    gradients: Vec<Bound<'_, PyNDArray>>,
    grad_reqs: Vec<String>,
) -> PyResult<()> {
    for ((variable, gradient), req) in variables.iter().zip(&gradients).zip(&grad_reqs) {
        variable.get().inner.mark(gradient.get().inner.clone(), grad_req(req)?)?;
    }
    Ok(())
}

/// A Python `Function` instance as a gradient rule.
struct PyRule {
    function: Py<PyAny>,
    name: String,
}

impl UserRule for PyRule {
    fn backward(&self, grads: Vec<Var>) -> Result<Vec<Option<Var>>> {
        Python::attach(|py| -> PyResult<Vec<Option<Var>>> {
            let args: Vec<_> = grads.into_iter().map(|g| PyNDArray::wrap(py, g)).collect::<PyResult<_>>()?;
            let found = self.function.bind(py).call_method1("backward", PyTuple::new(py, args)?)?;
            let wrong = |item: &Bound<'_, PyAny>| -> PyErr {
                let got = item.get_type();
                let message = format!("{}.backward: got {got}, expected an NDArray or None for each input", self.name);
                Error::typ(message).into()
            };
            let single = found.cast::<PyNDArray>().is_ok() || found.is_none();
            let items: Vec<Bound<'_, PyAny>> = match found.try_iter() {
                _ if single => vec![found.clone()],
                Ok(items) => items.collect::<PyResult<_>>()?,
                Err(_) => return Err(wrong(&found)),
            };
            items
                .iter()
                .map(|item| match item.cast::<PyNDArray>() {
                    Ok(array) => Ok(Some(array.get().inner.var()?)),
                    Err(_) if item.is_none() => Ok(None),
                    Err(_) => Err(wrong(item)),
                })
                .collect()
        })
        .map_err(carry)
    }
    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Records outputs that `function.forward` computed, with `function.backward` as their gradient.
#[pyfunction]
fn attach_function<'py>(
    py: Python<'py>,
    function_: Bound<'py, PyAny>,
    inputs: Vec<Bound<'py, PyNDArray>>,
    outputs: Vec<Bound<'py, PyNDArray>>,
) -> PyResult<Vec<Bound<'py, PyNDArray>>> {
    let name = function_.get_type().name()?.to_string();
    let rule = Arc::new(PyRule { function: function_.unbind(), name });
    let values: Vec<Var> = vars(&outputs)?.iter().map(Var::detached).collect();
    let found = function::attach(rule, &vars(&inputs)?, values)?;
    found.into_iter().map(|v| PyNDArray::wrap(py, v)).collect()
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyScope>()?;
    m.add_function(wrap_pyfunction!(record, m)?)?;
    m.add_function(wrap_pyfunction!(is_recording, m)?)?;
    m.add_function(wrap_pyfunction!(is_training, m)?)?;
    m.add_function(wrap_pyfunction!(set_recording, m)?)?;
    m.add_function(wrap_pyfunction!(set_training, m)?)?;
    m.add_function(wrap_pyfunction!(backward, m)?)?;
    m.add_function(wrap_pyfunction!(grad, m)?)?;
    m.add_function(wrap_pyfunction!(mark_variables, m)?)?;
    m.add_function(wrap_pyfunction!(attach_function, m)?)
}
