//! The tape: a node knows its inputs' nodes and what its gradient rule needs. Edges run from child to parent only.

use crate::base::buffer::placed;
use crate::base::layout::same;
use crate::base::{DType, Device, Result};
use crate::graph::op::{Meta, Op};
use crate::graph::params::Args;
use crate::graph::var::Var;
use crate::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard};

/// Output `index` of a node.
#[derive(Clone)]
pub struct Edge {
    pub node: Arc<Node>,
    pub index: u32,
}

/// One input of a recorded op.
#[derive(Clone)]
pub struct Input {
    /// Its place on the tape, and its value where `saved` says so: else a number stands there.
    pub var: Var,
    pub saved: bool,
    like: Like,
}

/// Shape, dtype and device of an input. Most ops keep them, and a node is what a long tape is made of.
#[derive(Clone)]
enum Like {
    /// As the node's first output.
    Output,
    Number(DType),
    Other(Box<Meta>),
}

impl Like {
    #[cold]
    fn other(tensor: &Tensor) -> Like {
        Like::Other(Box::new(Meta::of(tensor)))
    }
}

impl Input {
    /// Where `saved` does not say so, the value is let go of. `like` is the node's first output.
    #[inline(always)]
    pub fn new(input: Var, like: Option<&Tensor>, saved: bool) -> Input {
        let like = match (&input.tensor, like) {
            (Tensor::Scalar(_), _) => Like::Number(input.dtype()),
            (Tensor::Array(value), Some(Tensor::Array(output)))
                if same(&value.shape, &output.shape)
                    && value.dtype == output.dtype
                    && value.device == output.device =>
            {
                Like::Output
            }
            _ => Like::other(&input.tensor),
        };
        let tensor = if saved { input.tensor } else { Tensor::scalar(0.0) };
        Input { var: Var { tensor, edge: input.edge }, saved, like }
    }
    #[inline]
    pub fn shape<'a>(&'a self, outputs: &'a [Meta]) -> &'a [usize] {
        match &self.like {
            Like::Output => &outputs[0].shape,
            Like::Number(_) => &[],
            Like::Other(meta) => &meta.shape,
        }
    }
    #[inline]
    pub fn dtype(&self, outputs: &[Meta]) -> DType {
        match &self.like {
            Like::Output => outputs[0].dtype,
            Like::Number(dtype) => *dtype,
            Like::Other(meta) => meta.dtype,
        }
    }
    /// What it looks like where that differs from the node's first output.
    #[inline]
    pub fn other(&self) -> Option<&Meta> {
        match &self.like {
            Like::Other(meta) => Some(meta),
            _ => None,
        }
    }
    #[inline]
    pub fn device(&self, outputs: &[Meta]) -> Device {
        match &self.like {
            Like::Output => outputs[0].device,
            Like::Number(_) => Device::CPU,
            Like::Other(meta) => meta.device,
        }
    }
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

#[derive(Clone)]
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
    /// Of each output.
    pub metas: SmallVec<[Meta; 1]>,
    body: Mutex<Body>,
}

static MADE: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Nodes alive now.
pub fn live() -> usize {
    let dropped = DROPPED.load(Acquire);
    (MADE.load(Relaxed) - dropped) as usize
}

impl Node {
    #[inline(always)]
    pub fn new(outputs: &[Tensor], body: Body) -> Arc<Node> {
        let metas = match outputs {
            [one] => SmallVec::from_buf([Meta::of(one)]),
            many => Node::metas(many),
        };
        placed(|| Node { id: MADE.fetch_add(1, Relaxed), metas, body: Mutex::new(body) })
    }
    #[cold]
    fn metas(outputs: &[Tensor]) -> SmallVec<[Meta; 1]> {
        outputs.iter().map(Meta::of).collect()
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
        DROPPED.fetch_add(1, Release);
        let body = self.body.get_mut().unwrap_or_else(|e| e.into_inner());
        if body.inputs().iter().all(|i| i.var.edge.is_none()) {
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
        stack.extend(inputs.into_iter().filter_map(|i| i.var.edge).map(|e| e.node));
    }
}
