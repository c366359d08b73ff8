//! Backward, user-written functions, and the handle a user holds.

pub mod backward;
pub mod function;
pub mod ndarray;

pub use backward::{backward, backward_in, grad, grad_in};
pub use ndarray::{GradReq, NDArray};
