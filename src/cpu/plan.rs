//! A program made ready to run: element functions picked, registers placed, leaves read in the cheapest way.

use crate::base::layout::few;
use crate::base::{DType, Element, Level};
use crate::cpu::cast::cast_tile;
use crate::cpu::lines::{Cursor, Line, ROWS, Rows};
use crate::cpu::pairs::Partners;
use crate::cpu::stream;
use crate::cpu::walk::Walk;
use crate::ir::program::{Reg, Scalar, Step};
use crate::ir::{In, Program, Source, Tile};
use crate::with_dtype;
use smallvec::{SmallVec, smallvec};

/// Bytes of first-level cache that registers may take.
const TILE_BYTES: usize = 24 << 10;
pub const MAX_TILE: usize = 2048;
const MIN_TILE: usize = 128;
/// Rows shorter than this are gathered: running the program has a cost of its own.
const SHORT_ROW: usize = 48;

/// One leaf of a program: where element zero lies and how the iteration shape walks over it.
pub struct Leaf {
    pub ptr: *const u8,
    pub walk: Walk,
}

/// Where a register lives while a tile runs.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// A run of the leaf's own memory.
    Memory,
    /// One element standing for all.
    Splat,
    /// A run of the leaf's memory, or one element, as long as the tile lies in one row; else a copy in this slot.
    Row(usize),
    /// A leaf that is copied to this slot of the scratch space.
    Gather(usize),
    /// A transposed leaf: block `k` of the caller's.
    Block(usize),
    /// A slot of the scratch space.
    Slot(usize),
    /// The memory of output `k`.
    Output(usize),
}

struct Op<'a> {
    tile: Tile,
    ins: SmallVec<[Arg; 3]>,
    imm: &'a [f64],
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
    ops: SmallVec<[Op<'a>; 8]>,
    consts: SmallVec<[u64; 8]>,
    places: SmallVec<[Place; 16]>,
    sizes: SmallVec<[u8; 16]>,
    slots: usize,
    /// The length of the rows that leaves can be read along; 0 where all leaves are contiguous.
    pub row: usize,
    /// Transposed leaves, in the order of their blocks.
    pub turned: SmallVec<[usize; 2]>,
    /// Whether a leaf may have to be copied to the scratch space.
    gathers: bool,
    /// Of each output that is stored past the caches, its number, the slot where it is made, and its size.
    streamed: SmallVec<[(usize, usize, usize); 2]>,
    pub tile: usize,
}

/// Memory that a tile works in.
#[derive(Clone, Copy)]
pub struct Frame {
    /// [`Plan::scratch`] bytes.
    pub scratch: *mut u8,
    /// Where the values of transposed leaf `k` begin: at `blocks + k * BLOCK_BYTES`.
    pub blocks: *mut u8,
}

/// Room for a block of one transposed leaf.
pub const BLOCK_BYTES: usize = 32 << 10;

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
    /// `turn` allows transposed leaves to be read in blocks, which the caller then fills; `stream` says which outputs are
    /// stored past the caches.
    pub fn new(program: &'a Program, leaves: &'a [Leaf], turn: bool, stream: &[bool]) -> Plan<'a> {
        debug_assert_eq!(program.check(), Ok(()));
        let level = Level::get();
        let first = program.leaves.len();
        let count = first + program.instrs.len();
        let mut last_use: SmallVec<[u32; 16]> = smallvec![0; count];
        // Filled where it stays: it is large.
        let mut plan = Plan {
            leaves,
            ops: SmallVec::with_capacity(program.instrs.len()),
            consts: SmallVec::new(),
            places: smallvec![Place::Memory; count],
            sizes: few((0..count).map(|r| program.dtype(r as Reg).size() as u8)),
            slots: 0,
            row: row_of(leaves),
            turned: SmallVec::new(),
            gathers: false,
            streamed: SmallVec::new(),
            tile: 0,
        };
        let mut partners = Partners::new(program);
        for (i, instr) in program.instrs.iter().enumerate() {
            if let Some(pair) = partners.pair(i, level) {
                let Some(first) = plan.ops.iter().rposition(|op| op.out as usize == first + pair.first) else {
                    continue;
                };
                let mut op = plan.ops.remove(first);
                // What comes third, if anything does.
                if let Some(&third) = instr.ins.get(pair.third) {
                    let third = plan.arg(third, instr.dtype);
                    op.ins.push(third);
                }
                plan.ops.push(Op { tile: pair.tile, out: (program.leaves.len() + i) as Reg, ..op });
                continue;
            }
            let (tile, from) = match instr.step {
                Step::Map(f) => {
                    ((f.tile)(instr.dtype, level).expect("a map has a tile for its compute dtypes"), instr.dtype)
                }
                Step::Cast(from) => (cast_tile(from, instr.dtype), from),
            };
            let ins = few(instr.ins.iter().map(|&source| plan.arg(source, from)));
            plan.ops.push(Op { tile, ins, imm: &instr.imm, out: (first + i) as Reg });
        }
        for (i, op) in plan.ops.iter().enumerate() {
            for arg in &op.ins {
                if let Arg::Reg(reg) = *arg {
                    last_use[reg as usize] = i as u32 + 1;
                }
            }
        }
        plan.place_all(program, &last_use, turn, stream);
        plan.gathers = plan.places.iter().any(|place| matches!(place, Place::Gather(_) | Place::Row(_)));
        let widest = plan.sizes.iter().copied().max().unwrap_or(4) as usize;
        plan.tile = (TILE_BYTES / (widest * (plan.slots + 1))).clamp(MIN_TILE, MAX_TILE) & !63;
        plan
    }

    /// An operand of an instruction that computes in `dtype`.
    #[inline]
    fn arg(&mut self, source: Source, dtype: DType) -> Arg {
        match source {
            Source::Reg(reg) => Arg::Reg(reg),
            Source::Scalar(scalar) => {
                self.consts.push(scalar_bits(scalar, dtype));
                Arg::Const(self.consts.len() - 1)
            }
        }
    }

    /// Linear scan: a slot is free again after the last use of what it holds.
    fn place_all(&mut self, program: &Program, last_use: &[u32], turn: bool, stream: &[bool]) {
        let (mut free, mut slots) = (SmallVec::<[usize; 8]>::new(), 0usize);
        let mut slot = |free: &mut SmallVec<[usize; 8]>| {
            free.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            })
        };
        let mut axis = None;
        for (reg, leaf) in self.leaves.iter().enumerate() {
            let (row, step) = leaf.walk.last();
            let found = leaf.walk.turned();
            self.places[reg] = if leaf.walk.is_splat() {
                Place::Splat
            } else if leaf.walk.is_flat() {
                Place::Memory
            } else if self.row > 0 && matches!(step, 0 | 1) {
                Place::Row(slot(&mut free))
            } else if turn
                && let Some((len, apart)) = found
                && row == self.row
                && axis.is_none_or(|a| a == (len, apart, leaf.walk.size()))
            {
                // Leaves that are turned about one axis share the blocks' geometry.
                axis = Some((len, apart, leaf.walk.size()));
                self.turned.push(reg);
                Place::Block(self.turned.len() - 1)
            } else {
                Place::Gather(slot(&mut free))
            };
        }
        for i in 0..self.ops.len() {
            let out = self.ops[i].out as usize;
            self.places[out] = match program.outputs.iter().position(|&o| o as usize == out) {
                Some(k) if stream.get(k) == Some(&true) => {
                    let made = slot(&mut free);
                    self.streamed.push((k, made, self.sizes[out] as usize));
                    Place::Slot(made)
                }
                Some(k) => Place::Output(k),
                None => Place::Slot(slot(&mut free)),
            };
            for arg in &self.ops[i].ins {
                if let Arg::Reg(reg) = arg
                    && let Place::Slot(s) | Place::Gather(s) | Place::Row(s) = self.places[*reg as usize]
                    && last_use[*reg as usize] == i as u32 + 1
                    && !self.streamed.iter().any(|&(_, made, _)| made == s)
                    && !free.contains(&s)
                {
                    free.push(s);
                }
            }
        }
        self.slots = slots;
    }

    /// The first transposed leaf's axis: see [`Walk::turned`].
    pub fn turned_axis(&self) -> Option<(usize, usize)> {
        self.turned.first().and_then(|&leaf| self.leaves[leaf].walk.turned())
    }

    /// How many whole rows one run may take: as many as a tile holds, unless a leaf is read along them.
    pub fn joint_rows(&self) -> usize {
        let along = self.places.iter().any(|place| matches!(place, Place::Row(_)));
        if along { 1 } else { (self.tile / self.row).max(1) }
    }

    /// Bytes of scratch space that [`Plan::run`] needs.
    pub fn scratch(&self) -> usize {
        (self.slots + 1) * self.tile * 8
    }

    /// Runs elements `start..start + n`, at most one tile. `output(k)` is where output `k` of this tile goes.
    ///
    /// # Safety
    /// Leaves must be readable over the whole iteration shape; outputs must have room for `n` elements; the frame must
    /// have what it describes, aligned to eight, and blocks must hold the transposed leaves of this tile.
    #[inline]
    pub unsafe fn run(&self, start: usize, n: usize, frame: Frame, output: impl Fn(usize) -> *mut u8) {
        let rows = Rows { count: 1, width: n, lines: self.found(start, n) };
        // SAFETY: as the caller says.
        unsafe { self.run_rows(start, frame, &rows, output) }
    }

    /// As [`Plan::run`] for whole rows or a part of one, where the caller knows where leaves have them.
    ///
    /// # Safety
    /// As [`Plan::run`], for the elements of `rows`, which begin with `start`.
    pub unsafe fn run_rows(&self, start: usize, frame: Frame, rows: &Rows, output: impl Fn(usize) -> *mut u8) {
        let slot = |s: usize| frame.scratch.wrapping_add(s * self.tile * 8);
        let n = rows.count * rows.width;
        // SAFETY: the caller vouches for leaves, outputs and scratch; slots do not overlap.
        unsafe {
            if self.gathers {
                for (reg, (leaf, place)) in self.leaves.iter().zip(&self.places).enumerate() {
                    match *place {
                        Place::Gather(s) => leaf.walk.gather(leaf.ptr, start, n, slot(s)),
                        Place::Row(s) if rows.line(reg).is_none() => leaf.walk.gather(leaf.ptr, start, n, slot(s)),
                        _ => {}
                    }
                }
            }
            for op in &self.ops {
                let mut ins = [In { ptr: std::ptr::null(), splat: false }; 4];
                let mut by_row = false;
                for (i, arg) in ins.iter_mut().zip(&op.ins) {
                    *i = match *arg {
                        Arg::Const(c) => In { ptr: (&raw const self.consts[c]).cast(), splat: true },
                        Arg::Reg(reg) => {
                            by_row |= rows.count > 1 && rows.line(reg as usize).is_some();
                            self.place(reg as usize, start, rows, frame, &output)
                        }
                    };
                }
                let target = match self.places[op.out as usize] {
                    Place::Slot(s) => slot(s),
                    Place::Output(k) => output(k),
                    _ => unreachable!("a result is never a leaf"),
                };
                let ins = &mut ins[..op.ins.len()];
                // In place on a donated leaf, a loop whose ends alias would not be vectorised.
                let aliased = ins.iter().any(|i| i.ptr == target);
                let out = if aliased { slot(self.slots) } else { target };
                if by_row {
                    self.op_by_row(op, ins, out, rows);
                } else {
                    (op.tile)(ins, out, n, op.imm);
                }
                if aliased {
                    std::ptr::copy_nonoverlapping(out, target, n * self.sizes[op.out as usize] as usize);
                }
            }
            for &(k, made, size) in &self.streamed {
                stream::copy(slot(made), output(k), n * size);
            }
        }
    }

    /// One instruction that reads leaves which are not contiguous from row to row.
    ///
    /// # Safety
    /// As [`Plan::run_rows`]; `ins` are the operands of the first row.
    unsafe fn op_by_row(&self, op: &Op, ins: &mut [In], out: *mut u8, rows: &Rows) {
        let (tile, imm, width) = (op.tile, op.imm, rows.width);
        let step = width * self.sizes[op.out as usize] as usize;
        // How each operand goes from row to row: by a list of places, or in even steps.
        let mut ways: [(Option<&Line>, usize); 4] = [(None, 0); 4];
        for ((way, i), arg) in ways.iter_mut().zip(&*ins).zip(&op.ins) {
            let Arg::Reg(reg) = *arg else { continue };
            let even = if i.splat { 0 } else { width * self.sizes[reg as usize] as usize };
            *way = (rows.line(reg as usize), even);
        }
        for r in 0..rows.count {
            // SAFETY: row `r` of the operands and of the result.
            unsafe { tile(ins, out.wrapping_add(r * step), width, imm) };
            for (i, (line, even)) in ins.iter_mut().zip(&ways) {
                i.ptr = match line {
                    Some(line) => line.at[(r + 1).min(rows.count - 1)],
                    None => i.ptr.wrapping_add(*even),
                };
            }
        }
    }

    /// Of each leaf that is read along rows, where elements `start..start + n` lie, unless they cross the end of a row.
    fn found(&self, start: usize, n: usize) -> SmallVec<[Line; 2]> {
        let by_row = |place: &Place| matches!(place, Place::Row(_));
        if !self.places.iter().any(by_row) || start % self.row + n > self.row {
            return SmallVec::new();
        }
        let mut lines = SmallVec::new();
        for (reg, (leaf, place)) in self.leaves.iter().zip(&self.places).enumerate() {
            if by_row(place) {
                lines.push(Line::new(reg, leaf, start));
            }
        }
        lines
    }

    /// The leaves that are read along rows, from element `start` on, to be moved from block to block.
    pub fn cursor(&self, start: usize) -> Cursor<'_> {
        let mut lines: SmallVec<[Line; 2]> = self.found(start, 0);
        let walks = lines.iter_mut().map(|line| {
            let leaf = &self.leaves[line.reg];
            let first = line.at[0];
            line.at.resize(ROWS, first);
            (first, leaf.walk.steps(start))
        });
        Cursor { walks: walks.collect(), rows: Rows { count: 0, width: 0, lines } }
    }

    /// To be called by each thread when its part is done.
    #[inline]
    pub fn finish(&self) {
        if !self.streamed.is_empty() {
            stream::finish();
        }
    }

    #[inline]
    fn place(&self, reg: usize, start: usize, rows: &Rows, frame: Frame, output: &impl Fn(usize) -> *mut u8) -> In {
        let slot = |s: usize| In { ptr: frame.scratch.wrapping_add(s * self.tile * 8), splat: false };
        match self.places[reg] {
            Place::Memory => {
                In { ptr: self.leaves[reg].ptr.wrapping_add(start * self.sizes[reg] as usize), splat: false }
            }
            Place::Splat => In { ptr: self.leaves[reg].ptr, splat: true },
            Place::Row(s) => rows.line(reg).map_or(slot(s), |line| In { ptr: line.at[0], splat: line.splat }),
            Place::Block(k) => In { ptr: frame.blocks.wrapping_add(k * BLOCK_BYTES), splat: false },
            Place::Gather(s) | Place::Slot(s) => slot(s),
            Place::Output(k) => In { ptr: output(k), splat: false },
        }
    }

    /// The leaf that a register is, if it is one: its values are there without running anything.
    pub fn leaf(&self, reg: Reg) -> Option<&Leaf> {
        self.leaves.get(reg as usize)
    }

    /// Where a register can be read after [`Plan::run`] of this tile.
    pub fn result(&self, reg: Reg, start: usize, n: usize, frame: Frame) -> In {
        let rows = Rows { count: 1, width: n, lines: self.found(start, n) };
        self.place(reg as usize, start, &rows, frame, &|_| std::ptr::null_mut())
    }
}

/// The longest rows along which every leaf is contiguous, constant or walked in even steps; 0 where there is no need of
/// rows, or they would be short.
fn row_of(leaves: &[Leaf]) -> usize {
    let uneven = leaves.iter().filter(|leaf| !leaf.walk.is_flat() && !leaf.walk.is_splat());
    // Rows are whole trailing axes of one shape, so the shortest divides all others.
    let row = uneven.map(|leaf| leaf.walk.last().0).min().unwrap_or(0);
    if row < SHORT_ROW { 0 } else { row }
}
