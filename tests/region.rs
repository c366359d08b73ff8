//! Deferred element work: how many loops run, what is written, which buffers are reused, and that the numbers are right.

use oxgrad::autograd::backward::Walk;
use oxgrad::autograd::{GradReq, NDArray, backward};
use oxgrad::base::buffer;
use oxgrad::base::error::catch;
use oxgrad::base::{DType, Layout};
use oxgrad::cpu::pool;
use oxgrad::graph::Var;
use oxgrad::graph::mode::Scope;
use oxgrad::tensor::Tensor;
use oxgrad::tensor::expr::CAP;
use std::sync::{Mutex, MutexGuard};

const N: usize = 100_000;

/// The counters are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// What `f` returns, and how many loops over memory ran.
fn loops<R>(f: impl FnOnce() -> R) -> (R, u64) {
    let before = pool::loops();
    let result = catch(f).unwrap();
    (result, pool::loops() - before)
}

#[track_caller]
fn assert_loops<R>(want: u64, f: impl FnOnce() -> R) -> R {
    let (result, got) = loops(f);
    assert_eq!(got, want, "loops over memory");
    result
}

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i % 1009) as f32 / 504.5 - 1.0).collect()
}

fn input(shape: &[usize]) -> Var {
    Var::new(Tensor::from_slice(shape, &ramp(shape.iter().product())).unwrap())
}

fn force(v: &Var) {
    v.tensor.force().unwrap();
}

#[track_caller]
fn assert_close(got: &Var, want: impl Iterator<Item = f64>) {
    let got = got.to_vec::<f32>().unwrap();
    let mut count = 0;
    for (i, (&g, w)) in got.iter().zip(want).enumerate() {
        assert!((g as f64 - w).abs() <= 1e-6 * w.abs().max(1.0), "{i}: {g}, expected {w}");
        count += 1;
    }
    assert_eq!(count, got.len());
}

#[test]
fn a_chain_is_one_loop() {
    let _alone = alone();
    let x = input(&[N]);
    let y = assert_loops(1, || {
        let y = (&(&x * 0.5 + 1.0).tanh() * &x - 0.3).sigmoid();
        force(&y);
        y
    });
    let f = |v: f64| 1.0 / (1.0 + (-((v * 0.5 + 1.0).tanh() * v - 0.3)).exp());
    assert_close(&y, ramp(N).into_iter().map(|v| f(v as f64)));
    // Once forced, it costs nothing to read.
    assert_loops(0, || y.to_vec::<f32>().unwrap());
}

#[test]
fn a_reduction_absorbs_its_producer() {
    let _alone = alone();
    let x = input(&[N]);
    let before = pool::bytes_written();
    let total = assert_loops(1, || {
        let s = x.square().sum_axes(&[0], false);
        force(&s);
        s
    });
    assert!(pool::bytes_written() - before <= 64, "only the sum is written");
    let want: f64 = ramp(N).iter().map(|&v| v as f64 * v as f64).sum();
    let got = total.to_vec::<f32>().unwrap()[0] as f64;
    assert!((got - want).abs() <= want * 1e-6, "{got} {want}");
}

#[test]
fn its_backward_is_one_loop() {
    let _alone = alone();
    let x = NDArray::from_tensor(input(&[N]).tensor);
    x.attach_grad(GradReq::Write).unwrap();
    let v = x.var().unwrap();
    let loss = catch(|| {
        let _recording = Scope::enter(Some(true), Some(true));
        v.square().sum_axes(&[0], false)
    })
    .unwrap();
    force(&loss);
    let walk = Walk { retain_graph: false, create_graph: false, train_mode: true };
    let grad = assert_loops(1, || {
        backward(&[loss], &[None], walk).unwrap();
        let grad = x.grad().unwrap().var().unwrap();
        force(&grad);
        grad
    });
    assert_close(&grad, ramp(N).into_iter().map(|v| 2.0 * v as f64));
}

#[test]
fn small_arrays_are_computed_at_once() {
    let _alone = alone();
    let x = input(&[16]);
    let y = catch(|| (&x + 1.0).exp()).unwrap();
    assert!(!y.tensor.is_deferred());
    let z = catch(|| (&input(&[N]) + 1.0).exp()).unwrap();
    assert!(z.tensor.is_deferred());
}

#[test]
fn a_dying_input_becomes_the_output() {
    let _alone = alone();
    let address = |v: &Var| v.tensor.storage().unwrap().buffer.ptr() as usize;
    let x = input(&[N]);
    let place = address(&x);
    let taken = buffer::stats().taken;
    let y = catch(|| x * 2.0 + 1.0).unwrap();
    force(&y);
    assert_eq!(address(&y), place, "the input's buffer is reused");
    assert_eq!(buffer::stats().taken, taken, "no buffer is taken");
    assert_close(&y, ramp(N).into_iter().map(|v| 2.0 * v as f64 + 1.0));

    // An input that somebody holds is left alone.
    let x = input(&[N]);
    let y = catch(|| &x * 2.0).unwrap();
    force(&y);
    assert_ne!(address(&x), address(&y));
    assert_close(&x, ramp(N).into_iter().map(|v| v as f64));

    // So is one that a view, or a value still to be computed, needs.
    let view = x.tensor.with_layout(x.tensor.layout().unwrap().slice(0, 5, 1, 10)).unwrap();
    let later = catch(|| &x + 1.0).unwrap();
    let y = catch(|| x * 3.0).unwrap();
    force(&y);
    assert_eq!(view.to_vec::<f32>().unwrap(), &ramp(N)[5..15]);
    assert_close(&later, ramp(N).into_iter().map(|v| v as f64 + 1.0));

    // A leaf that is read again after the first output is written, or is repeated, is not overwritten.
    let row = input(&[1, 400]);
    let sum = catch(|| row.broadcast_to(&[300, 400]) + input(&[300, 400])).unwrap();
    let (r, m) = (ramp(400), ramp(120_000));
    assert_close(&sum, (0..120_000).map(|i| r[i % 400] as f64 + m[i] as f64));
}

#[test]
fn donation_across_dtypes() {
    let _alone = alone();
    // int32 has float32's size: its buffer may be reused, element by element.
    let x = input(&[N]);
    let y = catch(|| (x * 100.0).cast(DType::I32)).unwrap();
    let want: Vec<i32> = ramp(N).iter().map(|&v| (v * 100.0) as i32).collect();
    assert_eq!(y.to_vec::<i32>().unwrap(), want);
    // float64 has not.
    let x = input(&[N]);
    let y = catch(|| x.cast(DType::F64) * 3.0).unwrap();
    assert_eq!(y.to_vec::<f64>().unwrap(), ramp(N).iter().map(|&v| v as f64 * 3.0).collect::<Vec<_>>());
}

#[test]
fn leaves_of_any_layout() {
    let _alone = alone();
    let (rows, columns) = (300, 400);
    let m = input(&[rows, columns]);
    let data = ramp(rows * columns);
    let column = input(&[rows, 1]);
    let row = input(&[columns]);
    let turned = input(&[columns, rows]).transpose(&[1, 0]);
    let reversed = {
        let layout = m.tensor.layout().unwrap().slice(1, columns as isize - 1, -1, columns);
        Var::new(m.tensor.with_layout(layout).unwrap())
    };
    let y = assert_loops(1, || {
        let y = (&m * &column + &row) * &turned - &reversed;
        force(&y);
        y
    });
    let (c, r, t) = (ramp(rows), ramp(columns), ramp(rows * columns));
    assert_close(
        &y,
        (0..rows * columns).map(|i| {
            let (a, b) = (i / columns, i % columns);
            let m = |b: usize| data[a * columns + b] as f64;
            (m(b) * c[a] as f64 + r[b] as f64) * t[b * rows + a] as f64 - m(columns - 1 - b)
        }),
    );
    // Every second element of a vector, and a splat.
    let v = input(&[2 * N]);
    let every = v.tensor.with_layout(v.tensor.layout().unwrap().slice(0, 1, 2, N)).unwrap();
    let splat = Tensor::full(&[N], DType::F32, oxgrad::base::Device::CPU, oxgrad::tensor::Scalar::Float(0.25)).unwrap();
    let y = catch(|| Var::new(every) * Var::new(splat)).unwrap();
    let all = ramp(2 * N);
    assert_close(&y, (0..N).map(|i| all[2 * i + 1] as f64 * 0.25));
}

#[test]
fn what_others_hold_is_written_once() {
    let _alone = alone();
    let x = input(&[N]);
    // Dear enough that doing it twice costs more than writing it.
    let held = catch(|| (&x + 1.0).exp()).unwrap();
    let y = catch(|| held.sigmoid() * 2.0).unwrap();
    let before = pool::bytes_written();
    assert_loops(1, || force(&y));
    assert_eq!(pool::bytes_written() - before, 2 * 4 * N as u64, "both are written in one loop");
    assert!(!held.tensor.is_deferred());
    assert_loops(0, || force(&held));
    let e = |v: f32| (v as f64 + 1.0).exp();
    assert_close(&held, ramp(N).into_iter().map(e));
    assert_close(&y, ramp(N).into_iter().map(|v| 2.0 / (1.0 + (-e(v)).exp())));
    // What nobody holds any more is not written at all.
    let before = pool::bytes_written();
    let z = catch(|| (&x + 1.0).exp().sigmoid() * 2.0).unwrap();
    force(&z);
    assert_eq!(pool::bytes_written() - before, 4 * N as u64);
}

#[test]
fn a_shared_value_is_computed_once() {
    let _alone = alone();
    let x = input(&[N]);
    let y = assert_loops(1, || {
        let e = x.exp();
        let y = &e * &e + &e;
        drop(e);
        force(&y);
        y
    });
    assert_close(&y, ramp(N).into_iter().map(|v| (v as f64).exp().powi(2) + (v as f64).exp()));
}

#[test]
fn regions_have_a_largest_size() {
    let _alone = alone();
    let x = input(&[N]);
    let steps = 10 * CAP as usize;
    let ((y, count), _) = loops(|| {
        let before = pool::loops();
        let y = (0..steps).fold(x.clone(), |y, _| y + 1.0);
        force(&y);
        (y, pool::loops() - before)
    });
    assert!(count >= 9 && count <= 12, "{count} loops for {steps} ops");
    assert_close(&y, ramp(N).into_iter().map(|v| v as f64 + steps as f64).map(|v| v as f32 as f64));
    // A value used twice at every step doubles the bound on the work, not the work.
    let (y, count) = loops(|| {
        let y = (0..40).fold(x.clone(), |y, _| &y * 0.5 + &y * 0.5);
        force(&y);
        y
    });
    assert!(count <= 20, "{count} loops");
    assert_close(&y, ramp(N).into_iter().map(|v| v as f64));
}

#[test]
fn a_reduction_is_a_leaf_of_what_follows() {
    let _alone = alone();
    let m = input(&[300, 400]);
    let y = assert_loops(2, || {
        let mean = m.fold(&oxgrad::ops::reduce::MEAN, &[1], true);
        let y = (&m - &mean).square();
        force(&y);
        y
    });
    let data = ramp(300 * 400);
    let means: Vec<f64> = data.chunks(400).map(|r| r.iter().map(|&v| v as f64).sum::<f64>() / 400.0).collect();
    assert_close(&y, (0..300 * 400).map(|i| (data[i] as f64 - means[i / 400]).powi(2)));
}

#[test]
fn empty_and_scalar_shapes() {
    let _alone = alone();
    let empty = input(&[0, 3]);
    let y = catch(|| (&empty + 1.0).exp() * &input(&[3])).unwrap();
    assert_eq!(y.shape(), &[0, 3]);
    assert_eq!(y.to_vec::<f32>().unwrap(), [0f32; 0]);
    assert_eq!(catch(|| y.sum_axes(&[0], false)).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    let point = Var::new(Tensor::from_slice(&[], &[2f32]).unwrap());
    let y = catch(|| &point * &point).unwrap();
    assert_eq!((y.shape(), y.to_vec::<f32>().unwrap()), (&[][..], vec![4.0]));
    let wide = catch(|| &point * &input(&[N])).unwrap();
    assert_close(&wide, ramp(N).into_iter().map(|v| 2.0 * v as f64));
    assert_eq!(Layout::contiguous(&[]).numel(), 1);
}
