//! Products of vectors, matrices and stacks of matrices.

use crate::base::layout::{copied, show};
use crate::base::{DType, Result, Shape};
use crate::cpu::dot::{Dims, Matrix, Product, batch};
use crate::graph::{Args, Check, GradCtx, Kind, Meta, Op, Var, apply1};
use crate::ops::Ops;
use crate::tensor::kernel::Output;
use crate::tensor::{Storage, Tensor};
use crate::{ensure, rule};
use smallvec::{SmallVec, smallvec};

const LR: &[&str] = &["lhs", "rhs"];

crate::params! {
    pub struct DotParams {
        transpose_a: bool, K::Bool, D::Bool(false), "Whether to transpose the first operand.";
        transpose_b: bool, K::Bool, D::Bool(false), "Whether to transpose the second operand.";
        forward_stype: Option<std::sync::Arc<str>>, K::Ignored, D::None, "Ignored: results are dense.";
    }
}

fn flags(transpose_a: bool, transpose_b: bool) -> Args {
    DotParams { transpose_a, transpose_b, forward_stype: None }.args()
}

impl Var {
    /// `dot` with transposition flags.
    pub fn dot(&self, other: &Var, transpose_a: bool, transpose_b: bool) -> Var {
        use crate::base::error::OrThrow;
        apply1(&DOT, &[self.clone(), other.clone()], &flags(transpose_a, transpose_b)).or_throw()
    }
    /// `batch_dot` with transposition flags.
    pub fn batch_dot(&self, other: &Var, transpose_a: bool, transpose_b: bool) -> Var {
        use crate::base::error::OrThrow;
        apply1(&BATCH_DOT, &[self.clone(), other.clone()], &flags(transpose_a, transpose_b)).or_throw()
    }
}

fn check_dtypes(name: &str, m: &[Meta]) -> Result<()> {
    ensure!(m[0].dtype == m[1].dtype, "{name}: arrays of one dtype, got {} and {}: use astype", m[0].dtype, m[1].dtype);
    ensure!(m[0].dtype.is_float(), "{name}: dtype, got {}, expected a float dtype: use astype", m[0].dtype);
    Ok(())
}

/// Runs `$f::<T>` in the dtype of the operands; float16 goes through float32.
fn product(
    a: &Tensor,
    b: &Tensor,
    out: &mut Output,
    f32s: impl FnOnce(&Tensor, &Tensor, &mut [f32]) -> Result<()>,
    f64s: impl FnOnce(&Tensor, &Tensor, &mut [f64]) -> Result<()>,
) -> Result<()> {
    match a.dtype() {
        DType::F64 => f64s(a, b, out.slice::<f64>()),
        DType::F32 => f32s(a, b, out.slice::<f32>()),
        _ => {
            let to = out.slice::<half::f16>();
            let mut wide = vec![0f32; to.len()];
            f32s(&a.cast(DType::F32)?, &b.cast(DType::F32)?, &mut wide)?;
            crate::cpu::cast::cast_slice(&wide, to);
            Ok(())
        }
    }
}

// ---- dot ------------------------------------------------------------------------------------------------------------

/// The axes of an operand of `dot`, apart: the one that is summed over, and the rest.
fn parts(shape: &[usize], sum_last: bool) -> (usize, &[usize]) {
    match (shape, sum_last) {
        ([rest @ .., last], true) => (*last, rest),
        ([first, rest @ ..], false) => (*first, rest),
        _ => (1, &[]),
    }
}

/// The step along the axes of an operand that are not summed over, taken as one, and along the one that is; `None` where
/// they lie at no even steps.
fn steps(shape: &[usize], strides: &[isize], sum_last: bool) -> Option<(isize, isize)> {
    let n = shape.len();
    let (sum, rest) = if sum_last { (n - 1, 0..n - 1) } else { (0, 1..n) };
    let mut step: Option<(isize, isize)> = None; // the innermost step, and the step that the next axis out must have
    for axis in rest.rev() {
        let (dim, stride) = (shape[axis], strides[axis]);
        if dim == 1 {
            continue;
        }
        match step {
            None => step = Some((stride, stride * dim as isize)),
            Some((inner, next)) if stride == next => step = Some((inner, next * dim as isize)),
            Some(_) => return None,
        }
    }
    Some((step.map_or(1, |s| s.0), strides[sum]))
}

/// An operand of `dot` as a matrix: its storage and [`steps`]. One without even steps is copied into `copy`.
fn as_matrix<'a>(t: &'a Tensor, sum_last: bool, copy: &'a mut Option<Tensor>) -> Result<(&'a Storage, isize, isize)> {
    let storage = t.storage()?;
    if let Some((rest, sum)) = steps(t.shape(), &storage.strides, sum_last) {
        return Ok((storage, rest, sum));
    }
    let storage = copy.insert(t.copied()?).storage()?;
    let (rest, sum) = steps(t.shape(), &storage.strides, sum_last).unwrap_or((1, 1));
    Ok((storage, rest, sum))
}

fn dot_infer(m: &[Meta], args: &Args) -> Result<SmallVec<[Meta; 1]>> {
    let p = DotParams::read(args);
    check_dtypes("dot", m)?;
    let (a, b) = (&m[0].shape, &m[1].shape);
    ensure!(!a.is_empty() && !b.is_empty(), "dot: got shapes {} and {}, expected at least one axis", show(a), show(b));
    let transposed = p.transpose_a || p.transpose_b;
    ensure!(a.len() > 1 || b.len() > 1 || !transposed, "dot: two vectors cannot be transposed");
    let ((ka, rows), (kb, cols)) = (parts(a, !p.transpose_a), parts(b, p.transpose_b));
    ensure!(
        ka == kb,
        "dot: got shapes {}{} and {}{}, expected {ka} and {kb} to be equal",
        show(a),
        if p.transpose_a { " transposed" } else { "" },
        show(b),
        if p.transpose_b { " transposed" } else { "" }
    );
    let mut shape = Shape::new();
    shape.extend_from_slice(rows);
    shape.extend_from_slice(cols);
    if shape.is_empty() {
        shape.push(1);
    }
    Ok(smallvec![m[0].with_shape(shape)])
}

fn dot_run<T: Product>(a: &Tensor, b: &Tensor, p: &DotParams, out: &mut [T]) -> Result<()> {
    let ((k, rows), (_, cols)) = (parts(a.shape(), !p.transpose_a), parts(b.shape(), p.transpose_b));
    let dims = Dims { m: rows.iter().product(), n: cols.iter().product(), k };
    if dims.m * dims.n * k == 0 {
        out.fill(T::default());
        return Ok(());
    }
    let (mut a_copy, mut b_copy) = (None, None);
    let (a, a_rest, a_sum) = as_matrix(a, !p.transpose_a, &mut a_copy)?;
    let (b, b_rest, b_sum) = as_matrix(b, p.transpose_b, &mut b_copy)?;
    let offsets = [(a.offset, b.offset)];
    let a = Matrix { buffer: &a.buffer, row: a_rest, col: a_sum };
    let b = Matrix { buffer: &b.buffer, row: b_sum, col: b_rest };
    batch(dims, a, b, &offsets, out, false);
    Ok(())
}

/// The operands and the gradient of `dot` as matrices.
fn matrices(c: &GradCtx, g: &Var) -> (Var, Var, Var, DotParams) {
    let p = DotParams::read(c.args);
    let ((ka, rows), (kb, cols)) = (parts(c.shape(0), !p.transpose_a), parts(c.shape(1), p.transpose_b));
    let (m, n) = (rows.iter().product(), cols.iter().product());
    let a = c.input(0).reshape(&if p.transpose_a { [ka, m] } else { [m, ka] });
    let b = c.input(1).reshape(&if p.transpose_b { [n, kb] } else { [kb, n] });
    (a, b, g.reshape(&[m, n]), p)
}

pub static DOT: Op = Op {
    name: "dot",
    aliases: &[],
    doc: "Sum of products over the last axis of the first array and the first axis of the second: the product of \
          matrices. It is not batched: `(2, 3, 4)` by `(4, 5, 6)` gives `(2, 3, 5, 6)`. Two vectors give shape `(1,)`. \
          `transpose_a` moves the first axis of `lhs` to its end, `transpose_b` the last axis of `rhs` to its front.",
    inputs: LR,
    params: DotParams::SPEC,
    method: true,
    writes: &[],
    kind: Kind::LateKernel {
        infer: dot_infer,
        cpu: |t, args, out| {
            let p = DotParams::read(args);
            product(
                &t[0],
                &t[1],
                &mut out[0],
                |a, b, out| dot_run::<f32>(a, b, &p, out),
                |a, b, out| dot_run::<f64>(a, b, &p, out),
            )
        },
        gpu: Some(crate::ops::device::dot),
    },
    grad: rule!(
        FromInputs | c,
        g | [
            {
                let (_, b, g, p) = matrices(c, g);
                let da = if p.transpose_a { b.dot(&g, p.transpose_b, true) } else { g.dot(&b, false, !p.transpose_b) };
                da.reshape(c.shape(0))
            },
            {
                let (a, _, g, p) = matrices(c, g);
                let db = if p.transpose_b { g.dot(&a, true, p.transpose_a) } else { a.dot(&g, !p.transpose_a, false) };
                db.reshape(c.shape(1))
            }
        ]
    ),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda lhs, rhs, transpose_a=False, transpose_b=False: np.atleast_1d(np.tensordot(\
               np.moveaxis(lhs, 0, -1) if transpose_a else lhs, np.moveaxis(rhs, -1, 0) if transpose_b else rhs, 1))",
        calls: &[
            (&[&[2, 3], &[3, 4]], ""),
            (&[&[3, 2], &[3, 4]], "transpose_a=True"),
            (&[&[2, 3], &[4, 3]], "transpose_b=True"),
            (&[&[3, 2], &[4, 3]], "transpose_a=True, transpose_b=True"),
            (&[&[3], &[3]], ""),
            (&[&[2, 3], &[3]], ""),
            (&[&[3], &[3, 2]], ""),
            (&[&[2, 3, 4], &[4, 2, 3]], ""),
            (&[&[2, 3, 4], &[2, 5]], "transpose_a=True"),
            (&[&[2, 3, 4], &[5, 2, 4]], "transpose_b=True"),
        ],
    },
};

// ---- batch_dot ------------------------------------------------------------------------------------------------------

fn batch_infer(m: &[Meta], args: &Args) -> Result<SmallVec<[Meta; 1]>> {
    let p = DotParams::read(args);
    check_dtypes("batch_dot", m)?;
    let (a, b) = (&m[0].shape, &m[1].shape);
    let n = a.len();
    ensure!(
        n >= 3 && b.len() == n && a[..n - 2] == b[..n - 2],
        "batch_dot: got shapes {} and {}, expected three axes or more, the same but for the last two",
        show(a),
        show(b)
    );
    let (rows, ka) = if p.transpose_a { (a[n - 1], a[n - 2]) } else { (a[n - 2], a[n - 1]) };
    let (kb, cols) = if p.transpose_b { (b[n - 1], b[n - 2]) } else { (b[n - 2], b[n - 1]) };
    ensure!(ka == kb, "batch_dot: got shapes {} and {}, expected {ka} and {kb} to be equal", show(a), show(b));
    let mut shape: Shape = copied(&a[..n - 2]);
    shape.extend([rows, cols]);
    Ok(smallvec![m[0].with_shape(shape)])
}

/// Where each matrix of a stack begins.
fn starts(t: &Tensor) -> Result<Vec<usize>> {
    let layout = t.layout()?;
    let lead = layout.shape.len() - 2;
    let mut out = vec![layout.offset];
    for (&dim, &stride) in layout.shape[..lead].iter().zip(&layout.strides) {
        out = out.iter().flat_map(|&o| (0..dim).map(move |i| (o as isize + i as isize * stride) as usize)).collect();
    }
    Ok(out)
}

fn batch_run<T: Product>(a: &Tensor, b: &Tensor, p: &DotParams, out: &mut [T]) -> Result<()> {
    let n = a.ndim();
    let (la, lb) = (a.layout()?, b.layout()?);
    // The axes of rows, of the sum and of columns.
    let (ra, ka) = if p.transpose_a { (n - 1, n - 2) } else { (n - 2, n - 1) };
    let (kb, cb) = if p.transpose_b { (n - 1, n - 2) } else { (n - 2, n - 1) };
    let dims = Dims { m: la.shape[ra], n: lb.shape[cb], k: la.shape[ka] };
    let offsets: Vec<(usize, usize)> = starts(a)?.into_iter().zip(starts(b)?).collect();
    let a = Matrix { buffer: &a.storage()?.buffer, row: la.strides[ra], col: la.strides[ka] };
    let b = Matrix { buffer: &b.storage()?.buffer, row: lb.strides[kb], col: lb.strides[cb] };
    batch(dims, a, b, &offsets, out, false);
    Ok(())
}

pub static BATCH_DOT: Op = Op {
    name: "batch_dot",
    aliases: &[],
    doc: "Products of matrices in the last two axes, one for each index of the axes before, which must agree.",
    inputs: LR,
    params: DotParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::LateKernel {
        infer: batch_infer,
        cpu: |t, args, out| {
            let p = DotParams::read(args);
            product(
                &t[0],
                &t[1],
                &mut out[0],
                |a, b, out| batch_run::<f32>(a, b, &p, out),
                |a, b, out| batch_run::<f64>(a, b, &p, out),
            )
        },
        gpu: Some(crate::ops::device::batch_dot),
    },
    grad: rule!(
        FromInputs | c,
        g | [
            {
                let (p, b) = (DotParams::read(c.args), c.input(1));
                if p.transpose_a { b.batch_dot(g, p.transpose_b, true) } else { g.batch_dot(b, false, !p.transpose_b) }
            },
            {
                let (p, a) = (DotParams::read(c.args), c.input(0));
                if p.transpose_b { g.batch_dot(a, true, p.transpose_a) } else { a.batch_dot(g, !p.transpose_a, false) }
            }
        ]
    ),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda lhs, rhs, transpose_a=False, transpose_b=False: np.matmul(\
               np.swapaxes(lhs, -1, -2) if transpose_a else lhs, np.swapaxes(rhs, -1, -2) if transpose_b else rhs)",
        calls: &[
            (&[&[2, 3, 4], &[2, 4, 5]], ""),
            (&[&[2, 4, 3], &[2, 4, 5]], "transpose_a=True"),
            (&[&[2, 3, 4], &[2, 5, 4]], "transpose_b=True"),
            (&[&[2, 4, 3], &[2, 5, 4]], "transpose_a=True, transpose_b=True"),
            (&[&[2, 2, 3, 1], &[2, 2, 1, 2]], ""),
        ],
    },
};

pub static OPS: Ops = &[&DOT, &BATCH_DOT];
