//! Ops as expressions: `&a * &b + 1.0`, `x.log()`. Errors are thrown to the nearest [`catch`](crate::base::error::catch),
//! which `apply` and backward have around the code that uses them.

use crate::base::error::OrThrow;
use crate::base::layout::broadcast;
use crate::base::{DType, Device, Shape};
use crate::graph::op::ReduceParams;
use crate::graph::{Args, Op, Var, apply1, apply2};
use crate::ops::broadcast::EXPAND;
use crate::ops::{binary as b, reduce as r, shape as s, trig as t, unary as u};
use crate::tensor::{Scalar, Tensor};

impl Var {
    /// Applies a record of one input and no parameters.
    pub fn unary(&self, op: &'static Op) -> Var {
        apply1(op, std::slice::from_ref(self), &Args::new()).or_throw()
    }
    /// Applies a record of one input.
    pub fn with(&self, op: &'static Op, args: Args) -> Var {
        apply1(op, std::slice::from_ref(self), &args).or_throw()
    }
    pub fn binary(&self, op: &'static Op, other: &Var) -> Var {
        apply2(op, self, other).or_throw()
    }
    /// An array of one value with this one's dtype and device.
    pub fn full_like(&self, shape: &[usize], value: f64) -> Var {
        filled(shape, self.dtype(), self.tensor.device(), value)
    }
    pub fn pow(&self, exponent: f64) -> Var {
        self.binary(&b::POW, &Var::scalar(exponent))
    }
    pub fn cast(&self, dtype: DType) -> Var {
        if self.dtype() == dtype {
            return self.clone();
        }
        self.with(&u::CAST, u::CastParams { dtype }.args())
    }
    pub fn reshape(&self, shape: &[usize]) -> Var {
        if self.shape() == shape {
            return self.clone();
        }
        self.with(&s::VIEW_AS, s::ShapeParams { shape: shape.iter().map(|&d| d as i64).collect() }.args())
    }
    /// A constant of ours on the device of the array that it meets.
    pub fn beside(self, other: &Var) -> Var {
        let tensor = self.tensor.on_device(other.tensor.device()).or_throw();
        Var { tensor, edge: self.edge }
    }
    pub fn broadcast_to(&self, shape: &[usize]) -> Var {
        if self.shape() == shape {
            return self.clone();
        }
        self.with(&EXPAND, s::ShapeParams { shape: shape.iter().map(|&d| d as i64).collect() }.args())
    }
    pub fn transpose(&self, axes: &[usize]) -> Var {
        self.with(&s::TRANSPOSE, s::TransposeParams { axes: Some(axes.iter().map(|&d| d as i64).collect()) }.args())
    }
    /// Sums over `axes`, keeping them with length one or not.
    pub fn sum_axes(&self, axes: &[usize], keepdims: bool) -> Var {
        self.fold(&r::SUM, axes, keepdims)
    }
    pub fn fold(&self, op: &'static Op, axes: &[usize], keepdims: bool) -> Var {
        if axes.is_empty() {
            return self.clone();
        }
        let axis = Some(axes.iter().map(|&a| a as i64).collect());
        self.with(op, ReduceParams { axis, keepdims, exclude: false }.args())
    }
    /// Sums what broadcasting repeated, so that the result has `shape`.
    pub fn sum_to(&self, shape: &[usize]) -> Var {
        if self.shape() == shape {
            return self.clone();
        }
        let lead = self.ndim().saturating_sub(shape.len());
        let axes: Vec<usize> =
            (0..self.ndim()).filter(|&i| i < lead || (shape[i - lead] == 1 && self.shape()[i] != 1)).collect();
        let summed = self.sum_axes(&axes, true);
        summed.reshape(shape)
    }
    /// This gradient as the gradient of an array of `shape` and `dtype`: summed over what was broadcast, or repeated
    /// where the rule gave fewer elements, and cast.
    pub fn fit(&self, shape: &[usize], dtype: DType, device: Device) -> Var {
        if let Tensor::Scalar(s) = self.tensor {
            return filled(shape, dtype, device, s.to_f64());
        }
        let mut out = self.clone();
        if out.shape() != shape {
            out = match broadcast(out.shape(), shape) {
                Some(both) if both.as_slice() == shape && out.numel() < both.iter().product() => {
                    out.broadcast_to(shape)
                }
                _ => out.sum_to(shape),
            };
        }
        out.cast(dtype)
    }
}

/// An array of one value.
pub fn filled(shape: &[usize], dtype: DType, device: Device, value: f64) -> Var {
    Var::new(Tensor::full(shape, dtype, device, Scalar::Float(value)).or_throw())
}

macro_rules! unary_methods {
    ($($name:ident => $op:path),* $(,)?) => {
        impl Var { $(pub fn $name(&self) -> Var { self.unary(&$op) })* }
    };
}
unary_methods! {
    exp => u::EXP, log => u::LOG, sqrt => u::SQRT, square => u::SQUARE, abs => u::ABS, sign => u::SIGN, sin => t::SIN,
    cos => t::COS, sinh => t::SINH, cosh => t::COSH, tanh => t::TANH, sigmoid => u::SIGMOID, reciprocal => u::RECIPROCAL,
}

macro_rules! operators {
    ($trait:ident, $method:ident, $op:path) => {
        impl std::ops::$trait<&Var> for &Var {
            type Output = Var;
            fn $method(self, other: &Var) -> Var {
                self.binary(&$op, other)
            }
        }
        impl std::ops::$trait<&Var> for Var {
            type Output = Var;
            fn $method(self, other: &Var) -> Var {
                self.binary(&$op, other)
            }
        }
        impl std::ops::$trait<Var> for &Var {
            type Output = Var;
            fn $method(self, other: Var) -> Var {
                self.binary(&$op, &other)
            }
        }
        impl std::ops::$trait<Var> for Var {
            type Output = Var;
            fn $method(self, other: Var) -> Var {
                self.binary(&$op, &other)
            }
        }
        impl std::ops::$trait<f64> for &Var {
            type Output = Var;
            fn $method(self, other: f64) -> Var {
                apply2(&$op, self, &Var::scalar(other)).or_throw()
            }
        }
        impl std::ops::$trait<f64> for Var {
            type Output = Var;
            fn $method(self, other: f64) -> Var {
                apply2(&$op, &self, &Var::scalar(other)).or_throw()
            }
        }
        impl std::ops::$trait<&Var> for f64 {
            type Output = Var;
            fn $method(self, other: &Var) -> Var {
                Var::scalar(self).binary(&$op, other)
            }
        }
        impl std::ops::$trait<Var> for f64 {
            type Output = Var;
            fn $method(self, other: Var) -> Var {
                Var::scalar(self).binary(&$op, &other)
            }
        }
    };
}
operators!(Add, add, b::ADD);
operators!(Sub, sub, b::SUB);
operators!(Mul, mul, b::MUL);
operators!(Div, div, b::DIV);

impl std::ops::Neg for &Var {
    type Output = Var;
    fn neg(self) -> Var {
        self.unary(&u::NEGATIVE)
    }
}
impl std::ops::Neg for Var {
    type Output = Var;
    fn neg(self) -> Var {
        self.unary(&u::NEGATIVE)
    }
}

/// A shape as the type the layers share.
pub fn shape_of(dims: &[i64]) -> Shape {
    dims.iter().map(|&d| d as usize).collect()
}

/// The only output of a composed op; an error is thrown.
pub fn one(result: crate::base::Result<Var>) -> smallvec::SmallVec<[Var; 1]> {
    smallvec::smallvec![result.or_throw()]
}
