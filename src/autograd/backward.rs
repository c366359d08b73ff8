//! The walk back: nodes newest first, each rule applied once with the sum of what came in.
//!
//! Node numbers rise as nodes are made, so a child's is above its parents'. Taking the highest number that waits is
//! thus a reverse topological order, and neither a sort nor recursion is needed.

use crate::base::error::catch;
use crate::base::layout::{broadcast, same, show};
use crate::base::{Error, Result};
use crate::ensure;
use crate::graph::mode::Scope;
use crate::graph::node::{Body, Edge, Input, Node, Sink, UserRule};
use crate::graph::op::{Grad, GradCtx, Grads, Meta};
use crate::graph::{Args, Var};
use crate::ops::expr::filled;
use crate::tensor::Tensor;
use crate::tensor::expr::SMALL;
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
        let grads = match node.metas.len() {
            1 => SmallVec::from_buf([None]),
            n => smallvec![None; n],
        };
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

/// What is left of a walk: `Send`, so that it may run while other Python threads do.
pub type Rest<'a> = &'a mut (dyn FnMut() -> Result<()> + Send);
/// How to run what is left once a walk proves long.
pub type Outside<'a> = &'a dyn Fn(Rest) -> Result<()>;

/// Nodes of few elements that a walk passes before it counts as long.
const SHORT: usize = 1000;

/// Gradients of `heads` into the buffers of marked variables.
pub fn backward(heads: &[Var], head_grads: &[Option<Var>], walk: Walk) -> Result<()> {
    backward_in(heads, head_grads, walk, &|rest| rest())
}

/// [`backward`] where a long walk is to run in some other way from there on.
pub fn backward_in(heads: &[Var], head_grads: &[Option<Var>], walk: Walk, outside: Outside) -> Result<()> {
    let mut found: SmallVec<[(Arc<dyn Sink>, Var); 2]> = SmallVec::new();
    let mut passed: Vec<Arc<dyn Sink>> = Vec::new();
    walk_back(heads, head_grads, walk, outside, |_, sink, grad| {
        if sink.wanted() { found.push((sink, grad)) } else { passed.push(sink) }
    })?;
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
    grad_in(heads, variables, head_grads, walk, &|rest| rest())
}

/// [`grad`] where a long walk is to run in some other way from there on.
pub fn grad_in(
    heads: &[Var],
    variables: &[Var],
    head_grads: &[Option<Var>],
    walk: Walk,
    outside: Outside,
) -> Result<Vec<Var>> {
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
    walk_back(heads, head_grads, walk, outside, |node, _, grad| {
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
    outside: Outside,
    mut leaf: impl FnMut(&Arc<Node>, Arc<dyn Sink>, Var) + Send,
) -> Result<()> {
    let mut waiting = start(heads, head_grads)?;
    let mut first_large = None;
    {
        let _scope = Scope::enter(Some(walk.create_graph), Some(walk.train_mode));
        for _ in 0..SHORT {
            let Some(pending) = waiting.pop() else { return Ok(()) };
            let body = take(&pending.node, walk.retain_graph);
            if !is_small(&pending.node, &body) {
                first_large = Some((pending, body));
                break;
            }
            visit(&mut waiting, pending, body, walk, &mut leaf)?;
        }
    }
    outside(&mut || {
        let _scope = Scope::enter(Some(walk.create_graph), Some(walk.train_mode));
        if let Some((pending, body)) = first_large.take() {
            visit(&mut waiting, pending, body, walk, &mut leaf)?;
        }
        while let Some(pending) = waiting.pop() {
            let body = take(&pending.node, walk.retain_graph);
            visit(&mut waiting, pending, body, walk, &mut leaf)?;
        }
        Ok(())
    })
}

/// The gradients that wait at first: those of the heads.
fn start(heads: &[Var], head_grads: &[Option<Var>]) -> Result<Waiting> {
    ensure!(!heads.is_empty(), "backward: at least one head expected, got none");
    let mut waiting = Waiting::default();
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
    Ok(waiting)
}

/// Whether the rule of a node has little to do: all it sees is small, and on the host.
#[inline]
fn is_small(node: &Node, body: &Body) -> bool {
    let few = |shape: &[usize]| shape.iter().product::<usize>() <= SMALL;
    let little = |meta: &Meta| few(&meta.shape) && !meta.device.is_gpu();
    node.metas.iter().all(little) && body.inputs().iter().all(|input| input.other().is_none_or(little))
}

/// Applies the rule of one node, or hands over the gradient of a leaf.
#[inline(always)]
fn visit(
    waiting: &mut Waiting,
    Pending { node, mut grads }: Pending,
    body: Body,
    walk: Walk,
    leaf: &mut impl FnMut(&Arc<Node>, Arc<dyn Sink>, Var),
) -> Result<()> {
    match body {
        Body::Leaf(sink) => {
            if let Some(grad) = grads.pop().flatten() {
                leaf(&node, sink, grad);
            }
            Ok(())
        }
        Body::Op { op, args, mut inputs, outputs } => {
            let mut found: Grads = match op.grad {
                Grad::Zero => inputs.iter().map(|_| Some(Var::scalar(0.0))).collect(),
                Grad::Linear(rule) | Grad::FromInputs(rule) | Grad::FromOutput(rule) | Grad::FromBoth(rule) => {
                    let none = Args::new();
                    let outputs = match outputs.is_empty() {
                        true => SmallVec::new(),
                        false => outputs_of(&node, outputs, walk.create_graph),
                    };
                    let args = args.as_deref().unwrap_or(&none);
                    let ctx = GradCtx { op, args, inputs: &inputs, outputs, metas: &node.metas };
                    catch(|| rule(&ctx, &whole(grads, &node.metas)))?
                }
                Grad::Composed => {
                    return Err(Error::op(format_args!("{}: composed ops are not recorded", op.name)));
                }
            };
            pass_on(waiting, &mut inputs, &mut found, &node.metas)
        }
        Body::User { rule, inputs } => visit_user(waiting, &node, grads, rule, inputs),
        Body::Released => Err(Error::op(NOTHING_TO_REACH)),
    }
}

/// Saved outputs as the rule sees them: on the tape where its own work is recorded.
fn outputs_of(node: &Arc<Node>, outputs: SmallVec<[Tensor; 1]>, create_graph: bool) -> SmallVec<[Var; 1]> {
    let edge = |index| create_graph.then(|| Edge { node: node.clone(), index });
    outputs.into_iter().zip(0..).map(|(tensor, k)| Var { tensor, edge: edge(k) }).collect()
}

#[cold]
fn visit_user(
    waiting: &mut Waiting,
    node: &Node,
    grads: SmallVec<[Option<Var>; 1]>,
    rule: Arc<dyn UserRule>,
    mut inputs: SmallVec<[Input; 2]>,
) -> Result<()> {
    let _scope = Scope::enter(Some(false), None);
    let grads = catch(|| whole(grads, &node.metas))?;
    let mut found = rule.backward(grads.into_vec())?;
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
    pass_on(waiting, &mut inputs, &mut found, &node.metas)
}

/// The node's content: copied where the graph stays, else taken, so that memory is freed while the walk goes on.
#[inline]
fn take(node: &Node, retain_graph: bool) -> Body {
    let mut body = node.body();
    if retain_graph || matches!(*body, Body::Leaf(_)) {
        body.clone()
    } else {
        std::mem::replace(&mut *body, Body::Released)
    }
}

/// The gradient of each output: zero for one that nothing used.
#[inline]
fn whole(mut grads: SmallVec<[Option<Var>; 1]>, metas: &[Meta]) -> SmallVec<[Var; 1]> {
    if let [grad @ Some(_)] = grads.as_mut_slice()
        && let Some(grad) = grad.take()
    {
        return SmallVec::from_buf([grad]);
    }
    let or_zero =
        |(grad, meta): (Option<Var>, &Meta)| grad.unwrap_or_else(|| filled(&meta.shape, meta.dtype, meta.device, 0.0));
    grads.into_iter().zip(metas).map(or_zero).collect()
}

/// Sends each gradient to the node that made the input, fitted to the input's shape and dtype.
#[inline]
fn pass_on(waiting: &mut Waiting, inputs: &mut [Input], grads: &mut [Option<Var>], metas: &[Meta]) -> Result<()> {
    for (input, grad) in inputs.iter_mut().zip(grads) {
        let Some(edge) = input.var.edge.take() else { continue };
        let Some(grad) = grad.take() else { continue };
        let (shape, dtype) = (input.shape(metas), input.dtype(metas));
        let fits = matches!(&grad.tensor, Tensor::Array(value) if value.dtype == dtype && same(&value.shape, shape));
        let grad = if fits { grad } else { catch(|| grad.fit(shape, dtype, input.device(metas)))? };
        waiting.add(edge, grad)?;
    }
    Ok(())
}
