//! Connectionist temporal classification: the probability of a label sequence, summed over all its alignments.

use crate::base::layout::show;
use crate::base::{DType, Error, Result};
use crate::ensure;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::binary::MAXIMUM;
use crate::ops::expr::{filled, one};
use crate::ops::getitem::index_var;
use crate::ops::select::select;
use crate::tensor::Tensor;
use std::sync::Arc;

crate::params! {
    pub struct CtcParams {
        use_data_lengths: bool, K::Bool, D::Bool(false), "Whether `data_lengths` is given and used.";
        use_label_lengths: bool, K::Bool, D::Bool(false), "Whether `label_lengths` is given and used.";
        blank_label: Arc<str>, K::Choice(&["first", "last"]), D::Str("first"), "Whether class 0 or the last one is the blank.";
    }
}

/// The logarithm of a probability of zero: finite, so that no gradient becomes nan.
const NEVER: f64 = -1e30;

/// `log(exp(a) + exp(b) + …)` of arrays of one shape.
fn log_sum(terms: &[Var]) -> Var {
    // The largest only shifts: its gradient cancels.
    let top = terms[1..].iter().fold(terms[0].detached(), |top, x| top.binary(&MAXIMUM, &x.detached()));
    let sum = terms[1..].iter().fold((&terms[0] - &top).exp(), |sum, x| sum + (x - &top).exp());
    sum.log() + top
}

/// Lengths that the caller gave, each within `0..=most`.
fn lengths(what: &str, x: &Var, count: usize, most: usize) -> Result<Vec<usize>> {
    ensure!(x.shape() == [count], "CTCLoss: {what}, got shape {}, expected ({count},)", show(x.shape()));
    let list = x.tensor.to_vec::<i64>()?;
    match list.iter().find(|&&n| n < 0 || n > most as i64) {
        Some(n) => Err(Error::op(format_args!("CTCLoss: {what}, got {n}, expected 0 to {most}"))),
        None => Ok(list.into_iter().map(|n| n as usize).collect()),
    }
}

fn ctc(v: &[Var], p: CtcParams) -> Result<Var> {
    let (data, label) = (&v[0], &v[1]);
    let (&[steps, count, classes], &[rows, width]) = (data.shape(), label.shape()) else {
        let (data, label) = (show(data.shape()), show(label.shape()));
        return Err(Error::op(format_args!(
            "CTCLoss: got data {data} and label {label}, expected (time, batch, classes) and (batch, labels)"
        )));
    };
    ensure!(rows == count, "CTCLoss: label, got {rows} rows, expected {count}");
    ensure!(steps > 0 && classes > 1, "CTCLoss: data, got shape {}, expected steps and classes", show(data.shape()));
    ensure!(matches!(data.dtype(), DType::F32 | DType::F64), "CTCLoss: data, got {}, expected float32", data.dtype());
    let given = 2 + p.use_data_lengths as usize + p.use_label_lengths as usize;
    ensure!(v.len() == given, "CTCLoss: got {} arrays, expected {given}", v.len());
    let data_lengths =
        if p.use_data_lengths { lengths("data_lengths", &v[2], count, steps)? } else { vec![steps; count] };
    let first = &*p.blank_label == "first";
    let (blank, padding) = if first { (0, 0) } else { (classes as i64 - 1, -1) };
    let labels = label.tensor.to_vec::<i64>()?;
    let row = |n: usize| &labels[n * width..(n + 1) * width];
    let label_lengths = if p.use_label_lengths {
        lengths("label_lengths", &v[given - 1], count, width)?
    } else {
        (0..count).map(|n| row(n).iter().position(|&k| k <= padding).unwrap_or(width)).collect()
    };

    // Each label between blanks; behind its end only blanks, which no path reaches the end from.
    let places = 2 * width + 1;
    let (mut class, mut jump) = (Vec::new(), Vec::new());
    for (n, &len) in label_lengths.iter().enumerate() {
        let at = |s: usize| if s % 2 == 1 && s / 2 < len { row(n)[s / 2] } else { blank };
        for s in 0..places {
            let k = at(s);
            ensure!(k >= 0 && k < classes as i64, "CTCLoss: label, got {k}, expected 0 to {}", classes - 1);
            class.push(k);
            // A label may follow another one without a blank between, if they differ.
            jump.push(if s >= 2 && k != blank && k != at(s - 2) { 0.0 } else { NEVER });
        }
    }
    let numbers = |shape: &[usize], list: &[f64]| -> Result<Var> {
        Ok(Var::new(Tensor::from_slice(shape, list)?.cast(data.dtype())?.on_device(data.tensor.device())?))
    };
    let index: Vec<i64> = (0..steps * count)
        .flat_map(|tn| {
            let class = &class[tn % count * places..][..places];
            class.iter().map(move |k| (tn * classes) as i64 + k)
        })
        .collect();
    let shape = [steps, count, places];
    let logs = data.log_softmax(-1).reshape(&[steps * count * classes]).take_rows(&index_var(&shape, &index)?);
    let jump = numbers(&[count, places], &jump)?;
    let step = |t: usize| logs.slice(0, t as i64, 1, 1).reshape(&[count, places]);
    let never = |k: usize| filled(&[count, k], data.dtype(), data.tensor.device(), NEVER);
    let shifted = |x: &Var, k: usize| Var::concat(&[never(k), x.slice(1, 0, 1, places - k)], 1);

    // The first step is at the first blank or the first label.
    let start: Vec<f64> = (0..count * places).map(|i| if i % places < 2 { 0.0 } else { NEVER }).collect();
    let mut paths = step(0) + numbers(&[count, places], &start)?;
    for t in 1..steps {
        let mut terms = vec![paths.clone()];
        if places > 1 {
            terms.push(shifted(&paths, 1));
        }
        if places > 2 {
            terms.push(shifted(&paths, 2) + &jump);
        }
        let next = log_sum(&terms) + step(t);
        let running: Vec<f64> = data_lengths.iter().map(|&len| (t < len) as i64 as f64).collect();
        paths = if p.use_data_lengths { select(&numbers(&[count, 1], &running)?, &next, &paths) } else { next };
    }
    let end = |back: usize| {
        let last = |n: usize| (n * places + (2 * label_lengths[n]).saturating_sub(back)) as i64;
        paths.take_flat(&(0..count).map(last).collect::<Vec<_>>(), &[count])
    };
    // Without a label there is one end only: it must not count twice.
    let twice: Vec<f64> = label_lengths.iter().map(|&len| if len == 0 { NEVER } else { 0.0 }).collect();
    Ok(-log_sum(&[end(0), end(1) + numbers(&[count], &twice)?]))
}

pub static CTC_LOSS: Op = Op {
    name: "CTCLoss",
    aliases: &["ctc_loss", "_contrib_CTCLoss", "_contrib_ctc_loss"],
    doc: "The negative logarithm of the probability of each label sequence, summed over its alignments. `data` is (time, \
          batch, classes) before softmax, `label` (batch, labels), filled up with 0, or with -1 where the last class is \
          the blank.",
    inputs: &["data", "label", "data_lengths?", "label_lengths?"],
    params: CtcParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(ctc(v, CtcParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: Ok((1.0, 2.9)),
        like: "lambda data, label, blank_label='first': ctc(data, label, blank_label)",
        calls: &[(&[&[4, 2, 3], &[2, 2]], ""), (&[&[3, 1, 4], &[1, 2]], "blank_label='last'")],
    },
};

pub static OPS: Ops = &[&CTC_LOSS];
