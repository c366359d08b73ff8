//! Small arrays, at once: one tile over memory that fits the first-level cache, without a program or a plan.

use crate::base::{Buffer, DType, Level};
use crate::cpu::cast::cast_tile;
use crate::cpu::fold::{Extent, Folder};
use crate::cpu::map::Shared;
use crate::cpu::plan::{MAX_TILE, scalar_bits};
use crate::cpu::pool;
use crate::cpu::scratch::{self, Slot};
use crate::cpu::walk::Walk;
use crate::ir::program::Scalar;
use crate::ir::tile::Tile;
use crate::ir::{In, MapFn, ReduceFn};
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::sync::Arc;

/// What one input is, seen over the shape of the result.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Taken as an array of the others' dtype would hold it.
    Number(Scalar),
    /// Elements from this one on, in C order.
    Run(&'a Buffer, usize),
    /// One element that stands for all.
    Splat(&'a Buffer, usize),
    /// The element that index zero picks, and strides over the result's shape.
    Strided(&'a Buffer, usize, &'a [isize]),
}

/// The most inputs of an element function.
pub const INPUTS: usize = 4;

/// Operands as a tile takes them, with what they are held by.
struct Ready {
    ins: [In; INPUTS],
    numbers: [u64; INPUTS],
    /// Behind a pointer: a small buffer holds its elements itself, and the list may move.
    copies: SmallVec<[Arc<Buffer>; 1]>,
}

impl Ready {
    #[inline(always)]
    fn new() -> Ready {
        let ins = [In { ptr: std::ptr::null(), splat: false }; INPUTS];
        Ready { ins, numbers: [0; INPUTS], copies: SmallVec::new() }
    }

    /// Places operand `i`; `None` where memory for a copy ran out. The result must not move while its pointers are used.
    #[inline(always)]
    fn place(&mut self, i: usize, operand: Operand, dtype: DType, shape: &[usize], n: usize) -> Option<()> {
        let size = dtype.size();
        self.ins[i] = match operand {
            Operand::Number(number) => {
                self.numbers[i] = scalar_bits(number.cast(dtype), dtype);
                In { ptr: (&raw const self.numbers[i]).cast(), splat: true }
            }
            Operand::Run(buffer, offset) => {
                assert!((offset + n) * size <= buffer.bytes(), "small: an operand reaches past its buffer");
                In { ptr: buffer.ptr().wrapping_add(offset * size), splat: false }
            }
            Operand::Splat(buffer, offset) => {
                assert!((offset + 1) * size <= buffer.bytes(), "small: an operand reaches past its buffer");
                In { ptr: buffer.ptr().wrapping_add(offset * size), splat: true }
            }
            Operand::Strided(buffer, offset, strides) => {
                self.copies.push(gather(buffer, offset, strides, size, shape, n)?);
                In { ptr: self.copies.last()?.ptr(), splat: false }
            }
        };
        Some(())
    }
}

/// The elements of a view in C order.
#[cold]
fn gather(
    buffer: &Buffer,
    offset: usize,
    strides: &[isize],
    size: usize,
    shape: &[usize],
    n: usize,
) -> Option<Arc<Buffer>> {
    let (mut low, mut high) = (offset as isize, offset as isize);
    for (&dim, &stride) in shape.iter().zip(strides) {
        let reach = stride * (dim.max(1) as isize - 1);
        if reach < 0 { low += reach } else { high += reach }
    }
    assert!(low >= 0 && (high as usize + 1) * size <= buffer.bytes(), "small: a view reaches past its buffer");
    let walk = Walk::new(shape, strides, size);
    // SAFETY: the reach of the view was checked, the copy has room for `n` elements.
    Buffer::build(n * size, |copy| unsafe {
        walk.gather(buffer.ptr().wrapping_add(offset * size), 0, n, copy.ptr());
    })
    .ok()
}

/// The operands of one element function over `n` elements, all of one dtype and so is the result.
pub struct Operands<'a> {
    tile: Tile,
    dtype: DType,
    n: usize,
    count: usize,
    /// Bits of the numbers: where they lie is known when nothing moves any more.
    given: u8,
    ready: Ready,
    held: PhantomData<&'a Buffer>,
}

impl<'a> Operands<'a> {
    /// None yet. `None` where the function has no tile for the dtype.
    #[inline(always)]
    pub fn new(f: &MapFn, dtype: DType, n: usize) -> Option<Operands<'a>> {
        let tile = (f.tile)(dtype, Level::get())?;
        Some(Operands { tile, dtype, n, count: 0, given: 0, ready: Ready::new(), held: PhantomData })
    }

    /// The next one, seen over `shape`; `None` where there are too many or memory for a copy ran out.
    #[inline(always)]
    pub fn push(&mut self, operand: Operand<'a>, shape: &[usize]) -> Option<()> {
        let i = self.count;
        if i == INPUTS {
            return None;
        }
        match operand {
            Operand::Number(number) => {
                self.ready.numbers[i] = match number {
                    Scalar::Float(v) if self.dtype == DType::F32 => (v as f32).to_bits() as u64,
                    _ => scalar_bits(number.cast(self.dtype), self.dtype),
                };
                self.ready.ins[i].splat = true;
                self.given |= 1 << i;
            }
            Operand::Strided(..) => self.push_strided(operand, shape)?,
            _ => self.ready.place(i, operand, self.dtype, shape, self.n)?,
        }
        self.count += 1;
        Some(())
    }

    #[cold]
    fn push_strided(&mut self, operand: Operand<'a>, shape: &[usize]) -> Option<()> {
        self.ready.place(self.count, operand, self.dtype, shape, self.n)
    }

    /// Computes the elements.
    #[inline(always)]
    pub fn run(&mut self, imm: &[f64], out: &mut Buffer) {
        let bytes = self.n * self.dtype.size();
        assert!(bytes <= out.bytes(), "small: the result does not fit its buffer");
        if self.given != 0 {
            for i in 0..self.count {
                if self.given & 1 << i != 0 {
                    self.ready.ins[i].ptr = (&raw const self.ready.numbers[i]).cast();
                }
            }
        }
        pool::count_work(bytes);
        let ins = &mut self.ready.ins[..self.count];
        // SAFETY: operands and result were checked to hold `n` elements of the tile's dtype; the buffers are borrowed.
        unsafe {
            if self.n <= MAX_TILE {
                (self.tile)(ins, out.ptr(), self.n, imm);
            } else {
                in_tiles(self.tile, ins, [self.dtype; 2], out.ptr(), self.n, imm);
            }
        }
    }
}

/// Runs a function over more elements than a tile takes; `dtypes` are those of the operands and of the result.
///
/// # Safety
/// Operands and result hold `n` elements.
unsafe fn in_tiles(tile: Tile, ins: &mut [In], dtypes: [DType; 2], out: *mut u8, n: usize, imm: &[f64]) {
    let [from, to] = dtypes.map(DType::size);
    for start in (0..n).step_by(MAX_TILE) {
        // SAFETY: as the caller says.
        unsafe { tile(ins, out.add(start * to), MAX_TILE.min(n - start), imm) };
        ins.iter_mut().filter(|i| !i.splat).for_each(|i| i.ptr = i.ptr.wrapping_add(MAX_TILE * from));
    }
}

/// An operand of [`by_rows`].
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    Number(Scalar),
    /// Where the first row begins, elements from one group of rows to the next and from one row to the next, and whether
    /// one element stands for all of a row.
    Array(&'a Buffer, usize, [usize; 2], bool),
}

/// A function of arrays that lie in groups of rows of `width` elements, and numbers, all of dtype `from`; the result is of
/// `to`, in C order. For more elements than [`map`] takes; with at least `grain` elements to a piece for threads.
pub fn by_rows(
    tile: Tile,
    [from, to]: [DType; 2],
    [groups, rows, width]: [usize; 3],
    operands: &[Rows],
    imm: &[f64],
    grain: usize,
    out: &mut Buffer,
) {
    let n = groups * rows * width;
    let count = operands.len();
    assert!(count <= INPUTS && n > 0 && n * to.size() <= out.bytes(), "small: the result and its operands fit");
    let (mut numbers, mut steps) = ([0; INPUTS], [[0; 2]; INPUTS]);
    let mut ins = [In { ptr: std::ptr::null(), splat: true }; INPUTS];
    for (i, operand) in operands.iter().enumerate() {
        match *operand {
            Rows::Number(number) => numbers[i] = scalar_bits(number.cast(from), from),
            Rows::Array(buffer, offset, by, splat) => {
                let end = offset + (groups - 1) * by[0] + (rows - 1) * by[1] + if splat { 1 } else { width };
                assert!(end * from.size() <= buffer.bytes(), "small: an operand reaches past its buffer");
                ins[i] = In { ptr: buffer.ptr().wrapping_add(offset * from.size()), splat };
                steps[i] = by.map(|by| by * from.size());
            }
        }
    }
    for (i, operand) in operands.iter().enumerate() {
        if matches!(operand, Rows::Number(_)) {
            ins[i].ptr = (&raw const numbers[i]).cast();
        }
    }
    pool::count_bytes(n * to.size());
    // Short rows that lie one behind the other, or are all the same one, are worked on together.
    let dense = |(i, step): (&In, &[usize; 2])| {
        i.splat && *step == [0; 2] || !i.splat && (step[1] == 0 || step[1] == width * from.size())
    };
    let together = if ins[..count].iter().zip(&steps).all(dense) { (MAX_TILE / width).min(rows) } else { 1 };
    let shared = Shared((ins, steps, out.ptr(), imm));
    pool::split(groups * rows, grain.div_ceil(width), |first, end| {
        let (start, steps, out, imm) = *shared.get();
        if together > 1 {
            let short = Short { tile, from, to, rows, width, together };
            // SAFETY: operands were checked to reach no further than their buffers, the result to fit its own, which is
            // new; each row is written by one thread.
            return unsafe { short.run(&start[..count], &steps, out, imm, first..end) };
        }
        let (mut group, mut left) = (first / rows, rows - first % rows);
        let at = |group: usize, row: usize| {
            let mut ins = start;
            for (i, [by_group, by_row]) in ins.iter_mut().zip(&steps) {
                i.ptr = i.ptr.wrapping_add(group * by_group + row * by_row);
            }
            ins
        };
        let mut ins = at(group, first % rows);
        for row in first..end {
            if left == 0 {
                (group, left) = (group + 1, rows);
                ins = at(group, 0);
            }
            left -= 1;
            for start in (0..width).step_by(MAX_TILE) {
                let mut part = ins;
                for i in part.iter_mut().filter(|i| !i.splat) {
                    i.ptr = i.ptr.wrapping_add(start * from.size());
                }
                let to = out.wrapping_add((row * width + start) * to.size());
                // SAFETY: operands were checked to reach no further than their buffers, the result to fit its own, which
                // is new; each row is written by one thread.
                unsafe { tile(&part[..count], to, MAX_TILE.min(width - start), imm) };
            }
            ins.iter_mut().zip(&steps).for_each(|(i, [_, step])| i.ptr = i.ptr.wrapping_add(*step));
        }
    });
}

/// Rows of which `together` fit a tile.
struct Short {
    tile: Tile,
    from: DType,
    to: DType,
    rows: usize,
    width: usize,
    together: usize,
}

impl Short {
    /// Rows `all` of [`by_rows`]: as many at once as fit. A row that stands for all of a group is repeated first.
    ///
    /// # Safety
    /// As for [`by_rows`], which says what operands and steps are.
    unsafe fn run(&self, start: &[In], steps: &[[usize; 2]], out: *mut u8, imm: &[f64], all: std::ops::Range<usize>) {
        let row_bytes = self.width * self.from.size();
        scratch::with(Slot::Values, start.len() * MAX_TILE * 8, |space: *mut u8| {
            let (mut row, mut repeated) = (all.start, usize::MAX);
            while row < all.end {
                let (group, within) = (row / self.rows, row % self.rows);
                let count = self.together.min(all.end - row).min(self.rows - within);
                let mut ins: [In; INPUTS] = [In { ptr: std::ptr::null(), splat: true }; INPUTS];
                for (i, (from, [by_group, by_row])) in start.iter().zip(steps).enumerate() {
                    let ptr = from.ptr.wrapping_add(group * by_group + within * by_row);
                    ins[i] = In { ptr, splat: from.splat };
                    if *by_row > 0 || from.splat {
                        continue;
                    }
                    let place = space.wrapping_add(i * MAX_TILE * 8);
                    ins[i].ptr = place;
                    if repeated == group {
                        continue;
                    }
                    let (whole, mut filled) = (self.together * row_bytes, row_bytes);
                    // SAFETY: the row is inside its buffer, and that many rows are at most a tile of words; each copy is of
                    // what was filled before.
                    unsafe {
                        std::ptr::copy_nonoverlapping(ptr, place, row_bytes);
                        while filled < whole {
                            let more = filled.min(whole - filled);
                            std::ptr::copy_nonoverlapping(place, place.wrapping_add(filled), more);
                            filled += more;
                        }
                    }
                }
                repeated = group;
                let to = out.wrapping_add(row * self.width * self.to.size());
                // SAFETY: as the caller says; the rows lie one behind the other.
                unsafe { (self.tile)(&ins[..start.len()], to, count * self.width, imm) };
                row += count;
            }
        });
    }
}

/// One element function over `n` elements of `shape`, all operands and the result of `dtype`. `None` where the function
/// has no tile for that dtype, or memory ran out.
pub fn map(
    f: &MapFn,
    dtype: DType,
    (shape, n): (&[usize], usize),
    operands: &[Operand],
    imm: &[f64],
    out: &mut Buffer,
) -> Option<()> {
    let mut placed = Operands::new(f, dtype, n)?;
    for operand in operands {
        placed.push(*operand, shape)?;
    }
    placed.run(imm, out);
    Some(())
}

/// `n` elements converted from one dtype to another, in C order.
pub fn cast(
    (from, to): (DType, DType),
    (shape, n): (&[usize], usize),
    operand: Operand,
    out: &mut Buffer,
) -> Option<()> {
    assert!(n * to.size() <= out.bytes(), "small: the result does not fit its buffer");
    let mut ready = Ready::new();
    ready.place(0, operand, from, shape, n)?;
    pool::count_work(n * to.size());
    if from == to && !ready.ins[0].splat {
        // SAFETY: as below; the result is a block of its own.
        unsafe { std::ptr::copy_nonoverlapping(ready.ins[0].ptr, out.ptr(), n * to.size()) };
        return Some(());
    }
    // SAFETY: the operand holds `n` elements of `from`, the result has room for `n` of `to`.
    unsafe { in_tiles(cast_tile(from, to), &mut ready.ins[..1], [from, to], out.ptr(), n, &[]) };
    Some(())
}

/// Folds `outer` blocks of `reduce` rows of `inner` elements to `outer * inner` results of `to`.
pub fn fold(
    f: &ReduceFn,
    (from, to): (DType, DType),
    (shape, extent): (&[usize], Extent),
    operand: Operand,
    out: &mut Buffer,
) -> Option<()> {
    let Extent { outer, reduce, inner } = extent;
    assert!(outer * inner * to.size() <= out.bytes(), "small: the results do not fit their buffer");
    let n = outer * reduce * inner;
    // A fold reads every element: one that stands for all is spread first.
    let zeros: SmallVec<[isize; 4]>;
    let operand = match operand {
        Operand::Splat(buffer, offset) => {
            zeros = shape.iter().map(|_| 0).collect();
            Operand::Strided(buffer, offset, &zeros)
        }
        other => other,
    };
    let mut ready = Ready::new();
    ready.place(0, operand, from, shape, n)?;
    let x = ready.ins[0].ptr;
    let folder = Folder::new(f, from);
    pool::count_work(outer * inner * to.size());
    let mut acc: SmallVec<[u64; 64]> = SmallVec::new();
    // SAFETY: the operand holds `n` elements; there is an accumulator, and room, for each result.
    unsafe {
        if inner == 1 {
            acc.resize(outer, folder.start());
            folder.rows(x, reduce, &mut acc);
            folder.store(&acc, reduce, to, out.ptr(), 0);
            return Some(());
        }
        for o in 0..outer {
            acc.clear();
            acc.resize(inner, folder.start());
            folder.columns(x.wrapping_add(o * reduce * inner * from.size()), reduce, &mut acc);
            folder.store(&acc, reduce, to, out.ptr(), o * inner);
        }
    }
    Some(())
}
