//! Tensors and reverse-mode autograd with MXNet's `nd` / `autograd` surface.
//!
//! Each module uses only those above it:
//!
//! - `base`: errors, dtypes, layouts, pooled buffers
//! - `ir`: what executors run: element functions, reductions, programs
//! - `cpu`: the CPU executor
//! - `gpu`: the GPU executor: plans, WGSL, batches for a driver
//! - `tensor`: the immutable value, ready or deferred
//! - `graph`: op records, values on the tape, apply
//! - `ops`: one record per op
//! - `autograd`: scopes, backward, NDArray
//! - `python`: the only PyO3 code

pub mod autograd;
pub mod base;
pub mod cpu;
pub mod gpu;
pub mod graph;
pub mod ir;
pub mod ops;
#[cfg(feature = "python")]
mod python;
pub mod tensor;
