//! Factorizations of stacks of matrices, and what is solved with them. Computed in float64 whatever the dtype.

use crate::base::error::OrThrow;
use crate::base::{Element, Error, Result};
use crate::cpu::linalg as cpu;
use crate::graph::{Args, Check, Grad, GradCtx, Kind, Meta, Op, Var, apply1};
use crate::ops::Ops;
use crate::ops::binary::EQUAL;
use crate::ops::expr::one;
use crate::ops::linalg::{TriangularParams, fitting, per_matrix, square};
use crate::tensor::Tensor;
use crate::tensor::kernel::Output;
use crate::{ensure, rule, with_dtype};
use smallvec::{SmallVec, smallvec};

const UNIQUE: std::result::Result<(f64, f64), &str> = Err("tested with matrices that have a factor");

/// Checks one input of square matrices.
fn square_meta(name: &str, m: &Meta) -> Result<usize> {
    let shape = crate::base::layout::show(&m.shape);
    ensure!(m.dtype.is_float(), "{name}: got {}, expected a float dtype: use astype", m.dtype);
    match m.shape[..] {
        [.., rows, columns] if rows == columns => Ok(rows),
        _ => Err(Error::op(format_args!("{name}: got shape {shape}, expected square matrices"))),
    }
}

/// Runs `f` on each matrix of `n` by `n` elements; what it gives goes to the outputs, one slice to each.
fn each(
    t: &Tensor,
    size: usize,
    outs: &mut [Output],
    mut f: impl FnMut(&[f64]) -> Result<SmallVec<[Vec<f64>; 2]>>,
) -> Result<()> {
    let data = t.to_vec::<f64>()?;
    for (k, matrix) in data.chunks_exact(size.max(1)).enumerate() {
        for (part, out) in f(matrix)?.iter().zip(outs.iter_mut()) {
            with_dtype!(t.dtype(), T => {
                let to = &mut out.slice::<T>()[k * part.len()..][..part.len()];
                to.iter_mut().zip(part).for_each(|(o, &v)| *o = T::from_f64(v));
            });
        }
    }
    Ok(())
}

/// The square matrices of an input, one output like it.
fn same(name: &str, metas: &[Meta]) -> Result<SmallVec<[Meta; 1]>> {
    square_meta(name, &metas[0])?;
    Ok(smallvec![metas[0].clone()])
}

/// One number for each matrix, `(1,)` for one.
fn numbers(m: &Meta) -> Meta {
    let lead = &m.shape[..m.shape.len() - 2];
    m.with_shape(if lead.is_empty() { smallvec![1] } else { lead.into() })
}

// ---- Cholesky -------------------------------------------------------------------------------------------------------

crate::params! {
    pub struct LowerParams { lower: bool, K::Bool, D::Bool(true), "Whether the factor is the lower triangle, or the upper one."; }
}

static CHOLESKY: Op = Op {
    name: "_cholesky",
    aliases: &[],
    doc: "The lower factor `L` of `A = L L^T`, from the lower triangle of `A`.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| same("linalg_potrf", metas),
        cpu: |ins, _, outs| {
            let n = ins[0].shape()[ins[0].ndim() - 1];
            each(&ins[0], n * n, outs, |a| {
                let mut l = a.to_vec();
                let done = cpu::cholesky(&mut l, n);
                done.ok_or_else(|| Error::op("linalg_potrf: A, got a matrix that is not positive definite"))?;
                Ok(smallvec![l])
            })
        },
        gpu: None,
    },
    // With S = L^-T phi(L^T g) L^-1, where phi halves the diagonal of the lower triangle: the symmetric part of S.
    grad: rule!(
        FromOutput | c,
        g | [{
            let l = c.output(0);
            let inner = l.matmul(g, true, false).triangle(true);
            let inner = &inner - inner.diagonal_only() * 0.5;
            let left = l.solved(&inner, true, false);
            let s = l.solved(&left, false, true);
            (&s + s.turned()) * 0.5
        }]
    ),
    check: Check { range: UNIQUE, like: "", calls: &[] },
};

pub static POTRF: Op = Op {
    name: "_linalg_potrf",
    aliases: &["linalg_potrf"],
    doc: "The Cholesky factor of symmetric positive definite matrices: `L L^T = A`, or with `lower=False` `U^T U = A`.",
    inputs: &["A"],
    params: LowerParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let lower = LowerParams::read(args).lower;
        one(square("linalg_potrf", &v[0])
            .map(|_| if lower { v[0].unary(&CHOLESKY) } else { v[0].turned().unary(&CHOLESKY).turned() }))
    }),
    grad: Grad::Composed,
    check: Check { range: UNIQUE, like: "", calls: &[] },
};

pub static POTRI: Op = Op {
    name: "_linalg_potri",
    aliases: &["linalg_potri"],
    doc: "The inverse of a matrix from its Cholesky factor.",
    inputs: &["A"],
    params: LowerParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let lower = LowerParams::read(args).lower;
        one(square("linalg_potri", &v[0]).map(|_| {
            let factor = if lower { v[0].clone() } else { v[0].turned() };
            let root = factor.solved(&identity(&v[0]), false, false);
            root.matmul(&root, true, false)
        }))
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda A, lower=True: np.linalg.inv((lambda L: L @ L.mT)(np.tril(A) if lower else np.triu(A).mT))",
        calls: &[(&[&[3, 3]], ""), (&[&[2, 2, 2]], "lower=False")],
    },
};

/// Identity matrices, as many and as large as in a stack.
fn identity(like: &Var) -> Var {
    like.full_like(like.shape(), 1.0).diagonal_only()
}

// ---- triangular systems ---------------------------------------------------------------------------------------------

crate::params! {
    pub struct SolveParams {
        transpose: bool, K::Bool, D::Bool(false), "Whether to transpose the triangular matrix.";
        lower: bool, K::Bool, D::Bool(true), "Whether its lower triangle counts, or its upper one.";
    }
}
static SOLVE: Op = Op {
    name: "_solve_triangular",
    aliases: &[],
    doc: "Solves `op(A) X = B`, where `A` is triangular.",
    inputs: &["A", "B"],
    params: SolveParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| {
            square_meta("linalg_trsm", &metas[0])?;
            Ok(smallvec![metas[1].clone()])
        },
        cpu: |ins, args, outs| {
            let p = SolveParams::read(args);
            let n = ins[0].shape()[ins[0].ndim() - 1];
            let m = ins[1].shape()[ins[1].ndim() - 1];
            let triangles = ins[0].to_vec::<f64>()?;
            let mut triangles = triangles.chunks_exact((n * n).max(1));
            each(&ins[1], n * m, outs, |b| {
                let mut x = b.to_vec();
                if let Some(t) = triangles.next() {
                    cpu::solve_triangular(t, n, p.lower, p.transpose, &mut x, m);
                }
                Ok(smallvec![x])
            })
        },
        gpu: None,
    },
    grad: rule!(
        FromBoth | c,
        g | [
            {
                let p = SolveParams::read(c.args);
                let back = c.input(0).solve(g, !p.transpose, p.lower);
                let x = c.output(0);
                let outer = if p.transpose { x.matmul(&back, false, true) } else { back.matmul(x, false, true) };
                -outer.triangle(p.lower)
            },
            {
                let p = SolveParams::read(c.args);
                c.input(0).solve(g, !p.transpose, p.lower)
            }
        ]
    ),
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda A, B, transpose=False, lower=True: \
               np.linalg.solve((lambda T: T.mT if transpose else T)(np.tril(A) if lower else np.triu(A)), B)",
        calls: &[(&[&[3, 3], &[3, 2]], ""), (&[&[2, 3, 3], &[2, 3, 1]], "transpose=True, lower=False")],
    },
};

impl Var {
    fn solve(&self, b: &Var, transpose: bool, lower: bool) -> Var {
        apply1(&SOLVE, &[self.clone(), b.clone()], &SolveParams { transpose, lower }.args()).or_throw()
    }
    /// `op(L)^-1 B`, or `B op(L)^-1` from the right, of a lower triangular matrix.
    fn solved(&self, b: &Var, transpose: bool, right: bool) -> Var {
        if right { self.solve(&b.turned(), !transpose, true).turned() } else { self.solve(b, transpose, true) }
    }
}

pub static TRSM: Op = Op {
    name: "_linalg_trsm",
    aliases: &["linalg_trsm"],
    doc: "Solves `op(A) X = alpha * B`, or `X op(A) = alpha * B`, where `A` is triangular.",
    inputs: &["A", "B"],
    params: TriangularParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = TriangularParams::read(args);
        one(fitting("linalg_trsm", v, p.rightside).map(|()| {
            let b = &v[1] * p.alpha;
            match p.rightside {
                true => v[0].solve(&b.turned(), !p.transpose, p.lower).turned(),
                false => v[0].solve(&b, p.transpose, p.lower),
            }
        }))
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda A, B, rightside=False, alpha=1: alpha * (B @ np.linalg.inv(np.tril(A)) if rightside else \
               np.linalg.inv(np.tril(A)) @ B)",
        calls: &[(&[&[3, 3], &[3, 2]], "alpha=2"), (&[&[2, 3, 3], &[2, 2, 3]], "rightside=True")],
    },
};

// ---- inverse and determinant ----------------------------------------------------------------------------------------

crate::params! {
    pub struct InverseParams { or_zero: bool, K::Bool, D::Bool(false), "Whether a singular matrix gives zeros, not an error."; }
}
static INVERT: Op = Op {
    name: "_inverse",
    aliases: &[],
    doc: "The inverse of square matrices.",
    inputs: &["A"],
    params: InverseParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| same("linalg_inverse", metas),
        cpu: |ins, args, outs| {
            let n = ins[0].shape()[ins[0].ndim() - 1];
            let or_zero = InverseParams::read(args).or_zero;
            each(&ins[0], n * n, outs, |a| match cpu::inverse(a, n) {
                Some(found) => Ok(smallvec![found]),
                None if or_zero => Ok(smallvec![vec![0.0; n * n]]),
                None => Err(Error::op("linalg_inverse: A, got a matrix that is non-convertible: it is singular")),
            })
        },
        gpu: None,
    },
    grad: rule!(
        FromOutput | c,
        g | [{
            let y = c.output(0);
            -y.matmul(g, true, false).matmul(y, false, true)
        }]
    ),
    check: Check { range: UNIQUE, like: "", calls: &[] },
};

impl Var {
    /// The inverse transposed, zeros where there is none: the gradient of a determinant but for a factor.
    fn cofactors(&self) -> Var {
        self.with(&INVERT, InverseParams { or_zero: true }.args()).turned()
    }
}

pub static INVERSE: Op = Op {
    name: "_linalg_inverse",
    aliases: &["linalg_inverse"],
    doc: "The inverse of square matrices.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        one(square("linalg_inverse", &v[0]).map(|_| v[0].with(&INVERT, InverseParams { or_zero: false }.args())))
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda A: np.linalg.inv(A)",
        calls: &[(&[&[2, 2]], ""), (&[&[2, 3, 3]], "")],
    },
};

pub static SLOGDET: Op = Op {
    name: "_linalg_slogdet",
    aliases: &["linalg_slogdet"],
    doc: "Sign of the determinant, and the logarithm of its absolute value. A singular matrix gives 0 and minus infinity.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| {
            square_meta("linalg_slogdet", &metas[0])?;
            Ok(smallvec![numbers(&metas[0]), numbers(&metas[0])])
        },
        cpu: |ins, _, outs| {
            let n = ins[0].shape()[ins[0].ndim() - 1];
            each(&ins[0], n * n, outs, |a| {
                let (sign, log) = cpu::log_det(a, n);
                Ok(smallvec![vec![sign], vec![log]])
            })
        },
        gpu: None,
    },
    grad: Grad::FromInputs(|c, grads| {
        let a = c.input(0);
        smallvec![Some(per_matrix(&grads[1], a) * a.cofactors())]
    }),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda A: np.linalg.slogdet(A)",
        calls: &[(&[&[2, 2]], ""), (&[&[2, 3, 3]], "")],
    },
};

pub static DET: Op = Op {
    name: "_linalg_det",
    aliases: &["linalg_det"],
    doc: "The determinant of square matrices. Of a singular one its gradient is zero, as in MXNet.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| {
            square_meta("linalg_det", &metas[0])?;
            Ok(smallvec![numbers(&metas[0])])
        },
        cpu: |ins, _, outs| {
            let n = ins[0].shape()[ins[0].ndim() - 1];
            each(&ins[0], n * n, outs, |a| Ok(smallvec![vec![cpu::det(a, n)]]))
        },
        gpu: None,
    },
    grad: rule!(FromBoth | c, g | [per_matrix(&(g * c.output(0)), c.input(0)) * c.input(0).cofactors()]),
    check: Check {
        range: Ok((-2.0, 2.0)),
        like: "lambda A: np.linalg.det(A)",
        calls: &[(&[&[2, 2]], ""), (&[&[2, 3, 3]], ""), (&[&[1, 1]], "")],
    },
};

// ---- orthogonal factors ---------------------------------------------------------------------------------------------

pub static GELQF: Op = Op {
    name: "_linalg_gelqf",
    aliases: &["linalg_gelqf"],
    doc: "`[Q, L]` with `A = L Q`: `L` lower triangular, the rows of `Q` orthonormal. `A` has no more rows than columns.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| {
            let m = &metas[0];
            let got = crate::base::layout::show(&m.shape);
            ensure!(m.dtype.is_float(), "linalg_gelqf: got {}, expected a float dtype: use astype", m.dtype);
            let [lead @ .., rows, columns] = &m.shape[..] else {
                return Err(Error::op(format_args!("linalg_gelqf: A, got shape {got}, expected matrices")));
            };
            ensure!(rows <= columns, "linalg_gelqf: A, got shape {got}, expected no more rows than columns");
            let factor = lead.iter().copied().chain([*rows, *rows]).collect();
            Ok(smallvec![m.clone(), m.with_shape(factor)])
        },
        cpu: |ins, _, outs| {
            let [m, n] = [2, 1].map(|k| ins[0].shape()[ins[0].ndim() - k]);
            each(&ins[0], m * n, outs, |a| {
                let (q, l) = cpu::lq(a, m, n);
                Ok(smallvec![q, l])
            })
        },
        gpu: None,
    },
    // L^-T (gQ + copy(L^T gL - gQ Q^T) Q), where copy mirrors the lower triangle.
    grad: Grad::FromOutput(|c, grads| {
        let (q, l) = (c.output(0), c.output(1));
        let inner = l.matmul(&grads[1], true, false) - grads[0].matmul(q, false, true);
        let low = inner.triangle(true);
        let mirrored = &low + (&low - low.diagonal_only()).turned();
        smallvec![Some(l.solved(&(&grads[0] + mirrored.matmul(q, false, false)), true, false))]
    }),
    check: Check { range: Ok((-2.0, 2.0)), like: "", calls: &[(&[&[2, 3]], ""), (&[&[2, 2, 2]], "")] },
};

static EIGEN: Op = Op {
    name: "_eigen",
    aliases: &[],
    doc: "`[U, L]` with `A = U^T diag(L) U`, from the lower triangle of `A`.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| {
            let n = square_meta("linalg_syevd", &metas[0])?;
            let values = metas[0].shape[..metas[0].shape.len() - 2].iter().copied().chain([n]).collect();
            Ok(smallvec![metas[0].clone(), metas[0].with_shape(values)])
        },
        cpu: |ins, _, outs| {
            let n = ins[0].shape()[ins[0].ndim() - 1];
            each(&ins[0], n * n, outs, |a| {
                let (u, l) = cpu::eigen(a, n);
                Ok(smallvec![u, l])
            })
        },
        gpu: None,
    },
    grad: Grad::FromOutput(|c, grads| smallvec![Some(eigen_grad(c, &grads[0], &grads[1]))]),
    check: Check { range: UNIQUE, like: "", calls: &[] },
};

/// `U^T (diag(gL) + (gU U^T) / (l_i - l_j)) U`, made symmetric.
fn eigen_grad(c: &GradCtx, gu: &Var, gl: &Var) -> Var {
    let (u, l) = (c.output(0), c.output(1));
    let shape = l.shape();
    let (mut rows, mut columns) = (shape.to_vec(), shape.to_vec());
    rows.push(1);
    columns.insert(shape.len() - 1, 1);
    let gap = l.reshape(&rows) - l.reshape(&columns);
    // Equal eigenvalues have no gradient of their vectors; their quotient is made finite, then taken out.
    let same = gap.detached().binary(&EQUAL, &Var::scalar(0.0));
    let turn = gu.matmul(u, false, true) / (gap + &same) * (1.0 - &same);
    let middle = (u.full_like(u.shape(), 1.0) * gl.reshape(&rows)).diagonal_only() + turn;
    let out = u.matmul(&middle, true, false).matmul(u, false, false);
    (&out + out.turned()) * 0.5
}

pub static SYEVD: Op = Op {
    name: "_linalg_syevd",
    aliases: &["linalg_syevd"],
    doc: "`[U, L]` of symmetric matrices with `A = U^T diag(L) U`: eigenvectors as rows of `U`, eigenvalues in rising order.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        square("linalg_syevd", &v[0]).or_throw();
        crate::graph::apply(&EIGEN, v, &Args::new()).or_throw()
    }),
    grad: Grad::Composed,
    check: Check { range: UNIQUE, like: "", calls: &[] },
};

pub static OPS: Ops =
    &[&CHOLESKY, &POTRF, &POTRI, &SOLVE, &TRSM, &INVERT, &INVERSE, &SLOGDET, &DET, &GELQF, &EIGEN, &SYEVD];
