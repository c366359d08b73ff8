//! The walk back: nodes newest first, each rule applied once with the sum of what came in.
//!
//! Node numbers rise as nodes are made, so a child's is above its parents'. Taking the highest number that waits is
//! thus a reverse topological order, and neither a sort nor recursion is needed.

use crate::base::error::catch;
use crate::base::layout::{broadcast, show};
use crate::base::{Error, Result};
use crate::ensure;
use crate::graph::mode::Scope;
use crate::graph::node::{Body, Edge, Input, Node, Sink};
use crate::graph::op::{Grad, GradCtx, Grads, Meta};
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

impl Pending {
    fn new(node: Arc<Node>) -> Pending {
        let grads = smallvec![None; node.metas.len()];
        Pending { node, grads }
    }
    fn add(&mut self, index: u32, grad: Var) -> Result<()> {
        let slot = &mut self.grads[index as usize];
        *slot = Some(match slot.take() {
            None => grad,
            Some(sum) => catch(|| sum + grad)?,
        });
        Ok(())
    }
}

/// The nodes that wait. The newest is kept outside the map: along a chain it is the only one that comes and goes.
#[derive(Default)]
struct Waiting {
    newest: Option<Pending>,
    others: BTreeMap<u64, Pending>,
}

impl Waiting {
    fn pop(&mut self) -> Option<Pending> {
        self.newest.take().or_else(|| self.others.pop_last().map(|(_, pending)| pending))
    }
    /// Adds a gradient to what waits at a node.
    fn add(&mut self, edge: Edge, grad: Var) -> Result<()> {
        let Edge { node, index } = edge;
        let id = node.id;
        if let Some(newest) = &mut self.newest
            && newest.node.id == id
        {
            return newest.add(index, grad);
        }
        let bound = match &self.newest {
            Some(newest) => Some(newest.node.id),
            None => self.others.last_key_value().map(|(&last, _)| last),
        };
        if bound.is_none_or(|bound| id > bound) {
            let mut pending = Pending::new(node);
            pending.add(index, grad)?;
            if let Some(older) = self.newest.replace(pending) {
                self.others.insert(older.node.id, older);
            }
            return Ok(());
        }
        self.others.entry(id).or_insert_with(|| Pending::new(node)).add(index, grad)
    }
}

/// How to walk.
#[derive(Clone, Copy)]
pub struct Walk {
    pub retain_graph: bool,
    pub create_graph: bool,
    pub train_mode: bool,
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
    let none = Args::new();
    let mut waiting = Waiting::default();
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
        waiting.add(edge.clone(), grad)?;
    }
    while let Some(Pending { node, mut grads }) = waiting.pop() {
        match take(&node, walk.retain_graph) {
            Body::Leaf(sink) => {
                if let Some(grad) = grads.pop().flatten() {
                    leaf(&node, sink, grad);
                }
            }
            Body::Op { op, args, inputs, outputs } => {
                let found = match op.grad {
                    Grad::Zero => inputs.iter().map(|_| Some(Var::scalar(0.0))).collect(),
                    Grad::Linear(rule) | Grad::FromInputs(rule) | Grad::FromOutput(rule) | Grad::FromBoth(rule) => {
                        let edge = |index| walk.create_graph.then(|| Edge { node: node.clone(), index });
                        let outputs = outputs.into_iter().zip(0..).map(|(tensor, k)| Var { tensor, edge: edge(k) });
                        let args = args.as_deref().unwrap_or(&none);
                        let ctx = GradCtx { op, args, inputs: &inputs, outputs: outputs.collect(), metas: &node.metas };
                        catch(|| rule(&ctx, &whole(grads, &node.metas)))?
                    }
                    Grad::Composed => {
                        return Err(Error::op(format_args!("{}: composed ops are not recorded", op.name)));
                    }
                };
                pass_on(&mut waiting, inputs, found, &node.metas)?;
            }
            Body::User { rule, inputs } => {
                let _scope = Scope::enter(Some(false), None);
                let grads = catch(|| whole(grads, &node.metas))?;
                let found = rule.backward(grads.into_vec())?;
                ensure!(
                    found.len() == inputs.len(),
                    "{}.backward: one gradient for each input of forward, got {}, expected {}",
                    rule.name(),
                    found.len(),
                    inputs.len()
                );
                for (i, (grad, input)) in found.iter().zip(&inputs).enumerate() {
                    let Some(grad) = grad else { continue };
                    let (got, expected) = (grad.shape(), input.shape(&node.metas));
                    // One number may stand for all elements, as it does wherever arrays broadcast.
                    ensure!(
                        broadcast(got, expected).is_some_and(|whole| whole.as_slice() == expected),
                        "{}.backward: gradient of input {i}, got shape {}, expected {}",
                        rule.name(),
                        show(got),
                        show(expected)
                    );
                }
                pass_on(&mut waiting, inputs, found.into(), &node.metas)?;
            }
            Body::Released => return Err(Error::op(NOTHING_TO_REACH)),
        }
    }
    Ok(())
}

/// The node's content: copied where the graph stays, else taken, so that memory is freed while the walk goes on.
fn take(node: &Node, retain_graph: bool) -> Body {
    let mut body = node.body();
    if retain_graph || matches!(*body, Body::Leaf(_)) {
        body.clone()
    } else {
        std::mem::replace(&mut *body, Body::Released)
    }
}

/// The gradient of each output: zero for one that nothing used.
fn whole(grads: SmallVec<[Option<Var>; 1]>, metas: &[Meta]) -> SmallVec<[Var; 1]> {
    let or_zero =
        |(grad, meta): (Option<Var>, &Meta)| grad.unwrap_or_else(|| filled(&meta.shape, meta.dtype, meta.device, 0.0));
    grads.into_iter().zip(metas).map(or_zero).collect()
}

/// Sends each gradient to the node that made the input, fitted to the input's shape and dtype.
fn pass_on(waiting: &mut Waiting, inputs: SmallVec<[Input; 2]>, grads: Grads, metas: &[Meta]) -> Result<()> {
    for (input, grad) in inputs.into_iter().zip(grads) {
        let Some(grad) = grad.filter(|_| input.var.edge.is_some()) else { continue };
        let (shape, dtype) = (input.shape(metas), input.dtype(metas));
        let fits = matches!(grad.tensor, Tensor::Array(_)) && grad.shape() == shape && grad.dtype() == dtype;
        let grad = if fits { grad } else { catch(|| grad.fit(shape, dtype, input.device(metas)))? };
        if let Some(edge) = input.var.edge {
            waiting.add(edge, grad)?;
        }
    }
    Ok(())
}
