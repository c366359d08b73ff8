//! Deferred arrays read by a kernel row by row, computed on the way.

use crate::base::lock::lock;
use crate::base::{Element, Result, Strides};
use crate::cpu::feed::Feed;
use crate::cpu::map::{LeafSpec, Operand};
use crate::tensor::expr::Expr;
use crate::tensor::region::{Region, Root};
use crate::tensor::{Storage, Tensor};
use smallvec::SmallVec;

impl Tensor {
    /// The values and places of rows that are zero elsewhere and not computed yet; see [`Expr::Put`].
    pub fn placed_in_rows(&self) -> Option<(Tensor, Tensor)> {
        let Tensor::Array(value) = self else { return None };
        match lock(&value.expr).as_deref() {
            Some(Expr::Put { ins, .. }) => Some((ins[0].clone(), ins[1].clone())),
            _ => None,
        }
    }
    /// Calls `f` with the array's rows. What is deferred and costs little is computed as it is read, and not written.
    pub fn feed<T: Element, R>(&self, f: impl FnOnce(&Feed<T>) -> R) -> Result<R> {
        if let Tensor::Array(value) = self
            && value.ready.get().is_none()
            && !self.on_gpu()
        {
            let region = Region::<Storage>::gather(Root::Feed(self), self.shape())?;
            if !region.program.instrs.is_empty() {
                let strides: SmallVec<[Strides; 4]> = region.leaves.iter().map(|leaf| leaf.strides.clone()).collect();
                let specs = region.leaves.iter().zip(&strides).map(|(leaf, strides)| LeafSpec {
                    data: Operand::Shared(&leaf.storage.buffer),
                    dtype: leaf.value.dtype,
                    offset: leaf.storage.offset,
                    strides,
                });
                return Ok(Feed::with(&region.program, &mut specs.collect::<SmallVec<[_; 4]>>(), self.shape(), f));
            }
        }
        let dense = self.dense()?;
        Ok(f(&Feed::of(dense.slice())))
    }
}
