//! Random choices: whole numbers, classes by their probabilities, orders.

use crate::base::{DType, Device, Element, Result};
use crate::cpu::random::{self as draw, with_streams};
use crate::graph::params::Ints;
use crate::graph::{Check, Grad, Kind, Meta, Op, apply1};
use crate::ops::Ops;
use crate::ops::init::{checked_shape, place};
use crate::ops::pick::{PICK, PickParams};
use crate::ops::random::{RANDOM, each, fill, float};
use crate::{ensure, with_dtype};
use half::f16;
use smallvec::smallvec;

crate::params! {
    pub struct RandintParams {
        low: i64, K::Int, D::Required, "The smallest number.";
        high: i64, K::Int, D::Required, "The end of the range, itself not in it.";
        shape: Option<Ints>, K::Ints, D::None, "The shape of the result, one element where absent.";
        ctx: Option<Device>, K::Device, D::None, "Where the array goes; the CPU where absent.";
        dtype: Option<DType>, K::DType, D::DType(crate::base::DType::I32), "The element type: int32 or int64.";
    }
}

pub static RANDINT: Op = Op {
    name: "_random_randint",
    aliases: &["random_randint"],
    doc: "Draws whole numbers from `low` up to, not including, `high`, each as likely.",
    inputs: &[],
    params: RandintParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |_, args| {
            let p = RandintParams::read(args);
            let dtype = p.dtype.unwrap_or(DType::I32);
            ensure!(matches!(dtype, DType::I32 | DType::I64), "randint: dtype, got {dtype}, expected int32 or int64");
            ensure!(p.low < p.high, "randint: low must be below high, got {} and {}", p.low, p.high);
            let range = i32::MIN as i64..=i32::MAX as i64;
            let fits = dtype == DType::I64 || (range.contains(&p.low) && range.contains(&(p.high - 1)));
            ensure!(fits, "randint: {} to {} does not fit int32: use dtype='int64'", p.low, p.high);
            let shape = checked_shape("randint", &p.shape.unwrap_or_else(|| smallvec![1]), dtype)?;
            Ok(smallvec![Meta { shape, dtype, device: place(p.ctx)? }])
        },
        cpu: |_, args, out| {
            let RandintParams { low, high, dtype, .. } = RandintParams::read(args);
            match dtype {
                Some(DType::I64) => fill::<i64>(&mut out[0], |e, _, part| each(part, |_| draw::randint(e, low, high))),
                _ => fill::<i32>(&mut out[0], |e, _, part| each(part, |_| draw::randint(e, low, high) as i32)),
            }
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check { range: RANDOM, like: "", calls: &[(&[], "low=0, high=10, shape=(2, 3)")] },
};

crate::params! {
    pub struct MultinomialParams {
        shape: Option<Ints>, K::Ints, D::None, "The shape of what is drawn for each row; one class where absent.";
        get_prob: bool, K::Bool, D::Bool(false), "Whether to return the log of the probabilities of what was drawn too.";
        dtype: DType, K::DType, D::DType(crate::base::DType::I32), "The element type of the classes.";
    }
}

/// The probabilities of each class, rows of the last axis: what a draw needs to make sense.
fn probabilities(data: &[f64], classes: usize, tolerance: f64) -> Result<()> {
    for row in data.chunks_exact(classes) {
        ensure!(
            row.iter().all(|&p| p >= 0.0),
            "multinomial: data, expected probabilities, got a negative number or nan"
        );
        let sum: f64 = row.iter().sum();
        ensure!((sum - 1.0).abs() <= tolerance, "multinomial: data, expected rows that sum to 1, got the sum {sum}");
    }
    Ok(())
}

/// The classes without their probabilities: what is on no tape.
static MULTINOMIAL_DRAW: Op = Op {
    name: "_multinomial_draw",
    aliases: &[],
    doc: "Classes drawn by rows of probabilities.",
    inputs: &["data"],
    params: MultinomialParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, args| {
            let p = MultinomialParams::read(args);
            float("multinomial", metas[0].dtype)?;
            ensure!(p.dtype != DType::Bool, "multinomial: dtype, got bool, expected a number type");
            let Some((&classes, rows)) = metas[0].shape.split_last() else {
                return Err(crate::base::Error::op("multinomial: data, got shape (), expected rows of probabilities"));
            };
            let mut dims: Ints = rows.iter().map(|&d| d as i64).collect();
            dims.extend(p.shape.unwrap_or_default());
            if dims.is_empty() {
                dims.push(1);
            }
            let shape = checked_shape("multinomial", &dims, p.dtype)?;
            ensure!(classes > 0 || shape.contains(&0), "multinomial: data, got no classes to draw from");
            Ok(smallvec![Meta { shape, dtype: p.dtype, device: metas[0].device }])
        },
        cpu: |inputs, args, out| {
            let dtype = inputs[0].dtype();
            let data = inputs[0].to_vec::<f64>()?;
            let classes = inputs[0].shape().last().copied().unwrap_or(0);
            probabilities(&data, classes.max(1), if dtype == DType::F16 { 0.05 } else { 0.01 })?;
            with_dtype!(MultinomialParams::read(args).dtype, T => {
                let out = out[0].slice::<T>();
                let draws = out.len() / (data.len() / classes.max(1)).max(1);
                let drawn = with_streams(|streams| {
                    let round = match dtype {
                        DType::F16 => |v: f64| f16::from_f64(v).to_f32(),
                        _ => |v: f64| v as f32,
                    };
                    draw::multinomial(streams.single(), &data, classes, draws, round)
                });
                for (slot, class) in out.iter_mut().zip(drawn) {
                    // Where rounding left the sum below the number drawn, MXNet returns a class that is not there.
                    *slot = T::from_i64(class.min(classes - 1) as i64);
                }
            });
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check { range: RANDOM, like: "", calls: &[] },
};

pub static MULTINOMIAL: Op = Op {
    name: "_sample_multinomial",
    aliases: &["sample_multinomial"],
    doc: "Classes drawn by probabilities along the last axis, and with `get_prob` the log of their probabilities, \
          which is differentiable: what REINFORCE needs.",
    inputs: &["data"],
    params: MultinomialParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| {
        use crate::base::error::OrThrow;
        let data = &v[0];
        let classes = apply1(&MULTINOMIAL_DRAW, &[data.detached()], args).or_throw();
        if !MultinomialParams::read(args).get_prob {
            return smallvec![classes];
        }
        let count = data.shape().last().copied().unwrap_or(0);
        let rows = data.shape()[..data.ndim() - 1].iter().product::<usize>();
        let draws = classes.numel().checked_div(rows).unwrap_or(0);
        let wide = data.reshape(&[rows, 1, count]).broadcast_to(&[rows, draws, count]);
        let pick = PickParams { axis: Some(-1), keepdims: false, mode: "clip".into() };
        let index = classes.reshape(&[rows, draws]);
        let picked = apply1(&PICK, &[wide, index], &pick.args()).or_throw();
        let logs = picked.log().reshape(classes.shape());
        smallvec![classes, logs]
    }),
    grad: Grad::Composed,
    check: Check { range: RANDOM, like: "", calls: &[] },
};

/// Rows of a slice in another order.
fn reorder<T: Element>(data: &[T], order: &[usize], out: &mut [T]) {
    let width = data.len() / order.len().max(1);
    for (row, &from) in out.chunks_exact_mut(width.max(1)).zip(order) {
        row.copy_from_slice(&data[from * width..][..width]);
    }
}

pub static SHUFFLE: Op = Op {
    name: "_shuffle",
    aliases: &["shuffle"],
    doc: "The rows of an array in a random order.",
    inputs: &["data"],
    params: &[],
    method: false,
    writes: &[],
    kind: Kind::Kernel {
        infer: |metas, _| Ok(smallvec![metas[0].clone()]),
        cpu: |inputs, _, out| {
            let data = inputs[0].dense()?;
            let rows = inputs[0].shape().first().copied().unwrap_or(1);
            let order = with_streams(|streams| match inputs[0].ndim() {
                0 | 1 => draw::shuffle_1d(streams.single(), rows),
                _ => draw::shuffle_rows(streams.single(), rows),
            });
            with_dtype!(inputs[0].dtype(), T => reorder(data.slice::<T>(), &order, out[0].slice::<T>()));
            Ok(())
        },
        gpu: None,
    },
    grad: Grad::Zero,
    check: Check { range: RANDOM, like: "", calls: &[(&[&[5]], ""), (&[&[4, 3]], "")] },
};

pub static OPS: Ops = &[&RANDINT, &MULTINOMIAL_DRAW, &MULTINOMIAL, &SHUFFLE];
