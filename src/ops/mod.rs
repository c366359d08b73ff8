//! The op records, grouped; and the plain-expression form in which gradient rules and composed ops are written.
//!
//! Elements: `unary` · `trig` · `rounding` · `special` · `bounded` · `binary` (arithmetic, comparison, logic) · `select` · `activation`. Layout: `shape` · `broadcast` · `slice` ·
//! `join` · `repeat` · `sequence`. Picking: `index` · `getitem` (what basic and advanced keys are made of) · `along` ·
//! `sort`. Sums: `reduce` · `dot` · `linalg` · `linalg_factor`. Layers: `nn` · `softmax` · `norm` · `row_norm` · `loss` · `conv` · `pooling` · `rnn` · `ctc` · `plane` · `contrib`.
//! Training: `optim` · `optim_norm` · `optim_many` · `arrays`. From nothing: `init` · `random` · `choice` · `density`.

pub mod activation;
pub mod along;
pub mod arrays;
pub mod binary;
pub mod bounded;
pub mod broadcast;
pub mod choice;
pub mod contrib;
pub mod conv;
pub mod ctc;
pub mod density;
pub mod device;
pub mod dot;
pub mod expr;
pub mod getitem;
pub mod index;
pub mod init;
pub mod join;
pub mod linalg;
pub mod linalg_factor;
pub mod loss;
pub mod nn;
pub mod norm;
pub mod optim;
pub mod optim_many;
pub mod optim_norm;
pub mod pick;
pub mod plane;
pub mod pooling;
pub mod random;
pub mod reduce;
pub mod repeat;
pub mod rnn;
pub mod rounding;
pub mod row_norm;
pub mod select;
pub mod sequence;
pub mod shape;
pub mod slice;
pub mod softmax;
pub mod sort;
pub mod special;
pub mod trig;
pub mod unary;

use crate::graph::Op;
use std::collections::HashMap;
use std::sync::OnceLock;

/// A file's list of records.
pub type Ops = &'static [&'static Op];

/// Every record.
pub fn all() -> impl Iterator<Item = &'static Op> {
    [
        unary::OPS,
        trig::OPS,
        rounding::OPS,
        special::OPS,
        bounded::OPS,
        binary::OPS,
        reduce::OPS,
        shape::OPS,
        broadcast::OPS,
        slice::OPS,
        join::OPS,
        repeat::OPS,
        getitem::OPS,
        index::OPS,
        pick::OPS,
        select::OPS,
        along::OPS,
        sequence::OPS,
        arrays::OPS,
        linalg::OPS,
        linalg_factor::OPS,
        rnn::OPS,
        ctc::OPS,
        plane::OPS,
        contrib::OPS,
        density::OPS,
        sort::OPS,
        dot::OPS,
        nn::OPS,
        activation::OPS,
        softmax::OPS,
        row_norm::OPS,
        norm::OPS,
        loss::OPS,
        conv::OPS,
        pooling::OPS,
        optim::OPS,
        optim_norm::OPS,
        optim_many::OPS,
        init::OPS,
        random::OPS,
        choice::OPS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The record of a name or alias.
pub fn find(name: &str) -> Option<&'static Op> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Op>> = OnceLock::new();
    let map = BY_NAME.get_or_init(|| {
        all().flat_map(|op| std::iter::once(op.name).chain(op.aliases.iter().copied()).map(move |n| (n, op))).collect()
    });
    map.get(name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Grad, Kind};

    #[test]
    fn names_are_unique_and_records_whole() {
        let mut seen = HashMap::new();
        for op in all() {
            for name in std::iter::once(&op.name).chain(op.aliases) {
                assert!(seen.insert(*name, op.name).is_none(), "{name} is in two records");
            }
            assert!(op.doc.ends_with('.') || op.doc.contains('\n'), "{}: the doc is a sentence", op.name);
            assert_eq!(matches!(op.kind, Kind::Compose(_)), matches!(op.grad, Grad::Composed), "{}", op.name);
            assert!(op.params.iter().all(|p| !p.doc.is_empty()), "{}: every parameter has a doc", op.name);
        }
    }
}
