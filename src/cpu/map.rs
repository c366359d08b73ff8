//! Runs a program over memory: tile by tile, every intermediate value in the first-level cache.

use crate::base::layout::few;
use crate::base::{Buffer, DType};
use crate::cpu::lines::ROWS;
use crate::cpu::plan::{BLOCK_BYTES, Frame, Leaf, MAX_TILE, Plan};
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::stream::STREAM;
use crate::cpu::turn::turn;
use crate::cpu::walk::Walk;
use crate::ir::Program;
use crate::ir::program::Instr;
use smallvec::SmallVec;

/// Raw pointers that a parallel loop may share: each piece touches its own part.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub T);
// SAFETY: pieces of a loop read the inputs and write disjoint ranges of the outputs.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The whole wrapper is captured by closures that call this, not its field alone.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// The memory of a leaf: shared with others, or ours to overwrite.
pub enum Operand<'a> {
    Shared(&'a Buffer),
    Own(&'a mut Buffer),
}

/// A leaf as the caller describes it.
pub struct LeafSpec<'a> {
    pub data: Operand<'a>,
    pub dtype: DType,
    pub offset: usize,
    /// Strides over the iteration shape, in elements.
    pub strides: &'a [isize],
}

/// Where an output goes.
pub enum Target<'a> {
    Fresh(&'a mut Buffer),
    /// Over the leaf of this number, which must be [`Operand::Own`], contiguous, and not read by later instructions.
    Reuse(usize),
}

/// The leaves as pointers, checked to lie inside their buffers.
pub fn leaves(specs: &mut [LeafSpec], shape: &[usize]) -> SmallVec<[Leaf; 4]> {
    few(specs.iter_mut().map(|spec| {
        let size = spec.dtype.size();
        let (mut low, mut high) = (spec.offset as isize, spec.offset as isize);
        for (&dim, &stride) in shape.iter().zip(spec.strides) {
            let reach = stride * (dim.max(1) as isize - 1);
            if reach < 0 { low += reach } else { high += reach }
        }
        let (ptr, bytes) = match &mut spec.data {
            Operand::Shared(buffer) => (buffer.ptr(), buffer.bytes()),
            Operand::Own(buffer) => (buffer.ptr(), buffer.bytes()),
        };
        let empty = shape.contains(&0);
        assert!(empty || low >= 0 && (high as usize + 1) * size <= bytes, "map: a leaf reaches past its buffer");
        Leaf { ptr: ptr.wrapping_add(spec.offset * size), walk: Walk::new(shape, spec.strides, size) }
    }))
}

/// Writes every output of a program over `shape`, in C order: one loop over memory.
pub fn run_map(program: &Program, specs: &mut [LeafSpec], shape: &[usize], targets: &mut [Target]) {
    let n: usize = shape.iter().product();
    if n == 0 {
        return pool::count_loop();
    }
    let ready = leaves(specs, shape);
    assert_eq!(targets.len(), program.outputs.len(), "map: one target for each output");
    let outputs: SmallVec<[Out; 4]> = few(targets.iter_mut().zip(&program.outputs).map(|(target, &reg)| {
        let size = program.dtype(reg).size();
        pool::count_bytes(size * n);
        let ptr = match target {
            Target::Fresh(buffer) => {
                assert!(buffer.bytes() >= n * size, "map: an output does not fit its buffer");
                buffer.ptr()
            }
            Target::Reuse(leaf) => {
                let own = matches!(specs[*leaf].data, Operand::Own(_)) && ready[*leaf].walk.is_flat();
                assert!(own && specs[*leaf].dtype.size() == size, "map: only an owned flat leaf can be reused");
                ready[*leaf].ptr.cast_mut()
            }
        };
        Out { ptr, size }
    }));
    // What is written over a leaf is in the cache already.
    let past = |(target, out): (&Target, &Out)| matches!(target, Target::Fresh(_)) && n * out.size >= STREAM;
    let stream: SmallVec<[bool; 4]> = few(targets.iter().zip(&outputs).map(past));
    let plan = Plan::new(program, &ready, true, &stream);
    let shared = Shared((&plan, &outputs));
    if let Some((len, rows)) = plan.turned_axis() {
        return run_blocks(&plan, &ready, &outputs, n, len, rows, grain(program));
    }
    // Where leaves have rows, no tile crosses one.
    let row = if plan.row > 0 { plan.row } else { n };
    let step = if row < n { grain(program).div_ceil(row) * row } else { grain(program) };
    pool::split(n, step, |from, to| {
        let (plan, outputs) = *shared.get();
        scratch::with(Slot::Registers, plan.scratch(), |scratch| {
            let frame = Frame { scratch, blocks: std::ptr::null_mut() };
            let (mut start, mut left, mut cursor) = (from, row - from % row, plan.cursor(from));
            while start < to {
                // Several whole rows at once where they are short.
                let whole =
                    if plan.row > 0 && left == row { (plan.tile / row).min(ROWS).min((to - start) / row) } else { 0 };
                let (count, width) = if whole > 1 { (whole, row) } else { (1, plan.tile.min(to - start).min(left)) };
                // SAFETY: leaves and outputs were checked against the shape; pieces are disjoint ranges of the outputs,
                // and a reused leaf is read at the elements that the same piece writes.
                unsafe { plan.run_rows(start, frame, cursor.take(count, width), |k| outputs[k].at(start)) };
                start += count * width;
                left = if width == left { row } else { left - width };
            }
            plan.finish();
        });
    });
}

struct Out {
    ptr: *mut u8,
    size: usize,
}

impl Out {
    fn at(&self, start: usize) -> *mut u8 {
        self.ptr.wrapping_add(start * self.size)
    }
}

/// Columns of a block of a transposed leaf. A block has about a cache line of each, and long rows, which the CPU writes
/// ahead: blocks of 64 columns take three times as long.
const BLOCK_COLS: usize = 512;

/// Runs a program with transposed leaves: blocks of rows that lie next to each other in those leaves' memory are turned
/// in cache. Such rows are `apart` rows of the result apart; there are `len` of them.
fn run_blocks(plan: &Plan, leaves: &[Leaf], outputs: &[Out], n: usize, len: usize, apart: usize, grain: usize) {
    let cols = BLOCK_COLS.min(plan.row).min(plan.tile);
    let widest = plan.turned.iter().map(|&l| leaves[l].walk.size()).max().unwrap_or(4);
    let height = (BLOCK_BYTES / (cols * widest)).min(len);
    let (groups, rows) = (len.div_ceil(height), n / plan.row);
    let shared = Shared((plan, leaves, outputs));
    let strips = rows / len * groups;
    pool::split(strips, grain.div_ceil(height * plan.row).max(1), |from, to| {
        let (plan, leaves, outputs) = *shared.get();
        let blocks = plan.turned.len() * BLOCK_BYTES;
        scratch::with(Slot::Registers, plan.scratch(), |scratch: *mut u8| {
            scratch::with(Slot::Blocks, blocks, |blocks: *mut u8| {
                for strip in from..to {
                    // Rows are numbered (outside, along the axis, inside); a strip is a group of the middle numbers.
                    let (inside, rest) = (strip % apart, strip / apart);
                    let (outside, group) = (rest / groups, rest % groups * height);
                    let first = (outside * len + group) * apart + inside;
                    let count = height.min(len - group);
                    for col in (0..plan.row).step_by(cols) {
                        let width = cols.min(plan.row - col);
                        let start = first * plan.row + col;
                        for (k, &leaf) in plan.turned.iter().enumerate() {
                            // SAFETY: the block lies inside the leaf, whose elements are contiguous along the axis.
                            unsafe { fill(&leaves[leaf], start, count, width, blocks.wrapping_add(k * BLOCK_BYTES)) };
                        }
                        // Whole rows that lie one behind the other are one run.
                        let run = if apart == 1 && width == plan.row { plan.joint_rows() } else { 1 };
                        for i in (0..count).step_by(run) {
                            let at = (first + i * apart) * plan.row + col;
                            // A block's rows are as far apart as its width.
                            let shift = |leaf: usize| i * width * leaves[leaf].walk.size();
                            let by = plan.turned.first().map_or(0, |&leaf| shift(leaf));
                            let frame = Frame { scratch, blocks: blocks.wrapping_add(by) };
                            // SAFETY: as in `run_map`; strips are disjoint sets of rows.
                            unsafe { plan.run(at, width * run.min(count - i), frame, |k| outputs[k].at(at)) };
                        }
                    }
                }
                plan.finish();
            });
        });
    });
}

/// Turns `count` rows of `width` elements of a transposed leaf.
///
/// # Safety
/// The elements are inside the leaf, contiguous from row to row, and `out` has room.
unsafe fn fill(leaf: &Leaf, start: usize, count: usize, width: usize, out: *mut u8) {
    let (src, step) = (leaf.ptr.wrapping_offset(leaf.walk.offset(start)), leaf.walk.last().1);
    // SAFETY: as the caller says; the element type only sets the copy width.
    unsafe {
        match leaf.walk.size() {
            1 => turn::<u8>(src, step, out, width as isize, width, count),
            2 => turn::<u16>(src.cast(), step, out.cast(), width as isize, width, count),
            4 => turn::<f32>(src.cast(), step, out.cast(), width as isize, width, count),
            _ => turn::<f64>(src.cast(), step, out.cast(), width as isize, width, count),
        }
    }
}

/// Fewer elements to a piece the more is done with each.
pub fn grain(program: &Program) -> usize {
    let spent: u32 = program.instrs.iter().map(Instr::cost).sum();
    (pool::GRAIN * 3 / 2 / spent.max(1) as usize).max(2 * MAX_TILE)
}
