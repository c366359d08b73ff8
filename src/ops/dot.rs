//! Matrix products.

use crate::ops::Ops;

pub static OPS: Ops = &[];
