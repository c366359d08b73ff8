//! The tape: a node knows its inputs' nodes and what its gradient rule needs. Edges run from child to parent only.

use crate::base::{DType, Result};
use crate::graph::op::{Meta, Op};
use crate::graph::params::Args;
use crate::graph::var::Var;
use crate::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// Output `index` of a node.
#[derive(Clone)]
pub struct Edge {
    pub node: Arc<Node>,
    pub index: u32,
}

/// One input of a recorded op.
pub struct Input {
    pub edge: Option<Edge>,
    pub meta: Meta,
    /// The value, where the rule needs it.
    pub saved: Option<Tensor>,
}

/// Where gradients of a marked variable go.
pub trait Sink: Send + Sync {
    /// Whether gradients are wanted at all (`grad_req` other than `null`).
    fn wanted(&self) -> bool;
    /// Takes the whole gradient of one backward pass.
    fn deliver(&self, grad: Var) -> Result<()>;
    /// A backward pass without `retain_graph` went through: MXNet unmarks variables of `grad_req='null'` then.
    fn passed(&self);
}

/// A gradient written by the user: one gradient for each output in, one for each input out.
pub trait UserRule: Send + Sync {
    fn backward(&self, grads: Vec<Var>) -> Result<Vec<Option<Var>>>;
    fn name(&self) -> String;
}

pub enum Body {
    Leaf(Arc<dyn Sink>),
    /// `args` is `None` where the op has none: most ops, and a node is what a long tape is made of.
    Op {
        op: &'static Op,
        args: Option<Box<Args>>,
        inputs: SmallVec<[Input; 2]>,
        outputs: SmallVec<[Tensor; 1]>,
    },
    User {
        rule: Arc<dyn UserRule>,
        inputs: SmallVec<[Input; 2]>,
    },
    /// A backward pass went through without `retain_graph`.
    Released,
}

impl Body {
    pub fn inputs(&self) -> &[Input] {
        match self {
            Body::Op { inputs, .. } | Body::User { inputs, .. } => inputs,
            Body::Leaf(_) | Body::Released => &[],
        }
    }
}

pub struct Node {
    /// Rises with every node of the process, so a child's is above its parents'.
    pub id: u64,
    pub metas: SmallVec<[(SmallVec<[usize; 4]>, DType); 1]>,
    body: Mutex<Body>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Nodes alive now.
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

impl Node {
    pub fn new(outputs: &[Tensor], body: Body) -> Arc<Node> {
        LIVE.fetch_add(1, Relaxed);
        let metas = outputs.iter().map(|t| (SmallVec::from_slice(t.shape()), t.dtype())).collect();
        Arc::new(Node { id: NEXT.fetch_add(1, Relaxed), metas, body: Mutex::new(body) })
    }
    pub fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(|e| e.into_inner())
    }
    pub fn is_leaf(&self) -> bool {
        matches!(*self.body(), Body::Leaf(_))
    }
}

/// A chain of a million nodes must not drop by recursion: the last handle unlinks its parents onto a list.
impl Drop for Node {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
        let body = self.body.get_mut().unwrap_or_else(|e| e.into_inner());
        if body.inputs().iter().all(|i| i.edge.is_none()) {
            return;
        }
        let mut stack: Vec<Arc<Node>> = Vec::new();
        unlink(body, &mut stack);
        while let Some(node) = stack.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                unlink(node.body.get_mut().unwrap_or_else(|e| e.into_inner()), &mut stack);
            }
        }
    }
}

/// Empties a body, keeping its parents' handles on the stack.
pub fn unlink(body: &mut Body, stack: &mut Vec<Arc<Node>>) {
    if let Body::Op { inputs, .. } | Body::User { inputs, .. } = std::mem::replace(body, Body::Released) {
        stack.extend(inputs.into_iter().filter_map(|i| i.edge).map(|e| e.node));
    }
}
