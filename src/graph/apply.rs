//! Runs an op on values and, while recording, puts it on the tape.

use crate::base::error::catch;
use crate::base::{Error, Result};
use crate::graph::mode;
use crate::graph::node::{Body, Edge, Input, Node};
use crate::graph::op::{Grad, Kind, Meta, Op};
use crate::graph::params::{Args, ParamKind};
use crate::graph::var::Var;
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use smallvec::{SmallVec, smallvec};

pub type Outs = SmallVec<[Var; 1]>;

/// Runs `op` and records it where an input is on the tape.
#[inline]
pub fn apply(op: &'static Op, inputs: &[Var], args: &Args) -> Result<Outs> {
    if let Kind::Compose(f) = op.kind {
        return catch(|| f(inputs, args));
    }
    let outputs = run(op, inputs, args)?;
    if mode::is_recording() && inputs.iter().any(|v| v.edge.is_some()) {
        return Ok(record(op, inputs, args, outputs));
    }
    Ok(outputs.into_iter().map(Var::new).collect())
}

/// [`apply`] for ops with one output.
#[inline]
pub fn apply1(op: &'static Op, inputs: &[Var], args: &Args) -> Result<Var> {
    let mut outs = apply(op, inputs, args)?;
    outs.pop().ok_or_else(|| Error::op(format_args!("{}: no output", op.name)))
}

fn run(op: &'static Op, inputs: &[Var], args: &Args) -> Result<SmallVec<[Tensor; 1]>> {
    let tensors: SmallVec<[Tensor; 3]> = inputs.iter().map(|v| v.tensor.clone()).collect();
    match &op.kind {
        Kind::Map(f) => {
            let imm: SmallVec<[f64; 2]> = args
                .iter()
                .zip(op.params)
                .filter(|(_, spec)| spec.kind == ParamKind::Float)
                .map(|(arg, _)| crate::graph::params::Read::read(arg))
                .collect();
            Ok(smallvec![Tensor::map(op.name, f, &tensors, &imm)?])
        }
        Kind::Reduce(f) => {
            let empty = tensors[0].numel() == 0 && f.start.0.is_infinite();
            crate::ensure!(
                !empty,
                "{}: an empty array has no extreme, got shape {}",
                op.name,
                crate::base::layout::show(tensors[0].shape())
            );
            let (axes, keepdims) = crate::graph::op::reduce_axes(op.name, tensors[0].ndim(), args)?;
            Ok(smallvec![Tensor::reduce(op.name, f, &tensors[0], &axes, keepdims, tensors[0].dtype())?])
        }
        Kind::View(f) => Ok(smallvec![f(&tensors[0], args)?]),
        Kind::Views(f) => f(&tensors[0], args),
        Kind::Kernel { infer, cpu, .. } => {
            let metas: SmallVec<[Meta; 3]> = tensors.iter().map(Meta::of).collect();
            let mut outputs: SmallVec<[Output; 1]> = SmallVec::new();
            for meta in infer(&metas, args)? {
                outputs.push(Output::new(&meta.shape, meta.dtype, meta.device)?);
            }
            crate::cpu::pool::count_loop();
            catch(|| cpu(&tensors, args, &mut outputs))??;
            Ok(outputs.into_iter().map(Output::done).collect())
        }
        Kind::Compose(_) => unreachable!("composed ops are run by apply"),
    }
}

fn record(op: &'static Op, inputs: &[Var], args: &Args, outputs: SmallVec<[Tensor; 1]>) -> Outs {
    let (save_inputs, save_outputs) = match op.grad {
        Grad::Zero | Grad::Composed | Grad::Linear(_) => (false, false),
        Grad::FromInputs(_) => (true, false),
        Grad::FromOutput(_) => (false, true),
        Grad::FromBoth(_) => (true, true),
    };
    let body = Body::Op {
        op,
        args: (!args.is_empty()).then(|| Box::new(args.clone())),
        inputs: inputs
            .iter()
            .map(|v| Input {
                edge: v.edge.clone(),
                meta: Meta::of(&v.tensor),
                saved: save_inputs.then(|| v.tensor.clone()),
            })
            .collect(),
        outputs: if save_outputs { outputs.clone() } else { SmallVec::new() },
    };
    let node = Node::new(&outputs, body);
    outputs
        .into_iter()
        .enumerate()
        .map(|(i, tensor)| Var { tensor, edge: Some(Edge { node: node.clone(), index: i as u32 }) })
        .collect()
}
