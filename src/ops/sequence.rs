//! Batches of sequences of different lengths: time on one axis, the batch on the other.

use crate::base::layout::show;
use crate::base::{DType, Error, Result};
use crate::ensure;
use crate::graph::{Check, Grad, Kind, Op, Var};
use crate::ops::Ops;
use crate::ops::binary::LESSER;
use crate::ops::expr::one;
use crate::ops::getitem::{index_var, numbers};
use crate::ops::select::select;
use crate::ops::slice::{FLIP, FlipParams};
use smallvec::smallvec;

const INPUTS: &[&str] = &["data", "sequence_length?"];
const ANY: std::result::Result<(f64, f64), &str> = Ok((-2.0, 2.0));

crate::params! {
    pub struct MaskParams {
        use_sequence_length: bool, K::Bool, D::Bool(false), "Whether `sequence_length` is given and used.";
        value: f64, K::Float, D::Float(0.0), "What stands behind the end of a sequence.";
        axis: i64, K::Int, D::Int(0), "The axis of time, 0 or 1; the other one is the batch.";
    }
}
crate::params! {
    pub struct SequenceParams {
        use_sequence_length: bool, K::Bool, D::Bool(false), "Whether `sequence_length` is given and used.";
        axis: i64, K::Int, D::Int(0), "The axis of time, 0 or 1; the other one is the batch.";
    }
}

/// A batch of sequences: which axis is time, its length, how many sequences, and their lengths where they count.
struct Batch<'a> {
    data: &'a Var,
    time: usize,
    steps: usize,
    count: usize,
    lengths: Option<&'a Var>,
}

fn batch<'a>(name: &str, v: &'a [Var], used: bool, axis: i64) -> Result<Batch<'a>> {
    let shape = v[0].shape();
    ensure!(shape.len() >= 2, "{name}: data, got shape {}, expected at least two axes", show(shape));
    ensure!(axis == 0 || axis == 1, "{name}: axis, got {axis}, expected 0 or 1");
    let given = v.len() - 1;
    ensure!(used == (given == 1), "{name}: got use_sequence_length={used} and {given} arrays of lengths");
    let time = axis as usize;
    let (steps, count, lengths) = (shape[time], shape[1 - time], v.get(1));
    if let Some(lengths) = lengths {
        let got = lengths.shape();
        ensure!(got == [count], "{name}: sequence_length, got shape {}, expected ({count},)", show(got));
    }
    Ok(Batch { data: &v[0], time, steps, count, lengths })
}

impl Batch<'_> {
    /// The lengths as whole numbers, each at least `least` and at most the number of steps.
    fn whole(&self, name: &str, lengths: &Var, least: i64) -> Result<Vec<i64>> {
        let list = lengths.tensor.to_vec::<i64>()?;
        match list.iter().find(|&&n| n < least || n > self.steps as i64) {
            Some(n) => {
                Err(Error::op(format_args!("{name}: sequence_length, got {n}, expected {least} to {}", self.steps)))
            }
            None => Ok(list),
        }
    }
    /// Steps of sequences: step `t` of sequence `i` for each pair, under the shape of the pairs.
    fn pick(&self, shape: &[usize], pairs: impl Iterator<Item = (i64, i64)>) -> Result<Var> {
        let width = self.data.shape()[1] as i64;
        let index: Vec<i64> = pairs.map(|(t, i)| if self.time == 0 { t * width + i } else { i * width + t }).collect();
        let mut table = vec![self.steps * self.count];
        table.extend(&self.data.shape()[2..]);
        Ok(self.data.reshape(&table).take_rows(&index_var(shape, &index)?))
    }
    /// One number for each step or each sequence, laid along its axis.
    fn along(&self, x: &Var, axis: usize) -> Var {
        let mut shape = vec![1; self.data.ndim()];
        shape[axis] = x.numel();
        x.reshape(&shape)
    }
}

fn mask(v: &[Var], p: MaskParams) -> Result<Var> {
    let b = batch("SequenceMask", v, p.use_sequence_length, p.axis)?;
    let Some(lengths) = b.lengths else { return Ok(b.data.clone()) };
    let steps = index_var(&[b.steps], &numbers(0..b.steps as i64)?)?.beside(b.data);
    // A length counts whole steps.
    let ends = b.along(&lengths.detached().cast(DType::I64), 1 - b.time);
    let inside = b.along(&steps, b.time).binary(&LESSER, &ends).cast(b.data.dtype());
    Ok(select(&inside, b.data, &Var::scalar(p.value)))
}

pub static SEQUENCE_MASK: Op = Op {
    name: "SequenceMask",
    aliases: &[],
    doc: "The elements behind the end of each sequence replaced by a value.",
    inputs: INPUTS,
    params: MaskParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(mask(v, MaskParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, lengths=None, use_sequence_length=False, value=0: data if lengths is None else \
               np.where(np.arange(len(data))[:, None] < np.trunc(lengths), data, value)",
        calls: &[(&[&[3, 2]], ""), (&[&[3, 4], &[4]], "use_sequence_length=True, value=-1")],
    },
};

fn last(v: &[Var], p: SequenceParams) -> Result<Var> {
    let b = batch("SequenceLast", v, p.use_sequence_length, p.axis)?;
    ensure!(b.steps > 0, "SequenceLast: data, got shape {}, expected at least one step", show(v[0].shape()));
    let ends = match b.lengths {
        Some(lengths) => b.whole("SequenceLast", lengths, 1)?,
        None => vec![b.steps as i64; b.count],
    };
    b.pick(&[b.count], ends.into_iter().zip(0..).map(|(n, i)| (n - 1, i)))
}

pub static SEQUENCE_LAST: Op = Op {
    name: "SequenceLast",
    aliases: &[],
    doc: "The last step of each sequence.",
    inputs: INPUTS,
    params: SequenceParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(last(v, SequenceParams::read(args)))),
    grad: Grad::Composed,
    check: Check {
        range: ANY,
        like: "lambda data, axis=0: np.take(data, -1, axis)",
        calls: &[(&[&[3, 2]], ""), (&[&[3, 2, 2]], "axis=1")],
    },
};

fn reverse(v: &[Var], p: SequenceParams) -> Result<Var> {
    ensure!(p.axis == 0, "SequenceReverse: axis, got {}, expected 0", p.axis);
    let b = batch("SequenceReverse", v, p.use_sequence_length, p.axis)?;
    let Some(lengths) = b.lengths else {
        return Ok(b.data.with(&FLIP, FlipParams { axis: smallvec![0] }.args()));
    };
    let ends = b.whole("SequenceReverse", lengths, 0)?;
    let pairs = (0..b.steps as i64).flat_map(|t| {
        let turned = move |&n: &i64| if t < n { n - 1 - t } else { t };
        ends.iter().map(turned).zip(0..)
    });
    b.pick(&[b.steps, b.count], pairs)
}

pub static SEQUENCE_REVERSE: Op = Op {
    name: "SequenceReverse",
    aliases: &[],
    doc: "Each sequence backwards; what is behind its end stays.",
    inputs: INPUTS,
    params: SequenceParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| one(reverse(v, SequenceParams::read(args)))),
    grad: Grad::Composed,
    check: Check { range: ANY, like: "lambda data: data[::-1]", calls: &[(&[&[3, 2]], "")] },
};

pub static OPS: Ops = &[&SEQUENCE_MASK, &SEQUENCE_LAST, &SEQUENCE_REVERSE];
