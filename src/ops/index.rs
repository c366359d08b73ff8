//! Picking elements by position: slices, gathers, scatters.

use crate::ops::Ops;

pub static OPS: Ops = &[];
