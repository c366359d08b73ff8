//! Backward, user-written functions, and the handle a user holds.

pub mod backward;
pub mod function;
pub mod ndarray;

pub use backward::{backward, grad};
pub use ndarray::{GradReq, NDArray};
