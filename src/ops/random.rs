//! Random draws on MXNet's streams.

use crate::ops::Ops;

pub static OPS: Ops = &[];
