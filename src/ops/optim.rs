//! Optimizer updates.

use crate::ops::Ops;

pub static OPS: Ops = &[];
