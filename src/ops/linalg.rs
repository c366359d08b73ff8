//! Products and triangles of stacks of matrices: `linalg.gemm` and its kin. The factorizations are in `linalg_factor`.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{Error, Result, Shape};
use crate::ensure;
use crate::graph::op::axis_index;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::expr::one;
use crate::ops::getitem::index_var;
use crate::ops::init::checked_shape;
use smallvec::SmallVec;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

/// Checks stacks of matrices of one float dtype.
pub(super) fn matrices(name: &str, v: &[Var]) -> Result<()> {
    for x in v {
        ensure!(x.ndim() >= 2, "{name}: got shape {}, expected matrices in the last two axes", show(x.shape()));
        ensure!(x.dtype().is_float(), "{name}: got {}, expected a float dtype: use astype", x.dtype());
        ensure!(x.dtype() == v[0].dtype(), "{name}: arrays of one dtype, got {} and {}", v[0].dtype(), x.dtype());
        let (lead, other) = (&x.shape()[..x.ndim() - 2], &v[0].shape()[..v[0].ndim() - 2]);
        ensure!(lead == other, "{name}: stacks of one shape, got {} and {}", show(v[0].shape()), show(x.shape()));
    }
    Ok(())
}

/// The number of rows of stacks of square matrices.
pub(super) fn square(name: &str, x: &Var) -> Result<usize> {
    matrices(name, std::slice::from_ref(x))?;
    let (rows, columns) = (x.shape()[x.ndim() - 2], x.shape()[x.ndim() - 1]);
    ensure!(rows == columns, "{name}: got shape {}, expected square matrices", show(x.shape()));
    Ok(rows)
}

impl Var {
    /// Products of the matrices in the last two axes.
    pub(super) fn matmul(&self, other: &Var, transpose_a: bool, transpose_b: bool) -> Var {
        if self.ndim() == 2 {
            return self.dot(other, transpose_a, transpose_b);
        }
        self.batch_dot(other, transpose_a, transpose_b)
    }
    /// The matrices transposed.
    pub(super) fn turned(&self) -> Var {
        let mut axes: Vec<usize> = (0..self.ndim()).collect();
        axes.swap(self.ndim() - 2, self.ndim() - 1);
        self.transpose(&axes)
    }
    /// The matrices with a mask of ones and zeros.
    fn masked(&self, keep: impl Fn(i64, i64) -> bool) -> Var {
        let (rows, columns) = (self.shape()[self.ndim() - 2], self.shape()[self.ndim() - 1]);
        let mask: Vec<i64> = (0..rows as i64)
            .flat_map(|i| (0..columns as i64).map(move |j| (i, j)))
            .map(|(i, j)| keep(i, j) as i64)
            .collect();
        self * index_var(&[rows, columns], &mask).or_throw().cast(self.dtype()).beside(self)
    }
    /// The lower triangle, or the upper one.
    pub(super) fn triangle(&self, lower: bool) -> Var {
        self.masked(|i, j| if lower { j <= i } else { j >= i })
    }
    /// The diagonal alone.
    pub(super) fn diagonal_only(&self) -> Var {
        self.masked(|i, j| i == j)
    }
}

/// The axis that holds rows moved before the last one, or moved back.
fn rows_at(x: &Var, axis: usize, back: bool) -> Var {
    let n = x.ndim();
    let mut order: Vec<usize> = (0..n).collect();
    let (from, to) = if back { (n - 2, axis) } else { (axis, n - 2) };
    let moved = order.remove(from);
    order.insert(to, moved);
    if from == to { x.clone() } else { x.transpose(&order) }
}

/// `alpha * op(A) op(B)`, and where the rows go afterwards.
fn product(name: &str, v: &[Var], ta: bool, tb: bool, alpha: f64, axis: i64) -> Result<(Var, usize)> {
    ensure!(
        v[0].ndim() >= 2 && v[0].ndim() == v[1].ndim(),
        "{name}: A and B, got shapes {} and {}, expected matrices",
        show(v[0].shape()),
        show(v[1].shape())
    );
    let n = v[0].ndim();
    let axis = axis_index(name, axis, n)?;
    ensure!(axis < n - 1, "{name}: axis, got {axis}, expected one before the last");
    let (a, b) = (rows_at(&v[0], axis, false), rows_at(&v[1], axis, false));
    matrices(name, &[a.clone(), b.clone()])?;
    let out = a.matmul(&b, ta, tb);
    Ok((if alpha == 1.0 { out } else { out * alpha }, axis))
}

crate::params! {
    pub struct GemmParams {
        transpose_a: bool, K::Bool, D::Bool(false), "Whether to transpose `A`.";
        transpose_b: bool, K::Bool, D::Bool(false), "Whether to transpose `B`.";
        alpha: f64, K::Float, D::Float(1.0), "What the product is multiplied by.";
        beta: f64, K::Float, D::Float(1.0), "What `C` is multiplied by.";
        axis: i64, K::Int, D::Int(-2), "The axis of rows.";
    }
}
pub static GEMM: Op = Op {
    name: "_linalg_gemm",
    aliases: &["linalg_gemm"],
    doc: "`alpha * op(A) op(B) + beta * C` of stacks of matrices.",
    inputs: &["A", "B", "C"],
    params: GemmParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = GemmParams::read(args);
        one(product("linalg_gemm", v, p.transpose_a, p.transpose_b, p.alpha, p.axis).and_then(|(out, axis)| {
            let out = rows_at(&out, axis, true);
            let (c, got) = (&v[2], show(v[2].shape()));
            ensure!(c.shape() == out.shape(), "linalg_gemm: C, got shape {got}, expected {}", show(out.shape()));
            Ok(out + c * p.beta)
        }))
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda A, B, C, transpose_a=False, transpose_b=False, alpha=1, beta=1: \
               alpha * (A.mT if transpose_a else A) @ (B.mT if transpose_b else B) + beta * C",
        calls: &[
            (&[&[2, 3], &[3, 4], &[2, 4]], "alpha=2, beta=-0.5"),
            (&[&[2, 3, 2], &[2, 4, 3], &[2, 2, 4]], "transpose_a=True, transpose_b=True"),
        ],
    },
};

crate::params! {
    pub struct Gemm2Params {
        transpose_a: bool, K::Bool, D::Bool(false), "Whether to transpose `A`.";
        transpose_b: bool, K::Bool, D::Bool(false), "Whether to transpose `B`.";
        alpha: f64, K::Float, D::Float(1.0), "What the product is multiplied by.";
        axis: i64, K::Int, D::Int(-2), "The axis of rows.";
    }
}
pub static GEMM2: Op = Op {
    name: "_linalg_gemm2",
    aliases: &["linalg_gemm2"],
    doc: "`alpha * op(A) op(B)` of stacks of matrices.",
    inputs: &["A", "B"],
    params: Gemm2Params::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = Gemm2Params::read(args);
        let found = product("linalg_gemm2", v, p.transpose_a, p.transpose_b, p.alpha, p.axis);
        one(found.map(|(out, axis)| rows_at(&out, axis, true)))
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda A, B, alpha=1, axis=-2: np.moveaxis(alpha * np.moveaxis(A, axis, -2) @ np.moveaxis(B, axis, -2), -2, axis)",
        calls: &[(&[&[2, 3], &[3, 4]], ""), (&[&[2, 5, 3], &[3, 5, 4]], "axis=0, alpha=0.5")],
    },
};

crate::params! {
    pub struct SyrkParams {
        transpose: bool, K::Bool, D::Bool(false), "Whether the product is `A^T A` instead.";
        alpha: f64, K::Float, D::Float(1.0), "What the product is multiplied by.";
    }
}
pub static SYRK: Op = Op {
    name: "_linalg_syrk",
    aliases: &["linalg_syrk"],
    doc: "`alpha * A A^T` of stacks of matrices.",
    inputs: &["A"],
    params: SyrkParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = SyrkParams::read(args);
        one(matrices("linalg_syrk", v).map(|()| v[0].matmul(&v[0], p.transpose, !p.transpose) * p.alpha))
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda A, transpose=False, alpha=1: alpha * (A.mT @ A if transpose else A @ A.mT)",
        calls: &[(&[&[2, 3]], "alpha=2"), (&[&[2, 3, 2]], "transpose=True")],
    },
};

crate::params! {
    pub struct TriangularParams {
        transpose: bool, K::Bool, D::Bool(false), "Whether to transpose the triangular matrix.";
        rightside: bool, K::Bool, D::Bool(false), "Whether it stands on the right.";
        lower: bool, K::Bool, D::Bool(true), "Whether its lower triangle counts, or its upper one.";
        alpha: f64, K::Float, D::Float(1.0), "What the result is multiplied by.";
    }
}

/// Checks a square matrix and one that it can be multiplied with on the given side.
pub(super) fn fitting(name: &str, v: &[Var], rightside: bool) -> Result<()> {
    let n = square(name, &v[0])?;
    matrices(name, v)?;
    let side = v[1].shape()[v[1].ndim() - if rightside { 1 } else { 2 }];
    ensure!(side == n, "{name}: got shapes {} and {}, which do not fit", show(v[0].shape()), show(v[1].shape()));
    Ok(())
}

pub static TRMM: Op = Op {
    name: "_linalg_trmm",
    aliases: &["linalg_trmm"],
    doc: "`alpha * op(A) B`, or `alpha * B op(A)`, of stacks of matrices, where `A` is triangular.",
    inputs: &["A", "B"],
    params: TriangularParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = TriangularParams::read(args);
        one(fitting("linalg_trmm", v, p.rightside).map(|()| {
            let a = v[0].triangle(p.lower);
            let out =
                if p.rightside { v[1].matmul(&a, false, p.transpose) } else { a.matmul(&v[1], p.transpose, false) };
            out * p.alpha
        }))
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda A, B, transpose=False, rightside=False, lower=True, alpha=1: (lambda T: \
               alpha * (B @ T if rightside else T @ B))((lambda T: T.mT if transpose else T)(np.tril(A) if lower else np.triu(A)))",
        calls: &[
            (&[&[3, 3], &[3, 2]], "alpha=2"),
            (&[&[2, 3, 3], &[2, 2, 3]], "rightside=True, transpose=True, lower=False"),
        ],
    },
};

// ---- diagonals and triangles ----------------------------------------------------------------------------------------

crate::params! {
    pub struct OffsetParams { offset: i64, K::Int, D::Int(0), "Which diagonal: above the main one where positive."; }
}
crate::params! {
    pub struct TrianParams {
        offset: i64, K::Int, D::Int(0), "Which diagonal bounds the triangle: above the main one where positive.";
        lower: bool, K::Bool, D::Bool(true), "With offset 0: the lower triangle, or the upper one.";
    }
}

/// Places in an `n` by `n` matrix: those of a diagonal, or of the triangle beyond it.
fn places(name: &str, n: usize, offset: i64, triangle: Option<bool>) -> Result<Vec<i64>> {
    let n = n as i64;
    ensure!(offset > -n && offset < n || n == 0, "{name}: offset, got {offset}, expected less than {n} either way");
    let rows = (-offset).max(0)..n.min(n - offset);
    let Some(lower) = triangle else { return Ok(rows.map(|i| i * n + i + offset).collect()) };
    Ok(if offset < 0 || offset == 0 && lower {
        (-offset..n).flat_map(|i| (0..=i + offset).map(move |j| i * n + j)).collect()
    } else {
        // An upper triangle is read column by column, as its transpose would be row by row.
        (offset..n).flat_map(|j| (0..=j - offset).map(move |i| i * n + j)).collect()
    })
}

/// Those places of each matrix, in a row.
fn extract(x: &Var, places: &[i64]) -> Var {
    let lead: Shape = x.shape()[..x.ndim() - 2].into();
    let (stack, whole) = (lead.iter().product::<usize>(), x.shape()[x.ndim() - 1].pow(2) as i64);
    let index: Vec<i64> = (0..stack as i64).flat_map(|s| places.iter().map(move |k| s * whole + k)).collect();
    let shape: Shape = lead.iter().copied().chain([places.len()]).collect();
    x.take_flat(&index, &shape)
}

/// The matrices of `n` rows with those places filled from rows: the inverse of [`extract`].
fn make(name: &str, x: &Var, n: usize, places: &[i64]) -> Result<Var> {
    let lead = &x.shape()[..x.ndim() - 1];
    let shape: SmallVec<[i64; 4]> = lead.iter().map(|&d| d as i64).chain([n as i64, n as i64]).collect();
    let shape = checked_shape(name, &shape, x.dtype())?;
    let stack = lead.iter().product::<usize>() as i64;
    let index: Vec<i64> = (0..stack).flat_map(|s| places.iter().map(move |k| s * (n * n) as i64 + k)).collect();
    let flat = x.reshape(&[x.numel()]).put_rows(&index_var(&[index.len()], &index)?, &[shape.iter().product()]);
    Ok(flat.reshape(&shape))
}

fn rows(name: &str, x: &Var) -> Result<usize> {
    ensure!(x.dtype().is_float(), "{name}: A, got {}, expected a float dtype: use astype", x.dtype());
    x.shape().last().copied().ok_or_else(|| Error::op(format_args!("{name}: A, got shape (), expected rows")))
}

macro_rules! parts {
    ($id:ident, $name:literal, $alias:literal, $doc:literal, $params:ident, |$x:ident, $p:ident| $new:expr, $like:literal, $calls:expr) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[$alias],
            doc: $doc,
            inputs: &["A"],
            params: $params::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Compose(|v, args| {
                fn new($x: &Var, $p: $params) -> Result<Var> {
                    $new
                }
                one(new(&v[0], $params::read(args)))
            }),
            grad: Grad::Composed,
            check: Check { range: ANY, like: $like, calls: $calls },
        };
    };
}
parts!(
    EXTRACT_DIAG,
    "_linalg_extractdiag",
    "linalg_extractdiag",
    "A diagonal of each matrix.",
    OffsetParams,
    |x, p| Ok(extract(x, &places("linalg_extractdiag", square("linalg_extractdiag", x)?, p.offset, None)?)),
    "lambda A, offset=0: np.diagonal(A, offset, -2, -1)",
    &[(&[&[3, 3]], ""), (&[&[2, 3, 3]], "offset=-1")]
);
parts!(
    MAKE_DIAG,
    "_linalg_makediag",
    "linalg_makediag",
    "Matrices of zeros with the rows of `A` on a diagonal.",
    OffsetParams,
    |x, p| {
        let n = rows("linalg_makediag", x)?.saturating_add(p.offset.unsigned_abs() as usize);
        checked_shape("linalg_makediag", &[n as i64, n as i64], x.dtype())?;
        make("linalg_makediag", x, n, &places("linalg_makediag", n, p.offset, None)?)
    },
    "lambda A, offset=0: np.diag(A, offset)",
    &[(&[&[3]], ""), (&[&[2]], "offset=1")]
);
parts!(
    EXTRACT_TRIAN,
    "_linalg_extracttrian",
    "linalg_extracttrian",
    "The elements of a triangle of each matrix: a lower one row by row, an upper one column by column.",
    TrianParams,
    |x, p| {
        let n = square("linalg_extracttrian", x)?;
        Ok(extract(x, &places("linalg_extracttrian", n, p.offset, Some(p.lower))?))
    },
    "lambda A, lower=True: (A if lower else A.mT)[..., *np.tril_indices(A.shape[-1])]",
    &[(&[&[3, 3]], ""), (&[&[2, 3, 3]], "lower=False")]
);
parts!(
    MAKE_TRIAN,
    "_linalg_maketrian",
    "linalg_maketrian",
    "Matrices of zeros with the rows of `A` in a triangle, in the order of `extracttrian`.",
    TrianParams,
    |x, p| {
        let count = rows("linalg_maketrian", x)?;
        // A triangle of side k has k (k + 1) / 2 elements.
        let side = ((8.0 * count as f64 + 1.0).sqrt() as usize).saturating_sub(1) / 2;
        ensure!(side * (side + 1) / 2 == count, "linalg_maketrian: A, got rows of {count}, which make no triangle");
        let n = side.saturating_add(p.offset.unsigned_abs() as usize);
        checked_shape("linalg_maketrian", &[n as i64, n as i64], x.dtype())?;
        make("linalg_maketrian", x, n, &places("linalg_maketrian", n, p.offset, Some(p.lower))?)
    },
    "lambda A, lower=True: \
     (lambda m: (m.__setitem__(np.tril_indices(3), A), m if lower else m.T)[1])(np.zeros((3, 3)))",
    &[(&[&[6]], ""), (&[&[6]], "lower=False")]
);

pub static SUM_LOG_DIAG: Op = Op {
    name: "_linalg_sumlogdiag",
    aliases: &["linalg_sumlogdiag"],
    doc: "Sum of the logarithms of the diagonal of each matrix.",
    inputs: &["A"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| {
        one(square("linalg_sumlogdiag", &v[0]).and_then(|n| {
            let diagonal = extract(&v[0], &places("linalg_sumlogdiag", n, 0, None)?);
            Ok(diagonal.log().sum_axes(&[diagonal.ndim() - 1], false))
        }))
    }),
    grad: Grad::Composed,
    check: Check {
        range: Ok((0.5, 2.0)),
        like: "lambda A: np.log(np.diagonal(A, 0, -2, -1)).sum(-1)",
        calls: &[(&[&[3, 3]], ""), (&[&[2, 3, 3]], "")],
    },
};

/// One number for each matrix, laid so that it multiplies the matrix.
pub(super) fn per_matrix(numbers: &Var, like: &Var) -> Var {
    let mut shape: Shape = like.shape()[..like.ndim() - 2].into();
    shape.extend([1, 1]);
    numbers.reshape(&shape)
}

pub static OPS: Ops =
    &[&GEMM, &GEMM2, &SYRK, &TRMM, &EXTRACT_DIAG, &MAKE_DIAG, &EXTRACT_TRIAN, &MAKE_TRIAN, &SUM_LOG_DIAG];
