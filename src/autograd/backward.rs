//! The walk back: nodes newest first, each rule applied once with the sum of what came in.
//!
//! Node numbers rise as nodes are made, so a child's is above its parents'. Taking the highest number that waits is
//! thus a reverse topological order, and neither a sort nor recursion is needed.

use crate::base::error::catch;
use crate::base::layout::{broadcast, show};
use crate::base::{Device, Error, Result};
use crate::ensure;
use crate::graph::mode::Scope;
use crate::graph::node::{Body, Edge, Input, Node, Sink};
use crate::graph::op::{Grad, GradCtx, Grads, Op};
use crate::graph::{Args, Var};
use crate::ops::expr::filled;
use crate::tensor::Tensor;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOT_IN_GRAPH: &str = "backward: cannot differentiate an array that is not in a computational graph. \
    Compute it under autograd.record() from an array with attach_grad(); a second backward needs retain_graph=True in \
    the first";
const NOTHING_TO_REACH: &str = "backward: there are no inputs in the computational graph that require gradients. \
    If another backward has freed the part they share, give that one retain_graph=True, or backward both at once";

/// Gradients that wait at a node, one for each of its outputs.
struct Pending {
    node: Arc<Node>,
    grads: SmallVec<[Option<Var>; 1]>,
}

/// How to walk.
#[derive(Clone, Copy)]
pub struct Walk {
    pub retain_graph: bool,
    pub create_graph: bool,
    pub train_mode: bool,
}

/// A recorded op as its rule needs it, taken off the tape or copied from it.
struct Step {
    op: StepOp,
    inputs: SmallVec<[Input; 2]>,
}

enum StepOp {
    Rule { op: &'static Op, args: Option<Box<Args>>, outputs: SmallVec<[Tensor; 1]> },
    User(Arc<dyn crate::graph::node::UserRule>),
    Leaf(Arc<dyn Sink>),
}

/// Gradients of `heads` into the buffers of marked variables.
pub fn backward(heads: &[Var], head_grads: &[Option<Var>], walk: Walk) -> Result<()> {
    let mut found: Vec<(Arc<dyn Sink>, Var)> = Vec::new();
    let mut passed: Vec<Arc<dyn Sink>> = Vec::new();
    walk_back(
        heads,
        head_grads,
        walk,
        |_, sink, grad| {
            if sink.wanted() { found.push((sink, grad)) } else { passed.push(sink) }
        },
    )?;
    ensure!(!found.is_empty(), "{NOTHING_TO_REACH}");
    for (sink, grad) in found {
        sink.deliver(grad)?;
    }
    if !walk.retain_graph {
        passed.iter().for_each(|sink| sink.passed());
    }
    Ok(())
}

/// Gradients of `heads` with respect to marked `variables`, returned; no buffer changes.
pub fn grad(heads: &[Var], variables: &[Var], head_grads: &[Option<Var>], walk: Walk) -> Result<Vec<Var>> {
    let mut leaves: Vec<&Edge> = Vec::new();
    for (i, variable) in variables.iter().enumerate() {
        let edge = variable.edge.as_ref().filter(|e| match &*e.node.body() {
            Body::Leaf(sink) => sink.wanted(),
            _ => false,
        });
        leaves.push(edge.ok_or_else(|| {
            Error::op(format_args!(
                "grad: cannot differentiate with respect to variable {} because it does not require gradient: \
                 call attach_grad() on it before recording",
                i + 1
            ))
        })?);
    }
    let mut found: Vec<Option<Var>> = vec![None; variables.len()];
    walk_back(heads, head_grads, walk, |node, _, grad| {
        for (leaf, slot) in leaves.iter().zip(&mut found) {
            if Arc::ptr_eq(&leaf.node, node) {
                *slot = Some(grad.clone());
            }
        }
    })?;
    let unreachable = |i| Error::op(format_args!("grad: variable {} is unreachable from the outputs", i + 1));
    let found = found.into_iter().zip(variables).enumerate().map(|(i, (grad, variable))| {
        let grad = grad.ok_or_else(|| unreachable(i))?;
        Ok(Var { tensor: grad.tensor.on_device(variable.tensor.device())?, edge: grad.edge })
    });
    found.collect()
}

fn walk_back(
    heads: &[Var],
    head_grads: &[Option<Var>],
    walk: Walk,
    mut leaf: impl FnMut(&Arc<Node>, Arc<dyn Sink>, Var),
) -> Result<()> {
    ensure!(!heads.is_empty(), "backward: at least one head expected, got none");
    let mut waiting: BTreeMap<u64, Pending> = BTreeMap::new();
    let _scope = Scope::enter(Some(walk.create_graph), Some(walk.train_mode));
    for (i, head) in heads.iter().enumerate() {
        let edge = head.edge.as_ref().ok_or_else(|| Error::op(NOT_IN_GRAPH))?;
        ensure!(!matches!(*edge.node.body(), Body::Released), "{NOT_IN_GRAPH}");
        let grad = match head_grads.get(i).and_then(Option::as_ref) {
            Some(grad) => {
                ensure!(
                    grad.shape() == head.shape() && grad.dtype() == head.dtype(),
                    "backward: head gradient {i}, got {} {}, expected {} {}",
                    grad.dtype(),
                    crate::base::layout::show(grad.shape()),
                    head.dtype(),
                    crate::base::layout::show(head.shape())
                );
                grad.clone()
            }
            None => catch(|| filled(head.shape(), head.dtype(), head.tensor.device(), 1.0))?,
        };
        add(&mut waiting, edge.clone(), grad)?;
    }
    while let Some((_, Pending { node, mut grads })) = waiting.pop_last() {
        let step = take(&node, walk)?;
        if let StepOp::Leaf(sink) = step.op {
            if let Some(grad) = grads.pop().flatten() {
                leaf(&node, sink, grad);
            }
            continue;
        }
        for (input, grad) in apply_rule(&node, step, grads, walk.create_graph)? {
            add(&mut waiting, input, grad)?;
        }
    }
    Ok(())
}

/// The node's content: copied where the graph stays, else taken, so that memory is freed while the walk goes on.
fn take(node: &Node, walk: Walk) -> Result<Step> {
    let mut body = node.body();
    if let Body::Leaf(sink) = &*body {
        return Ok(Step { op: StepOp::Leaf(sink.clone()), inputs: smallvec![] });
    }
    let copy = |inputs: &SmallVec<[Input; 2]>| {
        inputs.iter().map(|i| Input { edge: i.edge.clone(), meta: i.meta.clone(), saved: i.saved.clone() }).collect()
    };
    if walk.retain_graph {
        return match &*body {
            Body::Op { op, args, inputs, outputs } => {
                Ok(Step { op: StepOp::Rule { op, args: args.clone(), outputs: outputs.clone() }, inputs: copy(inputs) })
            }
            Body::User { rule, inputs } => Ok(Step { op: StepOp::User(rule.clone()), inputs: copy(inputs) }),
            _ => Err(Error::op(NOTHING_TO_REACH)),
        };
    }
    match std::mem::replace(&mut *body, Body::Released) {
        Body::Op { op, args, inputs, outputs } => Ok(Step { op: StepOp::Rule { op, args, outputs }, inputs }),
        Body::User { rule, inputs } => Ok(Step { op: StepOp::User(rule), inputs }),
        _ => Err(Error::op(NOTHING_TO_REACH)),
    }
}

/// Gradients of a node's inputs, each fitted to its input's shape and dtype.
fn apply_rule(
    node: &Arc<Node>,
    mut step: Step,
    grads: SmallVec<[Option<Var>; 1]>,
    create_graph: bool,
) -> Result<SmallVec<[(Edge, Var); 2]>> {
    // Outputs that nothing used have a gradient of zero.
    let device = step.inputs.first().map_or(Device::CPU, |i| i.meta.device);
    let whole = |grads: SmallVec<[Option<Var>; 1]>| -> SmallVec<[Var; 1]> {
        let outs = grads.into_iter().zip(&node.metas);
        outs.map(|(g, (shape, dtype))| g.unwrap_or_else(|| filled(shape, *dtype, device, 0.0))).collect()
    };
    let found: Grads = match step.op {
        StepOp::Leaf(_) => smallvec![],
        StepOp::User(rule) => {
            let _scope = Scope::enter(Some(false), None);
            let grads = catch(|| whole(grads))?;
            let found = rule.backward(grads.into_vec())?;
            ensure!(
                found.len() == step.inputs.len(),
                "{}.backward: one gradient for each input of forward, got {}, expected {}",
                rule.name(),
                found.len(),
                step.inputs.len()
            );
            for (i, (grad, input)) in found.iter().zip(&step.inputs).enumerate() {
                let Some(grad) = grad else { continue };
                let (got, expected) = (grad.shape(), &input.meta.shape);
                // One number may stand for all elements, as it does wherever arrays broadcast.
                ensure!(
                    broadcast(got, expected).is_some_and(|whole| whole == *expected),
                    "{}.backward: gradient of input {i}, got shape {}, expected {}",
                    rule.name(),
                    show(got),
                    show(expected)
                );
            }
            found.into_iter().collect()
        }
        StepOp::Rule { op, ref args, ref outputs } => {
            let rule = match op.grad {
                Grad::Zero => None,
                Grad::Linear(rule) | Grad::FromInputs(rule) | Grad::FromOutput(rule) | Grad::FromBoth(rule) => {
                    Some(rule)
                }
                Grad::Composed => return Err(Error::op(format_args!("{}: composed ops are not recorded", op.name))),
            };
            match rule {
                None => step.inputs.iter().map(|i| i.edge.is_some().then(|| Var::scalar(0.0))).collect(),
                Some(rule) => {
                    let none = Args::new();
                    let mut inputs = SmallVec::new();
                    for input in &mut step.inputs {
                        let edge = if create_graph { input.edge.clone() } else { None };
                        inputs.push(input.saved.take().map(|tensor| Var { tensor, edge }));
                    }
                    let ctx = GradCtx {
                        op,
                        args: args.as_deref().unwrap_or(&none),
                        inputs,
                        outputs: outputs
                            .iter()
                            .enumerate()
                            .map(|(k, t)| Var {
                                tensor: t.clone(),
                                edge: create_graph.then(|| Edge { node: node.clone(), index: k as u32 }),
                            })
                            .collect(),
                        links: &step.inputs,
                    };
                    catch(|| rule(&ctx, &whole(grads)))?
                }
            }
        }
    };
    let mut out: SmallVec<[(Edge, Var); 2]> = SmallVec::new();
    for (input, grad) in step.inputs.into_iter().zip(found) {
        if let (Some(edge), Some(grad)) = (input.edge, grad) {
            let meta = input.meta;
            let fits = grad.shape() == meta.shape.as_slice() && grad.dtype() == meta.dtype;
            let fitted = if fits && matches!(grad.tensor, Tensor::Array(_)) {
                grad
            } else {
                catch(|| grad.fit(&meta.shape, meta.dtype, meta.device))?
            };
            out.push((edge, fitted));
        }
    }
    Ok(out)
}

/// Adds a gradient to what waits at a node.
fn add(waiting: &mut BTreeMap<u64, Pending>, edge: Edge, grad: Var) -> Result<()> {
    let Edge { node, index } = edge;
    let outputs = node.metas.len();
    let pending = waiting.entry(node.id).or_insert_with(|| Pending { node, grads: smallvec![None; outputs] });
    let slot = &mut pending.grads[index as usize];
    *slot = Some(match slot.take() {
        None => grad,
        Some(sum) => catch(|| sum + grad)?,
    });
    Ok(())
}
