//! New arrays from nothing but a shape.

// `eye(N, M)`: MXNet's parameter names.
#![allow(non_snake_case)]

use crate::base::error::OrThrow;
use crate::base::{DType, Device, Element, Result, Shape};
use crate::cpu::pool;
use crate::graph::op::axis_index;
use crate::graph::params::{Ints, Param};
use crate::graph::{Check, Grad, Kind, Meta, Op, Var};
use crate::ops::Ops;
use crate::tensor::kernel::Output;
use crate::tensor::{Scalar, Tensor};
use crate::{ensure, with_dtype};
use smallvec::{SmallVec, smallvec};

const NO_INPUT: std::result::Result<(f64, f64), &str> = Err("it has no input to differentiate by");

/// A shape as the caller gave it, checked: no negative dimension, and a size that a machine can count.
pub fn checked_shape(name: &str, dims: &[i64], dtype: DType) -> Result<Shape> {
    let mut shape = Shape::new();
    for &dim in dims {
        ensure!(dim >= 0, "{name}: shape, got the negative dimension {dim}, expected 0 or more");
        shape.push(dim as usize);
    }
    crate::base::layout::bytes(&shape, dtype)?;
    Ok(shape)
}

/// Where a new array goes: the CPU where nothing is said.
pub fn place(ctx: Option<Device>) -> Result<Device> {
    let device = ctx.unwrap_or(Device::CPU);
    if device.is_gpu() {
        crate::gpu::runtime(device.id)?;
    }
    Ok(device)
}

/// One value over a shape, without memory for each element.
fn filled(name: &str, shape: &[i64], ctx: Option<Device>, dtype: DType, value: Scalar) -> Result<Tensor> {
    Tensor::full(&checked_shape(name, shape, dtype)?, dtype, place(ctx)?, value)
}

crate::params! {
    pub struct FillParams {
        shape: Ints, K::Ints, D::Required, "The shape of the result; an int gives one dimension.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::None, "The element type; float32 where absent.";
    }
}

macro_rules! fill {
    ($id:ident, $name:literal, $aliases:expr, $doc:literal, $value:literal, $like:literal) => {
        pub static $id: Op = Op {
            name: $name,
            aliases: $aliases,
            doc: $doc,
            inputs: &[],
            params: FillParams::SPEC,
            method: false,
            writes: &[],
            kind: Kind::Compose(|_, args| {
                let p = FillParams::read(args);
                let dtype = p.dtype.unwrap_or(DType::F32);
                smallvec![Var::new(filled($name, &p.shape, p.ctx, dtype, Scalar::Int($value)).or_throw())]
            }),
            grad: Grad::Composed,
            check: Check {
                range: NO_INPUT,
                like: $like,
                calls: &[
                    (&[], "shape=(2, 3)"),
                    (&[], "shape=4, dtype='int32'"),
                    (&[], "shape=(0, 2)"),
                    (&[], "shape=()"),
                ],
            },
        };
    };
}

fill!(ZEROS, "zeros", &["_zeros"], "Zeros of a shape.", 0, "lambda shape, dtype='float32': np.zeros(shape, dtype)");
fill!(ONES, "ones", &["_ones"], "Ones of a shape.", 1, "lambda shape, dtype='float32': np.ones(shape, dtype)");
// Whatever the memory held would differ from run to run; zeros take no memory at all.
fill!(
    EMPTY,
    "empty",
    &["_empty"],
    "An array whose elements are to be written: zeros.",
    0,
    "lambda shape, dtype='float32': np.zeros(shape, dtype)"
);

/// The value as given: an integer beyond 2**53 stays exact.
fn number(param: Option<&Param>) -> Scalar {
    match param {
        Some(Param::Int(v)) => Scalar::Int(*v),
        Some(Param::Bool(v)) => Scalar::Int(*v as i64),
        Some(Param::Float(v)) => Scalar::Float(*v),
        _ => Scalar::Float(0.0),
    }
}

crate::params! {
    pub struct FullParams {
        shape: Ints, K::Ints, D::Required, "The shape of the result; an int gives one dimension.";
        val: f64, K::Float, D::Required, "The value of every element.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::DType(crate::base::DType::F32), "The element type, whatever the value is.";
    }
}

pub static FULL: Op = Op {
    name: "full",
    aliases: &[],
    doc: "One value over a shape.",
    inputs: &[],
    params: FullParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|_, args| {
        let p = FullParams::read(args);
        let dtype = p.dtype.unwrap_or(DType::F32);
        smallvec![Var::new(filled("full", &p.shape, p.ctx, dtype, number(args.get(1))).or_throw())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: NO_INPUT,
        like: "lambda shape, val, dtype='float32': np.full(shape, val).astype(dtype)",
        calls: &[(&[], "shape=(2, 3), val=7"), (&[], "shape=3, val=7.5, dtype='int32'"), (&[], "shape=(), val=-0.5")],
    },
};

crate::params! {
    pub struct FullValueParams {
        shape: Ints, K::Ints, D::Required, "The shape of the result; an int gives one dimension.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::None, "The element type; float32 where absent.";
        value: f64, K::Float, D::Required, "The value of every element.";
    }
}

pub static FULL_VALUE: Op = Op {
    name: "_full",
    aliases: &[],
    doc: "One value over a shape, under the parameter names of the graph format.",
    inputs: &[],
    params: FullValueParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|_, args| {
        let p = FullValueParams::read(args);
        let dtype = p.dtype.unwrap_or(DType::F32);
        smallvec![Var::new(filled("_full", &p.shape, p.ctx, dtype, number(args.get(3))).or_throw())]
    }),
    grad: Grad::Composed,
    check: Check {
        range: NO_INPUT,
        like: "lambda shape, value, dtype='float32': np.full(shape, value).astype(dtype)",
        calls: &[(&[], "shape=(2, 3), value=7")],
    },
};

// ---- ranges ----

/// One result of a kernel without inputs.
fn one(name: &str, shape: &[i64], ctx: Option<Device>, dtype: DType) -> Result<SmallVec<[Meta; 1]>> {
    ensure!(dtype != DType::Bool, "{name}: dtype, got bool, expected a number type");
    Ok(smallvec![Meta { shape: checked_shape(name, shape, dtype)?, dtype, device: place(ctx)? }])
}

/// Element `i` is `start + (i / repeat) * step`, each step rounded as in MXNet: in the array's own type, except that
/// half floats are rounded once, at the end.
fn write_range(out: &mut Output, dtype: DType, start: f64, step: f64, repeat: usize) {
    if repeat == 1 && dtype == DType::F32 {
        let (start, step) = (start as f32, step as f32);
        return pool::fill(out.slice::<f32>(), |from, part| count(part, from, |k| start + k as f32 * step));
    }
    with_dtype!(dtype, T => {
        let narrow = dtype == DType::F32;
        let (first, by) = (T::from_f64(start).to_i64(), T::from_f64(step).to_i64());
        let value = |k: i64| if narrow {
            T::from_f64((start as f32 + k as f32 * step as f32) as f64)
        } else if T::FLOAT {
            T::from_f64(start + k as f64 * step)
        } else {
            T::from_i64(first.wrapping_add(by.wrapping_mul(k)))
        };
        pool::fill(out.slice::<T>(), |from, part| match repeat {
            1 => count(part, from, value),
            _ => part.iter_mut().enumerate().for_each(|(i, slot)| *slot = value(((from + i) / repeat) as i64)),
        });
    });
}

/// Writes `value(from)`, `value(from + 1)`, … Counters of 31 bits become floats in vectors, wider ones one by one.
#[inline(always)]
fn count<T>(part: &mut [T], from: usize, value: impl Fn(i64) -> T) {
    match (i32::try_from(from), i32::try_from(from + part.len())) {
        (Ok(from), Ok(_)) => part.iter_mut().zip(from..).for_each(|(slot, k)| *slot = value(k.into())),
        _ => part.iter_mut().zip(from as i64..).for_each(|(slot, k)| *slot = value(k)),
    }
}

crate::params! {
    pub struct ArangeParams {
        start: f64, K::Float, D::Required, "The first value; the end of the range from 0 where `stop` is absent.";
        stop: Option<f64>, K::Float, D::None, "The end of the range, itself not in it.";
        step: f64, K::Float, D::Float(1.0), "The step between values.";
        repeat: i64, K::Int, D::Int(1), "How many times each value comes.";
        infer_range: Option<bool>, K::Ignored, D::None, "Without effect.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::DType(crate::base::DType::F32), "The element type; `None` is float64.";
    }
}

/// Start, and the number of elements with repeats.
fn range_of(p: &ArangeParams) -> Result<(f64, i64)> {
    let (start, stop) = match p.stop {
        Some(stop) => (p.start, stop),
        None => (0.0, p.start),
    };
    ensure!(
        start.is_finite() && stop.is_finite() && p.step.is_finite(),
        "arange: Invalid range (start, stop, step) = ({start}, {stop}, {}), expected finite numbers",
        p.step
    );
    ensure!(p.step != 0.0, "arange: step, got 0, expected another number");
    ensure!(p.repeat > 0, "arange: repeat, got {}, expected 1 or more", p.repeat);
    let count = ((stop - start) / p.step).ceil();
    ensure!(count >= 1.0, "arange: Invalid range (start, stop, step) = ({start}, {stop}, {}): it is empty", p.step);
    // The cast saturates, and no array of so many elements passes the check of its size.
    Ok((start, (count as i64).saturating_mul(p.repeat)))
}

pub static ARANGE: Op = Op {
    name: "arange",
    aliases: &["_arange"],
    doc: "Values from `start` up to, not including, `stop`, `step` apart, each `repeat` times. An empty range is an error.",
    inputs: &[],
    params: ArangeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |_, args| {
            let p = ArangeParams::read(args);
            one("arange", &[range_of(&p)?.1], p.ctx, p.dtype.unwrap_or(DType::F64))
        },
        cpu: |_, args, out| {
            let p = ArangeParams::read(args);
            let (start, _) = range_of(&p)?;
            write_range(&mut out[0], p.dtype.unwrap_or(DType::F64), start, p.step, p.repeat as usize);
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: NO_INPUT,
        like: "lambda start, stop=None, step=1, repeat=1, dtype='float32': \
            np.repeat(np.arange(*([start] if stop is None else [start, stop, step])), repeat).astype(dtype)",
        calls: &[
            (&[], "start=5"),
            (&[], "start=2, stop=9, step=2, repeat=3"),
            (&[], "start=5, stop=1, step=-1, dtype='int64'"),
            (&[], "start=0, stop=1, step=0.25, dtype='float64'"),
        ],
    },
};

crate::params! {
    pub struct LinspaceParams {
        start: f64, K::Float, D::Required, "The first value.";
        stop: f64, K::Float, D::Required, "The last value, or with `endpoint=False` the one after it.";
        num: i64, K::Int, D::Required, "How many values.";
        endpoint: bool, K::Bool, D::Bool(true), "Whether `stop` is the last value.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::DType(crate::base::DType::F32), "The element type; `None` is float64.";
    }
}

pub static LINSPACE: Op = Op {
    name: "linspace",
    aliases: &["_linspace"],
    doc: "`num` values evenly spaced from `start` to `stop`; integer types truncate.",
    inputs: &[],
    params: LinspaceParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |_, args| {
            let p = LinspaceParams::read(args);
            ensure!(p.num >= 0, "linspace: num, got {}, expected 0 or more", p.num);
            one("linspace", &[p.num], p.ctx, p.dtype.unwrap_or(DType::F64))
        },
        cpu: |_, args, out| {
            let p = LinspaceParams::read(args);
            let steps = if p.endpoint { p.num - 1 } else { p.num };
            let step = if steps > 0 { (p.stop - p.start) / steps as f64 } else { 0.0 };
            with_dtype!(p.dtype.unwrap_or(DType::F64), T => pool::fill(out[0].slice::<T>(), |from, part| {
                for (i, slot) in part.iter_mut().enumerate() {
                    *slot = T::from_f64(p.start + step * (from + i) as f64);
                }
            }));
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: NO_INPUT,
        like: "lambda start, stop, num, endpoint=True, dtype='float32': \
            np.linspace(start, stop, num, endpoint).astype(dtype)",
        calls: &[
            (&[], "start=0, stop=1, num=5"),
            (&[], "start=0, stop=10, num=5, dtype='int32'"),
            (&[], "start=3, stop=-1, num=8, endpoint=False"),
            (&[], "start=3, stop=5, num=1"),
        ],
    },
};

crate::params! {
    pub struct EyeParams {
        N: i64, K::Int, D::Required, "Rows.";
        M: i64, K::Int, D::Int(0), "Columns; as many as rows where 0.";
        k: i64, K::Int, D::Int(0), "Which diagonal is one: above the main one where positive.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::None, "The element type; float32 where absent.";
    }
}

pub static EYE: Op = Op {
    name: "eye",
    aliases: &["_eye"],
    doc: "A matrix of zeros with ones on a diagonal.",
    inputs: &[],
    params: EyeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |_, args| {
            let p = EyeParams::read(args);
            one("eye", &[p.N, if p.M > 0 { p.M } else { p.N }], p.ctx, p.dtype.unwrap_or(DType::F32))
        },
        cpu: |_, args, out| {
            let p = EyeParams::read(args);
            let columns = (if p.M > 0 { p.M } else { p.N }) as usize;
            with_dtype!(p.dtype.unwrap_or(DType::F32), T => {
                let out = out[0].slice::<T>();
                out.fill(T::from_i64(0));
                for (row, line) in out.chunks_exact_mut(columns.max(1)).enumerate() {
                    let column = p.k.checked_add(row as i64).and_then(|c| usize::try_from(c).ok());
                    if let Some(slot) = column.and_then(|c| line.get_mut(c)) {
                        *slot = T::from_i64(1);
                    }
                }
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: NO_INPUT,
        like: "lambda N, M=0, k=0, dtype='float32': np.eye(N, M or N, k, dtype)",
        calls: &[(&[], "N=3"), (&[], "N=2, M=4, k=1"), (&[], "N=4, M=2, k=-1, dtype='int32'"), (&[], "N=0")],
    },
};

crate::params! {
    pub struct ArangeLikeParams {
        start: f64, K::Float, D::Float(0.0), "The first value.";
        step: f64, K::Float, D::Float(1.0), "The step between values.";
        repeat: i64, K::Int, D::Int(1), "How many times each value comes.";
        ctx: Option<Device>, K::Ignored, D::None, "Without effect: the array goes where `data` is.";
        axis: Option<i64>, K::Int, D::None, "The axis to count along; all elements in C order where absent.";
    }
}

pub static ARANGE_LIKE: Op = Op {
    name: "_contrib_arange_like",
    aliases: &[],
    doc: "A range as long as an axis of an array, or of the array's shape.",
    inputs: &["data"],
    params: ArangeLikeParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = ArangeLikeParams::read(args);
            ensure!(p.repeat > 0, "arange_like: repeat, got {}, expected 1 or more", p.repeat);
            ensure!(metas[0].dtype != DType::Bool, "arange_like: data is bool, expected a number type");
            let shape = match p.axis {
                None => metas[0].shape.clone(),
                Some(axis) => smallvec![metas[0].shape[axis_index("arange_like", axis, metas[0].shape.len())?]],
            };
            Ok(smallvec![metas[0].with_shape(shape)])
        },
        cpu: |inputs, args, out| {
            let p = ArangeLikeParams::read(args);
            write_range(&mut out[0], inputs[0].dtype(), p.start, p.step, p.repeat as usize);
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check {
        range: Err("the result does not depend on the data"),
        like: "lambda data, start=0, step=1, axis=None: \
            (start + step * np.arange(data.size if axis is None else data.shape[axis])) \
            .reshape(data.shape if axis is None else -1).astype(data.dtype)",
        calls: &[(&[&[2, 3]], ""), (&[&[2, 3]], "axis=1"), (&[&[2, 3]], "start=1, step=0.5")],
    },
};

pub static OPS: Ops = &[&ZEROS, &ONES, &EMPTY, &FULL, &FULL_VALUE, &ARANGE, &LINSPACE, &EYE, &ARANGE_LIKE];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::params::Read;
    use crate::graph::{Args, apply1};

    fn run(op: &'static Op, args: Args) -> Result<Var> {
        apply1(op, &[], &args)
    }
    fn arange(start: f64, stop: Option<f64>, step: f64, repeat: i64, dtype: Option<DType>) -> Result<Var> {
        run(&ARANGE, ArangeParams { start, stop, step, repeat, infer_range: None, ctx: None, dtype }.args())
    }
    fn zeros(shape: &[i64]) -> Result<Var> {
        run(&ZEROS, FillParams { shape: shape.into(), ctx: None, dtype: None }.args())
    }

    #[test]
    fn ranges_round_as_mxnet_does() {
        assert_eq!(arange(5.0, None, 1.0, 1, None).unwrap().dtype(), DType::F64);
        let f = Some(DType::F32);
        // Recorded from MXNet 1.9.1.
        let tail: Vec<f32> = arange(0.1, Some(100.0), 0.1, 1, f).unwrap().to_vec().unwrap();
        assert_eq!(tail[95..100], [9.6, 9.700_001, 9.8, 9.900_001, 10.000_001]);
        assert_eq!(
            arange(5.0, Some(1.0), -1.0, 2, f).unwrap().to_vec::<f32>().unwrap(),
            [5., 5., 4., 4., 3., 3., 2., 2.]
        );
        let bytes = arange(300.0, None, 1.0, 1, Some(DType::U8)).unwrap().to_vec::<u8>().unwrap();
        assert_eq!(bytes[254..259], [254, 255, 0, 1, 2]);
        assert_eq!(
            arange(-1.5, Some(3.0), 1.0, 1, Some(DType::U8)).unwrap().to_vec::<u8>().unwrap(),
            [255, 0, 1, 2, 3]
        );
        assert_eq!(arange(0.5, Some(5.0), 2.5, 1, Some(DType::I64)).unwrap().to_vec::<i64>().unwrap(), [0, 2]);
        let large: Vec<f32> = arange(300_000.0, None, 1.0, 3, f).unwrap().to_vec().unwrap();
        assert!(large.iter().enumerate().all(|(i, &v)| v == (i / 3) as f32));
    }

    #[test]
    fn bad_ranges_are_errors() {
        let f = Some(DType::F32);
        for (start, stop, step, repeat) in [
            (2.0, Some(1.0), 1.0, 1),
            (0.0, None, 1.0, 1),
            (0.0, Some(5.0), 0.0, 1),
            (0.0, Some(3.0), 1.0, 0),
            (0.0, Some(f64::NAN), 1.0, 1),
            (0.0, Some(f64::INFINITY), 1.0, 1),
            (-1e308, Some(1e308), 1.0, 1),
        ] {
            assert!(arange(start, stop, step, repeat, f).is_err(), "{start} {stop:?} {step} {repeat}");
        }
        assert!(arange(3.0, None, 1.0, 1, Some(DType::Bool)).is_err());
        assert_eq!(arange(1e18, None, 1.0, 1, f).err().unwrap().kind, crate::base::Kind::Memory);
        assert_eq!(arange(3.0, None, 1.0, i64::MAX, f).err().unwrap().kind, crate::base::Kind::Memory);
    }

    #[test]
    fn filled_arrays() {
        assert_eq!(zeros(&[]).unwrap().shape(), &[] as &[usize]);
        assert_eq!(zeros(&[0, 3]).unwrap().to_vec::<f32>().unwrap(), [0f32; 0]);
        assert!(zeros(&[2, -1]).is_err());
        for shape in [&[1 << 40, 1 << 40][..], &[0, 1 << 62, 1 << 62]] {
            assert_eq!(zeros(shape).err().unwrap().kind, crate::base::Kind::Memory, "{}", shape.len());
        }
        // Not a byte is touched until somebody reads.
        assert_eq!(zeros(&[1 << 40]).unwrap().numel(), 1 << 40);
        let full = |val: Param, dtype| {
            let args: Args = [Param::Int(2), val, Param::None, Param::DType(dtype)].into_iter().collect();
            run(&FULL, args).unwrap()
        };
        assert_eq!(full(Param::Float(7.5), DType::I32).to_vec::<i32>().unwrap(), [7, 7]);
        assert_eq!(full(Param::Float(-1.5), DType::U8).to_vec::<u8>().unwrap(), [255, 255]);
        assert_eq!(full(Param::Int((1 << 53) + 1), DType::I64).to_vec::<i64>().unwrap(), [(1 << 53) + 1; 2]);
        let gpu = Device { kind: crate::base::device::DeviceType::Gpu, id: 0 };
        assert!(run(&ONES, [Param::Int(2), gpu.write()].into_iter().collect()).is_err());
    }

    #[test]
    fn spaces_and_diagonals() {
        let linspace = |num, endpoint, dtype| {
            let p = LinspaceParams { start: 0.0, stop: 10.0, num, endpoint, ctx: None, dtype: Some(dtype) };
            run(&LINSPACE, p.args())
        };
        assert_eq!(linspace(5, true, DType::I32).unwrap().to_vec::<i32>().unwrap(), [0, 2, 5, 7, 10]);
        assert_eq!(linspace(4, false, DType::F64).unwrap().to_vec::<f64>().unwrap(), [0.0, 2.5, 5.0, 7.5]);
        assert_eq!(linspace(0, true, DType::F32).unwrap().shape(), &[0]);
        assert!(linspace(-1, true, DType::F32).is_err());
        let eye = |n, m, k| run(&EYE, EyeParams { N: n, M: m, k, ctx: None, dtype: None }.args());
        assert_eq!(eye(2, 3, 1).unwrap().to_vec::<f32>().unwrap(), [0., 1., 0., 0., 0., 1.]);
        assert_eq!(eye(3, 2, -1).unwrap().to_vec::<f32>().unwrap(), [0., 0., 1., 0., 0., 1.]);
        assert_eq!(eye(2, -1, i64::MAX).unwrap().to_vec::<f32>().unwrap(), [0.0; 4]);
        assert_eq!(eye(0, 0, 0).unwrap().shape(), &[0, 0]);
        assert!(eye(-1, 0, 0).is_err());
    }
}
