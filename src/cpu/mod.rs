//! The CPU executor: tile loops over contiguous runs, reductions, matrix products, moves, random streams.
//!
//! `isa` and `tiles` compile one source line for every instruction set; `map` and `fold` run programs; the rest are
//! kernels on plain slices and strided views.

pub mod best;
pub mod cases;
pub mod cast;
pub mod conv;
pub mod dot;
pub mod feed;
mod few;
pub mod fold;
pub mod fold_tiles;
pub mod fork;
pub mod gemm;
pub mod index;
pub mod isa;
pub mod lanes;
pub mod linalg;
mod lines;
pub mod map;
pub mod math;
pub mod moves;
mod network;
pub mod num;
pub mod order;
mod pairs;
pub mod plan;
pub mod pool;
pub mod random;
pub mod repeat;
pub mod rows;
pub mod running;
pub mod scratch;
pub mod small;
pub mod stream;
mod team;
pub mod tiles;
mod turn;
pub mod walk;
