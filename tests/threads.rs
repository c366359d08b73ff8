//! Several threads at once: on the same deferred values, on the same variables, on tapes of their own.

use oxgrad::autograd::backward::Walk;
use oxgrad::autograd::{GradReq, NDArray, backward, grad};
use oxgrad::base::error::catch;
use oxgrad::graph::mode::Scope;
use oxgrad::graph::{Var, mode};
use oxgrad::tensor::Tensor;
use std::sync::Barrier;
use std::thread;

const N: usize = 70_000;
const THREADS: usize = 6;
const ONCE: Walk = Walk { retain_graph: false, create_graph: false, train_mode: true };

fn input() -> Var {
    let data: Vec<f32> = (0..N).map(|i| (i % 1009) as f32 / 504.5 - 1.0).collect();
    Var::new(Tensor::from_slice(&[N], &data).unwrap())
}

/// Runs `f` on every thread at the same moment; what they return.
fn together<R: Send>(f: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|s| {
        let run = |k| {
            let (f, barrier) = (&f, &barrier);
            s.spawn(move || {
                barrier.wait();
                f(k)
            })
        };
        let handles: Vec<_> = (0..THREADS).map(run).collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    })
}

#[test]
fn one_deferred_value() {
    for _ in 0..20 {
        let y = catch(|| (input().tanh() * 3.0).sigmoid()).unwrap();
        let all = together(|_| y.to_vec::<f32>().unwrap());
        assert!(all.iter().all(|v| *v == all[0]));
        let want = 1.0 / (1.0 + (-3.0 * (-1f64).tanh()).exp());
        assert!((all[0][0] as f64 - want).abs() < 1e-6);
    }
}

#[test]
fn values_that_share_a_part() {
    for round in 0..20 {
        let x = input();
        let shared = catch(|| (&x + 1.0).exp()).unwrap();
        let ends: Vec<Var> = (0..THREADS).map(|k| catch(|| &shared * (k as f64) + &x).unwrap()).collect();
        let inner = (round % 2 == 0).then(|| shared.clone());
        drop((shared, x));
        let all = together(|k| {
            // Some begin at the shared part, some at the end of it.
            if let (Some(inner), true) = (&inner, k % 2 == 0) {
                inner.tensor.force().unwrap();
            }
            ends[k].to_vec::<f32>().unwrap()
        });
        for (k, values) in all.iter().enumerate() {
            for i in (0..N).step_by(501) {
                let x = (i % 1009) as f32 / 504.5 - 1.0;
                let want = ((x + 1.0) as f64).exp() * k as f64 + x as f64;
                assert!((values[i] as f64 - want).abs() < 1e-5 * want.abs().max(1.0), "{k} {i}: {} {want}", values[i]);
            }
        }
    }
}

#[test]
fn buffers_go_between_threads() {
    // Values made here die there, and the other way round.
    for _ in 0..10 {
        let made: Vec<Var> = together(|k| catch(|| input() * (k as f64 + 1.0)).unwrap());
        let slots: Vec<_> = made.into_iter().map(|v| std::sync::Mutex::new(Some(v))).collect();
        let sums = together(|k| {
            let mine = slots[(k + 1) % THREADS].lock().unwrap().take().unwrap();
            let y = catch(|| mine + 1.0).unwrap();
            y.to_vec::<f32>().unwrap()[0]
        });
        let want: Vec<f32> = (0..THREADS).map(|k| 1.0 - ((k + 1) % THREADS) as f32 - 1.0).collect();
        assert_eq!(sums, want);
    }
}

#[test]
fn tapes_of_their_own() {
    let x = NDArray::from_tensor(input().tensor);
    x.attach_grad(GradReq::Write).unwrap();
    let grads = together(|k| {
        let v = x.var().unwrap();
        let y = catch(|| {
            let _recording = Scope::enter(Some(true), Some(true));
            (&v * &v) * (k as f64)
        })
        .unwrap();
        // Recording is a thread's own business.
        assert!(!mode::is_recording());
        grad(&[y], &[v], &[None], ONCE).unwrap().remove(0).to_vec::<f32>().unwrap()
    });
    for (k, g) in grads.iter().enumerate() {
        assert!(g.iter().enumerate().all(|(i, g)| *g == 2.0 * ((i % 1009) as f32 / 504.5 - 1.0) * k as f32), "{k}");
    }
}

#[test]
fn one_tape_walked_by_all() {
    let x = NDArray::from_tensor(Tensor::from_slice(&[4], &[1f32, 2., 3., 4.]).unwrap());
    x.attach_grad(GradReq::Add).unwrap();
    let v = x.var().unwrap();
    let y = catch(|| {
        let _recording = Scope::enter(Some(true), Some(true));
        (&v * &v) * &v
    })
    .unwrap();
    let keep = Walk { retain_graph: true, ..ONCE };
    let grads =
        together(|_| grad(&[y.clone()], &[v.clone()], &[None], keep).unwrap().remove(0).to_vec::<f32>().unwrap());
    assert!(grads.iter().all(|g| *g == [3., 12., 27., 48.]));
    // Without retain_graph the tape is for one of them; the others get an error, or what was left: never a panic.
    let done = together(|_| backward(&[y.clone()], &[None], ONCE).is_ok());
    assert!(done.iter().any(|ok| *ok));
}

#[test]
fn gradients_add_up() {
    let x = NDArray::from_tensor(Tensor::from_slice(&[2], &[1f32, -2.0]).unwrap());
    x.attach_grad(GradReq::Add).unwrap();
    together(|_| {
        for _ in 0..50 {
            let v = x.var().unwrap();
            let y = catch(|| {
                let _recording = Scope::enter(Some(true), Some(true));
                &v * 3.0
            })
            .unwrap();
            backward(&[y], &[None], ONCE).unwrap();
        }
    });
    let total = x.grad().unwrap().tensor().unwrap().to_vec::<f32>().unwrap();
    assert_eq!(total, [(THREADS * 50 * 3) as f32; 2]);
}
