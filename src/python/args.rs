//! Python values as op parameters.

use crate::base::layout::copied;
use crate::base::{DType, Error};
use crate::graph::params::{Ints, Param, ParamKind, ParamSpec};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

/// A whole number: an int, a NumPy integer, or anything with `__index__`.
pub fn int(value: &Bound<'_, PyAny>) -> Option<i64> {
    if let Ok(v) = value.cast_exact::<PyInt>() {
        return v.extract::<i64>().ok();
    }
    // Asking a tuple for an index would make an exception first, the dearest part of the call.
    if value.is_exact_instance_of::<PyTuple>() || value.is_exact_instance_of::<PyList>() || value.is_none() {
        return None;
    }
    if let Ok(v) = value.extract::<i64>() {
        return Some(v);
    }
    // Text and floats that are whole are taken too, as MXNet's parameter parser does with numbers in strings.
    value.cast::<PyString>().ok()?.to_str().ok()?.trim().parse().ok()
}

fn sequence<'py>(value: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyAny>>> {
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return Some(tuple.iter().collect());
    }
    if let Ok(list) = value.cast::<PyList>() {
        return Some(list.iter().collect());
    }
    // A NumPy array or a range of ints.
    if value.hasattr("__len__").ok()? && !value.is_instance_of::<PyString>() {
        return value.try_iter().ok()?.collect::<PyResult<Vec<_>>>().ok();
    }
    None
}

/// A dtype: a name, a NumPy dtype or scalar class, or Python's `float`, `int`, `bool`.
pub fn dtype(value: &Bound<'_, PyAny>) -> PyResult<DType> {
    let py = value.py();
    if let Ok(text) = value.cast::<PyString>()
        && let Ok(found) = DType::parse(text.to_str()?)
    {
        return Ok(found);
    }
    if let Ok(class) = value.cast::<PyType>() {
        if class.is(py.get_type::<PyFloat>()) {
            return Ok(DType::F64);
        }
        if class.is(py.get_type::<PyInt>()) {
            return Ok(DType::I64);
        }
        if class.is(py.get_type::<PyBool>()) {
            return Ok(DType::Bool);
        }
        if let Ok(found) = DType::parse(class.name()?.to_str()?) {
            return Ok(found);
        }
    }
    let name: String = py.import("numpy")?.getattr("dtype")?.call1((value,))?.getattr("name")?.extract()?;
    Ok(DType::parse(&name)?)
}

/// One parameter's value.
pub fn parse(op: &str, spec: &ParamSpec, value: &Bound<'_, PyAny>) -> PyResult<Param> {
    let optional = !matches!(spec.default, crate::graph::params::Default::Required);
    if value.is_none() && spec.kind == ParamKind::OptInt {
        return Ok(Param::None);
    }
    if value.is_none() && (optional || spec.kind == ParamKind::Ignored) {
        return Ok(spec.default.value());
    }
    let found = match spec.kind {
        ParamKind::Ignored => Some(Param::None),
        ParamKind::Bool => boolean(value).map(Param::Bool),
        ParamKind::Int | ParamKind::OptInt => int(value).map(Param::Int),
        ParamKind::Float => float(value).map(Param::Float),
        ParamKind::Ints => match int(value) {
            Some(one) => Some(Param::Ints(copied(&[one]))),
            None if value.is_exact_instance_of::<PyTuple>() => value
                .cast::<PyTuple>()
                .ok()
                .and_then(|t| t.iter_borrowed().map(|v| int(&v)).collect::<Option<Ints>>())
                .map(Param::Ints),
            None => sequence(value).and_then(|s| s.iter().map(int).collect::<Option<Ints>>()).map(Param::Ints),
        },
        ParamKind::OptInts => {
            let entry = |v: &Bound<'_, PyAny>| if v.is_none() { Some(None) } else { int(v).map(Some) };
            let found: Option<Vec<Option<i64>>> = match int(value) {
                Some(one) => Some(vec![Some(one)]),
                None => sequence(value).and_then(|s| s.iter().map(entry).collect()),
            };
            found.map(|v| Param::OptInts(v.into()))
        }
        ParamKind::Floats => match float(value) {
            Some(one) => Some(Param::Floats([one].into())),
            None => sequence(value)
                .and_then(|s| s.iter().map(float).collect::<Option<Vec<f64>>>())
                .map(|v| Param::Floats(v.into())),
        },
        ParamKind::Choice(words) => {
            let text = value.str()?.to_string();
            if !words.contains(&text.as_str()) {
                let message =
                    format!("{op}: {}: Invalid Input: '{text}', valid values are: {{{}}}", spec.name, words.join(", "));
                return Err(Error::op(message).into());
            }
            Some(Param::Str(text.into()))
        }
        ParamKind::DType => match dtype(value) {
            Ok(found) => Some(Param::DType(found)),
            // An op's parameter gives MXNetError where `astype` gives KeyError; an unknown name is NumPy's TypeError.
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyKeyError>(value.py()) => None,
            Err(error) => return Err(error),
        },
        ParamKind::Device => Some(Param::Device(crate::python::context::parse(value)?)),
    };
    found.ok_or_else(|| {
        let got = value.repr().map_or_else(|_| "?".into(), |r| r.to_string());
        Error::op(format_args!(
            "{op}: {}: Invalid Parameter format, got {got}, expected {}",
            spec.name,
            kind_name(spec.kind)
        ))
        .into()
    })
}

fn boolean(value: &Bound<'_, PyAny>) -> Option<bool> {
    if let Ok(v) = value.cast_exact::<PyBool>() {
        return Some(v.is_true());
    }
    if let Ok(v) = value.extract::<bool>() {
        return Some(v);
    }
    if let Some(v) = int(value) {
        return Some(v != 0);
    }
    match value.str().ok()?.to_str().ok()? {
        "True" | "true" => Some(true),
        "False" | "false" => Some(false),
        _ => None,
    }
}

fn float(value: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(v) = value.cast_exact::<PyFloat>() {
        return Some(v.value());
    }
    if value.cast::<crate::python::ndarray::PyNDArray>().is_ok() || value.is_exact_instance_of::<PyTuple>() {
        return None;
    }
    if let Ok(v) = value.extract::<f64>() {
        return Some(v);
    }
    value.cast::<PyString>().ok()?.to_str().ok()?.trim().parse().ok()
}

/// The kind in words, for messages and docs.
pub fn kind_name(kind: ParamKind) -> String {
    match kind {
        ParamKind::Bool => "bool".into(),
        ParamKind::Int => "int".into(),
        ParamKind::OptInt => "int or None".into(),
        ParamKind::Float => "float".into(),
        ParamKind::Ints => "int or tuple of ints".into(),
        ParamKind::OptInts => "tuple of ints and None".into(),
        ParamKind::Floats => "tuple of floats".into(),
        ParamKind::Choice(words) => {
            format!("one of {}", words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(", "))
        }
        ParamKind::DType => "dtype".into(),
        ParamKind::Device => "Context".into(),
        ParamKind::Ignored => "anything (ignored)".into(),
    }
}

/// The kind as a type in a stub.
pub fn kind_type(kind: ParamKind) -> String {
    match kind {
        ParamKind::Bool => "bool".into(),
        ParamKind::Int => "int".into(),
        ParamKind::OptInt => "int | None".into(),
        ParamKind::Float => "float".into(),
        ParamKind::Ints => "int | Sequence[int]".into(),
        ParamKind::OptInts => "int | Sequence[int | None]".into(),
        ParamKind::Floats => "float | Sequence[float]".into(),
        ParamKind::Choice(_) => "str".into(),
        ParamKind::DType => "_DType".into(),
        ParamKind::Device => "Context | str".into(),
        ParamKind::Ignored => "Any".into(),
    }
}
