//! Losses, and output layers whose gradient is fixed whatever comes in.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Element, Error, Result, Shape};
use crate::ensure;
use crate::graph::{Args, Check, Grad, Kind, Meta, Op, Var, apply1, mode};
use crate::ops::Ops;
use crate::ops::activation::float_only;
use crate::ops::binary::{GREATER, MAXIMUM, NOT_EQUAL};
use crate::ops::softmax::flat;
use crate::ops::unary::RELU;
use smallvec::smallvec;
use std::sync::Arc;

const PAIR: &[&str] = &["data", "label"];
const FIXED: std::result::Result<(f64, f64), &str> = Err("the gradient is not that of the output, by definition");

// ---- how a fixed gradient gets in -----------------------------------------------------------------------------------

crate::params! {
    pub struct HeadParams { out_grad: bool, K::Bool, D::Bool(false), "Whether the incoming gradient is multiplied in."; }
}

/// The output, whose gradient with respect to `data` is the given one. The gradient is an ordinary value: it may depend on
/// `data`, and is then differentiated in its turn.
pub static LOSS_HEAD: Op = Op {
    name: "_loss_head",
    aliases: &[],
    doc: "The first array; its gradient with respect to `data` is the second.",
    inputs: &["output", "gradient", "data"],
    params: HeadParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::View(|t, _| Ok(t.clone())),
    grad: Grad::FromInputs(|c, g| {
        let fixed = c.input(1);
        let out_grad = HeadParams::read(c.args).out_grad;
        [None, None, c.needs(2).then(|| if out_grad { fixed * &g[0] } else { fixed.clone() })].into_iter().collect()
    }),
    check: Check {
        range: FIXED,
        like: "lambda output, gradient, data: output",
        calls: &[(&[&[2, 3], &[2, 3], &[2, 3]], "")],
    },
};

/// `output` with `gradient` with respect to `data`, which is computed only where it can be asked for.
fn head(data: &Var, output: &Var, out_grad: bool, gradient: impl FnOnce() -> Result<Var>) -> Result<Var> {
    if !mode::is_recording() || data.edge.is_none() {
        return Ok(output.detached());
    }
    let gradient = gradient()?.broadcast_to(data.shape());
    apply1(&LOSS_HEAD, &[output.detached(), gradient, data.clone()], &HeadParams { out_grad }.args())
}

crate::params! {
    pub struct TargetParams {
        depth: i64, K::Int, D::Required, "How many classes.";
        axis: i64, K::Int, D::Int(-1), "Where the axis of classes goes.";
        on: f64, K::Float, D::Float(1.0), "The value at the label.";
        off: f64, K::Float, D::Float(0.0), "The value elsewhere.";
    }
}

/// The shape of targets, and the sizes before and after the axis of classes.
fn target_shape(label: &[usize], p: &TargetParams) -> Result<(Shape, usize)> {
    let n = label.len() as i64 + 1;
    ensure!(p.depth >= 0 && p.axis < n && p.axis >= -n, "_targets: depth {} at axis {} of {n}", p.depth, p.axis);
    let axis = if p.axis < 0 { p.axis + n } else { p.axis } as usize;
    let mut shape: Shape = label.into();
    shape.insert(axis, p.depth as usize);
    Ok((shape, label[axis..].iter().product()))
}

pub static TARGETS: Op = Op {
    name: "_targets",
    aliases: &[],
    doc: "Labels as rows of `on` at the label and `off` elsewhere; a label that is no class gives `off` alone.",
    inputs: &["label"],
    params: TargetParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |m, args| {
            let dtype = if m[0].dtype.is_float() { m[0].dtype } else { DType::F32 };
            let shape = target_shape(&m[0].shape, &TargetParams::read(args))?.0;
            Ok(smallvec![Meta { shape, dtype, device: m[0].device }])
        },
        cpu: |t, args, out| {
            let p = TargetParams::read(args);
            let inner = target_shape(t[0].shape(), &p)?.1;
            let labels = t[0].to_vec::<f64>()?;
            let depth = p.depth as usize;
            let dtype = if t[0].dtype().is_float() { t[0].dtype() } else { DType::F32 };
            crate::with_dtype!(dtype, T => {
                let out = out[0].slice::<T>();
                out.fill(T::from_f64(p.off));
                for (i, &label) in labels.iter().enumerate() {
                    // nan is no class.
                    if label > -1.0 && label < depth as f64 {
                        out[(i / inner * depth + label as usize) * inner + i % inner] = T::from_f64(p.on);
                    }
                }
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: Err("constant almost everywhere"),
        like: "lambda label, depth: np.eye(depth)[label.astype(int)]",
        calls: &[],
    },
};

fn targets(label: &Var, depth: usize, axis: i64, on: f64, off: f64, dtype: DType) -> Var {
    label.detached().with(&TARGETS, TargetParams { depth: depth as i64, axis, on, off }.args()).cast(dtype)
}

/// How many entries are true, at least one.
fn count(truth: Var) -> Var {
    let axes: Vec<usize> = (0..truth.ndim()).collect();
    truth.sum_axes(&axes, false).binary(&MAXIMUM, &Var::scalar(1.0))
}

// ---- SoftmaxOutput --------------------------------------------------------------------------------------------------

crate::params! {
    pub struct SoftmaxOutputParams {
        grad_scale: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        ignore_label: f64, K::Float, D::Float(-1.0), "The label that `use_ignore` and `normalization='valid'` look for.";
        multi_output: bool, K::Bool, D::Bool(false), "Whether classes are along axis one and places after it.";
        use_ignore: bool, K::Bool, D::Bool(false), "Whether places with `ignore_label` get no gradient.";
        preserve_shape: bool, K::Bool, D::Bool(false), "Whether classes are along the last axis.";
        normalization: Arc<str>, K::Choice(&["null", "batch", "valid"]), D::Str("null"),
            "What the gradient is divided by: nothing, the batch size, or the number of labels that are not `ignore_label`.";
        out_grad: bool, K::Bool, D::Bool(false), "Whether the incoming gradient is multiplied in.";
        smooth_alpha: f64, K::Float, D::Float(0.0), "How much of each target is spread over the other classes; not with `multi_output`.";
    }
}

fn softmax_output(v: &[Var], args: &Args) -> Result<Var> {
    let (p, name, x) = (SoftmaxOutputParams::read(args), "SoftmaxOutput", &v[0]);
    float_only(name, x.dtype())?;
    let shape = x.shape();
    ensure!(shape.len() >= 2 || !p.multi_output && !shape.is_empty(), "{name}: data, got shape {}", show(shape));
    // Samples, classes, places.
    let (n, c, s) = match shape {
        [n, c, places @ ..] if p.multi_output => (*n, *c, places.iter().product()),
        [lead @ .., c] if p.preserve_shape => (lead.iter().product(), *c, 1),
        [n, rest @ ..] => (*n, rest.iter().product(), 1),
        [] => (1, 1, 1),
    };
    let (whole, label) = (v[1].numel() == x.numel() && v[1].numel() != n * s, &v[1]);
    ensure!(
        whole || label.numel() == n * s,
        "{name}: label, got shape {}, expected {} labels for data {}",
        show(label.shape()),
        n * s,
        show(shape)
    );
    let y = x.reshape(&[n, c, s]).softmax(1);
    head(x, &y.reshape(shape), p.out_grad, || {
        // MXNet does not smooth the targets of `multi_output`.
        let alpha = if p.multi_output { 0.0 } else { p.smooth_alpha };
        let (on, off) = (1.0 - alpha, alpha / (c.max(2) - 1) as f64);
        if whole {
            return Ok(((y - label.detached().reshape(&[n, c, s])) * p.grad_scale).reshape(shape));
        }
        let label = label.detached().reshape(&[n, s]);
        let differs = label.binary(&NOT_EQUAL, &Var::scalar(p.ignore_label)).cast(x.dtype());
        let mut d = y - targets(&label, c, 1, on, off, x.dtype());
        if p.use_ignore {
            d = d * differs.reshape(&[n, 1, s]);
        }
        let scale = match &*p.normalization {
            "valid" => return Ok((d * p.grad_scale / count(differs)).reshape(shape)),
            "batch" => p.grad_scale / (n * s) as f64,
            "null" if p.multi_output => p.grad_scale / s as f64,
            "null" => p.grad_scale,
            other => return Err(bad_normalization(name, other)),
        };
        Ok((d * scale).reshape(shape))
    })
}

fn bad_normalization(name: &str, other: &str) -> Error {
    Error::op(format_args!("{name}: normalization, got '{other}', expected null, batch or valid"))
}

pub static SOFTMAX_OUTPUT: Op = Op {
    name: "SoftmaxOutput",
    aliases: &["Softmax"],
    doc: "Softmax whose gradient is that of the cross entropy with `label`: probabilities less one-hot labels, whatever \
          gradient comes in. Its default is the sum over the batch, not the mean.",
    inputs: PAIR,
    params: SoftmaxOutputParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![softmax_output(v, args).or_throw()]),
    grad: Grad::Composed,
    check: Check { range: FIXED, like: "lambda data, label: softmax(data, 1)", calls: &[(&[&[4, 3], &[4]], "")] },
};

// ---- regression -----------------------------------------------------------------------------------------------------

crate::params! {
    pub struct RegressionParams { grad_scale: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by."; }
}

/// `gradient(output - label)`, divided by the number of outputs of each sample.
fn regression(name: &str, v: &[Var], args: &Args, out: fn(&Var) -> Var, gradient: fn(Var) -> Var) -> Result<Var> {
    let x = &v[0];
    float_only(name, x.dtype())?;
    ensure!(
        v[1].shape() == x.shape()
            || x.ndim() > 0 && v[1].numel() == x.numel() && v[1].shape().first() == x.shape().first(),
        "{name}: label, got shape {}, expected {}",
        show(v[1].shape()),
        show(x.shape())
    );
    let outputs = x.shape().iter().skip(1).product::<usize>().max(1);
    let scale = RegressionParams::read(args).grad_scale / outputs as f64;
    let y = out(x);
    head(x, &y, false, || Ok(gradient(&y - v[1].detached().cast(x.dtype()).reshape(x.shape())) * scale))
}

macro_rules! regression {
    ($id:ident, $name:literal, $doc:literal, $out:expr, $gradient:expr, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: PAIR,
            params: RegressionParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Compose(|v, args| smallvec![regression($name, v, args, $out, $gradient).or_throw()]),
            grad: Grad::Composed,
            check: Check { range: FIXED, like: $like, calls: &[(&[&[4, 3], &[4, 3]], "")] },
        };
    };
}
regression!(
    LINEAR_REGRESSION,
    "LinearRegressionOutput",
    "The data; the gradient is that of half the squared distance to `label`, whatever comes in.",
    |x| x.clone(),
    |d| d,
    "lambda data, label: data"
);
regression!(
    MAE_REGRESSION,
    "MAERegressionOutput",
    "The data; the gradient is that of the absolute distance to `label`, whatever comes in.",
    |x| x.clone(),
    |d| d.sign(),
    "lambda data, label: data"
);
regression!(
    LOGISTIC_REGRESSION,
    "LogisticRegressionOutput",
    "Sigmoid of the data; the gradient is that of the cross entropy with `label`, whatever comes in.",
    |x| x.sigmoid(),
    |d| d,
    "lambda data, label: 1 / (1 + np.exp(-data))"
);

crate::params! {
    pub struct SvmParams {
        margin: f64, K::Float, D::Float(1.0), "The margin.";
        regularization_coefficient: f64, K::Float, D::Float(1.0), "What the gradient is multiplied by.";
        use_linear: bool, K::Bool, D::Bool(false), "Whether the hinge is linear instead of squared.";
    }
}
fn svm(v: &[Var], args: &Args) -> Result<Var> {
    let (p, name, x) = (SvmParams::read(args), "SVMOutput", &v[0]);
    float_only(name, x.dtype())?;
    let n = x.shape().first().copied().unwrap_or(1);
    ensure!(v[1].numel() == n, "{name}: label, got shape {}, expected ({n},)", show(v[1].shape()));
    head(x, x, false, || {
        let rows = flat(x);
        // Minus one at the label, one elsewhere.
        let side = targets(&v[1].reshape(&[n]), rows.shape()[1], 1, -1.0, 1.0, x.dtype());
        let over = &side * rows + p.margin;
        let slope = if p.use_linear { over.binary(&GREATER, &Var::scalar(0.0)) } else { over.unary(&RELU) * 2.0 };
        Ok((side * slope * p.regularization_coefficient).reshape(x.shape()))
    })
}
pub static SVM_OUTPUT: Op = Op {
    name: "SVMOutput",
    aliases: &[],
    doc: "The data; the gradient is that of one-against-all hinge losses (squared, or linear), whatever comes in.",
    inputs: PAIR,
    params: SvmParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![svm(v, args).or_throw()]),
    grad: Grad::Composed,
    check: Check { range: FIXED, like: "lambda data, label: data", calls: &[(&[&[4, 3], &[4]], "")] },
};

// ---- MakeLoss, softmax_cross_entropy --------------------------------------------------------------------------------

crate::params! {
    pub struct MakeLossParams {
        grad_scale: f64, K::Float, D::Float(1.0), "The gradient of each element.";
        valid_thresh: f64, K::Float, D::Float(0.0), "Elements above count as valid.";
        normalization: Arc<str>, K::Choice(&["null", "batch", "valid"]), D::Str("null"),
            "What the gradient is divided by: nothing, the batch size, or the number of valid elements.";
    }
}
fn make_loss(x: &Var, args: &Args) -> Result<Var> {
    let p = MakeLossParams::read(args);
    let fixed = |v: f64| x.full_like(x.shape(), v);
    head(x, x, false, || match &*p.normalization {
        "null" => Ok(fixed(p.grad_scale)),
        "batch" => Ok(fixed(p.grad_scale / x.shape().first().copied().unwrap_or(1).max(1) as f64)),
        "valid" => Ok(fixed(p.grad_scale) / count(x.detached().binary(&GREATER, &Var::scalar(p.valid_thresh)))),
        other => Err(bad_normalization("MakeLoss", other)),
    })
}
pub static MAKE_LOSS_LAYER: Op = Op {
    name: "MakeLoss",
    aliases: &[],
    doc: "The data as a loss: the gradient is `grad_scale`, perhaps divided, whatever comes in.",
    inputs: &["data"],
    params: MakeLossParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| smallvec![make_loss(&v[0], args).or_throw()]),
    grad: Grad::Composed,
    check: Check { range: FIXED, like: "lambda data: data", calls: &[(&[&[2, 3]], "")] },
};

fn cross_entropy(v: &[Var]) -> Result<Var> {
    let (name, x) = ("softmax_cross_entropy", &v[0]);
    float_only(name, x.dtype())?;
    ensure!(x.ndim() == 2, "{name}: data, got shape {}, expected two axes", show(x.shape()));
    let (n, c) = (x.shape()[0], x.shape()[1]);
    ensure!(v[1].shape() == [n], "{name}: label, got shape {}, expected ({n},)", show(v[1].shape()));
    Ok(-(x.log_softmax(-1) * targets(&v[1], c, 1, 1.0, 0.0, x.dtype())).sum_axes(&[0, 1], false))
}
pub static SOFTMAX_CROSS_ENTROPY: Op = Op {
    name: "softmax_cross_entropy",
    aliases: &[],
    doc: "The sum over rows of `-log(softmax(data)[label])`, of shape `(1,)`.",
    inputs: PAIR,
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, _| smallvec![cross_entropy(v).or_throw()]),
    grad: Grad::Composed,
    check: Check {
        range: Err("labels are whole numbers"),
        like: "lambda data, label: -np.log(softmax(data, 1)[np.arange(len(data)), label.astype(int)]).sum(keepdims=True)",
        calls: &[],
    },
};

pub static OPS: Ops = &[
    &LOSS_HEAD,
    &TARGETS,
    &SOFTMAX_OUTPUT,
    &LINEAR_REGRESSION,
    &MAE_REGRESSION,
    &LOGISTIC_REGRESSION,
    &SVM_OUTPUT,
    &MAKE_LOSS_LAYER,
    &SOFTMAX_CROSS_ENTROPY,
];
