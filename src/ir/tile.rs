//! Element functions as the executor sees them: one function pointer per dtype and instruction set.

use crate::base::{DType, Level};

/// One operand of a tile: a run of elements, or a single one that stands for all.
#[derive(Clone, Copy)]
pub struct In {
    pub ptr: *const u8,
    pub splat: bool,
}

/// Computes `n` elements of an element function. `imm` are the op's number parameters.
///
/// # Safety
/// Each operand must hold `n` elements (one if `splat`) and `out` room for `n`, all of the dtype the tile was made
/// for. `out` may be the same memory as an operand, but not overlap it otherwise.
pub type Tile = unsafe fn(ins: &[In], out: *mut u8, n: usize, imm: &[f64]);

/// Which dtype an element function computes in, given the dtype of its array.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compute {
    /// float32 and float64 as they are, float16 in float32, integers in float64; the result is cast back.
    Float,
    /// float16 in float32, bool in int32, everything else as it is.
    Native,
}

/// Arithmetic so cheap that two steps of it run in one loop on the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basic {
    Add,
    Sub,
    Mul,
    Div,
    Square,
    /// A square where its exponent is the number two.
    Power,
}

/// An element function: what the CPU runs and what the GPU prints.
pub struct MapFn {
    pub name: &'static str,
    pub compute: Compute,
    /// The tile for a dtype (a compute dtype) at a level, or `None` where the function has none.
    pub tile: fn(DType, Level) -> Option<Tile>,
    /// WGSL expression: `{0}`, `{1}` are operands, `{p0}` number parameters.
    pub wgsl: &'static str,
    pub basic: Option<Basic>,
}

impl MapFn {
    /// What an element costs, in additions.
    pub fn cost(&self) -> u32 {
        match self.compute {
            Compute::Float if self.basic != Some(Basic::Square) => 6,
            _ => 1,
        }
    }
    /// The dtype that arithmetic on arrays of `dtype` runs in.
    pub fn compute_dtype(&self, dtype: DType) -> DType {
        match (self.compute, dtype) {
            (_, DType::F16) => DType::F32,
            (_, DType::F32 | DType::F64) => dtype,
            (Compute::Float, _) => DType::F64,
            (Compute::Native, DType::Bool) => DType::I32,
            (Compute::Native, _) => dtype,
        }
    }
}

/// `(x, n, stride, rows, acc, one)`: folds `rows` runs of `n` elements, which begin `stride` elements apart, into an
/// accumulator each, or all of them into `one`.
///
/// # Safety
/// `x` must hold the runs, of the dtype the loop was made for, `acc` that many accumulators.
pub type FoldRows = unsafe fn(*const u8, usize, usize, usize, *mut u8, bool);

/// `(x, n, stride, rows, acc)`: folds such runs element by element, into an accumulator for each place in a run.
///
/// # Safety
/// As [`FoldRows`], with `n` accumulators.
pub type FoldColumns = unsafe fn(*const u8, usize, usize, usize, *mut u8);

/// The loops of a reduction for one dtype at one level.
#[derive(Clone, Copy)]
pub struct FoldTiles {
    /// Bytes of an accumulator: one, four or eight.
    pub size: usize,
    /// A word of accumulators at their start value.
    pub start: u64,
    pub rows: FoldRows,
    pub columns: FoldColumns,
    /// `join(acc, other, n)` joins `n` accumulators with others.
    pub join: unsafe fn(*mut u8, *const u8, usize),
    /// `store(acc, count, n, dtype, out)` finishes `count` totals of `n` elements each and stores them as `dtype`.
    pub store: unsafe fn(*const u8, usize, usize, DType, *mut u8),
}

/// A reduction: start value, fold, how two partial results join, and what is made of the total.
pub struct ReduceFn {
    pub name: &'static str,
    /// The start value in f64 and i64.
    pub start: (f64, i64),
    pub tiles: fn(DType, Level) -> FoldTiles,
    pub wgsl: FoldText,
}

/// A reduction in WGSL. `{0}` is the accumulator; `{1}` the element, or another accumulator; `{n}` how many were folded.
#[derive(Clone, Copy)]
pub struct FoldText {
    pub step: &'static str,
    pub join: &'static str,
    pub finish: &'static str,
}
