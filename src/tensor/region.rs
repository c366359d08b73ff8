//! Gathers the deferred work behind a value into one program: which nodes join it, which are leaves, which are written.

use crate::base::layout::{broadcast_strides, few};
use crate::base::lock::lock;
use crate::base::{DType, Result, Strides};
use crate::ir::MapFn;
use crate::ir::program::{Program, Reg, Scalar, Source};
use crate::tensor::expr::Expr;
use crate::tensor::{Storage, Tensor, Value};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Redoing less than this in a later region is cheaper than writing the value to memory and reading it back.
const REDO: u32 = 4;

/// How often a value is redone before it is written after all: what was read twice is likely to be read again.
const TIMES: u8 = 2;

/// What a kernel that is fed may compute again for others that read the same value.
const FEED: u32 = 12;

/// One deferred node of a region.
struct Node {
    value: Arc<Value>,
    f: Option<&'static MapFn>,
    ins: SmallVec<[Input; 3]>,
    imm: SmallVec<[f64; 2]>,
    /// What computing it takes, with what it needs that is not written.
    spent: u32,
    written: bool,
    /// Whether somebody outside the region holds it.
    shared: bool,
    reg: Reg,
}

#[derive(Clone, Copy)]
enum Input {
    Number(Scalar),
    /// Index among the values found.
    Value(usize),
}

/// A value met on the way, and how often the region's expressions hold it.
struct Found {
    key: *const Value,
    edges: usize,
    place: Place,
}

#[derive(Clone, Copy)]
enum Place {
    /// Deferred, not looked into yet.
    Open,
    Node(usize),
    Leaf(usize),
}

/// The elements of a leaf, in the memory where the region runs.
pub trait Data: Sized {
    /// Those of a value, forced if need be.
    fn of(tensor: &Tensor) -> Result<Self>;
    /// The strides over the leaf's own shape.
    fn strides(&self, ndim: usize) -> Strides;
    /// Whether only the leaf and its value hold the memory.
    fn sole(&self) -> bool;
}

impl Data for Storage {
    fn of(tensor: &Tensor) -> Result<Storage> {
        tensor.storage().cloned()
    }
    fn strides(&self, _: usize) -> Strides {
        crate::base::layout::copied(&self.strides)
    }
    fn sole(&self) -> bool {
        Arc::strong_count(&self.buffer) <= 2
    }
}

pub struct LeafRef<D> {
    pub value: Arc<Value>,
    pub storage: D,
    pub strides: Strides,
    /// Index of the last instruction that reads it.
    pub last_use: usize,
    /// Whether nothing outside the region, nor anything that stays deferred, can reach it.
    pub exclusive: bool,
}

pub struct Region<D> {
    pub program: Program,
    pub leaves: Vec<LeafRef<D>>,
    /// Values to write, in the order of the program's outputs; the root is the last.
    pub outputs: Vec<Arc<Value>>,
}

/// What a region is gathered for.
#[derive(Clone, Copy)]
pub enum Root<'a> {
    /// A value, with the expression taken out of it.
    Map(&'a Arc<Value>, &'a Expr),
    /// The input of a reduction, which folds it and does not write it.
    Fold(&'a Tensor),
    /// The input of a kernel that reads it once, row by row: not written unless it is dear, since whoever else holds it
    /// does so on the way to that kernel, as a rule.
    Feed(&'a Tensor),
}

/// A pending visit: a value to look into, or a node whose inputs are done.
enum Visit {
    Enter(usize),
    Leave(usize),
}

/// The values of a region while it is gathered. They are few: the cap bounds them, so that a list is searched faster
/// than a map.
struct Gather<D> {
    found: SmallVec<[Found; 16]>,
    nodes: SmallVec<[Node; 8]>,
    leaves: Vec<LeafRef<D>>,
    /// Nodes, inputs before their users.
    order: SmallVec<[usize; 16]>,
    stack: SmallVec<[Visit; 16]>,
    /// Handles of the values that are open.
    open: SmallVec<[(usize, Arc<Value>); 8]>,
}

impl<D: Data> Gather<D> {
    fn new() -> Gather<D> {
        Gather {
            found: SmallVec::new(),
            nodes: SmallVec::new(),
            leaves: Vec::new(),
            order: SmallVec::new(),
            stack: SmallVec::new(),
            open: SmallVec::new(),
        }
    }
    /// Counts one more edge to a value, found on the first.
    fn meet(&mut self, value: &Arc<Value>, shape: &[usize]) -> Result<usize> {
        let key = Arc::as_ptr(value);
        if let Some(i) = self.found.iter().position(|f| f.key == key) {
            self.found[i].edges += 1;
            return Ok(i);
        }
        let i = self.found.len();
        let place = if value.ready.get().is_none() && value.shape.as_slice() == shape {
            self.open.push((i, value.clone()));
            Place::Open
        } else {
            self.leaf(value.clone(), shape)?
        };
        self.found.push(Found { key, edges: 1, place });
        Ok(i)
    }

    fn leaf(&mut self, value: Arc<Value>, shape: &[usize]) -> Result<Place> {
        let storage = D::of(&Tensor::Array(value.clone()))?;
        let strides = broadcast_strides(&value.shape, &storage.strides(value.shape.len()), shape);
        self.leaves.push(LeafRef { value, storage, strides, last_use: 0, exclusive: true });
        Ok(Place::Leaf(self.leaves.len() - 1))
    }

    /// Makes a node of an expression, unless it is a reduction or a kernel: those are their own loops.
    fn node(&mut self, value: &Arc<Value>, expr: &Expr, shape: &[usize]) -> Result<Option<usize>> {
        let (f, imm) = match expr {
            Expr::Map { f, imm, .. } => (Some(*f), imm.clone()),
            Expr::Cast { .. } => (None, SmallVec::new()),
            Expr::Reduce { .. } | Expr::Kernel { .. } | Expr::Put { .. } | Expr::Gpu(_) => return Ok(None),
        };
        let mut ins: SmallVec<[Input; 3]> = SmallVec::new();
        for input in expr.inputs() {
            ins.push(match input {
                Tensor::Scalar(number) => Input::Number(*number),
                Tensor::Array(value) => Input::Value(self.meet(value, shape)?),
            });
        }
        let node = self.nodes.len();
        self.stack.push(Visit::Leave(node));
        for input in ins.iter().rev() {
            if let Input::Value(i) = *input
                && matches!(self.found[i].place, Place::Open)
            {
                self.stack.push(Visit::Enter(i));
            }
        }
        let value = value.clone();
        self.nodes.push(Node { value, f, ins, imm, spent: 0, written: false, shared: false, reg: 0 });
        Ok(Some(node))
    }

    fn walk(&mut self, shape: &[usize]) -> Result<()> {
        while let Some(visit) = self.stack.pop() {
            let i = match visit {
                Visit::Leave(node) => {
                    self.order.push(node);
                    continue;
                }
                Visit::Enter(i) => i,
            };
            let Some(at) = self.open.iter().position(|(open, _)| *open == i) else { continue };
            let (_, value) = self.open.swap_remove(at);
            let expr = lock(&value.expr);
            let node = match expr.as_deref() {
                Some(expr) => self.node(&value, expr, shape)?,
                None => None,
            };
            drop(expr);
            self.found[i].place = match node {
                Some(node) => Place::Node(node),
                None => self.leaf(value, shape)?,
            };
        }
        Ok(())
    }

    /// A node that others hold is written on the way where redoing it later would cost more.
    fn decide(&mut self, root: Option<*const Value>) {
        for k in 0..self.order.len() {
            let n = self.order[k];
            let node = &self.nodes[n];
            let mut spent = node.f.map_or(1, MapFn::cost);
            for input in &node.ins {
                if let Input::Value(i) = *input
                    && let Place::Node(m) = self.found[i].place
                    && !self.nodes[m].written
                {
                    spent = spent.saturating_add(self.nodes[m].spent);
                }
            }
            let is_root = root == Some(Arc::as_ptr(&node.value));
            // Held by this list and by the expressions that were looked into. More means somebody else.
            let shared = !is_root && Arc::strong_count(&node.value) > 1 + self.edges(Arc::as_ptr(&node.value));
            let node = &mut self.nodes[n];
            let often = || node.value.redone.fetch_add(1, Relaxed) >= TIMES;
            let written = is_root || shared && (spent > REDO || often());
            (node.spent, node.shared, node.written) = (spent, shared, written);
        }
    }

    /// Which nodes stay deferred, since others hold them or what is made of them: they keep their leaves.
    fn staying(&self) -> SmallVec<[bool; 16]> {
        let mut stays: SmallVec<[bool; 16]> = self.nodes.iter().map(|n| n.shared && !n.written).collect();
        for &n in self.order.iter().rev().filter(|_| self.nodes.iter().any(|n| n.shared)) {
            for input in &self.nodes[n].ins {
                if let Input::Value(i) = *input
                    && let Place::Node(m) = self.found[i].place
                {
                    stays[m] |= stays[n] && !self.nodes[m].written;
                }
            }
        }
        stays
    }

    fn edges(&self, key: *const Value) -> usize {
        self.found.iter().find(|f| f.key == key).map_or(0, |f| f.edges)
    }

    fn reg(&self, i: usize) -> Reg {
        match self.found[i].place {
            Place::Node(n) => self.nodes[n].reg,
            Place::Leaf(l) => l as Reg,
            Place::Open => unreachable!("every value found is a node or a leaf by now"),
        }
    }
}

impl<D: Data> Region<D> {
    /// The region of `root` over `shape`. A fold cannot write interior values that others hold on its way: they are
    /// computed first, where a map makes them outputs.
    pub fn gather(root: Root, shape: &[usize]) -> Result<Region<D>> {
        let mut g = Gather::<D>::new();
        match root {
            Root::Map(value, expr) => drop(g.node(value, expr, shape)?),
            Root::Fold(Tensor::Array(value)) | Root::Feed(Tensor::Array(value)) => {
                let first = g.meet(value, shape)?;
                g.stack.push(Visit::Enter(first));
            }
            Root::Fold(Tensor::Scalar(_)) | Root::Feed(Tensor::Scalar(_)) => {}
        }
        g.walk(shape)?;
        let top = match root {
            Root::Map(value, _) => Some(Arc::as_ptr(value)),
            Root::Fold(_) | Root::Feed(_) => None,
        };
        g.decide(top);
        if let Root::Feed(Tensor::Array(value)) = root
            && let Some(node) = g.nodes.iter_mut().find(|n| Arc::ptr_eq(&n.value, value))
        {
            node.written &= node.spent > FEED || node.value.redone.load(Relaxed) > TIMES;
        }
        if top.is_none()
            && let Some(&n) = g.order.iter().find(|&&n| g.nodes[n].written)
        {
            let held = Tensor::Array(g.nodes[n].value.clone());
            drop(g);
            held.force()?;
            return Region::gather(root, shape);
        }
        let stays = g.staying();
        let mut region =
            Region { program: Program::default(), leaves: std::mem::take(&mut g.leaves), outputs: Vec::new() };
        region.program.leaves = region.leaves.iter().map(|l| l.value.dtype).collect();
        for k in 0..g.order.len() {
            let n = g.order[k];
            let node = &g.nodes[n];
            let ins: SmallVec<[Source; 3]> = few(node.ins.iter().map(|input| match *input {
                Input::Number(number) => Source::Scalar(number),
                Input::Value(i) => Source::Reg(g.reg(i)),
            }));
            let reg = region.emit(node, &ins, node.written);
            let now = region.program.instrs.len();
            for source in &ins {
                if let Source::Reg(reg) = source
                    && let Some(leaf) = region.leaves.get_mut(*reg as usize)
                {
                    leaf.last_use = now;
                    leaf.exclusive &= !node.shared && !stays[n];
                }
            }
            if node.written {
                region.program.outputs.push(reg);
                region.outputs.push(node.value.clone());
            }
            g.nodes[n].reg = reg;
        }
        if top.is_none() && !g.found.is_empty() {
            region.program.outputs.push(g.reg(0));
        }
        for leaf in &mut region.leaves {
            // Held by the list and by the expressions that were looked into.
            let inside = 1 + g.edges(Arc::as_ptr(&leaf.value));
            leaf.exclusive &= Arc::strong_count(&leaf.value) <= inside && leaf.storage.sole();
        }
        Ok(region)
    }

    /// Appends a node's instructions. A written value must be an instruction of its own, so that it has one target.
    fn emit(&mut self, node: &Node, ins: &[Source], written: bool) -> Reg {
        let dtype = node.value.dtype;
        let reg = match node.f {
            Some(f) => self.program.map(f, dtype, ins, &node.imm),
            None => match self.program.cast(ins[0], dtype) {
                Source::Reg(reg) => reg,
                Source::Scalar(_) => 0,
            },
        };
        let is_leaf = (reg as usize) < self.program.leaves.len();
        if written && (is_leaf || self.program.outputs.contains(&reg)) {
            return self.copy(reg, dtype);
        }
        reg
    }

    fn copy(&mut self, reg: Reg, dtype: DType) -> Reg {
        let step = crate::ir::program::Step::Cast(dtype);
        let ins = [Source::Reg(reg)].into_iter().collect();
        self.program.push(crate::ir::program::Instr { step, dtype, ins, imm: SmallVec::new() })
    }
}

/// The axes of a reduction in the order it runs: kept, folded, and some of the last kept ones innermost.
pub struct FoldOrder {
    pub axes: Vec<usize>,
    pub extent: crate::cpu::fold::Extent,
}

/// Folded axes run in the order of an input's memory, given its strides. Where its innermost axis is kept, the results
/// along that run side by side; else they are those behind the last folded axis.
pub fn fold_order(shape: &[usize], folded: &[bool], strides: Option<&[isize]>) -> FoldOrder {
    let kept: Vec<usize> = (0..shape.len()).filter(|&a| !folded[a]).collect();
    let mut reduce: Vec<usize> = (0..shape.len()).filter(|&a| folded[a]).collect();
    let behind = || kept.iter().filter(|&&a| folded[a..].iter().all(|f| !f)).count();
    let unit = strides.and_then(|s| (0..shape.len()).filter(|&a| shape[a] > 1).min_by_key(|&a| s[a].unsigned_abs()));
    let inner = match (unit, strides) {
        (Some(unit), _) if folded[unit] => 0,
        (Some(unit), Some(s)) if kept.iter().rev().find(|&&a| shape[a] > 1) == Some(&unit) => {
            let alone = |w: &[usize]| shape[w[0]] == 1 || shape[w[1]] == 1;
            let joined = |w: &[usize]| alone(w) || s[w[0]] == s[w[1]] * shape[w[1]] as isize;
            1 + kept.windows(2).rev().take_while(|w| joined(w)).count()
        }
        _ => behind(),
    };
    if let Some(s) = strides {
        reduce.sort_by_key(|&a| std::cmp::Reverse(s[a].unsigned_abs()));
    }
    let (outer, inner) = kept.split_at(kept.len() - inner);
    let size = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
    let extent = crate::cpu::fold::Extent { outer: size(outer), reduce: size(&reduce), inner: size(inner) };
    FoldOrder { axes: [outer, &reduce, inner].concat(), extent }
}
