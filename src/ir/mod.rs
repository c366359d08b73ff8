//! What executors run: element functions, reductions, and the register programs made of them.

pub mod program;
pub mod tile;

pub use program::{Program, Source};
pub use tile::{FoldText, FoldTile, In, MapFn, ReduceFn, Tile};
