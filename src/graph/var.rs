//! A value with its place on the tape.

use crate::base::{DType, Result};
use crate::graph::node::Edge;
use crate::tensor::Tensor;

/// A tensor, and the node that made it where it is recorded.
#[derive(Clone)]
pub struct Var {
    pub tensor: Tensor,
    pub edge: Option<Edge>,
}

impl AsRef<Tensor> for Var {
    #[inline]
    fn as_ref(&self) -> &Tensor {
        &self.tensor
    }
}

impl Var {
    #[inline]
    pub fn new(tensor: Tensor) -> Var {
        Var { tensor, edge: None }
    }
    pub fn scalar(value: f64) -> Var {
        Var::new(Tensor::scalar(value))
    }
    #[inline]
    pub fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
    #[inline]
    pub fn ndim(&self) -> usize {
        self.tensor.ndim()
    }
    #[inline]
    pub fn dtype(&self) -> DType {
        self.tensor.dtype()
    }
    #[inline]
    pub fn numel(&self) -> usize {
        self.tensor.numel()
    }
    /// The value without its history.
    pub fn detached(&self) -> Var {
        Var::new(self.tensor.clone())
    }
    pub fn to_vec<T: crate::base::Element>(&self) -> Result<Vec<T>> {
        self.tensor.to_vec()
    }
}
