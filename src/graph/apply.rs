//! Runs an op on values and, while recording, puts it on the tape.

use crate::base::error::catch;
use crate::base::{Error, Result};
use crate::graph::mode;
use crate::graph::node::{Body, Edge, Input, Node};
use crate::graph::op::{Grad, Kind, Meta, Op, reduce_axes};
use crate::graph::params::{Args, ParamKind, Read};
use crate::graph::var::Var;
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

pub type Outs = SmallVec<[Var; 1]>;

/// Runs `op` and records it where an input is on the tape.
#[inline]
pub fn apply(op: &'static Op, inputs: &[Var], args: &Args) -> Result<Outs> {
    match op.kind {
        Kind::Map(_) | Kind::Reduce(_) | Kind::View(_) => Ok(smallvec![apply1(op, inputs, args)?]),
        Kind::Compose(f) => catch(|| f(inputs, args)),
        Kind::Kernel { .. } | Kind::Views(_) => {
            let mut outputs = match op.kind {
                Kind::Views(f) => f(&inputs[0].tensor, args)?,
                _ => run_kernel(op, inputs, args)?,
            };
            if outputs.len() == 1
                && let Some(tensor) = outputs.pop()
            {
                return Ok(smallvec![recorded(op, inputs, args, tensor)]);
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
        Kind::Kernel { .. } | Kind::Views(_) | Kind::Compose(_) => {
            let mut outs = apply(op, inputs, args)?;
            return outs.pop().ok_or_else(|| Error::op(format_args!("{}: no output", op.name)));
        }
    };
    Ok(recorded(op, inputs, args, tensor))
}

/// The only output of an op, on the tape where an input is.
#[inline]
fn recorded(op: &'static Op, inputs: &[Var], args: &Args, tensor: Tensor) -> Var {
    let node = is_recorded(inputs).then(|| record(op, inputs, args, std::slice::from_ref(&tensor)));
    Var { tensor, edge: node.map(|node| Edge { node, index: 0 }) }
}

/// The number parameters of an element function.
fn numbers(op: &Op, args: &Args) -> SmallVec<[f64; 2]> {
    let of_float = args.iter().zip(op.params).filter(|(_, spec)| spec.kind == ParamKind::Float);
    of_float.map(|(arg, _)| f64::read(arg)).collect()
}

fn run_kernel(op: &'static Op, inputs: &[Var], args: &Args) -> Result<SmallVec<[Tensor; 1]>> {
    let Kind::Kernel { infer, cpu, gpu } = op.kind else { unreachable!("only kernels come here") };
    let metas: SmallVec<[Meta; 3]> = inputs.iter().map(|v| Meta::of(&v.tensor)).collect();
    let mut outputs: SmallVec<[Output; 1]> = SmallVec::new();
    let wanted = infer(&metas, args)?;
    let tensors: SmallVec<[Tensor; 3]> = inputs.iter().map(|v| v.tensor.clone()).collect();
    if wanted.first().is_some_and(|m| m.device.is_gpu()) {
        return crate::graph::gpu::kernel(op, gpu, cpu, &tensors, args, &wanted);
    }
    for meta in wanted {
        outputs.push(Output::new(&meta.shape, meta.dtype, meta.device)?);
    }
    crate::cpu::pool::count_loop();
    catch(|| cpu(&tensors, args, &mut outputs))??;
    if outputs.len() == 1
        && let Some(output) = outputs.pop()
    {
        return Ok(smallvec![output.done()]);
    }
    Ok(outputs.into_iter().map(Output::done).collect())
}

#[inline]
fn is_recorded(inputs: &[Var]) -> bool {
    mode::is_recording() && inputs.iter().any(|v| v.edge.is_some())
}

fn record(op: &'static Op, inputs: &[Var], args: &Args, outputs: &[Tensor]) -> Arc<Node> {
    let (save_inputs, save_outputs) = match op.grad {
        Grad::Zero | Grad::Composed | Grad::Linear(_) => (false, false),
        Grad::FromInputs(_) => (true, false),
        Grad::FromOutput(_) => (false, true),
        Grad::FromBoth(_) => (true, true),
    };
    let mut links: SmallVec<[Input; 2]> = SmallVec::with_capacity(inputs.len());
    inputs.iter().for_each(|v| links.push(Input::new(v, outputs, save_inputs)));
    let body = Body::Op {
        op,
        args: (!args.is_empty()).then(|| Box::new(args.clone())),
        inputs: links,
        outputs: if save_outputs { outputs.into() } else { SmallVec::new() },
    };
    Node::new(outputs, body)
}
