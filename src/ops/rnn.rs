//! Recurrent layers over whole sequences, made of products and elementwise steps, so that any order of gradient follows.

use crate::base::error::OrThrow;
use crate::base::layout::show;
use crate::base::{DType, Result};
use crate::ensure;
use crate::graph::mode;
use crate::graph::{Check, Grad, Kind, Op, Var, apply};
use crate::ops::Ops;
use crate::ops::binary::LESSER;
use crate::ops::bounded::{CLIP, ClipParams};
use crate::ops::getitem::{index_var, numbers};
use crate::ops::nn::{DROPOUT, DropoutParams};
use crate::ops::select::select;
use crate::ops::slice::{SPLIT, SplitParams};
use crate::ops::unary::RELU;
use smallvec::SmallVec;
use std::sync::Arc;

crate::params! {
    pub struct RnnParams {
        state_size: i64, K::Int, D::Required, "Length of a state.";
        num_layers: i64, K::Int, D::Required, "Number of layers.";
        bidirectional: bool, K::Bool, D::Bool(false), "Whether each layer runs in both directions of time.";
        mode: Arc<str>, K::Choice(&["rnn_relu", "rnn_tanh", "lstm", "gru"]), D::Required, "What a step computes.";
        p: f64, K::Float, D::Float(0.0), "Share of elements dropped between layers in training.";
        state_outputs: bool, K::Bool, D::Bool(false), "Whether the last states come too.";
        projection_size: Option<i64>, K::Int, D::None, "Length to which the state of an LSTM is projected.";
        lstm_state_clip_min: Option<f64>, K::Float, D::None, "Lowest element of an LSTM's cell.";
        lstm_state_clip_max: Option<f64>, K::Float, D::None, "Highest element of an LSTM's cell.";
        lstm_state_clip_nan: bool, K::Bool, D::Bool(false), "Accepted; nan stays nan.";
        use_sequence_length: bool, K::Bool, D::Bool(false), "Whether `sequence_length` is given and used.";
    }
}

/// Weights and biases of one direction of one layer.
struct Cell {
    input: Var,
    state: Var,
    projection: Option<Var>,
    biases: (Var, Var),
}

struct Rnn {
    p: RnnParams,
    gates: usize,
    hidden: usize,
    /// Length of what a layer gives to the next: projected or not.
    width: usize,
    directions: usize,
    steps: usize,
    count: usize,
    features: usize,
}

impl Rnn {
    fn new(v: &[Var], p: RnnParams) -> Result<Rnn> {
        let positive = |what: &str, n: i64| {
            ensure!(n > 0, "RNN: {what}, got {n}, expected a positive number");
            Ok(n as usize)
        };
        let [steps, count, features] = *v[0].shape() else {
            return Err(crate::base::Error::op(format_args!(
                "RNN: data, got shape {}, expected (time, batch, features)",
                show(v[0].shape())
            )));
        };
        ensure!(steps > 0, "RNN: data, got no step of time");
        let hidden = positive("state_size", p.state_size)?;
        let layers = positive("num_layers", p.num_layers)?;
        ensure!(hidden < 1 << 24 && layers < 1 << 16, "RNN: got {layers} layers of {hidden}, which is too large");
        let lstm = &*p.mode == "lstm";
        ensure!(lstm || p.projection_size.is_none(), "RNN: projection_size belongs to mode 'lstm', got '{}'", p.mode);
        let width = p.projection_size.map_or(Ok(hidden), |n| positive("projection_size", n))?;
        let gates = match &*p.mode {
            "lstm" => 4,
            "gru" => 3,
            _ => 1,
        };
        let directions = if p.bidirectional { 2 } else { 1 };
        let rnn = Rnn { p, gates, hidden, width, directions, steps, count, features };
        let expected = rnn.parameters();
        ensure!(
            v[1].shape() == [expected],
            "RNN: parameters, got shape {}, expected ({expected},)",
            show(v[1].shape())
        );
        let states = layers * directions;
        ensure!(
            v[2].shape() == [states, count, width],
            "RNN: state, got shape {}, expected ({states}, {count}, {width})",
            show(v[2].shape())
        );
        let wanted = 3 + lstm as usize + rnn.p.use_sequence_length as usize;
        ensure!(v.len() == wanted, "RNN: got {} arrays, expected {wanted} for mode '{}'", v.len(), rnn.p.mode);
        if lstm {
            ensure!(
                v[3].shape() == [states, count, hidden],
                "RNN: state_cell, got shape {}, expected ({states}, {count}, {hidden})",
                show(v[3].shape())
            );
        }
        for x in &v[1..3 + lstm as usize] {
            ensure!(x.dtype() == v[0].dtype(), "RNN: arrays of one dtype, got {} and {}", v[0].dtype(), x.dtype());
        }
        ensure!(v[0].dtype().is_float(), "RNN: data, got {}, expected a float dtype", v[0].dtype());
        Ok(rnn)
    }

    fn layers(&self) -> usize {
        self.p.num_layers as usize
    }
    fn inputs(&self, layer: usize) -> usize {
        if layer == 0 { self.features } else { self.width * self.directions }
    }
    /// Elements of weights and of biases of one direction of a layer.
    fn sizes(&self, layer: usize) -> [usize; 3] {
        let rows = self.gates * self.hidden;
        let projection = if self.p.projection_size.is_some() { self.width * self.hidden } else { 0 };
        [rows * self.inputs(layer), rows * self.width, projection]
    }
    fn parameters(&self) -> usize {
        let biases = 2 * self.gates * self.hidden;
        (0..self.layers()).map(|l| self.directions * (self.sizes(l).iter().sum::<usize>() + biases)).sum()
    }

    /// The flat parameters cut up: all weights, layer by layer and direction by direction, then all biases.
    fn cells(&self, flat: &Var) -> Vec<Cell> {
        let rows = self.gates * self.hidden;
        let mut at = 0i64;
        let mut cut = |shape: &[usize]| {
            let n: usize = shape.iter().product();
            at += n as i64;
            flat.slice(0, at - n as i64, 1, n).reshape(shape)
        };
        let mut weights = Vec::new();
        for layer in 0..self.layers() {
            for _ in 0..self.directions {
                let (input, state) = (cut(&[rows, self.inputs(layer)]), cut(&[rows, self.width]));
                let projection = self.p.projection_size.map(|_| cut(&[self.width, self.hidden]));
                weights.push((input, state, projection));
            }
        }
        let cell = |(input, state, projection)| Cell { input, state, projection, biases: (cut(&[rows]), cut(&[rows])) };
        weights.into_iter().map(cell).collect()
    }

    /// One step: the new state and the new cell, from what the input gives to the gates.
    fn step(&self, cell: &Cell, from_input: &Var, h: &Var, c: Option<&Var>) -> (Var, Option<Var>) {
        let from_state = h.dot(&cell.state, false, true) + &cell.biases.1;
        match (&*self.p.mode, c) {
            ("lstm", Some(c)) => {
                let gates = parts(&(from_input + &from_state), 4, 1);
                let (i, f, o) = (gates[0].sigmoid(), gates[1].sigmoid(), gates[3].sigmoid());
                let mut c = f * c + i * gates[2].tanh();
                if let (Some(a_min), Some(a_max)) = (self.p.lstm_state_clip_min, self.p.lstm_state_clip_max) {
                    c = c.with(&CLIP, ClipParams { a_min, a_max }.args());
                }
                let h = o * c.tanh();
                (cell.projection.as_ref().map_or(h.clone(), |w| h.dot(w, false, true)), Some(c))
            }
            ("gru", _) => {
                let (x, s) = (parts(from_input, 3, 1), parts(&from_state, 3, 1));
                let (r, z) = ((&x[0] + &s[0]).sigmoid(), (&x[1] + &s[1]).sigmoid());
                let n = (&x[2] + r * &s[2]).tanh();
                (&n + z * (h - &n), None)
            }
            ("rnn_relu", _) => ((from_input + from_state).unary(&RELU), None),
            _ => ((from_input + from_state).tanh(), None),
        }
    }

    /// One direction of a layer: the outputs of all steps, the last state and the last cell.
    fn run(&self, cell: &Cell, x: &Var, start: (Var, Option<Var>), back: bool, inside: Option<&[Var]>) -> [Var; 3] {
        let flat = x.reshape(&[self.steps * self.count, x.shape()[2]]);
        let from_input = flat.dot(&cell.input, false, true) + &cell.biases.0;
        let from_input = parts(&from_input, self.steps, 0);
        let (mut h, mut c) = start;
        let mut outs: Vec<Option<Var>> = vec![None; self.steps];
        for k in 0..self.steps {
            let t = if back { self.steps - 1 - k } else { k };
            let (mut new, new_c) = self.step(cell, &from_input[t], &h, c.as_ref());
            let mut out = new.clone();
            if let Some(inside) = inside {
                // Behind the end of a sequence its state stays, and nothing comes out.
                out = select(&inside[t], &new, &Var::scalar(0.0));
                new = select(&inside[t], &new, &h);
                c = new_c.zip(c).map(|(new, old)| select(&inside[t], &new, &old));
            } else {
                c = new_c;
            }
            h = new;
            outs[t] = Some(out.reshape(&[1, self.count, self.width]));
        }
        let outs: Vec<Var> = outs.into_iter().flatten().collect();
        let row = |x: &Var| x.reshape(&[1, self.count, x.shape()[1]]);
        [Var::concat(&outs, 0), row(&h), row(c.as_ref().unwrap_or(&h))]
    }
}

/// Equal parts of an axis.
fn parts(x: &Var, n: usize, axis: i64) -> SmallVec<[Var; 1]> {
    let args = SplitParams { num_outputs: n as i64, axis, squeeze_axis: false }.args();
    apply(&SPLIT, std::slice::from_ref(x), &args).or_throw()
}

fn rnn(v: &[Var], p: RnnParams) -> Result<SmallVec<[Var; 1]>> {
    let rnn = Rnn::new(v, p)?;
    let lstm = &*rnn.p.mode == "lstm";
    let inside: Option<Vec<Var>> = match v.get(3 + lstm as usize) {
        None => None,
        Some(lengths) => {
            let got = lengths.shape();
            ensure!(got == [rnn.count], "RNN: sequence_length, got shape {}, expected ({},)", show(got), rnn.count);
            let lengths = lengths.detached().cast(DType::I64).reshape(&[rnn.count, 1]);
            let steps = index_var(&[rnn.steps, 1, 1], &numbers(0..rnn.steps as i64)?)?.beside(&v[0]);
            let inside = steps.binary(&LESSER, &lengths).cast(v[0].dtype());
            Some(parts(&inside, rnn.steps, 0).iter().map(|x| x.reshape(&[rnn.count, 1])).collect())
        }
    };
    let row = |x: &Var, i: usize| x.slice(0, i as i64, 1, 1).reshape(&x.shape()[1..]);
    let cells = rnn.cells(&v[1]);
    let (mut x, mut states, mut last_cells) = (v[0].clone(), Vec::new(), Vec::new());
    for layer in 0..rnn.layers() {
        if layer > 0 && rnn.p.p > 0.0 && mode::is_training() {
            x = x.with(
                &DROPOUT,
                DropoutParams { p: rnn.p.p, mode: "training".into(), axes: None, cudnn_off: None }.args(),
            );
        }
        let mut outs = Vec::new();
        for direction in 0..rnn.directions {
            let k = layer * rnn.directions + direction;
            let start = (row(&v[2], k), lstm.then(|| row(&v[3], k)));
            let [out, h, c] = rnn.run(&cells[k], &x, start, direction == 1, inside.as_deref());
            outs.push(out);
            states.push(h);
            last_cells.push(c);
        }
        x = if outs.len() == 1 { outs.remove(0) } else { Var::concat(&outs, 2) };
    }
    let mut found: SmallVec<[Var; 1]> = smallvec::smallvec![x];
    if rnn.p.state_outputs {
        found.push(Var::concat(&states, 0));
        if lstm {
            found.push(Var::concat(&last_cells, 0));
        }
    }
    Ok(found)
}

pub static RNN: Op = Op {
    name: "RNN",
    aliases: &[],
    doc: "Recurrent layers over sequences (time, batch, features): plain, LSTM or GRU, in one direction or both. \
          `parameters` holds, for each layer and direction, the weights of the input, of the state and of the projection, \
          then, again for each, the biases of the input and of the state.",
    inputs: &["data", "parameters", "state", "state_cell?", "sequence_length?"],
    params: RnnParams::SPEC,
    method: false,
    writes: &[],
    kind: Kind::Compose(|v, args| rnn(v, RnnParams::read(args)).or_throw()),
    grad: Grad::Composed,
    check: Check {
        range: Ok((-1.0, 1.0)),
        like: "lambda *arrays, **kw: rnn(*arrays, **kw)",
        calls: &[
            (&[&[3, 2, 2], &[21], &[1, 2, 3]], "state_size=3, num_layers=1, mode='rnn_tanh'"),
            (&[&[2, 2, 2], &[24], &[2, 2, 2]], "state_size=2, num_layers=1, mode='rnn_tanh', bidirectional=True"),
            (&[&[3, 2, 2], &[48], &[1, 2, 2], &[1, 2, 2]], "state_size=2, num_layers=1, mode='lstm'"),
            (&[&[3, 2, 2], &[72], &[2, 2, 2]], "state_size=2, num_layers=2, mode='gru'"),
        ],
    },
};

pub static OPS: Ops = &[&RNN];
