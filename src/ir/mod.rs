//! What executors run: element functions, reductions, and the register programs made of them.

pub mod program;
pub mod tile;

pub use program::{Program, Source};
pub use tile::{FoldColumns, FoldRows, FoldText, FoldTiles, In, MapFn, ReduceFn, Tile};

/// The iteration space of a reduction, after its axes were put in order: for each of `outer` results, `reduce`
/// elements are folded; where the innermost axis is kept, `inner` results run side by side.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub outer: usize,
    pub reduce: usize,
    pub inner: usize,
}
