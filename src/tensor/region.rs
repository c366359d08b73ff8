//! Gathers the deferred work behind a value into one program: which nodes join it, which are leaves, which are written.

use crate::base::layout::Layout;
use crate::base::{DType, Result, Strides};
use crate::ir::program::{Program, Reg, Source};
use crate::ir::tile::Compute;
use crate::ir::{MapFn, ReduceFn};
use crate::tensor::expr::Expr;
use crate::tensor::{Storage, Tensor, Value};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Redoing less than this in a later region is cheaper than writing the value to memory and reading it back.
const REDO: u32 = 4;

/// One deferred node of a region, with its own references to its inputs.
struct Node {
    value: Arc<Value>,
    f: Option<&'static MapFn>,
    ins: SmallVec<[Tensor; 3]>,
    imm: SmallVec<[f64; 2]>,
}

pub struct LeafRef {
    pub value: Arc<Value>,
    pub storage: Storage,
    pub strides: Strides,
    /// Index of the last instruction that reads it.
    pub last_use: usize,
    /// Whether nothing outside the region, nor anything that stays deferred, can reach it.
    pub exclusive: bool,
}

pub struct Region {
    pub program: Program,
    pub leaves: Vec<LeafRef>,
    /// Values to write, in the order of the program's outputs; the root is the last.
    pub outputs: Vec<Arc<Value>>,
}

fn cost(f: Option<&'static MapFn>) -> u32 {
    match f {
        Some(f) if f.compute == Compute::Float => 6,
        _ => 1,
    }
}

/// The parts of an expression that join a region, or `None` where it is a reduction: that is its own loop.
fn parts(expr: &Expr) -> Option<(Option<&'static MapFn>, SmallVec<[Tensor; 3]>, SmallVec<[f64; 2]>)> {
    match expr {
        Expr::Map { f, ins, imm } => Some((Some(f), ins.clone(), imm.clone())),
        Expr::Cast { input } => Some((None, [input.clone()].into_iter().collect(), SmallVec::new())),
        Expr::Reduce { .. } => None,
    }
}

/// A pending visit: a value to look at, or one whose inputs are done.
enum Visit {
    Enter(Tensor),
    Leave(usize),
}

impl Region {
    /// The region whose last value is computed by `expr` over `shape`. `strict` forces interior values that others
    /// hold (a fold cannot write them on its way) instead of making them outputs.
    pub fn gather(root: Option<&Arc<Value>>, expr: &Expr, shape: &[usize], strict: bool) -> Result<Region> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut order: Vec<usize> = Vec::new();
        let mut node_of: HashMap<*const Value, usize> = HashMap::new();
        let mut leaf_of: HashMap<*const Value, usize> = HashMap::new();
        let mut leaves: Vec<LeafRef> = Vec::new();
        let mut edges: HashMap<*const Value, usize> = HashMap::new();

        let mut stack = Vec::new();
        match (root, parts(expr)) {
            (Some(root), Some((f, ins, imm))) => {
                node_of.insert(Arc::as_ptr(root), 0);
                stack.push(Visit::Leave(0));
                stack.extend(ins.iter().rev().map(|t| Visit::Enter(t.clone())));
                nodes.push(Node { value: root.clone(), f, ins, imm });
            }
            _ => stack.extend(expr.inputs().iter().map(|t| Visit::Enter(t.clone()))),
        }
        while let Some(visit) = stack.pop() {
            let value = match visit {
                Visit::Leave(node) => {
                    order.push(node);
                    continue;
                }
                Visit::Enter(Tensor::Scalar(_)) => continue,
                Visit::Enter(Tensor::Array(value)) => value,
            };
            let key = Arc::as_ptr(&value);
            *edges.entry(key).or_default() += 1;
            if node_of.contains_key(&key) || leaf_of.contains_key(&key) {
                continue;
            }
            if value.ready.get().is_none() && value.shape.as_slice() == shape {
                let expr = value.expr.lock().unwrap_or_else(|e| e.into_inner());
                if let Some((f, ins, imm)) = expr.as_deref().and_then(parts) {
                    drop(expr);
                    let node = nodes.len();
                    node_of.insert(key, node);
                    stack.push(Visit::Leave(node));
                    stack.extend(ins.iter().rev().map(|t| Visit::Enter(t.clone())));
                    nodes.push(Node { value, f, ins, imm });
                    continue;
                }
            }
            let tensor = Tensor::Array(value);
            let storage = tensor.storage()?.clone();
            let layout =
                Layout { shape: tensor.shape().into(), strides: storage.strides.clone(), offset: storage.offset };
            let strides = layout.broadcast_to(shape).strides;
            let Tensor::Array(value) = tensor else { continue };
            leaf_of.insert(key, leaves.len());
            leaves.push(LeafRef { value, storage, strides, last_use: 0, exclusive: true });
        }

        // A node that others hold is written on the way where redoing it later would cost more.
        let mut spent = vec![0u32; nodes.len()];
        let mut written = vec![false; nodes.len()];
        let mut shared = vec![false; nodes.len()];
        for &n in &order {
            let node = &nodes[n];
            let mut total = cost(node.f);
            for input in &node.ins {
                if let Tensor::Array(v) = input
                    && let Some(&m) = node_of.get(&Arc::as_ptr(v))
                    && !written[m]
                {
                    total = total.saturating_add(spent[m]);
                }
            }
            spent[n] = total;
            let is_root = root.is_some_and(|r| Arc::ptr_eq(r, &node.value));
            // Held by: this list, its real parents and our copies of their inputs. More means somebody else.
            let inside = 1 + 2 * edges.get(&Arc::as_ptr(&node.value)).copied().unwrap_or(0);
            // The expression being folded holds its input once, and was not copied.
            shared[n] = !is_root && Arc::strong_count(&node.value) > inside;
            written[n] = is_root || (shared[n] && total > REDO);
        }
        if strict && let Some(n) = order.iter().copied().find(|&n| written[n]) {
            let held = Tensor::Array(nodes[n].value.clone());
            drop(nodes);
            held.force()?;
            return Region::gather(root, expr, shape, strict);
        }

        let mut region = Region { program: Program::default(), leaves, outputs: Vec::new() };
        region.program.leaves = region.leaves.iter().map(|l| l.value.dtype).collect();
        let mut reg_of: Vec<Reg> = vec![0; nodes.len()];
        for &n in &order {
            let node = &nodes[n];
            let mut ins: SmallVec<[Source; 3]> = SmallVec::new();
            for input in &node.ins {
                ins.push(match input {
                    Tensor::Scalar(s) => Source::Scalar(*s),
                    Tensor::Array(v) => match node_of.get(&Arc::as_ptr(v)) {
                        Some(&m) => Source::Reg(reg_of[m]),
                        None => Source::Reg(leaf_of[&Arc::as_ptr(v)] as Reg),
                    },
                });
            }
            reg_of[n] = region.emit(node, &ins, written[n]);
            let now = region.program.instrs.len();
            for (source, input) in ins.iter().zip(&node.ins) {
                if let (Source::Reg(reg), Tensor::Array(_)) = (source, input)
                    && let Some(leaf) = region.leaves.get_mut(*reg as usize)
                {
                    leaf.last_use = now;
                    leaf.exclusive &= !shared[n];
                }
            }
            if written[n] {
                region.program.outputs.push(reg_of[n]);
                region.outputs.push(node.value.clone());
            }
        }
        if root.is_none() {
            let last = match &expr.inputs()[0] {
                Tensor::Array(v) => match node_of.get(&Arc::as_ptr(v)) {
                    Some(&m) => reg_of[m],
                    None => leaf_of[&Arc::as_ptr(v)] as Reg,
                },
                Tensor::Scalar(_) => 0,
            };
            region.program.outputs.push(last);
        }
        for leaf in &mut region.leaves {
            // Held by: the list, its real parents and our copies of their inputs.
            let inside = 1 + 2 * edges[&Arc::as_ptr(&leaf.value)];
            leaf.exclusive &= Arc::strong_count(&leaf.value) <= inside && Arc::strong_count(&leaf.storage.buffer) <= 2;
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

/// The axes of a reduction in the order it runs: kept, folded, and the kept ones after the last folded axis innermost.
pub struct FoldOrder {
    pub axes: Vec<usize>,
    pub extent: crate::cpu::fold::Extent,
}

pub fn fold_order(shape: &[usize], folded: &[bool]) -> FoldOrder {
    let last = folded.iter().rposition(|&f| f).map_or(0, |i| i + 1);
    let inner: Vec<usize> = (last..shape.len()).collect();
    let outer: Vec<usize> = (0..last).filter(|&a| !folded[a]).collect();
    let reduce: Vec<usize> = (0..last).filter(|&a| folded[a]).collect();
    let size = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
    let extent = crate::cpu::fold::Extent { outer: size(&outer), reduce: size(&reduce), inner: size(&inner) };
    FoldOrder { axes: outer.into_iter().chain(reduce).chain(inner).collect(), extent }
}

/// What a reduction needs to run.
pub struct Fold<'a> {
    pub f: &'static ReduceFn,
    pub axes: &'a [bool],
}
