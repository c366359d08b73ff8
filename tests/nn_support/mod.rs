//! Calling ops by name, and gradients against differences.

use oxgrad::autograd::backward::Walk;
use oxgrad::autograd::{GradReq, NDArray, backward, grad};
use oxgrad::base::error::catch;
use oxgrad::base::{DType, Element};
use oxgrad::graph::mode::Scope;
use oxgrad::graph::params::Default as D;
use oxgrad::graph::{Args, Op, Param, Var, apply};
use oxgrad::ops;
use oxgrad::tensor::Tensor;

pub const AGAIN: Walk = Walk { retain_graph: true, create_graph: true, train_mode: true };

pub fn op(name: &str) -> &'static Op {
    ops::find(name).unwrap()
}

/// The default parameters, with some replaced.
pub fn args(op: &Op, given: &[(&str, Param)]) -> Args {
    let default = |p: &oxgrad::graph::ParamSpec| if p.default == D::Required { Param::None } else { p.default.value() };
    let mut args: Args = op.params.iter().map(default).collect();
    for (name, value) in given {
        args[op.params.iter().position(|p| p.name == *name).unwrap()] = value.clone();
    }
    args
}

pub fn call(name: &str, ins: &[&Var], given: &[(&str, Param)]) -> Vec<Var> {
    try_call(name, ins, given).unwrap()
}
pub fn try_call(name: &str, ins: &[&Var], given: &[(&str, Param)]) -> oxgrad::base::Result<Vec<Var>> {
    let ins: Vec<Var> = ins.iter().map(|v| (*v).clone()).collect();
    apply(op(name), &ins, &args(op(name), given)).map(|o| o.into_vec())
}
pub fn error(name: &str, ins: &[&Var], given: &[(&str, Param)]) -> String {
    try_call(name, ins, given).err().expect("an error").to_string()
}

pub fn var<T: Element>(shape: &[usize], data: &[T]) -> Var {
    Var::new(Tensor::from_slice(shape, data).unwrap())
}
pub fn ones(shape: &[usize]) -> Var {
    var(shape, &vec![1f32; shape.iter().product()])
}
pub fn floats(v: &Var) -> Vec<f64> {
    v.to_vec::<f64>().unwrap()
}
/// Numbers between `low` and `high` in no order.
pub fn spread(shape: &[usize], seed: usize, low: f64, high: f64) -> Vec<f64> {
    let n: usize = shape.iter().product();
    (0..n).map(|i| low + (high - low) * (((i + 1) * (2 * seed + 7) * 7919) % 1009) as f64 / 1009.0).collect()
}
pub fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "{what} [{i}]: {g} {w}");
    }
}
pub fn dtype(name: &str) -> Param {
    Param::DType(DType::parse(name).unwrap())
}
pub fn text(s: &str) -> Param {
    Param::Str(s.into())
}
pub fn ints(v: &[i64]) -> Param {
    Param::Ints(v.into())
}

/// A weighted sum of all outputs, and what it is differentiated with respect to: the inputs in `wrt`.
pub fn loss(op: &'static Op, ins: &[Var], args: &Args) -> Var {
    let outs = apply(op, ins, args).unwrap();
    let outs = &outs[..outs.len() - op.writes.len()];
    catch(|| {
        let sums = outs.iter().enumerate().map(|(k, out)| {
            let weights = var(out.shape(), &spread(out.shape(), k + 3, 0.5, 1.5));
            (out * weights).reshape(&[out.numel()]).sum_axes(&[0], false)
        });
        sums.reduce(|a, b| a + b).unwrap()
    })
    .unwrap()
}
pub fn gradients(op: &'static Op, data: &[(Vec<usize>, Vec<f64>)], args: &Args) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let arrays: Vec<NDArray> =
        data.iter().map(|(s, d)| NDArray::from_tensor(Tensor::from_slice(s, d).unwrap())).collect();
    arrays.iter().for_each(|a| a.attach_grad(GradReq::Write).unwrap());
    let ins: Vec<Var> = arrays.iter().map(|a| a.var().unwrap()).collect();
    let _scope = Scope::enter(Some(true), Some(true));
    let first = grad(&[loss(op, &ins, args)], &ins, &[None], AGAIN).unwrap();
    let total = catch(|| {
        let sums = first.iter().enumerate().map(|(k, g)| {
            (g * var(g.shape(), &spread(g.shape(), k + 11, 0.5, 1.5))).reshape(&[g.numel()]).sum_axes(&[0], false)
        });
        sums.reduce(|a, b| a + b).unwrap()
    })
    .unwrap();
    if total.edge.is_some() {
        // An op that is linear in all inputs has nothing to reach.
        let _ = backward(&[total], &[None], AGAIN);
    }
    let second = arrays.iter().map(|a| floats(&a.grad().unwrap().var().unwrap())).collect();
    (first.iter().map(floats).collect(), second)
}

/// First and second derivatives against differences.
pub fn check_gradients(name: &str, shapes: &[&[usize]], (low, high): (f64, f64), given: &[(&str, Param)]) {
    let op = op(name);
    let args = args(op, given);
    let data: Vec<(Vec<usize>, Vec<f64>)> =
        shapes.iter().enumerate().map(|(k, s)| (s.to_vec(), spread(s, k, low, high))).collect();
    let (first, second) = gradients(op, &data, &args);
    let h = 1e-5;
    let value = |data: &[(Vec<usize>, Vec<f64>)]| {
        let _scope = Scope::enter(Some(false), Some(true));
        let ins: Vec<Var> = data.iter().map(|(s, d)| var(s, d)).collect();
        floats(&loss(op, &ins, &args))[0]
    };
    let slope = |data: &[(Vec<usize>, Vec<f64>)]| {
        let grads = gradients(op, data, &args).0;
        let pairs = data.iter().zip(&grads).enumerate();
        pairs
            .map(|(k, ((s, _), g))| g.iter().zip(spread(s, k + 11, 0.5, 1.5)).map(|(g, w)| g * w).sum::<f64>())
            .sum::<f64>()
    };
    for k in 0..data.len() {
        for i in 0..data[k].1.len() {
            let moved = |by: f64| {
                let mut data = data.clone();
                data[k].1[i] += by;
                data
            };
            let (up, down) = (moved(h), moved(-h));
            let (want, got) = ((value(&up) - value(&down)) / (2.0 * h), first[k][i]);
            assert!((want - got).abs() < 1e-6 * (1.0 + want.abs()), "{name} {given:?} input {k} [{i}]: {got} {want}");
            let (want, got) = ((slope(&up) - slope(&down)) / (2.0 * h), second[k][i]);
            assert!((want - got).abs() < 1e-5 * (1.0 + want.abs()), "{name} {given:?} second, {k} [{i}]: {got} {want}");
        }
    }
}
