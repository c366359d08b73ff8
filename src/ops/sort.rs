//! Order: sort, argsort, topk.

use crate::ops::Ops;

pub static OPS: Ops = &[];
