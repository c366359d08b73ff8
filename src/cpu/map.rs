//! Runs a program over memory: tile by tile, every intermediate value in the first-level cache.

use crate::base::{Buffer, DType, Element, Level};
use crate::cpu::cast::cast_tile;
use crate::cpu::pool;
use crate::cpu::walk::Walk;
use crate::ir::program::{Reg, Scalar, Step};
use crate::ir::{In, Program, Source, Tile};
use crate::with_dtype;

/// Bytes of first-level cache that registers may take.
const TILE_BYTES: usize = 24 << 10;
const MAX_TILE: usize = 2048;
const MIN_TILE: usize = 128;

/// One leaf of a program: where element zero lies and how the iteration shape walks over it.
pub struct Leaf {
    pub ptr: *const u8,
    pub walk: Walk,
}

/// Where a register lives while a tile runs.
#[derive(Clone, Copy)]
enum Place {
    /// A run of the leaf's own memory.
    Memory,
    /// One element standing for all.
    Splat,
    /// A slot of the thread's scratch space.
    Slot(usize),
    /// The memory of output `k`.
    Output(usize),
}

struct Op {
    tile: Tile,
    ins: Vec<Arg>,
    imm: Vec<f64>,
    out: Reg,
}

#[derive(Clone, Copy)]
enum Arg {
    Reg(Reg),
    Const(usize),
}

/// A program made ready: tiles picked, registers placed.
pub struct Plan<'a> {
    leaves: &'a [Leaf],
    ops: Vec<Op>,
    consts: Vec<u64>,
    places: Vec<Place>,
    sizes: Vec<usize>,
    slots: usize,
    pub tile: usize,
}

/// Bytes of a scalar as an element of `dtype`, in the low end of a word.
pub fn scalar_bits(scalar: Scalar, dtype: DType) -> u64 {
    with_dtype!(dtype, T => {
        let v: T = match scalar {
            Scalar::Float(v) => T::from_f64(v),
            Scalar::Int(v) => T::from_i64(v),
        };
        let mut bits = 0u64;
        // SAFETY: every element type is plain data of at most eight bytes.
        unsafe { std::ptr::write_unaligned((&raw mut bits).cast::<T>(), v) };
        bits
    })
}

impl<'a> Plan<'a> {
    pub fn new(program: &Program, leaves: &'a [Leaf]) -> Plan<'a> {
        debug_assert_eq!(program.check(), Ok(()));
        let level = Level::get();
        let first = program.leaves.len();
        let count = first + program.instrs.len();
        let mut consts = Vec::new();
        let ops: Vec<Op> = program
            .instrs
            .iter()
            .enumerate()
            .map(|(i, instr)| {
                let (tile, from) = match instr.step {
                    Step::Map(f) => {
                        ((f.tile)(instr.dtype, level).expect("a map has a tile for its compute dtypes"), instr.dtype)
                    }
                    Step::Cast(from) => (cast_tile(from, instr.dtype), from),
                };
                let ins = instr.ins.iter().map(|source| match *source {
                    Source::Reg(reg) => Arg::Reg(reg),
                    Source::Scalar(scalar) => {
                        consts.push(scalar_bits(scalar, from));
                        Arg::Const(consts.len() - 1)
                    }
                });
                Op { tile, ins: ins.collect(), imm: instr.imm.to_vec(), out: (first + i) as Reg }
            })
            .collect();

        let sizes: Vec<usize> = (0..count).map(|r| program.dtype(r as Reg).size()).collect();
        let mut last_use = vec![0usize; count];
        for (i, op) in ops.iter().enumerate() {
            for arg in &op.ins {
                if let Arg::Reg(reg) = arg {
                    last_use[*reg as usize] = i + 1;
                }
            }
        }
        // Linear scan: a slot is free again after the last use of what it holds.
        let mut places = vec![Place::Memory; count];
        let (mut free, mut slots) = (Vec::new(), 0usize);
        let mut slot = |free: &mut Vec<usize>| {
            free.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            })
        };
        for (reg, leaf) in leaves.iter().enumerate() {
            places[reg] = match &leaf.walk {
                walk if walk.is_splat() => Place::Splat,
                walk if walk.is_flat() => Place::Memory,
                _ => Place::Slot(slot(&mut free)),
            };
        }
        for (i, op) in ops.iter().enumerate() {
            let out = op.out as usize;
            places[out] = match program.outputs.iter().position(|&o| o as usize == out) {
                Some(k) => Place::Output(k),
                None => Place::Slot(slot(&mut free)),
            };
            for arg in &op.ins {
                if let Arg::Reg(reg) = arg
                    && let Place::Slot(s) = places[*reg as usize]
                    && last_use[*reg as usize] == i + 1
                    && !free.contains(&s)
                {
                    free.push(s);
                }
            }
        }
        let widest = sizes.iter().copied().max().unwrap_or(4);
        let tile = (TILE_BYTES / (widest * (slots + 1))).clamp(MIN_TILE, MAX_TILE) & !63;
        Plan { leaves, ops, consts, places, sizes, slots, tile }
    }

    /// Bytes of scratch space that [`Plan::run`] needs.
    pub fn scratch(&self) -> usize {
        (self.slots + 1) * self.tile * 8
    }

    /// Runs elements `start..start + n`, at most one tile. `output(k)` is where output `k` of this tile goes.
    ///
    /// # Safety
    /// Leaves must be readable over the whole iteration shape; outputs must have room for `n` elements; `scratch` must
    /// have [`Plan::scratch`] bytes, aligned to eight.
    #[inline]
    pub unsafe fn run(&self, start: usize, n: usize, scratch: *mut u8, output: impl Fn(usize) -> *mut u8) {
        let slot = |s: usize| scratch.wrapping_add(s * self.tile * 8);
        // SAFETY: the caller vouches for leaves, outputs and scratch; slots do not overlap.
        unsafe {
            for (reg, leaf) in self.leaves.iter().enumerate() {
                if let Place::Slot(s) = self.places[reg] {
                    leaf.walk.gather(leaf.ptr, start, n, slot(s));
                }
            }
            for op in &self.ops {
                let mut ins = [In { ptr: std::ptr::null(), splat: false }; 4];
                for (i, arg) in ins.iter_mut().zip(&op.ins) {
                    *i = match *arg {
                        Arg::Const(c) => In { ptr: (&raw const self.consts[c]).cast(), splat: true },
                        Arg::Reg(reg) => self.place(reg as usize, start, &slot, &output),
                    };
                }
                let out = match self.places[op.out as usize] {
                    Place::Slot(s) => slot(s),
                    Place::Output(k) => output(k),
                    Place::Memory | Place::Splat => unreachable!("a result is never a leaf"),
                };
                let ins = &ins[..op.ins.len()];
                if ins.iter().any(|i| i.ptr == out) {
                    // In place on a donated leaf: a loop whose ends alias would not be vectorised.
                    let spare = slot(self.slots);
                    (op.tile)(ins, spare, n, &op.imm);
                    std::ptr::copy_nonoverlapping(spare, out, n * self.sizes[op.out as usize]);
                } else {
                    (op.tile)(ins, out, n, &op.imm);
                }
            }
        }
    }

    #[inline]
    fn place(
        &self,
        reg: usize,
        start: usize,
        slot: &impl Fn(usize) -> *mut u8,
        output: &impl Fn(usize) -> *mut u8,
    ) -> In {
        match self.places[reg] {
            Place::Memory => In { ptr: self.leaves[reg].ptr.wrapping_add(start * self.sizes[reg]), splat: false },
            Place::Splat => In { ptr: self.leaves[reg].ptr, splat: true },
            Place::Slot(s) => In { ptr: slot(s), splat: false },
            Place::Output(k) => In { ptr: output(k), splat: false },
        }
    }

    /// Where a register can be read after [`Plan::run`] of the tile at `start`.
    pub fn result(&self, reg: Reg, start: usize, scratch: *mut u8) -> In {
        self.place(reg as usize, start, &|s| scratch.wrapping_add(s * self.tile * 8), &|_| std::ptr::null_mut())
    }
}

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
pub fn leaves(specs: &mut [LeafSpec], shape: &[usize]) -> Vec<Leaf> {
    specs
        .iter_mut()
        .map(|spec| {
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
        })
        .collect()
}

/// Writes every output of a program over `shape`, in C order: one loop over memory.
pub fn run_map(program: &Program, mut specs: Vec<LeafSpec>, shape: &[usize], targets: &mut [Target]) {
    let n: usize = shape.iter().product();
    if n == 0 {
        return pool::count_loop();
    }
    let ready = leaves(&mut specs, shape);
    let sizes: Vec<usize> = program.outputs.iter().map(|&o| program.dtype(o).size()).collect();
    assert_eq!(targets.len(), sizes.len(), "map: one target for each output");
    let outputs: Vec<*mut u8> = targets
        .iter_mut()
        .zip(&sizes)
        .map(|(target, size)| match target {
            Target::Fresh(buffer) => {
                assert!(buffer.bytes() >= n * size, "map: an output does not fit its buffer");
                buffer.ptr()
            }
            Target::Reuse(leaf) => {
                let own = matches!(specs[*leaf].data, Operand::Own(_)) && ready[*leaf].walk.is_flat();
                assert!(own && specs[*leaf].dtype.size() == *size, "map: only an owned flat leaf can be reused");
                ready[*leaf].ptr.cast_mut()
            }
        })
        .collect();
    let plan = Plan::new(program, &ready);
    sizes.iter().for_each(|size| pool::count_bytes(size * n));
    let shared = Shared((&plan, &outputs));
    let work = |from: usize, to: usize| {
        let (plan, outputs) = *shared.get();
        let mut scratch = vec![0u64; plan.scratch() / 8];
        let mut start = from;
        while start < to {
            let len = plan.tile.min(to - start);
            // SAFETY: leaves and outputs were checked against the shape; pieces are disjoint ranges of the outputs,
            // and a reused leaf is read at the elements that the same piece writes.
            unsafe {
                plan.run(start, len, scratch.as_mut_ptr().cast(), |k| outputs[k].wrapping_add(start * sizes[k]));
            }
            start += len;
        }
    };
    pool::split(n, grain(program), work);
}

/// Fewer elements to a piece the more is done with each.
pub fn grain(program: &Program) -> usize {
    (pool::GRAIN / program.instrs.len().max(1)).max(4 * MAX_TILE)
}
