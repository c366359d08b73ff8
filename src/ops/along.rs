//! Along an axis: positions of extremes, running sums.

use crate::base::DType;
use crate::graph::op::axis_index;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::{ensure, rule, with_dtype};
use smallvec::smallvec;

const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));
const FLAT: std::result::Result<(f64, f64), &str> = Err("constant almost everywhere");

crate::params! {
    pub struct ArgParams {
        axis: Option<i64>, K::Int, D::None, "The axis; the flattened array where absent.";
        keepdims: bool, K::Bool, D::Bool(false), "Whether the axis stays, with length one.";
    }
}

macro_rules! arg_extreme {
    ($id:ident, $name:literal, $doc:literal, $least:literal, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: &[],
            doc: $doc,
            inputs: &["data"],
            params: ArgParams::SPEC,
            method: true,
            writes: &[],
            kind: Kind::Kernel {
                infer: |metas, args| {
                    let p = ArgParams::read(args);
                    let mut shape = metas[0].shape.clone();
                    ensure!(
                        !shape.contains(&0),
                        "{}: an empty array has no extreme, got shape {}",
                        $name,
                        crate::base::layout::show(&shape)
                    );
                    match p.axis {
                        Some(axis) => {
                            let axis = axis_index($name, axis, shape.len())?;
                            if p.keepdims {
                                shape[axis] = 1;
                            } else {
                                shape.remove(axis);
                            }
                        }
                        None if p.keepdims => shape.iter_mut().for_each(|d| *d = 1),
                        None => shape.clear(),
                    }
                    if shape.is_empty() {
                        shape.push(1);
                    }
                    Ok(smallvec![metas[0].with_shape(shape)])
                },
                cpu: |ins, args, outs| {
                    let dims = ins[0].shape();
                    let (n, inner) = match ArgParams::read(args).axis {
                        Some(axis) => {
                            let axis = axis_index($name, axis, dims.len())?;
                            (dims[axis], dims[axis + 1..].iter().product())
                        }
                        None => (ins[0].numel(), 1usize),
                    };
                    let data = ins[0].dense()?;
                    with_dtype!(ins[0].dtype(), T => {
                        crate::cpu::best::arg_best(data.slice::<T>(), n, inner, $least, outs[0].slice::<T>());
                    });
                    Ok(())
                },
                gpu: None,
            },
            grad: Grad::Zero,
            check: Check {
                range: FLAT,
                like: $like,
                calls: &[(&[&[3, 4]], ""), (&[&[3, 4]], "axis=0"), (&[&[2, 3, 4]], "axis=1, keepdims=True")],
            },
        };
    };
}
// Positions come in the dtype of the data, and a nan wins, as in MXNet.
arg_extreme!(
    ARGMAX,
    "argmax",
    "Position of the largest element, in the dtype of the data; the first of equal ones.",
    false,
    "lambda data, axis=None, keepdims=False: np.argmax(data, axis, keepdims=keepdims)"
);
arg_extreme!(
    ARGMIN,
    "argmin",
    "Position of the smallest element, in the dtype of the data; the first of equal ones.",
    true,
    "lambda data, axis=None, keepdims=False: np.argmin(data, axis, keepdims=keepdims)"
);

pub static ARGMAX_CHANNEL: Op = Op {
    name: "argmax_channel",
    aliases: &[],
    doc: "Position of the largest element along the second axis.",
    inputs: &["data"],
    params: &[],
    method: true,
    writes: &[],
    kind: Kind::Compose(|v, _| smallvec![v[0].with(&ARGMAX, ArgParams { axis: Some(1), keepdims: false }.args())]),
    grad: Grad::Composed,
    check: Check { range: FLAT, like: "lambda data: np.argmax(data, 1)", calls: &[(&[&[3, 4]], "")] },
};

crate::params! {
    pub struct CumsumParams {
        axis: Option<i64>, K::Int, D::None, "The axis; the flattened array where absent.";
        dtype: Option<DType>, K::DType, D::None, "Dtype of the result.";
    }
}
pub static RUNNING_SUM: Op = Op {
    name: "_running_sum",
    aliases: &[],
    doc: "Sums of the elements up to each one along an axis.",
    inputs: &["data"],
    params: ArgParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            axis_index("cumsum", ArgParams::read(args).axis.unwrap_or(0), metas[0].shape.len())?;
            Ok(smallvec![metas[0].clone()])
        },
        cpu: |ins, args, outs| {
            let dims = ins[0].shape();
            let axis = axis_index("cumsum", ArgParams::read(args).axis.unwrap_or(0), dims.len())?;
            let (n, inner) = (dims[axis], dims[axis + 1..].iter().product());
            let data = ins[0].dense()?;
            with_dtype!(ins[0].dtype(), T => crate::cpu::running::running_sum(data.slice::<T>(), n, inner, outs[0].slice::<T>()));
            Ok(())
        },
        gpu: None,
    },
    grad: rule!(
        Linear | c,
        g | [{
            let axis = ArgParams::read(c.args).axis.unwrap_or(0);
            let flip = |x: &Var| {
                let a = if axis < 0 { axis + x.ndim() as i64 } else { axis };
                x.with(&crate::ops::slice::FLIP, crate::ops::slice::FlipParams { axis: smallvec![a] }.args())
            };
            flip(&flip(g).with(&RUNNING_SUM, c.args.clone()))
        }]
    ),
    check: Check {
        range: ANY,
        like: "lambda data, axis=0: np.cumsum(data, axis)",
        calls: &[(&[&[3, 4]], "axis=0"), (&[&[3, 4]], "axis=1")],
    },
};
pub static CUMSUM: Op = Op {
    name: "cumsum",
    aliases: &[],
    doc: "Sums of the elements up to each one along an axis.",
    inputs: &["a"],
    params: CumsumParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        let p = CumsumParams::read(args);
        let x = p.dtype.map_or_else(|| v[0].clone(), |d| v[0].cast(d));
        let x = if p.axis.is_none() { x.reshape(&[x.numel()]) } else { x };
        smallvec![x.with(&RUNNING_SUM, ArgParams { axis: p.axis, keepdims: false }.args())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda a, axis=None: np.cumsum(a, axis)",
        calls: &[(&[&[3, 4]], ""), (&[&[3, 4]], "axis=1")],
    },
};

pub static OPS: Ops = &[&ARGMAX, &ARGMIN, &ARGMAX_CHANNEL, &RUNNING_SUM, &CUMSUM];
