//! New arrays from nothing but a shape.

use crate::ops::Ops;

pub static OPS: Ops = &[];
