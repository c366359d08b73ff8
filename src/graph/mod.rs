//! Ops as records, values on the tape, and the one function that runs and records: [`apply`].

pub mod apply;
mod gpu;
pub mod mode;
pub mod node;
pub mod op;
pub mod params;
pub mod var;

pub use apply::{apply, apply_own, apply1, apply2};
pub use node::{Edge, Node, Sink};
pub use op::{Check, Grad, GradCtx, Grads, Kind, Meta, Op};
pub use params::{Args, Param, ParamKind, ParamSpec};
pub use var::Var;
