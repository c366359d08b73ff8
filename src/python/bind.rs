//! Python arguments of a call as an op takes them: arrays, parameters, `out`.

use crate::autograd::NDArray;
use crate::base::Error;
use crate::base::error::Kind as ErrorKind;
use crate::graph::op::Kind;
use crate::graph::params::Default;
use crate::graph::{Args, Op, Var};
use crate::python::args::{kind_name, parse};
use crate::python::callable::signature;
use crate::python::ndarray::PyNDArray;
use crate::python::operand::number;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use smallvec::SmallVec;

/// What binding a call needs to know of an op, worked out once.
pub struct Form {
    pub op: &'static Op,
    /// Names of the parameters, and of the inputs without their marks: keys of calls are usually these very objects.
    params: Vec<Py<PyString>>,
    inputs: Vec<Py<PyString>>,
    defaults: Args,
    variadic: bool,
    /// Bits of the inputs that may be absent, and of the inputs and parameters that may not.
    optional: u64,
    needed: u64,
    required: u64,
    /// Of an op without inputs: its parameters `ctx` and `shape`.
    pub context: Option<usize>,
    pub shape: Option<usize>,
}

impl Form {
    pub fn new(py: Python<'_>, op: &'static Op) -> Form {
        let bits = |marks: &mut dyn Iterator<Item = bool>| marks.zip(0..).fold(0u64, |b, (m, i)| b | (m as u64) << i);
        let intern = |name: &str| PyString::intern(py, name.trim_matches(['?', '*'])).unbind();
        let variadic = op.inputs.first().is_some_and(|name| name.starts_with('*'));
        let optional = bits(&mut op.inputs.iter().map(|name| name.ends_with('?')));
        let place = |name| op.params.iter().position(|p| p.name == name).filter(|_| op.inputs.is_empty());
        Form {
            op,
            params: op.params.iter().map(|p| intern(p.name)).collect(),
            inputs: op.inputs.iter().map(|name| intern(name)).collect(),
            defaults: op.params.iter().map(|p| p.default.value()).collect(),
            variadic,
            optional,
            needed: if variadic { 0 } else { ((1 << op.inputs.len()) - 1) & !optional },
            required: bits(&mut op.params.iter().map(|p| p.default == Default::Required)),
            context: place("ctx"),
            shape: place("shape"),
        }
    }

    /// Where a keyword stands in a list of names.
    #[inline]
    fn position(names: &[Py<PyString>], key: &Bound<'_, PyAny>, text: &mut Option<String>) -> PyResult<Option<usize>> {
        if let Some(i) = names.iter().position(|name| name.as_ptr() == key.as_ptr()) {
            return Ok(Some(i));
        }
        // Interned keys are another name then, but a key may have been put together.
        if text.is_none() {
            *text = Some(key.cast::<PyString>()?.to_str()?.to_owned());
        }
        for (i, name) in names.iter().enumerate() {
            if Some(name.bind(key.py()).to_str()?) == text.as_deref() {
                return Ok(Some(i));
            }
        }
        Ok(None)
    }
}

pub type Inputs = SmallVec<[Var; 3]>;

pub struct Call<'py> {
    pub inputs: Inputs,
    /// Of the inputs, where the op writes to some.
    pub handles: SmallVec<[Option<NDArray>; 3]>,
    pub args: Args,
    pub out: Option<Bound<'py, PyAny>>,
}

impl Call<'_> {
    /// An array argument, or what stands for one, as input number `at`.
    #[inline]
    fn push(&mut self, form: &Form, at: usize, name: usize, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (var, handle) = match value.cast::<PyNDArray>() {
            Ok(array) => {
                let handle = &array.get().inner;
                (handle.var()?, (!form.op.writes.is_empty()).then(|| handle.clone()))
            }
            Err(_) => (other_input(form, name, value)?, None),
        };
        self.inputs.insert(at, var);
        if !form.op.writes.is_empty() {
            self.handles.insert(at, handle);
        }
        Ok(())
    }
}

/// MXNet's helpers of two operands take numbers in either place.
#[cold]
fn other_input(form: &Form, name: usize, value: &Bound<'_, PyAny>) -> PyResult<Var> {
    let op = form.op;
    if matches!(op.kind, Kind::Map(_))
        && op.inputs.len() == 2
        && let Some(scalar) = number(value)
    {
        return Ok(Var::new(crate::tensor::Tensor::Scalar(scalar)));
    }
    let name = form.inputs[name].bind(value.py()).to_str()?;
    let message = format!("{}: Argument {name} must have NDArray type, but got {}", op.name, value.repr()?);
    Err(Error::new(ErrorKind::Assert, message).into())
}

/// Splits Python arguments into arrays, parameters and `out`.
pub fn bind<'py>(
    form: &Form,
    this: Option<&Bound<'py, PyAny>>,
    positional: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Call<'py>> {
    let op = form.op;
    let mut call = Call { inputs: Inputs::new(), handles: SmallVec::new(), args: Args::new(), out: None };
    for default in &form.defaults {
        call.args.push(default.clone());
    }
    // Bits of the inputs and parameters that were given.
    let (mut given, mut named) = (0u64, 0u64);
    let (mut seen, mut next_param) = (0, 0);
    let mut one = |value: &Bound<'py, PyAny>| -> PyResult<()> {
        if form.variadic {
            let first = seen == call.inputs.len() && next_param == 0;
            if value.cast::<PyNDArray>().is_ok() || first && !is_param_like(value) {
                call.push(form, seen, 0, value)?;
                seen += 1;
                return Ok(());
            }
        } else if seen < op.inputs.len() {
            let bit = 1 << seen;
            let optional = form.optional & bit != 0;
            if !optional || value.cast::<PyNDArray>().is_ok() {
                call.push(form, call.inputs.len(), seen, value)?;
                given |= bit;
                seen += 1;
                return Ok(());
            }
            if value.is_none() {
                seen += 1;
                return Ok(());
            }
        }
        // After the parameters comes `out`, as in MXNet's generated functions.
        if next_param < op.params.len() {
            call.args[next_param] = parse(op.name, &op.params[next_param], value)?;
            named |= 1 << next_param;
            next_param += 1;
        } else if next_param == op.params.len() && call.out.is_none() {
            if !value.is_none() {
                call.out = Some(value.clone());
            }
            next_param += 1;
        } else if !value.is_none() && !value.is_instance_of::<PyString>() {
            let message = format!("{}: too many positional arguments, expected {}", op.name, signature(op));
            return Err(Error::typ(message).into());
        }
        Ok(())
    };
    if let Some(this) = this {
        one(this)?;
    }
    for value in positional.iter_borrowed() {
        one(&value)?;
    }
    for (key, value) in keywords.into_iter().flatten() {
        let mut text = None;
        if let Some(i) = Form::position(&form.params, &key, &mut text)? {
            call.args[i] = parse(op.name, &op.params[i], &value)?;
            named |= 1 << i;
        } else if !form.variadic
            && let Some(i) = Form::position(&form.inputs, &key, &mut text)?
        {
            if value.is_none() {
                continue;
            }
            let at = (given & ((1 << i) - 1)).count_ones() as usize;
            if given & 1 << i != 0 {
                call.inputs.remove(at);
                if !op.writes.is_empty() {
                    call.handles.remove(at);
                }
            }
            call.push(form, at, i, &value)?;
            given |= 1 << i;
        } else {
            match text.as_deref().unwrap_or_default() {
                "out" => call.out = if value.is_none() { call.out } else { Some(value) },
                "name" | "ctx" | "num_args" => {}
                _ if op.params.is_empty() => {}
                key => {
                    let known: Vec<_> = op.params.iter().map(|p| p.name).collect();
                    let message =
                        format!("{}: Cannot find argument '{key}', Possible Arguments: {}", op.name, known.join(", "));
                    return Err(Error::op(message).into());
                }
            }
        }
    }
    let (missing, unnamed) = (form.needed & !given, form.required & !named);
    if missing != 0 || unnamed != 0 {
        return Err(incomplete(op, given, missing, unnamed));
    }
    Ok(call)
}

/// What a call lacks: an input, or a parameter without a default.
#[cold]
fn incomplete(op: &'static Op, given: u64, missing: u64, unnamed: u64) -> PyErr {
    if missing != 0 {
        let i = missing.trailing_zeros() as usize;
        let message = format!(
            "{}: expects {} inputs, but got {}: '{}' is missing, expected {}",
            op.name,
            op.inputs.len(),
            (given & ((1 << i) - 1)).count_ones(),
            op.inputs[i],
            signature(op)
        );
        return Error::op(message).into();
    }
    let spec = &op.params[unnamed.trailing_zeros() as usize];
    let message = format!("{}: Required parameter {} of {} is not presented", op.name, spec.name, kind_name(spec.kind));
    Error::op(message).into()
}

/// Whether a positional value after arrays can only be a parameter.
fn is_param_like(value: &Bound<'_, PyAny>) -> bool {
    value.extract::<f64>().is_ok() || value.is_none() || value.is_instance_of::<PyString>()
}
