//! Layers, normalization, softmax and losses.

use crate::ops::Ops;

pub static OPS: Ops = &[];
