//! Runs an op on values and, while recording, puts it on the tape.

use crate::base::error::catch;
use crate::base::{Error, Result};
use crate::graph::mode;
use crate::graph::node::{Body, Edge, Input, Node};
use crate::graph::op::{Kind, Meta, Op, reduce_axes};
use crate::graph::params::{Args, ParamKind, Read};
use crate::graph::var::Var;
use crate::tensor::Tensor;
use crate::tensor::expr::Expr;
use crate::tensor::kernel::Output;
use smallvec::SmallVec;
use std::borrow::Borrow;
use std::sync::Arc;

pub type Outs = SmallVec<[Var; 1]>;

type Cpu = fn(&[Tensor], &Args, &mut [Output]) -> Result<()>;

/// Runs `op` and records it where an input is on the tape.
#[inline]
pub fn apply(op: &'static Op, inputs: &[Var], args: &Args) -> Result<Outs> {
    match op.kind {
        Kind::Map(_) | Kind::Reduce(_) | Kind::View(_) => Ok(SmallVec::from_buf([apply1(op, inputs, args)?])),
        Kind::Compose(f) => catch(|| f(inputs, args)),
        Kind::Kernel { .. } | Kind::LateKernel { .. } | Kind::Views(_) => {
            let mut outputs = match op.kind {
                Kind::Views(f) => f(&inputs[0].tensor, args)?,
                _ => run_kernel(op, inputs, args)?,
            };
            if outputs.len() == 1
                && let Some(tensor) = outputs.pop()
            {
                return Ok(SmallVec::from_buf([recorded(op, inputs, args, tensor)]));
            }
            let node = is_recorded(inputs).then(|| record(op, inputs, args, &outputs));
            let edge = |index| node.as_ref().map(|node| Edge { node: node.clone(), index });
            Ok(outputs.into_iter().zip(0..).map(|(tensor, i)| Var { tensor, edge: edge(i) }).collect())
        }
    }
}

/// [`apply`] for ops with one output.
#[inline]
pub fn apply1(op: &'static Op, inputs: &[Var], args: &Args) -> Result<Var> {
    let tensor = match &op.kind {
        Kind::Map(f) if args.is_empty() => Tensor::map(op.name, f, inputs, &[])?,
        Kind::Map(f) => Tensor::map(op.name, f, inputs, &numbers(op, args))?,
        Kind::Reduce(f) => {
            let input = &inputs[0].tensor;
            crate::ensure!(
                !(f.start.0.is_infinite() && input.numel() == 0),
                "{}: an empty array has no extreme, got shape {}",
                op.name,
                crate::base::layout::show(input.shape())
            );
            let (axes, keepdims) = reduce_axes(op.name, input.ndim(), args)?;
            Tensor::reduce(op.name, f, input, &axes, keepdims, input.dtype())?
        }
        Kind::View(f) => f(&inputs[0].tensor, args)?,
        Kind::Kernel { .. } | Kind::LateKernel { .. } | Kind::Views(_) | Kind::Compose(_) => {
            let mut outs = apply(op, inputs, args)?;
            return outs.pop().ok_or_else(|| Error::op(format_args!("{}: no output", op.name)));
        }
    };
    Ok(recorded(op, inputs, args, tensor))
}

/// [`apply1`] of an element function without parameters, which takes its inputs: the tape saves them as they are.
#[inline]
pub fn apply_own<const N: usize>(op: &'static Op, inputs: [Var; N]) -> Result<Var> {
    let Kind::Map(f) = &op.kind else { return apply1(op, &inputs, &Args::new()) };
    let tensor = Tensor::map(op.name, f, &inputs, &[])?;
    if !is_recorded(&inputs) {
        return Ok(Var::new(tensor));
    }
    let saves = op.saves();
    let mut links: SmallVec<[Input; 2]> = SmallVec::new();
    for input in inputs {
        links.push(Input::new(input, Some(&tensor), saves.inputs));
    }
    Ok(on_tape(op, None, links, saves.outputs, tensor))
}

/// [`apply1`] of an op of two inputs without parameters.
#[inline]
pub fn apply2(op: &'static Op, a: &Var, b: &Var) -> Result<Var> {
    match &op.kind {
        Kind::Map(f) if !is_recorded(&[a, b]) => Ok(Var::new(Tensor::map(op.name, f, &[a, b], &[])?)),
        _ => apply1(op, &[a.clone(), b.clone()], &Args::new()),
    }
}

/// An output with a new node behind it.
#[inline(always)]
fn on_tape(op: &'static Op, args: Option<Box<Args>>, inputs: SmallVec<[Input; 2]>, saved: bool, tensor: Tensor) -> Var {
    let outputs = if saved { SmallVec::from_buf([tensor.clone()]) } else { SmallVec::new() };
    let node = Node::new(std::slice::from_ref(&tensor), Body::Op { op, args, inputs, outputs });
    Var { tensor, edge: Some(Edge { node, index: 0 }) }
}

/// The only output of an op, on the tape where an input is.
#[inline]
fn recorded(op: &'static Op, inputs: &[Var], args: &Args, tensor: Tensor) -> Var {
    if !is_recorded(inputs) {
        return Var::new(tensor);
    }
    let saves = op.saves();
    on_tape(op, boxed(args), links(inputs, Some(&tensor), saves.inputs), saves.outputs, tensor)
}

/// The number parameters of an element function.
fn numbers(op: &Op, args: &Args) -> SmallVec<[f64; 2]> {
    let of_float = args.iter().zip(op.params).filter(|(_, spec)| spec.kind == ParamKind::Float);
    of_float.map(|(arg, _)| f64::read(arg)).collect()
}

fn run_kernel(op: &'static Op, inputs: &[Var], args: &Args) -> Result<SmallVec<[Tensor; 1]>> {
    let (Kind::Kernel { infer, cpu, gpu } | Kind::LateKernel { infer, cpu, gpu }) = op.kind else {
        unreachable!("only kernels come here")
    };
    // Pushed one by one: collecting costs more than all of it.
    let mut metas: SmallVec<[Meta; 3]> = SmallVec::with_capacity(inputs.len());
    let mut tensors: SmallVec<[Tensor; 3]> = SmallVec::with_capacity(inputs.len());
    for input in inputs {
        metas.push(Meta::of(&input.tensor));
        tensors.push(input.tensor.clone());
    }
    let wanted = infer(&metas, args)?;
    if wanted.first().is_some_and(|m| m.device.is_gpu()) {
        return crate::graph::gpu::kernel(op, gpu, cpu, &tensors, args, &wanted);
    }
    if matches!(op.kind, Kind::LateKernel { .. }) && is_recorded(inputs) {
        let work = |n: usize, t: &Tensor| n + t.numel();
        if tensors.iter().fold(wanted[0].shape.iter().product(), work) >= LATE {
            return Ok(SmallVec::from_buf([late(cpu, tensors, args, &wanted[0])?]));
        }
    }
    let mut outputs: SmallVec<[Output; 1]> = SmallVec::new();
    for meta in wanted {
        outputs.push(Output::new(meta.shape, meta.dtype, meta.device)?);
    }
    crate::cpu::pool::count_loop();
    catch(|| cpu(&tensors, args, &mut outputs))??;
    if outputs.len() == 1
        && let Some(output) = outputs.pop()
    {
        return Ok(SmallVec::from_buf([output.done()]));
    }
    Ok(outputs.into_iter().map(Output::done).collect())
}

/// Elements of inputs and result from which a late kernel waits: less is not worth the wait.
const LATE: usize = 32 << 10;

#[cold]
fn late(cpu: Cpu, ins: SmallVec<[Tensor; 3]>, args: &Args, meta: &Meta) -> Result<Tensor> {
    let args = args.clone();
    let like = ins[0].clone();
    let run = Box::new(move |ins: &[Tensor], outs: &mut [Output]| cpu(ins, &args, outs));
    Tensor::deferred(meta.shape.clone(), &like, meta.dtype, Expr::Kernel { ins, run })
}

#[inline]
fn is_recorded<T: Borrow<Var>>(inputs: &[T]) -> bool {
    inputs.iter().any(|v| v.borrow().edge.is_some()) && mode::is_recording()
}

/// What a node holds of the inputs: their values only where the gradient needs them.
#[inline]
fn links(inputs: &[Var], like: Option<&Tensor>, saved: bool) -> SmallVec<[Input; 2]> {
    let mut links = SmallVec::with_capacity(inputs.len());
    for input in inputs {
        links.push(Input::new(input.clone(), like, saved));
    }
    links
}

fn boxed(args: &Args) -> Option<Box<Args>> {
    if args.is_empty() {
        return None;
    }
    let mut copy = Box::new(Args::new());
    for arg in args {
        copy.push(arg.clone());
    }
    Some(copy)
}

/// The node of an op with any number of outputs.
fn record(op: &'static Op, inputs: &[Var], args: &Args, outputs: &[Tensor]) -> Arc<Node> {
    let saves = op.saves();
    let body = Body::Op {
        op,
        args: boxed(args),
        inputs: links(inputs, outputs.first(), saves.inputs),
        outputs: if saves.outputs { outputs.into() } else { SmallVec::new() },
    };
    Node::new(outputs, body)
}
