//! Two steps of arithmetic in one loop: what is between them stays in a register, where two loops would write it to the
//! cache and read it back, which costs more than the arithmetic. Each step is rounded as it is alone.

use crate::base::{DType, Level};
use crate::cpu::isa::Isa;
use crate::cpu::num::Num;
use crate::ir::program::{Reg, Step as Instruction};
use crate::ir::tile::Basic;
use crate::ir::{In, MapFn, Program, Source, Tile};
use smallvec::SmallVec;

/// A step of two operands. As the second of a pair, its first operand is the result of the first step.
trait Step {
    fn of<T: Num>(x: T, y: T) -> T;
}

macro_rules! steps {
    ($($name:ident: |$x:ident, $y:pat_param| $e:expr;)+) => {$(
        struct $name;
        impl Step for $name {
            #[inline(always)]
            fn of<T: Num>($x: T, $y: T) -> T {
                $e
            }
        }
    )+};
}
steps! {
    Add: |x, y| x.add(y);
    Sub: |x, y| x.sub(y);
    SubFrom: |x, y| y.sub(x);
    Mul: |x, y| x.mul(y);
    Div: |x, y| x.div(y);
    DivInto: |x, y| y.div(x);
    Square: |x, _| x.mul(x);
}

/// Runs both steps. Operands that stand for all elements are read before the loop, where the compiler sees that they are.
///
/// # Safety
/// As [`Tile`], of two or three operands.
#[inline(always)]
unsafe fn both<T: Num, F: Step, G: Step>(ins: &[In], out: *mut u8, n: usize) {
    let third = ins.get(2).copied().unwrap_or(In { ptr: ins[0].ptr, splat: true });
    let (a, b, c) = (ins[0].ptr.cast::<T>(), ins[1].ptr.cast::<T>(), third.ptr.cast::<T>());
    let out = out.cast::<T>();
    macro_rules! run {
        (|$i:ident| $x:expr, $y:expr, $z:expr) => {
            for $i in 0..n {
                *out.add($i) = G::of(F::of($x, $y), $z);
            }
        };
    }
    // SAFETY: the caller vouches for the operands and the room.
    unsafe {
        let (x, y, z) = (*a, *b, *c);
        match (ins[0].splat, ins[1].splat, third.splat) {
            (false, false, false) => run!(|i| *a.add(i), *b.add(i), *c.add(i)),
            (false, false, true) => run!(|i| *a.add(i), *b.add(i), z),
            (false, true, false) => run!(|i| *a.add(i), y, *c.add(i)),
            (false, true, true) => run!(|i| *a.add(i), y, z),
            (true, false, false) => run!(|i| x, *b.add(i), *c.add(i)),
            (true, false, true) => run!(|i| x, *b.add(i), z),
            (true, true, false) => {
                let x = F::of(x, y);
                for i in 0..n {
                    *out.add(i) = G::of(x, *c.add(i));
                }
            }
            (true, true, true) => std::slice::from_raw_parts_mut(out, n).fill(G::of(F::of(x, y), z)),
        }
    }
}

macro_rules! tile {
    ($dtype:ident, $level:ident, $first:ident, $then:ident) => {{
        #[allow(clippy::extra_unused_type_parameters)]
        #[inline(always)]
        unsafe fn body<T: Num, I: Isa>(ins: &[In], out: *mut u8, n: usize, _: &[f64]) {
            // SAFETY: the caller vouches for the operands.
            unsafe { both::<T, $first, $then>(ins, out, n) }
        }
        match $dtype {
            DType::F32 => {
                Some(crate::by_level!($level, f32, Tile, (ins: &[In], out: *mut u8, n: usize, imm: &[f64]), body))
            }
            DType::F64 => {
                Some(crate::by_level!($level, f64, Tile, (ins: &[In], out: *mut u8, n: usize, imm: &[f64]), body))
            }
            _ => None,
        }
    }};
}

macro_rules! tiles {
    ($dtype:ident, $level:ident, $then:expr, $first:ident) => {
        match $then {
            (Basic::Add, _) => tile!($dtype, $level, $first, Add),
            (Basic::Mul, _) => tile!($dtype, $level, $first, Mul),
            (Basic::Sub, false) => tile!($dtype, $level, $first, Sub),
            (Basic::Sub, true) => tile!($dtype, $level, $first, SubFrom),
            (Basic::Div, false) => tile!($dtype, $level, $first, Div),
            (Basic::Div, true) => tile!($dtype, $level, $first, DivInto),
            (Basic::Square, _) => tile!($dtype, $level, $first, Square),
            (Basic::Power, _) => None,
        }
    };
}

/// The tile of `then(first(a, b), c)`, or of `then(c, first(a, b))` where `behind`, over the operands `a, b, c` (without
/// `c` for a square); `None` for a pair that is not worth one.
pub fn pair(first: Basic, then: Basic, behind: bool, dtype: DType, level: Level) -> Option<Tile> {
    match first {
        Basic::Add => tiles!(dtype, level, (then, behind), Add),
        Basic::Sub => tiles!(dtype, level, (then, behind), Sub),
        Basic::Mul => tiles!(dtype, level, (then, behind), Mul),
        _ => None,
    }
}

/// Which instructions of a program join in pairs.
pub struct Partners<'a> {
    program: &'a Program,
    /// How often each instruction's result is read, and whether it can be the first of a pair.
    reads: SmallVec<[u8; 16]>,
    open: SmallVec<[bool; 16]>,
}

/// An instruction that does its own step and that of an earlier one.
pub struct Pair {
    /// The earlier one.
    pub first: usize,
    pub tile: Tile,
    /// Which operand of the later one comes third; past the end for a square.
    pub third: usize,
}

impl<'a> Partners<'a> {
    pub fn new(program: &'a Program) -> Partners<'a> {
        let (leaves, count) = (program.leaves.len(), program.instrs.len());
        let mut reads: SmallVec<[u8; 16]> = SmallVec::from_elem(0, count);
        for source in program.instrs.iter().flat_map(|instr| &instr.ins) {
            if let Source::Reg(reg) = *source
                && let Some(i) = (reg as usize).checked_sub(leaves)
            {
                reads[i] = reads[i].saturating_add(1);
            }
        }
        // What is written has to be in memory.
        for &output in &program.outputs {
            if let Some(i) = (output as usize).checked_sub(leaves) {
                reads[i] = u8::MAX;
            }
        }
        Partners { program, reads, open: SmallVec::from_elem(false, count) }
    }

    /// The pair that instruction `i` closes. To be asked of each instruction in turn.
    #[inline]
    pub fn pair(&mut self, i: usize, level: Level) -> Option<Pair> {
        let instr = &self.program.instrs[i];
        let Instruction::Map(MapFn { basic: Some(basic), .. }) = instr.step else { return None };
        let found = self.close(i, *basic, level);
        self.open[i] = found.is_none() && matches!(basic, Basic::Add | Basic::Sub | Basic::Mul);
        found
    }

    fn close(&self, i: usize, basic: Basic, level: Level) -> Option<Pair> {
        let leaves = self.program.leaves.len();
        let instr = &self.program.instrs[i];
        let then = match (basic, instr.ins.get(1)) {
            (Basic::Power, Some(Source::Scalar(power))) if power.to_f64() == 2.0 => Basic::Square,
            (Basic::Power, _) => return None,
            _ => basic,
        };
        let operands = if then == Basic::Square { 1 } else { 2 };
        for (k, source) in instr.ins.iter().enumerate().take(operands) {
            let Source::Reg(reg) = *source else { continue };
            let Some(first) = (reg as usize).checked_sub(leaves).filter(|&f| self.open[f] && self.reads[f] == 1) else {
                continue;
            };
            let earlier = &self.program.instrs[first];
            // An output between the two may be written over what the first of them reads.
            let between = |&output: &Reg| (leaves + first + 1..leaves + i).contains(&(output as usize));
            if earlier.dtype != instr.dtype || self.program.outputs.iter().any(between) {
                continue;
            }
            if let Instruction::Map(MapFn { basic: Some(step), .. }) = earlier.step
                && let Some(tile) = pair(*step, then, k == 1, instr.dtype, level)
            {
                return Some(Pair { first, tile, third: if operands == 1 { 2 } else { 1 - k } });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(step: Basic, x: f64, y: f64) -> f64 {
        match step {
            Basic::Add => x + y,
            Basic::Sub => x - y,
            Basic::Mul => x * y,
            Basic::Div => x / y,
            Basic::Square | Basic::Power => x * x,
        }
    }

    /// Every pair, with every mix of arrays and numbers, gives the bits of its two steps.
    #[test]
    fn as_two_steps() {
        let n = 77;
        let operand = |k: usize| (0..n).map(|i| ((i * 7 + k * 5) % 23) as f64 * 0.37 - 3.1).collect::<Vec<_>>();
        let all = [operand(0), operand(1), operand(2)];
        for first in [Basic::Add, Basic::Sub, Basic::Mul] {
            for then in [Basic::Add, Basic::Sub, Basic::Mul, Basic::Div, Basic::Square] {
                for (behind, mask) in [false, true].into_iter().flat_map(|b| (0..8).map(move |m| (b, m))) {
                    let ins = [0, 1, 2].map(|k| In { ptr: all[k].as_ptr().cast(), splat: mask & 1 << k != 0 });
                    let ins = if then == Basic::Square { &ins[..2] } else { &ins[..] };
                    for level in [Level::Baseline, Level::get()] {
                        let tile = pair(first, then, behind, DType::F64, level).unwrap();
                        let mut out = vec![0f64; n];
                        // SAFETY: the vectors hold the elements, and the level is what the CPU has.
                        unsafe { tile(ins, out.as_mut_ptr().cast(), n, &[]) };
                        for (i, got) in out.into_iter().enumerate() {
                            let [a, b, c] = [0, 1, 2].map(|k| all[k][if mask & 1 << k != 0 { 0 } else { i }]);
                            let t = plain(first, a, b);
                            let want = if behind { plain(then, c, t) } else { plain(then, t, c) };
                            let want = if then == Basic::Square { t * t } else { want };
                            assert_eq!(got.to_bits(), want.to_bits(), "{first:?} {then:?} {behind} {mask} at {i}");
                        }
                    }
                }
            }
        }
    }
}
