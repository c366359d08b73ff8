//! Recording, backward and the tape through the Rust surface.

use oxgrad::autograd::backward::Walk;
use oxgrad::autograd::{GradReq, NDArray, backward, grad};
use oxgrad::base::error::catch;
use oxgrad::graph::mode::Scope;
use oxgrad::graph::{Var, node};
use oxgrad::tensor::Tensor;

const ONCE: Walk = Walk { retain_graph: false, create_graph: false, train_mode: true };

fn array(shape: &[usize], data: &[f32]) -> NDArray {
    NDArray::from_tensor(Tensor::from_slice(shape, data).unwrap())
}

fn marked(shape: &[usize], data: &[f32]) -> NDArray {
    let x = array(shape, data);
    x.attach_grad(GradReq::Write).unwrap();
    x
}

fn record<R>(f: impl FnOnce() -> R) -> R {
    let _scope = Scope::enter(Some(true), Some(true));
    catch(f).unwrap()
}

fn floats(x: &NDArray) -> Vec<f32> {
    x.tensor().unwrap().to_vec().unwrap()
}

#[test]
fn the_chapter_in_rust() {
    let x = marked(&[2, 2], &[1., 2., 3., 4.]);
    let v = x.var().unwrap();
    let y = record(|| (2.0 * &v) * &v);
    backward(&[y], &[None], ONCE).unwrap();
    assert_eq!(floats(&x.grad().unwrap()), [4., 8., 12., 16.]);
}

#[test]
fn gradients_of_gradients() {
    let x = marked(&[3], &[0.5, 1.0, 2.0]);
    let v = x.var().unwrap();
    let _scope = Scope::enter(Some(true), Some(true));
    let y = catch(|| &v * &v * &v).unwrap();
    let walk = Walk { retain_graph: true, create_graph: true, train_mode: true };
    let first = grad(&[y], std::slice::from_ref(&v), &[None], walk).unwrap().remove(0);
    assert_eq!(first.to_vec::<f32>().unwrap(), [0.75, 3.0, 12.0]);
    let second = grad(&[first], std::slice::from_ref(&v), &[None], walk).unwrap().remove(0);
    assert_eq!(second.to_vec::<f32>().unwrap(), [3.0, 6.0, 12.0]);
    backward(&[second], &[None], ONCE).unwrap();
    assert_eq!(floats(&x.grad().unwrap()), [6.0; 3]);
}

#[test]
fn broadcast_gradients_are_summed() {
    let (x, b) = (marked(&[2, 3], &[1.; 6]), marked(&[3], &[1., 2., 3.]));
    let (vx, vb) = (x.var().unwrap(), b.var().unwrap());
    let y = record(|| &vx * &vb);
    backward(&[y], &[None], ONCE).unwrap();
    assert_eq!(floats(&b.grad().unwrap()), [2.0; 3]);
    assert_eq!(floats(&x.grad().unwrap()), [1., 2., 3., 1., 2., 3.]);
}

#[test]
fn large_arrays_are_fused_into_one_loop() {
    let n = 100_000;
    let data: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
    let x = array(&[n], &data).var().unwrap();
    let y = catch(|| ((&(&x * 0.5 + 1.0).tanh() * &x) - 0.3).sigmoid()).unwrap();
    assert!(y.tensor.is_deferred());
    let got = y.to_vec::<f32>().unwrap();
    for i in (0..n).step_by(997) {
        let v = data[i] as f64;
        let want = 1.0 / (1.0 + (-((v * 0.5 + 1.0).tanh() * v - 0.3)).exp());
        assert!((got[i] as f64 - want).abs() < 1e-6, "{i}: {} {want}", got[i]);
    }
}

#[test]
fn a_million_nodes_without_recursion() {
    let before = node::live();
    let x = marked(&[1], &[1.0]);
    let v = x.var().unwrap();
    let y = record(|| (0..1_000_000).fold(v.clone(), |y, _| y * 1.0));
    backward(std::slice::from_ref(&y), &[None], ONCE).unwrap();
    assert_eq!(floats(&x.grad().unwrap()), [1.0]);
    // A second chain, dropped without backward.
    let z = record(|| (0..1_000_000).fold(v.clone(), |y, _| y * 1.0));
    drop((y, z, v, x));
    assert!(node::live() <= before + 1, "{} nodes left", node::live() - before);
}

#[test]
fn sums_of_large_arrays() {
    let n = 1_000_003;
    let x = Var::new(Tensor::from_slice(&[n], &vec![0.1f32; n]).unwrap());
    let s = catch(|| x.sum_axes(&[0], false)).unwrap().to_vec::<f32>().unwrap()[0];
    assert_eq!(s, (n as f64 * 0.1f32 as f64) as f32);
    let m = Var::new(Tensor::from_slice(&[1000, 1000], &vec![1.0f32; 1_000_000]).unwrap());
    assert_eq!(catch(|| m.sum_axes(&[0], false)).unwrap().to_vec::<f32>().unwrap(), vec![1000.0; 1000]);
    assert_eq!(catch(|| m.sum_axes(&[1], false)).unwrap().to_vec::<f32>().unwrap(), vec![1000.0; 1000]);
}

#[test]
fn a_second_backward_says_what_to_do() {
    let x = marked(&[1], &[2.0]);
    let v = x.var().unwrap();
    let y = record(|| &v * &v);
    backward(std::slice::from_ref(&y), &[None], ONCE).unwrap();
    let error = backward(&[y], &[None], ONCE).unwrap_err();
    assert!(error.message().contains("retain_graph=True"), "{error}");
}
