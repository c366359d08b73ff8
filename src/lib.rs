//! Tensors and reverse-mode autograd with MXNet's `nd` / `autograd` surface.
//!
//! Each module uses only those above it:

pub mod autograd; // scopes, backward, NDArray
pub mod base; // errors, dtypes, layouts, pooled buffers
pub mod cpu; // the CPU executor
pub mod graph; // op records, values on the tape, apply
pub mod ir; // what executors run: element functions, reductions, programs
pub mod ops; // one record per op
#[cfg(feature = "python")]
mod python;
pub mod tensor; // the immutable value, ready or deferred // the only PyO3 code
